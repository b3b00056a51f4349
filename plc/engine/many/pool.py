"""Many streams in one call, for servers: streams of any formats that join and leave at any tick.

What a push goes through::

    push(ids) ─▶ places ─▶ runs of rows side by side ─▶ threads take run after run ─▶ step
                                                         and then loss after loss   ─▶ network
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from numbers import Real
from types import MappingProxyType
from typing import Any, ClassVar, Self, Unpack, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.engine.many import shelves
from plc.engine.many.crew import Crew, Work
from plc.engine.many.pool_format import Capacity, PoolFormat, PoolSettings, checked, new_format
from plc.engine.many.shelves import Bools, Ids, RowRun, Shelves
from plc.engine.runtime.threads import OneThread
from plc.engine.runtime.worker import ANSWER_BY
from plc.engine.stream import snapshots
from plc.engine.stream.config import OPEN, StreamConfig
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.samples import (
    INT16,
    Behind,
    Packet,
    Parts,
    Samples,
    are_sound,
    as_behind_many,
    as_packets,
    check_arrived,
    check_missing_many,
    check_out,
    know_all,
    watch_scale,
)
from plc.engine.stream.stats import Stats, in_words
from plc.engine.stream.warm import warm_up
from plc.errors import CapacityError, ConfigError, keywords_in_words, not_copied
from plc_kernels.stream import layout
from plc_kernels.stream.step import CONCEALED, GO_ON, PUSH

_NAME = "ConcealerPool"
MAX_STREAMS = 65_536
# Of the mean of the time of a preparation: the last of so many.
_COST_MEMORY = 16

_WHOLE: Mapping[int, Any] = MappingProxyType({})


class ConcealerPool:
    """Many streams, concealed together.

    One call pushes a packet of each of any streams of one format, in compiled code that holds no
    lock of Python's. With ``method="auto"`` the samples are those of as many
    :class:`~plc.Concealer` objects without a time limit; streams that join or leave change nothing
    of the others.

    Parameters
    ----------
    threads : int
        That serve the streams, the caller's among them; 1 to 64. No more are of use than the
        process has cores.
    limit : int
        Streams that may be in it at a time, 1 to 65536, the default; more are refused.

    Raises
    ------
    ConfigError
        If one of them is out of range.

    Notes
    -----
    A context manager: leaving it is :meth:`close`. As a :class:`~plc.Concealer`, for one thread at
    a time, any one: a call while another is inside any method that changes a stream raises
    :class:`~plc.errors.ConcurrentPushError` and changes nothing. So does an id that is none of a
    stream, or is given twice: :class:`~plc.errors.ConfigError`.

    Examples
    --------
    >>> pool = ConcealerPool()
    >>> ids = pool.open(3, sample_rate=48_000, packet_samples=64)
    >>> packets = np.zeros((3, 64, 1), np.float32)
    >>> pool.push(ids, packets, np.array([True, False, True])).shape
    (3, 64, 1)
    >>> pool.close(ids[:1])
    >>> len(pool)
    2
    """

    dependencies: ClassVar[Dependencies] = Dependencies()

    @keywords_in_words
    def __init__(self, threads: int = 1, limit: int = MAX_STREAMS) -> None:
        if not 1 <= _integer(threads) <= 64:
            raise ConfigError(f"threads is {threads!r}; give 1 to 64")
        if not 1 <= _integer(limit) <= MAX_STREAMS:
            raise ConfigError(f"limit is {limit!r}; give 1 to {MAX_STREAMS} streams")
        self._limit = limit
        self._formats: dict[StreamConfig, PoolFormat] = {}
        self._shelves = Shelves()
        self._turn = itertools.count(1)
        self._cost_s = 0.0
        self._clock, self._cpu_clock = self.dependencies.clock, self.dependencies.cpu_clock()
        self._threads = threads
        self._cores = min(threads, self.dependencies.cores())
        self._crew = Crew(threads)
        self._midway = False
        self._scale_in = 0
        self._inside = OneThread(_NAME)

    __reduce_ex__ = not_copied("hand its streams over, by snapshot() and restore()")

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __len__(self) -> int:
        """Return the number of streams."""
        return self._shelves.places.size

    def __repr__(self) -> str:
        """Return the formats with their streams, and the counters of all."""
        formats = [
            f"{count} streams of {each.config.in_words()}"
            for each, count in self._shelves.counts().items()
            if count
        ]
        counters = in_words([self._shelves.stats(place) for place in self._shelves.places.tolist()])
        return f"<ConcealerPool of {'; '.join(formats) or 'no streams'}; {counters}>"

    def open(self, count: int = 1, **settings: Unpack[PoolSettings]) -> Ids:
        """Let new streams join; return their ids: int64, shape (count,).

        Streams join fastest many at a time, and those that joined together are pushed the fastest.

        Parameters
        ----------
        count : int
            1 to 65536, as many as a pool has at most.
        **settings
            As for :class:`PoolSettings`, which has the defaults.

        Raises
        ------
        ConfigError
            If a setting is out of range.
        CapacityError
            If they are more than the pool's ``limit``.
        """
        config = checked(settings)
        if not 1 <= _integer(count) <= MAX_STREAMS:
            raise ConfigError(f"count is {count!r}; give 1 to {MAX_STREAMS}")
        with self._inside as lost:
            self._begin(lost)
            self._check_room(count)
            return self._shelves.join(
                self._shelves.stand(self._format(config), _integer(count), config.seed)
            )

    def _check_room(self, count: int) -> None:
        if (room := self._limit - len(self)) < count:
            raise CapacityError(
                f"{count} more streams are {count - room} too many: the pool's limit is "
                f"{self._limit}, of which {room} are free; let others leave, or give another pool"
            )

    def capacity(self, expected_loss: float = 0.05, **settings: Unpack[PoolSettings]) -> Capacity:
        """Return how many more streams of such a format the pool has time for.

        What a packet takes is measured when a format is asked for first, in some milliseconds, and
        then of the packets that the pool pushes. It refuses none for it.

        Parameters
        ----------
        expected_loss : float
            Share of packets lost, 0 to 1, at which there is to be time for all.
        **settings
            As for :class:`PoolSettings`, which has the defaults.

        Raises
        ------
        ConfigError
            If a setting is out of range.
        """
        if not 0.0 <= _number(expected_loss) <= 1.0:
            raise ConfigError(f"expected_loss is {expected_loss!r}; give a share of 0 to 1")
        config = checked(settings)
        with self._inside as lost:
            self._begin(lost)
            found, counts = self._format(config), self._shelves.counts()

            def time_for(cost: Callable[[Iterable[float]], float]) -> int:
                cores = {of: of.cores(expected_loss) * cost(of.ratios) for of in (*counts, found)}
                load = sum(count * cores[of] for of, count in counts.items())
                more = int(max(self._cores - load, 0.0) / cores[found])
                return min(more, self._limit - len(self))

            return Capacity(time_for(min), time_for(max))

    def _format(self, config: StreamConfig) -> PoolFormat:
        key = replace(config, packet_ms=OPEN, seed=0)
        found = self._formats.get(key)
        if found is None:
            warm_up()
            found = self._formats[key] = new_format(key, self.dependencies)
        return found

    def push(
        self,
        ids: ArrayLike,
        packets: Packet | Samples,
        arrived: ArrayLike,
        out: Packet | None = None,
        *,
        missing: Mapping[int, Parts] = _WHOLE,
        behind: Mapping[int, Behind] = _WHOLE,
        budget_ms: float = math.inf,
    ) -> Packet:
        """Take the next packet of streams of one format; return the packets to play.

        Parameters
        ----------
        ids : int64, shape (streams,)
            Of :meth:`open`, in any order; those of all streams that are due.
        packets : float32 or int16, shape (streams, packet_samples, channels)
            Of numpy or of a library with its array protocol. What is lost is not looked at.
        arrived : bool, shape (streams,), which of them did
        out : same dtype and shape, C-contiguous, optional
            Array to write to and return; may be ``packets``, or overlap them. Without it a new one
            is made.
        missing : mapping of int to sequence of (int, int)
            Parts that did not arrive, of packets that did, by their place in ``packets``: as
            :meth:`plc.Concealer.push` takes them.
        behind : mapping of int to sequence of (int, samples)
            What is known behind lost packets, by their place: as that takes it.
        budget_ms : float
            Time for this call. Bursts that begin in it, were not prepared, and have no time left
            have the cheapest prediction and no network: first those of streams that were spared
            that more often.

        Raises
        ------
        ConfigError
            If an id is none of a stream or is given twice, they are of several formats, or the time
            is below 0; no stream is advanced.
        PacketError
            If an array has another shape or dtype, or ``missing`` is no such parts, or
            ``behind`` no such stretches; no stream is advanced.
        """
        _check_budget(budget_ms)
        end_s = self._clock() + budget_ms / 1000.0
        with self._inside as lost:
            self._begin(lost)
            return self._push(
                self._shelves.find(ids), packets, arrived, out, (missing, behind), end_s
            )

    def _push(
        self,
        places: Ids,
        packets: Packet | Samples,
        arrived: ArrayLike,
        out: Packet | None,
        told: tuple[Mapping[int, Parts], Mapping[int, Behind]],
        end_s: float,
    ) -> Packet:
        runs = list(self._shelves.runs(places))
        if not runs:
            raise ConfigError("ids is empty; give those of the streams that are due")
        one = runs[0].shelf.format
        for run in runs:
            if run.shelf.format is not one:
                both = " and of ".join(each.config.in_words() for each in (one, run.shelf.format))
                raise ConfigError(f"ids are of {both}; push each format in a call of its own")
        shape = places.size, one.config.packet_samples, one.config.channels
        whole: Any = np.ascontiguousarray(as_packets(packets, shape))
        there = check_arrived(arrived, places.size)
        self._scale_in = self._scale_in - 1 if self._scale_in else watch_scale(whole[there])
        integer = whole.dtype == INT16
        if out is None:
            out = np.empty_like(whole)
        else:
            check_out(out, integer, shape)
            if np.may_share_memory(whole, out) and whole.ctypes.data != out.ctypes.data:
                whole = whole.copy()  # it is out, moved: written before it is read
        missing, behind = told
        check_missing_many(missing, places.size, one.config)
        for at, stretches in as_behind_many(behind, places.size, one.config):
            know_all(self._shelves.block(int(places[at])), stretches)
        if one.search_words:
            there, missing = self._look_through(places, whole, there, missing)
        runs = shelves.parted(runs, there, missing)
        lacks = shelves.told(runs, there)
        bursts: list[RowRun] = []
        if end_s < math.inf or self._threads > 1:
            if not (integer or one.config.lookahead):  # with that the step before looked at it
                there = there & (lacks | are_sound(whole))
                lacks |= ~there
            runs, bursts = shelves.apart(runs, self._beginning(places, runs, lacks, there))
            hurried = self._shelves.at.hurried[places]
            bursts.sort(key=lambda one: hurried[one.at])  # the last is served first
        began_s = self._clock()
        tick = _Tick(runs, bursts, one.fitted_by(began_s, end_s), self._threads, whole, out)
        self._midway = True
        is_ready = self._shelves.at.ready[places]
        self._shelves.at.ready[places] = False
        self._do(one, tick.work)
        while asking := tick.asking():
            each = [
                (run.rows[0], self._shelves.stats(int(places[run.at])).network) for run in asking
            ]
            one.ask(each, began_s + ANSWER_BY * (end_s - began_s))
            self._do(one, tick.work)
        self._midway = False
        if one.outside is not None:
            one.outside.pass_time(one.config.packet_ms * places.size / self._shelves.counts()[one])
        self._shelves.at.hurried[places[np.array(tick.hurried, np.int64)]] += 1
        for place in places[is_ready].tolist():  # the bursts that have been played
            self._shelves.stats(place).ahead.concealed_prepared += (
                int(self._shelves.block(place)[layout.PREPARED_AT]) < 0
            )
        # Preparations take time that is left, so they are no load, and what they save is none.
        one.note_pushed(places.size, int(np.count_nonzero(lacks & ~is_ready)))
        return out

    def _beginning(self, places: Ids, runs: list[RowRun], lacks: Bools, there: Bools) -> Bools:
        """Return the streams whose bursts begin now and were not prepared."""
        begins = lacks & (there | ~self._shelves.at.ready[places])
        for run in runs:
            rows = run.rows
            begins[run.packets] &= (rows[:, layout.IN_BURST] == 0) | (
                rows[:, layout.RECOVERED] != 0
            )
        return begins

    def _look_through(
        self, places: Ids, packets: Any, there: Bools, missing: Mapping[int, Parts]
    ) -> tuple[Bools, Mapping[int, Parts]]:
        there, missing = there.copy(), dict(missing)
        waiting = list(enumerate(places.tolist()))

        def work() -> None:
            for at, place in shelves.taken_from(waiting):
                there[at], missing[at] = self._shelves.finders[place].look_through(
                    packets[at], bool(there[at]), missing.get(at, ()), self._shelves.stats(place)
                )

        self._do(self._shelves.of(int(places[0])).format, work)
        return there, missing

    def _do(self, one: PoolFormat, work: Work) -> None:
        """Let all threads work on packets of a format; note the time that takes."""

        def timed() -> None:
            began_s = self._cpu_clock()
            work()
            one.spent_s.append(self._cpu_clock() - began_s)

        self._crew.do(timed)

    def concealed(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Return for each stream whether something of its last packet was made up.

        ``ids`` are int64, shape (streams,).
        """
        places = self._shelves.find(ids)
        made = np.zeros(places.size, bool)
        for run in self._shelves.runs(places):
            made[run.packets] = run.rows[:, layout.FLAGS] & CONCEALED != 0
        return made

    def stats(self, ids: ArrayLike) -> tuple[Stats, ...]:
        """Return the counters of streams, in the order of their ids.

        They are views of the streams' memory: they go on counting, until the stream leaves; copy
        before that what is to be kept, as by ``as_dict()``. A call serves many streams, so times,
        and what was late, are not counted.
        """
        return tuple(self._shelves.stats(place) for place in self._shelves.find(ids).tolist())

    def prepare(self, budget_ms: float) -> int:
        """Prepare for losses in time that is left until the next packets; return for how many.

        A lost packet that was prepared takes the next :meth:`push` about 0.03 ms instead of 1 to 2;
        the samples are the same. Streams of speech are prepared, those first whose next packet is
        lost most likely, by their losses so far; those as likely, within a factor of two, in turn.
        Music, silence, and streams without a network or with lookahead need no preparation.

        Parameters
        ----------
        budget_ms : float
            Of this call. What would take longer is not begun.

        Raises
        ------
        ConfigError
            If the time is below 0.
        """
        _check_budget(budget_ms)
        with self._inside as lost:
            self._begin(lost)
            end_s = self._clock() + budget_ms / 1000.0
            waiting = self._shelves.in_order()
            ready: list[int] = []
            self._crew.do(lambda: self._prepare_until(end_s, waiting, ready))
            return len(ready)

    def _prepare_until(self, end_s: float, waiting: list[int], ready: list[int]) -> None:
        """Prepare streams until a time, the last of ``waiting`` first."""
        while self._clock() + self._cost_s < end_s:
            try:
                place = waiting.pop()
            except IndexError:
                return
            began_s = self._cpu_clock()
            self._shelves.of(place).format.prepare(self._shelves.block(place))
            spent_s = self._cpu_clock() - began_s
            self._cost_s += (spent_s - self._cost_s) / _COST_MEMORY
            self._shelves.at.turns[place] = next(self._turn)
            self._shelves.stats(place).ahead.preparations += 1
            self._shelves.at.ready[place] = True
            ready.append(place)

    def reset(self, ids: ArrayLike | None = None) -> None:
        """Make streams as new, or all of them, statistics included."""
        with self._inside as lost:
            self._begin(lost)
            self._shelves.forget(self._shelves.places if ids is None else self._shelves.find(ids))

    def close(self, ids: ArrayLike | None = None) -> None:
        """Let streams leave; without ids all of them, and end the threads.

        Ids of streams that left are never given again. Memory is given back where all that stood
        side by side have left.
        """
        with self._inside as lost:
            self._begin(lost)
            self._shelves.leave(self._shelves.places if ids is None else self._shelves.find(ids))
            used = self._shelves.counts()
            for key in [key for key, each in self._formats.items() if each not in used]:
                if (outside := self._formats.pop(key).outside) is not None:
                    outside.close()
            if ids is None:
                self._crew.end()

    def snapshot(self, ids: ArrayLike, key: bytes) -> list[bytes]:
        """Return streams as bytes, from which another process can go on with them.

        A snapshot holds what was played lately, and state: about as many bytes as the stream takes
        of memory, at most. It is signed, not encrypted.

        Parameters
        ----------
        ids : int64, shape (streams,), of streams, which go on here
        key : bytes
            At least 16, secret, and the same in all processes that hand streams over.

        Raises
        ------
        ConfigError
            If an id is none of a stream or is given twice, or the key is too short.
        """
        snapshots.check_key(key)
        with self._inside as lost:
            self._begin(lost)
            packed = []
            for place in self._shelves.find(ids).tolist():
                one, block = self._shelves.of(place).format, self._shelves.block(place)
                dropouts = self._shelves.stats(place).detected_dropouts
                head = snapshots.Head(_NAME, one.layout, dict(one.settings), dropouts)
                packed.append(snapshots.pack(block, head, key))
            return packed

    def restore(self, streams: Iterable[bytes], key: bytes) -> Ids:
        """Let streams of snapshots join, as they were; return their ids: int64, shape (streams,).

        They play on what they would have played where they were, on a processor of the same type
        bit for bit. Of their statistics the counters are kept, and how samples were made.

        Parameters
        ----------
        streams : iterable of bytes, of :meth:`snapshot`
        key : bytes, that they are signed with

        Raises
        ------
        SnapshotError
            If one was changed or cut, or is of another key, version, network or format; it says
            which.
        ConfigError
            If the key is too short.
        CapacityError
            If they are more than the pool's ``limit``.

        Notes
        -----
        After an error none of them has joined.
        """
        snapshots.check_key(key)
        unpacked = [snapshots.unpack(each, key, _NAME) for each in streams]
        with self._inside as lost:
            self._begin(lost)
            self._check_room(len(unpacked))
            with snapshots.of_its_settings():
                settings = [checked(cast(PoolSettings, head.settings)) for head, _ in unpacked]
                formats = [self._format(each) for each in settings]
            places = np.zeros(len(formats), np.int64)
            for one in set(formats):
                own = [each is one for each in formats]
                places[own] = self._shelves.stand(one, sum(own))
            for place, one, (head, body) in zip(places.tolist(), formats, unpacked, strict=True):
                snapshots.fill([self._shelves.block(place)], head, body, one.layout)
                self._shelves.stats(place).detected_dropouts = head.detected_dropouts
            return self._shelves.join(places)

    def _begin(self, lost: bool) -> None:
        """Be whole first, where an exception or a fork ended a call in its midst."""
        self._crew.rest()
        if lost:  # the fork took a thread from its midst: no stream is whole
            for place in self._shelves.places.tolist():
                self._shelves.forget_stream(place)
            self._shelves.at.ready[:] = False
        elif self._midway:  # bursts may not have been fitted
            self._shelves.forget_bursts()
        self._midway = False


class _Tick:
    """A packet of each of some streams, by any threads: rows, their networks, and then bursts.

    Bursts, the last one first, that would be later than ``end_s`` have the cheapest prediction, for
    which there is then time; ``hurried`` holds their packets.
    """

    def __init__(
        self,
        runs: list[RowRun],
        bursts: list[RowRun],
        end_s: float,
        threads: int,
        packets: Any,
        out: Packet,
    ) -> None:
        self._runs = runs[::-1]
        self._bursts = bursts
        self._format = one = (runs or bursts)[0].shelf.format
        self._end_s = end_s
        self._hurried_s = one.costs.hurried_ms / 1000.0 / threads
        self.hurried: list[int] = []
        self._packets, self._out = packets, out
        self._stride = packets.strides[0]
        self._integer = packets.dtype == INT16
        self._waiting: list[RowRun] = []
        self._asking: list[RowRun] = []

    def asking(self) -> list[RowRun]:
        """Return streams whose networks' answers are due; :meth:`work` then goes on with them."""
        self._waiting, self._asking = self._asking, []
        return list(self._waiting)

    def work(self) -> None:
        """Push run after run, and serve stream after stream, until there is none left."""
        for run in shelves.taken_from(self._runs):
            self._step(PUSH, run)
            waiting = np.flatnonzero(run.rows[:, layout.FLAGS] & self._format.served)
            for k in waiting.tolist():
                self._waiting += run.part(k, k + 1)
        for one in shelves.taken_from(self._waiting):
            self._serve(one)
        for one in shelves.taken_from(self._bursts):
            of = self._format
            began_s = of.depends.clock()
            hurried = began_s + of.burst_s + len(self._bursts) * self._hurried_s > self._end_s
            if hurried:
                one.rows[:, layout.DEPTH] = layout.MAX_STEPS
                self.hurried.append(one.at)
            self._step(PUSH, one)
            self._serve(one)
            of.note_burst(of.depends.clock() - began_s, hurried)

    def _serve(self, one: RowRun) -> None:
        """Have the networks of a stream fill its lost samples."""
        if not self._format.serve(one.rows[0], partial(self._step, GO_ON, one)):
            self._asking.append(one)

    def _step(self, action: int, run: RowRun) -> None:
        """Have rows take in their packets, which lie as if the shelf's first row had one, too."""
        shift = (run.at - run.first) * self._stride
        given, out = self._packets.ctypes.data + shift, self._out.ctypes.data + shift
        around = self._stride, self._integer, run.missing, run.missing.size // 2
        self._format.depends.step(
            run.shelf.blocks, action, given, *around, out, run.first, run.stop
        )


def _integer(value: int) -> int:
    """Return a number's value as an integer, 0 if it is none."""
    try:
        return operator.index(value)
    except TypeError:
        return 0


def _number(value: Any) -> float:
    """Return a number's value, NaN if it is none."""
    return float(value) if isinstance(value, Real) else math.nan


def _check_budget(budget_ms: float) -> None:
    if not _number(budget_ms) >= 0.0:
        raise ConfigError(f"budget_ms is {budget_ms!r}; give a time of 0 ms or more")
