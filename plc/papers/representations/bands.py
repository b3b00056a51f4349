"""Representations by nonstationary Gabor frames: constant-Q, NSGT, ERB.

Log-magnitudes and instantaneous frequencies of bands (:mod:`plc_kernels.papers.nsgt`), all with as
many frames as the widest needs. NSGT and ERB cover all frequencies, and their inverses are exact
but for the rounding of float32. The 84 semitones of constant-Q leave out what lies below and above
them, as in the document.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.papers.representations.base import Array, Samples, checked
from plc.papers.representations.spectral import FORMS
from plc_kernels.papers.nsgt import AT, LENGTH, Nsgt, bands_of, signal_of_bands
from plc_kernels.spectra.scales import band_centres_hz

SEMITONES = 84
LOWEST_HZ = 32.703
"""Of constant-Q: the note C1, and seven octaves from there."""
NSGT_BANDS, NSGT_LOWEST_HZ = 96, 20.0
ERB_BANDS = 64

Layout = tuple[NDArray[np.float64], slice]
"""Centres in Hz, and which bands are rows; the first band lies around 0 Hz."""


def semitones(sample_rate: int) -> Layout:
    """Return semitones up to half the sample rate; the lowest 84 are rows."""
    count = math.ceil(12 * math.log2(sample_rate / 2 / LOWEST_HZ))
    if count < SEMITONES:
        raise ConfigError(
            f"constant-q has {SEMITONES} semitones, up to 3951 Hz; a sample rate of {sample_rate} "
            "Hz is too low for them, take at least 8000"
        )
    highest_hz = LOWEST_HZ * 2.0 ** ((count - 1) / 12)
    return band_centres_hz("constant-q", count, LOWEST_HZ, highest_hz), slice(1, SEMITONES + 1)


def octaves(sample_rate: int) -> Layout:
    """Return centres at constant distances in octaves; all bands are rows."""
    top_hz = sample_rate / 2
    centres = band_centres_hz("constant-q", NSGT_BANDS + 1, NSGT_LOWEST_HZ, top_hz)
    return centres[:-1], slice(None)


def erbs(sample_rate: int) -> Layout:
    """Return centres at constant distances on the scale of hearing; all bands are rows."""
    return band_centres_hz("erb", ERB_BANDS + 2, 0.0, sample_rate / 2)[1:-1], slice(None)


class Bands:
    """Coefficients of a signal's bands.

    Parameters
    ----------
    layout : callable
        Returns the :data:`Layout` for a sample rate in Hz. What lies in bands that are no rows is
        lost.
    sample_rate : int, in Hz
    samples : int, length of the signals
    """

    def __init__(self, layout: Callable[[int], Layout], sample_rate: int, samples: int) -> None:
        self.channels, self._to_array, self._from_array = FORMS["frequency"]
        centres, rows = layout(sample_rate)
        self._frame = Nsgt.allocate(centres, sample_rate, samples, equal=rows)
        chosen = self._frame.bands[rows]
        frames = int(chosen[0, LENGTH])
        # Rows lie one after the other.
        self._held = slice(int(chosen[0, AT]), int(chosen[-1, AT]) + frames)
        self.samples = samples
        self.shape = (2, chosen.shape[0], frames)

    def forward(self, samples: Samples) -> Array:
        """Return the array; see :class:`~plc.papers.representations.base.Representation`."""
        x = checked(samples, (self.samples,), "the signal")
        return self._to_array(bands_of(x, self._frame)[self._held].reshape(self.shape[1:]))

    def inverse(self, array: Array) -> Samples:
        """Return the signal; see :class:`~plc.papers.representations.base.Representation`."""
        coefficients = np.zeros(self._frame.coefficients, np.complex128)
        rows = self._from_array(checked(array, self.shape, "the array"))
        coefficients[self._held] = rows.reshape(-1)
        return signal_of_bands(coefficients, self._frame).astype(np.float32)
