import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.papers.representations import mel, polar
from plc.papers.representations.bands import LOWEST_HZ, SEMITONES
from plc.papers.representations.named import REPRESENTATIONS, representation
from plc.papers.representations.spectral import make_grid
from plc_kernels.spectra.offline import spectra_of
from tests.examples import examples
from tests.signals import noise, sine, tones

RATE = 16_000
EXACT = ("waveform", "complex", "magnitude-phase", "magnitude-if", "nsgt", "erb")
"""Those whose inverse returns the signal, but for the rounding of float32."""
EXACT_DB = 110.0  # what float32 arrays are good for, phases summed over a thousand frames


def snr_db(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    error = y.astype(float) - x
    return float(20 * np.log10(np.linalg.norm(x) / max(float(np.linalg.norm(error)), 1e-12)))


def back_and_forth(name: str, x: NDArray[np.float32], rate: int = RATE) -> NDArray[np.float32]:
    kind = representation(name, rate, x.size)
    return kind.inverse(kind.forward(x))


def convergence_db(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    grid = make_grid(RATE)
    wanted, made = np.abs(spectra_of(x, grid)), np.abs(spectra_of(y, grid))
    return float(20 * np.log10(np.linalg.norm(made - wanted) / np.linalg.norm(wanted)))


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("samples", [1, 801, 4096])
def test_arrays_and_signals_have_the_shapes_that_are_stated(name: str, samples: int) -> None:
    kind = representation(name, RATE, samples)
    array = kind.forward(noise(1, samples))
    back = kind.inverse(array)
    assert array.dtype == back.dtype == np.float32
    assert array.shape == kind.shape
    assert len(kind.channels) == kind.shape[0]
    assert back.shape == (samples,)
    assert np.isfinite(array).all()
    assert np.isfinite(back).all()


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_noise_and_tones_come_back(name: str, rate: int) -> None:
    for x in (noise(2, 12_345), tones(3, rate, 12_345), sine(440.0, rate, 9001, 1.0)):
        assert snr_db(x, back_and_forth(name, x, rate)) > EXACT_DB


@examples(20)
@given(name=st.sampled_from(EXACT), samples=st.integers(1, 5000), seed=st.integers(0, 9))
def test_signals_of_every_length_come_back(name: str, samples: int, seed: int) -> None:
    x = noise(seed, samples)
    assert snr_db(x, back_and_forth(name, x)) > EXACT_DB


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_silence_stays_silent(name: str) -> None:
    x = np.zeros(3000, np.float32)
    assert np.abs(back_and_forth(name, x)).max() < 1e-4


def test_constant_q_returns_its_seven_octaves_and_no_more() -> None:
    inside = sine(440.0, RATE, RATE)
    outside = sine(6000.0, RATE, RATE)
    assert snr_db(inside, back_and_forth("constant-q", inside)) > 30.0
    assert np.abs(back_and_forth("constant-q", outside)).max() < 0.05


def test_a_semitone_is_a_row_of_constant_q() -> None:
    kind = representation("constant-q", RATE, RATE)
    for semitone in (24, 45, SEMITONES - 1):
        array = kind.forward(sine(LOWEST_HZ * 2 ** (semitone / 12), RATE, RATE))
        assert np.median(array[0], axis=1).argmax() == semitone
        steps = array[1, semitone, 50:-50]
        assert np.abs(np.median(steps)) < 0.02, "in the middle of a band the phase stands still"


@pytest.mark.parametrize(("name", "floor_db"), [("mel", -9.0), ("mfcc", -1.0)])
def test_magnitudes_come_back_where_phases_are_made(name: str, floor_db: float) -> None:
    x = tones(1, RATE, RATE)
    assert convergence_db(x, back_and_forth(name, x)) < floor_db


def test_mel_powers_of_the_inverse_are_those_that_were_asked_for() -> None:
    x = tones(4, RATE, RATE)
    kind = mel.Mel(RATE, x.size)
    wanted, made = (np.exp(kind.log_power(y) / 2) for y in (x, kind.inverse(kind.forward(x))))
    assert np.linalg.norm(made - wanted) < 0.1 * np.linalg.norm(wanted)


def test_cepstra_are_the_first_of_an_orthonormal_transform() -> None:
    x = noise(5, 4000)
    powers = mel.Mel(RATE, x.size).log_power(x)
    k, n = np.arange(mel.CEPSTRA)[:, None], np.arange(mel.BANDS)
    matrix = np.sqrt(2 / mel.BANDS) * np.cos(np.pi * k * (2 * n + 1) / (2 * mel.BANDS))
    matrix[0] /= np.sqrt(2)
    assert mel.Mfcc(RATE, x.size).forward(x)[0] == pytest.approx(matrix @ powers, abs=1e-3)


def test_phase_steps_are_the_frequency_of_a_sine() -> None:
    kind = representation("magnitude-if", RATE, RATE)
    array = kind.forward(sine(1000.0, RATE, RATE))
    # Bin 64 of 15.625 Hz; a frame is 256 samples: 16 whole turns.
    assert array[0, :, 30].argmax() == 64
    assert np.abs(array[1, 64, 10:-10]).max() < 1e-3


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_what_a_network_may_answer_becomes_a_signal(name: str) -> None:
    kind = representation(name, RATE, 2000)
    rng = np.random.default_rng(0)
    for scale in (1.0, 30.0):
        array = (scale * rng.standard_normal(kind.shape)).astype(np.float32)
        assert kind.inverse(array).shape == (2000,)


def test_logarithms_are_bounded_so_that_no_signal_is_infinite() -> None:
    kind = representation("magnitude-phase", RATE, 2000)
    assert np.isfinite(kind.inverse(np.full(kind.shape, 1e30, np.float32))).all()
    assert polar.magnitude_of(np.array([-1e9])) == 0.0


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_what_does_not_fit_is_refused(name: str) -> None:
    kind = representation(name, RATE, 2000)
    with pytest.raises(ConfigError, match=r"the signal has shape \(1999,\); .* \(2000,\)"):
        kind.forward(noise(0, 1999))
    with pytest.raises(ConfigError, match="the array has shape"):
        kind.inverse(np.zeros((3, 1, 1), np.float32))
    bad = noise(0, 2000)
    bad[3] = np.nan
    with pytest.raises(ConfigError, match="not finite"):
        kind.forward(bad)
    with pytest.raises(ConfigError, match="not finite"):
        kind.inverse(np.full(kind.shape, np.inf, np.float32))


def test_unknown_representations_are_refused() -> None:
    with pytest.raises(ConfigError, match="representation is 'cqt'; known: waveform, complex"):
        representation("cqt", RATE, 100)
    with pytest.raises(ConfigError, match="sample_rate is 4000 Hz"):
        representation("mel", 4000, 100)
    with pytest.raises(ConfigError, match="samples is 0"):
        representation("mel", RATE, 0)
