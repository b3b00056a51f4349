"""The table of single notes, as benchmarks read it."""

from pathlib import Path

import pytest

from plc.errors import ConfigError
from plc_bench.base.notes import NoteTable, notes_of_clips

TABLE = "path,start_s,duration_s,midi\na.wav,0,1,60\na.wav,2,0.5,\n"


def test_notes_are_found_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text(TABLE)
    clip = tmp_path / "a.wav"
    found = notes_of_clips(tmp_path / "notes.csv", [clip])
    assert found == {clip: NoteTable(((0.0, 1.0), (2.0, 0.5)), (60, 0))}


def test_a_clip_without_notes_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text(TABLE)
    with pytest.raises(ConfigError, match=r"has no note of .*b\.wav"):
        notes_of_clips(tmp_path / "notes.csv", [tmp_path / "b.wav"])
