import os
import time
from collections.abc import Callable

import pytest

from plc.processor_time import is_fine, thread_clock, usable_cores


def stepping(step_s: float) -> Callable[[], float]:
    """Return a clock that is read every microsecond and goes on in such steps."""
    readings = 0

    def clock() -> float:
        nonlocal readings
        readings += 1
        return step_s * int(readings * 1e-6 / step_s)

    return clock


@pytest.mark.parametrize(("step_s", "fine"), [(1e-6, True), (1e-5, True), (0.0156, False)])
def test_a_clock_is_fine_if_its_steps_are(step_s: float, fine: bool) -> None:
    assert is_fine(stepping(step_s)) == fine


def test_where_the_threads_time_is_coarse_the_walls_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread_clock.cache_clear()
    monkeypatch.setattr(time, "thread_time", stepping(0.0156), raising=False)
    try:
        assert thread_clock() is time.perf_counter
        thread_clock.cache_clear()
        monkeypatch.delattr(time, "thread_time")
        assert thread_clock() is time.perf_counter
    finally:
        thread_clock.cache_clear()


def test_processors_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
