"""Players of a stream without this engine: a loop over its losses, in NumPy.

Each fills a burst by one of :data:`~plc.engine.stream.methods.BASELINES`, from the samples before.
The level of a long burst falls to silence, and the first received samples are faded in; not so by
``zeros``.
"""

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.baselines import Baseline, squared_sine
from plc.engine.spans import gaps_of
from plc_kernels.stream.layout import MUSIC_RATE, RECOVERY_MS

# At full level for so long, then a half cosine; below 32 kHz most streams are speech.
_HOLD_MS, _SPEECH_HOLD_MS, _FADE_MS = 60.0, 20.0, 100.0
# Where music differs from its fill by more than this share of its energy, a long crossfade only
# spoils it.
_APART, _QUICK_MS = 0.1, 0.5


def play(
    method: str,
    signal: NDArray[np.float32],
    lost: NDArray[np.bool_],
    packet_samples: int,
    sample_rate: int,
) -> NDArray[np.float32]:
    """Play a stream; return float32, shape (n, channels).

    Parameters
    ----------
    method : str
        One of :data:`~plc.engine.stream.methods.BASELINES`.
    signal : float32, shape (n, channels)
        As sent; its lost samples are not looked at.
    lost : bool, shape (packets,), True = lost
    packet_samples, sample_rate : int, of the stream
    """
    made_by = Baseline(method, sample_rate, packet_samples)
    out = np.array(signal.T, np.float32)
    gaps = [(start, min(stop, len(signal))) for start, stop in gaps_of(lost, packet_samples)]
    for (start, stop), (next_start, _) in zip(gaps, [*gaps[1:], (len(signal), 0)], strict=True):
        known = out[:, stop : min(stop + round(sample_rate * RECOVERY_MS / 1000.0), next_start)]
        samples = stop - start + known.shape[1]
        fill = made_by.go_on(out[:, max(start - made_by.past_samples, 0) : start], samples)
        if method != "zeros":
            fill *= _level(samples, sample_rate)
            _fade_in(known, fill[:, stop - start :], sample_rate)
        out[:, start:stop] = fill[:, : stop - start]
    return out.T


def _level(samples: int, sample_rate: int) -> NDArray[np.float32]:
    hold_ms = _HOLD_MS if sample_rate >= MUSIC_RATE else _SPEECH_HOLD_MS
    into = (1000.0 / sample_rate * np.arange(samples) - hold_ms) / _FADE_MS
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip(into, 0.0, 1.0)), np.float32)


def _fade_in(known: NDArray[np.float32], tail: NDArray[np.float32], sample_rate: int) -> None:
    """Write the first received samples over, crossfaded from the fill that goes on."""
    longest = max(1, round(sample_rate * RECOVERY_MS / 1000.0))
    for received, made in zip(known, tail, strict=True):
        apart = np.sum((made - received) ** 2) > _APART * np.sum(received**2)
        quick = apart and sample_rate >= MUSIC_RATE
        n = round(sample_rate * _QUICK_MS / 1000.0) if quick else longest
        received[:] = made + squared_sine(made.size, n) * (received - made)
