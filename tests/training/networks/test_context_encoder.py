"""The paper's network, layer by layer against definitions, its loss, and that it learns."""

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from plc_training.data.segments import Segments
from plc_training.networks.context_encoder import (
    ContextEncoderNet,
    LongDeconvolution,
    SameDeconvolution,
    _regrouped,
    same_padding,
)
from plc_training.tasks.context_encoder import (
    SEGMENT_SAMPLES,
    ContextEncoderSettings,
    ContextEncoderTask,
)
from plc_training.tasks.context_encoder_plan import ContextEncoderPlan
from tests.signals import tones

RATE = 16_000


def lines(count: int) -> NDArray[np.int16]:
    made = [tones(seed, RATE, SEGMENT_SAMPLES) for seed in range(count)]
    return np.rint(32767 * np.clip(made, -1, 1)).astype(np.int16)


def contexts(batch: int) -> Tensor:
    made: Tensor = torch.randn(batch, 4, 257, 16, generator=torch.Generator().manual_seed(0))
    return made


@pytest.fixture(scope="module")
def network() -> ContextEncoderNet:
    torch.manual_seed(0)
    return ContextEncoderNet(1).eval()


def test_it_has_the_papers_size(network: ContextEncoderNet) -> None:
    total = sum(weight.numel() for weight in network.parameters())
    assert round(total / 1e6, 2) == 11.17
    # Section 2.3 of the paper: 38 %, of the weights without those of batch normalisation.
    filters = [weight.numel() for weight in network.parameters() if weight.ndim > 1]
    assert len(filters) == 12
    assert round(100 * 2048**2 / sum(filters), 1) == 37.6
    assert not [name for name, _ in network.named_modules() if name.endswith("bias")]


def test_a_quarter_of_the_width_has_the_published_filters_with_fewer_channels(
    network: ContextEncoderNet,
) -> None:
    quarter = ContextEncoderNet(1, 4)
    published = [weight.shape for weight in network.parameters() if weight.ndim == 4]
    narrow = [weight.shape for weight in quarter.parameters() if weight.ndim == 4]
    assert [shape[2:] for shape in narrow] == [shape[2:] for shape in published]
    of_bins_and_frames = {4, 257, 11, 32, 1}
    assert len(narrow) == 11
    for one, other in zip(narrow, published, strict=True):
        for channels, before in zip(one[:2], other[:2], strict=True):
            assert channels == before // 4 or (channels == before and before in of_bins_and_frames)
    assert quarter.connected[0].weight.shape == (512, 512)
    assert sum(weight.numel() for weight in quarter.parameters()) == 1_159_448


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_narrow_network_answers_in_the_same_shape(outputs: int, width: int) -> None:
    shape = (2, 257, 11) if outputs == 1 else (2, 2, 257, 11)
    with torch.no_grad():
        assert ContextEncoderNet(outputs, width).eval()(contexts(2)).shape == shape


def test_a_gain_of_the_contexts_is_a_gain_of_the_answer(network: ContextEncoderNet) -> None:
    with torch.no_grad():
        answer = network(contexts(2))
        torch.testing.assert_close(network(1000 * contexts(2)), 1000 * answer, rtol=1e-3, atol=0.1)
        assert network(0 * contexts(1)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        (16, 7, 2, (2, 3)),  # the encoder's first layer
        (257, 89, 2, (44, 44)),
        (8, 3, 2, (0, 1)),
        (129, 17, 3, (7, 7)),
        (4, 2, 2, (0, 0)),
        (2, 2, 1, (0, 1)),
    ],
)
def test_padding_is_that_of_tensorflow(
    size: int, kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride) == padding
    assert (size + sum(padding) - kernel) // stride + 1 == -(-size // stride)


@pytest.mark.parametrize("kind", [SameDeconvolution, LongDeconvolution])
@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [
        ((8, 8), 2, (8, 8)),
        ((5, 5), 2, (6, 7)),
        ((3, 3), 1, (5, 4)),
        ((5, 67), 2, (8, 257)),
        ((11, 257), 1, (11, 257)),
    ],
)
def test_a_deconvolution_is_the_adjoint_of_the_same_convolution(
    kind: type[SameDeconvolution], kernel: tuple[int, int], stride: int, size: tuple[int, int]
) -> None:
    # Which is how TensorFlow defines it: <conv(y), x> = <y, deconv(x)>.
    torch.manual_seed(1)
    deconvolution = kind(2, 3, kernel, stride).requires_grad_(False)
    x = torch.randn(2, 2, *size)
    y = torch.randn(2, 3, stride * size[0], stride * size[1])
    frames, bins = (
        same_padding(stride * length, taps, stride)
        for length, taps in zip(size, kernel, strict=True)
    )
    padded = functional.pad(y, (*bins, *frames))
    convolved = functional.conv2d(padded, deconvolution.weight, stride=stride)
    made = deconvolution(x)
    assert made.shape == y.shape
    expected = float((convolved * x).sum())
    scale = float(convolved.norm() * x.norm())
    assert float((made * y).sum()) == pytest.approx(expected, abs=1e-5 * scale)


def test_long_deconvolutions_equal_the_plain_sums() -> None:
    torch.manual_seed(2)
    for taken, given, kernel, stride, size in (
        (128, 11, (5, 67), 2, (8, 257)),
        (32, 1, (11, 257), 1, (11, 257)),
    ):
        long = LongDeconvolution(taken, given, kernel, stride)
        plain = SameDeconvolution(taken, given, kernel, stride)
        plain.load_state_dict(long.state_dict())
        x = torch.randn(1, taken, *size)
        torch.testing.assert_close(long(x), plain(x), rtol=1e-4, atol=1e-4)
        x.requires_grad_()
        gradients = [
            torch.autograd.grad(layer(x).square().sum(), (layer.weight, x))
            for layer in (long, plain)
        ]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)


def test_regrouping_cuts_frames_bins_channels_anew() -> None:
    x = np.random.default_rng(3).random((2, 6, 4, 5)).astype(np.float32)  # channels first
    expected = x.transpose(0, 2, 3, 1).reshape(2, 2, 20, 3).transpose(0, 3, 1, 2)
    assert np.array_equal(_regrouped(torch.from_numpy(x), (2, 20, 3)).numpy(), expected)


def spectrogram(x: NDArray[np.float64], frames: int) -> NDArray[np.complex128]:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    return np.array([np.fft.rfft(hann * x[128 * k : 128 * k + 512]) for k in range(frames)]).T


def task_on(
    outputs: int, lines: NDArray[np.int16], settings: ContextEncoderSettings | None = None
) -> ContextEncoderTask:
    """Return the task on segments whose samples come back as they are."""
    count = len(lines)
    peaks = np.abs(lines).max(axis=1).astype(np.float32) / np.float32(32767.0)
    gaps = np.full(count, 1024, np.int32)
    segments = Segments(lines[:, None], gaps, peaks, np.zeros(count, np.uint8))
    settings = msgspec.structs.replace(settings or ContextEncoderSettings(), complex=outputs == 2)
    plan = ContextEncoderPlan(domains=("music",))
    return ContextEncoderTask(plan, settings, segments, segments)


def test_the_task_cuts_segments_as_the_run_time_does() -> None:
    segments = lines(2)
    task = task_on(2, segments)
    batch = {"lines": torch.from_numpy(segments.astype(np.float32) / 32768)}
    (given,), wanted = task.inputs(batch), task.target(batch)
    magnitudes = task_on(1, segments).target(batch)
    for i, line in enumerate(segments.astype(np.float64) / 32768):
        before = spectrogram(np.pad(line[:2048], (0, 384)), 16)
        after = spectrogram(np.pad(line[3072:], (384, 0)), 16)
        gap = spectrogram(line[2048 - 384 : 3072 + 384], 11)
        expected = [before.real, before.imag, after.real, after.imag]
        np.testing.assert_allclose(given[i], expected, atol=1e-3)
        np.testing.assert_allclose(wanted[i], [gap.real, gap.imag], atol=1e-3)
        np.testing.assert_allclose(magnitudes[i], np.abs(gap), atol=1e-3)


def test_the_loss_is_that_of_the_paper() -> None:
    segments = lines(3)
    task = task_on(1, segments)
    weights = [w.detach().numpy().astype(np.float64) for w in task.make_network().parameters()]
    batch = {"lines": torch.from_numpy(segments.astype(np.float32) / 32768)}
    target = task.target(batch).numpy().astype(np.float64)
    output = 0.5 * target + 0.1
    ratios = [
        np.sum((s - o) ** 2) / (1 / 5 + np.sum(s**2)) for s, o in zip(target, output, strict=True)
    ]
    squares = sum(float(np.sum(w**2)) for w in weights)
    # Section 2.5; the authors add the weights' term to the sum over a batch of 256.
    expected = np.mean(ratios) + 0.01 / 2 * squares / 256
    found = float(task.loss(torch.from_numpy(output).float(), batch).detach())
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_loss_in_decibels_is_the_figure_and_counts_all_gaps_alike() -> None:
    segments = lines(2)
    segments[1] //= 100
    task = task_on(1, segments, ContextEncoderSettings(loss="decibel"))
    task.make_network()
    batch = {"lines": torch.from_numpy(segments.astype(np.float32) / 32768)}
    target = task.target(batch)
    exact, a_tenth, silent = (
        float(task.loss(gain * target, batch).detach()) for gain in (1.0, 0.9, 0.0)
    )
    weights = task.loss(torch.zeros_like(target), batch).detach()
    assert a_tenth - silent == pytest.approx(-20.0, abs=0.1)
    assert exact - silent == pytest.approx(-40.0, abs=0.1)  # better than 40 dB does not count
    quiet = torch.stack([target[0], 0.9 * target[1]])
    found = float(task.loss(quiet, batch).detach() - weights)
    assert found == pytest.approx(-30.0, abs=0.1)


class _Answer(nn.Module):
    """Answers with the truth times a gain."""

    def __init__(self, task: ContextEncoderTask, batch: dict[str, Tensor], gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self._target = task.target(batch)

    def forward(self, _: Tensor) -> Tensor:
        return self.gain * self._target


@pytest.mark.parametrize("outputs", [1, 2])
def test_validation_gives_the_snr_of_the_answer(outputs: int) -> None:
    segments = lines(4)
    task = task_on(outputs, segments)
    batch = {"lines": torch.from_numpy(segments.astype(np.float32) / 32768)}
    figures = task.validate(_Answer(task, batch, 0.9))
    assert next(iter(figures)) == "snr_ms_db"
    assert figures["snr_ms_db"] == pytest.approx(20.0, abs=0.01)
    assert figures["nmse_db"] == pytest.approx(20.0, abs=0.01)
    # The sign of a magnitude does not count where fills are judged; it does in the NMSE.
    turned = task.validate(_Answer(task, batch, -0.9))
    assert turned["snr_ms_db"] == pytest.approx(20.0, abs=0.01)
    assert turned["nmse_db"] == pytest.approx(-20 * np.log10(1.9), abs=0.01)
