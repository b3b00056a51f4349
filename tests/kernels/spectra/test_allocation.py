"""Kernels of time and frequency borrow every array, with all that they call."""

from collections.abc import Callable

import numpy as np
import pytest

from plc_kernels.spectra.fft import RealFft, irfft, rfft
from plc_kernels.spectra.griffin_lim import fast_griffin_lim
from plc_kernels.spectra.pghi import PghiWorkspace, gradients, integrate
from plc_kernels.spectra.stft import Stft, istft, stft
from plc_kernels.spectra.windows import window
from tests.kernels.memory import assert_allocates_nothing
from tests.signals import noise

# Half of 882 is 3 * 3 * 7 * 7, of 800 4 * 4 * 5 * 5, of 880 4 * 2 * 5 * 11: every kind of pass.
FFTS = [RealFft.allocate(n) for n in (882, 800, 880)]
X = noise(1, 2000)
GRID = Stft.allocate(window("hann", 512), 128)
TABLES = GRID.factors, GRID.twiddles, GRID.scratch, GRID.frame
FRAMES = GRID.frames(X.size)
SPECTRA = np.ones((FRAMES, 257), np.complex64)
MAGNITUDE = np.abs(SPECTRA) + np.linspace(0, 1, FRAMES * 257, dtype=np.float32).reshape(FRAMES, 257)
KNOWN = np.zeros((FRAMES, 257), np.uint8)
PHASE = np.zeros((FRAMES, 257), np.float32)
PGHI = PghiWorkspace.allocate(FRAMES, 257)
SLOPES = PGHI.log_magnitude, PGHI.time_gradient, PGHI.frequency_gradient
FRAME = 16819.0, 256.0, 128, 512
BOTH = np.empty((2, FRAMES, 257), np.complex64)

CALLS: list[tuple[Callable[..., object], tuple[object, ...]]] = [
    *[
        (kernel, (source, fft.factors, fft.twiddles, fft.scratch, target))
        for fft in FFTS
        for half in [fft.scratch.shape[1]]
        for kernel, source, target in [
            (rfft, X[: 2 * half], np.empty(half + 1, np.complex64)),
            (irfft, np.ones(half + 1, np.complex64), np.empty(2 * half, np.float32)),
        ]
    ],
    (stft, (X, GRID.window, GRID.hop, *TABLES, SPECTRA.copy())),
    (istft, (SPECTRA, GRID.dual, GRID.hop, *TABLES, X.copy())),
    (gradients, (MAGNITUDE, *FRAME, *SLOPES)),
    (integrate, (1e-6, *SLOPES, KNOWN, PGHI.keys, PGHI.items, PGHI.random, PHASE)),
    (
        fast_griffin_lim,
        (
            *(3, 0.99, MAGNITUDE, KNOWN, SPECTRA, GRID.window, GRID.dual, GRID.hop),
            *(*TABLES, BOTH, X.copy(), SPECTRA.copy()),
        ),
    ),
]


@pytest.mark.parametrize(
    ("kernel", "args"), CALLS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_kernel_allocates_nothing(
    kernel: Callable[..., object], args: tuple[object, ...]
) -> None:
    assert_allocates_nothing(kernel, args)
