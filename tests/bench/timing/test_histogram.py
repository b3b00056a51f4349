import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc_bench.base.results import to_json
from plc_bench.timing.histogram import Histogram, merged, summarise_times

BUCKET = 10 ** (1 / 100)
"""A bucket's upper end over its lower one."""
DURATIONS = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200).map(np.array)


def test_percentiles_are_those_of_the_definition() -> None:
    times = summarise_times(np.arange(1001.0))
    assert (times.count, times.p50_ms, times.p95_ms, times.p99_ms) == (1001, 500.0, 950.0, 990.0)
    assert times.p99_9_ms == pytest.approx(999.0)
    assert times.max_ms == 1000.0


def test_no_calls_have_no_percentiles() -> None:
    assert np.isnan(summarise_times(np.empty(0)).p50_ms)


@given(DURATIONS)
def test_a_histograms_quantiles_are_right_to_a_bucket(times_ms: np.ndarray) -> None:
    shares = np.array([0.01, 0.5, 0.9, 0.99, 1.0])
    exact = np.sort(times_ms)[np.ceil(shares * times_ms.size - 1e-9).astype(int) - 1]
    found = Histogram.of(times_ms).quantiles_ms(shares)
    assert (found >= exact * (1 - 1e-9)).all()
    assert (found <= exact * BUCKET * (1 + 1e-9)).all()


@given(DURATIONS)
def test_a_curve_rises_to_the_longest(times_ms: np.ndarray) -> None:
    rarity, took_ms = Histogram.of(times_ms).curve()
    assert rarity[0] == 1.0
    assert took_ms == sorted(took_ms)
    assert took_ms[-1] == times_ms.max()
    assert rarity[-1] == pytest.approx(times_ms.size)


@given(DURATIONS, DURATIONS)
def test_histograms_add_up_and_survive_json(a: np.ndarray, b: np.ndarray) -> None:
    both = merged([Histogram.of(a), Histogram.of(b)])
    assert both == Histogram.of(np.concatenate([a, b]))
    assert Histogram.from_json(json.loads(to_json(both))) == both


def test_what_is_shorter_or_longer_than_all_buckets_counts_in_the_outer_ones() -> None:
    histogram = Histogram.of(np.array([0.0, 1e-9, 1e9]))
    assert histogram.total == 3
    assert list(histogram.counts.values()) == [2, 1]
    assert histogram.max_ms == 1e9


def test_nothing_has_no_curve() -> None:
    assert Histogram.of(np.empty(0)).curve() == ([], [])


@pytest.mark.parametrize(
    "change",
    [{"counts": {"3": 0}}, {"first_ms": 0.0}, {"buckets_per_decade": 0}, {"counts": {"x": 1}}],
)
def test_what_is_no_histogram_is_refused(change: dict[str, object]) -> None:
    good = {"first_ms": 1e-5, "buckets_per_decade": 100, "max_ms": 1.0, "counts": {"3": 1}}
    with pytest.raises(ValueError, match=r"above 0|invalid literal"):
        Histogram.from_json(good | change)
