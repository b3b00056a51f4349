"""Damaged samples at the end of what is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.signal.edges import (
    LEAST_EDGE_SAMPLES,
    EdgeSpace,
    count_damaged,
    edge_sizes,
    is_extreme,
    mend_end,
)
from tests.examples import some
from tests.signals import noise, tones, voice

RATE = 16_000
SAMPLES, ORDER = edge_sizes(RATE)
SPACE = EdgeSpace.allocate(SAMPLES, ORDER)
SIGNALS = {
    "voice": voice(RATE, 0.5, 180.0, 0.8),
    "tones": tones(3, RATE // 2, RATE),
}


def end_of(name: str) -> NDArray[np.float32]:
    """Return the signal up to a sample that is far from zero."""
    signal = SIGNALS[name]
    stop = 4000 + int(np.abs(signal[4000:4200]).argmax()) + 1
    return signal[stop - SAMPLES : stop].copy()


@some("name", SIGNALS)
@some("value", [0.0, 1.0, -1.0], 2)
@some("count", [1, 2, 3], 3)
def test_damaged_samples_are_counted_and_mended(name: str, value: float, count: int) -> None:
    intact = end_of(name)
    x = intact.copy()
    x[-count:] = value
    assert is_extreme(x[-1])
    assert count_damaged(x, ORDER, False, SPACE) == count
    mend_end(x, count, ORDER, SPACE)
    assert np.array_equal(x[:-count], intact[:-count])
    assert np.sum((x - intact) ** 2) < 0.25 * np.sum((intact[-count:] - value) ** 2)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_jump_counts_where_it_is_asked_for(name: str) -> None:
    x = end_of(name)
    x[-4] += 0.8
    assert not is_extreme(x[-1])
    assert count_damaged(x, ORDER, False, SPACE) == 0
    assert count_damaged(x, ORDER, True, SPACE) == 4


def test_intact_ends_are_none() -> None:
    for signal in (*SIGNALS.values(), 0.1 * noise(3, RATE), np.zeros(RATE, np.float32)):
        for stop in range(SAMPLES, 4000, 37):
            for jumps in (False, True):
                assert count_damaged(signal[stop - SAMPLES : stop], ORDER, jumps, SPACE) == 0


def test_muted_samples_of_what_is_hardly_heard_are_left() -> None:
    x = 1e-3 * end_of("voice")
    x[-2:] = 0.0
    assert count_damaged(x, ORDER, False, SPACE) == 0


def test_little_is_enough() -> None:
    x = end_of("tones")[-LEAST_EDGE_SAMPLES:]
    x[-1] = 1.0
    assert count_damaged(x, ORDER, False, SPACE) == 1
