"""RTP that lies, floods, or comes in lengths that fit nothing: what other streams hear of it."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from plc.transport.relay.relay import Relay
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import RedBlock, RtpPacket, build_red, build_rtp
from plc.transport.rtp.udp import Endpoint, serve
from tests.clocked_network import ClockedNetwork, on_network
from tests.plc.configs import changed, playout_of
from tests.signals import noise, tones

RATE = 16_000
BLOCK = 160
TICK_S = BLOCK / RATE
HERE = Endpoint("127.0.0.1", 0)
SOURCE = ("192.0.2.1", 4000)
JUMP = round(2.9 * RATE)
"""Less than what passes for a restart of the sender."""

Lie = Callable[[int, random.Random], int]

LIES: dict[str, Lie] = {
    "ten times as fast": lambda k, rng: 10 * k * BLOCK,
    "1.3 times as fast": lambda k, rng: int(1.3 * k * BLOCK),
    "half as fast": lambda k, rng: k * BLOCK // 2,
    "backwards": lambda k, rng: -k * BLOCK,
    "random": lambda k, rng: rng.randrange(2**32),
    "off by up to 3 s": lambda k, rng: k * BLOCK + rng.randrange(-3 * RATE, 3 * RATE),
    "a jump ahead": lambda k, rng: k * BLOCK + JUMP * (k > 150),
    "jumps ahead": lambda k, rng: k * BLOCK + JUMP * (k // 100),
    "jumps back": lambda k, rng: k * BLOCK - JUMP * (k // 100),
    "jumps to and fro": lambda k, rng: k * BLOCK + JUMP * (k // 50 % 2),
    "every tenth ahead": lambda k, rng: k * BLOCK + JUMP * (k % 10 == 9),
    "slower, then a jump": lambda k, rng: k * BLOCK - JUMP * (k % 200) // 200,
}


@pytest.mark.parametrize("mode", list(DelayMode))
@pytest.mark.parametrize("lie", LIES)
def test_no_timestamps_make_the_delay_longer_than_allowed(lie: str, mode: DelayMode) -> None:
    """Neither what is told of it, nor what a packet really waits until it is heard."""
    rng = random.Random(1)
    codec = L16(RATE, 1)
    delay = DelayConfig(
        mode=mode, max_delay_ms=200, delay_ms=0 if mode is DelayMode.ADAPTIVE else 60
    )
    playout = playout_of(codec, BLOCK, delay, method="burg", model="ar", budget_ms=math.inf)
    told_s = waited_s = 0.0
    for k in range(800):
        now_s = k * TICK_S
        # Every sample says which packet it is of.
        payload = np.full(BLOCK, k + 1, ">i2").tobytes()
        packet = RtpPacket(96, k, LIES[lie](k, rng) % 2**32, 5, payload)
        playout.put(build_rtp(packet), now_s - rng.uniform(0.001, 0.005))
        played = np.rint(32768 * playout.tick(now_s)[0]).astype(int)
        told_s = max(told_s, playout.delay_s)
        numbers, samples = np.unique(played[played > 0], return_counts=True)
        for number in numbers[samples >= 20]:  # fewer may be the edge of a crossfade
            waited_s = max(waited_s, (k + 1 - number) * TICK_S)
    # Two packets more before anything is left out, one that is ready in front of the resampler,
    # and what the tick comes late.
    most_s = 0.2 + 4 * TICK_S
    assert told_s <= most_s
    assert waited_s <= most_s


def test_redundancy_without_end_is_counted_and_costs_the_stream_nothing() -> None:
    relay = StreamRelay(
        changed(
            RelayConfig(listen=HERE, to=Endpoint("127.0.0.1", 9)),
            sample_rate=RATE,
            packet_samples=BLOCK,
            red_payload_type=99,
            model="ar",
            seed=1,
        )
    )
    packetizer = Packetizer(L16(RATE, 1), ssrc=7)
    header = build_red([RedBlock(96, 1, b""), RedBlock(96, 0, b"")])[:4]
    for k, block in enumerate(tones(1, RATE, 50 * BLOCK).reshape(-1, BLOCK)):
        relay.receive(packetizer.pack(block[:, None]), SOURCE, k * TICK_S)
        hostile = RtpPacket(99, k, k * BLOCK, 7, header * 10_000 + b"\x60")
        relay.receive(build_rtp(hostile), SOURCE, k * TICK_S)
        while relay.next_s <= k * TICK_S:
            relay.play(k * TICK_S)
    report = relay.report()
    assert report["malformed_packets"] == {"red_blocks": 50}
    assert report["jitter_buffer"]["redundant_packets"] == 0
    assert report["concealment"]["concealed_samples"] == 0


# ---- by a clock that each look moves on ---------------------------------------------------------

LENGTHS = (594, 48, 64, 128, 256, 441, 1024)
"""FFmpeg's default for L16; AES67's 1 ms; JACK's periods; others that fit no block of 10 ms."""
DELAY_S = 0.06
SLACK_S = 0.05
LONGEST_S = 0.25
"""Processor time of one piece of work; a network that is made or compiled takes longer."""
ENDS_S = 2.4


def packets_of(samples: int, rate: int, begins_s: float) -> Iterator[tuple[float, bytes]]:
    """Yield packets of that length, each when it is complete."""
    codec = L16(rate, 1)
    packetizer = Packetizer(codec, ssrc=samples, payload_type=96)
    signal = noise(samples, samples)[:, None]
    at_s = begins_s
    while at_s < ENDS_S:
        at_s += samples / rate
        yield at_s, packetizer.pack(signal)


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_packets_of_any_length_are_heard_at_once_and_hold_nobody_up(
    rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With networks: on the way in nothing may take long."""
    begins = {rate // 100: 0.0} | {
        n: 0.2 + 0.2 * k for k, n in enumerate(LENGTHS) if n != rate // 100
    }
    plain = changed(
        RelayConfig(listen=HERE, to=HERE),
        sample_rate=rate,
        packet_samples=rate // 100,
        payload_type=96,
        delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=1000 * DELAY_S, max_delay_ms=2000),
    )
    targets = [Endpoint("127.0.0.1", 9 + k) for k in range(len(begins))]
    with closing(
        Relay([replace(plain, to=to) for to in targets], lambda: network.clock())
    ) as relay:
        plan = sorted(
            (
                (at_s, port, packet)
                for port, (samples, begins_s) in zip(relay.ports, begins.items(), strict=True)
                for at_s, packet in packets_of(samples, rate, begins_s)
            ),
            key=lambda each: each[0],
        )
        with on_network(monkeypatch, ClockedNetwork(iter(plan))) as network:
            serve(relay, clock=network.clock, duration_s=ENDS_S + 0.2)
        reports = relay.report()
    assert network.longest_s <= LONGEST_S
    for port, to, report, (samples, begins_s) in zip(
        relay.ports, targets, reports, begins.items(), strict=True
    ):
        sent = sum(to_port is port for _, to_port, _ in plan)
        times = [at_s for at_s, address, _ in network.gone if address[1] == to.port]
        buffer = report["jitter_buffer"]
        assert times[0] - begins_s - samples / rate <= DELAY_S + SLACK_S, samples
        assert max(np.diff(times)) <= SLACK_S, samples
        assert buffer["packets_received"] == sent, samples
        assert buffer["skipped_samples"] == buffer["late_packets"] == 0, samples
        assert buffer["played_samples"] >= 0.98 * sent * samples, samples
