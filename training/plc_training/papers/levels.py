"""Arrays of sound as a generator makes them: between -1 and 1, with the quiet made alike.

Many coefficients of a note are close to nothing: as amplitudes they all but vanish beside its
partials, as logarithms they, and their phases, are noise that fills most of the range. A critic
tells noise from what a generator makes long before it hears pitches. So magnitudes ``m`` become
``log(m + q)``, where ``q`` is some decibels below the largest magnitude of the training notes.
Samples, real and imaginary parts keep signs and phases: ``x log(1 + m / q) / m``. Phases, and steps
of them, fall to 0 where nothing is heard: they are weighted by ``m^2 / (m^2 + q^2)``. All but this
weight is undone in the graph of the model.
"""

from collections.abc import Mapping
from enum import Enum

import torch
from torch import Tensor, nn

_LEAST = 1e-9
# Of the quiet: below it magnitudes are all alike. The less, the more a logarithm of a difference
# magnifies rounding.
_LEAST_SHARE = 0.01
_LEAST_REACH = 1e-6


class Content(Enum):
    """Kinds of numbers in the first channel of an array."""

    AMPLITUDE = 0
    MAGNITUDE = 1
    POWER = 2


_CONTENTS: Mapping[str, Content] = {
    "sample": Content.AMPLITUDE,
    "real part": Content.AMPLITUDE,
    "log magnitude": Content.MAGNITUDE,
    "log power": Content.POWER,
}


def content_of(channels: tuple[str, ...]) -> Content | None:
    """Return the content of a representation's channels, or None."""
    return _CONTENTS.get(channels[0])


class Levels(nn.Module):
    """The range of a representation's arrays, fitted to training notes.

    Parameters
    ----------
    quiet_db : float
        How far below the largest magnitude what counts as silence begins; 0: arrays are only
        shifted and scaled.
    """

    middle: Tensor
    reach: Tensor
    quiet: Tensor

    def __init__(self, channels: tuple[str, ...], quiet_db: float) -> None:
        super().__init__()
        self._content = content_of(channels) if quiet_db else None
        decibels = 10.0 if self._content is Content.POWER else 20.0
        self._share = 10.0 ** (-quiet_db / decibels)
        self.register_buffer("middle", torch.zeros(len(channels), 1, 1))
        self.register_buffer("reach", torch.ones(len(channels), 1, 1))
        self.register_buffer("quiet", torch.ones(()))

    def fit(self, arrays: Tensor) -> None:
        """Fit the range and the quiet level to arrays of notes."""
        if self._content is not None:
            self.quiet.copy_(self._magnitude(arrays).max() * self._share)
        held = self._held(arrays)
        low, high = held.amin((0, 2, 3)), held.amax((0, 2, 3))
        self.middle.copy_(((low + high) / 2).reshape(-1, 1, 1))
        self.reach.copy_(((high - low) / 2).clamp_min(_LEAST_REACH).reshape(-1, 1, 1))

    def scaled(self, arrays: Tensor) -> Tensor:
        """Return arrays, float32, shape (batch, channels, rows, frames), from -1 to 1."""
        scaled: Tensor = (self._held(arrays) - self.middle) / self.reach
        return scaled

    def forward(self, scaled: Tensor) -> Tensor:
        """Return the arrays of scaled ones, clipped to their bounds."""
        held: Tensor = scaled.clamp(-1.0, 1.0) * self.reach + self.middle
        if self._content is None:
            return held
        if self._content is Content.AMPLITUDE:
            level = self._magnitude(held)
            return held * (self.quiet * level.expm1() / level)
        heard = (held[:, :1].exp() / self.quiet - 1.0).clamp_min(_LEAST_SHARE)
        return torch.cat([heard.log() + self.quiet.log(), held[:, 1:]], 1)

    def _held(self, arrays: Tensor) -> Tensor:
        if self._content is None:
            return arrays
        heard = self._magnitude(arrays) / self.quiet
        if self._content is Content.AMPLITUDE:
            return arrays * (heard.log1p() / (heard * self.quiet))
        weight = heard.square() / (heard.square() + 1.0)
        level = (heard + 1.0).log() + self.quiet.log()
        return torch.cat([level, arrays[:, 1:] * weight], 1)

    def _magnitude(self, arrays: Tensor) -> Tensor:
        """Return magnitudes, or powers, shape (batch, 1, rows, frames); none is 0."""
        if self._content is Content.AMPLITUDE:
            return arrays.square().sum(1, keepdim=True).sqrt().clamp_min(_LEAST)
        return arrays[:, :1].exp()
