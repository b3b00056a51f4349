"""Levels in bands: triangles that add up to 1, and the lost frames alone."""

import math

import numpy as np
import pytest

from plc_bench.scores import bands
from tests.signals import noise

RATE = 16_000


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_bands_add_up_to_1_in_every_bin(rate: int) -> None:
    weights = bands.filters(rate // 50, rate)
    assert weights.shape == (18, rate // 100 + 1)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    assert weights.min() >= 0.0


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_fill_of_another_level_is_off_by_that(gain: float) -> None:
    signal, lost = noise(1, RATE)[:, None], np.zeros(RATE, np.bool_)
    lost[4000:6000] = True
    # Louder or quieter all over: a frame whose middle half is lost has received samples, too.
    played = gain * signal
    expected = 20 * math.log10(gain)
    assert bands.bias_db(signal, played, lost, RATE) == pytest.approx(expected, abs=0.01)
    assert bands.distance_db(signal, played, lost, RATE) == pytest.approx(abs(expected), abs=0.01)


def test_what_was_received_does_not_count() -> None:
    signal, lost = noise(1, RATE)[:, None], np.zeros(RATE, np.bool_)
    lost[4000:4320] = True
    played = signal.copy()
    played[:3800] = 0.0
    played[4500:] = 0.0
    assert bands.distance_db(signal, played, lost, RATE) == pytest.approx(0.0, abs=1e-9)
    assert math.isnan(bands.bias_db(signal, played, ~lost & lost, RATE))
