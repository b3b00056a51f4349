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

from plc.networks.drafts import BridgeDraft
from plc.networks.streams.served import ServedNetwork
from plc.predict.history import History
from plc.runtime.runner import NetworkCounters


class BridgeNetwork:
    """One model at work on the gaps of one stream.

    Parameters
    ----------
    served : ServedNetwork
        A model of kind ``bridge``.
    """

    def __init__(self, served: ServedNetwork[BridgeDraft]) -> None:
        self.served = served
        self.draft = served.draft

    def ready(self, history: History, gap_samples: int) -> bool:
        """Tell whether the network can be asked about such a gap."""
        return self.serves(history, gap_samples) and self.served.switch.on

    def serves(self, history: History, gap_samples: int) -> bool:
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
            The bridge that the draft built; changed where the network answers.
        deadline_s : float
            On the runner's clock.
        counters : NetworkCounters
            Where a gap is counted for which the network is switched off.
        """
        served = self.served
        gap = served.gap
        n = out.shape[1]
        if not self.serves(history, n):
            return False
        if not served.switch.on:
            counters.network_off += 1
            served.switch.note_off()
            return False
        gap.set_gap(n)
        served.draft.write(history, after, out, gap.rows)
        gap.analyse()
        ticket = served.runner.submit(gap.spectra, gap.lost)
        outcome = served.runner.collect(ticket, deadline_s, gap.filled)
        served.switch.note(outcome)
        if outcome.usable:
            out[:] = gap.synthesise()
        return outcome.usable
