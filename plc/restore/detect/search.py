"""Find damage in a recording from its samples alone.

Each channel is looked at for itself, in windows that overlap: what starts in the middle part of a
window is told, and the parts beside it are context. The windows lie at fixed places, so that the
findings do not depend on how the samples come in.

::

    |<- 3 s ->|<- 16 s: findings that start here ->|<- 3 s ->|      a window
                                         |<- 3 s ->|<- 16 s …       the next one

In what order kinds are looked for, and which of two that overlap stays, says :func:`_find_in`. Each
kind has a module; what it looks at is one channel, float32 of shape (n,), finite, at a rate in Hz.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.config import RecordingConfig
from plc.engine.stream.samples import FLOAT32, Packet, Samples, as_array, as_signal
from plc.errors import PacketError, keywords_in_words
from plc.restore.detect import (
    alternate,
    chance,
    clicks,
    constant,
    dips,
    levels,
    lone,
    repeats,
    seams,
)
from plc.restore.detect.findings import ALONE, CHOSEN, TONES, TOO_MUCH, Finding, runs
from plc.restore.detect.plausible import weigh
from plc_kernels.signal.packet import INT16_SCALE

# Part of a recording searched at once; context on either side.
_CORE_S, _CONTEXT_S = 16.0, 3.0
# Distance to other damage below which a click is its edge.
_EDGE_MS = 4.0
# Shortest recording that is searched.
_SHORTEST_MS = 100.0
# Size from which samples are invalid, as in streams (plc_kernels.signal.packet).
_LARGEST = 1e6
# Overlap, over the shorter finding, above which two channels' are joined.
_SHARED = 0.5

_Report = Callable[[int, int], None]


class Detector:
    """Damage of a recording that comes block by block.

    Parameters
    ----------
    sample_rate : int, 8000 to 768000 Hz
    channels : int, channels of each block

    Raises
    ------
    ConfigError
        If the rate or the number of channels is not possible.
    """

    @keywords_in_words
    def __init__(self, sample_rate: int, channels: int) -> None:
        config = RecordingConfig(sample_rate=sample_rate, channels=channels)
        self._rate = config.sample_rate
        self._core, self._context = (round(s * self._rate) for s in (_CORE_S, _CONTEXT_S))
        self._held = np.empty((0, config.channels), np.float32)
        self._start = 0
        """Sample that the held ones begin with."""
        self._told = 0
        """Sample before which everything has been told."""
        self._open: list[Finding] = []
        """Findings up to ``_told`` that may go on behind it."""

    def push(self, block: NDArray[np.float32]) -> list[Finding]:
        """Return the findings up to ``block``, float32, shape (n, channels), the next samples.

        Of these there may be any number.

        Raises
        ------
        PacketError
            If it is anything else.
        """
        channels = self._held.shape[1]
        block = as_array(block, "block")
        if block.dtype != FLOAT32 or block.ndim != 2 or block.shape[1] != channels:
            raise PacketError(
                f"block is {block.dtype} {block.shape}; give float32 of shape (n, {channels})"
            )
        self._held = np.concatenate([self._held, block])
        found: list[Finding] = []
        while self._start + len(self._held) >= self._told + self._core + self._context:
            found += self._look(self._told + self._core)
            keep = max(0, self._told - self._context - self._start)
            self._held, self._start = self._held[keep:], self._start + keep
        return found

    def flush(self) -> list[Finding]:
        """Return the remaining findings at the end of the recording."""
        found = self._look(self._start + len(self._held)) + self._open
        self._open = []
        return found

    def _look(self, until: int) -> list[Finding]:
        """Return the findings that start before ``until`` and were not returned yet."""
        window = self._held[: until + self._context - self._start]
        first, last = self._told - self._start, until - self._start
        found = [
            replace(
                each,
                start=each.start + self._start,
                stop=each.stop + self._start,
                parts=tuple((a + self._start, b + self._start) for a, b in each.parts),
            )
            for each in _find(window, self._rate, first, last)
        ]
        self._told = until
        joined = self._open
        last_of = {each.channels: number for number, each in enumerate(joined)}
        for each in found:
            number = last_of.get(each.channels)
            if each.kind == "invalid" and number is not None and each.start <= joined[number].stop:
                joined[number] = replace(joined[number], stop=max(joined[number].stop, each.stop))
                continue
            if each.kind == "invalid":
                last_of[each.channels] = len(joined)
            joined.append(each)
        # Samples that are no numbers are told of up to here, wherever they end.
        ends = [each for each in joined if each.kind == "invalid" and each.stop == until]
        self._open = ends
        return [each for each in joined if each not in ends]


@keywords_in_words
def detect(
    signal: Packet | Samples, *, sample_rate: int = 48_000, progress: _Report | None = None
) -> list[Finding]:
    """Find damage in a signal from its samples alone.

    Parameters
    ----------
    signal : float32 or int16, shape (n,) or (n, channels)
        Samples, of numpy or of a library with its array protocol; float32 may hold NaN.
    sample_rate : int, 8000 to 768000 Hz
    progress : callable, optional, called now and then with the samples done, and the samples in all

    Returns
    -------
    list of Finding
        In order of their start. :func:`plc.inpaint` takes their ``gaps``; leave out those with a
        ``doubt``, which are probably meant so.

    Raises
    ------
    PacketError
        If the signal's shape or dtype is not one of the above.
    ConfigError
        If the rate is not possible.

    Examples
    --------
    >>> song = np.random.default_rng(1).standard_normal(48_000).astype(np.float32)
    >>> song[20_000:20_500] = 0.0
    >>> [(found.start, found.stop, found.kind) for found in detect(song, sample_rate=48_000)]
    [(20000, 20500, 'silence')]
    """
    signal = as_signal(signal)
    rows = signal.reshape(signal.shape[0], -1)
    detector = Detector(sample_rate, rows.shape[1])
    found = []
    for start in range(0, len(rows), sample_rate):
        block = rows[start : start + sample_rate].astype(np.float32)
        if signal.dtype == np.int16:
            block /= np.float32(INT16_SCALE)
        found += detector.push(block)
        if progress is not None:
            progress(start + len(block), len(rows))
    return weigh(found + detector.flush(), len(rows), sample_rate)


def _find(window: NDArray[np.float32], rate: int, first: int, last: int) -> list[Finding]:
    found: list[Finding] = []
    looked: dict[int, list[Finding]] = {}
    for channel in range(window.shape[1]):
        row = np.ascontiguousarray(window[:, channel])
        same = next((k for k in looked if np.array_equal(window[:, k], row, equal_nan=True)), None)
        looked[channel] = _find_in(row, rate, first, last) if same is None else looked[same]
        order = sorted(range(len(found)), key=lambda k: found[k].start)
        starts = [found[k].start for k in order]
        ends = list(accumulate((found[k].stop for k in order), max))
        for each in looked[channel]:
            near = order[bisect_right(ends, each.start) : bisect_left(starts, each.stop)]
            _join(found, sorted(near), each, channel)
    return sorted(found, key=lambda each: (each.start, each.stop))


def _join(found: list[Finding], near: list[int], each: Finding, channel: int) -> None:
    for k in near:
        other = found[k]
        shared = min(each.stop, other.stop) - max(each.start, other.start)
        shorter = min(each.stop - each.start, other.stop - other.start)
        alike = each.kind == other.kind and each.parts == other.parts
        if alike and channel not in other.channels and shared > _SHARED * shorter:
            found[k] = replace(
                other,
                start=min(each.start, other.start),
                stop=max(each.stop, other.stop),
                confidence=max(each.confidence, other.confidence),
                channels=(*other.channels, channel),
                written=each.written and other.written,
                seam=each.seam and other.seam,
                stutter=each.stutter or other.stutter,
                through=each.through and other.through,
                doubt=other.doubt or each.doubt,
            )
            return
    found.append(replace(each, channels=(channel,)))


def _find_in(row: NDArray[np.float32], rate: int, first: int, last: int) -> list[Finding]:
    """Return the findings of one channel, without overlaps.

    Each kind is looked for in what the ones before it left:

    1. samples that are no numbers, then constants that a recorder wrote: both become silence;
    2. clicks in pauses, then certain ones in sound: both are interpolated;
    3. holes, blocks said again, and clicks that are less certain.

    Where they overlap, samples lost in turn stay, then the most certain of the holes, repeats and
    constants. A click beside these is their edge, but a certain one only beside a hole with ramps.
    """
    with np.errstate(invalid="ignore"):
        unsound = ~(np.abs(row) < _LARGEST)
    everywhere = [Finding(start, stop, "invalid", 1.0) for start, stop in runs(unsound)]
    invalid = [
        Finding(start + first, stop + first, "invalid", 1.0)
        for start, stop in runs(unsound[first:last])
    ]
    if row.size < _SHORTEST_MS * rate / 1000:
        return invalid
    finite = np.where(unsound, np.float32(0.0), row)
    gain = levels.gain_of(finite, rate)
    finite *= gain
    thinned, stuck = alternate.find(finite, rate), constant.find(finite, rate)
    # Silence is no anchor of a repeat, and no level of a hole.
    sound: NDArray[np.float32] = finite.copy()
    for each in stuck:
        sound[each.start : each.stop] = 0.0
    if lone.is_all(sound / gain, rate):
        return invalid + _within([*thinned, *stuck], first, last)
    in_pauses = lone.find(sound / gain, rate)
    if lone.are_only(sound / gain, in_pauses):
        in_pauses = [replace(each, doubt=ALONE) for each in in_pauses]
    found = clicks.search(lone.without(sound, in_pauses), rate)
    certain, likely = (
        [
            each
            for each in group
            if not constant.is_step(sound, each, rate) and not constant.is_end(sound, each, rate)
        ]
        for group in (found.certain, found.likely)
    )
    holes = _holes(found.rest, rate)
    uneven = [*holes, *repeats.find(found.rest, rate, found.errors)]
    made = [*stuck, *(each for each in uneven if not constant.is_stair(found.rest, each, rate))]
    kept = _chosen(made, _chosen(thinned, everywhere, 0), 0)
    zeros = [each for each in stuck if not finite[each.start : each.stop].all()]
    few = chance.are_few(found.rest, kept, rate)
    for group in (zeros, [each for each in kept if each in holes and not each.doubt]):
        heard = chance.are_heard(found.rest, group, rate)
        chosen = heard or chance.is_chosen(found.rest, group, rate)
        if chosen or few:
            meant = {
                each: replace(each, written=False, doubt=TOO_MUCH if heard else CHOSEN)
                for each in group
                if chosen
                or each.stop - each.start >= seams.LONG_MS * rate / 1000
                or not seams.goes_on(found.rest, each, rate)
            }
            kept = [meant.get(each, each) for each in kept]
    edge = round(_EDGE_MS * rate / 1000)
    faded = [each for each in kept if each.kind == "dropout"]
    beside = [each for each in certain if each in _chosen([each], faded, edge)]
    told = _within(_chosen(likely, _chosen(beside, [*kept, *in_pauses], 0), edge), first, last)
    return invalid + [
        replace(
            each,
            seam=seams.is_seam(sound, each, rate, found.errors),
            stutter=seams.is_stutter(each, rate, found.errors),
            through=seams.goes_on(found.rest, each, rate),
        )
        for each in told
    ]


def _holes(row: NDArray[np.float32], rate: int) -> list[Finding]:
    """Return holes; those between tones of a generator are doubtful."""
    holes = [
        constant.with_wrong(row, each, rate)
        for each in dips.find(row, rate)
        if not constant.is_step(row, each, rate)
    ]
    return [
        replace(each, doubt=TONES) if constant.is_between_tones(row, each, rate) else each
        for each in holes
    ]


def _within(kept: list[Finding], first: int, last: int) -> list[Finding]:
    return [each for each in kept if each.kind != "invalid" and first <= each.start < last]


def _chosen(made: list[Finding], kept: list[Finding], margin: int) -> list[Finding]:
    """Add candidates to ``kept``, the most certain first, without overlaps."""
    chosen = list(kept)
    for each in sorted(made, key=lambda each: (-each.confidence, each.start)):
        if all(
            each.start >= other.stop + margin or each.stop + margin <= other.start
            for other in chosen
        ):
            chosen.append(each)
    return chosen
