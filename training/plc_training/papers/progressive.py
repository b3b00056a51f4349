"""A progressive generator of labelled arrays, and its critic.

Both grow: they begin at a sixteenth of the array's rows and frames and double up to the whole, and
at each new scale the one before fades out along ``alpha`` [1]_. The generator gets noise and a
label; the critic, an auxiliary classifier, answers with a score and a guess of the label [2]_.
Details (places of the layers, equalised learning rates, pixel norms, deviation over a batch of
four) are those of the document's program (:mod:`plc_training.papers.notes`); widths are a setting,
and the document's own are not published.

References
----------
.. [1] T. Karras, T. Aila, S. Laine, J. Lehtinen, "Progressive growing of GANs for improved quality,
   stability, and variation", ICLR, 2018.
.. [2] A. Odena, C. Olah, J. Shlens, "Conditional image synthesis with auxiliary classifier GANs",
   ICML, 2017.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2
_LEAST = 1e-8
# Samples whose deviation from each other a critic sees.
_GROUP = 4


class EqualConv(nn.Module):
    """A convolution with weights of unit variance.

    They are scaled as they are used, so that all learn at one speed [1]_.

    Parameters
    ----------
    kernel : int
        Rows and frames, odd; the array is padded to keep its size.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._scale = math.sqrt(2.0 / (inputs * kernel**2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved array, shape (batch, outputs, rows, frames)."""
        padding = self.weight.shape[-1] // 2
        return functional.conv2d(x, self.weight * self._scale, self.bias, padding=padding)


class EqualLinear(nn.Module):
    """As :class:`EqualConv`, of vectors."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._scale = math.sqrt(2.0 / inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors, shape (batch, outputs)."""
        return functional.linear(x, self.weight * self._scale, self.bias)


def pixel_norm(x: Tensor) -> Tensor:
    """Return ``x`` with unit mean square over its channels."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + _LEAST)


def scale_sizes(shape: tuple[int, int, int], scales: int) -> tuple[tuple[int, int], ...]:
    """Return rows and frames of each scale, rounded up; the last is the whole."""
    factors = [2**k for k in reversed(range(scales))]
    return tuple((-(-shape[1] // each), -(-shape[2] // each)) for each in factors)


class GrowingGenerator(nn.Module):
    """Makes arrays from noise and labels.

    Parameters
    ----------
    shape : tuple of int
        Channels, rows and frames of an array.
    widths : sequence of int
        Channels of each scale, from the smallest on.
    latent, labels : int
        Numbers of noise; kinds of labels.
    label_gain : float
        A label's 1 beside the noise, before both are normalised.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        widths: Sequence[int],
        latent: int,
        labels: int,
        label_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.sizes = scale_sizes(shape, len(widths))
        self.latent, self.labels, self._label_gain = latent, labels, label_gain
        rows, frames = self.sizes[0]
        self.begin = EqualLinear(latent + labels, widths[0] * rows * frames)
        self.first = EqualConv(widths[0], widths[0], 3)
        self.scales = nn.ModuleList(
            nn.ModuleList([EqualConv(before, width, 3), EqualConv(width, width, 3)])
            for before, width in pairwise(widths)
        )
        self.outputs = nn.ModuleList(EqualConv(width, shape[0], 1) for width in widths)

    def forward(self, noise: Tensor, label: Tensor, scale: int = -1, alpha: float = 0.0) -> Tensor:
        """Return arrays of a scale.

        Parameters
        ----------
        noise : float32, shape (batch, latent), normal
        label : int64, shape (batch,), from 0 on
        scale : int
            Number of the scale; the last is the whole.
        alpha : float
            Share of the scale before, 1 to 0.

        Returns
        -------
        float32, shape (batch, channels, rows, frames)
        """
        scale %= len(self.sizes)
        kinds = self._label_gain * functional.one_hot(label, self.labels).to(noise)
        x = self.begin(pixel_norm(torch.cat([noise, kinds], 1)))
        x = _interleaved(x.reshape(x.shape[0], -1, *self.sizes[0]))
        x = _after(self.first(_after(x)))
        before = x
        for size, pair in zip(self.sizes[1 : scale + 1], self.scales, strict=False):
            before = x
            x = functional.interpolate(x, size)
            for layer in pair.children():
                x = _after(layer(x))
        made: Tensor = self.outputs[scale](x)
        if alpha and scale:
            coarse = functional.interpolate(self.outputs[scale - 1](before), self.sizes[scale])
            made = torch.lerp(made, coarse, alpha)
        return made


class GrowingCritic(nn.Module):
    """Scores arrays, and guesses their labels.

    Parameters
    ----------
    shape, widths, labels
        As for :class:`GrowingGenerator`.
    """

    def __init__(self, shape: tuple[int, int, int], widths: Sequence[int], labels: int) -> None:
        super().__init__()
        self.sizes = scale_sizes(shape, len(widths))
        rows, frames = self.sizes[0]
        self.inputs = nn.ModuleList(EqualConv(shape[0], width, 1) for width in widths)
        self.scales = nn.ModuleList(
            nn.ModuleList([EqualConv(width, width, 3), EqualConv(width, before, 3)])
            for before, width in pairwise(widths)
        )
        self.last = EqualConv(widths[0] + 1, widths[0], 3)
        self.joined = EqualLinear(widths[0] * rows * frames, widths[0])
        self.answer = EqualLinear(widths[0], labels + 1)

    def forward(self, x: Tensor, scale: int = -1, alpha: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return scores, shape (batch,), and logits of the labels, shape (batch, labels).

        Parameters
        ----------
        x : float32, shape (batch, channels, rows, frames), of the scale's size
        scale, alpha
            As for :class:`GrowingGenerator`.
        """
        scale %= len(self.sizes)
        x = _interleaved(x)
        y = _leaky(self.inputs[scale](x))
        for number in range(scale, 0, -1):
            for layer in self.scales[number - 1].children():
                y = _leaky(layer(y))
            y = functional.interpolate(y, self.sizes[number - 1])
            if number == scale and alpha:
                coarse = functional.interpolate(x, self.sizes[scale - 1])
                y = torch.lerp(y, _leaky(self.inputs[scale - 1](coarse)), alpha)
        y = _leaky(self.last(torch.cat([y, _deviation(y)], 1)))
        out = self.answer(_leaky(self.joined(y.flatten(1))))
        return out[:, -1], out[:, :-1]


def _interleaved(x: Tensor) -> Tensor:
    """Return ``x`` with the channels of a place side by side.

    Convolutions are faster then.
    """
    return x.contiguous(memory_format=torch.channels_last)


def _after(x: Tensor) -> Tensor:
    return pixel_norm(_leaky(x))


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, LEAK)


def _deviation(x: Tensor) -> Tensor:
    """Return the mean deviation within groups, as one more channel."""
    size = _GROUP if x.shape[0] % _GROUP == 0 else 1
    groups = x.reshape(size, -1, *x.shape[1:])
    spread = (groups.var(0, unbiased=False) + _LEAST).sqrt().mean((1, 2, 3))
    return spread.repeat(size).reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
