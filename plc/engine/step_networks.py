"""The networks that run inside a stream's step."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.stream import fills, layout
from plc_kernels.stream.gap import FILE_AT, NETS

if TYPE_CHECKING:
    from plc.engine.networks.flat import FlatModels


class WorkingMemory(threading.local):
    """Working memory of streams' networks: one in each thread."""

    def __init__(self) -> None:
        self._numbers = np.empty(0, np.float32)

    def lend(self, block: NDArray[np.int64]) -> int:
        """Let a stream work here; return the place that its working memory had before.

        Parameters
        ----------
        block : int64, shape (words,)
            Of a stream whose networks work apart, or its second set.
        """
        if self._numbers.size < block[fills.WORK_APART]:
            self._numbers = np.empty(block[fills.WORK_APART], np.float32)
        before = int(block[fills.WORK])
        block[fills.WORK] = self._numbers.ctypes.data - block.ctypes.data
        return before


@dataclass(frozen=True, slots=True, eq=False)
class StepNetworks:
    """Networks of a stream.

    Attributes
    ----------
    models : FlatModels or None
        In memory; None where none is sound.
    chosen : dict
        By content of :data:`NETS`: name and cost in ms of those that serve.
    left_out : dict
        By content: what :meth:`describe` says of those that do not.
    for_all : bool
        Whether the one for speech serves all content.
    works_apart : bool
        Whether what a run works in is lent to the stream by :class:`WorkingMemory`, as many streams
        of which few conceal at a time need one for each thread.
    outside : OutsideNetworks or None
        What computes their forward passes; None: kernels.
    """

    models: "FlatModels | None"
    chosen: dict[str, tuple[str, float]]
    left_out: dict[str, dict[str, Any]]
    for_all: bool = False
    works_apart: bool = False
    outside: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names in ``stats`` in the order of :data:`NETS`, "" for one that is not there."""
        last = max(map(tuple(NETS).index, self.chosen), default=-1)
        names = tuple(NETS)[: last + 1]
        return tuple(f"network:{self.chosen[of][0]}" if of in self.chosen else "" for of in names)

    def lay_out(self, header: NDArray[np.int64]) -> int:
        """Lay out a stream with these networks; return the bytes of its block."""
        assert self.models is not None, "some were chosen"
        size = self.models.words.nbytes
        header[fills.WORK_APART] = self.works_apart
        fills.choose_networks(self.models.address, size, header)
        for of, net in NETS.items():
            if of not in self.chosen:
                header[net + FILE_AT] = -1
        header[layout.ONE_FOR_ALL] = self.for_all
        header[layout.OUTSIDE] = self.outside is not None
        return fills.lay_out_network(self.models.address, header)

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
