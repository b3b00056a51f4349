"""The task of GACELA: its windows, its turns, and a run from audio to a model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from plc.engine.models.manifest import Manifest
from plc.errors import ConfigError
from plc.papers.gacela import EDGE_FRAMES, HOP_SAMPLES, SAMPLE_RATE, WINDOW_SAMPLES
from plc_training.cli import app
from plc_training.data.segments import Segments
from plc_training.papers.gacela import GacelaPlan, GacelaSettings, GacelaTask
from plc_training.papers.gacela_network import Gacela
from plc_training.train.loop import CHECKPOINT
from plc_training.train.recipe import parse_recipe
from tests.options import ran
from tests.signals import tones
from tests.training.clips import segments_of, write_clips

PLAN = GacelaPlan(domains=("any",), spare_ms=100.0, shift_ms=200.0)
GAP = slice(240, 272)
RECIPE = """
[task]
kind = "gacela"

[data]
domains = ["any"]
spare_ms = 100.0
shift_ms = 200.0

[settings]
width = 8

[schedule]
steps = 2
batch = 2
learning_rate = 1e-4
warm_up = 1
weight_decay = 0.0
beta1 = 0.5
beta2 = 0.9
clip_norm = 0.0
validate_every = 2

[model]
name = "long"
content = "any"
licence = "MIT"
"""


def segments(count: int = 3) -> Segments:
    samples = np.stack([tones(seed, SAMPLE_RATE, PLAN.samples) for seed in range(count)])
    return segments_of(samples, 32 * HOP_SAMPLES)


@pytest.fixture(scope="module")
def task() -> GacelaTask:
    return GacelaTask(PLAN, GacelaSettings(width=8), segments(), segments())


def test_levels_are_those_of_each_frame_beside_the_largest_known(task: GacelaTask) -> None:
    lines = segments().lines[:2, 0, : PLAN.window_samples]
    line = lines[1].astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)
    frames = np.lib.stride_tricks.sliding_window_view(line, WINDOW_SAMPLES)[::HOP_SAMPLES]
    magnitudes = np.abs(np.fft.rfft(frames * window))[:, :512].T
    known = np.delete(magnitudes, range(240 - EDGE_FRAMES, 272 + EDGE_FRAMES), axis=1)
    expected = 1.0 + 0.4 * np.log10(np.maximum(magnitudes / known.max(), 1e-5))
    levels = task.levels(lines)[1]
    assert levels.shape == (512, 512)
    np.testing.assert_allclose(levels, expected, atol=2e-3)


def test_the_gap_and_its_edges_are_hidden_from_the_encoders(task: GacelaTask) -> None:
    batch = task.batch(2, np.random.default_rng(1))
    lines = segments().lines[:2, 0, : PLAN.window_samples]

    def seen() -> Tensor:
        return task.inputs(dict(batch, levels=task.levels(lines)))[0]

    sides, noise = task.inputs(dict(batch, levels=task.levels(lines)))
    assert sides.shape == (2, 2, 512, 240)
    assert noise.shape == (2, 1, 5, 4)
    # Samples of a gap of 32 hops in the middle of the grid: none of them has an effect.
    start = (240 * HOP_SAMPLES + WINDOW_SAMPLES // 2) - HOP_SAMPLES // 2
    assert start == task.plan.window_samples - start - 32 * HOP_SAMPLES
    lines[:, start : start + 32 * HOP_SAMPLES] = 12_345
    assert torch.equal(seen(), sides)
    # The samples beside it do.
    lines[:, start - HOP_SAMPLES : start] = 12_345
    assert not torch.equal(seen(), sides)


def test_fakes_stand_between_the_sides_of_the_other_half(task: GacelaTask) -> None:
    torch.manual_seed(0)
    network = task.make_network()
    batch = task.batch(4, np.random.default_rng(2))
    levels = batch["levels"]
    real, fake = task._shown(network, batch)
    assert torch.equal(real, levels[0::2])
    assert torch.equal(fake[..., :240], levels[1::2, :, :240])
    assert torch.equal(fake[..., 272:], levels[1::2, :, 272:])
    assert not torch.equal(fake[..., GAP], levels[1::2][..., GAP])


def test_each_turn_trains_its_player(task: GacelaTask) -> None:
    torch.manual_seed(0)
    network = task.make_network()
    assert isinstance(network, Gacela)
    batch = task.batch(4, np.random.default_rng(3))
    turns = task.turns(0)
    assert [turn.player for turn in turns] == ["critics", "inpainter"]
    assert set(task.players()) == {turn.player for turn in turns}
    for turn in turns:
        network.requires_grad_(False)
        network.get_submodule(turn.player).requires_grad_(True)
        network.zero_grad()
        torch.autograd.backward(turn.loss(network, batch))
        for name, value in network.named_parameters():
            moved = value.grad is not None and bool(value.grad.any())
            # A bias before the last average of a Wasserstein loss has no gradient.
            assert moved is name.startswith(turn.player) or ".bias" in name, name


def test_a_generator_of_real_gaps_would_have_the_best_likeness(task: GacelaTask) -> None:
    class Cheat(Gacela):
        def forward(self, sides: Tensor, noise: Tensor) -> Tensor:
            return task.levels(segments().lines[:, 0, : PLAN.window_samples])[..., GAP]

    honest = task.validate(task.make_network().eval())
    cheat = task.validate(Cheat(8, PLAN.layout).eval())
    assert cheat["likeness"] == pytest.approx(0.0, abs=1e-3)
    assert cheat["level_db"] == pytest.approx(0.0, abs=1e-3)
    assert cheat["spread"] == 0.0
    assert honest["likeness"] < -0.5
    assert honest["spread"] > 0.0


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("width = 8", "width = 12", "settings.width is 12; expected a multiple of 8"),
        ("spare_ms", "gap_frames = 48\nspare_ms", "data.gap_frames is 48; expected 32, 64 or 128"),
        (
            "spare_ms",
            "side_frames = 236\nspare_ms",
            "data.side_frames is 236; expected a multiple of 4, at least 240",
        ),
        ("[settings]", "[data.valid]\nside_frames = 320\n[settings]", "differ in the rate"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_its_name(old: str, new: str, match: str) -> None:
    assert old in RECIPE
    with pytest.raises(ConfigError, match=match):
        parse_recipe(RECIPE.replace(old, new, 1), "mine", "mine.toml")


def test_a_run_becomes_a_model_without_critics(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 2, seconds=6.3, rate=SAMPLE_RATE)
    (tmp_path / "clips" / "manifest.csv").write_text(
        "path,domain,split\nclip0.wav,any,train\nclip1.wav,any,valid\n"
    )
    (tmp_path / "mine.toml").write_text(RECIPE)
    paths = {"--data": "clips", "--out": "run"}
    options = [part for key, path in paths.items() for part in (key, str(tmp_path / path))]
    recipe = str(tmp_path / "mine.toml")
    ran(app, "train", recipe, *options, "--accelerator", "cpu")
    assert (tmp_path / "run" / CHECKPOINT).exists()
    ran(app, "export", str(tmp_path / "run"))
    model = Manifest.read(tmp_path / "run" / "long.json")
    # Gains of the norms, and critics, are not in it.
    inpainter = GacelaTask(PLAN, GacelaSettings(width=8), segments(), segments()).make_network()
    folded = GacelaTask.exported(None, inpainter)  # type: ignore[arg-type]
    assert model.parameters == sum(value.numel() for value in folded.parameters())
    assert (model.kind, model.drafts, model.context_frames) == ("gacela", (), 240)
    assert model.horizon_ms == pytest.approx(371.52, abs=0.01)
