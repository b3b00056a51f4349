"""Causal networks without ONNX Runtime: their graphs as kernels.

The ONNX file stays the model's only file: its weights are read from it, in 25 ms, and put into the
order of :mod:`plc_kernels.network`. All streams of a process share them. A graph is run so only if
it is one that the kernels were compared with, to the last node; what other graphs compute is ONNX
Runtime's to know.

A run takes 0.4 to 1 ms on one thread, half of ONNX Runtime's time, always the same work.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numba import types
from numpy.typing import NDArray

from plc import notice
from plc.compiled import lies_compiled
from plc.models.manifest import Manifest
from plc.models.onnx_file import GraphSummary, read_graph
from plc.runtime.bound import SessionReport
from plc.runtime.providers import Signature
from plc.runtime.session import check_graph
from plc.runtime.shared import SharedSessions
from plc.runtime.weights import check_weights, read_weights
from plc_kernels.network.frames import run_frames
from plc_kernels.network.plan import BINS, WORK, FramesSizes, UnfitError, plan_frames

NATIVE = "native"
"""What reports call the kernels, as they call a provider by its name."""

KERNELS = (run_frames,)
"""The kernels that networks call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Structure:
    """Sizes of a known graph, as :class:`FramesSizes` has them."""

    context_frames: int
    bands: int = 1
    top_bin: bool = True
    early_frames: int = 0
    draft_share: float = 0.0


# By the fingerprint of the graph. A new one is entered with tests/plc/runtime/test_native.py, which
# compares the kernels with ONNX Runtime.
_KNOWN = {
    "32a158f92e44c7cc60d86e5d0581595ea1cefe45fe7d78fa57f6a2fc5547ba6a": _Structure(  # speech
        context_frames=16, early_frames=6, draft_share=0.25
    ),
    "e42a6ec5be86b8d129f6ff5c9522fe48f1e118c7e803307eb7f1299442e24b8a": _Structure(
        context_frames=16,
        top_bin=False,
        draft_share=0.25,  # speech-narrowband
    ),
    "509a3920d09e84dc978c20a3d1eaa58f6715221251ea21f9112b099e2f0f610a": _Structure(  # music
        context_frames=12, bands=4
    ),
}

_SLOW_S = 1.0
_COMPILING = "compiling the networks' kernels, once on this machine: some 10 s"

# Compiling takes less, even on a slow core.
_LONGEST_WAIT_S = 60.0

_lock = threading.RLock()
_warm = False
_beside: subprocess.Popen[bytes] | None = None
"""A process that compiles."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Model:
    """A network as streams share it."""

    plan: NDArray[np.int64]
    """Empty: the graph is ONNX Runtime's."""
    weights: NDArray[np.float32]
    graph: GraphSummary
    bytes: int
    """Of the ONNX file."""


_models: SharedSessions[_Model] = SharedSessions()


def _begin_child() -> None:
    """Take new locks, which a thread of the parent may hold."""
    global _models, _beside
    _models = SharedSessions()
    _beside = None
    _lock.release()


if hasattr(os, "register_at_fork"):
    # numba has locks of its own, which a child would find held for ever: a fork waits for them.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_child
    )


def compile_beside() -> None:
    """Begin to compile what does not lie compiled, in another process; return at once.

    For programs that compile or compute something else before they open a network.
    """
    global _beside
    with _lock:
        kept = all(hasattr(getattr(kernel, "_cache", None), "cache_path") for kernel in KERNELS)
        if _warm or _beside is not None or not kept or all(map(lies_compiled, KERNELS)):
            return
        code = f"from {__name__} import warm_up; warm_up()"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        quiet = subprocess.DEVNULL
        with contextlib.suppress(OSError):  # then the first network compiles
            _beside = subprocess.Popen(
                [sys.executable, "-c", code],
                env=environment,
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
            )


def warm_up() -> None:
    """Compile or load the kernels, once; afterwards nothing is compiled in a stream."""
    global _warm
    reals = types.Array(types.float32, 1, "C")
    with _lock, notice.if_slow(lambda: _COMPILING, _SLOW_S):
        if not _warm:
            if _beside is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _beside.wait(_LONGEST_WAIT_S)
            run_frames.compile((types.Array(types.int64, 1, "C"), *[reals] * 5))
            run_frames.disable_compile()
            _warm = True


class NativeSession:
    """A network with fixed inputs and output; used by one thread at a time.

    As :class:`~plc.runtime.bound.BoundSession`: write ``inputs``, :meth:`run`, read ``output``.
    """

    on_gpu = False

    def __init__(
        self, name: str, plan: NDArray[np.int64], weights: NDArray[np.float32], signature: Signature
    ) -> None:
        self.report = SessionReport(model=name, provider=NATIVE)
        spectra, lost = (np.zeros(shape, np.float32) for _, shape in signature.inputs)
        work = np.zeros(plan[WORK], np.float32)
        self.inputs = [spectra, lost]
        self.output = np.zeros(signature.output[1], np.float32)
        given = spectra.ravel(), lost.ravel(), work, self.output.ravel()
        self._arguments = (plan, weights, *given)

    def run(self) -> None:
        """Compute the output."""
        run_frames(*self._arguments)

    def cancel(self) -> None:
        """Do nothing: a run ends in time by itself."""


def open_native(
    manifest: Manifest,
    signature: Signature,
    clock: Callable[[], float] = time.perf_counter,
) -> NativeSession | None:
    """Return a session that is verified and warm; None if the graph is not known.

    Parameters
    ----------
    manifest : Manifest
        Read from a file; the weights lie beside it.
    signature : Signature
        Shapes of the inputs and the output.
    clock : callable
        Returns seconds, for the report.

    Raises
    ------
    ModelError
        If the files are not sound.
    """
    if manifest.kind != "causal":
        return None
    begin_s = clock()
    bins, frames = signature.inputs[0][1][3:]
    key = manifest.sha256, frames
    model = _models.find(key)
    if model is None:
        model = _models.get(key, partial(_read, manifest, bins, frames))
    else:
        check_weights(manifest)
    if not model.plan.size or model.plan[BINS] != bins:
        return None
    check_graph(model.graph, manifest, signature)
    session = NativeSession(manifest.name, model.plan, model.weights, signature)
    middle_s = clock()
    warm_up()
    session.run()
    session.report.load_ms = 1e3 * (middle_s - begin_s)
    session.report.warm_up_ms = 1e3 * (clock() - middle_s)
    return session


def _read(manifest: Manifest, bins: int, frames: int) -> _Model:
    """Read a network; its plan is empty where the graph is not known."""
    data = read_weights(manifest)
    graph = read_graph(data, str(manifest.onnx_path))
    plan, weights = np.zeros(0, np.int64), np.zeros(0, np.float32)
    structure = _KNOWN.get(graph.fingerprint)
    if structure is not None and structure.context_frames == manifest.context_frames:
        sizes = FramesSizes(
            drafts=len(manifest.drafts), bins=bins, frames=frames, **asdict(structure)
        )
        with contextlib.suppress(UnfitError):  # ONNX Runtime will say why
            plan, weights = plan_frames(graph.weights(), sizes)
    return _Model(plan, weights, graph.summary, manifest.bytes)
