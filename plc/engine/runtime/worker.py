"""Run a network with a deadline, in a thread beside the audio's.

::

    submit ─┐        ┌─▶ collect     the audio thread waits until its deadline and goes on without
            └─ run ──┘               the result; without a time limit the run is in submit itself

**Hand-over.** One mailbox of one slot. :meth:`NetworkWorker.submit` copies into it and puts a
ticket into a queue; the worker runs and puts the ticket back. A slot belongs to the worker from
the one to the other, so that no lock guards the arrays; the two queues
(:class:`queue.SimpleQueue`, C code that is held for a few instructions) are all that is shared.

**Too late** is decided by :meth:`NetworkWorker.collect` alone. What comes afterwards carries an
old ticket and is dropped; until then the slot is busy, and submissions in the meantime are
refused rather than queued: a backlog would make every later one late, too. The late run is
cancelled, which on a CPU ends it at its next node.

**Broken workers.** A thread that ended, or is still busy with an earlier submission, gets no new
one; after 5 s it is reported to hang. A run that hangs cannot be stopped from outside. If it
returns, its result is dropped, and the thread takes submissions again, or ends if the worker was
closed.

**Forks.** A thread stays with the parent. The child's copy of a worker finds that at its first
submission or tick, waits for nothing that the thread would have given, and starts another, which
opens the network again; bursts get their draft until then.

**What it costs.** Two switches of threads a run; where cores are contended, each waits for its
turn (docs/notebook.md, "Time"). In return the caller goes on at its deadline. So every stream with
a time limit has a thread, and only work without a limit runs inline.
"""

import contextlib
import math
import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.ladder import Pace
from plc.engine.runtime import threads
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.threads import Level, give_way, note_end, start_thread, take
from plc.errors import ModelError, in_a_line
from plc_kernels.build.denormals import flush_denormals

ANSWER_BY = 0.85
"""Share of the time limit until which an answer is waited for: it has to become samples, too."""
HANG_S = 5.0
"""Time after which a busy worker is said to hang."""
KEEP_WARM_S = 0.01
"""Idle time after which a GPU is run for nothing."""
NO_TICKET = 0
_CLOSE, _KEEP_WARM = -1, -2
# Waiting for a model to load and warm up, at construction; for many streams in several sizes.
_OPEN_S, _OPEN_SIZES_S = 120.0, 600.0


NextResult = Callable[["queue.SimpleQueue[int]", float], int | None]


def next_result(results: "queue.SimpleQueue[int]", wait_s: float) -> int | None:
    """Return the next finished ticket, None after ``wait_s``."""
    try:
        if not wait_s > 0.0:  # or it is NaN
            return results.get_nowait()
        return results.get(timeout=min(wait_s, threading.TIMEOUT_MAX))
    except queue.Empty:
        return None


class Runnable(Protocol):
    """A network for a worker, such as :class:`~plc.engine.runtime.onnx_network.GapNetwork`."""

    @property
    def on_gpu(self) -> bool:
        """True if the network needs to be kept warm."""

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        """Write ``out`` and return True, or return False."""

    def keep_warm(self) -> None:
        """Run once for nothing."""

    def cancel(self) -> None:
        """Cancel a run in another thread, if possible."""


class Result(Enum):
    """Result of a submission."""

    DONE = "done"
    LATE = "late"
    """Not there at the deadline."""
    FAILED = "failed"
    """An exception, NaN, or a worker that ended."""
    ABSENT = "absent"
    """Never submitted: the network is starting, busy with a late one, or its thread has ended."""


@dataclass(slots=True)
class Counters:
    """Integers, read from outside."""

    def reset(self) -> None:
        """Set everything to 0."""
        for each in fields(self):
            setattr(self, each.name, 0)


@dataclass(slots=True)
class NetworkCounters(Counters):
    """Counters of a network."""

    network_runs: int = 0
    """Submissions taken."""
    network_done: int = 0
    """Results in time."""
    network_late: int = 0
    """Submissions whose result was not there at the deadline."""
    network_failed: int = 0
    """Submissions that ended in an exception, NaN or infinity."""
    network_refused: int = 0
    """Submissions not taken: starting, busy with a late one, or its thread has ended."""
    network_dropped: int = 0
    """Results after their deadline, or no longer wanted."""
    network_restarts: int = 0
    """Threads replaced because they stayed with the parent of a fork."""
    network_warm_runs: int = 0
    """Inferences made only to keep a GPU warm."""
    network_off: int = 0
    """Concealments for which the network was switched off."""


class Switch:
    """Turns a network off after misses, and on again after calm.

    Notes
    -----
    The rules are those of :class:`~plc.engine.predict.ladder.Pace` with one step: two misses within
    a hundred turn it off. While it is off, concealments without a network count as calm. A network
    is judged by wall time, as its answer is of no use after its deadline, whoever had the
    processor.
    """

    __slots__ = ("_pace", "_turns")

    def __init__(self) -> None:
        self._pace = Pace()
        self._turns = 0

    @property
    def on(self) -> bool:
        """True if the network may be used."""
        return self._pace.depth == 0

    def note(self, outcome: Result) -> None:
        """Count one outcome."""
        if outcome is not Result.ABSENT:  # what it is busy with has been counted
            self._turns += self._pace.note(outcome is not Result.DONE, 1)

    def note_off(self) -> None:
        """Count a concealment for which the network was off."""
        self._pace.note(False, 1)

    def pass_time(self, ms: float) -> None:
        """Advance the stream's time."""
        self._turns += self._pace.pass_time(ms)

    def take_turns(self) -> int:
        """Return the turns since the last call."""
        turns, self._turns = self._turns, 0
        return turns

    def reset(self) -> None:
        """Turn on, and forget all outcomes."""
        self._pace.reset()
        self._turns = 0


class _Life:
    """State shared by a network's thread and its caller; a fork's child has its own."""

    def __init__(self, open_network: Callable[[], Runnable], signature: Signature) -> None:
        self.requests: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[int] = queue.SimpleQueue()
        spectra, lost = (shape for _, shape in signature.inputs)
        self.spectra = np.zeros(spectra, np.float32)
        self.lost = np.zeros(lost, np.float32)
        self.out = np.zeros(signature.output[1], np.float32)
        self.opened = threading.Event()
        """Set when the network is ready or has failed to open."""
        self.over = threading.Event()
        self.rows = 0
        """Of the batch that was handed over."""
        self.network: Runnable | None = None
        self.sound = False
        self.error: BaseException | None = None
        self._open_network = open_network
        self._unwanted = False

    def open(self) -> None:
        self.network = self._open_network()

    def serve(self) -> None:
        """Open the network, run requests, and record the reason of the end."""
        try:
            give_way()
            flush_denormals()
            self.open()
            take(Level.PREPARING)
            self.opened.set()
            while not self._unwanted:
                ticket = self.requests.get()
                if ticket == _CLOSE:
                    break
                self.run(ticket)
        except BaseException as error:  # whoever waits has to hear of it
            self.error = error
        finally:
            self.network = None  # the session goes in the thread that made it
            note_end(self)
            self.opened.set()
            self.results.put(_CLOSE)

    def run(self, ticket: int) -> None:
        """Run the network on the rows handed over, and give the ticket back."""
        network, self.sound = self.network, False
        assert network is not None, "nothing is asked of one that is not open"
        try:
            if ticket == _KEEP_WARM:
                network.keep_warm()
            else:
                given = self.spectra, self.lost, self.out
                self.sound = network.run(*(each[: self.rows] for each in given))
        except Exception as error:
            self.error = error
        self.results.put(ticket)

    def end(self) -> None:
        self._unwanted = True
        self.requests.put(_CLOSE)
        self.cancel()

    def cancel(self) -> None:
        """Cancel the run that is under way, if the network can."""
        network = self.network
        if network is not None:
            with contextlib.suppress(Exception):
                network.cancel()


class NetworkWorker:
    """Run a network in a thread that also opens it, or in the caller's.

    All methods are for one thread, the audio's; only :meth:`collect` waits, and only until its
    deadline.

    Parameters
    ----------
    open_network : callable
        Returns the network, opened for ``signature``; called in the worker, and again in the child
        of a fork.
    signature : Signature, shapes of what will be submitted
    clock : callable, returns seconds
    inline : bool
        Whether :meth:`submit` runs the network: nothing interrupts a slow run. Whatever opening it
        raises is raised here.
    next_result : callable, waits for a result
    """

    def __init__(
        self,
        open_network: Callable[[], Runnable],
        signature: Signature,
        clock: Callable[[], float] = time.perf_counter,
        inline: bool = False,
        next_result: NextResult = next_result,
    ) -> None:
        self.counters = NetworkCounters()
        self.last_error = ""
        self.switch = Switch()
        self._given = open_network, signature
        self._clock = clock
        self._inline = inline
        self._next_result = next_result
        self._serial = NO_TICKET
        self._pending = NO_TICKET
        """Submitted and not collected yet."""
        self._abandoned = NO_TICKET
        """The newest submission that was given up."""
        self._owed = NO_TICKET
        """The ticket that the worker has not given back yet."""
        self._since_s = 0.0
        """When the worker was last given something."""
        self._closed = False
        self._generation = threads.generation
        self._life = _Life(open_network, signature)
        self._start()

    def _start(self) -> None:
        life = self._life
        if self._inline:
            life.open()
            life.opened.set()
            return
        start_thread(life, life.serve)
        weakref.finalize(self, life.end).atexit = False

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``busy``, ``hung``, ``ended`` or ``closed``."""
        if self._closed:
            return "closed"
        if self._inline:
            return "ready"
        if self._stayed:
            return "starting"
        if self._life.over.is_set():
            return "ended"
        if not self._life.opened.is_set():
            return "starting"
        if not self._owed:
            return "ready"
        return "hung" if self._clock() - self._since_s > HANG_S else "busy"

    @property
    def _stayed(self) -> bool:
        """True if the thread belongs to the parent of a fork."""
        return self._generation != threads.generation and not self._inline

    def describe(self) -> dict[str, str]:
        """Return mode and state of the network, and its last error if there is one.

        ``state`` is ``on``; ``off`` while it is too often late or fails; ``ended`` or ``hung`` if
        its thread is.
        """
        lost = self.state in ("ended", "hung")
        found = {
            "mode": "inline" if self._inline else "worker",
            "state": self.state if lost else "on" if self.switch.on else "off",
        }
        return found | ({"error": self.last_error} if self.last_error else {})

    def wait_until_open(self, timeout_s: float) -> None:
        """Wait for the network to be opened; not for the audio thread.

        Raises
        ------
        ModelError
            If it takes longer.
        Exception
            Whatever opening it raised.
        """
        life = self._life
        if not life.opened.wait(timeout_s):
            raise ModelError(
                f"the network was not ready after {timeout_s:g} s; give it more time, or choose "
                "another provider (TensorRT compiles a network for minutes when it is new)"
            )
        if life.over.is_set() and life.error is not None:
            raise life.error

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        """Hand over a gap; return its ticket, :data:`NO_TICKET` if it was not taken.

        Parameters
        ----------
        spectra : float32, shape (batch, drafts, 2, bins, frames)
            Copied. The batch may be smaller than declared.
        lost : float32, shape (batch, frames), copied
        """
        if self._stayed:
            self._begin_child()
        self.abandon()  # drops a result that was not collected
        self._take_results()
        life = self._life
        rows = len(spectra)
        idle = self._owed in (NO_TICKET, _KEEP_WARM)
        if self._closed or life.over.is_set() or life.network is None or not idle:
            self.counters.network_refused += 1
            return NO_TICKET
        life.rows = rows
        np.copyto(life.spectra[:rows], spectra)
        np.copyto(life.lost[:rows], lost)
        self._serial += 1
        self.counters.network_runs += 1
        if self._inline:
            life.run(self._serial)  # an interrupt in it leaves nothing owed
        self._pending = self._owed = self._serial
        self._since_s = self._clock()
        if not self._inline:
            life.requests.put(self._serial)
        return self._serial

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Result:
        """Wait for the result until the deadline, and report the outcome to the switch.

        Parameters
        ----------
        ticket : int, from :meth:`submit`
        deadline_s : float, on the worker's clock
        out : float32, shape (batch, 2, bins, filled frames), written
            The result, if the outcome is ``DONE``; untouched if not.
        """
        if ticket == NO_TICKET or ticket != self._pending or self._stayed:
            return Result.ABSENT
        self._pending = NO_TICKET
        outcome = self._outcome(ticket, deadline_s)
        if outcome is Result.DONE:
            np.copyto(out, self._life.out[: len(out)])
            self.counters.network_done += 1
        self.switch.note(outcome)
        return outcome

    def _outcome(self, ticket: int, deadline_s: float) -> Result:
        life = self._life
        while True:
            # By a clock that was set back since the submission the deadline may be hours away.
            wait_s = deadline_s - max(self._since_s, self._clock())
            done = self._next_result(life.results, wait_s)
            if done is None:
                self.counters.network_late += 1
                life.cancel()
                return Result.LATE
            if done == _CLOSE:
                self._note_end()
                return Result.FAILED
            if done == ticket:
                self._owed = NO_TICKET
                if life.sound:
                    return Result.DONE
                self._note_failure()
                return Result.FAILED

    def _note_failure(self) -> None:
        self.counters.network_failed += 1
        life = self._life
        if life.error is not None:
            self.last_error = in_a_line(life.error)
            life.error = None
        else:
            self.last_error = getattr(life.network, "last_error", "") or "the result was not usable"

    def _note_end(self) -> None:
        self.last_error = f"the worker ended: {in_a_line(self._life.error or SystemExit())}"
        self.counters.network_failed += 1

    def abandon(self) -> None:
        """Give up the last submission: its burst ended before the answer.

        Until then the worker counts as waited for, and is neither kept warm nor watched. The run is
        not cancelled: it is nearly over as a rule, and must not look like a failure.
        """
        if self._pending:
            self._abandoned = self._pending
        self._pending = NO_TICKET

    def tick(self) -> None:
        """Note a packet's time without a gap: take results nobody waits for, keep a GPU warm."""
        if self._stayed:
            self._begin_child()
        self._take_results()
        self._keep_warm()

    def _keep_warm(self) -> None:
        network = self._life.network
        idle = not (self._closed or self._inline or self._owed)
        if not idle or network is None or not network.on_gpu:
            return
        if self._clock() - self._since_s >= KEEP_WARM_S:
            self._owed = _KEEP_WARM
            self._since_s = self._clock()
            self.counters.network_warm_runs += 1
            self._life.requests.put(_KEEP_WARM)

    def _take_results(self) -> None:
        results = self._life.results
        while not self._pending and (done := self._next_result(results, 0.0)) is not None:
            if done == _CLOSE and not self._closed:
                self._note_end()
            if done != self._owed:
                continue
            self._owed = NO_TICKET
            if done == self._abandoned and not self._life.sound:
                self._note_failure()
                self.switch.note(Result.FAILED)
            elif done != _KEEP_WARM:
                self.counters.network_dropped += 1

    def _begin_child(self) -> None:
        """Replace a thread that stayed with the parent of a fork."""
        self._generation = threads.generation
        self._pending = self._owed = self._abandoned = NO_TICKET
        self._life = _Life(*self._given)
        try:
            if self._closed:
                raise RuntimeError("it was closed")
            self._start()
            self.counters.network_restarts += 1
        except RuntimeError as error:  # no thread can be started
            self._life.error = error
            self._life.over.set()

    def close(self, timeout_s: float = 1.0) -> None:
        """End the worker; wait for it no longer than that."""
        if not self._closed:
            self._closed = True
            if self._stayed:
                self._begin_child()
            self._life.end()
        if not self._inline:
            self._life.over.wait(timeout_s)


@dataclass(frozen=True, slots=True)
class StreamContext:
    """A stream, and the conditions that its networks run under.

    Attributes
    ----------
    sample_rate, channels, packet_samples
        The format, in Hz and samples.
    limit_ms : float, time that the first concealment of a burst may take
    reach : int, in samples, a limit of both: the longest bridge, and what is known after it
    clock : callable, returns seconds
    provider : str, what the networks run on: ``"auto"``, ``"tensorrt"``, ``"cuda"`` or ``"cpu"``
    counters : NetworkCounters, where runs are counted
    many : bool, whether many streams share the networks, in a thread whatever the limit
    next_result : callable, waits for an answer
    """

    sample_rate: int
    channels: int
    packet_samples: int
    limit_ms: float = math.inf
    reach: int = 0
    clock: Callable[[], float] = time.perf_counter
    provider: str = "auto"
    counters: NetworkCounters = field(default_factory=NetworkCounters)
    many: bool = False
    next_result: NextResult = next_result

    def worker(self, open_it: Callable[[], Runnable], signature: Signature) -> NetworkWorker:
        """Open a network: in the caller's thread if there is no time limit, else in its own.

        Raises
        ------
        Exception
            Whatever opening it raises.
        """
        inline = self.limit_ms == math.inf and not self.many
        worker = NetworkWorker(open_it, signature, self.clock, inline, self.next_result)
        worker.wait_until_open(_OPEN_SIZES_S if self.many else _OPEN_S)
        worker.counters = self.counters
        return worker
