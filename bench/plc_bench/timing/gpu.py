"""Networks of many streams on this machine's accelerator: ``plc bench gpu``.

What is measured is the seam (:mod:`plc.engine.stream.outside`), as a server meets it: a pool pushes
a packet of each stream, all of them lose it, their rows share a run, and the samples are played. So
it is for 1, 8 and 64 streams, one burst after the other, and after pauses in which packets come
(which keeps a GPU warm) or nothing does, by each provider that is there and by kernels beside it;
then for many streams in real time, whose answers have a deadline.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from plc.engine.loss import GilbertElliott
from plc.engine.models.catalogue import find
from plc.engine.runtime.onnx_network import NetworkShape, open_network
from plc.engine.runtime.providers import gpu_name, installed_providers
from plc.engine.runtime.session import runtime
from plc.errors import ConfigError, PlcError, in_a_line
from plc.extras import install_command
from plc_bench.base.corpus import Samples
from plc_bench.base.pace import turns
from plc_bench.base.surroundings import machine_facts
from plc_bench.base.tables import Table
from plc_bench.timing.measure import Times, summarise_times, watched

SAMPLE_RATE = 48_000
PACKET_MS = 10.0
BUDGET_MS = 5.0
"""Of a call of the pool, where answers have a deadline: half of a packet."""
KERNELS = "kernels"
"""In place of a provider: the step runs its networks."""
_MODEL = "speech"
_PACKET = round(SAMPLE_RATE * PACKET_MS / 1000.0)
# Received before each burst: past the recovery, and at the first as long as a network's past.
_RECEIVED = 20
_PERCENTILES = ("p50", "p99", "max")
_OUTCOMES = ("done", "late", "failed", "refused", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSettings:
    """Amount of measuring.

    Attributes
    ----------
    together : tuple of int
        Streams that lose a packet in one call.
    bursts : int
        Such calls without a pause before them.
    pauses_s : tuple of float, pauses before others
    paused : int, calls after each pause
    seconds : float
        Audio of each of them.
    loss : float
        Share of their packets that is lost, 0 to 1.
    """

    together: tuple[int, ...] = (1, 8, 64)
    bursts: int = 50
    pauses_s: tuple[float, ...] = (0.1, 1.0)
    paused: int = 3
    streams: int = 100
    seconds: float = 5.0
    loss: float = 0.1


QUICK = GpuSettings(bursts=3, pauses_s=(0.02,), paused=1, streams=4, seconds=0.3)


@dataclass(slots=True, kw_only=True)
class ProviderReport:
    """Measurements of one provider.

    Attributes
    ----------
    provider : str, its name, or :data:`KERNELS`
    why : str
        Why it does not run; empty if it does.
    opening : dict
        Report of a session of the network for speech.
    bursts : list of dict
        Times of calls in which ``streams`` lose a packet, and of their networks' run in it, after a
        pause of ``pause_s`` that was ``kept_warm`` or not; ``apart_db``: how far the samples are
        from those of the kernels.
    """

    provider: str
    why: str = ""
    opening: dict[str, Any] = field(default_factory=dict)
    bursts: list[dict[str, Any]] = field(default_factory=list)
    many: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class GpuReport:
    """All measurements, by provider; the last is of kernels."""

    machine: dict[str, str]
    settings: GpuSettings
    providers: list[ProviderReport] = field(default_factory=list)


def wanted_providers(provider: str) -> tuple[str, ...]:
    """Return the providers to try; ``"auto"``: every accelerator that is installed, and the CPU.

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
    return tuple(installed) if provider == "auto" else (provider,)


def measure(
    providers: tuple[str, ...], settings: GpuSettings, tell: Callable[[str], object]
) -> GpuReport:
    """Return every measurement; ``tell`` is called with the name of the next."""
    report = GpuReport(machine=machine(), settings=settings)
    kernels: dict[int, Samples] = {}
    for provider in (KERNELS, *providers):
        found = ProviderReport(provider=provider)
        report.providers.insert(len(report.providers) - bool(report.providers), found)
        try:
            with watched():
                _measure(found, settings, kernels, tell)
        except PlcError as error:
            found.why = in_a_line(error)
    return report


def _measure(
    found: ProviderReport,
    settings: GpuSettings,
    kernels: dict[int, Samples],
    tell: Callable[[str], object],
) -> None:
    provider = found.provider
    if provider != KERNELS:
        tell(f"opening on {provider}")
        manifest = find(_MODEL)
        shape = NetworkShape(manifest.bins(SAMPLE_RATE), manifest.frames(SAMPLE_RATE))
        opened = open_network(manifest, shape, providers=provider).report
        found.opening = dataclasses.asdict(opened)
    states = [(0.0, True), *((each, warm) for each in settings.pauses_s for warm in (False, True))]
    for streams in settings.together:
        with _Pool(provider, streams) as pool:
            for pause_s, warm in states:
                how = f"after {pause_s:g} s, {'kept warm' if warm else 'left alone'}"
                tell(f"{provider}: {streams} streams {how if pause_s else 'again and again'}")
                count = settings.paused if pause_s else settings.bursts
                row, played = pool.bursts(count, pause_s, warm)
                if not pause_s:
                    own = kernels.setdefault(streams, played)
                    apart = float(np.sum((played - own) ** 2) / np.sum(own**2))
                    row["apart_db"] = 10.0 * math.log10(apart + 1e-30)
                found.bursts.append(row)
    tell(f"{provider}: {settings.streams} streams in real time")
    found.many = in_real_time(provider, settings.streams, settings.seconds, settings.loss)


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


class _Pool:
    """Streams of speech in a pool, whose networks a provider runs."""

    def __init__(self, provider: str, streams: int) -> None:
        self._pool = plc.ConcealerPool()
        self.ids = self._pool.open(
            streams,
            sample_rate=SAMPLE_RATE,
            packet_samples=_PACKET,
            content="speech",
            provider="auto" if provider == KERNELS else provider,
        )
        self._streams = streams
        self._noise = np.random.default_rng(0)
        self._runs_ms: list[float] = []
        (one,) = self._pool._formats.values()
        if one.outside is not None:
            vars(one.outside)["answer"] = self._timed(one.outside.answer)

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def _timed(self, answer: Callable[..., bool]) -> Callable[..., bool]:
        def timed(*arguments: Any) -> bool:
            began_s = time.perf_counter()
            ran = answer(*arguments)
            self._runs_ms.append(1e3 * (time.perf_counter() - began_s))
            return ran

        return timed

    def push(
        self, arrived: NDArray[np.bool_], budget_ms: float = math.inf
    ) -> tuple[float, NDArray[Any]]:
        """Push a packet of noise of each stream; return the ms spent, and the played samples."""
        shape = self._streams, _PACKET, 1
        packets = 0.1 * self._noise.standard_normal(shape, np.float32)
        began_s = time.perf_counter()
        played = self._pool.push(self.ids, packets, arrived, budget_ms=budget_ms)
        return 1e3 * (time.perf_counter() - began_s), played

    def bursts(self, count: int, pause_s: float, warm: bool) -> tuple[dict[str, Any], Samples]:
        """Return the times of bursts of all streams, and the samples played in them."""
        came, gone = np.ones(self._streams, bool), np.zeros(self._streams, bool)
        times_ms, made, runs_ms = [], [], []
        for _ in range(count):
            for _ in range(_RECEIVED):
                self.push(came)
            end_s = time.perf_counter() + pause_s
            while time.perf_counter() < end_s:
                time.sleep(PACKET_MS / 1000.0 if warm else pause_s)
                if warm:
                    self.push(came)
            self._runs_ms.clear()
            took_ms, played = self.push(gone)
            times_ms.append(took_ms)
            made.append(played)
            runs_ms.append(sum(self._runs_ms))
        row = {
            "streams": self._streams,
            "pause_s": pause_s,
            "kept_warm": warm,
            "push": summarise_times(times_ms),
            "run": summarise_times(runs_ms),
        }
        return row, np.array(made)

    def outcomes(self) -> dict[str, int]:
        """Return the outcomes of the streams' submissions."""
        stats = self._pool.stats(self.ids)
        return {
            name: sum(getattr(each.network, f"network_{name}") for each in stats)
            for name in _OUTCOMES
        }


def in_real_time(provider: str, streams: int, seconds: float, loss: float) -> dict[str, Any]:
    """Push streams in real time; return the times of calls, and the outcomes of submissions."""
    ticks = max(1, round(1000.0 * seconds / PACKET_MS))
    model = GilbertElliott(loss)
    there = ~np.array([model.trace(ticks, seed) for seed in range(streams)]).T
    with _Pool(provider, streams) as pool:
        for _ in range(_RECEIVED):
            pool.push(np.ones(streams, bool))
        moments = turns(PACKET_MS / 1000.0, first=1)
        times_ms = [pool.push(came, BUDGET_MS)[0] for came, _ in zip(there, moments, strict=False)]
        outcomes = pool.outcomes()
    asked = sum(outcomes.values())
    return {
        "streams": streams,
        "budget_ms": BUDGET_MS,
        "outcomes": outcomes,
        "missed_share": 1.0 - outcomes["done"] / max(asked, 1),
        "late_ticks": float(np.mean(np.array(times_ms) > PACKET_MS)),
        "times": summarise_times(times_ms),
    }


def gpu_tables(report: GpuReport) -> list[Table]:
    """Return the measurements as tables."""
    head = Table(f"networks of streams, {SAMPLE_RATE} Hz, {PACKET_MS:g} ms")
    for fact in (*report.machine.items(), *_openings(report)):
        head.add(*fact)
    tables = [head]
    for found in report.providers:
        if found.why:
            continue
        table = Table(f"{found.provider}, ms of a call", ("", *_PERCENTILES, "p50 of the run"))
        for row in found.bursts:
            state = f"after {row['pause_s']:g} s{'' if row['kept_warm'] else ' left alone'}"
            lost = f"{row['streams']} lost {state if row['pause_s'] else 'again and again'}"
            table.add(lost, *_cells(row["push"]), f"{row['run'].p50_ms:.3f}")
        many = found.many
        table.add(f"{many['streams']} in real time", *_cells(many["times"]), "")
        outcomes = ", ".join(f"{name} {count}" for name, count in many["outcomes"].items() if count)
        apart = max(row.get("apart_db", -300.0) for row in found.bursts)
        table.note = f"{outcomes} with {many['budget_ms']:g} ms a call; {apart:.0f} dB from kernels"
        tables.append(table)
    return tables


def _openings(report: GpuReport) -> Iterator[tuple[str, str]]:
    for found in report.providers:
        if found.why:
            yield f"not {found.provider}", found.why
        elif opened := found.opening:
            graph = ", CUDA graphs" if opened["cuda_graph"] else ""
            nodes = ", ".join(f"{name} {count}" for name, count in opened["nodes"].items())
            times = f"{opened['load_ms']:.0f} ms, warm-up {opened['warm_up_ms']:.0f} ms"
            yield found.provider, f"opened in {times}{graph}; nodes: {nodes or 'not told'}"
            yield from (("note", note) for note in opened["notes"])


def _cells(times: Times) -> list[str]:
    return [f"{ms:.3f}" for ms in (times.p50_ms, times.p99_ms, times.max_ms)]
