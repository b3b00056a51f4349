"""A network on this machine's accelerator: ``plc bench gpu``.

It says which provider runs and why others do not, compares the output with the CPU's at every batch
size, and times: runs back to back by batch size; the first runs after an idle pause, left alone and
kept warm, because losses come as bursts after pauses; the handover to the worker's thread; and the
share of deadlines that many streams miss. The streams that lose a packet at the same tick go to the
network together, padded to the next batch size, as a server would do it.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.audio.loss import GilbertElliott
from plc.errors import ConfigError, ModelError
from plc.extras import install_command
from plc.models.manifest import Manifest
from plc.runtime.bound import SessionReport
from plc.runtime.network import GapNetwork, NetworkShape, network_signature, open_network
from plc.runtime.providers import gpu_name, installed_providers
from plc.runtime.session import runtime
from plc.runtime.worker import NetworkWorker, Outcome
from plc_bench.base.pace import turns
from plc_bench.base.surroundings import machine_facts
from plc_bench.base.tables import Table
from plc_bench.timing.measure import watched
from plc_bench.timing.throughput import most_in_time
from plc_bench.timing.times import Times, summarise_times

SAMPLE_RATE = 48_000
PACKET_MS = 10.0
BUDGET_MS = 2.5
"""A quarter of a packet, the engine's default."""
_OPEN_TIMEOUT_S = 900.0
_LEAST_RUNS = 10
_BURST_RUNS = 4
# A processor takes as many times longer as a batch is large.
_BATCHES_ON_CPU = (1, 2, 4, 8)
_MISSED_SHARE = 0.001
# The share of streams that lose a packet at one tick stays below this many times its mean.
_HEADROOM = 2.0
_GUESS = 64
_PERCENTILES = ("p50", "p99", "p99.9", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSettings:
    """Amount of measuring.

    Attributes
    ----------
    batches : tuple of int
        Batch sizes, ascending.
    runs : int
        Runs back to back at batch 1; fewer at larger ones, so that each takes as long.
    pauses_s : tuple of float
        Idle times before a burst of four runs, a packet apart.
    bursts : int
        Bursts after each pause.
    streams : int
        Streams of the measurement of deadlines.
    seconds : float
        Audio of each of them.
    loss : float
        Share of their packets that is lost, 0 to 1.
    """

    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    runs: int = 2_000
    pauses_s: tuple[float, ...] = (0.1, 1.0, 5.0)
    bursts: int = 10
    streams: int = 100
    seconds: float = 20.0
    loss: float = 0.1


QUICK = GpuSettings(batches=(1, 4), runs=20, pauses_s=(0.02,), bursts=2, streams=4, seconds=0.1)


@dataclass(slots=True, kw_only=True)
class GpuReport:
    """All measurements of one network on one provider.

    Attributes
    ----------
    opening, opening_again : SessionReport
        Of the first session, and of a second with compiled engines and loaded libraries.
    parity : list of dict
        Largest output, and largest difference from the CPU's, by batch size.
    steady : list of dict
        Times of runs back to back, by batch size.
    bursts : list of dict
        Times of the first run after a pause, and of the next three.
    handover : dict of str to Times
        From submission to result, in the caller's thread and through the worker's.
    streams : dict
        Result of :func:`many_streams`.
    """

    machine: dict[str, str]
    settings: GpuSettings
    model: str
    parameters: int
    bins: int
    frames: int
    opening: SessionReport
    opening_again: SessionReport
    parity: list[dict[str, float]] = field(default_factory=list)
    steady: list[dict[str, Any]] = field(default_factory=list)
    bursts: list[dict[str, Any]] = field(default_factory=list)
    handover: dict[str, Times] = field(default_factory=dict)
    streams: dict[str, Any] = field(default_factory=dict)


Gap = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Spectra, share of lost frames, and room for the output."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model at the shapes that are measured."""

    manifest: Manifest
    providers: str | tuple[str, ...]
    shapes: tuple[NetworkShape, ...]

    @classmethod
    def of(
        cls, manifest: Manifest, providers: str | tuple[str, ...], batches: tuple[int, ...]
    ) -> "Subject":
        """Return a model at 48 kHz in these batch sizes."""
        bins, frames = manifest.bins(SAMPLE_RATE), manifest.frames(SAMPLE_RATE)
        return cls(manifest, providers, tuple(NetworkShape(bins, frames, b) for b in batches))

    def open(
        self, shape: NetworkShape, providers: str | tuple[str, ...] | None = None
    ) -> GapNetwork:
        """Return the network for a shape and a provider."""
        return open_network(self.manifest, shape, providers=providers or self.providers)

    def gap(self, batch: int, seed: int = 0) -> Gap:
        """Return noise as spectra, lost frames, and room for the output."""
        shape = next(shape for shape in self.shapes if shape.batch == batch)
        signature = network_signature(self.manifest, shape)
        rng = np.random.default_rng(seed)
        (_, spectra), (_, lost) = signature.inputs
        return (
            rng.standard_normal(spectra).astype(np.float32),
            rng.random(lost).astype(np.float32),
            np.zeros(signature.output[1], np.float32),
        )

    @contextlib.contextmanager
    def worker(self, shape: NetworkShape) -> Iterator[NetworkWorker]:
        """Run the network in a worker's thread while the block lasts."""
        signature = network_signature(self.manifest, shape)
        with contextlib.closing(NetworkWorker(partial(self.open, shape), signature)) as worker:
            worker.wait_until_open(_OPEN_TIMEOUT_S)
            yield worker


def gpu_provider() -> str | None:
    """Return the provider of a usable accelerator; None without one."""
    if not find_spec("onnxruntime") or not gpu_name():
        return None
    return next((name for name in installed_providers(runtime()) if name != "cpu"), None)


def wanted_providers(provider: str) -> tuple[str, ...]:
    """Return the providers to try; ``"auto"`` is every accelerator that is installed.

    Raises
    ------
    ConfigError
        If an accelerator is asked for, and there is none or ONNX Runtime has no provider for it.
    """
    installed = installed_providers(runtime())
    device, usable = gpu_name(), [name for name in installed if name != "cpu"]
    if provider != "cpu" and not device:
        built = "" if usable else ", and the installed ONNX Runtime has no GPU provider"
        raise ConfigError(
            f"no NVIDIA GPU answers nvidia-smi{built}; --provider cpu measures the CPU"
        )
    if provider != "cpu" and not usable:
        raise ConfigError(
            f"{device} is there, but the installed ONNX Runtime has no GPU provider: "
            f"pip uninstall onnxruntime; {install_command('gpu')}"
        )
    return tuple(usable) if provider == "auto" else (provider,)


def measure(subject: Subject, settings: GpuSettings, tell: Callable[[str], object]) -> GpuReport:
    """Return every measurement; ``tell`` is called with the name of the next."""
    tell("opening")
    networks = {shape.batch: subject.open(shape) for shape in subject.shapes}
    shape = subject.shapes[0]
    network = networks[shape.batch]
    tell(f"opening again on {network.report.provider}")
    report = GpuReport(
        machine=machine(),
        settings=settings,
        model=subject.manifest.name,
        parameters=subject.manifest.parameters,
        bins=shape.bins,
        frames=shape.frames,
        opening=network.report,
        opening_again=subject.open(shape).report,
    )
    tell("comparing with the CPU")
    report.parity = parity(subject, networks)
    with watched(False):
        for batch in settings.batches:
            tell(f"batch {batch}")
            report.steady.append(steady(subject, networks[batch], batch, settings.runs))
        for pause_s in settings.pauses_s:
            for warm in (False, True):
                tell(f"bursts after {pause_s:g} s, {'kept warm' if warm else 'left alone'}")
                report.bursts.append(after_pause(subject, network, pause_s, settings.bursts, warm))
        tell("handing over")
        report.handover = handover(subject, settings.runs)
        tell(f"{settings.streams} streams")
        report.streams = many_streams(subject, settings)
    return report


def machine() -> dict[str, str]:
    """Return the surroundings of the figures."""
    ort = runtime()
    scheduler = "of the system"
    if hasattr(os, "sched_getscheduler"):
        realtime = os.sched_getscheduler(0) == os.SCHED_FIFO
        scheduler = "first in, first out" if realtime else "ordinary"
    return {
        "gpu": gpu_name() or "none",
        **machine_facts(),
        "onnxruntime": str(ort.__version__),
        "cuda": str(getattr(ort, "cuda_version", "")),
        "providers": ", ".join(installed_providers(ort)),
        "scheduler": scheduler,
    }


def parity(subject: Subject, networks: dict[int, GapNetwork]) -> list[dict[str, float]]:
    """Return the largest difference from the CPU at each batch size."""
    rows = []
    for shape in subject.shapes:
        network, reference = networks[shape.batch], subject.open(shape, "cpu")
        spectra, lost, out = subject.gap(shape.batch, seed=shape.batch)
        expected = out.copy()
        _time_ms(network, (spectra, lost, out))
        _time_ms(reference, (spectra, lost, expected))
        rows.append(
            {
                "batch": shape.batch,
                "largest_difference": float(np.abs(out - expected).max()),
                "largest_output": float(np.abs(expected).max()),
            }
        )
    return rows


def steady(subject: Subject, network: GapNetwork, batch: int, runs: int) -> dict[str, Any]:
    """Return the times of runs back to back."""
    gap = subject.gap(batch)
    count = max(_LEAST_RUNS, runs // batch)
    times = _summary(_time_ms(network, gap) for _ in range(count))
    return {"batch": batch, "times": times, "gap_us": 1e3 * times.p50_ms / batch}


def after_pause(
    subject: Subject, network: GapNetwork, pause_s: float, bursts: int, warm: bool
) -> dict[str, Any]:
    """Return the times of the first runs after pauses with ticks."""
    gap = subject.gap(1)
    runs: list[list[float]] = []
    for _ in range(bursts):
        end_s = time.perf_counter() + pause_s
        while time.perf_counter() < end_s:
            if warm:
                network.keep_warm()
            time.sleep(PACKET_MS / 1000)
        runs.append([_time_ms(network, gap)])
        for _ in range(_BURST_RUNS - 1):
            time.sleep(PACKET_MS / 1000)
            runs[-1].append(_time_ms(network, gap))
    return {
        "pause_s": pause_s,
        "kept_warm": warm,
        "first": _summary(burst[0] for burst in runs),
        "later": _summary(taken for burst in runs for taken in burst[1:]),
    }


def handover(subject: Subject, runs: int) -> dict[str, Times]:
    """Return the times from submission to result, inline and by worker."""
    shape = subject.shapes[0]
    signature = network_signature(subject.manifest, shape)
    spectra, lost, out = subject.gap(shape.batch)
    with subject.worker(shape) as worker:
        opened = subject.open(shape)
        runners = {
            "inline": NetworkWorker(lambda: opened, signature, inline=True),
            "worker": worker,
        }
        times_ms: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(runs):
            for name, runner in runners.items():  # in turn: both meet the same disturbances
                begin_s = time.perf_counter()
                runner.collect(runner.submit(spectra, lost), float("inf"), out)
                times_ms[name].append(1e3 * (time.perf_counter() - begin_s))
    return {name: _summary(values) for name, values in times_ms.items()}


def many_streams(subject: Subject, settings: GpuSettings) -> dict[str, Any]:
    """Count the deadlines that streams miss when batched by tick.

    Each tick of 10 ms, the streams that lost a packet go to the worker together; an answer after
    the budget is a miss of each of them.
    """
    ticks = max(1, round(1000 * settings.seconds / PACKET_MS))
    model = GilbertElliott(settings.loss)
    lost = sum(model.trace(ticks, seed).astype(np.int64) for seed in range(settings.streams))
    gaps = {shape.batch: subject.gap(shape.batch) for shape in subject.shapes}
    counts = dict.fromkeys((outcome.value for outcome in Outcome), 0)
    times_ms = []
    with contextlib.ExitStack() as stack:
        workers = {
            shape.batch: stack.enter_context(subject.worker(shape)) for shape in subject.shapes
        }
        moments = turns(PACKET_MS / 1000, first=1)
        for streams, _ in zip(np.atleast_1d(lost).tolist(), moments, strict=False):
            if not streams:
                for worker in workers.values():
                    worker.tick()
                continue
            batch = min((b for b in gaps if b >= streams), default=max(gaps))
            (spectra, share, out), worker = gaps[batch], workers[batch]
            begin_s = time.perf_counter()
            ticket = worker.submit(spectra, share)
            outcome = worker.collect(ticket, begin_s + BUDGET_MS / 1000, out)
            times_ms.append(1e3 * (time.perf_counter() - begin_s))
            counts[outcome.value] += streams
    filled = sum(counts.values())
    return {
        "streams": settings.streams,
        "budget_ms": BUDGET_MS,
        "gaps": filled,
        "outcomes": counts,
        "missed_share": 1.0 - counts[Outcome.DONE.value] / max(filled, 1),
        "times": _summary(times_ms),
        "warm_runs": sum(each.counters.network_warm_runs for each in workers.values()),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCapacity:
    """Number of streams that one device serves.

    Attributes
    ----------
    device, provider, model : str
        Device, provider and network.
    streams : int
        The most for which 999 of 1000 gaps are filled within the budget.
    at_most : bool
        Whether the search ended there because larger batches were not prepared.
    budget_ms : float
        For each gap.
    measured : list of dict
        Results of :func:`many_streams`, by number of streams tried.
    """

    device: str
    provider: str
    model: str
    streams: int
    at_most: bool
    budget_ms: float
    measured: list[dict[str, Any]]


def measure_capacity(
    manifest: Manifest,
    provider: str,
    seconds: float,
    batches: tuple[int, ...] | None = None,
    on_tried: Callable[[int], object] = lambda streams: None,
) -> GpuCapacity:
    """Search the number of 48 kHz streams that a provider serves.

    Parameters
    ----------
    manifest : Manifest
        Of the network.
    provider : str
        ``"cuda"``, ``"tensorrt"``, or ``"cpu"`` for comparison.
    seconds : float
        Real time for each number of streams that is tried.
    batches : tuple of int
        Sizes that are prepared; they bound the number of streams. By default up to 512, on a
        processor up to 8.
    on_tried : callable
        Called with each number of streams that was tried.
    """
    settings = GpuSettings(seconds=seconds)
    batches = batches or (_BATCHES_ON_CPU if provider == "cpu" else (*settings.batches, 512))
    subject = Subject.of(manifest, provider, batches)
    most = max(1, int(max(batches) / (_HEADROOM * settings.loss)))
    measured: list[dict[str, Any]] = []

    def in_time(streams: int) -> bool:
        measured.append(many_streams(subject, dataclasses.replace(settings, streams=streams)))
        on_tried(streams)
        return bool(measured[-1]["missed_share"] <= _MISSED_SHARE)

    streams = most_in_time(in_time, _GUESS, most)
    return GpuCapacity(
        device=machine()["gpu" if provider != "cpu" else "cpu"],
        provider=provider,
        model=manifest.name,
        streams=streams,
        at_most=streams == most,
        budget_ms=BUDGET_MS,
        measured=measured,
    )


def gpu_tables(report: GpuReport) -> list[Table]:
    """Return the measurements as tables."""
    opened = report.opening
    head = Table(f"{report.model} on {opened.provider}")
    facts = [
        *report.machine.items(),
        ("network", f"{report.parameters} parameters, {report.bins} bins, {report.frames} frames"),
        ("in use", f"{opened.provider}{', CUDA graphs' if opened.cuda_graph else ''}"),
        ("nodes", ", ".join(f"{name} {count}" for name, count in opened.nodes.items())),
        *((f"not {name}", why) for name, why in opened.refused.items()),
        *(("note", note) for note in opened.notes),
    ]
    for when, one in (("opening", opened), ("opening again", report.opening_again)):
        facts.append((when, f"{one.load_ms:.0f} ms, warm-up {one.warm_up_ms:.0f} ms"))
    for fact in facts:
        head.add(*fact)
    batches = Table("back to back, ms", ("batch", *_PERCENTILES, "µs a gap", "from the CPU's"))
    for row, same in zip(report.steady, report.parity, strict=True):
        relative = same["largest_difference"] / max(same["largest_output"], 1e-30)
        more = f"{row['gap_us']:.1f}", f"{relative:.1e}"
        batches.add(row["batch"], *_cells(row["times"]), *more)
    gaps = Table(f"one gap, ms; deadline {BUDGET_MS:g} ms", ("", *_PERCENTILES))
    for row in report.bursts:
        state = f"after {row['pause_s']:g} s {'kept warm' if row['kept_warm'] else 'left alone'}"
        gaps.add(f"first {state}", *_cells(row["first"]))
        gaps.add(f"next {state}", *_cells(row["later"]))
    for name, times in report.handover.items():
        gaps.add(name, *_cells(times))
    many = report.streams
    gaps.add(f"{many['streams']} streams together", *_cells(many["times"]))
    missed = f"{100 * many['missed_share']:.3f} % not filled in time"
    gaps.note = f"{many['gaps']} gaps of {many['streams']} streams, {missed}"
    return [head, batches, gaps]


def _cells(times: Times) -> list[str]:
    return [f"{ms:.3f}" for ms in (times.p50_ms, times.p99_ms, times.p99_9_ms, times.max_ms)]


def _summary(times_ms: Any) -> Times:
    return summarise_times(np.array(list(times_ms), float))


def _time_ms(network: GapNetwork, gap: Gap) -> float:
    begin_s = time.perf_counter()
    if not network.run(*gap):
        raise ModelError(f"the network failed: {network.last_error}")
    return 1e3 * (time.perf_counter() - begin_s)
