import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_bench.scores import metrics
from tests.signals import noise, sine, tones

RATE = 16_000
# Closed forms against float64 sums of float32 samples.
TOLERANCE_DB = 1e-4
TONES = tones(1, RATE, 8000)


def gap(start: int = 3000, stop: int = 4024, samples: int = 8000) -> NDArray[np.bool_]:
    lost = np.zeros(samples, np.bool_)
    lost[start:stop] = True
    return lost


@given(scale=st.floats(0.01, 3.0).filter(lambda s: abs(s - 1) > 0.01))
def test_a_scaled_signal_has_the_nmse_of_its_scale(scale: float) -> None:
    estimate = np.where(gap(), scale * TONES.astype(np.float64), TONES)
    expected = 20 * math.log10(abs(1 - scale))
    assert metrics.nmse_db(TONES, estimate, gap()) == pytest.approx(expected, abs=TOLERANCE_DB)


def test_nmse_is_of_lost_samples_by_the_energy_of_channels() -> None:
    assert metrics.nmse_db(TONES, 0 * TONES, gap()) == 0.0
    estimate = np.where(gap(), 0.9 * TONES, 5.0)
    assert metrics.nmse_db(TONES, estimate, gap()) == pytest.approx(-20.0, abs=TOLERANCE_DB)
    two = np.stack([TONES, 3 * TONES], axis=1)
    estimate = np.stack([0 * TONES, 3 * TONES], axis=1)
    # A tenth of the energy is missed.
    assert metrics.nmse_db(two, estimate, gap()) == pytest.approx(-10.0, abs=TOLERANCE_DB)


def test_what_is_not_defined_is_nan() -> None:
    nothing = np.zeros(8000, np.bool_)
    assert math.isnan(metrics.nmse_db(TONES, TONES, nothing))
    assert math.isnan(metrics.nmse_db(0 * TONES, TONES, gap()))
    assert math.isnan(metrics.lsd_db(TONES, TONES, nothing, RATE))
    assert math.isnan(metrics.mel_spectral_convergence(TONES, TONES, nothing, RATE))
    assert math.isnan(metrics.click_ratio(TONES, TONES, nothing, RATE))


def test_an_undamaged_signal_is_perfect() -> None:
    assert metrics.nmse_db(TONES, TONES, gap()) == -math.inf
    assert metrics.snr_ms_db(TONES, TONES, (3000, 4024)) == math.inf
    assert metrics.lsd_db(TONES, TONES, gap(), RATE) == 0.0
    assert metrics.mel_spectral_convergence(TONES, TONES, gap(), RATE) == 0.0
    assert metrics.click_ratio(TONES, TONES, gap(), RATE) <= 1.0
    assert metrics.zero_runs(TONES) == 0


def snr_ms_by_definition(reference: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """SNR_MS of the 64 ms gap at 3000, one DFT bin at a time."""
    n = np.arange(512)
    hann = np.sin(np.pi * n / 512) ** 2
    dft = np.exp(-2j * np.pi * np.outer(np.arange(257), n) / 512)
    error = energy = 0.0
    for start in (3000, 3128, 3256, 3384, 3512):
        s = np.abs(dft @ (hann * reference[start : start + 512]))
        s_restored = np.abs(dft @ (hann * estimate[start : start + 512]))
        energy += float((s**2).sum())
        error += float(((s - s_restored) ** 2).sum())
    return 10 * math.log10(energy / error)


def test_snr_ms_of_a_64_ms_gap_is_the_papers() -> None:
    estimate = np.where(gap(), noise(3, 8000), TONES)
    expected = snr_ms_by_definition(TONES, estimate)
    assert metrics.snr_ms_db(TONES, estimate, (3000, 4024)) == pytest.approx(expected, abs=1e-9)


def test_snr_ms_hears_no_sign_and_needs_a_frame_of_sound() -> None:
    assert metrics.snr_ms_db(TONES, -TONES, (3000, 4024)) == math.inf
    quiet = TONES * np.float32(0.9e-4 / metrics.rms(TONES[3000:4024]))
    assert math.isnan(metrics.snr_ms_db(quiet, quiet, (3000, 4024)))
    with pytest.raises(ValueError, match="511 samples, a frame 512"):
        metrics.snr_ms_db(TONES, TONES, (3000, 3511))


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_6_db_more_level_is_6_db_of_log_spectral_distance(rate: int) -> None:
    reference = noise(5, rate // 2)
    lost = gap(rate // 10, rate // 5, reference.size)
    distance = metrics.lsd_db(reference, 2 * reference, lost, rate)
    # A stray bin of the noise may lie below the floor.
    assert distance == pytest.approx(20 * math.log10(2), abs=0.005)


def test_log_spectral_distance_looks_at_frames_that_touch_losses() -> None:
    estimate = TONES.copy()
    estimate[7000:] = 0.0
    assert metrics.lsd_db(TONES, estimate, gap(), RATE) == 0.0
    assert metrics.lsd_db(TONES, estimate, gap(7100, 7200), RATE) > 20.0


def test_silence_for_a_full_scale_sine_is_as_far_as_the_floor() -> None:
    tone = sine(1000.0, RATE, 8000, amplitude=1.0)
    assert metrics.level_db(tone, np.array([3000]), 512).max() == pytest.approx(0.0, abs=0.01)
    assert metrics.level_db(0 * tone, np.array([3000]), 512).max() == pytest.approx(-100.0)


def test_the_mel_spectra_of_half_the_signal_are_half() -> None:
    convergence = metrics.mel_spectral_convergence(TONES, 0.5 * TONES, gap(), RATE)
    assert convergence == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000, 192_000])
def test_every_mel_band_hears_something(rate: int) -> None:
    filters = metrics.mel_filters(round(rate * metrics.WINDOW_MS / 1000), rate)
    assert (filters.max(axis=1) > 0.0).all()
    assert filters.max() <= 1.0


def test_a_hole_in_a_sine_clicks_as_loud_as_its_depth() -> None:
    # Crest of a 200 Hz sine: the step down is its amplitude, its own steps at most 2 pi 200/16000.
    tone = sine(200.0, RATE, 8000)
    holed = np.where(gap(3020, 3180), 0.0, tone)
    expected = abs(tone[3019]) / (0.5 * 2 * np.pi * 200 / RATE)
    assert metrics.click_ratio(tone, holed, gap(3020, 3180), RATE) == pytest.approx(
        expected, rel=0.02
    )


def test_a_click_in_silence_is_measured_against_minus_80_db() -> None:
    silence = np.zeros(8000, np.float32)
    clicked = silence.copy()
    clicked[3000] = 0.01
    assert metrics.click_ratio(silence, clicked, gap(), RATE) == pytest.approx(100.0, rel=1e-6)


def test_the_channel_that_clicks_most_counts() -> None:
    quiet = np.where(gap(), TONES + np.float32(0.1), TONES)
    loud = np.where(gap(), TONES + np.float32(0.3), TONES)
    two = np.stack([quiet, loud], axis=1)
    truth = np.stack([TONES, TONES], axis=1)
    expected = metrics.click_ratio(TONES, loud, gap(), RATE)
    assert expected > metrics.click_ratio(TONES, quiet, gap(), RATE)
    assert metrics.click_ratio(truth, two, gap(), RATE) == expected


def test_an_edge_that_is_no_number_does_not_pass_for_one_without_a_click() -> None:
    broken = TONES.copy()
    broken[3000] = np.nan
    two = np.stack([TONES, broken], axis=1)
    assert math.isnan(metrics.click_ratio(np.stack([TONES, TONES], axis=1), two, gap(), RATE))


def test_runs_of_zeros_are_counted_from_64_samples_on() -> None:
    signal = np.ones(1000, np.float32)
    signal[:64] = 0.0
    signal[100:163] = 0.0
    signal[300:500] = 0.0
    signal[-64:] = 0.0
    assert metrics.zero_runs(signal) == 3
    assert metrics.zero_runs(np.stack([signal, signal], axis=1)) == 6
    assert metrics.zero_runs(np.zeros(100)) == 1
