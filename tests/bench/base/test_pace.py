"""Whoever waits for a moment of a clock goes on at that moment, not before."""

from itertools import islice

import pytest

from plc_bench.base.pace import turns, wait_until


class _Clock:
    """A clock that passes ``share`` of each sleep."""

    def __init__(self, ticks_per_s: float = 1.0, share: float = 1.0) -> None:
        self.now = 100.0 * ticks_per_s
        self.slept_s: list[float] = []
        self._ticks = ticks_per_s * share

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now += max(seconds * self._ticks, 1e-6 * self._ticks)


def test_it_sleeps_once_until_the_moment() -> None:
    clock = _Clock()
    wait_until(100.25, clock, clock.sleep)
    assert clock.slept_s == [0.25]


@pytest.mark.parametrize("due", [100.0, 99.0])
def test_it_does_not_sleep_for_a_moment_that_has_come(due: float) -> None:
    clock = _Clock()
    wait_until(due, clock, clock.sleep)
    assert not clock.slept_s


def test_it_sleeps_again_where_a_sleep_ends_early() -> None:
    clock = _Clock(share=0.5)
    wait_until(100.25, clock, clock.sleep)
    assert clock.now >= 100.25
    assert clock.slept_s[:3] == [0.25, 0.125, 0.0625]


def test_a_clock_of_nanoseconds_is_slept_for_in_seconds() -> None:
    clock = _Clock(1e9)
    wait_until(100.25e9, clock, clock.sleep, 1e9)
    assert clock.slept_s == [0.25]


def test_turns_come_at_multiples_of_a_packet_from_the_first_on() -> None:
    clock = _Clock()
    assert list(islice(turns(0.25, clock, clock.sleep), 3)) == [100.0, 100.25, 100.5]
    assert clock.now == 100.5
    assert next(turns(0.25, clock, clock.sleep, first=2)) == clock.now == 101.0


def test_turns_without_a_packet_s_time_are_not_waited_for() -> None:
    clock = _Clock()
    assert list(islice(turns(0.0, clock, clock.sleep), 3)) == [100.0] * 3
    assert not clock.slept_s
