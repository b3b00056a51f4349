"""python -m pytest bench/kernels --benchmark-enable

Each kernel once per call, as the audio path calls it; the FFT beside NumPy's.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from plc_bench.base.synth import music
from plc_kernels.papers.nsgt import Nsgt, bands_of, signal_of_bands
from plc_kernels.spectra.fft import RealFft, irfft, rfft
from plc_kernels.spectra.griffin_lim import ALPHA, fast_griffin_lim
from plc_kernels.spectra.pghi import TOLERANCE, PghiWorkspace, gradients, integrate
from plc_kernels.spectra.scales import band_centres_hz
from plc_kernels.spectra.stft import (
    Stft,
    analyse_frames,
    istft,
    stft,
    synthesise_frames,
)
from plc_kernels.spectra.windows import gaussian_gamma, window

# The analysis grids of 8, 16, 44.1, 48 and 96 kHz, the paper's, and two of large primes.
LENGTHS = [160, 320, 512, 880, 882, 960, 1024, 1920, 2048, 4096, 65536]
# (length, hop) of the paper's grid at 16 kHz and of two finer ones.
GRIDS = [(512, 128), (1024, 256), (2048, 256)]
RATE = 16_000


def piece(samples: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(music(RATE, samples / RATE)[:, 0])


def plan_of(length: int, hop: int) -> Stft:
    return Stft.allocate(window("hann", length), hop)


def magnitudes(plan: Stft, frames: int) -> NDArray[np.float32]:
    x = piece(frames * plan.hop)
    out = np.empty((plan.frames(x.size), plan.bins), np.complex64)
    stft(x, plan.window, plan.hop, plan.factors, plan.twiddles, plan.scratch, plan.frame, out)
    return np.ascontiguousarray(np.abs(out[:frames]))


@pytest.mark.parametrize("n", LENGTHS)
def test_rfft(benchmark: BenchmarkFixture, n: int) -> None:
    benchmark.group = f"rfft {n}"
    plan, x, out = RealFft.allocate(n), piece(n), np.empty(n // 2 + 1, np.complex64)
    benchmark(rfft, x, plan.factors, plan.twiddles, plan.scratch, out)


@pytest.mark.parametrize("n", LENGTHS)
def test_rfft_of_numpy(benchmark: BenchmarkFixture, n: int) -> None:
    benchmark.group = f"rfft {n}"
    benchmark(np.fft.rfft, piece(n))


@pytest.mark.parametrize("n", LENGTHS)
def test_irfft(benchmark: BenchmarkFixture, n: int) -> None:
    benchmark.group = f"irfft {n}"
    plan, out = RealFft.allocate(n), np.empty(n, np.float32)
    spectrum = np.fft.rfft(piece(n)).astype(np.complex64)
    benchmark(irfft, spectrum, plan.factors, plan.twiddles, plan.scratch, out)


@pytest.mark.parametrize(("length", "hop"), GRIDS)
def test_a_second_of_stft_and_istft(benchmark: BenchmarkFixture, length: int, hop: int) -> None:
    plan = plan_of(length, hop)
    tables = plan.factors, plan.twiddles, plan.scratch, plan.frame
    x = piece(RATE)
    spectra = np.empty((plan.frames(x.size), plan.bins), np.complex64)

    def both() -> None:
        stft(x, plan.window, plan.hop, *tables, spectra)
        istft(spectra, plan.dual, plan.hop, *tables, x)

    benchmark(both)


@pytest.mark.parametrize("equal", [slice(0), slice(None)], ids=["each", "equal"])
@pytest.mark.parametrize("scale", ["constant-q", "erb"])
def test_a_second_in_bands_and_back(benchmark: BenchmarkFixture, scale: str, equal: slice) -> None:
    plan = Nsgt.allocate(band_centres_hz(scale, 96, 20.0, 7600.0), RATE, RATE, equal=equal)
    x = piece(RATE)
    benchmark(lambda: signal_of_bands(bands_of(x, plan), plan))


@pytest.mark.parametrize("frames", [16, 40])
def test_frames_for_a_network_and_back(benchmark: BenchmarkFixture, frames: int) -> None:
    # Its grid at 48 kHz: 20 ms, hop 5 ms.
    length, hop = 960, 240
    plan = plan_of(length, hop)
    tables = plan.factors, plan.twiddles, plan.scratch, plan.frame
    x = piece(length + (frames - 1) * hop)
    spectrum = np.empty(plan.bins, np.complex64)
    parts = np.empty((2, plan.bins, frames), np.float32)
    out = np.empty((frames - 3) * hop, np.float32)

    def both() -> None:
        analyse_frames(x, 0, plan.window, hop, *tables, spectrum, parts)
        synthesise_frames(parts, parts, plan.dual, hop, *tables, spectrum, out)

    benchmark(both)


@pytest.mark.parametrize("frames", [11, 32])
@pytest.mark.parametrize(("length", "hop"), GRIDS)
def test_pghi(benchmark: BenchmarkFixture, length: int, hop: int, frames: int) -> None:
    plan = plan_of(length, hop)
    magnitude = magnitudes(plan, frames)
    work = PghiWorkspace.allocate(frames, plan.bins)
    slopes = work.log_magnitude, work.time_gradient, work.frequency_gradient
    known, phase = np.zeros(magnitude.shape, np.uint8), np.zeros_like(magnitude)
    gamma = gaussian_gamma("hann", length)

    def whole() -> None:
        known[:] = 0
        gradients(magnitude, gamma, length / 2, hop, length, *slopes)
        integrate(TOLERANCE, *slopes, known, work.keys, work.items, work.random, phase)

    benchmark(whole)


@pytest.mark.parametrize(("length", "hop"), GRIDS)
def test_fast_griffin_lim_of_27_frames_100_times(
    benchmark: BenchmarkFixture, length: int, hop: int
) -> None:
    plan = plan_of(length, hop)
    magnitude = magnitudes(plan, 27)
    known = np.zeros(magnitude.shape, np.uint8)
    known[:8] = known[19:] = 1
    spectra = magnitude.astype(np.complex64)
    signal = np.empty(27 * hop - (plan.window.size - hop), np.float32)
    projected = np.empty((2, *spectra.shape), np.complex64)
    tables = plan.factors, plan.twiddles, plan.scratch, plan.frame
    windows = plan.window, plan.dual, plan.hop
    arguments = 100, ALPHA, magnitude, known, spectra.copy(), *windows, *tables
    benchmark(fast_griffin_lim, *arguments, projected, signal, spectra)
