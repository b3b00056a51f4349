"""Losses of generators and critics, against values known from their formulas."""

import pytest
import torch
from torch import Tensor

from plc_training.papers.blocks import (
    PENALTY_WEIGHT,
    gradient_penalty,
    least_squares,
)


def squares(x: Tensor) -> Tensor:
    return x.square().flatten(1).sum(1)


def test_a_linear_critics_penalty_depends_on_its_slope_alone() -> None:
    slope = torch.tensor([3.0, 4.0])
    real, fake = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0))
    penalty = gradient_penalty(lambda x: x @ slope, real, fake, torch.rand(6))
    assert penalty.item() == pytest.approx(PENALTY_WEIGHT * (5.0 - 1.0) ** 2, rel=1e-6)


def test_each_sample_is_held_to_norm_one_by_itself() -> None:
    # The gradient of x^2 is 2 x: norms 1 and 3 of two samples. Over the whole batch it would be
    # another number, the root of their squares' sum.
    real = fake = torch.tensor([[0.5, 0.0], [0.0, 1.5]])
    penalty = gradient_penalty(squares, real, fake, torch.zeros(2))
    assert penalty.item() == pytest.approx(PENALTY_WEIGHT * ((1 - 1) ** 2 + (3 - 1) ** 2) / 2)


def test_the_gradient_counts_between_fake_and_real() -> None:
    real, fake = torch.full((1, 1), 2.0), torch.zeros(1, 1)
    for mix, norm in ((0.0, 0.0), (0.25, 1.0), (1.0, 4.0)):
        penalty = gradient_penalty(squares, real, fake, torch.tensor([mix]))
        assert penalty.item() == pytest.approx(PENALTY_WEIGHT * (norm - 1.0) ** 2)


def test_least_squares_with_softened_labels() -> None:
    real = torch.tensor([0.9, 0.9])
    assert float(least_squares(real, 0.9)) == pytest.approx(0.0, abs=1e-12)
