"""Holes in the level: sound that is cut off or fades away, and comes back.

A run of equal samples between loud ones is a hole for certain. Others are judged: after lossy
coding a hole is filled with what the coder left there, and a fade has no edges. A candidate is
where the level (:mod:`~plc.restore.detect.levels`) falls by 12 dB below that of the 25 ms before,
and rises again by 10 dB within a second. What tells damage from rests, staccato and the pauses
between the cycles of a low voice: all bands fall at once and faster than sound dies away, deeper
than the recording is anywhere else, and the sound behind is the sound before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.restore.detect.findings import Finding, runs
from plc.restore.detect.judge import judge_of
from plc.restore.detect.levels import FLOOR_DB, HOP_MS, SILENT_DB, change_db, level_db, mean_db
from plc_kernels.signal.ar import extrapolate, fit_burg, taps_of

# Longest hole; longest run of zeros between loud samples.
LONGEST_MS, LONGEST_ZEROS_MS = 1000.0, 2500.0
"""Longest hole, and longest zeros between loud samples, that are listed."""
# Least fall into holes; least rise from holes; length of the level before; length of level behind.
_FALL_DB, _RISE_DB, _BEFORE_MS, _AFTER_MS = 12.0, 10.0, 25.0, 15.0
# Gap between the level before and a hole; longest edge; fall below the level beside in an edge.
_APART_MS, _EDGE_MS, _EDGE_DB = 4.0, 12.0, 3.0
# Largest fall below the level before at a hole's end.
_BACK_DB = 25.0
# Shortest hole; spans of a hole's steepest fall and rise.
_LEAST_MS, _WINDOWS_MS = 2.0, (1, 3, 6)
# Reach of the levels around a hole; quantile of them that is the recording's quietest.
_AROUND_MS, _QUIET = 3000.0, 0.005
# Reach of a crowd of dips; how much shallower these may be; length of the spectra beside; order of
# a predictor; past that it is fitted to; longest sound that it foretells.
_CROWD_MS, _CROWD_DB, _SPECTRUM_MS = 80.0, 10.0, 12.0
_ORDER_MS, _PAST_MS, _FUTURE_MS = 1.5, 25.0, 4.0
# Shortest and longest ramp; levels below the sound that a cut passes; longest time between them.
_RAMP_MS = 0.75, 8.0
_STEEP_DB, _STEEP_MS = (4.0, 18.0), 1.25
# Shortest run of zeros; shortest run of other equal samples.
_RUN_MS, _STUCK_MS = 1.0, 3.0
# Reach on either side of a run or hole; most of them there that are not a wave's.
_WAVE_MS, _WAVE_RUNS = 100.0, 8
# Fewest equally spaced holes of a tone; longest cycle; largest change of a cycle, as a share.
_CYCLES, _CYCLE_MS, _CYCLE_JITTER = 5, 50.0, 0.05
# Near side of a run; wide side of a run; least RMS of the near side, absolute; least RMS over the
# wide side's; least RMS over the smallest step.
_RUN_SIDE_MS, _RUN_BEFORE_MS = 2.0, 20.0
_RUN_RMS, _RUN_FALL, _RUN_STEPS = 10 ** (-50 / 20), 10 ** (-12 / 20), 8.0
# Highest level of a stuck run over the peak around; largest still share around; reach around.
_STUCK_PEAK, _STUCK_SHARE, _STUCK_AROUND_MS = 0.9, 0.05, 50.0


@dataclass(frozen=True, slots=True)
class _Hole:
    """A candidate, in frames: the fall begins, is found, ends; and the rise."""

    start: int
    low: int
    back: int
    stop: int
    before_db: float
    after_db: float


def find(row: NDArray[np.float32], sample_rate: int) -> list[Finding]:
    """Return the holes of one channel."""
    found = list(cut_off(row, sample_rate))
    judge = judge_of("dip")
    ms = sample_rate / 1000
    holes = list(candidates(row, sample_rate))
    for start, stop, features, steep in holes:
        certain = [each for each in found if start <= each.start and each.stop <= stop]
        if certain:
            if not steep and len(certain) == 1 and _ramps(row, certain[0], start, stop, ms):
                found[found.index(certain[0])] = Finding(start, stop, "dropout", 1.0)
            continue
        confidence = judge.confidence(features)
        if confidence >= 0.5:
            kind = "silence" if steep else "dropout"
            found.append(Finding(start, stop, kind, confidence))
    spans = np.array([hole[:2] for hole in holes], np.int64).reshape(-1, 2)
    return [each for each in found if not is_cycle(each.start, each.stop, spans, ms)]


def is_cycle(start: int, stop: int, spans: NDArray[np.int64], ms: float) -> bool:
    """Return whether a place lies in one of a tone's cycles.

    It then has many like it around, or is one of a series equally far apart.

    Parameters
    ----------
    start, stop : int, the place
    spans : int64, shape (n, 2), start and stop of all places that are looked at
    ms : float, samples in a millisecond
    """
    length = stop - start
    slack = 2 * HOP_MS * ms
    lengths = spans[:, 1] - spans[:, 0]
    similar = (2 * lengths + slack >= length) & (lengths <= 2 * length + slack)
    holes = np.unique(spans[similar, 0])
    if np.count_nonzero(np.abs(holes - start) < _WAVE_MS * ms) > _WAVE_RUNS:
        return True
    near = holes[np.abs(holes - start) < _CYCLES * _CYCLE_MS * ms]
    apart = np.diff(near)
    even = np.abs(np.diff(apart)) <= _CYCLE_JITTER * apart[1:] + slack
    even &= apart[1:] <= _CYCLE_MS * ms
    for first, last in runs(even):
        within = near[first] - _CYCLE_MS * ms <= start <= near[last + 1] + _CYCLE_MS * ms
        if last - first >= _CYCLES - 2 and within:
            return True
    return False


def _ramps(row: NDArray[np.float32], run: Finding, start: int, stop: int, ms: float) -> bool:
    least, most = (length * ms for length in _RAMP_MS)
    sides = (run.start - start, stop - run.stop)
    return row[run.start] == 0 and least <= min(sides) and max(sides) <= most


def cut_off(row: NDArray[np.float32], sample_rate: int) -> Iterator[Finding]:
    """Yield runs of equal samples between loud ones."""
    ms = sample_rate / 1000
    steps = np.abs(np.diff(row))
    moving = steps[steps > 0]
    if not moving.size:
        return
    least = max(_RUN_RMS, _RUN_STEPS * float(moving.min()))
    side, past = round(_RUN_SIDE_MS * ms), round(_RUN_BEFORE_MS * ms)
    still = [
        (first, last + 1) for first, last in runs(steps == 0) if last + 1 - first >= _RUN_MS * ms
    ]
    starts = np.array([start for start, _ in still])
    for start, stop in still:
        crowd = np.searchsorted(starts, [start - _WAVE_MS * ms, start + _WAVE_MS * ms])
        most_ms = LONGEST_MS if row[start] else LONGEST_ZEROS_MS
        if stop - start > most_ms * ms or crowd[1] - crowd[0] > _WAVE_RUNS:
            continue
        if start < past or stop + past > row.size:
            continue
        sides = (
            (row[start - side : start], row[start - past : start]),
            (row[stop : stop + side], row[stop : stop + past]),
        )
        if all(_loud(near, wide, least) for near, wide in sides) and (
            row[start] == 0 or _stuck(row, steps, start, stop, ms)
        ):
            yield Finding(start, stop, "silence", 1.0)


def _loud(near: NDArray[np.float32], wide: NDArray[np.float32], least: float) -> bool:
    near_rms, wide_rms = (float(np.sqrt(np.mean(np.square(part)))) for part in (near, wide))
    return near_rms >= max(least, _RUN_FALL * wide_rms)


def _stuck(
    row: NDArray[np.float32], steps: NDArray[np.float32], start: int, stop: int, ms: float
) -> bool:
    around = round(_STUCK_AROUND_MS * ms)
    first, last = max(0, start - around), stop + around
    near = np.concatenate([row[first:start], row[stop:last]])
    still = np.concatenate([steps[first : start - 1], steps[stop:last]]) == 0
    return (
        stop - start >= _STUCK_MS * ms
        and abs(float(row[start])) < _STUCK_PEAK * float(np.abs(near).max())
        and float(np.mean(still)) < _STUCK_SHARE
    )


def candidates(
    row: NDArray[np.float32], sample_rate: int
) -> Iterator[tuple[int, int, tuple[float, ...], bool]]:
    """Yield start, stop, features and steepness of each candidate."""
    level = level_db(row, sample_rate)
    width = max(2, round(sample_rate / 2000))
    low = np.convolve(row, np.ones(width) / width, "same").astype(np.float32)
    bands = (level, level_db(low, sample_rate), level_db(row - low, sample_rate))
    holes = [hole for hole in _holes(level) if hole.stop - hole.start >= _frames(_LEAST_MS)]
    sounding = np.ones(level.size, np.bool_)
    for hole in holes:
        sounding[hole.start : hole.stop] = False
    depths = np.array([hole.before_db - _half_db(level[hole.start : hole.stop]) for hole in holes])
    starts = np.array([hole.start for hole in holes])
    hop = HOP_MS * sample_rate / 1000
    for number, hole in enumerate(holes):
        start, stop = round(hole.start * hop), round(hole.stop * hop)
        near = np.abs(starts - hole.start) < _frames(_CROWD_MS)
        crowd = np.count_nonzero(near & (depths > depths[number] - _CROWD_DB)) - 1
        features = (
            float(np.log((hole.stop - hole.start) * HOP_MS)),
            *_levels_of(hole, level, sounding),
            *(value for band in bands for value in _slopes_of(hole, band)),
            float(crowd),
            *_samples_of(row, start, stop, sample_rate),
        )
        yield start, stop, features, _is_steep(hole, level)


def _frames(ms: float) -> int:
    return round(ms / HOP_MS)


def _holes(level: NDArray[np.float64]) -> Iterator[_Hole]:
    frames = level.size
    sums = np.concatenate([[0.0], np.cumsum(10 ** (level / 10))])
    places = np.arange(frames)
    first = np.maximum(places - _frames(_BEFORE_MS), 0)
    last = np.maximum(places - _frames(_APART_MS), 0)
    before = 10 * np.log10((sums[last] - sums[first]) / np.maximum(last - first, 1) + 1e-12)
    falls = (level < before - _FALL_DB) & (before > SILENT_DB) & (places > _frames(5.0))
    edge = _frames(_EDGE_MS)
    done = 0
    for low in np.flatnonzero(falls).tolist():
        if low < done:
            continue
        back = _back(level, low, before[low])
        done = low + 1 if back is None else back + 1
        if back is None:
            continue
        start, stop = low, back
        while start > max(0, low - edge) and level[start] < before[low] - _EDGE_DB:
            start -= 1
        after = mean_db(level[back : back + _frames(_AFTER_MS)])
        while stop < min(frames - 1, back + edge) and level[stop] < after - _EDGE_DB:
            stop += 1
        yield _Hole(start, low, back, stop, float(before[low]), after)


def _back(level: NDArray[np.float64], low: int, before_db: float) -> int | None:
    within = level[low : low + _frames(LONGEST_MS)]
    floor = np.minimum.accumulate(within)
    risen = within > np.maximum(before_db - _BACK_DB, floor + _RISE_DB)
    risen &= within > within[0] - 6.0
    return low + int(np.argmax(risen)) if risen.any() else None


def _half_db(inner: NDArray[np.float64]) -> float:
    """Return the mean level of the quieter half."""
    ordered = np.sort(inner)
    return mean_db(ordered[: max(1, ordered.size // 2)])


def _levels_of(
    hole: _Hole, level: NDArray[np.float64], sounding: NDArray[np.bool_]
) -> tuple[float, ...]:
    """Return depths, absolute and relative to the quietest of the recording."""
    inner = level[hole.start : hole.stop]
    floor = _half_db(inner)
    least = float(np.sort(inner)[inner.size // 10])
    around = slice(max(0, hole.start - _frames(_AROUND_MS)), hole.stop + _frames(_AROUND_MS))
    outside = level[around][sounding[around]]
    quiet = float(np.quantile(outside, _QUIET)) if outside.size > 100 else FLOOR_DB
    return (
        hole.before_db - floor,
        hole.after_db - floor,
        hole.before_db - least,
        hole.after_db - least,
        floor - quiet,
        least - quiet,
        abs(hole.before_db - hole.after_db),
        hole.before_db,
        floor,
    )


def _slopes_of(hole: _Hole, band: NDArray[np.float64]) -> Iterator[float]:
    """Yield depth and steepest fall and rise of a band."""
    around = _frames(_AFTER_MS)
    before = mean_db(band[max(0, hole.start - around) : max(1, hole.start - 1)])
    after = mean_db(band[hole.stop + 1 : hole.stop + 1 + around])
    floor = _half_db(band[hole.start : hole.stop])
    yield before - floor
    yield after - floor
    yield before
    edge, margin = _frames(_EDGE_MS), _frames(4.0)
    head = band[max(0, hole.start - margin) : min(hole.stop, hole.start + edge)]
    tail = band[max(hole.start, hole.stop - edge) : hole.stop + margin]
    for ms in _WINDOWS_MS:
        n = _frames(ms)
        yield float(np.max(head[:-n] - head[n:])) if head.size > n else 0.0
        yield float(np.max(tail[n:] - tail[:-n])) if tail.size > n else 0.0


def _samples_of(
    row: NDArray[np.float32], start: int, stop: int, sample_rate: int
) -> tuple[float, ...]:
    core = row[start:stop]
    still = float(np.mean(np.diff(core) == 0)) if core.size > 1 else 0.0
    backwards = row[::-1]
    return (
        float(np.mean(core == 0)),
        still,
        _missing_db(row, start, stop - start, sample_rate),
        _missing_db(backwards, row.size - stop, stop - start, sample_rate),
        _change_db(row, start, stop, sample_rate),
    )


def foretold(
    past: NDArray[np.float32] | NDArray[np.float64], order: int, samples: int
) -> NDArray[np.float64]:
    """Return so many samples that a predictor of some order expects behind a past.

    The predictor is Burg's; ``past``, shape (n,), has at least ``order`` samples.
    """
    taps, line = np.empty(order), np.zeros(order + samples)
    taps_of(fit_burg(past, order), taps)
    line[:order] = past[-order:]
    extrapolate(taps, line)
    return line[order:]


def _missing_db(row: NDArray[np.float32], place: int, length: int, sample_rate: int) -> float:
    """Return the level missing against the expectation from the past."""
    ms = sample_rate / 1000
    past = row[max(0, place - round(_PAST_MS * ms)) : place]
    order = min(round(_ORDER_MS * ms), past.size // 3)
    samples = max(8, min(length, round(_FUTURE_MS * ms)))
    if order < 4 or not past.any() or place + samples > row.size:
        return 0.0
    expected, came = (
        float(np.mean(np.square(part, dtype=np.float64)))
        for part in (foretold(past, order, samples), row[place : place + samples])
    )
    return float(10 * np.log10((expected + 1e-9) / (came + 1e-9)))


def _change_db(row: NDArray[np.float32], start: int, stop: int, sample_rate: int) -> float:
    width = round(_SPECTRUM_MS * sample_rate / 1000)
    if start < width or stop + width > row.size:
        return 20.0
    return change_db(row[start - width : start], row[stop : stop + width], sample_rate)


def _is_steep(hole: _Hole, level: NDArray[np.float64]) -> bool:
    margin = _frames(4.0)
    falling = level[max(0, hole.start - margin) : hole.stop]
    rising = level[hole.start : hole.stop + margin][::-1]
    sides: Sequence[tuple[NDArray[np.float64], float]] = (
        (falling, hole.before_db),
        (rising, hole.after_db),
    )
    for edge, loud_db in sides:
        high, low = (loud_db - db for db in _STEEP_DB)
        under = np.flatnonzero(edge < low)
        if not under.size:
            return False
        above = np.flatnonzero(edge[: under[0]] >= high)
        if not above.size or under[0] - above[-1] > _frames(_STEEP_MS) + 1:
            return False
    return True
