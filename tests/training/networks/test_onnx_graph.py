"""Networks as ONNX graphs: the same numbers, by operators of the standard."""

import copy
import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from plc.engine.models.catalogue import find
from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import read_graph
from plc.engine.runtime.known import KernelNetwork, planned
from plc.engine.runtime.onnx_network import NetworkShape, open_network
from plc.errors import ConfigError
from plc_training.networks.frames import FramesNet, FramesShape
from plc_training.networks.hybrid import HybridNet
from plc_training.networks.onnx_graph import (
    OPSET,
    fold_norms,
    load_onnx,
    round_weights,
    to_onnx,
)

FRAMES = FramesShape(drafts=2, bins=17, context_frames=3, width=8)
SPLIT = FramesShape(drafts=2, bins=17, context_frames=3, width=8, groups=2)
BANDS = FramesShape(drafts=2, bins=17, context_frames=3, width=8, bands=4)
HYBRID = None
Shape = FramesShape | None
"""None: of the hybrid network."""


def network_of(shape: Shape) -> nn.Module:
    return FramesNet(shape) if shape else HybridNet(3, 17, (3, 3), (4, 6), 5)


def inputs_of(shape: Shape, batch: int) -> dict[str, Tensor]:
    drafts, bins, frames = (shape.drafts, shape.bins, shape.context_frames) if shape else (3, 17, 6)
    spectra = torch.randn(batch, drafts, 2, bins, 6 + frames)
    return {"spectra": spectra, "lost": torch.rand(batch, 6 + frames)}


def graph_of(network: nn.Module, shape: Shape) -> bytes:
    axes = {"spectra": {0: "batch", 4: "frames"}, "lost": {0: "batch", 1: "frames"}}
    return to_onnx(network.eval(), inputs_of(shape, 2), axes, "filled")


@cache  # an export takes seconds, and several tests look at each
def exported(shape: Shape) -> tuple[nn.Module, bytes]:
    """Return a network, of which one bias alone is zero, and its graph; neither to be changed."""
    torch.manual_seed(0)
    network = network_of(shape)
    # Fresh biases are zero, which no graph holds.
    for name, value in list(network.named_parameters())[:-1]:
        if name.endswith("bias"):
            nn.init.normal_(value, std=0.1)
    return network, graph_of(network, shape)


class Recurrent(nn.Module):
    """A GRU over frames, in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 7, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.gru(x)[0]
        return out


def test_a_gru_of_two_directions_is_one_operator_for_any_number_of_frames() -> None:
    torch.manual_seed(0)
    network = Recurrent().eval()
    data = to_onnx(network, {"x": torch.randn(2, 6, 5)}, {"x": {0: "batch", 1: "frames"}}, "y")
    assert isinstance(network.gru, nn.GRU)
    found = read_graph(data, "test").summary
    assert found.operators["GRU"] == 1
    assert found.opset == OPSET
    session = ort.InferenceSession(data)
    for batch, frames in ((1, 1), (3, 6), (2, 11)):
        x = torch.randn(batch, frames, 5)
        with torch.no_grad():
            expected = network(x).numpy()
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [pytest.param(FRAMES, marks=pytest.mark.deep), BANDS])
def test_the_causal_network_takes_any_batch_and_frames_and_tells_nothing_of_this_machine(
    shape: FramesShape,
) -> None:
    network, data = exported(shape)
    assert read_graph(data, "test").summary.operators["GRU"] == 1
    assert b".py" not in data
    assert b"site-packages" not in data
    session = ort.InferenceSession(data)
    for batch, frames in ((1, 9), (3, 7), (2, 14)):
        spectra, lost = torch.randn(batch, 2, 2, 17, frames), torch.rand(batch, frames)
        with torch.no_grad():
            expected = network(spectra, lost).numpy()
        found = session.run(None, {"spectra": spectra.numpy(), "lost": lost.numpy()})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(FRAMES, marks=pytest.mark.deep),
        pytest.param(SPLIT, marks=pytest.mark.deep),
        BANDS,
        pytest.param(HYBRID, marks=pytest.mark.deep),
    ],
)
def test_a_graph_gives_back_the_weights_it_was_made_of(shape: Shape) -> None:
    network, data = exported(shape)
    other = network_of(shape)
    load_onnx(data, other, "test")
    expected = network.state_dict()
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)


def test_the_weights_of_another_network_are_refused_and_change_nothing() -> None:
    _, data = exported(BANDS)
    wider = FramesNet(FramesShape(drafts=2, bins=17, context_frames=3, width=12, bands=4))
    for network in (wider, network_of(HYBRID)):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        with pytest.raises(ConfigError, match="test holds the weights of another network"):
            load_onnx(data, network, "test")
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, before[name], atol=0, rtol=0)


@pytest.mark.parametrize("shape", [BANDS, pytest.param(HYBRID, marks=pytest.mark.deep)])
@pytest.mark.parametrize(
    ("bits", "saved"), [pytest.param(16, 1.7, marks=pytest.mark.deep), (8, 1.8)]
)
def test_rounded_weights_take_less_space_and_come_back(
    shape: Shape, bits: int, saved: float
) -> None:
    exactly, plain = exported(shape)
    net = copy.deepcopy(exactly)
    exact = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    round_weights(net, bits)
    for name, weight in net.named_parameters():
        largest = float(exact[name].abs().max())
        torch.testing.assert_close(weight, exact[name], atol=0.0045 * largest, rtol=0)
    data = graph_of(net, shape)
    large = sum(weight.numel() for weight in net.parameters() if weight.numel() >= 256)
    assert len(plain) - len(data) > saved * large
    graph = onnx.load_from_string(data).graph
    short = [
        t
        for t in graph.initializer
        if t.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
    ]
    assert sum(int(np.prod(tensor.dims)) for tensor in short) == large

    inputs = inputs_of(shape, 3)
    with torch.no_grad():
        expected = net(*inputs.values()).numpy()
    session = ort.InferenceSession(data)
    feed = {name: tensor.numpy() for name, tensor in inputs.items()}
    np.testing.assert_allclose(session.run(None, feed)[0], expected, atol=1e-5)

    other = network_of(shape)
    load_onnx(data, other, "test")
    for name, value in net.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=0, rtol=0)


def test_weights_of_loud_inputs_cost_the_others_no_precision() -> None:
    torch.manual_seed(2)
    convolution = nn.Conv1d(32, 16, 3)
    with torch.no_grad():
        convolution.weight[:, 5] *= 300.0
    exact = convolution.weight.detach().clone()
    round_weights(convolution, 8)
    others = [k for k in range(32) if k != 5]
    error = (convolution.weight - exact).detach()
    assert float(error[:, others].abs().max()) < 0.005 * float(exact[:, others].abs().max())
    by_output = nn.Conv1d(32, 16, 3)
    with torch.no_grad():
        by_output.weight.copy_(exact)
    round_weights(by_output, 8, axes=1)  # as kernels compute: inputs share each output's scale
    shared = (by_output.weight - exact).detach()
    assert float(shared[:, others].abs().max()) > 5.0 * float(error[:, others].abs().max())
    # Of few outputs each input has too few weights for a scale of its own.
    narrow = nn.Conv1d(100, 2, 3)
    with torch.no_grad():
        narrow.weight[:, 5] *= 300.0
    round_weights(narrow, 8)
    scales = narrow.weight.detach().abs().amax(dim=(1, 2), keepdim=True) / 127
    steps = narrow.weight.detach() / scales
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_weights_of_nearly_silent_outputs_are_stored_in_bytes_too() -> None:
    torch.manual_seed(3)
    network = nn.Linear(64, 64, bias=False)
    with torch.no_grad():
        # Their scales have fewer and fewer bits in half precision, and the last have none.
        network.weight *= torch.logspace(0, -7, 64)[:, None]
        exact = network.weight.clone()
        round_weights(network, 8)
    largest = exact.abs().amax(dim=1)
    error = (network.weight.detach() - exact).abs().amax(dim=1)
    assert (error < 0.51 / 127 * largest + 1e-5).all()
    data = to_onnx(network, {"x": torch.ones(2, 64)}, {"x": {0: "batch"}}, "y")
    [steps] = [t for t in onnx.load_from_string(data).graph.initializer if t.data_type == 3]
    assert list(steps.dims) == [64, 64]


def test_folded_norms_leave_the_output_and_short_weights_in_the_file() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), nn.BatchNorm2d(8)),
        nn.ReLU(),
        nn.BatchNorm2d(8),  # not after a convolution: kept
    )
    x = torch.randn(4, 8, 6, 6)
    network(x)  # in training: the norms have something to take away
    network.eval()
    with torch.no_grad():
        expected = network(x)
        fold_norms(network)
        assert torch.allclose(network(x), expected, atol=1e-5)
        norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
        assert norms == [network[3]]
        round_weights(network, 8)
        data = to_onnx(network, {"x": x}, {"x": {0: "batch"}}, "y")
        got = ort.InferenceSession(data).run(None, {"x": x.numpy()})[0]
        np.testing.assert_allclose(got, network(x).numpy(), atol=1e-5)
    stored = [t for t in onnx.load_from_string(data).graph.initializer if t.data_type == 3]
    assert sum(len(tensor.raw_data) for tensor in stored) == 16 * 8 * 9 + 16 * 8 * 16


@pytest.mark.parametrize(  # half and twice of "speech"
    ("width", "bits"), [(112, 8), pytest.param(448, 16, marks=pytest.mark.deep)]
)
def test_other_widths_run_as_kernels(tmp_path: Path, width: int, bits: int) -> None:
    manifest = find("speech")
    torch.manual_seed(width)
    network = FramesNet(
        FramesShape(
            drafts=2,
            bins=manifest.bins(16_000),
            context_frames=16,
            width=width,
            draft_share=0.25,
            groups=2,
            early_adapters=32,
            early_frames=6,
        )
    )
    for weight in network.parameters():
        weight.data += 0.01 * torch.randn_like(weight)
    round_weights(network, bits)
    data = graph_of(network, network.shape)
    (tmp_path / "wide.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    replace(manifest, name="wide", sha256=digest, bytes=len(data)).write(tmp_path / "wide.json")
    wide = Manifest.read(tmp_path / "wide.json")
    shape = NetworkShape(wide.bins(16_000), wide.frames(16_000))
    rng = np.random.default_rng(0)
    spectra = rng.standard_normal((1, 2, 2, shape.bins, shape.frames)).astype(np.float32)
    lost = (np.arange(shape.frames) >= 16).astype(np.float32)[None]
    plan = planned(wide, 16_000)
    assert plan is not None
    found = np.zeros((2, 1, 2, shape.bins, shape.frames - 16), np.float32)
    KernelNetwork(plan).run(spectra, lost, found[0])
    assert open_network(wide, shape, providers="cpu").run(spectra, lost, found[1])
    assert np.linalg.norm(found[0] - found[1]) < 1e-3 * np.linalg.norm(found[1])
