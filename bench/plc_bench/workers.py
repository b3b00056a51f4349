"""Score many clips at once, each in a process of its own; one bad clip fails alone."""

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Failure:
    """A clip without a score, and why."""

    clip: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_T]):
    """What became of the clips, both lists in the order of the clips."""

    results: list[_T]
    failures: list[Failure]


def score_clips(
    score: Callable[[Path], _T],
    clips: Sequence[Path],
    jobs: int,
    on_done: Callable[[], None] = lambda: None,
) -> Outcome[_T]:
    """Return ``score(clip)`` of every clip.

    Parameters
    ----------
    score : callable
        Picklable if ``jobs > 1``. What it raises becomes the clip's failure.
    clips : sequence of Path
        The clips.
    jobs : int
        Processes, 1 or more; 1 stays in this one. Processes are spawned, not forked: a fork of a
        process with threads (ONNX Runtime's, numba's) may hang.
    on_done : callable
        Called once for each clip that is done with, failed or not.
    """
    if jobs == 1 or len(clips) == 1:
        done = []
        for clip in clips:
            done.append(_attempt(score, clip))
            on_done()
    else:
        done = _in_processes(score, clips, min(jobs, len(clips)), on_done)
    return Outcome(
        [result for result in done if not isinstance(result, Failure)],
        [result for result in done if isinstance(result, Failure)],
    )


def _attempt(score: Callable[[Path], _T], clip: Path) -> _T | Failure:
    try:
        return score(clip)
    # A clip can fail in any library that touches it, and the others are still worth scoring.
    except Exception as error:
        return Failure(clip.name, f"{type(error).__name__}: {error}")


def _in_processes(
    score: Callable[[Path], _T], clips: Sequence[Path], jobs: int, on_done: Callable[[], None]
) -> list[_T | Failure]:
    with _pool(jobs) as pool:
        futures = [pool.submit(_attempt, score, clip) for clip in clips]
        try:
            for _ in as_completed(futures):
                on_done()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [
        _alone(score, clip) if isinstance(future.exception(), BrokenExecutor) else future.result()
        for future, clip in zip(futures, clips, strict=True)
    ]


def _alone(score: Callable[[Path], _T], clip: Path) -> _T | Failure:
    """Try a clip in a process that it can only take down by itself.

    A process that dies breaks its pool, and the clips that still had to come fail with it.
    """
    with _pool(1) as pool:
        try:
            return pool.submit(_attempt, score, clip).result()
        except BrokenExecutor:
            return Failure(clip.name, "its process died")


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
