from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from plc.apps.demo import CLIPS, LABELS, LOSSY, clip_audio, run
from plc.audio.files import read_audio
from plc.audio.loss import read_trace
from plc.audio.quality import nmse_db
from plc.errors import AudioFileError

BUNDLE_BYTES_MAX = 1_000_000


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
        for word in ("title", "author", "source", "CC-BY-SA", "changes", "Debian"):
            assert word in section


def test_the_demo_compares_all_ways_on_the_same_losses(tmp_path: Path) -> None:
    report = run(tmp_path / "new" / "folder", seed=3, pictures=False)
    folder = Path(report.folder)
    assert [(row.clip, row.label) for row in report.rows] == [
        (clip, label) for clip in CLIPS for label in (LOSSY, *LABELS.values())
    ]
    for row in report.rows:
        original, sample_rate = clip_audio(row.clip)
        lost = np.repeat(read_trace(folder / f"{row.clip}.trace"), sample_rate // 50)
        played = read_audio(folder / row.file)[0][:, 0]
        # The file has 16 bits, the row was computed before.
        measured = nmse_db(original, played, lost[: len(original)])
        assert row.nmse_db == pytest.approx(measured, abs=0.02)
        assert (row.p50_ms is None) == (row.label == LOSSY)
    assert report.pictures == ()
    assert report.picture_problem is None


def test_on_the_music_ours_is_better_than_repeating_by_5_db_and_than_silence_by_2(
    tmp_path: Path,
) -> None:
    # Without a limit, so that a busy machine does not choose a cheaper rung.
    report = run(tmp_path, pictures=False)
    rows = {row.label: row for row in report.rows if row.clip == "music"}
    assert rows[LOSSY].nmse_db == pytest.approx(0.0)
    assert rows["plc"].nmse_db < -2.0
    assert rows["plc"].nmse_db < rows["repeat"].nmse_db - 5.0


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioFileError, match="cannot make the folder"):
        run(tmp_path / "file" / "demo")
