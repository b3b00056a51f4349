"""ViSQOL hears what is missing, and says where it has nothing to compare."""

import math
import sys

import numpy as np
import pytest

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
