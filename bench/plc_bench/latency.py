"""Time inside ``push``: ``plc bench latency``.

Packets go in back to back, as fast as they are taken; good and concealed ones are timed apart. The
garbage collector is frozen and off meanwhile, as an engine that runs live would have it. Beside it
stands the *null loop*: the same loop with a ``push`` that only copies its packet. What the null
loop shows at p99.9 and above is the machine, not the engine.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import plc
from plc.loss import GilbertElliott
from plc_bench.synth import music

# A piece of this length is played over and over: long enough that no fit sees it repeat.
_PIECE_S = 20.0

Push = Callable[[NDArray[np.float32] | None], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """What ``plc bench latency`` measures.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    packet_ms : float
        Packet length, which is also the deadline of a packet.
    channels : int
        Channels.
    loss : float
        Share of packets lost, 0 to 1.
    mean_burst : float
        Mean number of packets in a burst.
    seconds : float
        Audio that goes through.
    method : str
        As ``plc.Concealer`` names it.
    lookahead : int
        Future packets the engine waits for.
    budget_ms : float or None
        Time the engine may take for a packet; None for its default.
    seed : int
        Of the losses.
    """

    sample_rate: int = 48_000
    packet_ms: float = 10.0
    channels: int = 1
    loss: float = 0.1
    mean_burst: float = 1.5
    seconds: float = 60.0
    method: str = "auto"
    lookahead: int = 0
    budget_ms: float | None = None
    seed: int = 0

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return max(1, round(self.sample_rate * self.packet_ms / 1000))


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of one kind of call, in ms; NaN where there was none."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """What one run took.

    Attributes
    ----------
    settings : LatencySettings
        Of the run.
    good, concealed : Times
        Calls of ``push`` with a packet, and with None.
    null_loop : Times
        Calls that only copy a packet.
    deadline_misses : int
        Calls that took longer than a packet lasts.
    faster_than_real_time : float
        Audio time over wall time of the whole loop.
    cpu_share : float
        Processor time over wall time; 1 is one core.
    first_push_ms : float
        The first call of all: what a start costs that the constructor did not.
    construction_ms : float
        The constructor, with its warm-up and calibration.
    """

    settings: LatencySettings
    good: Times
    concealed: Times
    null_loop: Times
    deadline_misses: int
    faster_than_real_time: float
    cpu_share: float
    first_push_ms: float
    construction_ms: float


def measure_latency(
    settings: LatencySettings, signal: NDArray[np.float32] | None = None
) -> LatencyReport:
    """Return the time that pushing packets takes.

    Parameters
    ----------
    settings : LatencySettings
        What to run.
    signal : float32, shape (n, channels), optional
        At ``settings.sample_rate``, at least one packet; repeated as needed. By default a made
        piece of music.
    """
    if signal is None:
        signal = music(settings.sample_rate, _PIECE_S, settings.channels)
    packets = cut(signal, settings.packet_samples)
    count = max(1, round(settings.seconds * 1000 / settings.packet_ms))
    trace = GilbertElliott(settings.loss, settings.mean_burst).trace(count, settings.seed)
    start = time.perf_counter()
    concealer = plc.Concealer(
        sample_rate=settings.sample_rate,
        channels=settings.channels,
        packet_samples=settings.packet_samples,
        lookahead=settings.lookahead,
        method=settings.method,
        budget_ms=settings.budget_ms,
    )
    construction_ms = 1000 * (time.perf_counter() - start)
    null_ms, _, _ = time_pushes(_copy_into(np.empty_like(packets[0])), packets, trace)
    push_ms, wall_s, cpu_s = time_pushes(concealer.push, packets, trace)
    return LatencyReport(
        settings,
        good=summarise_times(push_ms[~trace]),
        concealed=summarise_times(push_ms[trace]),
        null_loop=summarise_times(null_ms),
        deadline_misses=int((push_ms > settings.packet_ms).sum()),
        faster_than_real_time=count * settings.packet_ms / 1000 / wall_s,
        cpu_share=cpu_s / wall_s,
        first_push_ms=float(push_ms[0]),
        construction_ms=construction_ms,
    )


def time_pushes(
    push: Push, packets: list[NDArray[np.float32]], trace: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float, float]:
    """Return the duration of each call in ms, and wall and processor time of them all in s.

    ``packets`` are pushed in turn, from the first again after the last; None where ``trace`` says
    that a packet is lost.
    """
    taken_ns = np.zeros(trace.size, np.int64)
    lost = trace.tolist()
    clock = time.perf_counter_ns
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        for i in range(len(lost)):
            packet = None if lost[i] else packets[i % len(packets)]
            before = clock()
            push(packet)
            taken_ns[i] = clock() - before
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    finally:
        gc.enable()
        gc.unfreeze()
    return taken_ns / 1e6, wall, cpu


def cut(signal: NDArray[np.float32], packet_samples: int) -> list[NDArray[np.float32]]:
    """Return the whole packets of ``signal``, each with memory of its own."""
    count = len(signal) // packet_samples
    return [signal[i * packet_samples : (i + 1) * packet_samples].copy() for i in range(count)]


def summarise_times(times_ms: NDArray[np.float64]) -> Times:
    """Return the percentiles of durations in ms."""
    if not times_ms.size:
        return Times(0, *[float("nan")] * 5)
    return Times(times_ms.size, *map(float, np.percentile(times_ms, [50, 95, 99, 99.9, 100])))


def latency_table(report: LatencyReport) -> Table:
    """Return the percentiles of each kind of call."""
    settings = report.settings
    table = Table(
        title=f"push, {settings.sample_rate} Hz, {settings.channels} ch, "
        f"{settings.packet_ms:g} ms packets, {100 * settings.loss:g} % loss, "
        f"{settings.seconds:g} s, method {settings.method}"
    )
    table.add_column("ms")
    for heading in ("calls", "p50", "p95", "p99", "p99.9", "max"):
        table.add_column(heading, justify="right")
    rows = {"good": report.good, "concealed": report.concealed, "null loop": report.null_loop}
    for name, times in rows.items():
        values = (times.p50_ms, times.p95_ms, times.p99_ms, times.p99_9_ms, times.max_ms)
        table.add_row(name, str(times.count), *[f"{value:.4f}" for value in values])
    return table


def latency_lines(report: LatencyReport) -> list[str]:
    """Return what the table does not say, a sentence each."""
    pushes = report.good.count + report.concealed.count
    return [
        f"{report.faster_than_real_time:.0f} times faster than real time "
        f"({report.cpu_share:.2f} cores)",
        f"{report.deadline_misses} of {pushes} packets took longer than they last",
        f"construction {report.construction_ms:.0f} ms, first push {report.first_push_ms:.3f} ms",
    ]


def _copy_into(out: NDArray[np.float32]) -> Push:
    def push(packet: NDArray[np.float32] | None) -> NDArray[np.float32]:
        if packet is not None:
            out[:] = packet
        return out

    return push
