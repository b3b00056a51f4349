"""The task of the paper: 64 ms gaps between 128 ms contexts.

A segment is 5120 samples at 16 kHz with the gap in its middle; contexts, gap and grid are those of
:mod:`plc.engine.networks.encoder`. The loss is that of the paper [1]_: of each segment

    F = ||S - S'||^2 / (1 / c + ||S||^2)                            (2), c = 5
    T = F + lambda / 2 * sum w^2                                    (3), lambda = 0.01

with S the magnitudes of the gap's 11 frames, or their real and imaginary parts. The paper does not
define the balance of both terms in a batch. Its authors' program sums the errors of 256 segments
and adds the weights' term once; so does this loss, divided by 256, for a batch of any size:
``mean F + lambda / (2 * 256) * sum w^2``. Added to a mean, the printed term would be forty times
the initial loss.

Equation (2) gives a quiet gap after loud notes a loss of up to thousands, and single batches turn
the network over. ``settings.loss = "decibel"`` takes ``10 log10 (||S - S'||^2 / ||S||^2)`` in place
of F: the negative figure itself, in which all gaps count alike.

The corpus is smaller than the paper's, so segments are reversed in time and in sign at random. The
phase that is reconstructed later does not enter the loss (section 3.3).

References
----------
.. [1] A. Marafioti, N. Holighaus, P. Majdak, N. Perraudin, "Audio inpainting of music by means of
   neural networks", AES 146th Convention, 2019, sections 2.5 and 3.3.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plc.engine.models.manifest import Manifest
from plc.engine.networks import encoder
from plc.engine.runtime.providers import Signature
from plc.errors import ConfigError
from plc_training.data.segments import Segments
from plc_training.networks.context_encoder import ContextEncoderNet
from plc_training.networks.line_encoder import LineEncoderNet
from plc_training.networks.spectral import Grid
from plc_training.tasks import base
from plc_training.tasks.context_encoder_plan import ContextEncoderPlan, at_their_level

SEGMENT_SAMPLES = 2 * encoder.CONTEXT_SAMPLES + encoder.GAP_SAMPLES
LOSS_C = 5.0
WEIGHT_DECAY = 0.01
PAPER_BATCH = 256
# For the loss in dB: a share of the energy that is as good as none, and an energy far below that of
# the quietest gap that is not left out (0.005).
_LEAST_ERROR, _LEAST_ENERGY = 1e-4, 1e-6
# Frames entirely in the gap: those of SNR_MS.
_INSIDE = slice(encoder.TOUCHING, encoder.GAP_FRAMES - encoder.TOUCHING)
_VALIDATION_BATCH = 64
_INT16 = 32768.0


class ContextEncoderSettings(base.Settings, frozen=True, kw_only=True):
    """Size of the network, and the loss: the table ``[settings]``.

    Attributes
    ----------
    width : int
        Divisor of every layer's channels; 1: the published network.
    complex : bool
        Whether it answers with real and imaginary parts; otherwise with magnitudes.
    line : bool
        Whether it answers with what it adds to straight lines
        (:mod:`plc_training.networks.line_encoder`), magnitudes; otherwise it is the published one.
    loss : str
        ``"published"``: equation (2); ``"decibel"``: the error in dB.
    """

    width: Literal[1, 4, 16] = 1
    complex: bool = False
    line: bool = False
    loss: Literal["published", "decibel"] = "published"


class ContextEncoderTask(base.SessionTask):
    """Batches, loss and validation figures of the paper's context encoder."""

    kind = encoder.KIND
    plan_type = ContextEncoderPlan
    settings_type = ContextEncoderSettings
    figure_parity = 0.03  # weights in a byte each cost 0.01 to 0.02 of 9 dB
    ports = base.Ports(("context",), "gap", {"context": {0: "batch"}})

    def __init__(
        self,
        plan: ContextEncoderPlan,
        settings: ContextEncoderSettings,
        train: Segments,
        valid: Segments,
    ) -> None:
        self._train, self._valid = at_their_level(train), at_their_level(valid)
        assert self._train.shape[1] == self._valid.shape[1] == SEGMENT_SAMPLES
        self._grid = Grid(encoder.SAMPLE_RATE, encoder.SAMPLE_RATE / encoder.WINDOW_SAMPLES)
        assert self._grid.hop == encoder.HOP_SAMPLES
        self.settings = settings
        self._weights: list[nn.Parameter] = []

    @classmethod
    def _check(
        cls, plan: ContextEncoderPlan, settings: ContextEncoderSettings, choice: base.TaskChoice
    ) -> None:
        if settings.line and settings.complex:
            raise ConfigError("settings.line adds to magnitudes; expected complex = false")

    def model_fields(self, card: base.ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps."""
        rates = card.sample_rates or encoder.RATES
        bin_hz = encoder.SAMPLE_RATE / encoder.WINDOW_SAMPLES
        gap_ms = 1000.0 * encoder.GAP_SAMPLES / encoder.SAMPLE_RATE
        return base.paper_fields(encoder.KIND, rates, bin_hz, gap_ms, encoder.CONTEXT_FRAMES)

    def signature(self, manifest: Manifest, inputs: tuple[Tensor, ...]) -> Signature:
        """Return names and shapes of the graph's inputs and output."""
        shape = tuple(inputs[0].shape)
        parts = (2,) if self.settings.complex else ()
        gap = (shape[0], *parts, encoder.WINDOW_SAMPLES // 2 + 1, encoder.GAP_FRAMES)
        return Signature((("context", shape),), ("gap", gap))

    def make_network(self) -> nn.Module:
        """Return the network with random weights; the loss keeps references."""
        settings = self.settings
        network: nn.Module
        if settings.line:
            network = LineEncoderNet(settings.width)
        else:
            network = ContextEncoderNet(1 + settings.complex, settings.width)
        self._weights = list(network.parameters())
        return network

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random segments, reversed in time and in sign at random."""
        chosen = rng.integers(len(self._train), size=size)
        lines = self._train[chosen].astype(np.float32)
        reverse, negate = rng.random((2, size)) < 0.5
        lines[reverse] = lines[reverse, ::-1]
        lines[negate] *= -1.0
        return {"lines": torch.from_numpy(lines / np.float32(_INT16))}

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor]:
        """Return the spectra of both contexts, shape (batch, 4, 257, 16)."""
        lines = batch["lines"]
        silence = (encoder.TOUCHING * encoder.HOP_SAMPLES, 0)
        before = functional.pad(lines[:, : encoder.CONTEXT_SAMPLES], silence[::-1])
        after = functional.pad(lines[:, encoder.CONTEXT_SAMPLES + encoder.GAP_SAMPLES :], silence)
        sides = [self._grid.analyse(before), self._grid.analyse(after)]
        return (torch.cat(sides, dim=1),)

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the true output, in the network's output shape."""
        edge = encoder.TOUCHING * encoder.HOP_SAMPLES
        first = encoder.CONTEXT_SAMPLES - edge
        last = encoder.CONTEXT_SAMPLES + encoder.GAP_SAMPLES + edge
        spectra = self._grid.analyse(batch["lines"][:, first:last])
        return spectra if self.settings.complex else _magnitudes(spectra)

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the total loss: equation (3), with F or the error in dB."""
        assert self._weights, "make_network comes first"
        error, energy = _powers(output, self.target(batch))
        squares = torch.stack([weight.square().sum() for weight in self._weights]).sum()
        decay = WEIGHT_DECAY / (2 * PAPER_BATCH) * squares
        if self.settings.loss == "decibel":
            ratio = (error + _LEAST_ERROR * energy + _LEAST_ENERGY) / (energy + _LEAST_ENERGY)
            return 10.0 * torch.log10(ratio).mean() + decay
        return (error / (1.0 / LOSS_C + energy)).mean() + decay

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of the validation segments, without phase reconstruction.

        Returns
        -------
        dict
            ``snr_ms_db``: mean SNR of the magnitudes of the five frames inside the gap;
            ``nmse_db``: mean of equation (1) over the whole output, in dB, which the paper
            reports, with inverted sign: higher is better.
        """
        snrs, nmses = [], []

        for part in base.slices(len(self._valid), _VALIDATION_BATCH):
            lines = torch.from_numpy(self._valid[part].astype(np.float32) / _INT16)
            batch = base.beside(network, {"lines": lines})
            output, target = network(*self.inputs(batch)).float(), self.target(batch)
            error, energy = _powers(output, target)
            nmses.append(error / energy.clamp_min(1e-12))
            if self.settings.complex:
                output, target = _magnitudes(output), _magnitudes(target)
            error, energy = _powers(output.abs()[..., _INSIDE], target[..., _INSIDE])
            snrs.append(10.0 * torch.log10(energy.clamp_min(1e-12) / error.clamp_min(1e-12)))
        return {
            "snr_ms_db": float(torch.cat(snrs).mean()),
            "nmse_db": -10.0 * float(torch.log10(torch.cat(nmses).mean())),
        }


def _magnitudes(spectra: Tensor) -> Tensor:
    """Return magnitudes, shape (batch, bins, frames)."""
    return spectra.square().sum(1).sqrt()


def _powers(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energies of error and target, shape (batch,)."""
    error = (output - target).flatten(1).square().sum(1)
    return error, target.flatten(1).square().sum(1)
