"""Opus decoded by the system's libopus, with in-band FEC.

A packet of Opus' speech coder may repeat the frame before it at a lower rate (low bit-rate
redundancy, "in-band FEC": RFC 6716, section 2.1.7). Where libopus is installed (Debian: libopus0)
a lost packet is decoded from the one after it, if that is here in time.
"""

import ctypes
import ctypes.util
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from plc.errors import not_copied

SAMPLE_RATE = 48_000
# RFC 6716, table 2: configurations from here on are the music coder's alone.
_CELT_ONLY = 16
_SAMPLES_MAX = 5760  # 120 ms
# Full scale is 1. Behind losses libopus 1.3 makes packets of 2.5 ms up to 3000 times as loud.
_LOUDEST = 4.0
_SET_COMPLEXITY = 4010  # opus_defines.h


def repeated_samples(payload: bytes, channels: int) -> int:
    """Return the earlier samples that a packet repeats, at 48 kHz.

    By the flags at the head of its first frame (RFC 6716, sections 4.2.3 and 4.2.4): for each
    20 ms of the frame whether there is a voice, then whether there is redundancy; for two
    channels the same again.

    Parameters
    ----------
    payload : bytes
        The packet.
    channels : int
        1 or 2.

    Returns
    -------
    int
        Length of its frame; 0 if it repeats nothing, or holds several frames.
    """
    if len(payload) < 2:
        return 0
    configuration, stereo, count = payload[0] >> 3, payload[0] >> 2 & 1, payload[0] & 3
    if configuration >= _CELT_ONLY or count or channels not in (1, 2):
        return 0
    frame = (480, 960, 1920, 2880)[configuration & 3] if configuration < 12 else 0
    frame = frame or (480, 960)[configuration & 1]
    parts = max(1, frame // 960)
    flags = payload[1]
    repeats = flags >> (7 - parts) & 1
    if stereo:
        repeats |= flags >> (6 - 2 * parts) & 1
    return frame if repeats else 0


class LibopusDecoder:
    """One stream's decoder.

    Parameters
    ----------
    library : ctypes.CDLL
        libopus.
    channels : int
        1 or 2.
    sample_rate : int
        Of the samples, in Hz; one of Opus' own.
    """

    __reduce_ex__ = not_copied("make another of the same settings")

    def __init__(self, library: Any, channels: int, sample_rate: int = SAMPLE_RATE) -> None:
        self.channels = channels
        self._library = library
        self._out = np.zeros((_SAMPLES_MAX, channels), np.float32)
        error = ctypes.c_int()
        self._state = ctypes.c_void_p(
            library.opus_decoder_create(sample_rate, channels, ctypes.byref(error))
        )
        if error.value:
            raise MemoryError(f"libopus gives no decoder: error {error.value}")
        self._speech = False

    @classmethod
    def open(cls, channels: int) -> Self | None:
        """Return a decoder; None where there is no libopus."""
        library = _library()
        return None if library is None else cls(library, channels)

    def decode(self, payload: bytes, samples: int) -> NDArray[np.float32] | None:
        """Return a packet's samples, shape (samples, channels); None if it is malformed."""
        self._speech = bool(payload) and payload[0] >> 3 < _CELT_ONLY
        return self._decoded(payload, samples, 0)

    def decode_repeated(self, payload: bytes, samples: int) -> NDArray[np.float32] | None:
        """Decode a packet's copy of the samples before it, shape (samples, channels).

        None if the music coder was at work before it: libopus would conceal then, which is not
        its business here.
        """
        return self._decoded(payload, samples, 1) if self._speech else None

    def conceal(self, samples: int) -> NDArray[np.float32] | None:
        """Return libopus' concealment of a lost packet, shape (samples, channels)."""
        return self._decoded(None, samples, 0)

    def set_complexity(self, complexity: int) -> None:
        """Choose 0 to 10; libopus before 1.5 has one concealment and ignores the choice."""
        self._library.opus_decoder_ctl(self._state, _SET_COMPLEXITY, ctypes.c_int(complexity))

    def _decoded(
        self, payload: bytes | None, samples: int, repeated: int
    ) -> NDArray[np.float32] | None:
        out = ctypes.c_void_p(self._out.ctypes.data)
        room = samples if payload is None or repeated else _SAMPLES_MAX
        size = len(payload) if payload else 0
        made = self._library.opus_decode_float(self._state, payload, size, out, room, repeated)
        found = self._out[:made]
        return found.copy() if made == samples and np.abs(found).max() < _LOUDEST else None

    def __del__(self) -> None:
        """Free libopus' memory."""
        if getattr(self, "_state", None):
            self._library.opus_decoder_destroy(self._state)


@cache
def _library() -> Any:
    """Return libopus, or None."""
    path = ctypes.util.find_library("opus")
    if path is None:
        return None
    try:
        return bound(ctypes.CDLL(path))
    except (OSError, AttributeError):
        return None


def bound(library: ctypes.CDLL) -> Any:
    """Return ``library`` with the types of libopus' decoder; raise AttributeError for another."""
    library.opus_decoder_create.restype = ctypes.c_void_p
    library.opus_decoder_create.argtypes = (ctypes.c_int32, ctypes.c_int, ctypes.c_void_p)
    library.opus_decoder_destroy.argtypes = (ctypes.c_void_p,)
    library.opus_decode_float.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
    )
    return library
