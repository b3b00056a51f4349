"""The network for gaps of a stream that waits: it improves on the bridge of linear prediction.

Everything that it sees is there when the gap's first packet is due: the past, what has arrived of
the samples after the gap, and both sides of the gap continued into it. What lies beyond is
predicted::

    forward     |~~ played ~~|-- from the past ----|~~ arrived ~~|-- predicted --|
    backward    |~~ played ~~|-- from what follows-|~~ arrived ~~|-- predicted --|
    bridge      |~~ played ~~|-- both, blended ----|~~ arrived ~~|-- predicted --|
"""

import numpy as np
from numpy.typing import NDArray

from plc.networks.served import ServedNetwork
from plc.predict.contour import ContourBridge
from plc.predict.history import History
from plc.predict.linear import Sides
from plc.runtime.runner import NetworkCounters


class BridgeNetwork:
    """One model at work on the gaps of one stream.

    Parameters
    ----------
    served : ServedNetwork
        A model of kind ``bridge``.
    channels, reach : int
        Of the stream; the longest bridge in samples.

    Attributes
    ----------
    sides : Sides
        For the bridge of linear prediction to write.
    """

    def __init__(self, served: ServedNetwork, channels: int, reach: int) -> None:
        self.served = served
        after = served.gap.samples - served.gap.gap_start
        self.sides = Sides(*(np.zeros((channels, n), np.float32) for n in (reach, reach, after)))

    def ready(self, history: History, gap_samples: int) -> bool:
        """Tell whether it could be asked about such a gap; not whether it will be in time."""
        return self._serves(history, gap_samples) and self.served.governor.level is not None

    def contour(self, history: History, gap_samples: int) -> ContourBridge | None:
        """Return what the bridge of such a gap is to follow, if it is one for this model."""
        return self.served.contour_bridge if self._serves(history, gap_samples) else None

    def _serves(self, history: History, gap_samples: int) -> bool:
        """Tell whether such a gap is one for this model."""
        gap = self.served.gap
        return gap_samples <= gap.horizon and history.filled >= gap.gap_start

    def improve(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        deadline_s: float,
        counters: NetworkCounters,
    ) -> bool:
        """Improve on a bridge; return whether the network could, in time.

        Parameters
        ----------
        history : History
            Up to the gap.
        after : float32, shape (channels, m)
            What arrived right after it.
        out : float32, shape (channels, n)
            The bridge that ``sides`` was written with; changed where the network answers.
        deadline_s : float
            On the runner's clock.
        counters : NetworkCounters
            Where a gap is counted for which the network is switched off.
        """
        served = self.served
        gap = served.gap
        n = out.shape[1]
        if not self._serves(history, n):
            return False
        if served.governor.level is None:
            counters.network_off += 1
            served.governor.note_off()
            return False
        gap.set_gap(n)
        self._draft(history, after, out)
        gap.analyse()
        ticket = served.runner.submit(gap.spectra, gap.lost)
        outcome = served.runner.collect(ticket, deadline_s, gap.filled)
        served.governor.note(outcome)
        if outcome.usable:
            gap.synthesise(out)
        return outcome.usable

    def _draft(
        self, history: History, after: NDArray[np.float32], out: NDArray[np.float32]
    ) -> None:
        """Write what is known, and the drafts, into the rows of the gap."""
        gap = self.served.gap
        start, stop = gap.gap_start, gap.gap_start + out.shape[1]
        until = min(stop + after.shape[1], gap.samples)
        drafts = (self.sides.forward, self.sides.backward, out)
        for c, rows in enumerate(gap.rows):
            history.newest(c, rows[0, :start])
            for row, draft in zip(rows, drafts, strict=True):
                row[:start] = rows[0, :start]
                row[start:stop] = draft[c, : stop - start]
                row[stop:until] = after[c, : until - stop]
                row[until:] = self.sides.beyond[c, : gap.samples - until]
