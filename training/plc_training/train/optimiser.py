"""Optimisers: AdamW, and Muon for networks with large matrices.

Muon steps along the orthogonalised momentum [1]_: all directions of a matrix move equally, and none
is dominated by the largest gradient. The kernels of a convolution are a matrix of outputs by inputs
and taps. torch's Muon takes matrices only; this one takes all parameters of a network.

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

BETA1 = 0.9
"""Decay of the mean of the gradients, by default."""

# Coefficients of the quintic that brings singular values near 1 [1]_, and its iterations.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95
# Scale to AdamW's mean step [2]_, so that learning rates are comparable.
_LIKE_ADAMW = 0.2
# Matrices with fewer rows or columns are left to AdamW.
_LEAST_SIDE = 16
_EPSILON = 1e-8


def make_optimiser(
    name: Optimisers,
    weights: Iterable[Tensor],
    learning_rate: float,
    weight_decay: float,
    beta2: float,
    beta1: float = BETA1,
) -> Optimizer:
    """Return an optimiser by its name.

    Parameters
    ----------
    learning_rate, weight_decay : float, comparable between both
    beta2 : float
        Of AdamW, which also moves the parameters that Muon does not.
    beta1 : float
        Of AdamW where it moves all parameters.
    """
    if name == "muon":
        return Muon(weights, learning_rate, weight_decay, beta2)
    return AdamW(weights, lr=learning_rate, weight_decay=weight_decay, betas=(beta1, beta2))


class Muon(Optimizer):
    """Muon for matrices and convolutions, AdamW for other parameters.

    The gates of a recurrent layer, which share one tensor, are one matrix.

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
        """Step along the gradients; a closure is not called."""
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
        mean = state["mean"].lerp_(gradient, 1.0 - BETA1) / (1.0 - BETA1**steps)
        square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        spread = (square / (1.0 - beta2**steps)).sqrt().add_(_EPSILON)
        value.addcdiv_(mean, spread, value=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the matrix with singular values of 0.68 to 1.21 [1]_.

    Parameters
    ----------
    matrix : float32, shape (rows, columns)
        Singular values below 0.0015 of the Frobenius norm remain smaller.
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
