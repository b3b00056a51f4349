"""Read keys from a terminal while something else is shown on it."""

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator

_KEYS_MAX = 64


@contextlib.contextmanager
def open_keys() -> Iterator[Callable[[], str] | None]:
    """Read keys without Enter; yield a function that returns those pressed since.

    None where there is no terminal to read from, and on Windows. Ctrl-C stays what it is.
    """
    try:
        import termios
        import tty
    except ImportError:
        yield None
        return
    try:
        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
    except (termios.error, ValueError, OSError, AttributeError):
        yield None
        return
    tty.setcbreak(number, termios.TCSANOW)

    def pressed() -> str:
        if not select.select([number], [], [], 0.0)[0]:
            return ""
        return os.read(number, _KEYS_MAX).decode(errors="replace")

    try:
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSANOW, before)
