"""Run the network in a thread of its own, for a caller that never waits past its deadline.

**Hand-over.** One mailbox of one slot. :meth:`NetworkWorker.submit` copies into it and puts a
ticket into a queue; the worker runs and puts the ticket back. A slot belongs to the worker from
the one to the other, so that no lock guards the arrays; the two queues
(:class:`queue.SimpleQueue`, C code that is held for a few instructions) are all that is shared.

**Too late** is decided by :meth:`NetworkWorker.collect` alone. What comes afterwards carries an
old ticket and is dropped; until then the slot is busy, and submissions in the meantime are
refused rather than queued: a backlog would make every later one late, too. The late run is
cancelled, which on a CPU ends it at its next node.

**Broken workers.** A thread that ended, whatever killed it, or that has been busy for ``hang_s``
is replaced by a new one with a new session and new memory, at most ``restarts`` times. A thread
that hangs cannot be stopped from outside; it is left alone, and finds when it wakes that it is
not wanted any more.

**Forks.** A thread stays with the parent. The child's copy of a worker finds that at its first
submission or tick, waits for nothing that the thread would have given, and starts another, which
opens the network again; bursts get their draft until then.

**What it costs.** From submission to result, ms, with a network of 0.67 ms on two cores of a
server that seven other processes compete for (``python bench/gpu.py --provider cpu``, and the same
with ``--realtime``; 2000 runs of each in turn, before the worker's thread gave way to others):

=================  ======  ======  =====  =====  =====
scheduler          called  p50     p99    p99.9  max
=================  ======  ======  =====  =====  =====
real-time          inline   0.67    1.05   1.16   3.7
real-time          worker   0.76    0.98   1.18   2.9
ordinary           inline   0.74    1.23   7.35   10.7
ordinary           worker   7.06    19.2   22.1   26.6
=================  ======  ======  =====  =====  =====

So the hand-over itself takes 80 µs, but where cores are contended each of its two switches waits
for its turn. That is the price of a bound: whatever a run takes, its caller goes on at the
deadline. So every stream with a time limit has a worker, and only what has all the time there is
runs inline.
"""

import _thread
import atexit
import contextlib
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plc.errors import ModelError
from plc.runtime import forks
from plc.runtime.providers import Signature
from plc.runtime.runner import (
    KEEP_WARM_S,
    NO_TICKET,
    Clock,
    NetworkCounters,
    Outcome,
    Runnable,
    Slot,
    in_a_line,
    slot_for,
    slots_of,
)
from plc_kernels.denormals import flush_denormals

_CLOSE = -1
_KEEP_WARM = -2
# So many results in time earn a worker one restart back.
_HEALTHY = 10_000
# So long the process waits at its end, for all threads together: a run is cancelled, but opening a
# session is not.
_EXIT_S = 5.0


class _Life:
    """What one worker thread and its caller share; a thread that is replaced keeps its own."""

    def __init__(self, signatures: Sequence[Signature]) -> None:
        self.requests: queue.SimpleQueue[tuple[int, Slot | None]] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.slots = slots_of(signatures)
        self.opened = threading.Event()
        """Set when it is ready or has failed to start."""
        self.over = threading.Event()
        self.unwanted = False
        self.network: Runnable | None = None
        self.sound = False
        self.error: BaseException | None = None

    def end(self) -> None:
        """Ask the thread to end, soon."""
        self.unwanted = True
        self.requests.put((_CLOSE, None))
        self.cancel()

    def cancel(self) -> None:
        """Make the run that is under way end, if there is one that can."""
        network = self.network
        if network is not None:
            with contextlib.suppress(Exception):
                network.cancel()


class Life(Protocol):
    """What a thread beside the audio shares with its owner."""

    over: threading.Event
    """Set when the thread has ended."""

    def end(self) -> None:
        """Ask the thread to end, soon."""
        ...


_running: set[Life] = set()
"""Whose threads have not ended yet."""
_exiting = threading.Event()
"""Set when the process ends: from then on no thread is started."""


def _forget() -> None:
    """Know nothing of threads that stayed with the parent of a fork, or of locks they held."""
    global _running, _exiting
    _running = set()
    _exiting = threading.Event()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def start_thread(life: Life, serve: Callable[[], object]) -> None:
    """Run ``serve`` in a new thread, which the end of the process waits for.

    Never waits, so that the audio thread may call it; ``serve`` ends with :func:`note_end`.

    Raises
    ------
    RuntimeError
        If no thread can be started, or the process is ending.
    """
    # First added, then asked: whoever ends the process does it the other way round.
    _running.add(life)
    try:
        if _exiting.is_set():
            raise RuntimeError("the process is ending")
        _thread.start_new_thread(serve, ())  # threading.Thread.start() waits for the thread
    except RuntimeError:
        _running.discard(life)
        raise


def note_end(life: Life) -> None:
    """Say that the thread of ``life`` ends."""
    _running.discard(life)
    life.over.set()


def _serve(life: _Life, open_network: Callable[[], Runnable]) -> None:
    """Open, run what is asked for, and leave a trace of whatever ends the thread."""
    try:
        give_way()
        flush_denormals()
        life.network = open_network()
        life.opened.set()
        while not life.unwanted:
            ticket, slot = life.requests.get()
            if ticket == _CLOSE:
                break
            life.sound = _run(life, life.network, slot)
            life.results.put(ticket)
    except BaseException as error:  # a thread that dies in silence would never be replaced
        life.error = error
    finally:
        life.network = None  # the session goes in the thread that made it
        note_end(life)
        life.opened.set()
        life.results.put(_CLOSE)


def give_way() -> None:
    """Have Linux wake the calling thread without interrupting another one.

    Else it may do so on the audio thread's core although another is idle. Threads that ONNX Runtime
    starts do as this one does.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # some systems know or allow neither; it is not needed
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _run(life: _Life, network: Runnable, slot: Slot | None) -> bool:
    try:
        if slot is None:
            network.keep_warm()
            return True
        return network.run(slot.spectra, slot.lost, slot.out)
    except Exception as error:
        life.error = error
        return False


class NetworkWorker:
    """Runs the network in a thread of its own, which opens it, too.

    All methods are for one thread, the audio's; only :meth:`collect` waits, and only until its
    deadline.

    Parameters
    ----------
    open_network : callable
        Returns the network, opened for ``signatures``; called in the worker, and again in each
        that replaces it.
    signatures : sequence of Signature
        What will be submitted.
    clock : callable
        Returns seconds.
    restarts : int
        Workers that may be replaced before it gives up; one more after each 10 000 results in time,
        up to that number again.
    hang_s : float
        Time after which a busy worker is replaced.
    keep_warm_s : float
        Idle time after which :meth:`tick` runs a GPU for nothing.
    """

    def __init__(
        self,
        open_network: Callable[[], Runnable],
        signatures: Sequence[Signature],
        *,
        clock: Clock = time.perf_counter,
        restarts: int = 3,
        hang_s: float = 5.0,
        keep_warm_s: float = KEEP_WARM_S,
    ) -> None:
        self.counters = NetworkCounters()
        self.last_error = ""
        self._open_network = open_network
        self._signatures = tuple(signatures)
        self._clock = clock
        self._restarts = self._restarts_left = restarts
        self._healthy = 0
        """Results in time since a worker was replaced, or a restart earned back."""
        self._hang_s = hang_s
        self._keep_warm_s = keep_warm_s
        self._serial = NO_TICKET
        self._pending = NO_TICKET
        """Submitted and not collected yet."""
        self._abandoned = NO_TICKET
        """Submitted last of what nobody will collect."""
        self._failed = False
        """Whether what was abandoned failed."""
        self._slot: Slot | None = None
        """What was submitted last."""
        self._owed = NO_TICKET
        """What the worker has not given back yet, whether somebody waits for it or not."""
        self._since_s = 0.0
        """When the worker was last given something."""
        self._closed = False
        self._generation = forks.generation
        self._life = _Life(self._signatures)
        self._start()

    def _start(self) -> None:
        start_thread(self._life, partial(_serve, self._life, self._open_network))
        weakref.finalize(self, self._life.end).atexit = False

    @property
    def state(self) -> str:
        """As :attr:`Runner.state`."""
        if self._closed:
            return "closed"
        if self._stayed:
            return "starting"
        if self._life.over.is_set():
            return "given up" if self._restarts_left <= 0 else "ended"
        if self._hangs and self._restarts_left <= 0:
            return "given up"
        if not self._life.opened.is_set():
            return "starting"
        return "busy" if self._owed else "ready"

    @property
    def _stayed(self) -> bool:
        """Whether the thread stayed with the parent of a fork."""
        return self._generation != forks.generation

    @property
    def _hangs(self) -> bool:
        return bool(self._owed) and self._clock() - self._since_s > self._hang_s

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
            Copied.
        lost : float32, shape (batch, frames)
            Copied.
        """
        if self._stayed:
            self._begin_child()
        self.abandon()  # what nobody collected is dropped
        self._attend()
        life = self._life
        slot = slot_for(life.slots, spectra)
        idle = self._owed in (NO_TICKET, _KEEP_WARM)
        if self._closed or life.over.is_set() or life.network is None or not idle:
            self.counters.network_refused += 1
            return NO_TICKET
        np.copyto(slot.spectra, spectra)
        np.copyto(slot.lost, lost)
        self._serial += 1
        self._pending = self._owed = self._serial
        self._slot = slot
        self._since_s = self._clock()
        self.counters.network_runs += 1
        life.requests.put((self._serial, slot))
        return self._serial

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        """Wait for the result until the deadline.

        Parameters
        ----------
        ticket : int
            From :meth:`submit`.
        deadline_s : float
            On the runner's clock.
        out : float32, shape (batch, 2, bins, filled frames), written
            The result, if the outcome is ``DONE``; untouched if not.
        """
        if ticket == NO_TICKET or ticket != self._pending or self._stayed:
            return Outcome.ABSENT
        self._pending = NO_TICKET
        life = self._life
        while True:
            # By a clock that was set back since the submission the deadline may be hours away.
            done = self._next_result(deadline_s - max(self._since_s, self._clock()))
            if done is None:
                self.counters.network_late += 1
                life.cancel()
                return Outcome.LATE
            if done == ticket:
                break
            if done == _CLOSE:
                self.last_error = f"the worker ended: {in_a_line(life.error or SystemExit())}"
                self.counters.network_failed += 1
                return Outcome.FAILED
        self._owed = NO_TICKET
        if not life.sound:
            self._note_failure()
            return Outcome.FAILED
        assert self._slot is not None, "a ticket was given for it"
        np.copyto(out, self._slot.out)
        self.counters.network_done += 1
        self._healthy += 1
        if self._healthy >= _HEALTHY:
            self._healthy = 0
            self._restarts_left = min(self._restarts_left + 1, self._restarts)
        return Outcome.DONE

    def _next_result(self, wait_s: float) -> int | None:
        """Return the next ticket that the worker gives back, None if none comes in time."""
        try:
            if not wait_s > 0.0:  # or it is NaN
                return self._life.results.get_nowait()
            return self._life.results.get(timeout=min(wait_s, threading.TIMEOUT_MAX))
        except queue.Empty:
            return None

    def _note_failure(self) -> None:
        self.counters.network_failed += 1
        life = self._life
        if life.error is not None:
            self.last_error = in_a_line(life.error)
            life.error = None
        else:
            self.last_error = getattr(life.network, "last_error", "") or "the result was not usable"

    def abandon(self) -> None:
        """Say that nobody will collect what was submitted: the burst was over before its answer.

        Until then the worker counts as waited for, and is neither kept warm nor watched. The run is
        not cancelled: it is nearly over as a rule, and must not look like one that failed.
        """
        if self._pending:
            self._abandoned = self._pending
        self._pending = NO_TICKET

    def take_failure(self) -> bool:
        """As :meth:`Runner.take_failure`."""
        failed, self._failed = self._failed, False
        return failed

    def tick(self) -> None:
        """Say that a packet's time passed: a GPU that was idle for long is run for nothing."""
        if self._stayed:
            self._begin_child()
        self._attend()
        life = self._life
        network = life.network
        if self._closed or network is None or self._owed or not network.on_gpu:
            return
        if self._clock() - self._since_s >= self._keep_warm_s:
            self._owed = _KEEP_WARM
            self._since_s = self._clock()
            self.counters.network_warm_runs += 1
            life.requests.put((_KEEP_WARM, None))

    def _attend(self) -> None:
        """Take back what came late, and replace a worker that ended or hangs."""
        if self._pending:
            return  # collect will see to it
        life = self._life
        while (done := self._next_result(0.0)) is not None:
            if done == self._owed:
                self._owed = NO_TICKET
                if done == _KEEP_WARM:
                    continue
                if done == self._abandoned and not life.sound:
                    self._note_failure()
                    self._failed = True
                else:
                    self.counters.network_dropped += 1
        ended = life.over.is_set()
        if (ended or self._hangs) and not self._closed and self._restarts_left > 0:
            self._replace(hung=not ended)

    def _begin_child(self) -> None:
        """Start a thread of this process in the place of one that stayed with the parent."""
        self._generation = forks.generation
        self._pending = self._owed = self._abandoned = NO_TICKET
        self._slot = None
        self._renew()

    def _renew(self) -> None:
        self._life = _Life(self._signatures)
        try:
            if self._closed:
                raise RuntimeError("it was closed")
            self._start()
            self.counters.network_restarts += 1
        except RuntimeError as error:  # there is no thread to be had, or none any more
            self._life.error = error
            self._life.over.set()

    def _replace(self, hung: bool) -> None:
        life = self._life
        life.end()
        why = "hung" if hung else f"ended: {in_a_line(life.error or SystemExit())}"
        self.last_error = f"the worker {why}"
        self._restarts_left -= 1
        self._healthy = 0
        self._pending = self._owed = NO_TICKET
        self._renew()

    def close(self, timeout_s: float = 1.0) -> None:
        """End the worker; wait for it no longer than that."""
        if not self._closed:
            self._closed = True
            if self._stayed:
                self._begin_child()
            self._life.end()
        self._life.over.wait(timeout_s)


@atexit.register
def _end_all() -> None:
    """Wait for all threads to end before the interpreter does, forgotten workers' ones, too.

    A run that returns into an interpreter that is gone ends the process with an abort.
    """
    _exiting.set()
    limit_s = time.monotonic() + _EXIT_S
    lives = list(_running)
    for life in lives:
        life.end()
    for life in lives:
        life.over.wait(max(0.0, limit_s - time.monotonic()))
