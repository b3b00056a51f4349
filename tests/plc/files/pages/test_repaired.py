"""Pages of repairs show the channels that were damaged."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from plc.engine.trace_files import write_trace
from plc.files.fill.gaps import Hole
from plc.files.pages import listening
from plc.files.pages.repaired import excerpts_of, page_of
from plc.files.recordings import Repaired
from plc.programs.cli.app import app
from tests.plc.files.pages.test_listening import wave_of
from tests.signals import tones

RATE = 16_000
HOLE = (16_000, 16_400)


@pytest.fixture
def one(tmp_path: Path) -> Repaired:
    """Return a recording whose second channel was repaired."""
    whole = np.stack([tones(seed, RATE, 2 * RATE) for seed in (1, 2)], axis=1)
    damaged = whole.copy()
    damaged[slice(*HOLE), 1] = 0.0
    for name, signal in (("a.wav", damaged), ("b.wav", whole)):
        soundfile.write(tmp_path / name, signal, RATE, subtype="FLOAT")
    files = tmp_path / "a.wav", tmp_path / "b.wav"
    return Repaired("a.wav", *files, RATE, (HOLE,), holes=(Hole(*HOLE, (1,)),))


def seen(call: Any, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """Return the arguments that a function of a module gets."""
    got: list[Any] = []
    known = getattr(module, name)

    def noted(*given: Any) -> Any:
        got.append(given)
        return known(*given)

    monkeypatch.setattr(module, name, noted)
    call()
    return got


def test_the_page_shows_the_damaged_channel_and_plays_all(
    one: Repaired, monkeypatch: pytest.MonkeyPatch
) -> None:
    page: list[str] = []
    shown = seen(lambda: page.append(page_of([one])), monkeypatch, listening, "_picture")
    (excerpt,) = excerpts_of(one, 1)
    assert excerpt.channels == (1,)
    for (signal, clip, _), stereo in zip(shown, (excerpt.before, excerpt.after), strict=True):
        np.testing.assert_allclose(signal, stereo[:, 1], atol=1e-4)
        assert clip.versions[0].signal.shape[1] == 2
    assert "0:00:01.00 · 25.0 ms filled · channel 2" in page[0].replace("\\u00b7", "·")


def test_the_page_shows_the_gap_as_a_wave(one: Repaired) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page_of([one]))
    assert found is not None
    (clip,) = json.loads(found[1])
    before, after = (
        wave_of(base64.b64decode(track["near"].removeprefix("data:image/svg+xml;base64,")))
        for track in clip["tracks"]
    )
    beside = RATE * 12 // 1000
    for (*behind, line), path in ((before[0], one.source), (after[0], one.target)):
        shown = soundfile.read(path)[0][HOLE[0] - beside : HOLE[1] + beside, 1]
        for ms, amplitude in line.T:
            at = beside + round(ms * RATE / 1000)
            close = shown[max(0, at - 2) : at + 3]
            assert close.min() - 0.02 < amplitude < close.max() + 0.02
        assert line[1].max() == pytest.approx(shown.max(), abs=0.02)
        assert len(behind) == (path == one.target)
    np.testing.assert_allclose(before[1], [(0.0, 25.0)], atol=0.1)
    np.testing.assert_array_equal(before[0][0], after[0][0])
    inside = (before[0][0][0] > 0.5) & (before[0][0][0] < 24.5)
    assert np.abs(before[0][0][1][inside]).max() < 0.01
    assert np.abs(after[0][1][1][inside]).max() > 0.1


def test_where_all_channels_are_damaged_their_mean_is_shown(one: Repaired) -> None:
    for holes in ((), (Hole(*HOLE),), (Hole(*HOLE, (0,)), Hole(16_100, 16_200, (1,)))):
        every = Repaired(one.name, one.source, one.target, RATE, one.gaps, holes=holes)
        assert excerpts_of(every, 1)[0].channels == ()


def test_words_and_counts_of_a_page_of_concealed_packets_agree(tmp_path: Path) -> None:
    source, target, page = (tmp_path / name for name in ("a.wav", "b.wav", "c.html"))
    soundfile.write(source, tones(1, RATE, 20 * RATE), RATE)
    trace = np.zeros(2000, np.bool_)
    trace[np.r_[40:46, 60, 70:72, 500, 900:903, 905, 1500, 1990]] = True
    write_trace(tmp_path / "a.trace", trace)
    given = source, target, "--trace", tmp_path / "a.trace", "--report", page, "--method", "ar"
    result = CliRunner().invoke(app, ["conceal", *map(str, given)])
    assert "concealed 16 of 2000 packets" in result.stdout
    assert f"listen: {page}" in result.stdout
    told = page.read_text().replace("\\u00b7", "·")
    assert "<h1>Concealed</h1>" in told
    assert "Repaired" not in told
    assert "filled" not in told
    assert "1 recording, 8 gaps concealed. To listen to: 2 excerpts with " in told
    cells = re.findall(r'<td data-value="([\d.]+)">', told)
    assert [float(cell) for cell in cells] == [8, 160, 60]
    heard = re.findall(r"· (?:(\d+) gaps, )?([\d.]+) ms concealed", told)
    count = re.search(r"(\d+) of them, the longest among these", told)
    assert count is not None
    assert sum(int(gaps or 1) for gaps, _ in heard) == int(count[1])
