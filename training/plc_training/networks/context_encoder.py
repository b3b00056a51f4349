"""The context encoder of Marafioti et al. [1]_, built from its published parameters.

Six convolutions lead from the spectra of both contexts to a code of 2048 numbers, one fully
connected layer mixes it, five deconvolutions lead on to the spectra of the gap::

    channels x frames x bins
    4 x 16 x 257   (7, 89) / 2, 2    32 x 8 x 129        2048 fully connected, seen as
                   (3, 17) / 2, 3   128 x 4 x 43           32 x  8 x 8     (8, 8)   / 2
                   (2, 11) / 2, 3   512 x 2 x 15          128 x 16 x 16    (5, 5)   / 2
                   (1, 9)  / 1, 2   256 x 2 x 8           512 x 32 x 32    (3, 3)   / 1
                   (1, 5)  / 1, 1   160 x 2 x 8           257 x 32 x 32    seen as
                   (2, 5)  / 1, 1   128 x 2 x 8           128 x  8 x 257   (5, 67)  / 2
                        = 2048                             11 x 16 x 514   seen as
                                                           32 x 11 x 257   (11, 257) / 1
                                                         1 or 2 x 11 x 257

Every layer but the last is followed by ReLU and then batch normalisation; none has a bias; the last
is linear. *Seen as* regroups the numbers in the order frames, bins, channels, and is no
transposition. Padding is "same" as TensorFlow has it, with the odd sample at the end. 11.17 M
parameters, 37.6 % of them in the fully connected layer.

*Width.* The channels of every layer and the length of the code may be divided by 4 or 16. What is
set by bins and frames remains: 257 and 11 outputs, and the 32 channels that the last deconvolution
sees. The code is then seen as 32 x 4 x 4 (or 32 x 2 x 2), so that filters, strides and both
regroupings are those above: 32 x 16 x 16, 128 x 8 x 257 and so on become smaller along frames and
bins, or in channels. A quarter of the width has 1.16 M parameters and a tenth of the sums.

The paper's inputs are the spectra. Here each example is divided by its level at the input and
multiplied by it at the output, so that a gain of the contexts is a gain of the fill.

*Speed.* The last two deconvolutions have long filters and few channels, for which libraries are
slow. Products of spectra along the bins (:class:`LongDeconvolution`) are several times faster.

References
----------
.. [1] A. Marafioti, N. Holighaus, P. Majdak, N. Perraudin, "Audio inpainting of music by means of
   neural networks", AES 146th Convention, 2019, figures 1 and 2; batch normalisation and padding:
   the parameters that its authors published.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from plc.engine.networks.encoder import CONTEXT_FRAMES, GAP_FRAMES
from plc.engine.networks.encoder import WINDOW_SAMPLES as _WINDOW_SAMPLES

BINS = _WINDOW_SAMPLES // 2 + 1
CODE = 2048
"""Length of the published code."""
SEEN = 32
"""Channels that the code, and the last deconvolution's input, are seen as."""
WIDTHS = (1, 4, 16)
"""Divisors of the channels: squares, as the code is seen as one."""
# TensorFlow's defaults; its momentum of 0.99 is torch's 0.01.
_EPSILON, _MOMENTUM = 1e-3, 0.01
# Far below the quietest 16-bit sample: silence remains silence.
_LEAST_LEVEL = 1e-7
# The export to ONNX drops addends near zero, and silence would then be divided by zero.
_UP = 1e5

Pair = tuple[int, int]


class ContextEncoderNet(nn.Module):
    """Network from spectra of both contexts to spectra of the gap.

    Parameters
    ----------
    outputs : int
        1: magnitudes of the gap; 2: its real and imaginary parts.
    width : int
        Divisor of the channels, one of :data:`WIDTHS`; 1: as published.
    """

    def __init__(self, outputs: int, width: int = 1) -> None:
        super().__init__()
        a, b, c, d, e, f = (channels // width for channels in (32, 128, 512, 256, 160, 128))
        self.encoder = nn.Sequential(
            *_convolution(4, a, (7, 89), (2, 2), (CONTEXT_FRAMES, BINS)),
            *_convolution(a, b, (3, 17), (2, 3), (8, 129)),
            *_convolution(b, c, (2, 11), (2, 3), (4, 43)),
            *_convolution(c, d, (1, 9), (1, 2), (2, 15)),
            *_convolution(d, e, (1, 5), (1, 1), (2, 8)),
            *_convolution(e, f, (2, 5), (1, 1), (2, 8)),
        )
        code = CODE // width
        connected = nn.Linear(code, code, bias=False)
        nn.init.xavier_uniform_(connected.weight)
        self.connected = nn.Sequential(connected, nn.ReLU(), normal1d(code))
        self._side = math.isqrt(code // SEEN)
        self._seen = 128 // width
        self.rise = nn.Sequential(
            *_deconvolution(SameDeconvolution(SEEN, b, (8, 8), 2)),
            *_deconvolution(SameDeconvolution(b, c, (5, 5), 2)),
            *_deconvolution(SameDeconvolution(c, BINS, (3, 3), 1)),
        )
        self.widen = nn.Sequential(
            *_deconvolution(LongDeconvolution(self._seen, GAP_FRAMES, (5, 67), 2))
        )
        self.last = LongDeconvolution(SEEN, outputs, (GAP_FRAMES, BINS), 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs

    def forward(self, context: Tensor) -> Tensor:
        """Return the spectra of gaps.

        Parameters
        ----------
        context : float32, shape (batch, 4, 257, 16)
            Real and imaginary part before the gap, and after it: bins by frames.

        Returns
        -------
        float32, shape (batch, 257, 11) or (batch, 2, 257, 11)
            Magnitudes, possibly negative (their absolute value counts), or real and imaginary
            parts.
        """
        level = level_of(context)
        x = (context / level).transpose(2, 3)
        code = self.encoder(x.contiguous(memory_format=torch.channels_last))
        code = self.connected(code.permute(0, 2, 3, 1).flatten(1))
        x = self.rise(code.reshape(-1, self._side, self._side, SEEN).permute(0, 3, 1, 2))
        x = self.widen(_regrouped(x, (8, BINS, self._seen)))
        x = self.last(_regrouped(x, (GAP_FRAMES, BINS, SEEN)))
        out: Tensor = x.float().transpose(2, 3) * level
        return out[:, 0] if out.shape[1] == 1 else out


class SameDeconvolution(nn.Module):
    """Transposed convolution without bias, cropped to ``stride`` times its input."""

    def __init__(self, taken: int, given: int, kernel: Pair, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.given = given
        self.weight = nn.Parameter(torch.empty(taken, given, *kernel))
        nn.init.xavier_uniform_(self.weight)

    @property
    def before(self) -> Pair:
        """Number of frames and bins that are cropped at the start."""
        frames, bins = self.weight.shape[2:]
        return (frames - self.stride) // 2, (bins - self.stride) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of ``x``, shape (batch, taken, frames, bins).

        Its shape is (batch, given, stride * frames, stride * bins).
        """
        frames, bins = self.stride * x.shape[2], self.stride * x.shape[3]
        out = functional.conv_transpose2d(x, self.weight, stride=self.stride, padding=self.before)
        return out[:, :, :frames, :bins]


class LongDeconvolution(SameDeconvolution):
    """The same deconvolution by products of spectra along the bins.

    A stride interleaves the outputs of ``stride`` filters, each with every ``stride``-th tap. In an
    exported graph it is an ordinary deconvolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of ``x``, shape (batch, taken, frames, bins).

        Its shape is (batch, given, stride * frames, stride * bins).
        """
        if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return self._by_spectra(x.float())

    def _by_spectra(self, x: Tensor) -> Tensor:
        batch, _, frames, bins = x.shape
        span, stride = self.weight.shape[2], self.stride
        taps = functional.pad(self.weight, (0, -self.weight.shape[3] % stride))
        taps = taps.reshape(*taps.shape[:3], -1, stride)
        # The circular overlap falls on cropped outputs.
        first = self.before[1] // stride
        points = _smooth(max(bins + taps.shape[3] - 1 - first, first + bins + 1))
        filters = _half_spectrum(taps.movedim(3, 0), points).flatten(2)
        spectra = _half_spectrum(x.permute(3, 0, 2, 1), points).flatten(1, 2)
        products = torch.bmm(spectra, filters)
        products = products.reshape(-1, batch, frames, self.given, span, stride)
        total = (frames - 1) * stride + span
        out = products.new_zeros((products.shape[0], batch, total, self.given, stride))
        for i, product in enumerate(products.unbind(4)):  # its gradient is made once
            out[:, :, i : i + (frames - 1) * stride + 1 : stride] += product
        out = out[:, :, self.before[0] : self.before[0] + frames * stride]
        samples: Tensor = torch.fft.irfft(out, points, dim=0).permute(1, 3, 2, 0, 4).flatten(3)
        return samples[..., self.before[1] : self.before[1] + bins * stride]


class _HalfSpectrum(torch.autograd.Function):
    """Spectra along the first axis; torch's own gradient takes twice the time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, points: int) -> Tensor:
        ctx.sizes = x.shape[0], points
        spectra: Tensor = torch.fft.rfft(x, points, dim=0)
        return spectra

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        size, points = ctx.sizes
        # The adjoint: an inverse transform counts all frequencies but the outermost twice.
        gradient = gradients[0] * (0.5 * points)
        gradient[0] *= 2.0
        gradient[-1] *= 2.0  # an even number of points
        return torch.fft.irfft(gradient, points, dim=0)[:size], None


def _half_spectrum(x: Tensor, points: int) -> Tensor:
    """Return spectra along the first axis, of an even number of points."""
    spectra: Tensor = _HalfSpectrum.apply(x, points)  # type: ignore[no-untyped-call]  # torch's stubs
    return spectra


def level_of(context: Tensor) -> Tensor:
    """Return the level of contexts, shape (batch, 1, 1, 1); silence's is not 0."""
    power = (_UP * context).square().mean((1, 2, 3), keepdim=True)
    level: Tensor = (power + (_UP * _LEAST_LEVEL) ** 2).sqrt() / _UP
    return level


def normal1d(channels: int) -> nn.Module:
    """Return batch normalisation with TensorFlow's defaults."""
    return nn.BatchNorm1d(channels, eps=_EPSILON, momentum=_MOMENTUM)


def same_padding(size: int, kernel: int, stride: int) -> Pair:
    """Return the zeros before and after of TensorFlow's "same" convolution."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _convolution(taken: int, given: int, kernel: Pair, stride: Pair, size: Pair) -> list[nn.Module]:
    frames, bins = (same_padding(*of_axis) for of_axis in zip(size, kernel, stride, strict=True))
    convolution = nn.Conv2d(taken, given, kernel, stride, bias=False)
    nn.init.xavier_uniform_(convolution.weight)
    return [nn.ZeroPad2d((*bins, *frames)), convolution, nn.ReLU(), _normal2d(given)]


def _deconvolution(deconvolution: SameDeconvolution) -> list[nn.Module]:
    return [deconvolution, nn.ReLU(), _normal2d(deconvolution.given)]


def _normal2d(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)


def _regrouped(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return an array regrouped to another shape, bins by channels."""
    return x.permute(0, 2, 3, 1).reshape(-1, *shape).permute(0, 3, 1, 2)


def _smooth(least: int) -> int:
    """Return the next even number with prime factors up to 5."""
    points = least + least % 2
    while True:
        rest = points
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return points
        points += 2
