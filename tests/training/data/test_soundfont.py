"""Notes from a soundfont: the MIDI file, the tables, and the sound itself where FluidSynth is."""

import csv
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.errors import ConfigError, MissingExtraError
from plc_training.cli import app
from plc_training.data import soundfont
from plc_training.data.library import find_library
from plc_training.data.soundfont import SOUNDFONT, Notes, midi_file, render_notes
from tests.options import ran


def events_of(track: bytes) -> list[tuple[int, bytes]]:
    """Return the events of a track with their times in ticks."""
    found, place, time = [], 0, 0
    while place < len(track):
        ticks = 0
        while True:
            byte = track[place]
            place += 1
            ticks = ticks << 7 | byte & 0x7F
            if byte < 0x80:
                break
        time += ticks
        size = 2 if track[place] >> 4 == 0xC else 3
        found.append((time, track[place : place + size]))
        place += size
    return found


def test_a_midi_file_plays_each_note_for_three_seconds_of_four() -> None:
    song = midi_file(40, [(60, 50), (72, 115)])
    name, size, kind, tracks, ticks = struct.unpack(">4sIHHH", song[:14])
    assert (name, size, kind, tracks, ticks) == (b"MThd", 6, 0, 1, 480)
    name, size = struct.unpack(">4sI", song[14:22])
    assert (name, size) == (b"MTrk", len(song) - 22)
    second = 960  # two quarter notes of 480 ticks, at 120 a minute
    assert events_of(song[22:]) == [
        (0, bytes([0xC0, 40])),
        (0, bytes([0x90, 60, 50])),
        (3 * second, bytes([0x90, 60, 0])),
        (4 * second, bytes([0x90, 72, 115])),
        (7 * second, bytes([0x90, 72, 0])),
        (8 * second, b"\xff\x2f\x00"),
    ]


def test_rendered_notes_have_their_pitch_and_are_a_library(tmp_path: Path) -> None:
    if shutil.which("fluidsynth") is None or not SOUNDFONT.is_file():
        pytest.skip("needs fluidsynth and fluid-soundfont-gm")
    arguments = ["train", "notes", "--out", str(tmp_path), "--programs", "0,19,73"]
    arguments += ["--pitches", "57,69"]
    result = ran(app, *arguments)
    assert "18 notes in 3 files" in result.stdout
    with (tmp_path / "notes.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 18
    for row in rows:
        x, rate = soundfile.read(tmp_path / row["path"], dtype="float32", always_2d=True)
        assert rate == 16_000
        start = round(float(row["start_s"]) * rate)
        note = x[start + rate // 2 : start + 2 * rate].mean(axis=1)
        spectrum = np.abs(np.fft.rfft(note * np.hanning(note.size)))
        hz = 440.0 * 2 ** ((int(row["midi"]) - 69) / 12)
        # The fundamental stands above its surroundings, a semitone off.
        bin_hz = rate / note.size
        at, off = round(hz / bin_hz), round(hz * 2 ** (1 / 12) / bin_hz)
        assert spectrum[at - 2 : at + 3].max() > 10 * spectrum[off - 2 : off + 3].max(), row
    assert {clip.licence for clip in find_library(tmp_path)} == {"MIT"}
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.flac")}
    ran(app, *arguments)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.flac")}


def test_programs_that_are_named_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "fluidsynth")
    font = tmp_path / "font.sf2"
    font.touch()
    monkeypatch.setattr(soundfont, "SOUNDFONT", font)
    for program in range(3):
        (tmp_path / f"gm{program:03d}.flac").touch()  # rendered already
    render_notes(Notes(programs=range(3), pitches=[60], valid=[1]), tmp_path)
    splits = [clip.split for clip in find_library(tmp_path)]
    assert splits == ["train", "valid", "train"]


def test_programs_share_the_pitches_among_them() -> None:
    notes = Notes(programs=range(6), pitches=range(60, 67), every=3)
    heard = [[pitch for pitch, _ in notes.played_by(program)][::3] for program in range(4)]
    assert heard == [[60, 63, 66], [61, 64], [62, 65], [60, 63, 66]]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--every", "62"], "every is 62; expected 1 to 61"),
        (["--programs", "0-3", "--valid", "3,4"], r"not rendered: \[4\]"),
        (["--gain", "0"], "gain is 0; FluidSynth has more than 0"),
        (["--programs", "a"], "--programs is 'a'; give numbers such as 0-7"),
        (["--programs", "128"], "programs are .128.; expected at least one, 0 to 127"),
        (["--pitches", "9-3"], "pitches are ..; expected at least one"),
    ],
)
def test_notes_that_midi_does_not_have_are_refused(
    options: list[str], match: str, tmp_path: Path
) -> None:
    result = ran(app, "train", "notes", "--out", str(tmp_path), *options, status=1)
    with pytest.raises(ConfigError, match=match):
        raise result.exception  # type: ignore[misc]


def test_what_is_missing_is_named_with_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(MissingExtraError, match="apt-get install fluidsynth"):
        render_notes(Notes(), tmp_path)
    monkeypatch.setattr("shutil.which", lambda _: "fluidsynth")
    monkeypatch.setattr(soundfont, "SOUNDFONT", tmp_path / "none.sf2")
    with pytest.raises(MissingExtraError, match=r"there is no soundfont .*none.sf2"):
        render_notes(Notes(), tmp_path)
