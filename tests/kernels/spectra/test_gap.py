"""Spectra of gaps on flat arrays; test_gap_spectra.py has what they are for."""

import numpy as np

from plc.engine.networks.gap_spectra import make_grid
from plc_kernels.spectra.windows import dual_window, window
from tests.examples import some


@some("size", [160, 320, 444, 880, 960, 1920], 3)
def test_the_windows_are_hanns_and_its_dual(size: int) -> None:
    grid = make_grid(size)
    np.testing.assert_array_equal(grid.window, window("hann", size).astype(np.float32))
    dual = dual_window(window("hann", size), size // 4)
    np.testing.assert_allclose(grid.dual, dual, rtol=1e-7, atol=1e-12)
