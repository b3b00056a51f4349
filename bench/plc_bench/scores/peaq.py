"""PEAQ, basic version: how well a listener would notice a difference, by a model of the ear.

The patterns of :mod:`plc_bench.scores.ear` give eleven *model output variables* of a pair of
signals, which a small network with published weights makes one number of. It was fitted to
listening tests of codecs, whose errors are small and last; those of concealment are neither.

Section 4 to 6 of Annex 2 of [1]_; where its text leaves a choice, that of [2]_.

References
----------
.. [1] As for :mod:`plc_bench.scores.ear`.
.. [2] As there.
"""

import math
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from plc_bench.scores import ear
from plc_bench.scores.ear import FRAMES_PER_S, HOP, Array

SAMPLE_RATE = ear.SAMPLE_RATE

# What is quieter at the beginning and the end is left out: five samples of both, in 16 bits.
_EDGE_SAMPLES, _EDGE_LEVEL = 5, 200 / 2**15
# From here on the patterns have settled; noise counts from here on after it can be heard.
_SETTLED = int(np.ceil(0.5 * FRAMES_PER_S))
_AUDIBLE_SONE, _AUDIBLE_FOR = 0.1, int(np.ceil(0.050 * FRAMES_PER_S))
# Frames of 100 ms.
_WINDOW = int(0.1 * FRAMES_PER_S)
# Bandwidth, in bins: noise is looked for from the first on, and a bandwidth is above the second.
_NOISE_FROM, _LEAST_BANDWIDTH = 921, 346
_REFERENCE_OVER_NOISE, _TEST_OVER_NOISE = 10.0, 10**0.5
_DISTURBED = 10**0.15
# Harmonic structure of the error: bins, lags, and the energy of half a frame that it needs.
_LAGS = 256
_LEAST_ENERGY = 8000 / 2**30
_LEAST_POWER = 1e-12

# The network of section 6, in the order of :class:`Variables`.
_LEAST = np.array(
    [
        *(393.916656, 361.965332, -24.045116, 1.110661, -0.206623, 0.074318),
        *(1.113683, 0.950345, 0.029985, 0.000101, 0.0),
    ]
)
_MOST = np.array(
    [
        *(921.0, 881.131226, 16.212030, 107.137772, 2.886017, 13.933351),
        *(63.257874, 1145.018555, 14.819740, 1.0, 1.0),
    ]
)
_TO_HIDDEN = np.array(
    [
        (-0.502657, 0.436333, 1.219602),
        (4.307481, 3.246017, 1.123743),
        (4.984241, -2.211189, -0.192096),
        (0.051056, -1.762424, 4.331315),
        (2.321580, 1.789971, -0.754560),
        (-5.303901, -3.452257, -10.814982),
        (2.730991, -6.111805, 1.519223),
        (0.624950, -1.331523, -5.955151),
        (3.102889, 0.871260, -5.922878),
        (-1.051468, -0.939882, -0.142913),
        (-1.804679, -0.503610, -0.620456),
    ]
)
_HIDDEN_BIAS = np.array((-2.518254, 0.654841, -2.207228))
_TO_INDEX, _INDEX_BIAS = np.array((-3.817048, 4.107138, 4.629582)), -0.307594
_WORST, _BEST = -3.98, 0.22


@dataclass(frozen=True, slots=True)
class Variables:
    """Model output variables of a pair of signals, by their names in the Recommendation."""

    bandwidth_ref: float
    bandwidth_test: float
    total_nmr: float
    win_mod_diff1: float
    adb: float
    ehs: float
    avg_mod_diff1: float
    avg_mod_diff2: float
    rms_noise_loud: float
    mfpd: float
    rel_dist_frames: float


def grade(reference: NDArray[np.floating], test: NDArray[np.floating]) -> float:
    """Return the objective difference grade of a pair of signals.

    Parameters
    ----------
    reference, test : float, shape (n, channels)
        At 48 kHz, full scale 1.0; in step to the sample.

    Returns
    -------
    float
        0.2 to -4: 0 inaudible, -1 audible but not annoying, -2 slightly annoying, -3 annoying,
        -4 very annoying. NaN where less than 0.6 s of the reference is loud enough.
    """
    return grade_of(distortion_index(variables(reference, test)))


def grade_of(index: float) -> float:
    """Return the grade of a distortion index."""
    return _WORST + (_BEST - _WORST) * float(_sigmoid(index))


def distortion_index(found: Variables) -> float:
    """Return the network's index for the variables: higher is better, without bounds."""
    scaled = (np.array(astuple(found)) - _LEAST) / (_MOST - _LEAST)
    return float(_sigmoid(scaled @ _TO_HIDDEN + _HIDDEN_BIAS) @ _TO_INDEX + _INDEX_BIAS)


def variables(reference: NDArray[np.floating], test: NDArray[np.floating]) -> Variables:
    """Return the variables of a pair of signals, as :func:`grade` takes them."""
    first, samples = _loud_part(np.asarray(reference))
    settled = max(_SETTLED - first, 0)
    if samples // HOP - 1 - first < settled + _WINDOW:
        return Variables(*[math.nan] * 11)
    sounds = (np.asarray(signal, np.float64)[:samples].T for signal in (reference, test))
    pairs = [_Pair(of_ref, of_test, first) for of_ref, of_test in zip(*sounds, strict=True)]
    audible = max(settled, min(pair.audible for pair in pairs) + _AUDIBLE_FOR)
    each = np.mean([pair.means(settled, audible) for pair in pairs], axis=0)
    steps, found = _detected(pairs)
    return Variables(*map(float, (*each[:4], steps, *each[4:8], found, each[8])))


class _Pair:
    """One channel of both signals."""

    def __init__(self, reference: Array, test: Array, first: int) -> None:
        heard = ear.listen(reference), ear.listen(test)
        (of_reference, average), (of_test, _) = (ear.modulation(one.unsmeared) for one in heard)
        adapted = ear.adapted(heard[0].excitation, heard[1].excitation)
        self._sounds = reference[first * HOP :], test[first * HOP :]
        self._heard = tuple(one.since(first) for one in heard)
        self._modulation = of_reference[first:], of_test[first:]
        self._average = average[first:]
        self._adapted = adapted[0][first:], adapted[1][first:]
        self.excitation_db = tuple(10 * np.log10(one.excitation) for one in self._heard)

    @property
    def audible(self) -> int:
        """The first frame that is audible in both signals; that behind the last if none is."""
        loud = [ear.loudness(one.excitation) > _AUDIBLE_SONE for one in self._heard]
        both = np.flatnonzero(loud[0] & loud[1])
        return int(both[0]) if both.size else len(self._average)

    def means(self, settled: int, audible: int) -> tuple[float, ...]:
        """Return this channel's variables without detection's, in their order."""
        bandwidths = self._bandwidths()
        noise = self._noise_to_mask()
        plain, weighted = self._modulation_differences()
        weight = self._weight()[settled:]
        loud = self._noise_loudness()[audible:]
        return (
            *bandwidths,
            float(10 * np.log10(noise.mean())),
            _windowed(plain[settled:]),
            self._harmonic_structure(),
            float(np.average(plain[settled:], weights=weight)),
            float(np.average(weighted[settled:], weights=weight)),
            float(np.sqrt((loud**2).mean())) if loud.size else 0.0,
            float((noise.max(axis=1) > _DISTURBED).mean()),
        )

    def _bandwidths(self) -> tuple[float, float]:
        reference, test = (one.power for one in self._heard)
        noise = test[:, _NOISE_FROM:-1].max(axis=1, keepdims=True)
        above = reference[:, :_NOISE_FROM] >= _REFERENCE_OVER_NOISE * noise
        of_reference = _highest(above)
        below = np.arange(_NOISE_FROM) < of_reference[:, None]
        of_test = _highest(below & (test[:, :_NOISE_FROM] >= _TEST_OVER_NOISE * noise))
        wide = of_reference > _LEAST_BANDWIDTH
        if not wide.any():  # undefined; 0 would be far from all that the network has seen
            return float(_LEAST_BANDWIDTH), float(_LEAST_BANDWIDTH)
        return float(of_reference[wide].mean()), float(of_test[wide].mean())

    def _noise_to_mask(self) -> Array:
        reference, test = (np.sqrt(one.weighted) for one in self._heard)
        noise = ear.in_bands((reference - test) ** 2)
        bark = ear.BAND_BARK * np.arange(noise.shape[1])
        mask_db = np.where(bark <= 12, 3.0, 0.25 * bark)
        return np.asarray(noise / self._heard[0].excitation * 10 ** (mask_db / 10))

    def _modulation_differences(self) -> tuple[Array, Array]:
        reference, test = self._modulation
        apart = np.abs(test - reference)
        weighted = np.where(test >= reference, 1.0, 0.1) * apart / (0.01 + reference)
        return 100 * (apart / (1 + reference)).mean(axis=1), 100 * weighted.mean(axis=1)

    def _weight(self) -> Array:
        noise = 100 * ear.internal_noise() ** ear.MODULATION_POWER
        weight: Array = (self._average / (self._average + noise)).sum(axis=1)
        return weight

    def _noise_loudness(self) -> Array:
        noise = ear.internal_noise()
        reference, test = self._adapted
        factors = [0.15 * modulation + 0.5 for modulation in self._modulation]
        beta = np.exp(-1.5 * (test - reference) / reference)
        more = np.maximum(factors[1] * test - factors[0] * reference, 0.0)
        heard = (1 + more / (noise + factors[0] * reference * beta)) ** 0.23 - 1
        total: Array = 24 * ((noise / factors[1]) ** 0.23 * heard).mean(axis=1)
        return total

    def _harmonic_structure(self) -> float:
        power = [np.maximum(one.power[:, : 2 * _LAGS - 1], _LEAST_POWER) for one in self._heard]
        error = np.log(power[1] / power[0])[self._energetic()]
        if not error.size:
            return 0.0
        likeness = _self_likeness(error)
        window = np.sqrt(8 / 3) / _LAGS * np.hanning(_LAGS)
        spectra = (
            np.abs(np.fft.rfft(window * (likeness - likeness.mean(axis=1, keepdims=True)))) ** 2
        )
        rising = np.diff(spectra, axis=1) > 0
        return float(1000 * np.where(rising, spectra[:, 1:], 0.0).max(axis=1).mean())

    def _energetic(self) -> NDArray[np.bool_]:
        """Return which frames have energy in the second half, in either signal."""
        halves = [sound.reshape(-1, HOP)[1:] for sound in self._sounds]
        loud = [(half**2).sum(axis=1) >= _LEAST_ENERGY for half in halves]
        return np.asarray(loud[0] | loud[1])


def _highest(which: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the number behind the last True of each row; 0 without any."""
    behind = which.shape[1] - np.argmax(which[:, ::-1], axis=1)
    return np.where(which.any(axis=1), behind, 0)


def _self_likeness(error: Array) -> Array:
    """Return how like the first bins of an error are to those some bins above: (frames, lags)."""
    shifted = np.lib.stride_tricks.sliding_window_view(error, _LAGS, axis=1)
    products = np.einsum("fk,flk->fl", error[:, :_LAGS], shifted)
    energies = np.cumsum(np.pad(error**2, ((0, 0), (1, 0))), axis=1)
    energies = energies[:, _LAGS:] - energies[:, :_LAGS]
    scale = np.sqrt(energies[:, :1] * energies)
    likeness: Array = np.divide(products, scale, out=np.ones_like(products), where=scale > 0)
    return likeness


def _windowed(differences: Array) -> float:
    """Return the mean over windows of 100 ms, which gives close differences more weight."""
    roots = np.lib.stride_tricks.sliding_window_view(np.sqrt(differences), _WINDOW).mean(axis=1)
    return float(np.sqrt((roots**4).mean()))


def _detected(pairs: list[_Pair]) -> tuple[float, float]:
    """Return the log of the steps in frames where a difference is noticed, and its chance."""
    chances, steps = zip(*(_noticed(*pair.excitation_db) for pair in pairs), strict=True)
    chance = 1 - np.prod(1 - np.max(chances, axis=0), axis=1)
    step = np.max(steps, axis=0).sum(axis=1)
    noticed = chance > 0.5
    total = float(step[noticed].sum())
    last = found = 0.0
    for value in chance:
        last = 0.9 * last + 0.1 * float(value)
        found = max(found, last)
    if not noticed.any():
        return 0.0, found
    return (float(np.log10(total / noticed.sum())) if total > 0 else -0.5), found


def _noticed(reference_db: Array, test_db: Array) -> tuple[Array, Array]:
    """Return the chance that a difference is noticed, and by how many steps it is above that."""
    level = 0.3 * np.maximum(reference_db, test_db) + 0.7 * test_db
    positive = np.maximum(level, 1e-30)
    step_db = 5.95072 * (6.39468 / positive) ** 1.71332 + np.polyval(
        (9.01033e-11, 5.05622e-6, -0.00102438, 0.0550197, -0.198719), level
    )
    step_db = np.where(level > 0, step_db, 1e30)
    apart = reference_db - test_db
    slope = np.where(apart > 0, 4.0, 6.0)
    return 1 - 0.5 ** ((np.abs(apart) / step_db) ** slope), np.abs(np.trunc(apart)) / step_db


def _loud_part(reference: NDArray[np.floating]) -> tuple[int, int]:
    """Return the first frame that counts, and the samples up to the end of the last."""
    if len(reference) < ear.FRAME:
        return 0, 0
    sums = np.lib.stride_tricks.sliding_window_view(np.abs(reference), _EDGE_SAMPLES, axis=0)
    loud = np.flatnonzero((sums.sum(axis=-1) > _EDGE_LEVEL).any(axis=1))
    if not loud.size:
        return 0, 0
    halves = min((int(loud[-1]) + _EDGE_SAMPLES) // HOP + 1, len(reference) // HOP)
    return int(loud[0]) // HOP, halves * HOP


def _sigmoid(value: float | Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.asarray(value))))
