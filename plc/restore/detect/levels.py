"""Levels over time, for the search for holes.

The energy of a sample alone falls to nothing wherever a low tone passes through zero. Here it is
taken together with that of its slope, scaled so that both weigh the same: a steady tone has a
steady level however low it is, and only where both vanish is there no sound.
"""

import numpy as np
from numpy.typing import NDArray

HOP_MS = 0.5
"""Time between levels."""
FLOOR_DB = -84.0
"""Least level: 16-bit noise."""
SILENT_DB = -50.0
"""Nothing is missed where sound is quieter."""
# Window that smooths a level; window that scales its slope, and frame of a recording's level.
_SMOOTH_MS, _SCALE_MS = 1.0, 40.0
# Quantile of frames that is a recording's level; highest level a recording is raised to; step of
# raising; most steps; least slope power of sound, not noise, over its quiet frames'.
_LOUDEST, _NEAR_DB, _STEP_DB, _MOST_STEPS, _MOVING = 0.9, -30.0, 20 * np.log10(2), 5, 4.0


def level_db(x: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the level of one channel every :data:`HOP_MS`: float64, shape (frames,).

    In dB of full scale, of 1 ms around ``k * HOP_MS``. ``x`` is float32, shape (n,); the rate is in
    Hz.
    """
    hop = HOP_MS * sample_rate / 1000
    frames = int(x.size / hop)
    centres = np.rint(np.arange(frames) * hop).astype(np.int64)
    signal = x.astype(np.float64)
    slope = np.gradient(signal) if x.size > 1 else np.zeros(x.size)
    square, steep = _sums(signal * signal), _sums(slope * slope)
    long, short = (max(1, round(ms * sample_rate / 2000)) for ms in (_SCALE_MS, _SMOOTH_MS))
    scale = _around(square, centres, long) / np.maximum(_around(steep, centres, long), 1e-20)
    energy = _around(square, centres, short) + scale * _around(steep, centres, short)
    levels: NDArray[np.float64] = np.maximum(10 * np.log10(energy / 2 + 1e-20), FLOOR_DB)
    return levels


def gain_of(x: NDArray[np.float32], sample_rate: int) -> np.float32:
    """Return a power of 2 that brings quiet sound to -36 dB and more; 1 for louder sound.

    Levels of full scale then mark sound, at any gain of the recording. Noise of a room or a
    machine stays as it is: its level, without the lowest tones, hardly moves. No more than 30 dB,
    so that noise of 16 bits stays below the level of sound.

    ``x`` is float32, shape (n,), finite; ``sample_rate`` is in Hz.
    """
    frame = round(_SCALE_MS * sample_rate / 1000)
    frames = x[: x.size // frame * frame].reshape(-1, frame)
    if not frames.size:
        return np.float32(1.0)
    steep = np.mean(np.square(np.diff(frames, axis=1)), axis=1)
    if np.quantile(steep, _LOUDEST) < _MOVING * np.quantile(steep, 1 - _LOUDEST):
        return np.float32(1.0)
    loud = float(np.quantile(np.mean(np.square(frames), axis=1), _LOUDEST))
    steps = np.floor((_NEAR_DB - 10 * np.log10(loud + 1e-20)) / _STEP_DB)
    return np.float32(2.0 ** np.clip(steps, 0, _MOST_STEPS))


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])


def _around(
    sums: NDArray[np.float64], centres: NDArray[np.int64], half: int
) -> NDArray[np.float64]:
    low = np.maximum(centres - half, 0)
    high = np.minimum(centres + half, sums.size - 1)
    within = np.maximum(sums[high] - sums[low], 0.0)
    means: NDArray[np.float64] = within / np.maximum(high - low, 1)
    return means


def mean_db(levels: NDArray[np.float64]) -> float:
    """Return the level of the mean power; :data:`FLOOR_DB` of nothing."""
    return float(10 * np.log10(np.mean(10 ** (levels / 10)))) if levels.size else FLOOR_DB


def change_db(before: NDArray[np.float32], behind: NDArray[np.float32], sample_rate: int) -> float:
    """Return by how much two spectra differ in the mean.

    By bands up to 8 kHz, in dB.

    Both are float32, of one shape (n,); ``sample_rate`` is in Hz.
    """
    both = bands_db(np.stack([before, behind]), sample_rate)
    return float(np.mean(np.abs(both[0] - both[1])))


def bands_db(parts: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the levels of 13 bands up to 8 kHz, fewer of short parts, shape (parts, bands).

    ``parts`` are samples, float32, shape (parts, n); ``sample_rate`` is in Hz.
    """
    size = parts.shape[1]
    highest = min(8000.0, 0.45 * sample_rate) * size / sample_rate
    edges = np.unique(np.concatenate([[1], np.geomspace(2, highest, 14)]).astype(int))
    power = np.abs(np.fft.rfft(parts * np.hanning(size), axis=1)) ** 2
    summed: NDArray[np.float64] = np.add.reduceat(power, edges, axis=1)[:, :-1] + 1e-8
    return 10 * np.log10(summed)
