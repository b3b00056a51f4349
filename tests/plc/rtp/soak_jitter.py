"""Throw random events at a jitter buffer: ``python -m tests.plc.rtp.soak_jitter --events 1000000``.

Streams of every kind follow each other: steady, jittered, lossy, reordered, doubled, restarted,
with other sources in between and numbers made up. Every event is checked for what must hold always.
"""

import argparse
import random
import time
from dataclasses import dataclass

from plc.rtp.delay import DelayConfig, DelayMode
from plc.rtp.jitter import JitterBuffer, JitterConfig
from plc.rtp.packets import RtpPacket
from plc.rtp.turns import Turn

RATE = 8000
BLOCK = 160
TICK_S = BLOCK / RATE


@dataclass(slots=True)
class SoakReport:
    """What a soak saw."""

    blocks: int = 0
    packets: int = 0
    most_packets_held: int = 0
    largest_delay_s: float = 0.0


@dataclass(slots=True)
class _Sender:
    """A sender whose habits change at random."""

    rng: random.Random
    sequence: int = 0
    timestamp: int = 0
    ssrc: int = 1
    samples: int = BLOCK
    jitter_s: float = 0.0
    loss: float = 0.0

    def change(self) -> None:
        """Take up another habit."""
        rng = self.rng
        match rng.randrange(7):
            case 0:
                self.jitter_s = rng.choice([0.0, 0.005, 0.03, 0.1, 0.3])
            case 1:
                self.loss = rng.choice([0.0, 0.05, 0.3, 0.9])
            case 2:
                self.ssrc = rng.randrange(2**32)
            case 3:
                self.sequence = rng.randrange(2**16)
            case 4:
                self.timestamp = rng.randrange(2**32)
            case 5:
                self.samples = rng.choice([80, 96, 160, 240, 320])
            case 6:  # a pause
                self.timestamp = (self.timestamp + rng.randrange(20 * BLOCK)) % 2**32

    def packet(self) -> RtpPacket:
        """Return the next packet."""
        packet = RtpPacket(0, self.sequence, self.timestamp, self.ssrc, b"")
        self.sequence = (self.sequence + 1) % 2**16
        self.timestamp = (self.timestamp + self.samples) % 2**32
        return packet


def soak(events: int, seed: int) -> SoakReport:
    """Run ``events`` packets and pulls through a buffer; raise AssertionError if one breaks it."""
    rng = random.Random(seed)
    mode = rng.choice(list(DelayMode))
    delay = DelayConfig(mode=mode, delay_ms=40.0, max_delay_ms=200.0)
    buffer = JitterBuffer(JitterConfig(clock_rate=RATE, block=BLOCK, delay=delay))
    sender = _Sender(rng)
    report = SoakReport()
    under_way: list[tuple[float, RtpPacket, int]] = []
    now_s = sent_s = 0.0
    while report.blocks + report.packets < events:
        if rng.random() < 0.005:
            sender.change()
        while sent_s <= now_s:
            packet, samples = sender.packet(), sender.samples
            sent_s += samples / RATE
            copies = 0 if rng.random() < sender.loss else 1 + (rng.random() < 0.02)
            for _ in range(copies):
                at_s = now_s + sender.jitter_s * rng.random()
                under_way.append((at_s, packet, samples))
        if rng.random() < 0.02:
            stray = RtpPacket(
                0, rng.randrange(2**16), rng.randrange(2**32), rng.choice([1, 9]), b""
            )
            under_way.append((now_s, stray, rng.randrange(-10, 400)))
        if rng.random() < 0.0005:
            now_s += rng.choice([0.5, 5.0, 3600.0])  # everybody slept
            sent_s = now_s
        arrived = [each for each in under_way if each[0] <= now_s]
        under_way = [each for each in under_way if each[0] > now_s]
        for at_s, packet, samples in arrived:
            buffer.put(packet, samples, at_s)
            report.packets += 1
        _check_pull(buffer, now_s, report)
        now_s += TICK_S
    return report


def _check_pull(buffer: JitterBuffer, now_s: float, report: SoakReport) -> None:
    turn = buffer.pull(now_s)
    report.blocks += 1
    pulled = sum(part.samples for part in buffer.parts)
    if turn is Turn.PART:
        assert 0 < pulled < BLOCK
    else:
        assert pulled == (BLOCK if turn is Turn.PLAY else 0)
    at = 0
    for part in buffer.parts:
        assert at <= part.at
        at = part.at + part.samples
        assert 0 <= part.begin < part.begin + part.samples
        assert part.begin + part.samples <= part.packet.stop - part.packet.start
    stats = buffer.stats
    assert min(stats.lost_samples, stats.held_samples, stats.silent_samples) >= 0
    report.most_packets_held = max(report.most_packets_held, buffer.packets_held)
    if turn is not Turn.WAIT:
        # Pulled is what was due; what is left is checked against the bound at the next pull.
        report.largest_delay_s = max(report.largest_delay_s, buffer.delay_s(now_s))


def main() -> None:
    """Soak with several seeds and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    parts = 20
    reports = [soak(given.events // parts, given.seed + part) for part in range(parts)]
    print(
        f"{given.events} events in {time.perf_counter() - began:.1f} s; "
        f"{sum(report.blocks for report in reports)} blocks, "
        f"{sum(report.packets for report in reports)} packets; at most "
        f"{max(report.most_packets_held for report in reports)} packets held and "
        f"{1000 * max(report.largest_delay_s for report in reports):.0f} ms of delay"
    )


if __name__ == "__main__":
    main()
