"""Linear prediction that a stream's step makes itself."""

from typing import Any

from plc.engine.memory import StreamMemory
from plc.predict.filler import Method
from plc.predict.ladder import Ladders, Pace
from plc_kernels.stream.layout import DEPTH, FITTED, RUNG, UNSTEADY


class StepPrediction(Method):
    """The ladders of linear prediction, and the choice among their rungs.

    Parameters
    ----------
    ladders : Ladders
        Of the stream.
    """

    bridges = True

    def __init__(self, ladders: Ladders) -> None:
        self.ladders: Ladders = ladders
        self.past_samples = ladders.past_samples
        self.pace = Pace()
        self._names = ladders.names
        self._memory: StreamMemory | None = None

    def attach(self, memory: StreamMemory) -> None:
        """Take the memory of the stream that it predicts."""
        self._memory = memory

    @property
    def names(self) -> tuple[str, ...]:
        """The rungs of both ladders."""
        return self._names

    @property
    def name(self) -> str:
        """The rung in use."""
        return self._names[0 if self._memory is None else int(self._memory.block[RUNG])]

    def reset(self) -> None:
        """Return to the top of the ladder."""
        self.pace.reset()
        self._use_depth()

    def _use_depth(self) -> None:
        if self._memory is not None:
            self._memory.block[DEPTH] = self.pace.depth

    def took(self, late: bool) -> int:
        """Hear whether a concealment took too long; return the steps down the ladder for it.

        Packets for which nothing was fitted are cheap at any rung, and say nothing.
        """
        if self._memory is None or not self._memory.block[FITTED]:
            return 0
        self._memory.block[FITTED] = 0
        unsteady = self._memory.block[UNSTEADY]
        steps = self.ladders.unsteady if unsteady else self.ladders.steady
        changes = self.pace.note(late, len(steps) - 1)
        self._use_depth()
        return changes

    def pass_time(self, ms: float) -> int:
        """Advance the stream's time; return the steps up the ladder."""
        if self.pace.settled:
            return 0
        changes = self.pace.pass_time(ms)
        self._use_depth()
        return changes

    def describe(self) -> dict[str, Any]:
        """Return the method, and each ladder's rungs with their measured cost."""
        return self.ladders.describe()
