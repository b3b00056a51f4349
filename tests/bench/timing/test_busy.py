import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import plc
from plc import ConfigError
from plc_bench.base.synth import music
from plc_bench.timing import busy as bench
from plc_bench.timing.busy import DURING, PHASES, BusySettings, busy_tables, measure

SHORT = BusySettings(
    sample_rate=8000, piece_s=1.0, calm_s=2.0, load_s=1.0, loss=0.2, budget_ms=math.inf
)


class Hours:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    asked: list[int] = []

    @contextmanager
    def load(processes: int) -> Iterator[None]:
        asked.append(processes)
        yield

    monkeypatch.setattr(bench, "background_load", load)
    return asked


def test_phases_play_the_same_losses_and_only_one_has_company(loads: list[int]) -> None:
    hours = Hours()
    seconds: list[float] = []
    report = measure(SHORT, seconds.append, hours, hours.sleep)
    assert loads == [0, 2, 0]
    assert sum(seconds) == pytest.approx(5.0)
    assert hours.now_s == pytest.approx(5.0, abs=0.1)
    before, during, after = report.phases
    assert (before.name, during.name, after.name) == PHASES
    assert before.packets == after.packets == 2 * during.packets == 200
    assert before.concealed == after.concealed == 2 * during.concealed > 0
    for phase in report.phases:
        assert set(phase.rungs) <= {"ar:40/250", "ar:15/30"}  # it takes a second to know music
        assert phase.order_ms > 35.0
        assert phase.best_after_s == phase.rung_changes == 0
        assert phase.nmse_db < 0.0
    (table,) = busy_tables(report)
    assert not isinstance(table, str)
    assert len(table.rows) == 3


def test_a_lower_rung_shows_in_the_order_and_in_when_the_best_was_back(
    loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(plc.Concealer):
        """Takes too long by itself while there is load."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings, clock=lambda: 0.0, cpu_clock=self.spend)
            self._limit_ms = 2.0
            self.spent_s = 0.0

        def spend(self) -> float:
            self.spent_s += 0.003 * (loads[-1] > 0)
            return self.spent_s

    monkeypatch.setattr(plc, "Concealer", Slow)
    hours = Hours()
    before, during, after = measure(SHORT, clock=hours, sleep=hours.sleep).phases
    assert before.order_ms > 35.0 > during.order_ms
    assert before.best_after_s == 0
    assert during.rung_changes > 0
    assert during.best_after_s > 0.9
    assert 0.0 < after.best_after_s <= 2.0


def test_as_fast_as_it_goes_a_phase_ends_by_the_clock(
    loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BusySettings(
        sample_rate=8000, piece_s=1.0, calm_s=1.0, load_s=2.0, real_time=False, method="burg"
    )
    hours = Hours()

    def clock() -> float:
        hours.now_s += 0.002
        return hours.now_s

    report = measure(settings, clock=clock)
    during = report.phases[PHASES.index(DURING)]
    assert during.packets > 400
    assert during.order_ms == 5.0
    assert during.nmse_db < 0.0
    (table,) = busy_tables(report)
    assert not isinstance(table, str)
    assert len(table.rows) == 3


def test_clips_are_cut_to_one_piece(loads: list[int], tmp_path: Path) -> None:
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", 0.5 * music(8000, 0.8, 2), 8000)
    settings = BusySettings(sample_rate=8000, piece_s=1.0, clips=(tmp_path,))
    piece = settings.piece()
    assert piece.shape == (8000, 1)
    np.testing.assert_array_equal(piece[:4000], piece[4000:])


def test_what_was_prepared_is_counted_for_each_phase(loads: list[int]) -> None:
    hours = Hours()
    settings = replace(SHORT, method="auto", budget_ms=1000.0)
    report = measure(settings, clock=hours, sleep=hours.sleep)
    for phase in report.phases:
        kinds = ("concealed_prepared", "concealed_stale", "concealed_unprepared")
        assert sum(phase.prepared[kind] for kind in kinds) == phase.concealed
        assert phase.prepared["preparations"] > 0
    assert [str(line).split(":")[0] for line in busy_tables(report)[1:]] == list(PHASES)


def test_what_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 s at least"):
        BusySettings(load_s=0.5)
    for never in (math.nan, math.inf):
        with pytest.raises(ConfigError, match="and end"):
            BusySettings(calm_s=never)
