"""Where compiled TensorRT engines are kept, and why they are never trusted.

TensorRT compiles a network for one device and one version of everything, for seconds to minutes,
so the result has to be kept. But an engine file from elsewhere fails to load, crashes the process
or, being machine code, does what its author wants. Hence::

    ROOT/KEY/             engines, and a seal: the SHA-256 of each of them
    ROOT/KEY.PID.N.tmp/   being built; renamed to KEY when it is complete and has proved itself
    ROOT/KEY.PID.N.open   a process is loading KEY: if that process is dead, KEY killed it

``KEY`` hashes everything that an engine depends on: model, versions, device, shapes. A folder
whose seal does not fit, or that killed a process, is deleted and built anew. A root that others
can write to is not used at all.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from plc_kernels.own_folder import cache_root, mistrust

__all__ = ["EngineCache", "cache_root"]

_SEAL = "seal.json"

_serial = itertools.count()
_opening: set[str] = set()
"""Markers of this process; others with its number are from one that died before."""


class EngineCache:
    """The engines of one network on one device.

    Parameters
    ----------
    root : Path
        Folder of all engines; made if need be.
    identity : mapping
        Everything that an engine depends on.

    Attributes
    ----------
    folder : Path
        Where engines are kept.
    kept : bool
        Whether they outlive this process; if not, ``reason`` says why.
    """

    def __init__(self, root: Path, identity: Mapping[str, str]) -> None:
        text = json.dumps(dict(identity), sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.reason = mistrust(root)
        self.kept = not self.reason
        if not self.kept:
            root = Path(tempfile.mkdtemp(prefix="plc-engines-"))
        self._root = root
        self.folder = root / self.key
        unique = f"{self.key}.{os.getpid()}.{next(_serial)}"
        self._build = root / f"{unique}.tmp"
        self._marker = root / f"{unique}.open"

    def begin(self) -> Path:
        """Return the folder to load engines from and to write them to; engines may be missing."""
        if self._killed_a_process() or not self._seal_fits():
            self._remove(self.folder)
        if self.folder.is_dir():
            _opening.add(self._marker.name)
            self._marker.touch(mode=0o600)
            return self.folder
        self._remove(self._build)
        self._build.mkdir(mode=0o700)
        return self._build

    def finish(self) -> None:
        """Keep what was built, now that it has proved itself."""
        if self._build.is_dir():
            seal = json.dumps(_digests(self._build), indent=2)
            (self._build / _SEAL).write_text(seal, encoding="utf-8")
            try:
                self._build.rename(self.folder)
            except OSError:  # another process was faster
                self._remove(self._build)
        self._unmark()

    def discard(self) -> None:
        """Delete what is there: it failed."""
        self._remove(self.folder)
        self._remove(self._build)
        self._unmark()

    def close(self) -> None:
        """Delete engines that are not to be kept."""
        if not self.kept:
            self._remove(self._root)

    def _unmark(self) -> None:
        self._marker.unlink(missing_ok=True)
        _opening.discard(self._marker.name)

    @property
    def holds_engines(self) -> bool:
        """Whether there is something to load."""
        return self.folder.is_dir()

    def _seal_fits(self) -> bool:
        if self.folder.is_symlink():
            return False
        try:
            seal = json.loads((self.folder / _SEAL).read_text(encoding="utf-8"))
            return bool(seal == _digests(self.folder))
        except (OSError, ValueError, RecursionError):
            return False

    def _killed_a_process(self) -> bool:
        killed = False
        for marker in self._root.glob(f"{self.key}.*.open"):
            process = marker.name.split(".")[1]
            own = process == str(os.getpid())
            if own and marker.name in _opening:
                continue
            if own or not (process.isdecimal() and _lives(int(process))):
                killed = True
                marker.unlink(missing_ok=True)
        return killed

    @staticmethod
    def _remove(folder: Path) -> None:
        if folder.is_symlink():
            folder.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but the seal; raise on links and what else is no file."""
    digests = {}
    for path in sorted(folder.iterdir()):
        if path.name == _SEAL:
            continue
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path} is no plain file")
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _lives(process: int) -> bool:
    if os.name != "posix":
        return True  # os.kill would end it; an engine that crashes is then not noticed
    with contextlib.suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True
