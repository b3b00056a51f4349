"""Analysis windows, their canonical duals, and the Gaussian that each resembles.

Windows are periodic: a window of ``length`` samples peaks at sample ``length / 2``,
and shifted copies of a cosine window sum to a constant. They are made in float64 when
a stream opens; a kernel takes them as float32.
"""

import math

import numpy as np
from numpy.typing import NDArray

# Cosine coefficients, and the width of the Gaussian exp(-pi t^2 / (width * length^2)) that a
# window resembles: Prusa, Balazs, Sondergaard, "A Noniterative Method for Reconstruction of
# Phase from STFT Magnitude", IEEE/ACM TASLP 25(5), 2017, table I (0.17054: a Gaussian cut off
# where it has fallen to 1 %).
_COSINES = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46), "blackman": (0.42, 0.5, 0.08)}
_WIDTHS = {"hann": 0.25645, "hamming": 0.29794, "blackman": 0.17954, "gauss": 0.17054}
WINDOWS = tuple(_WIDTHS)

# A dual of a window that leaves samples (nearly) unseen would amplify roundings without end.
_LEAST_COVER = 1e-6


def window(name: str, length: int) -> NDArray[np.float64]:
    """Return the window ``name``, one of ``WINDOWS``, of ``length`` samples.

    Raises
    ------
    ValueError
        If there is no such window.
    """
    if name not in _WIDTHS:
        raise ValueError(f"window is {name!r}; supported: {', '.join(WINDOWS)}")
    t = np.arange(length) - length / 2
    if name == "gauss":
        bell: NDArray[np.float64] = np.exp(-math.pi * t**2 / gaussian_gamma(name, length))
        return bell
    shape = np.zeros(length)
    for k, amplitude in enumerate(_COSINES[name]):
        shape += amplitude * np.cos(k * 2 * math.pi * t / length)
    return shape


def gaussian_gamma(name: str, length: int) -> float:
    """Return ``gamma``, in samples squared, of the Gaussian most like a window.

    It is ``exp(-pi * t**2 / gamma)`` with ``t`` in samples from the peak.
    """
    return _WIDTHS[name] * length**2


def dual_window(analysis: NDArray[np.floating], hop: int) -> NDArray[np.float64]:
    """Return the canonical dual of ``analysis``: the window that makes the inverse exact.

    Parameters
    ----------
    analysis : shape (length,)
        Analysis window, not longer than the FFT (the painless case, in which the frame
        operator multiplies each sample by the sum of squares of the windows over it).
    hop : int
        Distance between frames, in samples; need not divide the length.

    Raises
    ------
    ValueError
        If the windows leave a sample uncovered.
    """
    cover = np.zeros(hop)
    np.add.at(cover, np.arange(analysis.size) % hop, analysis.astype(np.float64) ** 2)
    if cover.min() <= _LEAST_COVER * cover.max():
        raise ValueError(
            f"windows of {analysis.size} samples every {hop} leave samples uncovered; "
            f"use a hop of at most half the window"
        )
    return analysis / cover[np.arange(analysis.size) % hop]


def grid_window_samples(sample_rate: int, spacing_hz: float = 50.0) -> int:
    """Return the window length whose bins lie ``spacing_hz`` apart.

    It is a multiple of 4; the hop is a quarter of it, and bins mean the same frequencies at each
    rate: 960 samples at 48 kHz, 880 at 44.1 kHz, 160 at 8 kHz for 50 Hz.
    """
    return 4 * round(sample_rate / (4 * spacing_hz))
