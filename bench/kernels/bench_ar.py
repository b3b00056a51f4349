"""python -m pytest bench/kernels --benchmark-enable

Each kernel beside its C twin, in one pytest-benchmark group; both give the same.
"""

import ctypes
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from beside_c import EXTRAPOLATE_ORDERS, FIT_SIZES, Extrapolation, Fit, c_library
from pytest_benchmark.fixture import BenchmarkFixture

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def c() -> Iterator[ctypes.CDLL]:
    with c_library() as library:
        yield library


@pytest.mark.parametrize(("samples", "order"), FIT_SIZES)
def test_burg(benchmark: BenchmarkFixture, samples: int, order: int) -> None:
    benchmark.group = f"Burg {samples}/{order}"
    fit = Fit.allocate(samples, order)
    fit.kernel()
    benchmark(fit.kernel)


@needs_gcc
@pytest.mark.parametrize(("samples", "order"), FIT_SIZES)
def test_burg_in_c(benchmark: BenchmarkFixture, c: ctypes.CDLL, samples: int, order: int) -> None:
    benchmark.group = f"Burg {samples}/{order}"
    fit = Fit.allocate(samples, order)
    fit.kernel()
    expected = fit.predictor.copy()
    benchmark(fit.in_c(c.burg))
    np.testing.assert_allclose(fit.predictor, expected, atol=1e-2)  # sums in another order


@pytest.mark.parametrize("order", EXTRAPOLATE_ORDERS)
def test_extrapolate(benchmark: BenchmarkFixture, order: int) -> None:
    benchmark.group = f"extrapolate 512/{order}"
    line = Extrapolation.allocate(order)
    line.kernel()
    benchmark(line.kernel)


@needs_gcc
@pytest.mark.parametrize("order", EXTRAPOLATE_ORDERS)
def test_extrapolate_in_c(benchmark: BenchmarkFixture, c: ctypes.CDLL, order: int) -> None:
    benchmark.group = f"extrapolate 512/{order}"
    line = Extrapolation.allocate(order)
    line.kernel()
    expected = line.line.copy()
    benchmark(line.in_c(c.extrapolate))
    np.testing.assert_allclose(line.line, expected, atol=1e-6)
