"""Streams that tests send and hear: settings, packets, times, and places in what is played."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.codecs import L16, Codec
from plc.transport.rtp.delay import DelayConfig, DelayMode, Receiver
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.udp import Endpoint
from plc_kernels.receive import layout
from tests.plc.configs import changed

RATE, BLOCK = 16_000, 160
TICK_S = BLOCK / RATE
HERE, NOWHERE = Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", 9)
SOURCE, OTHER = ("192.0.2.1", 4000), ("192.0.2.2", 4000)
T = TypeVar("T", bound=tuple[Any, ...])


def fixed(delay_ms: float, **settings: float) -> DelayConfig:
    """Return a delay that never changes."""
    return DelayConfig(mode=DelayMode.FIXED, delay_ms=delay_ms, **settings)


FIXED_60 = fixed(60.0)
CONFIG = changed(
    RelayConfig(listen=HERE, to=NOWHERE),
    sample_rate=RATE,
    packet_samples=BLOCK,
    delay=FIXED_60,
    model="ar",
    budget_ms=math.inf,
    seed=1,
)


def as_sent(signal: NDArray[np.float32], bits: int = 16) -> NDArray[np.float32]:
    """Return a signal as so many bits carry it."""
    scale = 2.0 ** (bits - 1)
    rounded: NDArray[np.float32] = (np.rint(signal * scale) / scale).astype(np.float32)
    return rounded


def packets_of(
    signal: NDArray[np.float32],
    ssrc: int = 7,
    sequence: int = 0,
    codec: Codec | None = None,
    block: int = BLOCK,
) -> list[bytes]:
    """Return the packets of a signal, shape (n,) or (n, channels), by default L16 at 16 kHz."""
    codec = codec or L16(RATE, 1)
    packetizer = Packetizer(codec, ssrc=ssrc, sequence=sequence, timestamp=99)
    return [packetizer.pack(each) for each in signal.reshape(-1, block, codec.channels)]


def delay_s(receiver: Receiver, now_s: float) -> float:
    """Return the delay of a block pulled now, less the line's wait for a unit."""
    words, base_s = receiver.block, receiver.reals.item(layout.BASE_S)
    waits_s = words.item(layout.HELD) / words.item(layout.RATE)
    if not receiver.begun:
        return -waits_s
    return now_s - words.item(layout.POSITION) / words.item(layout.RATE) - base_s - waits_s


def find(played: NDArray[np.float32], part: NDArray[np.float32], least: int = 50) -> int:
    """Return where the first ``least`` samples of a part are played, bit for bit."""
    head = part[:least]
    alike = (played == head[0]).reshape(len(played), -1).all(axis=1)
    for begin in np.flatnonzero(alike).tolist():
        if np.array_equal(played[begin : begin + len(head)], head):
            return int(begin)
    raise AssertionError("it is not played")


class Incoming(Generic[T]):
    """What was sent, each with its time first, as it comes in."""

    def __init__(self, sent: Iterable[T]) -> None:
        self._waiting = sorted(sent, key=lambda each: each[0])[::-1]

    def until(self, now_s: float) -> Iterator[T]:
        """Yield what has come by then and was not yielded before."""
        while self._waiting and self._waiting[-1][0] <= now_s:
            yield self._waiting.pop()
