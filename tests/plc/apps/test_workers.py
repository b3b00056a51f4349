"""Work in several processes: what they notice reaches the one that started them."""

import pytest

from plc import notice
from plc.apps.workers import in_processes


def work(item: int) -> int:
    notice.tell(f"half of {item} is missing")
    if item == 2:
        raise ValueError("two")
    return item * item


def test_notices_of_workers_are_told_with_the_name_of_their_item(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    done = dict(in_processes(work, [1, 2, 3], 2, lambda item: f"{item}.wav"))
    assert (done[0], done[2]) == (1, 9)
    assert sorted(told) == [f"{item}.wav: half of {item} is missing" for item in (1, 2, 3)]
