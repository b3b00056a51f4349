"""Distances between an original and its concealed version, for ``plc demo``.

:mod:`plc_bench.scores.metrics` builds on these and has the conventions. A signal is a float array
of shape ``(n,)`` or ``(n, channels)``, full scale 1.0; ``lost`` is a bool array of shape ``(n,)``,
True where the sample was in a lost packet.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

# The grid of Marafioti et al. 2019, section 3.1, in ms, for spectra of signals at any rate.
WINDOW_MS = 32.0
HOP_MS = 8.0
# Below this, re a full-scale sine, a bin counts as silence: 16-bit noise in one bin of a 32 ms
# window lies at about -125 dB, lossy codecs leave bins at minus infinity.
SPECTRUM_FLOOR_DB = -100.0


def nmse_db(reference: Signal, estimate: Signal, lost: Mask) -> float:
    """Return the normalised error energy over the lost samples, dB.

    0 dB is what silence scores, minus infinity a perfect concealment.

    Notes
    -----
    ``10 log10(sum (x - y)^2 / sum x^2)``, both sums over the lost samples of all channels, in
    float64: the NMSE of [1]_, over one clip.

    References
    ----------
    .. [1] A. I. Mezza et al., "Hybrid packet loss concealment for real-time networked music
       applications", IEEE Open Journal of Signal Processing 5, 2024.
    """
    truth = reference[lost].astype(np.float64)
    error = truth - estimate[lost]
    return ratio_db(float((error**2).sum()), float((truth**2).sum()))


def lsd_db(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    """Return the log-spectral distance over the frames that touch losses, in dB.

    Notes
    -----
    Of each frame the root of the mean, over bins, of the squared difference of the log power
    spectra in dB [1]_; then the mean over frames and channels. Frames of 32 ms every 8 ms (the
    paper's grid, at any rate), Hann; bins below -100 dB re a full-scale sine count as -100 dB.

    References
    ----------
    .. [1] A. Gray, J. Markel, "Distance measures for speech processing", IEEE TASSP 24 (5), 1976.
    """
    distances, _ = spectral_distances_db(reference, estimate, lost, sample_rate)
    return float(distances.mean()) if distances.size else math.nan


def spectral_distances_db(
    reference: Signal, estimate: Signal, lost: Mask, sample_rate: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return log-spectral distances of frames with losses, and their starts.

    Returns
    -------
    float64, shape (frames,) or (channels, frames)
        In dB; :func:`lsd_db` is their mean.
    intp, shape (frames,)
        First sample of each frame.
    """
    starts, window_samples = frames_touching(lost, sample_rate)
    difference = level_db(reference, starts, window_samples)
    difference -= level_db(estimate, starts, window_samples)
    distances: NDArray[np.float64] = np.sqrt((difference**2).mean(axis=-1))
    return distances, starts


def magnitudes(
    signal: Signal, starts: NDArray[np.intp], window_samples: int
) -> NDArray[np.float64]:
    """Return the magnitude spectra of Hann-windowed frames.

    Returns
    -------
    float64, shape (frames, bins) or (channels, frames, bins)
        Of the frames that begin at ``starts``; ``bins = window_samples // 2 + 1``.
    """
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_samples) / window_samples)
    frames = np.asarray(signal, np.float64).T[..., starts[:, None] + np.arange(window_samples)]
    spectra: NDArray[np.float64] = np.abs(np.fft.rfft(frames * hann))
    return spectra


def level_db(signal: Signal, starts: NDArray[np.intp], window_samples: int) -> NDArray[np.float64]:
    """Return frames' log power spectra, dB re a full-scale sine, floored."""
    # A full-scale sine peaks at a quarter of the window's length: half its Hann window's sum.
    spectra = magnitudes(signal, starts, window_samples) / (window_samples / 4)
    levels: NDArray[np.float64] = 20.0 * np.log10(spectra.clip(10 ** (SPECTRUM_FLOOR_DB / 20)))
    return levels


def frames_touching(lost: Mask, sample_rate: int) -> tuple[NDArray[np.intp], int]:
    """Return the starts of frames with lost samples, and their length."""
    window_samples = round(sample_rate * WINDOW_MS / 1000)
    hop_samples = round(sample_rate * HOP_MS / 1000)
    starts = np.arange(0, lost.size - window_samples + 1, hop_samples)
    before = np.concatenate([[0], np.cumsum(lost)])
    touching = before[starts + window_samples] > before[starts]
    return starts[touching], window_samples


def ratio_db(numerator: float, denominator: float) -> float:
    """Return the ratio of two energies in dB; NaN where the denominator is zero."""
    if denominator <= 0.0:
        return math.nan
    return 10.0 * math.log10(numerator / denominator) if numerator > 0.0 else -math.inf
