"""The task of generated notes: a progressive GAN on any representation of sound [1]_.

Notes of one length, each with its pitch as label, are written as arrays
(:mod:`plc.papers.representations`); the generator learns to make such arrays from noise and a
pitch. Of the document's representations all are here. Channels are shifted and scaled to the range
of the training notes, -1 to 1; before that, what is quiet may be made alike
(:mod:`plc_training.papers.levels`). Losses are WGAN-GP and the auxiliary classifier's
cross-entropy, which counts ten times, of real notes for the critic and of made ones for the
generator.

What differs from the document's program: losses are means over the batch (it has sums, which at
the same learning rates are the same to Adam), critics have no drift term, and the bins of 0 Hz are
kept. Its own notes are NSynth's.

References
----------
.. [1] J. Nistal, S. Lattner, G. Richard, "Comparing representations for audio synthesis using
   generative adversarial networks", EUSIPCO, 2020, arXiv 2006.09266.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from plc.engine.models.manifest import Manifest
from plc.engine.runtime.providers import Signature
from plc.errors import ConfigError
from plc.papers.notes import KIND, notes_signature
from plc.papers.representations.base import Representation
from plc.papers.representations.mel import BANDS, Mel, cosine_rows
from plc.papers.representations.named import REPRESENTATIONS, representation
from plc.papers.representations.spectral import BIN_HZ
from plc_bench.scores.frechet import frechet_distance
from plc_training.data.segments import Pieces, Samples, SegmentPlan, Segments
from plc_training.papers.blocks import gradient_penalty
from plc_training.papers.levels import Levels, content_of
from plc_training.papers.progressive import GrowingCritic, GrowingGenerator
from plc_training.tasks import base

GENERATOR, CRITIC = "generator", "critic"
_FADE_FROM = 0.7
_LABEL_WEIGHT = 10.0  # of the classifier's terms in both losses, as published
_RANGE_NOTES = 256
_JUDGED_NOTES = 128
_JUDGED_CEPSTRA = 13
# Of log powers: what is more than 60 dB below the loudest counts as that.
_HEARD = math.log(1e6)
_SILENT = 1e-3
_LEAST_DISTANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class NotesPlan(SegmentPlan):
    """Beginnings of single notes, whose pitch is known.

    Attributes
    ----------
    samples : int
        Of a note; shorter ones are followed by silence. The last 30 % fade out.
    """

    domains: tuple[str, ...] = ("instruments",)
    sample_rate: int = 16_000
    samples: int = 8192
    single_notes: ClassVar[bool] = True

    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        if not np.abs(x[: self.samples]).max(initial=0.0) > _SILENT:
            return
        note = np.zeros((1, self.samples), np.float32)
        held = x[: self.samples]
        note[0, : held.size] = held
        start = round(_FADE_FROM * self.samples)
        note[0, start:] *= np.linspace(1.0, 0.0, self.samples - start, dtype=np.float32)
        yield note, 0


class NotesSettings(base.Settings, frozen=True, kw_only=True):
    """Settings of the task.

    Attributes
    ----------
    representation : str
        Of :data:`plc.papers.representations.named.REPRESENTATIONS`.
    widths : tuple of int
        Channels of each scale, from the smallest on; their number is that of the scales.
    lowest, highest : int
        MIDI pitches; notes below and above are left out.
    scale_steps : int
        Steps of each scale but the last; in the first half of them it fades in.
    label_gain : float
        A pitch's 1 beside the noise, which has ``latent`` normal numbers. At 1 the noise is
        ``latent`` times as strong, and a generator long plays the same at every pitch.
    quiet_db : float
        How far below the loudest coefficient silence begins; 0: arrays stay as they are.
    generator_pace : float
        Learning rate of the generator, in that of the critic.
    """

    representation: str
    widths: base.Sizes = (32, 32, 16, 16, 8)
    latent: base.Count = 32
    lowest: base.Count = 44
    highest: base.Count = 70
    scale_steps: base.Count = 200
    label_gain: base.Amount = 1.0
    quiet_db: base.Amount = 0.0
    generator_pace: base.Amount = 1.0


class NotesNetwork(nn.Module):
    """A generator, its critic, and the range of the arrays."""

    def __init__(self, kind: Representation, settings: NotesSettings) -> None:
        super().__init__()
        labels = settings.highest - settings.lowest + 1
        self.generator = GrowingGenerator(
            kind.shape, settings.widths, settings.latent, labels, settings.label_gain
        )
        self.critic = GrowingCritic(kind.shape, settings.widths, labels)
        self.levels = Levels(kind.channels, settings.quiet_db)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """Return arrays within the range of the training notes.

        Parameters
        ----------
        noise : float32, shape (batch, latent), normal
        label : number, shape (batch,)
            From 0 on; in a model's graph all inputs are float32.

        Returns
        -------
        float32, shape (batch, channels, rows, frames)
        """
        made: Tensor = self.levels(self.generator(noise, label.long()))
        return made


class NotesTask(base.SessionTask):
    """Batches, losses and validation figures of generated notes.

    Attributes
    ----------
    sample_rate : int
        Of the notes, in Hz.
    representation : Representation
        Of the arrays that are generated.
    """

    kind = KIND
    ports = base.Ports(("noise", "label"), "array", {"noise": {0: "batch"}, "label": {0: "batch"}})
    plan_type = NotesPlan
    settings_type = NotesSettings

    def __init__(
        self, plan: NotesPlan, settings: NotesSettings, train: Segments, valid: Segments
    ) -> None:
        super().__init__(plan, settings, train, valid)
        self.sample_rate = plan.sample_rate
        self.lowest, self.highest = settings.lowest, settings.highest
        self.representation = representation(
            settings.representation, plan.sample_rate, plan.samples
        )
        self._train = _Notes(train, self.representation, settings)
        self._valid = _Notes(valid, self.representation, settings)
        for notes, split in ((self._train, "train"), (self._valid, "valid")):
            if not notes.count:
                raise ConfigError(
                    f"no note of the split {split} has a pitch from {settings.lowest} to "
                    f"{settings.highest}; pitches stand in the column midi of notes.csv"
                )

    @classmethod
    def _check(cls, plan: NotesPlan, settings: NotesSettings, choice: base.TaskChoice) -> None:
        base.check_choice("settings.representation", settings.representation, REPRESENTATIONS)
        if plan.speeds != (1.0,):
            raise ConfigError(f"data.speeds is {plan.speeds}; notes are labelled at speed 1 alone")
        kind = representation(settings.representation, plan.sample_rate, plan.samples)
        if settings.quiet_db and content_of(kind.channels) is None:
            raise ConfigError(
                f"settings.quiet_db is {settings.quiet_db:g}; {settings.representation} has no "
                "magnitudes: expected 0"
            )
        if settings.lowest > settings.highest:
            raise ConfigError(
                f"settings.lowest is {settings.lowest}; expected at most the highest, "
                f"{settings.highest}"
            )

    def make_network(self) -> NotesNetwork:
        """Return networks with random weights, and the range of the notes."""
        network = NotesNetwork(self.representation, self.settings)
        notes = np.linspace(0, self._train.count - 1, min(_RANGE_NOTES, self._train.count))
        network.levels.fit(self._train.arrays(np.rint(notes).astype(np.int64)))
        return network

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random notes with their labels, noise, and where gradients count."""
        chosen = rng.integers(self._train.count, size=size)
        noise = rng.standard_normal((size, self.settings.latent))
        return {
            "arrays": self._train.arrays(chosen),
            "label": self._train.labels(chosen),
            "noise": torch.from_numpy(noise.astype(np.float32)),
            "mix": torch.from_numpy(rng.random(size).astype(np.float32)),
        }

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return noise and labels, both float32."""
        return batch["noise"], batch["label"].float()

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Refuse: the players have a loss each.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("generated notes have no loss of their own; the turns have")

    def players(self) -> tuple[str, ...]:
        """Return the generator, whose mean validates, and the critic."""
        return GENERATOR, CRITIC

    def turns(self, step: int) -> tuple[base.Turn, ...]:
        """Return a move of the critic and one of the generator."""
        scale, alpha = self.growth(step)
        critic, generator = (
            partial(loss, scale=scale, alpha=alpha)
            for loss in (self._critic_loss, self._generator_loss)
        )
        pace = self.settings.generator_pace
        return base.Turn(CRITIC, critic), base.Turn(GENERATOR, generator, pace)

    def growth(self, step: int) -> tuple[int, float]:
        """Return a step's scale, and the share of the one before.

        The share falls from 1 to 0.
        """
        settings = self.settings
        scale = min(step // settings.scale_steps, len(settings.widths) - 1)
        since = step - scale * settings.scale_steps
        alpha = max(0.0, 1.0 - 2.0 * since / settings.scale_steps) if scale else 0.0
        return scale, alpha

    def _real(
        self, network: nn.Module, batch: dict[str, Tensor], scale: int, alpha: float
    ) -> Tensor:
        """Return notes at a scale, blended as the generator's are."""
        assert isinstance(network, NotesNetwork)
        sizes = network.generator.sizes
        whole = network.levels.scaled(batch["arrays"])
        real = functional.interpolate(whole, sizes[scale])
        if alpha and scale:
            coarse = functional.interpolate(whole, sizes[scale - 1])
            real = torch.lerp(real, functional.interpolate(coarse, sizes[scale]), alpha)
        return real

    def _critic_loss(
        self, network: nn.Module, batch: dict[str, Tensor], scale: int, alpha: float
    ) -> Tensor:
        assert isinstance(network, NotesNetwork)
        real = self._real(network, batch, scale, alpha)
        with torch.no_grad():
            fake = network.generator(batch["noise"], batch["label"], scale, alpha)
        score, guess = network.critic(real, scale, alpha)
        loss: Tensor = network.critic(fake, scale, alpha)[0].mean() - score.mean()
        loss = loss + gradient_penalty(
            lambda x: network.critic(x, scale, alpha)[0], real, fake, batch["mix"]
        )
        wrong = functional.cross_entropy(guess, batch["label"])
        loss = loss + _LABEL_WEIGHT * wrong
        return loss

    def _generator_loss(
        self, network: nn.Module, batch: dict[str, Tensor], scale: int, alpha: float
    ) -> Tensor:
        assert isinstance(network, NotesNetwork)
        fake = network.generator(batch["noise"], batch["label"], scale, alpha)
        score, guess = network.critic(fake, scale, alpha)
        wrong = functional.cross_entropy(guess, batch["label"])
        loss: Tensor = _LABEL_WEIGHT * wrong - score.mean()
        return loss

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return how far made notes are from other instruments' notes.

        Both have the same pitches; arrays become sound first, so that figures of different
        representations compare. A scale that has not yet grown makes noise.

        Returns
        -------
        dict
            ``nearness_db``: minus the level of the Fréchet distance of cepstra, means and
            deviations over a note, of what is at most 60 dB below its loudest band; ``level_db``:
            how much louder made notes are.
        """
        chosen = np.arange(self._valid.count)[:_JUDGED_NOTES]
        labels = self._valid.labels(chosen)
        rng = np.random.default_rng(0)
        noise = rng.standard_normal((chosen.size, self.settings.latent)).astype(np.float32)
        inputs = base.beside(network, {"noise": torch.from_numpy(noise), "label": labels.float()})
        made = network(*inputs.values()).cpu().numpy()
        sounds = np.stack([self.representation.inverse(array) for array in made])
        real = self._valid.sounds(chosen)
        distance = frechet_distance(_cepstra(self.plan, real), _cepstra(self.plan, sounds))
        power = np.square(sounds).mean() / np.square(real).mean()
        nearness_db = -10.0 * math.log10(distance + _LEAST_DISTANCE)
        return {"nearness_db": nearness_db, "level_db": 10.0 * math.log10(power + 1e-12)}

    def model_fields(self, card: base.ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid and length."""
        note_ms = 1000.0 * self.plan.samples / self.sample_rate
        return base.paper_fields(KIND, (self.sample_rate, self.sample_rate), BIN_HZ, note_ms)

    def exported(self, network: nn.Module) -> nn.Module:
        """Return the network without its critic."""
        assert isinstance(network, NotesNetwork)
        del network.critic
        return network

    def signature(self, manifest: Manifest, inputs: tuple[Tensor, ...]) -> Signature:
        """Return names and shapes of the graph's inputs and output."""
        return notes_signature(len(inputs[0]), inputs[0].shape[1], self.representation.shape)


class _Notes:
    """Segments with a known pitch in range."""

    def __init__(self, segments: Segments, kind: Representation, settings: NotesSettings) -> None:
        pitches = segments.pitches.astype(np.int64)
        inside = (pitches >= settings.lowest) & (pitches <= settings.highest)
        self._segments, self._kind = segments, kind
        self._chosen = np.flatnonzero(inside)
        self._labels = pitches[self._chosen] - settings.lowest
        self._arrays: dict[int, NDArray[np.float32]] = {}
        self.count = self._chosen.size

    def sounds(self, numbers: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return notes: float32, shape (notes, samples), of peak 1."""
        notes = self._segments.at_their_level(self._chosen[numbers])[:, 0]
        scaled: NDArray[np.float32] = notes / np.abs(notes).max(axis=1, keepdims=True)
        return scaled

    def arrays(self, numbers: NDArray[np.integer]) -> Tensor:
        """Return the arrays of notes, each made once."""
        for number in {int(each) for each in numbers} - self._arrays.keys():
            (sound,) = self.sounds(np.array([number]))
            self._arrays[number] = self._kind.forward(sound)
        return torch.from_numpy(np.stack([self._arrays[int(number)] for number in numbers]))

    def labels(self, numbers: NDArray[np.integer]) -> Tensor:
        """Return labels, from 0 on."""
        return torch.from_numpy(self._labels[numbers])


def _cepstra(plan: NotesPlan, sounds: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a vector of each sound: means and deviations of its cepstra over time."""
    kind = Mel(plan.sample_rate, plan.samples)
    powers = np.stack([kind.log_power(sound) for sound in sounds])
    powers = np.maximum(powers, powers.max(axis=(1, 2), keepdims=True) - _HEARD)
    cepstra = cosine_rows(_JUDGED_CEPSTRA, BANDS) @ powers
    return np.concatenate([cepstra.mean(axis=2), cepstra.std(axis=2)], axis=1)
