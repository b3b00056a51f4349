"""Threads of servers that go on after a fault, and whose end is known."""

import threading
import time
from collections.abc import Callable

import pytest

from plc.engine.runtime import standing
from plc.engine.runtime.standing import StandingThread


def comes_true(condition: Callable[[], object]) -> bool:
    end_s = time.monotonic() + 20.0
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.005)
    return bool(condition())


def test_a_fault_is_counted_and_told_once_and_the_thread_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr("plc.notice.listener", told.append)
    turns: list[int] = []

    def turn() -> None:
        turns.append(len(turns))
        thread.ending.wait(0.01)
        if len(turns) <= 3:
            raise ValueError("embedded null byte")

    thread = StandingThread("test", turn)
    thread.start()
    try:
        assert comes_true(lambda: len(turns) > 5)
        assert thread.faults == 3
        assert standing.faults()["test"] == 3
        assert len(told) == 1
        assert "embedded null byte" in told[0]
        assert standing.problems() == []
    finally:
        thread.end()
    assert standing.problems() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_or_hangs_is_named() -> None:
    def die() -> None:
        raise SystemExit

    dead = StandingThread("dead", die)
    goes_on = threading.Event()
    stuck = StandingThread("stuck", lambda: goes_on.wait(20.0), stuck_s=0.05)
    dead.start()
    stuck.start()
    try:
        assert comes_true(lambda: len(standing.problems()) == 2)
        found = standing.problems()
        assert found[0] == "the thread of dead has ended"
        assert found[1].startswith("the thread of stuck hangs")
    finally:
        goes_on.set()
        dead.end()
        stuck.end()
