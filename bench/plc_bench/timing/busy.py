"""Effect of other work on the machine on a stream: ``plc bench streams busy``.

A stream is pushed in real time while nothing else runs, then beside busy processes, then alone
again. Each *phase* is the same piece, lost in the same places, a whole number of times: its figures
differ by the machine alone: the order of linear prediction that the lost packets got, their error,
and the time until the best rung is back.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from plc.engine.config import samples_of_packet
from plc.engine.loss import GilbertElliott
from plc.errors import ConfigError
from plc.files.distances import nmse_db
from plc_bench.base.pace import turns
from plc_bench.base.surroundings import background_load, machine_facts
from plc_bench.base.tables import Table
from plc_bench.timing.latency_tables import prepared_text
from plc_bench.timing.measure import cut, piece

_PACKET_MS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BusySettings:
    """A stream of a repeated piece, and the work beside it; a phase plays the piece at least once.

    Attributes
    ----------
    sample_rate, method, budget_ms
        As ``plc.Concealer`` takes them, for one channel and packets of 10 ms.
    loss : float
        Share of packets lost, in bursts of 1.5 packets by Gilbert and Elliott's model.
    piece_s, load_s, calm_s : float
        Length of the piece; time beside the load, and of each phase with nothing beside the stream.
    load : int, busy processes
    clips : tuple of Path
        Audio to push, an equal part of each clip; none: a made piece of music.
    real_time : bool
        Whether a packet waits for its turn; else packets go as fast as they are taken, and a phase
        lasts as long as it does on the clock.
    """

    sample_rate: int = 48_000
    method: Any = "ar"
    budget_ms: float | None = None
    loss: float = 0.1
    piece_s: float = 20.0
    load_s: float = 60.0
    calm_s: float = 20.0
    load: int = 2
    clips: tuple[Path, ...] = ()
    real_time: bool = True

    def __post_init__(self) -> None:
        """Check the settings that the engine does not see."""
        times = [getattr(self, one.name) for one in fields(self) if one.name.endswith("_s")]
        if not all(1.0 <= seconds < math.inf for seconds in times):
            raise ConfigError("pieces and phases last 1 s at least, and end")

    def piece(self) -> NDArray[np.float32]:
        """Return the piece, shape (n, 1)."""
        return piece(self.clips, self.sample_rate, self.piece_s)

    def packets(self) -> tuple[list[NDArray[np.float32]], NDArray[np.bool_]]:
        """Return the packets of the piece, and which of them are lost."""
        packets = cut(self.piece(), samples_of_packet(_PACKET_MS, self.sample_rate))
        return packets, GilbertElliott(self.loss).trace(len(packets), 0)

    def open(self) -> plc.Concealer:
        """Return the stream."""
        return plc.Concealer(
            sample_rate=self.sample_rate,
            packet_ms=_PACKET_MS,
            method=self.method,
            budget_ms=self.budget_ms,
        )

    def phase_s(self, phase: str) -> float:
        """Return how long a phase is to last."""
        return self.load_s if phase == DURING else self.calm_s

    def pieces(self, phase: str) -> int:
        """Return the repetitions of the piece in a phase in real time."""
        return max(1, round(self.phase_s(phase) / self.piece_s))


PHASES = ("before", "during", "after")
DURING = PHASES[1]
# A predictor is called ar:ORDER_MS/PAST_MS; other names are no predictor's.
_PREDICTOR = "ar:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Outcome of the packets of a phase.

    Attributes
    ----------
    name : str, of :data:`PHASES`
    packets, concealed : int
        Pushed, and of these concealed.
    order_ms : float
        Mean order of the linear prediction in the packets that it made; NaN without any.
    rungs : dict of str to float
        Share of the concealed packets by rung.
    nmse_db : float, over the concealed packets
    deadline_misses, rung_changes : int, as ``Stats`` counts them
    prepared : dict of str to int
        Counters of :class:`~plc.engine.pace.PreparationCounters`.
    best_after_s : float
        Audio until the last concealed packet that was predicted on a rung below the best that the
        machine affords such content; 0 if there was none.
    """

    name: str
    packets: int
    concealed: int
    order_ms: float
    rungs: dict[str, float]
    nmse_db: float
    deadline_misses: int
    rung_changes: int
    prepared: dict[str, int]
    best_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyReport:
    """All phases, with the machine and the settings."""

    machine: dict[str, str]
    settings: BusySettings
    phases: list[Phase]


@dataclass(slots=True)
class _Heard:
    """A running phase: pushes its packets, and notes the concealed ones."""

    concealer: plc.Concealer
    packets: Sequence[NDArray[np.float32]]
    lost: Sequence[bool]
    keep: int
    """Turns of which what is played for a lost packet is kept; all would be too many to hold."""
    pushed: int = 0
    turns: list[int] = field(default_factory=list)
    """Of each packet that was concealed."""
    rungs: list[str] = field(default_factory=list)
    played: list[NDArray[np.float32]] = field(default_factory=list)
    misses: int = 0
    changes: int = 0
    prepared: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note where the counters stand."""
        stats = self.concealer.stats
        self.misses, self.changes = stats.deadline_misses, stats.rung_changes
        self.prepared = asdict(stats.ahead)

    def push(self) -> None:
        """Push the next packet."""
        place = self.pushed % len(self.packets)
        if self.lost[place]:
            stats = self.concealer.stats
            before = dict(stats.rung_samples)
            played = self.concealer.push(None)
            made = (rung for rung, n in stats.rung_samples.items() if n != before[rung])
            self.turns.append(self.pushed)
            self.rungs.append(next(made, ""))
            if self.pushed < self.keep:
                self.played.append(played.astype(np.float32))
        else:
            self.concealer.push(self.packets[place])
        self.pushed += 1

    def end(self) -> None:
        """Count the misses and changes of the phase."""
        stats = self.concealer.stats
        self.misses = stats.deadline_misses - self.misses
        self.changes = stats.rung_changes - self.changes
        counted = asdict(stats.ahead).items()
        self.prepared = {name: count - self.prepared[name] for name, count in counted}


def measure(
    settings: BusySettings,
    on_seconds: Callable[[float], None] = lambda seconds: None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> BusyReport:
    """Push a stream through all phases.

    Parameters
    ----------
    settings : BusySettings, stream and phases
    on_seconds : callable
        Called with each second of audio, or on the clock, that is done.
    clock, sleep : callable, return, and take, seconds
    """
    packets, lost = settings.packets()
    heard: dict[str, _Heard] = {}
    with settings.open() as concealer:
        for phase in PHASES:
            keep = settings.pieces(phase) * len(packets)
            heard[phase] = _Heard(concealer, packets, lost.tolist(), keep)
            with background_load(settings.load if phase == DURING else 0):
                _drive(heard[phase], settings, phase, on_seconds, clock, sleep)
    best = {ladder[0]["rung"] for ladder in concealer.describe()["ladders"].values()}
    phases = [_summary(phase, one, settings, best) for phase, one in heard.items()]
    return BusyReport(machine=machine_facts(), settings=settings, phases=phases)


def _drive(
    heard: _Heard,
    settings: BusySettings,
    phase: str,
    on_seconds: Callable[[float], None],
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> None:
    """Push packets to the end of a phase."""
    packet_s = _PACKET_MS / 1000.0 if settings.real_time else 0.0
    began_s, told_s = clock(), 0.0
    for turn, _ in enumerate(turns(packet_s, clock, sleep)):
        done_s = turn * packet_s if settings.real_time else clock() - began_s
        if done_s - told_s >= 1.0:
            on_seconds(done_s - told_s)
            told_s = done_s
        if turn >= heard.keep if settings.real_time else done_s >= settings.phase_s(phase):
            break
        heard.push()
    heard.end()


def _summary(phase: str, heard: _Heard, settings: BusySettings, best: set[str]) -> Phase:
    orders = np.array([_order_ms(rung) for rung in heard.rungs])
    predicted = orders[orders > 0.0]
    low = [
        turn
        for turn, rung in zip(heard.turns, heard.rungs, strict=True)
        if _order_ms(rung) and rung not in best
    ]
    packets = heard.packets
    truth = [packets[turn % len(packets)] for turn in heard.turns[: len(heard.played)]]
    nmse = float("nan")
    if truth:
        reference, estimate = np.concatenate(truth), np.concatenate(heard.played)
        nmse = nmse_db(reference, estimate, np.ones(len(reference), bool))
    names = sorted(set(heard.rungs))
    return Phase(
        name=phase,
        packets=heard.pushed,
        concealed=len(heard.rungs),
        order_ms=float(predicted.mean()) if predicted.size else float("nan"),
        rungs={name: heard.rungs.count(name) / len(heard.rungs) for name in names},
        nmse_db=nmse,
        deadline_misses=heard.misses,
        rung_changes=heard.changes,
        prepared=heard.prepared,
        best_after_s=(low[-1] + 1) * _PACKET_MS / 1000.0 if low else 0.0,
    )


def _order_ms(rung: str) -> float:
    """Return the order in a rung's name; 0 if not a predictor."""
    if not rung.startswith(_PREDICTOR):
        return 0.0
    return float(rung.removeprefix(_PREDICTOR).split("/")[0])


def busy_tables(report: BusyReport) -> list[Table | str]:
    """Return a row for each phase, and the concealments prepared in each."""
    settings = report.settings
    table = Table(
        f"{settings.load} busy processes beside a stream ({settings.method})",
        (
            *("phase", "packets", "concealed", "mean order ms", "mostly", "NMSE dB"),
            *("over budget", "rung changes", "best rung from s"),
        ),
        left=(0, 4),
    )
    for one in report.phases:
        mostly = max(one.rungs, key=one.rungs.__getitem__, default="")
        table.add(
            one.name,
            one.packets,
            one.concealed,
            f"{one.order_ms:.1f}",
            f"{mostly} {100 * one.rungs[mostly]:.0f} %" if mostly else "-",
            f"{one.nmse_db:.2f}",
            one.deadline_misses,
            one.rung_changes,
            f"{one.best_after_s:.1f}",
        )
    told = {one.name: prepared_text(one.prepared) for one in report.phases}
    return [table, *(f"{name}: {text}" for name, text in told.items() if text)]
