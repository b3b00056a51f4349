import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_kernels.papers.nsgt import (
    FIRST,
    WIDTH,
    Nsgt,
    bands_of,
    fast_length,
    signal_of_bands,
)
from plc_kernels.spectra.scales import SCALES, band_centres_hz
from tests.examples import examples, some
from tests.signals import noise, sine

EXACT = 1e-6  # of the signal's norm, the promise; 1e-15 is what float64 gives
RATE = 16_000


NO_BANDS, ALL_BANDS, SOME_BANDS = slice(0), slice(None), slice(2, 5)


def frame(scale: str, samples: int, bands: int = 24, equal: slice = NO_BANDS) -> Nsgt:
    return Nsgt.allocate(band_centres_hz(scale, bands, 50.0, 7000.0), RATE, samples, equal=equal)


def error(x: NDArray[np.floating], plan: Nsgt) -> float:
    back = signal_of_bands(bands_of(x, plan), plan)
    return float(np.linalg.norm(back - x) / np.linalg.norm(x))


def by_definition(
    x: NDArray[np.float64], centres_hz: NDArray[np.float64], n: int, lengths: NDArray[np.int64]
) -> NDArray[np.complex128]:
    """Return all coefficients by the formula: sums over the whole, two-sided spectrum."""
    spectrum = np.fft.fft(x, n)
    centres = np.concatenate([[0.0], centres_hz * n / RATE, [n / 2]])
    k = np.arange(-(n // 2), n + 1)  # every bin that a window may reach, mirror images included
    out = []
    for j, centre in enumerate(centres):
        below = max(2.0, float(centre - (centres[j - 1] if j else -centres[1])))
        above = max(2.0, float(centres[j + 1] - centre)) if j + 1 < centres.size else below
        share = np.where(k < centre, (centre - k) / below, (k - centre) / above)
        g = np.where(share < 1, 0.5 + 0.5 * np.cos(np.pi * np.minimum(share, 1)), 0.0)
        turns = np.outer(np.arange(lengths[j]), k - round(centre)) / lengths[j]
        out.append(2 / n * np.exp(2j * np.pi * turns) @ (g * spectrum[k % n]))
    return np.concatenate(out)


@some("scale", SCALES, 2)
@pytest.mark.parametrize("equal", [NO_BANDS, ALL_BANDS, SOME_BANDS], ids=["no", "all", "some"])
def test_coefficients_are_those_of_the_definition(scale: str, equal: slice) -> None:
    x = noise(3, 500).astype(float)
    plan = frame(scale, x.size, 9, equal)
    centres_hz = band_centres_hz(scale, 9, 50.0, 7000.0)
    wanted = by_definition(x, centres_hz, plan.padded.size, plan.lengths)
    assert bands_of(x, plan) == pytest.approx(wanted, abs=1e-12)


@some("scale", SCALES, 2)
@pytest.mark.parametrize("equal", [NO_BANDS, ALL_BANDS, SOME_BANDS], ids=["no", "all", "some"])
def test_the_inverse_is_the_pseudo_inverse_of_the_frame(scale: str, equal: slice) -> None:
    # 100 is its own fast length: nothing is padded, and columns are whole signals.
    plan = frame(scale, 100, 6, equal)
    assert plan.padded.size == 100
    columns = [bands_of(unit, plan) for unit in np.eye(100)]
    analysis = np.concatenate([np.real(columns), np.imag(columns)], axis=1).T
    rng = np.random.default_rng(1)
    any_numbers = rng.standard_normal(len(analysis))
    coefficients = any_numbers[: plan.coefficients] + 1j * any_numbers[plan.coefficients :]
    wanted = np.linalg.pinv(analysis) @ any_numbers
    assert signal_of_bands(coefficients, plan) == pytest.approx(wanted, abs=1e-10)


@examples(30)
@given(
    scale=st.sampled_from(SCALES),
    samples=st.integers(1, 3000),
    bands=st.integers(2, 60),
    low_hz=st.floats(1.0, 3000.0),
    equal=st.sampled_from([NO_BANDS, ALL_BANDS, SOME_BANDS]),
    seed=st.integers(0, 99),
)
def test_every_frame_is_exact(
    scale: str, samples: int, bands: int, low_hz: float, equal: slice, seed: int
) -> None:
    centres_hz = band_centres_hz(scale, bands, low_hz, 7900.0)
    plan = Nsgt.allocate(centres_hz, RATE, samples, equal=equal)
    assert error(noise(seed, samples), plan) < EXACT
    assert plan.redundancy >= 1


def test_silence_and_a_full_scale_square_come_back() -> None:
    plan = frame("constant-q", 4000)
    assert not signal_of_bands(bands_of(np.zeros(4000), plan), plan).any()
    assert error(np.sign(sine(441.0, RATE, 4000)) + 0.0, plan) < EXACT


def test_every_band_is_painless_and_the_bands_cover_all_bins() -> None:
    plan = frame("erb", 5001, 40)
    assert (plan.lengths >= plan.bands[:, WIDTH]).all()
    covered = np.zeros(plan.spectrum.size, bool)
    for first, width in plan.bands[:, [FIRST, WIDTH]]:
        covered[max(first, 0) : first + width] = True
    assert covered.all()


def test_bands_of_equal_lengths_have_what_the_widest_of_them_needs() -> None:
    each, some = frame("erb", 5001).lengths, frame("erb", 5001, equal=SOME_BANDS).lengths
    assert (some[SOME_BANDS] == each[SOME_BANDS].max()).all()
    assert np.ptp(each[SOME_BANDS]) > 0
    np.testing.assert_array_equal(np.delete(some, range(2, 5)), np.delete(each, range(2, 5)))


def test_a_nan_stays_no_number_and_stops_nothing() -> None:
    x = noise(0, 400).astype(float)
    x[7] = math.nan
    plan = frame("linear", 400)
    assert np.isnan(signal_of_bands(bands_of(x, plan), plan)).any()
    x[7] = 0.0
    assert error(x, plan) < EXACT  # nothing of it is kept in the scratch memory


@pytest.mark.parametrize("scale", SCALES)
def test_centres_lie_at_constant_distances_on_their_scale(scale: str) -> None:
    hz = band_centres_hz(scale, 12, 100.0, 6400.0)
    on_scale = {
        "constant-q": np.log(hz),
        "linear": hz,
        "mel": np.log(1 + hz / 700),
        "erb": np.log(1 + 0.00437 * hz),
    }[scale]
    assert (hz[0], hz[-1]) == (100.0, 6400.0)
    assert np.diff(on_scale) == pytest.approx(np.full(11, np.diff(on_scale).mean()))


def test_a_bandwidth_on_the_erb_scale_is_that_of_hearing() -> None:
    # Glasberg and Moore: 24.7 * (4.37 * kHz + 1) Hz; one unit of the scale is one bandwidth.
    low_hz, high_hz = band_centres_hz("erb", 3, 950.0, 1050.0)[[0, -1]]
    units = 21.4 * np.log10((1 + 0.00437 * high_hz) / (1 + 0.00437 * low_hz))
    assert (high_hz - low_hz) / units == pytest.approx(24.7 * 5.37, rel=0.01)


@pytest.mark.parametrize(("samples", "length"), [(1, 2), (7, 8), (26, 30), (251, 256), (480, 480)])
def test_a_fast_length_is_the_next_even_one_of_small_primes(samples: int, length: int) -> None:
    assert fast_length(samples) == length


def test_what_cannot_be_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="scale is 'bark'; supported: constant-q, mel, erb"):
        band_centres_hz("bark", 10, 50.0, 7000.0)
    with pytest.raises(ValueError, match="expected at least 2, from above 0 Hz, rising"):
        band_centres_hz("constant-q", 10, 0.0, 7000.0)
    with pytest.raises(ValueError, match="1 bands from 50 to 7000 Hz"):
        band_centres_hz("mel", 1, 50.0, 7000.0)
    with pytest.raises(ValueError, match="below 8000 Hz"):
        Nsgt.allocate(np.array([100.0, 8000.0]), RATE, 400)
    with pytest.raises(ValueError, match="samples is 0"):
        Nsgt.allocate(np.array([100.0, 200.0]), RATE, 0)
