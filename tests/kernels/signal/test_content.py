"""What tells speech from music in a stream, against plain NumPy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.signal import content
from plc_kernels.signal.content import (
    AFRESH,
    BANDS,
    BINS,
    CHANGE,
    CHANGED,
    INPUTS,
    LOGIT,
    LOUD,
    ROW,
    UNITS,
    WEIGHTS,
    WEIGHTS_STEP,
    follow_content,
)
from tests.kernels.content_state import ContentState


def spectra(seed: int, frames: int = 80) -> NDArray[np.float32]:
    """Return powers of frames that come and go, with silence among them."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** (rng.uniform(-6.0, 0.0, (frames, 1)))
    tilt = np.exp(-np.arange(BINS) / rng.uniform(5.0, 100.0, (frames, 1)))
    powers = level * tilt * rng.exponential(size=(frames, BINS))
    powers[rng.random(frames) < 0.05] = 0.0
    return powers.astype(np.float32)


def hear(powers: NDArray[np.float32], state: ContentState) -> NDArray[np.float64]:
    """Return the inputs of every frame, and behind them the logit."""
    rows = []
    for frame in powers:
        follow_content(frame, state.numbers, state.logs, state.counts, state.inputs, state.units)
        rows.append([*state.inputs, state.numbers[LOGIT]])
    return np.array(rows)


def heard(powers: NDArray[np.float32]) -> NDArray[np.float64]:
    return hear(powers, ContentState.allocate())


def inputs_by_numpy(powers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the inputs of every frame that is not silent."""
    power = powers.astype(np.float64)
    total = power.sum(axis=1)
    rows: list[list[float]] = []
    peak, row = -np.inf, 0
    for k in range(len(power)):
        row = row + 1 if total[k] > 0.0 else 0
        if not row:
            continue
        level = 10.0 * np.log10(total[k])
        peak = max(level, peak - max(0.02, 0.01 * (peak - level))) if rows else level
        bands = np.add.reduceat(power[k], content._EDGES[:-1])
        middle = power[k, 4:125] + 1e-10 * total[k]
        changed = 0.0
        if row > 2:
            shape = np.log(power[[k - 2, k], 2:100] + 1e-10 * total[[k - 2, k], None])
            apart = shape[1] - shape[0]
            changed = np.abs(apart - apart.mean()).mean() - 1.5
        rows.append(
            [
                *np.clip((10.0 * np.log10(bands + 1e-12) - peak + 35.0) / 20.0, -1.5, 2.0),
                (max(level - peak, -60.0) + 20.0) / 20.0,
                (np.log(middle).mean() - np.log(middle.mean()) + 3.0) / 2.0,
                changed,
                row > 2,
                row == 1,
            ]
        )
    return np.array(rows)


def logits_by_numpy(inputs: NDArray[np.float64]) -> list[float]:
    """Return what a gated recurrent unit says of each frame."""
    sizes = [3 * UNITS * INPUTS, 3 * UNITS * UNITS, 3 * UNITS, 3 * UNITS, UNITS, 1]
    parts = np.split(WEIGHTS * np.float64(WEIGHTS_STEP), np.cumsum(sizes)[:-1])
    state, said = np.zeros(UNITS), []
    for x in inputs:
        gates = (x @ parts[0].reshape(INPUTS, -1) + parts[2]).reshape(3, UNITS)
        own = (state @ parts[1].reshape(UNITS, -1) + parts[3]).reshape(3, UNITS)
        reset, keep = 1.0 / (1.0 + np.exp(-(gates[:2] + own[:2])))
        state = (1.0 - keep) * np.tanh(gates[2] + reset * own[2]) + keep * state
        said.append(float(state @ parts[4] + parts[5][0]))
    return said


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_numpy_says(seed: int) -> None:
    powers = spectra(seed)
    sounding = powers.sum(axis=1) > 0.0
    found = heard(powers)[sounding]
    expected = inputs_by_numpy(powers)
    np.testing.assert_allclose(found[:, :-1], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found[:, -1], logits_by_numpy(expected), atol=0.02)


def test_level_does_not_count() -> None:
    powers = spectra(3)
    np.testing.assert_allclose(heard(powers)[:, :-1], heard(1e-2 * powers)[:, :-1], atol=2e-3)


def test_silence_says_nothing() -> None:
    state = ContentState.allocate()
    before = hear(spectra(4), state)[-1]
    after = hear(np.zeros((50, BINS), np.float32), state)[-1]
    np.testing.assert_array_equal(before, after)
    assert state.counts[ROW] == 0


def test_change_is_not_measured_across_an_interruption() -> None:
    state = ContentState.allocate()
    assert list(hear(spectra(5, 3)[[0, 1, 2]] + np.float32(0.1), state)[:, CHANGED]) == [0, 0, 1]
    state.counts[ROW] = 0
    found = hear(spectra(6, 3) + np.float32(0.1), state)
    assert list(found[:, AFRESH]) == [1, 0, 0]
    assert list(found[:2, CHANGE]) == [0, 0]
    assert found[2, CHANGE] != 0.0


def test_a_bump_is_forgotten_in_a_second() -> None:
    rng = np.random.default_rng(9)
    powers = rng.exponential(size=(100, BINS)).astype(np.float32)
    state = ContentState.allocate()
    hear(powers, state)
    hear(1e4 * powers[:1], state)
    loud = state.counts[LOUD]
    hear(powers[:25], state)
    assert state.counts[LOUD] == loud
    hear(powers[:25], state)
    assert state.counts[LOUD] > loud


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extremes_stay_finite(scale: float) -> None:
    assert np.isfinite(heard((spectra(7) * scale).astype(np.float32))).all()
    lone = np.zeros((40, BINS), np.float32)
    lone[:, 160] = scale
    assert np.isfinite(heard(lone)[:, : BANDS + 1]).all()
