"""RTCP that lies, is cut short, or comes from those whom it does not concern."""

import math
import struct
from contextlib import closing
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiortc")

from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
)

from plc.transport.relay.relay import Lane
from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import RtpPacket
from plc.transport.rtp.rtcp import Reports, ended_by
from plc.transport.rtp.udp import Address, Endpoint
from tests.plc.configs import changed

RATE, BLOCK = 8000, 160
OURS, SENDER, OTHER = 1, 7, 8
HOST = "192.0.2.1"
OWNER, NEIGHBOUR, NEXT = (HOST, 4000), (HOST, 9999), (HOST, 4001)
ATTEMPTS = 5000


def sender_report(ssrc: int = SENDER, blocks: list[Any] | None = None) -> bytes:
    info = RtcpSenderInfo(2**64 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    return bytes(RtcpSrPacket(ssrc=ssrc, sender_info=info, reports=blocks or []))


def worst_block(ssrc: int = OURS) -> Any:
    return RtcpReceiverInfo(
        ssrc=ssrc,
        fraction_lost=255,
        packets_lost=-(2**23),
        highest_sequence=2**32 - 1,
        jitter=2**32 - 1,
        lsr=2**32 - 1,
        dlsr=2**32 - 1,
    )


def parts() -> list[bytes]:
    names = RtcpSourceInfo(ssrc=SENDER, items=[(1, b"\x1b]0;x\x07" * 30), (8, b"\xff" * 255)])
    return [
        sender_report(blocks=[worst_block(), worst_block(OTHER)]),
        bytes(RtcpRrPacket(ssrc=SENDER, reports=[worst_block()] * 31)),
        bytes(RtcpSdesPacket(chunks=[names, names])),
        bytes(RtcpByePacket(sources=[SENDER, OTHER])),
        struct.pack("!BBHII", 0x8F, 205, 2, 1, 2),
        struct.pack("!BBH", 0x80, 207, 0),
    ]


def forged(rng: np.random.Generator) -> bytes:
    """Return a compound packet with bytes changed, lengths that lie, or its end cut off."""
    known = parts()
    data = bytearray(b"".join(known[k] for k in rng.integers(len(known), size=rng.integers(1, 5))))
    for _ in range(int(rng.integers(6))):
        data[int(rng.integers(len(data)))] = int(
            rng.choice([0, 0x80, 0xFF, int(rng.integers(256))])
        )
    if rng.random() < 0.3:
        data[2:4] = struct.pack("!H", int(rng.choice([0, 1, 5, 0xFFFF])))
    return bytes(data[: int(rng.integers(len(data)))] if rng.random() < 0.3 else data)


def test_forged_reports_are_counted_and_ours_can_still_be_made() -> None:
    rng = np.random.default_rng(42)
    reports = Reports(RATE, OURS, "here", seed=1)
    for k in range(50):
        packet = RtpPacket(96, 65_500 + k & 0xFFFF, k * BLOCK, SENDER, b"")
        reports.note_received(packet, 0.02 * k)
    reports.note_sent(50 * BLOCK, 50, 50 * 320, 1.0)
    for k in range(ATTEMPTS):
        reports.receive(forged(rng), rng.choice([1.0, -1e9, 1e9]))
        if reports.peer is not None:
            assert 0.0 <= reports.peer.lost_ratio <= 1.0
            assert math.isfinite(reports.peer.jitter_s)
            assert reports.peer.round_trip_s is None or 0.0 <= reports.peer.round_trip_s < 32768.0
        if k % 100 == 0:
            upstream, downstream = reports.due(rng.choice([0.0, 1e6]))
            assert upstream is not None
            assert downstream is not None
    assert reports.stats.received + reports.stats.unreadable == ATTEMPTS


class _Sent:
    """Stands for a port: keeps where its datagrams would go."""

    def __init__(self) -> None:
        self.targets: list[Address] = []

    def send(self, _: bytes, target: Address) -> None:
        self.targets.append(target)


def lane() -> Lane:
    """Return a stream that a sender speaks in."""
    made = Lane(
        changed(
            RelayConfig(listen=Endpoint("127.0.0.1", 0), to=Endpoint("127.0.0.1", 9998), rtcp=True),
            sample_rate=RATE,
            packet_samples=BLOCK,
            model="ar",
            budget_ms=math.inf,
            seed=1,
        )
    )
    speak(made, OWNER, 0.0)
    return made


def speak(made: Lane, source: Address, begin_s: float) -> None:
    packetizer = Packetizer(L16(RATE, 1), ssrc=SENDER)
    for k in range(20):
        datagram = packetizer.pack(np.full((BLOCK, 1), np.float32(0.1)))
        made.receive(0, datagram, source, begin_s + 0.02 * k)


def reported_to(made: Lane, now_s: float) -> Address:
    """Return where the report to the sender goes."""
    assert made.stream.reports is not None
    sent = _Sent()
    made._rtcp, port = sent, made._rtcp  # type: ignore[assignment]
    made.stream.reports.next_s = now_s
    made.report_on(now_s)
    made._rtcp = port
    return sent.targets[0]


@pytest.mark.parametrize(
    "datagram",
    [sender_report(OTHER), sender_report()[:9], b"\x80\xc8", b"\x80\xc8\xff\xff" + bytes(60)],
    ids=["of another source", "cut short", "a head", "a length that lies"],
)
def test_what_is_no_report_of_the_sender_does_not_lead_ours_away(datagram: bytes) -> None:
    with closing(lane()) as made:
        assert reported_to(made, 1.0) == NEXT
        made.receive(len(made.ports) - 1, datagram, NEIGHBOUR, 1.1)
        assert reported_to(made, 2.0) == NEXT
        made.receive(len(made.ports) - 1, sender_report(), NEIGHBOUR, 2.1)
        assert reported_to(made, 3.0) == NEIGHBOUR


def test_reports_follow_a_stream_to_its_next_sender() -> None:
    with closing(lane()) as made:
        made.receive(len(made.ports) - 1, sender_report(), NEIGHBOUR, 0.5)
        speak(made, ("192.0.2.2", 5000), 60.0)
        assert made.stream.latch.source == ("192.0.2.2", 5000)
        assert reported_to(made, 61.0) == ("192.0.2.2", 5001)


def test_reports_of_strangers_are_refused() -> None:
    with closing(lane()) as made:
        assert made.stream.reports is not None
        for datagram in parts():
            made.receive(len(made.ports) - 1, datagram, ("192.0.2.9", 4001), 0.5)
        assert made.stream.stats.refused_datagrams == len(parts())
        assert made.stream.reports.stats.received == 0
        assert made.stream.reports.peer is None


def test_a_goodbye_in_anybodys_name_ends_no_stream() -> None:
    with closing(lane()) as made:
        for source in (SENDER, OTHER):
            goodbye = bytes(RtcpByePacket(sources=[source]))
            made.receive(len(made.ports) - 1, goodbye, ("192.0.2.9", 4001), 0.39)
            made.receive(0, goodbye, ("192.0.2.9", 4001), 0.39)
        assert made.stream.latch.source == OWNER
        packetizer = Packetizer(L16(RATE, 1), ssrc=SENDER, sequence=20, timestamp=20 * BLOCK)
        for k in range(20, 40):
            datagram = packetizer.pack(np.full((BLOCK, 1), np.float32(0.1)))
            made.receive(0, datagram, OWNER, 0.02 * k)
        assert made.stream.latch.source == OWNER
        buffer = made.stream.playout.report()["jitter_buffer"]
        assert (buffer["packets_received"], buffer["source_changes"]) == (40, 0)


ENDLESS = {
    "reports": struct.pack("!BBHI", 0x80, 201, 1, SENDER),
    "goodbyes": struct.pack("!BBHI", 0x81, 203, 1, SENDER),
    "heads": struct.pack("!BBH", 0x80, 202, 0),
    "of an extended kind": struct.pack("!BBHI", 0x80, 207, 1, SENDER),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_compound_of_thousands_is_neither_parsed_nor_believed(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold up all streams of a relay for a tenth of a second."""
    parsed: list[int] = []
    parse = RtcpPacket.parse

    def noted(data: bytes) -> Any:
        parsed.append(len(data))
        return parse(data)

    monkeypatch.setattr(RtcpPacket, "parse", noted)
    reports = Reports(RATE, OURS, "here", seed=1)
    for size in (65_504, 1504, 264):
        datagram = (ENDLESS[kind] * 65_536)[:size]
        reports.receive(datagram, 1.0)
        assert ended_by(datagram) == []
    assert (parsed, reports.stats.unreadable) == ([], 3)
    reports.receive(ENDLESS[kind] * 32, 1.0)
    assert len(parsed) == 1


def test_an_item_list_without_end_is_not_walked() -> None:
    """One packet, of one chunk, of 32 000 empty items."""
    endless = struct.pack("!BBHI", 0x81, 202, 16_000, SENDER) + b"\x08\0" * 31_998
    reports = Reports(RATE, OURS, "here", seed=1)
    reports.receive(endless, 1.0)
    assert reports.stats.unreadable == 1


@pytest.mark.parametrize("source", [NEXT, ("239.1.2.3", 9999), ("127.0.0.1", 9999)])
def test_a_flood_of_reports_is_capped(source: Address) -> None:
    with closing(lane()) as made:
        assert made.stream.reports is not None
        for k in range(2000):
            made.receive(len(made.ports) - 1, sender_report(), source, 0.4 + 0.0005 * k)
        stats = made.stream.stats
        assert made.stream.reports.stats.received <= 200
        assert stats.capped_datagrams + stats.refused_datagrams >= 1800
