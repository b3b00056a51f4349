"""Packets are numbered and timed as RFC 3550 has it, and repeat earlier ones as RFC 2198 does."""

import numpy as np

from plc.transport.rtp.codecs import L16
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import RtpPacket, parse_red, parse_rtp

RATE = 8000


def pack(packetizer: Packetizer, samples: int, value: float = 0.0) -> RtpPacket:
    packet = parse_rtp(packetizer.pack(np.full((samples, 1), value, np.float32)))
    assert isinstance(packet, RtpPacket)
    return packet


def test_numbers_go_on_and_wrap_and_only_the_first_packet_has_the_marker() -> None:
    packetizer = Packetizer(L16(RATE, 1), ssrc=7, sequence=65_535, timestamp=2**32 - 80)
    packets = [pack(packetizer, samples) for samples in (80, 160, 40)]
    assert [packet.sequence for packet in packets] == [65_535, 0, 1]
    assert [packet.timestamp for packet in packets] == [2**32 - 80, 0, 160]
    assert [packet.marker for packet in packets] == [True, False, False]
    assert {packet.ssrc for packet in packets} == {7}


def test_a_packet_repeats_as_many_before_it_as_there_are_and_as_asked_for() -> None:
    packetizer = Packetizer(
        L16(RATE, 1), ssrc=1, timestamp=2**32 - 80, redundancy=2, payload_type=96
    )
    packets = [pack(packetizer, 80, k / 8.0) for k in range(4)]
    assert {packet.payload_type for packet in packets} == {100}
    repeated = []
    for packet in packets:
        blocks = parse_red(packet.payload)
        assert isinstance(blocks, list)
        repeated.append(blocks)
    assert [len(blocks) for blocks in repeated] == [1, 2, 3, 3]
    earlier, middle, own = repeated[3]
    assert (earlier.offset, middle.offset, own.offset) == (160, 80, 0)
    assert earlier.payload == repeated[1][-1].payload
    assert {block.payload_type for block in repeated[3]} == {96}
