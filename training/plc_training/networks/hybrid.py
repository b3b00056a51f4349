"""The hybrid network, which improves the drafts of linear prediction.

Inputs are the spectra of the signal with the gap filled in one or several ways (the drafts).
Outputs are, for every bin of every frame that touches the gap, a complex weight for each draft and
a magnitude that is added with the phase of the weighted sum::

    spectra of the drafts ──▶ log magnitudes, phase differences, place ──▶ U-Net over (bins, frames)
             │                                                               │ with a GRU over
             │        weights (complex, one a draft), magnitude ◀────────────╯ frames at its bottom
             ▼                      ▼
           sum of weighted drafts + magnitude · phase of that sum ──▶ spectrum of the fill

With a weight of 1 for the last draft and a magnitude of 0, the fill is that draft: this is the
initial state. Levels are relative to the segment's level, inside the graph. Per-bin gains on an AR
draft are this project's idea; the U-Net follows the context encoder of [1]_ in purpose, not in
shape.

References
----------
.. [1] A. Marafioti et al., "A context encoder for audio inpainting", IEEE/ACM TASLP 27 (12), 2019.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from plc_training.networks.spectral import magnitude

# Magnitudes are compressed by log(_FLOOR + m / level): 60 dB below the level is the floor.
_FLOOR = 1e-3
# Lower bound of magnitudes: 0 has no phase.
_SILENCE = 1e-6
_KERNEL = (5, 3)
_LEAK = 0.1
# Initial bias of the generated magnitude: softplus(-5) = 0.7 % of the level.
_QUIET = -5.0


class _Block(nn.Module):
    """Convolution over (bins, frames) and a leaky ReLU.

    Batch normalisation made training slower and the result no better.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        padding = (_KERNEL[0] // 2, _KERNEL[1] // 2)
        self.convolution = nn.Conv2d(inputs, outputs, _KERNEL, (stride, 1), padding=padding)
        nn.init.kaiming_normal_(self.convolution.weight, a=_LEAK)
        self.convolution.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.convolution(x), _LEAK)


class HybridNet(nn.Module):
    """The hybrid network; see the module.

    Parameters
    ----------
    drafts : int
        Input lines; an untrained network returns the last draft.
    context : (int, int)
        Frames before and after the gap, which have no output.
    channels : sequence of int
        Channels of the levels of the U-Net; each level halves the bins.
    gru : int
        Units of the recurrent layer, in each direction.
    """

    def __init__(
        self, drafts: int, bins: int, context: tuple[int, int], channels: Sequence[int], gru: int
    ) -> None:
        super().__init__()
        self.drafts, self.context = drafts, context
        widths = (_feature_count(drafts), *channels)
        self.down = nn.ModuleList(_Block(low, high, stride=2) for low, high in pairwise(widths))
        self.sizes = [bins]
        for _ in channels:
            self.sizes.append((self.sizes[-1] + 1) // 2)
        bottom = self.sizes[-1] * widths[-1]
        self.gru = nn.GRU(bottom, gru, batch_first=True, bidirectional=True)
        self.spread = nn.Linear(2 * gru, bottom)
        outputs = (*channels[:-1][::-1], channels[0])
        inputs = (channels[-1], *outputs[:-1])
        skips = widths[:-1][::-1]
        self.up = nn.ModuleList(
            _Block(low + skip, high) for low, skip, high in zip(inputs, skips, outputs, strict=True)
        )
        self.head = nn.Conv2d(outputs[-1], 2 * drafts + 1, 1)
        nn.init.zeros_(self.head.weight)
        bias = torch.zeros(2 * drafts + 1)
        bias[2 * drafts - 2] = 1.0
        bias[-1] = _QUIET
        self.head.bias = nn.Parameter(bias)
        self.register_load_state_dict_pre_hook(_widen)  # type: ignore[no-untyped-call]

    def forward(self, spectra: Tensor, lost: Tensor) -> Tensor:
        """Return the spectrum of the fill.

        Parameters
        ----------
        spectra : float32, shape (batch, drafts, 2, bins, frames), real and imaginary parts
        lost : float32, shape (batch, frames)
            Share of each frame that lies in the gap.

        Returns
        -------
        float32, shape (batch, 2, bins, frames - sum(context))
        """
        level, x = _features(spectra, lost)
        weights = self._body(x)
        return _weighed(self._inner(spectra, 0), weights, level)

    def _inner(self, x: Tensor, spare: int) -> Tensor:
        """Return the frames of the output and ``spare`` frames on each side."""
        before, after = self.context
        return x[..., before - spare : min(x.shape[-1] - after + spare, x.shape[-1])]

    def _body(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(x)
        batch, channels, bins, frames = x.shape
        sequence = x.reshape(batch, channels * bins, frames).transpose(1, 2)
        sequence = self.spread(self.gru(sequence)[0]).transpose(1, 2)
        x = x + sequence.reshape(batch, channels, bins, frames)
        # From here on only the frames of the output, and those that the kernels reach.
        spare = min(2, self.context[1])
        x = self._inner(x, spare)
        for block, skip, size in zip(self.up, skips[::-1], self.sizes[:-1][::-1], strict=True):
            x = x.repeat_interleave(2, dim=2)[:, :, :size]
            x = block(torch.cat([x, self._inner(skip, spare)], dim=1))
        x = self.head(x).float()
        return x[..., spare : x.shape[-1] - spare] if spare else x


def _widen(network: HybridNet, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Extend the weights of a network with fewer drafts.

    New drafts stand before the last draft and have weights of zero. Other differences are kept, so
    that torch refuses the state.
    """
    head = state.get(f"{prefix}head.weight")
    new = network.drafts
    old = 0 if head is None else head.shape[0] // 2
    first, last = f"{prefix}down.0.convolution.weight", f"{prefix}up.{len(network.up) - 1}."
    skip = f"{last}convolution.weight"
    if not 0 < old < new or not {first, skip} <= set(state):
        return
    # New places of the old drafts, products and common features.
    drafts = [*range(old - 1), new - 1]
    products = [new + k for k in range(2 * (old - 1))]
    features = [*drafts, *products, *range(_feature_count(new) - 3, _feature_count(new))]
    weights = [2 * d + part for d in drafts for part in (0, 1)] + [2 * new]
    low = state[skip].shape[1] - _feature_count(old)
    moves = (
        (first, 1, features),
        (skip, 1, [*range(low), *(low + k for k in features)]),
        (f"{prefix}head.weight", 0, weights),
        (f"{prefix}head.bias", 0, weights),
    )
    for name, axis, places in moves:
        wide = torch.zeros_like(network.get_parameter(name.removeprefix(prefix)))
        state[name] = wide.index_copy(axis, torch.tensor(places), state[name])


def _feature_count(drafts: int) -> int:
    """Return the number of channels of :func:`_features`."""
    return drafts + 2 * (drafts - 1) + 3


def _features(spectra: Tensor, lost: Tensor) -> tuple[Tensor, Tensor]:
    """Return each segment's level and the features.

    Shapes (batch, 1, 1, 1) and (batch, channels, bins, frames).
    """
    real, imaginary = spectra[:, :, 0], spectra[:, :, 1]
    magnitudes = magnitude(real, imaginary, _SILENCE)
    batch, drafts, bins, frames = magnitudes.shape
    level = magnitudes.mean(dim=(1, 2, 3), keepdim=True) + 1e-6
    # log(m / level) has a mean of about -3 and a spread of 3.
    features = [torch.log(magnitudes / level + _FLOOR) / 3.0 + 1.0]
    last = slice(drafts - 1, drafts)
    for d in range(drafts - 1):
        scale = 1.0 / (magnitudes[:, d : d + 1] * magnitudes[:, last])
        both = real[:, d : d + 1] * real[:, last] + imaginary[:, d : d + 1] * imaginary[:, last]
        cross = imaginary[:, d : d + 1] * real[:, last] - real[:, d : d + 1] * imaginary[:, last]
        features += [both * scale, cross * scale]
    place = torch.linspace(-1.0, 1.0, bins).to(spectra).reshape(1, 1, bins, 1)
    time = torch.linspace(-1.0, 1.0, frames).to(spectra).reshape(1, 1, 1, frames)
    features += [
        place.expand(batch, 1, bins, frames),
        time.expand(batch, 1, bins, frames),
        lost.reshape(batch, 1, 1, frames).expand(batch, 1, bins, frames),
    ]
    return level, torch.cat(features, dim=1)


def _weighed(spectra: Tensor, weights: Tensor, level: Tensor) -> Tensor:
    """Return the fill's spectrum, shape (batch, 2, bins, frames)."""
    drafts = spectra.shape[1]
    real = torch.zeros_like(spectra[:, 0, 0])
    imaginary = torch.zeros_like(real)
    for d in range(drafts):
        a, b = weights[:, 2 * d], weights[:, 2 * d + 1]
        real = real + a * spectra[:, d, 0] - b * spectra[:, d, 1]
        imaginary = imaginary + a * spectra[:, d, 1] + b * spectra[:, d, 0]
    added = nn.functional.softplus(weights[:, -1]) * level[:, 0]
    grown = 1.0 + added / (magnitude(real, imaginary, _SILENCE) + 0.01 * level[:, 0])
    return torch.stack([real * grown, imaginary * grown], dim=1)
