import json
import sys
from pathlib import Path

import pytest

from plc.doctor_encoder import encoder_facts, examine_encoder
from plc.jsonable import to_json
from plc.manifest import Manifest
from tests.plc.tiny_models import write_model

pytest.importorskip("onnxruntime")


def test_every_network_is_tried_on_every_installed_provider(tmp_path: Path) -> None:
    models = [Manifest.read(write_model(tmp_path, name)) for name in ("pass", "lost")]
    told: list[str] = []
    health = examine_encoder(models, progress=told.append)
    assert health.problems == ()
    assert health.providers[-1] == "cpu"
    assert {(trial.model, trial.provider) for trial in health.trials} == {
        (model, provider) for model in ("pass", "lost") for provider in health.providers
    }
    assert "trying pass on cpu" in told
    facts = dict(encoder_facts(health))
    assert "ms a gap" in facts["lost on cpu"]
    assert "warm-up" in facts["lost on cpu"]
    assert facts["networks"] == "pass, lost"
    assert json.loads(to_json(health))["trials"][0]["report"]["provider"]


def test_a_network_that_runs_nowhere_is_a_problem(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    path.with_suffix(".onnx").write_bytes(b"damaged")
    health = examine_encoder([Manifest.read(path)])
    assert len(health.problems) == 1
    assert "pass runs nowhere" in health.problems[0]
    assert "does not work" in dict(encoder_facts(health))["pass on cpu"]


def test_the_papers_network_and_low_rates_are_no_problem(tmp_path: Path) -> None:
    paper = Manifest.read(write_model(tmp_path, name="paper", kind="paper"))
    speech = Manifest.read(write_model(tmp_path, name="pass", sample_rates=[8_000, 16_000]))
    health = examine_encoder([paper, speech])
    assert health.problems == ()
    assert {trial.model for trial in health.trials} == {"pass"}


def test_without_the_runtime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    health = examine_encoder([])
    assert health.runtime is None
    assert "plc-engine[cpu]" in dict(encoder_facts(health))["networks"]


def test_the_packages_own_networks_work_here() -> None:
    assert examine_encoder().problems == ()
