"""Networks of streams without ONNX Runtime: their graphs as kernels.

The ONNX file stays the model's only file: its weights are read from it, in 25 ms, and put into the
order of :mod:`plc_kernels.network` (:mod:`plc.engine.runtime.known`). All streams of a process
share them.

Weights become int8 (:mod:`plc_kernels.network.product`). A run takes 0.25 to 0.5 ms on one thread
(a bridge 1.5 ms), always the same work.
"""

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.engine.models.catalogue import find
from plc.engine.models.kinds import KINDS
from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import GraphSummary
from plc.engine.runtime.known import LISTED, plan_of, read_network
from plc.engine.runtime.onnx_network import GapNetwork, NetworkShape, network_signature
from plc.engine.runtime.providers import Signature, gpu_installed
from plc.engine.runtime.session import check_graph, open_session
from plc.engine.runtime.shared import SessionReport, SharedSessions, check_weights
from plc.errors import ConfigError
from plc_kernels.build.library import FUNCTIONS
from plc_kernels.network.layers import run_network
from plc_kernels.network.plan import WORK, UnfitError

NATIVE = "native"
"""What reports call the kernels, as they call a provider by its name."""

_SLOW_S = 1.0
_COMPILING = "compiling the networks' kernels, once on this machine: some 10 s"

_lock = threading.RLock()
_warm = False


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Model:
    """A network as streams share it."""

    plan: NDArray[np.int64]
    """Without words: the graph is ONNX Runtime's."""
    weights: NDArray[np.float32]
    bins: int
    """What the plan was made for."""
    graph: GraphSummary
    bytes: int
    """Of the ONNX file."""


opened: SharedSessions[_Model] = SharedSessions()


def _begin_child() -> None:
    """Take new locks, which a thread of the parent may hold."""
    global opened
    opened = SharedSessions()
    _lock.release()


if hasattr(os, "register_at_fork"):
    # numba has locks of its own, which a child would find held for ever: a fork waits for them.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_child
    )


def warm_up() -> None:
    """Compile or load the networks' kernel, once; afterwards nothing is compiled in a stream."""
    global _warm
    if FUNCTIONS is not None or _warm:
        return
    from numba import types

    reals = types.Array(types.float32, 1, "C")
    compiled: Any = run_network
    with _lock, notice.if_slow(lambda: _COMPILING, _SLOW_S):
        if not _warm:
            compiled.compile((types.Array(types.int64, 1, "C"), *[reals] * 5))
            compiled.disable_compile()
            _warm = True


class NativeSession:
    """A network with fixed inputs and output; used by one thread at a time.

    As :class:`~plc.engine.runtime.shared.BoundSession`: write ``inputs``, :meth:`run`, read
    ``output``.
    """

    on_gpu = False

    def __init__(self, name: str, model: _Model, signature: Signature) -> None:
        self.report = SessionReport(model=name, provider=NATIVE)
        spectra, lost = (np.zeros(shape, np.float32) for _, shape in signature.inputs)
        work = np.zeros(model.plan[WORK], np.float32)
        self.inputs = [spectra, lost]
        self.output = np.zeros(signature.output[1], np.float32)
        given = spectra.ravel(), lost.ravel(), work, self.output.ravel()
        self._arguments = (model.plan, model.weights, *given)

    def run(self) -> None:
        """Compute the output."""
        run_network(*self._arguments)

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
    if manifest.kind not in LISTED:
        return None
    begin_s = time.perf_counter()
    bins, frames = signature.inputs[0][1][3:]
    key = manifest.sha256, frames
    model = opened.find(key)
    if model is None:
        model = opened.get(key, partial(_read, manifest, bins, frames))
    else:
        check_weights(manifest)
    if not model.plan.size or model.bins != bins:
        return None
    check_graph(model.graph, manifest, signature)
    session = NativeSession(manifest.name, model, signature)
    middle_s = time.perf_counter()
    warm_up()
    session.run()
    session.report.load_ms = 1e3 * (middle_s - begin_s)
    session.report.warm_up_ms = 1e3 * (time.perf_counter() - middle_s)
    return session


def _read(manifest: Manifest, bins: int, frames: int) -> _Model:
    """Read a network; it has no plan where the graph is not known."""
    graph = read_network(manifest)
    with contextlib.suppress(UnfitError):  # ONNX Runtime will say why
        if (planned := plan_of(manifest, graph, bins, frames)) is not None:
            return _Model(*planned, bins, graph.summary, manifest.bytes)
    nothing = np.zeros(0, np.int64), np.zeros(0, np.float32)
    return _Model(*nothing, bins, graph.summary, manifest.bytes)


def open_network(
    model: str | Path | Manifest,
    shape: NetworkShape,
    *,
    providers: str | Sequence[str] = "auto",
) -> GapNetwork:
    """Return a network that is verified, bound and warm.

    Parameters
    ----------
    model : str, Path or Manifest
        Name of one in the package, path of a manifest (or of the ONNX file beside it), or the
        manifest itself.
    shape : NetworkShape, of every inference
    providers
        ``"auto"``: a GPU that works, else the kernels of :mod:`plc.engine.runtime.native` where
        they know the graph, else ONNX Runtime on the CPU. All else as for :func:`open_session`.

    Raises
    ------
    MissingExtraError, ModelError, ConfigError
        As for :func:`open_session`.
    """
    manifest = model if isinstance(model, Manifest) else find(model)
    if KINDS[manifest.kind].own_ports:
        raise ConfigError(
            f"{manifest.name} is of kind {manifest.kind}, which has other inputs: plc inpaint "
            "opens it, and of kind context_encoder Concealer(model=...) with lookahead"
        )
    signature = network_signature(manifest, shape)
    open_it = partial(open_session, manifest, signature, providers=providers)
    if providers != "auto":
        return GapNetwork(manifest, open_it())
    first = open_it() if gpu_installed() else None
    if first is not None and first.on_gpu:
        return GapNetwork(manifest, first)
    native = open_native(manifest, signature)
    if native is None:
        return GapNetwork(manifest, first or open_it())
    if first is not None:
        native.report.refused = first.report.refused
    return GapNetwork(manifest, native)
