"""Strokes of speech: patches, errors, turns with a critic, and a run from audio to a repair."""

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor, nn

import plc
from plc.errors import ConfigError, ModelError
from plc.papers.stroke import INT16, SAMPLE_RATE
from plc_training.cli import app
from plc_training.data.segments import Segments
from plc_training.papers.comparison import Asked
from plc_training.papers.damaged import centred
from plc_training.papers.stroke import (
    Pix2Pix,
    StrokePlan,
    StrokeSettings,
    StrokeTask,
    log_magnitudes,
    patch_samples,
    spoken_part,
    squared_steps,
    stroke_error,
)
from plc_training.papers.strokes import (
    CONTEXTS,
    METHODS,
    PAIRS,
    open_inpainter,
    score_strokes,
)
from plc_training.tasks.base import ModelCard
from plc_training.train.recipe import parse_recipe
from plc_training.train.run import Place
from tests.options import options, ran
from tests.signals import tones
from tests.training.clips import segments_of, write_clips, write_manifest

RECIPE = """
[task]
kind = "stroke"
{begin}

[data]
domains = ["any"]
{frames}

[settings]
network = "{network}"
width = 4
form = "interpolated"
columns = [12, 8]
{more}

[schedule]
steps = {steps}
batch = 4
learning_rate = 5e-3
warm_up = 1
validate_every = {steps}

[model]
name = "strokes"
content = "speech"
licence = "MIT"
"""


def recipe_text(
    network: str = "res-unet-bilinear",
    more: str = "",
    frames: str = "",
    begin: str = "",
    steps: int = 1,
) -> str:
    return RECIPE.format(network=network, more=more, frames=frames, begin=begin, steps=steps)


def segments(plan: StrokePlan, count: int = 4) -> Segments:
    samples = np.stack([tones(seed, SAMPLE_RATE, plan.samples) for seed in range(count)])
    return segments_of(samples)


def task(settings: StrokeSettings, frames: int = 64) -> StrokeTask:
    plan = StrokePlan(domains=("any",), frames=frames)
    made = segments(plan)
    return StrokeTask(plan, settings, made, made)


SMALL = StrokeSettings(network="res-unet-bilinear", width=4, form="interpolated")
ADVERSARIAL = StrokeSettings(
    network="res-unet-bilinear", width=4, form="interpolated", critic_width=4
)


def test_a_patch_is_the_normalised_logarithm_of_16_bit_magnitudes() -> None:
    x = tones(0, SAMPLE_RATE, patch_samples(64))
    patch = log_magnitudes(torch.from_numpy(x)[None])
    assert patch.shape == (1, 1, 64, 64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(128) / 128)
    for column in (0, 31, 63):
        frame = np.rint(x[64 * column : 64 * column + 128] * 32768.0) * window
        magnitude = np.abs(np.fft.rfft(frame))[:64] / window.sum()
        expected = (np.log(magnitude) - 0.4385) / 2.4214
        np.testing.assert_allclose(patch[0, 0, :, column], expected, atol=1e-3)
    silence = log_magnitudes(torch.zeros(1, patch_samples(64)))
    assert torch.isfinite(silence).all()


def test_a_stroke_is_in_the_middle() -> None:
    lost = centred(np.array([12, 7, 0]), 64)
    assert np.flatnonzero(lost[0]).tolist() == list(range(26, 38))
    assert np.flatnonzero(lost[1]).tolist() == list(range(28, 35))
    assert not lost[2].any()


def test_the_error_counts_the_stroke_alone() -> None:
    truth = torch.zeros(2, 1, 64, 64)
    answer = truth.clone()
    lost = torch.from_numpy(centred(np.array([12, 24]), 64))
    answer[:, :, :, 0] = 9.0
    answer[0, :, :, 26] = 2.0
    assert stroke_error(answer, truth, lost).tolist() == pytest.approx([4.0 / 12.0, 0.0])


def test_the_steps_of_a_stroke_are_their_definition() -> None:
    patch = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 64, 64))).float()
    lost = torch.from_numpy(centred(np.array([12]), 64))
    inside = patch[0, 0, :, 26:38].numpy()
    expected = np.square(np.diff(inside, axis=0)).mean() + np.square(np.diff(inside)).mean()
    assert float(squared_steps(patch, lost)) == pytest.approx(float(expected), rel=1e-5)


def test_clips_begin_and_end_with_sound() -> None:
    loud = np.float32(0.05) + np.zeros(6400, np.float32)
    loud[::2] *= -1
    loud *= np.sin(np.arange(6400) / 9.0).astype(np.float32)
    # Columns whose mean magnitude is below 25 of 32768 are cut, and not those between.
    x = np.concatenate([np.zeros(3200), loud, np.zeros(4096), loud, np.zeros(640)])
    kept = spoken_part(x.astype(np.float32))
    assert abs(kept.size - (2 * 6400 + 4096)) <= 2 * 128
    assert spoken_part(np.zeros(9000, np.float32)).size == 0
    assert spoken_part(x[:64].astype(np.float32)).size == 0
    assert 25.0 / INT16 < 1e-3


def test_a_network_may_see_the_middle_of_longer_patches() -> None:
    short = StrokeSettings(network="res-unet-bilinear", width=4, frames=32)
    made = task(short, frames=64)
    batch = made.batch(3, np.random.default_rng(0))
    whole = task(StrokeSettings(width=4), frames=64).batch(3, np.random.default_rng(0))
    assert torch.equal(batch["truth"], whole["truth"][..., 16:48])
    assert torch.equal(batch["lost"], whole["lost"][:, 16:48])
    with pytest.raises(ModelError, match="sees patches of 32 columns; the engine makes patches"):
        made.model_fields(ModelCard(name="short", content="speech", licence="MIT"))


def test_validation_of_a_network_that_corrects_nothing_is_that_of_the_line() -> None:
    made = task(SMALL)
    figures = made.validate(made.make_network().eval())
    assert figures["gain_db"] == pytest.approx(0.0, abs=1e-4)
    assert figures["mse"] == pytest.approx(figures["linear_mse"])
    assert figures["sharpness_db"] < -1.0
    sharp = task(ADVERSARIAL)
    assert next(iter(sharp.validate(sharp.make_network().eval()))) == "sharpness_db"


class Certain(nn.Module):
    """A critic that gives one figure to truth and one to fills: shown alone or not."""

    def __init__(self, real: float, fake: float) -> None:
        super().__init__()
        self.real, self.fake = real, fake

    def forward(self, x: Tensor) -> Tensor:
        same = (x[:, :1] - x[:, 1:]).abs().flatten(1).amax(1) < 1e-4
        figures: Tensor = torch.where(same, self.fake, self.real)[:, None, None, None]
        return figures.expand(-1, 1, 4, 4)


def test_a_critic_is_drawn_to_softened_labels_and_rests_when_it_is_right() -> None:
    torch.manual_seed(0)
    made = task(ADVERSARIAL)
    network = made.make_network()
    assert isinstance(network, Pix2Pix)
    batch = made.batch(4, np.random.default_rng(0))
    batch["softness"] = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    batch["exchange"] = torch.ones(4)
    (critic, _), eval_network = made.turns(0), network.eval()
    # A network of no corrections fills with what it was shown.
    eval_network.critic = Certain(real=1.0, fake=0.0)
    low, high = np.array([0.0, 0.15, 0.0, 0.15]), np.array([1.0, 1.0, 0.85, 0.85])
    expected = 0.5 * (np.square(1.0 - low).mean() + np.square(0.0 - high).mean())
    assert float(critic.loss(eval_network, batch)) == pytest.approx(expected, rel=1e-5)
    # Exchanged, the same answers are right by the labels.
    batch["exchange"] = torch.zeros(4)
    expected = 0.5 * (np.square(1.0 - high).mean() + np.square(0.0 - low).mean())
    assert float(critic.loss(eval_network, batch)) == pytest.approx(expected, rel=1e-4)
    # After a thousand epochs none are.
    late, _ = made.turns(1000)
    batch["exchange"] = torch.full((4,), 1e-6)
    assert float(late.loss(eval_network, batch)) > 3 * expected
    eval_network.critic = Certain(real=0.0, fake=1.0)
    assert float(critic.loss(eval_network, batch)) == 0.0


def test_a_critic_may_never_rest_and_be_faster_and_weigh_more() -> None:
    settings = structs.replace(ADVERSARIAL, critic_rest=1.0, critic_pace=3.0, near_weight=0.0)
    made = task(settings)
    network = made.make_network()
    assert isinstance(network, Pix2Pix)
    batch = made.batch(4, np.random.default_rng(0))
    critic, generator = made.turns(0)
    assert (critic.pace, generator.pace) == (3.0, 1.0)
    network.critic = Certain(real=0.0, fake=1.0)
    assert float(critic.loss(network, batch)) > 0.0
    network.critic = Certain(real=1.0, fake=1.0)
    assert float(generator.loss(network, batch).detach()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "u-net"}, "settings.network is 'u-net'; expected unet or"),
        ({"frames": "frames = 60"}, "data.frames is 60; expected a multiple of 16"),
        ({"more": "frames = 24"}, "settings.frames is 24; expected a multiple of 16"),
        ({"more": "frames = 128"}, "settings.frames is 128; data.frames, of which they are"),
        ({"more": "frames = 16", "frames": "frames = 16"}, None),
        ({"frames": "frames = 0"}, "data.frames is 0; expected above 0"),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(
    change: dict[str, str], said: str | None
) -> None:
    text = recipe_text(**change)  # type: ignore[arg-type]
    if said is None:
        parse_recipe(text, "strokes", "strokes.toml")
        text = text.replace("[12, 8]", "[15]")
        said = "settings.columns has 15; a patch of 16 can lose 14"
    with pytest.raises(ConfigError, match=said):
        parse_recipe(text, "strokes", "strokes.toml")


def run_of(folder: Path, clips: Path, text: str) -> Path:
    """Train by a recipe; return the run."""
    recipe = folder / f"{folder.name}.toml"
    folder.mkdir()
    recipe.write_text(text)
    run = folder.parent / f"run_{folder.name}"
    arguments = ["train", str(recipe), "--data", str(clips), "--out", str(run)]
    ran(app, *arguments)
    return run


def test_a_run_is_scored_and_goes_on_with_a_critic(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    paths = write_clips(clips, 3, seconds=1.2, rate=SAMPLE_RATE)
    run = run_of(tmp_path / "unet", clips, recipe_text(steps=2))
    given = options(unseen=clips, count=1)
    scored = ran(app, "train papers", "restored", str(run), *given)
    lines = scored.output.splitlines()
    assert lines[1] == "strokes of 32 ms: 3 of 3 works"
    assert [line.split()[0] for line in lines[3:7]] == list(METHODS)
    # It begins with the weights of the network that was trained alone.
    begin = 'begin_from = "run_unet"'
    adversarial = recipe_text(more="critic_width = 4", begin=begin)
    other = run_of(tmp_path / "pix2pix", clips, adversarial)
    alone, turned = open_inpainter(run)[1], open_inpainter(other)[1]
    for first, second in zip(alone.parameters(), turned.parameters(), strict=True):
        assert float((first - second).detach().abs().max()) < 0.02
    strokes = score_strokes(*open_inpainter(other), [paths[0]], 12, ("linear", "network"))
    assert strokes.groups == ("clip0",) * len(strokes.groups)
    assert [len(each) for each in strokes.values["mse"].values()] == [len(strokes.groups)] * 2


@pytest.mark.deep
def test_an_exported_network_repairs(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    write_clips(clips, 3, seconds=1.2, rate=SAMPLE_RATE)
    run = run_of(tmp_path / "unet", clips, recipe_text(steps=4))
    ran(app, "export", str(run))
    x = tones(9, SAMPLE_RATE, SAMPLE_RATE)
    gaps = [(6000, 6000 + 768), (15_000, 15_000 + 1536)]
    model = str(run / "strokes.json")
    ours = plc.inpaint(x, gaps, sample_rate=SAMPLE_RATE, model=model)
    plain = plc.inpaint(x, gaps, sample_rate=SAMPLE_RATE, model="ar")
    known = np.ones(x.size, np.bool_)
    for start, stop in gaps:
        known[start:stop] = False
        assert not np.array_equal(ours[start:stop], plain[start:stop])
        error = ours[start:stop] - x[start:stop]
        assert np.square(error).mean() < 0.5 * np.square(x[start:stop]).mean()
    assert np.array_equal(ours[known], x[known])


def test_pairs_of_gap_and_context_are_the_documents() -> None:
    made = list(PAIRS.values())
    assert [(round(each.gap_ms), round(each.frames * 64 / 24)) for each in made] == [
        *((32, 85), (32, 171), (32, 341), (32, 683)),
        *((64, 171), (64, 341), (64, 683)),
        *((128, 171), (128, 341), (128, 683)),
        *((256, 341), (256, 683)),
    ]
    assert made[0].context_ms == pytest.approx(26.7, abs=0.1)
    for name, pair in PAIRS.items():
        recipe = CONTEXTS.recipe_of(name, 20)
        assert recipe.train.frames == 256  # type: ignore[attr-defined]
        assert recipe.settings.columns == (pair.columns,)  # type: ignore[attr-defined]
        assert (recipe.schedule.steps, recipe.settings.frames) == (20, pair.frames)  # type: ignore[attr-defined]
        assert recipe.schedule.validate_every == 4
        assert recipe.schedule.batch * pair.frames == 1024


@pytest.mark.deep
def test_contexts_are_trained_told_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = write_clips(tmp_path / "clips", 3, seconds=1.5, rate=SAMPLE_RATE)
    rows = [(path.name, "speech", "train" if path != paths[0] else "valid") for path in paths]
    write_manifest(tmp_path / "clips", rows)
    names = ("gap32-patch85", "gap64-patch171")
    folder, picture = tmp_path / "clips", tmp_path / "pairs.png"
    place = Place(data=(folder,), folder=tmp_path / "runs", cache=tmp_path / "cache")
    asked = Asked(place=place, names=names, unseen=(folder,), picture=picture)
    assert CONTEXTS.train(asked, 2)
    lines = [line.split() for line in CONTEXTS.tell(asked)]
    assert [line[:4] for line in lines[1:]] == [["32", "ms", "27", "ms"], ["64", "ms", "53", "ms"]]
    assert picture.read_bytes()[:4] == b"\x89PNG"
