"""The thread that prepares concealments before the loss.

After each received packet the audio thread leaves a :class:`Request`: where the history ends, and
the stream's state. The thread of a :class:`Preparer` drafts the burst that would begin there, runs
the network where the first lost packet plays its answer, and publishes a :class:`Fill`. Once a
burst plays it, the thread goes on in it: the network that answers later, and further samples::

    audio thread    received ─ prepare ┄┄┄┄┄┄┄┄┄┄┄┄┄┄ lost: play ─ go on ┄┄┄┄┄┄┄┄┄┄┄ lost: play
                                 │                      ▲           │                  ▲
    preparer                     ╰─ fit, draft ─ publish╯           ╰─ network, extend ╯

**Hand-over.** Requests, and the fill that is ready, are single references, which are replaced and
never changed. There are three fills: the one that is ready, the one that plays, and the one that is
written; so no lock guards them. The thread sleeps on a queue that holds a token or two at most.

**The history** is read where it stands, in the audio thread's ring, which is longer by a margin. If
more than the margin was played while it was read, the result is thrown away.
"""

import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc.networks.streams.filler import NetworkFiller
from plc.predict.filler import Filler, Moment
from plc.predict.history import History
from plc.predict.linear import ArFiller, Fitted
from plc.processor_time import thread_clock
from plc.runtime import forks
from plc.runtime.life import give_way, note_end, start_thread
from plc.runtime.priority import Level, take
from plc.runtime.runner import DeferredRunner, PreparationCounters
from plc_kernels.burst import ONSET_MS
from plc_kernels.denormals import flush_denormals

Opener = Callable[[], ArFiller | NetworkFiller]
"""Opens the filler that prepares, in the thread that it will run in."""

NOTHING = 0
"""Serial number of no request."""
MARGIN_PACKETS = 4
"""Packets that may be played while a preparation reads the history."""
_FILLS = 3
# A preparation that takes longer hangs; its thread is replaced, so often at most, and once more for
# each so many preparations in time.
_HANG_S = 5.0
_RESTARTS = 3
_HEALTHY = 10_000
# A burst is extended by about this much at a time, so that what is ready can be played.
_PIECE_MS = 20.0
# Of the mean of the cost: the last of so many preparations.
_COST_MEMORY = 32


class Request(NamedTuple):
    """State of the stream that a burst would begin with."""

    serial: int
    """Number of the packet that was received last."""
    epoch: int
    """Number of the stream, which a reset begins anew."""
    total: int
    """Samples played since then."""
    history: History
    """A view of the audio thread's."""
    moment: Moment


class Fill:
    """A burst that lies ready, as far as it was made.

    Parameters
    ----------
    channels, samples, order : int
        Of the stream, of the longest burst, and the most coefficients of a predictor.

    Attributes
    ----------
    draft, improved : float32, shape (channels, samples)
        What the burst begins with, and what a network makes of it from :attr:`improved_from` to
        :attr:`improved_until`.
    reach : int
        Samples of :attr:`draft` that are there.
    horizon : int
        Samples up to which they are named after the network.
    rung, network : str
        Names for the statistics; no network: "".
    prompt : bool
        Whether the network's answer is in :attr:`draft` already.
    fitted : Fitted
        The predictors.
    """

    __slots__ = (
        "complete",
        "draft",
        "epoch",
        "fitted",
        "horizon",
        "improved",
        "improved_from",
        "improved_until",
        "network",
        "prompt",
        "reach",
        "rung",
        "serial",
        "total",
    )

    def __init__(self, channels: int, samples: int, order: int) -> None:
        self.draft = np.zeros((channels, samples), np.float32)
        self.improved = np.zeros((channels, samples), np.float32)
        self.fitted = Fitted.allocate(channels, order)
        self.serial = NOTHING
        self.epoch = 0
        self.total = 0
        self.reach = 0
        self.improved_from = self.improved_until = 0
        self.horizon = 0
        self.rung = self.network = ""
        self.prompt = self.complete = False

    def read(self, position: int, improved: bool, out: NDArray[np.float32]) -> None:
        """Write the samples from ``position`` on, shape (channels, n), within :attr:`reach`."""
        n = out.shape[1]
        out[:] = self.draft[:, position : position + n]
        take = min(n, self.improved_until - position)
        if improved and take > 0:
            out[:, :take] = self.improved[:, position : position + take]


class Preparer:
    """A thread that prepares the bursts of one stream.

    Parameters
    ----------
    open_filler : callable
        Returns the filler that prepares; called in the thread.
    stream : (int, int, int)
        Sample rate, channels and samples of a packet.
    first, longest : int
        Samples prepared before a burst begins, at least, and samples of the longest burst.
    counters : PreparationCounters
        Where failures are counted.
    clock : callable
        Returns seconds.

    Attributes
    ----------
    ready, playing : Fill or None
        Published last, and being played; the audio thread sets the second.
    request : Request or None
        What to prepare; set by the audio thread.
    burst : int
        Serial number of the request whose fill a burst plays; set by the audio thread.
    total : int
        Samples played; set by the audio thread.
    busy_since_s : float or None
        When it was last woken; None while it sleeps.
    cost_ms : float
        Mean processor time of a preparation.
    """

    def __init__(
        self,
        open_filler: Opener,
        stream: tuple[int, int, int],
        first: int,
        longest: int,
        counters: PreparationCounters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.opened = threading.Event()
        self.over = threading.Event()
        self.unwanted = False
        self.error: BaseException | None = None
        self.filler: ArFiller | NetworkFiller | None = None
        self.ready: Fill | None = None
        self.playing: Fill | None = None
        self.request: Request | None = None
        self.burst = NOTHING
        self.total = 0
        self.busy_since_s: float | None = None
        self.cost_ms = 0.0
        self._open_filler = open_filler
        self._rate, self._channels, self._packet = stream
        self._first, self._longest = first, longest
        self._counters = counters
        self._clock = clock
        self._cpu_clock = thread_clock()
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting = False
        self._done = NOTHING
        self._epoch = 0
        self._heard = 0
        self._fills: list[Fill] = []
        self._block = np.zeros(self._channels * self._packet, np.float32)
        onset = round(self._rate * ONSET_MS / 1000.0)
        self._switch = self._packet * max(1, -(-onset // self._packet))
        self._piece = max(1, round(self._rate * _PIECE_MS / 1000.0))

    def start(self) -> None:
        """Start the thread.

        Raises
        ------
        RuntimeError
            If no thread can be started, or the process is ending.
        """
        start_thread(self, self._serve)

    def end(self) -> None:
        """Ask the thread to end, soon."""
        self.unwanted = True
        self._wakes.put(None)
        for served in getattr(self.filler, "networks", ()):
            if isinstance(served.runner, DeferredRunner):
                served.runner.cancel()

    def wake(self) -> None:
        """Make the thread look at the audio thread's flags; never wait."""
        if self._waiting:
            self._waiting = False
            self._wakes.put(None)

    @property
    def settled(self) -> bool:
        """True if the thread sleeps, with nothing left to do."""
        return self._waiting and not self._due

    @property
    def _due(self) -> bool:
        request, fill = self.request, self.ready
        if self.unwanted or (request is not None and request.serial != self._done):
            return True
        return fill is not None and self._plays(fill) and not fill.complete

    def _plays(self, fill: Fill) -> bool:
        return fill.serial == self.burst == self._done

    def _serve(self) -> None:
        """Open the filler, serve requests, and record the thread's end."""
        try:
            give_way()
            flush_denormals()
            self._open()
            take(Level.PREPARING)
            self.opened.set()
            while not self.unwanted:
                self._rest()
                self._work()
        except BaseException as error:  # a thread that dies in silence would never be replaced
            self.error = error
        finally:
            note_end(self)
            self.opened.set()

    def _open(self) -> None:
        filler = self._open_filler()
        ar = filler if isinstance(filler, ArFiller) else filler.ar
        networks = () if isinstance(filler, ArFiller) else filler.networks
        drafted = max((v.gap.samples - v.gap.gap_start for v in networks), default=0)
        samples = max(self._longest, self._first, drafted)
        order = ar.most_coefficients
        self._fills = [Fill(self._channels, samples, order) for _ in range(_FILLS)]
        self.filler = filler

    def _rest(self) -> None:
        self.busy_since_s = None
        self._waiting = True
        if not self._due:
            self._wakes.get()
        self._waiting = False
        self.busy_since_s = self._clock()

    def _work(self) -> None:
        request = self.request
        if request is not None and request.serial != self._done:
            began = self._cpu_clock()
            self._guard(self._prepare, request)
            self._done = request.serial
            spent_ms = 1e3 * (self._cpu_clock() - began)
            self.cost_ms += (spent_ms - self.cost_ms) / _COST_MEMORY
        fill = self.ready
        if fill is not None and self._plays(fill) and not fill.complete:
            self._guard(self._go_on, fill)

    def _guard(self, work: Callable[[Any], None], argument: object) -> None:
        try:
            work(argument)
        except Exception as error:
            self.error = error
            self._counters.preparations_failed += 1
            if isinstance(argument, Fill):
                argument.complete = True

    def _prepare(self, request: Request) -> None:
        filler = self.filler
        assert filler is not None, "it was opened"
        fill = next(v for v in self._fills if v is not self.ready and v is not self.playing)
        if request.epoch != self._epoch:
            filler.reset()
            self._epoch, self._heard = request.epoch, 0
        self._listen(filler, request)
        filler.begin(request.history, request.moment)
        drafted = 0 if isinstance(filler, ArFiller) else filler.drafted
        first = max(self._first, drafted)
        if self.total - request.total > MARGIN_PACKETS * self._packet:
            return  # what was read may have been written anew meanwhile
        fill.improved_from = fill.improved_until = fill.horizon = 0
        fill.network = ""
        fill.prompt = fill.complete = False
        if isinstance(filler, ArFiller):
            fill.rung = filler.name
            filler.keep(fill.fitted)
        else:
            fill.rung = filler.ar.name
            filler.ar.keep(fill.fitted)
            fill.prompt = filler.improved
            fill.network, fill.horizon = filler.serving
        filler.extend(fill.draft[:, :first])
        fill.reach = first
        fill.serial, fill.epoch, fill.total = request.serial, request.epoch, request.total
        self.ready = fill

    def _listen(self, filler: Filler, request: Request) -> None:
        """Give the filler the samples played since the last call."""
        history = request.history
        behind = request.total - self._heard
        self._heard = request.total
        if behind > history.filled:  # that is no longer there
            filler.reset()
            behind = history.filled
        while behind > 0:
            n = min(behind, self._packet)
            behind -= n
            view = history.view((history.position - behind) % history.capacity, 0, 0)
            block = self._block[: self._channels * n].reshape(self._channels, n)
            for c, row in enumerate(block):
                view.newest(c, row)
            filler.played(block, True)
            filler.pass_time(1000.0 * n / self._rate)

    def _go_on(self, fill: Fill) -> None:
        """Make more of a burst that is being played."""
        filler = self.filler
        assert filler is not None, "it was opened"
        if isinstance(filler, NetworkFiller) and filler.drafted and not filler.improved:
            filler.seek(self._switch)
            filler.next_packet()
            if filler.improved:
                stop = filler.drafted
                filler.extend(fill.improved[:, self._switch : stop])
                fill.improved_from = self._switch
                fill.improved_until = stop
            filler.seek(fill.reach)
        while fill.reach < self._longest:
            request = self.request
            if self.unwanted or request is None or request.serial != fill.serial:
                return  # the burst is over
            stop = min(fill.reach + self._piece, self._longest)
            filler.extend(fill.draft[:, fill.reach : stop])
            fill.reach = stop
        fill.complete = True


class PreparerKeeper:
    """Keeps a thread that prepares: one that ended, or hangs, is replaced.

    Parameters
    ----------
    new : callable
        Given a clock, returns a preparer that has not started.
    counters : PreparationCounters
        Where replacements are counted.
    clock : callable
        Returns seconds; tells a thread that hangs.

    Attributes
    ----------
    preparer : Preparer
        The present one.
    restarts : int
        How often it may still be replaced.
    closed : bool
        Whether it was closed.

    Raises
    ------
    RuntimeError
        If no thread can be started, or the process is ending.
    """

    def __init__(
        self,
        new: Callable[[Callable[[], float]], Preparer],
        counters: PreparationCounters,
        clock: Callable[[], float],
    ) -> None:
        self._new, self._counters, self._clock = new, counters, clock
        self.restarts = _RESTARTS
        self.closed = False
        self._healthy = 0
        self._generation = forks.generation
        self.preparer = new(clock)
        self._start()

    def _start(self) -> None:
        self.preparer.start()
        weakref.finalize(self, self.preparer.end).atexit = False

    def follow(self, kept: bool) -> None:
        """Hear whether a preparation was ready in time: many that were allow another restart."""
        self._healthy += kept
        if self._healthy >= _HEALTHY:
            self._healthy = 0
            self.restarts = min(self.restarts + 1, _RESTARTS)

    def attend(self, total: int) -> bool:
        """Replace a thread that ended or hangs; return whether there is one.

        Parameters
        ----------
        total : int
            Samples played.
        """
        if self.closed:
            return False
        preparer = self.preparer
        stayed = self._generation != forks.generation
        since_s = preparer.busy_since_s
        hangs = since_s is not None and self._clock() - since_s > _HANG_S
        if stayed or hangs or preparer.over.is_set():
            if not stayed and self.restarts <= 0:
                return False
            self.restarts -= not stayed
            self._generation = forks.generation
            if hangs:
                preparer.end()
            self._replace(total)
        return self.preparer.opened.is_set() and not self.preparer.over.is_set()

    def _replace(self, total: int) -> None:
        self.preparer = self._new(self._clock)
        self.preparer.total = total
        self._counters.preparers_restarted += 1
        try:
            self._start()
        except RuntimeError as error:  # there is no thread to be had, or none any more
            self.preparer.error = error
            self.preparer.over.set()

    def close(self) -> None:
        """End the thread, and wait a moment for it."""
        self.closed = True
        if self._generation == forks.generation:
            self.preparer.end()
            self.preparer.over.wait(1.0)
