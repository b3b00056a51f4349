import numpy as np
import pytest

from plc_bench.timing.measure import summarise_times


def test_percentiles_are_those_of_the_definition() -> None:
    times = summarise_times(np.arange(1001.0))
    assert (times.count, times.p50_ms, times.p95_ms, times.p99_ms) == (1001, 500.0, 950.0, 990.0)
    assert times.p99_9_ms == pytest.approx(999.0)
    assert times.max_ms == 1000.0


def test_no_calls_have_no_percentiles() -> None:
    assert np.isnan(summarise_times(np.empty(0)).p50_ms)
