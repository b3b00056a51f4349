"""Pieces of streams that wait for packets, for scores of whole clips.

As :mod:`plc_training.tasks.heard_plan`, of the networks that improve bridges. The engine's drafts
of each bridge are kept in lines of their own, in its place; what they have behind the gap, samples
that had arrived and a prediction, is the same in all of them and has one line::

    truth       |~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|
    forward     |_____|-- draft --|______________|   likewise backward and bridge
    behind      |_________________|~~ + draft ~~_|
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.spans import gaps_of
from plc.engine.stream.memory import StreamMemory
from plc_kernels.stream.bridge import BRIDGED_BY
from plc_kernels.stream.gap import LINES, START
from plc_kernels.stream.layout import BRIDGE, BRIDGE_NET
from plc_training.data.segments import BridgePlan, Samples
from plc_training.tasks import heard_plan

_DRAFTS = slice(4, 7)
_BEHIND = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardBridgePlan(heard_plan.PiecesPlan):
    """Plan of pieces of streams with lookahead.

    ``model`` is the package's for bridges along the pitch contour.

    Attributes
    ----------
    lookaheads : tuple of int
        Packets that are waited for, equally frequent.
    beyond
        As for :class:`~plc_training.data.segments.BridgePlan`.
    """

    lookaheads: tuple[int, ...]
    beyond: int

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of the lines of a piece."""
        return ("truth", "played", "rest", "judged", *self.bursts.lines[1:], "behind")

    @property
    def bursts(self) -> BridgePlan:
        """Plan of the drafts of a gap."""
        return BridgePlan(
            sample_rate=self.sample_rate,
            packet_ms=self.packet_ms,
            lookaheads=self.lookaheads,
            loss=self.losses[0],
            burst=self.burst[0],
            margin=self.margin,
            beyond=self.beyond,
            rung=self.rung,
            domains=self.domains,
        )

    def drawn(self, piece: Samples, horizon: int) -> Iterator[heard_plan.JudgedBurst]:
        """Yield a piece's gaps with scores; the network fills ``horizon`` samples at most."""
        bursts = self.bursts
        behind = bursts.samples - self.margin
        for start, stop in gaps_of(
            piece[heard_plan.JUDGED, :: self.packet_samples] > 0.0, self.packet_samples
        ):
            lines = np.empty((len(bursts.lines), bursts.samples), np.float32)
            lines[:, : self.margin] = piece[heard_plan.PLAYED, start - self.margin : start]
            lines[0, self.margin :] = piece[heard_plan.TRUTH, start : start + behind]
            gap = stop - start
            lines[1:, self.margin : self.margin + gap] = piece[_DRAFTS, start:stop]
            lines[1:, self.margin + gap :] = piece[_BEHIND, stop : start + behind]
            share = (np.arange(horizon) < gap).astype(np.float32)
            yield heard_plan.JudgedBurst(start, gap, lines, share)

    def _played(self, truth: Samples, lost: NDArray[np.bool_], rng: np.random.Generator) -> Samples:
        lines = np.zeros((len(self.lines), self.samples), np.float32)
        lines[heard_plan.TRUTH] = truth
        stream = {"sample_rate": self.sample_rate, "packet_samples": self.packet_samples}
        stream["lookahead"] = int(rng.choice(self.lookaheads))
        lines[heard_plan.PLAYED], bridges = _concealed(truth, lost, **stream)
        lines[heard_plan.REST] = lines[heard_plan.PLAYED]
        peak = float(np.abs(lines).max())
        behind = self.bursts.samples - self.margin
        for start, drafts, fill in bridges:
            gap = fill.size
            stop = start + gap
            left = lines[heard_plan.REST, start:stop] - fill
            inside = self.margin <= start <= self.samples - behind
            if inside and np.abs(left).max() <= heard_plan.LEFT * peak:
                lines[heard_plan.REST, start:stop] = left
                lines[heard_plan.JUDGED, start:stop] = peak
                lines[_DRAFTS, start:stop] = drafts[:, :gap]
                lines[_BEHIND, stop : start + drafts.shape[1]] = drafts[-1, gap:]
        return lines


def _concealed(
    x: Samples, lost: NDArray[np.bool_], **stream: int
) -> tuple[Samples, list[tuple[int, Samples, Samples]]]:
    """Return a concealed signal, and each improved bridge's start, drafts and samples."""
    found = []

    def look(begin: int, memory: StreamMemory) -> None:
        block = memory.block
        if block[BRIDGED_BY]:
            drafts = memory.array(BRIDGE_NET + LINES)[:, block[BRIDGE_NET + START] :]
            found.append((begin, drafts.copy(), memory.bridge[0, : block[BRIDGE]].copy()))
        block[BRIDGED_BY] = 0

    return heard_plan.heard(x, lost, look, **stream), found
