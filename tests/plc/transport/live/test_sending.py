"""Sound cards to the network and back: what is sent, and both directions at once."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from plc.errors import ConfigError, NetworkError
from plc.transport.cards.devices import DevicePort
from plc.transport.live.ends import LiveStats, NetworkSource
from plc.transport.live.live import Live, LiveEngine
from plc.transport.live.meters import open_keys, render
from plc.transport.live.sending import NetworkSink, SendConfig, run_send
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.packets import RtpPacket, parse_rtp
from plc.transport.rtp.udp import Endpoint, UdpPort
from tests.plc.configs import changed
from tests.plc.fake_devices import FakeBackend, card
from tests.plc.transport.live.test_live import CONFIG, FIXED
from tests.plc.transport.live.test_meters import text_of
from tests.plc.transport.streams import BLOCK, HERE, RATE
from tests.signals import tones

RECEIVER = changed(CONFIG.receiver, delay=FIXED)


@pytest.fixture
def far() -> Iterator[UdpPort]:
    with closing(UdpPort(HERE)) as port:
        yield port


def device(backend: FakeBackend, is_input: bool = True) -> DevicePort:
    port = DevicePort(backend, "card", is_input, RATE, 1, BLOCK / RATE)
    port.open(0.0)
    return port


def heard(port: UdpPort) -> list[RtpPacket]:
    packets = [parse_rtp(datagram) for datagram, _ in port.arrived()]
    assert all(isinstance(packet, RtpPacket) for packet in packets)
    return [packet for packet in packets if isinstance(packet, RtpPacket)]


def test_what_the_card_gives_is_sent_in_whole_packets(far: UdpPort) -> None:
    backend = FakeBackend(cards=[card(0, "card")])
    signal_ = tones(1, RATE, 10 * BLOCK)
    with closing(UdpPort(HERE)) as near:
        config = SendConfig(device="card", to=far.endpoint, dscp=46)
        receiver = replace(RECEIVER, payload_type=101)
        sink = NetworkSink(config, receiver, device(backend), near, LiveStats())
        for k, part in enumerate(np.split(signal_, [100, 700, 1234])):
            backend.stream(True).give(part[:, None])
            sink.step(0.01 * k)
        packets = heard(far)
        assert sink.report() == {
            "to": str(far.endpoint), "packets_sent": 10, "failed_sends": 0
        }  # fmt: skip
        sink.stop()
        backend.stream(True).give(signal_[:BLOCK, None])
        sink.step(1.0)
        assert heard(far) == []
    assert [packet.sequence for packet in packets] == list(range(10))
    assert {packet.payload_type for packet in packets} == {101}
    assert len({packet.ssrc for packet in packets}) == 1
    decoded = [L16(RATE, 1).decode(packet.payload) for packet in packets]
    sent = np.concatenate([part for part in decoded if part is not None]).ravel()
    np.testing.assert_allclose(sent, signal_, atol=1 / 32_768)


def test_both_directions_use_one_port_and_are_played_and_sent(far: UdpPort) -> None:
    """So that a NAT that lets one out lets the other one in."""
    backend = FakeBackend(cards=[card(0, "card", 1, 1)])
    ports = [device(backend), device(backend, is_input=False)]
    send = SendConfig(device="card", to=far.endpoint)
    config = replace(CONFIG, receiver=RECEIVER)
    with closing(LiveEngine(config, HERE, ports[1], None, send, ports[0])) as engine:
        assert isinstance(engine.source, NetworkSource)
        here = engine.source.port.endpoint
        signal_ = tones(2, RATE, RATE)
        now_s, target = 0.0, far.target(here)
        for k in range(100):
            backend.stream(True).give(signal_[k * BLOCK : (k + 1) * BLOCK, None])
            now_s += BLOCK / RATE
            backend.stream(False).take(BLOCK)
            engine.step(now_s)
            for datagram, source in far.arrived():
                assert source[1] == here.port
                far.send(datagram, target)  # the other end sends back what it hears
        assert engine.sender is not None
        assert engine.sender.packets == 100
        assert engine.playout.received.packets_received >= 95
        assert np.abs(np.concatenate(backend.stream(False).played)[-BLOCK:]).max() > 0.01
        live = Live(engine, backend, ports)
        assert f"100 packets to {far.endpoint}" in text_of(live)
        assert "the cards add 10 ms" in text_of(live)
        assert engine.report()["sent"]["packets_sent"] == 100


def test_the_view_says_when_nothing_is_concealed() -> None:
    backend = FakeBackend(cards=[card(0, "card", 1, 1)])
    ports = [device(backend), device(backend, is_input=False)]
    engine = LiveEngine(CONFIG, ports[0], ports[1])
    live = Live(engine, backend, ports)
    assert "OFF" not in text_of(live)
    engine.playout.conceals = False
    assert "OFF, lost packets are silent; key c: on" in text_of(live)
    assert render(live) is not None


def test_what_cannot_be_sent_is_refused(far: UdpPort) -> None:
    backend = FakeBackend(cards=[card(0, "card")])
    receiver = changed(RECEIVER, codec="opus", sample_rate=48_000, packet_samples=100)
    with closing(UdpPort(HERE)) as near:
        config = SendConfig(device="card", to=far.endpoint)
        with pytest.raises(ConfigError, match="Opus has frames"):
            NetworkSink(config, receiver, device(backend), near, LiveStats())
        nowhere = SendConfig(device="card", to=Endpoint("host.invalid", 5))
        with pytest.raises(NetworkError, match=r"cannot find host\.invalid"):
            NetworkSink(nowhere, RECEIVER, device(backend), near, LiveStats())


@pytest.mark.realtime
def test_a_card_is_sent_until_the_time_is_over(far: UdpPort) -> None:
    backend = FakeBackend(cards=[card(0, "card")])

    def give() -> None:
        while not backend.streams:
            pass
        backend.stream(True).give(tones(1, RATE, 20 * BLOCK)[:, None])

    thread = threading.Thread(target=give)
    thread.start()
    config = SendConfig(device="card", to=far.endpoint)
    report = run_send(config, RECEIVER, backend, duration_s=0.5)
    thread.join()
    assert report["sent"]["packets_sent"] == len(heard(far)) == 20
    assert report["live"]["captured_packets"] == 20
    assert report["devices"]["input"]["opened"] == 1
    assert backend.stream(True).closed


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield master
    os.close(master)


def test_keys_are_read_as_they_are_pressed_and_the_terminal_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    termios = pytest.importorskip("termios")
    with terminal(monkeypatch) as master:
        before: Any = termios.tcgetattr(sys.stdin.fileno())
        with open_keys() as pressed:
            assert pressed is not None
            assert pressed() == ""
            os.write(master, b"cx")
            text = ""
            while len(text) < 2:
                text += pressed()
            assert text == "cx"
        assert termios.tcgetattr(sys.stdin.fileno()) == before


def test_without_a_terminal_there_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with open_keys() as pressed:
            assert pressed is None
