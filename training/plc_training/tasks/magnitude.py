"""The task of strokes in speech: log-magnitude patches whose middle columns are lost.

Patches are those of the document (:mod:`plc.networks.stroke`): 64 bins by 64 columns (171 ms), of
which a centred stroke is lost, 12 columns for 32 ms. Its clips begin and end where it cuts silence.
Networks are those of :mod:`plc_training.networks.restorers`; ``settings.form`` names one of two
trainings:

``published``
    The document's: the network sees the patch with zeros, the mean level, in the stroke.
``interpolated``
    The network sees linear interpolation and which columns are lost, and corrects it.

The loss of both is the mean squared error in the stroke.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.errors import ConfigError, ModelError
from plc.models.manifest import Manifest
from plc.networks.stroke import (
    BIN_HZ,
    BINS,
    FRAMES,
    HOP_SAMPLES,
    HORIZON_MS,
    INT16,
    KIND,
    LEAST_COLUMNS,
    LEAST_MAGNITUDE,
    LINEAR,
    LOG_DEVIATION,
    LOG_MEAN,
    RATES,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    stroke_signature,
)
from plc.runtime.bound import BoundSession
from plc.runtime.providers import Signature
from plc_training.data.colour import coloured
from plc_training.data.segments import Segments
from plc_training.networks.restorers import RESTORERS, Form, Restorer
from plc_training.tasks.base import (
    Amount,
    Count,
    ModelCard,
    Ports,
    Settings,
    Sizes,
    Task,
    TaskChoice,
)
from plc_training.tasks.damage import WIDTH_MIN
from plc_training.tasks.damaged import centred, damaged, interpolated

COLUMN_MS = 1000.0 * HOP_SAMPLES / SAMPLE_RATE
"""From one column to the next."""
# Networks halve the columns of a patch four times.
_MULTIPLE = 16
# Columns with a smaller mean magnitude are cut off both ends of a clip.
_SILENCE = 25.0
_VALIDATION_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class MagnitudePlan:
    """Plan of stretches of which patches are drawn.

    Attributes
    ----------
    domains : tuple of str
        Domains to use.
    frames : int
        Columns of a patch.
    shift_ms : float
        From one stretch to the next; a stretch is so much longer than a patch, which may begin at
        any of its samples.
    seed : int
        Without effect, except for the names in the cache: strokes are drawn with each batch.
    speeds : tuple of float
        At which each clip is heard, as a tape is played.
    """

    domains: tuple[str, ...]
    frames: int = FRAMES
    shift_ms: float = FRAMES * COLUMN_MS
    seed: int = 0
    speeds: tuple[float, ...] = (1.0,)

    @property
    def sample_rate(self) -> int:
        """Rate of the patches, in Hz."""
        return SAMPLE_RATE

    @property
    def shift(self) -> int:
        """Samples from one stretch to the next."""
        return round(self.shift_ms * SAMPLE_RATE / 1000.0)

    @property
    def samples(self) -> int:
        """Samples of a stretch."""
        return patch_samples(self.frames) + self.shift

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of the lines of a segment."""
        return ("truth",)

    def cut(
        self, x: NDArray[np.float32], domain: str, rng: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Yield a clip's segments, shape (1, samples), and samples of their gap: none."""
        if domain not in self.domains:
            return
        kept = spoken_part(x)
        for start in range(0, kept.size - self.samples + 1, self.shift):
            yield kept[None, start : start + self.samples], 0


class MagnitudeSettings(Settings, frozen=True, kw_only=True):
    """Settings of the task.

    Attributes
    ----------
    network : str
        Of :data:`plc_training.networks.restorers.RESTORERS`.
    width : int
        Channels of its first level; 64 as published.
    form : str
        ``"published"`` or ``"interpolated"``.
    columns : tuple of int
        Lost columns of a stroke, drawn alike; repeat one to have more of it. 12 are 32 ms.
    gain_db, colour_db : float
        Standard deviations of the gains of patches, and of filters that each patch goes through.
    """

    network: str = "unet-bilinear"
    width: Count = 64
    form: Form = "published"
    columns: Sizes = (12,)
    gain_db: Amount = 0.0
    colour_db: Amount = 0.0


class MagnitudeTask(Task):
    """Batches, loss and validation figures of strokes in speech."""

    kind = "magnitude"
    plan_type = MagnitudePlan
    settings_type = MagnitudeSettings
    above_zero = ("shift_ms", "frames")
    ports = Ports(("patch", "lost"), "restored", {"patch": {0: "batch"}, "lost": {0: "batch"}})

    def __init__(
        self, plan: MagnitudePlan, settings: MagnitudeSettings, train: Segments, valid: Segments
    ) -> None:
        self._plan, self._settings = plan, settings
        self._train, self._valid = train, valid

    @classmethod
    def check(
        cls,
        plan: MagnitudePlan,
        settings: MagnitudeSettings,
        choice: TaskChoice,
        card: ModelCard,
    ) -> None:
        """Check one plan of a recipe against its settings.

        Raises
        ------
        ConfigError
            If they cannot be trained.
        """
        super().check(plan, settings, choice, card)
        if settings.network not in RESTORERS:
            raise ConfigError(
                f"settings.network is {settings.network!r}; expected {' or '.join(RESTORERS)}"
            )
        if settings.width < WIDTH_MIN:
            raise ConfigError(f"settings.width is {settings.width}; expected at least {WIDTH_MIN}")
        if plan.frames % _MULTIPLE:
            raise ConfigError(f"data.frames is {plan.frames}; expected a multiple of {_MULTIPLE}")
        if max(settings.columns) > plan.frames - 2:
            raise ConfigError(
                f"settings.columns has {max(settings.columns)}; a patch of {plan.frames} can lose "
                f"{plan.frames - 2}: one column is known on either side"
            )

    def make_network(self) -> Restorer:
        """Return the network with random weights."""
        settings = self._settings
        return Restorer(settings.network, settings.width, settings.form, logarithmic=True)

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random patches, filtered and amplified at random, and their lost columns."""
        settings = self._settings
        stretches = self._train.at_their_level(rng.integers(self._train.gaps.size, size=size))
        first = rng.integers(self._plan.shift + 1, size=size)
        length = patch_samples(self._plan.frames)
        lines = np.stack([x[:, i : i + length] for x, i in zip(stretches, first, strict=True)])
        if settings.colour_db:
            lines = coloured(lines, settings.colour_db, rng)
        gains = 10.0 ** (settings.gain_db * rng.standard_normal((size, 1)) / 20.0)
        columns = rng.choice(settings.columns, size=size)
        samples = (lines[:, 0] * gains).astype(np.float32)
        return batch_of(samples, centred(columns, self._plan.frames))

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the damaged or interpolated patches, and the lost columns."""
        begin = interpolated if self._settings.form == "interpolated" else damaged
        return begin(batch["truth"], batch["lost"]), batch["lost"].float()

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean squared error in the strokes."""
        return stroke_error(output, batch["truth"], batch["lost"]).mean()

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of the validation patches.

        Returns
        -------
        dict
            ``gain_db``: mean over the lengths of strokes of the error of linear interpolation over
            the network's; ``mse`` and ``linear_mse``: both errors for the first length.
        """
        device = next(network.parameters()).device
        lengths = list(dict.fromkeys(self._settings.columns))
        errors = np.zeros((len(lengths), 2))
        count = self._valid.gaps.size
        for i, columns in enumerate(lengths):
            for begin in range(0, count, _VALIDATION_BATCH):
                stretches = self._valid.at_their_level(slice(begin, begin + _VALIDATION_BATCH))
                samples = stretches[:, 0, : patch_samples(self._plan.frames)]
                lost = centred(np.full(len(samples), columns), self._plan.frames)
                batch = batch_of(samples, lost)
                batch = {name: value.to(device) for name, value in batch.items()}
                answers = (
                    interpolated(batch["truth"], batch["lost"]),
                    network(*self.inputs(batch)).float(),
                )
                for j, answer in enumerate(answers):
                    errors[i, j] += float(
                        stroke_error(answer, batch["truth"], batch["lost"]).double().sum()
                    )
        linear, ours = errors.T / count
        return {
            "gain_db": float(10.0 * np.log10(linear / ours).mean()),
            "mse": float(ours[0]),
            "linear_mse": float(linear[0]),
        }

    def model_fields(self, card: ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps.

        Raises
        ------
        ModelError
            If the engine has no use for patches of this length.
        """
        if self._plan.frames != FRAMES:
            raise ModelError(
                f"{card.name} sees patches of {self._plan.frames} columns; the engine makes "
                f"patches of {FRAMES}: train with data.frames = {FRAMES}"
            )
        return {
            "sample_rates": card.sample_rates or RATES,
            "drafts": (LINEAR,) if self._settings.form == "interpolated" else (),
            "kind": KIND,
            "bin_hz": BIN_HZ,
            "top_hz": (BINS - 1) * BIN_HZ,
            "context_frames": LEAST_COLUMNS,
            "context_frames_after": LEAST_COLUMNS,
            "horizon_ms": HORIZON_MS,
        }

    def signature(self, manifest: Manifest, inputs: tuple[Tensor, ...]) -> Signature:
        """Return names and shapes of the graph's inputs and output."""
        return stroke_signature(inputs[0].shape[0])

    def engine_run(
        self, manifest: Manifest, session: BoundSession, inputs: tuple[Tensor, ...]
    ) -> Callable[[], object]:
        """Return a call that runs the session, as the engine does."""
        return session.run


def patch_samples(frames: int) -> int:
    """Return the samples that a patch of some columns is made of."""
    return (frames - 1) * HOP_SAMPLES + WINDOW_SAMPLES


def spoken_part(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a clip without the silence at its ends, shape (samples,); empty if it is all silence.

    Parameters
    ----------
    x : float32, shape (n,)
        At 24 kHz, full scale 1.0.
    """
    if x.size < WINDOW_SAMPLES:
        return x[:0]
    patch = magnitudes(torch.from_numpy(np.ascontiguousarray(x))[None])
    loud = np.flatnonzero(patch[0, 0].mean(0).numpy() >= _SILENCE)
    if not loud.size:
        return x[:0]
    return x[loud[0] * HOP_SAMPLES : loud[-1] * HOP_SAMPLES + WINDOW_SAMPLES]


def magnitudes(samples: Tensor) -> Tensor:
    """Return the magnitudes of 16-bit samples, shape (batch, 1, 64, frames).

    Parameters
    ----------
    samples : float32, shape (batch, samples)
        Full scale 1.0; rounded as 16-bit samples are.
    """
    window = torch.hann_window(WINDOW_SAMPLES, periodic=True, device=samples.device)
    frames = (samples * INT16).round().unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * window
    spectra = torch.fft.rfft(frames)[..., :BINS] / window.sum()
    return spectra.abs().transpose(1, 2)[:, None]


def log_magnitudes(samples: Tensor) -> Tensor:
    """Return normalised log-magnitudes, shape (batch, 1, 64, frames); arguments as magnitudes."""
    logarithms = magnitudes(samples).clamp_min(LEAST_MAGNITUDE).log()
    return (logarithms - LOG_MEAN) / LOG_DEVIATION


def stroke_error(answer: Tensor, truth: Tensor, lost: Tensor) -> Tensor:
    """Return the mean squared error of each patch in its lost columns, shape (batch,)."""
    errors = (answer - truth).square().mean((1, 2)) * lost
    return errors.sum(1) / lost.sum(1)


def batch_of(samples: NDArray[np.float32], lost: NDArray[np.bool_]) -> dict[str, Tensor]:
    """Return a batch of the task.

    Parameters
    ----------
    samples : float32, shape (batch, samples)
        Of the patches, full scale 1.0.
    lost : bool, shape (batch, frames)
        Their lost columns.
    """
    return {"truth": log_magnitudes(torch.from_numpy(samples)), "lost": torch.from_numpy(lost)}
