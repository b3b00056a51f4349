"""Child processes, and their share of a terminal's signals.

Ctrl-C goes to every process of a terminal at once. A child that is still importing has nothing to
say but a traceback, and one that works would end before it is asked to. So children are started
with SIGINT held back, which a started process inherits, and are ended by who started them.
"""

import contextlib
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

# What a child that was asked to end may take before it is killed.
END_S = 2.0


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Block SIGINT while children start; deliver it to the parent afterwards."""
    known = hasattr(signal, "pthread_sigmask")  # not on Windows
    if not known or threading.current_thread() is not threading.main_thread():
        yield
        return
    # Its own start, which would come within, lets the signal through again.
    resource_tracker.ensure_running()
    came: list[int] = []
    # A library's thread may take the signal; Python would then raise it here all the same, and a
    # process half started would have its say.
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if came:
            signal.raise_signal(signal.SIGINT)


def running() -> set[BaseProcess]:
    """Return the running child processes."""
    return set(multiprocessing.active_children())


def end(processes: Iterable[BaseProcess]) -> None:
    """End processes by SIGTERM, and by SIGKILL if they ignore it."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    until_s = time.monotonic() + END_S
    for process in processes:
        process.join(max(0.0, until_s - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()


def raise_on_term() -> None:
    """Turn SIGTERM into an exception, so that child processes are ended."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
