"""Folders of recordings: on this machine, or in a bucket that fsspec knows (``s3://…``).

Labels of many recordings are a folder, a bucket or a zip file of ``NAME.txt``. Those of ``a.wav``
are ``a.wav.txt``, or else ``a.txt``. An empty file says that somebody looked and there is nothing
to fill; without a file nobody has looked.
"""

import contextlib
import errno
import hashlib
import os
import posixpath
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union
from urllib.parse import urlsplit
from urllib.request import url2pathname

from plc import whole_files
from plc.errors import AudioFileError, ConfigError, MissingExtraError, why
from plc.extras import install_command
from plc.files.jobs import is_recording, recordings_below
from plc.files.marks import ZippedLabels, zipped_labels
from plc.files.scratch import scratch
from plc.whole_files import folds_case, identity

# Folders of our own, below a target.
OWN = ".plc-repair"
WORK = "work"
_LOCAL = ("file://", "local://")


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording of a place."""

    name: str
    """Its path below the place, with slashes."""
    stamp: str
    """Changes when the recording does."""
    identity: tuple[int, int] | None = None
    """What the system knows it by, whatever its names."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Recordings of a place, and names that cannot be read."""

    entries: list[Entry] = field(default_factory=list)
    """The recordings, by their names."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Names of what cannot be read, and why."""


Place = Union["Folder", "Bucket"]
"""A folder, wherever it is; both have the same methods."""


def place(url: str) -> Place:
    """Return the place of a path or a URL.

    Raises
    ------
    MissingExtraError
        If a URL needs a library that is not installed.
    ConfigError
        If nothing knows such a URL.
    """
    if url.startswith(_LOCAL):
        return Folder(url2pathname(urlsplit(url).path))
    return Bucket(url) if "://" in url else Folder(url)


def same(one: Place, other: Place) -> bool:
    """Return whether two places are one, under equal or different names."""
    if isinstance(one, Folder) and isinstance(other, Folder):
        known = identity(one.path)
        by_name = one.path.resolve() == other.path.resolve()
        return by_name or (known is not None and known == identity(other.path))
    return isinstance(one, Bucket) and isinstance(other, Bucket) and one.root == other.root


class Folder:
    """A folder of this machine; for a file its folder, with this one recording."""

    def __init__(self, url: str) -> None:
        self.path = Path(url)
        self.file = self.path if self.path.is_file() else None
        self.path = self.file.parent if self.file else self.path
        self.url = str(self.path) if self.file else url

    def recordings(self, results: Place) -> Listing:
        """Return all recordings below it, but for hidden ones and those below the results."""
        if not self.path.is_dir():
            raise AudioFileError(
                f"{self.path} is not a folder, nor a file; name a recording or a folder of them"
            )
        found = Listing()

        def refuse(path: Path, reason: str) -> None:
            found.refused.append((path.relative_to(self.path).as_posix(), reason))

        skipped = results.path if isinstance(results, Folder) else None
        below = recordings_below(self.path, skipped, refuse) if self.file is None else [self.file]
        for path in below:
            name = path.relative_to(self.path)
            if OWN in name.parts:
                continue
            try:
                about = path.stat()
            except OSError as error:
                refuse(path, f"it cannot be read: {why(error)}")
                continue
            known = (about.st_dev, about.st_ino)
            found.entries.append(Entry(name.as_posix(), _stamp(about), known))
        return found

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """Make a temporary folder for results in the making, on their disk."""
        return scratch(self.path / OWN / WORK)

    def fetch(self, name: str, folder: Path) -> Path:
        """Return a file of this machine, perhaps a copy in ``folder``: here the file itself."""
        return self.path / name

    def store(self, path: Path, name: str, overwrite: bool) -> None:
        """Move a whole file to its place; a link that stands there is replaced, not followed."""
        target = self._made(name)
        whole_files.take_over(path, target)
        self._move(path, target, overwrite)

    def remove(self, name: str) -> None:
        """Remove a file."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise AudioFileError(f"cannot remove {self.path / name}: {why(error)}") from error

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file does, here of size and time; empty: missing."""
        try:
            return _stamp((self.path / name).stat())
        except OSError:
            return ""

    def identity(self, name: str) -> tuple[int, int] | None:
        """Return the identity of a file, device and inode; None if it has none."""
        return identity(self.path / name)

    def holds(self, other: Place, name: str) -> bool:
        """Return whether a file of ``other`` would lie below this folder."""
        if not isinstance(other, Folder):
            return False
        here, known = self.path.resolve(), identity(self.path)
        parents = ((other.path / name).parent.resolve() / "file").parents
        return here in parents or (known is not None and known in map(identity, parents))

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of a file; None if it is missing."""
        path = self.path / name
        if not os.path.lexists(path):
            return None
        try:
            return whole_files.digest(path) if path.is_file() else ""
        except OSError as error:
            raise AudioFileError(f"cannot read {path}: {why(error)}") from error

    def folds_case(self) -> bool:
        """Return whether ``A`` and ``a`` are one name."""
        return folds_case(self.path)

    def read(self, name: str) -> bytes | None:
        """Return a small file; None if it is missing."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes, folder: Path) -> None:
        """Write a small file, whole or not at all; in the making it lies in ``folder``."""
        path = folder / "record"
        whole_files.write_whole(path, data)
        self._move(path, self._made(name), overwrite=True)

    def _move(self, path: Path, target: Path, overwrite: bool) -> None:
        try:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            try:
                whole_files.put(path, target, overwrite)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(path, target, overwrite)
        except FileExistsError:
            whole_files.check_new(target, overwrite=False)
            raise
        except OSError as error:
            raise AudioFileError(f"cannot write {target}: {why(error)}") from error

    def _copy(self, path: Path, target: Path, overwrite: bool) -> None:
        whole_files.remove_leftovers(target)
        partial, descriptor = whole_files.open_beside(target)
        try:
            with os.fdopen(descriptor, "wb") as made, path.open("rb") as file:
                shutil.copyfileobj(file, made)
            shutil.copystat(path, partial)
            whole_files.put(partial, target, overwrite)
        finally:
            partial.unlink(missing_ok=True)

    def _made(self, name: str) -> Path:
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AudioFileError(f"cannot make the folder {target.parent}: {why(error)}") from error
        return target


class Bucket:
    """A folder of a file system that fsspec knows; files are copied here and back."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingExtraError(f"{url} needs fsspec: {install_command('scale')}") from error
        try:
            self._files, root = url_to_fs(url)
        except ImportError as error:
            raise MissingExtraError(
                f"{url}: {error}; s3 needs s3fs: {install_command('scale')}"
            ) from error
        except ValueError as error:
            raise ConfigError(f"{url} is not a place that fsspec knows: {error}") from error
        self._root = posixpath.normpath(str(root))
        self.root = f"{type(self._files).__name__}:{self._root}"
        """Equal for all of its URLs."""

    def recordings(self, results: Place) -> Listing:
        """Return all recordings below it, but for hidden ones."""
        found: dict[str, Any] = self._asked(
            lambda: self._files.find(self._root, detail=True, refresh=True)
        )
        entries = []
        within = isinstance(results, Bucket) and results.root.startswith(f"{self.root}/")
        for path, about in sorted(found.items()):
            name = path[len(self._root) :].lstrip("/")
            if not is_recording(Path(name)) or OWN in name.split("/"):
                continue
            if not within or not results.holds(self, name):
                entries.append(Entry(name, self._stamp(about)))
        return Listing(entries)

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """Make a folder where the system has such."""
        return scratch()

    def fetch(self, name: str, folder: Path) -> Path:
        """Copy a file here."""
        local = folder / f"source{Path(name).suffix}"
        self._asked(lambda: self._files.get_file(self._at(name), str(local)))
        return local

    def store(self, path: Path, name: str, overwrite: bool) -> None:
        """Copy a file there; object stores show it when it is complete."""
        self._asked(lambda: self._files.put_file(str(path), self._at(name)))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._asked(lambda: self._files.rm_file(self._at(name)))

    def stamp(self, name: str) -> str:
        """Return its size and its tag."""
        try:
            return self._stamp(self._files.info(self._at(name)))
        except FileNotFoundError:
            return ""
        except Exception as error:
            raise self._failure(error) from error

    def identity(self, name: str) -> None:
        """Return None: a file of a bucket has one name."""

    def holds(self, other: Place, name: str) -> bool:
        """Return whether a file of ``other`` would lie below this bucket's root."""
        return isinstance(other, Bucket) and f"{other.root}/{name}".startswith(f"{self.root}/")

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of a file."""
        try:
            with self._files.open(self._at(name), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(error) from error

    def folds_case(self) -> bool:
        """Return False: object stores do not."""
        return False

    def read(self, name: str) -> bytes | None:
        """Return a small file."""
        try:
            data: bytes = self._files.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(error) from error
        return data

    def write(self, name: str, data: bytes, folder: Path) -> None:
        """Write a small file."""
        self._asked(lambda: self._files.pipe_file(self._at(name), data))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _stamp(self, about: dict[str, Any]) -> str:
        tag = about.get("ETag") or about.get("LastModified") or about.get("mtime")
        return f"{about.get('size')} {tag}"

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except Exception as error:  # each file system has errors of its own
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> AudioFileError:
        return AudioFileError(f"{self.url}: {type(error).__name__}: {error}")


def _stamp(about: os.stat_result) -> str:
    return f"{about.st_size} {about.st_mtime_ns}"


def labels_at(url: str) -> Place | ZippedLabels:
    """Return the labels of a path or URL.

    Raises
    ------
    AudioFileError
        If there are none.
    """
    if "://" not in url and (zipped := zipped_labels(Path(url))):
        return zipped
    labels = place(url)
    if isinstance(labels, Folder) and not labels.path.is_dir():
        raise AudioFileError(
            f"{url} is not a folder; name one with NAME.txt of recordings, or a .zip"
        )
    return labels
