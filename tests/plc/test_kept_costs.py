"""Costs of earlier processes: which are taken, and what a damaged file does."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plc import kept_costs
from plc.engine.predict import ladder
from plc.engine.predict.ladder import STEADY, affordable
from plc.kept_costs import find_cost, keep_cost
from plc_kernels.signal.ar import burg


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLC_CACHE_DIR", str(tmp_path))
    return tmp_path / "costs"


def after(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time() + seconds
    monkeypatch.setattr(kept_costs, "time", SimpleNamespace(time=lambda: now))


def test_a_cost_is_kept_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_cost("a", 2) is None
    keep_cost("a", 1.5, 2.0)
    keep_cost("b", 3.0)
    assert find_cost("a", 2) == ((1.5, 2.0), True)
    assert find_cost("b", 1) == ((3.0,), True)
    after(monkeypatch, 3600.0)
    assert find_cost("a", 2) == ((1.5, 2.0), False)
    after(monkeypatch, 90_000.0)
    assert find_cost("a", 2) is None
    after(monkeypatch, -3600.0)  # the clock was set back
    assert find_cost("a", 2) is None


@pytest.mark.parametrize("written", ["", "[]", "{", "[" * 100_000, "{\"'a'\": [1, NaN, -1]}", "\0"])
def test_a_damaged_file_holds_no_costs(folder: Path, written: str) -> None:
    keep_cost("a", 1.5, 2.0)
    (path,) = folder.iterdir()
    path.write_text(written)
    assert find_cost("a", 2) is None
    keep_cost("a", 1.5, 2.0)
    assert find_cost("a", 2) == ((1.5, 2.0), True)


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan"), "1", None, [1.0]])
def test_what_is_no_cost_is_not_taken(folder: Path, value: object) -> None:
    keep_cost("a", 1.0)
    (path,) = folder.iterdir()
    path.write_text(json.dumps({"'a'": [time.time(), value]}))
    assert find_cost("a", 1) is None


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLC_CACHE_DIR", "/dev/null/nowhere")
    keep_cost("a", 1.0)
    assert find_cost("a", 1) is None


def test_a_rung_is_measured_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def fit(order: int, *given: Any) -> object:
        measured.append(order)
        return burg(order, *given)

    monkeypatch.setattr(ladder, "burg", fit)

    def rungs_of_a_process(limit_ms: float) -> int:
        monkeypatch.setattr(ladder, "known_costs", {})
        measured.clear()
        affordable(STEADY, 8_000, 1, 80, 0, limit_ms)
        return len(set(measured))

    of_all = rungs_of_a_process(1e6)
    assert of_all > 2
    assert rungs_of_a_process(1e6) == 0
    assert rungs_of_a_process(1e-6) == 0
    after(monkeypatch, 3600.0)
    assert rungs_of_a_process(1e6) == 0
    assert rungs_of_a_process(1e-6) == of_all  # each is too dear: the machine may have been busy
