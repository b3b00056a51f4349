"""Conversion of rates, piece by piece."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.transport.cards.rates import RateConverter
from tests.signals import noise, sine

PAIRS = [(48_000, 44_100), (44_100, 48_000), (48_000, 16_000), (16_000, 48_000), (192_000, 48_000)]


def error_db(heard: NDArray[np.float32], wanted: NDArray[np.float64]) -> float:
    middle = slice(2000, -2000)
    error = heard[middle].astype(np.float64) - wanted[middle]
    return float(20 * np.log10(np.linalg.norm(error) / np.linalg.norm(wanted[middle])))


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_a_tone_comes_out_as_it_is_at_the_other_rate(from_rate: int, to_rate: int) -> None:
    signal = sine(1000.0, from_rate, from_rate)
    heard = RateConverter(from_rate, to_rate, 1).convert(signal[:, None])[:, 0]
    # All but the delay of half the taps.
    assert abs(len(heard) - (from_rate - 32) * to_rate / from_rate) <= 1 + to_rate / from_rate
    wanted = 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(len(heard)) / to_rate)
    assert error_db(heard, wanted) < -80.0


def test_what_the_lower_rate_has_no_place_for_does_not_come_back_as_another_tone() -> None:
    signal = sine(23_000.0, 48_000, 48_000)
    heard = RateConverter(48_000, 44_100, 1).convert(signal[:, None])[2000:-2000, 0]
    assert 20 * np.log10(np.std(heard) / np.std(signal)) < -80.0


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_however_it_is_cut_the_same_comes_out(from_rate: int, to_rate: int) -> None:
    signal = np.stack([noise(1, 30_000), noise(2, 30_000)], axis=1)
    whole = RateConverter(from_rate, to_rate, 2).convert(signal)
    converter, rng, at, parts = (
        RateConverter(from_rate, to_rate, 2),
        np.random.default_rng(3),
        0,
        [],
    )
    while at < len(signal):
        n = int(rng.integers(0, 900))
        parts.append(converter.convert(signal[at : at + n]))
        at += n
    pieces = np.concatenate(parts)
    assert pieces.shape == whole.shape
    assert np.abs(pieces - whole).max() < 1e-4 * np.abs(whole).max()
