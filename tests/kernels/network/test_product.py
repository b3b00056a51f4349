"""The product of a layer against NumPy's, bit for bit."""

from itertools import product

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from plc_kernels.network.product import (
    LANES,
    MOST_INPUTS,
    STEPS,
    TILE_PANELS,
    TILE_ROWS,
    in_int8,
    in_panels,
    in_steps,
    multiply,
)

Reals = NDArray[np.float32]
Steps = NDArray[np.int16]
STEP = np.float32(0.37)


@njit(error_model="numpy")
def _multiply(
    x: Steps,
    x_step: int,
    rows: int,
    step: np.float32,
    w: Reals,
    scales: Reals,
    count: int,
    panels: int,
    begin: Reals,
    begin_step: int,
    y: Reals,
    y_step: int,
) -> None:
    multiply(x, x_step, rows, step, w, scales, count, panels, begin, begin_step, y, y_step)


@njit(error_model="numpy")
def _in_steps(x: Reals, x_step: int, rows: int, count: int, out: Steps) -> np.float32:
    return in_steps(x, x_step, rows, count, out)


SHAPES = [
    *product(range(TILE_ROWS, 2 * TILE_ROWS + 2), (1, 7, 32), (1, 15, 16, 40)),
    *product((1,), (1, 5, 112), (64, 65, 100, 336)),
]


def _numbers(rng: np.random.Generator, *shape: int) -> tuple[Steps, NDArray[np.int8]]:
    """Return inputs and weights, some of them the largest that there are."""
    x = rng.integers(-STEPS, STEPS, shape[:2], np.int16, endpoint=True)
    w = rng.integers(-127, 127, shape[1:], np.int8, endpoint=True)
    x[0], w[:, 0] = STEPS, 127
    return x, w


def _wanted(x: Steps, w: NDArray[np.int8], scales: Reals, begin: Reals) -> Reals:
    sums = x.astype(np.int64) @ w.astype(np.int64)
    made: Reals = begin + sums.astype(np.float32) * (scales * STEP)
    return made


@pytest.mark.parametrize(("rows", "count", "outputs"), SHAPES)
def test_rows_times_weights_are_numpys(rows: int, count: int, outputs: int) -> None:
    rng = np.random.default_rng(rows * count)
    x, w = _numbers(rng, rows, count, outputs)
    panels = -(-outputs // LANES)
    scales = np.zeros(panels * LANES, np.float32)
    scales[:outputs] = rng.random(outputs)
    begin = rng.standard_normal((rows, panels * LANES)).astype(np.float32)
    y = np.full((rows + 1, panels * LANES), np.nan, np.float32)
    given = np.append(x, np.int16(-77))  # one more is read where their number is odd
    _multiply(
        given, count, rows, STEP, in_panels(w), scales, count, panels, begin.ravel(),
        panels * LANES, y.ravel(), panels * LANES,
    )  # fmt: skip
    assert np.array_equal(y[:rows, :outputs], _wanted(x, w, scales[:outputs], begin[:, :outputs]))
    assert np.isnan(y[rows]).all()  # nothing was written behind the rows
    assert np.array_equal(y[:rows, outputs:], begin[:, outputs:])  # zeros fill panels up


def test_rows_may_overlap_and_share_a_bias() -> None:
    rng = np.random.default_rng(0)
    x, w = _numbers(rng, 9, 5, 32)
    w = np.concatenate([w, w[::-1], w])
    bias, scales = np.ones(32, np.float32), np.full(32, 0.1, np.float32)
    y = np.zeros((7, 40), np.float32)
    given = np.append(x, np.int16(5))
    _multiply(given, 5, 7, STEP, in_panels(w), scales, 15, 2, bias, 0, y.ravel(), 40)
    rows = np.stack([given[5 * r : 5 * r + 15] for r in range(7)])
    assert np.array_equal(y[:, :32], _wanted(rows, w, scales, bias))
    assert not y[:, 32:].any()


def test_no_sum_of_the_most_inputs_is_too_large() -> None:
    count, outputs = MOST_INPUTS, TILE_PANELS * LANES
    for sign in (1, -1):
        x, w = np.full((1, count), sign * STEPS, np.int16), np.full((count, outputs), 127, np.int8)
        y, zeros, ones = np.zeros((3, outputs), np.float32)
        ones[:] = 1.0
        panels = in_panels(w)
        _multiply(x.ravel(), 0, 1, STEP, panels, ones, count, TILE_PANELS, zeros, 0, y, 0)
        assert np.array_equal(y, _wanted(x, w, ones, zeros)[0])


def test_numbers_in_steps_are_the_nearest() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 9)).astype(np.float32)
    out = np.zeros(5 * 7, np.int16)
    step = _in_steps(x.ravel(), 9, 5, 7, out)
    wanted = x[:, :7]
    assert abs(step / (np.abs(wanted).max() / STEPS) - 1.0) < 1e-6
    assert np.abs(out).max() == STEPS
    assert np.abs(out.reshape(5, 7) * step - wanted).max() < 0.5001 * step


@pytest.mark.parametrize("value", [0.0, 1e-40, -1e-32, np.nan, np.inf, -np.inf, 3e38])
def test_numbers_of_any_kind_become_steps(value: float) -> None:
    x = np.array([0.0, value, 1e-33], np.float32)
    out = np.full(3, 7, np.int16)
    step = _in_steps(x, 3, 1, 3, out)
    assert abs(out[2]) <= STEPS
    assert np.isfinite(step) == np.isfinite(value)
    if np.isfinite(value):
        assert abs(out[1] * float(step) - float(x[1])) <= max(float(step), 1e-30)


def test_weights_in_int8_are_the_nearest() -> None:
    w = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32)
    w[:, 3] = 0.0
    numbers, scales = in_int8(w)
    assert np.array_equal(np.abs(numbers).max(axis=0), [127, 127, 127, 0, 127, 127, 127])
    assert (np.abs(numbers * scales - w) <= 0.501 * scales).all()
    again, same = in_int8(numbers * scales)
    assert np.array_equal(again, numbers)
    np.testing.assert_allclose(same, scales, rtol=1e-6)
