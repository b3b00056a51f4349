"""Networks of streams without ONNX Runtime: their graphs as kernels.

The ONNX file stays the model's only file: its weights are read from it, in 25 ms, and put into the
order of :mod:`plc_kernels.network`. All streams of a process share them. A graph is run so only if
it is one that the kernels were compared with, to the last node; what other graphs compute is ONNX
Runtime's to know.

Weights become int8 (:mod:`plc_kernels.network.product`). A run takes 0.25 to 0.5 ms on one thread
(a bridge 1.5 ms), always the same work.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from plc import notice
from plc.models.manifest import Manifest
from plc.models.onnx_file import Graph, GraphSummary, read_graph
from plc.runtime.bound import SessionReport
from plc.runtime.providers import Signature
from plc.runtime.session import check_graph
from plc.runtime.shared import SharedSessions
from plc.runtime.weights import check_weights, read_weights
from plc_kernels.network import hybrid_plan
from plc_kernels.network import plan as frames_plan
from plc_kernels.network.frames import run_frames
from plc_kernels.network.hybrid import run_hybrid
from plc_kernels.network.hybrid_plan import HybridSizes, plan_hybrid
from plc_kernels.network.plan import FramesSizes, Tensors, UnfitError, plan_frames

NATIVE = "native"
"""What reports call the kernels, as they call a provider by its name."""

KERNELS: tuple[Any, ...] = (run_frames, run_hybrid)
"""The kernels that networks call."""


Planned = tuple[NDArray[np.int64], NDArray[np.float32]]
"""A plan and its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A graph that kernels compute."""

    kind: str
    context_frames: int
    context_frames_after: int = 0
    kernel: Any
    plan: Callable[[Tensors, int, int, int], Planned]
    """Takes tensors by name, drafts, bins and frames."""
    work: int
    """Word of the plan that says how much memory a run takes."""


def _frames(context_frames: int, **sizes: Any) -> _Known:
    """Return a causal graph of sizes as :class:`FramesSizes` has them."""

    def plan(tensors: Tensors, drafts: int, bins: int, frames: int) -> Planned:
        given = FramesSizes(
            drafts=drafts, bins=bins, frames=frames, context_frames=context_frames, **sizes
        )
        return plan_frames(tensors, given)

    return _Known(
        kind="causal",
        context_frames=context_frames,
        kernel=run_frames,
        plan=plan,
        work=frames_plan.WORK,
    )


def _hybrid(context_frames: int, context_frames_after: int, names: dict[str, str]) -> _Known:
    """Return a bridging graph; ``names`` are those that it has for some tensors."""

    def plan(tensors: Tensors, drafts: int, bins: int, frames: int) -> Planned:
        named = {ours: tensors[theirs] for ours, theirs in names.items() if theirs in tensors}
        for ramp in {"places", "times"} & set(named):
            named[ramp] = named[ramp].ravel()
        sizes = HybridSizes(
            drafts=drafts,
            bins=bins,
            frames=frames,
            context_frames=context_frames,
            context_frames_after=context_frames_after,
        )
        return plan_hybrid({**tensors, **named}, sizes)

    return _Known(
        kind="bridge",
        context_frames=context_frames,
        context_frames_after=context_frames_after,
        kernel=run_hybrid,
        plan=plan,
        work=hybrid_plan.WORK,
    )


# By the fingerprint of the graph. A new one is entered with tests/plc/runtime/test_native.py, which
# compares the kernels with ONNX Runtime.
_KNOWN: dict[str, _Known] = {
    "db105ee64acf76899021a66ed27f9fcc91c62773cfbd384fdd5af20b76a80f20": _frames(  # speech
        context_frames=16, early_frames=6, draft_share=0.25
    ),
    "c4161d6b17ec2bfa0e3484288c0f0a28db32a15a29dc6acff5c5545359baa273": _frames(
        context_frames=16,
        top_bin=False,
        draft_share=0.25,  # speech-narrowband
    ),
    "910e0fc7de64267c9f1c2b7e52e19c137d49fde06851f689d9fbf6233c7dca72": _frames(  # music
        context_frames=12, bands=4
    ),
    "eb5e5fce7684050ad64613ec8249317ec005742b7c4dfaea52aecd335d131c21": _hybrid(  # speech-bridge
        context_frames=16,
        context_frames_after=1,
        names={"spread.weight": "val_527", "places": "view", "times": "view_1"},
    ),
}

_SLOW_S = 1.0
_COMPILING = "compiling the networks' kernels, once on this machine: some 10 s"

# Compiling takes less, even on a slow core.
_LONGEST_WAIT_S = 60.0

_lock = threading.RLock()
_warm: set[Any] = set()


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Model:
    """A network as streams share it."""

    kernel: Any
    """None: the graph is ONNX Runtime's."""
    plan: NDArray[np.int64]
    weights: NDArray[np.float32]
    work: int
    """Numbers of memory that a run takes."""
    bins: int
    """What the plan was made for."""
    graph: GraphSummary
    bytes: int
    """Of the ONNX file."""


_models: SharedSessions[_Model] = SharedSessions()


def _begin_child() -> None:
    """Take new locks, which a thread of the parent may hold."""
    global _models
    _models = SharedSessions()
    _lock.release()


if hasattr(os, "register_at_fork"):
    # numba has locks of its own, which a child would find held for ever: a fork waits for them.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_child
    )


def warm_up(kernel: Any) -> None:
    """Compile or load one of :data:`KERNELS`, once; afterwards nothing is compiled in a stream."""
    reals = types.Array(types.float32, 1, "C")
    with _lock, notice.if_slow(lambda: _COMPILING, _SLOW_S):
        if kernel not in _warm:
            kernel.compile((types.Array(types.int64, 1, "C"), *[reals] * 5))
            kernel.disable_compile()
            _warm.add(kernel)


class NativeSession:
    """A network with fixed inputs and output; used by one thread at a time.

    As :class:`~plc.runtime.bound.BoundSession`: write ``inputs``, :meth:`run`, read ``output``.
    """

    on_gpu = False

    def __init__(self, name: str, model: _Model, signature: Signature) -> None:
        self.report = SessionReport(model=name, provider=NATIVE)
        spectra, lost = (np.zeros(shape, np.float32) for _, shape in signature.inputs)
        work = np.zeros(model.work, np.float32)
        self.inputs = [spectra, lost]
        self.output = np.zeros(signature.output[1], np.float32)
        given = spectra.ravel(), lost.ravel(), work, self.output.ravel()
        self._kernel = model.kernel
        self._arguments = (model.plan, model.weights, *given)

    def run(self) -> None:
        """Compute the output."""
        self._kernel(*self._arguments)

    def cancel(self) -> None:
        """Do nothing: a run ends in time by itself."""


def open_native(manifest: Manifest, signature: Signature) -> NativeSession | None:
    """Return a session that is verified and warm; None if the graph is not known.

    Parameters
    ----------
    manifest : Manifest
        Read from a file; the weights lie beside it.
    signature : Signature
        Shapes of the inputs and the output.

    Raises
    ------
    ModelError
        If the files are not sound.
    """
    if manifest.kind not in {each.kind for each in _KNOWN.values()}:
        return None
    begin_s = time.perf_counter()
    bins, frames = signature.inputs[0][1][3:]
    key = manifest.sha256, frames
    model = _models.find(key)
    if model is None:
        model = _models.get(key, partial(_read, manifest, bins, frames))
    else:
        check_weights(manifest)
    if model.kernel is None or model.bins != bins:
        return None
    check_graph(model.graph, manifest, signature)
    session = NativeSession(manifest.name, model, signature)
    middle_s = time.perf_counter()
    warm_up(model.kernel)
    session.run()
    session.report.load_ms = 1e3 * (middle_s - begin_s)
    session.report.warm_up_ms = 1e3 * (time.perf_counter() - middle_s)
    return session


def planned(manifest: Manifest, sample_rate: int) -> Planned | None:
    """Return the plan and the weights of a model; None if its graph is not known.

    Parameters
    ----------
    manifest : Manifest
        Read from a file; the weights lie beside it.
    sample_rate : int
        In Hz.

    Raises
    ------
    ModelError
        If the files are not sound.
    """
    graph, known = _read_graph(manifest)
    if known is None:
        return None
    sizes = len(manifest.drafts), manifest.bins(sample_rate), manifest.frames(sample_rate)
    return known.plan(graph.weights(), *sizes)


def _read_graph(manifest: Manifest) -> tuple[Graph, _Known | None]:
    """Read a network; return also what is known of its graph."""
    graph = read_graph(read_weights(manifest), str(manifest.onnx_path))
    known = _KNOWN.get(graph.fingerprint)
    return graph, known if known is not None and _is_of(manifest, known) else None


def _read(manifest: Manifest, bins: int, frames: int) -> _Model:
    """Read a network; it has no kernel where the graph is not known."""
    graph, known = _read_graph(manifest)
    if known is not None:
        with contextlib.suppress(UnfitError):  # ONNX Runtime will say why
            sizes = len(manifest.drafts), bins, frames
            plan, weights = known.plan(graph.weights(), *sizes)
            work = int(plan[known.work])
            return _Model(known.kernel, plan, weights, work, bins, graph.summary, manifest.bytes)
    nothing = np.zeros(0, np.int64), np.zeros(0, np.float32)
    return _Model(None, *nothing, 0, bins, graph.summary, manifest.bytes)


def _is_of(manifest: Manifest, known: _Known) -> bool:
    """Tell whether a manifest is of a known graph, as far as the graph does not tell."""
    contexts = known.context_frames, known.context_frames_after
    return manifest.kind == known.kind and contexts == (
        manifest.context_frames,
        manifest.context_frames_after,
    )
