"""Finding, splitting and decoding a library."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from plc.errors import ConfigError
from plc.files.audio import AudioReader
from plc_training.data import library
from plc_training.data.library import (
    decode_library,
    find_library,
    read_samples,
    sources_of,
)
from tests.training.clips import (
    RATE,
    stereo_at,
    write_clips,
    write_corrupt,
    write_manifest,
)

# Half a step of int16, and a little for float32.
INT16_TOLERANCE = 0.51 / 32767


def spied_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that the names of all files which are opened from here on go to."""
    opened: list[str] = []

    def spy(path: Path) -> AudioReader:
        opened.append(path.name)
        return AudioReader(path)

    monkeypatch.setattr(library, "AudioReader", spy)
    return opened


def test_a_folder_is_split_by_the_names_of_its_files(tmp_path: Path) -> None:
    write_clips(tmp_path / "a", 40, seconds=0.01)
    clips = find_library(tmp_path / "a")
    valid = [clip.path.name for clip in clips if clip.split == "valid"]
    assert 1 <= len(valid) <= 10
    (tmp_path / "a").rename(tmp_path / "b")
    again = find_library(tmp_path / "b")
    assert [clip.path.name for clip in again if clip.split == "valid"] == valid


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_small_folder_still_trains_and_validates(tmp_path: Path, count: int) -> None:
    write_clips(tmp_path, count, seconds=0.01)
    assert {clip.split for clip in find_library(tmp_path, "speech")} == {"train", "valid"}
    assert {clip.domain for clip in find_library(tmp_path, "speech")} == {"speech"}


def test_one_file_is_refused(tmp_path: Path) -> None:
    write_clips(tmp_path, 1)
    with pytest.raises(ConfigError, match="one more, to validate with"):
        find_library(tmp_path)


def test_a_manifest_says_the_splits_and_domains(tmp_path: Path) -> None:
    write_clips(tmp_path, 3, seconds=0.01)
    rows = [("clip0.wav", "music", "train"), ("clip1.wav", "speech", "valid")]
    write_manifest(tmp_path, [*rows, ("clip2.wav", "music", "test")])
    found = [(clip.path.name, clip.domain, clip.split) for clip in find_library(tmp_path)]
    assert found == rows


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("path,start_s\nclip0.wav,0\n", "no column named duration_s"),
        ("path,start_s,duration_s\nclip0.wav,now,1\n", "line 2: start_s is 'now'"),
        ("path,start_s,duration_s\nclip0.wav,0\n", "duration_s is None; expected s"),
        ("path,start_s,duration_s\nclip0.wav,-1,1\n", "a start of at least 0"),
        ("path,start_s,duration_s\nclip0.wav,0,nan\n", "a duration above 0"),
    ],
)
def test_malformed_bounds_of_notes_are_refused(tmp_path: Path, text: str, match: str) -> None:
    write_clips(tmp_path, 2, seconds=0.01)
    write_manifest(tmp_path, [("clip0.wav", "music", "train"), ("clip1.wav", "music", "valid")])
    (tmp_path / "notes.csv").write_text(text)
    with pytest.raises(ConfigError, match=match):
        find_library(tmp_path)


def test_sources_are_told_with_all_their_licences(tmp_path: Path) -> None:
    rows = [
        ("a.wav", "music", "train", "here", "MIT"),
        ("b.wav", "music", "train", "here", "CC0"),
        ("c.wav", "music", "valid", "there", ""),
        ("d.wav", "music", "train", "", "MIT"),
    ]
    header = "path,domain,split,source,licence"
    (tmp_path / "manifest.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    assert sources_of(find_library(tmp_path)) == {
        "here": "CC0; MIT",
        "there": "licence not said",
    }


def test_nothing_of_the_test_split_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clips(tmp_path, 3, seconds=0.1)
    rows = [(f"clip{k}.wav", "music", split) for k, split in enumerate(("train", "valid", "test"))]
    write_manifest(tmp_path, rows)
    opened = spied_on(monkeypatch)
    decode_library(find_library(tmp_path), RATE, tmp_path / "cache")
    assert opened == ["clip0.wav", "clip1.wav"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("path,domain\na.wav,music\n", "no column named split"),
        ("path,domain,split\na.wav,music,trian\n", "line 2: split is 'trian'"),
        ("path,domain,split\n,music,train\n", "line 2: path is empty"),
        ("path,domain,split,source_nyquist_hz\na.wav,music,train,high\n", "expected Hz"),
        ("path,domain,split\na.wav,music,test\n", "no audio of the splits"),
    ],
)
def test_a_malformed_manifest_is_refused_by_its_line(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ConfigError, match=match):
        find_library(tmp_path)


def test_a_corrupt_file_is_reported_and_the_others_decoded(tmp_path: Path) -> None:
    write_clips(tmp_path, 3, seconds=0.1)
    write_corrupt(tmp_path)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), RATE, subtype="FLOAT")
    done: list[int] = []
    decoded, failures = decode_library(
        find_library(tmp_path), RATE, tmp_path / "cache", on_done=lambda: done.append(1)
    )
    assert len(decoded) == 3
    assert sorted(failure.clip for failure in failures) == ["corrupt.flac", "nan.wav"]
    assert len(done) == 5
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_file_that_vanished_fails_alone(tmp_path: Path) -> None:
    paths = write_clips(tmp_path, 3, seconds=0.1)
    clips = find_library(tmp_path)
    paths[1].unlink()
    decoded, failures = decode_library(clips, RATE, tmp_path / "cache")
    assert [each.clip.path.name for each in decoded] == ["clip0.wav", "clip2.wav"]
    assert "No such file" in failures[0].reason


def test_decoding_in_blocks_is_decoding_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clips(tmp_path, 1, seconds=0.1)
    path = stereo_at(tmp_path, 44_100, 30_000)
    monkeypatch.setattr(library, "_BLOCK_SAMPLES", 1_000)
    decoded, _ = decode_library(find_library(tmp_path), RATE, tmp_path / "cache")
    [samples] = [read_samples(each) for each in decoded if each.clip.path == path]
    whole, rate = soundfile.read(path, dtype="float32")
    expected = soxr.resample(whole.mean(axis=1), rate, RATE, quality="HQ")
    assert samples.size == expected.size
    np.testing.assert_allclose(samples, expected, atol=2 * INT16_TOLERANCE)


def test_a_changed_file_is_decoded_again_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_clips(tmp_path, 2, seconds=0.1)
    decode_library(find_library(tmp_path), RATE, tmp_path / "cache")
    soundfile.write(paths[0], np.full(500, 0.25, np.float32), RATE)
    opened = spied_on(monkeypatch)
    decoded, _ = decode_library(find_library(tmp_path), RATE, tmp_path / "cache")
    assert opened == [paths[0].name]
    assert read_samples(decoded[0]).size == 500
