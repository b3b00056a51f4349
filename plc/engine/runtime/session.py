"""ONNX Runtime: the one module that imports it.

A model's weights become a session in steps, each before the next can do harm::

    manifest ─▶ size and SHA-256 of the weights ─▶ look into the graph ─▶ session ─▶ warm-up
                (weights)                   (models.onnx_file)   TensorRT, CUDA or CPU

**Providers** are tried in that order among those that the installed wheel has. A provider that
does not start falls to the next, and the report keeps the reason. A GPU must also agree with the
CPU on the warm-up's input: driver, engine cache and captured graphs are judged by their result.
The provider in use is the one that the session reports.

**Memory.** The shape is declared at opening; inputs and output are allocated and bound once
(:mod:`plc.engine.runtime.shared`). On a CPU all users of a network share one session
(:mod:`plc.engine.runtime.shared`), and the memory of a run is freed when the run ends: an arena
would keep the largest amount ever used.

**Telemetry.** From 1.29 on ONNX Runtime's packages send usage reports to Microsoft, from a thread
that a forked child waits for in vain when it ends. :func:`runtime` imports it without.

**Settings on a CPU.** One thread that does not spin: networks small enough for a packet's time
gain nothing from a second thread, and spinning threads delay each other on shared cores.
Denormals are the calling thread's affair (:mod:`plc_kernels.build.denormals`): the session option
for them changes the thread that opens the session and never restores it.
"""

import contextlib
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import GraphSummary, check_ports, read_graph
from plc.engine.runtime import shared
from plc.engine.runtime.attempts import (
    AbsentError,
    EngineCache,
    RefusedError,
    note_gpu,
    open_first,
    open_with_engines,
    open_with_graph,
    prove,
)
from plc.engine.runtime.providers import (
    CPU_OPTIONS,
    PROVIDERS,
    Options,
    Signature,
    cuda_options,
    gpu_name,
    load_libraries,
    quiet,
    tensorrt_options,
    tensorrt_version,
    wanted_providers,
)
from plc.engine.runtime.shared import (
    BoundSession,
    OpenSession,
    SessionReport,
    check_weights,
    read_weights,
)
from plc.errors import MissingExtraError, ModelError, in_a_line
from plc.extras import install_command
from plc_kernels.build.own_folder import cache_root

_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
# Before a message: file, line and function of ONNX Runtime's own sources.
_SOURCE_LINE = re.compile(r"\S+\.cc:\d+ [^)]*\) ")


def open_session(
    manifest: Manifest,
    signature: Signature | Callable[[GraphSummary], Signature],
    *,
    providers: str | Sequence[str] = "auto",
) -> BoundSession:
    """Return a session that is verified, bound and warm.

    Parameters
    ----------
    manifest : Manifest
        Read from a file; the weights lie beside it.
    signature : Signature or callable
        Shapes of the inputs and the output; a callable returns them from the graph's summary.
    providers : "auto", a name or a sequence of names
        Keys of :data:`plc.engine.runtime.providers.PROVIDERS`, in the order to try; ``"auto"``
        tries all installed ones.

    Raises
    ------
    MissingExtraError
        If ONNX Runtime is not installed.
    ModelError
        If the model is refused, or no provider runs it.
    ConfigError
        If a provider is unknown or not installed.
    """
    begin_s = time.perf_counter()
    known = shared.sessions.find(manifest.sha256)
    if known is None:
        data = read_weights(manifest)
        graph = read_graph(data, str(manifest.onnx_path)).summary
    else:
        check_weights(manifest)
        data, graph = None, known.graph
    if callable(signature):
        signature = signature(graph)
    check_graph(graph, manifest, signature)
    ort = runtime()
    opener = _Opener(ort, manifest, data, graph, signature)
    session = open_first(wanted_providers(ort, providers), opener.open_one, manifest)
    session.report.notes = opener.notes
    session.report.load_ms = 1e3 * (time.perf_counter() - begin_s) - session.report.warm_up_ms
    return session


def runtime() -> ModuleType:
    """Return the module ``onnxruntime``; raise MissingExtraError if it is not installed."""
    try:
        with _without_telemetry():
            return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError(
            f"this network needs ONNX Runtime: {install_command('cpu')} or, with an NVIDIA GPU, "
            f"{install_command('gpu')} ({error})"
        ) from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Import ONNX Runtime without its thread for reports; it asks once, at import."""
    if "onnxruntime" in sys.modules or _NO_TELEMETRY in os.environ:
        yield
        return
    os.environ[_NO_TELEMETRY] = "1"
    try:
        yield
    finally:
        os.environ.pop(_NO_TELEMETRY, None)


def check_graph(found: GraphSummary, manifest: Manifest, signature: Signature) -> None:
    """Raise ModelError if a graph differs from its manifest and the signature to be bound.

    Compared are version, inputs and output.
    """
    label = str(manifest.onnx_path)
    if found.opset != manifest.opset:
        raise ModelError(
            f"{label}: opset {found.opset}; its manifest says {manifest.opset}: export it again"
        )
    name, shape = signature.output
    check_ports(found, dict(signature.inputs), {name: (shape,)}, label)


@dataclass(slots=True)
class _Opener:
    ort: ModuleType
    manifest: Manifest
    data: bytes | None
    """The weights as they were verified; None: read again where they are needed."""
    graph: GraphSummary
    signature: Signature
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Libraries that the provider lacks."""

    def open_one(self, name: str) -> BoundSession:
        """Return a warm session on one provider; raise :class:`RefusedError` if it fails."""
        if name == "cpu":
            return self._warm(name, [CPU_OPTIONS])
        self.missing = load_libraries(self.ort, name)
        note_gpu()
        if name == "cuda":
            return self._on_gpu(name, lambda graph: [cuda_options(graph)])
        try:
            cache = EngineCache(cache_root() / "tensorrt", self._identity())
            return open_with_engines(cache, self._on_tensorrt, self.notes)
        except OSError as error:
            raise RefusedError(f"its engines cannot be kept: {error}") from error

    def _on_gpu(self, name: str, options: Callable[[bool], list[Options]]) -> BoundSession:
        return open_with_graph(lambda graph: self._warm(name, options(graph)), name, self.notes)

    def _on_tensorrt(self, folder: Path) -> BoundSession:
        def options(graph: bool) -> list[Options]:
            # Nodes that TensorRT does not know run on CUDA.
            return [tensorrt_options(folder, self.signature, graph), cuda_options(False)]

        return self._on_gpu("tensorrt", options)

    def _identity(self) -> dict[str, str]:
        return {
            "model": self.manifest.sha256,
            "onnxruntime": str(self.ort.__version__),
            "build": str(getattr(self.ort, "get_build_info", str)()),
            "cuda": str(getattr(self.ort, "cuda_version", "")),
            "tensorrt": tensorrt_version(),
            "device": gpu_name(),
            "shapes": str(self.signature),
        }

    def _warm(self, name: str, providers: list[Options]) -> BoundSession:
        session = self._session(name, providers)
        begin_s = time.perf_counter()
        prove(session, lambda: self._session("cpu", [CPU_OPTIONS]))
        session.report.warm_up_ms = 1e3 * (time.perf_counter() - begin_s)
        return session

    def _session(self, name: str, providers: list[Options]) -> BoundSession:
        on_gpu = name != "cpu"
        try:
            opened = (
                self._opened(name, providers)
                if on_gpu
                else _shared(self.manifest, self.graph, self.data)
            )
            reopen = partial(_shared, self.manifest, self.graph)
            session = BoundSession(self.ort, opened, self.signature, on_gpu, reopen)
        except RefusedError:
            raise
        except Exception as error:  # ONNX Runtime's have no common class of their own
            raise RefusedError(_SOURCE_LINE.sub("", in_a_line(error))) from error
        session.report = SessionReport(
            model=self.manifest.name, provider=name, nodes=dict(opened.nodes)
        )
        return session

    def _opened(self, name: str, providers: list[Options]) -> OpenSession:
        with quiet(self.ort):
            opened = _open(self.manifest, self.graph, self.data, [*providers, CPU_OPTIONS])
        used = opened.raw.get_providers()[0]
        if used != PROVIDERS[name]:
            raise AbsentError(_absence(self.ort, used, self.missing))
        return opened


def _shared(manifest: Manifest, graph: GraphSummary, data: bytes | None = None) -> OpenSession:
    """Return the shared session of a model on the CPU, in a fork's child one of its own."""
    return shared.sessions.get(
        manifest.sha256, partial(_open, manifest, graph, data, [CPU_OPTIONS])
    )


def _open(
    manifest: Manifest, graph: GraphSummary, data: bytes | None, providers: list[Options]
) -> OpenSession:
    ort = runtime()
    raw = ort.InferenceSession(
        read_weights(manifest) if data is None else data,
        _options(ort),
        providers=providers,
        enable_fallback=0,
    )
    return OpenSession(raw, manifest.bytes, _assigned_nodes(raw), graph)


def _absence(ort: ModuleType, used: str, missing: Sequence[str]) -> str:
    """Return why ONNX Runtime started another provider."""
    cuda = getattr(ort, "cuda_version", "") or "of the version it was built with"
    absent = f"; not found: {', '.join(missing)}" if missing else ""
    return (
        f"ONNX Runtime offers it but started {used} instead; it needs an NVIDIA driver, CUDA "
        f"{cuda} and cuDNN 9, and TensorRT for tensorrt{absent}"
    )


def _options(ort: ModuleType) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = True
    options.enable_cpu_mem_arena = False
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what fails reaches the caller as an exception
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _assigned_nodes(session: Any) -> dict[str, int]:
    """Return how many nodes each provider runs; empty if ONNX Runtime (before 1.24) says none."""
    counts: dict[str, int] = {}
    with contextlib.suppress(Exception):  # absent before 1.24
        for part in session.get_provider_graph_assignment_info():
            name = part.ep_name.removesuffix("ExecutionProvider").lower()
            counts[name] = counts.get(name, 0) + len(part.get_nodes())
    return counts
