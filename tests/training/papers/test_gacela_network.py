"""GACELA's networks: published sizes, and what each of them sees."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from plc.papers.gacela import DECADES
from plc_training.papers.gacela_network import (
    PUBLISHED_WIDTH,
    Gacela,
    Inpainter,
    Layout,
    Mel,
    levels_of,
    mel_basis,
    without_norms,
)

SHORT, MEDIUM, LONG = Layout(32, 240), Layout(64, 480), Layout(128, 960)


def count(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(
    ("layout", "generator", "stft", "mel"),
    [
        (SHORT, 9_249_441, 4_361_985, 272_833),
        (MEDIUM, 14_099_105, 4_370_177, 273_217),
        (LONG, 23_896_737, 4_386_561, 273_985),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(
    layout: Layout, generator: int, stft: int, mel: int
) -> None:
    with torch.device("meta"):
        network = Gacela(PUBLISHED_WIDTH, layout)
    assert count(network.inpainter.generator) == generator
    assert count(network.inpainter.before) == count(network.inpainter.after) == 116_288
    assert [count(critic) for critic in network.critics] == [stft, stft, mel, mel, mel]


@pytest.mark.parametrize("layout", [SHORT, Layout(64, 480)])
def test_a_gap_comes_out_for_sides_and_noise(layout: Layout) -> None:
    torch.manual_seed(0)
    network = Inpainter(8, layout)
    sides = torch.rand(2, 2, 512, layout.side) * 2.0 - 1.0
    noise = torch.rand(2, *network.noise_shape)
    gaps = network(sides, noise)
    assert gaps.shape == (2, 512, layout.gap)
    assert bool((gaps.abs() <= 1.0).all())
    # Each input has its effect.
    other = torch.rand_like(noise)
    assert not torch.equal(network(sides, other), gaps)
    for i in range(2):
        changed = sides.clone()
        changed[:, i] *= 0.5
        assert not torch.equal(network(changed, noise), gaps)


def test_critics_see_twice_as_much_each() -> None:
    network = Gacela(8, SHORT)
    levels = torch.full((1, 512, SHORT.frames), -1.0)
    centre = SHORT.frames // 2
    views = network.views(levels)
    assert [view.shape[2] for view in views] == [512, 512, 80, 80, 80]
    assert all(view.shape[3] == SHORT.gap for view in views)
    # A loud frame just outside of what a critic sees changes nothing, one inside does.
    for i, view in enumerate(views):
        half = SHORT.gap << i >> 1
        for frame, seen in ((centre - half, True), (centre + half - 1, True)):
            changed = levels.clone()
            changed[..., frame] = 0.0
            assert torch.equal(network.views(changed)[i], view) is not seen
        if centre - half:
            changed = levels.clone()
            changed[..., centre - half - 1] = changed[..., centre + half] = 0.0
            assert torch.equal(network.views(changed)[i], view)


def test_mel_bands_of_a_flat_spectrum_are_flat() -> None:
    basis = mel_basis()
    assert basis.shape == (80, 512)
    np.testing.assert_allclose(basis.sum(axis=1), 1.0, rtol=1e-5)
    assert bool((basis >= 0.0).all())
    centres = basis @ np.arange(512)
    assert bool((np.diff(centres) > 0.0).all())
    for level in (-0.5, 0.0, 1.0):
        bands = Mel()(torch.full((1, 512, 3), level))
        torch.testing.assert_close(bands, torch.full((1, 80, 3), level), atol=1e-5, rtol=0)


def test_levels_span_five_decades() -> None:
    magnitudes = torch.tensor([1.0, 10.0 ** (-DECADES / 2), 10.0**-DECADES, 0.0])
    torch.testing.assert_close(levels_of(magnitudes), torch.tensor([1.0, 0.0, -1.0, -1.0]))


def test_norms_fold_into_the_weights() -> None:
    torch.manual_seed(1)
    network = Inpainter(8, SHORT)
    sides, noise = torch.rand(1, 2, 512, 240), torch.rand(1, *network.noise_shape)
    expected = network(sides, noise)
    folded = without_norms(copy.deepcopy(network))
    assert count(folded) < count(network)
    torch.testing.assert_close(folded(sides, noise), expected, atol=1e-5, rtol=1e-5)
