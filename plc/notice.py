"""Optional notices: slow start-up, networks left out."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

listener: Callable[[str], object] | None = None
"""Called with a line where something takes longer than expected, or goes on without a part.

It may be called from a thread of its own.
"""


@contextmanager
def if_slow(why: Callable[[], str], after_s: float) -> Iterator[None]:
    """Tell the listener if the block takes longer than ``after_s`` s."""
    if listener is None:
        yield
        return
    timer = threading.Timer(after_s, lambda: tell(why()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def tell(line: str) -> None:
    """Pass ``line`` to the listener."""
    if listener is not None:
        listener(line)
