"""A network is turned off when it is late or fails, and on again after seconds of calm."""

from hypothesis import given
from hypothesis import strategies as st

from plc.engine.predict.ladder import Pace
from plc.engine.runtime.worker import Result, Switch
from tests.examples import examples


def test_two_misses_turn_it_off_and_calm_on_again() -> None:
    for second in (Result.FAILED, Result.LATE):
        switch = Switch()
        switch.note(Result.LATE)
        assert switch.on
        switch.note(second)
        assert not switch.on
        assert (switch.take_turns(), switch.take_turns()) == (1, 0)
        for _ in range(3):
            switch.note_off()
        switch.pass_time(1e6)
        assert switch.on
        assert switch.take_turns() == 1
        switch.note(second)
        switch.note(second)
        switch.reset()
        assert switch.on
        assert switch.take_turns() == 0


@examples(200, few=20)
@given(st.lists(st.sampled_from([*Result, None]), max_size=400))
def test_its_rules_are_those_of_the_ladder_with_one_step(outcomes: list[Result | None]) -> None:
    """What was never submitted counts for nothing; None: it was off."""
    switch, pace = Switch(), Pace()
    for outcome in outcomes:
        if outcome is None:
            switch.note_off()
        else:
            switch.note(outcome)
        if outcome is not Result.ABSENT:
            pace.note(outcome not in (Result.DONE, None), 1)
        switch.pass_time(100.0)
        pace.pass_time(100.0)
        assert switch.on == (pace.depth == 0)
