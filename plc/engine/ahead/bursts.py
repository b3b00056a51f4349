"""Bursts prepared before the loss: a loss costs the audio thread next to nothing.

After each received packet the step looks at the stream as it is, and one thread of the process
makes what would be played if the next packets were lost: fit, drafts, network, samples
(:mod:`plc_kernels.stream.preparation`). What is ready when that packet is lost is taken over by
swapping places; what is not is fitted in ``push``, within the stream's time limit::

    audio thread    received ─ ask ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ lost: swap, play
                                │                        ▲
    preparer                    ╰─ fit, draft, network ──╯

**Hand-over.** A second set of what a burst writes has one owner at a time
(:class:`plc.engine.runtime.threads.OneThread`), and nobody waits for it. So the audio thread asks
again only once the last preparation is done.

**Many streams.** The thread takes those first that most likely lose their next packet, by their own
losses so far, and of these what it has time for: what becomes too late is left out. It has the
least priority of all, so that it never holds up audio.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plc.compiled import DirectCall
from plc.engine.ahead.pace import PreparationCounters, PreparationPace
from plc.engine.runtime import threads
from plc.engine.runtime.threads import Level, OneThread, give_way, note_end, start_thread, take
from plc.errors import ConcurrentPushError, in_a_line, not_copied
from plc.processor_time import thread_clock
from plc_kernels.build.denormals import flush_denormals
from plc_kernels.stream import layout, networks, preparation
from plc_kernels.stream.step import PLAYS_NOISE

_ask = DirectCall(preparation.ask)
_expected_losses = DirectCall(preparation.expected_losses)
_fill_part = DirectCall(networks.fill_part)

# Of the mean of the cost: the last of so many preparations.
_COST_MEMORY = 32
# Time that a loss in silence has, which is not prepared and not heard: more would only be a peak.
_SILENT_MS = 0.2
_NOTHING = -1
# Counters by why a burst is not prepared: it is not asked for, or it is, and that is of no use.
_COUNTERS = {
    why: (f"concealed_{kind}", f"{kind}_{why}")
    for kind, reasons in (
        ("unprepared", "silent paused inside"),
        ("stale", "unready behind changed"),
    )
    for why in reasons.split()
}


class _Preparer:
    """The thread that prepares the bursts of a process."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._asking: dict[int, BurstsAhead] = {}  # whose operations are atomic
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting = False
        self._unwanted = False

    def ask(self, bursts: "BurstsAhead") -> None:
        """Have a stream's next burst prepared; never wait."""
        self._asking[id(bursts)] = bursts
        # An interrupt at any place leaves the thread waiting, so that the next call wakes it.
        if self._waiting and self._wakes.empty():
            self._wakes.put(None)

    def forget(self, bursts: "BurstsAhead") -> None:
        """Prepare a stream no more."""
        self._asking.pop(id(bursts), None)

    def end(self) -> None:
        """Ask the thread to end, soon."""
        self._unwanted = True
        self._wakes.put(None)

    def serve(self) -> None:
        """Prepare the bursts that streams ask for, until the process ends."""
        try:
            give_way()
            flush_denormals()
            take(Level.PREPARING)
            while not self._unwanted:
                self._rest()
                while not self._unwanted and (first := self._next()):
                    first.prepare()
        finally:
            note_end(self)

    def _rest(self) -> None:
        self._waiting = True
        if not self._asking:
            self._wakes.get()
        self._waiting = False

    def _next(self) -> "BurstsAhead | None":
        """Take the stream that most likely loses its next packet; None: none asks any more."""
        asking = list(self._asking.values())  # a stream may be forgotten meanwhile
        if not asking:
            return None
        first = asking[0] if len(asking) == 1 else max(asking, key=lambda each: each.expected)
        self._asking.pop(id(first), None)
        return first


_preparer: _Preparer | None = None
_generation = -1


def _running() -> _Preparer | None:
    """Return the thread's state, started if it is not; None if no thread is to be had."""
    global _preparer, _generation
    ended = _preparer is None or _preparer.over.is_set()
    if ended or _generation != threads.generation:
        new = _Preparer()
        try:
            start_thread(new, new.serve)
        except RuntimeError:  # the process is ending
            return None
        _preparer, _generation = new, threads.generation
    return _preparer


def prepare_burst(block: NDArray[np.int64], model: int) -> int:
    """Make the burst that would begin with a stream's next packet; return where it would."""
    return int(_fill_part.run(block, model, networks.PREPARES))


class Memory(Protocol):
    """The memory of a stream, :class:`plc.engine.stream.memory.StreamMemory`, as used here."""

    block: NDArray[np.int64]
    numbers: NDArray[np.float64]
    model: int


class BurstsAhead:
    """The bursts of one stream, prepared in the process's thread for it.

    Parameters
    ----------
    memory : Memory
        Of the stream, whose method prepares (:data:`~plc_kernels.stream.preparation.SHARING`).
    pace : PreparationPace, how much is prepared
    counters : PreparationCounters, where concealments are counted
    most_ms : float, time that a preparation may take; ``inf``: as much as it takes
    answer : callable or None
        Has the stream's networks answer outside the step; None: they run in it.
    prepare : callable, makes a burst
    """

    __reduce_ex__ = not_copied("copy the Concealer")

    def __init__(
        self,
        memory: Memory,
        pace: PreparationPace,
        counters: PreparationCounters,
        most_ms: float,
        answer: Callable[[], None] | None,
        prepare: Callable[[NDArray[np.int64], int], int],
    ) -> None:
        for kernel in (_ask, _expected_losses, _fill_part):
            kernel.settle()
        self.cost_ms = 0.0
        self.error = ""
        self.closed = False
        self._block, self._model = memory.block, memory.model
        self._words: Any = memory.block.data
        self._reals: Any = memory.numbers.data
        self._pace = pace
        self._counters = counters
        self._most_ms = most_ms
        self._answer = answer
        self._prepare = prepare
        self._limit_ms = self._reals[layout.LIMIT_MS]
        self._cpu_clock = thread_clock()
        self.second = OneThread("preparation")
        """Whoever is inside has the second set of the stream's memory."""
        self._generation = threads.generation
        self._serial = 0
        self._ready = (0, _NOTHING)
        self._asked = _NOTHING
        self._begun_s = 0.0
        self._why = "silent"
        """Why a burst that begins with the next packet is not prepared, if it is not."""
        self._burst = (_NOTHING, self._why)
        """Where the last burst that was not prepared began, and why."""
        _running()

    @property
    def state(self) -> str:
        """``on``; ``paused`` for want of processor time; or ``closed``."""
        if self.closed:
            return "closed"
        return "paused" if self._pace.pause_ms else "on"

    @property
    def settled(self) -> bool:
        """True if all that was asked for is prepared."""
        asking = _preparer is not None and id(self) in _preparer._asking
        return self.second.is_free() and not asking

    @property
    def expected(self) -> float:
        """How likely the next packet is lost."""
        return float(_expected_losses.run(self._block))

    def describe(self) -> dict[str, Any]:
        """Return the state, the mean cost, and the share of lost packets that was ready."""
        counted = self._counters
        asked = counted.concealed_prepared + counted.concealed_stale + counted.concealed_unprepared
        return {
            "state": self.state,
            "cost_ms": round(self.cost_ms, 4),
            "share": counted.concealed_prepared / asked if asked else None,
        } | ({"error": self.error} if self.error else {})

    @property
    def is_ready(self) -> bool:
        """True if the burst that would begin with the next packet is made."""
        next_at = self._words[layout.POSITION] + self._words[layout.PACKET]
        return self._ready == (self._serial, next_at)

    def offer(self) -> bool:
        """Hand the step, before a push, the burst that is ready; return whether that is all."""
        serial, at = self._ready
        self._words[layout.PREPARED_AT] = at if serial == self._serial else _NOTHING
        return self.is_ready and self._answer is None

    def follow(self, concealed: bool) -> None:
        """Count the packet that was pushed, concealed or not, and ask for the burst after it."""
        if concealed:
            self._count()
        if self._pace.pause_ms:
            self._pace.pass_packet()
        # The burst that begins with the next packet, if it would be heard.
        if not self._words[layout.IN_BURST] or self._words[layout.RECOVERED]:
            self._why = self._begin()

    def _count(self) -> None:
        block, counters = self._words, self._counters
        if block[layout.PLAY] == PLAYS_NOISE:
            return
        if block[layout.TAKEN]:
            counters.concealed_prepared += 1
            return
        began = block[layout.POSITION] + block[layout.PACKET] - block[layout.AGE]
        if began != self._burst[0]:
            ready = block[layout.PREPARED_AT] == began
            why = "changed" if ready else self._why
            self._burst = began, why if block[layout.AGE] == block[layout.PACKET] else "inside"
        for name in _COUNTERS[self._burst[1]]:
            setattr(counters, name, getattr(counters, name) + 1)

    def _begin(self) -> str:
        """Ask; return why the burst may not be prepared all the same."""
        if self._generation != threads.generation:  # the thread stayed with the parent
            self._generation = threads.generation
            self._counters.preparers_restarted += 1
            self.second = OneThread("preparation")
        pace, asked = self._pace, self._asked
        if asked != _NOTHING:
            self._asked = _NOTHING
            had_ms = 1e3 * (time.perf_counter() - self._begun_s)
            pace.follow(self._ready == (self._serial, asked), had_ms)
        if pace.pause_ms or self.closed:
            self._reals[layout.LIMIT_MS] = self._limit_ms
            return "paused"
        self._begun_s = time.perf_counter()
        try:
            self.second.enter()
        except ConcurrentPushError:  # the last preparation is not done: this one is too late
            self._asked = self._words[layout.POSITION] + self._words[layout.PACKET]
            self._counters.preparations += 1
            return "behind"
        self._ready = (self._serial, _NOTHING)
        at = _ask.run(self._block)
        self.second.leave()
        preparer = _running()
        if at < 0 or preparer is None:
            self._reals[layout.LIMIT_MS] = min(_SILENT_MS, self._limit_ms)
            return "silent"
        self._reals[layout.LIMIT_MS] = self._limit_ms
        self._reals[layout.PREPARE_MS] = min(self._most_ms, pace.most_ms)
        self._asked = at
        self._counters.preparations += 1
        preparer.ask(self)
        return "unready"

    def prepare(self) -> None:
        """Make the burst that was asked for last; the process's thread calls this."""
        serial = self._serial
        try:
            self.second.enter()
        except ConcurrentPushError:  # the audio thread asks anew
            return
        began_s = self._cpu_clock()
        try:
            at = self._prepare(self._block, self._model)
            if self._answer is not None:
                self._answer()
            self._ready = serial, at
        except Exception as error:
            self.error = in_a_line(error)
            self._counters.preparations_failed += 1
        finally:
            self.cost_ms += (1e3 * (self._cpu_clock() - began_s) - self.cost_ms) / _COST_MEMORY
            self.second.leave()

    def reset(self) -> None:
        """Forget the stream."""
        self._serial += 1
        self._asked = _NOTHING
        self._why = "silent"
        self._burst = (_NOTHING, self._why)
        self._pace.reset()

    def close(self) -> None:
        """Prepare nothing from here on."""
        self.closed = True
        if _preparer is not None:
            _preparer.forget(self)
