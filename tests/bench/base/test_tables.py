"""One table says the same on a terminal and as Markdown."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from plc.errors import ConfigError
from plc_bench.base.tables import Cell, Table, write_csv, write_json


def example() -> Table:
    table = Table("Means", ("method", "NMSE dB", "kind"), note="of 3 clips", left=(0, -1))
    table.add("auto", Cell("-5.00", -5.0), "best", end=True)
    table.add("[b]a|b", 3, Cell("fails", style="red"))
    return table


def test_a_terminal_shows_words_left_numbers_right_and_markup_as_it_is() -> None:
    console = Console(width=60, record=True, force_terminal=True)
    console.print(example().printed())
    lines = console.export_text().splitlines()
    assert "Means" in lines[0]
    assert "of 3 clips" in lines[-1]
    rows = [line for line in lines if line.startswith("│")]
    assert rows == ["│ auto   │   -5.00 │ best  │", "│ [b]a|b │       3 │ fails │"]
    assert lines[lines.index(rows[0]) + 1].startswith("├")


def test_markdown_has_the_same_cells_with_bars_escaped() -> None:
    assert example().markdown().splitlines() == [
        *("## Means", "", "| method | NMSE dB | kind |", "| --- | ---: | ---: |"),
        *("| auto | -5.00 | best |", "| [b]a\\|b | 3 | fails |", "", "of 3 clips"),
    ]


def test_facts_have_no_heading() -> None:
    table = Table("")
    table.add("packets", 7)
    console = Console(width=40, record=True)
    console.print(table.printed())
    assert [line.split() for line in console.export_text().splitlines() if "7" in line] == [
        ["│", "packets", "│", "7", "│"]
    ]


def test_a_whole_number_is_sorted_by_its_value() -> None:
    assert Cell.of(12) == Cell("12", 12)
    assert str(Cell.of("12").value) == "nan"


def test_files_hold_what_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1, 2])
    assert json.loads((tmp_path / "a.json").read_text()) == [1, 2]
    write_csv(tmp_path / "a.csv", [{"clip": "x", "score": 1.5}])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["clip,score", "x,1.5"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*absent"):
        write_json(tmp_path / "absent" / "a.json", 1)
    with pytest.raises(ConfigError, match=r"cannot write .*absent"):
        write_csv(tmp_path / "absent" / "a.csv", [])
