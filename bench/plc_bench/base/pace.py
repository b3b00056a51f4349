"""Wait for a moment of a clock, such as a packet's turn.

A thread may wake before its time, as Windows lets it, or a clock in a test may pass no time: so the
clock is asked again until the moment is there.
"""

import time
from collections.abc import Callable, Iterator
from itertools import count


def wait_until(
    due: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
    ticks_per_s: float = 1.0,
) -> None:
    """Sleep until a moment; return at once if it has passed.

    Parameters
    ----------
    due : float
        The moment, as ``clock`` says it.
    clock : callable
        Returns the time, in ticks.
    ticks_per_s : float
        Of the clock: 1 if it says seconds, 1e9 if it says nanoseconds.
    """
    while (left := due - clock()) > 0:
        sleep(left / ticks_per_s)


def turns(
    packet_s: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
    first: int = 0,
) -> Iterator[float]:
    """Yield the moment of each turn once it has come, without end.

    Parameters
    ----------
    packet_s : float
        From turn to turn; at 0 none is waited for.
    clock, sleep : callable, return, and take, seconds
    first : int
        Turns that the first one is away.
    """
    began_s = clock()
    for turn in count(first):
        due_s = began_s + turn * packet_s
        wait_until(due_s, clock, sleep)
        yield due_s
