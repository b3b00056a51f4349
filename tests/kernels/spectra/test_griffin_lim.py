import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.spectra.griffin_lim import ALPHA, fast_griffin_lim, impose
from plc_kernels.spectra.stft import Stft
from tests.kernels.spectra.test_pghi import RATE, convergence_db, grid, transform
from tests.signals import noise, tones

SAMPLES = 4000


def improved(
    spectra: NDArray[np.complex64],
    magnitude: NDArray[np.float32],
    plan: Stft,
    iterations: int = 30,
    alpha: float = ALPHA,
    known: NDArray[np.uint8] | None = None,
    values: NDArray[np.complex64] | None = None,
) -> NDArray[np.complex64]:
    out = spectra.copy()
    fast_griffin_lim(
        iterations,
        alpha,
        magnitude,
        np.zeros(magnitude.shape, np.uint8) if known is None else known,
        np.zeros_like(out) if values is None else values,
        plan.window,
        plan.dual,
        plan.hop,
        plan.factors,
        plan.twiddles,
        plan.scratch,
        plan.frame,
        np.empty((2, *out.shape), np.complex64),
        np.empty(SAMPLES, np.float32),
        out,
    )
    return out


def project(spectra: NDArray[np.complex128], plan: Stft) -> NDArray[np.complex128]:
    """Return the spectra of the signal nearest to ``spectra``, in float64."""
    length, hop = plan.window.size, plan.hop
    lead = length - hop
    signal = np.zeros(lead + SAMPLES + length + hop)
    cover = np.zeros_like(signal)
    window = plan.window.astype(np.float64)
    for n, row in enumerate(np.fft.irfft(spectra, plan.n_fft)[:, :length]):
        signal[n * hop : n * hop + length] += window * row
        cover[n * hop : n * hop + length] += window**2
    signal /= np.where(cover > 0, cover, 1)
    signal[:lead] = signal[lead + SAMPLES :] = 0
    starts = np.arange(len(spectra))[:, None] * hop
    out: NDArray[np.complex128] = np.fft.rfft(signal[starts + np.arange(length)] * window)
    return out


def by_definition(
    spectra: NDArray[np.complex64], magnitude: NDArray[np.float32], plan: Stft, iterations: int
) -> NDArray[np.complex128]:
    t = spectra.astype(np.complex128)
    last = None
    for _ in range(iterations):
        c = project(magnitude * np.exp(1j * np.angle(t)), plan)
        t = c + ALPHA * (c - (c if last is None else last))
        last = c
    assert last is not None
    out: NDArray[np.complex128] = magnitude * np.exp(1j * np.angle(last))
    return out


def start(seed: int, plan: Stft) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return the true spectra of a chord, and its magnitudes."""
    spectra = transform(tones(seed, RATE, SAMPLES), plan)
    return spectra, np.abs(spectra)


def error_db(spectra: NDArray[np.complex64], magnitude: NDArray[np.float32], plan: Stft) -> float:
    return convergence_db(np.angle(spectra), magnitude, SAMPLES, plan)


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_iterates_equal_the_definition(iterations: int) -> None:
    plan = grid("hann", 320, 80, 320)
    _, magnitude = start(1, plan)
    rng = np.random.default_rng(1)
    turned = magnitude * np.exp(2j * np.pi * rng.random(magnitude.shape))
    spectra = turned.astype(np.complex64)
    out = improved(spectra, magnitude, plan, iterations)
    expected = by_definition(spectra, magnitude, plan, iterations)
    # Weak bins have phases that float32 cannot keep; what counts is the sum.
    error = np.linalg.norm(out - expected) / np.linalg.norm(expected)
    assert error < 1e-4


def test_the_true_phases_stay() -> None:
    plan = grid()
    spectra, magnitude = start(2, plan)
    out = improved(spectra, magnitude, plan, 5)
    assert np.linalg.norm(out - spectra) < 1e-4 * np.linalg.norm(spectra)


def test_fast_iterations_end_below_plain_ones() -> None:
    plan = grid()
    _, magnitude = start(3, plan)
    zero = magnitude.astype(np.complex64)
    plain = error_db(improved(zero, magnitude, plan, 60, alpha=0.0), magnitude, plan)
    fast = error_db(improved(zero, magnitude, plan, 60), magnitude, plan)
    assert fast < plain - 3 < error_db(zero, magnitude, plan) - 6


def test_known_coefficients_stay_bit_for_bit_and_help() -> None:
    plan = grid()
    spectra, magnitude = start(4, plan)
    known = np.zeros(magnitude.shape, np.uint8)
    known[:14] = known[22:] = 1
    zero = magnitude.astype(np.complex64)
    out = improved(zero, magnitude, plan, 100, ALPHA, known, spectra)
    np.testing.assert_array_equal(out[known == 1], spectra[known == 1])
    free = improved(zero, magnitude, plan, 100)
    assert error_db(out, magnitude, plan) < error_db(free, magnitude, plan) - 3


def test_imposing_gives_magnitudes_keeps_phases_and_takes_known_values() -> None:
    spectra = np.array([[3 + 4j, 0, np.nan, 1j, 2]], np.complex64)
    magnitude = np.array([[10, 7, 3, np.nan, 1]], np.float32)
    known = np.array([[0, 0, 0, 0, 1]], np.uint8)
    values = np.full_like(spectra, 5 - 5j)
    impose(magnitude, known, values, spectra)
    np.testing.assert_allclose(spectra, [[6 + 8j, 7, 3, 0, 5 - 5j]])


def test_silence_stays_silent() -> None:
    plan = grid()
    zeros = np.zeros((plan.frames(SAMPLES), plan.bins), np.complex64)
    assert not improved(zeros, np.abs(zeros), plan, 5).any()


def test_a_bad_magnitude_counts_as_silence() -> None:
    plan = grid()
    spectra, magnitude = start(6, plan)
    magnitude[10, 20:30] = 0
    expected = improved(spectra, magnitude, plan, 5)
    magnitude[10, 20:25] = np.nan
    magnitude[10, 25:30] = np.inf
    np.testing.assert_array_equal(improved(spectra, magnitude, plan, 5), expected)


def test_a_full_scale_square_converges() -> None:
    plan = grid()
    x = np.sign(noise(7, 100, 1.0)).repeat(40).astype(np.float32)
    magnitude = np.abs(transform(x, plan))
    out = improved(magnitude.astype(np.complex64), magnitude, plan, 100)
    assert error_db(out, magnitude, plan) < -15
