"""Losses of generators and critics.

WGAN-GP [1]_ for critics that score without bounds, with the penalty of each sample; least squares
[2]_ for discriminators, with labels that may be softened [3]_. All return means over the batch.

References
----------
.. [1] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS, 2017, section 4.
.. [2] X. Mao et al., "Least squares generative adversarial networks", ICCV, 2017.
.. [3] T. Salimans et al., "Improved techniques for training GANs", NeurIPS, 2016, section 3.4.
"""

from collections.abc import Callable

import torch
from torch import Tensor

PENALTY_WEIGHT = 10.0
"""Of the gradient's distance from norm 1, as published."""
Critic = Callable[[Tensor], Tensor]
"""Samples, shape (batch, …), to their scores."""


def wasserstein(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return a critic's loss with its gradient penalty.

    Parameters
    ----------
    critic : callable
        Scores of a batch; each depends on its own sample alone.
    real, fake : float32, shape (batch, …)
        Without gradients.
    mix : float32, shape (batch,)
        Places between the fake (0) and the real (1) sample at which the gradient counts.
    """
    return critic(fake).mean() - critic(real).mean() + gradient_penalty(critic, real, fake, mix)


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return the weighted squared distance of the gradients' norms from 1.

    Parameters
    ----------
    critic, real, fake, mix
        As for :func:`wasserstein`.
    """
    shape = (-1, *[1] * (real.ndim - 1))
    between = torch.lerp(fake, real, mix.reshape(shape)).requires_grad_(True)
    # In a sum of scores, the gradient at a sample is that of its own score.
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norms = gradient.flatten(1).norm(dim=1)
    penalty: Tensor = PENALTY_WEIGHT * (norms - 1.0).square().mean()
    return penalty


def least_squares(scores: Tensor, label: float) -> Tensor:
    """Return the mean squared distance of scores from a label.

    Parameters
    ----------
    scores : float32
        Of any shape.
    label : float
        1: real; 0: fake. A softened one, such as 0.9, keeps a discriminator from certainty.
    """
    return (scores - label).square().mean()
