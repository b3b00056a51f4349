"""A graph whose inputs and outputs lie at fixed places.

On a CPU the session reads and writes host arrays directly. On a GPU they lie beside buffers of the
device at fixed addresses, which captured graphs need.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from plc.errors import ModelError
from plc.runtime import forks
from plc.runtime.providers import Signature
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
