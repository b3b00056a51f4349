"""Costs of networks on this machine, measured once in a process or in one before it."""

import os
import threading
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from plc.kept_costs import find_cost, keep_cost
from plc.models.manifest import Manifest
from plc.networks.drafts import Draft
from plc.networks.spectra import GapSpectra
from plc.runtime.runner import Clock, InlineRunner, NetworkCounters, Outcome, Runner

CALIBRATION_RUNS = 5
"""Bursts by which a network is measured."""
ANSWER_WITHIN_S = 5.0
"""A network that takes longer for one answer is not used."""
# Before each of these runs: in a stream, too, the network's weights have left the processor's
# nearest memory by the time of the next burst. Half as long again is common for what was just run.
_PAUSE_S = 0.02
# A machine may be busy when a cost is measured: one that is too high is measured again so often.
_MOST_MEASUREMENTS = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Time of a burst in ms: the least measured; 0 if each run failed, inf without an answer."""

    burst_ms: float
    """All but the drafts: spectra, inference and samples."""
    asking_ms: float
    """Of that, what passes until the network is at work."""
    measurements: int = 1
    draft_ms: float = 0.0
    """Of the drafts, besides linear prediction."""


UNKNOWN = Cost(0.0, 0.0, 0)
_NO_ANSWER = Cost(float("inf"), float("inf"))


class Measurable(Protocol):
    """A network that is open for a stream (:class:`~plc.networks.streams.served.ServedNetwork`)."""

    manifest: Manifest
    gap: GapSpectra
    runner: Runner
    cost: Cost

    @property
    def provider(self) -> str:
        """What it was asked to run on."""
        ...

    @property
    def clock(self) -> Clock:
        """The stream's."""
        ...

    @property
    def draft(self) -> Draft:
        """Its draft maker."""
        ...


class Costs:
    """Measures costs of bursts, and remembers them for later streams; for any thread.

    Parameters
    ----------
    kept : bool
        Whether costs are those of earlier processes, too (:mod:`plc.kept_costs`).
    """

    def __init__(self, kept: bool = False) -> None:
        self._kept = kept
        self._known: dict[tuple[object, ...], Cost] = {}
        self._measuring = threading.Lock()

    def of(self, served: Measurable) -> Cost:
        """Return the cost of a burst, measured if it is not known.

        Without a time limit costs decide nothing, and nothing is measured. A network whose cost is
        known is run once: that it answers is to be seen, and its memory used, before a burst.
        """
        if isinstance(served.runner, InlineRunner):
            return UNKNOWN
        if _key(served) not in self._known and not self._find(served):
            return self._measured(served)
        return self._known[_key(served)] if self._answers(served) else _NO_ANSWER

    def _find(self, served: Measurable) -> bool:
        """Take the cost of an earlier process, if there is one; that of a GPU is not kept."""
        if not self._kept or served.runner.on_gpu:
            return False
        key = _key(served)
        found = find_cost(key, 3)
        if found is not None:
            burst_ms, asking_ms, draft_ms = found.values
            measurements = _MOST_MEASUREMENTS if found.recent else 1
            self._known[key] = Cost(burst_ms, asking_ms, measurements, draft_ms)
        return found is not None

    def again(self, served: Measurable) -> Cost | None:
        """Measure the cost once more; None where that was done often enough."""
        if served.cost.burst_ms in (0.0, float("inf")):
            return None
        known = self._known.get(_key(served))
        if known is not None and known.measurements >= _MOST_MEASUREMENTS:
            return None
        return self._measured(served)

    def measure(self, served: Measurable, runs: int, pause_s: float) -> Cost:
        """Run bursts, and return their cost."""
        counters, served.runner.counters = served.runner.counters, NetworkCounters()
        try:
            return _measure_bursts(served, runs, pause_s)
        finally:
            served.runner.counters = counters  # those were no bursts of the stream
            served.draft.reset()

    def begin_child(self) -> None:
        """Take a new lock after a fork: a thread that stayed with the parent may hold the old."""
        self._measuring = threading.Lock()

    def _answers(self, served: Measurable) -> bool:
        """Run a burst without its drafts; return whether there was an answer."""
        counters, served.runner.counters = served.runner.counters, NetworkCounters()
        try:
            return _run(served)[0] is not Outcome.LATE
        finally:
            served.runner.counters = counters

    def _measured(self, served: Measurable) -> Cost:
        """Measure the cost as in a stream; remember the least."""
        with self._measuring:  # two at once would measure each other
            key = _key(served)
            cost = self.measure(served, CALIBRATION_RUNS, _PAUSE_S)
            known = self._known.get(key)
            if cost.burst_ms == float("inf"):
                return cost
            if known is not None:
                seen = cost if cost.burst_ms > 0.0 else known
                cost = Cost(
                    min(seen.burst_ms, known.burst_ms),
                    min(seen.asking_ms, known.asking_ms),
                    known.measurements + 1,
                    min(seen.draft_ms, known.draft_ms),
                )
            if cost.burst_ms > 0.0:
                self._known[key] = cost
                if self._kept and not served.runner.on_gpu:
                    keep_cost(key, cost.burst_ms, cost.asking_ms, cost.draft_ms)
        return cost


COSTS = Costs(kept=True)
"""Those of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=COSTS.begin_child)


def _key(served: Measurable) -> tuple[object, ...]:
    gap = served.gap
    return served.manifest.sha256, served.draft.names, gap.shape, gap.rows.shape, served.provider


def _run(served: Measurable) -> tuple[Outcome, float, float]:
    """Run a burst behind its drafts; return its outcome, and when it was asked and had ended."""
    gap = served.gap
    gap.analyse()
    ticket = served.runner.submit(gap.spectra, gap.lost)
    asked_s = served.clock()
    outcome = served.runner.collect(ticket, asked_s + ANSWER_WITHIN_S, gap.filled)
    if outcome.usable:
        gap.synthesise()
    return outcome, asked_s, served.clock()


def _measure_bursts(served: Measurable, runs: int, pause_s: float) -> Cost:
    served.gap.rows[:] = np.random.default_rng(0).standard_normal(served.gap.rows.shape)
    draft = served.draft.rehearse()
    drafts_ms, bursts_ms, asking_ms = [], [], []
    for _ in range(runs):
        time.sleep(pause_s)
        began_s = served.clock()
        if draft is not None:
            draft()
        drafted_s = served.clock()
        outcome, asked_s, ended_s = _run(served)
        drafts_ms.append(1e3 * (drafted_s - began_s))
        if outcome is Outcome.LATE:
            return _NO_ANSWER
        if outcome.usable:
            bursts_ms.append(1e3 * (ended_s - drafted_s))
            asking_ms.append(1e3 * (asked_s - drafted_s))
    return Cost(min(bursts_ms, default=0.0), min(asking_ms, default=0.0), draft_ms=min(drafts_ms))
