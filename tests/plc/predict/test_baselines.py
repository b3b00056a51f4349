import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.predict.baselines import (
    _PITCH_MAX_HZ,
    _PITCH_MIN_HZ,
    _TEMPLATE_MS,
    MagnitudeFiller,
    PitchFiller,
    RepeatFiller,
    ZerosFiller,
    _Baseline,
)
from plc.predict.history import History
from tests.examples import examples
from tests.signals import glide, noise, sine

SAMPLE_RATE = 16_000
PACKET = 160

_Kind = type[ZerosFiller] | type[RepeatFiller] | type[PitchFiller] | type[MagnitudeFiller]
KINDS: list[_Kind] = [ZerosFiller, RepeatFiller, PitchFiller, MagnitudeFiller]


def remembered(*signals: NDArray[np.float32]) -> History:
    history = History(len(signals), 16_384)
    history.append(np.stack(signals), True)
    return history


def extended(
    kind: _Kind, *signals: NDArray[np.float32], samples: int = 1000
) -> NDArray[np.float32]:
    made_by = kind(SAMPLE_RATE, len(signals), PACKET)
    out = np.full((len(signals), samples), np.nan, np.float32)
    made_by.begin(remembered(*signals))
    made_by.extend(out)
    return out


def rms(x: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(x.astype(np.float64) ** 2)))


def pitch_lag(x: NDArray[np.float32]) -> int:
    """Return the lag of the best normalised correlation, by its definition in float64."""
    n = round(SAMPLE_RATE * _TEMPLATE_MS / 1000)
    y = x.astype(np.float64)
    template = y[-n:]
    lags = range(int(SAMPLE_RATE / _PITCH_MAX_HZ), int(SAMPLE_RATE / _PITCH_MIN_HZ) + 1)
    scores = []
    for lag in lags:
        shifted = y[y.size - n - lag : y.size - lag]
        energy = np.sum(template**2) * np.sum(shifted**2)
        scores.append(np.sum(template * shifted) / np.sqrt(energy))
    return lags[int(np.argmax(scores))]


def test_zeros_are_zeros_with_hard_edges() -> None:
    assert not extended(ZerosFiller, noise(0, 500)).any()
    assert not ZerosFiller.crossfades
    assert not ZerosFiller.fades


def test_repeat_is_the_last_packet_again_and_again() -> None:
    left, right = noise(1, 1000), noise(2, 1000)
    expected = np.stack([np.resize(x[-PACKET:], 1000) for x in (left, right)])
    np.testing.assert_array_equal(extended(RepeatFiller, left, right), expected)


@pytest.mark.parametrize("seed", range(5))
def test_pitch_is_the_last_period_again_and_again(seed: int) -> None:
    left, right = glide(seed, SAMPLE_RATE, 4000), glide(seed + 50, SAMPLE_RATE, 5000)[1000:]
    expected = np.stack([np.resize(x[-pitch_lag(x) :], 1000) for x in (left, right)])
    np.testing.assert_array_equal(extended(PitchFiller, left, right), expected)


def test_pitch_continues_a_periodic_signal() -> None:
    x = sine(200.0, SAMPLE_RATE, 4000)  # a period of 80 samples
    np.testing.assert_allclose(extended(PitchFiller, x[:3000])[0], x[3000:], atol=1e-5)


@pytest.mark.parametrize("frequency_hz", [187.0, 440.0, 3000.0])
def test_magnitude_holds_a_stationary_tone(frequency_hz: float) -> None:
    x = sine(frequency_hz, SAMPLE_RATE, 8000)
    found = extended(MagnitudeFiller, x[:6000], samples=1600)[0]
    for begin in range(0, 1600, 400):
        part = found[begin : begin + 400]
        assert abs(20 * np.log10(rms(part) / rms(x))) < 1.0
    # The phase turns on: no step at the edge.
    assert np.abs(found[:80] - x[6000:6080]).max() < 0.1


def test_magnitude_bridges_to_the_level_after_the_gap() -> None:
    x = sine(440.0, SAMPLE_RATE, 6000)
    made_by = MagnitudeFiller(SAMPLE_RATE, 1, PACKET)
    history = remembered(x)
    made_by.begin(history)
    out = np.empty((1, 3200), np.float32)
    made_by.bridge(history, np.float32(0.1) * x[None, :2000], out)
    # From the frame that ends with the past to the one that begins after the gap.
    middle = np.arange(160, 3200, 320)
    line = 1.0 - 0.9 * middle / 3200
    levels = np.array([rms(out[0, k - 160 : k + 160]) / rms(x) for k in middle])
    np.testing.assert_allclose(levels, line, atol=0.06)


def test_magnitude_without_enough_beyond_the_gap_extends() -> None:
    x = sine(440.0, SAMPLE_RATE, 6000)
    made_by = MagnitudeFiller(SAMPLE_RATE, 1, PACKET)
    history = remembered(x)
    made_by.begin(history)
    out = np.empty((1, 1000), np.float32)
    made_by.bridge(history, x[None, :100], out)
    np.testing.assert_array_equal(out, extended(MagnitudeFiller, x))


@examples(20)
@given(kind=st.sampled_from(KINDS), cuts=st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_samples_made_in_pieces_are_samples_made_at_once(kind: _Kind, cuts: list[int]) -> None:
    x = glide(1, SAMPLE_RATE, 4000)
    whole = extended(kind, x, samples=sum(cuts))
    made_by = kind(SAMPLE_RATE, 1, PACKET)
    made_by.begin(remembered(x))
    pieces = [np.empty((1, size), np.float32) for size in cuts]
    for out in pieces:
        made_by.extend(out)
    np.testing.assert_array_equal(np.concatenate(pieces, 1), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_burst_is_not_shaped_by_the_last(kind: _Kind) -> None:
    made_by = kind(SAMPLE_RATE, 1, PACKET)
    out = np.empty((1, 1000), np.float32)
    for x in (glide(1, SAMPLE_RATE, 4000), glide(2, SAMPLE_RATE, 4000)):
        made_by.begin(remembered(x))
        made_by.extend(out)
    np.testing.assert_array_equal(out, extended(kind, x))


@pytest.mark.parametrize("kind", KINDS)
def test_silence_and_next_to_no_history_give_finite_samples(kind: _Kind) -> None:
    assert not extended(kind, np.zeros(3000, np.float32)).any()
    assert np.isfinite(extended(kind, noise(0, 10))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_reset_forgets_the_past(kind: _Kind) -> None:
    made_by = kind(SAMPLE_RATE, 1, PACKET)
    made_by.begin(remembered(noise(0, 3000)))
    made_by.reset()
    assert isinstance(made_by, _Baseline)
    assert not made_by._past.any()
    assert made_by.names == (made_by.name,)


@pytest.mark.parametrize("kind", [ZerosFiller, RepeatFiller, PitchFiller])
def test_what_does_not_bridge_goes_on_as_if_nothing_followed(kind: _Kind) -> None:
    past = remembered(noise(0, 3000))
    made = np.ones((2, 1, PACKET), np.float32)
    bridging, extending = (kind(SAMPLE_RATE, 1, PACKET) for _ in range(2))
    assert not bridging.bridges
    bridging.begin(past)
    assert not bridging.bridge(past, noise(1, PACKET)[None], made[0])
    extending.begin(past)
    extending.extend(made[1])
    np.testing.assert_array_equal(made[0], made[1])
