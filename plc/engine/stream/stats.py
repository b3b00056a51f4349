"""Counters of a stream, read from outside."""

import copy
import math
import pprint
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from plc.engine.ahead.pace import PreparationCounters
from plc.engine.runtime.worker import NetworkCounters
from plc.engine.stream.memory import StreamMemory
from plc_kernels.stream import layout as at
from plc_kernels.stream.start import BINS_PER_DECADE, FIRST_MS, count_time, note_time

# Counters that W3C names, by its names; the meanings are the same.
_W3C = {
    "totalSamplesReceived": "total_samples_received",
    "concealedSamples": "concealed_samples",
    "silentConcealedSamples": "silent_concealed_samples",
    "concealmentEvents": "concealment_events",
}
# What a histogram written as JSON says of its bins.
_BINNING = {"first_ms": FIRST_MS, "buckets_per_decade": BINS_PER_DECADE}


class TimeHistogram:
    """Durations in logarithmic bins: percentiles of any number of them in 8 KB.

    It begins with the durations ``times_ms``.
    """

    __slots__ = ("_bins", "_most")

    def __init__(self, times_ms: Iterable[float] = ()) -> None:
        self._bins = np.zeros(at.TIME_BINS, np.int64)
        self._most = np.zeros(1)
        for duration_ms in times_ms:
            self.add(duration_ms)

    @classmethod
    def over(cls, bins: NDArray[np.int64], most: NDArray[np.float64]) -> Self:
        """Return the histogram that a kernel counts.

        ``bins`` are int64, shape (TIME_BINS,); ``most`` is float64, shape (1,), the longest
        duration in ms.
        """
        histogram = cls.__new__(cls)
        histogram._bins = bins
        histogram._most = most
        return histogram

    @property
    def max_ms(self) -> float:
        """The longest duration."""
        return float(self._most[0])

    @max_ms.setter
    def max_ms(self, value: float) -> None:
        self._most[0] = value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Return the counters of :meth:`as_dict`; raise ValueError, TypeError or KeyError."""
        histogram = cls()
        histogram.max_ms = float(value["max_ms"])
        if not isinstance(value["counts"], Mapping):
            raise TypeError("a histogram's counts are a mapping by bin")
        if any(value[name] != expected for name, expected in _BINNING.items()):
            raise ValueError(f"a histogram's bins are {_BINNING}")
        for place, count in value["counts"].items():
            if not (0 <= int(place) < at.TIME_BINS and 0 < int(count) < 1 << 62):
                raise ValueError("a histogram's counts are above 0, in bins that exist")
            histogram._bins[int(place)] = int(count)
        return histogram

    @property
    def total(self) -> int:
        """Number of durations counted."""
        return int(self._bins.sum())

    def add(self, duration_ms: float) -> None:
        """Count one duration; NaN counts as the shortest."""
        count_time(float(duration_ms), self._bins, self._most)

    def as_dict(self) -> dict[str, Any]:
        """Return the bins, the largest duration, and the non-zero counts."""
        used = np.flatnonzero(self._bins).tolist()
        counts = {place: int(self._bins[place]) for place in used}
        return {**_BINNING, "max_ms": self.max_ms, "counts": counts}

    def percentile_ms(self, percent: float) -> float:
        """Return the duration that ``percent`` % do not exceed, to 2.4 %; 0 without any."""
        total = self.total
        if total == 0:
            return 0.0
        rank = max(1, math.ceil(total * percent / 100.0))
        place = int(np.searchsorted(np.cumsum(self._bins), rank))
        upper: float = FIRST_MS * 10.0 ** ((place + 1) / BINS_PER_DECADE)
        return min(upper, self.max_ms)

    def reset(self) -> None:
        """Drop all durations."""
        self._bins.fill(0)
        self.max_ms = 0.0


class Description(dict[str, Any]):
    """Items that are printed on several lines."""

    def __repr__(self) -> str:
        """Return the items in their order."""
        return pprint.pformat(dict(self), width=120, sort_dicts=False)


class _Counter:
    """A word of a stream's memory, as an attribute."""

    def __init__(self, name: str) -> None:
        self._place = at.COUNTERS.index(name)

    def __get__(self, stats: "Stats", owner: type | None = None) -> int:
        return int(stats._words[self._place])

    def __set__(self, stats: "Stats", value: int) -> None:
        stats._words[self._place] = value


class Stats:
    """Counters of a stream; samples are counted once for all channels.

    A view of the memory that the stream's step writes. The first four have the names and meanings
    of W3C's *Identifiers for WebRTC's Statistics API*, ``RTCInboundRtpStreamStats``.

    Parameters
    ----------
    memory : StreamMemory or None
        Of the stream; None: counters of their own.
    network : NetworkCounters or None
        Of the stream's method; None: new ones.
    """

    __slots__ = (
        "_memory",
        "_network",
        "_rung_samples",
        "_times",
        "_words",
        "ahead",
        "detected_dropouts",
        "rungs",
    )

    total_samples_received = _Counter("total_samples_received")
    """Samples played, received or concealed (``totalSamplesReceived``)."""
    concealed_samples = _Counter("concealed_samples")
    """Samples made up for lost ones (``concealedSamples``)."""
    silent_concealed_samples = _Counter("silent_concealed_samples")
    """Of these, those that were comfort noise alone (``silentConcealedSamples``)."""
    concealment_events = _Counter("concealment_events")
    """Bursts concealed (``concealmentEvents``)."""
    packets = _Counter("packets")
    """Packets pushed, lost ones among them."""
    lost_packets = _Counter("lost_packets")
    """Packets pushed as None, or all of which was a dropout."""
    partial_packets = _Counter("partial_packets")
    """Packets pushed of which a part was missing, or a dropout."""
    invalid_packets = _Counter("invalid_packets")
    """Packets treated as lost because a sample was NaN, infinite or absurdly large."""
    crossfaded_samples = _Counter("crossfaded_samples")
    """Received samples blended with a concealment on recovery."""
    bridged_samples = _Counter("bridged_samples")
    """Concealed samples for which the far side of the gap was known."""
    fills_limited = _Counter("fills_limited")
    """Concealed packets that would have been much louder than what was received lately, and were
    turned down (``plc_kernels.stream.fill_limit``)."""
    deadline_misses = _Counter("deadline_misses")
    """Concealments that took longer than ``budget_ms``, whoever had the processor meanwhile."""
    rung_changes = _Counter("rung_changes")
    """Steps down or up the ladder: for the processor time that concealments took, and networks
    switched off or on again, because they were late or failed."""
    longest_burst_samples = _Counter("longest_burst_samples")

    def __init__(
        self, memory: StreamMemory | None = None, network: NetworkCounters | None = None
    ) -> None:
        self._memory = memory
        self.rungs: tuple[str, ...] = () if memory is None else memory.rungs
        """Names by which concealed samples are counted."""
        self._network = network or NetworkCounters()
        self.ahead = PreparationCounters()
        """How far concealments were prepared before the loss."""
        self.detected_dropouts = 0
        """Packets that arrived with a dropout (``detect_dropouts``); they also count as lost, or
        as partial."""
        if memory is None:
            self._words = np.zeros(len(at.COUNTERS), np.int64)
            self._rung_samples = np.zeros(at.MAX_RUNGS, np.int64)
            self._times = (TimeHistogram(), TimeHistogram())
            return
        self._words = memory.counters
        self._rung_samples = memory.rung_samples
        good, concealed = memory.times
        self._times = (TimeHistogram.over(*good), TimeHistogram.over(*concealed))

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """Copy the counters, which then stand still."""
        self._settle()
        kept = {name: getattr(self, name) for name in self.__slots__} | {"_network": self.network}
        return None, copy.deepcopy(kept | {"_memory": None})

    @property
    def network(self) -> NetworkCounters:
        """Outcomes of the networks' runs."""
        counted = self._network
        memory = self._memory
        if memory is not None and memory.block[at.NETWORK] and not memory.block[at.OUTSIDE]:
            counted.network_runs = int(memory.block[at.ANSWERS])
            counted.network_failed = int(memory.block[at.UNSOUND])
            counted.network_done = counted.network_runs - counted.network_failed
        return counted

    @property
    def rung_samples(self) -> dict[str, int]:
        """Concealed samples by the rung that made them."""
        counts = self._rung_samples[: len(self.rungs)].tolist()
        return {name: n for name, n in zip(self.rungs, counts, strict=True) if name}

    @property
    def good_time(self) -> TimeHistogram:
        """Time inside ``push`` for packets that arrived."""
        self._settle()
        return self._times[0]

    @property
    def concealed_time(self) -> TimeHistogram:
        """Time inside ``push`` for packets that were concealed."""
        self._settle()
        return self._times[1]

    def _settle(self) -> None:
        """Count the packet pushed last: the step does so when the next one comes."""
        if self._memory is not None:
            note_time(self._memory.block)

    def reset(self) -> None:
        """Set everything to 0."""
        self._settle()
        self._words.fill(0)
        self._rung_samples.fill(0)
        if self._memory is not None:
            self._memory.block[[at.ANSWERS, at.UNSOUND]] = 0
        self.detected_dropouts = 0
        for each in (*self._times, self.network, self.ahead):
            each.reset()

    def __repr__(self) -> str:
        """Return the most telling counters in a line."""
        return f"<Stats {in_words([self])}>"

    def w3c(self) -> dict[str, int]:
        """Return the counters that W3C names, by its names.

        They are members of ``RTCInboundRtpStreamStats`` [1]_: ``totalSamplesReceived``,
        ``concealedSamples``, ``silentConcealedSamples`` and ``concealmentEvents``. Its others count
        what a jitter buffer does, not a concealer.

        References
        ----------
        .. [1] https://www.w3.org/TR/webrtc-stats/#inboundrtpstats-dict*
        """
        return {name: getattr(self, counter) for name, counter in _W3C.items()}

    def as_dict(self) -> dict[str, object]:
        """Return counters, samples by rung, and percentiles of compute time in ms."""
        out: dict[str, object] = {name: getattr(self, name) for name in at.COUNTERS}
        out["detected_dropouts"] = self.detected_dropouts
        out["rung_samples"] = {rung: count for rung, count in self.rung_samples.items() if count}
        out |= asdict(self.network) | asdict(self.ahead)
        out["good_time_ms"] = percentiles(self.good_time)
        out["concealed_time_ms"] = percentiles(self.concealed_time)
        return out


def in_words(streams: Sequence[Stats]) -> str:
    """Return the most telling counters of some streams, added up."""
    names = ("packets", "lost_packets", "concealed_samples", "concealment_events")
    return " ".join(f"{name}={sum(getattr(each, name) for each in streams)}" for name in names)


def percentiles(times: TimeHistogram) -> dict[str, float]:
    """Return p50, p99, p99.9 and the largest, in ms."""
    return {
        "p50": times.percentile_ms(50.0),
        "p99": times.percentile_ms(99.0),
        "p99.9": times.percentile_ms(99.9),
        "max": times.max_ms,
    }
