"""Run the encoder against the clock: a thread that owns it, and a caller that never waits longer.

Two ways to call a network from the audio thread, behind one interface (:class:`EncoderLine`)::

    inline   submit ── run ──▶ collect            no hand-over; nothing can interrupt a slow run
    worker   submit ─┐        ┌─▶ collect         the audio thread waits until its deadline and
                     └─ run ──┘                   goes on without the result

**Hand-over.** One mailbox of one slot. :meth:`EncoderWorker.submit` copies into it and puts a
ticket into a queue; the worker runs and puts the ticket back. A slot belongs to the worker from
the one to the other, so that no lock guards the arrays; the two queues
(:class:`queue.SimpleQueue`, C code that is held for a few instructions) are all that is shared.

**Too late** is decided by :meth:`EncoderWorker.collect` alone. What comes afterwards carries an
old ticket and is dropped; until then the slot is busy, and submissions in the meantime are
refused rather than queued: a backlog would make every later one late, too. The late run is
cancelled, which on a CPU ends it at its next node.

**Broken workers.** A thread that ended, whatever killed it, or that has been busy for ``hang_s``
is replaced by a new one with a new session and new memory, at most ``restarts`` times. A thread
that hangs cannot be stopped from outside; it is left alone, and finds when it wakes that it is
not wanted any more.

**What it costs.** From submission to result, ms, with a network of 0.67 ms on two cores of a
server that seven other processes compete for (``python bench/gpu.py --provider cpu``, and the same
with ``--realtime``; 2000 runs of each in turn):

=================  ======  ======  =====  =====  =====
scheduler          called  p50     p99    p99.9  max
=================  ======  ======  =====  =====  =====
real-time          inline   0.67    1.05   1.16   3.7
real-time          worker   0.76    0.98   1.18   2.9
ordinary           inline   0.74    1.23   7.35   10.7
ordinary           worker   7.06    19.2   22.1   26.6
=================  ======  ======  =====  =====  =====

So the hand-over itself takes 80 µs, but where cores are contended each of its two switches waits
for its turn. On a CPU: inline, unless both threads run under a real-time scheduler. On a GPU, whose
runs after a pause take anything up to 100 ms: the worker.
"""

import _thread
import atexit
import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, ModelError
from plc.ladder import Pace
from plc.providers import Signature
from plc_kernels.denormals import flush_denormals

Clock = Callable[[], float]

NO_TICKET = 0
_CLOSE = -1
_KEEP_WARM = -2


class Runner(Protocol):
    """What a line runs: an :class:`~plc.encoder.Encoder`, in the thread that opened it."""

    @property
    def on_gpu(self) -> bool:
        """Whether it needs to be kept warm."""
        ...

    def run(
        self,
        spectra: NDArray[np.float32],
        lost: NDArray[np.float32],
        out: NDArray[np.float32],
    ) -> bool:
        """Write ``out`` and return True, or return False."""
        ...

    def keep_warm(self) -> None:
        """Run once for nothing."""
        ...

    def cancel(self) -> None:
        """Make a run in another thread end soon, if that can be done."""
        ...


class Outcome(Enum):
    """What became of a submission."""

    DONE = "done"
    SLOW = "slow"
    """Done, but after the deadline; only inline, where the time is spent anyway."""
    LATE = "late"
    """Not there at the deadline."""
    FAILED = "failed"
    """An exception, NaN, or a worker that ended."""
    ABSENT = "absent"
    """Never submitted: the encoder is starting, busy with a late one, or has given up."""

    @property
    def usable(self) -> bool:
        """Whether the result was written."""
        return self in (Outcome.DONE, Outcome.SLOW)


@dataclass(slots=True)
class EncoderCounters:
    """What happened to an encoder; read from outside."""

    encoder_runs: int = 0
    """Submissions taken."""
    encoder_done: int = 0
    """Results in time."""
    encoder_late: int = 0
    """Submissions whose result was not there at the deadline."""
    encoder_failed: int = 0
    """Submissions that ended in an exception, NaN or infinity."""
    encoder_refused: int = 0
    """Submissions not taken: starting, busy with a late one, or given up."""
    encoder_dropped: int = 0
    """Results that came after their deadline."""
    encoder_restarts: int = 0
    """Workers replaced because they had ended or hung."""
    encoder_warm_runs: int = 0
    """Inferences made only to keep a GPU warm."""
    encoder_off: int = 0
    """Concealments for which the encoder was switched off."""

    def reset(self) -> None:
        """Set everything to 0."""
        for each in fields(self):
            setattr(self, each.name, 0)


class EncoderLine(Protocol):
    """A way to run an encoder from the audio thread."""

    counters: EncoderCounters
    last_error: str

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        """Hand over a gap; return its ticket, :data:`NO_TICKET` if it was not taken."""
        ...

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        """Wait for the result until the deadline; ``out`` is written only if it is done."""
        ...

    def tick(self) -> None:
        """Say that a packet's time passed without a gap."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class _Slot:
    """Memory of one kind of submission; the line's but for the time of a run."""

    __slots__ = ("lost", "out", "spectra")

    def __init__(self, signature: Signature) -> None:
        spectra, lost = (shape for _, shape in signature.inputs)
        self.spectra = np.zeros(spectra, np.float32)
        self.lost = np.zeros(lost, np.float32)
        self.out = np.zeros(signature.output[1], np.float32)


def _slots(signatures: Sequence[Signature]) -> dict[tuple[int, ...], _Slot]:
    return {slot.spectra.shape: slot for slot in map(_Slot, signatures)}


def _slot_for(slots: dict[tuple[int, ...], _Slot], spectra: NDArray[np.float32]) -> _Slot:
    slot = slots.get(spectra.shape)
    if slot is None:
        raise ConfigError(
            f"spectra have the shape {spectra.shape}; declared: {', '.join(map(str, slots))}"
        )
    return slot


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class InlineEncoder:
    """Runs the encoder in the caller's thread, where it takes the time that it takes.

    A result after the deadline is :attr:`Outcome.SLOW`: counted as late and yet given. The time is
    spent already, and the samples then do not depend on how fast the machine was.

    Parameters
    ----------
    runner : Runner
        Opened in this thread, for ``signatures``.
    signatures : sequence of Signature
        What will be submitted.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self, runner: Runner, signatures: Sequence[Signature], clock: Clock = time.perf_counter
    ) -> None:
        self.counters = EncoderCounters()
        self.last_error = ""
        self._runner = runner
        self._clock = clock
        self._slots = _slots(signatures)
        self._newest: _Slot | None = None
        self._ticket = NO_TICKET
        self._sound = False
        self._end_s = 0.0

    @property
    def state(self) -> str:
        """Always ready."""
        return "ready"

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        """Run; return a ticket for the result."""
        slot = _slot_for(self._slots, spectra)
        self.counters.encoder_runs += 1
        self._ticket += 1
        try:
            self._sound = self._runner.run(spectra, lost, slot.out)
        except Exception as error:
            self._sound = False
            self.last_error = _line(error)
        self._end_s = self._clock()
        self._newest = slot
        return self._ticket

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        """Copy the newest submission's result, once."""
        slot, self._newest = self._newest, None
        if slot is None or ticket != self._ticket:
            return Outcome.ABSENT
        if not self._sound:
            self.counters.encoder_failed += 1
            return Outcome.FAILED
        np.copyto(out, slot.out)
        if self._end_s > deadline_s:
            self.counters.encoder_late += 1
            return Outcome.SLOW
        self.counters.encoder_done += 1
        return Outcome.DONE

    def tick(self) -> None:
        """Do nothing: a CPU does not cool down."""

    def close(self) -> None:
        """Do nothing: there is no thread."""


class _Life:
    """What one worker thread and its caller share; a thread that is replaced keeps its own."""

    def __init__(self, signatures: Sequence[Signature]) -> None:
        self.requests: queue.SimpleQueue[tuple[int, _Slot | None]] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.slots = _slots(signatures)
        self.opened = threading.Event()
        """Set when it is ready or has failed to start."""
        self.over = threading.Event()
        self.unwanted = False
        self.runner: Runner | None = None
        self.sound = False
        self.error: BaseException | None = None

    def end(self) -> None:
        """Ask the thread to end, soon."""
        self.unwanted = True
        self.requests.put((_CLOSE, None))
        self.cancel()

    def cancel(self) -> None:
        """Make the run that is under way end, if there is one that can."""
        runner = self.runner
        if runner is not None:
            with contextlib.suppress(Exception):
                runner.cancel()


def _serve(life: _Life, open_runner: Callable[[], Runner]) -> None:
    """Open, run what is asked for, and leave a trace of whatever ends the thread."""
    try:
        flush_denormals()
        life.runner = open_runner()
        life.opened.set()
        while not life.unwanted:
            ticket, slot = life.requests.get()
            if ticket == _CLOSE:
                break
            life.sound = _run(life, life.runner, slot)
            life.results.put(ticket)
    except BaseException as error:  # a thread that dies in silence would never be replaced
        life.error = error
    finally:
        life.runner = None  # the session goes in the thread that made it
        life.over.set()
        life.opened.set()
        life.results.put(_CLOSE)


def _run(life: _Life, runner: Runner, slot: _Slot | None) -> bool:
    try:
        if slot is None:
            runner.keep_warm()
            return True
        return runner.run(slot.spectra, slot.lost, slot.out)
    except Exception as error:
        life.error = error
        return False


class EncoderWorker:
    """Runs the encoder in a thread of its own, which opens it, too.

    All methods are for one thread, the audio's; only :meth:`collect` waits, and only until its
    deadline.

    Parameters
    ----------
    open_runner : callable
        Returns the encoder, opened for ``signatures``; called in the worker, and again in each
        that replaces it.
    signatures : sequence of Signature
        What will be submitted.
    clock : callable
        Returns seconds.
    restarts : int
        Workers that may be replaced before it gives up.
    hang_s : float
        Time after which a busy worker is replaced.
    keep_warm_s : float
        Idle time after which :meth:`tick` runs a GPU for nothing.
    """

    def __init__(
        self,
        open_runner: Callable[[], Runner],
        signatures: Sequence[Signature],
        *,
        clock: Clock = time.perf_counter,
        restarts: int = 3,
        hang_s: float = 5.0,
        keep_warm_s: float = 0.01,
    ) -> None:
        self.counters = EncoderCounters()
        self.last_error = ""
        self._open_runner = open_runner
        self._signatures = tuple(signatures)
        self._clock = clock
        self._restarts_left = restarts
        self._hang_s = hang_s
        self._keep_warm_s = keep_warm_s
        self._serial = NO_TICKET
        self._pending = NO_TICKET
        """Submitted and not collected yet."""
        self._slot: _Slot | None = None
        """What was submitted last."""
        self._owed = NO_TICKET
        """What the worker has not given back yet, whether somebody waits for it or not."""
        self._since_s = 0.0
        """When the worker was last given something."""
        self._closed = False
        self._life = _Life(self._signatures)
        self._start()
        _workers.add(self)

    def _start(self) -> None:
        # Not threading.Thread, whose start() waits for the thread to run: this may be called
        # from the audio thread.
        _thread.start_new_thread(_serve, (self._life, self._open_runner))
        weakref.finalize(self, self._life.end).atexit = False

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``busy``, ``given up`` or ``closed``."""
        if self._closed:
            return "closed"
        if self._life.over.is_set():
            return "given up" if self._restarts_left <= 0 else "ended"
        if not self._life.opened.is_set():
            return "starting"
        return "busy" if self._owed else "ready"

    def wait_until_open(self, timeout_s: float) -> None:
        """Wait for the encoder to be opened; not for the audio thread.

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
        self._pending = NO_TICKET  # one that nobody collected is dropped
        self._attend()
        life = self._life
        slot = _slot_for(life.slots, spectra)
        idle = self._owed in (NO_TICKET, _KEEP_WARM)
        if self._closed or life.over.is_set() or life.runner is None or not idle:
            self.counters.encoder_refused += 1
            return NO_TICKET
        np.copyto(slot.spectra, spectra)
        np.copyto(slot.lost, lost)
        self._serial += 1
        self._pending = self._owed = self._serial
        self._slot = slot
        self._since_s = self._clock()
        self.counters.encoder_runs += 1
        life.requests.put((self._serial, slot))
        return self._serial

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        """Wait for the result until the deadline.

        Parameters
        ----------
        ticket : int
            From :meth:`submit`.
        deadline_s : float
            On the line's clock.
        out : float32, shape (batch, 2, bins, filled frames), written
            The result, if the outcome is ``DONE``; untouched if not.
        """
        if ticket == NO_TICKET or ticket != self._pending:
            return Outcome.ABSENT
        self._pending = NO_TICKET
        life = self._life
        while True:
            done = self._next_result(deadline_s - self._clock())
            if done is None:
                self.counters.encoder_late += 1
                life.cancel()
                return Outcome.LATE
            if done == ticket:
                break
            if done == _CLOSE:
                self.last_error = f"the worker ended: {_line(life.error or SystemExit())}"
                self.counters.encoder_failed += 1
                return Outcome.FAILED
        self._owed = NO_TICKET
        if not life.sound:
            self._note_failure()
            return Outcome.FAILED
        assert self._slot is not None, "a ticket was given for it"
        np.copyto(out, self._slot.out)
        self.counters.encoder_done += 1
        return Outcome.DONE

    def _next_result(self, wait_s: float) -> int | None:
        """Return the next ticket that the worker gives back, None if none comes in time."""
        try:
            if wait_s <= 0.0:
                return self._life.results.get_nowait()
            return self._life.results.get(timeout=min(wait_s, threading.TIMEOUT_MAX))
        except queue.Empty:
            return None

    def _note_failure(self) -> None:
        self.counters.encoder_failed += 1
        life = self._life
        if life.error is not None:
            self.last_error = _line(life.error)
            life.error = None
        else:
            self.last_error = getattr(life.runner, "last_error", "") or "the result was not usable"

    def tick(self) -> None:
        """Say that a packet's time passed: a GPU that was idle for long is run for nothing."""
        self._attend()
        life = self._life
        runner = life.runner
        if self._closed or runner is None or self._owed or not runner.on_gpu:
            return
        if self._clock() - self._since_s >= self._keep_warm_s:
            self._owed = _KEEP_WARM
            self._since_s = self._clock()
            self.counters.encoder_warm_runs += 1
            life.requests.put((_KEEP_WARM, None))

    def _attend(self) -> None:
        """Take back what came late, and replace a worker that ended or hangs."""
        if self._pending:
            return  # collect will see to it
        life = self._life
        while (done := self._next_result(0.0)) is not None:
            if done == self._owed:
                self._owed = NO_TICKET
                if done != _KEEP_WARM:
                    self.counters.encoder_dropped += 1
        ended = life.over.is_set()
        hangs = bool(self._owed) and self._clock() - self._since_s > self._hang_s
        if (ended or hangs) and not self._closed and self._restarts_left > 0:
            self._replace(hangs and not ended)

    def _replace(self, hung: bool) -> None:
        life = self._life
        life.end()
        why = "hung" if hung else f"ended: {_line(life.error or SystemExit())}"
        self.last_error = f"the worker {why}"
        self._restarts_left -= 1
        self._pending = self._owed = NO_TICKET
        self._life = _Life(self._signatures)
        try:
            self._start()
            self.counters.encoder_restarts += 1
        except RuntimeError as error:  # the system has no thread to give
            self._life.error = error
            self._life.over.set()

    def close(self, timeout_s: float = 1.0) -> None:
        """End the worker; wait for it no longer than that."""
        if not self._closed:
            self._closed = True
            self._life.end()
        self._life.over.wait(timeout_s)


_workers: "weakref.WeakSet[EncoderWorker]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End runs before the interpreter takes ONNX Runtime's memory away from under them."""
    for worker in list(_workers):
        worker.close(0.5)


class Governor:
    """Switches to cheaper encoders, and at last to none, when they are late or fail; and back.

    Parameters
    ----------
    levels : int
        Encoders to choose from, the best first.

    Notes
    -----
    The steps are :class:`~plc.ladder.Pace`'s: two misses within a hundred step down, calm steps
    up again, with twice the patience after each step down. While off, concealments without an
    encoder count as calm.
    """

    __slots__ = ("_levels", "_pace")

    def __init__(self, levels: int = 1) -> None:
        if levels < 1:
            raise ConfigError(f"levels is {levels}; give at least 1 encoder")
        self._levels = levels
        self._pace = Pace()

    @property
    def level(self) -> int | None:
        """Which encoder to use, 0 the best; None: none."""
        return self._pace.depth if self._pace.depth < self._levels else None

    def note(self, outcome: Outcome) -> bool:
        """Count one outcome; return whether the level changes."""
        if outcome is Outcome.ABSENT:
            return False  # what it is busy with has been counted
        return self._pace.note(outcome is not Outcome.DONE, self._levels)

    def note_off(self) -> bool:
        """Count a concealment for which the level was None; return whether it changes."""
        return self._pace.note(False, self._levels)

    def reset(self) -> None:
        """Return to the best encoder."""
        self._pace.reset()
