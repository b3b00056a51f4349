import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from plc.errors import ConfigError
from plc_bench.base.results import counted, to_json, write_csv, write_json


@dataclass(frozen=True)
class Inner:
    value: float
    path: Path


@dataclass(frozen=True)
class Outer:
    items: tuple[Inner, ...]
    by_name: dict[str, float]


def test_what_json_cannot_say_is_null() -> None:
    outer = Outer((Inner(math.nan, Path("a.wav")), Inner(1.5, Path("b.wav"))), {"x": -math.inf})
    assert json.loads(to_json(outer)) == {
        "items": [{"value": None, "path": "a.wav"}, {"value": 1.5, "path": "b.wav"}],
        "by_name": {"x": None},
    }


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


def test_one_is_no_plural() -> None:
    assert [counted(count, "clip") for count in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]
