r"""Nonstationary Gabor frames: a signal in bands on any scale, and exactly back.

Band ``j`` has a window ``g[j]`` over the bins of the whole signal's spectrum. Its coefficients are
samples of the band's analytic signal, moved down to 0 Hz: of a sine of amplitude 1 at the centre
they have magnitude 1, and their phase turns by how far a sound lies from the centre:

    F[k]    = sum over i of x[i] * exp(-2j * pi * i * k / n)
    c[j, m] = 2 / n * sum over k of F[k] * g[j, k] * exp(2j * pi * m * (k - centre[j]) / M[j])

A window is one half of a Hann window up to each neighbour's centre, so that two overlap at every
frequency, and the outermost, around 0 Hz and half the sample rate, are their own mirror images::

    1 |\      /\        /\            /|      centres at constant distance in octaves, mel, ERB
      | \    /  \      /  \          / |      or Hz (``band_centres_hz``)
      |  \  /    \    /    \        /  |
      |   \/      \  /      \      /   |
      |   /\       \/        \    /    |
    0 |__/__\______/\_________\__/_____|
      0 Hz                              half the sample rate

With at least as many coefficients as the window has bins (the *painless* case) the frame operator
multiplies each bin of the spectrum by a number. So the canonical dual is a division, and the
inverse is exact; of coefficients that no signal has it makes the signal nearest to them. Everything
runs in float64: the spectrum of a minute of sound needs it.

The signal counts as periodic: what sounds at its end reaches its beginning in narrow bands, unless
silence lies between.

O(n log n): one FFT of the signal each way, and two real ones for each band. The signal is followed
by as much silence as makes its length even and without prime factors above 5.

Balazs, Dörfler, Jaillet, Holighaus, Velasco, "Theory, implementation and applications of
nonstationary Gabor frames", J. Comput. Appl. Math. 236(6), 2011, doi 10.1016/j.cam.2011.09.011.
The ERB scale gives frames like those of Necciari, Holighaus, Balazs, Průša, Majdak, Derrien,
"Audlet filter banks", Applied Sciences 8(1), 2018, doi 10.3390/app8010096.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel
from plc_kernels.signal.history import copy
from plc_kernels.spectra.fft import RealFft, irfft, rfft

# Columns of a plan's table of bands. FIRST: the window's first bin, below 0 and above half the
# sample rate where it reaches over them; WIDTH: its bins; WINDOW: where it begins in `windows`;
# CENTRE: the bin that becomes 0 Hz; LENGTH: coefficients; AT: where they begin. The others say
# where the tables of the band's FFT begin, and how many they are.
FIRST, WIDTH, WINDOW, CENTRE, LENGTH, AT, FACTORS, PASSES, TWIDDLES, TURNS = range(10)
_COLUMNS = 10

# A window reaches at least this far from its centre, in bins: of a short signal the bands at the
# bottom of a geometric scale would hold no bin.
_LEAST_REACH = 2.0
_LEAST_SAMPLES = 16
_NONE = slice(0)


@dataclass(frozen=True, slots=True)
class Nsgt:
    """Windows, tables and scratch memory of a frame.

    For signals of one length.

    The scratch memory (``scratch``, ``spectrum``, ``padded``, ``band_*``) serves one call at a
    time.
    """

    samples: int
    coefficients: int
    bands: NDArray[np.int64]
    windows: NDArray[np.float64]
    duals: NDArray[np.float64]
    factors: NDArray[np.int64]
    twiddles: NDArray[np.float64]
    scratch: NDArray[np.float64]
    spectrum: NDArray[np.complex128]
    padded: NDArray[np.float64]
    band_factors: NDArray[np.int64]
    band_twiddles: NDArray[np.float64]
    band_scratch: NDArray[np.float64]
    band_spectra: NDArray[np.complex128]
    band_samples: NDArray[np.float64]

    @classmethod
    def allocate(
        cls,
        centres_hz: NDArray[np.float64],
        sample_rate: int,
        samples: int,
        *,
        equal: slice = _NONE,
    ) -> Self:
        """Return the memory of a frame.

        Parameters
        ----------
        centres_hz : float64, shape (bands,)
            Centres, rising between 0 Hz and half the sample rate. Bands around these two are
            added: the first and the last.
        sample_rate : int, in Hz
        samples : int
            Length of the signals, at least 1.
        equal : slice
            Bands that all have as many coefficients as the widest of them needs, so that they make
            a matrix; the first band is number 0. The others have what each needs.

        Raises
        ------
        ValueError
            If the centres do not rise between 0 Hz and half the sample rate, or there are no
            samples.
        """
        if samples < 1:
            raise ValueError(f"samples is {samples}; supported: at least 1")
        edges_hz = np.concatenate([[0.0], centres_hz, [sample_rate / 2]])
        if not (np.isfinite(edges_hz).all() and (np.diff(edges_hz) > 0).all()):
            raise ValueError(
                f"centres are {centres_hz} Hz; expected rising ones above 0 and below "
                f"{sample_rate / 2:g} Hz"
            )
        n = fast_length(max(samples, _LEAST_SAMPLES))
        bands, windows = _windows(edges_hz * n / sample_rate, equal)
        band_factors, band_twiddles = _fft_tables(bands)
        longest = int(bands[:, LENGTH].max())
        fft = RealFft.allocate(n, np.float64)
        return cls(
            samples=samples,
            coefficients=int(bands[:, LENGTH].sum()),
            bands=bands,
            windows=windows,
            duals=_duals(bands, windows, n),
            factors=fft.factors,
            twiddles=fft.twiddles,
            scratch=fft.scratch,
            spectrum=np.zeros(n // 2 + 1, np.complex128),
            padded=np.zeros(n),
            band_factors=band_factors,
            band_twiddles=band_twiddles,
            band_scratch=np.zeros((4, longest // 2)),
            band_spectra=np.zeros(2 * longest + 2, np.complex128),
            band_samples=np.zeros(2 * longest),
        )

    @property
    def redundancy(self) -> float:
        """Numbers in the coefficients for each sample; at least 1."""
        real = int(self.lengths[0] + self.lengths[-1])
        return (2 * self.coefficients - real) / self.samples

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Coefficients of each band; the first and the last band's are real."""
        return self.bands[:, LENGTH]


def bands_of(x: NDArray[np.floating], plan: Nsgt) -> NDArray[np.complex128]:
    """Return the coefficients of a signal, band after band.

    Parameters
    ----------
    x : floating, shape (samples,), of the plan's length
    plan : Nsgt, the frame

    Returns
    -------
    complex128, shape (coefficients,)
        Those of band ``j`` begin at ``plan.bands[j, AT]``. Where all have equal
        lengths they may be reshaped to ``(bands, -1)``.
    """
    assert x.shape == (plan.samples,), f"{x.shape} for a frame of {plan.samples} samples"
    out = np.empty(plan.coefficients, np.complex128)
    nsgt(
        x.astype(np.float64),
        plan.bands,
        plan.windows,
        plan.factors,
        plan.twiddles,
        plan.band_factors,
        plan.band_twiddles,
        plan.scratch,
        plan.spectrum,
        plan.padded,
        plan.band_scratch,
        plan.band_spectra,
        plan.band_samples,
        out,
    )
    return out


def signal_of_bands(coefficients: NDArray[np.complex128], plan: Nsgt) -> NDArray[np.float64]:
    """Return the signal of coefficients: float64, shape (samples,).

    Parameters
    ----------
    coefficients : complex128, shape (coefficients,)
        As :func:`bands_of` returns them. Where no signal has them, the one whose own are nearest
        (in squared error, the silence after the signal included) is returned.
    plan : Nsgt, the frame
    """
    assert coefficients.shape == (plan.coefficients,), coefficients.shape
    out = np.empty(plan.samples)
    insgt(
        np.ascontiguousarray(coefficients, np.complex128),
        plan.bands,
        plan.duals,
        plan.factors,
        plan.twiddles,
        plan.band_factors,
        plan.band_twiddles,
        plan.scratch,
        plan.spectrum,
        plan.padded,
        plan.band_scratch,
        plan.band_spectra,
        plan.band_samples,
        out,
    )
    return out


def fast_length(samples: int) -> int:
    """Return the next even length without prime factors above 5.

    It is at least ``samples``.
    """
    length = samples + samples % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def _windows(
    centres: NDArray[np.float64], equal: slice
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    reach = np.maximum(np.diff(centres), _LEAST_REACH)
    below = np.concatenate([reach[:1], reach])
    above = np.concatenate([reach, reach[-1:]])
    bands = np.zeros((centres.size, _COLUMNS), np.int64)
    windows = []
    for j, centre in enumerate(centres):
        first = math.floor(centre - below[j]) + 1
        distance = np.arange(first, math.ceil(centre + above[j])) - centre
        share = distance / np.where(distance < 0, below[j], above[j])
        windows.append(np.cos(0.5 * math.pi * share) ** 2)
        bands[j, [FIRST, WIDTH, CENTRE]] = first, distance.size, round(centre)
        bands[j, LENGTH] = fast_length(distance.size)
    bands[equal, LENGTH] = bands[equal, LENGTH].max(initial=0)
    bands[1:, WINDOW] = np.cumsum(bands[:-1, WIDTH])
    bands[1:, AT] = np.cumsum(bands[:-1, LENGTH])
    return bands, np.concatenate(windows)


def _duals(bands: NDArray[np.int64], windows: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the canonical dual windows: each divided by the frame operator at its bins."""
    bins = np.concatenate([first + np.arange(width) for first, width in bands[:, [FIRST, WIDTH]]])
    folded = np.abs(bins)
    folded = np.where(folded > n // 2, n - folded, folded)
    lengths = np.repeat(bands[:, LENGTH], bands[:, WIDTH])
    operator = np.zeros(n // 2 + 1)
    np.add.at(operator, folded, lengths * windows**2)
    duals: NDArray[np.float64] = windows / operator[folded]
    return duals


def _fft_tables(bands: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the tables of the bands' FFTs.

    Where each begins is written into ``bands``.
    """
    factors, twiddles = [], []
    factors_at = twiddles_at = 0
    for length in np.unique(bands[:, LENGTH]):
        plan = RealFft.allocate(int(length), np.float64)
        place = factors_at, plan.factors.size, twiddles_at, plan.twiddles.shape[1]
        # FACTORS, PASSES, TWIDDLES, TURNS
        bands[bands[:, LENGTH] == length, FACTORS:] = place
        factors.append(plan.factors)
        twiddles.append(plan.twiddles)
        factors_at += plan.factors.size
        twiddles_at += plan.twiddles.shape[1]
    return np.concatenate(factors), np.concatenate(twiddles, axis=1)


@kernel
def nsgt(
    x: NDArray[np.float64],
    bands: NDArray[np.int64],
    windows: NDArray[np.float64],
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float64],
    band_factors: NDArray[np.int64],
    band_twiddles: NDArray[np.float64],
    scratch: NDArray[np.float64],
    spectrum: NDArray[np.complex128],
    padded: NDArray[np.float64],
    band_scratch: NDArray[np.float64],
    band_spectra: NDArray[np.complex128],
    band_samples: NDArray[np.float64],
    out: NDArray[np.complex128],
) -> None:
    """Transform a signal into the coefficients of all bands.

    Parameters
    ----------
    x : float64, shape (samples,), the signal
    bands, windows, factors, twiddles, band_factors, band_twiddles : of an :class:`Nsgt`
    scratch, spectrum, padded, band_scratch, band_spectra, band_samples : of the same; written
    out : complex128, shape (coefficients,), written, coefficients, band after band
    """
    n = padded.size
    copy(x, padded[: x.size])
    padded[x.size :] = 0.0
    rfft(padded, factors, twiddles, scratch, spectrum)
    for j in range(bands.shape[0]):
        length = bands[j, LENGTH]
        half = length // 2
        bins = band_spectra[:length]
        bins[:] = 0.0
        for i in range(bands[j, WIDTH]):
            k = bands[j, FIRST] + i
            g = windows[bands[j, WINDOW] + i]
            if k < 0:
                value = spectrum[-k].conjugate()
            elif k > n // 2:
                value = spectrum[n - k].conjugate()
            else:
                value = spectrum[k]
            bins[(k - bands[j, CENTRE]) % length] = g * value
        # Real and imaginary parts of the coefficients are real signals, with spectra
        # (C[q] + conj C[-q]) / 2 and (C[q] - conj C[-q]) / 2j: two transforms of real numbers.
        re = band_samples[:length]
        im = band_samples[length : 2 * length]
        part = band_spectra[length : length + half + 1]
        f = band_factors[bands[j, FACTORS] : bands[j, FACTORS] + bands[j, PASSES]]
        at, turns = bands[j, TWIDDLES], bands[j, TURNS]
        w = band_twiddles[:, at : at + turns]
        memory = band_scratch[:, :half]
        for q in range(half + 1):
            part[q] = 0.5 * (bins[q % length] + bins[(length - q) % length].conjugate())
        irfft(part, f, w, memory, re)
        for q in range(half + 1):
            part[q] = -0.5j * (bins[q % length] - bins[(length - q) % length].conjugate())
        irfft(part, f, w, memory, im)
        scale = 2.0 * length / n
        target = out[bands[j, AT] : bands[j, AT] + length]
        for m in range(length):
            target[m] = scale * complex(re[m], im[m])


@kernel
def insgt(
    coefficients: NDArray[np.complex128],
    bands: NDArray[np.int64],
    duals: NDArray[np.float64],
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float64],
    band_factors: NDArray[np.int64],
    band_twiddles: NDArray[np.float64],
    scratch: NDArray[np.float64],
    spectrum: NDArray[np.complex128],
    padded: NDArray[np.float64],
    band_scratch: NDArray[np.float64],
    band_spectra: NDArray[np.complex128],
    band_samples: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Return from the coefficients of all bands to the signal: the inverse of :func:`nsgt`.

    Parameters
    ----------
    coefficients : complex128, shape (coefficients,), band after band
    bands, duals, factors, twiddles, band_factors, band_twiddles : of an :class:`Nsgt`
    scratch, spectrum, padded, band_scratch, band_spectra, band_samples : of the same; written
    out : float64, shape (samples,), written, the signal
    """
    n = padded.size
    spectrum[:] = 0.0
    for j in range(bands.shape[0]):
        length = bands[j, LENGTH]
        half = length // 2
        given = coefficients[bands[j, AT] : bands[j, AT] + length]
        re = band_samples[:length]
        im = band_samples[length : 2 * length]
        for m in range(length):
            re[m] = given[m].real
            im[m] = given[m].imag
        f = band_factors[bands[j, FACTORS] : bands[j, FACTORS] + bands[j, PASSES]]
        at, turns = bands[j, TWIDDLES], bands[j, TURNS]
        w = band_twiddles[:, at : at + turns]
        memory = band_scratch[:, :half]
        of_re = band_spectra[: half + 1]
        of_im = band_spectra[half + 1 : 2 * half + 2]
        rfft(re, f, w, memory, of_re)
        rfft(im, f, w, memory, of_im)
        for i in range(bands[j, WIDTH]):
            k = bands[j, FIRST] + i
            q = (k - bands[j, CENTRE]) % length
            if q <= half:
                value = of_re[q] + 1j * of_im[q]
            else:
                value = of_re[length - q].conjugate() + 1j * of_im[length - q].conjugate()
            value *= 0.5 * n * duals[bands[j, WINDOW] + i]
            if k < 0:
                spectrum[-k] += value.conjugate()
            elif k > n // 2:
                spectrum[n - k] += value.conjugate()
            else:
                spectrum[k] += value
    irfft(spectrum, factors, twiddles, scratch, padded)
    copy(padded, out)
