"""Spectra of gaps on flat arrays; test_gap_spectra.py has what they are for."""

import numpy as np

from plc.engine.networks.gap_spectra import make_grid
from plc_kernels.spectra.gap import analyse_rows, hold_answer, mark_gap, synthesise_gap
from plc_kernels.spectra.windows import dual_window, window
from tests.examples import some
from tests.kernels.memory import assert_allocates_nothing
from tests.signals import noise


@some("size", [160, 320, 444, 880, 960, 1920], 3)
def test_the_windows_are_hanns_and_its_dual(size: int) -> None:
    grid = make_grid(size)
    np.testing.assert_array_equal(grid.window, window("hann", size).astype(np.float32))
    dual = dual_window(window("hann", size), size // 4)
    np.testing.assert_allclose(grid.dual, dual, rtol=1e-7, atol=1e-12)


def test_they_allocate_nothing() -> None:
    grid, rows = make_grid(32), noise(1, 512).reshape(2, 256)
    spectra, filled = np.zeros((2, 2, 17, 8), np.float32), np.zeros((1, 2, 17, 6), np.float32)
    lost, (ramp, line) = np.zeros((1, 8), np.float32), np.ones((2, 16), np.float32)
    made = np.zeros((1, 16), np.float32)
    assert_allocates_nothing(mark_gap, (32, 40, 16, 8.0, True, lost, ramp))
    assert_allocates_nothing(analyse_rows, (grid, rows, spectra))
    assert_allocates_nothing(hold_answer, (grid, spectra, 2, np.ones(1), 0.1, 0.5, filled))
    assert_allocates_nothing(synthesise_gap, (grid, rows, 2, filled, 16, ramp, line, made))
