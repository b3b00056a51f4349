"""Representations by the short-time Fourier transform: complex, and magnitude with phase.

Windows are Hann windows of 64 ms every 16 ms (1024 and 256 samples at 16 kHz), with all bins from
0 Hz to half the sample rate. With phases the inverse is exact but for the rounding of float32.
"""

from collections.abc import Callable, Mapping

import numpy as np

from plc.papers.representations import polar
from plc.papers.representations.base import Array, Samples, checked
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import grid_window_samples, window

WINDOW = "hann"
BIN_HZ = 15.625
"""Distance of bins, which makes windows of 64 ms."""

Form = tuple[
    tuple[str, str], Callable[[polar.Coefficients], Array], Callable[[Array], polar.Coefficients]
]
FORMS: Mapping[str, Form] = {
    "complex": (("real part", "imaginary part"), polar.cartesian, polar.from_cartesian),
    "phase": (("log magnitude", "phase (half turns)"), polar.polar, polar.from_polar),
    "frequency": (
        ("log magnitude", "phase step (half turns)"),
        polar.with_frequency,
        polar.from_frequency,
    ),
}
"""Names of the channels, and both ways, of complex coefficients as real numbers."""


def make_grid(sample_rate: int, n_fft_windows: int = 1) -> Stft:
    """Return the transform for a rate in Hz; ``n_fft`` is that many windows."""
    length = grid_window_samples(sample_rate, BIN_HZ)
    return Stft.allocate(window(WINDOW, length), length // 4, n_fft_windows * length)


class Spectra:
    """Spectra of a signal's frames.

    Parameters
    ----------
    form : str, of :data:`FORMS`
    sample_rate : int, in Hz
    samples : int, length of the signals
    """

    def __init__(self, form: str, sample_rate: int, samples: int) -> None:
        self.channels, self._to_array, self._from_array = FORMS[form]
        self.grid = make_grid(sample_rate)
        self.samples = samples
        self.shape = (2, self.grid.bins, self.grid.frames(samples))

    def forward(self, samples: Samples) -> Array:
        """Return the array; see :class:`~plc.papers.representations.base.Representation`."""
        x = checked(samples, (self.samples,), "the signal")
        return self._to_array(spectra_of(x, self.grid).T)

    def inverse(self, array: Array) -> Samples:
        """Return the signal; see :class:`~plc.papers.representations.base.Representation`."""
        coefficients = self._from_array(checked(array, self.shape, "the array"))
        spectra = np.ascontiguousarray(coefficients.T, np.complex64)
        return signal_of(spectra, self.samples, self.grid)


class Waveform:
    """The samples themselves, as one channel of one row.

    Parameters
    ----------
    samples : int, length of the signals
    """

    channels = ("sample",)

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.shape = (1, 1, samples)

    def forward(self, samples: Samples) -> Array:
        """Return the array; see :class:`~plc.papers.representations.base.Representation`."""
        return checked(samples, (self.samples,), "the signal").reshape(self.shape).copy()

    def inverse(self, array: Array) -> Samples:
        """Return the signal; see :class:`~plc.papers.representations.base.Representation`."""
        return checked(array, self.shape, "the array").reshape(-1).copy()
