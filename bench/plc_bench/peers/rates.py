"""Streams at a peer's own sample rate: there and back, and where the packets then begin."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plc_bench.base.corpus import Samples, resample
from plc_bench.peers.base import PeerError

INT16_SCALE = 32768.0


def at_rate(
    signal: Samples, sample_rate: int, rate: int, play: Callable[[Samples], Samples]
) -> Samples:
    """Return ``play(signal)``, played at another rate.

    Parameters
    ----------
    signal : float32, shape (n, channels), at ``sample_rate``
    play : callable
        Gets the signal at ``rate`` and returns as many samples, or more.

    Returns
    -------
    float32, shape of ``signal``
        Both conversions are soxr's, of linear phase: they add no delay.
    """
    if rate == sample_rate:
        return fitted(play(signal), len(signal))
    there = np.ascontiguousarray(resample(signal, sample_rate, rate))
    played = fitted(play(there), len(there))
    return fitted(resample(played, rate, sample_rate), len(signal))


def fitted(signal: Samples, samples: int) -> Samples:
    """Cut or zero-pad a signal to ``samples``."""
    out = np.zeros((samples, signal.shape[1]), np.float32)
    kept = min(samples, len(signal))
    out[:kept] = signal[:kept]
    return out


def packet_edges(
    packets: int, packet_samples: int, sample_rate: int, rate: int
) -> NDArray[np.int64]:
    """Return where the packets of a stream begin at another rate: int64, shape (packets + 1,)."""
    starts = np.arange(packets + 1) * packet_samples
    return np.rint(starts * rate / sample_rate).astype(np.int64)


def whole_packet(packet_samples: int, sample_rate: int, rate: int) -> int:
    """Return a packet's length at another rate.

    Raises
    ------
    PeerError
        If that is not a whole number of samples.
    """
    samples, rest = divmod(packet_samples * rate, sample_rate)
    if rest:
        raise PeerError(
            f"packets of {packet_samples} samples at {sample_rate} Hz are no whole number of "
            f"samples at {rate} Hz; give packets of whole ms"
        )
    return samples


def to_int16(signal: Samples) -> NDArray[np.int16]:
    """Return samples of full scale 1.0 as int16, clipped."""
    rounded: NDArray[np.int16] = np.clip(np.rint(signal * INT16_SCALE), -32768, 32767).astype(
        np.int16
    )
    return rounded


def to_float(signal: NDArray[np.int16]) -> Samples:
    """Return int16 samples as float32 of full scale 1.0."""
    return np.asarray(signal / np.float32(INT16_SCALE), np.float32)
