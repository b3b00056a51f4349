"""A predictor's decisions: what is fitted, how it sets out, and how both sides of a gap meet."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.signal.ar import fit_burg, taps_of
from plc_kernels.signal.fade import mix_by_error
from plc_kernels.signal.predict import (
    LONG_MS,
    RUN_ON_MS,
    Bridge,
    Predictor,
    begin_prediction,
    extend_prediction,
    go_on,
    go_on_from,
    measure_bridge,
    meet_sides,
    predict_beyond,
    rehearse,
    resume_prediction,
    turn_back,
)
from tests.signals import noise, sine

RATE, PAST, ORDER, REACH = 8000, 400, 40, 300
MEET = round(RATE * RUN_ON_MS / 1000.0)
LONG = round(RATE * LONG_MS / 1000.0) + 10


def memory(channels: int = 1, from_onsets: bool = False) -> Predictor:
    return Predictor.allocate(RATE, channels, PAST, ORDER, REACH, from_onsets)


def begun(x: NDArray[np.float32], trusted: int, unsteady: bool, wanted: int = PAST) -> Predictor:
    """Return what begins on a ring of one channel that holds ``x``."""
    made = memory()
    ring, counts = x[None].copy(), np.array([0, x.size, trusted])
    begin_prediction(made, ring, counts, ORDER, wanted, unsteady, False)
    return made


def taps(x: NDArray[np.float32], order: int) -> NDArray[np.float64]:
    found = np.zeros(order)
    taps_of(fit_burg(x, order), found)
    return found


@pytest.mark.parametrize(
    ("trusted", "unsteady", "fitted", "order"),
    [
        (1000, False, 400, 40),
        (1000, True, 400, 40),
        (100, True, 100, 25),
        (64, True, 64, 16),
        (63, True, 400, 40),
        (100, False, 400, 40),
    ],
)
def test_what_is_trusted_is_fitted_where_content_changes_fast(
    trusted: int, unsteady: bool, fitted: int, order: int
) -> None:
    x = noise(1, 1000)
    made = begun(x, trusted, unsteady)
    assert made.orders[0] == order
    np.testing.assert_array_equal(made.taps[0, :order], taps(x[-fitted:], order))
    np.testing.assert_array_equal(made.recent[0, :order], x[-order:])


@pytest.mark.parametrize("filled", [64, 200, 399])
def test_a_short_past_is_fitted_at_a_lower_order(filled: int) -> None:
    assert begun(noise(2, filled), filled, False).orders[0] == min(ORDER, filled // 4)


@pytest.mark.parametrize(
    ("order", "unsteady", "from_onsets", "beside"),
    [
        (ORDER, False, True, 0),
        (LONG, False, True, LONG // 2),
        (LONG, True, True, 0),
        (LONG, False, False, 0),
    ],
)
def test_a_long_order_of_steady_content_has_a_second_predictor(
    order: int, unsteady: bool, from_onsets: bool, beside: int
) -> None:
    x, out = noise(3, 1500), np.zeros((3, 100), np.float32)
    made = Predictor.allocate(RATE, 1, x.size, LONG, REACH, from_onsets)
    begin_prediction(made, x[None], np.array([0, x.size, x.size]), order, x.size, unsteady, False)
    assert made.orders.tolist() == [order, beside]
    assert (made.weights[0] > 0.0) == (beside > 0)
    weight = made.weights[0]
    if beside:
        np.testing.assert_array_equal(made.taps[1, :beside], taps(x[-600:], beside))
        np.testing.assert_array_equal(made.recent[1, :beside], x[-beside:])
        again = [predicted(made, row, x[:-80], 80) for row in (0, 1)]
        errors = [np.mean((line - x[-80:]) ** 2) for line in again]
        assert weight == pytest.approx(errors[0] ** 2 / (errors[0] ** 2 + 2.0 * errors[1] ** 2))
        mixed = again[0] + weight * (again[1] - again[0])
        error = rehearse(made, 0, x, np.zeros(80, np.float32))
        assert error == pytest.approx(np.mean((mixed - x[-80:]) ** 2), rel=1e-5)
    for row in (0, 1):
        out[row] = predicted(made, row, x, 100)
    extend_prediction(made, 0, out[2])
    np.testing.assert_allclose(out[2], out[0] + weight * (out[1] - out[0]), atol=1e-6)
    resume_prediction(made, 0, -x)
    extend_prediction(made, 0, out[0])
    np.testing.assert_allclose(out[0], -out[2], atol=1e-6)


def predicted(p: Predictor, row: int, x: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return what one predictor makes of the samples behind ``x``."""
    out, order = np.zeros(n, np.float32), p.orders[row]
    go_on(p.taps[row, :order], 9.0, x[x.size - order :].astype(float), np.zeros(2000), out)
    return out


@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_the_second_predictor_weighs_more_where_it_knows_better(level: float) -> None:
    """A tone glides."""
    t = np.arange(1500) / RATE
    x = np.sin(2.0 * np.pi * (400.0 * t + 300.0 * t * t)).astype(np.float32) + noise(4, 1500, 0.003)
    x *= np.float32(level)
    made = Predictor.allocate(RATE, 1, x.size, LONG, REACH, True)
    counts = np.array([0, x.size, x.size])
    begin_prediction(made, x[None], counts, LONG, x.size, False, False)
    assert made.weights[0] > 0.9
    begin_prediction(made, x[None, ::-1].copy(), counts, LONG, x.size, True, False)
    assert made.weights[0] == 0.0


def test_behind_a_short_line_the_past_is_still_seen() -> None:
    x = noise(4, 1500)
    made = Predictor.allocate(RATE, 1, x.size, LONG, REACH, True)
    begin_prediction(made, x[None], np.array([0, x.size, x.size]), LONG, x.size, False, False)
    out = noise(5, 3)
    go_on_from(made, 0, x, out)
    line = np.append(x, out)
    for row in (0, 1):
        n = made.orders[row]
        np.testing.assert_array_equal(made.recent[row, :n], line[-n:])


def test_a_fit_that_serves_again_goes_on_from_the_newest_samples() -> None:
    x, later = noise(3, 800), noise(4, 800)
    made, before = memory(), memory()
    for each, again in ((made, False), (made, True), (before, False)):
        ring = (later if again else x)[None]
        begin_prediction(each, ring, np.array([0, 800, 800]), ORDER, PAST, False, again)
    np.testing.assert_array_equal(made.taps, before.taps)
    np.testing.assert_array_equal(made.recent[0], later[-ORDER:])
    resume_prediction(made, 0, x)
    np.testing.assert_array_equal(made.recent, before.recent)


@pytest.mark.parametrize(
    ("filled", "known", "gap", "expected"),
    [
        (1000, 1000, 80, Bridge(80, PAST, PAST, MEET, ORDER)),
        (1000, 100, 80, Bridge(80, PAST, 100, MEET, ORDER)),
        (30, 100, 20, Bridge(20, 30, 100, 30, 37)),
        (1000, 32, 80, Bridge(80, PAST, 32, 32, 32)),
        (1000, 1, 80, Bridge(80, PAST, 1, 0, 0)),
        (0, 96, 80, Bridge(80, 0, 96, 0, ORDER)),
    ],
)
def test_a_bridge_takes_what_is_known(filled: int, known: int, gap: int, expected: Bridge) -> None:
    assert measure_bridge(RATE, ORDER, PAST, filled, known, gap) == expected


@pytest.mark.parametrize("known", [100, 4 * ORDER - 1, 4 * ORDER, 300])
def test_the_far_side_is_fitted_alone_where_it_is_long_enough(known: int) -> None:
    x, gap = noise(5, 1000), 80
    made = memory()
    made.through[0, : gap + MEET] = x[600 : 680 + MEET]
    bridge = measure_bridge(RATE, ORDER, PAST, 600, known, gap)
    stages = turn_back(made, 0, bridge, x[:600].copy(), 0, x[680:])
    fitted = x[680 : 680 + known] if known >= 4 * ORDER else x[600 - PAST : 680 + known]
    np.testing.assert_array_equal(made.taps[0], taps(fitted, ORDER))
    np.testing.assert_array_equal(made.recent[0], x[680 + ORDER - 1 : 679 : -1])
    beyond, expected = np.zeros((2, 50), np.float32)
    predict_beyond(made, 0, stages, x[680 : 680 + known], beyond)
    np.testing.assert_array_equal(made.taps[0], taps(fitted, ORDER))
    resume_prediction(made, 0, x[: 680 + known])
    extend_prediction(made, 0, expected)
    np.testing.assert_array_equal(beyond, expected)


def test_sides_are_weighted_by_their_errors_beyond_the_gap() -> None:
    x, gap, known = sine(200.0, RATE, 1000), 80, 200
    made = memory()
    made.through[0] = x[600 : 600 + REACH + MEET] + 0.1
    bridge = measure_bridge(RATE, ORDER, PAST, 600, known, gap)
    turn_back(made, 0, bridge, x[:600].copy(), 0, x[680:])
    made.lead_in[: gap + MEET] = x[679 : 679 - gap - MEET : -1] + 0.2
    out, expected = made.through[0, :gap].copy(), made.through[0, :gap].copy()
    meet_sides(made, 0, bridge, out)
    mix_by_error(0.01, 0.04, made.lead_in[:gap], expected)
    np.testing.assert_allclose(out, expected, atol=1e-5)
