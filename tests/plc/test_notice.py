"""Notices: for the logger of a program, and for the command's listener."""

import logging
import threading

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
    with notice.if_slow(lambda: "slow", 0.0):
        assert not [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    told = threading.Event()
    monkeypatch.setattr(notice, "listener", lambda line: told.set())
    with notice.if_slow(lambda: "slow", 0.0):
        assert told.wait(10.0)
