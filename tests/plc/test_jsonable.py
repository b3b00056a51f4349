"""Results as JSON."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from plc.jsonable import to_json


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
