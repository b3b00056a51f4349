"""A network is turned off when it is late or fails, and on again after seconds of calm."""

import pytest

from plc.engine.runtime.worker import Result, Switch


def test_two_misses_turn_it_off() -> None:
    for second in (Result.FAILED, Result.LATE):
        switch = Switch()
        assert not switch.note(Result.LATE)
        assert switch.on
        assert switch.note(second)
        assert not switch.on


def test_turns_are_counted_until_they_are_taken_or_forgotten() -> None:
    switch = Switch()
    for _ in range(2):
        switch.note(Result.LATE)
    assert not switch.on
    assert (switch.take_turns(), switch.take_turns()) == (1, 0)
    for _ in range(3):
        switch.note_off()
    assert switch.pass_time(1e6)
    assert switch.take_turns() == 1
    switch.note(Result.FAILED)
    switch.note(Result.FAILED)
    switch.reset()
    assert switch.take_turns() == 0


def _seconds_until_on(switch: Switch, loss_every: int) -> float:
    """Return after how many s the network is asked again, with packets of 10 ms."""
    for k in range(1, 10_000):
        if k % loss_every == 0:
            switch.note_off()
        if switch.pass_time(10.0):
            return k / 100.0
    return 100.0


@pytest.mark.parametrize("loss_every", [10, 100])
def test_seconds_of_calm_switch_it_on_again_however_long_it_was_late(loss_every: int) -> None:
    switch = Switch()
    waits = []
    switch.note(Result.LATE)
    for _ in range(20):
        switch.note(Result.LATE)
        assert not switch.on
        waits.append(_seconds_until_on(switch, loss_every))
        assert switch.on
    assert waits == sorted(waits)
    assert waits[-1] < 6.0


def test_the_first_miss_after_it_was_switched_on_switches_it_off() -> None:
    switch = Switch()
    switch.note(Result.LATE)
    switch.note(Result.LATE)
    _seconds_until_on(switch, 10)
    switch.note(Result.LATE)
    assert not switch.on
    _seconds_until_on(switch, 10)
    switch.note(Result.DONE)
    switch.note(Result.LATE)
    assert switch.on


def test_single_misses_far_apart_change_nothing() -> None:
    switch = Switch()
    for _ in range(20):
        assert not switch.note(Result.LATE)
        for _ in range(150):
            assert not switch.note(Result.DONE)
    assert switch.on


def test_what_was_never_submitted_counts_for_nothing() -> None:
    switch = Switch()
    for _ in range(1_000):
        assert not switch.note(Result.ABSENT)
    assert switch.on
    switch.note(Result.LATE)
    switch.note(Result.LATE)
    assert not switch.on
    switch.reset()
    assert switch.on
