"""The task of continuing a stream of which only the past is known."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plc.limits import RECOVERY_MS
from plc_kernels.phase.windows import grid_window_samples
from plc_training.data.colour import coloured
from plc_training.data.segments import CausalPlan, Segments
from plc_training.networks.frames import FramesNet, FramesShape
from plc_training.tasks.base import StreamSettings, StreamTask

# The fill takes over from the draft within this time: no step at the edge of the gap.
EDGE_MS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalSettings(StreamSettings):
    """What the task is made of, beside its segments.

    Attributes
    ----------
    horizon_frames : int
        Hops that are filled.
    onset_ms : float
        Until here the draft is played: a network that is asked in the first packet's time may
        answer in the second's.
    recovery_ms : float
        Of the crossfade into what is received after the burst.
    width, draft_share, groups, bands, top_bin, adapters : int, float, int, int, bool, int
        As for :class:`FramesShape`.
    colour_db : float
        Depth of the random filters that segments are trained in; 0: none.
    """

    horizon_frames: int = 24
    onset_ms: float = 0.0
    recovery_ms: float = RECOVERY_MS
    width: int = 256
    draft_share: float = 0.0
    groups: int = 1
    bands: int = 1
    top_bin: bool = True
    adapters: int = 0
    colour_db: float = 0.0


class CausalTask(StreamTask):
    """Batches and network of the causal network."""

    def __init__(
        self, plan: CausalPlan, settings: CausalSettings, train: Segments, valid: Segments
    ) -> None:
        rate = plan.sample_rate
        hop = grid_window_samples(rate, settings.bin_hz) // 4
        # Synthesis needs three more frames at the end than it completes.
        frames_out = min(settings.horizon_frames + 3, plan.horizon // hop)
        super().__init__(plan, settings, frames_out, 0, train, valid)
        self.plan = plan
        self.settings = settings
        self._onset_samples = round(settings.onset_ms * rate / 1000.0)
        self._recovery = round(rate * settings.recovery_ms / 1000.0)

    def make_network(self) -> FramesNet:
        """Return the network, its weights drawn anew."""
        return FramesNet(
            FramesShape(
                drafts=len(self.plan.lines) - 1,
                bins=self.grid.bins,
                context_frames=self.settings.context_frames,
                width=self.settings.width,
                draft_share=self.settings.draft_share,
                groups=self.settings.groups,
                bands=self.settings.bands,
                top_bin=self.settings.top_bin,
                adapters=self.settings.adapters,
            )
        )

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return bursts drawn alike, some of them with another length, at a random place."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        gaps = self._train.gaps[chosen]
        # Long bursts are rare, and they are what the network is for.
        longer = rng.random(size) < 0.5
        gaps = np.where(longer, gaps * rng.integers(1, 5, size), gaps)
        lines = self._train.lines[chosen].astype(np.float32)
        if self.settings.colour_db:
            lines = coloured(lines, self.settings.colour_db, rng)
        return self._tensors(
            lines,
            np.maximum(self._judged(gaps), 2 * self._onset_samples),
            self._train.peaks[chosen],
            int(rng.integers(self._judge.hop)),
        )

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what the network is given: spectra of the drafts, and what of them is lost."""
        part = slice(self._first, self._first + self._samples)
        lines = batch["lines"]
        place = torch.arange(self.plan.samples, device=lines.device)[part]
        share = (place >= self.plan.margin).float()
        share = share.unfold(0, self.grid.samples, self.grid.hop).mean(dim=-1)
        return self.grid.analyse(lines[:, 1:, part]), share.expand(lines.shape[0], -1)

    def _judged(self, gaps: NDArray[np.integer]) -> NDArray[np.integer]:
        judged: NDArray[np.integer] = np.minimum(gaps, self._filled - self._recovery)
        return judged

    def _ramp(self, place: NDArray[np.floating], ends: NDArray[np.integer]) -> NDArray[np.floating]:
        edge = EDGE_MS * self.plan.sample_rate / 1000.0
        ramp: NDArray[np.floating] = np.clip((place - self._onset_samples + 0.5) / edge, 0.0, 1.0)
        return ramp[None]

    def _leave(
        self, place: NDArray[np.floating], ends: NDArray[np.integer]
    ) -> NDArray[np.floating]:
        return np.clip((ends + self._recovery - place - 0.5) / self._recovery, 0.0, 1.0)
