"""Concealments prepared before the loss: a loss costs the audio thread a copy.

A :class:`~plc.networks.streams.prepared.Preparer` makes in a thread of its own, after each received
packet, what would be played if the next one were lost: the best prediction that a packet's duration
has time for, drafts, network and synthesis. A burst then plays from one of three sources::

    ready        the preparation: copied
    carried on   its predictors, where a burst has come to its end before the thread went on
    fitted       without preparation: what fits the stream's time limit, a prompt network included

A burst that began without its preparation turns to it at the next packet, if it is there by then.
Predictors of an earlier packet are not used: those of 20 ms ago are worse than a much shorter fit
(docs/notebook.md, "Ahead of the loss"). Nobody waits for the thread.
"""

import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import ModelError
from plc.networks.spectra import EDGE_MS
from plc.networks.streams.filler import NetworkFiller
from plc.networks.streams.pace import PreparationPace
from plc.networks.streams.prepared import (
    MARGIN_PACKETS,
    NOTHING,
    Fill,
    Opener,
    Preparer,
    PreparerKeeper,
    Request,
)
from plc.predict.filler import STEADY_MOMENT, Filler, Moment
from plc.predict.history import History
from plc.predict.ladder import HEADROOM
from plc.predict.linear import ArFiller
from plc.runtime.runner import PreparationCounters, in_a_line
from plc_kernels.fade import crossfade, crossfade_ramp

# Waiting for models to load and be measured, at construction.
_OPEN_S = 120.0
# Mean power of silence (-60 dBFS), and the time behind a louder block in which it is prepared.
_SILENT_POWER = 1e-6
_AWAKE_MS = 250.0


class _Source(Enum):
    """Source of the samples of a burst."""

    READY = auto()
    CARRIED = auto()
    FITTED = auto()


class _Seam:
    """The crossfade from one source to the next."""

    def __init__(self, channels: int, samples: int) -> None:
        self.edge = np.zeros((channels, samples), np.float32)
        self.left = 0
        self._ramp = crossfade_ramp(samples)

    def blend(self, out: NDArray[np.float32]) -> None:
        """Crossfade from what is kept of the source before, if something is."""
        n = min(self.left, out.shape[1])
        if not n:
            return
        for edge, row in zip(self.edge, out, strict=True):
            crossfade(row[:n], self._ramp[:n], edge[:n])
            row[:n] = edge[:n]
        self.left = 0


class AheadFiller(Filler):
    """Concealment prepared after each received packet.

    Parameters
    ----------
    stream : (int, int, int)
        Sample rate, channels and samples of a packet.
    open_filler : callable
        Returns the filler that prepares; called in its thread.
    open_fallback : callable
        Given that filler, returns what conceals without preparation; its networks answer at once.
    limit_ms : float
        Time that this may take.
    longest, tail : int
        Samples of the longest burst, and of the crossfade behind one.
    bounded : bool
        Whether to pause where the processor has no time for it.
    counters : PreparationCounters or None
        Where concealments are counted; None: new ones.
    clock : callable
        Returns seconds; tells a thread that hangs.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        Whatever opening the filler raised; :class:`~plc.errors.ModelError` if that takes too long.
    """

    prepares = True

    def __init__(
        self,
        stream: tuple[int, int, int],
        open_filler: Opener,
        open_fallback: Callable[[ArFiller | NetworkFiller], ArFiller | NetworkFiller],
        limit_ms: float,
        longest: int,
        tail: int,
        bounded: bool,
        counters: PreparationCounters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = counters or PreparationCounters()
        self._limit_ms = limit_ms
        rate, channels, packet = stream
        new = partial(Preparer, open_filler, stream, 2 * packet + tail, longest, self.counters)
        self._keeper = PreparerKeeper(new, self.counters, clock)
        preparer = self._preparer
        if not preparer.opened.wait(_OPEN_S):
            raise ModelError(f"nothing was ready to prepare concealments after {_OPEN_S:g} s")
        filler = preparer.filler
        if filler is None:
            raise preparer.error or ModelError("the thread that prepares concealments ended")
        self.inner = filler
        """What prepared first; in use by its thread."""
        ar = filler if isinstance(filler, ArFiller) else filler.ar
        self.fallback = open_fallback(filler)
        """What fits a burst that was not prepared."""
        self.pace = PreparationPace(
            bounded, 1000.0 * packet / rate, ar.steady[0].cost_ms / HEADROOM
        )
        dearest = max((*ar.steady, *ar.unsteady), key=lambda step: step.order)
        self._carried = ArFiller(*stream, rung=dearest.rung)
        self._improves = filler is not ar
        self._most = filler.past_samples
        read = max(filler.past_samples, self.fallback.past_samples)
        self.past_samples = read + (MARGIN_PACKETS + 1) * packet
        self._seam = _Seam(channels, max(1, round(rate * EDGE_MS / 1000.0)))
        self._awake = round(rate * _AWAKE_MS / 1000.0)
        self._epoch = 0
        self._serial = NOTHING
        self._history: History | None = None
        self._forget()

    def _forget(self) -> None:
        self._total = 0
        self._since = 1
        self._loud_until = 0
        self._asked = NOTHING
        self.pace.reset()
        self._due = False
        self._source = _Source.FITTED
        self._fill: Fill | None = None
        self._position = 0
        self._improved = False
        self._counting = False
        self._seam.left = 0

    @property
    def _preparer(self) -> Preparer:
        return self._keeper.preparer

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the preparing filler, then those of the fallback."""
        return tuple(dict.fromkeys((*self.inner.names, *self.fallback.names)))

    @property
    def name(self) -> str:
        """The model or rung behind the samples last written."""
        fill = self._fill
        if fill is None or self._source is _Source.FITTED:
            return self.fallback.name
        by_network = self._improved and self._position <= fill.horizon
        return fill.network if by_network and self._source is _Source.READY else fill.rung

    @property
    def state(self) -> str:
        """``on``; ``paused`` for want of processor time; ``ended``; or ``closed``."""
        if self._keeper.closed:
            return "closed"
        if self._preparer.over.is_set():
            return "ended"
        return "paused" if self.pace.paused else "on"

    @property
    def settled(self) -> bool:
        """True if all that was asked for is prepared."""
        return self._preparer.settled or self._preparer.over.is_set()

    def describe(self) -> dict[str, Any]:
        """Return the description of the preparing filler, and the share in time."""
        counters = self.counters
        asked = (
            counters.concealed_prepared + counters.concealed_stale + counters.concealed_unprepared
        )
        prepared: dict[str, str | float | None] = {
            "state": self.state,
            "cost_ms": round(self._preparer.cost_ms, 4),
            "share": counters.concealed_prepared / asked if asked else None,
        }
        if self._preparer.error is not None:
            prepared["error"] = in_a_line(self._preparer.error)
        filler = self._preparer.filler or self.inner
        return filler.describe() | {
            "prepared": prepared,
            "fallback": self.fallback.describe()["ladders"],
        }

    def reset(self) -> None:
        """Forget the stream; the thread and its networks stay."""
        self.fallback.reset()
        self._epoch += 1
        self._serial += 1
        self._preparer.request = None
        self._preparer.burst = NOTHING
        self._preparer.total = 0
        self._forget()

    def close(self) -> None:
        """End the thread."""
        if not self._keeper.closed:
            self.fallback.close()
            self.pace.close()
            self._keeper.close()

    def played(self, block: NDArray[np.float32], received: bool) -> None:
        """Follow how far the history has come, and whether it is silent."""
        n = block.shape[1]
        self._total += n
        self._since += n
        self._preparer.total = self._total
        self.fallback.played(block, received)
        if float(np.vdot(block, block)) > _SILENT_POWER * block.size:
            self._loud_until = self._total + self._awake

    def prepare(self, history: History, moment: Moment) -> None:
        """Ask for the concealment of the next packet."""
        self._serial += 1
        self._since = 0
        preparer = self._preparer
        if self._asked != NOTHING:
            ready = preparer.ready
            kept = ready is not None and ready.serial == self._asked
            self._keeper.follow(kept)
            self.pace.follow(kept)
            self._asked = NOTHING
        self.pace.spend(preparer.cost_ms)
        if not self._silent and self.pace.has_time() and self._keeper.attend(self._total):
            self.counters.preparations += 1
            self._asked = self._serial
            self._ask(history, moment, self.pace.most_ms)

    @property
    def _silent(self) -> bool:
        return self._total > self._loud_until

    def _ask(self, history: History, moment: Moment, limit_ms: float) -> None:
        """Have the burst prepared that would begin now."""
        view = history.view(
            history.position, min(history.filled, self._most), min(history.trusted, self._most)
        )
        # Not by _replace(), which leaves a tuple in the interpreter's free list each time.
        moment = Moment(
            moment.unsteady, moment.content, 0, moment.fading, moment.received_share, limit_ms
        )
        self._preparer.request = Request(self._serial, self._epoch, self._total, view, moment)
        self._due = True

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        """Begin with the prepared fill, else with a fit within the limit."""
        self._history = history
        self._position = 0
        self._counting = True
        self._seam.left = 0
        preparer = self._preparer
        asked = self._since == 0 and self._asked != NOTHING
        if not asked:
            self._serial += 1
            self._since = 0
        preparer.burst = self._serial
        preparer.playing = self._fill = fill = preparer.ready
        self._due = True
        self.pace.lost()
        if fill is not None and self._is_for_this(fill):
            self._source = _Source.READY
            self._improved = fill.prompt
        else:
            self._source = _Source.FITTED
            self._improved = False
            self.fallback.begin(history, moment)
        late = not asked and self._improves and moment.limit_ms >= self._limit_ms
        if (
            late
            and not self._answered
            and not self._silent
            and not self.pace.pausing
            and self._keeper.attend(self._total)
        ):
            # A network's answer may be there for the packets after this one.
            self._ask(history, moment, self._limit_ms)
            self._preparer.burst = self._serial

    @property
    def _answered(self) -> bool:
        """True if a network of the fallback has improved on the burst."""
        return isinstance(self.fallback, NetworkFiller) and self.fallback.improved

    def _is_for_this(self, fill: Fill) -> bool:
        """Tell whether a fill begins where the burst does."""
        return fill.serial == self._preparer.burst != NOTHING

    def _carry_on(self, history: History, fill: Fill) -> None:
        self._source = _Source.CARRIED
        self._carried.carry_on(history, fill.fitted)

    def next_packet(self) -> None:
        """Turn to results that have become ready since."""
        self._counting = True
        self._due = True
        if self._source is _Source.FITTED:
            self.fallback.next_packet()
        fill = self._preparer.ready
        if fill is None or not self._is_for_this(fill):
            return
        position = self._position
        improved = fill.prompt or fill.improved_from <= position < fill.improved_until
        if self._source is _Source.READY:
            if improved and not self._improved:
                if position != fill.improved_from:
                    self._keep_edge()
                self._improved = True
        elif fill.reach > position + self._seam.edge.shape[1]:
            self._keep_edge()
            self._source = _Source.READY
            self._preparer.playing = self._fill = fill
            self._improved = improved

    def _keep_edge(self) -> None:
        """Write the present source's continuation, for the crossfade."""
        edge = self._seam.edge
        n = edge.shape[1]
        fill = self._fill
        if self._source is _Source.READY:
            assert fill is not None, "it is the source"
            if fill.reach < self._position + n:
                return
            fill.read(self._position, self._improved, edge)
        else:
            self._beside().extend(edge)
        self._seam.left = n

    def _beside(self) -> ArFiller | NetworkFiller:
        return self._carried if self._source is _Source.CARRIED else self.fallback

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the next samples of the source, or of its continuation."""
        n = out.shape[1]
        fill = self._fill
        if self._source is _Source.READY:
            assert fill is not None, "it is the source"
            if fill.reach >= self._position + n:
                fill.read(self._position, self._improved, out)
            else:
                assert self._history is not None, "a burst has begun"
                self._carry_on(self._history, fill)
        if self._source is not _Source.READY:
            self._beside().extend(out)
        self._seam.blend(out)
        self._position += n
        if self._counting:
            self._count()

    def _count(self) -> None:
        self._counting = False
        counters = self.counters
        if self._source is _Source.READY:
            counters.concealed_prepared += 1
        elif self._asked == self._serial:
            counters.concealed_stale += 1
        else:
            counters.concealed_unprepared += 1

    def took(self, late: bool) -> int:
        """As :meth:`ArFiller.took`, for concealments that were not prepared."""
        return self.fallback.took(late)

    def pass_time(self, ms: float) -> int:
        """Wake the thread at the end of a packet."""
        self.pace.pass_time(ms)
        if self._due:
            self._due = False
            self._preparer.wake()
        return self.fallback.pass_time(ms)
