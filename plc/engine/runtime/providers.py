"""Providers of ONNX Runtime and their settings.

**On a GPU** everything stays full float32 (no TF32, no half precision): parity with the CPU is
worth more than half of a millisecond. CUDA graphs replay a run without launching its kernels one
by one; they read and write fixed addresses. TensorRT compiles one engine for the declared shape.
"""

import contextlib
import importlib
import io
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from plc.errors import ConfigError, unknown
from plc.extras import install_command

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Our names and ONNX Runtime's, the preferred first."""

Options = tuple[str, dict[str, str]]
"""A provider by ONNX Runtime's name, with its options."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Names and shapes of a graph's inputs and output, all float32."""

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    output: tuple[str, tuple[int, ...]]


CPU_OPTIONS: Options = (PROVIDERS["cpu"], {})


def cuda_options(graph: bool) -> Options:
    """Return CUDA's settings; ``graph``: capture runs and replay them."""
    return PROVIDERS["cuda"], {
        "device_id": "0",
        "use_tf32": "0",
        "enable_cuda_graph": str(int(graph)),
        # The exhaustive search takes seconds a shape, and picks by one noisy timing.
        "cudnn_conv_algo_search": "HEURISTIC",
    }


def tensorrt_options(folder: Path, signature: Signature, graph: bool) -> Options:
    """Return TensorRT's settings; engines are read from and written to ``folder``."""
    sizes = ((name, "x".join(map(str, shape))) for name, shape in signature.inputs)
    profile = ",".join(f"{name}:{size}" for name, size in sizes)
    return PROVIDERS["tensorrt"], {
        "device_id": "0",
        "trt_fp16_enable": "0",
        "trt_int8_enable": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_cuda_graph_enable": str(int(graph)),
        "trt_profile_min_shapes": profile,
        "trt_profile_max_shapes": profile,
        "trt_profile_opt_shapes": profile,
    }


def installed_providers(ort: ModuleType) -> list[str]:
    """Return the names of installed providers, the preferred first."""
    available = ort.get_available_providers()
    return [name for name, theirs in PROVIDERS.items() if theirs in available]


def wanted_providers(ort: ModuleType, providers: str | Sequence[str]) -> list[str]:
    """Return the providers to try, in order.

    Raises
    ------
    ConfigError
        If a name is unknown, or nothing is left to try.
    """
    installed = installed_providers(ort)
    if providers == "auto":
        return installed
    names = [providers] if isinstance(providers, str) else list(providers)
    for name in names:
        if name not in PROVIDERS:
            raise ConfigError(unknown("provider", name, ("auto", *PROVIDERS)))
        if name not in installed:
            raise ConfigError(
                f"provider {name} is not in the installed ONNX Runtime, which has "
                f"{', '.join(installed)}: {install_command('gpu')} brings the others"
            )
    if not names:
        raise ConfigError(f"no provider is given; known: auto, {', '.join(PROVIDERS)}")
    return names


_loading = threading.Lock()
_loaded: set[str] = set()
_missing: list[str] = []


def _begin_child() -> None:
    """Replace the lock, which a thread of the parent may hold."""
    global _loading
    _loading = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


def load_libraries(ort: ModuleType, name: str) -> list[str]:
    """Load the CUDA and TensorRT libraries of Python packages, once.

    Without this only those on the system's search path are found.

    Return the libraries that are nowhere, as far as ONNX Runtime tells.
    """
    with _loading:
        if "cuda" not in _loaded and hasattr(ort, "preload_dlls"):
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.suppress(Exception):
                ort.preload_dlls()
            _missing.extend(re.findall(r"Failed to load ([^\s:]+)", said.getvalue()))
        if name == "tensorrt" and name not in _loaded:
            with contextlib.suppress(ImportError, OSError):
                importlib.import_module("tensorrt")
        _loaded.update({"cuda", name})
        return list(_missing)


@contextlib.contextmanager
def quiet(ort: ModuleType) -> Iterator[None]:
    """Silence ONNX Runtime's stderr; the report has the reason."""
    ort.set_default_logger_severity(4)
    try:
        yield
    finally:
        ort.set_default_logger_severity(2)  # its default; it cannot be asked


def tensorrt_version() -> str:
    """Return the version of the Python package of TensorRT."""
    try:
        return str(importlib.import_module("tensorrt").__version__)
    except (ImportError, OSError, AttributeError):
        return "of the system"


def gpu_name() -> str:
    """Return name, driver and compute capability of the first NVIDIA GPU; empty without one."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = answer.stdout.strip().splitlines()
    return lines[0].strip() if answer.returncode == 0 and lines else ""
