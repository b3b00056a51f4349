import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_kernels.signal.click import STEP_MIN, click_ratio
from tests.examples import some
from tests.signals import noise

WIDTH = 32
SAMPLES = 500
# Both in float64; fast-math may divide by way of the inverse.
RTOL = 1e-12

Signal = NDArray[np.float64]
Mask = NDArray[np.bool_]


def click_ratio_by_definition(width: int, reference: Signal, estimate: Signal, lost: Mask) -> float:
    """Each edge's step over the reference's largest step around it, all as slices of arrays."""
    edges = np.flatnonzero(lost[1:] != lost[:-1]) + 1
    if not edges.size:
        return math.nan
    steps = np.abs(np.diff(reference))
    local = [steps[max(0, edge - 1 - width) : edge + width].max() for edge in edges]
    ratios = np.abs(estimate[edges] - estimate[edges - 1]) / np.maximum(local, STEP_MIN)
    return float(ratios.max())


def signals(seed: int, samples: int = SAMPLES) -> tuple[Signal, Signal]:
    reference, estimate = noise(seed, 2 * samples).astype(np.float64).reshape(2, samples)
    return reference, estimate


def gap(start: int, stop: int, samples: int = SAMPLES) -> Mask:
    lost = np.zeros(samples, np.bool_)
    lost[start:stop] = True
    return lost


def assert_as_defined(width: int, reference: Signal, estimate: Signal, lost: Mask) -> float:
    ratio = click_ratio(width, reference, estimate, lost)
    expected = click_ratio_by_definition(width, reference, estimate, lost)
    np.testing.assert_allclose(ratio, expected, rtol=RTOL)
    return ratio


@given(
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(2, 300),
    width=st.integers(1, 400),
    share=st.sampled_from([0.02, 0.1, 0.5]),
)
def test_the_ratio_equals_the_definition(seed: int, samples: int, width: int, share: float) -> None:
    lost = np.random.default_rng(seed).random(samples) < share
    assert_as_defined(width, *signals(seed, samples), lost)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 100), (1, 100), (400, SAMPLES), (400, 499), (499, SAMPLES)]
)
def test_an_edge_at_the_very_start_or_end_is_measured_by_the_side_that_exists(
    start: int, stop: int
) -> None:
    ratio = assert_as_defined(WIDTH, *signals(1), gap(start, stop))
    assert ratio > 0.0


def test_an_edge_between_the_only_two_samples_is_measured() -> None:
    reference, estimate = np.array([0.0, 0.1]), np.array([0.0, 0.3])
    assert assert_as_defined(WIDTH, reference, estimate, gap(0, 1, 2)) == pytest.approx(3.0)


@pytest.mark.parametrize("lost", [gap(0, 0), gap(0, SAMPLES)], ids=["nothing", "everything"])
def test_without_an_edge_the_ratio_is_not_defined(lost: Mask) -> None:
    assert math.isnan(assert_as_defined(WIDTH, *signals(2), lost))


def test_one_sample_has_no_edge() -> None:
    assert math.isnan(assert_as_defined(WIDTH, np.ones(1), np.ones(1), gap(0, 1, 1)))


def test_silence_in_place_of_silence_does_not_click() -> None:
    silence = np.zeros(SAMPLES)
    assert assert_as_defined(WIDTH, silence, silence, gap(100, 200)) == 0.0


def test_a_step_out_of_silence_is_measured_against_minus_80_db() -> None:
    estimate = np.zeros(SAMPLES)
    estimate[100] = 0.01
    ratio = assert_as_defined(WIDTH, np.zeros(SAMPLES), estimate, gap(100, 200))
    assert ratio == pytest.approx(100.0)


def test_a_full_scale_square_hides_a_full_scale_step() -> None:
    square = np.where(np.arange(SAMPLES) // 10 % 2, 1.0, -1.0)
    assert assert_as_defined(WIDTH, square, -square, gap(100, 200)) == pytest.approx(1.0)


def test_the_steps_of_both_ends_of_the_neighbourhood_count_and_none_beyond() -> None:
    estimate = np.where(gap(200, SAMPLES), 0.5, 0.0)
    # The step at the edge ends at sample 200; WIDTH steps on either side of it count.
    for place, ratio in [(-WIDTH - 1, 5000.0), (-WIDTH, 0.5), (WIDTH, 0.5), (WIDTH + 1, 5000.0)]:
        reference = np.where(np.arange(SAMPLES) < 200 + place, 0.0, 1.0)
        found = assert_as_defined(WIDTH, reference, estimate, gap(200, SAMPLES))
        assert found == pytest.approx(ratio), place


@some("fault", [np.nan, np.inf])
@some("place", [95, 99, 100, 150, 199, 200], 4)
@some("damaged", ["reference", "estimate"], 2)
def test_a_sample_that_is_no_number_is_never_taken_for_a_good_edge(
    fault: float, place: int, damaged: str
) -> None:
    reference, estimate = signals(3)
    (reference if damaged == "reference" else estimate)[place] = fault
    ratio = assert_as_defined(WIDTH, reference, estimate, gap(100, 200))
    if damaged == "estimate" and place in (99, 100, 199, 200):
        assert not math.isfinite(ratio)


def test_what_lies_far_from_the_edges_does_not_matter() -> None:
    reference, estimate = signals(4)
    before = click_ratio(WIDTH, reference, estimate, gap(100, 200))
    reference[[0, 150, 400]] = estimate[[0, 150, 400]] = np.nan
    assert assert_as_defined(WIDTH, reference, estimate, gap(100, 200)) == before
