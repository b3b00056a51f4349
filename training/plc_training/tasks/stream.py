"""Common part of the tasks of streams: loss and figures.

The fill is placed as in a stream: after the past, for the length of the burst, followed by the
received samples. The loss measures this signal in the frames that touch the burst, by the measures
of the benchmark (:mod:`plc_bench.scores.metrics`) in differentiable form: log-spectral distance,
relative error of mel spectra, and the error of the samples beyond that of the draft.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.files.distances import HOP_MS, SPECTRUM_FLOOR_DB, WINDOW_MS
from plc_bench.scores.metrics import mel_filters
from plc_kernels.spectra.windows import grid_window_samples
from plc_training.data.segments import PEAK, BridgePlan, CausalPlan, Segments
from plc_training.networks.spectral import Grid
from plc_training.tasks import base

Places = NDArray[np.floating]
"""A number at each place of a gap."""

# Windows of the log-mel distance, in ms; the hop is a quarter.
_MEL_WINDOWS_MS = (8.0, 16.0, 32.0)
# Floor: 70 dB below a segment's loudest band.
_MEL_FLOOR = 10 ** (-70 / 20)


class StreamTaskSettings(base.Settings, frozen=True, kw_only=True):
    """Common settings of the tasks of streams.

    Attributes
    ----------
    bin_hz : float
        Spacing of the grid's bins.
    context_frames : int
        Frames entirely before the gap.
    lsd, mel, log_mel, nmse, error, level : float
        Weights of the terms of the loss: log-spectral distance (per dB), relative error of mel
        spectra, mean distance of log-mel spectra at three windows (per 10 dB), NMSE beyond the
        draft's (per dB), all of the NMSE (per dB), and the squared mean error of the fill's level
        (per dB²).
    """

    bin_hz: base.Positive = 50.0
    context_frames: base.Count = 16
    lsd: base.Amount = 0.0
    mel: base.Amount = 0.0
    log_mel: base.Amount = 0.0
    nmse: base.Amount = 0.0
    error: base.Amount = 0.0
    level: base.Amount = 0.0


class StreamTask(base.Task):
    """Base class of the tasks of streams: inputs, loss and validation figures.

    Parameters
    ----------
    frames : (int, int)
        Frames of the network's output, and input frames after them.
    """

    def __init__(
        self,
        plan: CausalPlan | BridgePlan,
        settings: StreamTaskSettings,
        frames: tuple[int, int],
        train: Segments,
        valid: Segments,
    ) -> None:
        super().__init__(plan, settings, train, valid)
        rate = plan.sample_rate
        self.grid = Grid(rate, settings.bin_hz)
        self._judge = Grid(rate, 1000.0 / WINDOW_MS)
        assert self._judge.hop == round(rate * HOP_MS / 1000)
        self._mel_grids = [Grid(rate, 1000.0 / ms) for ms in _MEL_WINDOWS_MS]
        self._mels = [
            torch.tensor(mel_filters(grid.samples, rate), dtype=torch.float32)
            for grid in (self._judge, *self._mel_grids)
        ]
        self._first = plan.margin - (settings.context_frames + 3) * self.grid.hop
        count = settings.context_frames + sum(frames)
        self._samples = (count - 1) * self.grid.hop + self.grid.samples
        # The last three frames complete the overlap-add of those before.
        self._filled = (frames[0] - 3) * self.grid.hop
        assert self._first >= 0
        assert self._first + self._samples <= plan.samples
        assert self._judge.samples <= plan.margin

    @abstractmethod
    def _missing(self, batch: dict[str, Tensor]) -> Tensor:
        """Return where a line's samples are unknown, shape (batch or 1, samples)."""

    @abstractmethod
    def _judged(self, gaps: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the samples of each gap that the loss measures."""

    @abstractmethod
    def _ramp(self, place: Places, ends: NDArray[np.integer]) -> Places:
        """Return the network's share of the fill at places in the gap."""

    @abstractmethod
    def _leave(self, place: Places, ends: NDArray[np.integer]) -> Places:
        """Return the fill's share of the output at places in the gap."""

    def _stream_fields(
        self, card: base.ModelCard, kind: str, frames_after: int, horizon_ms: float
    ) -> dict[str, Any]:
        """Return a manifest's fields of kind, grid, drafts and gaps."""
        fields = {"kind": kind, "context_frames_after": frames_after, "horizon_ms": horizon_ms}
        return base.grid_fields(self.plan, self.settings, card) | fields

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the spectra of the drafts and each frame's lost share."""
        part = slice(self._first, self._first + self._samples)
        lines = batch["lines"][:, 1:, part]
        missing = self._missing(batch)[:, part]
        share = missing.unfold(-1, self.grid.samples, self.grid.hop).mean(dim=-1)
        return self.grid.analyse(lines), share.expand(lines.shape[0], -1)

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms that have a weight."""
        return self._cost(self._fill(output, batch), batch)

    def _cost(self, fill: Tensor, batch: dict[str, Tensor]) -> Tensor:
        weights = self.settings
        terms = self._terms(self._composed(fill, batch), batch)
        draft = self._composed(batch["lines"][:, -1, self.plan.margin :], batch)
        total = weights.lsd * terms["lsd"] + weights.mel * terms["mel"]
        total = total + weights.log_mel * terms["log_mel"] / 10.0
        total = total + weights.nmse * torch.relu(terms["nmse"] - self._nmse(draft, batch))
        total = total + weights.error * terms["nmse"]
        cost: Tensor = total.mean() + weights.level * terms["level"].mean() ** 2
        return cost

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the loss terms, and their reduction against the draft in percent."""
        ours: dict[str, list[float]] = {}
        drafts: dict[str, list[float]] = {}
        valid = self._valid

        for part in base.slices(valid.gaps.size, 64):
            lines, gaps = valid.lines[part].astype(np.float32), self._judged(valid.gaps[part])
            batch = base.beside(network, self._tensors(lines, gaps, valid.peaks[part], 0))
            fill = self._fill(network(*self.inputs(batch)), batch)
            for store, line in ((ours, fill), (drafts, batch["lines"][:, -1, self.plan.margin :])):
                for name, value in self._terms(self._composed(line, batch), batch).items():
                    store.setdefault(name, []).extend(value.tolist())
        means = {name: float(np.mean(values)) for name, values in ours.items()}
        before = {name: float(np.mean(values)) for name, values in drafts.items()}
        weighed = [k for k in ("lsd", "mel", "log_mel") if getattr(self.settings, k)]
        lower = [100.0 * (1.0 - means[k] / before[k]) for k in weighed]
        figures = {"gain_percent": sum(lower) / max(len(lower), 1.0), **means}
        return figures | {f"draft_{name}": value for name, value in before.items()}

    def _tensors(
        self,
        lines: NDArray[np.float32],
        gaps: NDArray[np.integer],
        peaks: NDArray[np.float32],
        offset: int,
    ) -> dict[str, Tensor]:
        # In units of full scale, as the log-spectral distance has an absolute floor.
        lines *= (peaks / PEAK)[:, None, None]
        place = np.arange(self._filled, dtype=np.float64)
        ends = np.asarray(gaps)[:, None]
        return {
            "lines": torch.from_numpy(lines),
            "hole": torch.from_numpy((place < ends).astype(np.float32)),
            "ramp": torch.from_numpy(self._ramp(place, ends).astype(np.float32)),
            "leave": torch.from_numpy(self._leave(place, ends).astype(np.float32)),
            "offset": torch.tensor(offset),
        }

    def _fill(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the network's fill, shape (batch, filled)."""
        made = self.grid.synthesise(output)[:, 3 * self.grid.hop :][:, : self._filled]
        draft = batch["lines"][:, -1, self.plan.margin :][:, : self._filled]
        return draft + batch["ramp"] * (made - draft)

    def _composed(self, fill: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the past, the filled burst, and the received samples after."""
        margin = self.plan.margin
        truth = batch["lines"][:, 0]
        future = truth[:, margin : margin + self._filled]
        heard = future + batch["leave"] * (fill[:, : self._filled] - future)
        return torch.cat([truth[:, :margin], heard, truth[:, margin + self._filled :]], dim=1)

    def _terms(self, composed: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each term for each segment, shape (batch,)."""
        margin = self.plan.margin
        truth = batch["lines"][:, 0]
        first = margin - self._judge.samples + 1 + int(batch["offset"])
        touched = nn.functional.pad(
            batch["hole"], (margin, composed.shape[1] - margin - self._filled)
        )
        signals = truth, composed, touched, first
        terms = {}
        wanted, found, mask = _spectra(self._judge, *signals)
        floor = self._judge.samples / 4 * 10 ** (SPECTRUM_FLOOR_DB / 20)
        distance = 20.0 * torch.log10(wanted.clamp(min=floor) / found.clamp(min=floor))
        rms = torch.sqrt((distance**2).mean(dim=1) + 1e-6)
        terms["lsd"] = (rms * mask).sum(1) / mask.sum(1)
        mel = self._mels[0].to(truth.device)
        mels, mels_found = mel @ wanted, mel @ found
        error = ((mels - mels_found) * mask[:, None]).flatten(1).norm(dim=1)
        terms["mel"] = error / ((mels * mask[:, None]).flatten(1).norm(dim=1) + 1e-6)
        grids = zip(self._mel_grids, self._mels[1:], strict=True)
        distances = [_log_mel_distance(grid, mel, signals) for grid, mel in grids]
        terms["log_mel"] = torch.stack(distances).mean(0)
        terms["nmse"] = self._nmse(composed, batch)
        energy, heard = (_energy(self._lost(signal, batch)) for signal in (truth, composed))
        terms["level"] = 10.0 * torch.log10(heard / energy)
        return terms

    def _nmse(self, composed: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the error over the lost samples in dB, shape (batch,)."""
        truth = self._lost(batch["lines"][:, 0], batch)
        error = ((truth - self._lost(composed, batch)) ** 2).sum(1)
        return 10.0 * torch.log10(error / _energy(truth) + 1e-3)

    def _lost(self, signal: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the lost samples, zeros after them, shape (batch, filled)."""
        margin: int = self.plan.margin
        return signal[:, margin : margin + self._filled] * batch["hole"]


def _spectra(
    grid: Grid, truth: Tensor, composed: Tensor, touched: Tensor, first: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return true and found magnitudes, and the mask of touching frames.

    Shapes (batch, bins, frames), twice, and (batch, frames).
    """
    wanted, found = (_magnitudes(grid.analyse(x[:, first:])) for x in (truth, composed))
    return wanted, found, touched[:, first:].unfold(-1, grid.samples, grid.hop).amax(dim=-1)


def _log_mel_distance(
    grid: Grid, mel: Tensor, signals: tuple[Tensor, Tensor, Tensor, int]
) -> Tensor:
    """Return the mean distance of log-mel spectra, in dB, shape (batch,)."""
    wanted, found, mask = _spectra(grid, *signals)
    mel = mel.to(wanted.device)
    wanted, found = mel @ wanted, mel @ found
    floor = _MEL_FLOOR * wanted.amax(dim=(1, 2), keepdim=True) + 1e-6
    distance = 20.0 * torch.abs(torch.log10((wanted + floor) / (found + floor))).mean(1)
    return (distance * mask).sum(1) / mask.sum(1)


def _energy(signals: Tensor) -> Tensor:
    return (signals**2).sum(1) + 1e-9


def _magnitudes(spectra: Tensor) -> Tensor:
    return torch.sqrt(spectra[:, 0] ** 2 + spectra[:, 1] ** 2 + 1e-14)


def check_past(plan: CausalPlan | BridgePlan, settings: StreamTaskSettings) -> None:
    """Check that the margin is sufficient for the context and the loss.

    Raises
    ------
    ConfigError
        If it is too short.
    """
    needed = max(
        (settings.context_frames + 3) * base.grid_hop(plan, settings),
        judged_samples(plan.sample_rate),
    )
    base.check_margin(plan.margin, needed, "context_frames and the loss")


def judged_samples(sample_rate: int) -> int:
    """Return the samples of a frame of the log-spectral distance."""
    return grid_window_samples(sample_rate, 1000.0 / WINDOW_MS)
