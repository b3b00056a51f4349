"""Sound cards that exist in a test alone: they call when the test says so."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from plc.errors import DeviceError
from plc.transport.cards.card_ring import Ring
from plc.transport.cards.devices import Device


@dataclass
class FakeStream:
    ring: Ring
    sample_rate: int
    channels: int
    block: int
    is_input: bool
    latency_s: float = 0.005
    active: bool = True
    closed: bool = False
    played: list[NDArray[np.float32]] = field(default_factory=list)

    def close(self) -> None:
        self.closed = True
        self.active = False

    def give(self, samples: NDArray[np.float32]) -> None:
        """Be an input that has recorded samples, shape (n, channels)."""
        self.ring.take_in(np.ascontiguousarray(samples), False)

    def take(self, n: int, broken: bool = False) -> None:
        """Be an output that wants n samples."""
        out = np.full((n, self.channels), np.nan, np.float32)
        self.ring.give_out(out, broken)
        self.played.append(out)


@dataclass
class FakeBackend:
    """Cards of one rate, or of any."""

    name: str = "fake"
    cards: list[Device] = field(default_factory=list)
    accepts: Callable[[int, int], bool] = lambda rate, channels: True
    streams: list[FakeStream] = field(default_factory=list)
    refreshed: int = 0
    after_refresh: list[Device] | None = None
    broken: bool = False

    def devices(self) -> list[Device]:
        return self.cards

    def takes(self, device: Device, is_input: bool, sample_rate: int, channels: int) -> bool:
        return self.accepts(sample_rate, channels)

    def open(
        self, device: Device, is_input: bool, sample_rate: int, block: int, ring: Ring
    ) -> FakeStream:
        if self.broken:
            raise DeviceError(f"cannot open {device.name}: it is gone")
        stream = FakeStream(ring, sample_rate, ring.channels, block, is_input)
        self.streams.append(stream)
        return stream

    def refresh(self) -> None:
        assert not any(stream.active for stream in self.streams)
        self.refreshed += 1
        if self.after_refresh is not None:
            self.cards = self.after_refresh

    def stream(self, is_input: bool) -> FakeStream:
        """Return the newest stream of that direction."""
        return [stream for stream in self.streams if stream.is_input == is_input][-1]


def card(index: int, name: str, inputs: int = 2, outputs: int = 2, rate: int = 48_000) -> Device:
    return Device(
        backend="fake",
        index=index,
        name=name,
        host_api="none",
        inputs=inputs,
        outputs=outputs,
        sample_rate=rate,
        is_default_input=index == 0,
        is_default_output=index == 0,
    )
