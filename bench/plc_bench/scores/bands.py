"""Levels in 18 bands, about Bark's, on lost samples: where fills are too quiet, and how far off.

Bands are triangles that add up to 1 (those of Opus), the last from 6.8 kHz up. A frame has 20 ms;
it counts where its middle half is lost.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_bench.scores.metrics import Mask, Signal

_CENTRES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40)
_STEP_HZ = 200.0
FRAME_MS, HOP_MS = 20.0, 5.0
# Below the mean power of a clip: quieter bands are silence.
_FLOOR = 1e-5


def filters(samples: int, sample_rate: int) -> NDArray[np.float64]:
    """Return the weights of a spectrum's bins: float64, shape (18, bins)."""
    centres = np.array(_CENTRES) * _STEP_HZ
    hz = np.fft.rfftfreq(samples, 1.0 / sample_rate)
    return np.stack([np.interp(hz, centres, row) for row in np.eye(centres.size)])


def bias_db(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    """Return the mean difference of the bands' levels in dB; below 0 the fill is too quiet."""
    errors = _errors(reference, estimate, lost, sample_rate)
    return float(errors.mean()) if errors.size else math.nan


def distance_db(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    """Return the mean absolute difference of the bands' levels in dB."""
    errors = np.abs(_errors(reference, estimate, lost, sample_rate))
    return float(errors.mean()) if errors.size else math.nan


def _errors(
    reference: Signal, estimate: Signal, lost: Mask, sample_rate: int
) -> NDArray[np.float64]:
    """Return the differences in dB, shape (frames, 18)."""
    size, hop = (round(sample_rate * ms / 1000.0) for ms in (FRAME_MS, HOP_MS))
    starts = np.arange(0, lost.size - size + 1, hop)
    before = np.concatenate([[0], np.cumsum(lost)])
    middle = before[starts + size - size // 4] - before[starts + size // 4]
    starts = starts[middle == size - 2 * (size // 4)]
    weights = filters(size, sample_rate)
    window = np.hanning(size + 1)[:-1]
    levels = []
    for signal in (reference, estimate):
        mono = np.asarray(signal, np.float64).reshape(lost.size, -1).mean(axis=1)
        frames = mono[starts[:, None] + np.arange(size)] * window
        levels.append(np.abs(np.fft.rfft(frames)) ** 2 @ weights.T)
    floor = _FLOOR * (window**2).sum() * np.mean(np.square(reference, dtype=np.float64))
    heard = weights.sum(axis=1) > 0.0
    found: NDArray[np.float64] = 10.0 * np.log10((levels[1] + floor) / (levels[0] + floor))
    return found[:, heard]
