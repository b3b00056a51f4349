"""Score clips in parallel processes; a bad clip fails alone."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, TypeVar

from plc.apps import children

_T = TypeVar("_T")
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Failure:
    """A clip without a score, or with a method, without its score."""

    clip: str
    reason: str
    method: str = ""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_T]):
    """Results and failures, both in the order of the clips."""

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
        Processes, as :func:`as_done` takes them.
    on_done : callable
        Called once for each clip that is done with, failed or not.
    """
    done: dict[int, _T | Failure] = {}
    for number, result in as_done(score, clips, jobs, lambda clip: clip.name):
        done[number] = result
        on_done()
    in_order = [done[number] for number in range(len(clips))]
    return Outcome(
        [result for result in in_order if not isinstance(result, Failure)],
        [result for result in in_order if isinstance(result, Failure)],
    )


def as_done(
    work: Callable[[_Item], _T], items: Sequence[_Item], jobs: int, name: Callable[[_Item], str]
) -> Iterator[tuple[int, _T | Failure]]:
    """Yield each item's number and result, or failure, as it finishes.

    Parameters
    ----------
    work : callable
        Picklable if ``jobs > 1``. What it raises becomes the item's failure.
    items : sequence
        What there is to do.
    jobs : int
        Processes, 1 or more; 1 stays in this one. Processes are spawned, not forked: a fork of a
        process with threads (ONNX Runtime's, numba's) may hang.
    name : callable
        Names an item in a failure.
    """
    if jobs == 1 or len(items) == 1:
        for number, item in enumerate(items):
            yield number, attempt(work, item, name(item))
    elif items:
        yield from _in_processes(work, items, min(jobs, len(items)), name)


def attempt(work: Callable[[_Item], _T], item: _Item, name: str) -> _T | Failure:
    """Return ``work(item)``, or its exception as a failure."""
    try:
        return work(item)
    # A clip can fail in any library that touches it, and the others are still worth scoring.
    except Exception as error:
        return Failure(name, reason_of(error))


def reason_of(error: BaseException) -> str:
    """Return an exception as a reason for tables."""
    return f"{type(error).__name__}: {error}"


def _in_processes(
    work: Callable[[_Item], _T], items: Sequence[_Item], jobs: int, name: Callable[[_Item], str]
) -> Iterator[tuple[int, _T | Failure]]:
    broken: list[int] = []
    with _pool(jobs) as pool:
        with children.undisturbed():
            futures = {
                pool.submit(attempt, work, item, name(item)): number
                for number, item in enumerate(items)
            }
        for future in as_completed(futures):
            if isinstance(future.exception(), BrokenExecutor):
                broken.append(futures[future])
            else:
                yield futures[future], future.result()
    for number in sorted(broken):
        yield number, alone(work, items[number], name(items[number]))


def alone(work: Callable[[_Item], _T], item: _Item, name: str) -> _T | Failure:
    """Run an item in a process of its own.

    A process that dies breaks its pool, and the items that still had to come fail with it.
    """
    with _pool(1) as pool:
        try:
            with children.undisturbed():
                future = pool.submit(attempt, work, item, name)
            return future.result()
        except BrokenExecutor:
            return Failure(name, "its process died")


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool; its processes end with the block."""
    before = children.running()
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=children.raise_on_term
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        children.end(children.running() - before)
        raise
    finally:
        pool.shutdown()
