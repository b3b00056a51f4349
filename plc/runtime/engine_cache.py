"""Compiled TensorRT engines, kept in a folder of this user alone.

TensorRT compiles a network for one device and one version of everything, for seconds to minutes,
so the result is kept. An engine is machine code: whoever can write it decides what runs here::

    ROOT/KEY/       engines; KEY hashes model, versions, device and shapes
    ROOT/KEY.XXXX/  being built; renamed to KEY when its output has been compared with the CPU's

Both folders have mode 0700. Root and folder are checked before anything in them is read. A root
that others can write to is replaced by a temporary one, a folder by an empty one.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from plc_kernels.own_folder import foreign, mistrust


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
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.reason = mistrust(root)
        self.kept = not self.reason
        self._root = root if self.kept else Path(tempfile.mkdtemp(prefix="plc-engines-"))
        self.folder = self._root / key
        self._build: Path | None = None

    @property
    def holds_engines(self) -> bool:
        """Whether engines can be loaded."""
        return os.path.lexists(self.folder) and not foreign(self.folder)

    def begin(self) -> Path:
        """Return the folder with engines, or an empty folder for them."""
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
            self._build.rename(self.folder)
        except OSError:  # another process was faster
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


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
