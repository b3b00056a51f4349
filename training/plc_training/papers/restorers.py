"""Registry of the restorers of damaged spectrograms, and their common entry.

The names are those of the document (:mod:`plc_training.papers.blocks`), in small letters. At
width 32 with one channel in, the networks have the sizes that its program prints. ``unet-bilinear``
is the U-Net of another document, which has it at width 64.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from plc_training.papers import blocks

PATCH = 128
"""Bins and frames of a patch."""
PUBLISHED_WIDTH = 32
Form = Literal["published", "interpolated"]
# Far below the quietest 16-bit sample: silence remains silence.
_LEAST_LEVEL = 1e-9


def _residual(channels: int, width: int, make: Callable[[int, int], nn.Module]) -> nn.Module:
    return blocks.Residual(make(channels, width))


def _dual(channels: int, width: int) -> nn.Module:
    return blocks.Dual(_UNET_V2(channels, width), _UNET_V2(channels, width))


def _variational(channels: int, width: int) -> nn.Module:
    side = PATCH >> blocks.LEVELS
    hidden, latent = (numbers * width // PUBLISHED_WIDTH for numbers in (1000, 500))
    code = blocks.VariationalCode(width << blocks.LEVELS, side, hidden, latent)
    return blocks.Residual(blocks.UNet(channels, width, down="stride", leak=blocks.LEAK, code=code))


def _srcnn(channels: int, width: int) -> nn.Module:
    return blocks.Chain(channels, [(width, 5)] * 19, 5, sum_every=3)


def _arcnn(channels: int, width: int) -> nn.Module:
    sizes = [(2 * width, 9), (width, 7), (width // 2, 1)]
    return blocks.Chain(channels, sizes, 5, learned_slopes=True)


_UNET_V2 = partial(blocks.UNet, down="stride")
_UNET_BILINEAR = partial(blocks.UNet, levels=4, bilinear=True)
RESTORERS: dict[str, Callable[[int, int], nn.Module]] = {
    "unet": blocks.UNet,
    "unet-v2": _UNET_V2,
    "res-unet": partial(_residual, make=blocks.UNet),
    "res-unet-v2": partial(_residual, make=_UNET_V2),
    "attention": partial(blocks.UNet, skip="gate"),
    "attention-t2": partial(blocks.UNet, skip="channel-gate"),
    "res-attention": partial(_residual, make=partial(blocks.UNet, skip="gate")),
    "rfb-fpn": partial(blocks.UNet, skip="pointwise"),
    "rfb-tdm": partial(blocks.UNet, skip="spatial"),
    "res-rfb-tdm": partial(_residual, make=partial(blocks.UNet, skip="spatial")),
    "v2-rfb-tdm": partial(blocks.UNet, down="stride", skip="spatial"),
    "linknet": partial(blocks.UNet, down="stride", link=True),
    "fpn": blocks.Pyramid,
    "dual-res-unet-v2": _dual,
    "vae-res-unet-v2": _variational,
    "unet-bilinear": _UNET_BILINEAR,
    "res-unet-bilinear": partial(_residual, make=_UNET_BILINEAR),
    "srcnn": _srcnn,
    "arcnn": _arcnn,
}
"""By name: a function of the input's channels and the width."""


class Restorer(nn.Module):
    """A network of the registry, with the inputs of a form.

    Parameters
    ----------
    name : str, of :data:`RESTORERS`
    width : int
        Channels of the first level; :data:`PUBLISHED_WIDTH` as published.
    form : str
        ``"published"``: the network sees the damaged patch alone. ``"interpolated"``: it sees the
        interpolated patch, divided by its level, beside a channel with 1 in the lost frames, and a
        network of corrections begins with none.
    logarithmic : bool
        Patches are logarithms: their mean is their level and is taken away.
    """

    def __init__(self, name: str, width: int, form: Form, logarithmic: bool = False) -> None:
        super().__init__()
        self.interpolated, self.logarithmic = form == "interpolated", logarithmic
        self.network = RESTORERS[name](1 + self.interpolated, width)
        if self.interpolated and isinstance(self.network, blocks.Residual):
            last = self.network.network.last
            assert isinstance(last, nn.Conv2d)
            nn.init.zeros_(last.weight)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs

    def forward(self, patch: Tensor, lost: Tensor) -> Tensor:
        """Return the restored patch; known frames are as they were.

        Parameters
        ----------
        patch : float32, shape (batch, 1, bins, frames)
            Magnitudes or their logarithms: 0 or interpolated in the lost frames.
        lost : float32, shape (batch, frames)
            1 for a lost frame, 0 for a known one.

        Returns
        -------
        float32, shape (batch, 1, bins, frames)
        """
        missing = lost[:, None, None, :]
        if self.interpolated and self.logarithmic:
            mean = patch.mean((1, 2, 3), keepdim=True)
            answer = self.network(torch.cat([patch - mean, missing.expand_as(patch)], dim=1))
            answer = answer.float() + mean
        elif self.interpolated:
            level = level_of(patch)
            x = torch.cat([patch / level, missing.expand_as(patch)], dim=1)
            answer = self.network(x).float() * level
        else:
            answer = self.network(patch).float()
        out: Tensor = patch + missing * (answer - patch)
        return out


def level_of(patch: Tensor) -> Tensor:
    """Return the patches' level, shape (batch, 1, 1, 1): they are divided by it."""
    return (patch.square().mean((1, 2, 3), keepdim=True) + _LEAST_LEVEL**2).sqrt()
