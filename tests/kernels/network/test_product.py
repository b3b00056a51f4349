"""The product of a layer against NumPy's."""

from itertools import product

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from plc_kernels.network.product import LANES, TILE_PANELS, TILE_ROWS, in_panels, multiply

Reals = NDArray[np.float32]


@njit(error_model="numpy")
def _multiply(
    x: Reals,
    x_step: int,
    rows: int,
    w: Reals,
    count: int,
    panels: int,
    begin: Reals,
    begin_step: int,
    y: Reals,
    y_step: int,
) -> None:
    multiply(x, x_step, rows, w, count, panels, begin, begin_step, y, y_step)


SHAPES = [
    *product(range(TILE_ROWS, 2 * TILE_ROWS + 2), (1, 7, 32), (1, 15, 16, 40)),
    *product((1,), (1, 5, 112), (64, 65, 100, 336)),
]


def _error(made: Reals, x: Reals, w: Reals, begin: Reals) -> float:
    """Return the largest error, relative to the size of what was added up."""
    wide = [each.astype(np.float64) for each in (x, w, begin)]
    size = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
    return float((np.abs(made - (wide[0] @ wide[1] + wide[2])) / size).max())


@pytest.mark.parametrize(("rows", "count", "outputs"), SHAPES)
def test_rows_times_weights_are_numpys(rows: int, count: int, outputs: int) -> None:
    rng = np.random.default_rng(rows * count)
    x = rng.standard_normal((rows, count)).astype(np.float32)
    w = rng.standard_normal((count, outputs)).astype(np.float32)
    panels = -(-outputs // LANES)
    begin = rng.standard_normal((rows, panels * LANES)).astype(np.float32)
    y = np.full((rows + 1, panels * LANES), np.nan, np.float32)
    _multiply(
        x.ravel(), count, rows, in_panels(w), count, panels, begin.ravel(), panels * LANES,
        y.ravel(), panels * LANES,
    )  # fmt: skip
    assert _error(y[:rows, :outputs], x, w, begin[:, :outputs]) < 1e-6
    assert np.isnan(y[rows]).all()  # nothing was written behind the rows
    assert np.array_equal(y[:rows, outputs:], begin[:, outputs:])  # zeros fill panels up


def test_rows_may_overlap_and_share_a_bias() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(5 * 9).astype(np.float32)
    w = rng.standard_normal((15, 32)).astype(np.float32)
    bias = np.ones(32, np.float32)
    y = np.zeros((7, 40), np.float32)
    _multiply(x, 5, 7, in_panels(w), 15, 2, bias, 0, y.ravel(), 40)
    rows = np.stack([x[5 * r : 5 * r + 15] for r in range(7)])
    assert _error(y[:, :32], rows, w, bias) < 1e-6
    assert not y[:, 32:].any()


def test_one_row_of_the_fewest_panels() -> None:
    w = np.eye(16, TILE_PANELS * LANES, dtype=np.float32)
    x, y = np.arange(16, dtype=np.float32), np.zeros(TILE_PANELS * LANES, np.float32)
    _multiply(x, 0, 1, in_panels(w), 16, TILE_PANELS, np.zeros_like(y), 0, y, 0)
    assert np.array_equal(y, x @ w)
