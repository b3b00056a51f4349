"""The task of filling gaps between two known sides.

The loss is the paper's measure [1]_: the magnitudes of the frames entirely in the gap (SNR_MS,
section 3.4), after synthesis and analysis, so that phases count where they change magnitudes. The
error of the samples has a small weight; for gaps shorter than a frame it is the only measure.

References
----------
.. [1] A. Marafioti et al., "A context encoder for audio inpainting", IEEE/ACM TASLP 27 (12), 2019.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.errors import ConfigError
from plc_bench.scores.metrics import SNR_MS_HOP, SNR_MS_RATE, SNR_MS_WINDOW
from plc_kernels.spectra.gap import EDGE_MS
from plc_training.data.colour import coloured
from plc_training.data.segments import DOMAINS, InpaintPlan, Segments
from plc_training.networks.hybrid import HybridNet
from plc_training.networks.spectral import Grid
from plc_training.tasks import base

# Share of the energy below which errors do not count: 40 dB.
_BEST = 1e-4


class InpaintSettings(base.Settings, frozen=True, kw_only=True):
    """Settings of the two-sided task.

    Attributes
    ----------
    bin_hz : float
        Spacing of the grid's bins.
    context_frames : int
        Frames entirely outside the gap, on either side.
    channels, gru
        As for :class:`HybridNet`.
    samples_share : float
        Weight of the samples' SNR; the magnitudes have the rest.
    domain_weights : dict
        Relative frequencies of domains in batches, by name; 0 for other domains.
    colour_db : float
        Depth of the random filters of the training segments; 0: none.
    """

    bin_hz: base.Positive = 31.25
    context_frames: base.Count = 8
    channels: base.Sizes = (32, 48, 64, 80, 96)
    gru: base.Count = 144
    samples_share: base.Share = 0.2
    domain_weights: base.Weights
    colour_db: base.Amount = 0.0


class InpaintTask(base.Task):
    """Batches, loss and figures of the two-sided task."""

    kind = "inpaint"
    plan_type = InpaintPlan
    settings_type = InpaintSettings

    def __init__(
        self, plan: InpaintPlan, settings: InpaintSettings, train: Segments, valid: Segments
    ) -> None:
        super().__init__(plan, settings, train, valid)
        self.grid = Grid(plan.sample_rate, settings.bin_hz)
        self.judge = Grid(SNR_MS_RATE, SNR_MS_RATE / SNR_MS_WINDOW)
        assert self.judge.hop == SNR_MS_HOP
        weights = np.array([settings.domain_weights.get(name, 0.0) for name in DOMAINS])
        counts = np.bincount(train.domains, minlength=len(DOMAINS))
        share = weights / np.maximum(counts, 1)
        self._cumulative = np.cumsum(share[train.domains])
        frames = -(-plan.longest // self.grid.hop) + 3
        self._first = plan.margin - (settings.context_frames + 3) * self.grid.hop
        count = frames + 2 * settings.context_frames
        self._samples = (count - 1) * self.grid.hop + self.grid.samples
        assert self._first >= 0
        assert self._first + self._samples <= plan.samples

    @classmethod
    def domains(cls, plan: InpaintPlan) -> tuple[str, ...]:
        """Return the domains that a plan makes segments of."""
        return tuple(name for name, wanted in plan.per_second.items() if wanted > 0.0)

    @classmethod
    def _check(cls, plan: InpaintPlan, settings: InpaintSettings, choice: base.TaskChoice) -> None:
        base.check_domains("settings.domain_weights", settings.domain_weights)
        hop = base.grid_hop(plan, settings)
        # Frames reach to a hop's multiple beyond the longest gap.
        needed = (settings.context_frames + 3) * hop + -plan.longest % hop
        base.check_margin(plan.margin, needed, "context_frames on either side")
        if not any(settings.domain_weights.get(name, 0.0) for name in cls.domains(plan)):
            raise ConfigError("settings.domain_weights gives no weight to any domain of data")

    def model_fields(self, card: base.ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps."""
        return base.grid_fields(self.plan, self.settings, card) | {
            "kind": "inpaint",
            "context_frames_after": self.settings.context_frames,
            "horizon_ms": 1000.0 * self.plan.longest / self.plan.sample_rate,
        }

    def make_network(self) -> HybridNet:
        """Return the network with random weights."""
        settings, drafts = self.settings, self._train.lines.shape[1] - 1
        context = settings.context_frames, settings.context_frames
        return HybridNet(drafts, self.grid.bins, context, settings.channels, settings.gru)

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return segments by domain weights; half of the longest gaps are reversed."""
        draws = rng.random(size) * self._cumulative[-1]
        chosen = np.searchsorted(self._cumulative, draws, side="right")
        lines = self._train.lines[chosen].astype(np.float32)
        gaps = self._train.gaps[chosen]
        reverse = (rng.random(size) < 0.5) & (gaps == self.plan.longest)
        # Forward and backward drafts change places.
        swapped = [0, 2, 1, *range(3, lines.shape[1])]
        lines[reverse] = lines[reverse][:, swapped, ::-1]
        if self.settings.colour_db:
            lines = self._coloured(lines, gaps, rng)
        return self._tensors(lines, gaps)

    def _coloured(
        self, lines: NDArray[np.float32], gaps: NDArray[np.integer], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return filtered segments, whose drafts share the known samples again."""
        lines = coloured(lines, self.settings.colour_db, rng)
        drafts = [k for k, name in enumerate(self.plan.lines) if name not in ("truth", "similar")]
        for segment, gap in zip(lines, gaps, strict=True):
            end = self.plan.margin + int(gap)
            segment[drafts, end:] = segment[0, end:]
        return lines

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the spectra of the drafts and each frame's lost share."""
        drafts = batch["lines"][:, 1:, self._first : self._first + self._samples]
        lost = batch["hole"][:, self._first : self._first + self._samples]
        share = lost.unfold(-1, self.grid.samples, self.grid.hop).mean(dim=-1)
        return self.grid.analyse(drafts), share

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the negative weighted mean of both SNRs in dB."""
        magnitudes, samples = self._scores(self._composed(output, batch), batch, _BEST)
        share = batch["whole"] * (1.0 - self.settings.samples_share)
        loss: Tensor = -(share * magnitudes + (1.0 - share) * samples).mean()
        return loss

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the gain over the draft, and SNR_MS by domain, in dB."""
        scores: dict[str, list[float]] = {}
        valid = self._valid

        for part in base.slices(valid.gaps.size, 64):
            lines = valid.lines[part].astype(np.float32)
            batch = base.beside(network, self._tensors(lines, valid.gaps[part]))
            output = network(*self.inputs(batch))
            ours, _ = self._scores(self._composed(output, batch), batch, 1e-9)
            draft, _ = self._scores(batch["lines"][:, -1], batch, 1e-9)
            for k in torch.nonzero(batch["whole"]).flatten().tolist():
                name = DOMAINS[int(valid.domains[part.start + k])]
                scores.setdefault(name, []).append(float(ours[k]))
                scores.setdefault(f"{name}_gain", []).append(float(ours[k] - draft[k]))
        means = {name: float(np.mean(values)) for name, values in scores.items()}
        gains = {k: v for k, v in means.items() if k.endswith("_gain")}
        weights = self.settings.domain_weights
        total = sum(weights.get(k.removesuffix("_gain"), 0.0) for k in gains)
        gain = sum(v * weights.get(k.removesuffix("_gain"), 0.0) for k, v in gains.items())
        return {"gain_db": gain / max(total, 1e-9), **dict(sorted(means.items()))}

    def _tensors(self, lines: NDArray[np.float32], gaps: NDArray[np.int32]) -> dict[str, Tensor]:
        place = np.arange(self.plan.samples) - self.plan.margin
        ends = gaps[:, None]
        hole = (place >= 0) & (place < ends)
        edge = EDGE_MS * self.plan.sample_rate / 1000.0
        ramp = np.minimum(place + 0.5, ends - place - 0.5) / edge
        whole = gaps >= SNR_MS_WINDOW
        return {
            "lines": torch.from_numpy(lines / np.float32(32768.0)),
            "hole": torch.from_numpy(hole.astype(np.float32)),
            "ramp": torch.from_numpy(np.clip(ramp, 0.0, 1.0).astype(np.float32)),
            "gaps": torch.from_numpy(gaps.astype(np.int64)),
            "whole": torch.from_numpy(whole.astype(np.float32)),
        }

    def _composed(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the segments with filled gaps, shape (batch, samples)."""
        made = self.grid.synthesise(output)[:, 3 * self.grid.hop :]
        draft = batch["lines"][:, -1]
        margins = self.plan.margin, draft.shape[1] - self.plan.margin
        fill = nn.functional.pad(made[:, : self.plan.longest], margins)[:, : draft.shape[1]]
        return draft + batch["ramp"] * (fill - draft)

    def _scores(
        self, composed: Tensor, batch: dict[str, Tensor], best: float
    ) -> tuple[Tensor, Tensor]:
        """Return SNR_MS and SNR of each segment in dB, shape (batch,)."""
        margin = self.plan.margin
        stop = margin + self.plan.longest
        truth = batch["lines"][:, 0]
        hole = batch["hole"][:, margin:stop]
        error = (((truth - composed)[:, margin:stop] * hole) ** 2).sum(1)
        energy = ((truth[:, margin:stop] * hole) ** 2).sum(1)
        samples = _snr_db(error, energy, best)
        last = self.plan.longest - SNR_MS_WINDOW
        frames = torch.arange(0, last + 1, SNR_MS_HOP, device=truth.device)
        inside = frames[None] + SNR_MS_WINDOW <= batch["gaps"][:, None]
        # Frames that leave the gap do not count.
        wanted = _magnitudes(self.judge.analyse(truth[:, margin:stop]))
        found = _magnitudes(self.judge.analyse(composed[:, margin:stop]))
        mask = inside[:, None].float()
        distance = (((wanted - found) * mask) ** 2).sum((1, 2))
        return _snr_db(distance, ((wanted * mask) ** 2).sum((1, 2)), best), samples


def _magnitudes(spectra: Tensor) -> Tensor:
    return torch.sqrt(spectra[:, 0] ** 2 + spectra[:, 1] ** 2 + 1e-12)


def _snr_db(error: Tensor, energy: Tensor, best: float) -> Tensor:
    energy = energy + 1e-9
    return -10.0 * torch.log10(error / energy + best)
