"""Compiled TensorRT engines, kept in a folder of this user alone.

TensorRT compiles a network for one device and one version of everything, for seconds to minutes,
so the result is kept. An engine is machine code: whoever can write it decides what runs here::

    ROOT/KEY/       engines; KEY hashes model, versions, device and shapes
    ROOT/KEY.XXXX/  being built; renamed to KEY when its output has been compared with the CPU's

ROOT is ``tensorrt`` in ``PLC_CACHE_DIR`` or in this package's folder of the user's cache; a user
may delete it. Folders that killed builds left are removed after a day.

Both folders have mode 0700. Root and folder are checked before anything in them is read. A root
that others can write to is replaced by a temporary one, a folder by an empty one.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from plc_kernels.build.own_folder import foreign, mistrust

STALE_S = 86_400.0
"""Age at which a folder that is still being built was left by a killed process."""


class EngineCache:
    """The engines of one network on one device.

    Parameters
    ----------
    root : Path
        Folder of all engines; made if need be.
    identity : mapping, everything that an engine depends on

    Attributes
    ----------
    folder : Path, where engines are kept
    kept : bool
        Whether they outlive this process; if not, ``reason`` says why.
    """

    def __init__(self, root: Path, identity: Mapping[str, str]) -> None:
        text = json.dumps(dict(identity), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.reason = mistrust(root)
        self.kept = not self.reason
        self._root = root if self.kept else Path(tempfile.mkdtemp(prefix="plc-engines-"))
        self.folder = self._root / key
        self._build: Path | None = None

    @property
    def holds_engines(self) -> bool:
        """True if engines can be loaded."""
        return os.path.lexists(self.folder) and not foreign(self.folder)

    def begin(self) -> Path:
        """Return the folder with engines, or an empty folder for them."""
        self._remove_stale()
        if self.holds_engines:
            return self.folder
        _remove(self.folder)
        self._build = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.", dir=self._root))
        return self._build

    def finish(self) -> None:
        """Keep the engines that were built and proved."""
        if self._build is None:
            return
        try:
            # After a loss of power, a folder of this name holds whole files or does not exist.
            _sync(self._build)
            self._build.rename(self.folder)
            _sync_one(self._root)
        except OSError:  # another process was faster, or the disk failed
            _remove(self._build)
        self._build = None

    def discard(self) -> None:
        """Delete engines that failed."""
        _remove(self.folder)
        if self._build is not None:
            _remove(self._build)
            self._build = None

    def close(self) -> None:
        """Delete a temporary root."""
        if not self.kept:
            _remove(self._root)

    def _remove_stale(self) -> None:
        newest_s = time.time() - STALE_S
        with contextlib.suppress(OSError):  # the root may vanish; what follows reports that
            for path in self._root.iterdir():
                if re.fullmatch(r"[0-9a-f]{32}\.\w+", path.name) and _is_stale(path, newest_s):
                    _remove(path)


def _is_stale(folder: Path, newest_s: float) -> bool:
    try:
        state = folder.lstat()
    except OSError:  # another process was faster
        return False
    own = os.name != "posix" or state.st_uid == os.getuid()
    return own and state.st_mtime < newest_s


def _sync(folder: Path) -> None:
    """Write a folder's files to the disk, then the folder."""
    for path in folder.rglob("*"):
        _sync_one(path)
    _sync_one(folder)


def _sync_one(path: Path) -> None:
    if os.name != "posix" and path.is_dir():  # only POSIX opens folders
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
