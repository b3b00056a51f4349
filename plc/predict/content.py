"""Classification of audio as music or speech.

For filling gaps of a file, where there is time (20 ms for two sides of 8 s at 16 kHz, 35 at 48 kHz)
and both sides are known; a stream asks :class:`plc.engine.background.Background`, which costs next
to nothing and listens as it goes.

Eight features of the power spectra of 32 ms frames, up to 8 kHz or, at lower rates, up to 4 kHz,
and the probability that a logistic regression on them and their squares gives. ``plc train
content`` fits it and prints :data:`MODEL`, :data:`NARROW_MODEL`, and the weights of the network
that the background has (:mod:`plc_kernels.content`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FRAME_MS, _HOP_MS = 32.0, 10.0
WIDE_RATE, NARROW_RATE = 16_000, 8_000
"""Least rates, in Hz, of what is heard up to 8 kHz, and up to 4 kHz."""
# Frames this far below the loudest say nothing of the spectrum.
_LOUD_DB, _PAUSE_DB, _LEAST_DB = 25.0, 20.0, 50.0
_BASS = slice(0, 3)
# Frames apart over which change is measured, and what passes for it in fewer frames.
_APART, _UNKNOWN_CHANGE = 4, 2.0

FEATURES = ("pauses", "dynamics", "bass", "centre", "movement", "treble", "flatness", "change")

MODEL = np.array(
    [
        [
            0.16984,
            8.6276,
            -24.252,
            6.3847,
            0.61803,
            -26.895,
            -5.418,
            1.6968,
            0.066339,
            107.18,
            816.19,
            41.322,
            0.60728,
            864.23,
            33.548,
            3.0306,
            0,
        ],
        [
            0.19364,
            5.7223,
            15.101,
            0.74663,
            0.47468,
            11.869,
            2.0478,
            0.38916,
            0.11248,
            115.07,
            833.42,
            9.2821,
            0.83828,
            768.2,
            25.55,
            1.3963,
            1,
        ],
        [
            0.24621,
            0.82244,
            -4.672,
            -1.2023,
            1.0214,
            -0.39038,
            3.9977,
            5.2369,
            0.4554,
            -0.6956,
            -3.5883,
            0.66449,
            0.026903,
            1.3385,
            2.2002,
            -1.9693,
            -0.04974,
        ],
    ]
)
"""Means, deviations and weights of the features and their squares; the last weight stands alone."""

NARROW_MODEL = np.array(
    [
        [
            0.19415,
            8.5609,
            -42.007,
            6.4198,
            0.40166,
            -18.163,
            -4.1741,
            1.6511,
            0.083266,
            104.06,
            2200.8,
            41.559,
            0.2481,
            410.08,
            20.624,
            2.9012,
            0,
        ],
        [
            0.21348,
            5.5475,
            20.885,
            0.58817,
            0.29457,
            8.9553,
            1.7891,
            0.41829,
            0.12922,
            108.74,
            1503.2,
            7.2252,
            0.34989,
            440.33,
            20.088,
            1.4707,
            1,
        ],
        [
            1.2395,
            0.80162,
            -5.2828,
            0.41962,
            0.05256,
            -0.47059,
            3.3678,
            4.232,
            -0.29082,
            -0.8598,
            -4.5999,
            -1.1378,
            0.42386,
            0.26708,
            2.0114,
            -0.93995,
            0.086176,
        ],
    ]
)
"""The same below :data:`WIDE_RATE`."""


@dataclass(frozen=True, slots=True)
class _Band:
    """Bins of 31.25 Hz for the features, and the classifier's weights."""

    bins: int
    treble: slice
    flatness: slice
    change: slice
    model: NDArray[np.float64]


_WIDE = _Band(257, slice(129, 257), slice(6, 200), slice(3, 160), MODEL)
_NARROW = _Band(129, slice(65, 129), slice(6, 100), slice(3, 100), NARROW_MODEL)


def _band(sample_rate: int) -> _Band:
    return _WIDE if sample_rate >= WIDE_RATE else _NARROW


def features(passages: list[NDArray[np.float32]], sample_rate: int) -> NDArray[np.float64] | None:
    """Return features that tell speech from music in one signal's passages.

    None where too little is known.

    Parameters
    ----------
    passages : list of float32, shape (n,) each
        What is known: the two sides of a gap, say.
    sample_rate : int
        In Hz; below :data:`NARROW_RATE` nothing is told.

    Returns
    -------
    float64, shape (8,), or None
        In the order of :data:`FEATURES`: the share of frames 20 dB below the loud ones, the
        deviation of the level in dB, power below 94 Hz in dB of all, the logarithm of the mean
        spectral centroid in Hz, the centroid's deviation by its mean, power in the upper half of
        the band in dB of all, the logarithm of the spectral flatness, and how much log spectra
        change in 40 ms.
    """
    if sample_rate < NARROW_RATE:
        return None
    band = _band(sample_rate)
    size = round(_FRAME_MS * sample_rate / 1000.0)
    hop = round(_HOP_MS * sample_rate / 1000.0)
    window = np.hanning(size).astype(np.float32)
    frames = [
        np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(x, size)[::hop] * window))
        for x in passages
        if x.size >= size
    ]
    if not frames:
        return None
    power = np.concatenate(frames)[:, : band.bins].astype(np.float64) ** 2
    loudest = power.max()
    if not loudest > 0.0:
        return None
    power += 1e-10 * loudest
    level = 10.0 * np.log10(power.sum(axis=1))
    top = np.percentile(level, 95.0)
    loud = power[level > top - _LOUD_DB]
    total = loud.sum(axis=1)
    centroid = loud @ (np.arange(band.bins) * 1000.0 / _FRAME_MS) / total
    logs = np.log(loud[:, band.change])
    logs -= logs.mean(axis=1, keepdims=True)
    change = np.abs(logs[_APART:] - logs[:-_APART])
    middle = loud[:, band.flatness]
    return np.array(
        [
            (level < top - _PAUSE_DB).mean(),
            np.maximum(level, top - _LEAST_DB).std(),
            10.0 * np.log10(loud[:, _BASS].sum() / total.sum() + 1e-6),
            np.log(centroid.mean()),
            centroid.std() / centroid.mean(),
            10.0 * np.log10(loud[:, band.treble].sum() / total.sum() + 1e-6),
            (np.log(middle).mean(axis=1) - np.log(middle.mean(axis=1))).mean(),
            change.mean() if len(change) > _APART else _UNKNOWN_CHANGE,
        ]
    )


def expanded(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return features and their squares along the last axis."""
    return np.concatenate([found, found**2], axis=-1)


def logistic(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of a logit."""
    told: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(evidence, -50.0, 50.0)))
    return told


def probability(model: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply a model like :data:`MODEL` to features, shape (..., n): shape (...)."""
    means, deviations, weights = model
    inputs = (expanded(found) - means[:-1]) / deviations[:-1]
    return logistic(inputs @ weights[:-1] + weights[-1])


def speech_probability(passages: list[NDArray[np.float32]], sample_rate: int) -> float:
    """Return how likely passages of one signal are speech, 0 to 1; 0.5 where nothing tells.

    Parameters
    ----------
    passages : list of float32, shape (n,) each
        As for :func:`features`; finite.
    sample_rate : int
        In Hz.
    """
    found = features(passages, sample_rate)
    if found is None:
        return 0.5
    return float(probability(_band(sample_rate).model, found))
