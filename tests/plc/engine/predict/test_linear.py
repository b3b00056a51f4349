import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.engine.predict.ladder import Rung
from plc.engine.predict.linear import ArFiller
from plc.engine.predict.played_history import History
from plc_kernels.signal.ar import fit_burg
from plc_kernels.signal.predict import (
    CHUNK,
    DECAY_MS,
    LEAST_PAST_SAMPLES,
    OVERSHOOT,
)
from tests.examples import examples
from tests.signals import glide, nmse_db, noise, sine, tones

SAMPLE_RATE = 16_000
PACKET = 160
RUNG = Rung(10.0, 50.0)
ORDER, PAST = 160, 800


def remembered(*signals: NDArray[np.float32]) -> History:
    """Return a history of one signal for each channel."""
    history = History(len(signals), 16_384)
    history.append(np.stack(signals), True)
    return history


def filler(channels: int = 1, reach: int = 0) -> ArFiller:
    return ArFiller(SAMPLE_RATE, channels, RUNG, reach)


def extended(
    made_by: ArFiller, history: History, samples: int, channels: int = 1
) -> NDArray[np.float32]:
    out = np.empty((channels, samples), np.float32)
    made_by.begin(history)
    made_by.extend(out)
    return out


def recursion(x: NDArray[np.float32], order: int, samples: int) -> NDArray[np.float64]:
    """Continue ``x`` by its predictor, sample by sample, in float64, without any limit."""
    predictor = fit_burg(x, order)
    line = [float(each) for each in x[-order:]]
    for _ in range(samples):
        line.append(-float(np.dot(predictor[1:], line[: -order - 1 : -1])))
    return np.array(line[order:])


@pytest.mark.parametrize("samples", [1, PACKET, CHUNK, 2 * CHUNK + 17])
def test_the_prediction_is_burgs_recursion(samples: int) -> None:
    x = glide(1, SAMPLE_RATE, 4000)
    expected = recursion(x[-PAST:], ORDER, samples)
    assert np.abs(expected).max() < OVERSHOOT * np.abs(x[-PAST:]).max()
    found = extended(filler(), remembered(x), samples)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


@examples(30)
@given(cuts=st.lists(st.integers(1, 1500), min_size=1, max_size=6))
def test_a_prediction_in_pieces_is_the_prediction_at_once(cuts: list[int]) -> None:
    history = remembered(tones(1, SAMPLE_RATE, 4000))
    whole = extended(filler(), history, sum(cuts))
    pieces = filler()
    pieces.begin(history)
    found = [np.empty((1, size), np.float32) for size in cuts]
    for out in found:
        pieces.extend(out)
    np.testing.assert_array_equal(np.concatenate(found, 1), whole)


def test_a_prediction_is_held_where_it_overshoots() -> None:
    # A tone that swells: what the predictor makes of it is louder than anything heard.
    swell = np.exp(80.0 * (np.arange(PAST) - PAST) / SAMPLE_RATE).astype(np.float32)
    x = swell * sine(400.0, SAMPLE_RATE, PAST, 0.3) + noise(0, PAST, 1e-5)
    limit = OVERSHOOT * np.abs(x).max()
    free = recursion(x, ORDER, 1600)
    assert np.abs(free).max() > 1.1 * limit
    found = extended(filler(), remembered(x), 1600)
    assert np.abs(found).max() <= limit * (1 + 1e-6)
    np.testing.assert_allclose(found[0], np.clip(free, -limit, limit), atol=1e-3 * limit)


@examples(30)
@given(seed=st.integers(0, 2**32 - 1), level=st.sampled_from([1e-6, 1.0, 1e6]))
def test_no_prediction_leaves_the_level_of_the_past_by_much(seed: int, level: float) -> None:
    x = np.float32(level) * tones(seed, SAMPLE_RATE, PAST, 1.0)
    found = extended(filler(), remembered(x), 5000)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= OVERSHOOT * np.abs(x).max() * (1 + 1e-6)


@pytest.mark.parametrize("samples", [1, LEAST_PAST_SAMPLES - 1])
def test_next_to_no_history_dies_away_from_the_last_sample(samples: int) -> None:
    x = noise(0, samples)
    found = extended(filler(), remembered(x), PACKET)[0]
    expected = x[-1] * np.exp(-(1 + np.arange(PACKET)) * 1000.0 / (SAMPLE_RATE * DECAY_MS))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_history_at_all_gives_silence() -> None:
    assert not extended(filler(), History(1, 1000), PACKET).any()


@pytest.mark.parametrize(("gap", "known"), [(160, 320), (1024, 2048)])
def test_a_bridge_beats_an_extension_on_a_gliding_tone(gap: int, known: int) -> None:
    x = glide(4, SAMPLE_RATE, 32_000)
    errors = []
    for begin in range(8000, 24_000, 2000):
        history = remembered(x[:begin])
        truth = x[begin : begin + gap]
        one_sided = extended(filler(), history, gap)
        inpaint = np.empty((1, gap), np.float32)
        bridging = filler(reach=max(gap, known))
        bridging.begin(history)
        bridging.bridge(history, x[None, begin + gap : begin + gap + known], inpaint)
        errors.append((nmse_db(one_sided[0], truth), nmse_db(inpaint[0], truth)))
    one_sided_db, two_sided_db = np.mean(errors, 0)
    assert two_sided_db < one_sided_db - 3.0


def test_a_bridge_comes_down_to_what_follows_it() -> None:
    x = sine(440.0, SAMPLE_RATE, 2000, 0.3) + noise(1, 2000, 1e-3)
    bridging = filler(reach=1600)
    history = remembered(x)
    bridging.begin(history)
    out = np.empty((1, 800), np.float32)
    bridging.bridge(history, noise(2, 1600, 1e-3)[None], out)
    assert np.std(out[0, :80]) > 0.8 * np.std(x)
    assert np.std(out[0, -80:]) < 0.3 * np.std(x)


def test_a_bridge_follows_on_an_extension() -> None:
    x = tones(2, SAMPLE_RATE, 8000)
    history = remembered(x[:6000])
    bridging = filler(reach=2 * PACKET)
    bridging.begin(history)
    first, rest = (np.empty((1, PACKET), np.float32) for _ in range(2))
    bridging.extend(first)
    history.append(first, True)
    bridging.bridge(history, x[None, 6000 + 2 * PACKET :][:, : 2 * PACKET], rest)
    found = np.concatenate([first, rest], 1)[0]
    assert nmse_db(found, x[6000 : 6000 + 2 * PACKET]) < -15.0


def test_next_to_nothing_beyond_the_gap_is_no_bridge() -> None:
    x = tones(2, SAMPLE_RATE, 8000)
    history = remembered(x[:6000])
    bridging = filler(reach=PACKET)
    bridging.begin(history)
    out = np.empty((1, PACKET), np.float32)
    bridging.bridge(history, x[None, 6160:6161], out)
    np.testing.assert_array_equal(out, extended(filler(), history, PACKET))


def test_the_next_burst_is_not_shaped_by_the_last() -> None:
    first, second = remembered(tones(1, SAMPLE_RATE, 4000)), remembered(noise(1, 200))
    used = filler()
    extended(used, first, 3000)
    np.testing.assert_array_equal(
        extended(used, second, PACKET), extended(filler(), second, PACKET)
    )


@pytest.mark.parametrize("seed", [1, 2, 4])
@pytest.mark.parametrize("known", [64, 100])
def test_a_glimpse_of_the_far_side_does_no_harm(seed: int, known: int) -> None:
    x = tones(seed, SAMPLE_RATE, 8000)
    truth = x[6000:6800]
    history = remembered(x[:6000])
    bridging = filler(reach=800)
    bridging.begin(history)
    out = np.empty((1, 800), np.float32)
    bridging.bridge(history, x[None, 6800 : 6800 + known], out)
    one_sided_db = nmse_db(extended(filler(), history, 800)[0], truth)
    assert one_sided_db < -10.0
    assert nmse_db(out[0], truth) < one_sided_db + 2.0
