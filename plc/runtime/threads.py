"""Threads beside the audio's: they give way, and the process awaits them at its end."""

import _thread
import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

from plc.runtime.priority import leave

# The process waits no longer at its end, for all threads together: a run is cancelled, but opening
# a session is not.
EXIT_S = 5.0


class Living(Protocol):
    """State that a thread beside the audio shares with its owner."""

    over: threading.Event
    """Set when the thread has ended."""

    def end(self) -> None:
        """Ask the thread to end."""


running: set[Living] = set()
"""Whose threads have not ended yet."""
exiting = threading.Event()
"""Set when the process ends: from then on no thread is started."""


def _forget() -> None:
    """Drop threads that stayed with the parent of a fork."""
    global running, exiting
    running = set()
    exiting = threading.Event()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


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
