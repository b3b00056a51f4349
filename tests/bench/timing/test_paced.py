"""A paced stream beside busy processes: what is late, and what was prepared."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from plc.errors import ConfigError
from plc_bench.timing import paced as bench
from plc_bench.timing.paced import PacedSettings, measure, paced_table

SHORT = PacedSettings(
    sample_rate=8000, piece_s=1.0, load_s=2.0, loss=0.2, method="ar", priority="normal"
)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    asked: list[int] = []

    @contextmanager
    def load(processes: int) -> Iterator[None]:
        asked.append(processes)
        yield

    monkeypatch.setattr(bench, "background_load", load)
    return asked


def test_every_turn_is_timed_and_lateness_is_that_of_the_clock(loads: list[int]) -> None:
    now_ns = 0

    def sleep(seconds: float) -> None:
        nonlocal now_ns
        now_ns += round(1e9 * (seconds + 0.003))  # it wakes late

    seconds: list[float] = []
    report = measure(SHORT, seconds.append, lambda: now_ns, sleep)
    assert loads == [2]
    assert sum(seconds) == pytest.approx(2.0)
    assert (report.packets, report.scheduling, report.spins) == (200, "ordinary", 0)
    assert 20 < report.lost < 60
    assert report.turn_late_ms["99"] == pytest.approx(3.0)
    assert report.lost_ms["100"] == report.received_ms["100"] == 0.0
    assert len(paced_table(report).rows) == 3


def test_preparations_are_counted(loads: list[int]) -> None:
    report = measure(replace(SHORT, method="auto"), clock=time.perf_counter_ns)
    assert report.prepared_share is not None
    assert 0.0 < report.prepared_share <= 1.0
    assert 0.0 < report.lost_ms["50"] <= report.lost_ms["100"]


def test_what_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 s at least"):
        PacedSettings(load_s=0.5)
