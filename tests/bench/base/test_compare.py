import math

import numpy as np
import pytest

from plc_bench.base.compare import paired_difference, summarise

INF = math.inf


def test_a_summary_leaves_out_what_is_not_defined() -> None:
    summary = summarise([1.0, 3.0, math.nan, INF, -INF])
    assert (summary.mean, summary.std, summary.count, summary.left_out) == (2.0, 1.0, 2, 3)
    assert math.isnan(summarise([math.nan]).mean)


def test_a_constant_advantage_has_no_uncertainty() -> None:
    second = np.random.default_rng(1).standard_normal(50) * 10
    difference = paired_difference(list(second - 1.5), list(second), lower_is_better=True)
    assert difference.mean == pytest.approx(-1.5)
    assert difference.low == pytest.approx(-1.5)
    assert difference.high == pytest.approx(-1.5)
    assert (difference.share_better, difference.pairs) == (1.0, 50)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    sample = np.random.default_rng(2).standard_normal(400)
    difference = paired_difference(list(sample), [0.0] * 400, lower_is_better=False)
    half_width = 1.96 * sample.std() / math.sqrt(400)
    assert difference.high - difference.mean == pytest.approx(half_width, rel=0.1)
    assert difference.mean - difference.low == pytest.approx(half_width, rel=0.1)


def test_pairs_of_one_group_count_as_one_draw() -> None:
    sample = np.random.default_rng(3).standard_normal(100)
    alone = paired_difference(list(sample), [0.0] * 100, lower_is_better=False)
    fourfold = paired_difference(
        list(np.repeat(sample, 4)),
        [0.0] * 400,
        lower_is_better=False,
        groups=list(np.repeat(np.arange(100), 4)),
    )
    assert fourfold.pairs == 400
    assert (fourfold.low, fourfold.high) == pytest.approx((alone.low, alone.high))


def test_better_follows_the_direction_of_the_metric() -> None:
    first, second = [1.0, 1.0, 2.0, 5.0], [2.0, 2.0, 2.0, 1.0]
    assert paired_difference(first, second, lower_is_better=True).share_better == 0.5
    assert paired_difference(first, second, lower_is_better=False).share_better == 0.25


def test_a_pair_with_an_undefined_score_is_left_out() -> None:
    difference = paired_difference([1.0, math.nan, 3.0], [0.0, 0.0, -INF], lower_is_better=True)
    assert (difference.mean, difference.pairs) == (1.0, 1)
    assert math.isnan(paired_difference([math.nan], [1.0], lower_is_better=True).mean)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_groups_have_no_interval(count: int) -> None:
    groups = [number % count for number in range(10)]
    few = paired_difference([1.0, 3.0] * 5, [0.0] * 10, lower_is_better=True, groups=groups)
    assert few.mean == 2.0
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert few.interval("+.2f") == "-"


def test_six_groups_have_an_interval() -> None:
    six = paired_difference([1.0, 1.0, 1.0, 3.0, 3.0, 3.0], [0.0] * 6, lower_is_better=True)
    assert six.low < six.mean < six.high
    assert six.interval("+.0f") == f"{six.low:+.0f} to {six.high:+.0f}"
    again = paired_difference([1.0, 1.0, 1.0, 3.0, 3.0, 3.0], [0.0] * 6, lower_is_better=True)
    assert again == six  # the draws are seeded
