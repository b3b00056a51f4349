"""The task of filling gaps of streams with lookahead."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.errors import ConfigError
from plc_kernels.spectra.gap import EDGE_MS
from plc_training.data.segments import BridgePlan, Plan, Segments
from plc_training.networks.hybrid import HybridNet
from plc_training.tasks.base import Count, ModelCard, Sizes, TaskChoice, Whole, grid_hop
from plc_training.tasks.stream import (
    Places,
    StreamTask,
    StreamTaskSettings,
    check_past,
    judged_samples,
)


class BridgeSettings(StreamTaskSettings, frozen=True, kw_only=True):
    """Settings of the bridge task.

    Attributes
    ----------
    context_frames_after : int
        Frames entirely after the longest gap.
    channels, gru
        As for :class:`HybridNet`.
    """

    context_frames_after: Whole = 1
    channels: Sizes = (16, 24, 32, 40, 48)
    gru: Count = 96


class BridgeTask(StreamTask):
    """Batches of the network for bridges, one gap each."""

    kind = "bridge"
    plan_type: ClassVar[type[Plan]] = BridgePlan
    settings_type = BridgeSettings

    def __init__(
        self, plan: BridgePlan, settings: BridgeSettings, train: Segments, valid: Segments
    ) -> None:
        frames_out = plan.horizon // grid_hop(plan, settings) + 3
        frames = frames_out, settings.context_frames_after
        super().__init__(plan, settings, frames, train, valid)

    @classmethod
    def _check(cls, plan: Any, settings: Any, choice: TaskChoice) -> None:
        check_gaps(plan, settings)

    def model_fields(self, card: ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps."""
        horizon_ms = 1000.0 * self.plan.horizon / self.plan.sample_rate
        return self._stream_fields(card, "bridge", self.settings.context_frames_after, horizon_ms)

    def make_network(self) -> HybridNet:
        """Return the network with random weights."""
        settings = self.settings
        context = settings.context_frames, settings.context_frames_after
        drafts = len(self.plan.lines) - 1
        return HybridNet(drafts, self.grid.bins, context, settings.channels, settings.gru)

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random gaps, with a random offset of the loss's frames."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        lines, gaps = self._train.lines[chosen].astype(np.float32), self._train.gaps[chosen]
        offset = int(rng.integers(self._judge.hop))
        return self._tensors(lines, gaps, self._train.peaks[chosen], offset)

    def _missing(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.pad(batch["hole"], (self.plan.margin, self.plan.beyond))

    def _judged(self, gaps: NDArray[np.integer]) -> NDArray[np.integer]:
        return gaps

    def _ramp(self, place: Places, ends: NDArray[np.integer]) -> Places:
        nearest: Places = np.minimum(place + 0.5, ends - place - 0.5)
        ramp: Places = np.clip(nearest / (EDGE_MS * self.plan.sample_rate / 1000.0), 0.0, 1.0)
        return ramp

    def _leave(self, place: Places, ends: NDArray[np.integer]) -> Places:
        return (place < ends).astype(np.float64)


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
