"""A relay that was held up, or is flooded: what is played before all that came is read."""

import math
import selectors
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from plc.apps.relay import Relay
from plc.apps.relay_stream import RelayConfig
from plc.rtp import udp
from plc.rtp.codecs import L16
from plc.rtp.delay import DelayConfig, DelayMode
from plc.rtp.packetizer import Packetizer
from plc.rtp.udp import Address, Endpoint, Ready, UdpPort, serve
from tests.plc.configs import changed
from tests.signals import noise

RATE = 16_000
BLOCK = 160
TICK_S = BLOCK / RATE
SHORT = 16
PACKET_S = SHORT / RATE
HERE = Endpoint("127.0.0.1", 0)
ENDS_S = 2.5
# Each look at the clock takes so long: 30 datagrams are read in a turn of 1 ms.
LOOK_S = 15e-6
CONFIG = changed(
    RelayConfig(listen=HERE, to=Endpoint("127.0.0.1", 9)),
    sample_rate=RATE,
    packet_samples=BLOCK,
    delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=60),
    model="ar",
    budget_ms=math.inf,
    seed=1,
)


class Senders:
    """Streams of 1 ms packets, sent to real ports by a clock that goes on as things are done.

    Parameters
    ----------
    relay : Relay
        Where they go.
    held_at_s : float
        When the process is held up.
    held_s : float
        For how long.
    flood : int
        Datagrams of a stranger at each turn.
    """

    def __init__(self, relay: Relay, held_at_s: float, held_s: float, flood: int = 0) -> None:
        self.now_s = 0.0
        self._relay = relay
        self._held_at_s, self._held_s = held_at_s, held_s
        self._flood = flood
        self._packetizers = [Packetizer(L16(RATE, 1), ssrc=k + 1) for k in range(len(relay.ports))]
        self._signal = noise(1, SHORT)[:, None]
        self._out = socket.socket(type=socket.SOCK_DGRAM)
        self._stranger = socket.socket(type=socket.SOCK_DGRAM)
        self.sent = 0

    def clock(self) -> float:
        self.now_s += LOOK_S
        return self.now_s

    def wait(self, selector: selectors.BaseSelector, wait_s: float) -> Ready:
        self.now_s += wait_s
        self.send()
        return selector.select(0.0)

    def turn(self) -> None:
        if self.now_s >= self._held_at_s:
            self.now_s += self._held_s
            self._held_at_s = math.inf
        self.send()

    def send(self) -> None:
        """Send what was to be sent until now."""
        while self.sent * PACKET_S <= min(self.now_s, ENDS_S - 0.2):
            for packetizer, port in zip(self._packetizers, self._relay.ports, strict=True):
                to = ("127.0.0.1", port.endpoint.port)
                self._out.sendto(packetizer.pack(self._signal), to)
            self.sent += 1
        for _ in range(self._flood):
            stray = _STRAY.pack(self.now_s)
            self._stranger.sendto(stray, ("127.0.0.1", self._relay.ports[0].endpoint.port))

    def read(self, port: UdpPort) -> tuple[int, Address, float]:
        """Read a datagram as a port does, aged by this clock."""
        size, source, _ = _PLAIN(port)
        sent_s = PACKET_S * int.from_bytes(port._datagram[2:4], "big")
        if size == _STRAY.size:
            (sent_s,) = _STRAY.unpack_from(port._datagram)
        return size, source, max(0.0, self.now_s - sent_s)

    def close(self) -> None:
        self._out.close()
        self._stranger.close()


_PLAIN = UdpPort._read
_STRAY = struct.Struct("d32x")


@contextmanager
def sending(
    monkeypatch: pytest.MonkeyPatch, relay: Relay, held_s: float, flood: int = 0
) -> Iterator[Senders]:
    with closing(Senders(relay, 1.0, held_s, flood)) as senders:
        monkeypatch.setattr(udp, "_wait", senders.wait)
        monkeypatch.setattr(UdpPort, "_read", lambda port: senders.read(port))
        yield senders


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("held_s", [0.1, 0.3, 0.8])
def test_what_came_while_the_process_was_held_up_is_heard(
    held_s: float, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much of it is read in a turn, and however many blocks are due by then."""
    with (
        closing(Relay([changed(CONFIG, seed=k) for k in range(streams)])) as relay,
        sending(monkeypatch, relay, held_s) as senders,
    ):
        serve(relay, clock=senders.clock, each_turn=senders.turn, duration_s=ENDS_S)
        for report in relay.report():
            buffer = report["jitter_buffer"]
            if buffer["packets_received"] < senders.sent:
                pytest.skip("the kernel's buffer of a port is too small")
            assert buffer["late_packets"] == buffer["skipped_samples"] == 0
            assert buffer["played_samples"] == senders.sent * SHORT
            assert report["relay"]["skipped_packets"] == 0


def test_a_flood_does_not_stop_the_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """More comes than is ever read: blocks wait for it as long as said, and then no longer."""
    with (
        closing(Relay([CONFIG])) as relay,
        sending(monkeypatch, relay, 0.0, flood=100) as senders,
    ):
        gone_s: list[float] = []
        monkeypatch.setattr(UdpPort, "send", lambda *_: gone_s.append(senders.now_s))
        serve(relay, clock=senders.clock, each_turn=senders.turn, duration_s=ENDS_S)
    gone_s = [each for each in gone_s if each < ENDS_S]
    assert len(gone_s) >= 0.95 * (ENDS_S - gone_s[0]) / TICK_S
    assert max(np.diff(gone_s)) <= 0.1
    late_s = np.array(gone_s) - gone_s[0] - TICK_S * np.arange(len(gone_s))
    assert late_s[-1] <= 0.01
