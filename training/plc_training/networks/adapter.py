"""Low-rank adapters: trained additions to the fixed weights of a network [1]_.

An adapter adds to a convolution the output of a narrow convolution followed by a convolution of one
frame. The second is initialised with zeros, so that training starts from the older network, and
only a few percent of the weights change. In the exported file an adapter stays separate from its
convolution: the fixed weights are those of the older model, byte for byte, and a history of models
stores them once.

References
----------
.. [1] E. Hu et al., "LoRA: low-rank adaptation of large language models", ICLR, 2022.
"""

import math

import torch
from torch import Tensor, nn

ADAPTERS = (".down.weight", ".up.weight", ".up.bias")
"""Endings of the names of an adapter's weights."""


class AdaptedConv1d(nn.Conv1d):
    """A convolution of odd width with a low-rank adapter, same length.

    Parameters
    ----------
    kernel : int
        Frames that each output sees, an odd number.
    rank : int
        Channels between the adapter's convolutions.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, rank: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.down, self.up = _narrow(inputs, outputs, kernel, rank)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (batch, outputs, frames) of (batch, inputs, frames)."""
        beside: Tensor = self.up(self.down(x))
        return super().forward(x) + beside


class EarlyAdapter(nn.Module):
    """An adapter in the first frames of an output alone.

    It stands beside the convolution, which may have an adapter of its own, and adds to its output.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, rank: int, frames: int) -> None:
        super().__init__()
        self.down, self.up = _narrow(inputs, outputs, kernel, rank)
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """Return the addition, shape (batch, outputs, frames)."""
        place = torch.arange(x.shape[-1])
        made: Tensor = self.up(self.down(x)) * (place < self.frames).to(x)
        return made


def _narrow(inputs: int, outputs: int, kernel: int, rank: int) -> tuple[nn.Conv1d, nn.Conv1d]:
    """Return the convolutions of an adapter, which adds nothing yet."""
    down = nn.Conv1d(inputs, rank, kernel, padding=kernel // 2, bias=False)
    up = nn.Conv1d(rank, outputs, 1)
    nn.init.normal_(down.weight, std=1.0 / math.sqrt(inputs * kernel))
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)  # type: ignore[arg-type]  # it has one
    return down, up


def freeze_all_but_adapters(network: nn.Module) -> None:
    """Freeze all weights but the adapters'.

    Where a network has adapters of the first frames, those alone are trained.
    """
    early = tuple(
        f"{name}." for name, module in network.named_modules() if isinstance(module, EarlyAdapter)
    )
    for name, weight in network.named_parameters():
        weight.requires_grad_(name.endswith(ADAPTERS) and (not early or name.startswith(early)))


def with_adapters_folded(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Fold adapters that a network lacks into the convolutions' weights.

    Parameters
    ----------
    tensors : dict
        Weights by name; convolutions may have adapters. Those of the first frames stay as they are.
    network : nn.Module
        Network that will load the weights. Convolutions that have an adapter keep it.
    """
    made = dict(tensors)
    for name, module in network.named_modules():
        down, up, bias = (f"{name}{ending}" for ending in ADAPTERS)
        if down not in tensors or isinstance(module, AdaptedConv1d | EarlyAdapter):
            continue
        weight = torch.einsum("or,rik->oik", tensors[up][..., 0], tensors[down])
        made[f"{name}.weight"] = tensors[f"{name}.weight"] + weight
        added = tensors.get(bias, weight.new_zeros(weight.shape[0]))
        made[f"{name}.bias"] = tensors.get(f"{name}.bias", torch.zeros_like(added)) + added
    return made


def keep_missing_adapters(
    network: nn.Module, state: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Complete a state's adapters from the network's own.

    A hook that torch calls before it loads a state. Adapters of a lower rank are extended: what an
    untrained network adds has no effect.
    """
    for name, value in network.state_dict().items():
        if not name.endswith(ADAPTERS):
            continue
        found = state.setdefault(prefix + name, value)
        axis = 0 if name.endswith(".down.weight") else 1
        if found.ndim > 1 and found.shape[axis] < value.shape[axis]:
            more = value.narrow(axis, found.shape[axis], value.shape[axis] - found.shape[axis])
            state[prefix + name] = torch.cat([found, more.to(found)], dim=axis)
