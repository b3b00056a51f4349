"""spandsp's PLC: repetition of pitch periods, at 8 kHz.

The library itself (``plc_rx`` and ``plc_fillin`` of libspandsp2), by ctypes. It knows one rate;
others are brought to 8 kHz and back, and each channel has a state of its own.
"""

import ctypes

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc_bench.peers.base import Contender, PeerError, load
from plc_bench.peers.rates import at_rate, packet_edges, to_float, to_int16
from plc_bench.scores.metrics import Mask

RATE = 8_000


class Spandsp:
    """libspandsp2's PLC."""

    coded = True

    def play(
        self, signal: NDArray[np.float32], trace: Mask, packet_samples: int, sample_rate: int
    ) -> NDArray[np.float32]:
        """Play the stream."""
        library = _library()
        edges = packet_edges(trace.size, packet_samples, sample_rate, RATE)

        def conceal(narrow: NDArray[np.float32]) -> NDArray[np.float32]:
            whole = to_int16(narrow)
            rows = [
                _conceal(library, np.ascontiguousarray(whole[:, c]), trace, edges)
                for c in range(whole.shape[1])
            ]
            return to_float(np.stack(rows, axis=1))

        return at_rate(signal, sample_rate, RATE, conceal)


def peer(name: str) -> Contender:
    """Return the contender of a name; it has no options."""
    if name != "spandsp":
        raise ConfigError(f"peer {name!r}: spandsp has no options")
    return Spandsp()


def _library() -> ctypes.CDLL:
    library = load("spandsp", "libspandsp2")
    library.plc_init.restype = ctypes.c_void_p
    library.plc_init.argtypes = [ctypes.c_void_p]
    library.plc_free.argtypes = [ctypes.c_void_p]
    for function in (library.plc_rx, library.plc_fillin):
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    return library


def _conceal(
    library: ctypes.CDLL,
    samples: NDArray[np.int16],
    trace: Mask,
    edges: NDArray[np.int64],
) -> NDArray[np.int16]:
    """Return one channel as spandsp plays it; ``samples`` is written."""
    state = library.plc_init(None)
    if not state:
        raise PeerError("spandsp's plc_init failed; is there memory?")
    try:
        for k, lost in enumerate(trace):
            packet = samples[edges[k] : edges[k + 1]]
            step = library.plc_fillin if lost else library.plc_rx
            step(state, packet.ctypes.data, packet.size)
    finally:
        library.plc_free(state)
    return samples
