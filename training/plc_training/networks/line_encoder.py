"""A context encoder whose answer is added to straight lines.

Straight lines lead, for each bin, from the logarithm of the last whole frame's magnitude before the
gap to that of the first one after it. The network answers with the difference, zero at first::

    context, 4 x 257 x 16 ─▶ features, 87 x 257 ─▶ (5) ─▶ 8 blocks ─▶ (5) ─▶ added, 11 x 257
                         └─▶ straight lines, 11 x 257 ──────────────────────────▶ (+) ─▶ exp

The frames are channels, as in the last layers of the published network
(:mod:`plc_training.networks.context_encoder`), and convolutions run along the bins. A block adds
to its input: a convolution of 5 bins that are 1, 2, 4 or 8 apart, ReLU and batch normalisation as
published, and a convolution of one bin.

Features of a bin: logarithms of the 32 magnitudes less the middle of the line, and that middle; the
phases of the 12 other whole frames of each side against that next to the gap, less the bin's
own turn; those of the frames next to the gap against each other and against the next
bin's. So neither a gain of the contexts nor a turn of all phases changes the answer.
"""

import math

import torch
from torch import Tensor, nn

from plc.engine.networks.encoder import CONTEXT_FRAMES, GAP_FRAMES, HOP_SAMPLES, TOUCHING
from plc.engine.networks.encoder import WINDOW_SAMPLES as _WINDOW_SAMPLES
from plc_training.networks.context_encoder import BINS, level_of, normal1d
from plc_training.networks.spectral import magnitude

CHANNELS = 512
"""Of a block, at width 1."""
_DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8)
_KERNEL = 5
# Whole frames of a side; the one next to the gap, before it and after it.
_WHOLE = CONTEXT_FRAMES - TOUCHING
_EDGES = (_WHOLE - 1, TOUCHING)
_PHASES = 2 * (2 * (_WHOLE - 1) + 3)
_FEATURES = 2 * CONTEXT_FRAMES + 1 + _PHASES
# Share of the contexts' level that is as good as none, and the most that is added: 52 dB.
_FLOOR, _MOST_ADDED = 1e-3, 6.0


class LineEncoderNet(nn.Module):
    """Network from spectra of both contexts to magnitudes of the gap.

    Parameters
    ----------
    width : int, divisor of :data:`CHANNELS`
    """

    turn: Tensor
    share: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = CHANNELS // width
        self.first = _along_bins(_FEATURES, channels)
        self.place = nn.Parameter(torch.zeros(channels, BINS))
        self.blocks = nn.ModuleList(_BinBlock(channels, dilation) for dilation in _DILATIONS)
        self.last = _along_bins(channels, GAP_FRAMES)
        nn.init.zeros_(self.last.weight)
        hops = torch.arange(_WHOLE)[None, :] * torch.arange(BINS)[:, None]
        angle = 2.0 * math.pi * HOP_SAMPLES / _WINDOW_SAMPLES * hops
        self.register_buffer("turn", torch.stack([torch.cos(angle), torch.sin(angle)])[:, None])
        share = torch.arange(1, GAP_FRAMES + 1) / (GAP_FRAMES + 1)
        self.register_buffer("share", share[:, None])

    def forward(self, context: Tensor) -> Tensor:
        """Return the magnitudes of gaps.

        Parameters
        ----------
        context : float32, shape (batch, 4, 257, 16)
            Real and imaginary part before the gap, and after it: bins by frames.

        Returns
        -------
        float32, shape (batch, 257, 11)
        """
        level = level_of(context)
        x = context / level
        sides = [x[:, :2], x[:, 2:]]
        sizes = [magnitude(side[:, 0], side[:, 1], _FLOOR) for side in sides]
        before, after = (
            torch.log(size[..., edge])[:, None] for size, edge in zip(sizes, _EDGES, strict=True)
        )
        line = before + self.share * (after - before)
        middle = 0.5 * (before + after)
        logs = torch.log(torch.cat(sizes, 2)).transpose(1, 2) - middle
        x = torch.cat([logs, middle, self._phases(sides, sizes)], 1)
        x = self.first(x) + self.place
        for block in self.blocks:
            x = block(x)
        added = _MOST_ADDED * torch.tanh(self.last(x).float() / _MOST_ADDED)
        out: Tensor = torch.exp(line + added).transpose(1, 2) * level[:, 0]
        return out

    def _phases(self, sides: list[Tensor], sizes: list[Tensor]) -> Tensor:
        """Return cosines and sines of the phases, shape (batch, channels, 257)."""
        before, after = (side / size[:, None] for side, size in zip(sides, sizes, strict=True))
        before, after = before[..., :_WHOLE], after[..., TOUCHING:]
        first, last = before[..., -1:], after[..., :1]
        # Counted from the gap, on either side.
        back = _turned(before[..., :-1].flip(-1), first, self.turn[..., 1:])
        on = _turned(last, after[..., 1:], self.turn[..., 1:])
        across = _turned(last, first)
        beside = [
            nn.functional.pad(_turned(edge[:, :, 1:], edge[:, :, :-1]), (0, 0, 0, 1))
            for edge in (first, last)
        ]
        return torch.cat([back, on, across, *beside], 3).permute(0, 1, 3, 2).flatten(1, 2)


def _turned(a: Tensor, b: Tensor, turn: Tensor | None = None) -> Tensor:
    """Return ``conj(a) b``, less a turn; shape (batch, 2, bins, frames), real and imaginary."""
    real = a[:, :1] * b[:, :1] + a[:, 1:] * b[:, 1:]
    imaginary = a[:, :1] * b[:, 1:] - a[:, 1:] * b[:, :1]
    if turn is not None:
        cosine, sine = turn
        real, imaginary = real * cosine + imaginary * sine, imaginary * cosine - real * sine
    return torch.cat([real, imaginary], 1)


class _BinBlock(nn.Module):
    """Adds convolutions along the bins to its input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.added = nn.Sequential(
            _along_bins(channels, channels, dilation),
            nn.ReLU(),
            normal1d(channels),
            nn.Conv1d(channels, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with the output of the convolutions added."""
        out: Tensor = x + self.added(x)
        return out


def _along_bins(taken: int, given: int, dilation: int = 1) -> nn.Conv1d:
    reach = _KERNEL // 2 * dilation
    return nn.Conv1d(taken, given, _KERNEL, padding=reach, dilation=dilation, bias=False)
