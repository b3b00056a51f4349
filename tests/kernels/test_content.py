"""What tells speech from music in a stream, against plain NumPy."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.content import (
    BINS,
    FEATURES,
    MEMORY_FRAMES,
    STREAM_MODEL,
    ContentState,
    content_features,
    follow_content,
    logit,
)


def spectra(seed: int, frames: int = 80) -> NDArray[np.float32]:
    """Return powers of frames that come and go, with silence among them."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** (rng.uniform(-6.0, 0.0, (frames, 1)))
    tilt = np.exp(-np.arange(BINS) / rng.uniform(5.0, 100.0, (frames, 1)))
    powers = level * tilt * rng.exponential(size=(frames, BINS))
    powers[rng.random(frames) < 0.05] = 0.0
    return powers.astype(np.float32)


def heard(powers: NDArray[np.float32], state: ContentState | None = None) -> NDArray[np.float64]:
    """Return the features after all frames."""
    state = state or ContentState.allocate()
    for frame in powers:
        follow_content(frame, state.averages, state.logs, state.counts)
    out = np.zeros(len(FEATURES))
    content_features(state.averages, 3.5, out)
    return out


def by_numpy(powers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the features of fewer frames than the memory has, where averages are plain means."""
    assert len(powers) <= MEMORY_FRAMES
    sounding = powers.sum(axis=1) > 0.0
    power = powers[sounding].astype(np.float64)
    place = np.flatnonzero(sounding)
    total = power.sum(axis=1)
    level = 10.0 * np.log10(total)
    peak = np.empty_like(level)
    loudest = -np.inf
    for k, each in enumerate(level):
        fall = max(0.02, 0.01 * (loudest - each)) if k else 0.0
        loudest = peak[k] = max(each, loudest - fall)
    loud = level > peak - 25.0
    bins = np.arange(BINS)
    centre = (power @ bins / total)[loud]
    logs = np.log(power + 1e-10 * total[:, None])
    middle = power[loud, 4:125] + 1e-10 * total[loud, None]
    flatness = np.log(middle).mean(axis=1) - np.log(middle.mean(axis=1))
    shape = logs[:, 2:100] - logs[:, 2:100].mean(axis=1, keepdims=True)
    changes = [
        np.abs(shape[k] - shape[k - 2]).mean()
        for k in range(2, len(power))
        if loud[k - 2 : k + 1].all() and place[k] - place[k - 2] == 2
    ]
    shares = power[loud] / 10.0 ** (peak[loud, None] / 10.0)
    return np.array(
        [
            (level < peak - 20.0).mean(),
            np.maximum(level, peak - 50.0).std(),
            10.0 * np.log10(shares[:, :2].sum() / shares.sum() + 1e-6),
            np.log(centre.mean() + 1e-3),
            centre.std() / (centre.mean() + 1e-3),
            10.0 * np.log10(shares[:, 81:].sum() / shares.sum() + 1e-6),
            flatness.mean(),
            np.mean(changes),
            3.5,
        ]
    )


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_numpy_says(seed: int) -> None:
    powers = spectra(seed)
    np.testing.assert_allclose(heard(powers), by_numpy(powers), rtol=2e-3, atol=2e-3)


def test_old_frames_are_forgotten() -> None:
    long_ago, lately = spectra(1, 1000), spectra(2, 1000)
    both = heard(np.concatenate([long_ago, lately]))
    np.testing.assert_allclose(both, heard(lately), rtol=0.02, atol=0.02)


def test_level_does_not_count() -> None:
    powers = spectra(3)
    np.testing.assert_allclose(heard(powers), heard(1e-8 * powers), rtol=1e-3, atol=1e-3)


def test_a_bump_is_forgotten_in_a_second() -> None:
    rng = np.random.default_rng(9)
    powers = rng.exponential(size=(100, BINS)).astype(np.float32)
    state = ContentState.allocate()
    heard(powers, state)
    heard(1e4 * powers[:1], state)
    heard(powers[:25], state)
    assert state.counts[3] == 0
    heard(powers[:25], state)
    assert state.counts[3] > 0


def test_silence_says_nothing() -> None:
    state = ContentState.allocate()
    before = heard(spectra(4), state)
    after = heard(np.zeros((50, BINS), np.float32), state)
    np.testing.assert_array_equal(before, after)


def test_change_is_not_measured_across_an_interruption() -> None:
    one, other = np.ones((2, 3, BINS), np.float32)
    other[:, ::2] = 100.0
    state = ContentState.allocate()
    heard(one, state)
    state.interrupt()
    assert heard(other, state)[FEATURES.index("change")] == 0.0
    assert heard(one, state)[FEATURES.index("change")] > 0.5


def test_reset_equals_new() -> None:
    state = ContentState.allocate()
    heard(spectra(5), state)
    state.reset()
    np.testing.assert_array_equal(heard(spectra(6), state), heard(spectra(6)))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extremes_stay_finite(scale: float) -> None:
    powers = (spectra(7) * scale).astype(np.float32)
    assert np.isfinite(heard(powers)).all()
    lone = np.zeros((40, BINS), np.float32)
    lone[:, 160] = scale
    assert np.isfinite(heard(lone)).all()


def test_the_logit_is_that_of_a_network_of_one_hidden_layer() -> None:
    found = heard(spectra(8))
    units, last = STREAM_MODEL[:-1], STREAM_MODEL[-1, -1]
    totals = units[:, :-2] @ found + units[:, -2]
    expected = (totals / (1.0 + np.abs(totals))) @ units[:, -1] + last
    assert math.isclose(logit(STREAM_MODEL, found), expected, rel_tol=1e-6)
