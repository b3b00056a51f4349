"""Time inside ``push``, and from a loss to its audio: ``plc bench latency``.

Each combination of settings is measured in several *runs*, each a process of its own, in turn: the
engine chooses its rungs when a stream is opened, so that two starts differ by more than two minutes
of one. In each run packets go through in up to three modes (:mod:`plc_bench.timing.measure` has the
loops):

``back-to-back``
    As fast as they are taken: the most that the processor does.
``steady``
    One every ``packet_ms``, lost now and then: a stream.
``idle-burst``
    The same, but nothing is lost for ``idle_s``, then four packets at once: what the code that
    conceals takes when it and its data have left the caches, and the network's thread sleeps.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from plc.audio.loss import GilbertElliott
from plc.engine.warm import warm_up
from plc.errors import ConfigError
from plc_bench.base import workers
from plc_bench.base.corpus import read_clip
from plc_bench.base.surroundings import background_load, check_cpu, machine_facts, pin
from plc_bench.base.synth import music
from plc_bench.base.workers import Failure
from plc_bench.timing.faults import NO_FAULT, check_fault, faulty_networks
from plc_bench.timing.histogram import Histogram, Times, summarise_times
from plc_bench.timing.measure import Disturbances, Timed, cut, time_back_to_back, time_paced

FORMAT = "plc bench latency, 2"
BACK_TO_BACK, STEADY, IDLE_BURST = MODES = ("back-to-back", "steady", "idle-burst")
KINDS = {
    "good": "received",
    "concealed": "lost",
    "first": "first lost after calm",
    "answer": "loss to audio",
    "null_loop": "null loop",
    "null_answer": "null loop, from turn",
}
"""What is timed; the calls of ``push``, but for ``answer``, which begins at the packet's turn."""

# A piece of this length is played over and over: long enough that no fit sees it repeat.
_PIECE_S = 20.0
_SHORTEST_PIECE_S = 2.0
_IDLE_BURST_PACKETS = 4
# What a start takes beside its audio: for the progress bar alone.
_START_S = 2.5
_NETWORK_METHOD = "auto"
_NO_PROVIDER = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """One combination of what ``plc bench latency`` measures.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    packet_ms : float
        Packet length, which is also the deadline of a packet.
    channels : int
        Channels.
    method : str
        As ``plc.Concealer`` names it.
    provider : str
        What the network runs on; ``"none"`` where the method has none.
    lookahead : int
        Future packets the engine waits for.
    budget_ms : float or None
        Time the engine may take for a packet; None for its default.
    prepare : str
        When concealments are prepared: ``"auto"``, ``"always"`` or ``"never"``.
    loss : float
        Share of packets lost, 0 to 1.
    mean_burst : float
        Mean number of packets in a burst.
    seconds : float
        Audio that goes through in each mode.
    idle_s : float
        Calm before each burst of ``idle-burst``.
    modes : tuple of str
        Of :data:`MODES`.
    seed : int
        Of the losses.
    collector : bool
        Whether Python's garbage collector runs meanwhile.
    cpu : int or None
        The CPU that the process is bound to.
    load : int
        Busy processes beside it.
    fault : str
        What its networks do, of :data:`plc_bench.timing.faults.FAULTS`.
    file : Path or None
        Audio to push, repeated; else a made piece of music.
    """

    sample_rate: int = 48_000
    packet_ms: float = 10.0
    channels: int = 1
    method: str = "auto"
    provider: str = "auto"
    lookahead: int = 0
    budget_ms: float | None = None
    prepare: str = "auto"
    loss: float = 0.1
    mean_burst: float = 1.5
    seconds: float = 30.0
    idle_s: float = 1.0
    modes: tuple[str, ...] = MODES
    seed: int = 0
    collector: bool = False
    cpu: int | None = None
    load: int = 0
    fault: str = NO_FAULT
    file: Path | None = None

    def __post_init__(self) -> None:
        """Check what the engine does not."""
        unknown = [mode for mode in self.modes if mode not in MODES]
        if unknown or not self.modes:
            raise ConfigError(f"mode is {', '.join(unknown)!r}; known: {', '.join(MODES)}")
        for name in ("packet_ms", "seconds", "idle_s"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; give a time above 0")
        check_cpu(self.cpu)
        check_fault(self.fault)

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return max(1, round(self.sample_rate * self.packet_ms / 1000))

    @property
    def packets(self) -> int:
        """Packets that go through in each mode."""
        return max(1, round(self.seconds * 1000 / self.packet_ms))

    @property
    def expected_s(self) -> float:
        """About how long a run takes."""
        return _START_S + self.seconds * sum(mode != BACK_TO_BACK for mode in self.modes)

    @property
    def name(self) -> str:
        """Say it in a line."""
        through = "" if self.provider in ("auto", _NO_PROVIDER) else f" on {self.provider}"
        ahead = f", lookahead {self.lookahead}" if self.lookahead else ""
        budget = "" if self.budget_ms is None else f", budget {self.budget_ms:g} ms"
        prepare = "" if self.prepare == "auto" else f", prepare {self.prepare}"
        fault = "" if self.fault == NO_FAULT else f", networks {self.fault}"
        return (
            f"{self.method}{through}, {self.sample_rate} Hz, {self.channels} ch, "
            f"{self.packet_ms:g} ms{ahead}{budget}{prepare}{fault}"
        )

    def trace(self, mode: str) -> NDArray[np.bool_]:
        """Return what is lost in a mode: bool, shape (packets,)."""
        if mode != IDLE_BURST:
            return GilbertElliott(self.loss, self.mean_burst).trace(self.packets, self.seed)
        calm = max(1, round(1000 * self.idle_s / self.packet_ms))
        return np.arange(self.packets) % (calm + _IDLE_BURST_PACKETS) >= calm


def grid(common: LatencySettings, **lists: Sequence[Any]) -> list[LatencySettings]:
    """Return every combination of what the lists hold; providers, faults only of networks."""
    combined = [
        dataclasses.replace(common, **dict(zip(lists, values, strict=True)))
        for values in itertools.product(*lists.values())
    ]
    whole = [
        one
        if one.method == _NETWORK_METHOD
        else dataclasses.replace(one, provider=_NO_PROVIDER, fault=NO_FAULT)
        for one in combined
    ]
    return list(dict.fromkeys(whole))


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run took in one mode: durations in ms by kind, and what was going on."""

    times_ms: dict[str, NDArray[np.float64]]
    misses: int
    null_misses: int
    faster_than_real_time: float
    cpu_share: float
    construction_ms: float
    first_push_ms: float
    rungs: dict[str, int]
    network_late: int
    disturbances: Disturbances


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """What one combination took in one mode.

    Attributes
    ----------
    settings : LatencySettings
        Of the runs.
    mode : str
        Of :data:`MODES`.
    times : mapping from str to Times
        By kind (:data:`KINDS`), over all runs.
    histograms : mapping from str to list of Histogram
        The same, one for each run.
    pushes, deadline_misses : int
        Calls, and those that took longer than a packet lasts; where they are paced, those whose
        samples came more than a packet after its turn.
    null_misses : int
        The same of the null loop, which the machine alone is to blame for. Paced, it runs at the
        same turns: those that are late before the engine is called.
    misses_per_million, misses_per_million_below : float
        Share of deadline misses, and what it is below at 95 % confidence if they come
        independently.
    faster_than_real_time : float
        Audio time over wall time: median of the runs, back to back.
    cpu_share : float
        Processor time over wall time, median; 1 is one core.
    construction_ms, first_push_ms : float
        The constructor, with warm-up and calibration, and the first call of all: medians.
    delay_ms : float
        That the lookahead adds to all times, on purpose.
    rungs : mapping from str to int
        Concealed samples by what made them.
    network_late : int
        Answers of the network that were not there in time.
    disturbances : Disturbances
        Summed over the runs.
    """

    settings: LatencySettings
    mode: str
    times: dict[str, Times]
    histograms: dict[str, list[Histogram]]
    pushes: int
    deadline_misses: int
    null_misses: int
    misses_per_million: float
    misses_per_million_below: float
    faster_than_real_time: float
    cpu_share: float
    construction_ms: float
    first_push_ms: float
    delay_ms: float
    rungs: dict[str, int]
    network_late: int
    disturbances: Disturbances


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """All rows, and what they hold for."""

    format: str = FORMAT
    machine: dict[str, str]
    runs: int
    rows: list[LatencyRow]
    failures: list[Failure] = field(default_factory=list)


Run = Callable[[LatencySettings], dict[str, Sample]]


def measure(
    combinations: Sequence[LatencySettings],
    runs: int,
    on_done: Callable[[float], None] = lambda expected_s: None,
    attempt: Callable[[Run, LatencySettings, str], dict[str, Sample] | Failure] = workers.alone,
) -> LatencyReport:
    """Return the times of every combination.

    Parameters
    ----------
    combinations : sequence of LatencySettings
        With the same ``load``.
    runs : int
        Of each, in turn with the others, so that a machine that changes does so for all.
    on_done : callable
        Called after each run with how many seconds it was expected to take.
    attempt : callable
        Runs :func:`run` on settings, in a process of its own by default, and returns what became
        of it. One that fails is named in the report; the others go on.
    """
    warm_up()  # compiled kernels are kept: no run is to pay for what only the first ever pays for
    samples: dict[LatencySettings, list[dict[str, Sample]]] = {one: [] for one in combinations}
    failures: dict[LatencySettings, Failure] = {}
    with background_load(max((one.load for one in combinations), default=0)):
        for settings in [one for _ in range(runs) for one in combinations]:
            if settings not in failures:
                result = attempt(run, settings, settings.name)
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
) -> dict[str, Sample]:
    """Return what pushing packets takes, by mode, each with a new stream.

    ``clock`` returns nanoseconds, ``sleep`` takes seconds.
    """
    pin(settings.cpu)
    packets = cut(_signal(settings), settings.packet_samples)
    if not packets:
        raise ConfigError(f"{settings.file} is shorter than a packet of {settings.packet_ms:g} ms")
    return {mode: _run_mode(settings, mode, packets, clock, sleep) for mode in settings.modes}


def _run_mode(
    settings: LatencySettings,
    mode: str,
    packets: list[NDArray[np.float32]],
    clock: Callable[[], int],
    sleep: Callable[[float], object],
) -> Sample:
    trace = settings.trace(mode)
    with faulty_networks(settings.fault) as go_wrong:
        begin_s = time.perf_counter()
        concealer = open_stream(settings, mode)
        construction_ms = 1e3 * (time.perf_counter() - begin_s)
        go_wrong()
        calls = concealer.push, packets, trace
        if mode == BACK_TO_BACK:
            timed = time_back_to_back(*calls, settings.collector, clock)
        else:
            timed = time_paced(*calls, settings.packet_ms, settings.collector, clock, sleep)
        concealer.close()
    paced = mode != BACK_TO_BACK
    slow_ms = timed.answer_ms if paced else timed.push_ms
    null_slow_ms = timed.null_answer_ms if paced else timed.null_ms
    return Sample(
        times_ms=by_kind(timed, trace, mode),
        misses=int((slow_ms > settings.packet_ms).sum()),
        null_misses=int((null_slow_ms > settings.packet_ms).sum()),
        faster_than_real_time=trace.size * settings.packet_ms / 1000 / timed.wall_s,
        cpu_share=timed.cpu_s / timed.wall_s,
        construction_ms=construction_ms,
        first_push_ms=float(timed.push_ms[0]),
        rungs={rung: count for rung, count in concealer.stats.rung_samples.items() if count},
        network_late=concealer.stats.network.network_late,
        disturbances=timed.disturbances,
    )


def open_stream(settings: LatencySettings, mode: str = STEADY) -> plc.Concealer:
    """Return an engine as the settings say; back to back there is no time to prepare."""
    return plc.Concealer(
        sample_rate=settings.sample_rate,
        channels=settings.channels,
        packet_samples=settings.packet_samples,
        lookahead=settings.lookahead,
        method=settings.method,
        budget_ms=settings.budget_ms,
        prepare="never" if mode == BACK_TO_BACK else settings.prepare,
        provider="auto" if settings.provider == _NO_PROVIDER else settings.provider,
    )


def by_kind(timed: Timed, trace: NDArray[np.bool_], mode: str) -> dict[str, NDArray[np.float64]]:
    """Return durations in ms by the kind of call (:data:`KINDS`), but for kinds without one."""
    first = trace & ~np.concatenate([[False], trace[:-1]])
    kinds = {
        "good": timed.push_ms[~trace],
        "concealed": timed.push_ms[trace],
        "first": timed.push_ms[first] if mode == IDLE_BURST else np.empty(0),
        "answer": timed.answer_ms[trace] if timed.answer_ms.size else np.empty(0),
        "null_loop": timed.null_ms,
        "null_answer": timed.null_answer_ms,
    }
    return {kind: times_ms for kind, times_ms in kinds.items() if times_ms.size}


def summarise(settings: LatencySettings, mode: str, samples: Sequence[Sample]) -> LatencyRow:
    """Return what several runs took in one mode."""
    kinds = samples[0].times_ms
    pushes = settings.packets * len(samples)
    misses = sum(sample.misses for sample in samples)
    return LatencyRow(
        settings=settings,
        mode=mode,
        times={
            kind: summarise_times(np.concatenate([sample.times_ms[kind] for sample in samples]))
            for kind in kinds
        },
        histograms={
            kind: [Histogram.of(sample.times_ms[kind]) for sample in samples] for kind in kinds
        },
        pushes=pushes,
        deadline_misses=misses,
        null_misses=sum(sample.null_misses for sample in samples),
        misses_per_million=1e6 * misses / pushes,
        misses_per_million_below=1e6 * most_events(misses) / pushes,
        faster_than_real_time=_median(sample.faster_than_real_time for sample in samples),
        cpu_share=_median(sample.cpu_share for sample in samples),
        construction_ms=_median(sample.construction_ms for sample in samples),
        first_push_ms=_median(sample.first_push_ms for sample in samples),
        delay_ms=settings.lookahead * settings.packet_ms,
        rungs=_sum_counts([sample.rungs for sample in samples]),
        network_late=sum(sample.network_late for sample in samples),
        disturbances=_sum_disturbances([sample.disturbances for sample in samples]),
    )


def most_events(seen: int, confidence: float = 0.95) -> float:
    """Return the Poisson mean at which so few events, or fewer, have probability 1 - confidence.

    Three for none seen: the *rule of three*.
    """
    low, high = float(seen), seen + 10.0 + 10.0 * math.sqrt(seen)
    for _ in range(60):
        mean = (low + high) / 2
        below = sum(
            math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(seen + 1)
        )
        low, high = (mean, high) if below > 1.0 - confidence else (low, mean)
    return (low + high) / 2


def _median(values: Any) -> float:
    return float(np.median(list(values)))


def _sum_counts(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
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


def _signal(settings: LatencySettings) -> NDArray[np.float32]:
    """Return what is pushed, shape (n, channels); a file's channels are repeated in turn."""
    if settings.file is None:
        seconds = min(_PIECE_S, max(_SHORTEST_PIECE_S, settings.seconds))
        return music(settings.sample_rate, seconds, settings.channels)
    signal = read_clip(settings.file, settings.sample_rate).signal
    return signal[:, [c % signal.shape[1] for c in range(settings.channels)]]
