from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.files.fill.gaps import (
    find_unsound,
    gaps_in_samples,
    hold_between,
    merge_gaps,
    tracks_of,
)
from tests.signals import noise

RATE = 16_000

spans = st.tuples(st.integers(0, 99), st.integers(1, 30)).map(lambda x: (x[0], min(100, sum(x))))
gap_lists = st.lists(spans, max_size=12)


def inside(gaps: list[tuple[int, int]], samples: int) -> NDArray[np.bool_]:
    mask = np.zeros(samples, bool)
    for start, stop in gaps:
        mask[start:stop] = True
    return mask


@given(gaps=gap_lists)
def test_merged_gaps_cover_the_same_samples_once_and_in_order(gaps: list[tuple[int, int]]) -> None:
    merged = merge_gaps(gaps, 100)
    spans = [gap.span for gap in merged]
    np.testing.assert_array_equal(inside(spans, 100), inside(gaps, 100))
    for before, after in pairwise(merged):
        assert before.stop < before.end == after.start  # neither overlapping nor touching
    assert not merged or merged[-1].end == 100
    assert merge_gaps(spans[::-1], 100) == merged


@pytest.mark.parametrize("gap", [(5, 5), (6, 5), (-1, 5), (95, 101), (100, 101)])
def test_a_gap_that_does_not_fit_is_named(gap: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=f"gap {gap[0]}:{gap[1]} does not fit.*100 samples"):
        merge_gaps([(10, 20), gap], 100)


@given(gaps=gap_lists.filter(bool))
def test_gaps_in_seconds_are_those_in_samples(gaps: list[tuple[int, int]]) -> None:
    gaps_s = [(start / 1000, stop / 1000) for start, stop in gaps]
    [track] = tracks_of(gaps_in_samples(gaps_s, 1000, 100), 100, 2)
    assert track == ((0, 1), merge_gaps(gaps, 100))


@pytest.mark.parametrize("times", [(0.0, np.inf), (-np.inf, 0.1), (np.nan, 0.1), (0.0, 1e308)])
def test_a_gap_at_no_finite_place_is_refused(times: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"outside the recording, which lasts 0\.100 s"):
        gaps_in_samples([(0.01, 0.02), times], 1000, 100)


def test_a_gap_behind_the_last_sample_is_named_to_the_sample() -> None:
    said = r"gap 3599\.99995:3600 is outside .* 3600\.000 s \(172799999 samples\)"
    with pytest.raises(ConfigError, match=said):
        gaps_in_samples([(3599.99995, 3600.0)], 48_000, 172_799_999)


@pytest.mark.parametrize("gap", [(1.0, None), (0, 10**400), 3.0, (1, 2, 3)])
def test_a_gap_that_is_not_two_numbers_is_refused(gap: Any) -> None:
    with pytest.raises(ConfigError, match="two numbers"):
        gaps_in_samples([(0.01, 0.02), gap], 1000, 100)


def test_the_first_sample_that_is_no_number_outside_the_gaps_is_found() -> None:
    signal = np.zeros((100, 2), np.float32)
    assert find_unsound(signal, []) is None
    signal[[20, 50, 70], 1] = np.nan, np.inf, -np.inf
    assert find_unsound(signal, []) == 20
    assert find_unsound(signal, [(10, 21)]) == 50
    assert find_unsound(signal, [(60, 80), (10, 51)]) is None


def test_a_loud_place_turns_nothing_else_of_a_gap_down() -> None:
    sides = [noise(seed, 8000)[None] for seed in range(2)]
    gap = noise(2, 16_000, 0.05)[None]
    gap[0, 8000:8080] *= 40.0
    held = gap.copy()
    hold_between(sides, RATE, held)
    assert np.abs(held).max() < 1.5 * max(np.abs(side).max() for side in sides) + 1e-6
    far = np.r_[0:7000, 9000:16_000]
    assert np.array_equal(held[:, far], gap[:, far])
