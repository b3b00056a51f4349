"""PEAQ grades what is published, and what everybody knows."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_bench.scores import peaq, registry
from tests.signals import noise, tones

RATE = peaq.SAMPLE_RATE
MUSIC = (tones(1, RATE, 3 * RATE) + noise(7, 3 * RATE, 1e-3))[:, None]


def with_noise(snr_db: float) -> NDArray[np.float32]:
    level = float(np.std(MUSIC)) * 10 ** (-snr_db / 20)
    return MUSIC + noise(2, len(MUSIC), level)[:, None]


# Items acodsna, kcodsme and icodsna of the Recommendation's table of conformance.
@pytest.mark.parametrize(("index", "grade"), [(1.304, -0.676), (3.093, 0.038), (-3.029, -3.786)])
def test_an_index_has_the_grade_that_is_published(index: float, grade: float) -> None:
    assert peaq.grade_of(index) == pytest.approx(grade, abs=0.001)


def test_no_difference_is_inaudible() -> None:
    assert 0.0 < peaq.grade(MUSIC, MUSIC) <= 0.22
    found = peaq.variables(MUSIC, MUSIC)
    assert found.bandwidth_ref == found.bandwidth_test
    assert (found.adb, found.mfpd, found.rel_dist_frames) == (0, 0, 0)
    assert (found.win_mod_diff1, found.avg_mod_diff1, found.rms_noise_loud) == (0, 0, 0)


def test_more_noise_is_graded_worse() -> None:
    grades = [peaq.grade(MUSIC, with_noise(snr_db)) for snr_db in (80, 60, 45, 35, 25, 10)]
    assert grades == sorted(grades, reverse=True)
    assert grades[0] > 0.0
    assert grades[-1] < -3.5


def test_noise_over_its_mask_is_counted() -> None:
    quiet, loud = (peaq.variables(MUSIC, with_noise(snr_db)) for snr_db in (60, 50))
    assert loud.total_nmr - quiet.total_nmr == pytest.approx(10, abs=0.2)
    loud = peaq.variables(MUSIC, with_noise(20))
    assert loud.rel_dist_frames == 1.0


def test_a_lower_bandwidth_is_measured() -> None:
    wide = noise(3, 3 * RATE)[:, None]
    spectrum = np.fft.rfft(wide, axis=0)
    for top_hz in (6000, 12_000):
        narrow = spectrum.copy()
        narrow[round(top_hz * 3) :] *= 1e-3
        found = peaq.variables(wide, np.fft.irfft(narrow, axis=0))
        assert found.bandwidth_ref == pytest.approx(921, abs=1)
        assert found.bandwidth_test == pytest.approx(top_hz * 2048 / RATE, abs=8)


def test_sound_without_high_frequencies_has_the_least_bandwidth() -> None:
    low = tones(1, RATE, 3 * RATE)[:, None]
    found = peaq.variables(low, low)
    assert found.bandwidth_ref == found.bandwidth_test == 346
    assert peaq.grade(low, low) > 0.0


def test_an_error_of_harmonics_has_their_structure() -> None:
    hiss = noise(4, 3 * RATE)[:, None]
    buzz = np.zeros_like(hiss)
    buzz[:: RATE // 300] = 1.0
    plain = peaq.variables(hiss, hiss + noise(5, 3 * RATE, 0.07)[:, None]).ehs
    assert peaq.variables(hiss, hiss + buzz).ehs > 5 * plain


def test_silence_at_the_ends_counts_for_nothing() -> None:
    damaged = with_noise(30)
    silence = np.zeros((4096, 1), np.float32)
    longer = [np.concatenate([silence, signal, silence]) for signal in (MUSIC, damaged)]
    assert peaq.grade(*longer) == pytest.approx(peaq.grade(MUSIC, damaged), abs=0.1)


def test_two_channels_alike_have_the_grade_of_one() -> None:
    damaged = with_noise(30)
    two = [np.repeat(signal, 2, axis=1) for signal in (MUSIC, damaged)]
    assert peaq.grade(*two) == pytest.approx(peaq.grade(MUSIC, damaged))
    half = np.concatenate([MUSIC, damaged], axis=1)
    assert peaq.grade(two[0], two[1]) < peaq.grade(two[0], half) < peaq.grade(MUSIC, MUSIC)


@pytest.mark.parametrize("reference", [MUSIC[:1000], MUSIC[: RATE // 2], 0 * MUSIC])
def test_what_is_too_short_or_silent_has_no_grade(reference: NDArray[np.float32]) -> None:
    assert math.isnan(peaq.grade(reference, reference))


def test_holes_of_other_sample_rates_are_graded() -> None:
    rate = 32_000
    signal = tones(6, rate, 3 * rate)[:, None]
    holed = signal.copy()
    holed.reshape(-1, 320)[::10] = 0.0
    lost = np.zeros(len(signal), np.bool_)
    score = registry.METRICS["peaq"].score
    assert score(signal, holed, lost, rate) < -2.0 < -0.5 < score(signal, signal, lost, rate)
