import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.engine.stream.stats import Stats, TimeHistogram, percentiles
from plc.jsonable import to_json

BIN = 10.0 ** (1 / 100)
"""Ratio of a bin's ends: the 2.4 % to which a percentile is right."""

durations = st.lists(st.floats(1e-4, 9e4), min_size=1, max_size=200)


def histogram(values: object) -> TimeHistogram:
    return TimeHistogram(np.asarray(values, float).tolist())


@given(values=durations, percent=st.floats(0.1, 100))
def test_a_percentile_is_at_most_one_bin_above_the_truth(
    values: list[float], percent: float
) -> None:
    truth = float(np.percentile(values, percent, method="inverted_cdf"))
    found = histogram(values).percentile_ms(percent)
    assert truth * (1 - 1e-9) <= found <= truth * BIN * (1 + 1e-9)
    assert found <= max(values)


@given(values=durations)
def test_percentiles_rise_to_the_largest(values: list[float]) -> None:
    found = list(percentiles(histogram(values)).values())
    assert found == sorted(found)
    assert found[-1] == max(values)


@given(values=durations)
def test_histograms_survive_json(values: list[float]) -> None:
    times = TimeHistogram(values)
    assert times.total == len(values)
    assert TimeHistogram.from_dict(json.loads(to_json(times))).as_dict() == times.as_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"counts": {"3": 0}},
        {"counts": {"x": 1}},
        {"counts": {"1000": 1}},
        {"counts": {"-1": 1}},
        {"counts": {"3": 2**63}},
        {"counts": [1]},
        {"first_ms": 0.0},
        {"buckets_per_decade": 40},
    ],
)
def test_what_is_no_histogram_is_refused(change: dict[str, object]) -> None:
    good = {"first_ms": 1e-5, "buckets_per_decade": 100, "max_ms": 1.0, "counts": {"3": 1}}
    assert TimeHistogram.from_dict(good).total == 1
    with pytest.raises((ValueError, TypeError), match=r"histogram's|invalid literal"):
        TimeHistogram.from_dict(good | change)


def test_a_histogram_of_nothing_has_zeros() -> None:
    assert percentiles(TimeHistogram()) == {"p50": 0.0, "p99": 0.0, "p99.9": 0.0, "max": 0.0}


@pytest.mark.parametrize("duration_ms", [0.0, 1e-7, 1e5, 1e9, 1.7e308])
def test_durations_beyond_the_bins_are_counted(duration_ms: float) -> None:
    times = histogram([duration_ms])
    assert times.max_ms == duration_ms
    assert 0.0 <= times.percentile_ms(50) <= max(duration_ms, 1e-4)


def filled() -> Stats:
    stats = Stats()
    stats.rungs = ("ar:10/50", "noise")
    stats.packets, stats.lost_packets, stats.concealed_samples = 7, 2, 960
    stats._rung_samples[0] = 960
    stats.good_time.add(0.01)
    stats.concealed_time.add(1.5)
    return stats


def test_as_dict_has_the_counters_the_used_rungs_and_the_times() -> None:
    found = filled().as_dict()
    assert found["packets"] == 7
    assert found["lost_packets"] == 2
    assert found["concealed_samples"] == 960
    assert found["rung_samples"] == {"ar:10/50": 960}
    assert found["good_time_ms"] == {"p50": 0.01, "p99": 0.01, "p99.9": 0.01, "max": 0.01}
    assert found["concealed_time_ms"] == {"p50": 1.5, "p99": 1.5, "p99.9": 1.5, "max": 1.5}


def test_reset_equals_new_and_keeps_the_names_of_the_rungs() -> None:
    stats = filled()
    times = stats.good_time
    stats.reset()
    assert stats.as_dict() == Stats().as_dict()
    assert stats.rung_samples == {"ar:10/50": 0, "noise": 0}
    assert stats.good_time is times


def test_counters_have_the_names_of_w3c() -> None:
    stats = Stats()
    stats.total_samples_received, stats.concealed_samples = 4800, 480
    stats.silent_concealed_samples, stats.concealment_events = 32, 2
    assert stats.w3c() == {
        "totalSamplesReceived": 4800,
        "concealedSamples": 480,
        "silentConcealedSamples": 32,
        "concealmentEvents": 2,
    }


def test_the_text_of_counters_tells_what_was_lost() -> None:
    stats = Stats()
    stats.packets, stats.lost_packets = 10, 1
    stats.concealed_samples, stats.concealment_events = 480, 1
    assert repr(stats) == (
        "<Stats packets=10 lost_packets=1 concealed_samples=480 concealment_events=1>"
    )
