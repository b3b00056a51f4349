"""A live stream from the network, beside strangers, floods and other formats."""

import math
import socket
from contextlib import closing
from ipaddress import ip_network

import numpy as np
import pytest

from plc.transport.cards.devices import DevicePort
from plc.transport.live.ends import NetworkSource
from plc.transport.live.live import LiveConfig, LiveEngine
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.udp import Endpoint, Network, addresses_of
from tests.plc.configs import changed
from tests.plc.fake_devices import FakeBackend, card

RATE, BLOCK = 16_000, 160
TICK_S = BLOCK / RATE
LEVEL = np.float32(0.125)
LOCAL = ip_network("127.0.0.1")
SECONDS = 3


def engine(backend: FakeBackend, allow: tuple[Network, ...]) -> LiveEngine:
    config = changed(
        LiveConfig(reserve_ms=20),
        sample_rate=RATE,
        packet_samples=BLOCK,
        budget_ms=math.inf,
        model="ar",
        delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=10),
        allow=allow,
    )
    port = DevicePort(backend, "card", False, RATE, 1, TICK_S)
    port.open(0.0)
    return LiveEngine(config, Endpoint("127.0.0.1", 0), port)


def hostile(rng: np.random.Generator, of: Packetizer, k: int) -> bytes:
    """Return a datagram that is no packet of the peer's: garbage, or of another form."""
    packet = of.pack(np.full((BLOCK, 1), np.float32(0.9)))
    forms = (
        rng.bytes(int(rng.integers(1, 1400))),
        packet[: int(rng.integers(len(packet)))],
        packet[:1] + bytes([int(rng.integers(128))]) + packet[2:],
        packet[:1] + packet[1:2] + rng.bytes(6) + packet[8:],
        packet[:12],
        packet + rng.bytes(int(rng.integers(1, 900))),
        b"\x80\xcb\0\1" + rng.bytes(4),
    )
    return forms[k % len(forms)]


@pytest.mark.parametrize(
    ("thief_at", "ssrc", "begins", "floods", "times"),
    [
        # It begins half a second before the peer, and sends eight times as much.
        ("127.0.0.2", 1, 50, 0, 8),
        # From the peer's own host, of another source.
        ("127.0.0.1", 2, 0, 20, 4),
    ],
)
def test_one_who_floods_does_not_reach_the_peers_sound(
    thief_at: str, ssrc: int, begins: int, floods: int, times: int
) -> None:
    rng = np.random.default_rng(42)
    backend = FakeBackend(cards=[card(0, "card")])
    live = engine(backend, (LOCAL,))
    assert isinstance(live.source, NetworkSource)
    packetizer, forged = Packetizer(L16(RATE, 1), ssrc=1), Packetizer(L16(RATE, 1), ssrc=ssrc)
    address = ("127.0.0.1", live.source.port.endpoint.port)
    block = np.full((BLOCK, 1), LEVEL)
    stream = backend.stream(False)
    with closing(live), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
            thief.bind((thief_at, 0))
            for number in range(SECONDS * RATE // BLOCK):
                for k in range(times if number >= floods else 0):
                    thief.sendto(hostile(rng, forged, k + number), address)
                if number >= begins:
                    peer.sendto(packetizer.pack(block), address)
                stream.take(BLOCK)
                live.step(TICK_S * (number + 1))
    heard = np.concatenate(stream.played)[:, 0]
    assert np.abs(heard).max() <= LEVEL + 1e-3
    expected = SECONDS - 0.1 - TICK_S * begins
    assert np.count_nonzero(np.abs(heard - LEVEL) < 1e-3) > expected * RATE
    if thief_at != "127.0.0.1":
        assert live.stats.refused_datagrams == times * SECONDS * RATE // BLOCK


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_of_a_peer_all_addresses_are_known(host: str) -> None:
    assert LOCAL in addresses_of(host) or ip_network("::1") in addresses_of(host)
