"""A stream in real time beside busy processes: ``plc bench busy --paced``.

Each packet has its turn on the clock. Measured are how late the turn begins, how long a received
and a lost packet take in ``push``, and the share of losses that were prepared: what a listener of a
machine with other work to do would hear, with and without real-time priority.
"""

import gc
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import plc
from plc.audio.loss import GilbertElliott
from plc.engine.config import samples_of_packet
from plc.errors import ConfigError
from plc.runtime.priority import Level, Priority, Wish
from plc_bench.base.pace import wait_until
from plc_bench.base.surroundings import background_load, check_cpu, machine_facts, pin
from plc_bench.timing.busy import piece_of
from plc_bench.timing.measure import cut

_SHOWN = (50.0, 99.0, 99.9, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedSettings:
    """Settings of ``plc bench busy --paced``.

    Attributes
    ----------
    sample_rate, packet_ms, method, budget_ms
        As ``plc.Concealer`` takes them, for one channel; a packet has ``packet_ms``.
    loss, mean_burst, seed
        Of Gilbert and Elliott's model.
    piece_s : float
        Length of the piece, which is repeated.
    load_s : float
        How long it is measured.
    load : int
        Busy processes.
    priority : str
        As ``--priority`` of ``plc relay``.
    cpu : int or None
        The CPU that the stream and the busy processes are bound to.
    clips : tuple of Path
        Audio to push, an equal part of each clip; none: a made piece of music.
    """

    sample_rate: int = 48_000
    packet_ms: float = 10.0
    method: str = "auto"
    budget_ms: float | None = None
    loss: float = 0.1
    mean_burst: float = 1.5
    seed: int = 0
    piece_s: float = 20.0
    load_s: float = 180.0
    load: int = 2
    priority: Wish = "auto"
    cpu: int | None = None
    clips: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Check the settings that the engine does not see."""
        if not all(1.0 <= s < math.inf for s in (self.piece_s, self.load_s)):
            raise ConfigError("pieces and measurements last 1 s at least, and end")
        check_cpu(self.cpu)

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return samples_of_packet(self.packet_ms, self.sample_rate)


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
    clock: Callable[[], float] = time.perf_counter,
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
        Return, and take, seconds.
    """
    pin(settings.cpu)
    packets = cut(piece_of(settings), settings.packet_samples)
    lost = GilbertElliott(settings.loss, settings.mean_burst).trace(len(packets), settings.seed)
    turns = round(1000.0 * settings.load_s / settings.packet_ms)
    with Priority(settings.priority) as priority:
        concealer = plc.Concealer(
            sample_rate=settings.sample_rate,
            packet_samples=settings.packet_samples,
            method=settings.method,
            budget_ms=settings.budget_ms,
        )
        with closing(concealer), background_load(settings.load):
            gc.collect()
            gc.freeze()
            priority.take(Level.AUDIO)
            late, spent = _drive(
                concealer, packets, lost, turns, settings.packet_ms / 1000.0, on_seconds, clock,
                sleep,
            )  # fmt: skip
            gc.unfreeze()
        scheduling, spins = priority.describe(), priority.spins
    is_lost = np.resize(lost, turns)
    return PacedReport(
        machine=machine_facts(),
        settings=settings,
        scheduling=scheduling,
        packets=turns,
        lost=int(is_lost.sum()),
        prepared_share=_prepared_share(concealer),
        deadline_misses=concealer.stats.deadline_misses,
        spins=spins,
        turn_late_ms=_percentiles(late),
        received_ms=_percentiles(spent[~is_lost]),
        lost_ms=_percentiles(spent[is_lost]),
    )


def _drive(
    concealer: plc.Concealer,
    packets: list[NDArray[np.float32]],
    lost: NDArray[np.bool_],
    turns: int,
    packet_s: float,
    on_seconds: Callable[[float], None],
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each turn's lateness and the time of its push, in ms."""
    late, spent = np.zeros(turns), np.zeros(turns)
    each_second = max(1, round(1.0 / packet_s))
    began_s = clock()
    for turn in range(turns):
        due_s = began_s + turn * packet_s
        wait_until(due_s, clock, sleep)
        place = turn % len(packets)
        start_s = clock()
        concealer.push(None if lost[place] else packets[place])
        spent[turn] = 1000.0 * (clock() - start_s)
        late[turn] = 1000.0 * (start_s - due_s)
        if turn % each_second == each_second - 1:
            on_seconds(each_second * packet_s)
    return late, spent


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
    """Return the percentiles, and what was counted."""
    settings = report.settings
    share = report.prepared_share
    prepared = "nothing" if share is None else f"{100 * share:.1f} %"
    table = Table(
        title=f"{settings.load} busy processes beside a stream ({settings.method}), "
        f"{report.scheduling}",
        caption=f"{report.packets} packets, {report.lost} lost, {prepared} prepared, "
        f"{report.deadline_misses} deadlines missed",
    )
    table.add_column("ms")
    for percent in _SHOWN:
        table.add_column("max" if percent == 100.0 else f"p{percent:g}", justify="right")
    rows = {"turn late": report.turn_late_ms, "received": report.received_ms}
    for name, times in (rows | {"lost": report.lost_ms}).items():
        table.add_row(name, *(f"{ms:.2f}" for ms in times.values()))
    return table
