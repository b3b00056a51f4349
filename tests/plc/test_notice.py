"""Notices: for the logger of a program, and for the command's listener."""

import itertools
import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from plc import notice


def test_a_program_gets_notices_by_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="plc")
    notice.tell("a network was left out")
    assert [(each.name, each.levelno, each.message) for each in caplog.records] == [
        ("plc", logging.INFO, "a network was left out")
    ]


def test_what_is_slow_is_told_to_who_listens_only(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice, "listener", None)
    caplog.set_level(logging.WARNING, logger="plc")
    before = threading.active_count()
    with notice.if_slow(lambda: "slow", 0.0):
        assert threading.active_count() == before
    told = threading.Semaphore(0)
    monkeypatch.setattr(notice, "listener", lambda line: told.release())
    with notice.if_slow(lambda: "slow", 0.0):
        assert told.acquire(timeout=10.0)
    lines = itertools.count()
    with notice.if_slow(lambda: f"{next(lines) // 9} parts are done", 0.0, 0.0):
        assert all(told.acquire(timeout=10.0) for _ in range(3))
    assert next(lines) > 18  # the same is not told again


def test_several_slow_blocks_tell_the_same_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(target: Callable[[], None], daemon: bool) -> SimpleNamespace:
        return SimpleNamespace(start=target)

    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    monkeypatch.setattr("plc.notice.threading.Thread", at_once)
    for why in ("one of two kernels", "one of two kernels", "another kernel"):
        with notice.if_slow(why.title, 0.0):
            pass
    assert [each for each in told if "Kernel" in each] == ["One Of Two Kernels", "Another Kernel"]


def test_files_in_the_making_are_called_what_they_become(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    with notice.renamed():
        notice.rename("work/7/made.mp3", "out/a.mp3")
        notice.tell("work/7/made.mp3 is coded anew")
        assert notice.shown("no room for work/7/made.mp3") == "no room for out/a.mp3"
    notice.tell("work/7/made.mp3 is there")
    assert told == ["out/a.mp3 is coded anew", "work/7/made.mp3 is there"]


def test_what_another_process_told_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    notice.pass_on("a.mp3", "in/a.mp3 is damaged, as another process noticed")
    notice.tell_once("in/a.mp3 is damaged, as another process noticed")
    assert told == ["a.mp3: in/a.mp3 is damaged, as another process noticed"]
