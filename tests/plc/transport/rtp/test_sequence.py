"""Numbers are unwrapped, counted, and told as loss, reordering, duplicate or pause."""

import random

import pytest

from plc.transport.rtp.outcomes import JitterStats
from plc.transport.rtp.sequence import DROPOUT_MAX, MISORDER_MAX, SequenceLog


def log_of(*numbers: int, restart: int | None = None) -> tuple[SequenceLog, JitterStats]:
    """Return a log that took these numbers in."""
    stats = JitterStats()
    log = SequenceLog(stats)
    log.restart(numbers[0] if restart is None else restart)
    for number in numbers:
        log.count(number % 2**16)
    return log, stats


def test_places_are_consecutive_where_numbers_wrap() -> None:
    log, stats = log_of(65_534)
    places = [log.count(number) for number in (65_535, 0, 1, 3)]
    assert places == [1, 2, 3, 5]
    assert (stats.packets_expected, stats.packets_received, stats.lost_packets) == (6, 5, 1)


def test_a_packet_that_comes_after_later_ones_is_reordered_once_and_then_a_duplicate() -> None:
    log, stats = log_of(10, 12)
    assert stats.lost_packets == 1
    assert log.count(11) == 1
    assert (stats.reordered_packets, stats.lost_packets) == (1, 0)
    assert log.count(11) is None
    assert log.count(12) is None
    assert stats.duplicate_packets == 2


def test_a_number_so_old_that_nothing_is_known_of_it_is_taken_for_a_duplicate() -> None:
    log, stats = log_of(0, 1024)
    assert log.count(0) is None
    assert log.count(1) == 1
    assert stats.duplicate_packets == 1


@pytest.mark.parametrize("seed", range(3))
def test_any_order_counts_each_number_once(seed: int) -> None:
    rng = random.Random(seed)
    numbers = [(65_400 + k) % 2**16 for k in range(300)]
    first, rest = numbers[0], numbers[1:] * 2
    rng.shuffle(rest)
    _, stats = log_of(first, *rest)
    assert (stats.packets_received, stats.duplicate_packets) == (300, 299)
    assert (stats.packets_expected, stats.lost_packets) == (300, 0)


def test_a_number_far_from_the_newest_is_a_stray() -> None:
    log, _ = log_of(65_530)
    newest = 65_530
    assert not log.is_stray((newest + DROPOUT_MAX) % 2**16)
    assert log.is_stray((newest + DROPOUT_MAX + 1) % 2**16)
    assert not log.is_stray(newest - MISORDER_MAX)
    assert log.is_stray(newest - MISORDER_MAX - 1)
    assert SequenceLog(JitterStats()).is_stray(0)


def test_looking_at_a_number_does_not_take_it_in() -> None:
    log, stats = log_of(5)
    assert log.place(9) == 4
    assert log.count(6) == 1
    assert stats.packets_expected == 2


def test_a_pause_is_where_no_number_is_missing_or_those_there_are_had_no_audio() -> None:
    log, _ = log_of(0, 1, 5)
    assert log.is_pause(0, 1)
    assert not log.is_pause(1, 5)
    for number in (2, 4):
        log.count(number, has_audio=False)
    assert not log.is_pause(1, 5)
    log.count(3, has_audio=False)
    assert log.is_pause(1, 5)
    assert not log.is_pause(0, 5)  # number 1 had audio
    assert not log.is_pause(None, 5)
    assert not log.is_pause(5, 5)


def test_numbers_that_begin_anew_are_never_next_to_those_before() -> None:
    log, _ = log_of(100, 101)
    log.restart(7)
    place = log.count(7)
    assert place is not None
    assert not log.is_pause(1, place)
    early = log.count(6)
    assert early == place - 1
    assert not log.is_pause(1, early)
    # Even the earliest one that is not a stray has a place behind those of the row before.
    assert log.place((7 - MISORDER_MAX) % 2**16) > 2


def test_reset_begins_anew_and_keeps_the_counters() -> None:
    log, stats = log_of(100, 102)
    log.reset()
    assert log.is_stray(103)
    log.restart(40)
    assert log.count(40) == 0
    assert (stats.packets_received, stats.packets_expected) == (3, 4)
