import json
import os
import sys
from pathlib import Path

import pytest

from plc.engine.models.catalogue import find
from plc.engine.models.manifest import Manifest
from plc.engine.runtime.attempts import TELLS
from plc.engine.runtime.onnx_network import GapNetwork, NetworkShape, open_network
from plc.errors import ModelError
from plc.extras import install_command
from plc.jsonable import to_json
from plc.programs.doctor_networks import NATIVE, NetworkHealth, examine_networks, network_facts
from tests.plc.tiny_models import write_model

pytest.importorskip("onnxruntime")


def test_every_network_is_tried_on_every_installed_provider(tmp_path: Path) -> None:
    models = [Manifest.read(write_model(tmp_path, name)) for name in ("pass", "lost")]
    told: list[str] = []
    health = examine_networks(models, progress=told.append)
    assert health.problems == ()
    assert health.providers[-1] == "cpu"
    assert {(trial.model, trial.provider) for trial in health.trials} == {
        (model, provider)
        for model in ("pass", "lost")
        for provider in health.providers
        if provider != NATIVE
    }
    assert "trying pass on cpu" in told
    facts = dict(network_facts(health))
    assert facts["on cpu"].startswith("2 of 2, ms a gap: pass ")
    assert facts["networks"].startswith("2 of 2 on ")
    assert json.loads(to_json(health))["trials"][0]["report"]["provider"]


def test_a_network_that_runs_nowhere_is_a_problem(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    path.with_suffix(".onnx").write_bytes(b"damaged")
    health = examine_networks([Manifest.read(path)])
    assert len(health.problems) == 1
    assert "pass runs nowhere" in health.problems[0]
    facts = dict(network_facts(health))
    assert facts["networks"] == "1 of 1 nowhere: pass"
    assert facts["on cpu"].startswith("none of 1: ")


def test_the_papers_network_and_low_rates_are_no_problem(tmp_path: Path) -> None:
    paper = Manifest.read(write_model(tmp_path, name="paper", kind="context_encoder"))
    speech = Manifest.read(write_model(tmp_path, name="pass", sample_rates=[8_000, 16_000]))
    health = examine_networks([paper, speech])
    assert health.problems == ()
    assert {trial.model for trial in health.trials} == {"pass"}


def test_without_the_runtime_the_kernels_run_and_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    health = examine_networks([find("speech-narrowband"), Manifest.read(write_model(tmp_path))])
    assert health.runtime is None
    assert health.problems == ()
    facts = dict(network_facts(health))
    assert facts["networks"] == "1 of 2 on native; 1 of 2 nowhere: pass"
    assert facts["on native"].startswith("1 of 1, ms a gap: speech-narrowband ")
    assert install_command("cpu") in facts["on cpu"]


def test_the_networks_line_says_which_runs(tmp_path: Path) -> None:
    health = examine_networks([find("speech-narrowband"), Manifest.read(write_model(tmp_path))])
    assert health.problems == ()
    *on_gpu, native, cpu = health.providers
    assert (native, cpu) == (NATIVE, "cpu")
    if not any(t.report for t in health.trials if t.provider in on_gpu):
        assert dict(network_facts(health))["networks"] == "1 of 2 on native; 1 of 2 on cpu"


def test_the_packages_own_networks_work_here() -> None:
    assert examine_networks().problems == ()


PLUGIN = (
    "/src/onnxruntime/python/onnxruntime_pybind_state.cc:729 void onnxruntime::python::"
    "RegisterTensorRTPluginsAsCustomOps(PySessionOptions&, const onnxruntime::ProviderOptions&) "
    "Please install TensorRT libraries as mentioned in the GPU requirements page."
)


def on_providers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, providers: tuple[str, ...], gpu: str
) -> NetworkHealth:
    """Return the findings where all but the CPU's provider fail, loudly, as with no GPU."""

    def loud(model: Manifest, shape: NetworkShape, *, providers: str) -> GapNetwork:
        if providers == "cpu":
            return open_network(model, shape, providers=providers)
        os.write(2, b"[E:onnxruntime:Default] a block of C++\n" * 4)
        raise ModelError(f"{model.onnx_path}: no provider runs it: {providers}: {PLUGIN}; {TELLS}")

    monkeypatch.setattr("plc.programs.doctor_networks.open_network", loud)
    monkeypatch.setattr(
        "plc.programs.doctor_networks.installed_providers", lambda ort: list(providers)
    )
    monkeypatch.setattr("plc.programs.doctor_networks.gpu_name", lambda: gpu)
    return examine_networks(
        [Manifest.read(write_model(tmp_path, name)) for name in ("pass", "lost", "more")]
    )


@pytest.mark.parametrize("gpu", ["", "NVIDIA H100, 570.1, 9.0"])
def test_providers_that_do_not_work_take_a_line_each_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], gpu: str
) -> None:
    health = on_providers(tmp_path, monkeypatch, ("tensorrt", "cuda", "cpu"), gpu)
    assert capfd.readouterr().err == ""
    assert health.problems == ()
    facts = network_facts(health)
    shown = dict(facts)
    assert shown["networks"] == "3 of 3 on cpu"
    assert [name for name, _ in facts if name.startswith("on ")] == [
        "on tensorrt",
        "on cuda",
        "on native",
        "on cpu",
    ]
    for name in ("on tensorrt", "on cuda"):
        line = shown[name]
        assert line.startswith("none of 3: ")
        assert "pip install" in line
        assert "::" not in line  # no C++
        assert ".cc" not in line
        assert len(line) < 300
    assert ("no NVIDIA GPU" in shown["on cuda"]) == (not gpu)
    assert ("Please install TensorRT libraries" in shown["on tensorrt"]) == bool(gpu)
