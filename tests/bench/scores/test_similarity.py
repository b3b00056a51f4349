"""ViSQOL hears what is missing, and says where it has nothing to compare."""

import importlib.util
import math
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.errors import MissingExtraError
from plc_bench.scores import registry, similarity
from tests.signals import noise, tones

RATE = similarity.AUDIO_RATE


def test_an_absent_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    similarity._judge.cache_clear()
    monkeypatch.setitem(sys.modules, "visqol", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[visqol\]"):
        similarity.visqol_speech(np.zeros(1), np.zeros(1))


@pytest.mark.deep  # its kernels are compiled for half a minute
def test_holes_are_heard_and_silence_has_no_score() -> None:
    pytest.importorskip("visqol", reason="visqol-python is not installed")
    signal = tones(1, RATE, 3 * RATE)[:, None] + noise(1, 3 * RATE, 1e-3)[:, None]
    holed, lost = signal.copy(), np.zeros(len(signal), np.bool_)
    for start in range(0, len(signal), 9600):
        lost[start : start + 960] = True
    holed[lost] = 0.0
    for name in ("visqol", "visqol-audio"):
        score = registry.METRICS[name].score
        same, damaged = score(signal, signal, lost, RATE), score(signal, holed, lost, RATE)
        assert 1.0 <= damaged < same - 0.1 < 5.0, name
        assert math.isnan(score(0 * signal, signal, lost, RATE)), name
        assert math.isnan(score(signal[:100], signal[:100], lost[:100], RATE)), name


def pcm(signal: NDArray[np.float32]) -> bytes:
    return (signal * 32767.0).astype(np.int16).tobytes()


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b", "a x b y", 2), ("a b c", "x y", 3)],
)
def test_errors_are_words_put_in_left_out_and_replaced(said: str, heard: str, errors: int) -> None:
    assert similarity.edits(tuple(said.split()), tuple(heard.split())) == errors


def test_errors_are_percent_of_the_words_of_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, silence = (np.full(100, level, np.float32) for level in (0.1, 0.2, 0.0))
    said = {pcm(first): ("a", "b"), pcm(second): ("a", "b", "c")}
    monkeypatch.setattr(similarity, "_words", lambda samples: said.get(samples, ()))
    assert similarity.wrong_words(first, second) == 50.0
    assert similarity.wrong_words(first, silence) == 100.0
    assert math.isnan(similarity.wrong_words(silence, first))


@pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed"
)
def test_noise_is_read_the_same_again() -> None:
    similarity._words.cache_clear()
    once = similarity._words(pcm(noise(1, 8000)))
    similarity._words.cache_clear()
    assert similarity._words(pcm(noise(1, 8000))) == once


@pytest.mark.skipif(
    importlib.util.find_spec("zimtohrli") is None, reason="zimtohrli is not installed"
)
def test_zimtohrli_grades_what_is_further_off_lower() -> None:
    sound = noise(4, 48_000)
    grades = [similarity.zimtohrli(sound, sound + part * noise(5, 48_000)) for part in (0, 0.1, 1)]
    assert grades == sorted(grades, reverse=True)
    assert grades[0] == pytest.approx(5.0)
    assert grades[0] - grades[2] > 1.0
    assert math.isnan(similarity.zimtohrli(sound, 0.0 * sound))


def test_an_absent_zimtohrli_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zimtohrli", None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps zimtohrli"):
        similarity.zimtohrli(noise(2, 800), noise(3, 800))


def test_an_absent_recogniser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    similarity._words.cache_clear()
    with pytest.raises(MissingExtraError, match="pip install --no-deps pocketsphinx"):
        similarity.wrong_words(noise(2, 800), noise(3, 800))
