import base64
import io
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc.engine.trace_files import read_trace
from plc.errors import AudioFileError, ConfigError, MissingExtraError, PlcError
from plc.files.audio import read_audio
from plc.files.distances import nmse_db
from plc.programs.demo import (
    BUFFERED,
    CLIPS,
    LOSSY,
    OURS,
    REMEDIES,
    SPEECH,
    DemoReport,
    Rival,
    clip_audio,
    run,
)
from tests.plc.files.pages.test_listening import wave_of

BUNDLE_BYTES_MAX = 1_000_000


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> DemoReport:
    """Return a demonstration without pictures, of which nothing is timed."""

    def peak(original: Any, played: Any, lost: Any, sample_rate: int) -> float:
        assert original.shape == played.shape == (lost.size, 1)
        return float(np.abs(played[lost]).max())

    def absent(original: Any, played: Any, lost: Any, sample_rate: int) -> float:
        raise MissingExtraError("pip install it")

    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    judges = {"peak": peak, "absent": absent}
    return run(folder, pictures=False, live_s=0.0, judges=judges)


@pytest.mark.parametrize("clip", CLIPS)
def test_a_bundled_clip_is_a_few_seconds_of_sound(clip: str) -> None:
    signal, sample_rate = clip_audio(clip)
    assert 3.0 < len(signal) / sample_rate < 8.0
    assert signal.dtype == np.float32
    assert 0.3 < np.abs(signal).max() < 1.0
    assert np.sqrt(np.mean(signal**2)) > 0.03


def test_the_bundle_is_small_and_each_clip_has_a_licence() -> None:
    data = files("plc") / "data"
    entries = {entry.name: entry for entry in data.iterdir() if entry.is_file()}
    assert sum(len(entry.read_bytes()) for entry in entries.values()) < BUNDLE_BYTES_MAX
    licence = entries["LICENCE.md"].read_text()
    for clip in CLIPS:
        section = licence.partition(f"## {clip}.flac")[2].partition("\n## ")[0]
        terms = "MIT" if clip == "clarinet" else "CC-BY-SA"
        for word in ("title", "author", "source", terms, "changes", "Debian"):
            assert word in section


def test_a_demo_in_which_nothing_is_lost_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no packet of the clip .* was lost: give a higher loss"):
        run(tmp_path / "new", loss=0.0, pictures=False, live_s=0.0)
    assert not list(tmp_path.iterdir())


def test_the_demo_compares_all_ways_on_the_same_losses(report: DemoReport) -> None:
    folder = Path(report.folder)
    assert [(row.clip, row.label) for row in report.rows] == [
        (clip, label) for clip in CLIPS for label in (LOSSY, *REMEDIES.values(), OURS, BUFFERED)
    ]
    for row in report.rows:
        original, sample_rate = clip_audio(row.clip)
        lost = np.repeat(read_trace(folder / f"{row.clip}.trace"), sample_rate // 50)
        played = read_audio(folder / row.file)[0][:, 0]
        # The file has 16 bits, the row was computed before.
        measured = nmse_db(original, played, lost[: len(original)])
        assert row.nmse_db == pytest.approx(measured, abs=0.02)
        assert row.p50_ms is None
    assert report.pictures == ()
    assert report.picture_problem is None


def test_speech_is_judged_by_those_who_can(report: DemoReport) -> None:
    assert report.judge_problem == "pip install it"
    for row in report.rows:
        assert list(row.scores) == (["peak"] if row.clip == SPEECH else [])
        if row.scores:
            assert (row.scores["peak"] == 0.0) == (row.label == LOSSY)


def test_rivals_play_beside_and_one_that_cannot_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plc.programs.demo.REMEDIES", {"repeat": "repeat"})

    def inverted(signal: Any, lost: Any, packet_samples: int, sample_rate: int) -> Any:
        assert (sample_rate, signal.shape) in stated
        assert lost.size == -(-len(signal) // packet_samples)
        return np.concatenate([-signal, signal])  # longer: whole packets

    def absent(*stream: Any) -> Any:
        raise PlcError("apt-get install it")

    signals = [clip_audio(clip) for clip in CLIPS]
    stated = {(sample_rate, (len(signal), 1)) for signal, sample_rate in signals}
    rivals = {"Codec": Rival(how="turns it over", play=inverted), "No": Rival(how="", play=absent)}
    report = run(tmp_path, pictures=False, live_s=0.0, rivals=rivals)
    assert report.rival_problem == "No: apt-get install it"
    rows = [row for row in report.rows if row.label == "Codec"]
    assert [(row.clip, row.how) for row in rows] == [(clip, "turns it over") for clip in CLIPS]
    for row in rows:
        assert row.nmse_db == pytest.approx(20 * np.log10(2.0), abs=1e-3)
        heard = read_audio(tmp_path / row.file)[0][:, 0]
        np.testing.assert_allclose(heard, -clip_audio(row.clip)[0], atol=2**-14)
    assert "turns it over" in (tmp_path / report.page).read_text(encoding="utf-8")
    # The folder may be written again, with a rival less.
    run(tmp_path, pictures=False, live_s=0.0, rivals={}, overwrite=False)


def test_the_engine_alone_is_timed_as_a_live_stream_with_its_defaults(tmp_path: Path) -> None:
    report = run(tmp_path, pictures=False, live_s=0.2)
    for row in report.rows:
        if row.label != OURS:
            assert (row.times, row.p50_ms, row.limit_ms) == (("", ""), None, None)
            continue
        assert row.limit_ms == 5.0  # a quarter of a packet
        assert row.p50_ms is not None
        assert row.p99_ms is not None
        assert 0.0 < row.p50_ms <= row.p99_ms
        assert row.times == (f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}")


def test_the_page_shows_the_table_and_one_gap_from_near(report: DemoReport) -> None:
    page = Path(report.folder, report.page).read_text(encoding="utf-8")
    for row in report.rows:
        for text in (row.clip, row.label, row.how):
            assert f"<td class=text>{text}</td>" in page
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    for clip in json.loads(found[1]):
        for track in clip["tracks"]:
            head, _, data = track["near"].partition(",")
            assert head == "data:image/svg+xml;base64"
            lines, gaps = wave_of(base64.b64decode(data))
            assert len(lines) == (1 if track["name"] == "reference" else 2)
            (stop_ms,) = (stop for start, stop in gaps if abs(start) < 0.5)
            assert stop_ms / 20 == pytest.approx(round(stop_ms / 20), abs=0.03)
            inside = lines[-1][1][(lines[-1][0] > 1.0) & (lines[-1][0] < stop_ms - 1.0)]
            assert (np.abs(inside).max() < 0.01) == (track["name"] == LOSSY)


def test_the_page_holds_every_version_and_refers_to_nothing(report: DemoReport) -> None:
    page = Path(report.folder, report.page).read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    clips = json.loads(found[1])
    for clip, name in zip(clips, CLIPS, strict=True):
        original, sample_rate = clip_audio(name)
        assert (clip["sampleRate"], clip["samples"]) == (sample_rate, len(original))
        stored = clip["audio"]["reference"]
        reference = soundfile.read(io.BytesIO(base64.b64decode(stored["audio"])))[0]
        np.testing.assert_allclose(reference, original, atol=2**-15)
        for label in (LOSSY, *REMEDIES.values(), OURS, BUFFERED):
            part = soundfile.read(io.BytesIO(base64.b64decode(clip["audio"][label]["audio"])))[0]
            heard = read_audio(Path(report.folder, f"{name}-{label.lower()}.wav"))[0][:, 0]
            whole = reference + part if clip["audio"][label]["difference"] else part
            np.testing.assert_allclose(whole, heard, atol=2**-14)


def test_on_music_and_an_instrument_ours_is_better_than_all_and_far_better_than_repeating(
    report: DemoReport,
) -> None:
    for clip, over_silence_db in (("music", 2.0), ("clarinet", 6.0)):
        rows = {row.label: row.nmse_db for row in report.rows if row.clip == clip}
        assert rows[LOSSY] == pytest.approx(0.0)
        both_sides = rows.pop(BUFFERED)
        assert rows["plc"] == min(rows.values())
        assert both_sides < rows["plc"] + 0.1
        assert rows["plc"] < -over_silence_db
        assert rows["plc"] < rows["repeat"] - 5.0


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioFileError, match="cannot make the folder"):
        run(tmp_path / "file" / "demo")
    with pytest.raises(AudioFileError, match="a file stands where a folder is to be"):
        run(tmp_path / "file")
