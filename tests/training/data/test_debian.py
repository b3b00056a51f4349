"""A library out of Debian's packages, without Debian."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plc.errors import ConfigError
from plc.programs.cli.app import app
from plc_training.data import debian
from plc_training.data.debian import Package, fetch, write_library
from plc_training.data.library import find_library
from tests.options import ran
from tests.training.clips import write_clips, write_manifest

PROMPTS = Package("prompts", "speech", "CC0-1.0", ("sounds/**/*.wav",))
SONGS = Package("songs", "music", "MIT", ("songs/*.wav",))


def unpack(folder: Path, package: Package, count: int = 2) -> None:
    """Write what a package would leave."""
    write_clips(folder / package.name / "usr/share" / package.patterns[0].split("/")[0], count)


def commands(monkeypatch: pytest.MonkeyPatch, package: Package) -> list[str]:
    """Return a list of what is called instead of the packages' tools, which pretend to work."""
    called: list[str] = []

    def run(command: list[str], cwd: Path, **_: Any) -> None:
        called.append(command[0])
        if command[0] == "apt-get":
            (cwd / f"{package.name}_1.deb").touch()
        else:
            write_clips(cwd / "usr/share/songs", 2)

    monkeypatch.setattr(subprocess, "run", run)
    return called


def failing(error: Exception) -> Callable[..., None]:
    """Return a call that fails."""

    def run(*_: Any, **__: Any) -> None:
        raise error

    return run


def test_a_librarys_clips_are_all_to_train_with(tmp_path: Path) -> None:
    unpack(tmp_path, PROMPTS, 3)
    unpack(tmp_path, SONGS)
    assert write_library(tmp_path, [PROMPTS, SONGS]) == {"prompts": 3, "songs": 2}
    clips = find_library(tmp_path)
    assert {clip.split for clip in clips} == {"train"}
    assert [clip.domain for clip in clips] == ["speech"] * 3 + ["music"] * 2
    assert all(clip.path.is_file() for clip in clips)


def test_a_package_without_its_audio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    with pytest.raises(ConfigError, match=r"prompts holds no sounds/\*\*/\*.wav; remove"):
        write_library(tmp_path, [PROMPTS])


def test_another_librarys_manifest_is_not_overwritten(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [("a.wav", "music", "test")])
    before = manifest.read_text()
    unpack(tmp_path, SONGS)
    with pytest.raises(ConfigError, match="the manifest of another library"):
        write_library(tmp_path, [SONGS])
    assert manifest.read_text() == before


def test_a_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = commands(monkeypatch, SONGS)
    fetch(tmp_path, SONGS)
    fetch(tmp_path, SONGS)
    assert called == ["apt-get", "dpkg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["songs"]
    assert write_library(tmp_path, [SONGS]) == {"songs": 2}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(), "apt-get is not there: packages are fetched on Debian"),
        (
            subprocess.CalledProcessError(
                100, "apt-get", stderr="E: Unable to locate\nW: unsandboxed"
            ),
            "failed: E: Unable to locate; apt-get update?",
        ),
        (subprocess.CalledProcessError(1, "apt-get", stderr=""), "failed: without a word"),
    ],
)
def test_what_cannot_be_fetched_is_tried_again_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(subprocess, "run", failing(error))
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        fetch(tmp_path, SONGS)
    commands(monkeypatch, SONGS)
    fetch(tmp_path, SONGS)
    assert (tmp_path / "songs").is_dir()


def test_the_command_says_what_each_package_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "PACKAGES", (PROMPTS, SONGS))
    unpack(tmp_path, SONGS)
    result = ran(app, "train", "debian", "music", "--out", str(tmp_path))
    assert "songs: 2 files" in result.output
    assert "prompts" not in result.output
    unknown = ran(app, "train", "debian", "birds", "--out", str(tmp_path), status=1)
    assert unknown.output == "plc: domain is 'birds'; expected music or speech\n"
