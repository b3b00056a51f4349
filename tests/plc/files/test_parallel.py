"""Work in several processes: what they notice reaches the one that started them."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from plc import notice
from plc.files import cluster
from plc.files.parallel import Failure, in_processes


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


def test_notices_of_the_tasks_of_a_cluster_are_told_with_the_name_of_their_item(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray in this process; `tests.bench.base.test_cluster` has Ray itself."""
    told: list[str] = []

    def remote(task: Callable[..., Any]) -> SimpleNamespace:
        def run(*given: Any) -> Any:
            # The task sets the listener of its own process.
            with monkeypatch.context() as process:
                process.setattr(notice, "listener", None)
                answers.append(task(*given))
            return len(answers) - 1

        return SimpleNamespace(remote=run)

    answers: list[Any] = []
    ray: Any = SimpleNamespace(
        init=lambda **options: None,
        shutdown=lambda: None,
        remote=lambda **options: remote,
        put=lambda value: value,
        wait=lambda numbers, num_returns: (numbers[:num_returns], numbers[num_returns:]),
        get=lambda number: answers[number],
        exceptions=SimpleNamespace(RayError=RuntimeError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(notice, "listener", told.append)
    done = dict(cluster.as_done_on("local", work, [1, 2, 3], 2, lambda item: f"{item}.wav"))
    assert (done[0], done[2]) == (1, 9)
    assert done[1] == Failure("2.wav", "ValueError: two")
    assert told == [f"{item}.wav: half of {item} is missing" for item in (1, 2, 3)]
