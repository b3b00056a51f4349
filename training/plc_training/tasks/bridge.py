"""The task of filling a stream's gap after which a packet or more has arrived already."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plc.networks.spectra import EDGE_MS
from plc_kernels.phase.windows import grid_window_samples
from plc_training.data.segments import BridgePlan, Segments
from plc_training.networks.hybrid import HybridNet, HybridShape
from plc_training.tasks.base import StreamSettings, StreamTask


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings(StreamSettings):
    """What the task is made of, beside its segments.

    Attributes
    ----------
    context_frames_after : int
        Frames wholly after the longest gap.
    channels, gru
        As for :class:`HybridShape`.
    """

    context_frames_after: int = 1
    channels: tuple[int, ...] = (16, 24, 32, 40, 48)
    gru: int = 96


class BridgeTask(StreamTask):
    """Batches and network of the network for streams with lookahead."""

    def __init__(
        self, plan: BridgePlan, settings: BridgeSettings, train: Segments, valid: Segments
    ) -> None:
        hop = grid_window_samples(plan.sample_rate, settings.bin_hz) // 4
        assert plan.horizon % hop == 0
        after = settings.context_frames_after
        super().__init__(plan, settings, plan.horizon // hop + 3, after, train, valid)
        self.plan = plan
        self.settings = settings

    def make_network(self) -> HybridNet:
        """Return the network, its weights drawn anew."""
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

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return gaps drawn alike, judged from a random place on."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        return self._tensors(
            self._train.lines[chosen].astype(np.float32),
            self._train.gaps[chosen],
            self._train.peaks[chosen],
            int(rng.integers(self._judge.hop)),
        )

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what the network is given: spectra of the drafts, and what of them is lost."""
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
