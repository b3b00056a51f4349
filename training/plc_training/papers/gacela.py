"""The task of GACELA: gaps of music that critics take for real ones [1]_.

An example is a stretch of music, its magnitudes divided by the largest of both sides, as levels
(:mod:`plc_training.papers.gacela_network`). A batch is halved as in the authors' program: one half
is shown to the critics as it is; of the other, generated gaps stand between the real sides. There
is no reconstruction term: the generator's loss is the negative sum of the critics' scores. In one
step all critics move, on the same generated gaps, then the generator.

What differs from the document: the gradient penalty is that of each sample, as in WGAN-GP [2]_ and
not of the whole batch; the window is Hann's and not Gauss's, as the engine's kernels have it;
levels are relative to what is known around the gap and not to the file's largest; the two frames
beside a gap that miss some of their samples are hidden from the encoders, as they are when a gap is
filled; all critics have one optimiser, which for Adam is the same as one each.

References
----------
.. [1] A. Marafioti et al., "GACELA: a generative adversarial context encoder for long audio
   inpainting of music", IEEE J. Sel. Topics in Signal Processing 15 (1), 2021.
.. [2] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS, 2017.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.engine.models.manifest import Manifest
from plc.engine.runtime.providers import Signature
from plc.errors import ConfigError
from plc.papers import gacela as paper
from plc_bench.scores.frechet import frechet_distance
from plc_bench.scores.metrics import GAP_RMS_MIN, rms
from plc_training.data.segments import Pieces, Samples, ShiftedPlan
from plc_training.papers.blocks import wasserstein
from plc_training.papers.gacela_network import (
    CRITICS,
    PUBLISHED_WIDTH,
    Gacela,
    Layout,
    Mel,
    levels_of,
    without_norms,
)
from plc_training.tasks import base

_VALIDATION_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class GacelaPlan(ShiftedPlan):
    """Plan of long stretches, in which a window lies anywhere.

    Attributes
    ----------
    gap_frames, side_frames : int
        Of a window: its gap, a multiple of 32, and each side, a multiple of 4.
    spare_ms : float
        By which a stretch is longer than a window.
    """

    sample_rate: ClassVar[int] = paper.SAMPLE_RATE
    gap_frames: int = 32
    side_frames: int = 240
    spare_ms: float = 12_000.0
    shift_ms: float = 12_000.0

    @property
    def layout(self) -> Layout:
        """Frames of a window."""
        return Layout(self.gap_frames, self.side_frames)

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return (self.layout.frames - 1) * paper.HOP_SAMPLES + paper.WINDOW_SAMPLES

    @property
    def samples(self) -> int:
        """Samples of a stretch."""
        return self.window_samples + round(self.spare_ms * paper.SAMPLE_RATE / 1000.0)

    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        for stretch in self._stretches(x):
            if rms(stretch[0]) >= GAP_RMS_MIN:
                yield stretch, self.gap_frames * paper.HOP_SAMPLES


class GacelaSettings(base.Settings, frozen=True, kw_only=True):
    """Settings of the task.

    Attributes
    ----------
    width : int
        Base width of all networks, a multiple of 8; 32 as published.
    """

    width: base.Count = PUBLISHED_WIDTH


class GacelaTask(base.SessionTask):
    """Batches, losses and validation figures of GACELA."""

    kind = "gacela"
    plan_type = GacelaPlan
    settings_type = GacelaSettings
    figure_parity = 0.03  # of a Fréchet distance, which is 1 to 0.5 in training
    ports = base.Ports(("sides", "noise"), "gap", {"sides": {0: "batch"}, "noise": {0: "batch"}})

    def __init__(self, plan: GacelaPlan, *rest: Any) -> None:
        super().__init__(plan, *rest)
        self._layout = plan.layout
        self._mel = Mel()

    @classmethod
    def shape(cls, plan: GacelaPlan) -> tuple[object, ...]:
        """Return the properties that both plans of a recipe share."""
        return *super().shape(plan), plan.layout

    @classmethod
    def _check(cls, plan: GacelaPlan, settings: GacelaSettings, choice: base.TaskChoice) -> None:
        widest = plan.gap_frames << len(CRITICS) - 1
        faults = (
            (settings.width % 8, f"settings.width is {settings.width}; expected a multiple of 8"),
            (
                plan.gap_frames % 32 or 16 * settings.width % (plan.gap_frames // 32 or 1),
                f"data.gap_frames is {plan.gap_frames}; expected 32, 64 or 128",
            ),
            (
                plan.side_frames % 4 or plan.layout.frames < widest,
                f"data.side_frames is {plan.side_frames}; expected a multiple of 4, at least "
                f"{(widest - plan.gap_frames) // 2}: the widest critic looks at {widest} frames",
            ),
        )
        for wrong, what in faults:
            if wrong:
                raise ConfigError(what)

    def make_network(self) -> Gacela:
        """Return generator and critics with random weights."""
        return Gacela(self.settings.width, self._layout)

    def exported(self, network: nn.Module) -> nn.Module:
        """Return the part that becomes a model: encoders and generator."""
        return without_norms(network.get_submodule("inpainter"))

    def players(self) -> tuple[str, ...]:
        """Return encoders with generator, and the critics."""
        return ("inpainter", "critics")

    def turns(self, step: int) -> tuple[base.Turn, ...]:
        """Return the moves of a step: all critics, then the generator."""
        return (
            base.Turn("critics", self._critics_loss),
            base.Turn("inpainter", self._generator_loss),
        )

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random windows, and random numbers for gaps and for gradient penalties."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        begins = rng.integers(self.plan.samples - self.plan.window_samples + 1, size=size)
        width = self.plan.window_samples
        lines = [
            self._train.lines[row, 0, begin : begin + width]
            for row, begin in zip(chosen, begins, strict=True)
        ]
        noise = rng.random((size, *self._noise_shape()), np.float32)
        mix = rng.random((size, len(CRITICS)), np.float32)
        return {
            "levels": self.levels(np.stack(lines)),
            "noise": torch.from_numpy(noise),
            "mix": torch.from_numpy(mix),
        }

    def _noise_shape(self) -> tuple[int, int, int]:
        return (self.settings.width // 8, *self._layout.code)

    def levels(self, lines: NDArray[np.int16]) -> Tensor:
        """Return levels of windows of samples, shape (batch, 512, frames)."""
        samples = torch.from_numpy(lines.astype(np.float32))
        window = torch.hann_window(paper.WINDOW_SAMPLES, periodic=True)
        frames = samples.unfold(1, paper.WINDOW_SAMPLES, paper.HOP_SAMPLES) * window
        magnitudes = torch.fft.rfft(frames).abs().transpose(1, 2)[:, : paper.BINS]
        known = _hidden(_sides(magnitudes, self._layout))
        largest = known.amax((1, 2, 3)).clamp_min(1e-9)
        return levels_of(magnitudes / largest[:, None, None])

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the levels of both sides, and the noise."""
        return _hidden(_sides(batch["levels"], self._layout)), batch["noise"]

    def _shown(self, network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return levels of the real half, and of the generated one."""
        levels = batch["levels"]
        # A batch of one, or of a device's share: the real one lends its sides.
        real, lent = levels[0::2], levels[1::2] if len(levels) > 1 else levels
        sides = _sides(lent, self._layout)
        noise = batch["noise"][: len(lent)]
        gaps = network(_hidden(sides), noise).float()
        return real, torch.cat([sides[:, 0], gaps, sides[:, 1]], dim=2)

    def _critics_loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        assert isinstance(network, Gacela)
        real, fake = self._shown(network, batch)
        # An odd batch has one more of the real ones.
        count = len(fake)
        views = zip(network.critics, network.views(real), network.views(fake), strict=True)
        losses = [
            wasserstein(critic, of_real[:count], of_fake, batch["mix"][:count, i])
            for i, (critic, of_real, of_fake) in enumerate(views)
        ]
        return torch.stack(losses).sum()

    def _generator_loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        assert isinstance(network, Gacela)
        _, fake = self._shown(network, batch)
        views = network.views(fake)
        scores = [c(view).mean() for c, view in zip(network.critics, views, strict=True)]
        return -torch.stack(scores).sum()

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean distance of generated levels; it trains nothing."""
        return (output - _gaps(batch["levels"], self._layout)).square().mean()

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of the validation windows, with always the same noise.

        Returns
        -------
        dict
            ``likeness``: the negative Fréchet distance of generated mel frames from real ones;
            ``level_db``: generated minus real mean level; ``spread``: standard deviation
            between gaps of other noise, as a share of that between windows.
        """
        rng = np.random.default_rng(0)
        mel = self._mel.to(next(network.parameters()).device)
        rows, variants = [], []

        for part in base.slices(self._valid.gaps.size, _VALIDATION_BATCH):
            levels = self.levels(self._valid.lines[part, 0, : self.plan.window_samples])
            drawn = rng.random((len(levels), *self._noise_shape()), np.float32)
            batch = base.beside(network, {"levels": levels, "noise": torch.from_numpy(drawn)})
            sides, noise = self.inputs(batch)
            real = mel(_gaps(batch["levels"], self._layout))
            made = mel(network(sides, noise).float())
            other = mel(network(sides, noise.flip(0)).float())
            rows.append(torch.stack([real, made]))
            variants.append((made - other).square().mean() / 2.0)
        real, made = torch.cat(rows, dim=1).transpose(2, 3).flatten(1, 2).double().cpu()
        spread = torch.stack(variants).mean().sqrt().double() / made.std(0).mean()
        return {
            "likeness": -frechet_distance(real.numpy(), made.numpy()),
            "level_db": float((made - real).mean()) * 50.0,
            "spread": float(spread),
        }

    def model_fields(self, card: base.ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps."""
        gap_ms = 1000.0 * self._layout.gap * paper.HOP_SAMPLES / paper.SAMPLE_RATE
        rates, bin_hz = card.sample_rates or paper.RATES, paper.SAMPLE_RATE / paper.WINDOW_SAMPLES
        return base.paper_fields(paper.KIND, rates, bin_hz, gap_ms, self._layout.side)

    def signature(self, manifest: Manifest, inputs: tuple[Tensor, ...]) -> Signature:
        """Return names and shapes of the graph's inputs and output."""
        sides, noise = (tuple(tensor.shape) for tensor in inputs)
        gap = (sides[0], paper.BINS, self._layout.gap)
        return Signature((("sides", sides), ("noise", noise)), ("gap", gap))


def _sides(levels: Tensor, layout: Layout) -> Tensor:
    """Return both sides, shape (batch, 2, bins, side)."""
    return torch.stack([levels[..., : layout.side], levels[..., -layout.side :]], dim=1)


def _gaps(levels: Tensor, layout: Layout) -> Tensor:
    return levels[..., layout.side : layout.side + layout.gap]


def _hidden(sides: Tensor) -> Tensor:
    """Replace the frames that touch the gap by the nearest whole frame of their side."""
    before, after = sides[:, 0], sides[:, 1]
    last = before[..., -paper.EDGE_FRAMES - 1 : -paper.EDGE_FRAMES].expand(
        -1, -1, paper.EDGE_FRAMES
    )
    first = after[..., paper.EDGE_FRAMES : paper.EDGE_FRAMES + 1].expand(-1, -1, paper.EDGE_FRAMES)
    shown = [
        torch.cat([before[..., : -paper.EDGE_FRAMES], last], dim=2),
        torch.cat([first, after[..., paper.EDGE_FRAMES :]], dim=2),
    ]
    return torch.stack(shown, dim=1)
