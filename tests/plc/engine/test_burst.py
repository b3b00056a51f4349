from itertools import product

import pytest
from plc.engine.burst import Burst, Play, decide

HOLD, FADE = 100, 50


def burst(age: int = 10, recovered: int = 0, bridged: int = 0, bridge: int = 0) -> Burst:
    return Burst(hold=HOLD, fade=FADE, age=age, recovered=recovered, bridged=bridged, bridge=bridge)


# arrived, burst, far side known, fades: what to do.
CASES = {
    "a packet in order is played": (True, None, False, True, Play.RECEIVED),
    "lookahead does not change that": (True, None, True, True, Play.RECEIVED),
    "the first after a burst is blended": (True, burst(), False, True, Play.RECOVER),
    "so is the rest of the crossfade": (True, burst(recovered=20), False, True, Play.RECOVER),
    "and the first after a bridge": (True, burst(bridged=30, bridge=30), True, True, Play.RECOVER),
    "and after a long outage": (True, burst(age=10_000), False, True, Play.RECOVER),
    "a loss is extended into": (False, None, False, True, Play.EXTEND),
    "or bridged": (False, None, True, True, Play.BRIDGE),
    "a loss within the crossfade is a new one": (
        False,
        burst(age=10_000, recovered=1),
        False,
        True,
        Play.EXTEND,
    ),
    "and may be bridged": (False, burst(age=10_000, recovered=1), True, True, Play.BRIDGE),
    "a burst goes on": (False, burst(), False, True, Play.EXTEND),
    "a bridge begins within the hold": (False, burst(age=HOLD - 1), True, True, Play.BRIDGE),
    "not once the level falls": (False, burst(age=HOLD), True, True, Play.EXTEND),
    "a bridge is played to its end": (False, burst(bridged=10, bridge=30), True, True, Play.BRIDGE),
    "even past the fade": (
        False,
        burst(age=10_000, bridged=10, bridge=30),
        False,
        True,
        Play.BRIDGE,
    ),
    "after it another follows": (False, burst(bridged=30, bridge=30), True, True, Play.BRIDGE),
    "the fade is still a prediction": (False, burst(age=HOLD + FADE - 1), False, True, Play.EXTEND),
    "beyond it there is noise": (False, burst(age=HOLD + FADE), False, True, Play.NOISE),
    "whatever is known of the far side": (False, burst(age=HOLD + FADE), True, True, Play.NOISE),
    "a method that does not fade goes on": (
        False,
        burst(age=HOLD + FADE),
        False,
        False,
        Play.EXTEND,
    ),
}


@pytest.mark.parametrize(
    ("arrived", "under_way", "far_side_known", "fades", "expected"), CASES.values(), ids=CASES
)
def test_what_is_played(
    arrived: bool, under_way: Burst | None, far_side_known: bool, fades: bool, expected: Play
) -> None:
    assert decide(arrived, under_way, far_side_known, fades) is expected


def test_arrived_packets_are_played_and_lost_ones_never() -> None:
    states = [
        None,
        *(
            burst(age, recovered, bridged, bridge)
            for age, recovered, (bridged, bridge) in product(
                (1, HOLD, HOLD + FADE), (0, 5), ((0, 0), (5, 10), (10, 10))
            )
        ),
    ]
    for state, known, fades in product(states, (False, True), (False, True)):
        assert decide(True, state, known, fades) in (Play.RECEIVED, Play.RECOVER)
        concealed = decide(False, state, known, fades)
        assert concealed in (Play.EXTEND, Play.BRIDGE, Play.NOISE)
        under_way = state is not None and state.bridge > state.bridged
        if concealed is Play.BRIDGE:
            assert known or under_way
        if concealed is Play.NOISE:
            assert state is not None
            assert state.faded
            assert fades


@pytest.mark.parametrize(
    ("age", "faded"), [(0, False), (HOLD, False), (HOLD + FADE - 1, False), (HOLD + FADE, True)]
)
def test_a_burst_is_faded_after_its_hold_and_its_fade(age: int, faded: bool) -> None:
    assert burst(age=age).faded is faded


def test_deciding_changes_nothing() -> None:
    state = burst(age=30, bridged=5, bridge=10)
    decide(False, state, True, True)
    assert state == burst(age=30, bridged=5, bridge=10)
