"""exp, log, sigmoid and tanh: their error against float64, and what they make of anything."""

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from plc_kernels.network import functions

Reals = NDArray[np.float32]


def _over_arrays(function: Any) -> Any:
    @njit(error_model="numpy")
    def run(x: Reals, out: Reals) -> None:
        for k in range(x.size):
            out[k] = function(x[k])

    return run


_RUNS = {name: _over_arrays(getattr(functions, name)) for name in ("exp", "log", "sigmoid", "tanh")}


def _made(name: str, x: Reals) -> NDArray[np.float64]:
    out = np.zeros_like(x)
    _RUNS[name](x, out)
    return out.astype(np.float64)


def _every(low: float, high: float) -> Reals:
    """Return numbers all over a range, with its ends."""
    rng = np.random.default_rng(0)
    return np.append(rng.uniform(low, high, 300_000), [low, high]).astype(np.float32)


def _error(made: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    return float(np.abs(made / wanted - 1.0).max())


def test_exp_errs_by_two_last_places() -> None:
    x = _every(-87.0, 88.0)
    assert _error(_made("exp", x), np.exp(x.astype(np.float64))) < 2e-7


@pytest.mark.parametrize("x", [-1e30, -np.inf, -88.0, np.nan])
def test_exp_is_held_below(x: float) -> None:
    assert _made("exp", np.array([x], np.float32))[0] == pytest.approx(np.exp(-87.0), rel=2e-7)


@pytest.mark.parametrize("x", [89.0, 1e30, np.inf])
def test_exp_is_held_above(x: float) -> None:
    assert _made("exp", np.array([x], np.float32))[0] == pytest.approx(np.exp(88.0), rel=2e-7)


def test_log_errs_by_two_last_places_away_from_one() -> None:
    x = np.exp(_every(-87.0, 88.0)).astype(np.float32)
    wanted = np.log(x.astype(np.float64))
    assert np.abs(_made("log", x) - wanted).max() < 4e-6  # half a last place of 88
    away = np.abs(wanted) > 0.5
    assert _error(_made("log", x)[away], wanted[away]) < 2e-7


def test_log_is_exact_at_one_and_near_it() -> None:
    x = _every(0.7, 1.4)
    assert np.abs(_made("log", x) - np.log(x.astype(np.float64))).max() < 5e-8
    assert _made("log", np.ones(1, np.float32))[0] == 0.0


def test_sigmoid_errs_little_where_it_is_small_too() -> None:
    x = _every(-80.0, 80.0)
    assert _error(_made("sigmoid", x), 1.0 / (1.0 + np.exp(-x.astype(np.float64)))) < 4e-7


def test_tanh_errs_by_two_last_places_of_one() -> None:
    x = _every(-50.0, 50.0)
    assert np.abs(_made("tanh", x) - np.tanh(x.astype(np.float64))).max() < 2e-7


@pytest.mark.parametrize("name", ["exp", "log", "sigmoid", "tanh"])
def test_anything_makes_a_finite_number(name: str) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 200_000, np.uint32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45], np.float32)
    x = np.append(bits.view(np.float32), special)
    if name == "log":
        x = np.abs(x)
    assert np.isfinite(_made(name, x)).all()
