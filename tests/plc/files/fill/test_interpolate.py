import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.files.fill import interpolate as interpolation
from plc.files.fill.gaps import Gap
from plc.files.fill.interpolate import QUALITIES, interpolate, solve_gap
from plc_kernels.signal.ar import fit_burg
from tests.examples import examples
from tests.signals import glide, nmse_db, noise, sine, tones

SAMPLE_RATE = 16_000


def dense_solution(
    line: NDArray[np.float64], begin: int, length: int, predictor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimise the squared prediction errors that the gap has a part in, by dense least squares."""
    order = predictor.size - 1
    rows = np.zeros((length + order, line.size))
    for i in range(length + order):
        rows[i, begin + i - order : begin + i + 1] = predictor[::-1]
    known = line.copy()
    known[begin : begin + length] = 0.0
    gap = rows[:, begin : begin + length]
    return np.asarray(np.linalg.lstsq(gap, -rows @ known, rcond=None)[0], np.float64)


def solved(
    line: NDArray[np.float64], begin: int, length: int, predictor: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    order = predictor.size - 1
    around = line[begin - order : begin + length + order]
    return solve_gap(around, np.correlate(predictor, predictor, "full"))


@examples(40)
@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.integers(2, 40),
    length=st.integers(1, 100),
    tonal=st.booleans(),
)
def test_a_gap_solved_is_the_least_squares_solution(
    seed: int, order: int, length: int, tonal: bool
) -> None:
    samples = 400
    x = glide(seed, SAMPLE_RATE, samples) if tonal else noise(seed, samples)
    line = x.astype(np.float64)
    predictor = fit_burg(x, order)
    found = solved(line, 150, length, predictor)
    assert found is not None
    np.testing.assert_allclose(found, dense_solution(line, 150, length, predictor), atol=1e-6)


@pytest.mark.parametrize(("begin", "length"), [(32, 100), (100, 268), (0 + 32, 336)])
def test_a_gap_needs_no_more_than_the_order_on_each_side(begin: int, length: int) -> None:
    line = glide(5, SAMPLE_RATE, 400).astype(np.float64)
    predictor = fit_burg(line, 32)
    found = solved(line, begin, length, predictor)
    assert found is not None
    np.testing.assert_allclose(found, dense_solution(line, begin, length, predictor), atol=1e-6)


def test_what_stands_in_a_gap_does_not_change_its_solution() -> None:
    line = glide(5, SAMPLE_RATE, 400).astype(np.float64)
    predictor = fit_burg(line, 32)
    hidden = line.copy()
    hidden[100:200] = np.nan
    np.testing.assert_array_equal(
        solved(hidden, 100, 100, predictor), solved(line, 100, 100, predictor)
    )


def test_a_predictor_that_is_not_finite_has_no_solution() -> None:
    assert solved(np.zeros(400), 100, 50, np.full(33, np.nan)) is None


def test_a_short_gap_is_filled_by_what_interpolates_its_surroundings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One tone up to 60 ms before the gap, another from there on: long predictors mix the two.
    rate, start = 48_000, 24_000
    x = sine(523.0, rate, 2 * start) + noise(3, 2 * start, 1e-4)
    x[: start - 2880] = sine(700.0, rate, start - 2880) + noise(4, start - 2880, 1e-1)
    gap = Gap(start, start + 240, 2 * start)
    weighted, doubt_db = refilled(x, rate, gap)
    assert weighted < -30.0
    assert doubt_db < -20.0
    monkeypatch.setattr(
        interpolation, "_weights", lambda row, rate, gap, made: np.full(len(made), 1.0 / len(made))
    )
    equal, _ = refilled(x, rate, gap)
    assert weighted < equal - 3.0


@pytest.mark.parametrize("known", [40, 300])
def test_a_short_gap_is_filled_where_too_little_is_known_to_rehearse(known: int) -> None:
    rate = 48_000
    x = tones(1, rate, 2 * known + 240)
    error_db, _ = refilled(x, rate, Gap(known, known + 240, x.size))
    assert error_db < 3.0


def test_a_short_gap_is_filled_where_just_enough_is_known_to_rehearse() -> None:
    x = tones(1, 48_000, 6240)
    error_db, _ = refilled(x, 48_000, Gap(3000, 3240, x.size))
    assert error_db < -35.0


def test_one_predictor_with_all_the_weight_leaves_no_doubt() -> None:
    fills = np.random.default_rng(2).standard_normal((5, 240))
    assert interpolation._doubt_db(fills, np.array([1.0, 0.0, 0.0, 0.0, 0.0])) < -200.0
    equal = interpolation._doubt_db(fills, np.full(5, 0.2))
    mean = fills.mean(axis=0)
    expected = 10.0 * np.log10(fills.var(axis=0, ddof=1).sum() / (mean @ mean))
    assert equal == pytest.approx(expected)


def refilled(x: NDArray[np.float32], rate: int, gap: Gap) -> tuple[float, float]:
    """Return the error of a gap interpolated from zeros, and the doubt, in dB."""
    row = x.copy()
    row[gap.start : gap.stop] = 0.0
    doubt_db = interpolate(row, rate, gap, QUALITIES["good"])
    return nmse_db(row[gap.start : gap.stop], x[gap.start : gap.stop]), doubt_db
