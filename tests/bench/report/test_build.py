import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc.errors import ConfigError
from plc_bench.quality import excerpts, study
from plc_bench.report import build
from plc_bench.report.ratings import FORMAT
from tests.bench.quality.test_study import peer, settings, write_clips
from tests.plc.files.pages.test_listening import wave_of

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two clips with hostile names, of which one peer fails."""
    folder = tmp_path_factory.mktemp("study")
    clips = write_clips(folder / "data", "music/<b>a&b.wav", "speech/'c'.wav")
    peers = {"crash": peer("sys.exit('<i>no</i>')"), "codec": peer(_CODEC, coded=True)}
    methods = ("zeros", "repeat", *peers)
    study.run(folder / "out", clips, settings(methods=methods, peers=peers, excerpt_count=2))
    return folder / "out"


# What comes out differs from what went in everywhere.
_CODEC = "soundfile.write(sys.argv[3],0.9*x,r)"


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


def test_a_page_holds_the_versions_to_the_last_bit(results: Path, tmp_path: Path) -> None:
    page = build.build(results, tmp_path / "report")
    assert page.clips == 2
    files = [path for path in (tmp_path / "report").rglob("*") if path.is_file()]
    assert page.total_bytes == sum(path.stat().st_size for path in files)
    kept = excerpts.find(results)
    described = data_of(page.path.read_text())["clips"]
    for clip, excerpt in zip(described, kept, strict=True):
        script = (tmp_path / "report" / clip["audio"]).read_text()
        audio = json.loads(script.removeprefix(f"plcClip({clip['id']},").removesuffix(");\n"))
        decoded = {
            name: soundfile.read(
                io.BytesIO(base64.b64decode(one["audio"])), dtype="int16", always_2d=True
            )[0]
            for name, one in audio.items()
        }
        assert set(decoded) == {"reference", "repeat", "codec"}  # zeros are made by the page
        reference = excerpt.read("reference")
        np.testing.assert_array_equal(decoded["reference"], reference)
        assert audio["repeat"]["difference"]
        assert not audio["codec"]["difference"]
        np.testing.assert_array_equal(decoded["repeat"] + reference, excerpt.read("repeat"))
        np.testing.assert_array_equal(decoded["codec"], excerpt.read("codec"))
        assert clip["trace"] == "".join("01"[int(lost)] for lost in excerpt.trace)
        for track in clip["tracks"]:
            assert (tmp_path / "report" / track["picture"]).stat().st_size > 1000
            lines, gaps = wave_of((tmp_path / "report" / track["near"]).read_text())
            assert len(lines) == (1 if track["name"] == "reference" else 2)
            (stop_ms,) = (stop for start, stop in gaps if abs(start) < 0.5)
            inside = lines[-1][1][(lines[-1][0] > 1.0) & (lines[-1][0] < stop_ms - 1.0)]
            assert (np.abs(inside).max() < 0.01) == (track["name"] in ("lossy", "zeros"))


def test_names_cannot_become_markup(results: Path, tmp_path: Path) -> None:
    page = build.build(results, tmp_path / "report").path.read_text()
    assert "<i>no" not in page
    assert "&lt;i&gt;no&lt;/i&gt;" in page  # the failure is there
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_what_lies_beside_a_page_stays(results: Path, tmp_path: Path) -> None:
    clips = tmp_path / "report" / "clips"
    clips.mkdir(parents=True)
    for name in ("mine.png", "app.js", "7.js", "7-2.png", "7-2.svg"):
        (clips / name).touch()
    page = build.build(results, tmp_path / "report")
    left = {path.name for path in clips.iterdir()}
    assert {"mine.png", "app.js"} <= left
    assert not {"7.js", "7-2.png", "7-2.svg"} & left
    ours = (*clips.iterdir(), page.path, page.path.with_name("curves.png"))
    assert page.total_bytes == sum(path.stat().st_size for path in ours)


def test_a_page_of_somebody_else_is_not_written_over(results: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>Mine</h1>")
    with pytest.raises(ConfigError, match="is another page"):
        build.build(results, tmp_path)
    assert (tmp_path / "index.html").read_text() == "<h1>Mine</h1>"
    page = build.build(results, tmp_path / "report").path
    assert build.build(results, tmp_path / "report").path == page


def test_ratings_find_their_place(results: Path, tmp_path: Path) -> None:
    trial = {"clip": "x", "condition": "y", "ratings": {"reference": 100, "repeat": 41}}
    rated = tmp_path / "r.json"
    said = {"format": FORMAT, "study": study.load(results).identity, "listener": "Ada"}
    rated.write_text(json.dumps({**said, "trials": [trial]}))
    page = build.build(results, tmp_path / "report", [rated]).path.read_text()
    assert "Rated blind" in page
    assert 'data-value="41"' in page


def test_a_page_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no study"):
        build.build(tmp_path, tmp_path / "report")
