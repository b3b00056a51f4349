"""A study on a Ray cluster."""

from pathlib import Path

import pytest
import soundfile

from plc_bench.base.corpus import find_named_clips
from plc_bench.quality import study
from tests.signals import tones

pytest.importorskip("ray")

# Ray itself leaves files and sockets to the garbage collector, and warns of its own future.
pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


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
