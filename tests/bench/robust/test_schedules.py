import numpy as np
import pytest

from plc_bench.robust.schedules import PACKET_MS, SCHEDULES, make_schedule


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_seed_makes_one_schedule_in_which_nothing_comes_before_it_is_sent(name: str) -> None:
    schedule = make_schedule(name, 60.0, 3)
    arrivals_ms, again_ms = schedule.arrivals_ms, make_schedule(name, 60.0, 3).arrivals_ms
    np.testing.assert_array_equal(arrivals_ms, again_ms)
    assert not np.array_equal(arrivals_ms, make_schedule(name, 60.0, 4).arrivals_ms)
    assert arrivals_ms.size == 3000
    sent_ms = np.arange(1, 3001) * PACKET_MS / schedule.speed
    there = np.isfinite(arrivals_ms)
    assert (arrivals_ms[there] >= sent_ms[there]).all()
    assert (arrivals_ms[there] <= sent_ms[there] + 500.0).all()
    lost = float(np.isinf(arrivals_ms).mean())
    as_named = {"tail-loss": 0.05, "lossy-5": 0.05, "lossy-20": 0.2, "lossy-40": 0.4}
    if name in as_named:
        assert lost == pytest.approx(as_named[name], abs=0.03)
    else:
        assert lost < 0.01
    assert np.isnan(arrivals_ms).any() == (name == "talk")


def test_the_least_transit_follows_a_step_of_it() -> None:
    least_ms = make_schedule("step-up", 60.0, 0).least_ms()
    assert least_ms[-1] - least_ms[0] == pytest.approx(80.0)
    assert PACKET_MS <= least_ms[0] < 2 * PACKET_MS


def test_every_second_packet_of_two_links_comes_after_the_one_behind_it() -> None:
    arrivals_ms = make_schedule("two-links", 60.0, 0).arrivals_ms
    steps = np.diff(arrivals_ms)
    np.testing.assert_allclose(steps[:200], PACKET_MS)
    np.testing.assert_allclose(np.sort(steps[300:])[[0, -1]], [PACKET_MS - 70.0, PACKET_MS + 70.0])
