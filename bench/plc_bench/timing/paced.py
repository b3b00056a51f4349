"""A stream in real time beside busy processes: ``plc bench busy --paced``.

Each packet has its turn on the clock. Measured are how late the turn begins, how long a received
and a lost packet take in ``push``, and the share of losses that were prepared: what a listener of a
machine with other work to do would hear, with and without real-time priority.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import plc
from plc.runtime.priority import Level, Priority, Wish
from plc_bench.base.surroundings import background_load, machine_facts, pin
from plc_bench.base.tables import Table
from plc_bench.timing.beside import BesideSettings
from plc_bench.timing.measure import time_paced

_SHOWN = (50.0, 99.0, 99.9, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedSettings(BesideSettings):
    """Settings of ``plc bench busy --paced``.

    Attributes
    ----------
    priority : str
        As ``--priority`` of ``plc relay``.
    """

    load_s: float = 180.0
    priority: Wish = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedReport:
    """Outcome with the machine and the settings.

    Times are by percentile, 100 is the most.
    """

    machine: dict[str, str]
    settings: PacedSettings
    scheduling: str
    packets: int
    lost: int
    prepared_share: float | None
    """Of the lost packets that the method was asked for."""
    deadline_misses: int
    spins: int
    turn_late_ms: dict[str, float]
    received_ms: dict[str, float]
    lost_ms: dict[str, float]


def measure(
    settings: PacedSettings,
    on_seconds: Callable[[float], None] = lambda seconds: None,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], object] = time.sleep,
) -> PacedReport:
    """Push a stream in real time beside busy processes.

    Parameters
    ----------
    settings : PacedSettings
        Stream and load.
    on_seconds : callable
        Called with each second of audio that is done.
    clock, sleep : callable
        Return nanoseconds; take seconds.
    """
    pin(settings.cpu)
    packets, lost = settings.packets()
    is_lost = np.resize(lost, round(1000.0 * settings.load_s / settings.packet_ms))
    a_second = max(1, round(1000.0 / settings.packet_ms))

    def tell(turn: int) -> None:
        if turn % a_second == a_second - 1:
            on_seconds(a_second * settings.packet_ms / 1000.0)

    with (
        Priority(settings.priority) as priority,
        settings.open() as concealer,
        background_load(settings.load),
    ):
        priority.take(Level.AUDIO)
        push = concealer.push
        timed = time_paced(push, packets, is_lost, settings.packet_ms, False, clock, sleep, tell)
        scheduling, spins = priority.describe(), priority.spins
    return PacedReport(
        machine=machine_facts(),
        settings=settings,
        scheduling=scheduling,
        packets=is_lost.size,
        lost=int(is_lost.sum()),
        prepared_share=_prepared_share(concealer),
        deadline_misses=concealer.stats.deadline_misses,
        spins=spins,
        turn_late_ms=_percentiles(timed.null_answer_ms - timed.null_ms),
        received_ms=_percentiles(timed.push_ms[~is_lost]),
        lost_ms=_percentiles(timed.push_ms[is_lost]),
    )


def _prepared_share(concealer: plc.Concealer) -> float | None:
    counted = concealer.stats.ahead
    asked = counted.concealed_prepared + counted.concealed_stale + counted.concealed_unprepared
    return counted.concealed_prepared / asked if asked else None


def _percentiles(times_ms: NDArray[np.float64]) -> dict[str, float]:
    if not times_ms.size:
        return {}
    found = np.percentile(times_ms, _SHOWN)
    return {f"{percent:g}": float(ms) for percent, ms in zip(_SHOWN, found, strict=True)}


def paced_table(report: PacedReport) -> Table:
    """Return the percentiles and counters."""
    settings = report.settings
    share = report.prepared_share
    prepared = "nothing" if share is None else f"{100 * share:.1f} %"
    table = Table(
        f"{settings.load} busy processes beside a stream ({settings.method}), {report.scheduling}",
        ("ms", *("max" if percent == 100.0 else f"p{percent:g}" for percent in _SHOWN)),
        note=f"{report.packets} packets, {report.lost} lost, {prepared} prepared, "
        f"{report.deadline_misses} deadlines missed",
    )
    rows = {"turn late": report.turn_late_ms, "received": report.received_ms}
    for name, times in (rows | {"lost": report.lost_ms}).items():
        table.add(name, *(f"{ms:.2f}" for ms in times.values()))
    return table
