"""One call at a time: a second one raises, and nobody waits.

Who is inside stands first in a list, as the frame of the call. A call that an exception ended in
between, such as that of a signal handler, may leave its frame there; that it is on no thread's
stack any more says that nobody is inside. So no moment of an interruption shuts an object for good,
and a signal handler that calls the object again, in the midst of a call, is told like a thread.
"""

import contextlib
import sys
from types import FrameType

from plc.engine.runtime import threads
from plc.errors import ConcurrentPushError


class OneThread:
    """Lets one call at a time inside an object; also a context manager.

    Parameters
    ----------
    name : str, of the class, for the error
    """

    __slots__ = ("_frames", "_generation", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        # Of the call inside, and of those that are just told: each operation is atomic.
        self._frames: list[FrameType] = []
        self._generation = threads.generation

    def enter(self) -> bool:
        """Let the calling function in; return whether a thread was lost inside, by a fork.

        That thread stayed with the process this one was forked from, in midst of its work. The
        function calls :meth:`leave` at its end.

        Raises
        ------
        ConcurrentPushError
            If another call is inside.
        """
        frame = sys._getframe(1)
        self._frames.append(frame)
        lost = self._frames[0] is not frame and self._take_over(frame)
        self._generation = threads.generation
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
        return self._generation != threads.generation

    def is_free(self) -> bool:
        """Return whether no call is inside."""
        return not any(_is_running(frame) for frame in self._frames.copy())

    def leave(self, *_: object) -> None:
        """Let the next call in."""
        del self._frames[0]

    __exit__ = leave


def _is_running(frame: FrameType) -> bool:
    """Return whether a frame is on a thread's stack."""
    for top in sys._current_frames().values():
        at: FrameType | None = top
        while at is not None:
            if at is frame:
                return True
            at = at.f_back
    return False
