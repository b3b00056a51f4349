"""The task of filling gaps of streams with lookahead."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plc.engine.networks.gap_spectra import EDGE_MS
from plc.errors import ConfigError
from plc_training.data.segments import BridgePlan, Segments
from plc_training.networks.hybrid import HybridNet, HybridShape
from plc_training.tasks.base import (
    Count,
    ModelCard,
    Sizes,
    TaskChoice,
    Whole,
    grid_fields,
    grid_hop,
)
from plc_training.tasks.stream import StreamTask, StreamTaskSettings, check_past, judged_samples


class BridgeSettings(StreamTaskSettings, frozen=True, kw_only=True):
    """Settings of the bridge task.

    Attributes
    ----------
    context_frames_after : int
        Frames entirely after the longest gap.
    channels, gru
        As for :class:`HybridShape`.
    """

    context_frames_after: Whole = 1
    channels: Sizes = (16, 24, 32, 40, 48)
    gru: Count = 96


class GapsTask(StreamTask):
    """Common part of the tasks of bridges: network, inputs and fills."""

    def __init__(
        self, plan: BridgePlan, settings: BridgeSettings, train: Segments, valid: Segments
    ) -> None:
        hop = grid_hop(plan, settings)
        assert plan.horizon % hop == 0
        after = settings.context_frames_after
        super().__init__(plan, settings, plan.horizon // hop + 3, after, train, valid)
        self.plan = plan
        self.settings = settings

    def model_fields(self, card: ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps."""
        return grid_fields(self.plan, self.settings, card) | {
            "kind": "bridge",
            "context_frames_after": self.settings.context_frames_after,
            "horizon_ms": 1000.0 * self.plan.horizon / self.plan.sample_rate,
        }

    def make_network(self) -> HybridNet:
        """Return the network with random weights."""
        return HybridNet(
            HybridShape(
                drafts=len(self.plan.lines) - 1,
                bins=self.grid.bins,
                context_frames=self.settings.context_frames,
                context_frames_after=self.settings.context_frames_after,
                channels=self.settings.channels,
                gru=self.settings.gru,
            )
        )

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the spectra of the drafts and each frame's lost share."""
        part = slice(self._first, self._first + self._samples)
        margins = (self.plan.margin, self.plan.beyond)
        lost = torch.nn.functional.pad(batch["hole"], margins)[:, part]
        share = lost.unfold(-1, self.grid.samples, self.grid.hop).mean(dim=-1)
        return self.grid.analyse(batch["lines"][:, 1:, part]), share

    def _judged(self, gaps: NDArray[np.integer]) -> NDArray[np.integer]:
        return gaps

    def _ramp(self, place: NDArray[np.floating], ends: NDArray[np.integer]) -> NDArray[np.floating]:
        edge = EDGE_MS * self.plan.sample_rate / 1000.0
        nearest: NDArray[np.floating] = np.minimum(place + 0.5, ends - place - 0.5)
        ramp: NDArray[np.floating] = np.clip(nearest / edge, 0.0, 1.0)
        return ramp

    def _leave(
        self, place: NDArray[np.floating], ends: NDArray[np.integer]
    ) -> NDArray[np.floating]:
        return (place < ends).astype(np.float64)


class BridgeTask(GapsTask):
    """Batches of the network for bridges, one gap each."""

    kind = "bridge"
    plan_type = BridgePlan
    settings_type = BridgeSettings
    above_zero = ("sample_rate", "packet_ms", "lookaheads", "burst", "margin", "beyond", "rung")

    @classmethod
    def _check(cls, plan: BridgePlan, settings: BridgeSettings, choice: TaskChoice) -> None:
        check_gaps(plan, settings)

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random gaps, with a random offset of the loss's frames."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        return self._tensors(
            self._train.lines[chosen].astype(np.float32),
            self._train.gaps[chosen],
            self._train.peaks[chosen],
            int(rng.integers(self._judge.hop)),
        )


def check_gaps(plan: BridgePlan, settings: BridgeSettings) -> None:
    """Check a network for bridges against the lines of its plan.

    Raises
    ------
    ConfigError
        If they do not fit.
    """
    check_past(plan, settings)
    hop = grid_hop(plan, settings)
    if plan.horizon % hop:
        raise ConfigError(
            f"data.lookaheads of {plan.packet_ms:g} ms make a gap of {plan.horizon} samples; "
            f"expected a multiple of the grid's hop, {hop}"
        )
    # The network's frames after the longest gap, the loss's frames, and a received packet.
    seen = (3 + settings.context_frames_after) * hop
    needed = max(seen, judged_samples(plan.sample_rate), plan.packet_samples)
    if plan.beyond < needed:
        raise ConfigError(f"data.beyond is {plan.beyond} samples; expected at least {needed}")
