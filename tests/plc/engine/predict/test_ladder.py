import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.engine.predict import ladder
from plc.engine.predict.ladder import STEADY, UNSTEADY, Pace, Rung, affordable, measure_cost
from plc_kernels.signal.predict import LEAST_PAST_SAMPLES
from plc_kernels.signal.rungs import HEADROOM, MAX_ORDER, MAX_PAST_SAMPLES
from plc_kernels.stream.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

LADDERS = {"steady": STEADY, "unsteady": UNSTEADY}

rates = st.integers(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)


def by_size(order: int, past: int) -> tuple[float, float]:
    """Model the cost: a fit goes with order times past, an extrapolation with the order."""
    return 1e-6 * order * past, 1e-3 * order


@pytest.fixture
def modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "measure_cost", by_size)


def costs(rung: Rung, sample_rate: int, channels: int, extension: float) -> float:
    fit_ms, extend_ms = by_size(rung.order(sample_rate), rung.past_samples(sample_rate))
    if rung.order_ms > 20.0:  # a second fit, and the rehearsal of both
        fit_ms, extension = 1.2 * fit_ms, 1.5 * extension + 1.5 * sample_rate // 100
    return channels * (ladder._CALL_MS + fit_ms + extend_ms * extension / 1000)


@given(rung=st.sampled_from(STEADY + UNSTEADY), sample_rate=rates)
def test_a_rung_stays_within_the_limits_at_every_rate(rung: Rung, sample_rate: int) -> None:
    order, past = rung.order(sample_rate), rung.past_samples(sample_rate)
    assert 2 <= order <= min(MAX_ORDER, past // 2)
    assert past <= MAX_PAST_SAMPLES


@given(rung=st.sampled_from(STEADY + UNSTEADY), sample_rate=st.integers(MIN_SAMPLE_RATE, 48_000))
def test_a_rung_below_the_limits_is_what_its_name_says(rung: Rung, sample_rate: int) -> None:
    order_ms, past_ms = (float(part) for part in rung.name.removeprefix("ar:").split("/"))
    half_a_sample_ms = 500 / sample_rate + 1e-9
    if past_ms < 1000 * LEAST_PAST_SAMPLES / sample_rate:
        assert rung.past_samples(sample_rate) == LEAST_PAST_SAMPLES
        return
    assert abs(1000 * rung.past_samples(sample_rate) / sample_rate - past_ms) <= half_a_sample_ms
    if rung.order(sample_rate) < rung.past_samples(sample_rate) // 2:
        assert abs(1000 * rung.order(sample_rate) / sample_rate - order_ms) <= half_a_sample_ms
    else:  # half of a past that was rounded, too
        assert abs(1000 * rung.order(sample_rate) / sample_rate - order_ms) <= 2 * half_a_sample_ms


@pytest.mark.parametrize("rungs", LADDERS.values(), ids=LADDERS)
@pytest.mark.parametrize("sample_rate", [MIN_SAMPLE_RATE, 48_000, MAX_SAMPLE_RATE])
def test_each_rung_is_cheaper_than_the_one_above(rungs: tuple[Rung, ...], sample_rate: int) -> None:
    sizes = [(rung.order(sample_rate), rung.past_samples(sample_rate)) for rung in rungs]
    for (order, past), (next_order, next_past) in pairwise(sizes):
        assert next_order <= order
        assert next_past <= past
    assert len({rung.name for rung in rungs}) == len(rungs)


@pytest.mark.usefixtures("modelled")
@pytest.mark.parametrize("rungs", LADDERS.values(), ids=LADDERS)
@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("limit_ms", [1e-9, 0.5, 2.5, 10.0, 1e9])
def test_every_rung_within_the_budget_is_kept_and_the_last_always(
    rungs: tuple[Rung, ...], channels: int, limit_ms: float
) -> None:
    steps = affordable(rungs, 48_000, channels, 480, 0, limit_ms)
    most_ms = HEADROOM * limit_ms
    expected = [
        rung for rung in rungs if rung is rungs[-1] or costs(rung, 48_000, channels, 480) <= most_ms
    ]
    assert [step.rung for step in steps] == expected
    for step in steps:
        assert (step.order, step.past) == (step.rung.order(48_000), step.rung.past_samples(48_000))
        assert math.isclose(step.cost_ms, costs(step.rung, 48_000, channels, 480))
    assert [s.cost_ms for s in steps] == sorted((s.cost_ms for s in steps), reverse=True)


@pytest.mark.usefixtures("modelled")
def test_more_channels_longer_packets_and_less_time_take_cheaper_rungs() -> None:
    def top_ms(channels: int, extension: int, limit_ms: float) -> float:
        return affordable(STEADY, 48_000, channels, extension, 0, limit_ms)[0].rung.order_ms

    limit_ms = costs(STEADY[0], 48_000, 1, 480) / HEADROOM * 1.001
    assert top_ms(1, 480, limit_ms) == STEADY[0].order_ms
    assert top_ms(2, 480, limit_ms) < STEADY[0].order_ms
    assert top_ms(1, 5760, limit_ms) < STEADY[0].order_ms
    assert top_ms(1, 480, limit_ms / 2) < STEADY[0].order_ms


@pytest.mark.usefixtures("modelled")
def test_a_bridge_is_part_of_the_price() -> None:
    without, short, long = (
        affordable(STEADY, 48_000, 1, 480, reach, 1e9)[0].cost_ms for reach in (0, 480, 2880)
    )
    assert without < short < long


@pytest.mark.usefixtures("modelled")
@pytest.mark.parametrize("sample_rate", [96_000, 192_000])
def test_rungs_that_the_limits_make_equal_are_one(sample_rate: int) -> None:
    steps = affordable(STEADY, sample_rate, 1, 480, 0, 1e9)
    sizes = [(step.order, step.past) for step in steps]
    assert len(set(sizes)) == len(sizes) < len(STEADY)


def test_no_limit_keeps_all_and_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(order: int, past: int) -> tuple[float, float]:
        raise AssertionError("measured")

    monkeypatch.setattr(ladder, "measure_cost", refuse)
    for rungs in LADDERS.values():
        steps = affordable(rungs, 48_000, 8, 480, 0, math.inf)
        assert tuple(step.rung for step in steps) == rungs
    with pytest.raises(AssertionError, match="measured"):
        affordable(STEADY, 48_000, 1, 480, 0, 1.0)


def test_a_cost_is_measured_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "known_costs", {})
    first = measure_cost(16, 64)
    assert all(0.0 < part < math.inf for part in first)
    monkeypatch.setattr(ladder, "burg", lambda *_: pytest.fail("fitted again"))
    assert measure_cost(16, 64) == first


# Of a stream that loses one packet in so many, of 10 ms each.
PACKET_MS = 10.0
SPARSE = 100
DENSE = 10


def climb(pace: Pace, deepest: int, every: int = DENSE, slow_above: int = -1) -> float:
    """Return after how many s of calm the top is reached, or 20 s.

    Rungs up to ``slow_above`` take too long.
    """
    for k in range(1, 2001):
        if k % every == 0:
            pace.note(pace.depth <= slow_above, deepest)
        pace.pass_time(PACKET_MS)
        if pace.depth == 0:
            return k * PACKET_MS / 1000.0
    return 20.0


def step_down(pace: Pace, deepest: int) -> None:
    for _ in range(Pace._LATE):
        changed = pace.note(True, deepest)
    assert changed == 1


@pytest.mark.parametrize(("calm", "steps"), [(Pace._CALM - 1, True), (Pace._CALM, False)])
def test_a_late_burst_is_forgotten_after_a_calm_while(calm: int, steps: bool) -> None:
    pace = Pace()
    pace.note(True, 3)
    for _ in range(calm):
        assert not pace.note(False, 3)
    assert pace.note(True, 3) == steps


def test_it_never_steps_below_the_last_rung() -> None:
    pace = Pace()
    changes = [pace.note(True, 2) for _ in range(50)]
    assert sum(changes) == pace.depth == 2
    assert not Pace().note(True, 0)


@pytest.mark.parametrize("every", [DENSE, SPARSE])
@pytest.mark.parametrize("load_s", [1, 30, 600])
def test_seconds_of_calm_lead_from_the_bottom_to_the_top(load_s: int, every: int) -> None:
    pace = Pace()
    for k in range(100 * load_s):
        pace.pass_time(PACKET_MS)
        if k % every == 0:
            pace.note(True, 11)
    assert climb(pace, 11, every) < 8.0


def test_a_rung_that_fails_again_is_waited_for_twice_as_long_to_an_end() -> None:
    pace = Pace()
    step_down(pace, 1)
    waits = []
    for _ in range(5):
        waits.append(climb(pace, 1))
        pace.note(False, 1)
        step_down(pace, 1)
    least_s, most_s = Pace._LEAST_MS / 1000.0, Pace._MOST_MS / 1000.0
    assert waits == pytest.approx([least_s, 2 * least_s, most_s, most_s, most_s])


@pytest.mark.parametrize(("every", "most"), [(DENSE, 0.03), (SPARSE, 0.34)])
@pytest.mark.parametrize("slow", [0, 3, 7])
def test_a_machine_too_slow_for_some_rungs_rarely_tries_them(
    slow: int, every: int, most: float
) -> None:
    """Ten minutes of it, in which each rung above the one that fits takes too long."""
    pace = Pace()
    depths = []
    for k in range(60_000):
        if k % every == 0:
            depths.append(pace.depth)
            pace.note(pace.depth <= slow, 11)
        pace.pass_time(PACKET_MS)
    settled = depths[30:]
    assert sum(depth <= slow for depth in settled) <= most * len(settled)
    assert set(settled) == {slow, slow + 1}


def test_what_was_climbed_without_a_concealment_is_left_at_the_first_late_one() -> None:
    pace = Pace()
    for _ in range(8):
        step_down(pace, 8)
    pace.note(False, 8)
    pace.note(False, 8)
    for _ in range(1 + round(Pace._MOST_MS / PACKET_MS)):
        pace.pass_time(PACKET_MS)
    assert pace.depth == 7
    pace.note(False, 8)
    for _ in range(200):
        pace.pass_time(PACKET_MS)
    assert pace.depth == 0
    assert pace.note(True, 8) == 7
    assert pace.depth == 7


def test_misses_far_apart_do_not_add_up() -> None:
    pace = Pace()
    for _ in range(100):
        step_down(pace, 1)
        assert climb(pace, 1) == pytest.approx(Pace._LEAST_MS / 1000.0)
        pace.note(False, 1)
        pace.pass_time(Pace._FORGIVEN_MS)


def test_time_alone_does_not_try_a_rung_that_failed() -> None:
    pace = Pace()
    step_down(pace, 3)
    assert not pace.pass_time(1e6)
    pace.note(False, 3)
    assert not pace.pass_time(1e6)
    pace.note(False, 3)
    assert pace.pass_time(1e6)


@given(
    late=st.lists(st.tuples(st.booleans(), st.floats(0.0, 5000.0)), max_size=400),
    deepest=st.integers(0, 4),
)
def test_the_depth_is_on_the_ladder_and_every_change_is_counted(
    late: list[tuple[bool, float]], deepest: int
) -> None:
    pace = Pace()
    for each, ms in late:
        before = pace.depth
        down = pace.note(each, deepest)
        assert pace.depth - before == down >= 0
        up = pace.pass_time(ms)
        assert before + down - pace.depth == up in (0, 1)
        assert 0 <= pace.depth <= deepest


def test_reset_returns_to_the_top_and_forgets_the_wait() -> None:
    pace, new = Pace(), Pace()
    for _ in range(5):
        step_down(pace, 9)
    pace.note(True, 9)
    pace.reset()
    for each in (pace, new):
        assert each.depth == 0
        step_down(each, 9)
    assert climb(pace, 9) == climb(new, 9)
