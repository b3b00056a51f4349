"""Optional notices: slow start-up, networks left out.

They go to the logger ``plc`` of :mod:`logging`, and to a listener, which the command sets. In a
program without logging two are printed to stderr, as warnings: that kernels are compiled, for which
it stands still, and that samples are far above full scale, which is noise. Others are dropped.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("plc")
_recent: deque[str] = deque(maxlen=64)

listener: Callable[[str], object] | None = None
"""Called, from any thread, with a line on what takes long, or goes on without a part."""


_names: dict[str, str] = {}


@contextmanager
def renamed() -> Iterator[None]:
    """Forget at the end of the block the names that it gave by :func:`rename`."""
    try:
        yield
    finally:
        _names.clear()


def rename(ours: object, theirs: str) -> None:
    """Name a file in the making by its user's name, in a block of :func:`renamed`."""
    _names[str(ours)] = theirs


def shown(line: str) -> str:
    """Return a line with the names of :func:`rename`."""
    for ours, theirs in _names.items():
        line = line.replace(ours, theirs)
    return line


@contextmanager
def if_slow(
    why: Callable[[], str], after_s: float, every_s: float | None = None, level: int = logging.INFO
) -> Iterator[None]:
    """Give notice if the block takes longer than ``after_s`` s, and every so many s if it changes.

    What was told of another block just before is not told again: several kernels are compiled. The
    first notice is of that level of :mod:`logging`, without a listener.
    """
    if listener is None and not _log.isEnabledFor(level):
        yield
        return
    over = threading.Event()

    def watch() -> None:
        if not over.wait(after_s):
            tell_once(why(), level)
        while every_s is not None and not over.wait(every_s):
            tell_once(why())

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def tell_once(line: str, level: int = logging.INFO) -> None:
    """Report a line, unless it was reported lately: a file is read more than once."""
    if line not in _recent:
        _recent.append(line)
        tell(line, level)


def pass_on(name: str, line: str) -> None:
    """Report a line of another process, which works on a name."""
    _recent.append(line)
    tell(f"{name}: {line}")


def tell(line: str, level: int = logging.INFO) -> None:
    """Log ``line``, and pass it to the listener; with one, nobody has to be warned by the log."""
    line = shown(line)
    _log.log(level if listener is None else logging.INFO, line)
    if listener is not None:
        listener(line)
