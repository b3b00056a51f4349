"""A session of ONNX Runtime, bound to fixed memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

from plc.engine.runtime import threads
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.shared import OpenSession
from plc.errors import ModelError


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
