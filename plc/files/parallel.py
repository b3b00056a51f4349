"""Work on many items in parallel processes; a bad item fails alone.

A process that ends in the middle of an item, killed for want of memory perhaps, costs nothing but
time: the item is given to another one, :data:`ATTEMPTS` times in all.

What is noticed in a process (:mod:`plc.notice`) is told here, with the name of its item.
"""

import contextlib
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from plc import children, notice
from plc.ending import by_signals

ATTEMPTS = 3
# What an idle process may take to end: it waits for its own threads, for 5 s at most.
_IDLE_S = 6.0

_T = TypeVar("_T")
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Failure:
    """A clip without a score, or with a method, without its score."""

    clip: str
    reason: str
    method: str = ""


def as_done(
    work: Callable[[_Item], _T], items: Sequence[_Item], jobs: int, name: Callable[[_Item], str]
) -> Iterator[tuple[int, _T | Failure]]:
    """Yield each item's number and result, or failure, as it finishes.

    Parameters
    ----------
    work : callable
        Picklable if ``jobs > 1``. What it raises becomes the item's failure.
    items : sequence, what there is to do
    jobs : int
        Processes, 1 or more; 1 stays in this one. Processes are spawned, not forked: a fork of a
        process with threads (ONNX Runtime's, numba's) may hang.
    name : callable, names an item in a failure
    """
    if jobs == 1 or len(items) == 1:
        for number, item in enumerate(items):
            yield number, attempt(work, item, name(item))
    else:
        yield from in_processes(work, items, jobs, name)


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


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Any
    number: int | None = None
    """Of the item it is at."""


@dataclass(frozen=True, slots=True)
class _Notice:
    """A line that a process noticed while at an item."""

    line: str


def in_processes(
    work: Callable[[_Item], _T], items: Sequence[_Item], jobs: int, name: Callable[[_Item], str]
) -> Iterator[tuple[int, _T | Failure]]:
    """Do as :func:`as_done`, but never in this process."""
    waiting = deque(range(len(items)))
    deaths: Counter[int] = Counter()
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.number is not None for worker in workers):
            _employ(workers, waiting, jobs, work, items, name)
            busy = {worker.pipe: worker for worker in workers if worker.number is not None}
            for pipe in wait(list(busy)):
                worker = busy[pipe]
                number = worker.number
                assert number is not None
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.number = None
                    workers.remove(worker)
                    children.end([worker.process])
                else:
                    if isinstance(answer, _Notice):
                        notice.pass_on(name(items[number]), answer.line)
                        continue
                    worker.number = None
                    yield number, answer
                    continue
                deaths[number] += 1
                if deaths[number] < ATTEMPTS:
                    waiting.appendleft(number)
                else:
                    yield number, Failure(name(items[number]), "its process died")
    finally:
        for worker in workers:
            worker.pipe.close()  # which ends it, unless it is at an item
        children.end(worker.process for worker in workers if worker.number is not None)
        children.end([worker.process for worker in workers], _IDLE_S)


def _employ(
    workers: list[_Worker],
    waiting: deque[int],
    jobs: int,
    work: Callable[[_Item], _T],
    items: Sequence[_Item],
    name: Callable[[_Item], str],
) -> None:
    idle = [worker for worker in workers if worker.number is None]
    while waiting and (idle or len(workers) < jobs):
        if not idle:
            idle.append(_started(work))
            workers.append(idle[-1])
        worker = idle.pop()
        worker.number = waiting.popleft()
        item = items[worker.number]
        try:
            worker.pipe.send((item, name(item)))
        except OSError:  # it has ended, which reading from it will tell
            return


def _started(work: Callable[[_Item], _T]) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    with children.undisturbed():
        process.start()
    theirs.close()  # else its end would not be noticed
    return _Worker(process, ours)


def _serve(pipe: Any, work: Callable[[_Item], _T]) -> None:
    children.end_with_parent(partial(os._exit, 1))
    sending = threading.Lock()

    def tell(answer: object) -> None:
        # Notices may come from threads.
        with sending:
            pipe.send(answer)

    def pass_on(line: str) -> None:
        with contextlib.suppress(OSError):
            tell(_Notice(line))

    notice.listener = pass_on
    with by_signals(), contextlib.suppress(EOFError, OSError):  # nobody asks any more
        while True:
            item, name = pipe.recv()
            tell(attempt(work, item, name))
