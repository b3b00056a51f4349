"""Effect of other work on the machine on a stream: ``plc bench busy``.

A stream is pushed in real time while nothing else runs, then beside busy processes, then alone
again. Each *phase* is the same piece, lost in the same places, a whole number of times: its figures
differ by the machine alone: the order of linear prediction that the lost packets got, their error,
and the time until the best rung is back.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import plc
from plc.audio.loss import GilbertElliott
from plc.audio.quality import nmse_db
from plc.engine.config import samples_of_packet
from plc.errors import ConfigError
from plc_bench.base.corpus import find_clips, read_clip
from plc_bench.base.pace import wait_until
from plc_bench.base.surroundings import background_load, check_cpu, machine_facts, pin
from plc_bench.base.synth import music
from plc_bench.timing.measure import cut

BEFORE, DURING, AFTER = PHASES = ("before", "during", "after")
# A predictor is called ar:ORDER_MS/PAST_MS; other names are no predictor's.
_PREDICTOR = "ar:"


@dataclass(frozen=True, slots=True, kw_only=True)
class BusySettings:
    """Settings of ``plc bench busy``.

    Attributes
    ----------
    sample_rate, packet_ms, method, budget_ms
        As ``plc.Concealer`` takes them, for one channel; a packet has ``packet_ms``.
    loss, mean_burst, seed
        Of Gilbert and Elliott's model.
    piece_s : float
        Length of the piece; a phase plays it at least once.
    calm_s, load_s : float
        Of the phases with nothing beside the stream, and of the one between; up to whole pieces.
    load : int
        Busy processes.
    real_time : bool
        Whether a packet waits for its turn; else packets go as fast as they are taken, and a phase
        lasts as long as it does on the clock.
    cpu : int or None
        The CPU that the stream and the busy processes are bound to.
    clips : tuple of Path
        Audio to push, an equal part of each clip; none: a made piece of music.
    """

    sample_rate: int = 48_000
    packet_ms: float = 10.0
    method: str = "ar"
    budget_ms: float | None = None
    loss: float = 0.1
    mean_burst: float = 1.5
    seed: int = 0
    piece_s: float = 20.0
    calm_s: float = 20.0
    load_s: float = 60.0
    load: int = 2
    real_time: bool = True
    cpu: int | None = None
    clips: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Check the settings that the engine does not see."""
        if not all(1.0 <= s < math.inf for s in (self.piece_s, self.calm_s, self.load_s)):
            raise ConfigError("pieces and phases last 1 s at least, and end")
        check_cpu(self.cpu)

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return samples_of_packet(self.packet_ms, self.sample_rate)

    def phase_s(self, phase: str) -> float:
        """Return how long a phase is to last."""
        return self.load_s if phase == DURING else self.calm_s

    def pieces(self, phase: str) -> int:
        """Return the repetitions of the piece in a phase in real time."""
        return max(1, round(self.phase_s(phase) / self.piece_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Outcome of the packets of a phase.

    Attributes
    ----------
    name : str
        Of :data:`PHASES`.
    packets, concealed : int
        Pushed, and of these concealed.
    order_ms : float
        Mean order of the linear prediction in the packets that it made; NaN without any.
    rungs : dict of str to float
        Share of the concealed packets by rung.
    nmse_db : float
        Over the concealed packets.
    deadline_misses, rung_changes : int
        As ``Stats`` counts them.
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
    best_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyReport:
    """All phases, with the machine and the settings."""

    machine: dict[str, str]
    settings: BusySettings
    phases: list[Phase]


@dataclass(slots=True)
class _Heard:
    """Notes of a running phase."""

    places: list[int] = field(default_factory=list)
    """Of the piece, the packet of each that was concealed."""
    turns: list[int] = field(default_factory=list)
    """Likewise, counted from the phase's begin."""
    rungs: list[str] = field(default_factory=list)
    played: list[NDArray[np.float32]] = field(default_factory=list)
    packets: int = 0
    misses: int = 0
    changes: int = 0


def measure(
    settings: BusySettings,
    on_seconds: Callable[[float], None] = lambda seconds: None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> BusyReport:
    """Push a stream through all phases.

    Parameters
    ----------
    settings : BusySettings
        Stream and phases.
    on_seconds : callable
        Called with each second of audio, or on the clock, that is done.
    clock, sleep : callable
        Return, and take, seconds.
    """
    pin(settings.cpu)
    packets = cut(piece_of(settings), settings.packet_samples)
    lost = GilbertElliott(settings.loss, settings.mean_burst).trace(len(packets), settings.seed)
    heard: dict[str, _Heard] = {}
    concealer = plc.Concealer(
        sample_rate=settings.sample_rate,
        packet_samples=settings.packet_samples,
        method=settings.method,
        budget_ms=settings.budget_ms,
    )
    with closing(concealer):
        for phase in PHASES:
            with background_load(settings.load if phase == DURING else 0):
                heard[phase] = _drive(
                    concealer, settings, phase, packets, lost.tolist(), on_seconds, clock, sleep
                )
    best = {ladder[0]["rung"] for ladder in concealer.describe()["ladders"].values()}
    phases = [_summary(phase, one, packets, settings, best) for phase, one in heard.items()]
    return BusyReport(machine=machine_facts(), settings=settings, phases=phases)


class Pieced(Protocol):
    """Settings that say what is played."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        ...

    @property
    def piece_s(self) -> float:
        """Length of the piece."""
        ...

    @property
    def clips(self) -> tuple[Path, ...]:
        """Audio, or none."""
        ...


def piece_of(settings: Pieced) -> NDArray[np.float32]:
    """Return the piece: an equal part of each clip, or made music."""
    rate = settings.sample_rate
    if not settings.clips:
        return music(rate, settings.piece_s)
    clips = find_clips(settings.clips)
    each = round(settings.piece_s * rate / len(clips))
    parts = [read_clip(clip, rate).signal[:each, :1] for clip in clips]
    piece = np.concatenate(parts)
    return np.resize(piece, (round(settings.piece_s * rate), 1))


def _drive(
    concealer: plc.Concealer,
    settings: BusySettings,
    phase: str,
    packets: Sequence[NDArray[np.float32]],
    lost: Sequence[bool],
    on_seconds: Callable[[float], None],
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> _Heard:
    heard = _Heard()
    stats = concealer.stats
    misses, changes = stats.deadline_misses, stats.rung_changes
    packet_s = settings.packet_ms / 1000.0
    turns = settings.pieces(phase) * len(packets)
    began_s = clock()
    told_s = 0.0
    turn = 0
    while turn < turns if settings.real_time else clock() - began_s < settings.phase_s(phase):
        place = turn % len(packets)
        if settings.real_time:
            wait_until(began_s + turn * packet_s, clock, sleep)
        if lost[place]:
            before = dict(stats.rung_samples)
            played = concealer.push(None)
            made = (rung for rung, n in stats.rung_samples.items() if n != before[rung])
            heard.places.append(place)
            heard.turns.append(turn)
            heard.rungs.append(next(made, ""))
            if turn < turns:  # as fast as it goes, it would be too many to keep
                heard.played.append(played.astype(np.float32))
        else:
            concealer.push(packets[place])
        turn += 1
        done_s = turn * packet_s if settings.real_time else clock() - began_s
        if done_s - told_s >= 1.0:
            on_seconds(done_s - told_s)
            told_s = done_s
    heard.packets = turn
    heard.misses = stats.deadline_misses - misses
    heard.changes = stats.rung_changes - changes
    return heard


def _summary(
    phase: str,
    heard: _Heard,
    packets: Sequence[NDArray[np.float32]],
    settings: BusySettings,
    best: set[str],
) -> Phase:
    orders = np.array([_order_ms(rung) for rung in heard.rungs])
    predicted = orders[orders > 0.0]
    low = [
        turn
        for turn, rung in zip(heard.turns, heard.rungs, strict=True)
        if _order_ms(rung) and rung not in best
    ]
    truth = [packets[place] for place in heard.places[: len(heard.played)]]
    nmse = float("nan")
    if truth:
        reference, estimate = np.concatenate(truth), np.concatenate(heard.played)
        nmse = nmse_db(reference, estimate, np.ones(len(reference), bool))
    names = sorted(set(heard.rungs))
    return Phase(
        name=phase,
        packets=heard.packets,
        concealed=len(heard.rungs),
        order_ms=float(predicted.mean()) if predicted.size else float("nan"),
        rungs={name: heard.rungs.count(name) / len(heard.rungs) for name in names},
        nmse_db=nmse,
        deadline_misses=heard.misses,
        rung_changes=heard.changes,
        best_after_s=(low[-1] + 1) * settings.packet_ms / 1000.0 if low else 0.0,
    )


def _order_ms(rung: str) -> float:
    """Return the order in a rung's name; 0 if not a predictor."""
    if not rung.startswith(_PREDICTOR):
        return 0.0
    return float(rung.removeprefix(_PREDICTOR).split("/")[0])


def busy_table(report: BusyReport) -> Table:
    """Return a row for each phase."""
    settings = report.settings
    table = Table(title=f"{settings.load} busy processes beside a stream ({settings.method})")
    for head in ("phase", "packets", "concealed", "mean order ms", "mostly", "NMSE dB"):
        table.add_column(head, justify="left" if head in ("phase", "mostly") else "right")
    for head in ("over budget", "rung changes", "best rung from s"):
        table.add_column(head, justify="right")
    for one in report.phases:
        mostly = max(one.rungs, key=one.rungs.__getitem__, default="")
        table.add_row(
            one.name,
            str(one.packets),
            str(one.concealed),
            f"{one.order_ms:.1f}",
            f"{mostly} {100 * one.rungs[mostly]:.0f} %" if mostly else "-",
            f"{one.nmse_db:.2f}",
            str(one.deadline_misses),
            str(one.rung_changes),
            f"{one.best_after_s:.1f}",
        )
    return table
