"""Opened networks that all streams of a process share, one session each, bound to their memory.

A session holds a network's weights several times over: as they were read, optimised and packed. A
run only reads them, so one session serves any number of threads at once, each with inputs and an
output of its own (:mod:`plc.engine.runtime.session`).

**Which.** By the SHA-256 of the bytes that were read and verified: a file that was replaced is
another network.

**How long.** While a stream uses it, and then while the files of the sessions used last together
are no larger than :data:`KEPT_BYTES`. So the next stream, or the next call that conceals
a signal, opens nothing.

**After a fork** the child begins with none: a thread of the parent's may have been inside one.

Only for a CPU. On a GPU a session reads and writes fixed addresses, which are one stream's.

**Files** are verified by size and SHA-256 before anything parses them. One that was verified once
is read again only if its inode, size or times differ.
"""

import contextlib
import hashlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import GraphSummary
from plc.engine.runtime import threads
from plc.engine.runtime.providers import Signature
from plc.errors import ModelError

KEPT_BYTES = 16 << 20
"""Of ONNX files whose sessions stay open without a user; those in the package have 18 MB."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class OpenSession:
    """A session and its known properties."""

    raw: Any
    """ONNX Runtime's."""
    bytes: int
    """Of the ONNX file."""
    nodes: dict[str, int]
    """As :attr:`SessionReport.nodes`."""
    graph: GraphSummary
    """What the file says about itself."""
    proved: set[Signature] = field(default_factory=set)
    """What it has been run with."""


@dataclass(slots=True, kw_only=True)
class SessionReport:
    """Model, provider and opening time of a session."""

    model: str
    provider: str
    """The provider in use, a key of :data:`.PROVIDERS`, or ``native``."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reasons by provider, for those that were tried before."""
    notes: list[str] = field(default_factory=list)
    nodes: dict[str, int] = field(default_factory=dict)
    """Nodes of the optimised graph by provider, as far as ONNX Runtime tells."""
    cuda_graph: bool = False
    engine_cache: Path | None = None
    load_ms: float = 0.0
    """Reading, checking and preparing, all providers that were tried included."""
    warm_up_ms: float = 0.0


class BoundSession:
    """A graph with fixed inputs and output; used by one thread at a time.

    Made by :func:`plc.engine.runtime.session.open_session`. ``inputs`` (a list) and ``output`` are
    host arrays: write the former, :meth:`run`, read the latter. On a GPU they are copied to and
    from buffers at fixed addresses of the device.
    """

    def __init__(
        self,
        ort: ModuleType,
        opened: OpenSession,
        signature: Signature,
        on_gpu: bool,
        reopen: Callable[[], OpenSession],
    ) -> None:
        self.report = SessionReport(model="", provider="")
        self.signature = signature
        self.on_gpu = on_gpu
        self.opened = opened
        """May be shared with other streams."""
        self.inputs = [np.zeros(shape, np.float32) for _, shape in signature.inputs]
        self.output = np.zeros(signature.output[1], np.float32)
        self._reopen = reopen
        self._generation = threads.generation
        self._options = ort.RunOptions()
        value = ort.OrtValue
        if on_gpu:
            # Under this number a captured graph is replayed.
            self._options.add_run_config_entry("gpu_graph_id", "1")
            self._bound = [value.ortvalue_from_numpy(array, "cuda", 0) for array in self.inputs]
            self._bound_output = value.ortvalue_from_shape_and_type(
                list(self.output.shape), np.float32, "cuda", 0
            )
        else:
            self._bound = [value.ortvalue_from_numpy(array) for array in self.inputs]
            self._bound_output = value.ortvalue_from_numpy(self.output)
        self._bind()

    def _bind(self) -> None:
        self._binding = self.opened.raw.io_binding()
        for (name, _), bound in zip(self.signature.inputs, self._bound, strict=True):
            self._binding.bind_ortvalue_input(name, bound)
        self._binding.bind_ortvalue_output(self.signature.output[0], self._bound_output)

    def run(self) -> None:
        """Compute the output; ONNX Runtime's exceptions pass through.

        In the child of a fork the first run opens the network again: a thread that stayed with the
        parent may have been inside its session.
        """
        if self._generation != threads.generation:
            self._begin_child()
        self._options.terminate = False
        if self.on_gpu:
            for bound, array in zip(self._bound, self.inputs, strict=True):
                bound.update_inplace(array)
        self.opened.raw.run_with_iobinding(self._binding, self._options)
        if self.on_gpu:
            # ``numpy()`` allocates; every release of ONNX Runtime copies from the device this way.
            np.copyto(self.output, self._bound_output.numpy())

    def _begin_child(self) -> None:
        if self.on_gpu:
            raise ModelError("this process is a fork of the one that opened it; CUDA forbids that")
        self.opened = self._reopen()
        self._bind()
        self._generation = threads.generation

    def cancel(self) -> None:
        """Terminate a run in another thread; that run raises an exception."""
        self._options.terminate = True


class SharedSessions:
    """The sessions of a process, by the SHA-256 of their files; every method is for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: weakref.WeakValueDictionary[str, OpenSession]
        self._used = weakref.WeakValueDictionary()
        self._recent: OrderedDict[str, OpenSession] = OrderedDict()
        self._opening: dict[str, threading.Lock] = {}

    def get(self, key: str, open_session: Callable[[], OpenSession]) -> OpenSession:
        """Return the session of ``key``, opened at first use; errors pass through.

        Threads that ask for the same one wait for the first of them to open it.
        """
        with self._lock:
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:
            shared = self.find(key)
            try:
                return self._keep(key, open_session() if shared is None else shared)
            finally:
                with self._lock:
                    self._opening.pop(key, None)

    def find(self, key: str) -> OpenSession | None:
        """Return the session of ``key`` if it is open."""
        with self._lock:
            return self._used.get(key)

    def _keep(self, key: str, shared: OpenSession) -> OpenSession:
        """Note a session as used last; drop the oldest ones."""
        dropped = []  # so that they are closed outside the lock
        with self._lock:
            self._used[key] = shared
            self._recent[key] = shared
            self._recent.move_to_end(key)
            while sum(each.bytes for each in self._recent.values()) > KEPT_BYTES:
                dropped.append(self._recent.popitem(last=False))
        dropped.clear()
        return shared

    def all(self) -> list[OpenSession]:
        """Return the open sessions."""
        return [shared for ref in self._used.valuerefs() if (shared := ref()) is not None]


sessions = SharedSessions()
_of_parents: list[OpenSession] = []
"""Of a parent: a thread of it may have been inside, so they are never closed here."""


def _begin_child() -> None:
    global sessions
    with contextlib.suppress(Exception):  # what another thread was changing at that moment
        _of_parents.extend(sessions.all())
    sessions = SharedSessions()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


_verified: dict[Path, tuple[tuple[int, ...], str]] = {}
"""By path: the state of the file when it was read, and the SHA-256 of its bytes."""


def read_weights(manifest: Manifest) -> bytes:
    """Read the ONNX file and verify it by its manifest.

    Raises
    ------
    ModelError
        If the file is missing, or its size or SHA-256 differs.
    """
    path = manifest.onnx_path
    try:
        with path.open("rb") as file:
            state = _state(os.fstat(file.fileno()))
            data = file.read(manifest.bytes + 1)
    except OSError as error:
        raise _unreadable(manifest, error) from error
    if len(data) != manifest.bytes:
        counted = f"over {manifest.bytes}" if len(data) > manifest.bytes else str(len(data))
        raise ModelError(
            f"{path}: {counted} bytes; its manifest says {manifest.bytes}: the file is cut short "
            "or another one; fetch both again"
        )
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != manifest.sha256:
        raise ModelError(
            f"{path}: SHA-256 is {sha256[:16]}…; its manifest says "
            f"{manifest.sha256[:16]}…: the file was changed; fetch both again"
        )
    _verified[path] = state, sha256
    return data


def check_weights(manifest: Manifest) -> None:
    """Verify the ONNX file as :func:`read_weights`; read it only if it changed.

    For a network whose session is open: the session holds bytes that were verified, so a change
    that the file's state does not show is harmless.
    """
    try:
        state = _state(manifest.onnx_path.stat())
    except OSError as error:
        raise _unreadable(manifest, error) from error
    if _verified.get(manifest.onnx_path) != (state, manifest.sha256):
        read_weights(manifest)


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _unreadable(manifest: Manifest, error: OSError) -> ModelError:
    return ModelError(
        f"cannot read {manifest.onnx_path}: {error.strerror or error}; it belongs beside "
        f"{manifest.path}"
    )
