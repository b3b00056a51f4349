"""Blocks that repeat the samples just before them.

The recording, thinned out to 8 kHz, is compared with itself 4 to 165 ms ago. A candidate is a
stretch of at least that length which is the same, while before and behind it is not: periodic sound
goes on being the same, a repeated block is so for a whole number of blocks. After lossy coding a
copy is only alike, so a network judges how much so, how sharp the edges are, and what else is
alike.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plc.restore.detect.clicks import Errors
from plc.restore.detect.dips import is_cycle
from plc.restore.detect.findings import REGULAR, STEADY, Finding
from plc.restore.detect.judge import judge_of
from plc.restore.detect.seams import jumps_at
from plc_kernels.signal.repeats import lag_errors, repeat_starts

# Sample rate of the search, in Hz; shortest and longest block; samples of a frame, at that rate;
# frames compared on either side; samples of half the filter, at that rate; shortest repetition.
_LOW_RATE, _LAGS_MS = 8000, (4.0, 165.0)
_FRAME, _SIDE = 8, 4
_FILTER = 8
_LEAST_MS = 4.0
# Most blocks in a row; reach of an edge, in frames; reach of the largest error at an edge; reach of
# the mean error around an edge; least ratio of squared differences outside and inside.
_BLOCKS_MAX = 40.0
_EDGE_FRAMES = 2
_JUMP_MS, _AROUND_MS = 1.0, 12.0
_OUTSIDE = 10.0
# Length above which repeated blocks may be a tone; number of blocks above which they are.
_TONE_MS, _TONE_BLOCKS = 250.0, 8
# Steepest slope of a smooth wave over its RMS slope; least relative difference within a period;
# least change from the period before, over the peak; largest share of samples that change so.
_STEEPEST, _TURNED, _DIFFERENT, _DIFFERING = 2.5, 0.5, 0.1, 0.5
# Reach of a pattern; length of its stretches; share of them that may repeat by chance; error
# allowed beyond the finding's, relative; least power of a stretch.
_PATTERN_MS, _PATTERN_WIDTH_MS, _PATTERN_SHARE = 1000.0, 10.0, 0.25
_EQUAL, _SOUND = 1e-6, 1e-5
# Most frames that make a copy likelier.
_WIDTH = 20
# Length above which a copy may be a steady tone though it ends in a jump; its largest relative
# error; least jump of a block put in; largest share of a shorter tone that no predictor expects.
_STEADY_MS, _EXACT, _SMOOTH, _FRESH = 45.0, 1e-4, 0.6, 0.05
# Largest error of a shorter block over the found one's; relative error that always suffices.
_SAME, _SAME_LEAST = 2.0, 1e-4


def find(row: NDArray[np.float32], sample_rate: int, errors: Errors) -> list[Finding]:
    """Return the repeated blocks of one channel.

    Parameters
    ----------
    row : float32, shape (n,), samples, finite
    sample_rate : int, in Hz
    errors : Errors, from :func:`plc.restore.detect.clicks.residual`
    """
    judge = judge_of("repeat")
    factor = max(1, sample_rate // _LOW_RATE)
    thin = _thinned(row, factor)
    ms = sample_rate / 1000
    shortest = round(_LAGS_MS[0] * ms)
    found = []
    likely = [
        (start, stop, confidence, lag)
        for start, stop, features, lag in candidates(row, sample_rate, errors)
        if (confidence := judge.confidence(features)) >= 0.5
    ]
    spans = np.array([each[:2] for each in likely], np.int64).reshape(-1, 2)
    for start, stop, confidence, lag in likely:
        first, block = _first_copy(row, (start, stop), lag, shortest)
        doubt = REGULAR if is_cycle(start, stop, spans, ms) else ""
        place = Finding(first, stop, "repeat", confidence, doubt=doubt)
        begins, ends = jumps_at(errors, place, sample_rate)
        smooth = begins < _SMOOTH
        if stop - first <= _STEADY_MS * ms:
            fresh = np.median(np.abs(errors[0][first:stop]))
            smooth &= ends < _SMOOTH and fresh <= _FRESH * np.std(row[first:stop])
        if smooth and _alike(row, (start, stop), lag)[0] <= _EXACT:
            place = replace(place, doubt=doubt or STEADY)
        is_tone = stop - first > max(_TONE_MS * ms, _TONE_BLOCKS * block)
        is_tone = is_tone or _is_one_wave(row, (start, stop), lag, shortest)
        if not is_tone and not _is_pattern(thin, row, (start, stop), lag, factor):
            found.append(place)
    return found


def candidates(
    row: NDArray[np.float32], sample_rate: int, errors: Errors
) -> Iterator[tuple[int, int, tuple[float, ...], int]]:
    """Yield start, stop, features and lag of each candidate, in samples."""
    factor = max(1, sample_rate // _LOW_RATE)
    thin = _thinned(row, factor)
    frames = thin.size // _FRAME
    found = _repetitions(thin[: frames * _FRAME], sample_rate / factor)
    for span, lag in _copies(row, sample_rate / 1000):
        first, last = -(-span[0] // (_FRAME * factor)), span[1] // (_FRAME * factor)
        outside = _beside(row, span, lag, _SIDE * _FRAME * factor)
        score = np.log(min(*outside, 2.0) / 1e-4 + 1e-9) * np.sqrt(min(last - first, _WIDTH))
        if last > first and score > found[first:last, 0].max():
            found[first, :6] = score, lag / factor, last, 0.0, *outside
    taken = np.zeros(frames, np.bool_)
    both = np.minimum(np.abs(errors[0]), np.abs(errors[1]))
    fresh = _low_band(errors[0], factor)
    for first in np.argsort(-found[:, 0], kind="stable").tolist():
        score, low_lag, last, inner, before, behind, _ = found[first].tolist()
        if score <= 0.0:
            return
        if taken[first : int(last)].any():
            continue
        taken[first : int(last)] = True
        span = (first * _FRAME * factor, int(last) * _FRAME * factor)
        lag = _exact_lag(row, span, int(low_lag) * factor, factor)
        alike = _alike(row, span, lag)
        start, stop = _edges(row, span, lag, _EDGE_FRAMES * _FRAME * factor)
        blocks = (stop - start) / lag
        if stop - start < _LEAST_MS * sample_rate / 1000 or blocks > _BLOCKS_MAX:
            continue
        logs = (
            inner,
            before,
            behind,
            min(before, behind) / (inner + 1e-4),
            blocks,
            lag / sample_rate,
            (stop - start) / sample_rate,
            alike[0],
            1.0 + float(np.median(found[first : int(last), 6])),
            _jump(both, start, sample_rate),
            _jump(both, stop, sample_rate),
            float(np.sqrt(np.mean(np.square(row[start:stop], dtype=np.float64)))),
        )
        features = (
            *(float(np.log(value + 1e-5)) for value in logs),
            abs(blocks - max(1, round(blocks))),
            alike[1],
            score,
            *_innovation(fresh, (start, stop), lag, factor),
        )
        yield start, stop, features, lag


def _thinned(row: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    if factor == 1:
        return row
    place = np.arange(-_FILTER * factor, _FILTER * factor + 1)
    taps = np.sinc(place / factor) / factor * np.hanning(place.size + 2)[1:-1]
    return np.convolve(row, taps, "same")[::factor].astype(np.float32)


def _low_band(errors: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Return prediction errors up to about 4 kHz: there lossy coding keeps waveforms."""
    taps = np.hanning(2 * factor + 3)[1:-1]
    low: NDArray[np.float64] = np.convolve(errors, taps / taps.sum(), "same")
    return low


def _innovation(
    fresh: NDArray[np.float64], span: tuple[int, int], lag: int, step: int
) -> tuple[float, float, float]:
    """Return how alike the prediction errors of copy and source are.

    Inside, before and behind: a steady tone is like itself a while ago because it is foreseen; what
    was not foreseen can only be the same where it is a copy.
    """
    inner = _inner(span)
    width, margin = min(lag, inner.stop - inner.start), 2 * step
    before = slice(span[0] - margin - width, span[0] - margin)
    behind = slice(span[1] + margin, span[1] + margin + width)
    inside, *outside = (
        _correlation(fresh, each, lag, max(1, step // 2)) for each in (inner, before, behind)
    )
    return float(np.log(1.0 - min(inside, 1.0) + 1e-3)), outside[0], outside[1]


def _correlation(x: NDArray[np.float64], part: slice, lag: int, step: int) -> float:
    if part.start < lag or part.stop > x.size or part.stop <= part.start:
        return 0.0
    here, there = x[part.start : part.stop : step], x[part.start - lag : part.stop - lag : step]
    return float(here @ there / np.sqrt((here @ here) * (there @ there) + 1e-24))


def _running_power(thin: NDArray[np.float32]) -> NDArray[np.float64]:
    whole = thin[: thin.size // _FRAME * _FRAME]
    power = np.square(whole, dtype=np.float64).reshape(-1, _FRAME).sum(axis=1)
    return np.concatenate([[0.0], np.cumsum(power)])


def _repetitions(thin: NDArray[np.float32], rate: float) -> NDArray[np.float64]:
    """Return the starts of :func:`repeat_starts` at all lags, shape (frames, 7)."""
    frames = thin.size // _FRAME
    found = np.zeros((frames, 7))
    powers = _running_power(thin)
    sums = np.empty(frames + 1)
    first, last = (round(ms * rate / 1000) for ms in _LAGS_MS)
    for lag in range(first, last + 1):
        lag_errors(lag, _FRAME, thin, sums)
        repeat_starts(lag, _FRAME, _SIDE, sums, powers, found)
    return found


def _copies(row: NDArray[np.float32], ms: float) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the stretches that are exact copies of earlier samples, and their lags.

    Each stretch of the shortest length is a number: a polynomial of its samples, in 64 bits.
    """
    width, least, most = (round(each * ms) for each in (_LEAST_MS, *_LAGS_MS))
    powers = np.full(row.size + 1, 0x9E3779B97F4A7C15, np.uint64)  # any odd number
    powers[0] = 1
    powers = np.cumprod(powers)
    sums = np.zeros(row.size + 1, np.uint64)
    np.cumsum(row.view(np.uint32) * powers[1:], out=sums[1:])
    marks = (sums[width:] - sums[:-width]) * powers[: row.size - width + 1][::-1]
    order = np.argsort(marks, kind="stable")
    again = np.flatnonzero(np.diff(marks[order]) == 0)
    lags = np.zeros(marks.size, np.int64)
    lags[order[again + 1]] = order[again + 1] - order[again]
    edges = np.flatnonzero(np.diff(lags, prepend=0, append=0))
    for start, stop in zip(edges[:-1].tolist(), (edges[1:] + width - 1).tolist(), strict=True):
        lag = int(lags[start])
        if least <= lag <= most and np.mean(np.square(row[start:stop])) > _SOUND:
            yield (start, stop), lag


def _beside(row: NDArray[np.float32], span: tuple[int, int], lag: int, side: int) -> list[float]:
    """Return the relative errors of a copy before it and behind it."""
    errors = []
    for first in (span[0] - side, span[1]):
        place = max(lag, first)
        here = row[place : first + side].astype(np.float64)
        apart = here - row[place - lag : place - lag + here.size]
        errors.append(float(apart @ apart) / (float(here @ here) + 1e-9))
    return errors


def _inner(span: tuple[int, int]) -> slice:
    margin = (span[1] - span[0]) // 8
    return slice(span[0] + margin, span[1] - margin)


def _exact_lag(row: NDArray[np.float32], span: tuple[int, int], about: int, stray: int) -> int:
    inner = _inner(span)
    here = row[inner]
    lags = [lag for lag in range(about - stray, about + stray + 1) if 0 < lag <= inner.start]
    costs = [
        float(np.sum(np.square(here - row[inner.start - lag : inner.stop - lag]))) for lag in lags
    ]
    return lags[int(np.argmin(costs))] if lags else about


def _alike(row: NDArray[np.float32], span: tuple[int, int], lag: int) -> tuple[float, float]:
    inner = _inner(span)
    if inner.start < lag:
        return 1.0, 0.0
    here = row[inner].astype(np.float64)
    apart = here - row[inner.start - lag : inner.stop - lag]
    return float(apart @ apart) / (float(here @ here) + 1e-9), float(np.mean(apart == 0))


def _edges(
    row: NDArray[np.float32], span: tuple[int, int], lag: int, reach: int
) -> tuple[int, int]:
    """Return where the copy begins and ends: the likeliest change of its error's variance."""
    first, last = max(lag, span[0] - reach), min(row.size, span[1] + reach)
    if last - first < 8:
        return span
    apart = row[first:last].astype(np.float64) - row[first - lag : last - lag]
    error = apart * apart
    inner = _inner((span[0] - first, span[1] - first))
    inside = float(error[max(0, inner.start) : inner.stop].mean()) + 1e-12
    half = max(1, reach // 2)
    outside = max(error[:half].mean(), error[-half:].mean(), _OUTSIDE * inside)
    # Log-likelihood of each sample being inside rather than outside, without the rare peaks.
    even = np.log(outside / inside) / (1.0 / inside - 1.0 / outside)
    gain = np.concatenate([[0.0], np.cumsum(even - np.minimum(error, 20.0 * outside))])
    middle = error.size // 2
    start = int(np.argmin(gain[: middle + 1]))
    stop = middle + int(np.argmax(gain[middle:]))
    return first + start, first + stop


def _is_pattern(
    thin: NDArray[np.float32],
    row: NDArray[np.float32],
    span: tuple[int, int],
    lag: int,
    factor: int,
) -> bool:
    """Return whether the surroundings of a repetition repeat as exactly.

    A copy stands out by that; a wave of one shape is like itself everywhere.
    """
    around = round(_PATTERN_MS * _LOW_RATE / 1000)
    start, stop = (place // factor for place in span)
    low = max(0, start - around) // _FRAME * _FRAME
    part = np.ascontiguousarray(thin[low : stop + around])
    frames = part.size // _FRAME
    width = round(_PATTERN_WIDTH_MS * _LOW_RATE / 1000) // _FRAME
    if frames <= width:
        return False
    errors = np.empty(frames + 1)
    power = _running_power(part)
    energy = power[width:] - power[:-width]
    least = np.full(energy.size, np.inf)
    first, last = (round(ms * _LOW_RATE / 1000) for ms in (_PATTERN_WIDTH_MS, _LAGS_MS[1]))
    for shift in range(first, last + 1):
        lag_errors(shift, _FRAME, part, errors)
        begin = -(-shift // _FRAME)
        np.minimum(least[begin:], (errors[width:] - errors[:-width])[begin:], out=least[begin:])
    place = low + np.arange(energy.size) * _FRAME
    beside = (place + width * _FRAME < start - lag // factor) | (place > stop + lag // factor)
    beside &= (energy > _SOUND * width * _FRAME) & np.isfinite(least)
    alike = least[beside] <= (_alike(row, span, lag)[0] + _EQUAL) * energy[beside]
    return bool(alike.size and alike.mean() > _PATTERN_SHARE)


def _first_copy(
    row: NDArray[np.float32], span: tuple[int, int], lag: int, shortest: int
) -> tuple[int, int]:
    error = _alike(row, span, lag)[0]
    for parts in range(lag // shortest, 1, -1):
        block = round(lag / parts)
        nearby = [(_alike(row, span, block + stray)[0], block + stray) for stray in (-1, 0, 1)]
        least, block = min(nearby)
        if least <= max(_SAME * error, _SAME_LEAST):
            return min(span[0], _edges(row, span, block, lag)[0]), block
    return span[0], lag


def _is_one_wave(row: NDArray[np.float32], span: tuple[int, int], lag: int, shortest: int) -> bool:
    """Return whether a copy goes on with a smooth wave, of a period below any block's.

    A note of a synthesizer is so, and repeats itself exactly after some periods. Where a block was
    put in, the wave jumps.
    """
    part = row[max(0, span[0] - lag // 2) : _inner(span).stop].astype(np.float64)
    slope = np.diff(part)
    if np.abs(slope).max(initial=0.0) > _STEEPEST * np.sqrt(np.mean(np.square(slope))):
        return False
    period = _period(part, min(shortest, part.size // 4))
    if not period:
        return False
    differs = np.abs(part[period:] - part[:-period]) > _DIFFERENT * np.abs(part).max()
    sums = np.concatenate([[0], np.cumsum(differs)])
    return bool((sums[period:] - sums[:-period]).max() <= _DIFFERING * period)


def _period(x: NDArray[np.float64], longest: int) -> int:
    """Return the period below ``longest`` that a wave has; 0 if it has none."""
    power = 2.0 * np.mean(np.square(x)) + 1e-9
    apart = [np.mean(np.square(x[k:] - x[:-k])) / power for k in range(1, longest)]
    turned = np.flatnonzero(np.array(apart) > _TURNED)
    return int(turned[0] + np.argmin(apart[turned[0] :])) + 1 if turned.size else 0


def _jump(both: NDArray[np.float64], place: int, sample_rate: int) -> float:
    """Return the largest prediction error at an edge, relative to those around."""
    near, far = (round(ms * sample_rate / 1000) for ms in (_JUMP_MS, _AROUND_MS))
    around = both[max(0, place - far) : place + far]
    at = both[max(0, place - near) : place + near]
    return float(at.max()) / (float(around.mean()) + 1e-6) if at.size else 0.0
