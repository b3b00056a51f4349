"""Concealment of a stream: linear prediction, which networks improve."""

from typing import Any

from plc.engine.predict.ladder import Ladders, Pace
from plc_kernels.signal.rungs import HEADROOM
from plc_kernels.stream.layout import DEPTH, FITTED, RUNG, UNSTEADY


class StepPrediction:
    """The ladders of linear prediction, the choice among their rungs, and the networks.

    Parameters
    ----------
    ladders : Ladders, of the stream
    networks : StepNetworks, EncodedGaps or None, of the stream
    prepares : int
        Whether bursts are prepared: 0, or a way of :mod:`plc_kernels.stream.preparation`.
    from_onsets : bool
        Whether a predictor is fitted to a sound from its onset on.
    limit_ms : float
        Time that the first concealment of a burst may take, if it was not prepared.
    refit_ms : float
        For so long a fit to steady content serves further bursts.
    """

    def __init__(
        self,
        ladders: Ladders,
        networks: Any = None,
        prepares: int = 0,
        limit_ms: float = float("inf"),
        from_onsets: bool = True,
        refit_ms: float = 0.0,
    ) -> None:
        self.ladders: Ladders = ladders
        self.from_onsets = self.fills_noise = from_onsets
        self.step_networks = networks
        self.prepares = prepares
        self.refit_ms = refit_ms
        self.pace = Pace()
        self.outside: Any = None if networks is None else networks.outside
        self._limit_ms = limit_ms
        self._names = ladders.names
        self._memory: Any = None

    def attach(self, memory: Any) -> None:
        """Take the :class:`~plc.engine.memory.StreamMemory` of the stream that it predicts."""
        self._memory = memory
        if self.outside is not None:
            self.outside.attach(memory)

    @property
    def names(self) -> tuple[str, ...]:
        """The rungs of both ladders."""
        return self._names

    @property
    def name(self) -> str:
        """The rung or network in use."""
        if self._memory is None:
            return self._names[0]
        return str(self._memory.rungs[int(self._memory.block[RUNG])])

    def reset(self) -> None:
        """Return to the top of the ladder."""
        self.pace.reset()
        self._use_depth()
        if self.outside is not None:
            self.outside.reset()

    def close(self) -> None:
        """End the threads of networks."""
        if self.outside is not None:
            self.outside.close()

    def _use_depth(self) -> None:
        if self._memory is not None:
            self._memory.block[DEPTH] = self.pace.depth

    def took(self, late: bool) -> int:
        """Hear whether a concealment took too long; return the steps down the ladder for it.

        Packets for which nothing was fitted are cheap at any rung, and say nothing. Below the last
        rung there are no networks.
        """
        turns = 0
        if self.outside is not None:
            late, turns = self.outside.took(late)
        if self._memory is None or not self._memory.block[FITTED]:
            return turns
        self._memory.block[FITTED] = 0
        unsteady = self._memory.block[UNSTEADY]
        steps = self.ladders.unsteady if unsteady else self.ladders.steady
        last = len(steps) - (self.step_networks is None)
        changes = self.pace.note(late, last)
        self._use_depth()
        return changes + turns

    def pass_time(self, ms: float) -> int:
        """Advance the stream's time; return the steps up the ladder."""
        turns = 0 if self.outside is None else self.outside.pass_time(ms)
        if self.pace.settled:
            return turns
        changes = self.pace.pass_time(ms)
        self._use_depth()
        return changes + turns

    def describe(self) -> dict[str, Any]:
        """Return the method, its networks, and each ladder's rungs with their measured cost."""
        found = self.ladders.describe()
        if self.step_networks is not None:
            ladder = max(len(self.ladders.steady), len(self.ladders.unsteady))
            found["networks"] = self.step_networks.describe(self.pace.depth < ladder)
        if self.prepares:
            found["fallback"] = {
                of: [each for each in steps if each["cost_ms"] <= HEADROOM * self._limit_ms]
                or steps[-1:]
                for of, steps in found["ladders"].items()
            }
        return found
