"""The task of continuing a stream of which only the past is known.

The fill is put where it would be heard: after the past, for as long as the burst lasted, with the
received samples after it. What is judged is that signal, in the frames that touch the burst, by the
measures that the benchmark reports (:mod:`plc_bench.metrics`) in a form that has gradients: the
log-spectral distance, the relative error of mel spectra, and the error of the samples as far as it
exceeds that of the draft.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.burst import RECOVERY_MS
from plc.quality import HOP_MS, SPECTRUM_FLOOR_DB, WINDOW_MS
from plc_bench.metrics import mel_filters
from plc_training.networks.frames import FramesNet, FramesShape
from plc_training.segments import CausalPlan, Segments
from plc_training.spectral import Grid

# The fill takes over from the draft within this time: no step at the edge of the gap.
EDGE_MS = 1.0
# Windows of the log-mel distance, in ms; the hop is a quarter.
_MEL_WINDOWS_MS = (8.0, 16.0, 32.0)
# What lies 70 dB below a segment's loudest band does not count.
_MEL_FLOOR = 10 ** (-70 / 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalSettings:
    """What the task is made of, beside its segments.

    Attributes
    ----------
    bin_hz : float
        Of the grid.
    context_frames : int
        Frames wholly before the gap.
    horizon_frames : int
        Hops that are filled.
    onset_ms : float
        Until here the draft is played: a network that is asked in the first packet's time may
        answer in the second's.
    recovery_ms : float
        Of the crossfade into what is received after the burst.
    width, draft_share : int, float
        As for :class:`FramesShape`.
    lsd, mel, log_mel, nmse, level : float
        Weights of the terms of the loss: log-spectral distance (per dB), relative error of mel
        spectra, mean distance of log-mel spectra at three windows (per 10 dB), NMSE beyond the
        draft's (per dB), and the squared mean error of the fill's level (per dB²).
    """

    bin_hz: float = 50.0
    context_frames: int = 16
    horizon_frames: int = 24
    onset_ms: float = 0.0
    recovery_ms: float = RECOVERY_MS
    width: int = 256
    draft_share: float = 0.0
    lsd: float = 0.0
    mel: float = 0.0
    log_mel: float = 0.0
    nmse: float = 0.0
    level: float = 0.0


class CausalTask:
    """Batches, loss and validation figures of the causal encoder."""

    def __init__(
        self, plan: CausalPlan, settings: CausalSettings, train: Segments, valid: Segments
    ) -> None:
        self.plan = plan
        self.settings = settings
        rate = plan.sample_rate
        self.grid = Grid(rate, settings.bin_hz)
        self._judge = Grid(rate, 1000.0 / WINDOW_MS)
        assert self._judge.hop == round(rate * HOP_MS / 1000)
        self._mel_grids = [Grid(rate, 1000.0 / ms) for ms in _MEL_WINDOWS_MS]
        self._mels = [
            torch.tensor(mel_filters(grid.samples, rate), dtype=torch.float32)
            for grid in (self._judge, *self._mel_grids)
        ]
        self._train = train
        self._valid = valid
        self._first = plan.margin - (settings.context_frames + 3) * self.grid.hop
        # Synthesis needs three more frames at the end than it completes.
        horizon = plan.horizon // self.grid.hop
        self._frames_out = min(settings.horizon_frames + 3, horizon)
        count = settings.context_frames + self._frames_out
        self._samples = (count - 1) * self.grid.hop + self.grid.samples
        self._filled = self._frames_out * self.grid.hop - 3 * self.grid.hop
        self._onset_samples = round(settings.onset_ms * rate / 1000.0)
        place = torch.arange(self._filled) - self._onset_samples
        self._onset = ((place + 0.5) / (EDGE_MS * rate / 1000.0)).clamp(0.0, 1.0)
        self._recovery = round(rate * settings.recovery_ms / 1000.0)
        assert self._first >= 0
        assert self._first + self._samples <= plan.samples
        assert self._judge.samples <= plan.margin

    def make_network(self) -> FramesNet:
        """Return the network, its weights drawn anew."""
        return FramesNet(
            FramesShape(
                drafts=len(self.plan.lines) - 1,
                bins=self.grid.bins,
                context_frames=self.settings.context_frames,
                width=self.settings.width,
                draft_share=self.settings.draft_share,
            )
        )

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return bursts drawn alike, some of them with another length, at a random place."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        gaps = self._train.gaps[chosen]
        # Long bursts are rare, and they are what the network is for.
        longer = rng.random(size) < 0.5
        gaps = np.where(longer, gaps * rng.integers(1, 5, size), gaps)
        return self._tensors(
            self._train.lines[chosen].astype(np.float32),
            np.clip(gaps, 2 * self._onset_samples, self._filled - self._recovery),
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

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms that have a weight."""
        weights = self.settings
        terms = self._terms(self._composed(self._fill(output, batch), batch), batch)
        draft = self._terms(self._composed(batch["lines"][:, -1, self.plan.margin :], batch), batch)
        total = weights.lsd * terms["lsd"] + weights.mel * terms["mel"]
        total = total + weights.log_mel * terms["log_mel"] / 10.0
        total = total + weights.nmse * torch.relu(terms["nmse"] - draft["nmse"])
        return total.mean() + weights.level * terms["level"].mean() ** 2

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return by how many percent the loss's terms are lower than the draft's, weighted."""
        device = next(network.parameters()).device
        ours: dict[str, list[float]] = {}
        drafts: dict[str, list[float]] = {}
        for begin in range(0, self._valid.gaps.size, 64):
            part = slice(begin, begin + 64)
            tensors = self._tensors(
                self._valid.lines[part].astype(np.float32),
                np.minimum(self._valid.gaps[part], self._filled - self._recovery),
                self._valid.peaks[part],
                0,
            )
            batch = {name: value.to(device) for name, value in tensors.items()}
            fill = self._fill(network(*self.inputs(batch)), batch)
            for store, made in ((ours, fill), (drafts, batch["lines"][:, -1, self.plan.margin :])):
                for name, value in self._terms(self._composed(made, batch), batch).items():
                    store.setdefault(name, []).extend(value.tolist())
        means = {name: float(np.mean(values)) for name, values in ours.items()}
        before = {name: float(np.mean(values)) for name, values in drafts.items()}
        weights = {"lsd": self.settings.lsd, "mel": self.settings.mel}
        weights["log_mel"] = self.settings.log_mel
        lower = {k: 100.0 * (1.0 - means[k] / before[k]) for k in weights}
        total = max(sum(1.0 for w in weights.values() if w), 1.0)
        gain = sum(lower[k] for k, w in weights.items() if w) / total
        figures = {"gain_percent": gain, **means}
        return figures | {f"draft_{name}": value for name, value in before.items()}

    def _tensors(
        self,
        lines: NDArray[np.float32],
        gaps: NDArray[np.integer],
        peaks: NDArray[np.float32],
        offset: int,
    ) -> dict[str, Tensor]:
        # In units of full scale again, as the log-spectral distance has an absolute floor.
        lines *= (peaks / 30_000.0)[:, None, None]
        place = np.arange(self._filled)
        ends = np.asarray(gaps)[:, None]
        leave = np.clip((ends + self._recovery - place - 0.5) / self._recovery, 0.0, 1.0)
        return {
            "lines": torch.from_numpy(lines),
            "hole": torch.from_numpy((place < ends).astype(np.float32)),
            "leave": torch.from_numpy(leave.astype(np.float32)),
            "offset": torch.tensor(offset),
        }

    def _fill(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return what the network makes of the gap, shape (batch, filled)."""
        made = self.grid.synthesise(output)[:, 3 * self.grid.hop :][:, : self._filled]
        draft = batch["lines"][:, -1, self.plan.margin :][:, : self._filled]
        return draft + self._onset.to(made.device) * (made - draft)

    def _composed(self, fill: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the past, the burst filled, and the received samples after it."""
        margin = self.plan.margin
        truth = batch["lines"][:, 0]
        future = truth[:, margin : margin + self._filled]
        heard = future + batch["leave"] * (fill[:, : self._filled] - future)
        return torch.cat([truth[:, :margin], heard, truth[:, margin + self._filled :]], dim=1)

    def _terms(self, composed: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each term for each segment, shape (batch,)."""
        margin = self.plan.margin
        truth = batch["lines"][:, 0]
        hole = batch["hole"]
        first = margin - self._judge.samples + 1 + int(batch["offset"])
        touched = nn.functional.pad(hole, (margin, composed.shape[1] - margin - self._filled))
        terms = {}
        wanted, found, mask = self._spectra(self._judge, truth, composed, touched, first)
        floor = self._judge.samples / 4 * 10 ** (SPECTRUM_FLOOR_DB / 20)
        distance = 20.0 * torch.log10(wanted.clamp(min=floor) / found.clamp(min=floor))
        rms = torch.sqrt((distance**2).mean(dim=1) + 1e-6)
        terms["lsd"] = (rms * mask).sum(1) / mask.sum(1)
        mel = self._mels[0].to(truth.device)
        mels, mels_found = mel @ wanted, mel @ found
        error = ((mels - mels_found) * mask[:, None]).flatten(1).norm(dim=1)
        terms["mel"] = error / ((mels * mask[:, None]).flatten(1).norm(dim=1) + 1e-6)
        terms["log_mel"] = torch.stack(
            [
                self._log_mel_distance(grid, mel, truth, composed, touched, first)
                for grid, mel in zip(self._mel_grids, self._mels[1:], strict=True)
            ]
        ).mean(0)
        future = truth[:, margin : margin + self._filled] * hole
        heard = composed[:, margin : margin + self._filled] * hole
        energy = (future**2).sum(1) + 1e-9
        terms["nmse"] = 10.0 * torch.log10(((future - heard) ** 2).sum(1) / energy + 1e-3)
        terms["level"] = 10.0 * torch.log10(((heard**2).sum(1) + 1e-9) / energy)
        return terms

    def _spectra(
        self, grid: Grid, truth: Tensor, composed: Tensor, touched: Tensor, first: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return magnitudes, shape (batch, bins, frames), and which frames touch the burst."""
        wanted = _magnitudes(grid.analyse(truth[:, first:]))
        found = _magnitudes(grid.analyse(composed[:, first:]))
        mask = touched[:, first:].unfold(-1, grid.samples, grid.hop).amax(dim=-1)
        return wanted, found, mask

    def _log_mel_distance(
        self,
        grid: Grid,
        mel: Tensor,
        truth: Tensor,
        composed: Tensor,
        touched: Tensor,
        first: int,
    ) -> Tensor:
        """Return the mean distance of log-mel spectra, in dB, shape (batch,)."""
        wanted, found, mask = self._spectra(grid, truth, composed, touched, first)
        mel = mel.to(truth.device)
        wanted, found = mel @ wanted, mel @ found
        floor = _MEL_FLOOR * wanted.amax(dim=(1, 2), keepdim=True) + 1e-6
        distance = 20.0 * torch.abs(torch.log10((wanted + floor) / (found + floor))).mean(1)
        return (distance * mask).sum(1) / mask.sum(1)


def _magnitudes(spectra: Tensor) -> Tensor:
    return torch.sqrt(spectra[:, 0] ** 2 + spectra[:, 1] ** 2 + 1e-14)
