"""The task of continuing a stream from its past."""

from typing import Any, ClassVar

import msgspec
import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from torch import Tensor

from plc.errors import ConfigError
from plc_kernels.stream.layout import RECOVERY_MS
from plc_training.data.colour import coloured
from plc_training.data.segments import CausalPlan, Plan, Segments
from plc_training.networks.frames import FramesNet, FramesShape
from plc_training.tasks.base import Amount, Count, ModelCard, Share, TaskChoice, Whole, grid_hop
from plc_training.tasks.stream import Places, StreamTask, StreamTaskSettings, check_past

# Crossfade from the draft to the fill, so that the gap has no step at its edge.
EDGE_MS = 1.0


class CausalSettings(StreamTaskSettings, frozen=True, kw_only=True):
    """Settings of the causal task.

    Attributes
    ----------
    horizon_frames : int, filled hops
    onset_ms : float
        Length of the draft before the fill, for a network that answers a packet later.
    width, draft_share, groups, bands, top_bin : int, float, int, int, bool
        As for :class:`FramesShape`.
    early_adapters, early_frames : int, as for :class:`FramesShape`
    colour_db : float
        Depth of the random filters of the training segments; 0: none.
    """

    horizon_frames: Count = 24
    onset_ms: Amount = 0.0
    width: Count = 256
    draft_share: Share = 0.0
    groups: Count = 1
    bands: Count = 1
    top_bin: bool = True
    early_adapters: Whole = 0
    early_frames: Whole = 0
    colour_db: Amount = 0.0


class CausalTask(StreamTask):
    """Batches of the causal network, one burst each."""

    kind = "causal"
    plan_type: ClassVar[type[Plan]] = CausalPlan
    settings_type = CausalSettings
    takes_horizon = True

    def __init__(
        self, plan: CausalPlan, settings: CausalSettings, train: Segments, valid: Segments
    ) -> None:
        # Synthesis needs three more frames at the end than it completes.
        frames_out = min(settings.horizon_frames + 3, plan.horizon // grid_hop(plan, settings))
        super().__init__(plan, settings, (frames_out, 0), train, valid)
        self._onset_samples = round(settings.onset_ms * plan.sample_rate / 1000.0)
        self._recovery = round(plan.sample_rate * RECOVERY_MS / 1000.0)

    @classmethod
    def _check(cls, plan: Any, settings: Any, choice: TaskChoice) -> None:
        check_bursts(plan, settings)

    def make_network(self) -> FramesNet:
        """Return the network with random weights."""
        sizes = {"drafts": len(self.plan.lines) - 1, "bins": self.grid.bins}
        return FramesNet(msgspec.convert(structs.asdict(self.settings) | sizes, FramesShape))

    def model_fields(self, card: ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps."""
        longest_ms = 1000.0 * self._filled / self.plan.sample_rate
        horizon_ms = min(card.horizon_ms or longest_ms, longest_ms)
        return self._stream_fields(card, "causal", 0, horizon_ms)

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random bursts, half of them longer than the losses."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        gaps = self._train.gaps[chosen]
        # Long bursts are rare in traces, and matter most.
        longer = rng.random(size) < 0.5
        gaps = np.where(longer, gaps * rng.integers(1, 5, size), gaps)
        lines = self._train.lines[chosen].astype(np.float32)
        if self.settings.colour_db:
            lines = coloured(lines, self.settings.colour_db, rng)
        judged = np.maximum(self._judged(gaps), 2 * self._onset_samples)
        offset = int(rng.integers(self._judge.hop))
        return self._tensors(lines, judged, self._train.peaks[chosen], offset)

    def _missing(self, batch: dict[str, Tensor]) -> Tensor:
        place = torch.arange(self.plan.samples, device=batch["lines"].device)
        missing: Tensor = (place >= self.plan.margin).float()[None]
        return missing

    def _judged(self, gaps: NDArray[np.integer]) -> NDArray[np.integer]:
        judged: NDArray[np.integer] = np.minimum(gaps, self._filled - self._recovery)
        return judged

    def _ramp(self, place: Places, ends: NDArray[np.integer]) -> Places:
        edge = EDGE_MS * self.plan.sample_rate / 1000.0
        ramp: Places = np.clip((place - self._onset_samples + 0.5) / edge, 0.0, 1.0)
        return ramp[None]

    def _leave(self, place: Places, ends: NDArray[np.integer]) -> Places:
        return np.clip((ends + self._recovery - place - 0.5) / self._recovery, 0.0, 1.0)


def check_bursts(plan: CausalPlan, settings: CausalSettings) -> None:
    """Check a network of bursts against the lines of its plan.

    Raises
    ------
    ConfigError
        If they do not fit.
    """
    if settings.width % settings.groups:
        raise ConfigError(
            f"settings.groups is {settings.groups}; expected a divisor of width, {settings.width}"
        )
    if bool(settings.early_adapters) != bool(settings.early_frames):
        raise ConfigError(
            f"settings.early_frames is {settings.early_frames} and early_adapters "
            f"{settings.early_adapters}; expected both or none"
        )
    check_past(plan, settings)
    needed = 4 * grid_hop(plan, settings)
    # Three hops at the end complete the hops before them.
    if plan.horizon < needed:
        raise ConfigError(f"data.horizon is {plan.horizon} samples; expected at least {needed}")
