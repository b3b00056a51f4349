"""The picture of damage says what was found and what is doubtful."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc.restore import damage_picture
from plc.restore.detect.recorded import detect_file
from tests.signals import tones

RATE = 16_000


def texts_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return all texts of the picture of a recording."""
    pytest.importorskip("matplotlib", reason="comes with the extra plots")
    from matplotlib.text import Text

    drawn: list[Any] = []
    monkeypatch.setattr(damage_picture, "save", lambda figure, _: drawn.append(figure))
    damage_picture.draw_damage(path.with_suffix(".png"), path, detect_file(path))
    return [each.get_text() for each in drawn[0].findobj(Text)]


def test_a_gate_is_drawn_as_doubtful_and_a_hole_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, hole = tmp_path / "gate.wav", tmp_path / "hole.wav"
    signal = tones(1, RATE, 3 * RATE)
    signal[20_000:20_400] = 0.0
    soundfile.write(hole, signal, RATE, subtype="PCM_16")
    for start in range(0, 3 * RATE, RATE // 4):
        signal[start : start + 800] = 0.0
    soundfile.write(gate, signal, RATE, subtype="PCM_16")
    told = texts_of(hole, monkeypatch)
    assert "hole.wav: 1 place" in told
    assert "silence (1)" in told
    assert not any("doubtful" in text for text in told)
    told = texts_of(gate, monkeypatch)
    count = len(detect_file(gate).doubtful)
    assert count > 5
    assert any(text.endswith(f" and {count} doubtful") for text in told)
    assert any(f", {count} doubtful)" in text for text in told)
    assert sum("\ndoubtful: too much of the recording" in text for text in told) >= 3


def test_a_close_look_is_at_a_damaged_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    signal = np.stack([tones(seed, RATE, 2 * RATE) for seed in (1, 2)], axis=1)
    signal[20_000:20_400, 1] = 0.0
    soundfile.write(path, signal, RATE, subtype="PCM_16")
    lines: list[Any] = []
    draw = damage_picture._draw_close

    def noted(*given: Any) -> None:
        lines.append(given[3])
        draw(*given)

    monkeypatch.setattr(damage_picture, "_draw_close", noted)
    told = texts_of(path, monkeypatch)
    assert any("channel 2" in text for text in told)
    (piece,) = lines
    margin = round(damage_picture._MARGIN_S * RATE)
    assert not piece[margin + 20 : margin + 380].any()
