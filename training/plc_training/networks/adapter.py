"""What a network learns later, beside weights that stay: low-rank adapters [1]_.

A convolution with an adapter adds what a narrow one and one of a single frame after it make of its
inputs. The second begins as zeros, so that the network begins as the one before, and what is learnt
is a few percent of its weights: it cannot forget much. Exported, an adapter stays beside its
convolution: the weights before it are those of the older model, byte for byte, and a history of
models stores them once.

References
----------
.. [1] E. Hu et al., "LoRA: low-rank adaptation of large language models", ICLR, 2022.
"""

import math

import torch
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


def with_adapters_folded(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return weights in which the adapters that a network lacks are part of its convolutions.

    Parameters
    ----------
    tensors : dict
        Weights by name; convolutions may have adapters.
    network : nn.Module
        Whose convolutions they are for. Those with an adapter of their own are left as they are.
    """
    made = dict(tensors)
    for name, module in network.named_modules():
        down, up, bias = (f"{name}{ending}" for ending in ADAPTERS)
        if down not in tensors or isinstance(module, AdaptedConv1d):
            continue
        weight = torch.einsum("or,rik->oik", tensors[up][..., 0], tensors[down])
        made[f"{name}.weight"] = tensors[f"{name}.weight"] + weight
        added = tensors.get(bias, weight.new_zeros(weight.shape[0]))
        made[f"{name}.bias"] = tensors.get(f"{name}.bias", torch.zeros_like(added)) + added
    return made


def keep_missing_adapters(
    network: nn.Module, state: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Leave adapters as they begin where a state says nothing of them: a hook of its loading."""
    for name, value in network.state_dict().items():
        if name.endswith(ADAPTERS):
            state.setdefault(prefix + name, value)
