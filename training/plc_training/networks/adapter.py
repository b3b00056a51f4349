"""What a network learns later, beside weights that stay: low-rank adapters [1]_.

A convolution with an adapter adds what a narrow one and one of a single frame after it make of its
inputs. The second begins as zeros, so that the network begins as the one before, and what is learnt
is a few percent of its weights: it cannot forget much, and a model that differs from another in
its adapters alone takes little more space beside it.

References
----------
.. [1] E. Hu et al., "LoRA: low-rank adaptation of large language models", ICLR, 2022.
"""

import math

from torch import Tensor, nn

ADAPTERS = (".down.weight", ".up.weight", ".up.bias")
"""What the names of an adapter's weights end in."""


class AdaptedConv1d(nn.Conv1d):
    """A convolution of odd width, as long as its input, and beside it one of low rank.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel : int
        Frames that each output sees, an odd number.
    rank : int
        Channels of the adapter in between.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, rank: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.down = nn.Conv1d(inputs, rank, kernel, padding=kernel // 2, bias=False)
        self.up = nn.Conv1d(rank, outputs, 1)
        nn.init.normal_(self.down.weight, std=1.0 / math.sqrt(inputs * kernel))
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (batch, outputs, frames) of (batch, inputs, frames)."""
        beside: Tensor = self.up(self.down(x))
        return super().forward(x) + beside


def freeze_all_but_adapters(network: nn.Module) -> None:
    """Keep every weight as it is, but those of the adapters."""
    for name, weight in network.named_parameters():
        weight.requires_grad_(name.endswith(ADAPTERS))
