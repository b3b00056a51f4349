"""Packets lie where their timestamps say, and blocks are cut from them to the sample."""

import random

import pytest

from plc.transport.rtp.outcomes import Verdict
from plc.transport.rtp.timeline import PACKETS_MAX, PlacedPacket, Timeline

BLOCK = 100


def placed(start: int, samples: int = BLOCK, redundant: bool = False) -> PlacedPacket:
    return PlacedPacket(start, start + samples, start, 0, b"", redundant)


def with_packets(*starts: int, samples: int = BLOCK) -> Timeline:
    timeline = Timeline(BLOCK)
    for start in starts:
        assert timeline.insert(placed(start, samples)) is Verdict.ACCEPTED
    return timeline


def cut(timeline: Timeline) -> list[tuple[int, int, int, int]]:
    """Return the parts of the next block: start of the packet, its sample, length, place."""
    timeline.gather()
    return [(p.packet.start, p.begin, p.samples, p.at) for p in timeline.parts]


# ---- media time ---------------------------------------------------------------------------------


def test_media_time_goes_on_where_timestamps_wrap() -> None:
    timeline = Timeline(BLOCK)
    begin = 2**32 - 50
    assert timeline.jump(begin, 0) == 0
    assert timeline.note(begin, BLOCK) == 0
    assert timeline.note(50, BLOCK) == 100
    assert timeline.start_of(150) == 200
    assert timeline.start_of(begin) == 0


def test_looking_at_a_timestamp_does_not_take_it_in() -> None:
    timeline = Timeline(BLOCK)
    timeline.jump(0, 0)
    far = 2**31 - 1
    assert timeline.start_of(far) == far
    # Had it been taken in, this one would lie within half a turn ahead of it.
    assert timeline.start_of(2**32 - 1) == -1


@pytest.mark.parametrize(("earliest", "due"), [(0, 300), (300, 300), (301, 400), (1000, 1000)])
def test_a_jump_follows_what_is_here_by_whole_blocks_from_the_position(
    earliest: int, due: int
) -> None:
    timeline = with_packets(0, 130)
    assert timeline.jump(123_456, earliest) == due
    assert timeline.start_of(123_456) == due
    timeline = with_packets(0, 130)
    timeline.position = 7
    assert timeline.jump(123_456, earliest) % BLOCK == 7


def test_the_unit_is_what_blocks_and_packets_have_in_common() -> None:
    timeline = Timeline(480)
    assert timeline.unit == 480
    timeline.note(0, 594)
    assert timeline.unit == 6
    timeline.note(594, 960)
    assert timeline.unit == 480


# ---- packets ------------------------------------------------------------------------------------


def test_two_packets_at_one_time_are_one() -> None:
    timeline = with_packets(0)
    assert timeline.insert(placed(0)) is Verdict.DUPLICATE
    assert len(timeline) == 1


def test_a_packet_takes_the_place_of_a_copy_and_a_copy_no_ones() -> None:
    timeline = Timeline(BLOCK)
    assert timeline.insert(placed(0, redundant=True)) is Verdict.ACCEPTED
    assert timeline.insert(placed(0, redundant=True)) is Verdict.DUPLICATE
    assert timeline.insert(placed(0)) is Verdict.ACCEPTED
    assert timeline.insert(placed(0, redundant=True)) is Verdict.DUPLICATE
    assert len(timeline) == 1
    assert timeline.first is not None
    assert not timeline.first.redundant


@pytest.mark.parametrize(
    ("start", "verdict"),
    [
        (99, Verdict.DUPLICATE),
        (100, Verdict.ACCEPTED),
        (200, Verdict.ACCEPTED),
        (201, Verdict.DUPLICATE),
        (350, Verdict.DUPLICATE),
        (400, Verdict.ACCEPTED),
    ],
)
def test_a_copy_that_overlaps_a_packet_is_left_out(start: int, verdict: Verdict) -> None:
    assert with_packets(0, 300).insert(placed(start, redundant=True)) is verdict


def test_memory_is_bounded() -> None:
    timeline = with_packets(*range(0, PACKETS_MAX * BLOCK, BLOCK))
    assert timeline.insert(placed(PACKETS_MAX * BLOCK)) is Verdict.OVERFLOW
    assert timeline.insert(placed(0)) is Verdict.DUPLICATE
    timeline.position = BLOCK
    timeline.drop_played()
    assert timeline.insert(placed(PACKETS_MAX * BLOCK)) is Verdict.ACCEPTED


# ---- blocks -------------------------------------------------------------------------------------


def test_a_block_is_cut_from_all_packets_that_it_spans() -> None:
    timeline = with_packets(0, 30, 60, 90, samples=30)
    timeline.position = 10
    assert cut(timeline) == [(0, 10, 20, 0), (30, 0, 30, 20), (60, 0, 30, 50), (90, 0, 20, 80)]


def test_a_long_packet_fills_many_blocks() -> None:
    timeline = with_packets(50, samples=250)
    found = []
    for _ in range(3):
        found += cut(timeline)
        timeline.position += BLOCK
        timeline.drop_played()
    assert found == [(50, 0, 50, 50), (50, 50, 100, 0), (50, 150, 100, 0)]
    assert len(timeline) == 0


def test_what_overlaps_is_played_once() -> None:
    timeline = with_packets(0, 60)
    assert cut(timeline) == [(0, 0, 100, 0)]
    timeline.position = 80
    assert cut(timeline) == [(0, 80, 20, 0), (60, 40, 60, 20)]


def test_what_begins_behind_the_block_is_told_and_no_piece_of_it() -> None:
    timeline = with_packets(0, 100)
    behind = timeline.gather()
    assert behind is not None
    assert behind.start == 100
    timeline.position = 100
    assert timeline.gather() is None
    timeline.position = 200
    assert timeline.gather() is None
    assert timeline.parts == []


def test_what_was_played_is_dropped_and_the_last_of_it_told() -> None:
    timeline = with_packets(0, 100, 200)
    assert timeline.buffered_samples == 300
    assert timeline.drop_played() is None
    timeline.position = 200
    last = timeline.drop_played()
    assert last is not None
    assert last.start == 100
    assert (len(timeline), timeline.buffered_samples) == (1, 100)
    timeline.position = 1000
    assert timeline.buffered_samples == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_pieces_of_all_blocks_are_the_packets_sample_for_sample(seed: int) -> None:
    rng = random.Random(seed)
    there: set[int] = set()
    packets: list[PlacedPacket] = []
    at = 0
    while at < 5000:
        samples = rng.randrange(1, 250)
        if rng.random() < 0.7:
            packets.append(placed(at, samples))
            there.update(range(at, at + samples))
        at += samples
    rng.shuffle(packets)
    timeline = Timeline(BLOCK)
    for each in packets:
        timeline.insert(each)
    played: list[int] = []
    while len(timeline):
        timeline.gather()
        for part in timeline.parts:
            begin = timeline.position + part.at
            assert part.packet.start + part.begin == begin
            played += range(begin, begin + part.samples)
        timeline.position += BLOCK
        timeline.drop_played()
    assert played == sorted(there)


def test_reset_equals_new() -> None:
    timeline = with_packets(0, 130)
    timeline.jump(77, 500)
    timeline.note(77, 30)
    timeline.gather()
    timeline.position = 40
    timeline.reset()
    assert (len(timeline), timeline.first, timeline.parts) == (0, None, [])
    assert (timeline.position, timeline.unit, timeline.start_of(5)) == (0, BLOCK, 5)
