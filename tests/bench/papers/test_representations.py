import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.papers.representations.named import REPRESENTATIONS
from plc_bench.cli import app
from plc_bench.papers import representations as bench
from tests.options import ran
from tests.plc.papers.representations.test_named import EXACT
from tests.signals import tones

RATE = 16_000


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench, "SECONDS", 0.5)
    for folder, seed in (("music", 1), ("instruments", 2)):
        place = tmp_path / "clips" / folder
        place.mkdir(parents=True)
        soundfile.write(place / f"{folder}.wav", tones(seed, RATE, RATE), RATE, subtype="FLOAT")
    return tmp_path / "clips"


def test_the_command_tells_exact_representations_from_others(clips: Path) -> None:
    arguments = ["papers", "representations", str(clips)]
    result = ran(app, *arguments, "--json")
    scores = json.loads(result.stdout)["scores"]
    assert {score["representation"] for score in scores} == set(REPRESENTATIONS)
    assert len(scores) == 2 * len(REPRESENTATIONS)
    assert {score["domain"] for score in scores} == {"music", "instruments"}
    for score in scores:
        exact = score["representation"] in EXACT
        assert (score["snr_db"] > 110) == exact, score
        assert (score["convergence_db"] < -100) == exact, score
        assert score["inverse_ms"] >= 0
    sizes = {score["representation"]: score["numbers"] for score in scores}
    assert sizes["waveform"] == 1
    assert sizes["mfcc"] < sizes["mel"] < 1 < sizes["complex"] < sizes["nsgt"]


def test_a_silent_clip_is_a_failure(clips: Path) -> None:
    soundfile.write(clips / "silent.wav", np.zeros(RATE), RATE)
    arguments = [*("papers", "representations", str(clips)), "--json"]
    result = ran(app, *arguments, status=1)
    assert "the middle 0.5 s of silent.wav are silent" in result.stderr
    assert len(json.loads(result.stdout)["failures"]) == 1


def test_the_picture_shows_a_note_in_all_of_them(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "note.png"
    bench.draw_representations(path, tones(1, RATE, 8000), RATE, "a chord")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000
