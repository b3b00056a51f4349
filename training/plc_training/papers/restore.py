"""The task of damaged spectrograms: 128 frames, 12 to 88 of them lost.

Patches and scores are those of the document (:mod:`plc_training.papers.damaged`), networks those of
:mod:`plc_training.papers.restorers`. ``settings.form`` names one of two trainings:

``published``
    The document's: the network sees the damaged patch and answers with the whole one; the loss is
    the mean squared error.
``interpolated``
    The network sees linear interpolation and corrects it; the loss is the error in dB, so that
    quiet patches count as much as loud ones, as they do in the figure. Far fewer steps are needed.

In both, known frames are passed on as they are.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.engine.models.manifest import Manifest
from plc.engine.runtime.providers import Signature
from plc.errors import ConfigError
from plc.papers import restore as paper
from plc_training.data.segments import Pieces, Samples, ShiftedPlan
from plc_training.papers.blocks import Dual, VariationalCode
from plc_training.papers.damaged import (
    damaged,
    draw_lost,
    interpolated,
    loud_patches,
    magnitudes,
    psnr_db,
)
from plc_training.papers.restorers import PUBLISHED_WIDTH, RESTORERS, Form, Restorer, level_of
from plc_training.tasks import base

# Narrower networks have layers without channels.
_WIDTH_MIN = 4
_VALIDATION_BATCH = 32
# Squared error far below that of any repair, so that none at all has a finite loss in dB.
_LEAST_ERROR = 1e-16


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan(ShiftedPlan):
    """Plan of consecutive patches, without silent ones."""

    sample_rate: ClassVar[int] = paper.SAMPLE_RATE
    shift_ms: float = 512.0

    @property
    def samples(self) -> int:
        """Samples of a patch."""
        return paper.PATCH_SAMPLES

    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        for patch in loud_patches(x, self.shift):
            yield patch[None], 0


class RestorerSettings(base.Settings, frozen=True, kw_only=True):
    """Settings of the tasks of restorers.

    Attributes
    ----------
    network : str
        Of :data:`plc_training.papers.restorers.RESTORERS`.
    width : int
        Channels of its first level; 32 as published, of speech 64.
    form : str, ``"published"`` or ``"interpolated"``
    """

    network: str = "unet-v2"
    width: base.Count = PUBLISHED_WIDTH
    form: Form = "published"


class RestorerTask(base.SessionTask):
    """Base class of the tasks of restorers."""

    ports = base.Ports(("patch", "lost"), "restored", {"patch": {0: "batch"}, "lost": {0: "batch"}})

    @classmethod
    def _check(cls, plan: Any, settings: Any, choice: base.TaskChoice) -> None:
        base.check_choice("settings.network", settings.network, RESTORERS)
        if settings.width < _WIDTH_MIN:
            raise ConfigError(f"settings.width is {settings.width}; expected at least {_WIDTH_MIN}")

    @abstractmethod
    def patches_of(self, samples: Tensor) -> Tensor:
        """Return patches, shape (batch, 1, bins, frames), of samples, shape (batch, samples)."""

    def batch_of(self, samples: NDArray[np.float32], lost: NDArray[np.bool_]) -> dict[str, Tensor]:
        """Return a batch of the task.

        Parameters
        ----------
        samples : float32, shape (batch, samples)
            Of the patches, full scale 1.0.
        lost : bool, shape (batch, frames), their lost frames
        """
        patches = self.patches_of(torch.from_numpy(samples))
        return {"truth": patches, "lost": torch.from_numpy(lost)}

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the damaged or interpolated patches, and the lost frames."""
        begin = interpolated if self.settings.form == "interpolated" else damaged
        return begin(batch["truth"], batch["lost"]), batch["lost"].float()

    def seen(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's view of the plan's patches: by default all."""
        return samples

    def _valid_batches(
        self, network: nn.Module, lost: NDArray[np.bool_]
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the validation patches on the network's device."""
        for part in base.slices(self._valid.gaps.size, _VALIDATION_BATCH):
            samples = self._valid.at_their_level(part)[:, 0]
            yield base.beside(network, self.batch_of(self.seen(samples), lost[part]))

    def _drafts(self) -> tuple[str, ...]:
        return (paper.LINEAR,) if self.settings.form == "interpolated" else ()


class RestoreSettings(RestorerSettings, frozen=True, kw_only=True):
    """Settings of the task.

    Attributes
    ----------
    divergence_weight : float
        Of the variational network's term in the loss.
    """

    divergence_weight: base.Amount = 1e-6


class RestoreTask(RestorerTask):
    """Batches, loss and validation figures of damaged spectrograms."""

    kind = "restore"
    plan_type = RestorePlan
    settings_type = RestoreSettings
    _network: nn.Module | None = None

    def patches_of(self, samples: Tensor) -> Tensor:
        """Return magnitudes."""
        return magnitudes(samples)

    def make_network(self) -> Restorer:
        """Return the network with random weights; the loss keeps a reference."""
        settings = self.settings
        network = Restorer(settings.network, settings.width, settings.form)
        self._network = network
        return network

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random patches, reversed in time at random, and their lost frames."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        samples = self._train.at_their_level(chosen)[:, 0]
        reverse = rng.random(size) < 0.5
        samples[reverse] = samples[reverse, ::-1]
        return self.batch_of(samples, draw_lost(size, rng))

    def repairs(self, network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the damaged patches, their interpolation, and the network's repair."""
        truth, lost = batch["truth"], batch["lost"]
        return damaged(truth, lost), interpolated(truth, lost), network(*self.inputs(batch))

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean squared error, or the mean error in dB."""
        truth = batch["truth"]
        loss = self._error(output, truth)
        assert self._network is not None, "make_network comes first"
        for module in self._network.modules():
            if isinstance(module, Dual) and module.before is not None and self._network.training:
                level = 1.0 if self._is_published else level_of(self.inputs(batch)[0])
                loss = loss + self._error(module.before * level, truth)
            if isinstance(module, VariationalCode) and module.divergence is not None:
                loss = loss + self.settings.divergence_weight * module.divergence
        return loss

    @property
    def _is_published(self) -> bool:
        return bool(self.settings.form == "published")

    def _error(self, output: Tensor, truth: Tensor) -> Tensor:
        errors = (output - truth).flatten(1).square().mean(1)
        if self._is_published:
            return errors.mean()
        return 10.0 * torch.log10(errors + _LEAST_ERROR).mean()

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of the validation patches; their losses are always the same.

        Patches that lost nothing but silence are left out: there is nothing to repair.

        Returns
        -------
        dict
            ``gain_db``: mean PSNR above that of the damaged patches; ``over_linear_db``: above that
            of linear interpolation; ``psnr_db``: the mean itself.
        """
        lost = draw_lost(self._valid.gaps.size, np.random.default_rng(0))
        parts = []
        for batch in self._valid_batches(network, lost):
            repairs = self.repairs(network, batch)
            parts.append(torch.stack([psnr_db(repair, batch["truth"]) for repair in repairs]))
        scores = torch.cat(parts, dim=1)
        before, linear, ours = scores[:, scores.isfinite().all(0)].mean(1).tolist()
        return {"gain_db": ours - before, "over_linear_db": ours - linear, "psnr_db": ours}

    def model_fields(self, card: base.ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps."""
        rates, bin_hz = card.sample_rates or paper.RATES, paper.SAMPLE_RATE / paper.POINTS
        return base.paper_fields(paper.KIND, rates, bin_hz, paper.HORIZON_MS, drafts=self._drafts())

    def signature(self, manifest: Manifest, inputs: tuple[Tensor, ...]) -> Signature:
        """Return names and shapes of the graph's inputs and output."""
        return paper.restorer_signature(inputs[0].shape[0])
