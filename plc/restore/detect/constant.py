"""Constant runs: dropped samples, and a recorder's marks of lost packets.

A decoder that was given bytes of zero writes a constant of any level, full scale of µ-law, say, for
a packet or several. Clipping, square waves and steps are constant, too; but clipping is entered by
a slope, and beside the runs of a square wave are other ones. So a run is damage if sound that moves
jumps into it and out of it, further than it moves by itself. Where a value stands in several such
runs, it is what the recorder wrote, and its other runs of such a length are damage in pauses, too.

Runs of a few zeros are judged by level: what is beside them is far from zero, in a recording whose
own samples pass through zero in small steps. Shorter ones must come again on a grid.

A transfer that fails (USB, in frames of 1/8 or 1 ms) leaves wrong samples beside the silence, too:
a predictor of the sound further out misses the first of them by far more than any before.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plc.restore.detect import clicks
from plc.restore.detect.findings import Finding, runs, sides_of
from plc.restore.detect.levels import change_db

# Shortest run of a constant that is not zero; longest run; sound examined on either side.
_RUN_MS, _LONGEST_MS, _SIDE_MS = 4.5, 1000.0, 4.0
# Least jump into and out of a run; least jump over the largest step beside it.
_JUMP, _JUMP_STEPS = 0.02, 2.5
# Largest share of a side that is still, or zero.
_STILL = 0.25
# Nearest and farthest constant sound on both sides of a step.
_STEP_MS = 1.0, 3.0
# Nearest and farthest constant sound on one side of a click at an end.
_END_MS = 1.5, 8.0
# Side of a stair; least share of it that is still; least share that is still and away from zero;
# most levels, which suffice alone; largest change in 1 ms, over the peak, that is still; least
# level, over the peak, that is away from zero.
_STAIR_MS, _STAIR_STILL, _STAIR_HIGH, _STAIR_LEVELS = 15.0, 0.7, 0.3, 6
_STAIR_SLOPE, _STAIR_LEVEL = 0.1, 0.2
# Least length of a stair's hole over its steps; change of spectrum above which tones differ.
_STAIR_TIMES, _STAIR_CHANGE_DB = 2.0, 6.0
# Fewest runs, jumped into, of a recorder's value.
_KNOWN_RUNS = 3
# Shortest run of zeros, in samples; shortest run on a grid, in samples; longest run.
_ZEROS, _GRID_ZEROS, _ZEROS_MS = 5, 4, 4.5
# Least level beside zeros; quantile of sound around; least level over that quantile; reach around.
_LEVEL, _SMALL, _SMALL_TIMES, _AROUND_MS = 10 ** (-54 / 20), 0.02, 4.0, 500.0
# Samples next to a run; their peak over a side's RMS where a wave settles; samples of that side.
_NEAREST, _SETTLED, _WIDE = 4, 0.02, 40
# Fewest samples of a side; share of the least level that suffices on a grid.
_SIDE, _GRID_DEPTH = 12, 0.3
# Largest share of zero crossings around at which a wave stops.
_STOP_SHARE = 0.25
# Largest share of zeros around a run; reach to either side.
_SHARE, _SHARE_MS = 0.25, 50.0
# Runs before and behind to compare a run with; largest relative error of one that recurs.
_SHAPES, _SHAPE_ERROR = 8, 0.01
# Recurring runs, half of all around, above which all are a wave's.
_FEW_SHAPES = 1
# Shortest and longest period of a grid; fewest runs for one; least share of runs on it.
_FRAME_MS, _GRID_RUNS, _GRID_SHARE = (5.0, 40.0), 5, 0.6


def find(row: NDArray[np.float32], sample_rate: int) -> list[Finding]:
    """Return the constant runs of one channel that are damage.

    ``row`` is float32, shape (n,), finite; ``sample_rate`` is in Hz.
    """
    ms = sample_rate / 1000
    still = [(first, last + 1) for first, last in runs(np.diff(row) == 0)]
    long = [
        run for run in still if row[run[0]] and _RUN_MS * ms <= run[1] - run[0] <= _LONGEST_MS * ms
    ]
    spans = [*_written(row, long, ms), *_dropped(row, sample_rate)]
    found = [Finding(start, stop, "silence", 1.0, written=True) for start, stop in spans]
    return [with_wrong(row, each, sample_rate) for each in found]


def with_wrong(row: NDArray[np.float32], place: Finding, sample_rate: int) -> Finding:
    """Return a run of a constant with the wrong samples beside it; others as they are."""
    if np.ptp(row[place.start : place.stop]):
        return place
    before, behind = clicks.wrong_beside(row, place, sample_rate)
    return replace(place, start=place.start - before, stop=place.stop + behind)


def is_step(row: NDArray[np.float32], place: Finding, sample_rate: int) -> bool:
    """Return whether a place is a step between constant levels.

    A hole in sound has sound beside it, and a click is left to the level that it began from.
    """
    sides = _apart(row, place, _STEP_MS, sample_rate)
    if sides is None or max(map(np.ptp, sides)) > 0:
        return False
    before, behind = float(sides[0][0]), float(sides[1][0])
    return before != behind or (place.kind != "click" and before != 0)


def is_end(row: NDArray[np.float32], click: Finding, sample_rate: int) -> bool:
    """Return whether a click is where sound ends in a constant, or begins from one."""
    sides = _apart(row, click, _END_MS, sample_rate)
    return sides is not None and bool((np.ptp(sides[0]) > 0) != (np.ptp(sides[1]) > 0))


def _apart(
    row: NDArray[np.float32], place: Finding, apart_ms: tuple[float, float], sample_rate: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    near, far = (round(each * sample_rate / 1000) for each in apart_ms)
    if place.start < far or place.stop + far > row.size:
        return None
    return row[place.start - far : place.start - near], row[place.stop + near : place.stop + far]


def is_stair(row: NDArray[np.float32], place: Finding, sample_rate: int) -> bool:
    """Return whether a place lies among constant levels.

    So do the samples of a sound that was held, and a square wave: their levels fall and come back,
    and are the same again, at each step. A hole in one of them stands still for longer.
    """
    ms, inner = sample_rate / 1000, row[place.start : place.stop]
    sides = sides_of(row, place, round(_STAIR_MS * ms))
    among = all(_stands(each, ms) for each in sides)
    if place.kind == "repeat":
        return among or _stands(inner, ms)
    if not among:
        return False
    peak = max(_peak(each) for each in sides)
    longest = [
        max(map(np.ptp, runs(_still(each, peak, ms))), default=0) for each in (inner, *sides)
    ]
    return longest[0] < _STAIR_TIMES * max(longest[1:])


def is_between_tones(row: NDArray[np.float32], hole: Finding, sample_rate: int) -> bool:
    """Return whether a wave of constant levels ends or begins at a hole.

    A generator cuts its tones hard. Where the same wave stands on both sides, it was one tone.

    ``row`` and ``sample_rate`` are as for :func:`find`; the hole was found there.
    """
    ms = sample_rate / 1000
    sides = sides_of(row, hole, round(_STAIR_MS * ms))
    stand = [_stands(each, ms) for each in sides]
    if not all(stand):
        return any(stand)
    size = min(each.size for each in sides)
    return change_db(sides[0][-size:], sides[1][:size], sample_rate) > _STAIR_CHANGE_DB


def _stands(part: NDArray[np.float32], ms: float) -> bool:
    """Return whether sound is made of levels, and short ways between them."""
    if part.size < _SIDE or not part.any():
        return False
    peak = _peak(part)
    if peak >= _JUMP and np.unique(part).size <= _STAIR_LEVELS:
        return True
    still = _still(part, peak, ms)
    level = np.abs(part[1:]) >= _STAIR_LEVEL * peak
    return bool(np.mean(still) >= _STAIR_STILL and np.mean(still & level) >= _STAIR_HIGH)


def _still(part: NDArray[np.float32], peak: float, ms: float) -> NDArray[np.bool_]:
    """Return where sound changes by a small part of its peak in a millisecond."""
    return np.asarray(np.abs(np.diff(part)) * ms <= _STAIR_SLOPE * peak, np.bool_)


def _peak(part: NDArray[np.float32]) -> float:
    return float(np.abs(part).max(initial=0.0))


def _written(
    row: NDArray[np.float32], long: list[tuple[int, int]], ms: float
) -> list[tuple[int, int]]:
    """Return the runs that sound jumps into, and others of their values."""
    certain = [run for run in long if _is_jumped_into(row, run, round(_SIDE_MS * ms))]
    values = [float(row[start]) for start, _ in certain]
    known = {value for value in values if values.count(value) >= _KNOWN_RUNS}
    return [run for run in long if run in certain or float(row[run[0]]) in known]


def _is_jumped_into(row: NDArray[np.float32], run: tuple[int, int], side: int) -> bool:
    start, stop = run
    if start < side or stop + side > row.size:
        return False
    steps = np.abs(np.diff(row[start - side : start])), np.abs(np.diff(row[stop : stop + side]))
    jumps = np.abs([row[start] - row[start - 1], row[stop] - row[stop - 1]])
    least = max(_JUMP, _JUMP_STEPS * max(float(each.max()) for each in steps))
    return bool(jumps.min() >= least and max(float(np.mean(s == 0)) for s in steps) <= _STILL)


def _dropped(row: NDArray[np.float32], sample_rate: int) -> list[tuple[int, int]]:
    """Return the short runs of zeros between loud samples."""
    ms = sample_rate / 1000
    silent = row == 0
    most = max(_ZEROS, _ZEROS_MS * ms)
    dead = _dead_zone(row, round(_AROUND_MS * ms))
    rare = [
        run
        for run in runs(silent)
        if _GRID_ZEROS <= run[1] - run[0] <= most
        and not dead(run[0])
        and _is_alone(silent, run, round(_SHARE_MS * ms))
        and _depth(row, run, ms) >= _GRID_DEPTH
    ]
    rare = _without_shapes(row, rare, round(_AROUND_MS * ms))
    certain = [run for run in rare if run[1] - run[0] >= _ZEROS and _depth(row, run, ms) >= 1.0]
    grid = _grid_of([start for start, _ in certain], ms)
    if grid is None:
        return certain
    period, phase = grid
    return [run for run in rare if run in certain or (run[0] - phase + 1) % period <= 2]


def _dead_zone(row: NDArray[np.float32], reach: int) -> Callable[[int], bool]:
    sounding = np.flatnonzero(row)
    if sounding.size < 2:
        return lambda place: False
    heights = np.abs(row[sounding])
    crosses = np.diff(np.sign(row[sounding])) != 0
    crosses &= np.maximum(heights[1:], heights[:-1]) >= _LEVEL
    places, widths = sounding[:-1][crosses], np.diff(sounding)[crosses]
    stops = np.concatenate([[0], np.cumsum(widths > 1)])

    def is_dead(place: int) -> bool:
        first, last = np.searchsorted(places, [place - reach, place + reach])
        return bool(stops[last] - stops[first] > _STOP_SHARE * (last - first))

    return is_dead


def _is_alone(silent: NDArray[np.bool_], run: tuple[int, int], reach: int) -> bool:
    start, stop = run
    side = max(_SIDE, stop - start)
    if start < side or stop + side > silent.size:
        return False
    around = silent[max(0, start - reach) : stop + reach]
    beside = silent[start - side : start], silent[stop : stop + side]
    return bool(np.mean(around) <= _SHARE and max(float(np.mean(s)) for s in beside) <= _STILL)


def _depth(row: NDArray[np.float32], run: tuple[int, int], ms: float) -> float:
    """Return how far beside a run is from zero; from 1 on it is no zero of a wave."""
    start, stop = run
    side, around = max(_SIDE, stop - start), round(_AROUND_MS * ms)
    near = np.abs(row[max(0, start - around) : stop + around])
    least = max(_LEVEL, _SMALL_TIMES * float(np.quantile(near[near > 0], _SMALL)))
    sides = row[start - side : start], row[stop : stop + side]
    if any(float(np.mean(np.diff(each) == 0)) > _STILL for each in sides):
        return 0.0
    levels = [float(np.sqrt(np.mean(np.square(each)))) for each in sides]
    edge = float(max(abs(row[start - 1]), abs(row[stop])))
    return min(*levels, edge) / least


def _without_shapes(
    row: NDArray[np.float32], rare: list[tuple[int, int]], reach: int
) -> list[tuple[int, int]]:
    """Return the runs without a standing wave's, which recur in each period."""
    starts = np.array([start for start, _ in rare])
    shapes = [_settles(row, run) or _recurs(row, rare, number) for number, run in enumerate(rare)]
    sums = np.concatenate([[0], np.cumsum(shapes)])
    low, high = (np.searchsorted(starts, starts + each) for each in (-reach, reach))
    around = sums[high] - sums[low]
    crowd = (around > _FEW_SHAPES) & (2 * around >= high - low)
    return [run for run, is_so, among in zip(rare, shapes, crowd, strict=True) if not is_so | among]


def _settles(row: NDArray[np.float32], run: tuple[int, int]) -> bool:
    """Return whether a wave comes to rest on one side of a run."""
    start, stop = run
    sides = row[max(0, start - _WIDE) : start], row[stop : stop + _WIDE][::-1]
    return any(
        float(np.abs(each[-_NEAREST:]).max()) < _SETTLED * float(np.sqrt(np.mean(np.square(each))))
        for each in sides
    )


def _recurs(row: NDArray[np.float32], rare: list[tuple[int, int]], number: int) -> bool:
    """Return whether the samples beside a run stand beside another one near by."""
    low, high = max(0, number - _SHAPES), number + _SHAPES + 1
    sides = [_beside(row, run) for run in rare[low:high]]
    own = sides.pop(number - low)
    least = _SHAPE_ERROR * float(own @ own)
    return any(float((own - each) @ (own - each)) <= least for each in sides)


def _beside(row: NDArray[np.float32], run: tuple[int, int]) -> NDArray[np.float32]:
    return np.concatenate([row[run[0] - _SIDE : run[0]], row[run[1] : run[1] + _SIDE]])


def _grid_of(starts: list[int], ms: float) -> tuple[int, int] | None:
    if len(starts) < _GRID_RUNS:
        return None
    places = np.array(starts)
    first, last = (round(length * ms) for length in _FRAME_MS)
    best, grid = 0.0, None
    for period in range(first, last + 1):
        counts = np.bincount(places % period, minlength=period)
        near = counts + np.roll(counts, 1) + np.roll(counts, -1)
        share = float(near.max()) / places.size
        if share >= max(_GRID_SHARE, best):
            best, grid = share, (period, int(np.argmax(near)))
    return grid
