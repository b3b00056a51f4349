import os
from pathlib import Path

import pytest

from plc_bench.base.workers import score_clips


def files(folder: Path, *sizes: int) -> list[Path]:
    paths = [folder / f"{number}.wav" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(bytes(size))
    return paths


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_clip_fails_alone_and_the_order_stays(tmp_path: Path, jobs: int) -> None:
    clips = files(tmp_path, 10, 20, 30)
    clips[1].unlink()
    done = []
    outcome = score_clips(os.path.getsize, clips, jobs, lambda: done.append(1))
    assert outcome.results == [10, 30]
    assert [failure.clip for failure in outcome.failures] == ["1.wav"]
    assert "FileNotFoundError" in outcome.failures[0].reason
    assert len(done) == 3


def kill_if_empty(clip: Path) -> int:
    size = clip.stat().st_size
    if not size:
        os._exit(3)
    return size


def test_a_process_that_dies_takes_only_its_own_clip_along(tmp_path: Path) -> None:
    outcome = score_clips(kill_if_empty, files(tmp_path, 10, 0, 30), jobs=2)
    assert outcome.results == [10, 30]
    assert [failure.clip for failure in outcome.failures] == ["1.wav"]
    assert "died" in outcome.failures[0].reason
