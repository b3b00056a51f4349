"""Decode Opus by the system's libopus, and lost packets by the redundancy in later ones.

A packet of Opus' speech coder may repeat the frame before it at a lower rate (low bit-rate
redundancy, LBRR, "in-band FEC": RFC 6716, section 2.1.7). Any packet may hold up to a second before
it by a neural coder (deep redundancy, DRED, in the padding), which libopus reads from 1.5 on where
it was built with that. Where libopus is installed (Debian: libopus0, without DRED) a lost packet is
decoded from one after it, if that is here in time.

A packet goes on from the one before it: its pitch repeats that one's sound, its transform overlaps
with it. Where that is lost for good, libopus conceals it, for its state alone: that is not heard.
"""

import contextlib
import ctypes
import ctypes.util
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from plc.errors import not_copied

SAMPLE_RATE = 48_000
_VOID, _INT32 = ctypes.c_void_p, ctypes.c_int32
# RFC 6716, table 2: configurations from here on are the music coder's alone.
_CELT_ONLY = 16
_SAMPLES_MAX = 5760  # 120 ms
_SAMPLES_LEAST = 120  # 2.5 ms, of which all lengths are multiples
# Of a loss its state goes on over 40 ms: over more, the packet behind is too quiet at first (PESQ
# 2.17, of all 2.15, of 20 ms 2.20; error -9.4, -9.5, -9.1 dB: docs/notebook/losses.md).
_PASSED_MOST = 1920
# Full scale is 1. Behind losses libopus 1.3 makes packets of 2.5 ms up to 3000 times as loud.
_LOUDEST = 4.0
_SET_COMPLEXITY = 4010  # opus_defines.h


def opus_samples(payload: bytes) -> int:
    """Return the length of an Opus packet at 48 kHz, in samples; 0 if it is malformed.

    By the table of contents byte and, for packets of several frames, the count (RFC 6716,
    section 3.1, table 2); at most 120 ms.
    """
    if not payload:
        return 0
    counts = (1, 2, 2, payload[1] & 0x3F if len(payload) > 1 else 0)
    samples = _frame_samples(payload) * counts[payload[0] & 3]
    return samples if samples <= 5760 else 0


def _frame_samples(payload: bytes) -> int:
    configuration = payload[0] >> 3
    frames = (480, 960, 1920, 2880) if configuration < 12 else (480, 960) * 2
    if configuration >= _CELT_ONLY:
        frames = (120, 240, 480, 960)
    return frames[configuration & 3]


def repeated_samples(payload: bytes, channels: int) -> int:
    """Return the earlier samples that a packet repeats, at 48 kHz.

    By the flags at the head of its first frame (RFC 6716, sections 4.2.3 and 4.2.4): for each
    20 ms of the frame whether there is a voice, then whether there is redundancy; for two
    channels the same again.

    That is the length of its first frame, which repeats as much of what is before it; 0 if it does
    not. Of ``channels`` there are 1 or 2.
    """
    first = _first_byte(payload) if opus_samples(payload) else 0
    if not first or payload[0] >> 3 >= _CELT_ONLY or channels not in (1, 2):
        return 0
    frame = _frame_samples(payload)
    parts = max(1, frame // 960)
    flags = payload[first]
    repeats = flags >> (7 - parts) & 1
    if payload[0] >> 2 & 1:  # stereo
        repeats |= flags >> (6 - 2 * parts) & 1
    return frame if repeats else 0


def _first_byte(payload: bytes) -> int:
    """Return where a packet's first frame begins; 0 if it has none.

    Behind the lengths of padding and of frames (RFC 6716, sections 3.2.4 and 3.2.5).
    """
    code, at = payload[0] & 3, 1
    lengths = int(code == 2)
    if code == 3:
        at = 2
        if payload[1] & 0x40:
            at = 3 + len(payload[2:]) - len(payload[2:].lstrip(b"\xff"))
        lengths = (payload[1] & 0x3F) - 1 if payload[1] & 0x80 else 0
    for _ in range(lengths):
        at += 2 if payload[at : at + 1] >= b"\xfc" else 1
    return at if at < len(payload) else 0


class _Dred:
    """Decoder of the redundancy in packets: up to a second before their own samples (DRED).

    Raises AttributeError for a ``library`` that is older than 1.5, or was built without it.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        library.opus_dred_decoder_create.restype = library.opus_dred_alloc.restype = _VOID
        library.opus_decoder_dred_decode_float.argtypes = (_VOID, _VOID, _INT32, _VOID, _INT32)
        error, self._end = ctypes.c_int(), ctypes.c_int()
        self._decoder = _VOID(library.opus_dred_decoder_create(ctypes.byref(error)))
        self._state = _VOID(library.opus_dred_alloc(ctypes.byref(error)))
        self._held = b""
        if error.value:
            raise AttributeError(f"libopus gives no DRED: error {error.value}")

    def reach(self, payload: bytes, later: bool = True) -> int:
        """Return how many samples before its own a packet holds; ``later``: it is not decoded."""
        self._held = b"" if later else payload
        found = self._library.opus_dred_parse(
            self._decoder,
            self._state,
            payload,
            len(payload),
            SAMPLE_RATE,  # a second: more than is sent
            SAMPLE_RATE,
            ctypes.byref(self._end),
            later,
        )
        return max(0, int(found)) if payload else 0

    def decode(self, decoder: Any, payload: bytes, offset: int, out: Any, samples: int) -> int:
        """Decode samples that begin ``offset`` before a packet's own; return how many.

        The decoder goes on as if it had decoded them.
        """
        if payload != self._held and self.reach(payload, later=False) < offset:
            return 0
        decode = self._library.opus_decoder_dred_decode_float
        return int(decode(decoder, self._state, offset, out, samples))

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._library.opus_dred_free(self._state)
        if getattr(self, "_decoder", None):
            self._library.opus_dred_decoder_destroy(self._decoder)


class LibopusDecoder:
    """One stream's decoder.

    Parameters
    ----------
    library : ctypes.CDLL, libopus
    channels : int, 1 or 2
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
        self._dred: _Dred | None = None
        if sample_rate == SAMPLE_RATE:
            with contextlib.suppress(AttributeError):
                self._dred = _Dred(library)

    @classmethod
    def open(cls, channels: int) -> Self | None:
        """Return a decoder; None where there is no libopus."""
        library = _library()
        return None if library is None else cls(library, channels)

    def decode(self, payload: bytes, samples: int) -> NDArray[np.float32] | None:
        """Return a packet's samples, shape (samples, channels); None if it is malformed."""
        self._speech = bool(payload) and payload[0] >> 3 < _CELT_ONLY
        return self._decoded(payload, samples, 0)

    def reach(self, payload: bytes) -> int:
        """Return how many samples before its own a packet repeats, at 48 kHz."""
        held = self._dred.reach(payload) if self._dred else 0
        return max(held, repeated_samples(payload, self.channels))

    def decode_repeated(
        self, payload: bytes, offset: int, samples: int
    ) -> NDArray[np.float32] | None:
        """Decode a packet's redundancy, ``offset`` before its own samples: (samples, channels).

        None if it has none there; of LBRR also if the music coder was at work before: libopus would
        conceal then, which is not its business here.
        """
        if offset == samples == repeated_samples(payload, self.channels) and self._speech:
            return self._decoded(payload, samples, 1)
        if self._dred is None:
            return None
        out = ctypes.c_void_p(self._out.ctypes.data)
        return self._taken(self._dred.decode(self._state, payload, offset, out, samples), samples)

    def conceal(self, samples: int) -> NDArray[np.float32] | None:
        """Return libopus' concealment of a lost packet, shape (samples, channels)."""
        return self._decoded(None, samples, 0)

    def pass_lost(self, samples: int) -> None:
        """Let the state go on over lost samples, as many as do it good."""
        if whole := min(samples, _PASSED_MOST) // _SAMPLES_LEAST * _SAMPLES_LEAST:
            self.conceal(whole)

    def memory(self) -> tuple[bool, bytes]:
        """Return a copy of the state: 18 KB, of two channels 27."""
        size = self._library.opus_decoder_get_size(self.channels)
        return self._speech, ctypes.string_at(self._state, size)

    def recall(self, memory: tuple[bool, bytes]) -> None:
        """Go back to a state that was copied."""
        self._speech, state = memory
        ctypes.memmove(self._state, state, len(state))

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
        return self._taken(made, samples)

    def _taken(self, made: int, samples: int) -> NDArray[np.float32] | None:
        """Return libopus' samples; None unless they are audio, and as many as asked for."""
        found = self._out[:made]
        return found.copy() if made == samples and np.abs(found).max() < _LOUDEST else None

    def __del__(self) -> None:
        """Free libopus' memory."""
        if getattr(self, "_state", None):
            self._library.opus_decoder_destroy(self._state)


@cache
def _library() -> Any:
    path = ctypes.util.find_library("opus")
    if path is None:
        return None
    try:
        return bound(ctypes.CDLL(path))
    except (OSError, AttributeError):
        return None


def bound(library: ctypes.CDLL) -> Any:
    """Return ``library`` with the types of libopus' decoder; raise AttributeError for another."""
    number = ctypes.c_int
    library.opus_decoder_create.restype = _VOID
    library.opus_decoder_create.argtypes = (_INT32, number, _VOID)
    library.opus_decoder_destroy.argtypes = (_VOID,)
    library.opus_decoder_get_size.argtypes = (number,)
    library.opus_decode_float.argtypes = (_VOID, ctypes.c_char_p, _INT32, _VOID, number, number)
    return library
