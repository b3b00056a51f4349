"""Networks as tables: what a user chooses by, in a terminal of any width."""

import io

import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from plc.engine.models.catalogue import available
from plc.engine.models.manifest import Manifest
from plc.programs.cli.app import app
from plc.programs.model_tables import model_table, models_table
from tests.plc.engine.models.test_manifest import VALID


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


def printed(table: Table, width: int = 250) -> str:
    shown = io.StringIO()
    Console(file=shown, width=width).print(table)
    return shown.getvalue()
