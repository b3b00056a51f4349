import importlib.util
import math
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.errors import MissingExtraError
from plc_bench.scores import speech
from tests.signals import noise, sine

RATE = speech.SPEECH_RATE
needs_speechmos = pytest.mark.skipif(
    importlib.util.find_spec("speechmos") is None
    or importlib.util.find_spec("onnxruntime") is None,
    reason="the PLCMOS model is not installed: pip install --no-deps speechmos",
)


def vowel(samples: int = 3 * RATE) -> NDArray[np.float32]:
    """Return syllables of a buzzing 120 Hz source: what PESQ takes for speech."""
    t = np.arange(samples) / RATE
    buzz = sum(sine(120.0 * k, RATE, samples, 0.3 / k) for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * t), 0.0, None)
    return (buzz * syllables + noise(1, samples, 1e-3)).astype(np.float32)


def with_holes(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    holed = signal.copy()
    for start in range(1000, signal.size - 320, 2000):
        holed[start : start + 320] = 0.0
    return holed


def log_power_of_one_frame(frame: NDArray[np.floating]) -> NDArray[np.float64]:
    """The 257 features of one frame of 512, from the definition."""
    n = np.arange(512)
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * n / 512)
    spectrum = np.exp(-2j * np.pi * np.outer(np.arange(257), n) / 512) @ (hamming * frame)
    return np.array([math.log(abs(value) ** 2) / 20 for value in spectrum])


def test_plcmos_reads_log_power_spectra_that_start_half_a_frame_early() -> None:
    signal = noise(2, 2000)
    features = speech._plcmos_features(signal)
    assert features.shape == (9, 257)
    first = np.concatenate([np.zeros(256), signal[:256]])
    np.testing.assert_allclose(features[0], log_power_of_one_frame(first), atol=1e-9)
    np.testing.assert_allclose(features[2], log_power_of_one_frame(signal[256:768]), atol=1e-9)


def test_plcmos_features_of_silence_are_minus_80_db() -> None:
    expected = -80 / 10 * math.log(10) / 20
    np.testing.assert_allclose(speech._plcmos_features(np.zeros(1000)), expected)


@needs_speechmos
def test_plcmos_is_a_score_that_repeats() -> None:
    score = speech.plcmos(vowel())
    assert 1.0 < score < 5.0
    assert speech.plcmos(vowel()) == score


@needs_speechmos
def test_plcmos_hears_holes() -> None:
    assert speech.plcmos(with_holes(vowel())) < speech.plcmos(vowel()) - 0.1


@needs_speechmos
@pytest.mark.deep
def test_dnsmos_hears_noise_and_repeats_short_clips() -> None:
    clean = vowel(2 * RATE)
    noisy = clean + noise(3, clean.size, 0.05)
    assert 1.0 < speech.dnsmos(noisy) < speech.dnsmos(clean) < 5.0
    repeated = np.tile(clean, 8)
    assert speech.dnsmos(clean) == pytest.approx(speech.dnsmos(repeated), abs=0.02)
    assert speech.dnsmos(np.zeros(1, np.float32)) < speech.dnsmos(clean)


def test_plcmos_names_the_command_that_brings_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps speechmos"):
        speech.plcmos_path()


@pytest.mark.parametrize(("name", "top", "holed"), [("pesq", 4.644, 4.0), ("stoi", 1.0, 0.99)])
def test_a_clean_signal_has_the_scales_top_and_too_little_no_score(
    name: str, top: float, holed: float
) -> None:
    pytest.importorskip({"stoi": "pystoi"}.get(name, name), reason="is not installed")
    score = {"pesq": speech.pesq_wb, "stoi": speech.stoi}[name]
    assert score(vowel(), vowel()) == pytest.approx(top, abs=0.001)
    assert score(vowel(), with_holes(vowel())) < holed
    nothing = np.zeros(RATE, np.float32) if name == "pesq" else vowel(1000)
    assert math.isnan(score(nothing, vowel(nothing.size)))


@pytest.mark.parametrize(("score", "library"), [(speech.pesq_wb, "pesq"), (speech.stoi, "pystoi")])
def test_an_absent_library_is_named(
    monkeypatch: pytest.MonkeyPatch, score: object, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert callable(score)
    with pytest.raises(MissingExtraError, match=rf"{library}.*pip install .*\[bench\]"):
        score(noise(1), noise(1))
