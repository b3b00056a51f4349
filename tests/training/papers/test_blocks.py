"""The restorers: their published sizes, their maps, and what each part does to a patch."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from plc_training.papers.blocks import (
    Dual,
    Gate,
    PatchCritic,
    Residual,
    Rise,
    VariationalCode,
    block,
    counted,
)
from plc_training.papers.restorers import RESTORERS, Restorer

# What the document's program prints (for the last two, the layers of its files by arithmetic).
PUBLISHED = {
    "unet": 18_872_545,
    "unet-v2": 22_020_161,
    "res-unet": 18_872_545,
    "res-unet-v2": 22_020_161,
    "attention": 19_573_894,
    "attention-t2": 19_923_073,
    "res-attention": 19_573_894,
    "rfb-fpn": 19_222_721,
    "rfb-tdm": 22_016_193,
    "res-rfb-tdm": 22_016_193,
    "v2-rfb-tdm": 25_163_809,
    "linknet": 14_521_633,
    "fpn": 1_918_273,
    "dual-res-unet-v2": 44_040_322,
    "vae-res-unet-v2": 47_614_545,
    "srcnn": (25 + 1) * 32 + 18 * (25 * 32 + 1) * 32 + 25 * 32 + 1,
    # A slope for each channel; the program has one for each place of the patch.
    "arcnn": 82 * 64 + (49 * 64 + 1) * 32 + 33 * 16 + 25 * 16 + 1 + 64 + 32 + 16,
}


# Of another document, whose U-Net is at width 64 and has no corrections.
SPEECH = ("unet-bilinear", "res-unet-bilinear")


def patches(count: int, seed: int = 0, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    made: Tensor = torch.rand(count, channels, 128, 128, generator=generator)
    return made


def test_every_restorer_has_its_published_size() -> None:
    with torch.device("meta"):  # sizes without numbers
        sizes = {name: counted(make(1, 32)) for name, make in RESTORERS.items()}
    assert {name: size for name, size in sizes.items() if name not in SPEECH} == PUBLISHED


def test_the_networks_of_speech_have_their_published_sizes() -> None:
    with torch.device("meta"):
        sizes = {name: trained(RESTORERS[name](1, 64)) for name in SPEECH}
        critic, quarter = PatchCritic(2, 64), RESTORERS["unet-bilinear"](1, 16)
    assert sizes == dict.fromkeys(SPEECH, 13_394_177)
    assert trained(critic) == 1_187_008
    assert trained(quarter) == 839_489


def test_a_critic_sees_38_bins_and_columns_at_each_place_of_its_grid() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(2, 4)
    x = patches(1, channels=2)[..., :64, :64].requires_grad_(True)
    figures = critic(x)
    assert figures.shape == (1, 1, 4, 4)
    # Without the norms, whose means see the whole patch.
    convolutions = nn.Sequential(*(each for each in critic.layers if isinstance(each, nn.Conv2d)))
    (gradient,) = torch.autograd.grad(convolutions(x)[0, 0, 1, 2], x)
    seen = gradient[0].abs().sum(0).nonzero()
    assert (seen.amin(0).tolist(), seen.amax(0).tolist()) == ([8, 16], [45, 53])


def trained(network: nn.Module) -> int:
    """Return the trained numbers of a network."""
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize("name", RESTORERS)
def test_a_narrow_restorer_maps_a_patch_to_a_patch(name: str) -> None:
    torch.manual_seed(0)
    network = RESTORERS[name](2, 4)
    out = network(patches(2, channels=2))
    assert out.shape == (2, 1, 128, 128)
    out.square().mean().backward()
    unused = [each for each, weight in network.named_parameters() if weight.grad is None]
    # Its term of the loss moves the variance; here there is none.
    assert [each for each in unused if "log_variance" not in each] == []


def test_strides_pad_at_the_end_as_tensorflow_does() -> None:
    convolution = block(1, 1, stride=2)[:2]
    with torch.no_grad():
        for weight in convolution.parameters():
            weight.zero_()
        next(convolution.parameters())[0, 0, 0, 0] = 1.0
        x = patches(1)
        # The first tap stands on the even places themselves: nothing is padded before them.
        assert torch.equal(convolution(x), x[..., ::2, ::2])
        rise = Rise(1, 1)
        for weight in rise.parameters():
            weight.zero_()
        next(rise.parameters())[0, 0, 0, 0] = 1.0
        risen = rise(x)
        assert risen.shape == (1, 1, 256, 256)
        assert torch.equal(risen[..., ::2, ::2], x)
        assert risen[..., 1::2, :].abs().max() == 0.0


def test_a_gate_scales_a_skip_by_what_both_maps_say() -> None:
    torch.manual_seed(0)
    gate, channel_gate = Gate(3, 1), Gate(3, 3)
    skip, risen = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        factor = gate(skip, risen) / skip
        assert torch.allclose(factor[:, :1].expand_as(factor), factor, atol=1e-5)
        assert 0.0 < float(factor.min()) < float(factor.max()) < 1.0
        of_channels = channel_gate(skip, risen) / skip
        assert float((of_channels[:, :1] - of_channels).abs().max()) > 1e-3
        assert not torch.allclose(factor, gate(skip, -risen) / skip)


def test_residual_and_dual_take_corrections_away_from_the_patch() -> None:
    double = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(double.weight, 2.0)
    half = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(half.weight, 0.5)
    x = patches(2)
    with torch.no_grad():
        assert torch.allclose(Residual(half)(x), 0.5 * x)
        both = Dual(half, double)
        # The second sees half of the patch, and answers with the patch itself.
        assert torch.allclose(both(x), torch.zeros_like(x), atol=1e-6)
        assert both.before is not None
        assert torch.allclose(both.before, 0.5 * x)


def test_a_variational_code_is_random_in_training_only() -> None:
    torch.manual_seed(0)
    code = VariationalCode(4, 2, 8, 3)
    x = torch.randn(5, 4, 2, 2)
    with torch.no_grad():
        assert not torch.equal(code(x), code(x))
        hidden = code.hidden(x.flatten(1))
        mean, log_variance = code.mean(hidden), code.log_variance(hidden)
        ours = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        standard = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
        expected = torch.distributions.kl_divergence(ours, standard).sum(1).mean()
        assert code.divergence is not None
        assert torch.allclose(code.divergence, expected, atol=1e-6)
        code.eval()
        assert torch.equal(code(x), code(x))
        shown = functional.leaky_relu(code.widen(mean), 0.2).reshape(5, 4, 2, 2)
        assert torch.allclose(code(x), shown)


def test_a_restorer_changes_lost_frames_only() -> None:
    torch.manual_seed(0)
    x = patches(2)
    lost = torch.zeros(2, 128)
    lost[0, 5] = lost[1, 64:70] = 1.0
    restorer = Restorer("unet-v2", 4, "published").eval()
    with torch.no_grad():
        out = restorer(x, lost)
    moved = (out != x).any(dim=2)[:, 0]
    assert torch.equal(moved, lost > 0)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_corrections_begin_with_none_and_follow_the_level(logarithmic: bool) -> None:
    torch.manual_seed(0)
    name, size = ("res-unet-bilinear", 64) if logarithmic else ("res-unet-v2", 128)
    x, lost = patches(2)[..., :size, :size], torch.ones(2, size)
    restorer = Restorer(name, 4, "interpolated", logarithmic=logarithmic).eval()
    with torch.no_grad():
        assert torch.allclose(restorer(x, lost), x, atol=1e-6)
        nn.init.normal_(restorer.get_parameter("network.network.last.weight"), std=0.1)
        out = restorer(x, lost)
        assert not torch.allclose(out, x, atol=1e-3)
        # A louder patch is the same, so much higher.
        if logarithmic:
            assert torch.allclose(restorer(x + 2.0, lost), out + 2.0, atol=1e-4)
        else:
            assert torch.allclose(restorer(1e-3 * x, lost), 1e-3 * out, rtol=1e-3, atol=1e-7)
