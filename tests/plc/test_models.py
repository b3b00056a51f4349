import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from plc.errors import ModelError
from plc.manifest import Manifest
from plc.models import available, find, models_folder, models_table
from tests.plc.test_manifest import VALID


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
    shown = io.StringIO()
    Console(file=shown, width=250).print(models_table([model]))
    for part in (
        "music-causal",
        "music, causal, gaps to 60 ms",
        "5.0 MB",
        "1.25 M parameters",
        "recipe: music.toml",
        "MIT",
        "validation NMSE dB: -8.25",
        "8 to 192 kHz",
    ):
        assert part in shown.getvalue()
