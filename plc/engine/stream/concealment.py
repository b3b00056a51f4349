"""Concealment of a stream: linear prediction, and the networks of its step that improve it."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.ladder import Ladders, Pace
from plc_kernels.signal.rungs import HEADROOM
from plc_kernels.stream import extend_network, layout, networks
from plc_kernels.stream.gap import FILE_AT, NETS
from plc_kernels.stream.layout import DEPTH, FITTED, RUNG, UNSTEADY

if TYPE_CHECKING:
    from plc.engine.networks.flat import FlatModels
    from plc.engine.stream.outside import OutsideNetworks


class WorkingMemory(threading.local):
    """Working memory of streams' networks: one in each thread."""

    def __init__(self) -> None:
        self._numbers = np.empty(0, np.float32)

    def lend(self, block: NDArray[np.int64]) -> int:
        """Let a stream work here; return the place that its working memory had before.

        ``block``, int64, shape (words,), is of a stream whose networks work apart, or its second
        set.
        """
        if self._numbers.size < block[extend_network.WORK_APART]:
            self._numbers = np.empty(block[extend_network.WORK_APART], np.float32)
        before = int(block[extend_network.WORK])
        block[extend_network.WORK] = self._numbers.ctypes.data - block.ctypes.data
        return before


@dataclass(frozen=True, slots=True, eq=False)
class StepNetworks:
    """Networks of a stream."""

    models: "FlatModels | None"
    """In memory; None where none is sound, or a context encoder is the only one."""
    chosen: dict[str, tuple[str, float]]
    """By content of :data:`NETS`: name and cost in ms of those that serve."""
    left_out: dict[str, dict[str, Any]]
    """By content: what :meth:`describe` says of those that do not."""
    for_all: bool = False
    """Whether the one for speech serves all content."""
    works_apart: bool = False
    """Whether what a run works in is lent to the stream by :class:`WorkingMemory`, as many streams
    of which few conceal at a time need one for each thread."""
    outside: "OutsideNetworks | None" = None
    """What computes their forward passes; None: kernels."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names in ``stats`` in the order of :data:`NETS`, "" for one that is not there."""
        last = max(map(tuple(NETS).index, self.chosen), default=-1)
        names = tuple(NETS)[: last + 1]
        return tuple(f"network:{self.chosen[of][0]}" if of in self.chosen else "" for of in names)

    def lay_out(self, header: NDArray[np.int64]) -> int:
        """Lay out a stream with these networks; return the bytes of its block."""
        header[layout.OUTSIDE] = self.outside is not None
        if self.models is None:
            assert self.outside is not None
            assert self.outside.encoder is not None
            header[layout.NETWORK] = True
            header[layout.NETWORK_PAST] = self.outside.encoder.side
            for net in NETS.values():
                header[net + FILE_AT] = -1
            return layout.lay_out(header)
        size = self.models.words.nbytes
        header[extend_network.WORK_APART] = self.works_apart
        networks.choose_networks(self.models.address, size, header)
        for of, net in NETS.items():
            if of not in self.chosen:
                header[net + FILE_AT] = -1
        header[layout.ONE_FOR_ALL] = self.for_all
        return networks.lay_out_network(self.models.address, header)

    def costs_ms(self) -> list[float]:
        """Return the cost of each of :data:`NETS`, 0 where there is none."""
        return [self.chosen[of][1] if of in self.chosen else 0.0 for of in NETS]

    def describe(self, on: bool) -> dict[str, dict[str, Any]]:
        """Return the networks by content: model, mode, state, cost of a burst.

        Of one that is left out ``why`` or ``budget_ms``, what it would serve in.
        """
        state = {"mode": "step", "state": "on" if on else "off"}
        served: dict[str, dict[str, Any]] = {
            of: {"model": name, **state, **({"cost_ms": round(cost_ms, 4)} if cost_ms else {})}
            for of, (name, cost_ms) in self.chosen.items()
        }
        if self.outside is not None:
            served = self.outside.describe()
        return served | self.left_out


class StepPrediction:
    """The ladders of linear prediction, the choice among their rungs, and the networks.

    Parameters
    ----------
    ladders : Ladders, of the stream
    networks : StepNetworks or None, of the stream
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
        networks: StepNetworks | None = None,
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
        self.outside = None if networks is None else networks.outside
        self._limit_ms = limit_ms
        self.names = ladders.names
        """Of the rungs of both ladders."""
        self._block: NDArray[np.int64] | None = None
        self._rungs: tuple[str, ...] = ()

    def attach(self, block: NDArray[np.int64], model: int, rungs: tuple[str, ...]) -> None:
        """Take a stream's block, the address of its networks' blocks, and the names of rungs."""
        self._block, self._rungs = block, rungs
        if self.outside is not None:
            self.outside.attach(block, model)

    @property
    def name(self) -> str:
        """The rung or network in use."""
        return self.names[0] if self._block is None else self._rungs[int(self._block[RUNG])]

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
        if self._block is not None:
            self._block[DEPTH] = self.pace.depth

    def took(self, late: bool) -> int:
        """Hear whether a concealment took too long; return the steps down the ladder for it.

        Packets for which nothing was fitted are cheap at any rung, and say nothing. Below the last
        rung there are no networks.
        """
        turns = 0
        if self.outside is not None:
            late, turns = self.outside.took(late)
        if self._block is None or not self._block[FITTED]:
            return turns
        self._block[FITTED] = 0
        unsteady = self._block[UNSTEADY]
        steps = self.ladders.unsteady if unsteady else self.ladders.steady
        last = len(steps) - (self.step_networks is None)
        changes = self.pace.note(late, last)
        self._use_depth()
        return changes + turns

    def pass_time(self, ms: float) -> int:
        """Advance the stream's time; return the steps up the ladder."""
        turns = 0 if self.outside is None else self.outside.pass_time(ms)
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
