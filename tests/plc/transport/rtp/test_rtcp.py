"""Reports by RTCP: what is said of a stream, and what is made of what others say."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("aiortc")

import itertools

from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
)

from plc.transport.rtp.packets import RtpPacket, is_rtcp
from plc.transport.rtp.rtcp import INTERVAL_S, Reports
from tests.examples import examples

RATE, PACKET = 48_000, 480
TICK_S = PACKET / RATE
SSRC, SENDER = 7, 99
# 2024-02-03 04:05:06.5 UTC, and the same as RFC 3550 counts: from 1900 on.
WALL_S = 1_706_933_106.5
NTP = (1_706_933_106 + 2_208_988_800) << 32 | 1 << 31


def reports(wall_s: float = WALL_S) -> Reports:
    return Reports(RATE, SSRC, "here", seed=1, wall=lambda: wall_s)


def rtp(k: int, ssrc: int = SENDER, first: int = 65_530) -> RtpPacket:
    return RtpPacket(96, (first + k) % 2**16, (k * PACKET) % 2**32, ssrc, b"abcd")


def receiver_block(kept: Reports, now_s: float) -> Any:
    upstream, _ = kept.due(now_s)
    assert upstream is not None
    report, description = RtcpPacket.parse(upstream)
    assert isinstance(report, RtcpRrPacket)
    assert isinstance(description, RtcpSdesPacket)
    assert description.chunks[0].items == [(1, b"here")]
    (block,) = report.reports
    return block


def test_a_receiver_report_states_what_was_lost_since_the_one_before() -> None:
    kept = reports()
    for k in range(100):
        if k % 4:
            kept.note_received(rtp(k), k * TICK_S)
    block = receiver_block(kept, 1.0)
    # From packet 1 on: packet 0 is not known to have been sent.
    assert block.ssrc == SENDER
    assert block.packets_lost == 24
    assert block.fraction_lost == 256 * 24 // 99
    # Numbers wrapped once: 65530 + 99 = 65536 + 93 (section 6.4.1).
    assert block.highest_sequence == 1 << 16 | 93
    assert (block.lsr, block.dlsr) == (0, 0)
    for k in range(100, 200):
        kept.note_received(rtp(k), k * TICK_S)
    block = receiver_block(kept, 2.0)
    assert (block.fraction_lost, block.packets_lost) == (0, 24)


def test_jitter_is_that_of_the_standards_formula() -> None:
    kept = reports()
    held_up_s = [0.0, 0.003, 0.001, 0.007, 0.0, 0.002]
    expected = 0.0
    for k, more_s in enumerate(held_up_s):
        kept.note_received(rtp(k), 5.0 + k * TICK_S + more_s)
        if k:
            differs = abs(more_s - held_up_s[k - 1]) * RATE
            expected += (differs - expected) / 16.0
    assert kept.jitter_s * RATE == pytest.approx(expected, abs=0.5)
    assert receiver_block(kept, 6.0).jitter == pytest.approx(expected, abs=1.0)


def test_a_sender_that_starts_over_has_lost_nothing_by_it() -> None:
    kept = reports()
    for k in range(10):
        kept.note_received(rtp(k, first=100), k * TICK_S)
    for k in range(10):
        kept.note_received(rtp(k, first=40_000), k * TICK_S)
    block = receiver_block(kept, 1.0)
    assert (block.packets_lost, block.highest_sequence) == (0, 40_009)
    kept.note_received(rtp(0, ssrc=5), 1.0)
    assert receiver_block(kept, 2.0).ssrc == 5


def test_a_sender_report_says_which_sample_is_now() -> None:
    kept = reports()
    kept.note_sent(timestamp=10_000, packets=20, octets=9600, now_s=3.0)
    upstream, downstream = kept.due(3.25)
    assert upstream is None
    assert downstream is not None
    assert is_rtcp(downstream)
    report = RtcpPacket.parse(downstream)[0]
    assert isinstance(report, RtcpSrPacket)
    info = report.sender_info
    assert (report.ssrc, info.packet_count, info.octet_count) == (SSRC, 20, 9600)
    assert info.rtp_timestamp == 10_000 + RATE // 4
    assert info.ntp_timestamp == NTP


def test_a_report_on_a_sender_report_gives_the_round_trip() -> None:
    kept = reports()
    middle = NTP >> 16 & 0xFFFF_FFFF
    block = RtcpReceiverInfo(
        ssrc=SSRC,
        fraction_lost=64,
        packets_lost=5,
        highest_sequence=0,
        jitter=96,
        # Sent 0.3 s ago, of which the other end had it for 0.25 s.
        lsr=(middle - round(0.3 * 65_536)) & 0xFFFF_FFFF,
        dlsr=round(0.25 * 65_536),
    )
    foreign = RtcpReceiverInfo(1234, 255, 9, 0, 0, 0, 0)
    kept.receive(bytes(RtcpRrPacket(ssrc=1, reports=[foreign, block])), 4.0)
    peer = kept.peer
    assert peer is not None
    assert (peer.lost_ratio, peer.lost_packets, peer.jitter_s) == (0.25, 5, 0.002)
    assert peer.round_trip_s == pytest.approx(0.05, abs=1e-4)
    assert kept.report()["peer"]["lost_packets"] == 5


def test_what_a_sender_reported_is_told_back_to_it() -> None:
    kept = reports()
    kept.note_received(rtp(0), 0.0)
    info = RtcpSenderInfo(ntp_timestamp=NTP, rtp_timestamp=0, packet_count=1, octet_count=4)
    kept.receive(bytes(RtcpSrPacket(ssrc=5, sender_info=info)), 1.0)
    assert receiver_block(kept, 1.5).lsr == 0
    kept.receive(bytes(RtcpSrPacket(ssrc=SENDER, sender_info=info)), 1.0)
    block = receiver_block(kept, 1.5)
    assert block.lsr == NTP >> 16 & 0xFFFF_FFFF
    assert block.dlsr == 65_536 // 2


def test_reports_come_every_five_seconds_or_so_once_there_is_something_to_say() -> None:
    kept = reports()
    assert kept.next_s == math.inf
    kept.note_received(rtp(0), 10.0)
    assert 10.0 < kept.next_s < 10.0 + INTERVAL_S
    times_s = []
    for _ in range(50):
        times_s.append(kept.next_s)
        kept.due(kept.next_s)
    steps = [after - before for before, after in itertools.pairwise(times_s)]
    assert 0.5 * INTERVAL_S <= min(steps) < max(steps) <= 1.5 * INTERVAL_S
    assert kept.stats.sent == 50


def test_a_stream_that_ends_says_so() -> None:
    packets = RtcpPacket.parse(reports().farewell())
    assert isinstance(packets[-1], RtcpByePacket)
    assert packets[-1].sources == [SSRC]


@examples(300)
@given(st.binary(max_size=100), st.sampled_from([200, 201, 202, 203, 205, 206]), st.integers(0, 31))
def test_any_bytes_are_counted_and_nothing_raises(rest: bytes, kind: int, count: int) -> None:
    kept = reports()
    kept.note_received(rtp(0), 0.0)
    head = bytes([0x80 | count, kind, 0, len(rest) // 4])
    kept.receive(rest, 1.0)
    kept.receive(head + rest, 1.0)
    assert kept.stats.received + kept.stats.unreadable == 2
    receiver_block(kept, 2.0)
