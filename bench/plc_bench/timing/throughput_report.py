"""All measurements of throughput, one after another, and as tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plc.engine.warm import warm_up
from plc_bench.base import workers
from plc_bench.base.surroundings import machine_facts
from plc_bench.base.tables import Table
from plc_bench.base.workers import Failure
from plc_bench.timing.gpu import GpuCapacity
from plc_bench.timing.gpu import measure_capacity as measure_gpu
from plc_bench.timing.stream import TimedStream
from plc_bench.timing.throughput import (
    Capacity,
    Cost,
    Memory,
    measure_capacity,
    measure_growth,
    measure_memory,
)

FORMAT = "plc bench throughput, 1"

Job = tuple[str, Callable[..., Any], tuple[Any, ...]]
"""Field of the report, function, arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Measurements to make.

    Attributes
    ----------
    streams : list of TimedStream
        Each is measured for capacity and memory, the first also for growth.
    most_streams : int
        At which the search for the capacity ends.
    memory_streams : int
        Opened to measure the memory of one.
    growth_streams : int
        The most in the table of growing cost.
    provider : str or None
        Accelerator to measure; None where there is none.
    """

    streams: list[TimedStream]
    most_streams: int = 1000
    memory_streams: int = 32
    growth_streams: int = 64
    provider: str | None = None

    def jobs(self) -> list[Job]:
        """Return the calls to make, each in its own process."""
        first = self.streams[0]
        jobs: list[Job] = []
        for one in self.streams:
            jobs.append(("capacity", measure_capacity, (one, self.most_streams)))
            jobs.append(("memory", measure_memory, (one, self.memory_streams)))
        jobs.append(("growth", measure_growth, (first, self.growth_streams)))
        if self.provider:
            jobs.append(("gpu", measure_gpu, (self.provider, first.seconds)))
        return jobs


@dataclass(slots=True, kw_only=True)
class ThroughputReport:
    """Results by kind, and failures."""

    format: str = FORMAT
    machine: dict[str, str] = field(default_factory=machine_facts)
    capacity: list[Capacity] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    growth: list[Cost] = field(default_factory=list)
    gpu: list[GpuCapacity] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def measure(
    plan: Plan,
    on_done: Callable[[], object] = lambda: None,
    attempt: Callable[[Callable[[Job], Any], Job, str], Any] = workers.alone,
) -> ThroughputReport:
    """Run a plan; name the measurements that fail, and go on."""
    warm_up()  # no process is to compile while it is measured
    report = ThroughputReport()
    for job in plan.jobs():
        place, _, arguments = job
        result = attempt(call, job, place)
        if isinstance(result, Failure):
            settings = arguments[0]
            of = f" of {settings.method}" if isinstance(settings, TimedStream) else ""
            report.failures.append(Failure(place + of, result.reason))
        else:
            getattr(report, place).extend(result if isinstance(result, list) else [result])
        on_done()
    return report


def call(job: Job) -> Any:
    """Do a job."""
    _, function, arguments = job
    return function(*arguments)


def throughput_tables(report: ThroughputReport) -> list[Table | str]:
    """Return a table of each kind that was measured."""
    makers: list[tuple[Sequence[Any], Callable[[Any], Table]]] = [
        (report.capacity, capacity_table),
        (report.memory, memory_table),
        (report.growth, growth_table),
        (report.gpu, gpu_table),
    ]
    tables: list[Table | str] = [make(rows) for rows, make in makers if rows]
    if not report.gpu:
        tables.append("no accelerator was measured")
    return tables


def capacity_table(rows: Sequence[Capacity]) -> Table:
    """Return the streams that run in real time on a core."""
    table = Table(
        "streams in real time on one core",
        ("stream", "streams", "late ticks", "times real", "by processor time", "mostly"),
    )
    for row in rows:
        table.add(
            row.settings.name,
            f"{'≥ ' if row.at_most else ''}{row.streams}",
            f"{100 * row.late_share:.2g} %",
            f"{row.real_time_factor:.0f}",
            f"{row.by_processor_time:.0f}",
            _mostly(row.rungs),
        )
    return table


def memory_table(rows: Sequence[Memory]) -> Table:
    """Return the memory of a stream."""
    headings = ("stream", "each", "the process with one", "opened")
    table = Table("resident memory, MiB", headings)
    for row in rows:
        table.add(row.settings.name, f"{row.stream_mb:.2f}", f"{row.first_mb:.0f}", row.streams)
    return table


def growth_table(rows: Sequence[Cost]) -> Table:
    """Return the growth of cost; loss as drawn, ticks in ms."""
    costs = ("µs a packet", "% of a core each", "times real", "p50 ms", "p99 ms", "mostly")
    table = Table(f"how cost grows: {rows[0].settings.method}", ("varied", "", *costs))
    for number, row in enumerate(rows):
        settings = row.settings
        values = {
            "loss": f"{100 * row.lost_share:.1f} %",
            "burst": f"{settings.mean_burst:g}",
            "channels": str(settings.channels),
            "streams": str(row.streams),
        }
        table.add(
            row.varied,
            values[row.varied],
            f"{row.packet_us:.0f}",
            f"{row.core_percent:.2f}",
            f"{row.real_time_factor:.0f}",
            f"{row.tick_p50_ms:.3f}",
            f"{row.tick_p99_ms:.3f}",
            _mostly(row.rungs),
            end=number + 1 == len(rows) or rows[number + 1].varied != row.varied,
        )
    return table


def gpu_table(rows: Sequence[GpuCapacity]) -> Table:
    """Return the number of streams that a device serves."""
    headings = ("device", "provider", "network", "streams", "budget ms")
    table = Table("streams on one device", headings)
    for row in rows:
        streams = f"{'≥ ' if row.at_most else ''}{row.streams}"
        table.add(row.device, row.provider, row.model, streams, f"{row.budget_ms:g}")
    return table


def _mostly(rungs: Mapping[str, int]) -> str:
    """Return the rung of most concealed samples."""
    return max(rungs, key=lambda name: rungs[name]) if rungs else "-"
