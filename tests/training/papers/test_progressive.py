"""Progressive networks: shapes, sizes by their formulas, growth, and the layers' definitions."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from plc_training.papers.progressive import (
    GrowingCritic,
    GrowingGenerator,
    scale_sizes,
)

SHAPE, WIDTHS, LATENT, LABELS = (2, 37, 20), (8, 6, 4), 5, 3


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def conv(inputs: int, outputs: int, kernel: int) -> int:
    return outputs * (inputs * kernel**2 + 1)


@pytest.mark.parametrize(
    ("shape", "widths", "latent", "labels"),
    [
        (SHAPE, WIDTHS, LATENT, LABELS),
        ((2, 513, 66), (512, 512, 512, 512, 256), 512, 27),  # the program's default widths
        ((1, 1, 8192), (32, 32, 16, 16, 8), 32, 27),
    ],
)
def test_sizes_follow_from_the_settings(
    shape: tuple[int, int, int], widths: tuple[int, ...], latent: int, labels: int
) -> None:
    with torch.device("meta"):
        generator = GrowingGenerator(shape, widths, latent, labels)
        critic = GrowingCritic(shape, widths, labels)
    first = widths[0]
    area = -(-shape[1] // 2 ** (len(widths) - 1)) * -(-shape[2] // 2 ** (len(widths) - 1))
    steps = list(pairwise(widths))
    assert count(generator) == (
        first * area * (latent + labels + 1)
        + conv(first, first, 3)
        + sum(conv(before, width, 3) + conv(width, width, 3) for before, width in steps)
        + sum(conv(width, shape[0], 1) for width in widths)
    )
    assert count(critic) == (
        sum(conv(shape[0], width, 1) for width in widths)
        + sum(conv(width, width, 3) + conv(width, before, 3) for before, width in steps)
        + conv(first + 1, first, 3)
        + first * (first * area + 1)
        + (labels + 1) * (first + 1)
    )


@pytest.mark.parametrize("scale", [0, 1, 2, -1])
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_arrays_of_each_scale_have_its_size(scale: int, alpha: float) -> None:
    torch.manual_seed(0)
    generator, critic = (
        GrowingGenerator(SHAPE, WIDTHS, LATENT, LABELS),
        GrowingCritic(SHAPE, WIDTHS, LABELS),
    )
    made = generator(torch.randn(8, LATENT), torch.arange(8) % LABELS, scale, alpha)
    assert made.shape == (8, 2, *scale_sizes(SHAPE, 3)[scale])
    scores, guesses = critic(made, scale, alpha)
    assert (scores.shape, guesses.shape) == ((8,), (8, LABELS))
    assert scale_sizes(SHAPE, 3) == ((10, 5), (19, 10), (37, 20))


def test_a_scale_that_begins_is_the_one_before_made_larger() -> None:
    torch.manual_seed(1)
    generator, critic = (
        GrowingGenerator(SHAPE, WIDTHS, LATENT, LABELS),
        GrowingCritic(SHAPE, WIDTHS, LABELS),
    )
    noise, label = torch.randn(4, LATENT), torch.tensor([0, 1, 2, 0])
    coarse = generator(noise, label, 1)
    blended = generator(noise, label, 2, 1.0)
    torch.testing.assert_close(blended, functional.interpolate(coarse, (37, 20)))
    half = generator(noise, label, 2, 0.5)
    torch.testing.assert_close(half, 0.5 * (blended + generator(noise, label, 2)))
    # The critic of an array at alpha 1 is that of the smaller array.
    whole = torch.randn(4, 2, 37, 20)
    small = functional.interpolate(whole, (19, 10))
    torch.testing.assert_close(critic(whole, 2, 1.0), critic(small, 1))


def test_noise_and_label_both_matter() -> None:
    torch.manual_seed(2)
    generator = GrowingGenerator(SHAPE, WIDTHS, LATENT, LABELS)
    noise = torch.randn(1, LATENT).repeat(3, 1)
    by_label = generator(noise, torch.arange(3))
    assert (by_label[0] - by_label[1]).abs().max() > 1e-3
    by_noise = generator(torch.randn(3, LATENT), torch.zeros(3, dtype=torch.int64))
    assert (by_noise[0] - by_noise[1]).abs().max() > 1e-3


def test_a_critic_sees_whether_a_batch_is_all_alike() -> None:
    torch.manual_seed(4)
    critic = GrowingCritic(SHAPE, WIDTHS, LABELS)
    one = torch.randn(1, 2, 37, 20)
    alike = critic(one.repeat(4, 1, 1, 1))[0]
    torch.testing.assert_close(alike, alike[:1].repeat(4))
    varied = critic(torch.cat([one, torch.randn(3, 2, 37, 20)]))[0]
    assert (varied[0] - alike[0]).abs() > 1e-4
