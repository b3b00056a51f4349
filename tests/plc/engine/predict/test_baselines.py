import numpy as np
import pytest
from numpy.typing import NDArray

from plc.engine.predict.baselines import _ORDER, _PAST, Baseline, burg
from plc.engine.stream.methods import BASELINES
from plc.errors import ConfigError
from plc_kernels.signal.ar import fit_burg
from tests.signals import glide, noise, sine, tones

RATE = 16_000
PACKET = 160
GAP = 1024


def made(method: str, *signals: NDArray[np.float32], samples: int = 1000) -> NDArray[np.float32]:
    return Baseline(method, RATE, PACKET).go_on(np.stack(signals), samples)


def filled(
    method: str, before: NDArray[np.float32], after: NDArray[np.float32], samples: int
) -> NDArray[np.float32]:
    return Baseline(method, RATE, PACKET).fill(np.atleast_2d(before), np.atleast_2d(after), samples)


def rms(x: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(x.astype(np.float64) ** 2)))


def pitch_lag(x: NDArray[np.float32]) -> int:
    """Return the lag of the best normalised correlation, by its definition in float64."""
    n = RATE // 50
    y = x.astype(np.float64)
    template = y[-n:]
    lags = range(RATE // 500, RATE // 50 + 1)
    scores = []
    for lag in lags:
        shifted = y[y.size - n - lag : y.size - lag]
        energy = np.sum(template**2) * np.sum(shifted**2)
        scores.append(np.sum(template * shifted) / np.sqrt(energy))
    return lags[int(np.argmax(scores))]


def predicted(x: NDArray[np.float32], order: int, samples: int) -> NDArray[np.float64]:
    """Continue ``x`` by the predictor of Burg's method, sample by sample."""
    predictor = fit_burg(x, order)
    line = [float(each) for each in x[-order:]]
    for _ in range(samples):
        line.append(-float(np.dot(predictor[1:], line[: -order - 1 : -1])))
    return np.array(line[order:])


def published(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """Fill a gap as section 3.5 of the paper says: 1000 coefficients from 2048 samples a side."""
    forward = predicted(before[-2048:], 1000, GAP)
    backward = predicted(after[:2048][::-1], 1000, GAP)[::-1]
    share = np.cos(0.5 * np.pi * (np.arange(GAP) + 0.5) / GAP) ** 2
    return share * forward + (1 - share) * backward


def test_an_unknown_one_names_the_known() -> None:
    with pytest.raises(ConfigError, match="known: lpc, pitch, repeat, magnitude, zeros"):
        Baseline("auto", RATE, PACKET)


def test_zeros_are_zeros_with_hard_edges() -> None:
    x = noise(0, 500)
    assert not made("zeros", x).any()
    assert not filled("zeros", x, x, 100).any()


def test_repeat_is_the_last_packet_again_and_again() -> None:
    left, right = noise(1, 1000), noise(2, 1000)
    expected = np.stack([np.resize(x[-PACKET:], 1000) for x in (left, right)])
    np.testing.assert_array_equal(made("repeat", left, right), expected)


@pytest.mark.parametrize("seed", range(5))
def test_pitch_is_the_last_period_again_and_again(seed: int) -> None:
    left, right = glide(seed, RATE, 4000)[1000:], glide(seed + 50, RATE, 5000)[2000:]
    expected = np.stack([np.resize(x[-pitch_lag(x) :], 1000) for x in (left, right)])
    np.testing.assert_array_equal(made("pitch", left, right), expected)


@pytest.mark.parametrize("frequency_hz", [187.0, 440.0, 3000.0])
def test_magnitude_holds_a_stationary_tone(frequency_hz: float) -> None:
    x = sine(frequency_hz, RATE, 8000)
    found = made("magnitude", x[:6000], samples=1600)[0]
    for begin in range(0, 1600, 400):
        part = found[begin : begin + 400]
        assert abs(20 * np.log10(rms(part) / rms(x))) < 1.0
    # The phase turns on: no step at the edge.
    assert np.abs(found[:80] - x[6000:6080]).max() < 0.1


def test_magnitude_goes_to_the_level_after_the_gap() -> None:
    x = sine(440.0, RATE, 6000)
    out = filled("magnitude", x, np.float32(0.1) * x[:2000], 3200)[0]
    # From the frame that ends with the past to the one that begins after the gap.
    middle = np.arange(160, 3200, 320)
    line = 1.0 - 0.9 * middle / 3200
    levels = np.array([rms(out[k - 160 : k + 160]) / rms(x) for k in middle])
    np.testing.assert_allclose(levels, line, atol=0.06)


def test_the_settings_of_lpc_are_the_papers() -> None:
    assert (_ORDER, _PAST) == (1000, 2048)


def test_lpc_fills_a_gap_as_the_paper_says() -> None:
    x = np.stack([tones(1, RATE, 9000), glide(2, RATE, 9000)])
    before, after = x[:, :4000], x[:, 4000 + GAP :]
    expected = np.stack([published(b, a) for b, a in zip(before, after, strict=True)])
    np.testing.assert_allclose(filled("lpc", before, after, GAP), expected, atol=1e-4)


def test_lpc_without_a_far_side_is_the_forward_half() -> None:
    x = tones(1, RATE, 4000)
    expected = predicted(x[-2048:], 1000, GAP)
    np.testing.assert_allclose(made("lpc", x, samples=GAP)[0], expected, atol=1e-4)


def test_lpc_fits_a_shorter_far_side_at_a_lower_order() -> None:
    x = tones(1, RATE, 8000)
    truth, after = x[4000 : 4000 + GAP], x[4000 + GAP :][:600]
    found = filled("lpc", x[:4000], after, GAP)[0]
    assert 10 * np.log10(np.sum((found - truth) ** 2) / np.sum(truth**2)) < -3.0
    # It ends where the far side begins.
    assert abs(found[-1] - after[0]) < np.abs(np.diff(x)).max() * 1.5


def test_lpc_holds_what_would_overshoot() -> None:
    x = (sine(440.0, RATE, 4000) * np.exp(np.arange(4000) / 400)).astype(np.float32)
    assert np.abs(made("lpc", x / np.abs(x).max())).max() <= 1.5


@pytest.mark.parametrize("order", [1, 8, 40])
def test_burg_is_the_kernels(order: int) -> None:
    x = tones(3, RATE, 500) + noise(1, 500, 0.01)
    expected = fit_burg(x, max(order, 2)) if order > 1 else burg(x, 1)
    np.testing.assert_allclose(burg(x, order), expected, atol=1e-4)


def test_burg_ends_where_nothing_is_left() -> None:
    assert burg(np.zeros(100, np.float32), 20).size == 1
    assert burg(np.full(100, np.nan, np.float32), 20).size == 1


@pytest.mark.parametrize("method", BASELINES)
def test_a_gap_without_a_near_side_is_that_in_reverse(method: str) -> None:
    x = glide(1, RATE, 4000)
    found = filled(method, x[:0], x, 300)
    np.testing.assert_array_equal(found[0, ::-1], made(method, x[::-1], samples=300)[0])


@pytest.mark.parametrize("method", ["repeat", "pitch", "magnitude", "lpc"])
@pytest.mark.parametrize("known", [20, 3000])
def test_the_end_of_a_gap_is_bent_to_what_follows(method: str, known: int) -> None:
    x = glide(1, RATE, 8000)
    found = filled(method, x[:4000], x[4600:][:known], 600)[0]
    assert abs(found[-1] - x[4600]) < 1.5 * np.abs(np.diff(x)).max()
    if known < 64:  # too little to look at
        np.testing.assert_array_equal(found[:500], made(method, x[:4000])[0, :500])


@pytest.mark.parametrize("method", BASELINES)
def test_silence_and_next_to_no_history_give_finite_samples(method: str) -> None:
    assert not made(method, np.zeros(3000, np.float32)).any()
    for n in (0, 10, 100):
        assert np.isfinite(made(method, noise(0, 3000)[:n])).all()
        assert np.isfinite(filled(method, noise(0, 3000)[:n], noise(1, 3000)[:10], 50)).all()
