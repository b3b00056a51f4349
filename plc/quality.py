"""How far what was played is from what was lost: the two figures of ``plc demo``.

:mod:`plc_bench.metrics` has these and more, for signals of any shape; it builds on this package
and so cannot be used here. A test holds the definitions together.
"""

import numpy as np
from numpy.typing import NDArray

_WINDOW_MS = 32.0
_HOP_MS = 8.0
# Below this, re a full-scale sine, a bin counts as silence.
_FLOOR_DB = -100.0


def nmse_db(
    original: NDArray[np.float32], played: NDArray[np.float32], lost: NDArray[np.bool_]
) -> float:
    """Return the error over the lost samples in dB relative to what was lost; lower is better.

    Parameters
    ----------
    original, played : float32, shape (n,)
        The truth, and what was heard.
    lost : bool, shape (n,)
        Which samples count. Silence gives 0 dB, nothing lost gives NaN.
    """
    truth = original[lost].astype(np.float64)
    energy = np.sum(truth**2)
    if energy == 0.0:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.sum((played[lost] - truth) ** 2) / energy))


def lsd_db(
    original: NDArray[np.float32],
    played: NDArray[np.float32],
    lost: NDArray[np.bool_],
    sample_rate: int,
) -> float:
    """Return how far the spectra around losses are apart, in dB; lower is better.

    The log-spectral distance: of each frame of 32 ms that holds a lost sample the RMS, over bins,
    of the difference of levels; of these the mean. It judges what the waveform's error does not:
    whether a gap has the right sound though not the right phase.

    Parameters
    ----------
    original, played : float32, shape (n,)
        The truth, and what was heard.
    lost : bool, shape (n,)
        Which samples were lost; none gives NaN.
    sample_rate : int
        In Hz.
    """
    window_samples = round(sample_rate * _WINDOW_MS / 1000)
    hop = round(sample_rate * _HOP_MS / 1000)
    starts = np.arange(0, lost.size - window_samples + 1, hop)
    before = np.concatenate([[0], np.cumsum(lost)])
    starts = starts[before[starts + window_samples] > before[starts]]
    if not starts.size:
        return float("nan")
    distance = _levels_db(original, starts, window_samples)
    distance -= _levels_db(played, starts, window_samples)
    return float(np.sqrt((distance**2).mean(axis=1)).mean())


def _levels_db(
    signal: NDArray[np.float32], starts: NDArray[np.intp], window_samples: int
) -> NDArray[np.float64]:
    """Return the levels of frames in dB re a full-scale sine, shape (frames, bins)."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_samples) / window_samples)
    frames = signal.astype(np.float64)[starts[:, None] + np.arange(window_samples)]
    # A full-scale sine peaks at half the window's sum.
    spectra = np.abs(np.fft.rfft(frames * hann)) / (window_samples / 4)
    levels: NDArray[np.float64] = 20 * np.log10(spectra.clip(10 ** (_FLOOR_DB / 20)))
    return levels
