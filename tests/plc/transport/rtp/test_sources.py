"""Which of several sources is believed, and when."""

import pytest

from plc.transport.rtp.packets import RtpPacket
from plc.transport.rtp.sources import AUDITIONS_MAX, QUIET_S, Sources

RATE = 16_000
PACKET = 160
TICK_S = PACKET / RATE


def rtp(k: int, ssrc: int = 1, sequence: int = 0, timestamp: int = 0) -> RtpPacket:
    """Return the k-th packet of a source whose numbers begin there."""
    return RtpPacket(0, (sequence + k) % 2**16, (timestamp + k * PACKET) % 2**32, ssrc, b"")


def hear(sources: Sources, packet: RtpPacket, now_s: float) -> int:
    """Return how many packets are to be played since ``packet`` was heard."""
    return len(sources.hear(packet, PACKET, now_s))


def known_one() -> Sources:
    """Return sources of which number 1 is known and was heard last at 0 s."""
    sources = Sources(RATE)
    hear(sources, rtp(0), -TICK_S)
    assert hear(sources, rtp(1), 0.0) == 2
    return sources


def test_a_source_is_believed_with_its_second_packet_in_a_row_and_both_are_played() -> None:
    sources = Sources(RATE)
    assert sources.hear(rtp(0), PACKET, 0.0) == []
    assert sources.known is None
    believed = sources.hear(rtp(1), PACKET, TICK_S)
    assert [(each.packet.sequence, each.arrived_s) for each in believed] == [(0, 0.0), (1, TICK_S)]
    assert sources.known == 1


@pytest.mark.parametrize(
    ("second", "believed"),
    [
        (rtp(1, sequence=65_535, timestamp=2**32 - PACKET), True),  # both numbers wrap
        (rtp(3, sequence=65_535, timestamp=2**32 - PACKET), True),  # two are missing
        (rtp(4, sequence=65_535, timestamp=2**32 - PACKET), False),
        (rtp(0, sequence=65_535, timestamp=2**32 - PACKET), False),  # the same again
        (RtpPacket(0, 0, 2**32 - PACKET - 1, 1, b""), False),  # time goes back
        (rtp(1, ssrc=2, sequence=65_535, timestamp=2**32 - PACKET), False),
    ],
)
def test_a_row_goes_on_by_number_and_time(second: RtpPacket, believed: bool) -> None:
    sources = Sources(RATE)
    first = rtp(0, sequence=65_535, timestamp=2**32 - PACKET)
    assert hear(sources, first, 0.0) == 0
    assert bool(hear(sources, second, TICK_S)) is believed


def test_another_source_takes_over_only_when_the_known_one_is_quiet() -> None:
    sources = known_one()
    assert hear(sources, rtp(0, ssrc=2), 0.1 * QUIET_S) == 0
    assert hear(sources, rtp(1, ssrc=2), 0.9 * QUIET_S) == 0
    assert hear(sources, rtp(2, ssrc=2), QUIET_S) == 3
    assert (sources.known, sources.changes, sources.foreign_packets) == (2, 1, 0)


def test_between_packets_of_the_known_one_nobody_is_believed() -> None:
    sources = known_one()
    for k in range(20):
        assert hear(sources, rtp(k, ssrc=2), 3 * QUIET_S * (k + 1)) == 0
        sources.confirm(PACKET, 3 * QUIET_S * (k + 1))
    assert (sources.known, sources.foreign_packets) == (1, 20)


def test_a_known_one_heard_without_audio_is_not_quiet() -> None:
    sources = known_one()
    hear(sources, rtp(0, ssrc=2), QUIET_S)
    sources.note(QUIET_S)
    assert hear(sources, rtp(1, ssrc=2), 1.5 * QUIET_S) == 0


def test_a_known_one_that_gives_way_need_not_be_quiet() -> None:
    sources = known_one()
    sources.give_way()
    hear(sources, rtp(0, ssrc=2), 0.0)
    assert hear(sources, rtp(1, ssrc=2), 0.0) == 2


def test_a_known_one_that_jumps_is_believed_again_at_once() -> None:
    sources = known_one()
    assert hear(sources, rtp(0, sequence=9000), 0.001) == 0
    assert hear(sources, rtp(1, sequence=9000), 0.002) == 2
    assert (sources.known, sources.changes) == (1, 1)


def test_few_sources_wait_and_the_one_that_waits_longest_is_forgotten() -> None:
    sources = Sources(RATE)
    for ssrc in range(AUDITIONS_MAX + 1):
        hear(sources, rtp(0, ssrc=ssrc), 0.0)
    assert sources.foreign_packets == 1
    assert hear(sources, rtp(1, ssrc=1), 0.0) == 2
    assert hear(sources, rtp(1, ssrc=0), QUIET_S) == 0


def test_a_row_that_waits_long_keeps_its_newest_packets() -> None:
    sources = known_one()
    for k in range(100):
        assert hear(sources, rtp(k, ssrc=2), 0.0) == 0
    believed = sources.hear(rtp(100, ssrc=2), PACKET, QUIET_S)
    assert believed[-1].packet.sequence == 100
    assert len(believed) + sources.foreign_packets == 101
    assert len(believed) < 50


def test_reset_knows_nobody() -> None:
    sources = known_one()
    hear(sources, rtp(0, ssrc=2), 0.0)
    sources.reset()
    assert sources.known is None
    assert hear(sources, rtp(1, ssrc=2), 0.0) == 0
