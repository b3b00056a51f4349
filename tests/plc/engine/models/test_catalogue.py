import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from plc.engine.models.catalogue import (
    PAPERS,
    available,
    find,
    model_table,
    models_folder,
    models_table,
)
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


def test_the_table_shows_what_a_user_chooses_by() -> None:
    model = Manifest.from_fields(VALID)
    shown = printed(models_table([model]))
    for part in (
        "music-causal",
        "music, causal, gaps to 60 ms",
        "5.0 MB",
        "8 to 192 kHz",
    ):
        assert part in shown


def test_one_model_is_told_of_in_full() -> None:
    for model in available():
        shown = printed(model_table(model))
        for part in (str(model.onnx_path), model.sha256, "opset 20", "grid", "settings", "plan"):
            assert part in shown.replace("\n", "")
        for name, value in {**model.training, **model.figures}.items():
            assert (f"{name}: " in shown) == (value != []) or name == "sources"


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_command_lists_within_80_columns(columns: str) -> None:
    result = CliRunner().invoke(app, ["models"], env={"COLUMNS": columns})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    for model in available():
        assert f" {model.name} " in result.stdout


def test_names_are_whole_however_narrow_the_list() -> None:
    listed = printed(models_table(available()), width=60)
    for model in available():
        assert f" {model.name} " in listed


def test_every_model_in_the_package_says_what_it_has_heard_and_under_which_licences() -> None:
    for model in available():
        sources = model.training["sources"]
        assert sources
        shown = printed(model_table(model))
        for source, licence in sources.items():
            assert f"{source}: {licence}" in shown


def test_one_rate_is_named_as_such() -> None:
    fields = {**VALID, "sample_rates": [8000, 8000], "horizon_ms": 371.519}
    assert "gaps to 372 ms; 8 kHz" in printed(models_table([Manifest.from_fields(fields)]))


def test_networks_of_papers_are_taken_from_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {path.name: path for path in models_folder().iterdir() if path.stem in PAPERS}
    if len(there) < 2 * len(PAPERS):
        pytest.skip("the networks of papers are not installed")
    monkeypatch.setattr("plc.engine.models.catalogue.models_folder", lambda: tmp_path)
    for missing in (lambda: find("paper-music"), lambda: find_models("gacela", "auto")):
        with pytest.raises(MissingExtraError, match=r"comes with the extra papers: pip install"):
            missing()
    file = tmp_path / "papers.whl"
    for names in ([], sorted(there)[1:], sorted(there)):
        with zipfile.ZipFile(file, "w") as wheel:
            for name in names:
                wheel.write(there[name], f"plc/data/models/{name}")
        result = CliRunner().invoke(app, ["models", "--papers", str(file)])
        assert (result.exit_code == 0) == (names == sorted(there)), result.output
    assert {model.name for model in available()} == set(PAPERS)
    for name, kind in PAPERS.items():
        assert find(name).kind == kind
        assert find(name).onnx_path.stat().st_size == find(name).bytes


def printed(table: Table, width: int = 250) -> str:
    shown = io.StringIO()
    Console(file=shown, width=width).print(table)
    return shown.getvalue()
