import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from plc.errors import MissingExtraError
from plc_bench.timing.burg_ratio import (
    RATIO_MAX,
    Extrapolation,
    Fit,
    Timing,
    c_library,
    measure_ratios,
    ratio_table,
    time_every_kernel,
)
from tests.processes import ROOT

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
# Float32 sums in another order, through 64 stages.
BURG_ATOL = 1e-3


@needs_gcc
@pytest.mark.parametrize("function", ["burg", "burg_plain"])
def test_c_fits_the_same_predictor(function: str) -> None:
    fit = Fit.allocate(2048, 64)
    fit.kernel()
    expected = fit.predictor.copy()
    fit.predictor[:] = np.nan
    with c_library() as c:
        fit.in_c(getattr(c, function))()
    np.testing.assert_allclose(fit.predictor, expected, atol=BURG_ATOL)
    assert np.abs(expected[1:]).max() > 0.1


@needs_gcc
def test_c_extrapolates_the_same_samples() -> None:
    extrapolation = Extrapolation.allocate(64)
    extrapolation.kernel()
    expected = extrapolation.line.copy()
    assert np.abs(expected[64:]).max() > 0.01
    extrapolation.line[64:] = np.nan
    with c_library() as c:
        extrapolation.in_c(c.extrapolate)()
    np.testing.assert_allclose(extrapolation.line, expected, atol=1e-9)


@needs_gcc
def test_the_library_leaves_denormal_numbers_alone() -> None:
    with c_library():
        assert np.array([1e-310]) * 0.5 > 0.0


@needs_gcc
def test_every_size_is_timed() -> None:
    timings = measure_ratios(rounds=2)
    assert len(timings) == 5
    assert all(0.0 < t.kernel_ms <= t.kernel_median_ms for t in timings)
    assert ratio_table(timings).row_count == 5


def test_the_ratio_is_that_of_the_fastest_rounds() -> None:
    assert Timing("x", 3.0, 2.0, 9.0, 1.0, None).ratio == 1.5
    assert Timing("x", 3.0, 2.0, 9.0, 1.0, plain_c_ms=1.5).ratio == 2.0
    assert Timing("x", 3.0, 2.0, 9.0, 1.0, plain_c_ms=4.0).ratio == 1.5


def test_a_ratio_above_the_limit_is_marked() -> None:
    at_most, above = (Timing("x", ratio, 1.0, 1.0, 1.0, None) for ratio in (RATIO_MAX, 1.7))
    table = ratio_table([at_most, above])
    assert list(table.columns[-1].cells) == ["1.60", "[red]1.70"]


def test_every_kernel_is_timed_by_the_files_of_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("pytest_benchmark")
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert time_every_kernel(tmp_path / "all.json") == 3
    assert "--benchmark-enable" in ran[0]
    assert f"--benchmark-json={tmp_path / 'all.json'}" in ran[0]
    assert list((ROOT / "bench" / "kernels").glob("bench_*.py"))
    assert str(ROOT / "bench" / "kernels") in ran[0]


def test_without_gcc_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="needs gcc"):
        measure_ratios()
