import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, toeplitz
from scipy.signal import butter, lfilter

from plc_kernels.signal.ar import fit_burg
from plc_kernels.signal.toeplitz import solve_toeplitz, solve_toeplitz_at
from tests.signals import noise


def solve(column: NDArray[np.float64], rhs: NDArray[np.float64]) -> NDArray[np.float64] | None:
    n = column.size
    x = rhs.copy()
    return x if solve_toeplitz(column, np.empty((n, n)), np.empty((2, n)), x) else None


def correlation(x: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    found = np.correlate(x, x, "full")[x.size - 1 :]
    return np.concatenate([found, np.zeros(max(0, lags - found.size))])[:lags]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60))
def test_the_solution_is_choleskys(seed: int, n: int) -> None:
    column = correlation(noise(seed, n + 5).astype(np.float64), n)
    rhs = noise(seed + 1, n).astype(np.float64)
    found = solve(column, rhs)
    assert found is not None
    np.testing.assert_allclose(
        found, cho_solve(cho_factor(toeplitz(column)), rhs), rtol=1e-6, atol=1e-9
    )


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), order=st.integers(0, 30))
def test_a_part_of_the_matrix_is_solved_as_by_cholesky(seed: int, n: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    places = np.sort(rng.permutation(3 * n)[:n])
    column = correlation(noise(seed, order + 1).astype(np.float64), order + 1)
    column[0] *= 1.01
    rhs = noise(seed + 1, n).astype(np.float64)
    found = rhs.copy()
    assert solve_toeplitz_at(column, places, np.full((n, n), np.nan), found)
    whole = toeplitz(np.append(column, np.zeros(3 * n)))
    expected = cho_solve(cho_factor(whole[np.ix_(places, places)]), rhs)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_part_of_what_is_not_positive_definite_is_refused() -> None:
    column = np.array([1.0, -1.0, 1.0])
    assert not solve_toeplitz_at(column, np.array([5, 7]), np.empty((2, 2)), np.ones(2))
    assert not solve_toeplitz_at(np.full(3, np.nan), np.arange(4), np.empty((4, 4)), np.ones(4))


def test_an_ill_conditioned_system_is_solved_as_well_as_by_cholesky() -> None:
    dull = lfilter(*butter(6, 0.3), noise(1, 8000).astype(np.float64))
    predictor = fit_burg(dull, 200)
    column = correlation(predictor, 400)
    matrix = toeplitz(column)
    assert np.linalg.cond(matrix) > 1e6
    truth = noise(2, 400).astype(np.float64)
    rhs = matrix @ truth
    found = solve(column, rhs)
    assert found is not None
    reference = cho_solve(cho_factor(matrix), rhs)
    residual, least = (np.linalg.norm(matrix @ x - rhs) for x in (found, reference))
    assert residual < 10 * least + 1e-12 * np.linalg.norm(rhs)


@pytest.mark.parametrize(
    "column",
    [[0.0, 0.0], [-1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [np.nan, 0.0], [1.0, np.nan]],
)
def test_what_is_not_positive_definite_is_refused(column: list[float]) -> None:
    assert solve(np.array(column), np.ones(2)) is None
