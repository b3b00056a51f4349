"""A network that sees columns: all numbers of a stretch of time are one vector.

Columns look at their neighbours and, by attention, at all others [1]_. Their number is free, and
nothing is assumed of what stands in a column: bins, bands or samples.

References
----------
.. [1] A. Vaswani et al., "Attention is all you need", NeurIPS, 2017; norms stand before the layers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 4
# Cosines over the columns that tell a column its place.
_PLACES = 16


class Columns(nn.Module):
    """Columns to columns.

    Parameters
    ----------
    taken, given : int
        Numbers of a column, before and after.
    width : int
        Of the vectors between; a multiple of :data:`HEADS`.
    blocks : int
        Blocks, each of three layers that add to the vectors.
    """

    def __init__(self, taken: int, given: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(taken, width)
        self.place = nn.Linear(_PLACES, width, bias=False)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, given)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the columns, shape (batch, columns, given).

        Parameters
        ----------
        x : float32, shape (batch, columns, taken)
        """
        count = x.shape[1]
        place = (torch.arange(count, device=x.device) + 0.5) / count
        cosines = torch.cos(torch.pi * place[:, None] * torch.arange(_PLACES, device=x.device))
        x = self.first(x) + self.place(cosines.to(x.dtype))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.last(self.norm(x))
        return out


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.near = nn.Linear(3 * width, width)
        self.asked = nn.Linear(width, 3 * width)
        self.answered = nn.Linear(width, width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        beside = functional.pad(self.norms[0](x), (0, 0, 1, 1))
        near = torch.cat([beside[:, :-2], beside[:, 1:-1], beside[:, 2:]], dim=2)
        x = x + functional.gelu(self.near(near))
        batch, count, width = x.shape
        parts = self.asked(self.norms[1](x)).reshape(batch, count, 3, HEADS, width // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.answered(found.transpose(1, 2).reshape(batch, count, width))
        out: Tensor = x + self.narrow(functional.gelu(self.wide(self.norms[2](x))))
        return out
