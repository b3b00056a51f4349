"""Settings of a stream that is timed."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import plc
from plc.engine.loss import GilbertElliott
from plc.errors import ConfigError

NETWORK_METHOD = "auto"
# Windows counts processor time in steps of 16 ms: too coarse for a packet.
_FINE_S = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedStream:
    """One stream and its losses.

    Attributes
    ----------
    sample_rate : int, in Hz
    packet_ms : float
        Packet length, which is also the deadline of a packet.
    channels : int, channels
    method, provider : str
        Arguments of ``plc.Concealer``.
    budget_ms : float or None
        Time the engine may take for a packet; None for its default.
    loss, mean_burst : float
        Share of packets lost, 0 to 1, and mean packets in a burst, of Gilbert and Elliott's model.
    seconds : float
        Audio of the stream in one measurement.
    """

    sample_rate: int = 48_000
    packet_ms: float = 10.0
    channels: int = 1
    method: Any = NETWORK_METHOD
    provider: str = "auto"
    budget_ms: float | None = None
    loss: float = 0.1
    mean_burst: float = 1.5
    seconds: float = 10.0

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return max(1, round(self.sample_rate * self.packet_ms / 1000))

    @property
    def packets(self) -> int:
        """Packets in one measurement."""
        return max(1, round(1000 * self.seconds / self.packet_ms))

    @property
    def name(self) -> str:
        """Description in a line."""
        budget = "" if self.budget_ms is None else f", budget {self.budget_ms:g} ms"
        return (
            f"{self.method}, {self.sample_rate} Hz, {self.channels} ch, {self.packet_ms:g} ms, "
            f"{100 * self.loss:g} % lost in bursts of {self.mean_burst:g}{budget}"
        )

    def check(self) -> None:
        """Raise ConfigError if no such stream, or no such losses, are possible."""
        GilbertElliott(self.loss, self.mean_burst)
        check_times(packet_ms=self.packet_ms, seconds=self.seconds)
        self.open().close()

    def open(self) -> plc.Concealer:
        """Return one such stream, timed by processor time without a network."""
        return plc.Concealer(
            sample_rate=self.sample_rate,
            channels=self.channels,
            packet_samples=self.packet_samples,
            method=self.method,
            budget_ms=self.budget_ms,
            provider=self.provider,
            clock=time.perf_counter if self.method == NETWORK_METHOD else clock("thread_time"),
        )


def check_times(**times: float) -> None:
    """Raise ConfigError unless each time is above 0 and finite."""
    for name, value in times.items():
        if not 0.0 < value < math.inf:
            raise ConfigError(f"{name} is {value}; give a time above 0")


def clock(name: Literal["process_time", "thread_time"]) -> Callable[[], float]:
    """Return a clock of :mod:`time` if fine, else the wall's."""
    fine = time.get_clock_info(name).resolution <= _FINE_S
    found: Callable[[], float] = getattr(time, name) if fine else time.perf_counter
    return found
