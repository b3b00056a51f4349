"""The hybrid networks: shapes, where training begins, and what levels do to them."""

import dataclasses
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from plc_training.networks.frames import FramesNet, FramesShape, _features
from plc_training.networks.hybrid import HybridNet

BINS, CONTEXT = 33, 4

Network = TypeVar("Network", bound=nn.Module)


def hybrid(drafts: int = 3, channels: tuple[int, ...] = (8, 12)) -> HybridNet:
    torch.manual_seed(0)
    return HybridNet(drafts, BINS, (CONTEXT, CONTEXT), channels, 8).eval()


def frames() -> FramesNet:
    torch.manual_seed(0)
    return FramesNet(FramesShape(drafts=2, bins=BINS, context_frames=CONTEXT, width=16)).eval()


def disturbed(network: Network) -> Network:
    """Return the network as if it had been trained: all of its weights are at work."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05)
    return network


def spectra(batch: int, drafts: int, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(batch, drafts, 2, BINS, count, generator=generator)
    return made, torch.rand(batch, count, generator=generator)


@torch.no_grad()
def test_a_hidden_top_bin_is_the_drafts_and_changes_no_other() -> None:
    torch.manual_seed(0)
    shape = FramesShape(drafts=2, bins=BINS, context_frames=CONTEXT, width=16, top_bin=False)
    network = disturbed(FramesNet(shape).eval())
    made, lost = spectra(2, 2, 9)
    filled = network(made, lost)
    torch.testing.assert_close(filled[:, :, -1], made[:, -1, :, -1, CONTEXT:])
    made[:, :, :, -1] *= 100.0
    torch.testing.assert_close(network(made, lost)[:, :, :-1], filled[:, :, :-1])


@torch.no_grad()
def test_training_begins_at_the_last_draft() -> None:
    lines, lost = spectra(2, 3, 15)
    fill = hybrid()(lines, lost)
    draft = lines[:, -1, :, :, CONTEXT:-CONTEXT]
    # softplus(-5) of the level is added to each magnitude: 0.7 %.
    assert float((fill - draft).norm() / draft.norm()) < 0.02
    lines, lost = spectra(2, 2, 15)
    fill = frames()(lines, lost)
    draft = lines[:, -1, :, :, CONTEXT:]
    assert float((fill - draft).norm() / draft.norm()) < 0.3


@torch.no_grad()
def test_a_trained_network_gives_the_draft_its_share() -> None:
    network = disturbed(frames())
    lines, lost = spectra(2, 2, 15)
    full = network(lines, lost)
    network.shape = dataclasses.replace(network.shape, draft_share=0.25)
    draft = lines[:, -1, :, :, CONTEXT:]
    torch.testing.assert_close(network(lines, lost), 0.75 * full + 0.25 * draft)
    torch.testing.assert_close(network.train()(lines, lost), full)


@pytest.mark.parametrize(("make", "drafts"), [(hybrid, 3), (frames, 2)])
@torch.no_grad()
def test_a_gain_of_the_signal_is_a_gain_of_the_fill(make: object, drafts: int) -> None:
    assert callable(make)
    network = disturbed(make())
    lines, lost = spectra(2, drafts, 15)
    expected = 0.01 * network(lines, lost)
    torch.testing.assert_close(
        network(0.01 * lines, lost), expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max())
    )


@pytest.mark.parametrize(("make", "drafts"), [(hybrid, 3), (frames, 2)])
@torch.no_grad()
def test_segments_of_a_batch_do_not_hear_each_other(make: object, drafts: int) -> None:
    assert callable(make)
    network = disturbed(make())
    lines, lost = spectra(3, drafts, 15)
    together = network(lines, lost)
    alone = torch.cat([network(lines[k : k + 1], lost[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_network_with_one_draft_more_begins_where_the_other_ended() -> None:
    few = disturbed(hybrid())
    more = hybrid(4)
    more.load_state_dict(few.state_dict())
    line = torch.randn(2, 1, 2, BINS, 3 * CONTEXT)
    # One spectrum, turned by an angle for each draft: the level of all of them is that of any.
    angles = torch.arange(4.0).reshape(1, 4, 1, 1)
    real = torch.cos(angles) * line[:, :, 0] - torch.sin(angles) * line[:, :, 1]
    spectra = torch.stack(
        [real, torch.sin(angles) * line[:, :, 0] + torch.cos(angles) * line[:, :, 1]], dim=2
    )
    lost = torch.rand(2, 3 * CONTEXT)
    with torch.no_grad():
        expected, found = few(spectra[:, [0, 1, 3]], lost), more(spectra, lost)
    torch.testing.assert_close(found, expected)
    with pytest.raises(RuntimeError, match="size mismatch"):
        few.load_state_dict(more.state_dict())


def test_other_drafts_are_seen_in_bands() -> None:
    torch.manual_seed(0)
    shape = FramesShape(drafts=2, bins=BINS, context_frames=CONTEXT, width=16, bands=4)
    network = disturbed(FramesNet(shape)).eval()
    assert network.enter.in_channels == BINS + 2 * 9 + 2
    lines, lost = spectra(2, 2, 15)
    level, seen = _features(lines, lost, CONTEXT, 4)
    magnitudes = torch.sqrt(lines[:, :, 0] ** 2 + lines[:, :, 1] ** 2)
    first = torch.sqrt((magnitudes[:, 0, :4] ** 2).sum(dim=1))
    torch.testing.assert_close(seen[:, 0], torch.log(first / level[:, 0] + 1e-4) / 3.0 + 1.0)
    last = magnitudes[:, 0, 32]  # a band of one bin
    torch.testing.assert_close(seen[:, 8], torch.log(last / level[:, 0] + 1e-4) / 3.0 + 1.0)
    alike = seen[:, 9 + BINS : 18 + BINS]
    product = (lines[:, 0, :, :4] * lines[:, 1, :, :4]).sum(dim=(1, 2))
    norms = (magnitudes[:, :, :4] ** 2).sum(dim=2).prod(dim=1).sqrt()
    torch.testing.assert_close(alike[:, 0], product / norms)
    # Of every bin it is what it was, and drafts that are the same are wholly alike.
    every = _features(lines, lost, CONTEXT, 1)[1]
    assert every.shape[1] == 3 * BINS + 2
    torch.testing.assert_close(every[:, BINS : 2 * BINS], seen[:, 9 : 9 + BINS])
    same = _features(lines[:, [0, 0]], lost, CONTEXT, 4)[1][:, 9 + BINS : 18 + BINS]
    torch.testing.assert_close(same, torch.ones_like(same))
    torch.testing.assert_close(
        network(0.01 * lines, lost), 0.01 * network(lines, lost), rtol=1e-2, atol=1e-3
    )


@pytest.mark.parametrize("old", [1, 2])
def test_a_frame_network_with_drafts_more_begins_where_the_other_ended(old: int) -> None:
    shape = dataclasses.replace(frames().shape, drafts=old)
    few = disturbed(FramesNet(shape))
    more = FramesNet(dataclasses.replace(shape, drafts=3)).eval()
    more.load_state_dict(few.state_dict())
    spectra = torch.randn(2, 3, 2, BINS, 3 * CONTEXT)
    lost = torch.rand(2, 3 * CONTEXT)
    kept = [*range(old - 1), 2]
    spectra[:, [k for k in range(3) if k not in kept]] = 0.0
    with torch.no_grad():
        expected, found = few(spectra[:, kept], lost), more(spectra, lost)
    torch.testing.assert_close(found, expected)
    # And of those that are there a little is taken, so that there is something to learn from.
    spectra[:, 0 if old == 1 else 1] = torch.randn(2, 2, BINS, 3 * CONTEXT)
    with torch.no_grad():
        assert not torch.allclose(more(spectra, lost), expected)
    with pytest.raises(RuntimeError, match="size mismatch"):
        few.load_state_dict(more.state_dict())
    wider = FramesNet(dataclasses.replace(shape, drafts=3, width=24))
    with pytest.raises(RuntimeError, match="size mismatch"):
        wider.load_state_dict(few.state_dict())


def test_a_network_of_another_depth_is_refused_also_with_fewer_drafts() -> None:
    few = hybrid()
    deep = hybrid(4, (8, 12, 16))
    with pytest.raises(RuntimeError, match="Missing key"):
        deep.load_state_dict(few.state_dict())
