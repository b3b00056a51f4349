"""Where streams of a pool stand: blocks of one format side by side, in shelves of 64.

A stream's *place* is its shelf's number and its row there. Its id also says how often somebody
stood there before. A *run* is rows side by side, which one call of compiled code serves.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.engine.many.pool_format import PoolFormat
from plc.engine.stream.memory import StreamMemory
from plc.engine.stream.packet_dropouts import DropoutFinder
from plc.engine.stream.samples import Parts
from plc.engine.stream.stats import Stats
from plc.errors import ConfigError
from plc_kernels.stream import layout
from plc_kernels.stream.preparation import expect_losses
from plc_kernels.stream.start import forget_stream
from plc_kernels.stream.step import NEXT_LOST

_ROWS = 64
_PLACES = 2**24
"""More than there can be: each of 65536 streams may be the last one on a shelf."""

Ids = NDArray[np.int64]
Bools = NDArray[np.bool_]
_T = TypeVar("_T")
_NOTHING = np.zeros(0, np.int64)


@dataclass(slots=True, eq=False)
class Shelf:
    """Memory of neighbours: int64, shape (64, words); ``used`` rows were taken at some time."""

    format: PoolFormat
    blocks: NDArray[np.int64]
    used: int = 0


@dataclass(frozen=True, slots=True)
class RowRun:
    """Rows side by side: ``first`` to ``stop`` of a shelf; the first packet is the ``at``-th.

    Where parts of packets are ``missing``, begin and end of each, it is one row.
    """

    shelf: Shelf
    first: int
    stop: int
    at: int
    missing: NDArray[np.int64] = field(default_factory=lambda: _NOTHING)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The memory of the streams in these rows, shape (rows, words)."""
        return self.shelf.blocks[self.first : self.stop]

    def part(self, first: int, stop: int) -> "list[RowRun]":
        """Return the run of the rows from ``first`` to ``stop`` of these; of none, none."""
        begin = self.first
        part = replace(self, first=begin + first, stop=begin + stop, at=self.at + first)
        return [part] if stop > first else []

    @property
    def packets(self) -> slice:
        """The part of a call's packets that belongs to these rows."""
        return slice(self.at, self.at + self.stop - self.first)


@dataclass(slots=True, eq=False)
class _Places:
    """Facts of each place on the shelves, and of shelves to come."""

    ids: Ids = field(default_factory=_NOTHING.copy)
    """Of the stream that stands there; -1: none does."""
    taken: Ids = field(default_factory=_NOTHING.copy)
    """How often somebody stood there."""
    turns: Ids = field(default_factory=_NOTHING.copy)
    hurried: Ids = field(default_factory=_NOTHING.copy)
    ready: Bools = field(default_factory=lambda: np.zeros(0, bool))
    """Whether the next burst was prepared."""
    stats: list[Stats | None] = field(default_factory=list)

    def grown(self, size: int) -> "_Places":
        """Return the same facts, with places added until there are ``size``."""
        more = np.zeros(max(size - self.ids.size, 0), np.int64)
        return _Places(
            np.append(self.ids, more - 1),
            np.append(self.taken, more),
            np.append(self.turns, more),
            np.append(self.hurried, more),
            np.append(self.ready, more != 0),
            [*self.stats, *[None] * more.size],
        )


class Shelves:
    """The streams of a pool, by place.

    ``at`` has what is known of each place: who stands where is found from its ``ids`` alone, so
    that it is whole at any moment. In ``by_number`` None is a shelf on which nobody stands.
    ``finders``, by place, are those of streams that are searched for dropouts.
    """

    def __init__(self) -> None:
        self.by_number: list[Shelf | None] = []
        self.at = _Places()
        self.finders: dict[int, DropoutFinder] = {}

    @property
    def places(self) -> Ids:
        """Places of all streams."""
        return np.flatnonzero(self.at.ids >= 0)

    def counts(self) -> dict[PoolFormat, int]:
        """Return how many streams there are of each format that stands here."""
        counts: dict[PoolFormat, int] = {}
        standing = (self.at.ids >= 0).reshape(-1, _ROWS).sum(axis=1).tolist()
        for shelf, count in zip(self.by_number, standing, strict=False):
            if shelf is not None:
                counts[shelf.format] = counts.get(shelf.format, 0) + count
        return counts

    def stand(self, found: PoolFormat, count: int, seed: int = 0) -> Ids:
        """Make new streams, which have not joined yet; return their places, the first free."""
        while (places := self._free(found)).size < count:
            self._add(found)
        places = places[:count]
        for k, place in enumerate(places.tolist()):
            shelf, row = self.of(place), place % _ROWS
            block = shelf.blocks[row]
            shelf.used = max(shelf.used, row + 1)
            memory = StreamMemory(found.config, found.chosen, block[: found.words], seed + k)
            self.at.stats[place] = Stats(memory)
            if found.search_words:
                self.finders[place] = DropoutFinder(found.config, block[found.words :])
        return places

    def join(self, places: Ids) -> Ids:
        """Let new streams join, all or, where this is interrupted, none; return their ids."""
        at = self.at
        self._forget_turns(places)
        ids: Ids = places + _PLACES * at.taken[places]
        at.taken[places] += 1
        at.ids[places] = ids
        return ids

    def _free(self, found: PoolFormat) -> Ids:
        own = [shelf is not None and shelf.format is found for shelf in self.by_number]
        places = np.repeat(np.array(own, bool), _ROWS)
        return np.flatnonzero(places & (self.at.ids[: places.size] < 0))

    def _add(self, found: PoolFormat) -> None:
        # Not touched before a stream stands there: the memory of empty rows is not used.
        shelf = Shelf(found, np.zeros((_ROWS, found.words + found.search_words), np.int64))
        number = next((k for k, each in enumerate(self.by_number) if each is None), None)
        if number is None:
            self.at = self.at.grown((len(self.by_number) + 1) * _ROWS)
            self.by_number.append(shelf)
        else:
            self.by_number[number] = shelf

    def of(self, place: int) -> Shelf:
        """Return the shelf of a stream."""
        shelf = self.by_number[place // _ROWS]
        assert shelf is not None, "a stream stands on it"
        return shelf

    def block(self, place: int) -> NDArray[np.int64]:
        """Return the block of a stream."""
        block: NDArray[np.int64] = self.of(place).blocks[place % _ROWS]
        return block

    def stats(self, place: int) -> Stats:
        """Return the counters of a stream."""
        stats = self.at.stats[place]
        assert stats is not None, "a stream stands there"
        return stats

    def find(self, ids: ArrayLike) -> Ids:
        """Return the places of streams; raise ConfigError if one is none, or there twice."""
        given = np.asarray(ids)
        if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
            raise ConfigError(
                f"ids is {given.dtype} {given.shape}; give what open returned: int64, one dimension"
            )
        places: Ids = given.astype(np.int64) % _PLACES
        known = places < self.at.ids.size
        known[known] = self.at.ids[places[known]] == given[known]
        if not known.all():
            raise ConfigError(
                f"no stream has the id {given[~known][0]}: it was never open, or left"
            )
        values, counts = np.unique(given, return_counts=True)
        if values.size < given.size:
            raise ConfigError(f"the id {values[counts > 1][0]} is given twice; give each once")
        return places

    def runs(self, places: Ids) -> Iterator[RowRun]:
        """Yield rows that stand side by side, in the order that is given."""
        if not places.size:
            return
        breaks = np.flatnonzero((np.diff(places) != 1) | (places[1:] % _ROWS == 0)) + 1
        for at, stop in itertools.pairwise((0, *breaks.tolist(), places.size)):
            row = int(places[at]) % _ROWS
            yield RowRun(self.of(int(places[at])), row, row + stop - at, at)

    def in_order(self) -> list[int]:
        """Return places of streams, those last that most need a preparation."""
        ids = self.at.ids
        expected = np.zeros(ids.size)
        for number, shelf in enumerate(self.by_number):
            if shelf is not None and shelf.format.prepares:
                rows = expected[number * _ROWS :][: shelf.used]
                expect_losses(shelf.blocks[: shelf.used], rows)
        expected[ids < 0] = 0.0
        places = np.flatnonzero(expected)
        likeliest = -np.floor(np.log2(expected[places]))
        order = np.lexsort((self.at.turns[places], likeliest))
        ordered: list[int] = places[order[::-1]].tolist()
        return ordered

    def forget(self, places: Ids) -> None:
        """Make streams as new, statistics included."""
        for place in places.tolist():
            self.forget_stream(place)
            self.stats(place).reset()
        self._forget_turns(places)

    def _forget_turns(self, places: Ids) -> None:
        self.at.ready[places] = False
        self.at.turns[places] = self.at.hurried[places] = 0

    def forget_stream(self, place: int) -> None:
        """Make a stream as new but for its statistics."""
        block = self.block(place)
        forget_stream(block)
        block[[layout.FLAGS, layout.DEPTH]] = 0
        if place in self.finders:
            self.finders[place].forget()

    def forget_bursts(self) -> None:
        """End the bursts that wait to be fitted."""
        for shelf in self.by_number:
            if shelf is not None:
                rows = shelf.blocks[: shelf.used]
                waits: Bools = rows[:, layout.WAITS] != 0
                rows[waits, layout.IN_BURST] = rows[waits, layout.PHASE] = 0

    def leave(self, places: Ids) -> None:
        """Let streams leave, and shelves go on which nobody stands any more."""
        ids, stats = self.at.ids, self.at.stats
        ids[places] = -1
        for place in places.tolist():
            stats[place] = None
            self.finders.pop(place, None)
        empty: Bools = np.all(ids.reshape(-1, _ROWS) < 0, axis=1)
        for number in np.flatnonzero(empty[: len(self.by_number)]).tolist():
            self.by_number[number] = None


def told(runs: list[RowRun], there: Bools) -> Bools:
    """Note which packets arrived; return the streams whose due packet lacks something."""
    lacks = ~there
    for run in runs:
        rows, at, waits = run.rows, run.packets, run.shelf.format.config.lookahead > 0
        rows[:, layout.TAKES] = sound = there[at]
        if waits:
            lacks[at] = rows[:, layout.FLAGS] & NEXT_LOST != 0
            sound = ~lacks[at]
        rows[sound, layout.DEPTH] = 0
        if run.missing.size and not waits:
            lacks[at] = True
    return lacks


def apart(runs: list[RowRun], begins: Bools) -> tuple[list[RowRun], list[RowRun]]:
    """Return runs without the rows whose bursts begin, and each of those, a run of its own."""
    others: list[RowRun] = []
    bursts: list[RowRun] = []
    for run in runs:
        first = 0
        for k in np.flatnonzero(begins[run.packets]).tolist():
            others += run.part(first, k)
            bursts += run.part(k, k + 1)
            first = k + 1
        others += run.part(first, run.stop - run.first)
    return others, bursts


def parted(runs: list[RowRun], there: Bools, missing: Mapping[int, Parts]) -> list[RowRun]:
    """Return runs, in which each row with missing parts stands alone."""
    partial = np.zeros(there.size, bool)
    partial[[at for at, parts in missing.items() if parts and there[at]]] = True
    if not partial.any():
        return runs
    others, alone = apart(runs, partial)
    return others + [
        replace(run, missing=np.array(missing[run.at], np.int64).ravel()) for run in alone
    ]


def taken_from(waiting: list[_T]) -> Iterator[_T]:
    """Take and yield the entries of a list, which other threads take from, too."""
    while True:
        try:
            yield waiting.pop()
        except IndexError:
            return
