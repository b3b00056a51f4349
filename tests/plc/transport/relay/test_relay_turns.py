"""A relay that was held up, or is flooded: what is played before all that came is read."""

import math
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.transport.relay.relay import Lane, Relay
from plc.transport.relay.relayed import StreamRelay
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.udp import Address, UdpPort, serve
from tests.clocked_network import ClockedNetwork, Planned, on_network
from tests.plc.configs import changed
from tests.plc.transport.streams import BLOCK, CONFIG, RATE, TICK_S
from tests.signals import noise

SHORT = 16
PACKET_S = SHORT / RATE
ENDS_S = 2.5
PACKETS = 2300


class Senders(ClockedNetwork):
    """Streams of 1 ms packets, a process that is held up, and a stranger.

    Parameters
    ----------
    relay : Relay
        Where they go.
    held_s : float
        For how long the process is held up, once.
    flood : int
        Datagrams of a stranger at each turn.
    """

    def __init__(self, relay: Relay, held_s: float, flood: int = 0) -> None:
        super().__init__(packets_to(relay.ports))
        self._held_at_s, self._held_s = 1.0, held_s
        self._flooded, self._flood = relay.ports[0], flood
        self._stranger = socket.socket(type=socket.SOCK_DGRAM)

    def turn(self) -> None:
        if self.now_s >= self._held_at_s:
            self.now_s += self._held_s
            self._held_at_s = math.inf
        self.send()

    def send(self) -> None:
        super().send()
        for _ in range(self._flood):
            self.pass_on(self._stranger, self._flooded, b"stray" * 8, self.now_s)

    def close(self) -> None:
        super().close()
        self._stranger.close()


def packets_to(ports: Sequence[UdpPort]) -> Iterator[Planned]:
    """Yield the packets of a stream to each port."""
    packetizers = [Packetizer(L16(RATE, 1), ssrc=k + 1) for k in range(len(ports))]
    signal = noise(1, SHORT)[:, None]
    for number in range(PACKETS):
        for packetizer, port in zip(packetizers, ports, strict=True):
            yield number * PACKET_S, port, packetizer.pack(signal)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("held_s", [0.1, 0.3, 0.8])
def test_what_came_while_the_process_was_held_up_is_heard(
    held_s: float, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much of it is read in a turn, and however many blocks are due by then."""
    with (
        closing(Relay([changed(CONFIG, seed=k) for k in range(streams)])) as relay,
        on_network(monkeypatch, Senders(relay, held_s)) as senders,
    ):
        serve(relay, clock=senders.clock, each_turn=senders.turn, duration_s=ENDS_S)
        for report in relay.report():
            buffer = report["jitter_buffer"]
            if buffer["packets_received"] < PACKETS:
                pytest.skip("the kernel's buffer of a port is too small")
            assert buffer["late_packets"] == buffer["skipped_samples"] == 0
            assert buffer["played_samples"] == PACKETS * SHORT
            assert report["relay"]["skipped_packets"] == 0


class Overload(ClockedNetwork):
    """Streams of whole blocks, and a process for which reading and playing them takes long.

    Parameters
    ----------
    relay : Relay
        Where they go.
    read_s, play_s : float
        What a packet takes.
    """

    def __init__(self, relay: Relay, read_s: float, play_s: float) -> None:
        super().__init__(blocks_to(relay.ports))
        self.read_s, self.play_s = read_s, play_s

    def read(self, port: UdpPort) -> tuple[bytes, Address, float]:
        read = super().read(port)
        self.now_s += self.read_s
        return read

    def play(self, stream: StreamRelay, *when_s: float) -> NDArray[np.float32] | None:
        played = _PLAY(stream, *when_s)
        self.now_s += self.play_s if played is not None else 0.0
        return played


_PLAY = StreamRelay.play


def blocks_to(ports: Sequence[UdpPort]) -> Iterator[Planned]:
    """Yield the packets of a stream to each port, one stream after another."""
    packetizers = [Packetizer(L16(RATE, 1), ssrc=k + 1) for k in range(len(ports))]
    for number in range(round(ENDS_S / TICK_S)):
        for k, (packetizer, port) in enumerate(zip(packetizers, ports, strict=True)):
            at_s = (number + k / len(ports)) * TICK_S
            yield at_s, port, packetizer.pack(noise(number, BLOCK)[:, None])


@pytest.mark.parametrize(
    ("load", "read_share", "least"),
    [(0.7, 0.2, 1.0), (1.2, 0.2, 0.5), (1.2, 0.5, 0.3), (2.0, 0.25, 0.15)],
)
def test_with_too_little_time_what_can_be_played_is_played_in_time(
    load: float, read_share: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether reading or playing takes it: what was read too late would all be thrown away."""
    streams = 4
    each_s = load * TICK_S / streams
    configs = [changed(CONFIG, seed=k) for k in range(streams)]
    with closing(Relay(configs, clock=lambda: network.clock())) as relay:
        network = Overload(relay, read_share * each_s, (1.0 - read_share) * each_s)
        monkeypatch.setattr(StreamRelay, "play", lambda *args: network.play(*args))
        with on_network(monkeypatch, network):
            serve(relay, clock=network.clock, duration_s=ENDS_S)
        for report in relay.report():
            buffer, sent = report["jitter_buffer"], report["relay"]
            assert buffer["played_samples"] >= least * buffer["packets_received"] * BLOCK
            assert sent["lateness_ms"]["p99"] < 300.0
            assert (sent["skipped_packets"] == 0) == (load < 1.0)
            made = sent["packets_sent"] + sent["skipped_packets"]
            assert made == pytest.approx(buffer["packets_received"], abs=20)


def test_a_flood_does_not_stop_the_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """More comes than is ever read: blocks wait for it as long as said, and then no longer."""
    with (
        closing(Relay([CONFIG])) as relay,
        on_network(monkeypatch, Senders(relay, 0.0, flood=100)) as senders,
    ):
        serve(relay, clock=senders.clock, each_turn=senders.turn, duration_s=ENDS_S)
    gone_s = [at_s for at_s, *_ in senders.gone if at_s < ENDS_S]
    assert len(gone_s) >= 0.95 * (ENDS_S - gone_s[0]) / TICK_S
    assert max(np.diff(gone_s)) <= 0.1
    late_s = np.array(gone_s) - gone_s[0] - TICK_S * np.arange(len(gone_s))
    assert late_s[-1] <= 0.01


def test_a_turn_asks_only_the_streams_that_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = 10
    asked: list[Lane] = []
    is_due = Lane.is_due

    def note(lane: Lane, now_s: float) -> bool:
        asked.append(lane)
        return is_due(lane, now_s)

    monkeypatch.setattr(Lane, "is_due", note)
    with closing(Relay([CONFIG] * streams)) as relay:
        packetizers = [Packetizer(L16(RATE, 1), ssrc=k + 1) for k in range(streams)]
        for tick in range(20):
            for k, packetizer in enumerate(packetizers):
                now_s = TICK_S * (tick + k / streams)
                packet = packetizer.pack(noise(k, BLOCK)[:, None])
                relay.receive(k, packet, ("192.0.2.1", 4000), now_s)
                asked.clear()
                relay.advance(now_s)
                assert len(set(asked)) <= 2
                assert relay.next_s == min(lane.next_s for lane in relay.lanes)
        assert all(each["relay"]["packets_sent"] > 10 for each in relay.report())
