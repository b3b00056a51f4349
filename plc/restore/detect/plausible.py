"""Plausibility of findings: damage, or probably intended.

A gate, a rest, a Morse sign or a drum machine cuts sound off as damage does. One place cannot tell
which it is; all of a recording can. A finding is doubtful where

* it recurs regularly, or begins or ends on beats (:mod:`plc.restore.detect.rhythm`); but the clicks
  of a scratch come again with each turn of a record,
* its kind has more places a second, or a larger share of the 20 s around, than damage has: gates,
  applause and edits have, whatever their rhythm. Lost packets lie on a grid and may be more; but
  not what comes regularly: whoever made the recording would have heard so much of it,
* it lies between different square waves (:mod:`plc.restore.detect.constant`), or holes lie where
  sounds end and begin, more than by chance (:mod:`plc.restore.detect.chance`),
* it is a click, and nothing but clicks sounds around it,
* sound is faded out and in again over a long hole, a long silence has other sound behind it and no
  shorter damage around, a stutter is long, or a block of a tone that goes on seems to repeat,
* holes are few beside silences of the recording's own, and no sound goes on through them,
* most of what is found around is doubtful,
* the detector is not sure of it, and nothing certain is found within 10 s: damage is rarely alone.
  Clicks make clicks sure only; of a scratched record likely ones are enough if they are many.

Constants that a recorder wrote (:mod:`plc.restore.detect.constant`) and samples lost in turn
(:mod:`plc.restore.detect.alternate`) are made by no gate and no instrument: nobody doubts them,
however regular they are, and they make nothing beside them doubtful; but short zeros are doubtful
where sounds end and begin. Seams (:mod:`plc.restore.detect.seams`) may be regular, unless they are
too much of the recording, or come as quickly as the strokes of a roll; one is never alone. Where
a third of the places around are seams, the others are taken for seams, too: not every jump is heard
in loud noise.
As many stutters say that they are none.

Doubtful places are told of, and not filled.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plc.restore.detect.clicks import NARROW_CONFIDENCE
from plc.restore.detect.findings import (
    ALIKE,
    FADED,
    LONG,
    REGULAR,
    REST,
    STUTTER,
    TOO_MANY,
    TOO_MUCH,
    UNSURE,
    Finding,
)
from plc.restore.detect.rhythm import on_beats, regular

_HOLES, _REPEATS, _CLICKS = ("silence", "dropout"), ("repeat",), ("click",)
# Window of weighing; shortest intended fade or rest; fewest silences, or mixed places, with limits.
_WINDOW_S, _FADED_S, _FEW = 20.0, 0.16, 16


@dataclass(frozen=True, slots=True)
class _Limit:
    """Most places a second, and their largest share, that damage has; from ``fewest`` places on.

    Of places of a least length. Packets, seams, and silences that sound goes on through are not
    counted where they have no limit.
    """

    doubt: str
    kinds: tuple[str, ...]
    a_second: float = math.inf
    share: float = 1.0
    fewest: int = 1
    least_s: float = 0.0
    packets: bool = True
    seams: bool = True
    through: bool = True
    written: bool = False


# Of what is found in the 20 s around, doubtful places too: beyond it a kind is a property of the
# recording. What lies on a grid of packets may be more, and long holes fewer.
_LIMITS = (
    _Limit(TOO_MUCH, _HOLES, share=0.30, fewest=2),
    _Limit(TOO_MUCH, _HOLES, share=0.15, fewest=3),
    _Limit(TOO_MUCH, _HOLES, share=0.095, fewest=3, packets=False),
    _Limit(TOO_MUCH, _HOLES, share=0.085, fewest=3, least_s=0.06),
    _Limit(TOO_MUCH, _HOLES, share=0.04, fewest=2, least_s=0.16, through=False),
    _Limit(TOO_MUCH, _HOLES, share=0.04, least_s=0.4, through=False),
    _Limit(TOO_MUCH, _HOLES, a_second=0.25, share=0.2, fewest=2, least_s=0.16),
    _Limit(TOO_MANY, ("silence",), a_second=1.6, fewest=_FEW, packets=False),
    _Limit(TOO_MANY, ("dropout",), a_second=1.5, share=0.06, fewest=4, packets=False),
    _Limit(TOO_MANY, _REPEATS, a_second=1.0, share=0.05, fewest=4, packets=False, seams=False),
    _Limit(TOO_MANY, _REPEATS, a_second=4.0, share=0.25, fewest=2, packets=False),
    _Limit(TOO_MANY, _REPEATS, share=0.03, fewest=3, least_s=0.06, packets=False),
    _Limit(TOO_MANY, _HOLES + _REPEATS, a_second=2.5, share=0.10, fewest=_FEW, packets=False),
    _Limit(TOO_MANY, ("silence",), a_second=2.0, fewest=4, packets=False, written=True),
    _Limit(TOO_MANY, _CLICKS, a_second=4.5, share=0.005, fewest=4),
    _Limit(TOO_MANY, _HOLES + _REPEATS + _CLICKS, a_second=4.5, fewest=_FEW, packets=False),
    _Limit(FADED, ("dropout",), a_second=0.0, least_s=_FADED_S),
    _Limit(STUTTER, _REPEATS, a_second=0.0, least_s=0.25),
    _Limit(LONG, ("silence",), a_second=0.0, least_s=1.51),
)
# Width within which periods of holes or repeats are one; width for clicks, and for all beats.
_PACKET_S, _CLICK_S = 0.02, 0.004
# Shortest and longest period of holes and repeats; shortest and longest period of clicks; slow
# periods of clicks, which a scratch may have; beats of holes and repeats; beats of clicks; width of
# slow periods; least width of these, in samples; least share of clicks that have one.
_PERIODS_S, _CLICK_PERIODS_S, _SLOW_PERIODS_S = (0.04, 4.0), (0.008, 0.7), (0.7, 4.0)
_BEATS_S, _CLICK_BEATS_S = (0.07, 0.7), (0.05, 0.7)
_EVEN_S, _EVEN_SAMPLES, _EVEN_SHARE = 1e-4, 2.2, 0.75
# Shortest and longest period of a gate's seams; least share of seams that makes all around seams.
_SEAM_PERIODS_S, _SEAM_SHARE = (0.04, 0.2), 1 / 3
# A record's turns, 33 1/3, 45, 78 and 16 2/3 a minute; most scratches in a turn; relative tolerance
# of a turn; least share of clicks that recur with the turns.
_TURNS_S, _SCRATCHES, _SPEED, _TURN_SHARE = (1.8, 60 / 45, 60 / 78, 3.6), 3, 0.006, 0.6
# Grids of packets; least fit of seams and beats, 0 to 1; least fit of packets, 0 to 1; fewest
# packets on a grid; longest packet.
_GRIDS_S, _A_GRID, _ON_GRID = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06), 0.9, 0.7
_MANY, _PACKETS_S = 8, 0.065
# Share of regular holes that whoever made the recording heard.
_HEARD_SHARE = 0.06
# Sound-card buffers, in samples and Hz; their lengths; codec frames and buffers, which form grids.
_BUFFERS = ((1024, 48e3), (2048, 48e3), (1024, 44.1e3), (1152, 44.1e3), (2048, 44.1e3))
_BUFFERS_S = tuple(size / hz for size, hz in _BUFFERS)
_FRAMES_S = (0.024, 0.032, 0.045, 0.05, 0.08, 0.1, 0.12, *_BUFFERS_S)
# Fewest doubtful places to cast doubt; least share of these; fewest long holes; shortest long hole.
_NEIGHBOURS, _NEIGHBOUR_SHARE = 4, 0.5
_LONG, _LONG_S = 2, 0.06
# Confidence enough alone; confidence to support others; confidence of likely clicks; fewest such.
_SURE, _CERTAIN = 0.95, 0.98
_LIKELY, _LIKELY_CLICKS = NARROW_CONFIDENCE, 5

_Named = tuple[NDArray[np.int64], str]


@dataclass(frozen=True, slots=True)
class _FoundPlaces:
    """Findings of one group in one channel, in order."""

    numbers: NDArray[np.int64]
    start_s: NDArray[np.float64]
    stop_s: NDArray[np.float64]
    seam: NDArray[np.bool_]
    stutter: NDArray[np.bool_]
    through: NDArray[np.bool_]
    total_s: float

    def only(self, kept: NDArray[np.bool_]) -> "_FoundPlaces":
        names = ("numbers", "start_s", "stop_s", "seam", "stutter", "through")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    @property
    def length_s(self) -> NDArray[np.float64]:
        return self.stop_s - self.start_s

    def with_company(self) -> "_FoundPlaces":
        """Return the places, all of them seams where enough around are."""
        low, high = (np.searchsorted(self.start_s, each) for each in self.around())
        sums = np.concatenate([[0], np.cumsum(self.seam * 1 - self.stutter)])
        share = (sums[high] - sums[low]) / np.maximum(high - low, 1)
        return replace(self, seam=self.seam | (share >= _SEAM_SHARE) & (high - low > 1))

    def around(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        last = max(0.0, self.total_s - _WINDOW_S)
        start = np.clip((self.start_s + self.stop_s - _WINDOW_S) / 2, 0.0, last)
        return start, np.minimum(start + _WINDOW_S, self.total_s)

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return share of each window, and how many begin there."""
        first_s, last_s = self.around()
        start, stop = self.start_s, np.maximum.accumulate(self.stop_s)
        start = np.maximum(start, np.concatenate([[0.0], stop[:-1]]))
        sums = np.concatenate([[0.0], np.cumsum(np.maximum(stop - start, 0.0))])
        low, high = (np.searchsorted(start, each) for each in (first_s, last_s))
        return (sums[high] - sums[low]) / (last_s - first_s), high - low


def weigh(findings: Sequence[Finding], samples: int, sample_rate: int) -> list[Finding]:
    """Return the findings of a whole recording, in order of their start, with their doubts."""
    doubts = [each.doubt for each in findings]
    for channel in sorted({each for finding in findings for each in finding.channels}):
        total_s = samples / sample_rate
        holes, repeats, clicks = [
            _places(findings, channel, kinds, total_s, sample_rate)
            for kinds in (_HOLES, _REPEATS, _CLICKS)
        ]
        heard = holes.shares()[0] > _HEARD_SHARE
        holes = replace(holes, seam=holes.seam & ~heard)
        width_s = max(_PACKET_S, _grid_of(holes.start_s, _GRIDS_S, _A_GRID))
        both = _places(findings, channel, _HOLES + _REPEATS, total_s, sample_rate, None)
        ticks = clicks.only(clicks.seam | (not _are_turns(clicks.start_s)))
        named = [
            *_beyond(findings, channel, total_s, sample_rate),
            _regular(holes.only(~holes.seam), width_s, _PERIODS_S),
            _regular(repeats, _PACKET_S, _PERIODS_S),
            _regular(ticks, _CLICK_S, _CLICK_PERIODS_S),
            _slow(ticks, sample_rate),
            *(_on_beats(each.only(~each.seam), _BEATS_S) for each in (holes, repeats)),
            _on_beats(ticks, _CLICK_BEATS_S),
        ]
        for numbers, doubt in named:
            _add(doubts, numbers, doubt)
        alike = [_alike(each, doubts, _NEIGHBOURS) for each in (both, clicks)]
        alike.append(_alike(holes.only(holes.length_s >= _LONG_S), doubts, _LONG))
        _add(doubts, np.concatenate(alike), ALIKE)
    _add(doubts, _rests(findings, doubts, sample_rate), REST)
    _add(doubts, _unsure(findings, doubts, sample_rate), UNSURE)
    weighed = [replace(each, doubt=doubt) for each, doubt in zip(findings, doubts, strict=True)]
    return _without_inner_clicks(weighed)


def _add(doubts: list[str], numbers: NDArray[np.int64], doubt: str) -> None:
    for number in numbers:
        doubts[number] = doubts[number] or doubt


def _places(
    findings: Sequence[Finding],
    channel: int,
    kinds: tuple[str, ...],
    total_s: float,
    rate: int,
    written: bool | None = False,
) -> _FoundPlaces:
    rows = [
        (number, each.start, each.stop, each.seam, each.stutter, each.through)
        for number, each in enumerate(findings)
        if each.kind in kinds and channel in each.channels and written in (None, each.written)
    ]
    numbers, start, stop, *is_so = np.array(rows, np.int64).reshape(-1, 6).T
    seam, stutter, through = (each > 0 for each in is_so)
    made = _FoundPlaces(numbers, start / rate, stop / rate, seam, stutter, through, total_s)
    return made.with_company()


def _beyond(
    findings: Sequence[Finding], channel: int, total_s: float, rate: int
) -> Iterator[_Named]:
    """Yield the places of kinds that are too many, or make up too much of the recording."""
    for limit in _LIMITS:
        places = _places(findings, channel, limit.kinds, total_s, rate, limit.written)
        kept = (places.length_s >= limit.least_s) & (limit.seams | ~places.seam)
        places = places.only(kept & (limit.through | ~places.through))
        share, count = places.shares()
        most = limit.a_second * min(_WINDOW_S, total_s)
        beyond = (count >= limit.fewest) & ((count > most) | (share > limit.share))
        if limit.packets or not _are_packets(places, rate):
            yield places.numbers[beyond], limit.doubt


def _are_packets(places: _FoundPlaces, rate: int) -> bool:
    short = places.only(places.length_s <= _PACKETS_S)
    few = short.numbers.size < max(_MANY, places.numbers.size / 2)
    grids_s = tuple(f(each * rate) / rate for each in _GRIDS_S for f in (math.floor, math.ceil))
    edges = short.start_s, short.stop_s
    return not few and all(_grid_of(each, grids_s + _BUFFERS_S, _ON_GRID) for each in edges)


def _regular(places: _FoundPlaces, width_s: float, periods_s: tuple[float, float]) -> _Named:
    found = []
    for seam, within_s in ((False, periods_s), (True, _SEAM_PERIODS_S)):
        part = places.only(places.seam == seam)
        edges = part.start_s, np.sort(part.stop_s)
        marked = [regular(times_s, width_s, *within_s) for times_s in edges]
        found.append(part.numbers[np.any(marked, axis=0)])
    return np.concatenate(found), REGULAR


def _slow(clicks: _FoundPlaces, sample_rate: int) -> _Named:
    """Return the ticks of a slow metronome: nearly all of a channel's clicks."""
    width_s = max(_EVEN_S, _EVEN_SAMPLES / sample_rate)
    found, doubt = _regular(clicks, width_s, _SLOW_PERIODS_S)
    return found[: found.size * (found.size >= _EVEN_SHARE * clicks.numbers.size)], doubt


def _are_turns(times_s: NDArray[np.float64]) -> bool:
    """Return whether most times come again with the turns of a record, and not sooner."""
    for several in range(1, min(_SCRATCHES + 1, times_s.size)):
        apart_s = times_s[several:] - times_s[:-several]
        turn_s = float(np.median(apart_s))
        if np.mean(np.abs(apart_s - turn_s) <= _SPEED * turn_s) >= _TURN_SHARE:
            return min(abs(turn_s / each - 1.0) for each in _TURNS_S) <= _SPEED
    return False


def _on_beats(places: _FoundPlaces, beats_s: tuple[float, float]) -> _Named:
    """Return the places that begin or end on beats, as notes and cuts do.

    Places of one length do both. Lost packets lie on a grid, of which beats may be a part.
    """
    edges = [places.start_s, places.stop_s]
    if not places.numbers.size or np.ptp(places.length_s) < _CLICK_S:
        edges.pop()
    times_s = np.concatenate(edges)
    order = np.argsort(times_s, kind="stable")
    on_beat = np.zeros(times_s.size, np.bool_)
    grid_s = _grid_of(edges[0], _GRIDS_S + _FRAMES_S, _A_GRID)
    on_beat[order] = on_beats(times_s[order], _CLICK_S, beats_s, grid_s)
    return places.numbers[on_beat.reshape(len(edges), -1).any(axis=0)], REGULAR


def _grid_of(times_s: NDArray[np.float64], grids_s: tuple[float, ...], least: float) -> float:
    """Return the widest grid of packets that places lie on so well, 0 to 1; 0 if none."""
    turns = {each: np.exp(2j * np.pi * times_s / each) for each in grids_s if times_s.size}
    return max((each for each, turn in turns.items() if abs(turn.mean()) > least), default=0.0)


def _alike(places: _FoundPlaces, doubts: list[str], fewest: int) -> NDArray[np.int64]:
    doubtful = np.array([bool(doubts[number]) for number in places.numbers], np.bool_)
    sums = np.concatenate([[0], np.cumsum(doubtful)])
    low, high = (np.searchsorted(places.start_s, each) for each in places.around())
    inside = sums[high] - sums[low]
    marked = (inside >= fewest) & (inside >= _NEIGHBOUR_SHARE * (high - low))
    found: NDArray[np.int64] = places.numbers[marked]
    return found


def _rests(findings: Sequence[Finding], doubts: list[str], rate: int) -> NDArray[np.int64]:
    """Return long silences without other damage around: of lost packets so many are not alone."""
    sound = np.array([not doubt for doubt in doubts], np.bool_)
    holes = [each.kind == "silence" and not each.written for each in findings]
    long = [each.stop - each.start > _FADED_S * rate for each in findings]
    through = np.array([each.through for each in findings], np.bool_)
    rests = sound & ~through & np.logical_and(holes, long)
    others = sound & ~rests & np.array([each.kind != "click" for each in findings], np.bool_)
    return np.flatnonzero(rests & (_near(findings, others, rate) == 0))


def _unsure(findings: Sequence[Finding], doubts: list[str], rate: int) -> NDArray[np.int64]:
    """Return places that are not sure and have nothing certain around.

    Of two seams each makes the other certain, and so do likely clicks that are many. Clicks that
    are no seams say nothing of holes and repeats. A long block without a jump is never certain.
    """
    sound = np.array([not doubt for doubt in doubts], np.bool_)
    long = [each.kind == "repeat" and each.stop - each.start >= _LONG_S * rate for each in findings]
    jumps = [each.seam or each.stutter for each in findings]
    confidence = np.array([each.confidence for each in findings])
    confidence[np.greater(long, jumps)] *= _LIKELY
    is_click = np.array([each.kind == "click" for each in findings], np.bool_)
    is_seam = np.array([each.seam for each in findings], np.bool_)
    likely = sound & is_click & (confidence >= _LIKELY)
    unsure = sound & (confidence < _SURE)
    unsure &= ~(likely & (_near(findings, likely, rate) >= _LIKELY_CLICKS))
    for judged, vouching in ((is_click, sound), (~is_click, sound & (is_seam | ~is_click))):
        certain = vouching & (confidence >= _CERTAIN)
        joined = certain | vouching & is_seam
        certain |= joined & ((_near(findings, joined, rate) > 1) | (confidence >= _SURE))
        unsure &= ~judged | (_near(findings, certain, rate) == 0)
    return np.flatnonzero(unsure)


def _near(findings: Sequence[Finding], marked: NDArray[np.bool_], rate: int) -> NDArray[np.int64]:
    starts, reach = np.array([each.start for each in findings]), _WINDOW_S / 2 * rate
    low, high = (np.searchsorted(starts[marked], starts + each) for each in (-reach, reach))
    return high - low


def _without_inner_clicks(findings: list[Finding]) -> list[Finding]:
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
