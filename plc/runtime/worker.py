"""Run a network in a thread of its own, with a deadline.

**Hand-over.** One mailbox of one slot. :meth:`NetworkWorker.submit` copies into it and puts a
ticket into a queue; the worker runs and puts the ticket back. A slot belongs to the worker from
the one to the other, so that no lock guards the arrays; the two queues
(:class:`queue.SimpleQueue`, C code that is held for a few instructions) are all that is shared.

**Too late** is decided by :meth:`NetworkWorker.collect` alone. What comes afterwards carries an
old ticket and is dropped; until then the slot is busy, and submissions in the meantime are
refused rather than queued: a backlog would make every later one late, too. The late run is
cancelled, which on a CPU ends it at its next node.

**Broken workers.** Nothing more is submitted to a thread that ended, or that has been busy since it
was given something. A thread that hangs cannot be stopped from outside; it is left alone, and finds
when it wakes that it is not wanted any more.

**Forks.** A thread stays with the parent. The child's copy of a worker finds that at its first
submission or tick, waits for nothing that the thread would have given, and starts another, which
opens the network again; bursts get their draft until then.

**What it costs.** Two switches of threads a run; where cores are contended, each waits for its
turn (docs/notebook.md, "Time"). In return the caller goes on at its deadline. So every stream with
a time limit has a worker, and only work without a limit runs inline.
"""

import queue
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from plc.errors import ModelError, in_a_line
from plc.runtime import forks
from plc.runtime.life import CLOSE, KEEP_WARM, Life, serve_requests, start_thread
from plc.runtime.providers import Signature
from plc.runtime.runner import NO_TICKET, Clock, NetworkCounters, Outcome, Runnable

HANG_S = 5.0
"""Time after which a busy worker is said to hang."""
KEEP_WARM_S = 0.01
"""Idle time after which a GPU is run for nothing."""


class NetworkWorker:
    """Run a network in a thread that also opens it.

    All methods are for one thread, the audio's; only :meth:`collect` waits, and only until its
    deadline.

    Parameters
    ----------
    open_network : callable
        Returns the network, opened for ``signature``; called in the worker, and again in the child
        of a fork.
    signature : Signature
        Shapes of what will be submitted.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        open_network: Callable[[], Runnable],
        signature: Signature,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.counters = NetworkCounters()
        self.last_error = ""
        self._open_network = open_network
        self._signature = signature
        self._clock = clock
        self._serial = NO_TICKET
        self._pending = NO_TICKET
        """Submitted and not collected yet."""
        self._abandoned = NO_TICKET
        """The newest submission that was given up."""
        self._failed = False
        """Whether what was abandoned failed."""
        self._owed = NO_TICKET
        """The ticket that the worker has not given back yet."""
        self._since_s = 0.0
        """When the worker was last given something."""
        self._closed = False
        self._generation = forks.generation
        self._life = Life(signature)
        self._start()

    def _start(self) -> None:
        start_thread(self._life, partial(serve_requests, self._life, self._open_network))
        weakref.finalize(self, self._life.end).atexit = False

    @property
    def state(self) -> str:
        """As :attr:`Runner.state`."""
        if self._closed:
            return "closed"
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
        return self._generation != forks.generation

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
        self.abandon()  # drops a result that was not collected
        self._take_results()
        life = self._life
        slot = life.slot
        slot.check(spectra)
        idle = self._owed in (NO_TICKET, KEEP_WARM)
        if self._closed or life.over.is_set() or life.network is None or not idle:
            self.counters.network_refused += 1
            return NO_TICKET
        np.copyto(slot.spectra, spectra)
        np.copyto(slot.lost, lost)
        self._serial += 1
        self._pending = self._owed = self._serial
        self._since_s = self._clock()
        self.counters.network_runs += 1
        life.requests.put(self._serial)
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
            if done == CLOSE:
                self._note_end()
                return Outcome.FAILED
        self._owed = NO_TICKET
        if not life.sound:
            self._note_failure()
            return Outcome.FAILED
        np.copyto(out, life.slot.out)
        self.counters.network_done += 1
        return Outcome.DONE

    def _next_result(self, wait_s: float) -> int | None:
        """Return the next finished ticket, None after ``wait_s``."""
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

    def tick(self) -> bool:
        """As :meth:`Runner.tick`; keep an idle GPU warm."""
        if self._stayed:
            self._begin_child()
        self._take_results()
        self._keep_warm()
        failed, self._failed = self._failed, False
        return failed

    def _keep_warm(self) -> None:
        network = self._life.network
        if self._closed or network is None or self._owed or not network.on_gpu:
            return
        if self._clock() - self._since_s >= KEEP_WARM_S:
            self._owed = KEEP_WARM
            self._since_s = self._clock()
            self.counters.network_warm_runs += 1
            self._life.requests.put(KEEP_WARM)

    def _take_results(self) -> None:
        """Take results that nobody waits for."""
        while not self._pending and (done := self._next_result(0.0)) is not None:
            if done == CLOSE and not self._closed:
                self._note_end()
            if done != self._owed:
                continue
            self._owed = NO_TICKET
            if done == self._abandoned and not self._life.sound:
                self._note_failure()
                self._failed = True
            elif done != KEEP_WARM:
                self.counters.network_dropped += 1

    def _begin_child(self) -> None:
        """Replace a thread that stayed with the parent of a fork."""
        self._generation = forks.generation
        self._pending = self._owed = self._abandoned = NO_TICKET
        self._life = Life(self._signature)
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
        self._life.over.wait(timeout_s)
