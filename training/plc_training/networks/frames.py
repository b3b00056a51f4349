"""The causal network, frame by frame, small enough for the audio path.

Only the past of a burst is known. Inputs are the spectra of the past and of the drafts over the
whole horizon: the last draft bin by bin, the others optionally in wider bands. Outputs are, for
every bin of every frame that touches the gap, a gain for each draft and a magnitude that is added
with the phase of the weighted sum::

    spectra of past and draft ──▶ log magnitudes ──▶ convolution over frames ──▶ GRU ──▶ per bin:
                                                                                         gains,
                                                                                         magnitude

It runs once for each burst: later packets play the rest of the first packet's result. Layers are
dense over the bins of a frame, which costs a tenth of two-dimensional convolutions; bins above a
low sample rate are zeros.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plc_training.networks.spectral import magnitude

# Magnitudes are compressed by log(_FLOOR + m / level): 80 dB below the level is the floor.
_FLOOR = 1e-4
# Lower bound of magnitudes: 0 has no phase.
_SILENCE = 1e-7
_MOST_GAIN = 2.0
# Initial logit of the gain of all drafts but the last: a gain of 4 %.
_UNUSED = -4.0
# Initial logarithm of the generated magnitude, relative to the level.
_QUIET = -7.0
_LOUDEST = 3.0
# Below this share of the level a bin's phase is not reliable; it also bounds the amplification of
# rounding errors.
_DAMPING = 3e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesShape:
    """Sizes of a :class:`FramesNet`.

    Attributes
    ----------
    drafts : int
        Input lines; an untrained network returns the last draft.
    context_frames : int
        Frames before the gap, which have no output.
    width : int, channels of the layers
    draft_share : float
        Share of the last draft in the output, outside training.
    groups : int
        Parallel recurrent layers; each takes its share of the channels.
    bands : int
        Number of bins in a band of the features of the other drafts; 1: full resolution.
    top_bin : bool
        Whether the topmost bin is an input and an output. It is empty in training where all clips
        are resampled to the rate of the grid, and then disturbs all bins in use.
    early_adapters, early_frames : int
        Rank of the :class:`EarlyAdapter` of each layer behind the recurrent ones, and the frames of
        the output, from the first on, that it changes; 0: none.
    """

    drafts: int
    bins: int
    context_frames: int
    width: int = 256
    draft_share: float = 0.0
    groups: int = 1
    bands: int = 1
    top_bin: bool = True
    early_adapters: int = 0
    early_frames: int = 0

    @property
    def features(self) -> int:
        """Number of input features of a frame."""
        return self.bins + 2 * (self.drafts - 1) * -(-self.bins // self.bands) + 2


class SplitGru(nn.Module):
    """Parallel GRUs over shares of the channels, with fewer weights."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        share = width // groups
        self.parts = nn.ModuleList(nn.GRU(share, share, batch_first=True) for _ in range(groups))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the joint output, shape (batch, frames, width), in a tuple."""
        shares = x.chunk(len(self.parts), dim=-1)
        made = [part(share)[0] for part, share in zip(self.parts, shares, strict=True)]
        return (torch.cat(made, dim=-1),)


class EarlyAdapter(nn.Module):
    """A low-rank addition [1]_ to a convolution's output, in its first frames alone.

    Its second convolution begins with zeros: it adds nothing yet.

    References
    ----------
    .. [1] E. Hu et al., "LoRA: low-rank adaptation of large language models", ICLR, 2022.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, rank: int, frames: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(inputs, rank, kernel, padding=kernel // 2, bias=False)
        self.up = nn.Conv1d(rank, outputs, 1)
        nn.init.normal_(self.down.weight, std=1.0 / math.sqrt(inputs * kernel))
        for weight in self.up.parameters():
            nn.init.zeros_(weight)
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """Return the addition, shape (batch, outputs, frames)."""
        place = torch.arange(x.shape[-1])
        made: Tensor = self.up(self.down(x)) * (place < self.frames).to(x)
        return made


class FramesNet(nn.Module):
    """The causal network; see the module."""

    def __init__(self, shape: FramesShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        self.enter = _convolution(shape.features, width, 3)
        self.mix = _convolution(width, width, 3)
        split = shape.groups > 1
        self.gru = (
            SplitGru(width, shape.groups) if split else nn.GRU(width, width, batch_first=True)
        )
        self.join = _convolution(2 * width, width, 3)
        self.head = _convolution(width, (shape.drafts + 1) * shape.bins, 1)
        nn.init.normal_(self.head.weight, std=0.003)
        bias = torch.zeros(shape.drafts + 1, shape.bins)
        bias[: shape.drafts - 1] = _UNUSED
        bias[-1] = _QUIET
        self.head.bias = nn.Parameter(bias.flatten())
        self.register_load_state_dict_pre_hook(_widen)  # type: ignore[no-untyped-call]
        if shape.early_adapters:
            early, frames = shape.early_adapters, shape.early_frames
            # The output begins with the frame behind the first of "join".
            self.early_join = EarlyAdapter(2 * width, width, 3, early, frames + 1)
            self.early_head = EarlyAdapter(width, self.head.out_channels, 1, early, frames)

    def forward(self, spectra: Tensor, lost: Tensor) -> Tensor:
        """Return the spectrum of the fill.

        Parameters
        ----------
        spectra : float32, shape (batch, drafts, 2, bins, frames), real and imaginary parts
        lost : float32, shape (batch, frames)
            Share of each frame that lies in the gap.

        Returns
        -------
        float32, shape (batch, 2, bins, frames - context_frames)
        """
        draft = spectra[:, -1, ..., self.shape.context_frames :]
        if not self.shape.top_bin:
            spectra = nn.functional.pad(spectra[..., :-1, :], (0, 0, 0, 1))
        level, x = _features(spectra, lost, self.shape.context_frames, self.shape.bands)
        x = nn.functional.leaky_relu(self.enter(x), 0.1)
        x = x + nn.functional.leaky_relu(self.mix(x), 0.1)
        remembered = self.gru(x.transpose(1, 2))[0].transpose(1, 2)
        x = torch.cat([x, remembered], dim=1)[:, :, self.shape.context_frames - 1 :]
        joined = self.join(x)
        if self.shape.early_adapters:
            joined = joined + self.early_join(x)
        x = nn.functional.leaky_relu(joined, 0.1)[:, :, 1:]
        heads = self.head(x)
        if self.shape.early_adapters:
            heads = heads + self.early_head(x)
        x = heads.float()
        batch, _, frames = x.shape
        x = x.reshape(batch, self.shape.drafts + 1, self.shape.bins, frames)
        filled = _weighed(spectra[..., self.shape.context_frames :], x, level)
        if not self.shape.top_bin:
            filled = torch.cat([filled[..., :-1, :], draft[..., -1:, :]], dim=-2)
        if self.shape.draft_share and not self.training:
            filled = torch.lerp(filled, draft, self.shape.draft_share)
        return filled


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)


def _widen(network: FramesNet, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Extend the weights of a network with fewer drafts, or without early adapters.

    New drafts stand before the last draft and have weights of zero; new adapters add nothing yet.
    Other differences are kept, so that torch refuses the state.
    """
    for name, value in network.state_dict().items():
        if name.startswith("early_"):
            state.setdefault(prefix + name, value)
    bins, new = network.shape.bins, network.shape.drafts
    enter, head = f"{prefix}enter.weight", f"{prefix}head."
    if not {enter, f"{head}weight", f"{head}bias"} <= set(state):
        return
    old = state[f"{head}bias"].shape[0] // bins - 1
    one_bin = bins * (2 * old - 1) + 2
    fits = state[enter].shape[:2] == (network.shape.width, one_bin) and network.shape.bands == 1
    if not (0 < old < new and fits):
        return
    # New places of the blocks of bins of the old drafts and their products.
    drafts = [*range(old - 1), new - 1]
    blocks = drafts + [new + d for d in range(old - 1)]
    features = [block * bins + k for block in blocks for k in range(bins)]
    features += [bins * (2 * new - 1), bins * (2 * new - 1) + 1]
    weights = [block * bins + k for block in (*drafts, new) for k in range(bins)]
    unused = torch.zeros(new + 1, bins)
    unused[: new - 1] = _UNUSED
    moves = (
        (enter, 1, features, network.enter.weight.new_zeros(network.enter.weight.shape)),
        (f"{head}weight", 0, weights, network.head.weight.new_zeros(network.head.weight.shape)),
        (f"{head}bias", 0, weights, unused.flatten()),
    )
    for name, axis, places, wide in moves:
        state[name] = wide.index_copy(axis, torch.tensor(places), state[name])


def _features(
    spectra: Tensor, lost: Tensor, context_frames: int, bands: int
) -> tuple[Tensor, Tensor]:
    """Return each segment's level, shape (batch, 1, 1), and the features."""
    magnitudes = magnitude(spectra[:, :, 0], spectra[:, :, 1], _SILENCE)
    drafts = magnitudes.shape[1]
    level = magnitudes[:, -1, :, :context_frames].mean(dim=(1, 2)).reshape(-1, 1, 1) + 1e-6
    products = spectra[:, :-1, 0] * spectra[:, -1:, 0] + spectra[:, :-1, 1] * spectra[:, -1:, 1]
    seen = magnitudes
    if bands > 1:
        products = _in_bands(products, bands)
        seen = torch.sqrt(_in_bands(magnitudes**2, bands))
    features = [torch.log(seen[:, d] / level + _FLOOR) / 3.0 + 1.0 for d in range(drafts - 1)]
    features.append(torch.log(magnitudes[:, -1] / level + _FLOOR) / 3.0 + 1.0)
    features += [products[:, d] / (seen[:, d] * seen[:, -1]) for d in range(drafts - 1)]
    frames = lost.shape[1]
    time = torch.arange(frames).to(spectra) / 32.0
    features += [lost[:, None], time.reshape(1, 1, frames).expand(lost.shape[0], 1, frames)]
    return level, torch.cat(features, dim=1)


def _in_bands(x: Tensor, bins: int) -> Tensor:
    """Return sums of neighbouring bins; the last band may have fewer.

    ``x`` has the shape (batch, drafts, bins, frames).
    """
    batch, drafts, all_bins, frames = x.shape
    count = -(-all_bins // bins)
    padded = nn.functional.pad(x, (0, 0, 0, count * bins - all_bins))
    return padded.reshape(batch, drafts, count, bins, frames).sum(dim=3)


def _weighed(spectra: Tensor, weights: Tensor, level: Tensor) -> Tensor:
    """Return the fill's spectrum, shape (batch, 2, bins, frames)."""
    drafts = spectra.shape[1]
    # The logistic function, but not sigmoid: ONNX Runtime computes that with an absolute error of
    # 1e-7, which is large for small gains.
    gains = _MOST_GAIN * torch.exp(-nn.functional.softplus(-weights[:, :drafts]))
    mixed = (gains[:, :, None] * spectra).sum(1)
    added = torch.exp(torch.clamp(weights[:, -1], max=_LOUDEST)) * level
    grown = 1.0 + added / (magnitude(mixed[:, 0], mixed[:, 1], _SILENCE) + _DAMPING * level)
    return mixed * grown[:, None]
