"""Opening a network: providers by name, options, and what is read a second time."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plc.engine.runtime import session, shared
from plc.engine.runtime.onnx_network import NetworkShape, open_network
from plc.engine.runtime.providers import (
    PROVIDERS,
    Signature,
    cuda_options,
    installed_providers,
    tensorrt_options,
    wanted_providers,
)
from plc.errors import ConfigError, MissingExtraError, ModelError
from tests.plc.tiny_models import write_model

ort = pytest.importorskip("onnxruntime")

SHAPE = NetworkShape(bins=9, frames=8)
TENSORRT, CUDA, CPU = PROVIDERS.values()


def test_gpu_arithmetic_is_full_float32_for_one_shape(tmp_path: Path) -> None:
    signature = Signature((("spectra", (1, 1, 2, 9, 30)), ("lost", (1, 30))), ("filled", ()))
    name, options = tensorrt_options(tmp_path, signature, graph=True)
    assert name == TENSORRT
    assert options["trt_fp16_enable"] == options["trt_int8_enable"] == "0"
    assert options["trt_cuda_graph_enable"] == "1"
    assert options["trt_engine_cache_path"] == str(tmp_path)
    for size in ("min", "max", "opt"):
        assert options[f"trt_profile_{size}_shapes"] == "spectra:1x1x2x9x30,lost:1x30"
    name, options = cuda_options(graph=False)
    assert (name, options["use_tf32"], options["enable_cuda_graph"]) == (CUDA, "0", "0")


def test_a_provider_that_is_not_installed_names_the_extra() -> None:
    wheel: Any = SimpleNamespace(get_available_providers=lambda: ["AzureExecutionProvider", CPU])
    assert installed_providers(wheel) == ["cpu"]
    with pytest.raises(ConfigError, match=r"provider cuda .* has cpu: pip install .*gpu"):
        wanted_providers(wheel, "cuda")


def test_a_provider_that_is_silently_replaced_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaced:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return [CPU]

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", Replaced)
    monkeypatch.setattr(session, "load_libraries", lambda *_: ["libcudnn.so.9"])
    what = "started CPUExecutionProvider instead.*not found: libcudnn.so.9"
    with pytest.raises(ModelError, match=what):
        open_network(write_model(tmp_path), SHAPE, providers="cuda")


def test_a_provider_without_its_libraries_says_so_without_a_line_of_foreign_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As ONNX Runtime 1.31 says it beside an NVIDIA GPU.
    said = (
        "/onnxruntime_src/onnxruntime/python/onnxruntime_pybind_state.cc:729 void onnxruntime::"
        "python::RegisterTensorRTPluginsAsCustomOps(PySessionOptions&, const onnxruntime::"
        "ProviderOptions&) Please install TensorRT libraries as mentioned in the GPU requirements "
        "page, make sure they're in the PATH or LD_LIBRARY_PATH, and that your GPU is supported."
    )

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(ort, "InferenceSession", refuse)
    monkeypatch.setattr(session, "wanted_providers", lambda *_: ["tensorrt"])
    with pytest.raises(ModelError, match="runs it: tensorrt: Please install TensorRT libraries"):
        open_network(write_model(tmp_path), SHAPE, providers="tensorrt")


def test_without_the_runtime_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[cpu\]"):
        open_network(write_model(tmp_path), SHAPE)


def test_the_session_module_is_the_only_one_that_imports_the_runtime() -> None:
    folder = Path(str(importlib.import_module("plc").__file__)).parent
    users = {
        path.name
        for path in folder.rglob("*.py")
        if 'import_module("onnxruntime")' in path.read_text()
    }
    assert users == {"session.py"}


def test_a_network_that_is_open_is_opened_again_without_reading_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path)
    first = open_network(path, SHAPE, providers="cpu")
    monkeypatch.setattr(shared, "read_weights", lambda _: pytest.fail("it was read"))
    monkeypatch.setattr(session, "read_weights", lambda _: pytest.fail("it was read"))
    monkeypatch.setattr(session, "read_graph", lambda *_: pytest.fail("it was inspected"))
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: pytest.fail("it was opened"))
    second = open_network(path, SHAPE, providers="cpu")
    assert second.manifest == first.manifest


def test_weights_that_changed_are_read_again(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    first = open_network(path, SHAPE, providers="cpu")
    file = path.with_suffix(".onnx")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        open_network(path, SHAPE, providers="cpu")
    data[len(data) // 2] ^= 1
    replaced = tmp_path / "replaced"
    replaced.write_bytes(data)
    replaced.replace(file)
    assert open_network(path, SHAPE, providers="cpu").manifest == first.manifest
