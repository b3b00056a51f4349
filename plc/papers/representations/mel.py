"""Mel spectra and their cepstra (MFCC): no phases, and fewer numbers than bins.

Of mel spectra the powers of the bins are those whose own are nearest: the pseudo-inverse, made
non-negative by multiplicative steps [1]_. Phases are made by PGHI and 100 iterations of the fast
Griffin-Lim algorithm. Cepstra are the first coefficients of the cosine transform along the bands.

References
----------
.. [1] D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 13, 2001.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc.papers.representations import polar
from plc.papers.representations.base import Array, Samples, checked
from plc.papers.representations.spectral import WINDOW, make_grid
from plc_kernels.spectra.offline import integrate_phase, refine_phase, signal_of, spectra_of
from plc_kernels.spectra.scales import band_centres_hz
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import gaussian_gamma

BANDS = 128
"""Of a mel spectrum; the document's."""
CEPSTRA = 20
"""Of a frame; its program's."""
GRIFFIN_LIM_ITERATIONS = 100
# On notes 100 more gain 0.6 dB of spectral convergence, these 100 gained 8 to 13 dB.
_POWER_STEPS = 100
# The lowest bands are narrower than a bin of a plain transform; those of twice the length hold one.
_N_FFT_WINDOWS = 2


def mel_filters(bands: int, top_hz: float, n_fft: int, sample_rate: int) -> NDArray[np.float64]:
    """Return triangular filters at constant distances in mel: float64, shape (bands, bins).

    Each has height 1.
    """
    corners_hz = band_centres_hz("mel", bands + 2, 0.0, top_hz)
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    low, centre, high = (corners_hz[i : i + bands, None] for i in range(3))
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    filters: NDArray[np.float64] = np.minimum(rising, falling).clip(0.0)
    return filters


def signal_of_magnitudes(
    magnitude: NDArray[np.float32], samples: int, grid: Stft, iterations: int
) -> Samples:
    """Return a signal with nearly these spectral magnitudes.

    Parameters
    ----------
    magnitude : float32, shape (frames, bins), all that is known
    samples : int, length of the signal
    grid : Stft, its transform, with a Hann window
    iterations : int
        Of the fast Griffin-Lim algorithm, after PGHI.
    """
    known = np.zeros(magnitude.shape, np.uint8)
    phase = np.zeros(magnitude.shape, np.float32)
    gamma = gaussian_gamma(WINDOW, grid.window.size)
    integrate_phase(magnitude, known, gamma, grid, phase)
    estimate = (magnitude * np.exp(1j * phase)).astype(np.complex64)
    refine_phase(iterations, magnitude, known, np.zeros_like(estimate), samples, grid, estimate)
    return signal_of(estimate, samples, grid)


class Mel:
    """Logarithms of mel powers, of signals of so many samples, at a rate in Hz."""

    channels: tuple[str, ...] = ("log power",)

    def __init__(self, sample_rate: int, samples: int) -> None:
        self.grid = make_grid(sample_rate, _N_FFT_WINDOWS)
        self._filters = mel_filters(BANDS, sample_rate / 2, self.grid.n_fft, sample_rate)
        self._back = np.linalg.pinv(self._filters).astype(np.float32)
        self.samples = samples
        self.shape = (1, BANDS, self.grid.frames(samples))

    def forward(self, samples: Samples) -> Array:
        """Return the array; see :class:`~plc.papers.representations.base.Representation`."""
        return self.log_power(samples).astype(np.float32)[None]

    def inverse(self, array: Array) -> Samples:
        """Return the signal; see :class:`~plc.papers.representations.base.Representation`."""
        return self.signal(self.magnitude_of_powers(checked(array, self.shape, "the array")[0]))

    def log_power(self, samples: Samples) -> NDArray[np.float64]:
        """Return logarithms of the bands' powers: float64, shape (bands, frames)."""
        x = checked(samples, (self.samples,), "the signal")
        power = np.abs(spectra_of(x, self.grid).T.astype(np.complex128)) ** 2
        return polar.log_magnitude(self._filters @ power).astype(np.float64)

    def magnitude_of_powers(self, log_power: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return magnitudes with nearly these mel powers: float32, shape (frames, bins).

        The logarithms of the powers are of shape (bands, frames).
        """
        power = self._powers(polar.magnitude_of(log_power).astype(np.float32))
        return np.ascontiguousarray(np.sqrt(power).T)

    def signal(self, magnitude: NDArray[np.float32]) -> Samples:
        """Return a signal with nearly these magnitudes, shape (frames, bins)."""
        return signal_of_magnitudes(magnitude, self.samples, self.grid, GRIFFIN_LIM_ITERATIONS)

    def _powers(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return powers of bins, none below 0, with nearly these mel powers."""
        filters = self._filters.astype(np.float32)
        wanted = filters.T @ mel
        # Above 0: multiplicative steps never leave it.
        floor = 1e-6 * wanted + np.finfo(np.float32).tiny
        power: NDArray[np.float32] = np.maximum(self._back @ mel, floor)
        for _ in range(_POWER_STEPS):
            power *= wanted / np.maximum(filters.T @ (filters @ power), floor)
        return power


class Mfcc:
    """Cepstra of mel spectra (MFCC), of signals of so many samples, at a rate in Hz."""

    channels = ("cepstrum",)

    def __init__(self, sample_rate: int, samples: int) -> None:
        self._mel = Mel(sample_rate, samples)
        self._cosines = cosine_rows(CEPSTRA, BANDS)
        self.grid = self._mel.grid
        self.samples = samples
        self.shape = (1, CEPSTRA, self._mel.shape[2])

    def forward(self, samples: Samples) -> Array:
        """Return the array; see :class:`~plc.papers.representations.base.Representation`."""
        return (self._cosines @ self._mel.log_power(samples)).astype(np.float32)[None]

    def inverse(self, array: Array) -> Samples:
        """Return the signal; see :class:`~plc.papers.representations.base.Representation`."""
        cepstra = checked(array, self.shape, "the array")[0]
        return self._mel.signal(self._mel.magnitude_of_powers(self._cosines.T @ cepstra))


def cosine_rows(rows: int, columns: int) -> NDArray[np.float64]:
    """Return the first rows of the orthonormal cosine transform of type 2."""
    angle = np.pi / columns * np.outer(np.arange(rows), np.arange(columns) + 0.5)
    matrix = math.sqrt(2.0 / columns) * np.cos(angle)
    matrix[0] = math.sqrt(1.0 / columns)
    return matrix
