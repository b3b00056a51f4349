"""Formats of streams of a pool: their concealment, and the cost of their packets here."""

import itertools
import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Self, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from plc.engine.runtime.worker import ANSWER_BY
from plc.engine.stream import snapshots
from plc.engine.stream.concealment import StepPrediction, WorkingMemory
from plc.engine.stream.config import Content, Method, StreamConfig
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.memory import StreamMemory
from plc.engine.stream.methods import make_method
from plc.engine.stream.packet_dropouts import DropoutFinder
from plc.engine.stream.stats import Stats
from plc.errors import ConfigError, check_settings, not_copied
from plc_kernels.stream import layout as at
from plc_kernels.stream.extend_network import WORK
from plc_kernels.stream.networks import PREPARES, SUBMIT, WAIT, fill_part
from plc_kernels.stream.preparation import BETWEEN, look
from plc_kernels.stream.step import GO_ON, MORE, PLAYED, PUSH

if TYPE_CHECKING:
    from plc.engine.stream.outside import Asking, OutsideNetworks

FITTED_BY = 0.4
"""Of a call's time, the least that fits have where ONNX Runtime runs the networks."""
# Of the mean of the time of a burst, or of an answer: the last of so many.
_COST_MEMORY = 16
_RECEIVED, _LOST, _NOISES = 40, 5, 8
"""Packets that are pushed to measure; so many differ, as copies would be found to be dropouts."""
# Of so many packets in a row the time is the median, and so often; of these the least counts.
_ROUNDS = 5
# Packets that were to take so long are measured together while a pool runs; the last so many count.
_WINDOW_MS, _WINDOWS = 50.0, 8
# Less is not to be measured by a clock.
_LEAST_MS = 1e-4


class PoolSettings(TypedDict, total=False):
    """Settings of streams of a pool.

    Attributes
    ----------
    sample_rate, channels, packet_samples, lookahead, packet_ms, seed
        As for :class:`~plc.StreamConfig`; the streams that join together count their seeds on.
    method : str
        ``"server"``, the default: linear prediction by two short rungs, for tens of microseconds a
        lost packet, and where packets are of 5 ms or more the network for speech. ``"auto"``,
        ``"ar"`` or ``burg:ORDER_MS/PAST_MS``: what a :class:`~plc.Concealer` without a time limit
        does, for milliseconds.
    model : str
        ``"auto"``, the default, or ``"ar"``: no network.
    provider : str
        ``"auto"``, the default: kernels run the networks, stream by stream. ``"tensorrt"``,
        ``"cuda"`` or ``"cpu"``: ONNX Runtime does, for all streams of a call that lack something
        together, in time for its ``budget_ms``; no burst is prepared.
    content : str
    detect_dropouts : bool, as for a :class:`~plc.Concealer`
    """

    sample_rate: int
    channels: int
    packet_samples: int
    packet_ms: float
    lookahead: int
    method: Method
    model: str
    provider: str
    content: Content
    seed: int
    detect_dropouts: bool


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor time of a packet in ms."""

    received_ms: float
    lost_ms: float
    """Of one that begins a burst and was not prepared, with the network."""
    hurried_ms: float
    """The same, with the cheapest prediction."""
    spread: float = 1.0
    """The dearest of several measurements over the least of them, which these are."""


class Capacity(int):
    """Number of streams there is time for, if packets take as long as the cheapest measured ones.

    ``least`` is the same, if they take as long as the dearest: the further it is below, the busier
    is the machine with other things, or the more the streams differ, and the less is known.
    """

    least: int

    def __new__(cls, value: int, least: int = 0) -> Self:
        """Return the number."""
        new = super().__new__(cls, value)
        new.least = least
        return new


_FREE = Costs(0.0, 0.0, 0.0)
_memory = WorkingMemory()


@dataclass(slots=True, eq=False)
class PoolFormat:
    """Streams that differ by their seeds alone.

    Attributes
    ----------
    chosen : StepPrediction, what conceals
    words : int, of a stream's block
    search_words : int
        Of its search for dropouts, which lies behind it.
    model : int
        Address of the networks' blocks; 0: there are none.
    served : int
        Answers of the step for which networks have something to do.
    prepares : bool, whether bursts are prepared
    outside : OutsideNetworks or None
        What runs the networks; None: kernels do.
    layout : str, of blocks, for snapshots
    depends : Dependencies, of the pool
    costs : Costs, of a stream's packets, here
    burst_s, answer_s : float
        Time that a burst took of late, by the wall's clock, with a network of kernels; that
        networks outside took to answer.
    ratios : deque of float
        What packets took over ``costs``, of each of some measurements.
    spent_s : list of float
        Processor time that was spent on packets since :meth:`note_pushed`, by any thread.
    """

    config: StreamConfig
    chosen: StepPrediction
    words: int
    search_words: int
    model: int
    served: int
    prepares: bool
    outside: "OutsideNetworks | None"
    layout: str
    depends: Dependencies
    costs: Costs = _FREE
    burst_s: float = 0.0
    answer_s: float = 0.0
    ratios: deque[float] = field(default_factory=lambda: deque([1.0], _WINDOWS))
    spent_s: list[float] = field(default_factory=list)
    _spent_ms: float = 0.0
    _due_ms: float = 0.0

    __reduce_ex__ = not_copied("hand its streams over, by snapshot() and restore()")

    def serve(self, block: NDArray[np.int64], go_on: Callable[[], object]) -> bool:
        """Have networks fill parts of a packet of this block, and hear the played samples.

        Return whether that is done; if not, :attr:`outside` is to answer, and this to be called
        again.
        """
        while True:
            flags = int(block[at.FLAGS])
            if flags & self.served:
                before = _memory.lend(block)
                answer = fill_part(block, self.model, flags)
                if answer == SUBMIT:  # the rows stay until the answer is due
                    answer = fill_part(block, self.model, flags)
                block[WORK] = before
                if answer == WAIT:
                    return False
            if not flags & MORE:
                return True
            go_on()

    def prepare(self, block: NDArray[np.int64]) -> None:
        """Prepare for the loss of a stream's next packet."""
        if not look(block, block[at.POSITION] + block[at.PACKET]):
            return
        second = block[block[at.SECOND] // 8 :]
        before = _memory.lend(second)
        block[at.PREPARED_AT] = fill_part(block, self.model, PREPARES)
        second[WORK] = before

    def note_burst(self, took_s: float, hurried: bool) -> None:
        """Update the mean time of a burst; a hurried one counts as the first measurement did."""
        took_s = self.costs.lost_ms / 1000.0 if hurried else took_s
        self.burst_s += (took_s - self.burst_s) / _COST_MEMORY

    def fitted_by(self, began_s: float, end_s: float) -> float:
        """Return by when a call's bursts are fitted: networks outside answer after that."""
        if self.outside is None:
            return end_s
        time_s = end_s - began_s
        return began_s + max(FITTED_BY * time_s, ANSWER_BY * time_s - self.answer_s)

    def ask(self, asking: "Sequence[Asking]", due_s: float) -> None:
        """Have networks outside answer, and remember how long that took."""
        clock, outside = self.depends.clock, self.outside
        assert outside is not None, "kernels leave nothing to be asked"
        asked_s = clock()
        if outside.answer(asking, due_s):
            took_s = clock() - asked_s
            late_s = self.answer_s if asked_s + took_s >= due_s else 0.0  # it would take longer
            self.answer_s += (took_s + late_s - self.answer_s) / _COST_MEMORY

    def note_pushed(self, packets: int, lost: int) -> None:
        """Compare the time of packets, some of them lost, with their cost at first."""
        spent_ms = 1e3 * sum(self.spent_s)
        self.spent_s.clear()
        costs = self.costs
        self._spent_ms += spent_ms
        self._due_ms += (packets - lost) * costs.received_ms + lost * costs.lost_ms
        if self._due_ms > _WINDOW_MS:
            self.ratios.append(max(self._spent_ms / self._due_ms, _LEAST_MS))
            self._spent_ms = self._due_ms = 0.0

    @property
    def settings(self) -> PoolSettings:
        """With which its streams are opened."""
        names = set(PoolSettings.__annotations__) - {"packet_ms", "seed"}
        return cast(PoolSettings, {name: getattr(self.config, name) for name in names})

    def cores(self, loss: float) -> float:
        """Return the share of a core that a stream takes with this share of losses."""
        costs = self.costs
        return ((1.0 - loss) * costs.received_ms + loss * costs.lost_ms) / self.config.packet_ms


def checked(settings: PoolSettings) -> StreamConfig:
    """Return settings of streams; raise ConfigError if one will not do."""
    check_settings("a stream of a pool", settings, PoolSettings.__annotations__)
    model = settings.get("model", "auto")
    if model not in ("auto", "ar"):
        raise ConfigError(f"model is {model!r}; streams of a pool take auto or ar")
    return StreamConfig(**({"method": "server"} | settings), budget_ms=math.inf)


def new_format(config: StreamConfig, depends: Dependencies) -> PoolFormat:
    """Return a format of streams; ``config`` is without a seed of their own.

    Raises
    ------
    ConfigError
        If many streams have no such method.
    """
    chosen = make_method(config, depends.clock, many=True, depends=depends)
    if chosen.step_networks is not None:
        networks = replace(chosen.step_networks, works_apart=True)
        prepares = 0 if config.lookahead or chosen.outside else BETWEEN
        chosen = StepPrediction(chosen.ladders, networks, prepares, refit_ms=chosen.refit_ms)
    first = StreamMemory(config, chosen)
    found = PoolFormat(
        config,
        chosen,
        first.block.size,
        DropoutFinder.words(config) if config.detect_dropouts else 0,
        first.model,
        MORE | (PLAYED if first.block[at.LISTENS] else 0),
        bool(chosen.prepares),
        chosen.outside,
        snapshots.layout_of(first.block),
        depends,
    )
    found.costs = (depends.costs or _measure)(found)
    found.ratios.append(found.costs.spread)
    found.burst_s = found.costs.lost_ms / 1000.0
    return found


def _measure(of: PoolFormat) -> Costs:
    """Push noise through a stream of its own."""
    networks = of.chosen.step_networks
    if networks is not None:  # noise is to be taken for its content
        networks = replace(networks, for_all=True)
    memory = StreamMemory(of.config, StepPrediction(of.chosen.ladders, networks))
    push = _pusher(of, memory)
    push(True)  # reads all the code that it runs
    push(False)
    rounds = range(_ROUNDS)
    medians = [statistics.median(push(True) for _ in range(_RECEIVED)) for _ in rounds]
    received_ms = max(min(medians), _LEAST_MS)
    waiting_ms = of.config.lookahead * received_ms

    def bursts_ms(depth: int) -> list[float]:
        spent_ms = []
        for _ in range(_LOST):
            memory.block[at.DEPTH] = depth
            spent_ms.append(push(False) + sum(push(True) for _ in range(of.config.lookahead)))
            memory.block[at.DEPTH] = 0
            for _ in range(_RECEIVED):  # past the recovery
                push(True)
        return [max(each - waiting_ms, received_ms) for each in spent_ms]

    lost, hurried = bursts_ms(0), bursts_ms(at.MAX_STEPS)
    spread = max(max(medians) / received_ms, max(lost) / min(lost), 1.0)
    return Costs(received_ms, min(lost), min(hurried), spread)


def _pusher(of: PoolFormat, memory: StreamMemory) -> Callable[[bool], float]:
    """Return a function that pushes a received or lost packet and returns the ms spent."""
    clock = of.depends.cpu_clock()
    blocks, block = memory.block[None], memory.block
    packet = memory.box(np.float32)
    out = np.empty_like(packet)
    noise = 0.1 * np.random.default_rng(0).standard_normal((_NOISES, *packet.shape), np.float32)
    noises = itertools.cycle(noise)
    finder = DropoutFinder(of.config) if of.search_words else None
    stats = Stats()

    def step(action: int) -> None:
        place = out.ctypes.data
        of.depends.step(blocks, action, memory.inbox, 0, False, memory.missing, 0, place, 0, 1)

    def push(there: bool) -> float:
        packet[:] = next(noises)
        began_s = clock()
        if finder is not None:
            finder.look_through(packet, there, (), stats)
        block[at.TAKES] = there
        step(PUSH)
        while not of.serve(block, partial(step, GO_ON)):
            of.ask([(block, stats.network)], math.inf)
        return 1e3 * (clock() - began_s)

    return push
