"""What moves the weights: AdamW, or Muon where a network's matrices learn slowly.

Muon steps along the momentum made orthogonal [1]_, so that every direction of a matrix moves alike
and none waits for the loudest gradient. A convolution's kernels are a matrix too, of its outputs by
all that each looks at. torch has a Muon for matrices alone; this one takes a whole network.

References
----------
.. [1] K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
.. [2] J. Liu et al., "Muon is scalable for LLM training", arXiv:2502.16982, 2025, section 2.2.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

Optimisers = Literal["adamw", "muon"]

# The quintic whose repetition brings singular values near 1 [1]_, and how often it is applied.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95
# Steps are as large as AdamW's are on average [2]_, so a learning rate means the same for both.
_LIKE_ADAMW = 0.2
# A matrix with fewer rows or columns has few directions to make alike.
_LEAST_SIDE = 16
_BETA1 = 0.9
_EPSILON = 1e-8


def make_optimiser(
    name: Optimisers,
    weights: Iterable[Tensor],
    learning_rate: float,
    weight_decay: float,
    beta2: float,
) -> Optimizer:
    """Return an optimiser by its name, one of :data:`Optimisers`.

    Parameters
    ----------
    name : str
        ``"adamw"`` or ``"muon"``.
    weights : iterable of Tensor
        A network's parameters.
    learning_rate, weight_decay : float
        Mean the same for both.
    beta2 : float
        Of AdamW, which moves what Muon does not.
    """
    if name == "muon":
        return Muon(weights, learning_rate, weight_decay, beta2)
    return AdamW(weights, lr=learning_rate, weight_decay=weight_decay, betas=(_BETA1, beta2))


class Muon(Optimizer):
    """Orthogonal momentum for matrices and convolutions, AdamW for biases and what is small.

    The gates of a recurrent layer, which lie in one tensor, are one matrix.

    Parameters
    ----------
    weights, learning_rate, weight_decay, beta2
        As for :func:`make_optimiser`.
    """

    def __init__(
        self, weights: Iterable[Tensor], learning_rate: float, weight_decay: float, beta2: float
    ) -> None:
        matrices: list[Tensor] = []
        others: list[Tensor] = []
        for value in weights:
            (matrices if _is_matrix(value) else others).append(value)
        groups = [{"params": matrices, "matrices": True}, {"params": others, "matrices": False}]
        defaults = {"lr": learning_rate, "weight_decay": weight_decay, "beta2": beta2}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the weights along their gradients; a closure is not called."""
        for group in self.param_groups:
            for value in group["params"]:
                gradient = value.grad
                if gradient is None:
                    continue
                value.mul_(1.0 - group["lr"] * group["weight_decay"])
                if group["matrices"]:
                    self._turn(value, gradient, group["lr"])
                else:
                    self._adapt(value, gradient, group["lr"], group["beta2"])

    def _turn(self, value: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[value]
        if not state:
            state["momentum"] = torch.zeros_like(value)
        momentum = state["momentum"].lerp_(gradient, 1.0 - _MOMENTUM)
        ahead = gradient.lerp(momentum, _MOMENTUM).flatten(1)
        size = _LIKE_ADAMW * max(ahead.shape) ** 0.5
        value.add_(orthogonal(ahead).reshape(value.shape), alpha=-rate * size)

    def _adapt(self, value: Tensor, gradient: Tensor, rate: float, beta2: float) -> None:
        state = self.state[value]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(value), torch.zeros_like(value)
        state["step"] += 1.0
        steps = float(state["step"])
        mean = state["mean"].lerp_(gradient, 1.0 - _BETA1) / (1.0 - _BETA1**steps)
        square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        spread = (square / (1.0 - beta2**steps)).sqrt().add_(_EPSILON)
        value.addcdiv_(mean, spread, value=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the matrix with singular values of 0.68 to 1.21 in place of its own [1]_.

    Parameters
    ----------
    matrix : float32, shape (rows, columns)
        Directions below 0.0015 of its norm (Frobenius) stay below that.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def _is_matrix(value: Tensor) -> bool:
    return value.ndim >= 2 and min(value.shape[0], value[0].numel()) >= _LEAST_SIDE
