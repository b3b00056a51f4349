"""The task of strokes in speech: log-magnitude patches whose middle columns are lost.

Patches are those of the document (:mod:`plc.papers.stroke`): 64 bins by 64 columns (171 ms), of
which a centred stroke is lost, 12 columns for 32 ms. Its clips begin and end where it cuts silence.
Networks are those of :mod:`plc_training.papers.restorers`; ``settings.form`` names one of two
trainings:

``published``
    The document's: the network sees the patch with zeros, the mean level, in the stroke.
``interpolated``
    The network sees linear interpolation and which columns are lost, and corrects it.

The loss of both is the mean squared error in the stroke. With ``settings.critic_width`` two
players take turns, as in the document's Pix2Pix: a critic learns to tell fills from truth, and the
network to please it (least squares) and to be near the truth (the mean absolute error, times
``settings.near_weight``).

As there, truth has the label 0 and a fill 1, labels are softened to 0.15 and 0.85, and rarely both
are exchanged. The critic rests while it is right in a share of the places of its grid
(``settings.critic_rest``): in the batch at hand, where the document counts the last 20, so that a
step follows from its number alone.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.engine.models.manifest import Manifest
from plc.engine.runtime.providers import Signature
from plc.errors import ConfigError, ModelError
from plc.papers import stroke as paper
from plc_training.data.colour import coloured
from plc_training.data.segments import Pieces, Samples, ShiftedPlan
from plc_training.papers.blocks import PatchCritic, least_squares
from plc_training.papers.damaged import centred, interpolated
from plc_training.papers.restore import RestorerSettings, RestorerTask
from plc_training.papers.restorers import Restorer
from plc_training.tasks import base

COLUMN_MS = 1000.0 * paper.HOP_SAMPLES / paper.SAMPLE_RATE
"""From one column to the next."""
# Networks halve the columns of a patch four times.
_MULTIPLE = 16
# Columns with a smaller mean magnitude are cut off both ends of a clip.
_SILENCE = 25.0
# Of the second training, as published: softened labels; the share of exchanged ones, which falls
# with the epochs.
_SOFTNESS = 0.15
_EXCHANGED, _EXCHANGED_DECAY = 0.05, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class StrokePlan(ShiftedPlan):
    """Plan of stretches from which patches are drawn.

    Attributes
    ----------
    frames : int
        Columns of the longest patch.
    shift_ms : float
        By which a stretch is longer, too, than a patch, which may begin at any of its samples.
    """

    sample_rate: ClassVar[int] = paper.SAMPLE_RATE
    frames: int = paper.FRAMES
    shift_ms: float = paper.FRAMES * COLUMN_MS

    @property
    def samples(self) -> int:
        """Samples of a stretch."""
        return patch_samples(self.frames) + self.shift

    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        for stretch in self._stretches(spoken_part(x)):
            yield stretch, 0


class StrokeSettings(RestorerSettings, frozen=True, kw_only=True):
    """Settings of the task.

    Attributes
    ----------
    frames : int
        Columns of a patch that the network sees, in the middle of the plan's; 0: all.
    columns : tuple of int
        Lengths of a stroke in columns; one that stands twice is drawn twice as often. 12: 32 ms.
    critic_width : int
        Channels of the critic's first layer, 64 as published; 0: no critic.
    critic_rest : float
        Share of right answers at which the critic rests, 0.85 as published; 1: never.
    critic_pace : float
        Learning rate of the critic over that of the network.
    near_weight : float
        Weight of the mean absolute error, the critic's loss having 1; 10 as published.
    gain_db, colour_db : float
        Standard deviations of the gains of patches, and of filters that each patch goes through.
    """

    network: str = "unet-bilinear"
    width: base.Count = 64
    frames: base.Whole = 0
    columns: base.Sizes = (12,)
    critic_width: base.Whole = 0
    critic_rest: base.Share = 0.85
    critic_pace: base.Positive = 1.0
    near_weight: base.Amount = 10.0
    gain_db: base.Amount = 0.0
    colour_db: base.Amount = 0.0


class Pix2Pix(nn.Module):
    """A restorer and its critic; called, it restores.

    Parameters
    ----------
    critic : Module
        Gives figures of a patch beside the one that the generator was shown.
    """

    def __init__(self, generator: Restorer, critic: nn.Module) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic

    def forward(self, patch: Tensor, lost: Tensor) -> Tensor:
        """Return the restored patch, as :meth:`Restorer.forward`."""
        restored: Tensor = self.generator(patch, lost)
        return restored


class StrokeTask(RestorerTask):
    """Batches, loss and validation figures of strokes in speech."""

    kind = "stroke"
    plan_type = StrokePlan
    settings_type = StrokeSettings

    def patches_of(self, samples: Tensor) -> Tensor:
        """Return log-magnitudes."""
        return log_magnitudes(samples)

    @property
    def frames(self) -> int:
        """Columns of a patch that the network sees."""
        return int(self.settings.frames or self.plan.frames)

    @classmethod
    def _check(cls, plan: StrokePlan, settings: StrokeSettings, choice: base.TaskChoice) -> None:
        super()._check(plan, settings, choice)
        frames = settings.frames or plan.frames
        if frames % _MULTIPLE:
            where = "settings.frames" if settings.frames else "data.frames"
            raise ConfigError(f"{where} is {frames}; expected a multiple of {_MULTIPLE}")
        if frames > plan.frames:
            raise ConfigError(
                f"settings.frames is {frames}; data.frames, of which they are the middle, is "
                f"{plan.frames}: expected at most that"
            )
        if max(settings.columns) > frames - 2:
            raise ConfigError(
                f"settings.columns has {max(settings.columns)}; a patch of {frames} can lose "
                f"{frames - 2}: one column is known on either side"
            )

    def make_network(self) -> nn.Module:
        """Return the network with random weights, and its critic."""
        settings = self.settings
        network = Restorer(settings.network, settings.width, settings.form, logarithmic=True)
        if not settings.critic_width:
            return network
        return Pix2Pix(network, PatchCritic(2, settings.critic_width))

    def players(self) -> tuple[str, ...]:
        """Return the parts of the network that take turns."""
        return ("generator", "critic") if self.settings.critic_width else ("",)

    def turns(self, step: int) -> tuple[base.Turn, ...]:
        """Return the moves of a step: the critic's, then the network's; or the network's alone."""
        if not self.settings.critic_width:
            return super().turns(step)
        pace = self.settings.critic_pace
        critic = base.Turn("critic", partial(self._critic_loss, step), pace)
        return critic, base.Turn("generator", self._generator_loss)

    def exported(self, network: nn.Module) -> nn.Module:
        """Return the part of the network that becomes a model."""
        return network.generator if isinstance(network, Pix2Pix) else network

    def _critic_loss(self, step: int, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Return half the errors of the critic's figures; 0 where it is right often enough."""
        assert isinstance(network, Pix2Pix)
        epoch = step * len(batch["truth"]) / self._train.gaps.size
        rest = self.settings.critic_rest
        exchanged = _EXCHANGED * math.exp(-_EXCHANGED_DECAY * epoch)
        shown, lost = self.inputs(batch)
        with torch.no_grad():
            fills = network(shown, lost).float()
        real, fake = (
            network.critic(torch.cat([each, shown], dim=1)) for each in (batch["truth"], fills)
        )
        right = 0.5 * ((real < 0.5).float().mean() + (fake > 0.5).float().mean())
        soft = _SOFTNESS * batch["softness"]
        low, high = soft[:, 0], 1.0 - soft[:, 1]
        swap = batch["exchange"] < exchanged
        of_real = torch.where(swap, high, low)[:, None, None, None]
        of_fake = torch.where(swap, low, high)[:, None, None, None]
        errors = (real - of_real).square().mean() + (fake - of_fake).square().mean()
        loss: Tensor = 0.5 * errors * ((right < rest) | (rest == 1.0))
        return loss

    def _generator_loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        assert isinstance(network, Pix2Pix)
        shown, lost = self.inputs(batch)
        fills = network(shown, lost).float()
        pleased = least_squares(network.critic(torch.cat([fills, shown], dim=1)), 0.0)
        loss: Tensor = pleased + self.settings.near_weight * (fills - batch["truth"]).abs().mean()
        return loss

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random patches, filtered and amplified at random, and their lost columns."""
        settings = self.settings
        stretches = self._train.at_their_level(rng.integers(self._train.gaps.size, size=size))
        first = rng.integers(self.plan.shift + 1, size=size)
        length = patch_samples(self.frames)
        first += (patch_samples(self.plan.frames) - length) // 2
        lines = np.stack([x[:, i : i + length] for x, i in zip(stretches, first, strict=True)])
        if settings.colour_db:
            lines = coloured(lines, settings.colour_db, rng)
        gains = 10.0 ** (settings.gain_db * rng.standard_normal((size, 1)) / 20.0)
        columns = rng.choice(settings.columns, size=size)
        samples = (lines[:, 0] * gains).astype(np.float32)
        batch = self.batch_of(samples, centred(columns, self.frames))
        if settings.critic_width:
            batch["softness"] = torch.from_numpy(rng.random((size, 2), np.float32))
            batch["exchange"] = torch.from_numpy(rng.random(size, np.float32))
        return batch

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean squared error in the strokes."""
        return stroke_error(output, batch["truth"], batch["lost"]).mean()

    def seen(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the middle of the plan's patches, shape (batch, samples)."""
        length, whole = patch_samples(self.frames), patch_samples(self.plan.frames)
        first = (whole - length) // 2
        return samples[:, first : first + length]

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of the validation patches.

        Returns
        -------
        dict
            ``gain_db``: mean over the lengths of strokes of the error of linear interpolation over
            the network's; ``mse`` and ``linear_mse``: both errors for the first length;
            ``sharpness_db``: the :func:`squared_steps` of those fills over the truth's, in dB, at
            most 0. With a critic
            that comes first: errors are least where there is none.
        """
        lengths = list(dict.fromkeys(self.settings.columns))
        errors = np.zeros((len(lengths), 2))
        steps = np.zeros(2)
        count = self._valid.gaps.size
        for i, columns in enumerate(lengths):
            strokes = centred(np.full(count, columns), self.frames)
            for batch in self._valid_batches(network, strokes):
                truth, lost = batch["truth"], batch["lost"]
                answers = interpolated(truth, lost), network(*self.inputs(batch)).float()
                if not i:
                    pair = answers[1], truth
                    steps += [float(squared_steps(each, lost).sum()) for each in pair]
                for j, answer in enumerate(answers):
                    errors[i, j] += float(stroke_error(answer, truth, lost).double().sum())
        linear, ours = errors.T / count
        figures = {
            "gain_db": float(10.0 * np.log10(linear / ours).mean()),
            "mse": float(ours[0]),
            "linear_mse": float(linear[0]),
        }
        sharp = {"sharpness_db": min(0.0, float(10.0 * np.log10(steps[0] / steps[1])))}
        return sharp | figures if self.settings.critic_width else figures | sharp

    def model_fields(self, card: base.ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps.

        Raises
        ------
        ModelError
            If the engine has no use for patches of this length.
        """
        if self.frames != paper.FRAMES:
            raise ModelError(
                f"{card.name} sees patches of {self.frames} columns; the engine makes patches of "
                f"{paper.FRAMES}: train with settings.frames = {paper.FRAMES}"
            )
        rates, top_hz = card.sample_rates or paper.RATES, (paper.BINS - 1) * paper.BIN_HZ
        grid = paper.BIN_HZ, paper.HORIZON_MS, paper.LEAST_COLUMNS, top_hz
        return base.paper_fields(paper.KIND, rates, *grid, self._drafts())

    def signature(self, manifest: Manifest, inputs: tuple[Tensor, ...]) -> Signature:
        """Return names and shapes of the graph's inputs and output."""
        return paper.stroke_signature(inputs[0].shape[0])


def patch_samples(frames: int) -> int:
    """Return the samples that a patch of some columns is made of."""
    return (frames - 1) * paper.HOP_SAMPLES + paper.WINDOW_SAMPLES


def spoken_part(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a clip without the silence at its ends, shape (samples,); empty if it is all silence.

    Parameters
    ----------
    x : float32, shape (n,)
        At 24 kHz, full scale 1.0.
    """
    if x.size < paper.WINDOW_SAMPLES:
        return x[:0]
    patch = magnitudes(torch.from_numpy(np.ascontiguousarray(x))[None])
    loud = np.flatnonzero(patch[0, 0].mean(0).numpy() >= _SILENCE)
    if not loud.size:
        return x[:0]
    return x[loud[0] * paper.HOP_SAMPLES : loud[-1] * paper.HOP_SAMPLES + paper.WINDOW_SAMPLES]


def magnitudes(samples: Tensor) -> Tensor:
    """Return the magnitudes of 16-bit samples, shape (batch, 1, 64, frames).

    Parameters
    ----------
    samples : float32, shape (batch, samples)
        Full scale 1.0; rounded as 16-bit samples are.
    """
    window = torch.hann_window(paper.WINDOW_SAMPLES, periodic=True, device=samples.device)
    frames = (samples * paper.INT16).round().unfold(
        1, paper.WINDOW_SAMPLES, paper.HOP_SAMPLES
    ) * window
    spectra = torch.fft.rfft(frames)[..., : paper.BINS] / window.sum()
    patch: Tensor = spectra.abs().transpose(1, 2)[:, None]
    return patch


def log_magnitudes(samples: Tensor) -> Tensor:
    """Return normalised log-magnitudes, shape (batch, 1, 64, frames); arguments as magnitudes."""
    logarithms = magnitudes(samples).clamp_min(paper.LEAST_MAGNITUDE).log()
    return (logarithms - paper.LOG_MEAN) / paper.LOG_DEVIATION


def stroke_error(answer: Tensor, truth: Tensor, lost: Tensor) -> Tensor:
    """Return each patch's mean squared error in its lost columns."""
    errors = (answer - truth).square().mean((1, 2)) * lost
    return errors.sum(1) / lost.sum(1)


def squared_steps(patch: Tensor, lost: Tensor) -> Tensor:
    """Return how sharp strokes are: their squared steps between neighbours, shape (batch,).

    Means of what might have been are smoother than any of it.

    Parameters
    ----------
    patch : float32, shape (batch, 1, bins, frames), log-magnitudes
    lost : bool, shape (batch, frames)
        Columns of the stroke, without a gap.

    Returns
    -------
    float32, shape (batch,)
        Mean over pairs of neighbouring bins, and of neighbouring columns, in the stroke.
    """
    both = (lost[:, 1:] & lost[:, :-1]).float()
    over_bins = patch[:, 0].diff(dim=1).square().mean(1) * lost
    over_columns = patch[:, 0].diff(dim=2).square().mean(1) * both
    return over_bins.sum(1) / lost.sum(1) + over_columns.sum(1) / both.sum(1)
