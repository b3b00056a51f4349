"""The level that was received lately, and concealment held within it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.signal.level import (
    FALL_DB,
    allowed_level,
    follow_level,
    hold_level,
    largest,
    quieten,
    quietest_power,
)
from tests.signals import noise, sine

HOP = 80
SMOOTHING = 1.0 / HOP
SIZE = 32


@pytest.mark.parametrize("place", [0, 7, 62])
def test_the_largest_magnitude_has_either_sign(place: int) -> None:
    samples = noise(1, 63)
    samples[place] = -9.0
    assert largest(samples) == 9.0
    assert largest(samples[:0]) == 0.0


class Followed:
    """State of :func:`follow_level`, as its caller keeps it."""

    def __init__(self, channels: int = 1, size: int = SIZE) -> None:
        self.slots = np.full(size, -1, np.int64)
        self.counts = np.zeros(size, np.int64)
        self.peaks = np.zeros((channels, size), np.float32)
        self.energies = np.zeros((channels, size))

    def follow(self, block: NDArray[np.float32], position: int = 0) -> "Followed":
        state = (self.slots, self.counts, self.peaks, self.energies)
        follow_level(block, 0, block.shape[1], position, HOP, *state)
        return self

    def allowed(self, newest: int, hold: int = 4, forget: int = 8) -> NDArray[np.float64]:
        out = np.zeros((self.peaks.shape[0], 4))
        state = (self.slots, self.counts, self.peaks, self.energies)
        allowed_level(newest, HOP, hold, forget, 20, *state, out)
        return out


def test_a_slot_holds_the_largest_magnitude_and_the_energy_of_its_samples() -> None:
    x = np.stack([noise(1, 4 * HOP), sine(200.0, 8000, 4 * HOP)])
    found = Followed(2).follow(x)
    for c in range(2):
        np.testing.assert_array_equal(found.peaks[c, :4], np.abs(x[c]).reshape(4, HOP).max(1))
        energies = np.square(x[c], dtype=np.float64).reshape(4, HOP).sum(1)
        np.testing.assert_allclose(found.energies[c, :4], energies, rtol=1e-5)
    np.testing.assert_array_equal(found.slots[:5], [0, 1, 2, 3, -1])
    np.testing.assert_array_equal(found.counts[:5], [HOP, HOP, HOP, HOP, 0])


def test_packets_cut_differently_give_the_same_slots() -> None:
    x = noise(2, 10 * HOP)[None]
    whole = Followed().follow(x)
    parts = Followed()
    for begin in range(0, x.shape[1], 37):
        parts.follow(np.ascontiguousarray(x[:, begin : begin + 37]), begin)
    np.testing.assert_array_equal(whole.peaks, parts.peaks)
    np.testing.assert_allclose(whole.energies, parts.energies, rtol=1e-5)
    np.testing.assert_array_equal(whole.counts, parts.counts)


def test_a_place_is_used_again_when_the_ring_is_full() -> None:
    found = Followed(size=4).follow(np.ones((1, HOP), np.float32))
    found.follow(np.full((1, HOP), 0.25, np.float32), 4 * HOP)
    assert found.slots[0] == 4
    assert found.peaks[0, 0] == np.float32(0.25)


def test_a_few_samples_do_not_count_as_a_slot_as_loud_as_they_are() -> None:
    found = Followed().follow(np.full((1, 2), 0.5, np.float32))
    np.testing.assert_allclose(found.allowed(0)[0], 2 * [0.5, 0.25 * 2 / (HOP // 4)], rtol=1e-6)


def test_what_is_allowed_falls_with_age_and_is_forgotten() -> None:
    found = Followed().follow(np.full((1, HOP), 0.5, np.float32))
    full = found.allowed(4)
    np.testing.assert_allclose(full[0], 2 * [0.5, 0.25], rtol=1e-6)
    half = found.allowed(6)
    np.testing.assert_allclose(half[0, 0], 0.5 * 10.0 ** (-FALL_DB / 40.0), rtol=1e-6)
    np.testing.assert_allclose(half[0, 1], half[0, 0] ** 2, rtol=1e-6)
    np.testing.assert_allclose(found.allowed(19)[0], [0.0, 0.0, 0.5, 0.25], rtol=1e-6)
    assert not found.allowed(20).any()
    np.testing.assert_array_equal(found.allowed(-3), full)  # received ahead of its turn


def running_power(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the exponentially weighted mean of ``x ** 2``, of a signal that was 0 before."""
    weights = SMOOTHING * (1.0 - SMOOTHING) ** np.arange(x.size)
    return np.convolve(x.astype(np.float64) ** 2, weights)[: x.size]


def held(
    x: NDArray[np.float32],
    peak: float,
    power: float,
    glide: int = 10,
    energy: float = np.inf,
    pieces: int = 1,
) -> tuple[NDArray[np.float32], bool]:
    row = x.copy()
    state, recent = np.array([1.0, 0.0, 0.0]), np.zeros(HOP)
    acted = [
        hold_level(peak, power, energy, SMOOTHING, glide, state, recent, part)
        for part in np.array_split(row, pieces)
    ]
    return row, any(acted)


def test_what_is_within_the_bound_stays_bit_for_bit() -> None:
    x = noise(3, 960)
    out, acted = held(x, float(np.abs(x).max()), 1.01 * float(running_power(x).max()))
    assert not acted
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("scale", [2.0, 1e3, 1e30])
def test_no_sample_passes_the_peak_and_no_mean_the_power(scale: float) -> None:
    x = (scale * noise(4, 4800)).astype(np.float32)
    out, acted = held(x, 0.1, 0.001)
    assert acted
    assert np.abs(out).max() <= np.float32(0.1)
    assert running_power(out).max() <= 0.001 * (1.0 + 1e-5)


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("every", [1, 2 * HOP])
def test_no_stretch_of_samples_passes_the_energy(every: int, pieces: int) -> None:
    """Not even one that is as loud as can be after being silent, at which the mean is low."""
    x = noise(4, 4800)
    x[np.arange(x.size) // every % 2 == 1] = 0.0
    out, acted = held(x, 1.0, 0.001, energy=0.0011 * HOP, pieces=pieces)
    assert acted
    energies = np.convolve(out.astype(np.float64) ** 2, np.ones(HOP))
    assert energies.max() <= 0.0011 * HOP * (1.0 + 1e-5)
    if every > 1:
        loud, _ = held(x, 1.0, 0.001)
        assert np.convolve(loud.astype(np.float64) ** 2, np.ones(HOP)).max() > 0.0015 * HOP


def test_what_holds_as_much_energy_as_it_may_stays_bit_for_bit() -> None:
    x = noise(3, 960)
    energy = float(np.convolve(x.astype(np.float64) ** 2, np.ones(HOP)).max())
    out, acted = held(x, 1.0, 1.0, energy=energy * (1.0 + 1e-9))
    assert not acted
    np.testing.assert_array_equal(out, x)


def test_the_gain_changes_without_a_step() -> None:
    x = sine(100.0, 8000, 800, 1.0)
    out, acted = held(x, 0.5, 1.0, glide=80)
    assert acted
    assert np.abs(np.diff(out)).max() <= np.abs(np.diff(x)).max()


def test_what_is_not_finite_becomes_silence() -> None:
    x = noise(5, 480)
    x[[3, 200, 479]] = np.nan, np.inf, -np.inf
    out, acted = held(x, 1.0, 1.0)
    assert acted
    np.testing.assert_array_equal(out[[3, 200, 479]], 0.0)
    assert np.isfinite(out).all()


def test_nothing_is_allowed_where_nothing_was_received() -> None:
    out, acted = held(noise(6, 480), 0.0, 0.0)
    assert acted
    assert not out.any()


def test_silence_stays_silence() -> None:
    out, acted = held(np.zeros(480, np.float32), 0.0, 0.0)
    assert not acted
    assert not out.any()


def test_the_shortest_block_is_held_too() -> None:
    out, acted = held(np.ones(1, np.float32), 0.5, 1.0)
    assert acted
    assert abs(out[0]) <= 0.5


def test_the_quietest_slot_is_that_of_the_least_mean_power() -> None:
    x = np.concatenate([noise(7, HOP, 0.5), noise(8, HOP, 0.01), noise(9, HOP, 0.2)])[None]
    found = Followed().follow(x)
    out = np.zeros(1)
    quietest_power(2, HOP, 4, found.slots, found.counts, found.energies, out)
    np.testing.assert_allclose(out[0], np.mean(x[0, HOP : 2 * HOP].astype(np.float64) ** 2), 1e-5)
    quietest_power(7, HOP, 4, found.slots, found.counts, found.energies, out)
    assert out[0] == np.inf


def test_noise_is_turned_down_to_a_power_and_left_alone_below() -> None:
    loud = noise(10, 9600, 0.1)
    made = loud.copy()
    quieten(1e-4, 1.0 / 1600, np.zeros(1), made)
    assert np.mean(made[3200:].astype(np.float64) ** 2) == pytest.approx(1e-4, rel=0.1)
    made = loud.copy()
    quieten(1.0, 1.0 / 1600, np.zeros(1), made)
    np.testing.assert_array_equal(made, loud)
    quieten(0.0, 1.0 / 1600, np.zeros(1), made)
    assert not made.any()
