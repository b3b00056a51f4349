"""The contour of a voice's pitch: how it went, how it goes on, and a cycle that follows it.

The period is measured where the past ends and, around that, every 5 ms back. What it does next is
said by a small network (:func:`expect`); drafts of a gap are made to follow it: the last cycle is
repeated at the expected length (:func:`repeat_cycle`), and what was predicted at a period of its
own is read faster or slower (:func:`bend`). Where samples behind the gap are known, the contour
is the one on which cycles run into them (:func:`meet`). Sums are taken in float32: of a few hundred
samples, for periods to a thousandth.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.signal.history import copy, newest

STEPS = 16
"""Of 5 ms, that are looked back."""
FEATURES = 3 * STEPS + 2
POINT_MS = 10.0
"""Apart are the points of what is expected, the first where the past ends."""
POINTS = 7
LONGEST_MS = 20.0
"""The longest period."""
PAST_MS = 115.0
"""What :func:`look_back` reads."""
MOST_BEND = 1.25
"""Largest ratio by which a draft is read faster or slower."""
VOICED = 0.6
"""Cycles less alike than that are no voice's."""

_SHORTEST_MS = 2.0
_STEP_MS = 5.0
_EDGE_MS, _AROUND_MS = 20.0, 15.0
# A period half or a third of the best one's is taken where it is nearly as good.
_AS_GOOD = 0.92
_STRAY = 0.15
# Below these a period is not believed: not as a feature, not to look on from.
_BELIEVED, _FOLLOWED = 0.5, 0.6
# So much of the loudest power counts as silence, whatever the signal's level.
_SILENCE_SHARE = 1e-6
_LEAST_POWER = 1e-30
_USUAL_MS = 6.25
# No period moves further within a gap, also where the network meets unknown input.
_MOST_DRIFT = 0.4
# The pitch is measured at this rate, or up to twice it: whole numbers of samples become one.
_LOOK_RATE = 16_000
# Around so long after the past's end the period of a draft is measured, and with this share of
# tolerance.
_OWN_AT_MS = 10.0
_OWN_STRAY = 0.1
# For that so much is looked at on either side: half a template and half of the longest period.
_OWN_AROUND_MS = 20.0
# Cycles are crossfaded over their last part.
_SEAM = 0.3
# The pace changes in a straight line within this number of samples.
_CHUNK = 32
# So many slopes are tried on either side of the expected contour to meet what is known behind a
# gap. The steepest moves the logarithm of the period by so much over a long one, over others by
# less in proportion; its likeness counts as so much lower.
_SLOPES = 20
_STEEPEST, _LONG_MS = 0.5, 60.0
_UNLIKELY = 0.3
# So much behind a gap says whether a contour runs into it, and it is followed if it does so well.
_MEET_MS = 10.0
_MET = 0.0
# Longer gaps' contours are not followed: much further it is not known how a pitch goes on.
_LONGEST_GAP_MS = POINTS * POINT_MS


class ContourModel(NamedTuple):
    """A network of two hidden layers, float32; matrices have shape (outputs, inputs)."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    enter: NDArray[np.float32]
    enter_bias: NDArray[np.float32]
    middle: NDArray[np.float32]
    middle_bias: NDArray[np.float32]
    leave: NDArray[np.float32]
    leave_bias: NDArray[np.float32]


class ContourSpace(NamedTuple):
    """Scratch memory for one voice at a time, in the sizes of :func:`contour_sizes`.

    ``seen`` (looked,), what was looked at last; ``score`` (looked,); ``around`` (2 * around,);
    ``features`` (FEATURES,); ``layers`` (2, width), as :func:`expect` wants it.
    """

    seen: NDArray[np.float32]
    score: NDArray[np.float32]
    around: NDArray[np.float32]
    features: NDArray[np.float32]
    layers: NDArray[np.float32]


class CrossingSpace(NamedTuple):
    """Scratch memory for a voice's way through a gap.

    ``beyond`` (2 * :func:`met_samples`,); ``expected`` and ``turned`` (POINTS,), contours.
    """

    beyond: NDArray[np.float32]
    expected: NDArray[np.float32]
    turned: NDArray[np.float32]


@inlined
def _every(rate: int) -> int:
    return int(max(rate // _LOOK_RATE, 1))


@inlined
def _own_at(rate: int) -> int:
    """Return the samples behind the past's end around which a draft's own period is measured."""
    return int(np.rint(rate * _OWN_AT_MS / 1000.0))


@kernel
def contour_sizes(rate: int, samples: int) -> tuple[int, int, int, int]:
    """Return the numbers that drafts of ``samples`` along a contour take, at a rate in Hz.

    Samples of the past; samples to predict, more than a draft has, as they may be read faster;
    and of :class:`ContourSpace` the samples looked at, and those on either side of a place.
    """
    every = _every(rate)
    looked = int(rate * PAST_MS / 1000.0) // every + 1
    around = int(np.rint(rate * _OWN_AROUND_MS / 1000.0)) // every
    predicted = max(int(samples * MOST_BEND) + 4, _own_at(rate) + around * every)
    return looked * every, predicted, looked, around


@kernel
def met_samples(rate: int) -> int:
    """Return the samples behind a gap, as they are looked at, that say where a contour leads."""
    return int(np.rint(rate * _MEET_MS / 1000.0)) // _every(rate)


@kernel
def thin_out(x: NDArray[np.float32], every: int, out: NDArray[np.float32]) -> None:
    """Write the mean of each ``every`` samples of ``x`` to ``out``."""
    for i in range(out.size):
        total = np.float32(0.0)
        for k in range(i * every, (i + 1) * every):
            total += x[k]
        out[i] = total / every


@kernel
def _likeness(x: NDArray[np.float32], first: int, second: int, samples: int) -> float:
    a = x[first : first + samples]
    b = x[second : second + samples]
    cross = np.float32(0.0)
    power_a = np.float32(0.0)
    power_b = np.float32(0.0)
    for i in range(samples):
        cross += a[i] * b[i]
        power_a += a[i] * a[i]
        power_b += b[i] * b[i]
    return float(cross / math.sqrt(power_a * power_b + _LEAST_POWER))


@kernel
def _between(score: NDArray[np.float32], n: int, best: int) -> float:
    """Return the offset from ``best`` of the parabola's summit through its neighbours."""
    if not 0 < best < n - 1:
        return 0.0
    left, top, right = score[best - 1], score[best], score[best + 1]
    bow = left - 2.0 * top + right
    return 0.5 * (left - right) / bow if bow < -1e-9 else 0.0


@kernel
def edge_period(
    x: NDArray[np.float32], sample_rate: float, score: NDArray[np.float32]
) -> tuple[float, float, int]:
    """Return the period at the end of ``x``, and its correlation.

    In samples, and from -1 to 1; and the lag at which the end is most like what was before, which
    may be several periods.

    Parameters
    ----------
    x : float32, shape (n,)
        The past, newest last, at least 40 ms.
    sample_rate : float, in Hz
    score : float32, shape (lags,), written, room for 18 ms and a sample
    """
    template = round(sample_rate * _EDGE_MS / 1000.0)
    shortest = round(sample_rate * _SHORTEST_MS / 1000.0)
    n = round(sample_rate * LONGEST_MS / 1000.0) - shortest + 1
    first = x.size - template
    most = np.float32(-1.0)
    best = 0
    for k in range(n):
        score[k] = _likeness(x, first, first - shortest - k, template)
        if score[k] > most:
            most = score[k]
            best = k
    lag = shortest + best
    for k in range(1, n - 1):
        if score[k] >= _AS_GOOD * most and score[k] >= score[k - 1] and score[k] >= score[k + 1]:
            best = k
            break
    return shortest + best + _between(score, n, best), score[best], lag


@kernel
def period_around(
    x: NDArray[np.float32],
    centre: int,
    near: float,
    stray: float,
    sample_rate: float,
    score: NDArray[np.float32],
) -> tuple[float, float]:
    """Return the period around a place in samples, and its correlation.

    Parameters
    ----------
    x : float32, shape (n,)
        Known 18 ms on either side of ``centre``; what is not counts as 0 alike.
    near, stray : float
        The period, in samples, and the share of it by which it may differ.
    sample_rate, score : as for :func:`edge_period`
    """
    template = round(sample_rate * _AROUND_MS / 1000.0)
    shortest = max(int(near * (1.0 - stray)), 4)
    n = min(int(near * (1.0 + stray)) + 2 - shortest, score.size)
    best = 0
    for k in range(n):
        first = centre - (template + shortest + k) // 2
        inside = first >= 0 and first + shortest + k + template <= x.size
        score[k] = _likeness(x, first, first + shortest + k, template) if inside else 0.0
        if score[k] > score[best]:
            best = k
    return shortest + best + _between(score, n, best), score[best]


@kernel
def look_back(
    x: NDArray[np.float32],
    sample_rate: float,
    score: NDArray[np.float32],
    features: NDArray[np.float32],
) -> tuple[float, float, int]:
    """Return the value of :func:`edge_period`; write the input of :func:`expect`.

    Parameters
    ----------
    x : float32, shape (n,)
        The past, newest last: :data:`PAST_MS` of it.
    sample_rate, score : as for :func:`edge_period`
    features : float32, shape (FEATURES,), written
        Every 5 ms, the newest first: logarithm of the period relative to that at the end, and
        likeness; the oldest first: log power relative to the newest; then the logarithm of the
        period at the end, and its likeness. None depends on the signal's level.
    """
    period, alike, lag = edge_period(x, sample_rate, score)
    step = round(sample_rate * _STEP_MS / 1000.0)
    template = round(sample_rate * _AROUND_MS / 1000.0)
    near = period
    loudest = np.float32(0.0)
    for j in range(STEPS):
        centre = x.size - 2 - (template + int(near)) // 2 - j * step
        found, likeness = period_around(x, centre, near, _STRAY, sample_rate, score)
        features[j] = math.log(found / period) if likeness > _BELIEVED else 0.0
        features[STEPS + j] = likeness
        if likeness > _FOLLOWED:
            near = found
        power = np.float32(0.0)
        end = x.size - j * step
        for i in range(end - 2 * step, end):
            power += x[i] * x[i]
        features[3 * STEPS - 1 - j] = power
        loudest = max(loudest, power)
    floor = _SILENCE_SHARE * loudest + _LEAST_POWER
    newest = features[3 * STEPS - 1] + floor
    for j in range(2 * STEPS, 3 * STEPS):
        features[j] = math.log((features[j] + floor) / newest)
    features[3 * STEPS] = math.log(1000.0 * period / (sample_rate * _USUAL_MS))
    features[3 * STEPS + 1] = alike
    return period, alike, lag


@kernel
def expect(
    features: NDArray[np.float32],
    model: ContourModel,
    work: NDArray[np.float32],
    points: NDArray[np.float32],
) -> None:
    """Write the contour that is expected.

    Parameters
    ----------
    features : float32, shape (FEATURES,), from :func:`look_back`
    model : ContourModel, the network
    work : float32, shape (2, width), written
        At least as wide as its layers and its input.
    points : float32, shape (POINTS,), written
        Logarithm of the period, relative to that at the past's end, every 10 ms from there; within
        0.4 of 0.
    """
    for i in range(features.size):
        value = (features[i] - model.mean[i]) / model.scale[i]
        work[0, i] = min(max(value, -4.0), 4.0)
    _layer(model.enter, model.enter_bias, work[0], work[1], True)
    _layer(model.middle, model.middle_bias, work[1], work[0], True)
    _layer(model.leave, model.leave_bias, work[0], points, False)
    for i in range(points.size):
        points[i] = min(max(points[i], -_MOST_DRIFT), _MOST_DRIFT)


@kernel
def _layer(
    matrix: NDArray[np.float32],
    bias: NDArray[np.float32],
    x: NDArray[np.float32],
    out: NDArray[np.float32],
    bent: bool,
) -> None:
    """Write a dense layer's output; bent: through x / (1 + exp(-x)), SiLU."""
    for i in range(matrix.shape[0]):
        total = bias[i]
        for j in range(matrix.shape[1]):
            total += matrix[i, j] * x[j]
        out[i] = total / (np.float32(1.0) + math.exp(-total)) if bent else total


@kernel
def _contour(points: NDArray[np.float32], place_ms: float) -> float:
    before = int(place_ms / POINT_MS)
    if before >= points.size - 1:
        return float(points[points.size - 1])
    share = place_ms / POINT_MS - before
    return float((1.0 - share) * points[before] + share * points[before + 1])


@kernel
def _pace(points: NDArray[np.float32], sample: float, sample_rate: float) -> float:
    return math.exp(-_contour(points, sample * 1000.0 / sample_rate))


@kernel
def _read(x: NDArray[np.float32], place: float) -> float:
    """Return ``x`` between its samples, by the cubic of Catmull and Rom; ``place`` is positive."""
    i = min(max(int(place), 1), x.size - 3)
    f = place - i
    a, b, c, d = x[i - 1], x[i], x[i + 1], x[i + 2]
    bow = 2.0 * a - 5.0 * b + 4.0 * c - d + f * (3.0 * (b - c) + d - a)
    return float(b + 0.5 * f * (c - a + f * bow))


@kernel
def _cycle(past: NDArray[np.float32], period: float, phase: float) -> float:
    at = past.size - 1 + (phase - 1.0) * period
    value = _read(past, at)
    seam = (phase - (1.0 - _SEAM)) / _SEAM
    if seam > 0.0:
        # A cycle earlier, this place runs into where the next one begins.
        share = seam * seam * (3.0 - 2.0 * seam)
        value += share * (_read(past, at - period) - value)
    return value


@kernel
def repeat_cycle(
    past: NDArray[np.float32],
    period: float,
    points: NDArray[np.float32],
    sample_rate: float,
    out: NDArray[np.float32],
) -> None:
    """Repeat the last cycle along the contour.

    Parameters
    ----------
    past : float32, shape (n,)
        Newest last, two periods and 3 samples at least.
    period : float
        At the end of ``past``, in samples.
    points : float32, shape (POINTS,), from :func:`expect`
    sample_rate : float, in Hz
    out : float32, shape (m,), written, what follows ``past``
    """
    _go_on(past, period, points, sample_rate, 0.0, 0.0, out)


@kernel
def _go_on(
    past: NDArray[np.float32],
    period: float,
    points: NDArray[np.float32],
    sample_rate: float,
    place: float,
    phase: float,
    out: NDArray[np.float32],
) -> None:
    """Repeat the last cycle from ``place`` samples after ``past``, and ``phase`` cycles."""
    for begin in range(0, out.size, _CHUNK):
        pace = _pace(points, place + begin, sample_rate) / period
        step = (_pace(points, place + begin + _CHUNK, sample_rate) / period - pace) / _CHUNK
        for i in range(begin, min(begin + _CHUNK, out.size)):
            phase += pace
            pace += step
            if phase > 1.0:
                phase -= 1.0
            out[i] = _cycle(past, period, phase)


@kernel
def meet(
    past: NDArray[np.float32],
    period: float,
    points: NDArray[np.float32],
    sample_rate: float,
    gap: float,
    beyond: NDArray[np.float32],
    score: NDArray[np.float32],
    tilted: NDArray[np.float32],
) -> float:
    """Tilt the contour so that the repeated cycle meets the known samples.

    Return how alike the halves of ``beyond`` then are, -1 to 1.

    Parameters
    ----------
    past, period, points, sample_rate : as for :func:`repeat_cycle`
    gap : float
        Samples between ``past`` and what is known beyond.
    beyond : float32, shape (2 * n,), the first half written
        The second half is what is known; the first becomes what the cycles are there.
    score : float32, shape (k,), written, room for 41
    tilted : float32, shape (POINTS,), written, the contour that meets it
    """
    gap_ms = 1000.0 * gap / sample_rate
    steepest = _STEEPEST * min(gap_ms / _LONG_MS, 1.0)
    best = 0
    for k in range(2 * _SLOPES + 1):
        steep = (k - _SLOPES) / _SLOPES
        _tilt(points, steep * steepest / gap_ms, tilted)
        alike = _runs_into(past, period, tilted, sample_rate, gap, beyond)
        score[k] = alike - _UNLIKELY * steep * steep
        if score[k] > score[best]:
            best = k
    steep = (best + _between(score, 2 * _SLOPES + 1, best) - _SLOPES) / _SLOPES
    _tilt(points, steep * steepest / gap_ms, tilted)
    return _runs_into(past, period, tilted, sample_rate, gap, beyond)


@kernel
def _tilt(points: NDArray[np.float32], slope: float, tilted: NDArray[np.float32]) -> None:
    """Write the contour with its slope changed, per millisecond."""
    for i in range(points.size):
        place = points[i] + slope * i * POINT_MS
        tilted[i] = min(max(place, -_MOST_DRIFT), _MOST_DRIFT)


@kernel
def _runs_into(
    past: NDArray[np.float32],
    period: float,
    points: NDArray[np.float32],
    sample_rate: float,
    gap: float,
    beyond: NDArray[np.float32],
) -> float:
    """Repeat the last cycle beyond the gap; return its likeness to known samples."""
    pieces = int(gap / _CHUNK) + 1
    width = gap / pieces
    phase = 0.0
    for i in range(pieces):
        ends = _pace(points, i * width, sample_rate) + _pace(points, (i + 1) * width, sample_rate)
        phase += 0.5 * ends * width / period
    n = beyond.size // 2
    _go_on(past, period, points, sample_rate, gap, phase - math.floor(phase), beyond[:n])
    return _likeness(beyond, 0, n, n)


@kernel
def turn(points: NDArray[np.float32], gap_ms: float, turned: NDArray[np.float32]) -> float:
    """Write the contour as it is seen from behind a gap; return the logarithm of its period there.

    Relative, as in ``points``, to the period at the past's end; ``turned`` is relative to that
    behind the gap.
    """
    end = _contour(points, gap_ms)
    for i in range(turned.size):
        turned[i] = _contour(points, max(gap_ms - i * POINT_MS, 0.0)) - end
    return end


@kernel
def bend(
    line: NDArray[np.float32],
    known: int,
    own: float,
    period: float,
    points: NDArray[np.float32],
    sample_rate: float,
    out: NDArray[np.float32],
) -> None:
    """Resample a draft so that its period follows the contour.

    Parameters
    ----------
    line : float32, shape (known + n,)
        Two samples of the past at least, then the draft, whose period is ``own`` samples; ``n`` is
        at least :data:`MOST_BEND` times as many samples as ``out`` has, and 3.
    period, points, sample_rate : as for :func:`repeat_cycle`
    out : float32, shape (m,), written, the draft, bent
    """
    at = known - 1.0
    for begin in range(0, out.size, _CHUNK):
        pace = _bounded(own / period * _pace(points, begin, sample_rate))
        after = _bounded(own / period * _pace(points, begin + _CHUNK, sample_rate))
        step = (after - pace) / _CHUNK
        for i in range(begin, min(begin + _CHUNK, out.size)):
            at += pace
            pace += step
            out[i] = _read(line, at)


@kernel
def _bounded(pace: float) -> float:
    return min(max(pace, 1.0 / MOST_BEND), MOST_BEND)


@kernel
def look(
    rate: int,
    model: ContourModel,
    space: ContourSpace,
    past: NDArray[np.float32],
    points: NDArray[np.float32],
) -> tuple[float, int]:
    """Return the period at the end of ``past`` and its best lag; write its expectation.

    In samples; the period is 0 where there is no pitch.

    Parameters
    ----------
    rate : int, in Hz
    model : ContourModel, what expects the contour
    space : ContourSpace, written
    past : float32, shape (past samples,), newest last
    points : float32, shape (POINTS,), written where there is a pitch
    """
    every = _every(rate)
    thin_out(past, every, space.seen)
    period, alike, lag = look_back(space.seen, rate / every, space.score, space.features)
    if alike < VOICED:
        return 0.0, lag * every
    expect(space.features, model, space.layers, points)
    return period * every, lag * every


@kernel
def bend_along(
    rate: int,
    space: ContourSpace,
    line: NDArray[np.float32],
    known: int,
    period: float,
    points: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Bend a prediction to the contour.

    Parameters
    ----------
    rate, space : as for :func:`look`
    line : float32, shape (known + n,)
        ``known`` samples of the past, and what was predicted of the samples to predict.
    period, points : from :func:`look`
    out : float32, shape (m,), written
    """
    every = _every(rate)
    around = space.around
    first = known + _own_at(rate) - around.size // 2 * every
    own = period
    if first >= 0:
        thin_out(line[first:], every, around)
        found, alike = period_around(
            around, around.size // 2, period / every, _OWN_STRAY, rate / every, space.score
        )
        own = found * every if alike > 0.0 else period
    bend(line, known, own, period, points, float(rate), out)


@kernel
def cross(
    rate: int,
    model: ContourModel,
    space: ContourSpace,
    crossing: CrossingSpace,
    past: NDArray[np.float32],
    after: NDArray[np.float32],
    gap: int,
    points: NDArray[np.float32],
) -> float:
    """Return the period at the end of ``past`` of a voice whose way through a gap is known.

    In samples; 0 where there is no pitch, it does not arrive, or the gap is too long.

    Parameters
    ----------
    rate, model, space, past : as for :func:`look`
    crossing : CrossingSpace, written
    after : float32, shape (n,), what is known behind the gap
    gap : int, its samples
    points : float32, shape (POINTS,), written where there is a pitch
        The contour on which it arrives in step with what is known.
    """
    if 1000.0 * gap / rate > _LONGEST_GAP_MS:
        return 0.0
    period, _ = look(rate, model, space, past, crossing.expected)
    if period == 0.0:
        return 0.0
    every = _every(rate)
    met = min(crossing.beyond.size // 2, after.size // every)
    beyond = crossing.beyond[: 2 * met]
    thin_out(after, every, beyond[met:])
    alike = meet(
        space.seen,
        period / every,
        crossing.expected,
        rate / every,
        gap / every,
        beyond,
        space.score,
        points,
    )
    return period if alike > _MET else 0.0


@kernel
def bend_near(
    rate: int,
    space: ContourSpace,
    line: NDArray[np.float32],
    known: int,
    period: float,
    points: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Bend a prediction as :func:`bend_along`; without a period leave it as it is."""
    if period > 0.0:
        bend_along(rate, space, line, known, period, points, out)
    else:
        copy(line[known:], out)


@kernel
def follow(
    rate: int,
    model: ContourModel,
    space: ContourSpace,
    ring: NDArray[np.float32],
    position: int,
    lines: NDArray[np.float32],
    points: NDArray[np.float32],
    periods: NDArray[np.float64],
    lags: NDArray[np.int64],
) -> None:
    """Measure the pitch of all channels where the history ends, and write its expected contour.

    Parameters
    ----------
    rate, model, space : as for :func:`look`
    ring : float32, shape (channels, capacity), the played samples
    position : int, where its next sample will stand
    lines : float32, shape (channels, past samples + samples to predict), its past written
    points : float32, shape (channels, POINTS), written
    periods : float64, shape (channels,), written
    lags : int64, shape (channels,), written
    """
    known = space.seen.size * _every(rate)
    for c in range(periods.size):
        past = lines[c, :known]
        newest(ring[c], position, past)
        periods[c], lags[c] = look(rate, model, space, past, points[c])


@kernel
def draft(
    rate: int,
    space: ContourSpace,
    lines: NDArray[np.float32],
    points: NDArray[np.float32],
    periods: NDArray[np.float64],
    lags: NDArray[np.int64],
    start: int,
    rows: NDArray[np.float32],
) -> None:
    """Write two drafts of a gap: the last cycle, repeated, and the prediction, bent.

    Where there is no pitch, what was last like the end is repeated, and the prediction is left as
    it is.

    Parameters
    ----------
    rate, space : as for :func:`look`
    lines : float32, shape (channels, past samples + samples to predict), read and written
        Written by :func:`follow`, and the prediction, which becomes the second draft.
    points, periods, lags : from :func:`follow`
    start : int, the gap's first sample in a row
    rows : float32, shape (2 * channels, samples), written from ``start`` on
        Both drafts, channel after channel.
    """
    known = space.seen.size * _every(rate)
    for c in range(periods.size):
        line = lines[c]
        again, bent = rows[2 * c, start:], rows[2 * c + 1, start:]
        if periods[c] > 0.0:
            repeat_cycle(line[:known], periods[c], points[c], float(rate), again)
            bend_along(rate, space, line, known, periods[c], points[c], bent)
        else:
            _repeat(line[known - lags[c] : known], again)
            copy(line[known:], bent)
        copy(bent, line[known : known + bent.size])


@part
def _repeat(period: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for i in range(out.size):
        out[i] = period[i % period.size]
