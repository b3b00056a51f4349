"""The causal task with perceptual scores of whole streams in its loss.

To the measures of each burst it adds PLCMOS and an outline of PESQ
(:mod:`plc_training.tasks.listeners`) of the pieces of
:class:`~plc_training.tasks.heard_plan.HeardPlan`, with the network's fills in the gaps.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plc.engine.models.catalogue import find
from plc.errors import ConfigError
from plc_bench.scores.speech import SPEECH_RATE, plcmos_path
from plc_kernels.signal.burst import LEAVE_MS
from plc_kernels.signal.fade import crossfade_ramp
from plc_training.data.segments import Segments
from plc_training.tasks.base import Amount, TaskChoice, beside, grid_hop
from plc_training.tasks.bridge import BridgeSettings, BridgeTask, check_gaps
from plc_training.tasks.causal import CausalSettings, CausalTask, check_bursts
from plc_training.tasks.heard_bridges import HeardBridgePlan
from plc_training.tasks.heard_plan import REST, TRUTH, HeardPlan
from plc_training.tasks.listeners import PesqOutline, Plcmos, drawn_raters, mapped
from plc_training.tasks.stream import StreamTask

_RATERS = 8
# Raters of the validation, always the same.
_VALID_RATERS = 15
_RATER_SEED = 0
# Bands of eight bins of 50 Hz; 50 dB below a piece's mean is the floor.
_BAND_FRAME = 320
_BAND_HOP = 80
_BINS_OF_A_BAND = 8
_BAND_FLOOR = 1e-5
_BIAS = 0.5
# Windows of the distance of roots, in samples; the hop is a quarter. Powers below this one, of
# full scale, count little: -80 dB.
_ROOT_WINDOWS = (2560, 1280, 640, 320, 160, 80)
_ROOT_FLOOR = 1e-8


class HeardSettings(CausalSettings, frozen=True, kw_only=True):
    """Settings of the heard task.

    Attributes
    ----------
    plcmos, pesq : float
        Weights of the scores; of PESQ the raw score.
    spectrum : float
        Weight of the mean distance of log power in bands of 400 Hz, plus half of the mean bias of
        each band (per dB): the scores ignore hiss above 7 kHz and missing bands.
    roots : float
        Weight of the relative distance of square roots of magnitudes in six resolutions, around
        each burst.
    """

    plcmos: Amount = 0.0
    pesq: Amount = 0.0
    spectrum: Amount = 0.0
    roots: Amount = 0.0


class HeardBridgeSettings(BridgeSettings, frozen=True, kw_only=True):
    """Settings of the heard task of bridges.

    Attributes
    ----------
    plcmos, pesq, spectrum, roots : float, as for :class:`HeardSettings`
    """

    plcmos: Amount = 0.0
    pesq: Amount = 0.0
    spectrum: Amount = 0.0
    roots: Amount = 0.0


class _Listening(StreamTask):
    """Common part of the heard tasks: pieces, scores and figures."""

    _pieces: HeardPlan | HeardBridgePlan
    _stays: Tensor
    """Share of the fill in each of its samples; the rest is the draft's."""
    _draft_share: float = 0.0

    def _listen(self, plan: HeardPlan | HeardBridgePlan) -> None:
        self._pieces = plan
        self._plcmos = Plcmos()
        self._pesq = PesqOutline()
        self._stays = torch.ones(self._filled)
        generator = torch.Generator().manual_seed(_RATER_SEED)
        self._valid_raters = drawn_raters(_VALID_RATERS, generator)

    @classmethod
    def require(cls) -> None:
        """Check for PLCMOS before the pieces are made."""
        plcmos_path()

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random pieces."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        return self._heard(self._train, chosen, int(rng.integers(self._judge.hop)))

    @classmethod
    def shape(cls, plan: HeardPlan | HeardBridgePlan) -> tuple[object, ...]:
        """Return the properties that both plans of a recipe share."""
        return (*super().shape(plan), plan.margin, plan.bursts.samples, plan.packet_samples)

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the network's inputs for all bursts of the pieces."""
        return super().inputs(_flat(batch))

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the causal loss of the played streams, minus the weighted scores.

        The scores are means over pieces, the other terms over bursts. So of devices that share a
        batch, one with fewer bursts gives each burst slightly more weight.
        """
        bursts = _flat(batch)
        fill = self._fill(output, bursts)
        draft = self._draft(bursts)
        # Outside training the output includes the draft's share.
        fill = torch.lerp(fill, draft, self._draft_share)
        streams = self._streams(fill, batch)
        better = self.settings.pesq * self._pesq_of(streams, batch).mean()
        if self.settings.plcmos:
            raters = drawn_raters(_RATERS)
            better = better + self.settings.plcmos * self._plcmos_of(streams, raters).mean()
        worse = self._weighed(self._distances(streams, batch))
        loss: Tensor = self._cost(fill, bursts) + worse - better
        return loss

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the scores and the other terms; first their weighted sum."""
        found: dict[str, list[float]] = {}
        for piece in range(self._valid.gaps.size):
            batch = beside(network, self._heard(self._valid, np.array([piece]), 0))
            bursts = _flat(batch)
            fill = self._fill(network(*self.inputs(batch)), bursts)
            streams = self._streams(fill, batch)
            plcmos = self._plcmos_of(streams, self._valid_raters)
            pesq = self._pesq_of(streams, batch)
            distances = self._distances(streams, batch)
            worse = self._cost(fill, bursts) + self._weighed(distances)
            better = self.settings.plcmos * plcmos + self.settings.pesq * pesq - worse
            terms = {"better": better, "plcmos": plcmos, "pesq_outline": mapped(pesq)}
            terms |= distances
            terms |= self._terms(self._composed(fill, bursts), bursts)
            for name, value in terms.items():
                found.setdefault(name, []).append(float(value.mean()))
        return {name: float(np.mean(values)) for name, values in found.items()}

    def _draft(self, bursts: dict[str, Tensor]) -> Tensor:
        return bursts["lines"][:, -1, self.plan.margin :][:, : self._filled]

    def _heard(self, pieces: Segments, chosen: np.ndarray, offset: int) -> dict[str, Tensor]:
        """Return pieces and their bursts, padded with zeros."""
        plan = self._pieces
        lines = pieces.at_their_level(chosen)
        drawn = [list(plan.drawn(piece, self._filled)) for piece in lines]
        shape = len(lines), max(map(len, drawn))
        bursts = np.zeros((*shape, len(self.plan.lines), self.plan.samples), np.float32)
        lengths = np.zeros(shape, np.int64)
        starts = np.zeros(shape, np.int64)
        share = np.zeros((*shape, self._filled), np.float32)
        for k, of_piece in enumerate(drawn):
            for b, burst in enumerate(of_piece):
                starts[k, b], lengths[k, b], bursts[k, b], share[k, b] = burst
        real = lengths > 0
        place = np.arange(self._filled, dtype=np.float64)
        ends = self._judged(lengths)[..., None]
        ramp = self._ramp(place, ends)
        return {
            "truth": torch.from_numpy(lines[:, TRUTH]),
            "rest": torch.from_numpy(lines[:, REST]),
            "lines": torch.from_numpy(bursts),
            "real": torch.from_numpy(real),
            "starts": torch.from_numpy(starts),
            "share": torch.from_numpy(share),
            "hole": torch.from_numpy((place < ends).astype(np.float32)),
            "ramp": torch.from_numpy(np.broadcast_to(ramp, share.shape).astype(np.float32)),
            "leave": torch.from_numpy(self._leave(place, ends).astype(np.float32)),
            "offset": torch.tensor(offset),
        }

    def _streams(self, fill: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the pieces with these fills, shape (pieces, samples)."""
        draft = self._draft(_flat(batch))
        heard = draft + self._stays.to(fill.device) * (fill - draft)
        heard = heard * batch["share"][batch["real"]]
        rest = batch["rest"]
        index = self._places(batch, 0, self._filled)
        return rest.flatten().index_add(0, index.flatten(), heard.flatten()).reshape(rest.shape)

    def _places(self, batch: dict[str, Tensor], first: int, last: int) -> Tensor:
        """Return sample indices relative to the bursts' starts.

        Shape (bursts, last - first); indices count through the concatenated pieces.
        """
        pieces, _ = torch.nonzero(batch["real"], as_tuple=True)
        begins = pieces * batch["rest"].shape[1] + batch["starts"][batch["real"]]
        return begins[:, None] + torch.arange(first, last, device=begins.device)

    def _plcmos_of(self, streams: Tensor, raters: Tensor) -> Tensor:
        self._plcmos.to(streams.device)
        found: Tensor = self._plcmos(streams.clamp(-1.0, 1.0), raters.to(streams.device))
        return found

    def _pesq_of(self, streams: Tensor, batch: dict[str, Tensor]) -> Tensor:
        self._pesq.to(streams.device)
        found: Tensor = self._pesq(batch["truth"], streams)
        return found

    def _distances(self, streams: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        distance, bias = self._band_distance(streams, batch)
        made = {"spectrum": distance, "spectrum_bias": bias}
        if self.settings.roots:
            made["roots"] = self._root_distance(streams, batch)
        return made

    def _weighed(self, distances: dict[str, Tensor]) -> Tensor:
        bands = distances["spectrum"] + _BIAS * distances["spectrum_bias"]
        total: Tensor = self.settings.spectrum * bands
        if "roots" in distances:
            total = total + self.settings.roots * distances["roots"]
        return total

    def _root_distance(self, streams: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean relative distance of square roots of magnitudes."""
        margin = self.plan.margin
        index = self._places(batch, -margin, self.plan.samples - margin)
        signals = torch.stack([x.flatten()[index] for x in (batch["truth"], streams)])
        found = []
        for size in _ROOT_WINDOWS:
            window = torch.hann_window(size, device=streams.device)
            spectra = torch.fft.rfft(signals.unfold(-1, size, size // 4) * window)
            floor = _ROOT_FLOOR * window.square().sum()
            roots = (spectra.real**2 + spectra.imag**2 + floor) ** 0.25
            found.append((roots[1] - roots[0]).abs().sum((1, 2)) / roots[0].sum((1, 2)))
        return torch.stack(found).mean()

    def _band_distance(self, streams: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return distance and mean bias of log power in bands, in dB."""
        edge = _BAND_FRAME // 2
        index = self._places(batch, -edge, self._filled + edge)
        window = torch.hann_window(_BAND_FRAME, device=streams.device)
        pieces, _ = torch.nonzero(batch["real"], as_tuple=True)
        floor = _BAND_FLOOR * window.square().sum() * batch["truth"].square().mean(1)[pieces]
        wanted, found = (
            self._bands(signals.flatten()[index], window) + floor[:, None, None]
            for signals in (batch["truth"], streams)
        )
        audible = (batch["share"][batch["real"]] > 0.0).float()
        touched = nn.functional.pad(audible, (edge, edge)).unfold(1, _BAND_FRAME, _BAND_HOP)
        weight = (touched.mean(-1) / touched.mean(-1).sum())[..., None]
        error = 10.0 * torch.log10(found / wanted) * weight
        return error.abs().sum((0, 1)).mean(), error.sum((0, 1)).abs().mean()

    @staticmethod
    def _bands(signals: Tensor, window: Tensor) -> Tensor:
        frames = signals.unfold(1, _BAND_FRAME, _BAND_HOP) * window
        spectra = torch.fft.rfft(frames)[..., 1:]
        power: Tensor = spectra.real**2 + spectra.imag**2
        return power.reshape(*power.shape[:-1], -1, _BINS_OF_A_BAND).mean(-1)


class HeardTask(_Listening, CausalTask):
    """Training of a stream's network for bursts on whole pieces, as they are heard."""

    kind = "heard"
    plan_type = HeardPlan
    settings_type = HeardSettings

    def __init__(
        self, plan: HeardPlan, settings: HeardSettings, train: Segments, valid: Segments
    ) -> None:
        CausalTask.__init__(self, plan.bursts, settings, train, valid)
        self._listen(plan)
        leave = crossfade_ramp(round(plan.sample_rate * LEAVE_MS / 1000.0))
        self._stays[-leave.size :] -= torch.from_numpy(leave)
        self._draft_share = settings.draft_share

    @classmethod
    def _check(cls, plan: Any, settings: Any, choice: TaskChoice) -> None:
        _check_pieces(plan, plan.horizon)
        if settings.colour_db:
            raise ConfigError(
                f"settings.colour_db is {settings.colour_db:g}; streams are heard as they are "
                "played: 0"
            )
        _check_model(plan, settings)
        check_bursts(plan.bursts, settings)


class HeardBridgeTask(_Listening, BridgeTask):
    """The heard task of gaps of streams with lookahead."""

    kind = "heard_bridge"
    plan_type = HeardBridgePlan
    settings_type = HeardBridgeSettings

    def __init__(
        self, plan: HeardBridgePlan, settings: HeardBridgeSettings, train: Segments, valid: Segments
    ) -> None:
        BridgeTask.__init__(self, plan.bursts, settings, train, valid)
        self._listen(plan)

    @classmethod
    def _check(cls, plan: Any, settings: Any, choice: TaskChoice) -> None:
        _check_pieces(plan, plan.bursts.samples)
        manifest = find(plan.model)
        horizon = manifest.horizon_samples(plan.sample_rate) if manifest.kind == "bridge" else 0
        if manifest.drafts != plan.bursts.lines[1:] or horizon != plan.bursts.horizon:
            raise ConfigError(
                f"data.model {plan.model} bridges {horizon} samples from the drafts "
                f"{', '.join(manifest.drafts)}; expected {plan.bursts.horizon}, from "
                f"{', '.join(plan.bursts.lines[1:])}"
            )
        check_gaps(plan.bursts, settings)


def _flat(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the bursts of all pieces in the causal task's form."""
    real = batch["real"]
    of_bursts = ("lines", "hole", "ramp", "leave")
    return {name: batch[name][real] for name in of_bursts} | {"offset": batch["offset"]}


def _check_pieces(plan: HeardPlan | HeardBridgePlan, beyond: int) -> None:
    """Refuse other rates and too short pieces."""
    if plan.sample_rate != SPEECH_RATE:
        raise ConfigError(f"data.sample_rate is {plan.sample_rate}; the judges hear {SPEECH_RATE}")
    if plan.samples <= plan.sample_rate + beyond:
        raise ConfigError(
            f"data.piece_s is {plan.piece_s:g}; expected more than 1 s and what follows a burst"
        )


def _check_model(plan: HeardPlan, settings: HeardSettings) -> None:
    """Refuse a model of other drafts, gaps or too many frames."""
    manifest = find(plan.model)
    hop = grid_hop(plan, settings)
    filled = settings.horizon_frames * hop
    played = manifest.horizon_samples(plan.sample_rate) if manifest.kind == "causal" else 0
    if manifest.drafts != plan.bursts.lines[1:] or filled != played:
        raise ConfigError(
            f"data.model {plan.model} fills {played} samples of a causal stream from the drafts "
            f"{', '.join(manifest.drafts)}; expected settings.horizon_frames of {hop} samples, "
            f"{filled}, from {', '.join(plan.bursts.lines[1:])}"
        )
    needed = (manifest.frames(plan.sample_rate) + 3) * hop
    if plan.margin + plan.horizon < needed or plan.horizon < filled + 4 * hop:
        raise ConfigError(
            f"data.margin and data.horizon are {plan.margin} and {plan.horizon} samples; the "
            f"model's frames need {needed} and at least {filled + 4 * hop} of them behind the gap"
        )
