"""Clicks: places that a predictor of their surroundings meets from neither side.

A short predictor is fitted to every 20 ms. A click is a peak of its error that stands out of the
errors before and behind, forwards as well as backwards: the attack of a note goes on, a click does
not. Each candidate is then interpolated from both sides. What tells a click from a struck string or
a glottal pulse is how much less error is left when it is gone, and how alone it stands.

A mouth clicks, too, and so does the burst of a plosive. These ring at a few frequencies, a click
has them all. So one of few frequencies is never more certain than :data:`NARROW_CONFIDENCE`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.files.fill.interpolate import solve_gap
from plc.restore.detect.findings import Finding, sides_of
from plc.restore.detect.judge import judge_of
from plc_kernels.signal.ar import fit_burg

# Order of the predictors; least order of a predictor; length of frames that they are fitted in.
_ORDER_MS, _LEAST_ORDER, _FRAME_MS = 0.7, 8, 20.0
# Distance of the nearest errors compared with a click's; distance of the farthest errors.
_NEAR_MS, _FAR_MS = 1.5, 12.0
# Least error of a click over the mean around; least error over the largest around; error over the
# mean that no sound has; most clicks with such errors within CROWD_MS; least error, absolute.
_MEAN_RATIO, _PEAK_RATIO, _NO_SOUND_RATIO, _FEW, _LEAST_ERROR = 7.0, 1.6, 50.0, 8, 2e-3
# Least error over the mean in a click, both ways; least within its reach, one way; margin added.
_INSIDE_RATIO, _REACH_RATIO, _PAD_MS = 2.5, 3.0, 0.05
# Least error of a damaged sample over the usual; largest error of an intact end over the usual;
# samples added at both ends; longest gap within a click; widest search, in NEAR_MS.
_ONSET_RATIO, _DAMAGED_RATIO, _SPARE = 4.0, 3.0, 2
_APART_MS, _WIDEST = 0.3, 3
# Reach of wrong samples beside a run; least error of the first one over the largest of the past.
_WRONG_MS, _WRONG_RATIO = 1.25, 4.0
# Confidence and loudness of certain clicks, two pairs; quantile of the sound beside that loudness
# is relative to; rounds of removal.
_CERTAIN, _LOUDEST, _ROUNDS = ((0.98, 1.5), (0.9, 4.0)), 0.98, 3
# Sides for fitting predictors; sides for levels; reach of a crowd; least peak in it over a click's.
_FIT_MS, _LEVEL_MS, _CROWD_MS, _CROWD_SHARE = 15.0, 8.0, 250.0, 0.4
# Distance from the ends without a search; 16-bit noise, added to divisors.
_MARGIN_MS = 20.0
_NOISE = 3e-5
# Length of a spectrum; its lowest and highest frequency; highest frequency over the sample rate.
_SPECTRUM_MS, _BAND_HZ, _BAND_SHARE = 8.0, (200.0, 8000.0), 0.45
# Spectral flatness below which a click has few frequencies.
_FLATNESS = 0.3
NARROW_CONFIDENCE = 0.94
"""Highest confidence of a click with few frequencies."""
# Longest impulse; error left where nothing but an impulse goes; error left that is looked into.
_IMPULSE_MS, _LEFT, _MAY_BE_LEFT = 0.2, 0.01, 0.03
IMPULSE_CONFIDENCE = 0.98
"""Least confidence of an impulse that leaves nothing behind."""
Errors = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Prediction errors forwards and backwards, each of the shape of the row."""


def residual(row: NDArray[np.float32], sample_rate: int) -> Errors:
    """Return the errors of predictors that are fitted every 20 ms.

    ``row`` is one channel, float32, shape (n,), finite; ``sample_rate`` is in Hz.
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


@dataclass(frozen=True, slots=True)
class Clicks:
    """Clicks of one channel."""

    certain: list[Finding]
    """Louder than all around, and certain."""
    likely: list[Finding]
    rest: NDArray[np.float32]
    """The channel with the certain ones interpolated."""
    errors: Errors
    """Of the rest."""


def search(row: NDArray[np.float32], sample_rate: int) -> Clicks:
    """Return the clicks of one channel; certain ones are interpolated before others are judged.

    ``row`` is float32, shape (n,), finite; ``sample_rate`` is in Hz.
    """
    rest, errors = row, residual(row, sample_rate)
    certain: list[Finding] = []
    found = find(rest, sample_rate, errors)
    for _ in range(_ROUNDS):
        sure = [each for each in found if _is_certain(rest, each, sample_rate)]
        if not sure:
            break
        certain += sure
        rest = rest.copy()
        for each in sure:
            fill = _interpolated(rest, each.start, each.stop, sample_rate)
            if fill is not None:
                rest[each.start : each.stop] = fill[3]
        errors = residual(rest, sample_rate)
        found = find(rest, sample_rate, errors)
    return Clicks(certain, found, rest, errors)


def _is_certain(row: NDArray[np.float32], click: Finding, sample_rate: int) -> bool:
    """Return whether a click is certain, and louder than the sound on either side.

    The edges of a hole and of a block put in are missed by a predictor, too, but not loud.
    """
    reach = round(_LEVEL_MS * sample_rate / 1000)
    around = np.concatenate(sides_of(row, click, reach))
    taken = _removed(row, click.start, click.stop, sample_rate)
    loud = float(np.quantile(np.abs(around), _LOUDEST))
    louder = float(np.abs(taken).max()) / (loud + _NOISE)
    return any(click.confidence >= least and louder >= ratio for least, ratio in _CERTAIN)


def find(row: NDArray[np.float32], sample_rate: int, errors: Errors) -> list[Finding]:
    """Return the clicks of one channel.

    Parameters
    ----------
    row : float32, shape (n,), samples, finite
    sample_rate : int, in Hz
    errors : Errors, from :func:`residual`
    """
    judge = judge_of("click")
    found = []
    for start, stop, features in candidates(row, sample_rate, errors):
        confidence = judge.confidence(features)
        if confidence > NARROW_CONFIDENCE:
            click = _removed(row, start, stop, sample_rate)
            if flatness(click, sample_rate) < _FLATNESS:
                confidence = NARROW_CONFIDENCE
        if confidence < 0.5 and features[-1] > np.log(_MAY_BE_LEFT):
            continue
        place = damaged(row, start, stop, sample_rate)
        if place[1] - place[0] <= _IMPULSE_MS * sample_rate / 1000:
            _, left = _mended(row, *place, sample_rate)
            confidence = max(confidence, IMPULSE_CONFIDENCE * (left <= _LEFT))
        if confidence >= 0.5:
            found.append(Finding(*place, "click", confidence))
    return found


def damaged(row: NDArray[np.float32], start: int, stop: int, sample_rate: int) -> tuple[int, int]:
    """Return which samples a click at a place damaged.

    Those that the sound before does not foretell, nor the sound behind. Of the ends, what an
    interpolation meets is intact.

    Parameters
    ----------
    row : float32, shape (n,), one channel, finite
    start, stop : int, about where the click is
    sample_rate : int, in Hz
    """
    reach, near, apart, order = (
        *(round(ms * sample_rate / 1000) for ms in (_FIT_MS, _NEAR_MS, _APART_MS)),
        _order(sample_rate),
    )
    for margin in range(near, _WIDEST * near + 1, near):
        first = max(0, start - margin - reach)
        line = row[first : stop + margin + reach].astype(np.float64)
        begin, end = start - margin - first, stop + margin - first
        if begin < 3 * order or line.size - end < 3 * order:
            break
        predictor = fit_burg(np.concatenate([line[:begin], line[end:]]), order)
        ahead = np.abs(np.convolve(line, predictor)[: line.size])
        back = np.abs(np.convolve(line[::-1], predictor)[: line.size][::-1])
        usual = np.concatenate([ahead[order:begin], back[end : line.size - order]])
        error = float(np.sqrt(np.mean(np.square(usual)))) + 1e-9
        both = np.minimum(ahead, back)[begin:end]
        over = np.flatnonzero(both > _ONSET_RATIO * error)
        if not over.size:
            break
        groups = np.split(over, np.flatnonzero(np.diff(over) > apart) + 1)
        group = max(groups, key=lambda each: float(both[each].max()))
        if apart < group[0] and group[-1] < both.size - apart:
            place = begin + int(group[0]) - _SPARE, begin + int(group[-1]) + 1 + _SPARE
            low, high = _without_intact_ends(line, *place, predictor, error)
            return first + low, first + high
    return start, stop


def wrong_beside(row: NDArray[np.float32], place: Finding, sample_rate: int) -> tuple[int, int]:
    """Return how many samples right before and behind a place came wrong, too.

    From the first one on that the sound further out foretells much worse than any of its own.
    """
    reach, past = (round(ms * sample_rate / 1000) for ms in (_WRONG_MS, _FIT_MS))
    order, found = _order(sample_rate), [0, 0]
    before, behind = sides_of(row, place, past + reach)
    for number, side in enumerate((before, behind[::-1])):
        line = side.astype(np.float64)
        if line.size < reach + 3 * order or not line[:-reach].any():
            continue
        errors = np.abs(np.convolve(line, fit_burg(line[:-reach], order))[: line.size])
        most = _WRONG_RATIO * (float(errors[order:-reach].max()) + _NOISE)
        over = np.flatnonzero(errors[-reach:] > most)
        found[number] = reach - int(over[0]) + _SPARE if over.size else 0
    return found[0], found[1]


def _without_intact_ends(
    line: NDArray[np.float64], low: int, high: int, predictor: NDArray[np.float64], error: float
) -> tuple[int, int]:
    """Return a gap without those samples at its ends that an interpolation meets."""
    order = predictor.size - 1
    lags = np.pad(np.correlate(predictor, predictor, "full"), high - low)
    middle = lags.size // 2
    while high - low > 1:
        places = np.arange(high - low)
        inverse = np.linalg.inv(lags[middle + np.subtract.outer(places, places)])
        known = line[low - order : high + order].copy()
        known[order:-order] = 0.0
        fill = -inverse @ np.correlate(known, lags[middle - order : middle + order + 1], "valid")
        off_by = np.abs(line[low:high] - fill) / (np.sqrt(np.diag(inverse)) * error)
        if min(off_by[0], off_by[-1]) > _DAMAGED_RATIO:
            break
        low, high = (low + 1, high) if off_by[0] <= off_by[-1] else (low, high - 1)
    return low, high


def flatness(click: NDArray[np.float32] | NDArray[np.float64], sample_rate: int) -> float:
    """Return the geometric over the arithmetic mean of a click's spectrum, 0 to 1.

    Up to 8 kHz: above, lossy coding leaves nothing of any click.

    ``click`` is of shape (n,), without what surrounds it; what is behind 8 ms does not count.
    ``sample_rate`` is in Hz.
    """
    samples = round(_SPECTRUM_MS * sample_rate / 1000)
    low, high = _BAND_HZ[0], min(_BAND_HZ[1], _BAND_SHARE * sample_rate)
    band = slice(*(round(hertz * samples / sample_rate) for hertz in (low, high)))
    power = np.square(np.abs(np.fft.rfft(click, samples)[band])) + 1e-12
    return float(np.exp(np.mean(np.log(power))) / np.mean(power))


def candidates(
    row: NDArray[np.float32], sample_rate: int, errors: Errors
) -> Iterator[tuple[int, int, tuple[float, ...]]]:
    """Yield start, stop and features of each candidate."""
    ms = sample_rate / 1000
    near, far, crowd = (round(each * ms) for each in (_NEAR_MS, _FAR_MS, _CROWD_MS))
    forward, backward = (np.abs(each) for each in errors)
    either, both = np.maximum(forward, backward), np.minimum(forward, backward)
    before, behind = _means(forward, near, far)
    mean = (before + behind) / 2 + _NOISE
    tops = list(_tops(either, forward, backward, mean, (near, far, crowd), round(_MARGIN_MS * ms)))
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
    reach: tuple[int, int, int],
    margin: int,
) -> Iterator[tuple[int, float, float]]:
    """Yield outstanding peaks and the largest errors beside them.

    ``forward`` and ``backward`` are written: few peaks that no sound has are clicks themselves, and
    hide none beside them. Many are a train of pulses.
    """
    near, far, crowd = reach
    high = np.flatnonzero(either > _MEAN_RATIO * mean)
    if not high.size:
        return
    peaks = np.flatnonzero(either > _NO_SOUND_RATIO * mean)
    peaks = peaks[np.diff(peaks, prepend=-2 * near) > near]
    first, last = (np.searchsorted(peaks, peaks + side) for side in (-crowd, crowd))
    for peak in peaks[last - first <= _FEW]:
        beside = slice(max(0, peak - near), peak + 2 * near)
        forward[beside], backward[beside] = 0.0, 0.0
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
    around = line[begin - order : begin + length + order]
    fill = solve_gap(around, np.correlate(predictor, predictor, "full"))
    return None if fill is None else (line, slice(begin, begin + length), predictor, fill)
