"""Cost of many streams on a server that mixes them: ``plc bench streams server``.

All streams have one format and push their packets in one call of a :class:`plc.ConcealerPool`, tick
after tick, as fast as it goes or in real time. What a received packet costs is measured without
losses; what a concealed one costs, by the processor time that losses add. The default load is that
of a mixer of 150 players [1]_: 112,500 received and 5,625 lost packets of 64 samples a second.

References
----------
.. [1] https://github.com/jamulussoftware/jamulus/issues/3895
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from plc.engine.loss import GilbertElliott
from plc.errors import ConfigError
from plc_bench.base.pace import turns
from plc_bench.base.surroundings import machine_facts
from plc_bench.base.tables import Table
from plc_bench.timing.measure import piece

# Streams stand at places of the piece that are so far apart.
_APART_S = 0.37
_PIECE_S = 10.0
# Packets of the longest burst.
_LONGEST = 3
# Of a packet's time: what a tick may take of it with all that is prepared.
_BUDGET_SHARE = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The load.

    Attributes
    ----------
    streams, sample_rate, packet_samples, threads : int
        Of :meth:`plc.ConcealerPool.open`, and of the pool.
    methods : tuple of str
        Likewise, one after the other.
    model : str, likewise
    paced : bool
        Whether ticks with losses come in real time, and what they leave of it prepares; else one
        follows the other, and nothing is prepared.
    loss, mean_burst : float
        Share of packets lost, and mean packets in a burst, of at most three packets.
    seconds : float
        Of each stream, in each measurement.
    clips : tuple of Path
        Audio files or folders; none: a made piece of music.
    """

    streams: int = 158
    sample_rate: int = 48_000
    packet_samples: int = 64
    threads: int = 1
    methods: tuple[str, ...] = ("server", "ar")
    model: str = "auto"
    paced: bool = False
    loss: float = 0.0476
    mean_burst: float = 1.5
    seconds: float = 2.0
    clips: tuple[Path, ...] = ()

    @property
    def ticks(self) -> int:
        """Packets of each stream."""
        return max(1, round(self.seconds * self.sample_rate / self.packet_samples))

    def __post_init__(self) -> None:
        """Refuse a load of which a measurement would say nothing."""
        if not 0.0 <= self.loss < 1.0 or not 0.0 < self.seconds < math.inf:
            raise ConfigError(
                f"loss is {self.loss} and seconds {self.seconds}; give a share of 0 or more and "
                "below 1, and a time above 0"
            )


@dataclass(frozen=True, slots=True)
class ServerCost:
    """The cost and the error of one method.

    Attributes
    ----------
    received_us, concealed_us : float
        Processor time of a packet.
    cores : float
        Processor time by the time that the streams last.
    a_core, a_core_received : float
        Streams that a core has time for: so, and where all is received.
    mix : dict
        Share of the concealed samples that a rung or a network made, by its name.
    prepared : float
        Share of the bursts that were prepared.
    tick_ms : dict
        Wall time of a call for all streams, from its turn on if paced: p50, p99 and max.
    late_per_mille : float
        Of 1000 such calls: how many ended when the next one was due.
    nmse_db : float, of the concealed samples
    """

    method: str
    received: int
    concealed: int
    received_us: float
    concealed_us: float
    cores: float
    a_core: float
    a_core_received: float
    mix: dict[str, float]
    prepared: float
    tick_ms: dict[str, float]
    late_per_mille: float
    nmse_db: float


@dataclass(frozen=True, slots=True)
class ServerReport:
    """All methods under one load."""

    machine: dict[str, str]
    settings: ServerSettings
    costs: list[ServerCost]


def measure(settings: ServerSettings, on_method: Callable[[], None] = lambda: None) -> ServerReport:
    """Push all streams by each method."""
    packets = _Packets(settings)
    arrived = _arrived(settings)
    costs = []
    for method in settings.methods:
        costs.append(_cost(settings, method, packets, arrived))
        on_method()
    return ServerReport(machine_facts(), settings, costs)


class _Packets:
    """Packets of all streams, tick after tick: one piece, from a place of each stream's own.

    Nothing but the piece and the packets of a tick is held. Memory that is touched for the first
    time stops a process for a while, which would be measured with the ticks.

    Attributes
    ----------
    now : float32, shape (streams, packet_samples, 1)
        Those of the tick that was taken last.
    """

    def __init__(self, settings: ServerSettings) -> None:
        rate, n = settings.sample_rate, settings.packet_samples
        whole = piece(settings.clips, rate, _PIECE_S)[:, 0]
        self._size = whole.size
        # A packet that begins near the end goes on at the beginning.
        self._piece = np.resize(whole, whole.size + n)
        self._begins = [round(k * _APART_S * rate) for k in range(settings.streams)]
        self.now = np.zeros((settings.streams, n, 1), np.float32)

    def take(self, tick: int) -> None:
        """Let the packets of a tick be :attr:`now`."""
        n = self.now.shape[1]
        for packet, begin in zip(self.now, self._begins, strict=True):
            at = (begin + tick * n) % self._size
            packet[:, 0] = self._piece[at : at + n]


def _arrived(settings: ServerSettings) -> NDArray[np.bool_]:
    """Return which packets arrive: bool, shape (ticks, streams)."""
    model = GilbertElliott(settings.loss, settings.mean_burst)
    lost = np.stack([model.trace(settings.ticks, k) for k in range(settings.streams)], axis=1)
    run = np.zeros(settings.streams, np.int64)
    for row in lost:
        run = np.where(row, run + 1, 0)
        row &= run <= _LONGEST
        run[run > _LONGEST] = 0
    arrived: NDArray[np.bool_] = ~lost
    return arrived


def _cost(
    settings: ServerSettings, method: Any, packets: _Packets, arrived: NDArray[np.bool_]
) -> ServerCost:
    tick_s = settings.packet_samples / settings.sample_rate
    with plc.ConcealerPool(settings.threads) as pool:
        ids = pool.open(
            settings.streams,
            sample_rate=settings.sample_rate,
            packet_samples=settings.packet_samples,
            method=method,
            model=settings.model,
        )
        clean = _drive(pool, ids, packets, np.ones_like(arrived))
        pool.reset()
        lossy = _drive(pool, ids, packets, arrived, tick_s if settings.paced else 0.0)
        mix, prepared = _mix(pool.stats(ids)), _prepared(pool.stats(ids))
    received, concealed = int(arrived.sum()), int((~arrived).sum())
    each_s = clean.spent_s / arrived.size
    lasts_s = settings.ticks * tick_s
    p50, p99, most = np.percentile(1e3 * lossy.ticks_s, (50, 99, 100))
    return ServerCost(
        method,
        received,
        concealed,
        1e6 * each_s,
        1e6 * (lossy.spent_s - received * each_s) / max(concealed, 1),
        lossy.spent_s / lasts_s,
        settings.streams * lasts_s / lossy.spent_s,
        settings.streams * lasts_s / clean.spent_s,
        mix,
        prepared,
        {"p50": float(p50), "p99": float(p99), "max": float(most)},
        1000.0 * float(np.mean(lossy.ticks_s > tick_s)),
        10.0 * float(np.log10(lossy.error / max(lossy.truth, 1e-30) + 1e-30)),
    )


def _mix(streams: Sequence[plc.Stats]) -> dict[str, float]:
    """Return the share of the concealed samples that each rung made, the largest first."""
    made: Counter[str] = Counter()
    for stats in streams:
        made.update(stats.rung_samples)
    return {rung: count / made.total() for rung, count in made.most_common() if count}


def _prepared(streams: Sequence[plc.Stats]) -> float:
    bursts = sum(stats.concealment_events for stats in streams)
    return sum(stats.ahead.concealed_prepared for stats in streams) / max(bursts, 1)


@dataclass(slots=True)
class _Drive:
    """Times of all ticks, and the error of the samples that they played."""

    ticks_s: NDArray[np.float64]
    """Wall time of each, from its turn on if paced."""
    spent_s: float = 0.0
    """Processor time of the pool."""
    error: float = 0.0
    truth: float = 0.0
    """Energy of the lost packets' errors, and of the packets."""


def _drive(
    pool: plc.ConcealerPool,
    ids: NDArray[np.int64],
    packets: _Packets,
    arrived: NDArray[np.bool_],
    tick_s: float = 0.0,
) -> _Drive:
    """Push all ticks.

    Parameters
    ----------
    tick_s : float
        A packet's duration, where ticks are paced; they have three quarters of it, and
        preparations what is left of those. 0: one after the other.
    """
    made = _Drive(np.zeros(len(arrived)))
    played = np.zeros_like(packets.now)
    most_s = _BUDGET_SHARE * tick_s if tick_s else math.inf
    packets.take(0)
    for tick, due_s in zip(range(len(arrived)), turns(tick_s), strict=False):
        at_s = due_s if tick_s else time.perf_counter()
        began_s = time.process_time()
        budget_ms = 1e3 * max(at_s + most_s - time.perf_counter(), 0.0)
        pool.push(ids, packets.now, arrived[tick], played, budget_ms=budget_ms)
        made.ticks_s[tick] = time.perf_counter() - at_s
        if tick_s:
            pool.prepare(1e3 * max(most_s - made.ticks_s[tick], 0.0))
        made.spent_s += time.process_time() - began_s
        lost = ~arrived[tick]
        truth = packets.now[lost].astype(np.float64)
        made.error += float(np.sum((played[lost] - truth) ** 2))
        made.truth += float(np.sum(truth**2))
        packets.take(tick + 1)
    return made


def server_tables(report: ServerReport) -> list[Table]:
    """Return a table of costs and one of the calls' output, with a row for each method."""
    settings = report.settings
    costs = Table(
        f"{settings.streams} streams, packets of {settings.packet_samples} samples at "
        f"{settings.sample_rate} Hz, {settings.threads} thread(s)",
        (
            *("method", "received", "concealed", "µs a received", "µs a concealed", "cores"),
            *("streams a core", "none lost"),
        ),
    )
    played = Table(
        "A call for all streams, and what it played",
        ("method", "p50 ms", "p99 ms", "max ms", "late ‰", "prepared", "NMSE dB", "mix"),
    )
    for one in report.costs:
        costs.add(
            one.method,
            one.received,
            one.concealed,
            f"{one.received_us:.2f}",
            f"{one.concealed_us:.1f}" if one.concealed else "-",
            f"{one.cores:.2f}",
            f"{one.a_core:.0f}",
            f"{one.a_core_received:.0f}",
        )
        played.add(
            one.method,
            *(f"{one.tick_ms[name]:.2f}" for name in ("p50", "p99", "max")),
            f"{one.late_per_mille:.1f}",
            f"{one.prepared:.0%}",
            f"{one.nmse_db:.2f}" if one.concealed else "-",
            ", ".join(f"{rung} {share:.0%}" for rung, share in one.mix.items()) or "-",
        )
    return [costs, played]
