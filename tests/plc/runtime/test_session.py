"""Providers that this machine does not have, and what becomes of a session that lacks them."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from plc.errors import ConfigError, MissingExtraError, ModelError
from plc.runtime import providers, session, shared
from plc.runtime.network import NetworkShape, open_network
from plc.runtime.providers import (
    PROVIDERS,
    Signature,
    installed_providers,
    shape_range,
    tensorrt_options,
    wanted_providers,
)
from tests.plc.tiny_models import BEFORE, write_model

ort = pytest.importorskip("onnxruntime")

SHAPE = NetworkShape(bins=9, frames=8)
TENSORRT, CUDA, CPU = PROVIDERS.values()


class FakeValue:
    """Memory of a device, which is the host's."""

    def __init__(self, array: Any) -> None:
        self.array = array

    @classmethod
    def ortvalue_from_numpy(cls, array: Any, device: str = "cpu", number: int = 0) -> "FakeValue":
        return cls(array.copy() if device == "cuda" else array)

    @classmethod
    def ortvalue_from_shape_and_type(
        cls, shape: list[int], kind: Any, device: str, number: int
    ) -> "FakeValue":
        return cls(np.zeros(shape, kind))

    def update_inplace(self, data: Any) -> None:
        self.array[...] = data.array if isinstance(data, FakeValue) else data

    def numpy(self) -> Any:
        return self.array.copy()


class FakeBinding:
    """Names to device memory."""

    def __init__(self) -> None:
        self.inputs: dict[str, FakeValue] = {}
        self.outputs: dict[str, FakeValue] = {}

    def bind_ortvalue_input(self, name: str, value: FakeValue) -> None:
        self.inputs[name] = value

    def bind_ortvalue_output(self, name: str, value: FakeValue) -> None:
        self.outputs[name] = value


class FakeRuntime:
    """ONNX Runtime with a GPU: its sessions compute on the CPU, and on a GPU spoil the result.

    Attributes
    ----------
    starts : dict
        By provider: called with its options before a session starts; may raise, or return the
        provider that is used instead.
    spoil : callable
        What the GPU makes of the right output, given how many runs there were before.
    opened : list
        The providers of every session that was asked for, with their options.
    """

    def __init__(self, installed: tuple[str, ...] = (TENSORRT, CUDA, CPU)) -> None:
        self.installed = installed
        self.starts: dict[str, Callable[[Mapping[str, str]], str | None]] = {}
        self.spoil: Callable[[Any, int], Any] = lambda output, runs: output
        self.opened: list[list[tuple[str, dict[str, str]]]] = []
        self.__version__ = "1.99.0"
        self._real: Any = ort

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_available_providers(self) -> list[str]:
        return list(self.installed)

    def preload_dlls(self) -> None:
        print("Failed to load libcudnn.so.9: no such file\nFailed to load libcufft.so.12: none")

    def InferenceSession(  # noqa: N802  # theirs
        self, data: bytes, options: Any, providers: list[Any], enable_fallback: int
    ) -> Any:
        assert enable_fallback == 0, "it would print and go on with the CPU"
        self.opened.append(providers)
        name, given = providers[0]
        start = self.starts.get(name)
        instead = start(given) if start else None
        real = self._real.InferenceSession(data, options, providers=[CPU])
        if name == CPU:
            return real
        used = [instead or name, CPU]
        runs = iter(range(10_000))

        def run(binding: FakeBinding, options: Any) -> None:
            feeds = {key: value.array for key, value in binding.inputs.items()}
            (out,) = binding.outputs.values()
            out.array[...] = self.spoil(real.run(None, feeds)[0], next(runs))

        return SimpleNamespace(
            get_providers=lambda: used,
            io_binding=FakeBinding,
            run_with_iobinding=run,
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuntime:
    made = FakeRuntime()
    monkeypatch.setattr(session, "runtime", lambda: made)
    monkeypatch.setattr(shared, "sessions", shared.SharedSessions())
    # GPU slots take the fake's memory; the CPU's reference session takes the real one.
    plain = session._GpuSlot.__init__

    def with_fake_memory(self: Any, _: Any, raw: Any, signature: Signature, index: int) -> None:
        memory = SimpleNamespace(RunOptions=ort.RunOptions, OrtValue=FakeValue)
        plain(self, memory, raw, signature, index)  # type: ignore[arg-type]  # a fake module

    monkeypatch.setattr(session._GpuSlot, "__init__", with_fake_memory)
    monkeypatch.setattr(session, "gpu_name", lambda: "Fake 9000, 1.0, 9.0")
    monkeypatch.setattr(session, "tensorrt_version", lambda: "10.9")
    monkeypatch.setattr(providers, "_loaded", set())
    monkeypatch.setattr(providers, "_missing", [])
    monkeypatch.setenv("PLC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    return made


def refuse(why: str) -> Callable[[Mapping[str, str]], str | None]:
    def start(options: Mapping[str, str]) -> str | None:
        raise RuntimeError(why)

    return start


def names_opened(fake: FakeRuntime) -> list[str]:
    return [names[0][0] for names in fake.opened]


def run_once(path: Path, **settings: Any) -> Any:
    """Open, run and check the result; return the report."""
    network = open_network(path, [SHAPE], **settings)
    rng = np.random.default_rng(3)
    spectra = rng.standard_normal((1, 1, 2, 9, 8)).astype(np.float32)
    out = np.zeros((1, 2, 9, 8 - BEFORE), np.float32)
    assert network.run(spectra, np.ones((1, 8), np.float32), out)
    np.testing.assert_allclose(out, spectra[:, 0, :, :, BEFORE:], atol=1e-6)
    return network.report


def test_the_preferred_provider_that_starts_is_used_and_reported(
    fake: FakeRuntime, tmp_path: Path
) -> None:
    report = run_once(write_model(tmp_path))
    assert report.provider == "tensorrt"
    assert report.refused == {}
    assert report.cuda_graph
    assert report.notes == []
    # TensorRT hands what it does not know to CUDA, and that to the CPU.
    assert [name for name, _ in fake.opened[0]] == [TENSORRT, CUDA, CPU]


def test_a_provider_that_raises_falls_to_the_next_and_the_reason_is_kept(
    fake: FakeRuntime, tmp_path: Path
) -> None:
    fake.starts[TENSORRT] = refuse("libnvinfer.so.10:\ncannot open")
    report = run_once(write_model(tmp_path))
    assert report.provider == "cuda"
    assert report.refused == {"tensorrt": "libnvinfer.so.10: cannot open"}


def test_a_provider_that_is_silently_replaced_is_not_reported_as_in_use(
    fake: FakeRuntime, tmp_path: Path
) -> None:
    fake.starts[TENSORRT] = lambda options: CUDA
    fake.starts[CUDA] = lambda options: CPU
    report = run_once(write_model(tmp_path))
    assert report.provider == "cpu"
    assert "started CUDAExecutionProvider instead" in report.refused["tensorrt"]
    assert "started CPUExecutionProvider instead" in report.refused["cuda"]
    assert "not found: libcudnn.so.9, libcufft.so.12" in report.refused["cuda"]
    assert names_opened(fake) == [TENSORRT, CUDA, CPU]  # nothing was tried twice


def test_a_gpu_whose_output_is_wrong_is_not_used(fake: FakeRuntime, tmp_path: Path) -> None:
    fake.spoil = lambda output, runs: output * 1.01
    report = run_once(write_model(tmp_path))
    assert report.provider == "cpu"
    assert "differs from the CPU's" in report.refused["cuda"]


def test_a_gpu_that_gives_nan_is_not_used(fake: FakeRuntime, tmp_path: Path) -> None:
    fake.spoil = lambda output, runs: output * np.float32("nan")
    assert run_once(write_model(tmp_path)).provider == "cpu"


def test_rounding_is_no_reason_to_refuse_a_gpu(fake: FakeRuntime, tmp_path: Path) -> None:
    fake.spoil = lambda output, runs: output * np.float32(1.0 + 1e-7)
    assert run_once(write_model(tmp_path)).provider == "tensorrt"


def test_a_graph_that_replays_its_first_result_is_found_out(
    fake: FakeRuntime, tmp_path: Path
) -> None:
    fake.installed = (CUDA, CPU)
    kept: dict[str, Any] = {}

    def replay(options: Mapping[str, str]) -> None:
        kept["graph"] = options["enable_cuda_graph"] == "1"
        kept.pop("output", None)

    fake.starts[CUDA] = replay
    fake.spoil = lambda output, runs: kept.setdefault("output", output) if kept["graph"] else output
    report = run_once(write_model(tmp_path))
    assert report.provider == "cuda"
    assert not report.cuda_graph
    assert any("without CUDA graphs" in note for note in report.notes)


def test_graphs_can_be_declined(fake: FakeRuntime, tmp_path: Path) -> None:
    report = run_once(write_model(tmp_path), providers="cuda", cuda_graph=False)
    assert not report.cuda_graph
    assert dict(fake.opened[0])[CUDA]["enable_cuda_graph"] == "0"


def test_gpu_arithmetic_is_full_float32(fake: FakeRuntime, tmp_path: Path) -> None:
    run_once(write_model(tmp_path))
    options = dict(fake.opened[0])
    assert options[TENSORRT]["trt_fp16_enable"] == options[TENSORRT]["trt_int8_enable"] == "0"
    assert options[CUDA]["use_tf32"] == "0"


def test_only_what_is_asked_for_is_tried(fake: FakeRuntime, tmp_path: Path) -> None:
    path = write_model(tmp_path)
    assert run_once(path, providers="cpu").provider == "cpu"
    assert names_opened(fake) == [CPU]
    assert run_once(path, providers=["cuda", "cpu"]).provider == "cuda"
    fake.starts[CUDA] = refuse("no device")
    with pytest.raises(ModelError, match="no provider runs it: cuda: no device; plc doctor"):
        run_once(path, providers=["cuda"])


def test_a_provider_that_is_not_installed_names_the_extra(
    fake: FakeRuntime, tmp_path: Path
) -> None:
    fake.installed = ("AzureExecutionProvider", CPU)
    assert installed_providers(fake) == ["cpu"]  # type: ignore[arg-type]  # a fake module
    with pytest.raises(ConfigError, match=r"provider cuda .* has cpu: pip install .*gpu"):
        open_network(write_model(tmp_path), [SHAPE], providers="cuda")


def test_without_the_runtime_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"plc-engine\[cpu\]"):
        open_network(write_model(tmp_path), [SHAPE])


def test_the_real_wheels_providers_are_in_our_order() -> None:
    found = installed_providers(ort)
    assert found[-1] == "cpu"
    assert found == wanted_providers(ort, "auto")
    assert found == [name for name in PROVIDERS if name in found]


def test_one_engine_is_made_for_the_range_of_all_shapes(tmp_path: Path) -> None:
    signatures = [
        Signature((("spectra", (1, 1, 2, 9, 30)), ("lost", (1, 30))), ("filled", ())),
        Signature((("spectra", (8, 1, 2, 9, 12)), ("lost", (8, 12))), ("filled", ())),
    ]
    least, most = shape_range(signatures)
    assert least == "spectra:1x1x2x9x12,lost:1x12"
    assert most == "spectra:8x1x2x9x30,lost:8x30"
    name, options = tensorrt_options(tmp_path, signatures, graph=False)
    assert name == TENSORRT
    assert options["trt_profile_min_shapes"] == least
    assert options["trt_profile_max_shapes"] == options["trt_profile_opt_shapes"] == most


def test_tensorrt_captures_no_graph_of_several_shapes(fake: FakeRuntime, tmp_path: Path) -> None:
    shapes = [SHAPE, NetworkShape(9, 10)]
    report = open_network(write_model(tmp_path), shapes).report
    assert report.provider == "tensorrt"
    assert not report.cuda_graph
    report = open_network(write_model(tmp_path), shapes, providers="cuda").report
    assert report.cuda_graph


def engines(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "tensorrt").glob("*/*.engine"))


def build(fake: FakeRuntime) -> list[str]:
    """Make the fake TensorRT write an engine where there is none; return what it did."""
    did: list[str] = []

    def start(options: Mapping[str, str]) -> None:
        place = Path(options["trt_engine_cache_path"]) / "tiny.engine"
        if place.exists():
            did.append("load")
            if place.read_bytes() != b"engine":
                raise RuntimeError("the engine is of another version")
        else:
            did.append("build")
            place.write_bytes(b"engine")

    fake.starts[TENSORRT] = start
    return did


def test_engines_are_built_once_and_then_loaded(fake: FakeRuntime, tmp_path: Path) -> None:
    did = build(fake)
    path = write_model(tmp_path)
    first, second = run_once(path), run_once(path)
    assert did == ["build", "load"]
    assert first.engine_cache == second.engine_cache
    assert first.engine_cache == engines(tmp_path)[0].parent


def test_a_damaged_engine_is_not_even_loaded(fake: FakeRuntime, tmp_path: Path) -> None:
    did = build(fake)
    path = write_model(tmp_path)
    run_once(path)
    engines(tmp_path)[0].write_bytes(b"engime")
    assert run_once(path).provider == "tensorrt"
    assert did == ["build", "build"]


def test_engines_that_do_not_load_are_built_again_once(fake: FakeRuntime, tmp_path: Path) -> None:
    did = build(fake)
    path = write_model(tmp_path)
    run_once(path, cuda_graph=False)
    real = fake.starts[TENSORRT]

    def refuse_loaded(options: Mapping[str, str]) -> str | None:
        instead = real(options)
        if did[-1] == "load":
            raise RuntimeError("the engine is of another device")
        return instead

    fake.starts[TENSORRT] = refuse_loaded
    report = run_once(path, cuda_graph=False)
    assert did == ["build", "load", "build"]
    assert report.provider == "tensorrt"
    assert any("built again: the engine is of another device" in note for note in report.notes)


def test_engines_that_compute_something_else_are_built_again(
    fake: FakeRuntime, tmp_path: Path
) -> None:
    did = build(fake)
    path = write_model(tmp_path)
    run_once(path, cuda_graph=False)
    fake.spoil = lambda output, runs: output + (did[-1] == "load")
    report = run_once(path, cuda_graph=False)
    assert report.provider == "tensorrt"
    assert did == ["build", "load", "build"]


def test_tensorrt_that_cannot_build_leaves_nothing_behind(
    fake: FakeRuntime, tmp_path: Path
) -> None:
    fake.starts[TENSORRT] = refuse("out of memory")
    assert run_once(write_model(tmp_path)).provider == "cuda"
    assert list((tmp_path / "cache" / "tensorrt").iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda monkeypatch, fake: monkeypatch.setattr(session, "gpu_name", lambda: "Other"),
        lambda monkeypatch, fake: monkeypatch.setattr(session, "tensorrt_version", lambda: "11"),
        lambda monkeypatch, fake: setattr(fake, "__version__", "2.0"),
        lambda monkeypatch, fake: setattr(fake, "cuda_version", "13"),
    ],
)
def test_another_device_or_version_has_engines_of_its_own(
    fake: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    did = build(fake)
    path = write_model(tmp_path)
    run_once(path)
    change(monkeypatch, fake)
    run_once(path)
    assert did == ["build", "build"]
    assert len(engines(tmp_path)) == 2


def test_another_model_has_engines_of_its_own(fake: FakeRuntime, tmp_path: Path) -> None:
    did = build(fake)
    run_once(write_model(tmp_path))
    run_once(write_model(tmp_path, change=lambda model: setattr(model, "doc_string", "other")))
    assert did == ["build", "build"]


def test_a_folder_that_others_can_write_to_is_not_used(fake: FakeRuntime, tmp_path: Path) -> None:
    did = build(fake)
    root = tmp_path / "cache" / "tensorrt"
    root.mkdir(parents=True)
    root.chmod(0o777)
    path = write_model(tmp_path)
    report = run_once(path)
    assert report.provider == "tensorrt"
    assert report.engine_cache is None
    assert any("written by other users" in note for note in report.notes)
    run_once(path)
    assert did == ["build", "build"]
    assert list(root.iterdir()) == []


def test_the_session_module_is_the_only_one_that_imports_the_runtime() -> None:
    folder = Path(str(importlib.import_module("plc").__file__)).parent
    users = {
        path.name
        for path in folder.rglob("*.py")
        if 'import_module("onnxruntime")' in path.read_text()
    }
    assert users == {"session.py"}
