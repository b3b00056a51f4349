"""Time inside ``push``, and from a loss to its audio: ``plc bench latency``.

Each combination of settings is measured in several *runs*, each a process of its own, in turn: the
engine chooses its rungs when a stream is opened, so that two starts differ by more than two minutes
of one. In each run packets go through in up to three modes (:mod:`plc_bench.timing.measure` has the
loops):

``back-to-back``
    As fast as the engine takes them: the most that the processor does.
``steady``
    One every ``packet_ms``, lost now and then: a stream.
``cold``
    The same, but 8 MiB of other memory are touched before each call: code and data of the stream
    have left the caches. A peer, such as libopus, decodes the same packets.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from plc.engine.loss import GilbertElliott
from plc.engine.runtime.priority import Priority, Wish
from plc.engine.runtime.threads import Level
from plc.engine.stream.stats import TimeHistogram
from plc.engine.stream.warm import warm_up
from plc.errors import ConfigError, unknown
from plc_bench.base import workers
from plc_bench.base.compare import statistics
from plc_bench.base.corpus import Samples
from plc_bench.base.rows import TIMES_FORMAT
from plc_bench.base.surroundings import background_load, machine_facts
from plc_bench.base.workers import Failure
from plc_bench.timing.measure import (
    Disturbances,
    Peer,
    Times,
    cut,
    piece,
    summarise_times,
    time_back_to_back,
    time_paced,
)

BACK_TO_BACK, STEADY, COLD = MODES = ("back-to-back", "steady", "cold")
KINDS = {
    "good": "received",
    "concealed": "lost",
    "answer": "loss to audio",
    "late": "waking after turn",
    "peer_good": "libopus, received",
    "peer_concealed": "libopus, lost",
    "null_loop": "null loop",
    "null_answer": "null loop, from turn",
}
"""Kinds of times: calls of ``push``, but ``answer`` begins at the turn."""
# Which calls a kind has: by name, and received, lost or all.
_CALLS = {
    "good": ("push", False),
    "concealed": ("push", True),
    "answer": ("answer", True),
    "late": ("late", None),
    "peer_good": ("peer", False),
    "peer_concealed": ("peer", True),
    "null_loop": ("null", None),
    "null_answer": ("null_answer", None),
}
TOUCH_MB = 8.0
"""Other memory that ``cold`` touches before each call, in MiB."""

# A piece of this length is played over and over: long enough that no fit sees it repeat.
_PIECE_S = 20.0
_SHORTEST_PIECE_S = 2.0
# Start of a run beside its audio: for the progress bar alone.
_START_S = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """One combination of the settings of ``plc bench latency``: a stream, its losses, and how.

    Attributes
    ----------
    packet_ms : float
        Packet length, which is also the deadline of a packet.
    loss, mean_burst : float
        Share of packets lost, 0 to 1, and mean packets in a burst, of Gilbert and Elliott's model.
    seconds : float
        Audio of the stream in each mode.
    model : str
        Network to use: a name, a path or ``"auto"``.
    modes : tuple of str, of :data:`MODES`
    priority : str
        Of its thread, as ``--priority`` of ``plc relay``.
    clips : tuple of Path
        Audio to push, an equal part of each clip; none: a made piece of music.
    """

    sample_rate: int = 48_000
    packet_ms: float = 10.0
    channels: int = 1
    method: Any = "auto"
    loss: float = 0.1
    mean_burst: float = 1.5
    seconds: float = 30.0
    model: str = "auto"
    modes: tuple[str, ...] = MODES
    load: int = 0
    priority: Wish = "normal"
    clips: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Check the settings that the engine does not see."""
        for mode in self.modes or ("",):
            if mode not in MODES:
                raise ConfigError(unknown("mode", mode, MODES))
        for name in ("packet_ms", "seconds"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a time above 0")

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return max(1, round(self.sample_rate * self.packet_ms / 1000))

    @property
    def packets(self) -> int:
        """Packets in each mode."""
        return max(1, round(1000 * self.seconds / self.packet_ms))

    @property
    def expected_s(self) -> float:
        """Expected duration of a run."""
        return _START_S + self.seconds * sum(mode != BACK_TO_BACK for mode in self.modes)

    @property
    def name(self) -> str:
        """Say it in a line."""
        through = "" if self.model == "auto" else f" ({self.model})"
        return (
            f"{self.method}{through}, {self.sample_rate} Hz, {self.channels} ch, "
            f"{self.packet_ms:g} ms"
        )

    def open(self, mode: str = STEADY) -> plc.Concealer:
        """Return an engine on the wall's clock; back to back there is no time to prepare."""
        return plc.Concealer(
            sample_rate=self.sample_rate,
            channels=self.channels,
            packet_samples=self.packet_samples,
            method=self.method,
            model=self.model,
            prepare="never" if mode == BACK_TO_BACK else "auto",
        )

    def trace(self) -> NDArray[np.bool_]:
        """Return which packets are lost: bool, shape (packets,)."""
        return GilbertElliott(self.loss, self.mean_burst).trace(self.packets, 0)


def grid(common: LatencySettings, **lists: Sequence[Any]) -> list[LatencySettings]:
    """Return every combination once."""
    combined = (
        dataclasses.replace(common, **dict(zip(lists, values, strict=True)))
        for values in itertools.product(*lists.values())
    )
    return list(dict.fromkeys(combined))


@dataclass(frozen=True, slots=True)
class Sample:
    """One run in one mode: durations in ms by kind, and fields of :class:`LatencyRow`.

    Attributes
    ----------
    counts : dict
        Those that are summed over the runs: numbers, and numbers by name.
    figures : dict
        Those of which the median is taken.
    """

    times_ms: dict[str, NDArray[np.float64]]
    counts: dict[str, Any]
    figures: dict[str, float]
    peer: str
    disturbances: Disturbances


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """Times of one combination in one mode.

    Attributes
    ----------
    times : mapping from str to Times
        By kind (:data:`KINDS`), over all runs.
    histograms : mapping from str to list of TimeHistogram
        The same, one for each run.
    pushes, deadline_misses : int
        Calls, and those that took longer than a packet lasts; if paced, those whose samples came
        more than a packet after the turn.
    null_misses : int
        The same of the null loop: the machine alone. Paced, it runs at the same turns, before the
        engine is called.
    misses_per_million, misses_per_million_below : float
        Share of deadline misses, and its upper bound at 95 % confidence if misses are
        independent.
    faster_than_real_time : float
        Audio time over wall time: median of the runs, back to back.
    cpu_share : float
        Processor time over wall time, median; 1 is one core.
    construction_ms, first_push_ms : float
        The constructor, with warm-up and calibration, and the first call of all: medians.
    network_late : int
        Answers of the network that were not there in time.
    prepared : mapping from str to int
        Counters of :class:`~plc.engine.ahead.pace.PreparationCounters`.
    peer : str
        What decoded beside the stream, or why nothing did; empty where it was not asked.
    disturbances : Disturbances, summed over the runs
    """

    settings: LatencySettings
    mode: str
    times: dict[str, Times]
    histograms: dict[str, list[TimeHistogram]]
    pushes: int
    deadline_misses: int
    null_misses: int
    misses_per_million: float
    misses_per_million_below: float
    faster_than_real_time: float
    cpu_share: float
    construction_ms: float
    first_push_ms: float
    rungs: dict[str, int]
    network_late: int
    prepared: dict[str, int]
    peer: str
    disturbances: Disturbances


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """All rows, with the machine."""

    format: str = TIMES_FORMAT
    machine: dict[str, str]
    runs: int
    rows: list[LatencyRow]
    failures: list[Failure] = field(default_factory=list)


Run = Callable[[LatencySettings], dict[str, Sample]]
Packets = list[Samples]
OpenPeer = Callable[[Packets, int, float], tuple[Peer | None, str]]
"""Takes packets, their rate and the share lost; :func:`plc_bench.peers.opus.timed_decoder`."""


def no_peer(packets: Packets, sample_rate: int, loss: float) -> tuple[Peer | None, str]:
    """Open nothing."""
    return None, ""


def measure(
    combinations: Sequence[LatencySettings],
    runs: int,
    on_done: Callable[[float], None] = lambda expected_s: None,
    attempt: Callable[[Run, LatencySettings, str], dict[str, Sample] | Failure] = workers.alone,
    open_peer: OpenPeer = no_peer,
) -> LatencyReport:
    """Return the times of every combination.

    Parameters
    ----------
    combinations : sequence of LatencySettings, with the same ``load``
    runs : int
        Of each, in turn with the others, so that a machine that changes does so for all.
    on_done : callable
        Called after each run with its expected seconds.
    attempt : callable
        Runs :func:`run` on settings, in a process of its own by default, and returns samples or
        a failure. A failure is named in the report; the others go on.
    open_peer : callable
        Opens what decodes beside a cold stream; picklable.
    """
    warm_up()  # compiled kernels are kept: no run is to pay for the first compilation
    samples: dict[LatencySettings, list[dict[str, Sample]]] = {one: [] for one in combinations}
    failures: dict[LatencySettings, Failure] = {}
    with background_load(max((one.load for one in combinations), default=0)):
        for settings in [one for _ in range(runs) for one in combinations]:
            if settings not in failures:
                result = attempt(partial(run, open_peer=open_peer), settings, settings.name)
                if isinstance(result, Failure):
                    failures[settings] = result
                else:
                    samples[settings].append(result)
            on_done(settings.expected_s)
    return LatencyReport(
        machine=machine_facts(),
        runs=runs,
        rows=[
            summarise(settings, mode, [one[mode] for one in taken])
            for settings, taken in samples.items()
            if taken
            for mode in settings.modes
        ],
        failures=list(failures.values()),
    )


def run(
    settings: LatencySettings,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], object] = time.sleep,
    open_peer: OpenPeer = no_peer,
) -> dict[str, Sample]:
    """Time pushed packets in each mode, each with a new stream.

    ``clock`` returns nanoseconds, ``sleep`` takes seconds.
    """
    seconds = max(_SHORTEST_PIECE_S, settings.seconds)
    seconds = seconds if settings.clips else min(_PIECE_S, seconds)
    signal = piece(settings.clips, settings.sample_rate, seconds, settings.channels)
    packets = cut(signal, settings.packet_samples)
    with Priority(settings.priority) as priority:
        priority.take(Level.AUDIO)
        return {
            mode: _run_mode(settings, mode, packets, clock, sleep, open_peer)
            for mode in settings.modes
        }


def _run_mode(
    settings: LatencySettings,
    mode: str,
    packets: Packets,
    clock: Callable[[], int],
    sleep: Callable[[float], object],
    open_peer: OpenPeer,
) -> Sample:
    trace = settings.trace()
    peer, peer_name, touch_mb = None, "", 0.0
    if mode == COLD:
        touch_mb = TOUCH_MB
        peer, peer_name = open_peer(packets, settings.sample_rate, settings.loss)
    begin_s = time.perf_counter()
    concealer = settings.open(mode)
    construction_ms = 1e3 * (time.perf_counter() - begin_s)
    calls = concealer.push, packets, trace
    if mode == BACK_TO_BACK:
        timed = time_back_to_back(*calls, clock)
    else:
        timed = time_paced(*calls, settings.packet_ms, clock, sleep, touch_mb, peer)
    concealer.close()
    stats = concealer.stats
    slow, null = ("push", "null") if mode == BACK_TO_BACK else ("answer", "null_answer")
    return Sample(
        times_ms=by_kind(timed.times_ms, trace),
        counts={
            "deadline_misses": int((timed.times_ms[slow] > settings.packet_ms).sum()),
            "null_misses": int((timed.times_ms[null] > settings.packet_ms).sum()),
            "rungs": {rung: count for rung, count in stats.rung_samples.items() if count},
            "network_late": stats.network.network_late,
            "prepared": asdict(stats.ahead),
        },
        figures={
            "faster_than_real_time": trace.size * settings.packet_ms / 1000 / timed.wall_s,
            "cpu_share": timed.cpu_s / timed.wall_s,
            "construction_ms": construction_ms,
            "first_push_ms": float(timed.times_ms["push"][0]),
        },
        peer=peer_name,
        disturbances=timed.disturbances,
    )


def by_kind(
    times_ms: Mapping[str, NDArray[np.float64]], trace: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Return durations in ms by :data:`KINDS`, without empty kinds."""
    found = {
        kind: times_ms[name] if lost is None else times_ms[name][trace == lost]
        for kind, (name, lost) in _CALLS.items()
        if name in times_ms
    }
    return {kind: each for kind, each in found.items() if each.size}


def summarise(settings: LatencySettings, mode: str, samples: Sequence[Sample]) -> LatencyRow:
    """Return the times of several runs in one mode."""
    kinds = samples[0].times_ms
    pushes = settings.packets * len(samples)
    counts = {name: _total([one.counts[name] for one in samples]) for name in samples[0].counts}
    figures: dict[str, Any] = {
        name: float(np.median([one.figures[name] for one in samples]))
        for name in samples[0].figures
    }
    misses = counts["deadline_misses"]
    return LatencyRow(
        settings=settings,
        mode=mode,
        times={
            kind: summarise_times(np.concatenate([sample.times_ms[kind] for sample in samples]))
            for kind in kinds
        },
        histograms={
            kind: [TimeHistogram(sample.times_ms[kind].tolist()) for sample in samples]
            for kind in kinds
        },
        pushes=pushes,
        misses_per_million=1e6 * misses / pushes,
        misses_per_million_below=1e6 * most_events(misses) / pushes,
        peer=samples[0].peer,
        disturbances=_sum_disturbances([sample.disturbances for sample in samples]),
        **counts,
        **figures,
    )


def most_events(seen: int) -> float:
    """Return the upper 95 % confidence limit of a Poisson mean: three for none seen."""
    return float(statistics().chi2.ppf(0.95, 2 * (seen + 1)) / 2)


def _total(counts: Sequence[Any]) -> Any:
    """Return the sum of numbers, or of numbers by name."""
    if isinstance(counts[0], int):
        return sum(counts)
    names = dict.fromkeys(name for each in counts for name in each)
    return {name: sum(each.get(name, 0) for each in counts) for name in names}


def _sum_disturbances(each: Sequence[Disturbances]) -> Disturbances:
    def total(values: list[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None

    return Disturbances(
        collections=[sum(one.collections[k] for one in each) for k in range(3)],
        longest_collection_ms=max(one.longest_collection_ms for one in each),
        new_blocks=sum(one.new_blocks for one in each),
        kernel_allocations=total([one.kernel_allocations for one in each]),
        page_faults=total([one.page_faults for one in each]),
        preempted=total([one.preempted for one in each]),
    )
