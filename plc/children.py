"""Child processes, and their share of a terminal's signals.

Ctrl-C and a terminal's end go to every process of it at once. A child that is still importing has
nothing to say but a traceback, and one that works would end before it is asked to. So children are
started with SIGINT and SIGHUP held back, which a started process inherits, and are ended by who
started them.
"""

import contextlib
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

from plc.ending import held

# What a child that was asked to end may take before it is killed.
END_S = 2.0


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Block SIGINT and SIGHUP while children start; the parent hears them afterwards."""
    known = hasattr(signal, "pthread_sigmask")  # not on Windows
    if not known or threading.current_thread() is not threading.main_thread():
        yield
        return
    # A library's thread may take the signal; a process half started would then have its say.
    with held():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            # Its own start, which would come within, lets SIGINT through again.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def running() -> set[BaseProcess]:
    """Return the running child processes."""
    return set(multiprocessing.active_children())


def end(processes: Iterable[BaseProcess], within_s: float = 0.0) -> None:
    """End processes that have not ended by themselves: by SIGTERM, by SIGKILL if they ignore it."""
    processes = list(processes)
    _await(processes, within_s)
    for process in processes:
        process.terminate()
    _await(processes, END_S)
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()


def _await(processes: list[BaseProcess], within_s: float) -> None:
    until_s = time.monotonic() + within_s
    for process in processes:
        process.join(max(0.0, until_s - time.monotonic()))


def end_with_parent(end: Callable[[], object]) -> None:
    """Call a function, in a thread, when the process that started this one has ended."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            end()

    threading.Thread(target=watch, daemon=True, name="plc parent").start()
