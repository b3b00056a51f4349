import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from plc_kernels.signal.ar import ArWorkspace, burg, extrapolate, fit_burg, taps_of
from tests.signals import noise, sine, tones

# float32 errors against float64 ones, coefficients of size 1.
FLOAT32_ATOL = 2e-5


def burg_by_definition(x: NDArray[np.float32], order: int) -> NDArray[np.float64]:
    """Burg's recursion stage by stage, in float64, with Levinson's step on whole arrays."""
    f = x[1:].astype(np.float64)
    b = x[:-1].astype(np.float64)
    a = np.array([1.0])
    for _ in range(order):
        k = -2.0 * np.sum(f * b) / np.sum(f * f + b * b)
        a = np.append(a, 0.0) + k * np.append(a, 0.0)[::-1]
        f, b = (f + k * b)[1:], (b + k * f)[:-1]
    return a


def stages(x: NDArray[np.float32], order: int) -> int:
    work = ArWorkspace.allocate(x.size, order)
    predictor = np.empty(order + 1)
    return burg(order, x, work.forward, work.backward, work.mirror, predictor)


@given(seed=st.integers(0, 2**32 - 1), order=st.integers(2, 60), extra=st.integers(0, 300))
def test_the_predictor_equals_burgs_recursion(seed: int, order: int, extra: int) -> None:
    x = noise(seed, 2 * order + extra)
    np.testing.assert_allclose(
        fit_burg(x, order), burg_by_definition(x, order), atol=1e-3 if extra < order else 1e-4
    )


@pytest.mark.parametrize(("samples", "order"), [(4096, 1024), (3000, 511), (2500, 1024)])
def test_long_predictors_equal_burgs_recursion_across_tiles(samples: int, order: int) -> None:
    x = noise(3, samples)
    np.testing.assert_allclose(fit_burg(x, order), burg_by_definition(x, order), atol=FLOAT32_ATOL)


def test_tonal_music_is_predicted_as_well_as_in_float64() -> None:
    x = tones(5, 48_000, 7200)
    ours = lfilter(fit_burg(x, 1440), [1.0], x.astype(np.float64))[1440:]
    exact = lfilter(burg_by_definition(x, 1440), [1.0], x.astype(np.float64))[1440:]
    assert np.sum(ours**2) <= 1.01 * np.sum(exact**2)


@given(seed=st.integers(0, 2**32 - 1), level=st.sampled_from([1e-6, 1.0, 1e4]))
def test_the_predictor_is_stable_at_any_level(seed: int, level: float) -> None:
    predictor = fit_burg(np.float32(level) * tones(seed, 8000, 400), 64)
    assert np.abs(np.roots(predictor)).max() < 1.0 + 1e-9


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(500, np.float32),
        np.full(500, np.nan, np.float32),
        np.full(500, np.inf, np.float32),
        np.where(np.arange(500) == 250, np.nan, noise(0, 500)).astype(np.float32),
        np.full(500, 1e-30, np.float32),
        np.full(500, 1e30, np.float32),
    ],
    ids=["silence", "nan", "inf", "one nan", "denormal energy", "overflowing energy"],
)
def test_what_cannot_be_fitted_predicts_nothing(x: NDArray[np.float32]) -> None:
    assert stages(x, 100) == 0
    assert fit_burg(x, 100).tolist() == [1.0] + [0.0] * 100


def test_a_constant_goes_on() -> None:
    predictor = fit_burg(np.full(1000, 0.25, np.float32), 200)
    line = np.concatenate([np.full(200, 0.25), np.zeros(500)])
    extrapolate(np.ascontiguousarray(-predictor[:0:-1]), line)
    np.testing.assert_allclose(line[200:], 0.25, rtol=1e-4)


def test_a_pure_tone_ends_the_fit_early_and_goes_on() -> None:
    x = sine(440.0, 48_000, 7200)
    fitted = stages(x, 1440)
    assert 2 <= fitted < 100
    line = np.concatenate([x[-1440:].astype(np.float64), np.zeros(480)])
    extrapolate(np.ascontiguousarray(-fit_burg(x, 1440)[:0:-1]), line)
    np.testing.assert_allclose(line[1440:], sine(440.0, 48_000, 7680)[7200:], atol=0.01)


def test_a_full_scale_square_stays_bounded() -> None:
    square = np.sign(sine(100.0, 8000, 1600)).astype(np.float32)
    line = np.concatenate([square[-400:].astype(np.float64), np.zeros(4000)])
    extrapolate(np.ascontiguousarray(-fit_burg(square, 400)[:0:-1]), line)
    assert np.abs(line).max() < 3.0


def test_the_shortest_fit_works() -> None:
    x = noise(0, 4)
    np.testing.assert_allclose(fit_burg(x, 2), burg_by_definition(x, 2), atol=1e-5)


def test_extrapolation_is_the_recursion() -> None:
    rng = np.random.default_rng(0)
    predictor = np.poly(0.9 * np.exp(1j * rng.uniform(0, np.pi, 6)))
    predictor = np.convolve(predictor, np.conj(predictor)).real
    past = rng.standard_normal(12)
    taps = np.empty(12)
    taps_of(predictor.astype(np.float64), taps)
    line = np.concatenate([past, np.zeros(50)])
    extrapolate(taps, line)
    expected = list(past)
    for _ in range(50):
        expected.append(-float(np.dot(predictor[1:], expected[:-13:-1])))
    np.testing.assert_allclose(line, expected, rtol=1e-9, atol=1e-12)
