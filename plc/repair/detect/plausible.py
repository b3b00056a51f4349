"""Plausibility of findings: damage, or probably intended.

A gate, a rest, a Morse sign or a drum machine cuts sound off as damage does. One place cannot tell
which it is; all of a recording can. A finding is doubtful where

* it recurs regularly (:mod:`plc.repair.detect.rhythm`), and so more than an accident would,
* holes make up too much of the 20 s around, the less the longer they are: lost packets are short
  and may be many, long holes are rare,
* it lies between the pulses of one sound, or between different square waves
  (:mod:`plc.repair.detect.constant`), or sound has died away before it and begins quietly
  behind it (:mod:`plc.repair.detect.dips`),
* it is a click, and nothing but clicks sounds around it,
* sound is faded out and in again over a long hole, or a stutter is long,
* repeated blocks are many, and lie on no grid as lost packets do,
* most of what is found around is doubtful,
* the detector is not sure of it, and nothing certain is found within 10 s: damage is rarely alone.
  Nor are the clicks of a scratched record: likely ones are enough if they are many.

Constants that a recorder wrote (:mod:`plc.repair.detect.constant`) and samples lost in turn
(:mod:`plc.repair.detect.alternate`) are made by no gate and no instrument: nobody doubts them,
however regular they are, and they make nothing beside them doubtful. Seams
(:mod:`plc.repair.detect.seams`) may be regular, unless they come as quickly as the strokes of a
roll, and many; one of them is never alone. Where a third of the places around are seams, the others
are taken for seams, too: not every jump is heard in loud noise. As many stutters say that they are
none.

Doubtful places are told of, and not filled. Only the findings are needed for that, no samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plc.repair.detect.clicks import NARROW_CONFIDENCE
from plc.repair.detect.findings import Finding
from plc.repair.detect.rhythm import on_beats, regular

REGULAR = "recurs regularly"
PULSES = "between pulses of one sound"
PAUSE = "in a pause"
ALONE = "nothing else sounds"
TONES = "between tones of a generator"
TOO_MUCH = "too much of the recording"
FADED = "faded on both sides"
STUTTER = "a long stutter"
TOO_MANY = "too many repeats"
ALIKE = "like its neighbours"
UNSURE = "not sure, and nothing certain around"

_HOLES, _REPEATS, _CLICKS = ("silence", "dropout"), ("repeat",), ("click",)
_WINDOW_S = 20.0
# Of holes of so many seconds and more: the largest share of the window, and the fewest of them.
_SHARES = ((0.0, 0.30, 2), (0.06, 0.12, 3), (0.16, 0.04, 2), (0.4, 0.04, 1))
_REPEAT_SHARE = 0.25
# A dropout is shorter, a repeat is.
_FADED_S, _STUTTER_S = 0.16, 0.25
# Two places on a grid of lost packets are a period apart by chance; clicks lie on none.
_PACKET_S, _CLICK_S = 0.02, 0.004
# A tick that comes again more slowly may be a scratch: a record of 78 turns takes 0.77 s. But no
# record turns so evenly as a metronome that a machine made.
_PERIODS_S, _CLICK_PERIODS_S, _SLOW_PERIODS_S = (0.04, 4.0), (0.008, 0.7), (0.7, 4.0)
_BEATS_S = (0.05, 0.7)
_EVEN_S, _EVEN_SAMPLES, _EVEN_SHARE = 1e-4, 2.2, 0.75
# Seams that come again sooner are made by a gate; that share of the places around makes all seams.
_SEAM_PERIODS_S, _SEAM_SHARE = (0.04, 0.2), 1 / 3
# More repeats in a second must lie on a grid: of such packets, so many of them, so well.
_MANY_REPEATS, _REPEATS_A_S, _SEAMS_A_S = 8, 2.5, 4.0
_GRIDS_S, _ON_GRID = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06), 0.5
# Around a place so many others are doubtful, and such a share.
_NEIGHBOURS, _NEIGHBOUR_SHARE = 4, 0.5
# Of holes of so many seconds and more, fewer are enough.
_LONG, _LONG_S = 2, 0.06
# Confidences: what needs no other, what another one must have, and what so many clicks must have.
_SURE, _CERTAIN = 0.95, 0.98
_LIKELY, _LIKELY_CLICKS = NARROW_CONFIDENCE, 5


@dataclass(frozen=True, slots=True)
class _Places:
    """Findings of one group in one channel, in order."""

    numbers: list[int]
    start_s: NDArray[np.float64]
    stop_s: NDArray[np.float64]
    seam: NDArray[np.bool_]
    stutter: NDArray[np.bool_]
    total_s: float

    @property
    def length_s(self) -> NDArray[np.float64]:
        return self.stop_s - self.start_s

    def with_company(self) -> "_Places":
        """Return the places, all of them seams where enough around are."""
        low, high = (np.searchsorted(self.start_s, each) for each in self.around())
        sums = np.concatenate([[0], np.cumsum(self.seam * 1 - self.stutter)])
        share = (sums[high] - sums[low]) / np.maximum(high - low, 1)
        return replace(self, seam=self.seam | (share >= _SEAM_SHARE) & (high - low > 1))

    def around(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return start and stop of the window around each place."""
        last = max(0.0, self.total_s - _WINDOW_S)
        start = np.clip((self.start_s + self.stop_s - _WINDOW_S) / 2, 0.0, last)
        return start, np.minimum(start + _WINDOW_S, self.total_s)

    def shares(self, of: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return share of each window, and how many begin there."""
        first_s, last_s = self.around()
        start, stop = self.start_s[of], np.maximum.accumulate(self.stop_s[of])
        start = np.maximum(start, np.concatenate([[0.0], stop[:-1]]))
        sums = np.concatenate([[0.0], np.cumsum(np.maximum(stop - start, 0.0))])
        low, high = (np.searchsorted(start, each) for each in (first_s, last_s))
        return (sums[high] - sums[low]) / (last_s - first_s), high - low


def weigh(findings: Sequence[Finding], samples: int, sample_rate: int) -> list[Finding]:
    """Return the findings of a whole recording, with their doubts.

    Parameters
    ----------
    findings : sequence of Finding
        In order of their start.
    samples, sample_rate : int
        Of the recording.
    """
    doubts = [each.doubt for each in findings]
    for channel in sorted({each for finding in findings for each in finding.channels}):
        groups = (
            _places(findings, channel, kinds, samples / sample_rate, sample_rate)
            for kinds in (_HOLES, _REPEATS, _CLICKS)
        )
        holes, repeats, clicks = groups
        named = [
            *_of_holes(holes, findings),
            *_of_repeats(repeats),
            *_regular(clicks, _CLICK_S, _CLICK_PERIODS_S),
            *_slow(clicks, sample_rate),
            *_beats(clicks),
        ]
        for number, doubt in named:
            doubts[number] = doubts[number] or doubt
        both = _places(findings, channel, _HOLES + _REPEATS, samples / sample_rate, sample_rate)
        for number in (*_alike(both, doubts, _NEIGHBOURS), *_alike(_long(holes), doubts, _LONG)):
            doubts[number] = doubts[number] or ALIKE
    for number in _unsure(findings, doubts, sample_rate):
        doubts[number] = UNSURE
    weighed = [replace(each, doubt=doubt) for each, doubt in zip(findings, doubts, strict=True)]
    return _without_inner_clicks(weighed)


def _places(
    findings: Sequence[Finding], channel: int, kinds: tuple[str, ...], total_s: float, rate: int
) -> _Places:
    numbers = [
        number
        for number, each in enumerate(findings)
        if each.kind in kinds and channel in each.channels and not each.written
    ]
    start, stop = (
        np.array([getattr(findings[number], name) for number in numbers], np.float64) / rate
        for name in ("start", "stop")
    )
    seam, stutter = (
        np.array([getattr(findings[number], name) for number in numbers], np.bool_)
        for name in ("seam", "stutter")
    )
    return _Places(numbers, start, stop, seam, stutter, total_s).with_company()


def _of_holes(holes: _Places, findings: Sequence[Finding]) -> Iterator[tuple[int, str]]:
    too_much = np.zeros(len(holes.numbers), np.bool_)
    for least_s, most, fewest in _SHARES:
        long = holes.length_s >= least_s
        share, count = holes.shares(long)
        too_much |= long & (share > most) & (count >= fewest)
    for place, number in enumerate(holes.numbers):
        if too_much[place]:
            yield number, TOO_MUCH
        elif findings[number].kind == "dropout" and holes.length_s[place] > _FADED_S:
            yield number, FADED
    yield from _regular(holes, _PACKET_S, _PERIODS_S)


def _of_repeats(repeats: _Places) -> Iterator[tuple[int, str]]:
    share, count = repeats.shares(np.ones(len(repeats.numbers), np.bool_))
    in_s = min(_WINDOW_S, repeats.total_s)
    many = (count >= _MANY_REPEATS) & (count > _REPEATS_A_S * in_s)
    many &= ~repeats.seam | (count > _SEAMS_A_S * in_s)
    on_grid = _on_grid(repeats)
    for place, number in enumerate(repeats.numbers):
        if repeats.length_s[place] > _STUTTER_S:
            yield number, STUTTER
        elif share[place] > _REPEAT_SHARE and count[place] > 1:
            yield number, TOO_MUCH
        elif many[place] and not on_grid:
            yield number, TOO_MANY
    yield from _regular(repeats, _PACKET_S, _PERIODS_S)


def _regular(
    places: _Places, width_s: float, periods_s: tuple[float, float]
) -> Iterator[tuple[int, str]]:
    """Yield the recurring findings, and recurring seams."""
    marked = _recurring(places.start_s, places.stop_s, width_s, periods_s) & ~places.seam
    starts, stops = places.start_s[places.seam], places.stop_s[places.seam]
    marked[places.seam] = _recurring(starts, stops, width_s, _SEAM_PERIODS_S)
    yield from ((places.numbers[place], REGULAR) for place in np.flatnonzero(marked))


def _slow(clicks: _Places, sample_rate: int) -> list[tuple[int, str]]:
    """Return the ticks of a slow metronome: nearly all of a channel's clicks."""
    width_s = max(_EVEN_S, _EVEN_SAMPLES / sample_rate)
    found = list(_regular(clicks, width_s, _SLOW_PERIODS_S))
    return found if len(found) >= _EVEN_SHARE * len(clicks.numbers) else []


def _beats(clicks: _Places) -> Iterator[tuple[int, str]]:
    """Yield the clicks on beats, where notes begin and end."""
    marked = on_beats(clicks.start_s, _CLICK_S, *_BEATS_S)
    yield from ((clicks.numbers[place], REGULAR) for place in np.flatnonzero(marked))


def _recurring(
    start_s: NDArray[np.float64],
    stop_s: NDArray[np.float64],
    width_s: float,
    periods_s: tuple[float, float],
) -> NDArray[np.bool_]:
    return regular(start_s, width_s, *periods_s) | regular(np.sort(stop_s), width_s, *periods_s)


def _on_grid(places: _Places) -> bool:
    """Return whether places lie on a grid of packets."""
    turns = (np.exp(2j * np.pi * places.start_s / grid_s) for grid_s in _GRIDS_S)
    return any(abs(each.mean()) > _ON_GRID for each in turns if each.size)


def _long(holes: _Places) -> _Places:
    """Return the long ones of a channel's holes."""
    kept = np.flatnonzero(holes.length_s >= _LONG_S)
    return _Places(
        [holes.numbers[place] for place in kept],
        holes.start_s[kept],
        holes.stop_s[kept],
        holes.seam[kept],
        holes.stutter[kept],
        holes.total_s,
    )


def _alike(places: _Places, doubts: list[str], fewest: int) -> Iterator[int]:
    """Yield the places with mostly doubtful neighbours.

    Pauses that a gate made silent say nothing of what lies between them.
    """
    doubtful = np.array([doubts[number] not in ("", PAUSE) for number in places.numbers], np.bool_)
    sums = np.concatenate([[0], np.cumsum(doubtful)])
    low, high = (np.searchsorted(places.start_s, each) for each in places.around())
    inside = sums[high] - sums[low]
    marked = (inside >= fewest) & (inside >= _NEIGHBOUR_SHARE * (high - low))
    yield from (places.numbers[place] for place in np.flatnonzero(marked))


def _unsure(findings: Sequence[Finding], doubts: list[str], sample_rate: int) -> Iterator[int]:
    """Yield places that are not sure and have nothing certain around.

    Of two seams each makes the other certain, and so do likely clicks that are many.
    """
    sound = np.array([not doubt for doubt in doubts], np.bool_)
    starts = np.array([each.start for each in findings])
    confidence = np.array([each.confidence for each in findings])
    is_click = np.array([each.kind == "click" for each in findings], np.bool_)
    is_seam = np.array([each.seam for each in findings], np.bool_)

    def around(marked: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many of the marked places are within reach of each."""
        places, reach = starts[marked], _WINDOW_S / 2 * sample_rate
        low, high = (np.searchsorted(places, starts + each) for each in (-reach, reach))
        return high - low

    likely = sound & is_click & (confidence >= _LIKELY)
    certain = sound & (confidence >= _CERTAIN)
    joined = certain | sound & is_seam
    certain |= joined & ((around(joined) > 1) | (confidence >= _SURE))
    unsure = sound & (confidence < _SURE) & (around(certain) == 0)
    unsure &= ~(likely & (around(likely) >= _LIKELY_CLICKS))
    yield from np.flatnonzero(unsure).tolist()


def _without_inner_clicks(findings: list[Finding]) -> list[Finding]:
    """Leave out the clicks within other damage."""
    kept: list[Finding] = []
    until = dict.fromkeys({each for finding in findings for each in finding.channels}, 0)
    for each in findings:
        inner = each.kind == "click" and any(each.start < until[c] for c in each.channels)
        if inner:
            continue
        kept.append(each)
        if not each.doubt and each.kind != "click":
            until |= {c: max(until[c], each.stop) for c in each.channels}
    return kept
