"""Ear model of PEAQ, basic version: the excitation of each part of the ear by a sound.

Frames of 2048 samples at 48 kHz, every 1024, go through the outer and the middle ear into 109 bands
of a quarter Bark. Each band's power spreads over its neighbours and over time. All arrays are
float64 and begin with the frames; a band or bin is the last axis.

Section 2 and 3 of Annex 2 of [1]_; where its text leaves a choice, that of [2]_.

References
----------
.. [1] Recommendation ITU-R BS.1387-1, "Method for objective measurements of perceived audio
   quality", 2001.
.. [2] P. Kabal, "An examination and interpretation of ITU-R BS.1387: perceptual evaluation of audio
   quality", McGill University, 2003.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
FRAME = 2048
HOP = FRAME // 2
FRAMES_PER_S = SAMPLE_RATE / HOP

Array = NDArray[np.float64]

# A sine of full scale has this level where it stands between two bins as 1019.5 Hz does.
_FULL_SCALE_DB_SPL = 92.0
_LEVEL_HZ = 1019.5
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 18_000.0
BAND_BARK = 0.25
# No band has less power.
_LEAST_POWER = 1e-12
# Powers of spread excitations are added as their powers of this.
_SPREAD_POWER = 0.4
_LOWER_SLOPE_DB = 27.0
# Time constants in s at 100 Hz, of excitation and of all else, and at high frequencies.
_SPREAD_S, _ADAPT_S, _SHORTEST_S = 0.030, 0.050, 0.008
# Bands below and above a band whose corrections are averaged.
_BELOW, _ABOVE = 3, 4
_LOUDNESS_POWER = 0.23
MODULATION_POWER = 0.3


@dataclass(frozen=True, slots=True)
class Heard:
    """Patterns of one channel.

    Attributes
    ----------
    power : shape (frames, 1025)
        Power spectrum, in units of 0 dB SPL.
    weighted : shape (frames, 1025)
        The same behind the middle ear.
    unsmeared : shape (frames, 109)
        Excitation before it spreads over time.
    """

    power: Array
    weighted: Array
    unsmeared: Array
    excitation: Array

    def since(self, frame: int) -> Self:
        """Return the patterns from a frame on."""
        parts = self.power, self.weighted, self.unsmeared, self.excitation
        return type(self)(*(part[frame:] for part in parts))


def listen(signal: NDArray[np.floating]) -> Heard:
    """Return the patterns of a channel: shape (n,), full scale 1.0, n >= 2048."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * _window())) ** 2
    weighted = power * _middle_ear()
    unsmeared = spread(in_bands(weighted) + internal_noise())
    lasting = smoothed(unsmeared, _keep(_SPREAD_S))
    return Heard(power, weighted, unsmeared, np.maximum(lasting, unsmeared))


def band_edges_hz() -> Array:
    """Return the bands' lower edges, and the highest band's upper edge: shape (110,)."""
    lowest, highest = _bark(_LOWEST_HZ), _bark(_HIGHEST_HZ)
    count = int(np.ceil((highest - lowest) / BAND_BARK))
    return _hz(np.minimum(lowest + BAND_BARK * np.arange(count + 1), highest))


@lru_cache(maxsize=1)
def centres_hz() -> Array:
    """Return the bands' centres on the scale of Bark: shape (109,)."""
    edges = _bark(band_edges_hz())
    return _hz((edges[:-1] + edges[1:]) / 2)


@lru_cache(maxsize=1)
def internal_noise() -> Array:
    """Return the power of the ear's own noise: shape (109,)."""
    noise: Array = 10 ** (0.1456 * (centres_hz() / 1000) ** -0.8)
    return noise


def in_bands(spectra: Array) -> Array:
    """Return the power in each band: shape (frames, 109)."""
    return np.maximum(spectra @ _band_weights(), _LEAST_POWER)


def spread(pitch: Array) -> Array:
    """Return the power of each band with the spread from others: shape (frames, 109)."""
    return _spread(pitch) / _spread(np.ones((1, pitch.shape[1])))


def smoothed(values: Array, keep: Array) -> Array:
    """Return values smoothed over the frames: ``y[n] = keep y[n - 1] + (1 - keep) x[n]``."""
    out = np.empty_like(values)
    last = np.zeros_like(values[0])
    for row, value in zip(out, values, strict=True):
        last = row[:] = keep * last + (1 - keep) * value
    return out


def loudness(excitation: Array) -> Array:
    """Return the loudness of each frame in sone: shape (frames,)."""
    centres = centres_hz()
    threshold = 10 ** (0.364 * (centres / 1000) ** -0.8)
    index_db = -2 - 2.05 * np.arctan(centres / 4000) - 0.75 * np.arctan((centres / 1600) ** 2)
    index = 10 ** (index_db / 10)
    scale = 1.07664 * (threshold / index / 1e4) ** _LOUDNESS_POWER
    bands = scale * ((1 - index + index * excitation / threshold) ** _LOUDNESS_POWER - 1)
    total: Array = 24 / centres.size * np.maximum(bands, 0.0).sum(axis=1)
    return total


def modulation(unsmeared: Array) -> tuple[Array, Array]:
    """Return how much each band's envelope varies, and its mean: shape (frames, 109), twice."""
    keep = _keep(_ADAPT_S)
    envelope = unsmeared**MODULATION_POWER
    steps = np.abs(np.diff(envelope, axis=0, prepend=0.0)) * FRAMES_PER_S
    average = smoothed(envelope, keep)
    return smoothed(steps, keep) / (1 + average / 0.3), average


def adapted(reference: Array, test: Array) -> tuple[Array, Array]:
    """Return two excitations brought to one level and one spectrum: shape (frames, 109), twice."""
    keep = _keep(_ADAPT_S)
    slow = smoothed(reference, keep), smoothed(test, keep)
    level = (np.sqrt(slow[0] * slow[1]).sum(axis=1) / slow[1].sum(axis=1)) ** 2
    reference = reference / np.maximum(level, 1.0)[:, None]
    test = test * np.minimum(level, 1.0)[:, None]
    # The sums of the Recommendation lack the factor 1 - keep, which their ratio does not need.
    ratio = smoothed(test * reference, keep) / smoothed(reference * reference, keep)
    parts = np.minimum(ratio, 1.0), np.minimum(1.0 / ratio, 1.0)
    to_reference, to_test = (smoothed(_band_means(part), keep) for part in parts)
    return reference * to_reference, test * to_test


def _bark(hz: float | Array) -> Array:
    return np.asarray(7 * np.arcsinh(np.asarray(hz) / 650))


def _hz(bark: Array) -> Array:
    return np.asarray(650 * np.sinh(bark / 7))


@lru_cache(maxsize=1)
def _window() -> Array:
    """Return a Hann window that brings a sine of full scale to its level."""
    place = _LEVEL_HZ / SAMPLE_RATE * FRAME
    off = min(place % 1, 1 - place % 1) * (FRAME - 1) / FRAME
    peak = np.sin(np.pi * off) / (np.pi * off * (1 - off**2))
    gain = 10 ** (_FULL_SCALE_DB_SPL / 20) / (peak * (FRAME - 1) / 4)
    return np.asarray(gain * np.hanning(FRAME))


@lru_cache(maxsize=1)
def _middle_ear() -> Array:
    khz = np.fft.rfftfreq(FRAME, 1000 / SAMPLE_RATE)
    khz[0] = 1e-30  # whose gain is 0
    gain_db = -2.184 * khz**-0.8 + 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) - 0.001 * khz**3.6
    return np.asarray(10 ** (gain_db / 10))


@lru_cache(maxsize=1)
def _band_weights() -> Array:
    """Return which share of a bin belongs to a band: shape (1025, 109)."""
    edges = band_edges_hz() * FRAME / SAMPLE_RATE
    bins = np.arange(FRAME // 2 + 1)[:, None]
    shares = np.minimum(edges[1:], bins + 0.5) - np.maximum(edges[:-1], bins - 0.5)
    return np.asarray(np.maximum(shares, 0.0))


def _spread(pitch: Array) -> Array:
    bands = pitch.shape[1]
    lower = 10 ** (-_LOWER_SLOPE_DB / 10 * BAND_BARK)
    slope_db = -24 - 230 / centres_hz() + 2 * np.log10(pitch)
    upper = 10 ** (slope_db / 10 * BAND_BARK)
    number = np.arange(bands)
    below = (1 - lower ** (number + 1)) / (1 - lower)
    above = (1 - upper ** (bands - number)) / (1 - upper)
    own = (pitch / (below + above - 1)) ** _SPREAD_POWER
    out = own.copy()
    falling, rising = own.copy(), own.copy()
    down, up = lower**_SPREAD_POWER, upper**_SPREAD_POWER
    for distance in range(1, bands):
        falling = falling[:, 1:] * down
        out[:, :-distance] += falling
        rising = rising[:, :-1] * up[:, :-distance]
        out[:, distance:] += rising
    return np.asarray(out ** (1 / _SPREAD_POWER))


def _keep(at_100_hz_s: float) -> Array:
    """Return the share of a smoothed value that the next frame keeps: shape (109,)."""
    time_s = _SHORTEST_S + 100 / centres_hz() * (at_100_hz_s - _SHORTEST_S)
    return np.asarray(np.exp(-1 / (FRAMES_PER_S * time_s)))


def _band_means(values: Array) -> Array:
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    number = np.arange(values.shape[1])
    first = np.maximum(number - _BELOW, 0)
    last = np.minimum(number + _ABOVE + 1, number.size)
    return np.asarray((sums[:, last] - sums[:, first]) / (last - first))
