from pathlib import Path

import pytest

from plc.errors import AudioFileError, ConfigError
from plc.repair.batch import make_folders, pairs


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
    with pytest.raises(ConfigError, match="no format that is written"):
        pairs(two, tmp_path / "out", ".xyz")
    with pytest.raises(AudioFileError, match="--format flac"):
        pairs([folder / "a.wma", folder / "b.FLAC"], tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(AudioFileError, match="cannot make the folder"):
        make_folders([tmp_path / "file/below/a.wav"])
