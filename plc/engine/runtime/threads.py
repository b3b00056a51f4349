"""Threads beside the audio's: they give way, and the process awaits them at its end.

Where a program asked for real-time priority (:class:`plc.engine.runtime.priority.Priority`), each
of its threads takes its level::

    AUDIO       sends, plays, answers
    PREPARING   prepares concealments
    SERVING     metrics, control, recordings: brief, but audio waits for the interpreter they hold

Where nobody has asked, nothing changes: a library leaves its caller's threads alone.

**One call at a time** (:class:`OneThread`): a second one raises, and nobody waits. Who is inside
stands first in a list, as the frame of the call. A call that an exception ended in
between, such as that of a signal handler, may leave its frame there; that it is on no thread's
stack any more says that nobody is inside. So no moment of an interruption shuts an object for good,
and a signal handler that calls the object again, in the midst of a call, is told like a thread.
"""

import _thread
import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import FrameType
from typing import Any, Protocol

from plc.errors import ConcurrentPushError

# The process waits no longer at its end, for all threads together: a run is cancelled, but opening
# a session is not.
EXIT_S = 5.0


class Level(IntEnum):
    """Priority of a thread under ``SCHED_FIFO``."""

    SERVING = 2
    PREPARING = 5
    AUDIO = 10


asked: Any = None
"""The :class:`~plc.engine.runtime.priority.Priority` of the program, if it was granted."""


def take(level: Level) -> bool:
    """Give this thread a level, if the program asked; return whether it has one."""
    return (priority := asked) is not None and bool(priority.take(level))


def leave() -> None:
    """Forget this thread, which ends."""
    if (priority := asked) is not None:  # the main thread may end it meanwhile
        priority.leave()


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Be an ordinary thread during a long computation, such as opening a stream."""
    before = asked
    level = None if before is None else before.step_aside()
    try:
        yield
    finally:
        if before is not None and level is not None:
            before.take(level)


class Living(Protocol):
    """State that a thread beside the audio shares with its owner."""

    over: threading.Event
    """Set when the thread has ended."""

    def end(self) -> None:
        """Ask the thread to end."""


generation = 0
"""Forks between the process that imported this module and the current one.

What is made here and needs a thread, or a lock that one may hold, remembers it and compares: in
another generation it is a copy whose thread does not exist.
"""
running: set[Living] = set()
"""Whose threads have not ended yet."""
exiting = threading.Event()
"""Set when the process ends: from then on no thread is started."""


def _begin_child() -> None:
    """Drop threads that stayed with the parent of a fork."""
    global generation, running, exiting
    generation += 1
    running = set()
    exiting = threading.Event()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


def start_thread(life: Living, serve: Callable[[], object]) -> None:
    """Run ``serve`` in a thread that the process awaits at its end.

    ``serve`` ends with :func:`note_end`. The caller does not wait for the thread to begin, as
    ``threading.Thread.start`` does.

    Raises
    ------
    RuntimeError
        If no thread can be started, or the process is ending.
    """
    # First added, then asked: :func:`_end_all` does it the other way round.
    running.add(life)
    try:
        if exiting.is_set():
            raise RuntimeError("the process is ending")
        _thread.start_new_thread(serve, ())
    except RuntimeError:
        running.discard(life)
        raise


def note_end(life: Living) -> None:
    """Note the end of the thread, in it."""
    leave()
    running.discard(life)
    life.over.set()


def give_way() -> None:
    """Have Linux wake this thread without interrupting another one.

    Else it may do so on the audio thread's core although another is idle. Threads that ONNX Runtime
    starts inherit it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # some systems know or allow neither; it is not needed
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@atexit.register
def _end_all() -> None:
    """Wait for all threads to end before the interpreter does.

    A run that returns into an interpreter that is gone ends the process with an abort.
    """
    exiting.set()
    limit_s = time.monotonic() + EXIT_S
    lives = list(running)
    for life in lives:
        life.end()
    for life in lives:
        life.over.wait(max(0.0, limit_s - time.monotonic()))


class OneThread:
    """Lets one call at a time inside an object; also a context manager.

    The name is that of the class, for the error.
    """

    __slots__ = ("_frames", "_generation", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        # Of the call inside, and of those that are just told: each operation is atomic.
        self._frames: list[FrameType] = []
        self._generation = generation

    def enter(self) -> bool:
        """Let the calling function in; return whether a thread was lost inside, by a fork.

        That thread stayed with the process this one was forked from, in midst of its work. The
        function calls :meth:`leave` at its end.

        Raises
        ------
        ConcurrentPushError
            If another call is inside.
        """
        frame, frames = sys._getframe(1), self._frames
        frames.append(frame)
        lost = frames[0] is not frame and self._take_over(frame)
        self._generation = generation
        return lost

    __enter__ = enter

    def _take_over(self, frame: FrameType) -> bool:
        """Pass over calls that ended without leaving; return whether one is of a parent."""
        while (other := self._frames[0]) is not frame:
            if _is_running(other):
                self._frames.remove(frame)
                raise ConcurrentPushError(
                    f"another thread is inside this {self._name}, which serves one thread at a "
                    "time: give each thread its own, or let the threads take turns"
                )
            with contextlib.suppress(ValueError):  # another thread has passed over it, too
                self._frames.remove(other)
        return self._generation != generation

    def is_free(self) -> bool:
        """Return whether no call is inside."""
        return not any(_is_running(frame) for frame in self._frames.copy())

    def leave(self, *_: object) -> None:
        """Let the next call in."""
        del self._frames[0]

    __exit__ = leave


def _is_running(frame: FrameType) -> bool:
    for top in sys._current_frames().values():
        at: FrameType | None = top
        while at is not None:
            if at is frame:
                return True
            at = at.f_back
    return False
