"""Shared by the tests of ``plc``."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the notices of a test, which grow as they come."""
    told: list[str] = []
    monkeypatch.setattr("plc.notice.listener", told.append)
    return told


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on recordings in this process: what workers do is tested by itself."""

    def here(work: Any, items: Any, jobs: int, name: Any) -> Iterator[tuple[int, Any]]:
        return ((number, work(item)) for number, item in enumerate(items))

    monkeypatch.setattr("plc.files.cluster.in_processes", here)
