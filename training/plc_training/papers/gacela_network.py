"""GACELA: a generator of long gaps, conditioned on both sides, and its critics [1]_.

Spectrograms are logarithmic magnitudes from -1 (a hundred thousandth of full scale) to 1 (full
scale), 512 bins of frames of 1024 samples every 256 at 22.05 kHz. The layers are those of the
authors' program::

    side       mel, mean of 4 frames ─▶ 4 convolutions 5 x 5, stride 2 ─▶ code         two of them
    generator  codes and noise ─▶ linear ─▶ 4 transposed convolutions ─▶ 2 residual blocks
               ─▶ transposed convolution, tanh ─▶ 512 bins of the gap's frames
    critics    5 convolutions 5 x 5, stride 2, linear ─▶ a score                     five of them

The critics look at the gap, and at twice, four, eight and sixteen times as much around it, averaged
over time to as many frames as the gap has: the first two at bins, the others at mel bands. The base
width is 32 as published.

References
----------
.. [1] A. Marafioti, P. Majdak, N. Holighaus, N. Perraudin, "GACELA: a generative adversarial
   context encoder for long audio inpainting of music", IEEE J. Sel. Topics in Signal Processing 15
   (1), 2021, and github.com/andimarafioti/GACELA.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from plc.papers.gacela import BINS, DECADES, SAMPLE_RATE, WINDOW_SAMPLES

PUBLISHED_WIDTH = 32
MEL_BANDS = 80
SIDE_MEAN = 4
"""Frames of a side that are averaged."""
CRITICS = ("stft", "stft", "mel", "mel", "mel")
"""What each critic looks at; each at twice the time of the one before."""
_SIDE_LAYERS = 4
_LEAK, _CRITIC_LEAK = 0.2, 0.01
# Bins and frames of the seed of the generator's maps: five doublings to 512 bins.
_SEED_BINS, _DOUBLINGS = 16, 5


@dataclass(frozen=True, slots=True)
class Layout:
    """Frames of a gap and of its sides.

    Attributes
    ----------
    gap : int, a multiple of 32
    side : int
        Known frames on either side, a multiple of 4.
    """

    gap: int
    side: int

    @property
    def frames(self) -> int:
        """All frames: sides and gap."""
        return self.gap + 2 * self.side

    @property
    def code(self) -> tuple[int, int]:
        """Bands and frames of a side's code."""
        bands, frames = MEL_BANDS, self.side // SIDE_MEAN
        for _ in range(_SIDE_LAYERS):
            bands, frames = -(-bands // 2), -(-frames // 2)
        return bands, frames


def mel_basis() -> NDArray[np.float32]:
    """Return the weights of 80 mel bands, shape (80, 512); each band's sum is 1."""
    edges_mel = np.linspace(0.0, _mel(SAMPLE_RATE / 2), MEL_BANDS + 2)
    edges_hz = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins_hz = np.arange(BINS) * SAMPLE_RATE / WINDOW_SAMPLES
    low, middle, high = (edges_hz[i : i + MEL_BANDS, None] for i in range(3))
    slopes = np.minimum((bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle))
    basis = np.maximum(slopes, 0.0)
    # Bands narrower than a bin: the nearest one.
    empty = np.flatnonzero(basis.sum(axis=1) < 1e-6)
    basis[empty, np.rint(middle[empty, 0] * WINDOW_SAMPLES / SAMPLE_RATE).astype(int)] = 1.0
    weights: NDArray[np.float32] = (basis / basis.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def _mel(hz: float) -> float:
    return 2595.0 * float(np.log10(1.0 + hz / 700.0))


class Mel(nn.Module):
    """Mel bands of logarithmic magnitudes, on the same scale."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.from_numpy(mel_basis()), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Return bands, shape (batch, 80, frames), of bins, shape (batch, 512, frames)."""
        assert isinstance(self.basis, Tensor)
        return levels_of(self.basis @ 10.0 ** ((levels - 1.0) * (DECADES / 2.0)))


def levels_of(magnitudes: Tensor) -> Tensor:
    """Return the levels of magnitudes: 1 for 1, and at least -1."""
    out: Tensor = 1.0 + 2.0 / DECADES * torch.log10(magnitudes.clamp_min(10.0**-DECADES))
    return out


def averaged(levels: Tensor, times: int) -> Tensor:
    """Return means over ``times`` neighbouring frames of (batch, bands, frames)."""
    out: Tensor = levels.reshape(*levels.shape[:2], -1, times).mean(3)
    return out


class Side(nn.Sequential):
    """Encoder of one side: mel bands, shape (batch, 1, 80, frames / 4), to a code."""

    def __init__(self, width: int) -> None:
        widths = [1, width, 2 * width, width, width // 2]
        layers: list[nn.Module] = []
        for taken, given in pairwise(widths):
            convolution = nn.Conv2d(taken, given, 5, 2, 2)
            # By torch's own initial weights, narrow codes are often dead: the same for all sides.
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [weight_norm(convolution), nn.ReLU()]
        super().__init__(*layers)


class ResidualRise(nn.Module):
    """Residual block of transposed convolutions; the size stays."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.LeakyReLU(_LEAK),
            nn.ConvTranspose2d(width, width, 5, padding=2),
            nn.LeakyReLU(_LEAK),
            nn.ConvTranspose2d(width, width, 1),
        )
        self.shortcut = nn.ConvTranspose2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, in the shape of ``x``."""
        out: Tensor = self.shortcut(x) + self.branch(x)
        return out


class Generator(nn.Module):
    """Codes and noise to a gap.

    Parameters
    ----------
    width : int
        Base width: a multiple of 8.
    layout : Layout
        Frames of gap and sides.
    """

    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__()
        frames = layout.gap >> _DOUBLINGS
        # As many numbers, whatever the gap's length.
        self.seed = (16 * width // frames, _SEED_BINS, frames)
        bands, steps = layout.code
        taken = (2 * (width // 2) + width // 8) * bands * steps
        linear = nn.Linear(taken, self.seed[0] * _SEED_BINS * frames)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        self.linear = weight_norm(linear)
        widths = [self.seed[0], 8 * width, 4 * width, 2 * width, width]
        rises: list[nn.Module] = []
        for taken, given, kernel in zip(widths, widths[1:], (4, 4, 8, 8), strict=False):
            rises += [nn.ConvTranspose2d(taken, given, kernel, 2, kernel // 2 - 1), nn.ReLU()]
        blocks = [ResidualRise(width) for _ in range(2)]
        self.rises = nn.Sequential(*rises, *blocks, nn.ConvTranspose2d(width, 1, 8, 2, 3))

    def forward(self, codes: Tensor) -> Tensor:
        """Return gaps, shape (batch, 512, gap), of codes with noise.

        Parameters
        ----------
        codes : float32, shape (batch, numbers)
            Of both sides, and noise.
        """
        seed = self.linear(codes).reshape(-1, *self.seed)
        out: Tensor = torch.tanh(self.rises(seed)[:, 0])
        return out


class Inpainter(nn.Module):
    """The network of a model: both encoders and the generator.

    Parameters
    ----------
    width, layout
        As for :class:`Generator`.
    """

    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.noise_shape = (width // 8, *layout.code)
        self.mel = Mel()
        self.before, self.after = Side(width), Side(width)
        self.generator = Generator(width, layout)

    def forward(self, sides: Tensor, noise: Tensor) -> Tensor:
        """Return gaps.

        Parameters
        ----------
        sides : float32, shape (batch, 2, 512, side)
            Levels before and after, -1 to 1.
        noise : float32, shape (batch, width / 8, code bands, code frames)
            Uniform from 0 to 1.

        Returns
        -------
        float32, shape (batch, 512, gap)
        """
        codes = [
            encode(averaged(self.mel(sides[:, i]), SIDE_MEAN)[:, None])
            for i, encode in enumerate((self.before, self.after))
        ]
        out: Tensor = self.generator(torch.cat([*codes, noise], dim=1).flatten(1))
        return out


class Critic(nn.Sequential):
    """Scores, shape (batch, 1), of spectrograms, shape (batch, 1, bands, frames)."""

    def __init__(self, width: int, bands: int, frames: int) -> None:
        widths = [1, *(width << i for i in range(_DOUBLINGS))]
        layers: list[nn.Module] = []
        for taken, given in pairwise(widths):
            layers += [nn.Conv2d(taken, given, 5, 2, 2), nn.LeakyReLU(_CRITIC_LEAK)]
            bands, frames = -(-bands // 2), -(-frames // 2)
        linear = nn.Linear(widths[-1] * bands * frames, 1)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        super().__init__(*layers, nn.Flatten(), linear)


class Critics(nn.ModuleList):
    """All critics of a layout; mel critics have a quarter of the width."""

    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__(
            Critic(*((width, BINS) if kind == "stft" else (width // 4, MEL_BANDS)), layout.gap)
            for kind in CRITICS
        )


class Gacela(nn.Module):
    """Generator and critics; called, it fills gaps.

    Parameters
    ----------
    width : int
        Base width: a multiple of 8.
    layout : Layout
        The last critic looks at 16 gaps, so that each side has at least 7.5.
    """

    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.inpainter = Inpainter(width, layout)
        self.critics = Critics(width, layout)
        self.mel = Mel()

    def forward(self, sides: Tensor, noise: Tensor) -> Tensor:
        """Return gaps, as :meth:`Inpainter.forward` does."""
        gaps: Tensor = self.inpainter(sides, noise)
        return gaps

    def views(self, levels: Tensor) -> list[Tensor]:
        """Return each critic's input: gaps within their sides, averaged over time.

        Parameters
        ----------
        levels : float32, shape (batch, 512, frames)
            Levels of sides and gaps.
        """
        views = []
        middle, gap = self.layout.frames // 2, self.layout.gap
        for i, kind in enumerate(CRITICS):
            half = gap << i >> 1
            cut = levels[..., middle - half : middle + half]
            bands = cut if kind == "stft" else self.mel(cut)
            views.append(averaged(bands, 1 << i)[:, None])
        return views


def without_norms(network: nn.Module) -> nn.Module:
    """Return the network after its weight normalisations were folded into its weights."""
    for module in network.modules():
        if is_parametrized(module):
            remove_parametrizations(module, "weight")
    return network
