"""Clicks: places that a predictor of their surroundings meets from neither side.

A short predictor is fitted to every 20 ms. A click is a peak of its error that stands out of the
errors before and behind, forwards as well as backwards: the attack of a note goes on, a click does
not. Each candidate is then interpolated from both sides. What tells a click from a struck string or
a glottal pulse is how much less error is left when it is gone, and how alone it stands.

A mouth clicks, too, and so does the burst of a plosive. These ring at a few frequencies, a click
has them all. So one of few frequencies is never more certain than :data:`NARROW_CONFIDENCE`.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from plc.repair.detect.findings import Finding
from plc.repair.detect.judge import judge_of
from plc.repair.interpolate import solve_gap
from plc_kernels.ar import fit_burg

_ORDER_MS, _LEAST_ORDER = 0.7, 8
_FRAME_MS = 20.0
# Errors this near belong to the click, and those up to there are what it is compared with.
_NEAR_MS, _FAR_MS = 1.5, 12.0
# A candidate is so many times the mean error, and the largest one around.
_MEAN_RATIO, _PEAK_RATIO = 7.0, 1.6
_LEAST_ERROR = 2e-3
# Of the mean error: what is part of the click.
_INSIDE_RATIO, _REACH_RATIO = 2.5, 3.0
_PAD_MS = 0.05
_FIT_MS, _LEVEL_MS = 15.0, 8.0
_CROWD_MS, _CROWD_SHARE = 250.0, 0.4
# Nothing is known on the other side of the ends.
_MARGIN_MS = 20.0
# 16-bit noise; no level is below.
_NOISE = 3e-5
# A spectrum is taken over so long, and looked at up to there, or to such a share of the rate.
_SPECTRUM_MS, _BAND_HZ, _BAND_SHARE = 8.0, (200.0, 8000.0), 0.45
# The spectrum of a click is flatter. Less is asked where it was added to sound.
_FLATNESS = 0.3
NARROW_CONFIDENCE = 0.94
"""The most of a click that has few frequencies."""

Errors = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Prediction errors forwards and backwards, each of the shape of the row."""


def residual(row: NDArray[np.float32], sample_rate: int) -> Errors:
    """Return the errors of predictors that are fitted every 20 ms.

    Parameters
    ----------
    row : float32, shape (n,)
        One channel, finite.
    sample_rate : int
        In Hz.
    """
    hop = round(_FRAME_MS * sample_rate / 1000)
    order = _order(sample_rate)
    signal = row.astype(np.float64)
    forward, backward = np.zeros(row.size), np.zeros(row.size)
    for start in range(0, row.size, hop):
        stop = min(start + hop, row.size)
        part = signal[max(0, start - hop // 2) : stop + hop // 2]
        if part.size < 3 * order or not part.any():
            continue
        predictor = fit_burg(part, order)
        first, last = max(0, start - order), min(row.size, stop + order)
        near = signal[first:last]
        forward[start:stop] = np.convolve(near, predictor)[start - first : stop - first]
        turned = np.convolve(near[::-1], predictor)
        backward[start:stop] = turned[last - stop : last - start][::-1]
    return forward, backward


def find(row: NDArray[np.float32], sample_rate: int, errors: Errors) -> list[Finding]:
    """Return the clicks of one channel.

    Parameters
    ----------
    row : float32, shape (n,)
        Samples, finite.
    sample_rate : int
        In Hz.
    errors : Errors
        From :func:`residual`.
    """
    judge = judge_of("click")
    found = []
    for start, stop, features in candidates(row, sample_rate, errors):
        confidence = judge.confidence(features)
        if confidence > NARROW_CONFIDENCE:
            click = _removed(row, start, stop, sample_rate)
            if flatness(click, sample_rate) < _FLATNESS:
                confidence = NARROW_CONFIDENCE
        if confidence >= 0.5:
            found.append(Finding(start, stop, "click", confidence))
    return found


def flatness(click: NDArray[np.float32] | NDArray[np.float64], sample_rate: int) -> float:
    """Return the geometric over the arithmetic mean of a click's spectrum, 0 to 1.

    Up to 8 kHz: above, lossy coding leaves nothing of any click.

    Parameters
    ----------
    click : float32 or float64, shape (n,)
        The click without what surrounds it; what is behind 8 ms does not count.
    sample_rate : int
        In Hz.
    """
    samples = round(_SPECTRUM_MS * sample_rate / 1000)
    low, high = _BAND_HZ[0], min(_BAND_HZ[1], _BAND_SHARE * sample_rate)
    band = slice(*(round(hertz * samples / sample_rate) for hertz in (low, high)))
    power = np.square(np.abs(np.fft.rfft(click, samples)[band])) + 1e-12
    return float(np.exp(np.mean(np.log(power))) / np.mean(power))


def candidates(
    row: NDArray[np.float32], sample_rate: int, errors: Errors
) -> Iterator[tuple[int, int, tuple[float, ...]]]:
    """Yield start, stop and features of each candidate.

    Parameters
    ----------
    row, sample_rate, errors
        As for :func:`find`.
    """
    ms = sample_rate / 1000
    near, far, crowd = (round(each * ms) for each in (_NEAR_MS, _FAR_MS, _CROWD_MS))
    forward, backward = (np.abs(each) for each in errors)
    either, both = np.maximum(forward, backward), np.minimum(forward, backward)
    before, behind = _means(forward, near, far)
    mean = (before + behind) / 2 + _NOISE
    tops = list(_tops(either, forward, backward, mean, (near, far), round(_MARGIN_MS * ms)))
    places = np.array([place for place, _, _ in tops])
    heights = np.array([either[place] for place, _, _ in tops])
    for place, past, future in tops:
        start, stop = _extent(place, either, both, mean, near, ms)
        peak = float(either[place])
        crowded = (np.abs(places - place) < crowd) & (heights > _CROWD_SHARE * peak)
        features = (
            peak / mean[place],
            float(both[start:stop].max()) / mean[place],
            peak / past,
            peak / future,
            peak,
            peak / (before[place] + _NOISE),
            peak / (behind[place] + _NOISE),
            (stop - start) / ms,
            float(np.count_nonzero(crowded)),
            *_levels_of(row, start, stop, peak, ms),
            *_mended(row, start, stop, sample_rate),
        )
        yield start, stop, tuple(float(np.log(value + 1e-6)) for value in features)


def _order(sample_rate: int) -> int:
    return max(_LEAST_ORDER, round(_ORDER_MS * sample_rate / 1000))


def _means(
    errors: NDArray[np.float64], near: int, far: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean error before and behind each sample."""
    sums = np.concatenate([[0.0], np.cumsum(errors)])
    places = np.arange(errors.size)
    means = []
    for low, high in ((places - far, places - near), (places + near, places + far)):
        first, last = (np.clip(each, 0, errors.size) for each in (low, high))
        means.append((sums[last] - sums[first]) / np.maximum(last - first, 1))
    return means[0], means[1]


def _tops(
    either: NDArray[np.float64],
    forward: NDArray[np.float64],
    backward: NDArray[np.float64],
    mean: NDArray[np.float64],
    reach: tuple[int, int],
    margin: int,
) -> Iterator[tuple[int, float, float]]:
    """Yield outstanding peaks and the largest errors beside them."""
    near, far = reach
    high = np.flatnonzero(either > _MEAN_RATIO * mean)
    if not high.size:
        return
    for group in np.split(high, np.flatnonzero(np.diff(high) > near) + 1):
        place = int(group[np.argmax(either[group] / mean[group])])
        if not margin <= place < either.size - margin:
            continue
        past = float(forward[place - far : place - near].max()) + 1e-6
        future = float(backward[place + near : place + far].max()) + 1e-6
        if either[place] >= max(_PEAK_RATIO * max(past, future), _LEAST_ERROR):
            yield place, past, future


def _extent(
    place: int,
    either: NDArray[np.float64],
    both: NDArray[np.float64],
    mean: NDArray[np.float64],
    near: int,
    ms: float,
) -> tuple[int, int]:
    """Return where a click begins and ends.

    The forward error goes on behind it, the backward error before it: both are in it.
    """
    first = place - near
    on = first + np.flatnonzero((either > _REACH_RATIO * mean)[first : place + near])
    inside = np.flatnonzero((both > _INSIDE_RATIO * mean)[on[0] : on[-1] + 1]) + on[0]
    low, high = (inside[0], inside[-1]) if inside.size else (place, place)
    pad = max(1, round(_PAD_MS * ms))
    return int(low) - pad, int(high) + 1 + pad


def _levels_of(
    row: NDArray[np.float32], start: int, stop: int, peak: float, ms: float
) -> tuple[float, ...]:
    """Return the click relative to the level around, and how that changes."""
    reach = round(_LEVEL_MS * ms)
    past, future = (
        float(np.sqrt(np.mean(np.square(part, dtype=np.float64)))) + 1e-5
        for part in (row[start - reach : start], row[stop : stop + reach])
    )
    loud = max(past, future)
    return peak / loud, future / past, float(np.abs(row[start:stop]).max()) / loud


def _mended(
    row: NDArray[np.float32], start: int, stop: int, sample_rate: int
) -> tuple[float, float]:
    """Return the change by an interpolation, and the error left."""
    found = _interpolated(row, start, stop, sample_rate)
    if found is None:
        return 0.0, 1.0
    line, hole, predictor, fill = found
    level = float(np.sqrt(np.mean(np.square(line)))) + 1e-6
    change = float(np.abs(fill - line[hole]).max()) / level
    touched = slice(hole.start, hole.stop + predictor.size - 1)
    was = float(np.sum(np.convolve(line, predictor)[touched] ** 2)) + 1e-12
    line[hole] = fill
    return change, float(np.sum(np.convolve(line, predictor)[touched] ** 2)) / was


def _removed(
    row: NDArray[np.float32], start: int, stop: int, sample_rate: int
) -> NDArray[np.float64]:
    """Return what an interpolation takes away."""
    found = _interpolated(row, start, stop, sample_rate)
    if found is None:
        return row[start:stop].astype(np.float64)
    line, hole, _, fill = found
    return line[hole] - fill


def _interpolated(
    row: NDArray[np.float32], start: int, stop: int, sample_rate: int
) -> tuple[NDArray[np.float64], slice, NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the surroundings of a place, where it lies in them, their predictor, and the fill."""
    reach = round(_FIT_MS * sample_rate / 1000)
    first = max(0, start - reach)
    line = row[first : stop + reach].astype(np.float64)
    begin, length = start - first, stop - start
    order = _order(sample_rate)
    if begin < 3 * order or line.size - begin - length < 3 * order:
        return None
    predictor = fit_burg(np.concatenate([line[:begin], line[begin + length :]]), order)
    fill = solve_gap(line, begin, length, predictor)
    return None if fill is None else (line, slice(begin, begin + length), predictor, fill)
