"""``bench/gpu.py`` on a CPU: all of it but the GPU."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from plc.models.manifest import Manifest
from plc.runtime.network import NetworkShape
from plc_bench.timing import gpu
from plc_bench.timing.stand_in import write_stand_in

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_one_run_measures_everything_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(["--provider", "cpu", "--quick", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("cpu-*.json")
    result = json.loads(path.read_text())
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
    shown = capsys.readouterr()
    assert "back to back, ms" in shown.out
    assert path.name in shown.err.replace("\n", "")


@pytest.mark.deep
def test_a_model_can_be_given(tmp_path: Path) -> None:
    manifest = write_stand_in(tmp_path, channels=4, layers=1)
    arguments = ["--provider", "cpu", "--quick", "--model", str(manifest.path)]
    assert gpu.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("cpu-*.json")
    assert json.loads(path.read_text())["parameters"] == manifest.parameters


@pytest.mark.parametrize(
    ("device", "providers", "what"),
    [
        ("", ["cpu"], "no NVIDIA GPU answers nvidia-smi, and the installed"),
        ("", ["cuda", "cpu"], "no NVIDIA GPU answers nvidia-smi"),
        ("Fake 9000, 1.0, 9.0", ["cpu"], "Fake 9000.*pip install 'plc-engine"),
    ],
)
def test_without_a_gpu_it_says_what_is_missing_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    device: str,
    providers: list[str],
    what: str,
) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: device)
    monkeypatch.setattr(gpu, "installed_providers", lambda ort: providers)
    assert gpu.main([]) == gpu.NO_GPU == 2
    assert re.search(what, capsys.readouterr().err)


def test_a_model_that_is_refused_ends_with_2_and_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "none.json")
    assert gpu.main(["--provider", "cpu", "--model", missing]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_the_stand_in_depends_on_the_spectra_and_on_its_seed(tmp_path: Path) -> None:
    manifest = write_stand_in(tmp_path)
    assert Manifest.read(tmp_path / "stand-in.json") == manifest
    subject = gpu.Subject(manifest, "cpu", (NetworkShape(9, 12),))
    spectra, lost, out = subject.gap(1)
    network = subject.open(subject.shapes[0])
    assert network.run(spectra, lost, out)
    other = out.copy()
    spectra[0, 0, 1, 4, 9] += 1.0
    assert network.run(spectra, lost, other)
    assert np.abs(other - out).max() > 1e-3
    again = tmp_path / "again"
    again.mkdir()
    assert write_stand_in(again).sha256 == manifest.sha256
    assert write_stand_in(again, seed=1).sha256 != manifest.sha256
