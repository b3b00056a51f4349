"""A bad network on purpose: loss, jitter, reordering, duplicates and a rate cap, by a seed.

:class:`Impairment` is a state machine with the clock passed in: datagrams go in as they come and
out when they are due, if at all. What becomes of the n-th datagram depends on the seed and on n
alone (but for the rate cap, which depends on what went before), and each kind of impairment has
random numbers of its own: with more jitter the same packets are lost.

:class:`ImpairProxy` puts it between two UDP ports::

    sender ──▶ listen ──▶ lost? ──▶ rate cap ──▶ delay, jitter ──▶ to
                                                    └─▶ twice?
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plc.engine.loss import GilbertElliott, LossSource
from plc.errors import ConfigError, PlcError
from plc.transport.rtp.udp import Address, Endpoint, UdpPort

# Drawn at once; the sequence does not depend on it.
_DRAWN = 256
# Datagrams under way at most: a flood does not fill the memory.
_UNDER_WAY_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpairConfig:
    """Settings of a simulated network.

    Parameters
    ----------
    loss : float, share lost, 0 up to but not including 1
    mean_burst : float, mean number lost in a row
    delay_ms : float, by which all are delayed
    jitter_ms : float
        Up to which each is delayed besides, evenly distributed. Those closer than that may
        overtake each other, unless ``in_order``.
    in_order : bool, let none overtake another: who comes late holds up those behind
    reorder : float, share held back for ``reorder_ms``, so that those behind overtake it
    reorder_ms : float, see above
    duplicate : float, share that arrives twice
    rate_kbit_s : float
        What passes; more waits in a queue. Infinite: no cap.
    queue_ms : float, length of that queue; what would wait longer is lost
    """

    loss: float = 0.0
    mean_burst: float = 1.5
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    in_order: bool = False
    reorder: float = 0.0
    reorder_ms: float = 30.0
    duplicate: float = 0.0
    rate_kbit_s: float = math.inf
    queue_ms: float = 100.0

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.loss:
            GilbertElliott(self.loss, self.mean_burst)
        for name in ("reorder", "duplicate"):
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"{name} is {100 * share:g} %; it is a share from 0 % to 100 %")
        for name in ("delay_ms", "jitter_ms", "reorder_ms", "queue_ms"):
            value = getattr(self, name)
            if not 0.0 <= value <= 60_000.0:
                raise ConfigError(f"{name} is {value:g}; supported: 0 to 60000 ms")
        if not self.rate_kbit_s > 0.0:
            raise ConfigError(f"rate_kbit_s is {self.rate_kbit_s:g} kbit/s; it is above 0")


@dataclass(slots=True)
class ImpairStats:
    """Counters of a simulated network."""

    received: int = 0
    sent: int = 0
    lost: int = 0
    """By the loss model."""
    dropped: int = 0
    """By the rate cap."""
    duplicated: int = 0
    reordered: int = 0
    """Sent after one that came later."""


class _Draws:
    """Numbers in [0, 1), one after the other."""

    __slots__ = ("_numbers", "_place", "_rng")

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._numbers: list[float] = []
        self._place = 0

    def next(self) -> float:
        if self._place == len(self._numbers):
            self._numbers = self._rng.random(_DRAWN).tolist()
            self._place = 0
        self._place += 1
        return self._numbers[self._place - 1]


class Impairment:
    """One direction of a bad network.

    Parameters
    ----------
    config : ImpairConfig, its settings
    seed : int, another seed, other packets
    losses : LossSource, optional, which are lost, instead of the config's model: a trace, say
    """

    def __init__(
        self, config: ImpairConfig, seed: int = 0, losses: LossSource | None = None
    ) -> None:
        self.config = config
        self.stats = ImpairStats()
        if losses is None and config.loss:
            losses = GilbertElliott(config.loss, config.mean_burst).source(seed)
        self._losses = losses
        self._jitter, self._reorder, self._duplicate = (
            _Draws(np.random.default_rng([seed, kind])) for kind in range(3)
        )
        self._under_way: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._newest_sent = -1
        self._free_s = -math.inf
        self._latest_s = -math.inf

    @property
    def next_s(self) -> float:
        """Time at which the next datagram is due; infinite without one."""
        return self._under_way[0][0] if self._under_way else math.inf

    def put(self, datagram: bytes, now_s: float) -> None:
        """Take a datagram in."""
        config = self.config
        self.stats.received += 1
        self._number += 1
        jitter_s = config.jitter_ms / 1000.0 * self._jitter.next()
        held_back = self._reorder.next() < config.reorder
        twice = self._duplicate.next() < config.duplicate
        if self._losses is not None and bool(self._losses.take(1)[0]):
            self.stats.lost += 1
            return
        through_s = self._pass_cap(len(datagram), now_s)
        if through_s is None or len(self._under_way) >= _UNDER_WAY_MAX:
            self.stats.dropped += 1
            return
        due_s = through_s + config.delay_ms / 1000.0 + jitter_s
        if config.in_order:
            due_s = self._latest_s = max(due_s, self._latest_s)
        if held_back:
            due_s += config.reorder_ms / 1000.0
        heapq.heappush(self._under_way, (due_s, self._number, datagram))
        if twice:
            self.stats.duplicated += 1
            heapq.heappush(self._under_way, (due_s, self._number, datagram))

    def _pass_cap(self, size: int, now_s: float) -> float | None:
        """Return when the last byte is through; None if the queue is full."""
        begin_s = max(now_s, self._free_s)
        if begin_s - now_s > self.config.queue_ms / 1000.0:
            return None
        self._free_s = begin_s + 8.0 * size / (1000.0 * self.config.rate_kbit_s)
        return self._free_s

    def due(self, now_s: float) -> list[bytes]:
        """Return the datagrams that arrive by now, in order of arrival."""
        arrived = []
        while self._under_way and self._under_way[0][0] <= now_s:
            _, number, datagram = heapq.heappop(self._under_way)
            self.stats.reordered += number < self._newest_sent
            self._newest_sent = max(self._newest_sent, number)
            arrived.append(datagram)
        self.stats.sent += len(arrived)
        return arrived


class ImpairProxy:
    """A :class:`~plc.transport.rtp.udp.Service` that sends on through a simulated network.

    Parameters
    ----------
    listen, to : Endpoint, where datagrams come in and where they go
    impairment : Impairment, the simulated network
    """

    def __init__(self, listen: Endpoint, to: Endpoint, impairment: Impairment) -> None:
        self.impairment = impairment
        self._port = UdpPort(listen)
        try:
            self._target = self._port.target(to)
        except PlcError:
            self._port.close()
            raise
        self._stopped = False

    @property
    def ports(self) -> Sequence[UdpPort]:
        """The listening port."""
        return (self._port,)

    @property
    def next_s(self) -> float:
        """Time at which the next datagram is due."""
        return self.impairment.next_s

    @property
    def done(self) -> bool:
        """True if it was stopped, and nothing is under way any more."""
        return self._stopped and self.next_s == math.inf

    def receive(self, port: int, datagram: bytes, source: Address, now_s: float) -> None:
        """Take a datagram in."""
        if not self._stopped:
            self.impairment.put(datagram, now_s)

    def advance(self, now_s: float) -> None:
        """Send the due datagrams."""
        for datagram in self.impairment.due(now_s):
            self._port.send(datagram, self._target)

    def stop(self, now_s: float) -> None:
        """Take nothing more in."""
        self._stopped = True

    def close(self) -> None:
        """Close the port."""
        self._port.close()
