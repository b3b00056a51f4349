"""Threads of servers that go on after a fault.

A server's thread does one turn after another. An exception of a turn is counted, told once, and the
next turn begins; :func:`problems` names the threads that have ended unasked or hang, for the health
page.
"""

import threading
import time
from collections.abc import Callable

from plc import notice
from plc.engine.runtime.threads import Level, leave, take
from plc.errors import in_a_line

STUCK_S = 10.0
"""A turn that takes longer hangs, unless said otherwise."""
# After a turn that failed, so that one that always does leaves the processor to others.
_PAUSE_S = 0.05

_standing: dict[int, "StandingThread"] = {}
"""Those that were started and not ended, by identity."""


class StandingThread:
    """A thread that repeats a turn until it is ended.

    Parameters
    ----------
    name : str
        What the thread is called where something is told of it.
    turn : callable
        Does one turn, and returns within seconds.
    stuck_s : float, a turn that takes longer hangs

    Attributes
    ----------
    ending : threading.Event
        Set when the thread is to end; a turn may wait for it.
    faults : int, turns that ended in an exception
    """

    def __init__(self, name: str, turn: Callable[[], object], *, stuck_s: float = STUCK_S) -> None:
        self.name = name
        self.ending = threading.Event()
        self.faults = 0
        self._turn = turn
        self._stuck_s = stuck_s
        self._turned_s = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=f"plc {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        _standing[id(self)] = self
        self._turned_s = time.monotonic()
        self._thread.start()

    def _work(self) -> None:
        taken = False
        try:
            while not self.ending.is_set():
                taken = taken or take(Level.SERVING)  # it may be asked for later
                self._turned_s = time.monotonic()
                self._attempt()
        finally:
            leave()

    def _attempt(self) -> None:
        try:
            self._turn()
        except Exception as error:
            self.faults += 1
            if self.faults == 1:
                notice.tell(
                    f"the thread of {self.name} met a fault and goes on: "
                    f"{type(error).__name__}: {in_a_line(error)}"
                )
            self.ending.wait(_PAUSE_S)

    def problem(self) -> str | None:
        """Return the thread's problem, if any."""
        if self.ending.is_set():
            return None
        if not self._thread.is_alive():
            return f"the thread of {self.name} has ended"
        idle_s = time.monotonic() - self._turned_s
        return f"the thread of {self.name} hangs since {idle_s:.0f} s" if self._hangs else None

    @property
    def _hangs(self) -> bool:
        return time.monotonic() - self._turned_s > self._stuck_s

    def end(self) -> None:
        """Have the thread end after its turn, and wait for it."""
        self.ending.set()
        _standing.pop(id(self), None)
        if self._thread.ident is not None:
            self._thread.join()


def problems() -> list[str]:
    """Return the problems of this process's server threads."""
    found = (each.problem() for each in list(_standing.values()))
    return [each for each in found if each is not None]


def faults() -> dict[str, int]:
    """Return the turns that ended in an exception, by thread."""
    return {each.name: each.faults for each in list(_standing.values()) if each.faults}
