import gc
import os
from collections.abc import Iterator

import pytest

from plc import notice
from plc.errors import ConfigError
from plc.files import cluster
from plc.files.parallel import Failure

ray = pytest.importorskip("ray")

# Ray itself leaves files and sockets to the garbage collector, and warns of its own future.
pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    assert not ray.is_initialized()
    gc.collect()  # here, where its warnings are ignored


def work(number: int) -> int:
    notice.tell(f"half of {number} is missing")
    if number == 2:
        raise ValueError("no twos")
    if number == 3:
        os._exit(1)
    return 10 * number


def test_items_are_done_and_a_process_that_dies_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    monkeypatch.setattr(cluster, "RETRIES", 0)
    done = dict(cluster.as_done_on("local", work, [0, 1, 2, 3], 1, str))
    assert (done[0], done[1]) == (0, 10)
    assert done[2] == Failure("2", "ValueError: no twos")
    assert done[3] == Failure("3", "its process died: WorkerCrashedError")
    assert sorted(told) == [f"{number}: half of {number} is missing" for number in (0, 1, 2)]


def test_no_items_need_no_cluster() -> None:
    assert not list(cluster.as_done_on("nowhere:1", work, [], 1, str))


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        assert options["address"] == "ray://head:10001"
        raise ConnectionError("nobody answers\nat all")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigError, match="at ray://head:10001: nobody answers; give"):
        list(cluster.as_done_on("ray://head:10001", work, [1], 1, str))
