"""The task of a gap in a representation: the paper's gap of 64 ms, as any array of sound [1]_.

Segments are the paper's, 64 ms between 128 ms on either side. Each is divided by the level of its
known samples and written as an array (:mod:`plc.papers.representations`) twice: whole, and with a
silent gap. Noise of -70 dB below that level stands in both, so that logarithms of silence are
bounded. The network sees the second array and answers with what the first has in the *lost* frames;
it corrects straight lines between the last frame before these and the first one after. Lost are the
samples of the gap, or frames whose middle lies less than half a window of 64 ms from it; of bands,
whose windows differ, the same.

::

    |<----- 128 ms ----->|<-- gap -->|<----- 128 ms ----->|
               |<- 32 ms ->|<-- lost -->|<- 32 ms ->|          frames, by their middles

All representations have the same network: their frames are gathered in columns of about 16 ms, the
vectors of :class:`Columns`. Channels are shifted and scaled to mean
0 and deviation 1. The loss is the mean squared error in the lost frames; of phases and phase steps
whole turns do not count.

References
----------
.. [1] A. Marafioti, N. Holighaus, P. Majdak, N. Perraudin, "Audio inpainting of music by means of
   neural networks", AES 146th Convention, 2019; its section 5 asks for other representations.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from plc.engine.networks.encoder import CONTEXT_SAMPLES, GAP_SAMPLES, SAMPLE_RATE
from plc.errors import ConfigError, ModelError
from plc.papers.representations.base import Array, Samples, Spectral
from plc.papers.representations.named import REPRESENTATIONS, representation
from plc.papers.representations.spectral import BIN_HZ, Waveform
from plc_bench.scores.metrics import rms
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import grid_window_samples
from plc_training.data.segments import Segments
from plc_training.tasks import base
from plc_training.tasks.context_encoder_plan import ContextEncoderPlan

SEGMENT_SAMPLES = 2 * CONTEXT_SAMPLES + GAP_SAMPLES
GAP = (CONTEXT_SAMPLES, CONTEXT_SAMPLES + GAP_SAMPLES)
_WINDOW = grid_window_samples(SAMPLE_RATE, BIN_HZ)
# Columns of a segment, about: 16 ms each.
_COLUMNS = 4 * SEGMENT_SAMPLES // _WINDOW
# Of a segment's known samples: the noise in their level, and a level that silence has.
_NOISE, _LEAST_LEVEL = 10.0 ** (-70.0 / 20.0), 1e-4
_SCALE_SEGMENTS = 256
_VALIDATION_BATCH = 32


class RepresentedSettings(base.Settings, frozen=True, kw_only=True):
    """Settings of the task.

    Attributes
    ----------
    representation : str
        Of :data:`plc.papers.representations.named.REPRESENTATIONS`.
    width, blocks : int, of :class:`Columns`
    """

    representation: str
    width: base.Count = 192
    blocks: base.Count = 3


class GapArrays:
    """Arrays of segments in one representation.

    Attributes
    ----------
    lost : bool, shape (frames,)
        Frames that are lost: one stretch inside.
    turning : bool, shape (channels, 1, 1)
        Channels of phases or phase steps, in half turns.
    """

    def __init__(self, name: str) -> None:
        self.kind = representation(name, SAMPLE_RATE, SEGMENT_SAMPLES)
        self.lost = _lost_frames(self.kind.shape[2], isinstance(self.kind, Waveform), self.grid)
        turning = [channel.startswith("phase") for channel in self.kind.channels]
        self.turning = np.array(turning)[:, None, None]
        rng = np.random.default_rng(0)
        self._noise = _NOISE * rng.standard_normal(SEGMENT_SAMPLES, np.float32)

    @property
    def grid(self) -> Stft | None:
        """Transform of spectra; None of other representations."""
        return self.kind.grid if isinstance(self.kind, Spectral) else None

    def prepared(self, segment: Samples) -> tuple[Samples, np.float32]:
        """Return a segment at level 1 with noise, and its level."""
        known = np.concatenate([segment[: GAP[0]], segment[GAP[1] :]])
        level = np.float32(max(rms(known), _LEAST_LEVEL))
        return segment / level + self._noise, level

    def silenced(self, segment: Samples) -> Samples:
        """Return a prepared segment with a silent gap, but for the noise."""
        silent = segment.copy()
        silent[slice(*GAP)] = self._noise[slice(*GAP)]
        return silent

    def damaged(self, segment: Samples) -> Array:
        """Return the array of a prepared segment with a silent gap."""
        return self.kind.forward(self.silenced(segment))

    def interpolated(self, array: Array) -> Array:
        """Return an array with straight lines in its lost frames; phases take the shorter way."""
        first, last = np.flatnonzero(self.lost)[[0, -1]]
        before, after = array[..., first - 1, None], array[..., last + 1, None]
        share = np.arange(1, last - first + 2, dtype=np.float32) / np.float32(last - first + 2)
        way = after - before
        way = np.where(self.turning, way - 2.0 * np.round(way / 2.0), way)
        filled = array.copy()
        filled[..., self.lost] = before + share * way
        return filled

    def joined(self, filled: Array, damaged: Array) -> Array:
        """Return a filled array with the known phases behind the gap.

        Where phases are sums of steps, the first step behind the gap ends in the known phase.
        """
        if "step" not in self.kind.channels[-1]:
            return filled
        behind = int(np.flatnonzero(self.lost)[-1]) + 1
        wanted = damaged[1, :, : behind + 1].sum(axis=1, dtype=np.float64)
        reached = filled[1, :, :behind].sum(axis=1, dtype=np.float64)
        out = filled.copy()
        out[1, :, behind] = wanted - reached
        return out


class ArrayNet(nn.Module):
    """Columns of an array to its correction."""

    middle: Tensor
    reach: Tensor
    lost: Tensor

    def __init__(self, arrays: GapArrays, settings: RepresentedSettings) -> None:
        super().__init__()
        channels, rows, frames = arrays.kind.shape
        self._held = max(1, round(frames / _COLUMNS))
        numbers = channels * rows * self._held
        self.columns = Columns(numbers, numbers, settings.width, settings.blocks)
        nn.init.zeros_(self.columns.last.weight)
        self.register_buffer("middle", torch.zeros(channels, 1, 1))
        self.register_buffer("reach", torch.ones(channels, 1, 1))
        self.register_buffer("lost", torch.from_numpy(arrays.lost))

    def forward(self, damaged: Tensor, filled: Tensor) -> Tensor:
        """Return filled arrays with their lost frames corrected.

        Parameters
        ----------
        damaged, filled : float32, shape (batch, channels, rows, frames)
            With a silent gap, and with straight lines in it.
        """
        batch, channels, rows, frames = damaged.shape
        x = (damaged - self.middle) / self.reach
        x = functional.pad(x, (0, -frames % self._held), mode="constant")
        columns = x.reshape(batch, channels * rows, -1, self._held).permute(0, 2, 1, 3)
        answer = self.columns(columns.flatten(2)).float()
        answer = answer.reshape(batch, -1, channels * rows, self._held).permute(0, 2, 1, 3)
        correction = answer.reshape(batch, channels, rows, -1)[..., :frames]
        out: Tensor = filled + self.lost * self.reach * correction
        return out


class RepresentedTask(base.SessionTask):
    """Batches, loss and validation figures of a gap in a representation."""

    kind = "represented"
    plan_type = ContextEncoderPlan
    settings_type = RepresentedSettings
    ports = base.Ports(
        ("damaged", "filled"), "array", {"damaged": {0: "batch"}, "filled": {0: "batch"}}
    )

    def __init__(
        self, plan: ContextEncoderPlan, settings: RepresentedSettings, *rest: Segments
    ) -> None:
        super().__init__(plan, settings, *rest)
        self.arrays = GapArrays(settings.representation)
        self._reach = torch.ones(1)

    @classmethod
    def _check(
        cls, plan: ContextEncoderPlan, settings: RepresentedSettings, choice: base.TaskChoice
    ) -> None:
        base.check_choice("settings.representation", settings.representation, REPRESENTATIONS)
        if settings.width % HEADS:
            raise ConfigError(f"settings.width is {settings.width}; expected a multiple of {HEADS}")

    def make_network(self) -> ArrayNet:
        """Return the network with random weights, and the scale of the arrays."""
        network = ArrayNet(self.arrays, self.settings)
        count = min(_SCALE_SEGMENTS, self._train.gaps.size)
        chosen = np.linspace(0, self._train.gaps.size - 1, count).astype(np.int64)
        truth = self._batch(self._train.at_their_level(chosen)[:, 0])["truth"]
        deviation, middle = torch.std_mean(truth, (0, 2, 3))
        network.middle.copy_(middle.reshape(-1, 1, 1))
        network.reach.copy_(deviation.clamp_min(1e-6).reshape(-1, 1, 1))
        self._reach = network.reach.clone()
        return network

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return random segments, reversed in time and sign at random."""
        chosen = rng.integers(self._train.gaps.size, size=size)
        lines = self._train.at_their_level(chosen)[:, 0]
        reverse, negate = rng.random((2, size)) < 0.5
        lines[reverse] = lines[reverse, ::-1]
        lines[negate] *= -1.0
        return self._batch(lines)

    def _batch(self, lines: NDArray[np.float32]) -> dict[str, Tensor]:
        rows: dict[str, list[Array]] = {"damaged": [], "filled": [], "truth": []}
        for line in lines:
            segment, _ = self.arrays.prepared(line)
            damaged = self.arrays.damaged(segment)
            rows["damaged"].append(damaged)
            rows["filled"].append(self.arrays.interpolated(damaged))
            rows["truth"].append(self.arrays.kind.forward(segment))
        return {name: torch.from_numpy(np.stack(arrays)) for name, arrays in rows.items()}

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the arrays with a silent gap, and those with straight lines."""
        return batch["damaged"], batch["filled"]

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean squared error in the lost frames, in deviations."""
        return self._errors(output, batch).mean()

    def _errors(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return each segment's error, shape (batch,)."""
        lost, turning = (
            torch.from_numpy(each).to(output.device)
            for each in (self.arrays.lost, self.arrays.turning)
        )
        difference = (output - batch["truth"])[..., lost]
        turned = difference - 2.0 * torch.round(difference / 2.0)
        difference = torch.where(turning, turned, difference)
        errors: Tensor = (difference / self._reach.to(output.device)).flatten(1).square().mean(1)
        return errors

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of the validation segments.

        Returns
        -------
        dict
            ``gain_db``: mean error of straight lines over the network's; ``error``: the latter.
        """
        lines, ours = [], []
        for part in base.slices(self._valid.gaps.size, _VALIDATION_BATCH):
            batch = base.beside(network, self._batch(self._valid.at_their_level(part)[:, 0]))
            answer = network(*self.inputs(batch)).float()
            lines.append(self._errors(batch["filled"], batch))
            ours.append(self._errors(answer, batch))
        straight, error = (float(torch.cat(each).mean()) for each in (lines, ours))
        return {"gain_db": 10.0 * float(np.log10(straight / error)), "error": error}

    def model_fields(self, card: base.ModelCard) -> dict[str, Any]:
        """Refuse: the engine has no such networks.

        Raises
        ------
        ModelError
            Always.
        """
        raise ModelError(
            f"{card.name} is an experiment on representations; the engine runs the networks of "
            "context_encoder"
        )


def _lost_frames(frames: int, samples: bool, grid: Stft | None) -> NDArray[np.bool_]:
    """Return the frames that are lost, by their middles; ``samples``: each is a sample."""
    step = SEGMENT_SAMPLES / frames if grid is None else grid.hop
    # Of spectra the first frame ends with the first hop of the segment.
    first = 0.0 if grid is None else grid.hop - grid.window.size / 2
    middles = first + step * np.arange(frames) + 0.5 * samples
    reach = 0.0 if samples else _WINDOW / 2
    lost: NDArray[np.bool_] = (middles > GAP[0] - reach) & (middles < GAP[1] + reach)
    return lost


HEADS = 4
# Cosines over the columns that tell a column its place.
_PLACES = 16


class Columns(nn.Module):
    """Columns to columns.

    Parameters
    ----------
    taken, given : int
        Numbers of a column, before and after.
    width : int
        Of the vectors between; a multiple of :data:`HEADS`.
    blocks : int
        Blocks, each of three layers that add to the vectors.
    """

    def __init__(self, taken: int, given: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(taken, width)
        self.place = nn.Linear(_PLACES, width, bias=False)
        self.blocks = nn.ModuleList(_ColumnBlock(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, given)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the columns, shape (batch, columns, given).

        Parameters
        ----------
        x : float32, shape (batch, columns, taken)
        """
        count = x.shape[1]
        place = (torch.arange(count, device=x.device) + 0.5) / count
        cosines = torch.cos(torch.pi * place[:, None] * torch.arange(_PLACES, device=x.device))
        x = self.first(x) + self.place(cosines.to(x.dtype))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.last(self.norm(x))
        return out


class _ColumnBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.near = nn.Linear(3 * width, width)
        self.asked = nn.Linear(width, 3 * width)
        self.answered = nn.Linear(width, width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        beside = functional.pad(self.norms[0](x), (0, 0, 1, 1))
        near = torch.cat([beside[:, :-2], beside[:, 1:-1], beside[:, 2:]], dim=2)
        x = x + functional.gelu(self.near(near))
        batch, count, width = x.shape
        parts = self.asked(self.norms[1](x)).reshape(batch, count, 3, HEADS, width // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.answered(found.transpose(1, 2).reshape(batch, count, width))
        out: Tensor = x + self.narrow(functional.gelu(self.wide(self.norms[2](x))))
        return out
