"""One thread at a time: the others are told, and nobody waits."""

from plc.errors import ConcurrentPushError
from plc.runtime import forks


class OneThread:
    """Lets one thread at a time inside an object.

    Parameters
    ----------
    name : str
        Of the class, for the error.
    """

    __slots__ = ("_generation", "_idle", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        # Holds one item while no thread is inside: taking it is atomic, and never waits.
        self._idle = [True]
        self._generation = forks.generation

    def enter(self) -> bool:
        """Let this thread in; return whether another one was lost inside, by a fork.

        That thread stayed with the process this one was forked from, in midst of its work.

        Raises
        ------
        ConcurrentPushError
            If another thread is inside.
        """
        lost = False
        try:
            self._idle.pop()
        except IndexError:
            lost = self._generation != forks.generation
            if not lost:
                raise ConcurrentPushError(
                    f"another thread is inside this {self._name}, which serves one thread at a "
                    "time: give each thread its own, or let the threads take turns"
                ) from None
        self._generation = forks.generation
        return lost

    def leave(self) -> None:
        """Let the next thread in."""
        self._idle.append(True)
