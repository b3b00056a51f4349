"""The rungs of linear prediction, their costs, and the choice among them.

A rung is an order and a past. Long orders on long pasts are better on music as far as they can
be afforded; speech changes too fast for a long past to help. Costs are measured at construction,
once a day on a machine (:mod:`plc.kept_costs`), and the rung is chosen before the work begins: the
budget is kept by choosing cheaper work, never by interrupting it. Should the machine turn out
slower than it was then, :class:`Pace` steps down, and up again after a calm while. What a rung
costs is the thread's own processor time: that others had the processor says nothing about the rung.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from plc.kept_costs import KeptCost, find_cost, keep_cost
from plc.processor_time import thread_clock
from plc_kernels.signal.ar import ArWorkspace, burg, extrapolate
from plc_kernels.signal.predict import BESIDE_FIT, BESIDE_ORDER, LONG_MS, REHEARSED_MS
from plc_kernels.signal.rungs import HEADROOM, STEADY_MS, UNSTEADY_MS, order_of, past_samples


@dataclass(frozen=True, slots=True)
class Rung:
    """Linear prediction of one order on one past."""

    order_ms: float
    past_ms: float

    @property
    def name(self) -> str:
        """Name in ``stats``."""
        return f"ar:{self.order_ms:g}/{self.past_ms:g}"

    def past_samples(self, sample_rate: int) -> int:
        """Return the samples fitted on."""
        return past_samples(self.past_ms, sample_rate)

    def order(self, sample_rate: int) -> int:
        """Return the coefficients, at most half the samples."""
        return order_of(self.order_ms, self.past_ms, sample_rate)


STEADY = tuple(Rung(*rung) for rung in STEADY_MS)
"""For content that holds its tones: music."""
UNSTEADY = tuple(Rung(*rung) for rung in UNSTEADY_MS)
"""For content that glides and stops: speech."""
SERVER = (Rung(4.0, 20.0), Rung(2.5, 15.0))
"""For tens of microseconds a lost packet, steady and unsteady."""
SERVER_DRAFTS = (SERVER[0], UNSTEADY[0])
"""The same where a network for speech improves on drafts: it makes little of those of short rungs
(docs/notebook.md, "Networks on servers")."""

# What a channel costs beside its kernels: calls, copies, the level. Measured 10 to 15 µs.
_CALL_MS = 0.015
_CALIBRATION_RUNS = 5

known_costs: dict[tuple[int, int], KeptCost] = {}
"""By order and past."""


def measure_cost(order: int, past: int) -> tuple[float, float]:
    """Return the ms of one fit, and of extrapolating 1000 samples.

    The least of a few runs on noise; measured once in a process, or in one before it, and then
    remembered.
    """
    key = (order, past)
    if key not in known_costs:
        known_costs[key] = find_cost(("ar", *key), 2) or _measured(order, past)
    fit_ms, extend_ms = known_costs[key].values
    return fit_ms, extend_ms


def measure_again(order: int, past: int) -> bool:
    """Measure a cost that an earlier process measured long ago; return whether it was such."""
    known = known_costs.get((order, past))
    if known is None or known.recent:
        return False
    known_costs[order, past] = _measured(order, past)
    return True


def _measured(order: int, past: int) -> KeptCost:
    x = np.random.default_rng(0).standard_normal(past).astype(np.float32)
    work = ArWorkspace.allocate(past, order)
    predictor = np.empty(order + 1)
    line = np.zeros(order + 250)
    fit_s = extend_s = float("inf")
    clock = thread_clock()
    for _ in range(_CALIBRATION_RUNS):
        begin = clock()
        burg(order, x, work.forward, work.backward, work.mirror, predictor)
        middle = clock()
        extrapolate(predictor[1:], line)
        end = clock()
        fit_s = min(fit_s, middle - begin)
        extend_s = min(extend_s, end - middle)
    cost = (1e3 * fit_s, 4e3 * extend_s)
    keep_cost(("ar", order, past), *cost)
    return KeptCost(cost, recent=True)


@dataclass(frozen=True, slots=True)
class Step:
    """A rung at a stream's rate, with its cost."""

    rung: Rung
    order: int
    past: int
    cost_ms: float


def affordable(
    rungs: tuple[Rung, ...],
    sample_rate: int,
    channels: int,
    extension: int,
    reach: int,
    limit_ms: float,
) -> tuple[Step, ...]:
    """Return the rungs that fit the time limit, the best first; the last is there always.

    Parameters
    ----------
    rungs : tuple of Rung, from the dearest to the cheapest
    sample_rate, channels : int
        Of the stream; channels are concealed one after the other.
    extension : int
        Samples that the first concealment of a burst extrapolates in each channel.
    reach : int
        Samples of the longest bridge, 0 if there is no lookahead; as many are known beyond it.
    limit_ms : float
        The stream's budget; ``inf`` keeps all and measures nothing.
    """
    steps: list[Step] = []
    for rung in rungs:
        order = rung.order(sample_rate)
        past = rung.past_samples(sample_rate)
        if steps and (steps[-1].order, steps[-1].past) == (order, past):
            continue  # the limits make several rungs one
        cost_ms = 0.0
        if limit_ms != float("inf"):
            cost_ms = channels * _cost_ms(sample_rate, order, past, extension, reach)
            if cost_ms > HEADROOM * limit_ms and measure_again(order, past):
                cost_ms = channels * _cost_ms(sample_rate, order, past, extension, reach)
        if cost_ms <= HEADROOM * limit_ms or rung is rungs[-1]:
            steps.append(Step(rung, order, past, cost_ms))
    return tuple(steps)


def _cost_ms(rate: int, order: int, past: int, extension: int, reach: int) -> float:
    """Return the cost of one channel's dearest packet: fit, extrapolate and, at worst, bridge."""
    fit_ms, extend_ms = measure_cost(order, past)
    cost_ms = _CALL_MS + fit_ms + extend_ms * extension / 1000.0
    if order > rate * LONG_MS / 1000.0:  # the predictor beside it, and the rehearsals of both
        also = BESIDE_ORDER * extension + (1.0 + BESIDE_ORDER) * rate * REHEARSED_MS / 1000.0
        cost_ms += BESIDE_FIT * fit_ms + extend_ms * also / 1000.0
    if reach:
        # The second fit is of an order up to the samples known, on both sides and the gap.
        second_ms = fit_ms * min(1.0, reach / order) * (past + 2 * reach) / past
        cost_ms += _CALL_MS + second_ms + extend_ms * 2 * reach / 1000.0
    return cost_ms


class Ladders:
    """Both ladders of a stream, within its time limit.

    Parameters
    ----------
    sample_rate, channels, packet_samples : int, of the stream
    limit_ms : float
        Time that the first concealment of a burst may take.
    reach : int
        Samples of the longest bridge that will be asked for, and of the most known beyond it.
    rungs : tuple of two Rung, or None
        One rung for steady and one for unsteady content, whatever they cost; None chooses from the
        ladders.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        packet_samples: int,
        limit_ms: float = math.inf,
        reach: int = 0,
        rungs: tuple[Rung, Rung] | None = None,
    ) -> None:
        ladders = (STEADY, UNSTEADY) if rungs is None else tuple((rung,) for rung in rungs)
        most_ms = limit_ms if rungs is None else math.inf
        self.steady, self.unsteady = (
            affordable(ladder, sample_rate, channels, packet_samples, reach, most_ms)
            for ladder in ladders
        )
        steps = self.steady + self.unsteady
        self.past_samples = max(step.past for step in steps)
        self.most_coefficients = max(step.order for step in steps)

    @property
    def names(self) -> tuple[str, ...]:
        """The rungs of both ladders."""
        return tuple(dict.fromkeys(s.rung.name for s in self.steady + self.unsteady))

    def describe(self) -> dict[str, Any]:
        """Return each ladder's rungs with their measured cost."""
        ladders = {"steady": self.steady, "unsteady": self.unsteady}
        return {
            "networks": {},
            "ladders": {of: [_described(step) for step in ladders[of]] for of in ladders},
        }


def _described(step: Step) -> dict[str, str | int | float]:
    return {
        "rung": step.rung.name,
        "order": step.order,
        "past_samples": step.past,
        "cost_ms": round(step.cost_ms, 4),
    }


class Pace:
    """Steps down a ladder after late concealments, and up after calm.

    Two too long within a hundred concealments step down. The way up is measured in the stream's
    time, not in losses, so that it takes seconds however few packets are lost::

        depth 0 ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄╭──  top: after 10 s without a step all is forgotten
              1 ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄╭─╯    a quarter of a second each
              2 ┄┄┄┄┄┄┄┄┄╭╮┄┄┄┄╭─╯      failed last: it is tried after 1, 2, 4, 4, … s
              3 ─────────╯╰────╯        held

    A rung that failed is tried again only after two concealments in time on the one below, and is
    left at the first that takes too long again: a machine that is too slow for it pays one in three
    for that at worst, where losses are seconds apart, and else one in 4 s. A rung that was climbed
    to without a concealment on the way is left in the same way, for the one that held.
    """

    __slots__ = (
        "_calm_ms",
        "_failed",
        "_in_time",
        "_late",
        "_patience_ms",
        "_proven",
        "depth",
        "settled",
    )

    _LATE = 2
    _CALM = 100
    _TRIED = 2
    _STEP_MS = 250.0
    _LEAST_MS = 1000.0
    _MOST_MS = 4000.0
    _FORGIVEN_MS = 10_000.0

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Return to the top."""
        self.depth = 0
        """Rungs below the best affordable one."""
        self._proven = 0
        """Where a concealment last was in time."""
        self._failed = -1
        """Where one last was not, and led down; below 0: nowhere."""
        self._late = 0
        self._in_time = 0
        """Since the last that was late, or the last step."""
        self._calm_ms = 0.0
        """Likewise."""
        self._patience_ms = self._LEAST_MS / 2.0
        self.settled = True
        """Whether there is nothing to come back from."""

    @property
    def state(self) -> dict[str, float]:
        """All that it knows, to go on from."""
        return {name: getattr(self, name) for name in self.__slots__}

    @state.setter
    def state(self, known: dict[str, float]) -> None:
        for name in self.__slots__:
            setattr(self, name, type(getattr(self, name))(known[name]))

    def note(self, late: bool, deepest: int) -> int:
        """Count one concealment; return the steps down that it leads to."""
        if late:
            return self._fall(deepest)
        self._in_time += 1
        self._proven = self.depth
        if self._in_time % self._CALM == 0:
            self._late = 0
        if self.depth <= self._failed:
            self._failed = -1
        return 0

    def _fall(self, deepest: int) -> int:
        self._in_time = 0
        self._calm_ms = 0.0
        self._late += 1
        tried = self.depth < self._proven
        if self.depth >= deepest or not (tried or self._late >= self._LATE):
            return 0
        failed = self._failed = self.depth
        self.depth = min(self._proven, deepest) if tried else failed + 1
        self._proven = self.depth
        self._late = 0
        self._patience_ms = min(2.0 * self._patience_ms, self._MOST_MS)
        self.settled = False
        return self.depth - failed

    def pass_time(self, ms: float) -> int:
        """Advance the stream's time; return the steps up that it leads to."""
        if self.settled:
            return 0
        self._calm_ms += ms
        if self.depth == 0:
            if self._calm_ms >= self._FORGIVEN_MS:
                self._patience_ms = self._LEAST_MS / 2.0
                self._failed = -1
                self.settled = True
            return 0
        if not self._may_climb():
            return 0
        self.depth -= 1
        self._late = self._in_time = 0
        self._calm_ms = 0.0
        return 1

    def _may_climb(self) -> bool:
        above = self.depth - 1
        if above > self._failed:
            return self._calm_ms >= self._STEP_MS
        if above < self._failed:  # what is being tried was not judged yet
            return False
        return self._calm_ms >= self._patience_ms and self._in_time >= self._TRIED
