"""``plc bench gpu`` on a CPU: all of it but the GPU."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from plc.errors import ConfigError, ModelError
from plc.models.catalogue import find
from plc_bench.cli import app
from plc_bench.timing import gpu

pytest.importorskip("onnxruntime")


def test_one_run_measures_everything_and_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    arguments = ["gpu", "--provider", "cpu", "--quick", "--save", str(path)]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert shown.exit_code == 0
    result = json.loads(path.read_text())
    assert result["model"] == "music"
    assert result["opening"]["provider"] == "cpu"
    assert [row["batch"] for row in result["steady"]] == list(gpu.QUICK.batches)
    assert all(row["largest_difference"] == 0.0 for row in result["parity"])
    assert all(row["largest_output"] > 0.1 for row in result["parity"])
    assert [(row["pause_s"], row["kept_warm"]) for row in result["bursts"]] == [
        (0.02, False),
        (0.02, True),
    ]
    assert set(result["handover"]) == {"inline", "worker"}
    streams = result["streams"]
    assert sum(streams["outcomes"].values()) == streams["gaps"] > 0
    assert 0.0 <= streams["missed_share"] <= 1.0
    assert "back to back, ms" in shown.stdout
    assert "comparing with the CPU" in shown.stderr


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
    assert gpu.gpu_provider() is None


def test_every_accelerator_that_is_installed_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: "Fake 9000, 1.0, 9.0")
    monkeypatch.setattr(gpu, "installed_providers", lambda ort: ["tensorrt", "cuda", "cpu"])
    assert gpu.wanted_providers("auto") == ("tensorrt", "cuda")
    assert gpu.wanted_providers("cuda") == ("cuda",)
    assert gpu.gpu_provider() == "tensorrt"


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    arguments = ["gpu", "--provider", "cpu", "--quick", "--model", str(tmp_path / "none.json")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ModelError)
    assert "cannot read" in str(result.exception)


def test_a_gap_depends_on_its_seed_and_the_output_on_the_gap() -> None:
    subject = gpu.Subject.of(find("music"), "cpu", (1,))
    spectra, lost, out = subject.gap(1)
    assert np.array_equal(subject.gap(1)[0], spectra)
    assert not np.array_equal(subject.gap(1, seed=1)[0], spectra)
    network = subject.open(subject.shapes[0])
    assert network.run(spectra, lost, out)
    other = out.copy()
    assert network.run(subject.gap(1, seed=1)[0], lost, other)
    assert np.abs(other - out).max() > 1e-3
