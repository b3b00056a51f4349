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

from plc.networks.voice import Voice
from plc.predict.contour import ContourBridge
from plc.predict.history import History
from plc.predict.linear import Sides
from plc.runtime.line import EncoderCounters


class BridgeEncoder:
    """One model at work on the gaps of one stream.

    Parameters
    ----------
    voice : Voice
        A model of kind ``bridge``.
    channels, reach : int
        Of the stream; the longest bridge in samples.

    Attributes
    ----------
    sides : Sides
        For the bridge of linear prediction to write.
    """

    def __init__(self, voice: Voice, channels: int, reach: int) -> None:
        self.voice = voice
        after = voice.gap.samples - voice.gap.gap_start
        self.sides = Sides(*(np.zeros((channels, n), np.float32) for n in (reach, reach, after)))

    def ready(self, history: History, gap_samples: int) -> bool:
        """Tell whether it could be asked about such a gap; not whether it will be in time."""
        return self._serves(history, gap_samples) and self.voice.governor.level is not None

    def contour(self, history: History, gap_samples: int) -> ContourBridge | None:
        """Return what the bridge of such a gap is to follow, if it is one for this model."""
        return self.voice.contour_bridge if self._serves(history, gap_samples) else None

    def _serves(self, history: History, gap_samples: int) -> bool:
        """Tell whether such a gap is one for this model."""
        gap = self.voice.gap
        return gap_samples <= gap.horizon and history.filled >= gap.gap_start

    def improve(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        deadline_s: float,
        counters: EncoderCounters,
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
            On the line's clock.
        counters : EncoderCounters
            Where a gap is counted for which the network is switched off.
        """
        voice = self.voice
        gap = voice.gap
        n = out.shape[1]
        if not self._serves(history, n):
            return False
        if voice.governor.level is None:
            counters.encoder_off += 1
            voice.governor.note_off()
            return False
        gap.set_gap(n)
        self._draft(history, after, out)
        gap.analyse()
        ticket = voice.line.submit(gap.spectra, gap.lost)
        outcome = voice.line.collect(ticket, deadline_s, gap.filled)
        voice.governor.note(outcome)
        if outcome.usable:
            gap.synthesise(out)
        return outcome.usable

    def _draft(
        self, history: History, after: NDArray[np.float32], out: NDArray[np.float32]
    ) -> None:
        """Write what is known, and the drafts, into the lines of the gap."""
        gap = self.voice.gap
        start, stop = gap.gap_start, gap.gap_start + out.shape[1]
        until = min(stop + after.shape[1], gap.samples)
        drafts = (self.sides.forward, self.sides.backward, out)
        for c, lines in enumerate(gap.lines):
            history.newest(c, lines[0, :start])
            for line, draft in zip(lines, drafts, strict=True):
                line[:start] = lines[0, :start]
                line[start:stop] = draft[c, : stop - start]
                line[stop:until] = after[c, : until - stop]
                line[until:] = self.sides.beyond[c, : gap.samples - until]
