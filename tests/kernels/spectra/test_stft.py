import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_kernels.spectra.stft import (
    Stft,
    analyse_frames,
    istft,
    stft,
    synthesise_frames,
)
from plc_kernels.spectra.windows import WINDOWS, window
from tests.examples import examples, some
from tests.signals import noise, sine

EXACT = 1e-6  # of full scale, the promise of the inverse

GRIDS = [
    ("hann", 512, 128, 512),
    ("hann", 880, 220, 880),
    ("hann", 882, 441, 882),
    ("blackman", 960, 240, 1024),
    ("gauss", 321, 100, 400),
    ("hamming", 160, 53, 160),
]


def transform(x: NDArray[np.float32], grid: Stft) -> NDArray[np.complex64]:
    out = np.empty((grid.frames(x.size), grid.bins), np.complex64)
    stft(x, grid.window, grid.hop, grid.factors, grid.twiddles, grid.scratch, grid.frame, out)
    return out


def invert(spectra: NDArray[np.complex64], samples: int, grid: Stft) -> NDArray[np.float32]:
    out = np.empty(samples, np.float32)
    istft(spectra, grid.dual, grid.hop, grid.factors, grid.twiddles, grid.scratch, grid.frame, out)
    return out


def by_definition(x: NDArray[np.float32], grid: Stft) -> NDArray[np.complex128]:
    length = grid.window.size
    frames = grid.frames(x.size)
    padded = np.concatenate([np.zeros(length), x, np.zeros(length + grid.hop)])
    starts = grid.hop * (1 + np.arange(frames))
    windowed = padded[starts[:, None] + np.arange(length)] * grid.window
    spectra: NDArray[np.complex128] = np.fft.rfft(windowed, grid.n_fft)
    return spectra


def allocate(name: str, length: int, hop: int, n_fft: int) -> Stft:
    return Stft.allocate(window(name, length), hop, n_fft)


@some("grid", GRIDS, 2)
@some("samples", [1, 100, 5003], 3)
def test_spectra_equal_the_definition(grid: tuple[str, int, int, int], samples: int) -> None:
    plan = allocate(*grid)
    x = noise(samples, samples, 0.3)
    np.testing.assert_allclose(transform(x, plan), by_definition(x, plan), atol=2e-5)


@given(
    name=st.sampled_from(WINDOWS),
    half=st.integers(2, 300),
    hop_share=st.floats(0.1, 0.5),
    more=st.integers(0, 50),
    samples=st.one_of(st.integers(1, 9), st.integers(1, 1500)),
    seed=st.integers(0, 2**32 - 1),
)
@examples(40)
def test_the_inverse_is_exact_on_any_grid(
    name: str, half: int, hop_share: float, more: int, samples: int, seed: int
) -> None:
    plan = allocate(name, 2 * half, max(1, int(hop_share * 2 * half)), 2 * (half + more))
    x = np.clip(noise(seed, samples, 0.3), -1, 1)
    np.testing.assert_allclose(invert(transform(x, plan), x.size, plan), x, atol=EXACT, rtol=0)


def test_a_stationary_sine_turns_by_its_frequency_from_frame_to_frame() -> None:
    plan = allocate("hann", 512, 128, 512)
    bin_hz = 16000 / 512
    spectra = transform(sine(20.3 * bin_hz, 16000, 8000), plan)[10:40, 20]
    turns = np.angle(spectra[1:] / spectra[:-1])
    expected = np.angle(np.exp(2j * np.pi * 20.3 * 128 / 512))
    np.testing.assert_allclose(turns, expected, atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_silence_and_a_full_scale_square_come_back(level: float) -> None:
    plan = allocate("hann", 320, 80, 320)
    x = (level * np.sign(np.sin(np.arange(2000) * 0.1) + 1e-3)).astype(np.float32)
    np.testing.assert_allclose(invert(transform(x, plan), x.size, plan), x, atol=EXACT, rtol=0)


def test_a_bad_sample_spoils_only_the_frames_that_hold_it() -> None:
    plan = allocate("hann", 512, 128, 512)
    x = noise(5)
    clean = transform(x, plan)
    x[1000] = np.nan
    spoilt = transform(x, plan)
    held = ~np.isfinite(spoilt).all(axis=1)
    assert held.sum() == 4
    np.testing.assert_array_equal(spoilt[~held], clean[~held])


def test_a_transform_shorter_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least the window"):
        Stft.allocate(window("hann", 512), 128, 500)


def test_frames_from_any_place_are_those_of_the_whole_signal() -> None:
    x = noise(11, 900)
    grid = Stft.allocate(window("hann", 64), 16)
    whole = transform(x, grid)
    tables = (grid.hop, grid.factors, grid.twiddles, grid.scratch, grid.frame)
    spectrum = np.zeros(grid.bins, np.complex64)
    parts = np.full((2, grid.bins + 3, 10), 9.0, np.float32)
    analyse_frames(x, 10 * 16 - 64, grid.window, *tables, spectrum, parts)
    np.testing.assert_array_equal(parts[0, : grid.bins] + 1j * parts[1, : grid.bins], whole[9:19].T)
    assert not parts[:, grid.bins :].any()


def test_what_is_made_is_the_change_of_the_signal() -> None:
    x, y = noise(12, 900), noise(13, 900)
    grid = Stft.allocate(window("hann", 64), 16)
    tables = (grid.hop, grid.factors, grid.twiddles, grid.scratch, grid.frame)
    spectrum = np.zeros(grid.bins, np.complex64)
    own, parts = np.zeros((2, 2, 33, 12), np.float32)
    out = np.zeros(9 * 16, np.float32)
    analyse_frames(x, 160, grid.window, *tables, spectrum, own)
    analyse_frames(y, 160, grid.window, *tables, spectrum, parts)
    synthesise_frames(parts, own, grid.dual, *tables, spectrum, out)
    np.testing.assert_allclose(out, (y - x)[160 + 48 : 160 + 48 + out.size], atol=1e-6)
