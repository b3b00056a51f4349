"""The first provider that starts and agrees with the CPU.

An attempt is a callable that returns a session or raises :class:`RefusedError`.

**Compiled engines** are kept in a folder of this user alone. TensorRT compiles a network for one
device and one version of everything, for seconds to minutes, so the result is kept. An engine is
machine code: whoever can write it decides what runs here::

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.runtime import threads
from plc.engine.runtime.shared import BoundSession
from plc.errors import ModelError, in_a_line
from plc_kernels.build.own_folder import foreign, mistrust

# The last words of the message that no provider runs a network.
TELLS = "plc doctor tells what works here"
_WARM_UP_RUNS = 3
"""The first run plans memory, the second uses it; on a GPU the second is captured as a graph."""
# How far a GPU may be from the CPU, as a share of the largest output: sums in another order differ
# by 1e-6 to 1e-4, half precision by 1e-3, a wrong engine by everything.
_PARITY = 1e-3


class RefusedError(Exception):
    """A provider does not serve; the message says why."""


class AbsentError(RefusedError):
    """A provider did not start at all."""


_gpu_since: int | None = None
"""Generation of the process that first used a GPU; CUDA does not work in its children."""


def note_gpu() -> None:
    """Remember that this process is about to use a GPU."""
    global _gpu_since
    _gpu_since = threads.generation if _gpu_since is None else _gpu_since


STALE_S = 86_400.0
"""Age at which a folder that is still being built was left by a killed process."""


class EngineCache:
    """The engines of one network on one device.

    Parameters
    ----------
    root : Path, folder of all engines; made if need be
    identity : mapping, everything that an engine depends on
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


def open_first(
    names: Sequence[str], open_one: Callable[[str], BoundSession], manifest: Manifest
) -> BoundSession:
    """Return the session of the first provider that serves; its report says why others do not.

    Raises
    ------
    ModelError
        If all providers refuse.
    """
    refused: dict[str, str] = {}
    for name in names:
        if name != "cpu" and _gpu_since not in (None, threads.generation):
            refused[name] = "this process is a fork of one that uses the GPU; CUDA forbids it"
            continue
        try:
            session = open_one(name)
        except RefusedError as error:
            refused[name] = in_a_line(error)[:500]
            continue
        session.report.refused = refused
        return session
    reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
    raise ModelError(
        f"{manifest.onnx_path}: no provider runs it: {reasons or 'none is installed'}; {TELLS}"
    )


def open_with_graph(
    open_it: Callable[[bool], BoundSession], name: str, notes: list[str]
) -> BoundSession:
    """Return a session with captured graphs if they work.

    ``open_it`` is called with whether graphs are captured.
    """
    try:
        session = open_it(True)
    except AbsentError:
        raise
    except RefusedError as error:
        # Graphs are refused where a node has to run on the CPU; the rest still works.
        session = open_it(False)
        notes.append(f"{name} without CUDA graphs: {error}")
        return session
    session.report.cuda_graph = True
    return session


def open_with_engines(
    cache: EngineCache, open_it: Callable[[Path], BoundSession], notes: list[str]
) -> BoundSession:
    """Return a session with kept engines, or new ones if those fail.

    ``open_it`` is called with the folder that TensorRT reads and writes engines in.
    """
    if cache.reason:
        notes.append(f"engines are not kept: {cache.reason}")
    try:
        if cache.holds_engines:
            try:
                session = open_it(cache.begin())
            except RefusedError as error:
                cache.discard()
                notes.append(f"kept engines in {cache.folder} failed, were built again: {error}")
            else:
                session.report.engine_cache = cache.folder if cache.kept else None
                return session
        try:
            session = open_it(cache.begin())
        except RefusedError:
            cache.discard()
            raise
        cache.finish()
        session.report.engine_cache = cache.folder if cache.kept else None
        return session
    finally:
        cache.close()


def prove(session: BoundSession, reference: Callable[[], BoundSession]) -> None:
    """Run a session on noise; compare a GPU's output with the CPU's ``reference``.

    A GPU gets a second input: a captured graph may replay the first one's result.

    Raises
    ------
    RefusedError
        If a run fails, or an output differs.
    """
    proved = session.opened.proved
    if session.signature in proved:
        return
    try:
        for draw in range(2 if session.on_gpu else 1):
            _fill_with_noise(session.inputs, seed=draw)
            for _ in range(_WARM_UP_RUNS if draw == 0 else 1):
                session.run()
            if session.on_gpu:
                _compare(session.output, _expected(reference(), draw))
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"fails on {session.signature.inputs}: {error}") from error
    for array in session.inputs:
        array.fill(0.0)
    proved.add(session.signature)


def _expected(reference: BoundSession, draw: int) -> NDArray[np.float32]:
    _fill_with_noise(reference.inputs, seed=draw)
    reference.run()
    return reference.output


def _compare(output: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    scale = float(np.max(np.abs(expected), initial=0.0))
    difference = float(np.max(np.abs(output - expected), initial=0.0))
    if not difference <= _PARITY * scale + 1e-6:
        raise RefusedError(
            f"its output differs from the CPU's by {difference:.3g} where the largest is "
            f"{scale:.3g}"
        )


def _fill_with_noise(arrays: list[NDArray[np.float32]], seed: int) -> None:
    """Write seeded noise from 0 to 1, the range of every input."""
    rng = np.random.default_rng(seed)
    for array in arrays:
        array[...] = rng.random(array.shape, np.float32)
