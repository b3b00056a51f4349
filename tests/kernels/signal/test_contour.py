"""The contour of pitch, beside plain NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_kernels.signal.contour import (
    FEATURES,
    MOST_BEND,
    POINTS,
    STEPS,
    ContourModel,
    bend,
    edge_period,
    expect,
    look_back,
    meet,
    period_around,
    repeat_cycle,
    thin_out,
    turn,
)
from tests.examples import some
from tests.signals import noise

RATE = 16_000.0
FLOAT32_ATOL = 2e-4
LEVEL = np.zeros(POINTS, np.float32)


def score() -> NDArray[np.float32]:
    return np.zeros(289, np.float32)


def voice(samples: int, period: float, drift: float = 0.0) -> NDArray[np.float32]:
    """Return a sound of ten harmonics whose log period changes by ``drift`` a second."""
    t = np.arange(samples) / RATE
    frequency = RATE / period * np.exp(-drift * (t - t[-1]))
    phase = 2.0 * np.pi * np.cumsum(frequency) / RATE
    sound = sum(np.cos(k * phase + k * k) / k for k in range(1, 11))
    return (0.1 * np.asarray(sound)).astype(np.float32)


def likeness(x: NDArray[np.float64], first: int, second: int, samples: int) -> float:
    a, b = x[first : first + samples], x[second : second + samples]
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-7))


def summit(scores: NDArray[np.float64], best: int) -> float:
    if not 0 < best < scores.size - 1:
        return float(best)
    left, top, right = scores[best - 1 : best + 2]
    bow = left - 2.0 * top + right
    return best + float(0.5 * (left - right) / bow) if bow < -1e-9 else float(best)


def edge_by_definition(x: NDArray[np.float64]) -> tuple[float, float, int]:
    scores = np.array(
        [likeness(x, x.size - 320, x.size - 320 - lag, 320) for lag in range(32, 321)]
    )
    best = int(scores.argmax())
    lag = 32 + best
    for k in range(1, scores.size - 1):
        if scores[k] >= 0.92 * scores.max() and scores[k] == scores[k - 1 : k + 2].max():
            best = k
            break
    return 32 + summit(scores, best), float(scores[best]), lag


def around_by_definition(
    x: NDArray[np.float64], centre: int, near: float, stray: float
) -> tuple[float, float]:
    shortest = max(int(near * (1.0 - stray)), 4)
    scores = []
    for lag in range(shortest, min(int(near * (1.0 + stray)) + 2, shortest + 289)):
        first = centre - (240 + lag) // 2
        inside = first >= 0 and first + lag + 240 <= x.size
        scores.append(likeness(x, first, first + lag, 240) if inside else 0.0)
    best = int(np.argmax(scores))
    return shortest + summit(np.array(scores), best), scores[best]


@given(seed=st.integers(0, 2**32 - 1), period=st.floats(40.0, 300.0))
def test_the_period_at_the_end_is_that_of_the_definition(seed: int, period: float) -> None:
    x = voice(1840, period, 1.0) + 0.02 * noise(seed, 1840)
    found = edge_period(x, RATE, score())
    np.testing.assert_allclose(found, edge_by_definition(x.astype(np.float64)), rtol=1e-3)


@given(seed=st.integers(0, 2**32 - 1), centre=st.integers(0, 1839), period=st.floats(40.0, 300.0))
def test_the_period_around_a_place_is_that_of_the_definition(
    seed: int, centre: int, period: float
) -> None:
    x = voice(1840, period, 1.0) + 0.02 * noise(seed, 1840)
    found = period_around(x, centre, 1.05 * period, 0.15, RATE, score())
    expected = around_by_definition(x.astype(np.float64), centre, 1.05 * period, 0.15)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=FLOAT32_ATOL)


@pytest.mark.parametrize("period", [33.3, 72.7, 145.45, 301.9])
def test_a_steady_pitch_is_found_to_a_twentieth_of_a_sample(period: float) -> None:
    x = voice(1840, period)
    assert edge_period(x, RATE, score())[0] == pytest.approx(period, abs=0.05)
    assert period_around(x, 900, period, 0.1, RATE, score())[0] == pytest.approx(period, abs=0.05)


@given(seed=st.integers(0, 2**32 - 1), drift=st.floats(-3.0, 3.0))
def test_what_is_known_of_the_past_is_as_described(seed: int, drift: float) -> None:
    x = voice(1840, 120.0, drift) + 0.01 * noise(seed, 1840)
    features = np.zeros(FEATURES, np.float32)
    period, alike, _ = look_back(x, RATE, score(), features)
    y = x.astype(np.float64)
    near = period
    for j in range(STEPS):
        found, sure = around_by_definition(
            y, y.size - 2 - (240 + int(near)) // 2 - 80 * j, near, 0.15
        )
        assert features[STEPS + j] == pytest.approx(sure, abs=FLOAT32_ATOL)
        assert features[j] == pytest.approx(np.log(found / period), abs=1e-3)
        near = found
    ends = [y.size - 80 * j for j in range(STEPS)]
    powers = np.array([np.sum(y[end - 160 : end] ** 2) for end in ends])
    powers = np.log(powers + 1e-6 * powers.max())
    levels = powers[::-1] - powers[0]
    np.testing.assert_allclose(features[2 * STEPS : 3 * STEPS], levels, atol=1e-3)
    rest = [np.log(period / 100.0), alike]
    np.testing.assert_allclose(features[3 * STEPS :], rest, atol=1e-4)


def test_silence_has_no_pitch() -> None:
    features = np.zeros(FEATURES, np.float32)
    period, alike, _ = look_back(np.zeros(1840, np.float32), RATE, score(), features)
    assert period > 0.0
    assert alike == 0.0
    assert np.isfinite(features).all()


def random_model(seed: int) -> ContourModel:
    rng = np.random.default_rng(seed)
    shapes = [
        (FEATURES,),
        (FEATURES,),
        (20, FEATURES),
        (20,),
        (30, 20),
        (30,),
        (POINTS, 30),
        (POINTS,),
    ]
    arrays = [(0.2 * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]
    arrays[1] = (np.abs(arrays[1]) + 0.1).astype(np.float32)
    return ContourModel(*arrays)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_network_is_three_dense_layers(seed: int) -> None:
    model = random_model(seed)
    features = np.random.default_rng(seed).standard_normal(FEATURES).astype(np.float32)
    points = np.zeros(POINTS, np.float32)
    expect(features, model, np.zeros((2, FEATURES), np.float32), points)
    x = np.clip((features - model.mean) / model.scale, -4.0, 4.0).astype(np.float64)
    for matrix, bias in ((model.enter, model.enter_bias), (model.middle, model.middle_bias)):
        x = matrix @ x + bias
        x = x / (1.0 + np.exp(-x))
    expected = np.clip(model.leave @ x + model.leave_bias, -0.4, 0.4)
    np.testing.assert_allclose(points, expected, atol=1e-4)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_thinned_out_samples_are_means(every: int) -> None:
    x = noise(5, 300)
    out = np.zeros(100, np.float32)
    thin_out(x, every, out)
    means = x[: 100 * every].reshape(-1, every).mean(axis=1)
    np.testing.assert_allclose(out, means, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("period", [50.0, 97.3])
@pytest.mark.parametrize("fall", [0.0, 0.15, -0.15])
def test_a_cycle_is_repeated_at_the_expected_pace(period: float, fall: float) -> None:
    past = np.sin(2.0 * np.pi * (np.arange(-600, 0) + 1) / period).astype(np.float32)
    points = np.linspace(0.0, fall, POINTS).astype(np.float32)
    out = np.zeros(1200, np.float32)
    repeat_cycle(past, period, points, RATE, out)
    places = np.arange(1200) / 160.0
    phase = np.cumsum(np.exp(-np.interp(places, np.arange(POINTS), points)) / period)
    np.testing.assert_allclose(out, np.sin(2.0 * np.pi * phase), atol=0.01)


def test_a_cycle_whose_ends_differ_is_repeated_without_a_step() -> None:
    past = voice(600, 97.3, 3.0)
    out = np.zeros(900, np.float32)
    repeat_cycle(past, 97.3, LEVEL, RATE, out)
    steepest = np.abs(np.diff(past)).max()
    assert np.abs(np.diff(np.concatenate([past[-1:], out]))).max() < 1.3 * steepest


def tilted(points: NDArray[np.float32], slope: float, gap_ms: float) -> NDArray[np.float64]:
    return np.clip(points + slope * 10.0 * np.arange(POINTS) / gap_ms, -0.4, 0.4)


def met_by_definition(
    past: NDArray[np.float32],
    period: float,
    points: NDArray[np.float32],
    gap: int,
    after: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return the contour whose repeated cycles are most like what is known behind the gap."""
    gap_ms = 1000.0 * gap / RATE
    steepest = 0.5 * min(gap_ms / 60.0, 1.0)
    slopes = np.arange(-20, 21) / 20.0
    scores = np.zeros(slopes.size)
    for k, slope in enumerate(slopes):
        contour = tilted(points, slope * steepest, gap_ms).astype(np.float32)
        line = np.zeros(gap + after.size, np.float32)
        repeat_cycle(past, period, contour, RATE, line)
        both = np.concatenate([line[gap:], after]).astype(np.float64)
        scores[k] = likeness(both, 0, after.size, after.size) - 0.3 * slope**2
    best = summit(scores, int(scores.argmax()))
    return tilted(points, (best - 20.0) / 20.0 * steepest, gap_ms)


@pytest.mark.parametrize(("drift", "expected"), [(3.0, 0.0), (-2.0, -0.05), (0.0, 0.05)])
@some("gap", [320, 640, 877], 2)
def test_the_contour_that_meets_what_is_known_is_that_of_the_definition(
    drift: float, expected: float, gap: int
) -> None:
    x = voice(1200 + gap + 160, 90.0, drift)
    past, after = x[:1200], x[1200 + gap :]
    period, _, _ = edge_period(past, RATE, score())
    points = np.linspace(0.0, expected, POINTS).astype(np.float32)
    met = np.zeros(POINTS, np.float32)
    beyond = np.concatenate([np.zeros_like(after), after])
    alike = meet(past, period, points, RATE, float(gap), beyond, score(), met)
    np.testing.assert_allclose(met, met_by_definition(past, period, points, gap, after), atol=2e-3)
    made = np.zeros(gap + 160, np.float32)
    repeat_cycle(past, period, met, RATE, made)
    both = np.concatenate([made[gap:], after]).astype(np.float64)
    assert alike == pytest.approx(likeness(both, 0, 160, 160), abs=0.02)


@pytest.mark.parametrize("drift", [-2.5, -1.0, 1.0, 2.5])
def test_the_contour_of_a_voice_is_found_from_both_sides(drift: float) -> None:
    gap = 640
    x = voice(1200 + gap + 160, 90.0, drift)
    period, _, _ = edge_period(x[:1200], RATE, score())
    met = np.zeros(POINTS, np.float32)
    beyond = np.concatenate([np.zeros(160, np.float32), x[1200 + gap :]])
    alike = meet(x[:1200], period, LEVEL, RATE, float(gap), beyond, score(), met)
    assert alike > 0.9
    made = np.zeros(gap, np.float32)
    for points, least in ((met, 0.65), (LEVEL, -1.0)):
        repeat_cycle(x[:1200], period, points, RATE, made)
        both = np.concatenate([made, x[1200 : 1200 + gap]]).astype(np.float64)
        alike = likeness(both, gap // 2, gap + gap // 2, gap // 2)
        assert alike > least
    assert alike < 0.5


def test_a_contour_is_seen_from_the_other_side() -> None:
    points = np.array([0.02, 0.05, 0.0, -0.1, -0.1, 0.0, 0.1], np.float32)
    turned = np.zeros(POINTS, np.float32)
    end = turn(points, 25.0, turned)
    assert end == pytest.approx(-0.05, abs=1e-6)
    np.testing.assert_allclose(
        turned, np.array([-0.05, 0.025, 0.035, 0.02, 0.02, 0.02, 0.02]) + 0.05, atol=1e-6
    )


def test_silence_and_nonsense_are_met_with_something_finite() -> None:
    for beyond in (np.zeros(320, np.float32), np.zeros(0, np.float32)):
        met = np.full(POINTS, np.nan, np.float32)
        alike = meet(voice(1200, 90.0), 90.0, LEVEL, RATE, 1.0, beyond, score(), met)
        assert alike == 0.0
        assert np.isfinite(met).all()


def test_a_draft_of_the_expected_period_is_left_as_it_is() -> None:
    line = noise(3, 1000)
    out = np.zeros(600, np.float32)
    bend(line, 200, 80.0, 80.0, LEVEL, RATE, out)
    np.testing.assert_array_equal(out, line[200:800])


@pytest.mark.parametrize("fall", [0.1, -0.1])
def test_a_draft_is_read_at_the_expected_pace(fall: float) -> None:
    period, own = 80.0, 82.0
    n = 960
    place = np.arange(-200, int(MOST_BEND * n) + 4)
    line = np.sin(2.0 * np.pi * (place + 1) / own).astype(np.float32)
    points = np.linspace(0.0, fall, POINTS).astype(np.float32)
    out = np.zeros(n, np.float32)
    bend(line, 200, own, period, points, RATE, out)
    pace = np.exp(-np.interp(np.arange(n) / 160.0, np.arange(POINTS), points)) / period
    np.testing.assert_allclose(out, np.sin(2.0 * np.pi * np.cumsum(pace)), atol=0.01)


@pytest.mark.parametrize("points", [-5.0, 5.0])
def test_nonsense_bends_within_bounds(points: float) -> None:
    line = noise(4, 200 + int(MOST_BEND * 600) + 4)
    out = np.zeros(600, np.float32)
    bend(line, 200, 80.0, 80.0, np.full(POINTS, points, np.float32), RATE, out)
    assert np.abs(out).max() < 2.0 * np.abs(line).max()
