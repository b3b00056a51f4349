"""Which recordings a command works on, and where each result goes.

One file goes to one file. Several files, or folders with all recordings below them, go to a
folder, each under its own name; what lies in sub-folders keeps them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from plc.audio.files import AUDIO_SUFFIXES, WRITABLE_SUFFIXES
from plc.errors import AudioFileError, ConfigError, why


class Pair(NamedTuple):
    """A recording, and where its result goes."""

    source: Path
    target: Path
    name: str
    """The recording's path below the folder that was named, its suffix included."""


def pairs(
    sources: Sequence[Path], target: Path, suffix: str | None = None
) -> tuple[list[Pair], bool]:
    """Return recordings with their targets; whether these are in a folder.

    Parameters
    ----------
    sources : sequence of Path
        Files and folders.
    target : Path
        A file for a single file, otherwise a folder; it is made if it does not exist.
    suffix : str, optional
        Of the results, such as ``.flac``; by default each source's own.

    Raises
    ------
    AudioFileError
        If a folder holds no recordings, the target is a file where a folder is needed, or two
        results would have one name.
    ConfigError
        If nothing is written by that suffix.
    """
    if suffix is not None and suffix.lower() not in WRITABLE_SUFFIXES:
        raise ConfigError(
            f"{suffix!r} is no format that is written; give one of {', '.join(WRITABLE_SUFFIXES)}"
        )
    if len(sources) == 1 and not sources[0].is_dir() and not target.is_dir():
        source = sources[0]
        return [Pair(source, target, source.name)], False
    if target.exists() and not target.is_dir():
        raise AudioFileError(
            f"{target} is a file; several recordings go to a folder: name one, or a new one"
        )
    found = [
        Pair(source, target / _named(name, suffix), str(name))
        for given in sources
        for source, name in _below(given, target)
    ]
    taken: dict[Path, Path] = {}
    for pair in found:
        if pair.target in taken:
            raise AudioFileError(
                f"{taken[pair.target]} and {pair.source} would both become {pair.target}; give "
                "them different names, or a folder each"
            )
        taken[pair.target] = pair.source
    return found, True


def make_folders(targets: Iterable[Path]) -> None:
    """Make the folders that targets shall stand in.

    Raises
    ------
    AudioFileError
        If one cannot be made.
    """
    for folder in {target.parent for target in targets}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AudioFileError(f"cannot make the folder {folder}: {why(error)}") from error


def is_recording(path: Path) -> bool:
    """Return whether a file's name is that of a recording; hidden files are none."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def _below(given: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return the recordings of a file or folder, with their names; results of before are none."""
    if not given.is_dir():
        return [(given, Path(given.name))]
    results = target.resolve()
    found = [
        (path, path.relative_to(given))
        for path in sorted(given.rglob("*"))
        if is_recording(path) and path.is_file() and results not in path.resolve().parents
    ]
    if not found:
        raise AudioFileError(
            f"{given} holds no recordings; looked for {', '.join(sorted(AUDIO_SUFFIXES))}"
        )
    return found


def _named(name: Path, suffix: str | None) -> Path:
    """Return a result's name below its folder."""
    if suffix is not None:
        return name.with_suffix(suffix)
    if name.suffix.lower() not in WRITABLE_SUFFIXES:
        raise AudioFileError(
            f"{name}: {name.suffix or 'a file without a suffix'} is not written; choose a format "
            "for the results, such as --format flac"
        )
    return name
