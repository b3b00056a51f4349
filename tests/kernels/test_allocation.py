"""A kernel borrows every array it works on; it asks for no memory of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from plc_kernels.build import denormals
from plc_kernels.papers.nsgt import Nsgt, insgt, nsgt
from plc_kernels.signal import ar, click, dropouts, repeats, ring, toeplitz
from plc_kernels.spectra.fft import RealFft, irfft, rfft
from plc_kernels.spectra.griffin_lim import fast_griffin_lim
from plc_kernels.spectra.pghi import PghiWorkspace, gradients, integrate
from plc_kernels.spectra.scales import band_centres_hz
from plc_kernels.spectra.stft import Stft, istft, stft
from plc_kernels.spectra.windows import window
from tests.kernels.memory import assert_allocates_nothing
from tests.signals import noise

X, Y, Z = np.ones((3, 480), np.float32)
WORK = ar.ArWorkspace.allocate(480, 64)
PREDICTOR = np.zeros(65)
RING_HEADER = np.zeros(ring.HEADER, np.int64)
RING_HEADER[[ring.CAPACITY, ring.CHANNELS]] = 240, 2
DROPPED = np.zeros((2, dropouts.STATE_WORDS), np.int64)
GAPS = np.zeros(81, np.int64)

# Half of 882 is 3 * 3 * 7 * 7, of 800 4 * 4 * 5 * 5, of 880 4 * 2 * 5 * 11: every kind of pass.
FFTS = [RealFft.allocate(n) for n in (882, 800, 880)]
SOUND = noise(1, 2000)
GRID = Stft.allocate(window("hann", 512), 128)
TABLES = GRID.factors, GRID.twiddles, GRID.scratch, GRID.frame
FRAMES = GRID.frames(SOUND.size)
SPECTRA = np.ones((FRAMES, 257), np.complex64)
MAGNITUDE = np.abs(SPECTRA) + np.linspace(0, 1, FRAMES * 257, dtype=np.float32).reshape(FRAMES, 257)
KNOWN = np.zeros((FRAMES, 257), np.uint8)
PHASE = np.zeros((FRAMES, 257), np.float32)
PGHI = PghiWorkspace.allocate(FRAMES, 257)
SLOPES = PGHI.log_magnitude, PGHI.time_gradient, PGHI.frequency_gradient
FRAME = 16819.0, 256.0, 128, 512
BOTH = np.empty((2, FRAMES, 257), np.complex64)

BANDS = Nsgt.allocate(band_centres_hz("erb", 20, 100.0, 7000.0), 16_000, SOUND.size)
BAND_TABLES = BANDS.factors, BANDS.twiddles, BANDS.band_factors, BANDS.band_twiddles
BAND_MEMORY = (
    *(BANDS.scratch, BANDS.spectrum, BANDS.padded),
    *(BANDS.band_scratch, BANDS.band_spectra, BANDS.band_samples),
)
COEFFICIENTS = np.ones(BANDS.coefficients, np.complex128)

DEFAULT_CONTROL = denormals.flush_denormals()
denormals.restore_denormals(DEFAULT_CONTROL)

CALLS: list[tuple[Any, tuple[object, ...]]] = [
    (ar.burg, (64, X, WORK.forward, WORK.backward, WORK.mirror, PREDICTOR)),
    (ar.extrapolate, (PREDICTOR[1:], np.zeros(128))),
    (ar.taps_of, (PREDICTOR, np.zeros(64))),
    (
        toeplitz.solve_toeplitz,
        (np.eye(8)[0].copy(), np.empty((8, 8)), np.empty((2, 8)), np.ones(8)),
    ),
    (
        toeplitz.solve_toeplitz_at,
        (np.eye(8)[0].copy(), np.arange(8), np.empty((8, 8)), np.ones(8)),
    ),
    (click.click_ratio, (96, np.ones(480), np.ones(480), np.arange(480) // 96 == 2)),
    (denormals.restore_denormals, (DEFAULT_CONTROL,)),
    (
        dropouts.find_dropouts,
        (8000, 80, np.ones((2, 440), np.float32), DROPPED, np.zeros((2, 80), np.int8), GAPS),
    ),
    (dropouts.skip_packet, (8000, 80, DROPPED)),
    (repeats.lag_errors, (40, 8, X, np.zeros(31))),
    (repeats.repeat_starts, (40, 8, 4, np.zeros(31), np.zeros(31), np.zeros((30, 7)))),
    (ring.take_in, (RING_HEADER, X, False, Y)),
    (ring.give_out, (RING_HEADER, X, False, Z)),
    *[
        (kernel, (source, fft.factors, fft.twiddles, fft.scratch, target))
        for fft in FFTS
        for half in [fft.scratch.shape[1]]
        for kernel, source, target in [
            (rfft, SOUND[: 2 * half], np.empty(half + 1, np.complex64)),
            (irfft, np.ones(half + 1, np.complex64), np.empty(2 * half, np.float32)),
        ]
    ],
    (stft, (SOUND, GRID.window, GRID.hop, *TABLES, SPECTRA.copy())),
    (istft, (SPECTRA, GRID.dual, GRID.hop, *TABLES, SOUND.copy())),
    (gradients, (MAGNITUDE, *FRAME, *SLOPES)),
    (integrate, (1e-6, *SLOPES, KNOWN, PGHI.keys, PGHI.items, PGHI.random, PHASE)),
    (
        fast_griffin_lim,
        (
            *(3, 0.99, MAGNITUDE, KNOWN, SPECTRA, GRID.window, GRID.dual, GRID.hop),
            *(*TABLES, BOTH, SOUND.copy(), SPECTRA.copy()),
        ),
    ),
    (
        nsgt,
        (
            *(SOUND.astype(float), BANDS.bands, BANDS.windows, *BAND_TABLES),
            *(*BAND_MEMORY, COEFFICIENTS.copy()),
        ),
    ),
    (
        insgt,
        (
            *(COEFFICIENTS, BANDS.bands, BANDS.duals, *BAND_TABLES),
            *(*BAND_MEMORY, np.empty(SOUND.size)),
        ),
    ),
]
"""Of kernels that no stream calls: what those do tests/kernels/stream has."""


def _name(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("kernel", "args"), CALLS, ids=_name)
def test_a_kernel_allocates_nothing(
    kernel: Callable[..., object], args: tuple[object, ...]
) -> None:
    assert_allocates_nothing(kernel, args)
