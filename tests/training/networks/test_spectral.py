"""The grid of training against the kernels of the run time."""

import numpy as np
import pytest
import torch

from plc_kernels.spectra.stft import Stft, stft
from plc_kernels.spectra.windows import grid_window_samples, window
from plc_training.networks.spectral import Grid
from tests.signals import noise

# float32 sums of 320 to 880 products of up to 0.5.
TOLERANCE = 2e-5
GRIDS = [(16_000, 50.0), (44_100, 50.0), (16_000, 31.25)]


@pytest.mark.parametrize(("sample_rate", "bin_hz"), GRIDS)
def test_it_sees_what_the_kernels_see(sample_rate: int, bin_hz: float) -> None:
    grid = Grid(sample_rate, bin_hz)
    samples = grid_window_samples(sample_rate, bin_hz)
    plan = Stft.allocate(window("hann", samples), samples // 4)
    x = noise(0, 12 * grid.hop)
    expected = np.empty((plan.frames(x.size), plan.bins), np.complex64)
    stft(x, plan.window, plan.hop, plan.factors, plan.twiddles, plan.scratch, plan.frame, expected)
    found = grid.analyse(torch.from_numpy(x))
    assert found.shape == (2, grid.bins, 9)
    # The kernel's first three frames begin before the samples do.
    ours = (found[0] + 1j * found[1]).numpy().T
    np.testing.assert_allclose(ours, expected[3:12], atol=TOLERANCE)


@pytest.mark.parametrize(("sample_rate", "bin_hz"), GRIDS)
def test_synthesis_undoes_analysis_from_the_fourth_hop_on(sample_rate: int, bin_hz: float) -> None:
    grid = Grid(sample_rate, bin_hz)
    x = torch.from_numpy(noise(1, 2 * 15 * grid.hop).reshape(2, -1))
    made = grid.synthesise(grid.analyse(x))
    whole = slice(3 * grid.hop, -3 * grid.hop)
    np.testing.assert_allclose(made[:, whole], x[:, whole], atol=1e-6)
    assert made.shape == x.shape
