"""Temporary folders that go even if their process is killed: the next one removes them.

A folder has a file that its process holds a lock on. One that nobody holds is a leftover.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from plc.errors import AudioFileError, why
from plc.whole_files import hold, is_held

_PREFIX = "plc-"
_LOCK = ".plc-scratch"
_ATTEMPTS = 8


@contextlib.contextmanager
def scratch(within: Path | None = None) -> Iterator[Path]:
    """Make a folder for temporary files, and remove it in the end.

    It lies in ``within``, made if there is none; by default, in the system's place for such.

    Raises
    ------
    AudioFileError
        If it cannot be made.
    """
    try:
        root = Path(tempfile.gettempdir()) if within is None else within
        root.mkdir(parents=True, exist_ok=True)
        remove_leftovers(root)
        folder, descriptor = _made(root)
    except OSError as error:
        raise AudioFileError(f"cannot make a temporary folder: {why(error)}") from error
    try:
        yield folder
    finally:
        _empty(folder)
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(root: Path) -> None:
    """Remove this user's folders in ``root`` left by killed processes.

    Another user could put a link in the place of a folder of theirs meanwhile.
    """
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        ours = [
            Path(entry.path)
            for entry in entries
            if entry.name.startswith(_PREFIX)
            and entry.is_dir(follow_symlinks=False)
            and _is_own(entry.stat(follow_symlinks=False))
        ]
        for folder in ours:
            if os.path.lexists(folder / _LOCK) and not is_held(folder / _LOCK):
                _empty(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _is_own(folder: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or folder.st_uid == os.getuid()


def _empty(folder: Path) -> None:
    """Remove all but the lock, by which leftovers are known."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != _LOCK:
                Path(entry.path).unlink(missing_ok=True)


def _made(root: Path) -> tuple[Path, int]:
    for _ in range(_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        with contextlib.suppress(FileNotFoundError):  # taken for a leftover
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            if hold(descriptor, folder / _LOCK):
                return folder, descriptor
            os.close(descriptor)
    raise FileNotFoundError("it was removed at once, again and again")
