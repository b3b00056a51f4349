"""python -m pytest bench/kernels --benchmark-enable

Each kernel beside its C twin, in one pytest-benchmark group; plc bench kernels prints ratios.
"""

import ctypes
import shutil
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from plc_bench.timing.burg_ratio import EXTRAPOLATE_ORDERS, FIT_SIZES, Extrapolation, Fit, c_library

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
    benchmark(Fit.allocate(samples, order).in_c(c.burg))


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
    benchmark(Extrapolation.allocate(order).in_c(c.extrapolate))
