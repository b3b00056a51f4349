import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.engine.stats import TimeHistogram
from plc_bench.timing.measure import merged, rarity_curve, summarise_times

DURATIONS = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200)


def test_percentiles_are_those_of_the_definition() -> None:
    times = summarise_times(np.arange(1001.0))
    assert (times.count, times.p50_ms, times.p95_ms, times.p99_ms) == (1001, 500.0, 950.0, 990.0)
    assert times.p99_9_ms == pytest.approx(999.0)
    assert times.max_ms == 1000.0


def test_no_calls_have_no_percentiles() -> None:
    assert np.isnan(summarise_times(np.empty(0)).p50_ms)


@given(DURATIONS)
def test_a_curve_rises_to_the_longest(times_ms: list[float]) -> None:
    rarity, took_ms = rarity_curve(TimeHistogram(times_ms))
    assert rarity[0] == 1.0
    assert took_ms == sorted(took_ms)
    assert took_ms[-1] == max(times_ms)
    assert rarity[-1] == pytest.approx(len(times_ms))


@given(DURATIONS, DURATIONS)
def test_merged_histograms_are_one_of_all_durations(a: list[float], b: list[float]) -> None:
    both = merged([TimeHistogram(a), TimeHistogram(b)])
    assert both.as_dict() == TimeHistogram([*a, *b]).as_dict()


def test_what_is_shorter_or_longer_than_all_bins_counts_in_the_outer_ones() -> None:
    histogram = TimeHistogram([0.0, 1e-9, 1e9])
    assert histogram.total == 3
    assert list(histogram.as_dict()["counts"].values()) == [2, 1]
    assert histogram.max_ms == 1e9


def test_nothing_has_no_curve() -> None:
    assert rarity_curve(TimeHistogram()) == ([], [])
