"""A small classifier of notes, by pitch or by instrument.

Log-magnitudes of a note go through three convolutions, means over all of the time and over its
beginning, which tells instruments apart, and two layers of vectors. Nothing is averaged over
frequency: where a partial lies is what tells pitches apart.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (8, 16, 32)
EMBEDDING = 64


class Judge(nn.Module):
    """Answers with logits of classes.

    Parameters
    ----------
    bins : int
        Of a spectrum.
    classes : int
        To tell apart.
    """

    def __init__(self, bins: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width)]
            layers.append(nn.ReLU())
            before = width
            bins = (bins + 1) // 2
        self.layers = nn.Sequential(*layers)
        self.embed = nn.Linear(2 * before * bins, EMBEDDING)
        self.answer = nn.Linear(EMBEDDING, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (notes, classes).

        Parameters
        ----------
        x : float32, shape (notes, bins, frames)
            Log-magnitudes, 0 to 1.
        """
        y = self.layers(x[:, None])
        both = torch.cat([y.mean(3), y[..., : max(1, y.shape[3] // 4)].mean(3)], 1)
        logits: Tensor = self.answer(functional.relu(self.embed(both.flatten(1))))
        return logits
