"""What is added to straight lines: nothing at first, and nothing that a gain or a turn changes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plc.engine.networks.encoder import ContextEncoder
from plc_bench.scores.metrics import snr_ms_db
from plc_training.networks.line_encoder import LineEncoderNet

RATE = 16_000


def contexts(batch: int, seed: int = 0) -> Tensor:
    made: Tensor = torch.randn(batch, 4, 257, 16, generator=torch.Generator().manual_seed(seed))
    return made


def network(seed: int = 1) -> LineEncoderNet:
    """Return a network that adds something."""
    torch.manual_seed(seed)
    made = LineEncoderNet(16)
    torch.nn.init.normal_(made.last.weight, std=0.1)
    return made.eval()


def answer(of: LineEncoderNet, given: Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        found: NDArray[np.float32] = of(given).numpy()
    return found


def test_at_first_it_answers_with_straight_lines_between_whole_frames() -> None:
    given = contexts(3)
    found = answer(LineEncoderNet(4).eval(), 20.0 * given)
    real, imaginary = (20.0 * given[:, k::2].numpy().astype(np.float64) for k in (0, 1))
    logs = np.log(np.hypot(real, imaginary))
    # Three frames of each side reach into the gap; eleven of the gap lie between the others.
    before, after = logs[:, 0, :, 12], logs[:, 1, :, 3]
    for frame in range(11):
        share = (frame + 1) / 12
        expected = np.exp((1 - share) * before + share * after)
        np.testing.assert_allclose(found[..., frame], expected, rtol=1e-3, atol=0.01)


def test_a_gain_of_the_contexts_is_a_gain_of_the_answer() -> None:
    made = network()
    expected = 100.0 * answer(made, contexts(2))
    found = answer(made, 100.0 * contexts(2))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    silent = answer(made, torch.zeros(1, 4, 257, 16))
    assert np.abs(silent).max() < 1e-5


def test_a_turn_of_all_phases_changes_nothing() -> None:
    given = contexts(2)
    real, imaginary = given[:, 0::2], given[:, 1::2]
    cosine, sine = np.cos(0.7), np.sin(0.7)
    turned = torch.empty_like(given)
    turned[:, 0::2] = cosine * real - sine * imaginary
    turned[:, 1::2] = sine * real + cosine * imaginary
    made = network()
    np.testing.assert_allclose(answer(made, turned), answer(made, given), rtol=1e-3, atol=1e-4)


def test_phases_of_a_tone_between_two_bins_turn_as_far_as_it_is_from_them() -> None:
    hertz = 1010.0
    t = np.arange(5120) / RATE
    seen: list[Tensor] = []

    def watched(given: NDArray[np.float32]) -> NDArray[np.float32]:
        x = torch.from_numpy(given)
        sides = [x[:, :2], x[:, 2:]]
        sizes = [side.square().sum(1).sqrt() + 1e-6 for side in sides]
        seen.append(LineEncoderNet(16)._phases(sides, sizes)[0])
        return np.zeros((1, 257, 11), np.float32)

    tone = np.sin(2 * np.pi * hertz * t).astype(np.float32)
    ContextEncoder(watched).fill(tone, (2048, 3072), iterations=0)
    bin_ = round(hertz / 31.25)
    cosines, sines = seen[0].reshape(2, -1, 257)[..., bin_].numpy()
    step = 2 * np.pi * (hertz - 31.25 * bin_) * 128 / RATE
    expected = step * np.arange(1, 13)
    for side in (slice(0, 12), slice(12, 24)):
        np.testing.assert_allclose(cosines[side], np.cos(expected), atol=0.01)
        np.testing.assert_allclose(sines[side], np.sin(expected), atol=0.01)


def test_its_straight_lines_already_fill_a_gap_in_tones() -> None:
    t = np.arange(8000) / RATE
    waves = [np.sin(2 * np.pi * hertz * t) for hertz in (220.0, 930.0, 1700.0)]
    signal = (0.1 * np.sum(waves, axis=0)).astype(np.float32)
    plain = LineEncoderNet(16).eval()
    encoder = ContextEncoder(lambda given: answer(plain, torch.from_numpy(given)))
    filled = signal.copy()
    filled[3500:4524] = encoder.fill(signal, (3500, 4524))
    assert snr_ms_db(signal, filled, (3500, 4524)) > 25.0
