"""Muon: orthogonal steps for matrices, AdamW's for the rest."""

import pytest
import torch
from torch import Tensor, nn

from plc_training.train.optimiser import Muon, Optimisers, make_optimiser, orthogonal

RATE = 0.01


def stepped(
    name: Optimisers, value: Tensor, gradients: list[Tensor], weight_decay: float = 0.0
) -> Tensor:
    weight = nn.Parameter(value.clone())
    optimiser = make_optimiser(name, [weight], RATE, weight_decay, 0.98)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimiser.step()
    return weight.detach()


def drawn(*shape: int) -> Tensor:
    made: Tensor = torch.randn(*shape, generator=torch.Generator().manual_seed(7))
    return made


def with_singular_values(values: Tensor, columns: int) -> Tensor:
    left = torch.linalg.qr(drawn(values.numel(), values.numel()))[0]
    right = torch.linalg.qr(drawn(columns, values.numel()))[0]
    made: Tensor = (left * values) @ right.T
    return made


@pytest.mark.parametrize("tall", [False, True])
def test_singular_values_come_near_one(tall: bool) -> None:
    matrix = with_singular_values(torch.logspace(0.0, -1.9, 24), 60)
    made = orthogonal(matrix.T if tall else matrix)
    values = torch.linalg.svdvals(made)
    assert made.shape == ((60, 24) if tall else (24, 60))
    assert float(values.min()) > 0.66
    assert float(values.max()) < 1.22
    # The directions stay.
    turned = (made.T if tall else made) @ matrix.T
    assert torch.allclose(turned, turned.T, atol=1e-4)


def test_every_direction_of_a_matrix_moves_alike() -> None:
    gradient = with_singular_values(torch.logspace(0.0, -1.9, 32), 64)
    moved = stepped("muon", torch.zeros(32, 64), [gradient])
    values = torch.linalg.svdvals(moved)
    assert float(values.max() / values.min()) < 1.8
    # Against the gradient, by about a fifth of the learning rate for each weight, as AdamW's steps.
    assert float((moved * gradient).sum()) < 0.0
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.2 * RATE, rel=0.25)


@pytest.mark.parametrize("shape", [(32, 64), (64, 32), (16, 40)])
def test_matrices_follow_the_momentum_seen_a_step_ahead(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = [torch.randn(shape, generator=generator) for _ in range(6)]
    value = drawn(*shape)
    made = stepped("muon", value, gradients, 0.1)
    expected, momentum = value.clone(), torch.zeros(shape)
    for gradient in gradients:
        momentum = 0.95 * momentum + 0.05 * gradient
        ahead = 0.95 * momentum + 0.05 * gradient
        turned = orthogonal(ahead)
        expected = expected * (1.0 - RATE * 0.1) - RATE * 0.2 * max(shape) ** 0.5 * turned
    assert torch.allclose(made, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(40,), (9, 40), (40, 9), (15, 40), (40, 1, 5, 3)])
def test_what_is_no_matrix_or_a_small_one_moves_as_under_adamw(shape: tuple[int, ...]) -> None:
    value = drawn(*shape)
    gradients = [drawn(*shape), -0.1 * drawn(*shape), drawn(*shape).flip(0)]
    ours = stepped("muon", value, gradients, 0.1)
    theirs = stepped("adamw", value, gradients, 0.1)
    assert not torch.allclose(ours, value)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_what_has_no_gradient_stays() -> None:
    layer, other = nn.Linear(20, 20), nn.Linear(20, 20)
    before = other.weight.detach().clone()
    optimiser = Muon([*layer.parameters(), *other.parameters()], RATE, 0.1, 0.98)
    layer(drawn(4, 20)).square().sum().backward()
    optimiser.step()
    assert torch.equal(other.weight, before)
