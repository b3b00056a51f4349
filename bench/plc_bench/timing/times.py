"""Percentiles of durations, and curves of how rare long ones are."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.stats import TimeHistogram

# Points of a curve for each factor of ten in rarity.
_POINTS_PER_DECADE = 8


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of one kind of call, in ms; NaN without a call."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float


def summarise_times(times_ms: NDArray[np.float64]) -> Times:
    """Return the percentiles of durations in ms."""
    if not times_ms.size:
        return Times(0, *[float("nan")] * 5)
    return Times(times_ms.size, *map(float, np.percentile(times_ms, [50, 95, 99, 99.9, 100])))


def merged(histograms: Iterable[TimeHistogram]) -> TimeHistogram:
    """Return all durations of several histograms in one."""
    whole = TimeHistogram()
    for one in histograms:
        whole.merge(one)
    return whole


def rarity_curve(histogram: TimeHistogram) -> tuple[list[float], list[float]]:
    """Return rarities from 1 to the total, and their durations in ms."""
    total = histogram.total
    if not total:
        return [], []
    points = max(2, round(_POINTS_PER_DECADE * np.log10(max(total, 2))) + 1)
    rarity = np.geomspace(1.0, total, points).tolist()
    took_ms = [histogram.percentile_ms(100.0 * (1.0 - 1.0 / one)) for one in rarity]
    # The rarest is the longest itself, not the last bin but one.
    return rarity, [*took_ms[:-1], histogram.max_ms]
