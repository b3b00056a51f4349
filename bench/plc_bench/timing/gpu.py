"""Measure the network on this machine's GPU, everything in one run.

::

    pip install 'plc-engine[gpu]' onnx        # TensorRT, if wanted: pip install tensorrt
    python bench/gpu.py                       # about three minutes; the first with TensorRT longer

It tells which provider is really in use and why others are not, compares its output with the
CPU's at every batch size, and measures: runs back to back for batches of 1 to 256; the first runs
after an idle pause, left alone and kept warm, for losses come as bursts after pauses; what handing
over to the worker costs; and how many deadlines are missed when 100 streams lose packets at once.
The result goes to ``bench/results/gpu-DEVICE.json`` and, as tables, to the screen.

Without a GPU it says what is missing and ends with status 2. ``--provider cpu`` measures the CPU.
"""

import argparse
import gc
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from plc.apps.doctor import cpu_name
from plc.audio.loss import GilbertElliott
from plc.errors import ConfigError, PlcError
from plc.models.catalogue import find
from plc.models.manifest import Manifest
from plc.runtime.bound import SessionReport
from plc.runtime.network import GapNetwork, NetworkShape, network_signature, open_network
from plc.runtime.providers import gpu_name, installed_providers
from plc.runtime.runner import InlineRunner, Outcome, Runner
from plc.runtime.session import runtime
from plc.runtime.worker import NetworkWorker
from plc_bench.base.results import write_json
from plc_bench.timing.histogram import Times, summarise_times
from plc_bench.timing.stand_in import write_stand_in

RESULTS = Path(__file__).resolve().parents[2] / "results"
"""Of a checkout: where what was measured is kept."""
SAMPLE_RATE = 48_000
PACKET_MS = 10.0
BUDGET_MS = 2.5
"""A quarter of a packet, the engine's default."""
NO_GPU = 2
_OPEN_TIMEOUT_S = 900.0
_PRIORITY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much to measure."""

    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    runs: int = 2_000
    """At batch 1; fewer at larger ones, so that each takes as long."""
    pauses_s: tuple[float, ...] = (0.1, 1.0, 5.0)
    bursts: int = 10
    """After each pause; a burst is four runs 10 ms apart."""
    streams: int = 100
    seconds: float = 20.0
    """Of the streams."""
    loss: float = 0.1


QUICK = Settings(batches=(1, 4), runs=20, pauses_s=(0.02,), bursts=2, streams=4, seconds=0.1)


@dataclass(slots=True, kw_only=True)
class Result:
    """All that was measured."""

    machine: dict[str, str]
    settings: Settings
    model: str
    parameters: int
    bins: int
    frames: int
    opening: SessionReport
    opening_again: SessionReport
    """With what the first left behind: compiled engines, loaded libraries."""
    parity: list[dict[str, float]] = field(default_factory=list)
    steady: list[dict[str, Any]] = field(default_factory=list)
    bursts: list[dict[str, Any]] = field(default_factory=list)
    handover: dict[str, Times] = field(default_factory=dict)
    streams: dict[str, Any] = field(default_factory=dict)


Gap = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model at the shapes that are measured."""

    manifest: Manifest
    providers: str | tuple[str, ...]
    shapes: tuple[NetworkShape, ...]

    def open(
        self, shape: NetworkShape, providers: str | tuple[str, ...] | None = None
    ) -> GapNetwork:
        """Return the network for a shape, by default on the provider under test."""
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


def measure(subject: Subject, settings: Settings, tell: Callable[[str], None]) -> Result:
    """Return everything; ``tell`` is called with what comes next."""
    tell("opening")
    shape = subject.shapes[0]
    networks = {each.batch: subject.open(each) for each in subject.shapes}
    network = networks[shape.batch]
    tell(f"running on {network.report.provider}; opening again")
    result = Result(
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
    result.parity = parity(subject, networks)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for batch in settings.batches:
            tell(f"batch {batch}")
            result.steady.append(steady(subject, networks[batch], batch, settings.runs))
        for pause_s in settings.pauses_s:
            for warm in (False, True):
                tell(f"bursts after {pause_s:g} s, {'kept warm' if warm else 'left alone'}")
                result.bursts.append(after_pause(subject, network, pause_s, settings.bursts, warm))
        tell("handing over")
        result.handover = handover(subject, settings.runs)
        tell(f"{settings.streams} streams")
        result.streams = many_streams(subject, settings)
    finally:
        gc.enable()
        gc.unfreeze()
    return result


def machine() -> dict[str, str]:
    """Return what the figures hold for."""
    ort = runtime()
    return {
        "gpu": gpu_name() or "none",
        "cpu": cpu_name(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "onnxruntime": str(ort.__version__),
        "cuda": str(getattr(ort, "cuda_version", "")),
        "providers": ", ".join(installed_providers(ort)),
        "scheduler": _scheduler(),
    }


def _scheduler() -> str:
    if not hasattr(os, "sched_getscheduler"):
        return "of the system"
    return "first in, first out" if os.sched_getscheduler(0) == os.SCHED_FIFO else "ordinary"


def _become_realtime() -> None:
    """Ask for the real-time scheduler, for this thread and those it starts."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except (OSError, AttributeError) as error:
        raise ConfigError(
            f"the real-time scheduler is refused: {error}; try ulimit -r 50"
        ) from error


def parity(subject: Subject, networks: dict[int, GapNetwork]) -> list[dict[str, float]]:
    """Return the largest difference from the CPU at each batch size."""
    rows = []
    for shape in subject.shapes:
        network, reference = networks[shape.batch], subject.open(shape, "cpu")
        spectra, lost, out = subject.gap(shape.batch, seed=shape.batch)
        expected = out.copy()
        if not (network.run(spectra, lost, out) and reference.run(spectra, lost, expected)):
            raise SystemExit(f"batch {shape.batch}: {network.last_error or reference.last_error}")
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
    count = max(10, runs // batch)
    times_ms = np.array([_time_ms(network, gap) for _ in range(count)])
    times = summarise_times(times_ms)
    return {"batch": batch, "times": times, "gap_us": 1e3 * times.p50_ms / batch}


def after_pause(
    subject: Subject, network: GapNetwork, pause_s: float, bursts: int, warm: bool
) -> dict[str, Any]:
    """Return the times of the first runs after pauses, in which a tick comes every 10 ms."""
    gap = subject.gap(1)
    first, later = [], []
    for _ in range(bursts):
        end_s = time.perf_counter() + pause_s
        while time.perf_counter() < end_s:
            if warm:
                network.keep_warm()
            time.sleep(PACKET_MS / 1000)
        first.append(_time_ms(network, gap))
        for _ in range(3):
            time.sleep(PACKET_MS / 1000)
            later.append(_time_ms(network, gap))
    return {
        "pause_s": pause_s,
        "kept_warm": warm,
        "first": summarise_times(np.array(first)),
        "later": summarise_times(np.array(later)),
    }


def handover(subject: Subject, runs: int) -> dict[str, Times]:
    """Return the times from submission to result in the caller's thread and in a worker's."""
    shape = subject.shapes[0]
    signature = network_signature(subject.manifest, shape)
    worker = NetworkWorker(partial(subject.open, shape), signature)
    worker.wait_until_open(_OPEN_TIMEOUT_S)
    lines: dict[str, Runner] = {
        "inline": InlineRunner(subject.open(shape), signature),
        "worker": worker,
    }
    times_ms: dict[str, list[float]] = {name: [] for name in lines}
    spectra, lost, out = subject.gap(shape.batch)
    for _ in range(runs):
        for name, line in lines.items():  # in turn, so that both meet the same disturbances
            begin_s = time.perf_counter()
            line.collect(line.submit(spectra, lost), float("inf"), out)
            times_ms[name].append(1e3 * (time.perf_counter() - begin_s))
    worker.close()
    return {name: summarise_times(np.array(values)) for name, values in times_ms.items()}


def many_streams(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Return how many deadlines are missed by streams whose losses are filled in one batch.

    Each tick of 10 ms, the streams that lost a packet go to the worker together, padded to the
    next batch size; what is not back after the budget is a miss of each of them.
    """
    workers = {
        shape.batch: NetworkWorker(
            partial(subject.open, shape), network_signature(subject.manifest, shape)
        )
        for shape in subject.shapes
    }
    for worker in workers.values():
        worker.wait_until_open(_OPEN_TIMEOUT_S)
    ticks = max(1, round(1000 * settings.seconds / PACKET_MS))
    model = GilbertElliott(settings.loss)
    lost = sum(model.trace(ticks, seed).astype(np.int64) for seed in range(settings.streams))
    gaps = {batch: subject.gap(batch) for batch in workers}
    counts = dict.fromkeys((outcome.value for outcome in Outcome), 0)
    times_ms = []
    next_s = time.perf_counter()
    for streams in np.atleast_1d(lost).tolist():
        next_s += PACKET_MS / 1000
        time.sleep(max(0.0, next_s - time.perf_counter()))
        if not streams:
            for worker in workers.values():
                worker.tick()
            continue
        batch = min((size for size in workers if size >= streams), default=max(workers))
        worker = workers[batch]
        spectra, share, out = gaps[batch]
        begin_s = time.perf_counter()
        ticket = worker.submit(spectra, share)
        outcome = worker.collect(ticket, begin_s + BUDGET_MS / 1000, out)
        times_ms.append(1e3 * (time.perf_counter() - begin_s))
        counts[outcome.value] += streams
    for worker in workers.values():
        worker.close()
    filled = sum(counts.values())
    return {
        "streams": settings.streams,
        "budget_ms": BUDGET_MS,
        "gaps": filled,
        "outcomes": counts,
        "missed_share": 1.0 - counts[Outcome.DONE.value] / max(filled, 1),
        "times": summarise_times(np.array(times_ms)),
        "restarts": sum(each.counters.network_restarts for each in workers.values()),
        "warm_runs": sum(each.counters.network_warm_runs for each in workers.values()),
    }


def _time_ms(network: GapNetwork, gap: Gap) -> float:
    begin_s = time.perf_counter()
    if not network.run(*gap):
        raise SystemExit(f"the network failed: {network.last_error}")
    return 1e3 * (time.perf_counter() - begin_s)


def tables(result: Result) -> list[Table]:
    """Return what was measured for people."""
    opened = result.opening
    head = Table(title=f"{result.model} on {opened.provider}", show_header=False)
    for name, value in result.machine.items():
        head.add_row(name, value)
    head.add_row(
        "network", f"{result.parameters} parameters, {result.bins} bins, {result.frames} frames"
    )
    head.add_row("in use", f"{opened.provider}{', CUDA graphs' if opened.cuda_graph else ''}")
    head.add_row("nodes", ", ".join(f"{name} {count}" for name, count in opened.nodes.items()))
    for name, why in opened.refused.items():
        head.add_row(f"not {name}", why)
    for note in opened.notes:
        head.add_row("note", note)
    for when, report in (("opening", opened), ("opening again", result.opening_again)):
        took = f"{report.load_ms:.0f} ms, warm-up {report.warm_up_ms:.0f} ms"
        head.add_row(when, took)
    return [head, _batch_table(result), _time_table(result)]


def _batch_table(result: Result) -> Table:
    table = Table(title="back to back, ms")
    for heading in ("batch", "p50", "p99", "p99.9", "max", "µs a gap", "from the CPU's"):
        table.add_column(heading, justify="right")
    for row, same in zip(result.steady, result.parity, strict=True):
        relative = same["largest_difference"] / max(same["largest_output"], 1e-30)
        table.add_row(
            str(row["batch"]), *_cells(row["times"]), f"{row['gap_us']:.1f}", f"{relative:.1e}"
        )
    return table


def _time_table(result: Result) -> Table:
    table = Table(title=f"one gap, ms; deadline {BUDGET_MS:g} ms")
    table.add_column("")
    for heading in ("p50", "p99", "p99.9", "max"):
        table.add_column(heading, justify="right")
    for row in result.bursts:
        state = "kept warm" if row["kept_warm"] else "left alone"
        table.add_row(f"first after {row['pause_s']:g} s {state}", *_cells(row["first"]))
        table.add_row(f"next after {row['pause_s']:g} s {state}", *_cells(row["later"]))
    for name, times in result.handover.items():
        table.add_row(name, *_cells(times))
    many = result.streams
    table.add_row(f"{many['streams']} streams together", *_cells(many["times"]))
    table.caption = (
        f"{many['gaps']} gaps of {many['streams']} streams, "
        f"{100 * many['missed_share']:.3f} % not filled in time"
    )
    return table


def _cells(times: Times) -> list[str]:
    return [f"{ms:.3f}" for ms in (times.p50_ms, times.p99_ms, times.p99_9_ms, times.max_ms)]


def missing_for_gpu() -> str:
    """Return what keeps this machine from using a GPU at all; empty if nothing is obvious."""
    device = gpu_name()
    gpu_providers = [name for name in installed_providers(runtime()) if name != "cpu"]
    if not device:
        return (
            "no NVIDIA GPU answers nvidia-smi; --provider cpu measures the CPU"
            if gpu_providers
            else "no NVIDIA GPU answers nvidia-smi, and the installed ONNX Runtime has no GPU "
            "provider; --provider cpu measures the CPU"
        )
    if not gpu_providers:
        return (
            f"{device} is there, but the installed ONNX Runtime has no GPU provider: "
            "pip uninstall onnxruntime; pip install 'plc-engine[gpu]'"
        )
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--provider", choices=("auto", "tensorrt", "cuda", "cpu"), default="auto")
    parser.add_argument("--model", help="name or manifest; by default a network of random weights")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--realtime", action="store_true", help="first-in-first-out scheduler")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    given = parser.parse_args(arguments)
    errors = Console(stderr=True)
    try:
        return _main(given, errors)
    except PlcError as error:
        errors.print(f"gpu.py: {error}", style="red", soft_wrap=True, markup=False)
        return NO_GPU


def _main(given: argparse.Namespace, errors: Console) -> int:
    if given.provider != "cpu":
        missing = missing_for_gpu()
        if missing:
            errors.print(f"gpu.py: {missing}", soft_wrap=True, markup=False)
            return NO_GPU
    if given.realtime:
        _become_realtime()
    settings = QUICK if given.quick else Settings()
    with tempfile.TemporaryDirectory() as folder:
        manifest = find(given.model) if given.model else write_stand_in(Path(folder))
        frames = manifest.frames(SAMPLE_RATE)
        bins = manifest.bins(SAMPLE_RATE)
        shapes = tuple(NetworkShape(bins, frames, batch) for batch in settings.batches)
        wanted = ("tensorrt", "cuda") if given.provider == "auto" else (given.provider,)
        providers = tuple(name for name in wanted if name in installed_providers(runtime()))
        subject = Subject(manifest, providers or wanted, shapes)
        result = measure(subject, settings, lambda what: errors.print(what, style="dim"))
    given.out.mkdir(parents=True, exist_ok=True)
    on_gpu = result.opening.provider != "cpu"
    device = result.machine["gpu"].split(",")[0] if on_gpu else result.machine["cpu"]
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    path = given.out / f"{'gpu' if on_gpu else 'cpu'}-{slug}.json"
    write_json(path, result)
    for table in tables(result):
        Console().print(table)
    errors.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
