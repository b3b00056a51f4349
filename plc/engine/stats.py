"""Counters of a stream, read from outside."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

from plc.runtime.runner import NetworkCounters, PreparationCounters

# 100 bins a decade from 10 ns to 100 s: a percentile is right to 2.4 %.
_BINS_PER_DECADE = 100
_FIRST_MS = 1e-5
_FIRST_LOG = math.log10(_FIRST_MS)
_BINS = 10 * _BINS_PER_DECADE
# What a histogram written as JSON says of its bins.
_BINNING = {"first_ms": _FIRST_MS, "buckets_per_decade": _BINS_PER_DECADE}


class TimeHistogram:
    """Durations in logarithmic bins: percentiles of any number of them in 8 KB.

    Parameters
    ----------
    times_ms : iterable of float
        Durations to begin with.
    """

    __slots__ = ("_bins", "max_ms")

    def __init__(self, times_ms: Iterable[float] = ()) -> None:
        self._bins = np.zeros(_BINS, np.int64)
        self.max_ms = 0.0
        for duration_ms in times_ms:
            self.add(duration_ms)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Return what :meth:`as_dict` described; raise ValueError, TypeError or KeyError."""
        histogram = cls()
        histogram.max_ms = float(value["max_ms"])
        if not isinstance(value["counts"], Mapping):
            raise TypeError("a histogram's counts are a mapping by bin")
        if any(value[name] != expected for name, expected in _BINNING.items()):
            raise ValueError(f"a histogram's bins are {_BINNING}")
        for place, count in value["counts"].items():
            if not (0 <= int(place) < _BINS and 0 < int(count) < 1 << 62):
                raise ValueError("a histogram's counts are above 0, in bins that exist")
            histogram._bins[int(place)] = int(count)
        return histogram

    @property
    def total(self) -> int:
        """Number of durations counted."""
        return int(self._bins.sum())

    def add(self, duration_ms: float) -> None:
        """Count one duration; NaN counts as the shortest."""
        if not math.isfinite(duration_ms):
            duration_ms = 0.0
        # The difference of logarithms: a quotient of what a broken clock says may overflow.
        decades = math.log10(max(duration_ms, _FIRST_MS)) - _FIRST_LOG
        place = int(_BINS_PER_DECADE * decades)
        self._bins[min(place, _BINS - 1)] += 1
        self.max_ms = max(self.max_ms, duration_ms)

    def merge(self, other: "TimeHistogram") -> None:
        """Count the durations of another histogram too."""
        self._bins += other._bins
        self.max_ms = max(self.max_ms, other.max_ms)

    def as_dict(self) -> dict[str, Any]:
        """Return the bins, the largest duration, and the non-zero counts."""
        used = np.flatnonzero(self._bins).tolist()
        counts = {place: int(self._bins[place]) for place in used}
        return {**_BINNING, "max_ms": self.max_ms, "counts": counts}

    def percentile_ms(self, percent: float) -> float:
        """Return the duration that ``percent`` % do not exceed, to 2.4 %; 0 if there is none."""
        total = self.total
        if total == 0:
            return 0.0
        rank = max(1, math.ceil(total * percent / 100.0))
        place = int(np.searchsorted(np.cumsum(self._bins), rank))
        upper: float = _FIRST_MS * 10.0 ** ((place + 1) / _BINS_PER_DECADE)
        return min(upper, self.max_ms)

    def reset(self) -> None:
        """Drop all durations."""
        self._bins.fill(0)
        self.max_ms = 0.0


@dataclass(slots=True)
class Stats:
    """Counters of a stream; samples are counted once for all channels.

    The first four have the names and meanings of W3C's *Identifiers for WebRTC's Statistics API*,
    ``RTCInboundRtpStreamStats``.
    """

    total_samples_received: int = 0
    """Samples played, received or concealed (``totalSamplesReceived``)."""
    concealed_samples: int = 0
    """Samples made up for lost ones (``concealedSamples``)."""
    silent_concealed_samples: int = 0
    """Of these, those that were comfort noise alone (``silentConcealedSamples``)."""
    concealment_events: int = 0
    """Bursts concealed (``concealmentEvents``)."""
    packets: int = 0
    """Packets pushed, lost ones among them."""
    lost_packets: int = 0
    """Packets pushed as None."""
    partial_packets: int = 0
    """Packets pushed of which a part was missing."""
    invalid_packets: int = 0
    """Packets treated as lost because a sample was NaN, infinite or absurdly large."""
    crossfaded_samples: int = 0
    """Received samples blended with a concealment on recovery."""
    bridged_samples: int = 0
    """Concealed samples for which the far side of the gap was known."""
    fills_limited: int = 0
    """Concealed packets that would have been much louder than what was received lately, and were
    turned down (:mod:`plc.engine.fill_limit`)."""
    deadline_misses: int = 0
    """Concealments that took longer than ``budget_ms``, whoever had the processor meanwhile."""
    rung_changes: int = 0
    """Steps down or up the ladder: for the processor time that concealments took, and networks
    switched off or on again, because they were late or failed."""
    longest_burst_samples: int = 0
    rung_samples: dict[str, int] = field(default_factory=dict)
    """Concealed samples by the rung that made them."""
    network: NetworkCounters = field(default_factory=NetworkCounters)
    """What became of the network's runs."""
    ahead: PreparationCounters = field(default_factory=PreparationCounters)
    """How far concealments were prepared before the loss."""
    good_time: TimeHistogram = field(default_factory=TimeHistogram)
    """Time inside ``push`` for packets that arrived."""
    concealed_time: TimeHistogram = field(default_factory=TimeHistogram)
    """Time inside ``push`` for packets that were concealed."""

    def reset(self) -> None:
        """Set everything to 0."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, TimeHistogram | NetworkCounters | PreparationCounters):
                value.reset()
            elif isinstance(value, dict):
                for rung in value:
                    value[rung] = 0
            else:
                setattr(self, each.name, 0)

    def as_dict(self) -> dict[str, object]:
        """Return counters, samples by rung, and percentiles of compute time in ms."""
        out: dict[str, object] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, TimeHistogram):
                out[f"{each.name}_ms"] = percentiles(value)
            elif isinstance(value, dict):
                out[each.name] = {rung: count for rung, count in value.items() if count}
            elif isinstance(value, NetworkCounters | PreparationCounters):
                out |= asdict(value)
            else:
                out[each.name] = value
        return out


def percentiles(times: TimeHistogram) -> dict[str, float]:
    """Return p50, p99, p99.9 and the largest, in ms."""
    return {
        "p50": times.percentile_ms(50.0),
        "p99": times.percentile_ms(99.0),
        "p99.9": times.percentile_ms(99.9),
        "max": times.max_ms,
    }
