"""Costs of bursts that a test states."""

from collections.abc import Callable, Mapping

from plc.networks.streams.costs import Cost, Costs, Measurable
from plc.networks.streams.served import Opener


class FixedCosts(Costs):
    """The same cost for every network, or by a model's name; never measured again."""

    def __init__(self, costs: Cost | Mapping[str, Cost]) -> None:
        super().__init__()
        self._costs = costs

    def of(self, served: Measurable) -> Cost:
        return self._costs if isinstance(self._costs, Cost) else self._costs[served.manifest.name]

    def again(self, served: Measurable) -> None:
        return None


class MeasuredCosts(Costs):
    """What ``measure(runs, pause_s)`` returns for each measurement."""

    def __init__(self, measure: Callable[[int, float], Cost]) -> None:
        super().__init__()
        self._measure = measure

    def measure(self, served: Measurable, runs: int, pause_s: float) -> Cost:
        return self._measure(runs, pause_s)


def costing(burst_ms: float, asking_ms: float) -> Opener:
    """Return an opener of networks that all cost the same."""
    return Opener(costs=FixedCosts(Cost(burst_ms, asking_ms)))
