"""Folders of recordings: on this machine, or in a bucket that fsspec knows (``s3://…``)."""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from plc.errors import AudioFileError, ConfigError, MissingExtraError, why
from plc.repair.batch import is_recording

# Folders of our own, below a target.
OWN = ".plc-repair"


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording of a place."""

    name: str
    """Its path below the place, with slashes."""
    stamp: str
    """Changes when the recording does."""


class Place(Protocol):
    """A folder, wherever it is."""

    url: str

    def recordings(self) -> list[Entry]:
        """Return all recordings, by their names."""

    def fetch(self, name: str, folder: Path) -> Path:
        """Return a file of this machine, a copy if need be."""

    def work_path(self, name: str, folder: Path) -> Path:
        """Return where a new file shall be written, to be stored afterwards."""

    def store(self, path: Path, name: str) -> None:
        """Put a file in its place, whole or not at all."""

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""

    def read(self, name: str) -> bytes | None:
        """Return a small file, None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, whole or not at all."""


def place(url: str) -> Place:
    """Return the place of a path or a URL.

    Raises
    ------
    MissingExtraError
        If a URL needs a library that is not installed.
    ConfigError
        If nothing knows such a URL.
    """
    return Bucket(url) if "://" in url else Folder(url)


def whereabouts(url: str) -> str:
    """Return a path or URL that all below it begins with."""
    whole = url if "://" in url else Path(url).resolve().as_posix()
    return whole.rstrip("/") + "/"


class Folder:
    """A folder of this machine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = Path(url)

    def recordings(self) -> list[Entry]:
        """Return all recordings below it, but for hidden ones."""
        if not self.path.is_dir():
            raise AudioFileError(f"{self.path} is no folder; name a folder of recordings")
        found = []
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path)
            if is_recording(path) and path.is_file() and OWN not in name.parts:
                state = path.stat()
                found.append(Entry(name.as_posix(), f"{state.st_size} {state.st_mtime_ns}"))
        return found

    def fetch(self, name: str, folder: Path) -> Path:
        """Return the file itself."""
        return self.path / name

    def work_path(self, name: str, folder: Path) -> Path:
        """Return its place: writers give a file its name when it is complete."""
        return self._made(name)

    def store(self, path: Path, name: str) -> None:
        """Copy a file, under another name until it is complete; one in its place stays."""
        target = self._made(name)
        if path == target:
            return
        partial = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            shutil.copy2(path, partial)
            os.replace(partial, target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise AudioFileError(f"cannot write {target}: {why(error)}") from error

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self.path / name).exists()

    def read(self, name: str) -> bytes | None:
        """Return a small file."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""
        target = self._made(name)
        partial = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            partial.write_bytes(data)
            os.replace(partial, target)
        except OSError as error:
            raise AudioFileError(f"cannot write {target}: {why(error)}") from error

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
            raise MissingExtraError(
                f"{url} needs fsspec: pip install 'plc-engine[scale]'"
            ) from error
        try:
            self._files, root = url_to_fs(url)
        except ImportError as error:
            raise MissingExtraError(f"{url}: {error}; s3 comes with plc-engine[scale]") from error
        except ValueError as error:
            raise ConfigError(f"{url} is no place that fsspec knows: {error}") from error
        self._root = str(root).rstrip("/")

    def recordings(self) -> list[Entry]:
        """Return all recordings below it, but for hidden ones."""
        found: dict[str, Any] = self._asked(
            lambda: self._files.find(self._root, detail=True, refresh=True)
        )
        entries = []
        for path, about in sorted(found.items()):
            name = path[len(self._root) :].lstrip("/")
            if is_recording(Path(name)) and OWN not in name.split("/"):
                stamp = about.get("ETag") or about.get("LastModified") or about.get("mtime")
                entries.append(Entry(name, f"{about.get('size')} {stamp}"))
        return entries

    def fetch(self, name: str, folder: Path) -> Path:
        """Copy a file here."""
        local = folder / f"source{Path(name).suffix}"
        self._asked(lambda: self._files.get_file(self._at(name), str(local)))
        return local

    def work_path(self, name: str, folder: Path) -> Path:
        """Return a name in a folder of this machine."""
        return folder / f"target{Path(name).suffix}"

    def store(self, path: Path, name: str) -> None:
        """Copy a file there; object stores show it when it is complete."""
        self._asked(lambda: self._files.put_file(str(path), self._at(name)))

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        return bool(self._asked(lambda: self._files.exists(self._at(name))))

    def read(self, name: str) -> bytes | None:
        """Return a small file."""
        try:
            data: bytes = self._files.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(error) from error
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""
        self._asked(lambda: self._files.pipe_file(self._at(name), data))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except Exception as error:  # each file system has errors of its own
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> AudioFileError:
        return AudioFileError(f"{self.url}: {type(error).__name__}: {error}")
