"""A gap in each representation: what is lost, what the network sees, a comparison from audio."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from plc.engine.networks.encoder import SAMPLE_RATE
from plc.errors import ConfigError
from plc.papers.representations.named import EXACT, REPRESENTATIONS
from plc_bench.scores.metrics import snr_db
from plc_training.cli import app
from plc_training.data.segments import Segments
from plc_training.papers.representations import (
    ALL_REPRESENTATIONS,
    Contender,
    fills_of,
)
from plc_training.papers.represented import (
    GAP,
    SEGMENT_SAMPLES,
    GapArrays,
    RepresentedSettings,
    RepresentedTask,
)
from plc_training.tasks.context_encoder_plan import ContextEncoderPlan
from plc_training.train.recipe import parse_recipe, read_recipe
from tests.options import options
from tests.signals import sine, tones
from tests.training.clips import segments_of, write_clips, write_manifest


def segments(count: int = 4) -> Segments:
    samples = np.stack([tones(seed, SAMPLE_RATE, SEGMENT_SAMPLES) for seed in range(count)])
    return segments_of(samples, GAP[1] - GAP[0])


def task(name: str) -> RepresentedTask:
    settings = RepresentedSettings(representation=name, width=8, blocks=1)
    return RepresentedTask(ContextEncoderPlan(domains=("music",)), settings, segments(), segments())


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_frames_that_are_not_lost_know_nothing_of_the_gap(name: str) -> None:
    arrays = GapArrays(name)
    first, last = np.flatnonzero(arrays.lost)[[0, -1]]
    assert arrays.lost[first : last + 1].all()
    assert first > 0
    assert last < arrays.lost.size - 1
    segment, _ = arrays.prepared(tones(1, SAMPLE_RATE, SEGMENT_SAMPLES))
    change = np.abs(arrays.kind.forward(segment) - arrays.damaged(segment))[0]
    if name in ("constant-q", "nsgt", "erb"):
        # The windows of the upper half of the bands are short enough.
        change = change[change.shape[0] // 2 :]
        assert np.median(change[:, ~arrays.lost]) < 0.05 * np.median(change[:, arrays.lost])
    else:
        assert change[:, ~arrays.lost].max() == 0.0


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_an_untrained_network_answers_with_straight_lines(name: str) -> None:
    made = task(name)
    network = made.make_network()
    batch = made.batch(3, np.random.default_rng(0))
    answer = network(*made.inputs(batch))
    assert torch.equal(answer, batch["filled"])
    known = ~torch.from_numpy(made.arrays.lost)
    assert torch.equal(answer[..., known], batch["damaged"][..., known])
    figures = made.validate(network)
    assert figures["gain_db"] == pytest.approx(0.0, abs=1e-6)
    assert figures["error"] > 0.0


def test_straight_lines_of_phases_take_the_shorter_way() -> None:
    arrays = GapArrays("magnitude-phase")
    array = np.zeros(arrays.kind.shape, np.float32)
    first, last = np.flatnonzero(arrays.lost)[[0, -1]]
    array[:, :, : first + 1], array[:, :, last:] = 0.9, -0.9
    filled = arrays.interpolated(array)[:, 0, arrays.lost]
    assert np.abs(filled[0]).max() < 0.9
    assert np.all((filled[1] > 0.9) & (filled[1] < 1.1))


@pytest.mark.parametrize("name", EXACT)
def test_the_true_array_fills_with_the_true_samples(name: str) -> None:
    arrays = GapArrays(name)
    x = tones(2, SAMPLE_RATE, SEGMENT_SAMPLES)
    segment, _ = arrays.prepared(x)
    truth = arrays.kind.forward(segment)

    def fill(damaged: np.ndarray, straight: np.ndarray) -> np.ndarray:
        return np.where(arrays.lost, truth, damaged)

    fills = dict(fills_of(Contender(name, arrays, fill, 0), x))
    # Low bands reach further than the lost frames.
    least_db = 15.0 if name in ("nsgt", "erb") else 50.0
    assert snr_db(x[slice(*GAP)], fills[f"{name}, network"]) > least_db


def test_made_phases_continue_a_sine() -> None:
    arrays = GapArrays("mel")
    x = sine(1000.0, SAMPLE_RATE, SEGMENT_SAMPLES, 0.3)
    truth = GapArrays("complex")
    fills = dict(fills_of(Contender("mel", arrays, lambda _, straight: straight, 0), x))
    assert set(fills) == {"mel, straight lines, phases made", "mel, network, phases made"}
    exact = truth.kind.forward(truth.prepared(x)[0])
    contender = Contender("complex", truth, lambda damaged, straight: exact, 0)
    fills = dict(fills_of(contender, x))
    assert snr_db(x[slice(*GAP)], fills["complex, network, phases made"]) > 10.0


def test_recipes_differ_in_the_representation_alone() -> None:
    one, other = ALL_REPRESENTATIONS.recipe_of("mel"), ALL_REPRESENTATIONS.recipe_of("erb")
    assert one.text.replace('"mel"', '"erb"') == other.text
    with pytest.raises(ConfigError, match=r"settings\.representation is 'cqt'"):
        ALL_REPRESENTATIONS.recipe_of("cqt")
    wrong = read_recipe("represented").text.replace("width = 192", "width = 190")
    with pytest.raises(ConfigError, match=r"settings\.width is 190; expected a multiple of 4"):
        parse_recipe(wrong, "wrong", "wrong")


@pytest.mark.deep
def test_the_command_trains_scores_and_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    clips = tmp_path / "clips"
    paths = write_clips(clips, 3, seconds=1.5)
    splits = ("train", "train", "valid")
    rows = [(path.name, "music", split) for path, split in zip(paths, splits, strict=True)]
    write_manifest(clips, rows)
    write_clips(tmp_path / "unseen", 2, seconds=1.0)
    given = options(
        data=clips,
        unseen=tmp_path / "unseen",
        out=tmp_path / "runs",
        picture=tmp_path / "picture.png",
        count=1,
        steps=2,
    )
    result = CliRunner().invoke(app, ["train papers", "representations", *given])
    assert result.exit_code == 0, result.output
    heads = [line.split("  ")[0].strip() for line in result.output.splitlines()]
    for wanted in ("lpc", "waveform", "magnitude-phase", "magnitude-phase, phases made"):
        assert wanted in heads
    assert "mfcc, phases made" in heads
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
