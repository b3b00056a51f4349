"""ONNX Runtime: the one module that knows it.

A model's weights become a session in steps, each before the next can do harm::

    manifest ─▶ size and SHA-256 of the weights ─▶ look into the graph ─▶ session ─▶ warm-up
                (before anything parses them)      (plc.models.onnx_file) TensorRT, CUDA or CPU

**Providers** are tried in that order among those that the installed wheel has. One that does not
start falls to the next, and the report keeps the reason. A GPU must also agree with the CPU on
the warm-up's input: driver, engine cache, captured graphs, all of it is judged by its result.
The one really in use is what the session says, not what it was asked for.

**Memory.** Each shape that will be run is declared at opening; its inputs and output are allocated
and bound once, on a GPU at fixed addresses of the device. On a CPU all that open the same network
share one session (:mod:`plc.runtime.shared`), and what a run takes meanwhile goes back when it
ends: an arena would keep what the most runs at once took.

**Telemetry.** From 1.29 on ONNX Runtime's packages send what they are used for to Microsoft, from a
thread that a forked child waits for in vain when it ends. :func:`runtime` imports it without.

**Settings on a CPU.** One thread that does not spin: for networks small enough for a packet's
time a second thread gains nothing, and two that spin make p99 seven times longer on shared cores
(0.75 → 5.6 ms). Denormals are the calling thread's affair (:mod:`plc_kernels.denormals`): the
session option for them changes the thread that opens the session and never puts it back.
"""

import contextlib
import hashlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, MissingExtraError, ModelError
from plc.models.manifest import Manifest
from plc.models.onnx_file import GraphSummary, check_ports, inspect_onnx
from plc.runtime import forks, shared
from plc.runtime.engine_cache import EngineCache, cache_root
from plc.runtime.providers import (
    CPU_OPTIONS,
    PROVIDERS,
    Options,
    Signature,
    cuda_options,
    gpu_name,
    load_libraries,
    quiet,
    shape_range,
    tensorrt_options,
    tensorrt_version,
    wanted_providers,
)
from plc.runtime.shared import OpenSession


@dataclass(slots=True, kw_only=True)
class SessionReport:
    """What was opened, where it runs, and what it cost to open."""

    model: str
    provider: str
    """Of :data:`PROVIDERS`' keys: the one in use."""
    refused: dict[str, str] = field(default_factory=dict)
    """Providers that were tried before, and why they are not in use."""
    notes: list[str] = field(default_factory=list)
    nodes: dict[str, int] = field(default_factory=dict)
    """Nodes of the optimised graph by provider, as far as ONNX Runtime tells."""
    cuda_graph: bool = False
    engine_cache: Path | None = None
    load_ms: float = 0.0
    """Reading, checking and preparing, all providers that were tried included."""
    warm_up_ms: float = 0.0


class BoundSession:
    """A graph whose inputs and outputs lie at fixed places; used by one thread at a time.

    Made by :func:`open_session`. ``inputs[i]`` and ``outputs[i]`` are host arrays for the
    signature ``i``: write the former, :meth:`run`, read the latter.
    """

    def __init__(
        self,
        ort: ModuleType,
        opened: OpenSession,
        signatures: Sequence[Signature],
        on_gpu: bool,
        reopen: Callable[[], OpenSession],
    ) -> None:
        self.report = SessionReport(model="", provider="")
        self.on_gpu = on_gpu
        self.opened = opened
        """Others may be using it, too."""
        self._reopen = reopen
        self._generation = forks.generation
        raw = opened.raw
        self._slots = [
            _GpuSlot(ort, raw, signature, i) if on_gpu else _CpuSlot(ort, raw, signature)
            for i, signature in enumerate(signatures)
        ]
        self.inputs = [slot.inputs for slot in self._slots]
        self.outputs = [slot.output for slot in self._slots]

    def run(self, index: int) -> None:
        """Compute the output of signature ``index``; ONNX Runtime's exceptions pass through.

        In the child of a fork the first run opens the network again: a thread that stayed with the
        parent may have been inside its session.
        """
        if self._generation != forks.generation:
            self._begin_child()
        self._slots[index].run(self.opened.raw)

    def _begin_child(self) -> None:
        if self.on_gpu:
            raise ModelError("this process is a fork of the one that opened it; CUDA forbids that")
        self.opened = self._reopen()
        for slot in self._slots:
            slot.bind(self.opened.raw)
        self._generation = forks.generation

    def cancel(self) -> None:
        """Make a run that is under way in another thread end soon, with an exception."""
        for slot in self._slots:
            slot.options.terminate = True


class _CpuSlot:
    """Host arrays, bound as they are."""

    def __init__(self, ort: ModuleType, session: Any, signature: Signature) -> None:
        self.options = ort.RunOptions()
        self.inputs = [np.zeros(shape, np.float32) for _, shape in signature.inputs]
        self.output = np.zeros(signature.output[1], np.float32)
        self._names = [name for name, _ in signature.inputs]
        self._output_name = signature.output[0]
        arrays = (*self.inputs, self.output)
        self._values = [ort.OrtValue.ortvalue_from_numpy(array) for array in arrays]
        self.bind(session)

    def bind(self, session: Any) -> None:
        """Have a session read and write these arrays."""
        self._binding = session.io_binding()
        for name, value in zip(self._names, self._values, strict=False):
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output(self._output_name, self._values[-1])

    def run(self, session: Any) -> None:
        self.options.terminate = False
        session.run_with_iobinding(self._binding, self.options)


class _GpuSlot:
    """Device buffers at fixed addresses, with host arrays beside them."""

    def __init__(self, ort: ModuleType, session: Any, signature: Signature, index: int) -> None:
        self.options = ort.RunOptions()
        # A graph is captured and replayed for each of these numbers.
        self.options.add_run_config_entry("gpu_graph_id", str(index + 1))
        self.inputs = [np.zeros(shape, np.float32) for _, shape in signature.inputs]
        self.output = np.zeros(signature.output[1], np.float32)
        value = ort.OrtValue
        self._inputs = [value.ortvalue_from_numpy(array, "cuda", 0) for array in self.inputs]
        self._output = value.ortvalue_from_shape_and_type(
            list(self.output.shape), np.float32, "cuda", 0
        )
        self._names = [name for name, _ in signature.inputs]
        self._output_name = signature.output[0]
        self.bind(session)

    def bind(self, session: Any) -> None:
        """Have a session read and write these buffers."""
        self._binding = session.io_binding()
        for name, bound in zip(self._names, self._inputs, strict=True):
            self._binding.bind_ortvalue_input(name, bound)
        self._binding.bind_ortvalue_output(self._output_name, self._output)

    def run(self, session: Any) -> None:
        self.options.terminate = False
        for bound, array in zip(self._inputs, self.inputs, strict=True):
            bound.update_inplace(array)
        session.run_with_iobinding(self._binding, self.options)
        # The one array that a run makes: every release copies from the device in this way.
        np.copyto(self.output, self._output.numpy())


__all__ = ["BoundSession", "SessionReport", "open_session", "read_weights", "runtime"]

MAX_SHAPES = 64
# How the message that no provider runs a network ends.
TELLS = "plc doctor tells what works here"
# Of a file that is only verified: what is freed at once leaves a thread's memory as it was.
_PIECE_BYTES = 1 << 16
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_WARM_UP_RUNS = 3
"""The first run plans memory, the second uses it; on a GPU the second is captured as a graph."""
# How far a GPU may be from the CPU, as a share of the largest output: sums in another order differ
# by 1e-6 to 1e-4, half precision by 1e-3, a wrong engine by everything.
_PARITY = 1e-3


def open_session(
    manifest: Manifest,
    signatures: Sequence[Signature],
    *,
    providers: str | Sequence[str] = "auto",
    threads: int = 1,
    cuda_graph: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> BoundSession:
    """Return a session that is verified, bound and warm.

    Parameters
    ----------
    manifest : Manifest
        Read from a file; the weights lie beside it.
    signatures : sequence of Signature
        All that will be run, 1 to 64.
    providers : "auto", a name or a sequence of names
        Of :data:`PROVIDERS`, in the order in which to try them; ``"auto"`` tries all that are
        installed.
    threads : int
        Of a CPU session.
    cuda_graph : bool
        Whether a GPU may replay captured graphs.
    clock : callable
        Returns seconds, for the report.

    Raises
    ------
    MissingExtraError
        If ONNX Runtime is not installed.
    ModelError
        If the model is refused, or no provider runs it.
    ConfigError
        If a setting is unknown or out of its range.
    """
    if not 1 <= len(signatures) <= MAX_SHAPES:
        raise ConfigError(f"{len(signatures)} shapes are declared; supported: 1 to {MAX_SHAPES}")
    if not 1 <= threads <= 64:
        raise ConfigError(f"threads is {threads!r}; supported: 1 to 64")
    begin_s = clock()
    known = shared.sessions.find((manifest.sha256, threads))
    if known is None:
        weights = _Weights(manifest, read_weights(manifest))
    else:
        _check_weights(manifest)
        weights = _Weights(manifest, found=known.graph)
    _check_graph(weights.graph, manifest, signatures)
    ort = runtime()
    opener = _Opener(ort, weights, signatures, threads, cuda_graph, clock)
    session = opener.open(wanted_providers(ort, providers))
    session.report.load_ms = 1e3 * (clock() - begin_s) - session.report.warm_up_ms
    return session


def runtime() -> ModuleType:
    """Return the module ``onnxruntime``.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        with _without_telemetry():
            return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError(
            "networks need ONNX Runtime: pip install 'plc-engine[cpu]' or, with an NVIDIA GPU, "
            f"'plc-engine[gpu]' ({error})"
        ) from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Have ONNX Runtime start no thread that sends reports; it asks once, when it is imported."""
    if "onnxruntime" in sys.modules or _NO_TELEMETRY in os.environ:
        yield
        return
    os.environ[_NO_TELEMETRY] = "1"
    try:
        yield
    finally:
        os.environ.pop(_NO_TELEMETRY, None)


def read_weights(manifest: Manifest) -> bytes:
    """Return the ONNX file's bytes if they are those that the manifest describes.

    Raises
    ------
    ModelError
        If the file is missing, or its size or SHA-256 differs.
    """
    pieces: list[bytes] = []
    _read(manifest, manifest.bytes + 1, pieces.append)
    return b"".join(pieces)


def _check_weights(manifest: Manifest) -> None:
    """Read the ONNX file as :func:`read_weights` does, and keep nothing of it."""
    _read(manifest, _PIECE_BYTES, lambda piece: None)


def _read(manifest: Manifest, piece_bytes: int, take: Callable[[bytes], object]) -> None:
    path = manifest.onnx_path
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while size <= manifest.bytes and (piece := file.read(piece_bytes)):
                size += len(piece)
                digest.update(piece)
                take(piece)
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: {error.strerror or error}; it belongs beside {manifest.path}"
        ) from error
    if size != manifest.bytes:
        counted = f"over {manifest.bytes}" if size > manifest.bytes else str(size)
        raise ModelError(
            f"{path}: {counted} bytes; its manifest says {manifest.bytes}: the file is cut short "
            "or another one; fetch both again"
        )
    if digest.hexdigest() != manifest.sha256:
        raise ModelError(
            f"{path}: SHA-256 is {digest.hexdigest()[:16]}…; its manifest says "
            f"{manifest.sha256[:16]}…: the file was changed; fetch both again"
        )


class _Weights:
    """An ONNX file that was verified and looked into; its bytes are read again where needed."""

    def __init__(
        self, manifest: Manifest, data: bytes | None = None, found: GraphSummary | None = None
    ) -> None:
        self.manifest = manifest
        self._data = data
        self.graph = found or inspect_onnx(self.read(), str(manifest.onnx_path))

    def read(self) -> bytes:
        """Return the bytes that the manifest describes, as they were verified."""
        if self._data is None:
            self._data = read_weights(self.manifest)
        return self._data


def _check_graph(found: GraphSummary, manifest: Manifest, signatures: Sequence[Signature]) -> None:
    label = str(manifest.onnx_path)
    if found.opset != manifest.opset:
        raise ModelError(
            f"{label}: opset {found.opset}; its manifest says {manifest.opset}: export it again"
        )
    for signature in signatures:
        name, shape = signature.output
        check_ports(found, dict(signature.inputs), {name: (shape,)}, label)


class _RefusedError(Exception):
    """A provider does not serve; the message says why."""


class _AbsentError(_RefusedError):
    """A provider did not start at all."""


class _Opener:
    """Tries providers in turn, with what they all need."""

    def __init__(
        self,
        ort: ModuleType,
        weights: "_Weights",
        signatures: Sequence[Signature],
        threads: int,
        cuda_graph: bool,
        clock: Callable[[], float],
    ) -> None:
        self._ort = ort
        self._weights = weights
        self._manifest = weights.manifest
        self._signatures = signatures
        self._threads = threads
        self._cuda_graph = cuda_graph
        self._clock = clock
        self._reference_session: list[BoundSession] = []
        self._notes: list[str] = []
        self._missing: list[str] = []

    def open(self, names: list[str]) -> BoundSession:
        refused: dict[str, str] = {}
        for name in names:
            if name != "cpu" and _Gpu.of_parent:
                refused[name] = "this process is a fork of one that uses the GPU; CUDA forbids it"
                continue
            try:
                session = self._open_one(name)
            except _RefusedError as error:
                refused[name] = " ".join(str(error).split())[:500]
                continue
            report = session.report
            report.refused = refused
            report.notes = self._notes
            return session
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise ModelError(
            f"{self._manifest.onnx_path}: no provider runs it: {reasons or 'none is installed'}; "
            f"{TELLS}"
        )

    def _open_one(self, name: str) -> BoundSession:
        if name == "cpu":
            return self._warm(name, [CPU_OPTIONS])
        self._missing = load_libraries(self._ort, name)
        _Gpu.used = True
        if name == "cuda":
            return self._on_gpu(name, lambda graph: [cuda_options(graph)], self._cuda_graph)
        try:
            return self._on_tensorrt()
        except OSError as error:
            raise _RefusedError(f"its engines cannot be kept: {error}") from error

    def _on_gpu(
        self, name: str, options: Callable[[bool], list[Options]], graph: bool
    ) -> BoundSession:
        """Return a session with captured graphs, if they are wanted and work, else without."""
        if graph:
            try:
                session = self._warm(name, options(True))
                session.report.cuda_graph = True
                return session
            except _AbsentError:
                raise
            except _RefusedError as error:
                # Graphs are refused where a node has to run on the CPU; the rest still works.
                session = self._warm(name, options(False))
                self._notes.append(f"{name} without CUDA graphs: {error}")
                return session
        return self._warm(name, options(False))

    def _on_tensorrt(self) -> BoundSession:
        cache = EngineCache(cache_root() / "tensorrt", self._identity())
        if cache.reason:
            self._notes.append(f"engines are not kept: {cache.reason}")
        try:
            try:
                return self._with_engines(cache)
            except _RefusedError as error:
                loaded = cache.holds_engines
                cache.discard()
                if not loaded:
                    raise
                self._notes.append(f"kept engines failed and were built again: {error}")
            try:
                return self._with_engines(cache)
            except _RefusedError:
                cache.discard()
                raise
        finally:
            cache.close()

    def _with_engines(self, cache: EngineCache) -> BoundSession:
        folder = cache.begin()

        def options(graph: bool) -> list[Options]:
            # Nodes that TensorRT does not know run on CUDA.
            return [tensorrt_options(folder, self._signatures, graph), cuda_options(False)]

        # It keeps a single graph, so only one shape can be captured.
        graph = self._cuda_graph and len(self._signatures) == 1
        session = self._on_gpu("tensorrt", options, graph)
        cache.finish()
        session.report.engine_cache = cache.folder if cache.kept else None
        return session

    def _identity(self) -> dict[str, str]:
        """Return everything that an engine depends on."""
        return {
            "model": self._manifest.sha256,
            "onnxruntime": str(self._ort.__version__),
            "build": str(getattr(self._ort, "get_build_info", str)()),
            "cuda": str(getattr(self._ort, "cuda_version", "")),
            "tensorrt": tensorrt_version(),
            "device": gpu_name(),
            "shapes": " ".join(shape_range(self._signatures)),
        }

    def _warm(self, name: str, providers: list[Options]) -> BoundSession:
        """Return a session on one provider, run and, on a GPU, compared with the CPU."""
        begin_s = self._clock()
        session = self._session(name, providers)
        middle_s = self._clock()
        for i in range(len(self._signatures)):
            self._prove(session, i)
        report = session.report
        report.load_ms = 1e3 * (middle_s - begin_s)
        report.warm_up_ms = 1e3 * (self._clock() - middle_s)
        return session

    def _session(self, name: str, providers: list[Options]) -> BoundSession:
        try:
            if name == "cpu":
                opened = _shared_session(self._ort, self._weights, self._threads)
            else:
                opened = self._opened(name, providers)
            session = BoundSession(
                self._ort,
                opened,
                self._signatures,
                on_gpu=name != "cpu",
                reopen=partial(_reopened, self._manifest, self._threads),
            )
        except _RefusedError:
            raise
        except Exception as error:  # ONNX Runtime's have no common class of their own
            raise _RefusedError(str(error) or type(error).__name__) from error
        session.report = SessionReport(
            model=self._manifest.name, provider=name, nodes=dict(opened.nodes)
        )
        return session

    def _opened(self, name: str, providers: list[Options]) -> OpenSession:
        """Return a session on a GPU, which is one stream's."""
        ort = self._ort
        with quiet(ort):
            raw = ort.InferenceSession(
                self._weights.read(),
                _options(ort, self._threads),
                providers=[*providers, CPU_OPTIONS],
                enable_fallback=0,
            )
        used = raw.get_providers()
        if used[0] != PROVIDERS[name]:
            raise _AbsentError(self._absence(used[0]))
        return OpenSession(raw, self._manifest.bytes, _assigned_nodes(raw), self._weights.graph)

    def _absence(self, used: str) -> str:
        """Return what ONNX Runtime does not tell when it starts another provider instead."""
        cuda = getattr(self._ort, "cuda_version", "") or "of the version it was built with"
        missing = f"; not found: {', '.join(self._missing)}" if self._missing else ""
        return (
            f"ONNX Runtime offers it but started {used} instead; it needs an NVIDIA driver, CUDA "
            f"{cuda} and cuDNN 9, and TensorRT for tensorrt{missing}"
        )

    def _prove(self, session: BoundSession, index: int) -> None:
        """Run a signature on noise; on a GPU twice another, and compare with the CPU.

        The second input finds a captured graph that replays the first one's result.
        """
        proved = session.opened.proved
        if self._signatures[index] in proved:
            return
        try:
            for draw in range(2 if session.on_gpu else 1):
                _fill_with_noise(session.inputs[index], seed=draw)
                for _ in range(_WARM_UP_RUNS if draw == 0 else 1):
                    session.run(index)
                if session.on_gpu:
                    self._compare(session, index, draw)
        except _RefusedError:
            raise
        except Exception as error:
            raise _RefusedError(f"fails on {self._signatures[index].inputs}: {error}") from error
        for array in session.inputs[index]:
            array.fill(0.0)
        proved.add(self._signatures[index])

    def _compare(self, session: BoundSession, index: int, draw: int) -> None:
        expected = self._expected(index, draw)
        scale = float(np.max(np.abs(expected), initial=0.0))
        difference = float(np.max(np.abs(session.outputs[index] - expected), initial=0.0))
        if not difference <= _PARITY * scale + 1e-6:
            raise _RefusedError(
                f"its output differs from the CPU's by {difference:.3g} where the largest is "
                f"{scale:.3g}"
            )

    def _expected(self, index: int, draw: int) -> NDArray[np.float32]:
        if not self._reference_session:
            self._reference_session.append(self._session("cpu", [CPU_OPTIONS]))
        reference = self._reference_session[0]
        _fill_with_noise(reference.inputs[index], seed=draw)
        reference.run(index)
        return reference.outputs[index]


def _options(ort: ModuleType, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
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


def _shared_session(ort: ModuleType, weights: _Weights, threads: int) -> OpenSession:
    """Return the session on the CPU that all share who use this model with so many threads."""

    def open_it() -> OpenSession:
        raw = ort.InferenceSession(
            weights.read(), _options(ort, threads), providers=[CPU_OPTIONS], enable_fallback=0
        )
        return OpenSession(raw, weights.manifest.bytes, _assigned_nodes(raw), weights.graph)

    return shared.sessions.get((weights.manifest.sha256, threads), open_it)


def _reopened(manifest: Manifest, threads: int) -> OpenSession:
    """Return the session on the CPU that takes the place of a parent process's."""
    return _shared_session(runtime(), _Weights(manifest, read_weights(manifest)), threads)


class _Gpu:
    """What forks need to know: CUDA does not work in the child of a process that used it."""

    used = False
    of_parent = False

    @classmethod
    def begin_child(cls) -> None:
        cls.of_parent = cls.of_parent or cls.used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Gpu.begin_child)


def _fill_with_noise(arrays: list[NDArray[np.float32]], seed: int) -> None:
    """Write seeded noise from 0 to 1: within the range of every input."""
    rng = np.random.default_rng(seed)
    for array in arrays:
        array[...] = rng.random(array.shape, np.float32)


def _assigned_nodes(session: Any) -> dict[str, int]:
    """Return how many nodes each provider was given; empty where ONNX Runtime does not tell."""
    counts: dict[str, int] = {}
    with contextlib.suppress(Exception):  # absent before 1.24
        for part in session.get_provider_graph_assignment_info():
            name = part.ep_name.removesuffix("ExecutionProvider").lower()
            counts[name] = counts.get(name, 0) + len(part.get_nodes())
    return counts
