import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from plc import notice
from plc.errors import ConfigError
from plc.files import cluster
from plc_bench.base.corpus import find_named_clips
from plc_bench.base.workers import Failure
from plc_bench.quality import study
from tests.signals import tones

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


def test_a_study_goes_on_in_a_cluster_where_it_was_stopped(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    for number in range(2):
        path = tmp_path / "music" / f"{number}.flac"
        soundfile.write(path, tones(number, 16_000, 16_000), 16_000)
    clips = find_named_clips([tmp_path / "music"])
    settings = study.StudySettings(methods=("repeat",), excerpt_count=0)
    alone = study.run(tmp_path / "one", clips, settings)
    study.run(tmp_path / "two", clips[:1], settings)
    to_do: list[tuple[int, int]] = []
    there = study.run(
        tmp_path / "two",
        clips,
        settings,
        on_start=lambda todo, done: to_do.append((todo, done)),
        cluster="local",
    )
    assert to_do == [(1, 1)]
    assert there.rows == alone.rows
