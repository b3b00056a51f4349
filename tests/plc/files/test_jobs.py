import os
from pathlib import Path
from typing import Any

import pytest

from plc import notice
from plc.errors import AudioFileError, ConfigError
from plc.files import jobs
from plc.files.jobs import check_no_source, make_folders, pairs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of names, whose files nobody reads."""
    below = tmp_path / "in"
    for name in ("a.wav", "b.FLAC", "side/a.wav", "side/film.mkv", "notes.txt", ".hidden.wav"):
        (below / name).parent.mkdir(parents=True, exist_ok=True)
        (below / name).touch()
    return below


def names(found: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found]


def test_one_file_goes_to_one_file(folder: Path) -> None:
    ((source, target, name),), to_folder = pairs([folder / "a.wav"], folder / "out.flac")
    assert (source, target, name) == (folder / "a.wav", folder / "out.flac", "a.wav")
    assert not to_folder


def test_all_recordings_below_a_folder_keep_their_places(folder: Path, tmp_path: Path) -> None:
    found, to_folder = pairs([folder], tmp_path / "out")
    assert to_folder
    expected = ["a.wav", "b.FLAC", "side/a.wav", "side/film.mkv"]
    assert [pair.name for pair in found] == expected
    assert names([pair.source for pair in found], folder) == expected
    assert names([pair.target for pair in found], tmp_path / "out") == expected
    make_folders(pair.target for pair in found)
    assert (tmp_path / "out/side").is_dir()
    other = [pair.target.suffix for pair in pairs([folder], tmp_path / "out", ".ogg")[0]]
    assert other == [".ogg"] * 4


def test_results_below_the_source_are_no_sources(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/a.wav").touch()
    assert len(pairs([folder], folder / "out")[0]) == 4


def test_one_file_to_a_folder_keeps_its_name(folder: Path, tmp_path: Path) -> None:
    (pair,), to_folder = pairs([folder / "a.wav"], tmp_path)
    assert to_folder
    assert pair.target == tmp_path / "a.wav"


def test_what_cannot_go_there_is_refused(folder: Path, tmp_path: Path) -> None:
    two = [folder / "a.wav", folder / "side/a.wav"]
    with pytest.raises(AudioFileError, match="would both become"):
        pairs(two, tmp_path / "out")
    with pytest.raises(AudioFileError, match="several recordings go to a folder"):
        pairs(two, folder / "b.FLAC")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioFileError, match="holds no recordings"):
        pairs([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be written"):
        pairs(two, tmp_path / "out", ".xyz")
    (tmp_path / "file").touch()
    with pytest.raises(AudioFileError, match="cannot make the folder"):
        make_folders([tmp_path / "file/below/a.wav"])


def test_what_cannot_keep_its_format_becomes_flac_and_that_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("side/tape.aiff", "side/b.wma", "side/b.flac"):
        (folder / name).touch()
    out, told = tmp_path / "out", list[str]()
    monkeypatch.setattr(notice, "listener", told.append)
    found, to_folder = pairs([folder], out)
    assert to_folder
    made = {pair.name: pair.target.relative_to(out).as_posix() for pair in found}
    kept = ["a.wav", "b.FLAC", "side/a.wav", "side/b.flac", "side/film.mkv"]
    others = {"side/tape.aiff": "side/tape.flac", "side/b.wma": "side/b.wma.flac"}
    assert made == {name: name for name in kept} | others
    assert len(told) == 2
    assert told[1].endswith(f"tape.aiff: .aiff is not written; it becomes {out / 'side/tape.flac'}")
    (folder / "side/b.flac").unlink()
    assert len(pairs([folder], out, ".flac")[0]) == 6
    assert len(told) == 2


def test_no_result_takes_the_place_of_another_recording(folder: Path) -> None:
    (folder / "in/a.wav").parent.mkdir()
    (folder / "in/a.wav").write_text("another")
    (folder.parent / "link").symlink_to(folder)
    for target in (folder, folder.parent / "link", folder / "side/.."):
        with pytest.raises(AudioFileError, match="is the recording"):
            pairs([folder / "in", folder / "a.wav"], target, ".wav")


def test_the_source_is_no_folder_for_results(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(AudioFileError, match="source and target"):
        pairs([folder], folder.parent / "link")


def test_a_folder_above_the_source_takes_results(folder: Path) -> None:
    found, _ = pairs([folder], folder.parent)
    assert [pair.name for pair in found] == ["a.wav", "b.FLAC", "side/a.wav", "side/film.mkv"]


def test_names_that_a_disk_takes_for_one_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "A.wav").touch()
    assert pairs([folder], tmp_path / "out")
    monkeypatch.setattr(jobs, "folds_case", lambda path: True)
    with pytest.raises(AudioFileError, match="would both become"):
        pairs([folder], tmp_path / "out")


def test_what_cannot_be_read_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link.wav").symlink_to("nothing")
    scandir = os.scandir

    def guarded(path: Any = ".") -> Any:
        if str(path).endswith("side"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    told: dict[str, str] = {}
    found, _ = pairs(
        [folder], tmp_path / "out", None, lambda path, why: told.update({path.name: why})
    )
    assert [pair.name for pair in found] == ["a.wav", "b.FLAC"]
    assert "Permission denied" in told["side"]
    assert "nothing" in told["link.wav"]
    with pytest.raises(AudioFileError, match=r"side.*Permission denied|link to nothing"):
        pairs([folder], tmp_path / "out")


def test_a_page_or_labels_do_not_take_the_place_of_a_recording(folder: Path) -> None:
    os.link(folder / "a.wav", folder / "page.html")
    check_no_source(folder / "new.html", [folder / "a.wav"])
    with pytest.raises(AudioFileError, match="itself"):
        check_no_source(folder / "page.html", [folder / "b.FLAC", folder / "a.wav"])
