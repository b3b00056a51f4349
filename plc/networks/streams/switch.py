"""Switch of a network: off after late answers, on again later."""

from plc.predict.ladder import Pace
from plc.runtime.runner import Outcome


class Switch:
    """Turns a network off after misses, and on again after calm.

    Notes
    -----
    The rules are those of :class:`~plc.predict.ladder.Pace` with one step: two misses within a
    hundred turn it off. While it is off, concealments without a network count as calm. A network is
    judged by wall time, as its answer is of no use after its deadline, whoever had the processor.
    """

    __slots__ = ("_pace", "_turns")

    def __init__(self) -> None:
        self._pace = Pace()
        self._turns = 0

    @property
    def on(self) -> bool:
        """True if the network may be used."""
        return self._pace.depth == 0

    def note(self, outcome: Outcome) -> bool:
        """Count one outcome; return whether the switch turns."""
        if outcome is Outcome.ABSENT:
            return False  # what it is busy with has been counted
        return self._count(self._pace.note(outcome is not Outcome.DONE, 1))

    def note_off(self) -> None:
        """Count a concealment for which the network was off."""
        self._pace.note(False, 1)

    def pass_time(self, ms: float) -> bool:
        """Advance the stream's time; return whether the switch turns."""
        return self._count(self._pace.pass_time(ms))

    def _count(self, turns: int) -> bool:
        self._turns += turns
        return turns > 0

    def take_turns(self) -> int:
        """Return the turns since the last call."""
        turns, self._turns = self._turns, 0
        return turns

    def reset(self) -> None:
        """Turn on, and forget all outcomes."""
        self._pace.reset()
        self._turns = 0
