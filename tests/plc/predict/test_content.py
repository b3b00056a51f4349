"""Telling speech from music."""

from importlib.resources import files

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.predict.content import (
    FEATURES,
    MODEL,
    NARROW_MODEL,
    expanded,
    features,
    speech_probability,
)
from tests.signals import tones

RATE = 16_000


def clip(name: str) -> tuple[NDArray[np.float32], int]:
    """Return a clip of the package and its rate."""
    path = str(files("plc") / "data" / f"{name}.flac")
    signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return signal[:, 0].copy(), rate


def heard(x: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """Return the features of a passage that has some."""
    found = features([x], rate)
    assert found is not None
    return found


def sides(
    signal: NDArray[np.float32], rate: int, at_s: float, reach_s: float
) -> list[NDArray[np.float32]]:
    """Return what is heard around a gap of 64 ms."""
    start, reach = round(at_s * rate), round(reach_s * rate)
    stop = start + round(0.064 * rate)
    return [signal[max(0, start - reach) : start], signal[stop : stop + reach]]


@pytest.mark.parametrize("sample_rate", [8_000, 16_000])
@pytest.mark.parametrize(("name", "is_speech"), [("music", False), ("speech", True)])
@pytest.mark.parametrize(("reach_s", "wrong"), [(8.0, 0.1), (1.0, 0.2), (0.128, 0.45)])
def test_a_voice_is_told_from_music(
    name: str, is_speech: bool, reach_s: float, wrong: float, sample_rate: int
) -> None:
    signal, rate = clip(name)
    if rate != sample_rate:
        soxr = pytest.importorskip("soxr")
        signal, rate = soxr.resample(signal, rate, sample_rate), sample_rate
    places = np.arange(1.0, signal.size / rate - 1.0, 0.25)
    told = [speech_probability(sides(signal, rate, at, reach_s), rate) for at in places]
    assert np.abs(np.array(told) - is_speech).mean() < wrong


def test_neither_level_nor_rate_changes_what_is_heard() -> None:
    soxr = pytest.importorskip("soxr")
    signal, rate = clip("speech")
    quiet = 1e-3 * signal
    np.testing.assert_allclose(heard(signal, rate), heard(quiet, rate), rtol=1e-3)
    finer = soxr.resample(signal, rate, 3 * rate)
    found, at_three = heard(signal, rate), heard(finer, 3 * rate)
    # Resampling takes the topmost of 8 kHz.
    np.testing.assert_allclose(found, at_three, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("size", [0, 511, 512, 600, 5000])
def test_what_is_short_or_silent_tells_nothing(size: int) -> None:
    noise = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    told = speech_probability([noise, noise[:0]], RATE)
    assert told == 0.5 if size < 512 else 0.0 <= told <= 1.0
    assert speech_probability([np.zeros(size, np.float32)] * 2, RATE) == 0.5


@pytest.mark.parametrize("rate", [6_000, 7_999])
def test_nothing_is_told_below_the_rates_of_telephones(rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal(rate).astype(np.float32)
    assert speech_probability([noise, noise], rate) == 0.5


@pytest.mark.parametrize(
    ("rate", "top_hz"),
    [(8_000, 4_000), (11_025, 4_000), (16_000, 8_000), (22_050, 8_000), (96_000, 8_000)],
)
def test_a_rate_is_heard_up_to_4_or_8_khz(rate: int, top_hz: int) -> None:
    """Noise is as flat, and as much of it treble and bass, whatever is above."""
    noise = np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32)
    pauses, _, bass, _, _, treble, flatness, _ = heard(noise, rate)
    assert pauses == 0.0
    assert bass == pytest.approx(10.0 * np.log10(3 * 31.25 / top_hz), abs=1.0)
    assert treble == pytest.approx(-3.0, abs=0.2)
    assert flatness == pytest.approx(-0.577, abs=0.05)


def test_the_extremes_stay_probabilities() -> None:
    click = np.zeros(8000, np.float32)
    click[4000] = 1.0
    square = np.tile(np.array([1.0, -1.0], np.float32), 4000)
    for x in (click, square, tones(1, RATE, 8000), 1e-30 * square, 1e30 * square):
        assert 0.0 <= speech_probability([x.astype(np.float32), x.astype(np.float32)], RATE) <= 1.0


@pytest.mark.parametrize("model", [MODEL, NARROW_MODEL])
def test_the_models_fit_the_features(model: NDArray[np.float64]) -> None:
    assert model.shape == (3, 2 * len(FEATURES) + 1)
    assert (model[1] > 0.0).all()


def test_features_are_followed_by_their_squares() -> None:
    np.testing.assert_array_equal(expanded(np.array([2.0, 3.0])), [2.0, 3.0, 4.0, 9.0])
