"""Streams of 24 bits and 1 ms by two paths (ST 2022-7): what one path loses, the other brings."""

import contextlib
import math
import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.transport.relay.relay import Relay
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import L24
from plc.transport.rtp.delay import DelayConfig
from plc.transport.rtp.udp import Endpoint, UdpPort, step
from tests.plc.configs import changed
from tests.plc.transport import streams
from tests.plc.transport.streams import Incoming, find, fixed
from tests.signals import noise

RATE, BLOCK, CHANNELS = 48_000, 48, 2
TICK_S = BLOCK / RATE
FIRST, SECOND = ("192.0.2.1", 4000), ("198.51.100.1", 4000)
CONFIG = changed(
    RelayConfig(listen=Endpoint("127.0.0.1", 5004), to=Endpoint("127.0.0.1", 9)),
    second=Endpoint("127.0.0.1", 5104),
    codec="l24",
    channels=CHANNELS,
    packet_samples=BLOCK,
    model="ar",
    budget_ms=math.inf,
    delay=DelayConfig(max_delay_ms=200),
    seed=1,
)


def as_sent(n: int, seed: int) -> NDArray[np.float32]:
    """Return noise as 24 bits hold it, shape (n, channels)."""
    return streams.as_sent(0.3 * noise(seed, n * CHANNELS).reshape(n, CHANNELS), 24)


def packets_of(samples: NDArray[np.float32], ssrc: int = 7, sequence: int = 0) -> list[bytes]:
    return streams.packets_of(samples, ssrc, sequence, L24(RATE, CHANNELS), BLOCK)


def run(
    relay: StreamRelay, datagrams: list[tuple[float, int, bytes]], until_s: float
) -> NDArray[np.float32]:
    """Feed datagrams (time, path, bytes); return what is played, shape (n, channels)."""
    incoming, played = Incoming(datagrams), []
    for tick in range(round(until_s / TICK_S)):
        now_s = tick * TICK_S
        for at_s, path, datagram in incoming.until(now_s):
            relay.receive(datagram, (FIRST, SECOND)[path], at_s, path)
        block = relay.play(now_s)
        if block is not None:
            played.append(block.copy())
    return np.concatenate(played)


def both(
    packets: list[bytes], skew_s: float, lost: tuple[set[int], set[int]]
) -> list[tuple[float, int, bytes]]:
    return [
        (k * TICK_S + path * skew_s, path, packet)
        for path in (0, 1)
        for k, packet in enumerate(packets)
        if k not in lost[path]
    ]


COUNT = 2500


def lossy() -> tuple[set[int], set[int]]:
    """Return 15 % of the packets for each path, none of them for both."""
    rng = random.Random(1)
    draws = {k: rng.random() for k in range(100, COUNT - 250)}
    return {k for k in draws if draws[k] < 0.15}, {k for k in draws if draws[k] > 0.85}


@pytest.mark.parametrize("skew_ms", [0.0, 7.3, 140.0])
def test_what_one_path_loses_the_other_one_brings(skew_ms: float) -> None:
    signal_ = as_sent(COUNT * BLOCK, 3)
    lost = lossy()
    relay = StreamRelay(changed(CONFIG, delay=fixed(skew_ms + 10.0)))
    datagrams = both(packets_of(signal_), skew_ms / 1000.0, lost)
    played = run(relay, datagrams, COUNT * TICK_S)
    assert relay.playout.received.lost_packets == 0
    assert relay.playout.concealment.concealed_samples == 0
    tail = signal_[50 * BLOCK : (COUNT - 200) * BLOCK]
    begin = find(played, tail, len(tail))
    np.testing.assert_array_equal(played[begin : begin + len(tail)], tail)
    first, second = (path.stats for path in relay.paths)
    assert first.packets == pytest.approx(COUNT - len(lost[0]), abs=2)
    assert second.first_packets >= len(lost[0]) - skew_ms - 10


@pytest.mark.parametrize("skew_ms", [3.0, 120.0])
def test_a_stream_begins_with_the_delay_of_the_slower_path(skew_ms: float) -> None:
    relay = StreamRelay(CONFIG)
    datagrams = both(packets_of(as_sent(COUNT * BLOCK, 3)), skew_ms / 1000.0, lossy())
    run(relay, datagrams, COUNT * TICK_S)
    assert skew_ms <= 1000.0 * relay.playout.delay_s < skew_ms + 45.0
    assert relay.playout.received.lost_packets == 0
    # One in 300 may be too late at this safety.
    assert relay.playout.concealment.concealed_samples <= COUNT // 300 * BLOCK


def test_a_stream_of_which_one_path_is_silent_begins_all_the_same() -> None:
    relay = StreamRelay(CONFIG)
    alone = [(k * TICK_S, 1, each) for k, each in enumerate(packets_of(as_sent(400 * BLOCK, 3)))]
    run(relay, alone, 400 * TICK_S)
    assert relay.playout.received.played_samples >= 150 * BLOCK
    assert relay.playout.concealment.concealed_samples == 0


def test_a_path_that_fails_and_comes_back_is_not_heard() -> None:
    count = 3000
    signal_ = as_sent(count * BLOCK, 4)
    lost = (set(range(1200, 1900)), set(range(2100, 2300)))
    relay = StreamRelay(changed(CONFIG, delay=fixed(10.0)))
    played = run(relay, both(packets_of(signal_), 0.004, lost), count * TICK_S)
    assert relay.playout.received.lost_packets == 0
    assert relay.playout.received.source_changes == 0
    assert relay.playout.concealment.concealed_samples == 0
    tail = signal_[50 * BLOCK : (count - 50) * BLOCK]
    assert find(played, tail, len(tail)) > 0


def test_a_sender_that_starts_over_is_followed_on_both_paths() -> None:
    """Its old packets still come by the slower path while it has begun anew on the other."""
    before, after = as_sent(600 * BLOCK, 5), as_sent(900 * BLOCK, 6)
    packets = packets_of(before) + packets_of(after, sequence=40_000)
    relay = StreamRelay(changed(CONFIG, delay=fixed(60.0)))
    played = run(relay, both(packets, 0.05, (set(), set())), len(packets) * TICK_S)
    assert relay.playout.received.source_changes == 1
    tail = after[200 * BLOCK : 600 * BLOCK]
    assert find(played, tail, len(tail)) > 0


def test_neither_path_is_taken_by_a_stranger() -> None:
    count = 1500
    packets = packets_of(as_sent(count * BLOCK, 7))
    strange = packets_of(as_sent(count * BLOCK, 8), ssrc=9)
    relay = StreamRelay(CONFIG)
    for k in range(count):
        at_s = k * TICK_S
        for path in (0, 1):
            relay.receive(packets[k], (FIRST, SECOND)[path], at_s, path)
            if k > 5:
                relay.receive(strange[k], ("203.0.113.5", 1), at_s, path)
        relay.play(at_s)
    assert [path.latch.source for path in relay.paths] == [FIRST, SECOND]
    assert relay.stats.refused_datagrams == 2 * (count - 6)
    assert relay.playout.buffer.ssrc == 7


def test_paths_and_marks_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"both paths are udp://127\.0\.0\.1:5004"):
        changed(CONFIG, second=Endpoint("127.0.0.1", 5004))
    with pytest.raises(ConfigError, match="dscp is 64; supported: 0 to 63"):
        changed(CONFIG, dscp=64)


@pytest.mark.parametrize(
    "apart",
    [{}, {"rtcp": True, "second": None}, {"second": None, "listen": Endpoint("239.69.1.1", 5004)}],
)
def test_what_belongs_together_is_not_shared_out(apart: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="share_port goes without rtcp, a second path and multi"):
        changed(CONFIG, share_port=True, **apart)


def test_two_relays_share_a_port_and_each_relays_its_sender() -> None:
    alone = changed(CONFIG, share_port=True, second=None, listen=Endpoint("127.0.0.1", 0))
    relays = [Relay([alone])]
    listen = relays[0].ports[0].endpoint
    relays.append(Relay([changed(alone, listen=listen)]))
    with contextlib.ExitStack() as opened:
        for relay in relays:
            opened.callback(relay.close)
        for sender in (UdpPort(Endpoint("127.0.0.1", 0)) for _ in range(64)):
            opened.callback(sender.close)
            if not all(relay.streams[0].stats.datagrams_received for relay in relays):
                for packet in packets_of(as_sent(3 * BLOCK, 7)):
                    sender.send(packet, ("127.0.0.1", listen.port))
                for relay in relays:
                    step(relay, 0.0)
        sources = {relay.streams[0].latch.source for relay in relays}
        assert len(sources - {None}) == 2
