"""A burst along a fill: the parts, against what they are by definition."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.signal.burst import (
    begin_fill,
    play_fill,
    recalled_weight,
    take_over,
)
from plc_kernels.signal.fade import crossfade_ramp
from tests.signals import noise

CHANNELS, DRAFTS, BEGIN, HORIZON, SAMPLES = 2, 3, 50, 40, 100
ENTER, LEAVE = crossfade_ramp(4), crossfade_ramp(8)


def lines() -> NDArray[np.float32]:
    return noise(1, CHANNELS * DRAFTS * SAMPLES).reshape(CHANNELS * DRAFTS, SAMPLES)


def drafts() -> NDArray[np.float32]:
    """Return the last drafts of the gap, shape (channels, samples from its beginning on)."""
    return lines().reshape(CHANNELS, DRAFTS, SAMPLES)[:, -1, BEGIN:]


def made() -> NDArray[np.float32]:
    return noise(2, CHANNELS * HORIZON).reshape(CHANNELS, HORIZON)


def started() -> NDArray[np.float32]:
    fill = np.zeros((CHANNELS, HORIZON + 7), np.float32)
    begin_fill(lines(), BEGIN, HORIZON, fill)
    return fill


def test_a_burst_begins_as_its_last_draft() -> None:
    np.testing.assert_array_equal(started()[:, :HORIZON], drafts()[:, :HORIZON])
    assert not started()[:, HORIZON:].any()


@pytest.mark.parametrize("now", [0, 1, 20, HORIZON - 2])
def test_a_fill_takes_over_and_leaves_in_crossfades(now: int) -> None:
    fill = started()
    take_over(lines(), BEGIN, now, ENTER, LEAVE, made(), fill)
    expected = np.array(made(), np.float64)
    expected[:, -8:] += LEAVE * (drafts()[:, HORIZON - 8 : HORIZON] - expected[:, -8:])
    if now:
        ramp = np.concatenate([np.zeros(now), ENTER, np.ones(HORIZON)])[:HORIZON]
        draft = drafts()[:, :HORIZON]
        expected = draft + ramp * (expected - draft)
    np.testing.assert_allclose(fill[:, :HORIZON], expected, atol=1e-6)


@pytest.mark.parametrize("position", [0, 35, 40, 45, 50, 60])
def test_what_is_played_is_the_fill_then_the_draft(position: int) -> None:
    fill, whole = made()[0], np.append(made()[0], drafts()[0, HORIZON:])
    out = np.full(12, np.nan, np.float32)
    done = play_fill(fill, drafts()[0], position, out)
    rest = whole[position : position + 12]
    assert done == rest.size
    np.testing.assert_array_equal(out[:done], rest)
    assert np.isnan(out[done:]).all()


@pytest.mark.parametrize(
    ("received", "weight"), [(0.0, 0.0), (0.45, 0.0), (0.525, 0.5), (0.6, 1.0), (1.0, 1.0)]
)
def test_passages_weigh_less_where_little_was_received(received: float, weight: float) -> None:
    assert recalled_weight(received) == pytest.approx(weight)
