"""``plc bench gpu`` on a CPU: all of it but the GPU."""

import json
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from plc.errors import ConfigError, ModelError
from plc_bench.cli import app
from plc_bench.timing import gpu

pytest.importorskip("onnxruntime")


def test_one_run_measures_everything() -> None:
    arguments = ["gpu", "--provider", "cpu", "--quick", "--json"]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"}, catch_exceptions=False)
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)["providers"]
    assert [each["provider"] for each in found] == ["cpu", gpu.KERNELS]
    assert found[0]["opening"]["provider"] == "cpu"
    for each in found:
        assert not each["why"]
        states = [(row["streams"], row["pause_s"], row["kept_warm"]) for row in each["bursts"]]
        assert states == [
            (streams, *state)
            for streams in gpu.QUICK.together
            for state in ((0.0, True), (0.02, False), (0.02, True))
        ]
        assert all(row["push"]["p50_ms"] > row["run"]["p50_ms"] for row in each["bursts"])
        many = each["many"]
        assert set(many["outcomes"]) == {"done", "late", "failed", "refused", "off"}
        assert 0.0 <= many["missed_share"] <= 1.0
    # The samples are those of the kernels but for rounding, and there was a run for all.
    assert all(-100.0 < row["apart_db"] < -40.0 for row in found[0]["bursts"][::3])
    assert all(row["run"]["p50_ms"] > 0.0 for row in found[0]["bursts"])
    assert "opening on cpu" in shown.stderr


def test_a_provider_that_does_not_open_is_named_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(gpu.QUICK, together=(1,), bursts=1, pauses_s=(), seconds=0.1)
    refused = ModelError("no library\nof CUDA")

    def refuse(*_: object, providers: str, **__: object) -> Any:
        raise refused

    monkeypatch.setattr(gpu, "open_network", refuse)
    report = gpu.measure(("cuda",), settings, lambda _: None)
    assert [(each.provider, each.why) for each in report.providers] == [
        ("cuda", "no library of CUDA"),
        (gpu.KERNELS, ""),
    ]
    head, kernels = gpu.gpu_tables(report)
    assert ("not cuda", "no library of CUDA") in [
        tuple(cell.text for cell in row) for row in head.rows
    ]
    assert kernels.rows[0][0].text == "1 lost again and again"
    assert len(kernels.rows) == 2


@pytest.mark.parametrize(
    ("device", "providers", "what"),
    [
        ("", ["cpu"], "no NVIDIA GPU answers nvidia-smi, and the installed"),
        ("", ["cuda", "cpu"], "no NVIDIA GPU answers nvidia-smi; --provider cpu"),
        ("Fake 9000, 1.0, 9.0", ["cpu"], "Fake 9000.*pip install "),
    ],
)
def test_without_a_gpu_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, device: str, providers: list[str], what: str
) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: device)
    monkeypatch.setattr(gpu, "installed_providers", lambda ort: providers)
    for provider in ("auto", "cuda"):
        with pytest.raises(ConfigError, match=what):
            gpu.wanted_providers(provider)
    assert gpu.wanted_providers("cpu") == ("cpu",)


def test_every_accelerator_that_is_installed_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: "Fake 9000, 1.0, 9.0")
    monkeypatch.setattr(gpu, "installed_providers", lambda ort: ["tensorrt", "cuda", "cpu"])
    assert gpu.wanted_providers("auto") == ("tensorrt", "cuda", "cpu")
    assert gpu.wanted_providers("cuda") == ("cuda",)
