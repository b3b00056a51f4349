import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from plc.engine.models.catalogue import PAPERS, available, find, models_folder
from plc.engine.models.manifest import Manifest
from plc.engine.networks.gap_filler import find_models
from plc.errors import MissingExtraError, ModelError
from plc.programs.cli.app import app
from tests.plc.engine.models.test_manifest import VALID


def write(folder: Path, **changes: Any) -> Path:
    manifest = Manifest.from_fields({**VALID, **changes})
    path = folder / f"{manifest.name}.json"
    manifest.write(path)
    return path


def test_models_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("speech", "music", "instruments"):
        write(tmp_path, name=name)
    assert [model.name for model in available(tmp_path)] == ["instruments", "music", "speech"]
    assert available(tmp_path / "nowhere") == []


def test_every_model_in_the_package_is_valid_and_has_its_weights() -> None:
    for model in available():
        assert model.path is not None
        assert model.path.parent == models_folder()
        assert model.onnx_path.stat().st_size == model.bytes


def test_a_manifest_that_a_caller_changes_is_found_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plc.engine.models.catalogue.models_folder", lambda: tmp_path)
    expected = Manifest.read(write(tmp_path, name="music"))
    found = find("music")
    found.training["data"]["hours"] = 0.0
    found.figures["SNR"] = 99.0
    assert find("music") == expected


def test_a_model_is_found_by_its_name_and_by_either_of_its_files(tmp_path: Path) -> None:
    path = write(tmp_path, name="music")
    expected = Manifest.read(path)
    assert find("music", tmp_path) == expected
    assert find(str(path)) == expected
    assert find(path) == expected
    assert find(path.with_suffix(".onnx")) == expected


def test_an_unknown_name_tells_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, name="music")
    with pytest.raises(ModelError, match="'musik'; in the package: music"):
        find("musik", tmp_path)
    with pytest.raises(ModelError, match="in the package: none"):
        find("music", tmp_path / "empty")
    with pytest.raises(ModelError, match="cannot read"):
        find("./music.json")


def test_networks_of_papers_are_taken_from_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {path.name: path for path in models_folder().iterdir() if path.stem in PAPERS}
    if len(there) < 2 * len(PAPERS):
        pytest.skip("the networks of papers are not installed")
    monkeypatch.setattr("plc.engine.models.catalogue.models_folder", lambda: tmp_path)
    for missing in (lambda: find("paper-music"), lambda: find_models("gacela", "auto")):
        with pytest.raises(
            MissingExtraError, match="pip install --no-index FOLDER/plc_engine_papers-"
        ):
            missing()
    file = tmp_path / "papers.whl"
    for names in ([], sorted(there)[1:], sorted(there)):
        with zipfile.ZipFile(file, "w") as wheel:
            for name in names:
                wheel.write(there[name], f"plc/data/models/{name}")
        result = CliRunner().invoke(app, ["models", "--papers", str(file)])
        assert (result.exit_code == 0) == (names == sorted(there)), result.output
    damaged = tmp_path / "damaged.whl"
    with zipfile.ZipFile(damaged, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name in sorted(there):
            wheel.write(there[name], f"plc/data/models/{name}")
    data = bytearray(damaged.read_bytes())
    data[70:74] = b"\xff" * 4
    damaged.write_bytes(data)
    result = CliRunner().invoke(app, ["models", "--papers", str(damaged)])
    assert isinstance(result.exception, SystemExit), "an error in words, whatever is damaged"
    assert result.exit_code == 1
    assert {model.name for model in available()} == set(PAPERS)
    for name, kind in PAPERS.items():
        assert find(name).kind == kind
        assert find(name).onnx_path.stat().st_size == find(name).bytes
