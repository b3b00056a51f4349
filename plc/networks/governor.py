"""Which network to use, judged by how the last ones did."""

from plc.errors import ConfigError
from plc.predict.ladder import Pace
from plc.runtime.runner import Outcome


class Governor:
    """Switches to cheaper networks, and at last to none, when they are late or fail; and back.

    Parameters
    ----------
    levels : int
        Networks to choose from, the best first.

    Notes
    -----
    The steps are :class:`~plc.predict.ladder.Pace`'s: two misses within a hundred step down, and
    seconds of calm up again. While off, concealments without a network count as calm. A network is
    judged by the wall's time, as its answer is of no use after its deadline, whoever had the
    processor.
    """

    __slots__ = ("_levels", "_pace", "_steps")

    def __init__(self, levels: int = 1) -> None:
        if levels < 1:
            raise ConfigError(f"levels is {levels}; give at least 1 network")
        self._levels = levels
        self._pace = Pace()
        self._steps = 0

    @property
    def level(self) -> int | None:
        """Which network to use, 0 the best; None: none."""
        return self._pace.depth if self._pace.depth < self._levels else None

    def note(self, outcome: Outcome) -> bool:
        """Count one outcome; return whether the level changes."""
        if outcome is Outcome.ABSENT:
            return False  # what it is busy with has been counted
        return self._count(self._pace.note(outcome is not Outcome.DONE, self._levels))

    def note_off(self) -> None:
        """Count a concealment for which the level was None."""
        self._pace.note(False, self._levels)

    def pass_time(self, ms: float) -> bool:
        """Let so much of the stream pass; return whether the level changes."""
        return self._count(self._pace.pass_time(ms))

    def _count(self, steps: int) -> bool:
        self._steps += steps
        return steps > 0

    def take_steps(self) -> int:
        """Return how often the level has changed since this was asked last."""
        steps, self._steps = self._steps, 0
        return steps

    def reset(self) -> None:
        """Return to the best network."""
        self._pace.reset()
        self._steps = 0
