"""Random, damaged and disordered input to network surfaces.

``transport``
    RTP packets, sound, cut and damaged, to a playout.
``jitter``
    Packets of senders whose habits change, to a jitter buffer; each block is checked.

Damage is refused or absorbed; an exception is a fault of ours and ends the run.
"""

import random
from collections.abc import Callable, Iterator

import numpy as np

from plc.engine.stream.config import StreamConfig
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.jitter import JitterBuffer, JitterConfig, Turn
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import RtpPacket
from plc.transport.rtp.playout import Playout
from tests.plc.transport.streams import delay_s

# Of one jitter buffer, before another with other settings takes its place.
_BUFFER_EVENTS = 50_000
_RATE, _BLOCK = 8000, 160

Seen = dict[str, float]
"""Counts and maxima, by name."""


def fuzz(surface: str, inputs: int, seed: int = 0) -> Seen:
    """Give a surface random input, at least so much; let its errors through."""
    seen: Seen = {}
    given = 0
    for count in SURFACES[surface](random.Random(seed), seen):
        given += count
        if given >= inputs:
            break
    return seen


def _damaged(rng: random.Random, data: bytes, within: int) -> bytes:
    """Return ``data`` with bytes changed among the first, and perhaps cut."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        out[rng.randrange(min(len(out), within))] = rng.randrange(256)
    return bytes(out[: rng.randrange(1, len(out) + 1)] if rng.random() < 0.3 else out)


def _datagrams(rng: random.Random, seen: Seen) -> Iterator[int]:
    playout = Playout(
        ReceiverConfig(
            stream=StreamConfig(sample_rate=8000, packet_samples=80, method="burg"),
            delay=DelayConfig(max_delay_ms=100.0),
            red_payload_type=99,
        )
    )
    packetizer = Packetizer(L16(8000, 1), ssrc=1, redundancy=1, red_payload_type=99)
    samples = np.zeros((80, 1), np.float32)
    seen["most_packets_held"] = 0
    now_s = 0.0
    while True:
        for _ in range(8):
            datagram = packetizer.pack(samples)
            match rng.randrange(4):
                case 0:
                    datagram = rng.randbytes(rng.randrange(80))
                case 1:
                    datagram = datagram[: rng.randrange(len(datagram))]
                case 2:
                    datagram = _damaged(rng, datagram, 20)
            playout.put(datagram, now_s)
            now_s += 0.02 * rng.random()
            yield 1
        assert np.isfinite(playout.tick(now_s)).all()
        seen["most_packets_held"] = max(seen["most_packets_held"], playout.buffer.receiver.units)


def _buffers(rng: random.Random, seen: Seen) -> Iterator[int]:
    seen |= {"blocks": 0, "packets": 0, "most_packets_held": 0, "largest_delay_s": 0.0}
    while True:
        delay = DelayConfig(mode=rng.choice(list(DelayMode)), delay_ms=40.0, max_delay_ms=200.0)
        buffer = JitterBuffer(JitterConfig(clock_rate=_RATE, block=_BLOCK, delay=delay))
        sender = _Sender(rng)
        left, now_s = _BUFFER_EVENTS, 0.0
        while left > 0:
            arrived = sender.arrived(now_s)
            for packet, samples, at_s in arrived:
                buffer.put(packet, samples, at_s)
            seen["packets"] += len(arrived)
            _check_pull(buffer, now_s, seen)
            yield len(arrived) + 1
            left -= len(arrived) + 1
            now_s += _BLOCK / _RATE
            if rng.random() < 0.0005:  # both ends slept
                now_s += rng.choice([0.5, 5.0, 3600.0])
                sender.sent_s = now_s


class _Sender:
    """Sender whose jitter, loss, numbers and source change at random."""

    def __init__(self, rng: random.Random) -> None:
        self.sent_s = 0.0
        self._rng = rng
        self._head = RtpPacket(0, 0, 0, 1, b"")
        self._samples = _BLOCK
        self._jitter_s = self._loss = 0.0
        self._under_way: list[tuple[RtpPacket, int, float]] = []

    def arrived(self, now_s: float) -> list[tuple[RtpPacket, int, float]]:
        """Return packets with their samples and times of arrival up to now."""
        rng = self._rng
        if rng.random() < 0.005:
            self._change()
        while self.sent_s <= now_s:
            packet, samples = self._head, self._samples
            self._advance(1, samples)
            self.sent_s += samples / _RATE
            for _ in range(0 if rng.random() < self._loss else 1 + (rng.random() < 0.02)):
                self._under_way.append((packet, samples, now_s + self._jitter_s * rng.random()))
        if rng.random() < 0.02:
            numbers = rng.randrange(2**16), rng.randrange(2**32), rng.choice([1, 9])
            self._under_way.append((RtpPacket(0, *numbers, b""), rng.randrange(-10, 400), now_s))
        arrived = [one for one in self._under_way if one[2] <= now_s]
        self._under_way = [one for one in self._under_way if one[2] > now_s]
        return arrived

    def _change(self) -> None:
        rng = self._rng
        match rng.randrange(7):
            case 0:
                self._jitter_s = rng.choice([0.0, 0.005, 0.03, 0.1, 0.3])
            case 1:
                self._loss = rng.choice([0.0, 0.05, 0.3, 0.9])
            case 2:
                head = self._head
                self._head = RtpPacket(0, head.sequence, head.timestamp, rng.randrange(2**32), b"")
            case 3:
                self._advance(rng.randrange(2**16), 0)
            case 4:
                self._advance(0, rng.randrange(2**32))
            case 5:
                self._samples = rng.choice([80, 96, 160, 240, 320])
            case 6:  # a pause
                self._advance(0, rng.randrange(20 * _BLOCK))

    def _advance(self, packets: int, samples: int) -> None:
        head = self._head
        sequence, timestamp = (head.sequence + packets) % 2**16, (head.timestamp + samples) % 2**32
        self._head = RtpPacket(0, sequence, timestamp, head.ssrc, b"")


def _check_pull(buffer: JitterBuffer, now_s: float, seen: Seen) -> None:
    """Pull a block and check its length, its parts and the counters."""
    turn = buffer.pull(now_s)
    seen["blocks"] += 1
    pulled = sum(part.samples for part in buffer.parts)
    if turn is Turn.PART:
        assert 0 < pulled < _BLOCK
    else:
        assert pulled == (_BLOCK if turn is Turn.PLAY else 0)
    at = 0
    for part in buffer.parts:
        assert at <= part.at
        at = part.at + part.samples
        assert 0 <= part.begin < part.begin + part.samples
        assert part.begin + part.samples <= part.packet.samples
    stats = buffer.stats
    assert min(stats.lost_samples, stats.late_samples, stats.silent_samples) >= 0
    seen["most_packets_held"] = max(seen["most_packets_held"], buffer.receiver.units)
    if turn is not Turn.WAIT:
        # The rest is checked against the bound at the next pull.
        seen["largest_delay_s"] = max(seen["largest_delay_s"], delay_s(buffer.receiver, now_s))


SURFACES: dict[str, Callable[[random.Random, Seen], Iterator[int]]] = {
    "transport": _datagrams,
    "jitter": _buffers,
}
"""Endless input to each surface, yielding the number of inputs given."""
