"""Blocks of networks on spectrograms: U-Nets, a pyramid, chains of convolutions, a critic.

A patch goes in as (batch, channels, bins, frames), a patch of one channel comes out. The layers are
those of TeleMidia's restorers of damaged spectrograms [1]_, in the sizes of their public program::

    block       convolution 3 x 3, batch normalisation, ReLU
    U-Net       five levels of w, 2 w, 4 w, 8 w, 16 w channels, a bottom of 32 w: a block, then half
                the size; back by transposed convolutions, each joined with its level, and a block
    w           32 as published

Convolutions pad as TensorFlow's "same" does, which puts the odd row and column at the end; batch
normalisation has its constants. Weights begin as Glorot's normal numbers.

The U-Net of speech and the critic of its second training [2]_ are of the same blocks::

    U-Net       four levels of w, 2 w, 4 w, 8 w channels, a bottom of 8 w, two convolutions a block;
                back by interpolation, each joined with its level, to 4 w, 2 w, w, w channels
    critic      three convolutions 4 x 4 with stride 2 to w, 2 w, 8 w channels, one 3 x 3 to one
    w           64 as published

References
----------
.. [1] "Quality enhancement of highly degraded music using deep learning models", 2021, doi
   10.1145/3470482.3479635, and github.com/TeleMidia/audio_reconstruction.
.. [2] github.com/iamhectorotero/generative-audio-inpainting: libraries/models and the report there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Down = Literal["pool", "stride"]
Skip = Literal["plain", "gate", "channel-gate", "pointwise", "spatial"]

LEVELS = 5
"""Halvings of a U-Net's patch: its bins and frames are multiples of 32."""
# TensorFlow's defaults; its momentum of 0.99 is torch's 0.01.
_EPSILON, _MOMENTUM = 1e-3, 0.01
LEAK = 0.3
"""Share of negative numbers that Keras's leaky rectifier passes."""
_LEAK_UP = 0.2
_LEAK_CRITIC, _CRITIC_DEVIATION = 0.2, 0.02


def block(
    taken: int, given: int, kernel: int = 3, stride: int = 1, leak: float = 0.0
) -> nn.Sequential:
    """Return a convolution, its batch normalisation and its rectifier.

    The rectifier passes negative numbers times ``leak``.
    """
    # "Same" padding of even sizes: with a stride, at the end alone.
    pad = [nn.ZeroPad2d((0, 1, 0, 1))] if stride > 1 else []
    return nn.Sequential(
        *pad,
        nn.Conv2d(taken, given, kernel, stride, 0 if pad else kernel // 2),
        nn.BatchNorm2d(given, eps=_EPSILON, momentum=_MOMENTUM),
        nn.LeakyReLU(leak) if leak else nn.ReLU(),
    )


class Rise(nn.Module):
    """Transposed 3 x 3 convolution to twice the size, rectified."""

    def __init__(self, taken: int, given: int, leaky: bool = False) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(taken, given, 3, stride=2)
        self.rectify = nn.LeakyReLU(_LEAK_UP) if leaky else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, shape (batch, given, 2 * bins, 2 * frames)."""
        risen: Tensor = self.rectify(self.convolution(x)[..., :-1, :-1])
        return risen


class LinkRise(nn.Sequential):
    """LinkNet's rise: at a quarter of the channels, between two 1 x 1 blocks."""

    def __init__(self, taken: int, given: int) -> None:
        inner = taken // 4
        super().__init__(
            block(taken, inner, 1),
            nn.ConvTranspose2d(inner, inner, 4, stride=2, padding=1),
            nn.BatchNorm2d(inner, eps=_EPSILON, momentum=_MOMENTUM),
            nn.ReLU(),
            block(inner, given, 1),
        )


class Gate(nn.Module):
    """Attention on a skip: a factor from 0 to 1 at every place.

    Parameters
    ----------
    width : int
        Channels of the skip and of the risen map.
    factors : int
        1, or ``width``: a factor for each channel.
    """

    def __init__(self, width: int, factors: int) -> None:
        super().__init__()
        self.of_skip = nn.Conv2d(width, width, 1)
        self.of_risen = nn.Conv2d(width, width, 1)
        self.factor = nn.Conv2d(width, factors, 1)

    def forward(self, skip: Tensor, risen: Tensor) -> Tensor:
        """Return the gated skip, in its shape."""
        both = functional.relu(self.of_skip(skip) + self.of_risen(risen))
        return skip * torch.sigmoid(self.factor(both))


class Lateral(nn.Module):
    """Skip that is passed on, or through a rectified convolution first."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.convolution = _convolution(width, width, kernel) if kernel else nn.Identity()
        self.rectify = nn.ReLU() if kernel else nn.Identity()

    def forward(self, skip: Tensor, risen: Tensor) -> Tensor:
        """Return the skip, in its shape; ``risen`` has no effect."""
        passed: Tensor = self.rectify(self.convolution(skip))
        return passed


class UNet(nn.Module):
    """U-Net in all forms of both documents.

    Parameters
    ----------
    width : int
        Channels of the first level; each level has twice as many as the one before.
    levels : int
        Halvings of the patch: its bins and frames are multiples of ``2 ** levels``.
    down : str
        ``"pool"``: the largest of 2 x 2 places; ``"stride"``: a block with stride 2.
    skip : str
        ``"plain"``; ``"gate"`` or ``"channel-gate"``: attention with one factor or one for each
        channel; ``"pointwise"`` or ``"spatial"``: a convolution of 1 x 1 or 3 x 3.
    link : bool
        Rises as in LinkNet, with skips added; otherwise skips are concatenated.
    bilinear : bool
        Rises by interpolation. They keep the channels, so the block below gives as many as the
        level has; blocks have two convolutions, the last convolution is of 1 x 1.
    leak : float
        Share of negative numbers that the rectifiers pass.
    code : module, optional
        Between bottom and first rise, such as :class:`VariationalCode`.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        levels: int = LEVELS,
        down: Down = "pool",
        skip: Skip = "plain",
        link: bool = False,
        bilinear: bool = False,
        leak: float = 0.0,
        code: nn.Module | None = None,
    ) -> None:
        super().__init__()
        widths = [width << level for level in range(levels)]
        taken = [channels, *widths[:-1]]
        bottom = widths[-1] if bilinear else 2 * widths[-1]
        # What each join gives, and what each rise takes: the join above it, or the bottom.
        given = [widths[0], *widths[:-1]] if bilinear else widths
        above = [*given[1:], bottom]
        blocks = partial(_blocks, convolutions=1 + bilinear, leak=leak)
        self.link = link
        self.levels = nn.ModuleList(blocks(a, b) for a, b in zip(taken, widths, strict=True))
        self.downs = nn.ModuleList(
            nn.MaxPool2d(2) if down == "pool" else block(w, w, stride=2, leak=leak) for w in widths
        )
        self.bottom = blocks(widths[-1], bottom)
        self.code = code or nn.Identity()
        self.rises = nn.ModuleList(
            _rise(a, w, link, bilinear, leak) for a, w in zip(above, widths, strict=True)
        )
        self.skips = nn.ModuleList(_skip(skip, w) for w in widths)
        self.joins = nn.ModuleList(
            blocks(w if link else 2 * w, g) for w, g in zip(widths, given, strict=True)
        )
        self.last = _convolution(width, 1, 1 if bilinear else 3)
        begin(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, shape (batch, 1, bins, frames)."""
        passed = []
        for level, down in zip(self.levels, self.downs, strict=True):
            passed.append(level(x))
            x = down(passed[-1])
        x = self.code(self.bottom(x))
        for i in reversed(range(len(passed))):
            risen = self.rises[i](x)
            skip = self.skips[i](passed[i], risen)
            x = self.joins[i](skip + risen if self.link else torch.cat([skip, risen], dim=1))
        out: Tensor = self.last(x)
        return out


class PatchCritic(nn.Module):
    """Critic of patches, after Pix2Pix: a figure for each place of a grid.

    Parameters
    ----------
    channels : int
        Of the input: the patch to judge, and what its maker was shown.
    width : int
        Channels of the first layer; 64 as published.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = (channels, width, 2 * width, 8 * width)
        layers: list[nn.Module] = []
        for i, (taken, given) in enumerate(pairwise(sizes)):
            norm = [nn.InstanceNorm2d(given)] if i else []
            layers += [nn.Conv2d(taken, given, 4, stride=2), *norm, nn.LeakyReLU(_LEAK_CRITIC)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, 3, bias=False))
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=_CRITIC_DEVIATION)

    def forward(self, x: Tensor) -> Tensor:
        """Return the figures: 4 x 4 for a patch of 64 x 64."""
        figures: Tensor = self.layers(x)
        return figures


class VariationalCode(nn.Module):
    """Code of random numbers about a mean: the bottom of the variational U-Net.

    The mean alone is passed outside of training.

    Parameters
    ----------
    channels, side : int, of the square maps
    hidden, latent : int
        Numbers of the layer before, and of the code.

    Attributes
    ----------
    divergence : Tensor or None
        Of the last batch in training from standard normal numbers, in nats: a term of the loss.
    """

    def __init__(self, channels: int, side: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.shape = (channels, side, side)
        numbers = channels * side * side
        self.hidden = nn.Linear(numbers, hidden)
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)
        self.widen = nn.Linear(latent, numbers)
        self.divergence: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return maps made of the code, in the shape of ``x``."""
        hidden = self.hidden(x.flatten(1))
        code = self.mean(hidden)
        if self.training:
            log_variance = self.log_variance(hidden)
            surplus = code.square() + log_variance.exp() - 1.0 - log_variance
            self.divergence = 0.5 * surplus.sum(1).mean()
            code = code + torch.randn_like(code) * (0.5 * log_variance).exp()
        out = functional.leaky_relu(self.widen(code), _LEAK_UP)
        return out.reshape(-1, *self.shape)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, without the last batch."""
        return {**self.__dict__, "divergence": None}


class Pyramid(nn.Module):
    """Feature pyramid: four levels become the patch together.

    Parameters
    ----------
    width : int
        Channels of the first level; laterals have four times as many.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width << level for level in range(LEVELS)]
        taken = [channels, *widths[:-1]]
        self.levels = nn.ModuleList(
            nn.Sequential(block(a, b), nn.MaxPool2d(2)) for a, b in zip(taken, widths, strict=True)
        )
        lateral = 4 * width
        self.laterals = nn.ModuleList(nn.Conv2d(w, lateral, 1) for w in widths[1:])
        self.heads = nn.ModuleList(
            nn.Sequential(block(lateral, width), block(width, width)) for _ in self.laterals
        )
        self.join = block(len(self.laterals) * width, width)
        self.last = _convolution(width, 1, 3)
        begin(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, shape (batch, 1, bins, frames)."""
        levels = []
        for level in self.levels:
            x = level(x)
            levels.append(x)
        maps: list[Tensor] = []
        above: Tensor | None = None
        for i in reversed(range(len(self.laterals))):
            lateral = functional.relu(self.laterals[i](levels[i + 1]))
            above = lateral if above is None else lateral + _nearest(above, 2)
            maps.append(_nearest(self.heads[i](above), 4 << i))
        out: Tensor = self.last(self.join(torch.cat(maps, dim=1)))
        return out


class Chain(nn.Module):
    """Convolutions in a row, as for pictures; sums at given distances.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Channels and kernel of each layer, each rectified; one of a single channel follows.
    last_kernel : int, kernel of that one
    sum_every : int
        From the second layer on, so many layers form a block whose input is added to its output;
        of the first block it is not, and the patch is added to the last output. 0: no sums.
    learned_slopes : bool
        Rectifiers with a slope for each channel instead of ReLU.
    """

    def __init__(
        self,
        channels: int,
        sizes: Sequence[tuple[int, int]],
        last_kernel: int,
        sum_every: int = 0,
        learned_slopes: bool = False,
    ) -> None:
        super().__init__()
        taken = [channels, *(given for given, _ in sizes)]
        self.sum_every = sum_every
        self.layers = nn.ModuleList(
            nn.Sequential(
                _convolution(a, given, kernel),
                nn.PReLU(given, init=0.0) if learned_slopes else nn.ReLU(),
            )
            for a, (given, kernel) in zip(taken, sizes, strict=False)
        )
        self.last = _convolution(taken[-1], 1, last_kernel)
        begin(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, shape (batch, 1, bins, frames)."""
        patch, kept = x[:, :1], x
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if self.sum_every and i and i % self.sum_every == 0:
                x = x + kept if i > self.sum_every else x
                kept = x
        out: Tensor = self.last(x)
        return out + patch if self.sum_every else out


class Residual(nn.Module):
    """Network that returns its input's first channel less its own output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, shape (batch, 1, bins, frames)."""
        out: Tensor = x[:, :1] - self.network(x)
        return out


class Dual(nn.Module):
    """Two networks in a row: the second sees the correction of the first.

    Attributes
    ----------
    before : Tensor or None
        Output of the first network for the last batch in training: the loss counts both.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.before: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, shape (batch, 1, bins, frames)."""
        patch, others = x[:, :1], x[:, 1:]
        correction = self.first(x)
        if self.training:
            self.before = patch - correction
        out: Tensor = patch - self.second(torch.cat([correction, others], dim=1))
        return out

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, without the last batch."""
        return {**self.__dict__, "before": None}


def begin(network: nn.Module) -> None:
    """Give a network's layers initial weights of Glorot's normal numbers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_normal_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def counted(network: nn.Module) -> int:
    """Return the number of parameters as Keras counts them.

    The means and variances of batch normalisation count.
    """
    statistics = [
        value
        for name, value in network.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    ]
    return sum(value.numel() for value in (*network.parameters(), *statistics))


def _convolution(taken: int, given: int, kernel: int) -> nn.Conv2d:
    """Return a convolution that keeps the size; ``kernel`` is odd."""
    return nn.Conv2d(taken, given, kernel, padding=kernel // 2)


def _blocks(taken: int, given: int, convolutions: int, leak: float) -> nn.Module:
    """Return some blocks; the first changes the channels."""
    first = block(taken, given, leak=leak)
    if convolutions == 1:
        return first
    more = (block(given, given, leak=leak) for _ in range(convolutions - 1))
    return nn.Sequential(first, *more)


def _rise(taken: int, given: int, link: bool, bilinear: bool, leak: float) -> nn.Module:
    if bilinear:
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return LinkRise(taken, given) if link else Rise(taken, given, leaky=leak > 0)


def _skip(kind: Skip, width: int) -> nn.Module:
    if kind in ("gate", "channel-gate"):
        return Gate(width, 1 if kind == "gate" else width)
    return Lateral(width, {"plain": 0, "pointwise": 1, "spatial": 3}[kind])


def _nearest(x: Tensor, times: int) -> Tensor:
    return functional.interpolate(x, scale_factor=times, mode="nearest")


PENALTY_WEIGHT = 10.0
"""Of the gradient's distance from norm 1, as published."""
Critic = Callable[[Tensor], Tensor]
"""Samples, shape (batch, …), to their scores."""


def wasserstein(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return a critic's loss with its gradient penalty.

    Parameters
    ----------
    critic : callable
        Scores of a batch; each depends on its own sample alone.
    real, fake : float32, shape (batch, …), without gradients
    mix : float32, shape (batch,)
        Places between the fake (0) and the real (1) sample at which the gradient counts.
    """
    return critic(fake).mean() - critic(real).mean() + gradient_penalty(critic, real, fake, mix)


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return the weighted squared distance of the gradients' norms from 1.

    Parameters
    ----------
    critic, real, fake, mix
        As for :func:`wasserstein`.
    """
    shape = (-1, *[1] * (real.ndim - 1))
    between = torch.lerp(fake, real, mix.reshape(shape)).requires_grad_(True)
    # In a sum of scores, the gradient at a sample is that of its own score.
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norms = gradient.flatten(1).norm(dim=1)
    penalty: Tensor = PENALTY_WEIGHT * (norms - 1.0).square().mean()
    return penalty


def least_squares(scores: Tensor, label: float) -> Tensor:
    """Return the mean squared distance of scores from a label.

    Parameters
    ----------
    scores : float32, of any shape
    label : float
        1: real; 0: fake. A softened one, such as 0.9, keeps a discriminator from certainty.
    """
    return (scores - label).square().mean()
