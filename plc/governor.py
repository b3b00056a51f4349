"""Which encoder to use, judged by how the last ones did."""

from plc.errors import ConfigError
from plc.ladder import Pace
from plc.line import Outcome


class Governor:
    """Switches to cheaper encoders, and at last to none, when they are late or fail; and back.

    Parameters
    ----------
    levels : int
        Encoders to choose from, the best first.

    Notes
    -----
    The steps are :class:`~plc.ladder.Pace`'s: two misses within a hundred step down, calm steps
    up again, with twice the patience after each step down. While off, concealments without an
    encoder count as calm.
    """

    __slots__ = ("_levels", "_pace", "_steps")

    def __init__(self, levels: int = 1) -> None:
        if levels < 1:
            raise ConfigError(f"levels is {levels}; give at least 1 encoder")
        self._levels = levels
        self._pace = Pace()
        self._steps = 0

    @property
    def level(self) -> int | None:
        """Which encoder to use, 0 the best; None: none."""
        return self._pace.depth if self._pace.depth < self._levels else None

    def note(self, outcome: Outcome) -> bool:
        """Count one outcome; return whether the level changes."""
        if outcome is Outcome.ABSENT:
            return False  # what it is busy with has been counted
        return self._note(late=outcome is not Outcome.DONE)

    def note_off(self) -> bool:
        """Count a concealment for which the level was None; return whether it changes."""
        return self._note(late=False)

    def _note(self, late: bool) -> bool:
        changes = self._pace.note(late, self._levels)
        self._steps += changes
        return changes

    def take_steps(self) -> int:
        """Return how often the level has changed since this was asked last."""
        steps, self._steps = self._steps, 0
        return steps

    def reset(self) -> None:
        """Return to the best encoder."""
        self._pace.reset()
        self._steps = 0
