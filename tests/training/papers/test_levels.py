"""Levels of arrays: between -1 and 1, back to the sound, and nothing of what is quiet."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from plc.papers.representations.mel import Mel
from plc.papers.representations.named import representation
from plc_training.papers.levels import Levels, content_of
from tests.signals import noise, sine

RATE, SAMPLES = 8000, 1024
WITH_MAGNITUDES = (
    "waveform",
    "complex",
    "magnitude-phase",
    "magnitude-if",
    "mel",
    "constant-q",
    "nsgt",
    "erb",
)


def notes() -> list[NDArray[np.float32]]:
    """Return sines with a hiss 90 dB below them."""
    return [sine(hz, RATE, SAMPLES) + 1e-5 * noise(int(hz), SAMPLES) for hz in (300.0, 450.0)]


def fitted(name: str, quiet_db: float) -> tuple[Levels, Tensor]:
    kind = representation(name, RATE, SAMPLES)
    arrays = torch.from_numpy(np.stack([kind.forward(x) for x in notes()]))
    levels = Levels(kind.channels, quiet_db)
    levels.fit(arrays)
    return levels, arrays


@pytest.mark.parametrize("name", WITH_MAGNITUDES)
def test_scaled_arrays_are_between_minus_one_and_one_and_sound_alike(name: str) -> None:
    levels, arrays = fitted(name, 60.0)
    scaled = levels.scaled(arrays)
    assert scaled.abs().max() == pytest.approx(1.0, abs=1e-5)
    kind, heard = representation(name, RATE, SAMPLES), Mel(RATE, SAMPLES)
    for array, back in zip(arrays.numpy(), levels(scaled).numpy(), strict=True):
        # Phases of bands move against each other where a note begins out of silence.
        want, found = (np.exp(heard.log_power(kind.inverse(x)) / 2) for x in (array, back))
        assert np.square(found - want).sum() < 0.03 * np.square(want).sum()


def test_a_floor_of_0_db_shifts_and_scales_alone() -> None:
    for name in ("complex", "magnitude-if", "mfcc"):
        levels, arrays = fitted(name, 0.0)
        torch.testing.assert_close(levels(levels.scaled(arrays)), arrays, atol=1e-4, rtol=1e-4)


def test_magnitudes_are_logarithms_above_the_floor_and_keep_their_phases() -> None:
    levels = Levels(("real part", "imaginary part"), 40.0)
    arrays = torch.tensor([[1.0, 0.0], [0.0, 0.1]]).reshape(1, 2, 1, 2)
    levels.fit(arrays)
    held = levels.scaled(arrays) * levels.reach + levels.middle
    assert held[0, 0, 0].tolist() == pytest.approx([np.log1p(100.0), 0.0])
    assert held[0, 1, 0].tolist() == pytest.approx([0.0, np.log1p(10.0)])


def test_what_is_quiet_is_nearly_silent_and_without_phase() -> None:
    levels = Levels(("log magnitude", "phase step (half turns)"), 60.0)
    magnitude = torch.tensor([1.0, 0.5, 1e-4, 1e-6]).log()
    step = torch.tensor([-1.0, 1.0, 0.7, -0.4])
    arrays = torch.stack([magnitude, step]).reshape(1, 2, 1, 4)
    levels.fit(arrays)
    back = levels(levels.scaled(arrays))[0, :, 0]
    assert back[0].exp().tolist() == pytest.approx([1.0, 0.5, 1e-4, 1e-5], abs=1e-6)
    assert back[1].tolist() == pytest.approx([-1.0, 1.0, 0.7 * 0.01 / 1.01, 0.0], abs=1e-4)


def test_powers_have_a_floor_of_as_many_decibels() -> None:
    levels = Levels(("log power",), 60.0)
    levels.fit(torch.zeros(1, 1, 1, 2))
    assert float(levels.quiet) == pytest.approx(1e-6)
    assert content_of(("cepstrum",)) is None
