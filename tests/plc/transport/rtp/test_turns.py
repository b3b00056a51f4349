"""What each block is, by what is there of it when it is due."""

import pytest

from plc.transport.rtp.delay import DelayConfig, DelayEstimator, DelayMode
from plc.transport.rtp.outcomes import JitterStats
from plc.transport.rtp.sequence import SequenceLog
from plc.transport.rtp.timeline import PlacedPacket, Timeline
from plc.transport.rtp.turns import Turn, Turns

RATE = 8000
BLOCK = 160
TICK_S = BLOCK / RATE
FIXED = DelayMode.FIXED


class Table:
    """A timeline with packets laid by hand, and the turns that are taken on it."""

    def __init__(self, mode: DelayMode = FIXED, **delay: float) -> None:
        config = DelayConfig(mode=mode, **delay)
        self.stats = JitterStats()
        self.delays = DelayEstimator(config)
        self.delays.rebase(0.0, 0.0)
        self.sequences = SequenceLog(self.stats)
        self.sequences.restart(0)
        self.timeline = Timeline(BLOCK)
        self.turns = Turns(RATE, self.delays, self.timeline, self.sequences, self.stats)

    def lay(self, *numbers: int, at: int | None = None, samples: int = BLOCK) -> None:
        """Lay packets, each where its number says, or at a block of its own."""
        for number in numbers:
            start = (number if at is None else at) * BLOCK
            place = self.sequences.count(number)
            assert place is not None
            self.timeline.insert(PlacedPacket(start, start + samples, place, 0, b"", False))

    def pull(self, *ticks: float) -> list[Turn]:
        return [self.turns.pull(tick * TICK_S) for tick in ticks]

    def samples(self) -> tuple[int, int, int, int]:
        """Return the counts of blocks: played, lost, silent, held."""
        stats = self.stats
        return (
            stats.played_samples // BLOCK,
            stats.lost_samples // BLOCK,
            stats.silent_samples // BLOCK,
            stats.held_samples // BLOCK,
        )


def test_nothing_is_played_before_the_delay_has_passed() -> None:
    table = Table(delay_ms=40.0)
    assert table.pull(0) == [Turn.WAIT]
    table.lay(0, 1, 2)
    assert table.pull(1, 2) == [Turn.WAIT, Turn.PLAY]
    assert table.turns.begun
    assert table.turns.delay_s(3 * TICK_S) == pytest.approx(0.04)


def test_a_stream_that_is_begun_late_begins_where_it_would_be_by_then() -> None:
    table = Table()
    table.lay(*range(10))
    assert table.pull(3.5) == [Turn.PLAY]
    assert table.timeline.position == 4 * BLOCK


def test_a_hole_with_packets_behind_it_is_lost_and_one_numbered_without_is_a_pause() -> None:
    table = Table()
    table.lay(0, 2)
    table.lay(3, at=5)
    assert table.pull(0, 1, 2) == [Turn.PLAY, Turn.LOST, Turn.PLAY]
    assert table.pull(3, 4, 5) == [Turn.SILENCE, Turn.SILENCE, Turn.PLAY]
    assert table.samples() == (3, 1, 2, 0)


def test_a_block_of_which_some_is_there_is_a_part() -> None:
    table = Table()
    table.lay(0, samples=BLOCK // 2)
    table.lay(2)
    assert table.pull(0) == [Turn.PART]
    assert [(part.at, part.samples) for part in table.timeline.parts] == [(0, BLOCK // 2)]
    assert (table.stats.played_samples, table.stats.lost_samples) == (BLOCK // 2, BLOCK // 2)


def test_the_fixed_mode_goes_on_where_nothing_is_there() -> None:
    table = Table()
    table.lay(0)
    assert table.pull(0, 1, 2) == [Turn.PLAY, Turn.LOST, Turn.LOST]
    assert table.timeline.position == 3 * BLOCK


def started(hold_until: int) -> Table:
    """Return a table that played block 0 and holds at block 1 up to that tick."""
    table = Table(DelayMode.ADAPTIVE, safety=0.0)
    table.lay(0)
    assert table.pull(1) == [Turn.PLAY]
    ticks = range(2, hold_until + 1)
    assert table.pull(*ticks) == [Turn.HOLD] * len(ticks)
    assert table.timeline.position == BLOCK
    return table


def test_a_hold_that_a_packet_beyond_settles_was_a_loss_and_costs_no_delay() -> None:
    table = started(hold_until=2)
    table.lay(2)
    assert table.pull(3) == [Turn.PLAY]
    assert table.samples() == (2, 1, 0, 0)
    assert table.timeline.position == 3 * BLOCK


def held_at_block_1() -> Table:
    """Return a table whose packet 1 comes a tick after the line began to wait for it."""
    table = Table(DelayMode.HEADROOM, safety=0.0, delay_ms=80.0)
    table.lay(0)
    assert table.pull(5, 6) == [Turn.PLAY, Turn.HOLD]
    table.lay(1)
    return table


def test_a_hold_that_the_missing_packet_settles_has_grown_the_delay() -> None:
    table = held_at_block_1()
    before_s = table.turns.delay_s(6 * TICK_S)
    table.delays.target_s += 2 * TICK_S  # more is aimed for
    assert table.pull(7) == [Turn.PLAY]
    assert table.turns.delay_s(8 * TICK_S) == pytest.approx(before_s + TICK_S)
    assert table.samples() == (2, 0, 0, 1)
    assert table.stats.merged_packets == 1


def test_a_missing_packet_that_comes_later_than_the_delay_aimed_for_is_left_out() -> None:
    table = held_at_block_1()
    before_s = table.turns.delay_s(6 * TICK_S)
    table.lay(2)
    assert table.pull(7) == [Turn.PLAY]
    assert table.turns.delay_s(8 * TICK_S) == pytest.approx(before_s)
    assert table.samples() == (2, 1, 0, 0)
    assert table.stats.merged_packets == 0


def test_a_hold_that_comes_to_be_a_pause_is_silence() -> None:
    table = started(hold_until=4)
    table.lay(1, at=4)
    assert table.pull(5) == [Turn.PLAY]
    assert table.samples() == (2, 0, 3, 0)


def test_a_line_is_held_no_longer_than_the_delay_may_grow() -> None:
    table = Table(DelayMode.ADAPTIVE, safety=0.0, max_delay_ms=60.0)
    table.lay(0)
    turns = table.pull(*range(1, 8))
    assert turns[0] is Turn.PLAY
    assert set(turns) == {Turn.PLAY, Turn.HOLD, Turn.LOST}
    assert turns == sorted(turns, key=[Turn.PLAY, Turn.HOLD, Turn.LOST].index)
    assert table.turns.delay_s(8 * TICK_S) <= 0.06 + TICK_S


def test_what_is_beyond_the_largest_delay_is_skipped() -> None:
    table = Table(max_delay_ms=40.0)
    table.lay(*range(30))
    assert table.pull(0, 20) == [Turn.PLAY, Turn.LOST]
    assert table.turns.delay_s(20 * TICK_S) == pytest.approx(0.0)
    assert table.stats.skipped_samples == 18 * BLOCK
    assert table.pull(21) == [Turn.PLAY]


def test_a_player_that_stood_still_may_leave_out_less_than_that_once() -> None:
    table = Table()
    table.lay(*range(30))
    assert table.pull(0, 4) == [Turn.PLAY, Turn.PLAY]
    table.turns.hurry()
    assert table.pull(5, 6) == [Turn.LOST, Turn.PLAY]
    assert table.turns.delay_s(7 * TICK_S) == pytest.approx(2 * TICK_S, abs=TICK_S)


def test_a_packet_that_is_here_now_is_placed_where_it_waits_as_long_as_it_ought() -> None:
    table = Table(delay_ms=40.0)
    assert table.turns.place_for(1.0) == 0
    table.lay(0, 1, 2, 3)
    table.pull(2)
    # Block 1 is pulled at tick 3; so a packet of tick 2 that waits for two ticks is block 2.
    assert table.turns.place_for(2 * TICK_S - 1e-6) == 2 * BLOCK
    assert table.turns.place_for(3 * TICK_S - 1e-6) == 3 * BLOCK


def test_reset_waits_for_a_stream_again() -> None:
    table = started(hold_until=3)
    table.turns.reset()
    table.timeline.reset()
    assert table.pull(4) == [Turn.WAIT]
    assert table.turns.delay_s(1.0) == 0.0
