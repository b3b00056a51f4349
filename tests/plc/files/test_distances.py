import numpy as np
import pytest
from numpy.typing import NDArray

from plc.files.distances import lsd_db, nmse_db
from plc_bench.scores import metrics
from tests.signals import noise, tones


def lsd_by_definition(
    original: NDArray[np.float32],
    played: NDArray[np.float32],
    lost: NDArray[np.bool_],
    sample_rate: int,
) -> float:
    """Frame by frame: the RMS over bins of the difference of levels, floored at -100 dB."""
    n, hop = round(0.032 * sample_rate), round(0.008 * sample_rate)
    window = np.hanning(n + 1)[:-1]
    distances = []
    for begin in range(0, lost.size - n + 1, hop):
        if lost[begin : begin + n].any():
            levels = [
                20 * np.log10(np.maximum(np.abs(np.fft.rfft(x[begin : begin + n] * window)), least))
                for x, least in ((original, 1e-5 * n / 4), (played, 1e-5 * n / 4))
            ]
            distances.append(np.sqrt(np.mean((levels[0] - levels[1]) ** 2)))
    return float(np.mean(distances))


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 48_000])
def test_both_figures_are_their_definitions_and_those_of_the_benchmarks(sample_rate: int) -> None:
    original, played = tones(1, sample_rate, 20_000), noise(2, 20_000)
    lost = np.repeat(noise(3, 100) > 0.1, 200)
    truth = original[lost].astype(np.float64)
    expected = 10 * np.log10(np.sum((played[lost] - truth) ** 2) / np.sum(truth**2))
    assert nmse_db(original, played, lost) == pytest.approx(expected, abs=1e-6)
    assert metrics.nmse_db(original, played, lost) == pytest.approx(expected, abs=1e-6)
    expected = lsd_by_definition(original, played, lost, sample_rate)
    assert lsd_db(original, played, lost, sample_rate) == pytest.approx(expected, abs=1e-6)
    assert metrics.lsd_db(original, played, lost, sample_rate) == pytest.approx(expected, abs=1e-6)


def test_silence_is_0_db_the_truth_minus_infinity_and_no_loss_no_number() -> None:
    original, lost = noise(1), np.ones(4800, np.bool_)
    assert nmse_db(original, np.zeros_like(original), lost) == pytest.approx(0.0)
    assert nmse_db(original, original, lost) == -np.inf
    assert lsd_db(original, original, lost, 48_000) == 0.0
    assert np.isnan(nmse_db(original, original, ~lost))
    assert np.isnan(lsd_db(original, original, ~lost, 48_000))


def test_another_phase_is_an_error_of_the_waveform_and_hardly_of_the_spectrum() -> None:
    original, lost = tones(1, 48_000, 48_000), np.ones(48_000, np.bool_)
    assert nmse_db(original, -original, lost) == pytest.approx(20 * np.log10(2.0))
    assert lsd_db(original, -original, lost, 48_000) == pytest.approx(0.0, abs=1e-9)
