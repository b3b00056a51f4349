"""Memory of kernels that a stream keeps in its block, by itself."""

from collections.abc import Callable

import numpy as np
import pytest

from plc_kernels.signal.noise import (
    BAND_HZ,
    BAND_LIMIT_HZ,
    NoiseState,
    first_random,
    frame_samples,
    noise_windows,
    start_noise,
)
from plc_kernels.signal.noise import ROWS as NOISE_ROWS
from plc_kernels.signal.noise_filling import LEVEL_ROWS, Filling, filling_samples
from plc_kernels.signal.passages import LAG_ROW, ROWS
from plc_kernels.signal.recall import PASSAGES, PIECE, RecallSpace, recall_sizes
from plc_kernels.spectra.fft import RealFft


def noise_state(sample_rate: int, seed: int) -> NoiseState:
    """Return the state of a channel before its first frame."""
    n = frame_samples(sample_rate)
    bins = n // 2 + 1
    width = max(1, round(BAND_HZ * n / sample_rate))
    bands = int(min(BAND_LIMIT_HZ, sample_rate / 2) * n / sample_rate) // width
    fft = RealFft.allocate(n)
    windows = np.empty((2, n), np.float32)
    noise_windows(windows)
    state = NoiseState(
        factors=fft.factors,
        twiddles=fft.twiddles,
        scratch=fft.scratch,
        windows=windows,
        frame=np.empty(n, np.float32),
        spectrum=np.empty(bins, np.complex64),
        levels=np.empty((NOISE_ROWS, bins), np.float32),
        bands=np.empty(bands, np.float32),
        counts=np.zeros(4, np.int64),
        flux=np.zeros(2, np.float32),
        tail=np.empty(n // 2, np.float32),
        random=np.empty(1, np.uint64),
    )
    start_noise(state, np.uint64(seed % 2**64))
    return state


def filling_memory(sample_rate: int, seed: int = 0) -> Filling:
    """Return the memory of a channel in a burst."""
    n = filling_samples(sample_rate)
    fft = RealFft.allocate(n)
    windows = np.empty((2, n), np.float32)
    noise_windows(windows)
    return Filling(
        windows=windows,
        factors=fft.factors,
        twiddles=fft.twiddles,
        scratch=fft.scratch,
        frame=np.zeros(n, np.float32),
        spectrum=np.zeros(n // 2 + 1, np.complex64),
        past=np.zeros(n, np.float32),
        noise=np.zeros(n, np.float32),
        levels=np.zeros((LEVEL_ROWS, n // 2 + 1), np.float32),
        random=np.array([first_random(np.uint64(seed % 2**64))], np.uint64),
    )


def recall_space(rate: int) -> RecallSpace:
    """Return memory for a search at a sample rate in Hz."""
    stride, _, _, refined, match = recall_sizes(rate)
    return RecallSpace(
        thinned=np.zeros(PIECE + 1, np.float32),
        weights=np.zeros(PIECE + 3 * ROWS, np.float32),
        every=np.zeros(ROWS * LAG_ROW, np.float32),
        newest=np.zeros(refined, np.float32),
        around=np.zeros(refined + 2 * stride, np.float32),
        template=np.zeros(match, np.float32),
        matched=np.zeros((PASSAGES, match), np.float32),
        normal=np.zeros((PASSAGES, PASSAGES)),
        shares=np.zeros(PASSAGES),
        lags=np.zeros(PASSAGES, np.int64),
        scores=np.zeros(PASSAGES, np.float32),
    )


def assert_allocates_nothing(kernel: Callable[..., object], args: tuple[object, ...]) -> None:
    """Assert that a kernel asks for no memory of its own."""
    kernel(*args)  # compiles
    rtsys = pytest.importorskip("numba.core.runtime.nrt").rtsys
    before = rtsys.get_allocation_stats().alloc
    kernel(*args)
    assert rtsys.get_allocation_stats().alloc == before
