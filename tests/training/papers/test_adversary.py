"""Losses of generators and critics, against values known from their formulas."""

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from plc_training.papers.blocks import (  # noqa: E402
    PENALTY_WEIGHT,
    gradient_penalty,
    least_squares,
    wasserstein,
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


def test_a_critic_learns_to_score_real_samples_higher() -> None:
    torch.manual_seed(1)
    critic = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(60):
        real, fake = torch.randn(32, 3) + 1.0, torch.randn(32, 3) - 1.0
        loss = wasserstein(critic, real, fake, torch.rand(32))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    ends = torch.tensor([[1.0], [-1.0]]).expand(2, 3)
    real_score, fake_score = critic(ends).flatten().tolist()
    # Slopes are near 1, so the difference cannot exceed the distance by much.
    assert 1.0 < real_score - fake_score < 1.5 * 12**0.5


def test_least_squares_with_softened_labels() -> None:
    real = torch.tensor([0.9, 0.9])
    assert float(least_squares(real, 0.9)) == pytest.approx(0.0, abs=1e-12)
