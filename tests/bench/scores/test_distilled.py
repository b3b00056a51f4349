"""Distill-MOS as its authors' package computes it, and what its reader refuses."""

import importlib.util
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

import plc
from plc.errors import MissingExtraError
from plc_bench.base.corpus import read_clip
from plc_bench.scores import distilled, speech
from plc_bench.scores.metrics import Signal
from tests.signals import noise

RATE = speech.SPEECH_RATE
SPEECH = Path(plc.__file__).parent / "data" / "speech.flac"
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("distillmos") is None,
    reason="Distill-MOS is not installed: pip install --no-deps distillmos",
)


def speech_of(seconds: float) -> NDArray[np.float32]:
    said = read_clip(SPEECH, RATE).signal[:, 0]
    return np.resize(said, round(seconds * RATE))


@needs_weights
def test_noise_is_heard_and_short_clips_have_a_score() -> None:
    clean = speech_of(2.0)
    scores = [distilled.distillmos(clean + noise(1, clean.size, level)) for level in (0.0, 0.1)]
    assert 1.0 < scores[1] < scores[0] < 5.0
    assert 1.0 < distilled.distillmos(np.zeros(1, np.float32)) < 5.0


@needs_weights
@pytest.mark.deep
def test_a_score_is_that_of_the_authors_program(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="comes with the extra train")
    pytest.importorskip("xls_r_sqa", reason="pip install --no-deps xls-r-sqa")
    # Their package reads files with it, which is not needed here.
    monkeypatch.setitem(sys.modules, "torchaudio", ModuleType("torchaudio"))
    judge = importlib.import_module("distillmos").ConvTransformerSQAModel().eval()
    for seconds in (3.0, 9.5):
        signal = speech_of(seconds) + noise(2, round(seconds * RATE), 0.01)
        with torch.no_grad():
            expected = float(judge(torch.from_numpy(signal[None])).item())
        assert distilled.distillmos(signal) == pytest.approx(expected, abs=1e-4)


def test_a_convolution_is_its_definition() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 9, 8)).astype(np.float32)
    weight = rng.standard_normal((3, 2, 3, 3)).astype(np.float32)
    for strides in ((1, 1), (2, 1), (2, 2)):
        made = distilled._convolved(x, weight, strides)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
        rows, columns = range(0, 7, strides[0]), range(0, 8, strides[1])
        expected = [
            [[(w * padded[:, r : r + 3, c : c + 3]).sum() for c in columns] for r in rows]
            for w in weight
        ]
        np.testing.assert_allclose(made, expected, atol=1e-4)


def test_weights_that_are_no_tensors_are_refused() -> None:
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        reader = distilled._Tensors(io.BytesIO(pickle.dumps(print)), archive, "")
        with pytest.raises(pickle.UnpicklingError, match="no part of a tensor"):
            reader.load()


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    distilled._weights.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps distillmos"):
        distilled.distillmos(noise(4))


def test_the_last_score_is_remembered() -> None:
    asked: list[int] = []

    def counted(signal: Signal) -> float:
        asked.append(len(signal))
        return float(len(signal))

    judge = speech.remembered(counted)
    first, second = noise(5, 100), noise(6, 200)
    assert [judge(first), judge(first.astype(float)), judge(second)] == [100, 100, 200]
    assert asked == [100, 200]
