import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_kernels.spectra.fft import MOST_FACTORS, RealFft, irfft, radices, rfft
from tests.signals import noise

# Even lengths with every radix in every place: powers of two, the analysis grids of
# common sample rates, and lengths of large primes (2 * 7, 2 * 47, 4 * 11 * 13, 2 * 953).
LENGTHS = [2, 4, 6, 8, 10, 12, 14, 16, 94, 160, 220, 320, 450, 512, 572, 880, 882, 960, 1906, 1920]
# Of the root mean square of the spectrum; the radix of 953 needs the most.
FLOAT32_TOLERANCE = 3e-6
FLOAT64_TOLERANCE = 1e-14


def forward(x: NDArray[np.floating]) -> NDArray[np.complexfloating]:
    plan = RealFft.allocate(x.size, x.dtype.type)
    out = np.empty(x.size // 2 + 1, np.result_type(x.dtype, np.complex64))
    rfft(x, plan.factors, plan.twiddles, plan.scratch, out)
    return out


def backward(spectrum: NDArray[np.complexfloating], n: int) -> NDArray[np.floating]:
    plan = RealFft.allocate(n, spectrum.real.dtype.type)
    out = np.empty(n, spectrum.real.dtype)
    irfft(spectrum, plan.factors, plan.twiddles, plan.scratch, out)
    return out


def by_definition(x: NDArray[np.floating]) -> NDArray[np.complex128]:
    n = x.size
    k = np.arange(n // 2 + 1)
    turns = np.outer(k, np.arange(n)) % n / n
    spectrum: NDArray[np.complex128] = np.exp(-2j * np.pi * turns) @ x.astype(np.float64)
    return spectrum


@pytest.mark.parametrize("n", LENGTHS)
def test_the_spectrum_equals_the_definition(n: int) -> None:
    x = noise(n, n, 1.0)
    error = np.abs(forward(x) - by_definition(x)).max()
    assert error < FLOAT32_TOLERANCE * math.sqrt(n)


@pytest.mark.parametrize("n", LENGTHS)
def test_the_spectrum_of_float64_equals_the_definition(n: int) -> None:
    x = noise(n, n, 1.0).astype(np.float64)
    error = np.abs(forward(x) - np.fft.rfft(x)).max()
    assert error < FLOAT64_TOLERANCE * n


@pytest.mark.parametrize("n", [4096, 65536, 2 * 3**7, 2 * 5**5, 2 * 7 * 11 * 13])
def test_long_transforms_equal_numpy(n: int) -> None:
    x = noise(1, n, 1.0)
    error = np.abs(forward(x) - np.fft.rfft(x.astype(np.float64))).max()
    assert error < FLOAT32_TOLERANCE * math.sqrt(n)


@given(half=st.integers(1, 1200), seed=st.integers(0, 2**32 - 1))
def test_the_inverse_returns_the_signal_at_every_even_length(half: int, seed: int) -> None:
    x = noise(seed, 2 * half, 0.3)
    np.testing.assert_allclose(backward(forward(x), x.size), x, atol=2 * FLOAT32_TOLERANCE)


@pytest.mark.parametrize("n", [2, 4, 512, 880])
def test_the_inverse_equals_numpy_and_drops_what_a_real_signal_cannot_have(n: int) -> None:
    rng = np.random.default_rng(n)
    spectrum = rng.standard_normal((2, n // 2 + 1)).astype(np.float32)
    spectrum = (spectrum[0] + 1j * spectrum[1]).astype(np.complex64)
    expected = np.fft.irfft(spectrum.astype(np.complex128), n)
    np.testing.assert_allclose(backward(spectrum, n), expected, atol=FLOAT32_TOLERANCE)


def test_a_full_scale_square_equals_the_definition() -> None:
    x = np.where(np.arange(480) % 48 < 24, 1, -1).astype(np.float32)
    assert np.abs(forward(x) - by_definition(x)).max() < FLOAT32_TOLERANCE * 480


def test_silence_stays_silent_both_ways() -> None:
    assert not forward(np.zeros(882, np.float32)).any()
    assert not backward(np.zeros(442, np.complex64), 882).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_sample_spoils_the_whole_frame_and_no_later_one(bad: float) -> None:
    plan = RealFft.allocate(882)
    x = noise(6, 882)
    clean = forward(x)
    out = np.empty_like(clean)
    spoilt = x.copy()
    spoilt[17] = bad
    rfft(spoilt, plan.factors, plan.twiddles, plan.scratch, out)
    assert not np.isfinite(out).any()
    rfft(x, plan.factors, plan.twiddles, plan.scratch, out)
    np.testing.assert_array_equal(out, clean)


@pytest.mark.parametrize("n", [-2, 0, 1, 441])
def test_an_odd_or_empty_length_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="even numbers from 2"):
        RealFft.allocate(n)


@given(length=st.integers(1, 100_000))
def test_the_radices_multiply_to_the_length(length: int) -> None:
    factors = np.zeros(MOST_FACTORS, np.int64)
    passes = radices(length, factors)
    assert math.prod(factors[:passes].tolist()) == length
