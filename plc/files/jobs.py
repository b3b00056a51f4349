"""Recordings that a command works on, and the place of each result.

One file goes to one file. Several files, or folders with all recordings below them, go to a
folder, each under its own name; what lies in sub-folders keeps them. What is in a format that is
not written becomes FLAC. No result takes the place of a recording: places are compared by what the
system knows of them, not by their names.
"""

import glob
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from plc import notice
from plc.errors import AudioFileError, ConfigError, why
from plc.files.audio import AUDIO_SUFFIXES
from plc.files.writing import WRITABLE_SUFFIXES
from plc.whole_files import folded, folds_case, identity

# What a recording becomes whose own format is not written.
_OTHER_SUFFIX = ".flac"

Refused = Callable[[Path, str], object]
"""Called with what lies in a folder and cannot be worked on, and why."""


class Pair(NamedTuple):
    """A recording, and where its result goes."""

    source: Path
    target: Path
    name: str
    """The recording's path below the folder that was named, its suffix included."""


def _raise(path: Path, reason: str) -> None:
    raise AudioFileError(f"{path}: {reason}")


def is_folder(name: str | Path) -> bool:
    """Return whether a name is a folder's: one that is there, or one that a slash ends."""
    return str(name).endswith(("/", os.sep)) or os.path.isdir(name)


def pairs(
    sources: Sequence[Path],
    target: str | Path | None,
    suffix: str | None = None,
    refused: Refused = _raise,
) -> tuple[list[Pair], bool]:
    """Return recordings with their targets; whether these are in a folder.

    Parameters
    ----------
    sources : sequence of Path
        Files, folders, and patterns such as ``tapes/*.wav``; ``**`` is any number of folders.
    target : str or Path or None
        A file for a single file, otherwise a folder; it is made if it does not exist. A name that a
        slash ends is a folder's. None where recordings are only looked at: each is its own target.
    suffix : str, optional
        Of the results, such as ``.flac``; by default as :func:`results_of` names them.
    refused : callable, optional
        Takes what cannot be read; by default that is an AudioFileError.

    Raises
    ------
    AudioFileError
        If a folder holds no recordings or is the target, a pattern fits nothing, the target is a
        file where a folder is needed, or :func:`check_targets` refuses a result.
    ConfigError
        If nothing is written by that suffix.
    """
    if suffix is not None and suffix.lower() not in WRITABLE_SUFFIXES:
        raise ConfigError(
            f"{suffix!r} cannot be written; give one of {', '.join(WRITABLE_SUFFIXES)}"
        )
    sources = [path for given in sources for path in _expanded(given)]
    if target is None:
        found = [
            Pair(source, source, str(name))
            for given in sources
            for source, name in _below(given, None, refused)
        ]
        return found, len(sources) > 1 or sources[0].is_dir()
    to_folder, target = is_folder(target), Path(target)
    if len(sources) == 1 and not sources[0].is_dir() and not to_folder:
        source = sources[0]
        return [Pair(source, target, source.name)], False
    if target.exists() and not target.is_dir():
        raise AudioFileError(
            f"{target} is a file; several recordings go to a folder: name one, or a new one"
        )
    below = [each for given in sources for each in _below(given, target, refused)]
    results = results_of((str(name) for _, name in below), folds_case(target))
    found = []
    for source, name in below:
        result = results[str(name)] or name if suffix is None else name.with_suffix(suffix)
        found.append(Pair(source, target / result, str(name)))
        if suffix is None and found[-1].target.suffix != source.suffix:
            notice.tell(
                f"{source}: {source.suffix or 'its format'} is not written; it becomes "
                f"{found[-1].target}"
            )
    check_targets(found)
    return found, True


def results_of(names: Iterable[str], folds: bool) -> dict[str, str]:
    """Return the name of each recording's result; no two are the same.

    What cannot keep its format, and would take the name of another one, keeps its suffix, too:
    ``a.aiff`` beside ``a.flac`` becomes ``a.aiff.flac``. An empty name is where that is taken, too.

    Parameters
    ----------
    names : iterable of str
        Paths of the recordings below their folder.
    folds : bool
        Whether ``A`` and ``a`` are one name where the results go.
    """
    known = folded if folds else str
    found: dict[str, str] = {}
    # A sound one is copied under its own name by plc repair.
    taken: dict[str, str] = {}
    for name in names:
        found[name] = name if taken.setdefault(known(name), name) == name else ""
    for name in found:
        wanted = other_names(name)
        if not found[name] or not wanted:
            continue
        free = [each for each in wanted if known(each) not in taken]
        found[name] = free[0] if free else ""
        taken[known(found[name])] = name
    return found


def other_names(name: str) -> tuple[str, ...]:
    """Return names for the result of a recording that cannot keep its format, the best first."""
    path = PurePosixPath(name)
    if path.suffix.lower() in WRITABLE_SUFFIXES:
        return ()
    named = path.with_suffix(_OTHER_SUFFIX), path.with_name(f"{path.name}{_OTHER_SUFFIX}")
    return tuple(each.as_posix() for each in named)


def check_targets(found: Iterable[Pair]) -> None:
    """Refuse results that would share a place, or take a recording's.

    Raises
    ------
    AudioFileError
        Before anything is done.
    """
    found = list(found)
    sources = {identity(pair.source): pair.source for pair in found}
    parents = {pair.target.parent for pair in found}
    folders = {parent: (parent.resolve(), folds_case(parent)) for parent in parents}
    taken: dict[str, Path] = {}
    for pair in found:
        folder, folds = folders[pair.target.parent]
        place = str(folder / pair.target.name)
        place = folded(place) if folds else place
        if place in taken:
            raise AudioFileError(
                f"{taken[place]} and {pair.source} would both become {pair.target}; give them "
                "different names, or a folder each"
            )
        taken[place] = pair.source
        there = identity(pair.target)
        if there is not None and there in sources and there != identity(pair.source):
            raise AudioFileError(
                f"{pair.target}, which {pair.source} would become, is the recording "
                f"{sources[there]}; name another folder for the results"
            )


def check_no_source(made: Path, sources: Iterable[Path]) -> None:
    """Refuse to write a page or labels over a recording.

    Raises
    ------
    AudioFileError
        If it is one of the sources, by whatever name.
    """
    there = identity(made)
    for source in sources if there is not None else ():
        if identity(source) == there:
            raise AudioFileError(f"{made} is the recording {source} itself; give another name")


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
    """Return whether a file's name is a recording's; hidden files are none."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def recordings_below(
    folder: Path, results: Path | None = None, refused: Refused = _raise
) -> list[Path]:
    """Return all recordings below a folder, in order.

    Parameters
    ----------
    folder : Path
        Links to files are followed, those to folders are not: a notice tells of them.
    results : Path, optional
        A folder whose files are none of the recordings.
    refused : callable, optional
        Takes folders that cannot be read, links to nothing, and pipes.
    """
    done = None if results is None else identity(results)
    found = []

    def unreadable(error: OSError) -> None:
        refused(Path(os.fsdecode(error.filename)), f"the folder cannot be read: {why(error)}")

    for here, folders, names in os.walk(folder, onerror=unreadable):
        below = [Path(here, name) for name in folders]
        folders[:] = [path.name for path in below if done is None or identity(path) != done]
        for path in (Path(here, name) for name in folders):
            if path.is_symlink():
                notice.tell(f"{path} is a link to a folder, and is not looked into")
        for path in (Path(here, name) for name in names):
            if is_recording(path) and not _leads_into(path, done) and _is_file(path, refused):
                found.append(path)
    return sorted(found)


def _leads_into(path: Path, done: tuple[int, int] | None) -> bool:
    if done is None or not path.is_symlink():
        return False
    return any(identity(parent) == done for parent in path.resolve().parents)


def _is_file(path: Path, refused: Refused) -> bool:
    """Return whether a file is there; report anything else of that name."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return True
        refused(path, "it is a pipe or a device, not a file")
    except FileNotFoundError:
        refused(path, "it is a link to nothing" if path.is_symlink() else "it has vanished")
    except OSError as error:
        refused(path, f"it cannot be read: {why(error)}")
    return False


def _expanded(given: Path) -> list[Path]:
    text = str(given)
    if os.path.lexists(given) or not glob.has_magic(text):
        return [given]
    fitting = sorted(Path(path) for path in glob.glob(text, recursive=True))
    found = [path for path in fitting if path.is_dir() or is_recording(path)]
    if "**" in given.parts:  # folders come with all that is in them
        found = [path for path in found if not path.is_dir()]
    if not found:
        raise AudioFileError(f"no recording fits the pattern {given}")
    return found


def _below(given: Path, target: Path | None, refused: Refused) -> list[tuple[Path, Path]]:
    """Return the recordings of a file or folder, with their names; results of before are none."""
    if not given.is_dir():
        return [(given, Path(given.name))]
    if target is not None and identity(given) == identity(target):
        raise AudioFileError(f"{given} is source and target; name another folder for the results")
    paths = recordings_below(given, target, refused)
    if not paths:
        raise AudioFileError(
            f"{given} holds no recordings; looked for {', '.join(sorted(AUDIO_SUFFIXES))}"
        )
    return [(path, path.relative_to(given)) for path in paths]
