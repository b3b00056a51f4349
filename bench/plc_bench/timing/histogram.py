"""Durations in logarithmic buckets: small enough to keep, fine enough to draw and to compare.

A bucket is 2.3 % wide, from 10 ns to 100 s; only those that hold something are kept. (The engine
counts its own time in coarser ones, :class:`plc.engine.stats.TimeHistogram`, from inside the audio
path.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST_MS = 1e-5
_BUCKETS_PER_DECADE = 100
_BUCKETS = 10 * _BUCKETS_PER_DECADE
# Points of a curve for each factor of ten in rarity.
_POINTS_PER_DECADE = 8


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of one kind of call, in ms; NaN where there was none."""

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


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many durations fell into each bucket.

    Attributes
    ----------
    first_ms : float
        Where bucket 0 begins.
    buckets_per_decade : int
        Bucket ``k`` begins at ``first_ms * 10 ** (k / buckets_per_decade)``.
    max_ms : float
        The longest, exactly; 0 if there is none.
    counts : mapping from int to int
        By bucket, ascending, without the empty ones.
    """

    first_ms: float
    buckets_per_decade: int
    max_ms: float
    counts: Mapping[int, int]

    @classmethod
    def of(cls, times_ms: NDArray[np.float64]) -> "Histogram":
        """Return the histogram of durations in ms."""
        places = np.floor(_BUCKETS_PER_DECADE * np.log10(np.maximum(times_ms / _FIRST_MS, 1.0)))
        buckets, counts = np.unique(places.clip(max=_BUCKETS - 1).astype(int), return_counts=True)
        by_bucket = dict(zip(buckets.tolist(), counts.tolist(), strict=True))
        return cls(_FIRST_MS, _BUCKETS_PER_DECADE, float(times_ms.max(initial=0.0)), by_bucket)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Histogram":
        """Return what was written as JSON; raise ValueError, TypeError or KeyError otherwise."""
        counts = {int(bucket): int(count) for bucket, count in value["counts"].items()}
        first_ms, per_decade = float(value["first_ms"]), int(value["buckets_per_decade"])
        if first_ms <= 0 or per_decade < 1 or any(count < 1 for count in counts.values()):
            raise ValueError("a histogram's counts, first_ms and buckets_per_decade are above 0")
        return cls(first_ms, per_decade, float(value["max_ms"]), dict(sorted(counts.items())))

    @property
    def total(self) -> int:
        """How many durations there are."""
        return sum(self.counts.values())

    def quantiles_ms(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the durations that these shares, 0 to 1, do not exceed: a bucket's upper end."""
        buckets = np.fromiter(self.counts, float)
        reached = np.cumsum(np.fromiter(self.counts.values(), float))
        ranks = np.ceil(shares * self.total - 1e-9)
        upper = self.first_ms * 10.0 ** ((buckets + 1) / self.buckets_per_decade)
        places = np.searchsorted(reached, ranks).clip(max=upper.size - 1)
        times_ms: NDArray[np.float64] = np.minimum(upper[places], self.max_ms)
        return times_ms

    def curve(self) -> tuple[list[float], list[float]]:
        """Return rarities from 1 to the total, and how long one call in so many takes at least."""
        if not self.counts:
            return [], []
        points = max(2, round(_POINTS_PER_DECADE * np.log10(max(self.total, 2))) + 1)
        rarity = np.geomspace(1.0, self.total, points)
        # The rarest is the longest itself, not the last bucket but one.
        took_ms = self.quantiles_ms(1.0 - 1.0 / rarity)
        took_ms[-1] = self.max_ms
        return rarity.tolist(), took_ms.tolist()


def merged(histograms: list[Histogram]) -> Histogram:
    """Return all durations in one; all must have the same buckets."""
    counts: dict[int, int] = {}
    for one in histograms:
        for bucket, count in one.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
    longest = max(one.max_ms for one in histograms)
    first = histograms[0]
    return Histogram(
        first.first_ms, first.buckets_per_decade, longest, dict(sorted(counts.items()))
    )
