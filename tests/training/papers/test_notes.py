"""Generated notes: labels from the library, growth, turns, figures, and a run from audio."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from plc.engine.models.manifest import Manifest
from plc.errors import ConfigError
from plc.papers.notes import NoteGenerator
from plc.papers.representations.named import REPRESENTATIONS
from plc_training.cli import app
from plc_training.data.segments import Segments
from plc_training.export import export_run
from plc_training.papers.judged import open_generator
from plc_training.papers.notes import NotesPlan, NotesSettings, NotesTask
from plc_training.train.recipe import parse_recipe
from tests.options import ran
from tests.signals import noise, sine
from tests.training.clips import segments_of

RATE, SAMPLES = 8000, 1024
PITCHES = (60, 64, 67, 72)
RECIPE = """
[task]
kind = "notes"

[data]
sample_rate = 8000
samples = 1024

[settings]
representation = "complex"
widths = [6, 4, 4]
latent = 4
lowest = 60
highest = 67
scale_steps = 2

[schedule]
steps = 6
batch = 4
learning_rate = 1e-3
beta1 = 0.0
warm_up = 1
validate_every = 3

[model]
name = "notes"
content = "music"
licence = "MIT"
"""


def hz(pitch: int) -> float:
    return 440.0 * float(2.0 ** ((int(pitch) - 69) / 12))


def segments(count: int = 8) -> Segments:
    pitches = [PITCHES[i % 4] for i in range(count)]
    notes = np.stack([sine(hz(pitch), RATE, SAMPLES) for pitch in pitches])
    return segments_of(notes, pitches=tuple(pitches))


def task(name: str = "magnitude-if", **changed: Any) -> NotesTask:
    settings = NotesSettings(
        representation=name,
        widths=(6, 4, 4),
        latent=4,
        lowest=60,
        highest=67,
        scale_steps=10,
        **changed,
    )
    plan = NotesPlan(sample_rate=RATE, samples=SAMPLES)
    return NotesTask(plan, settings, segments(), segments(4))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_representation_is_trained_and_judged(name: str) -> None:
    torch.manual_seed(0)
    made = task(name)
    network = made.make_network()
    batch = made.batch(4, np.random.default_rng(0))
    for step in (0, 12, 35):
        for turn in made.turns(step):
            loss = turn.loss(network, batch)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            assert torch.isfinite(loss)
    figures = made.validate(network.eval())
    assert np.isfinite(list(figures.values())).all()
    assert figures["nearness_db"] <= 30.1


def test_a_generator_of_the_notes_themselves_is_nearest() -> None:
    made = task("waveform")

    class Memory(nn.Module):
        def __init__(self, level: float) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.tensor(level))

        def forward(self, _: Tensor, label: Tensor) -> Tensor:
            notes = [sine(hz(60 + int(each)), RATE, SAMPLES, 1.0) for each in label]
            arrays: Tensor = self.level * torch.from_numpy(np.stack(notes))[:, None, None]
            return arrays

    same, quiet = made.validate(Memory(1.0)), made.validate(Memory(0.1))
    assert same["nearness_db"] > 10
    assert same["level_db"] == pytest.approx(0, abs=0.1)
    assert quiet["level_db"] == pytest.approx(-20, abs=0.1)
    assert quiet["nearness_db"] < 0


def test_arrays_and_labels_are_those_of_the_notes() -> None:
    made = task("waveform")
    batch = made.batch(16, np.random.default_rng(1))
    for array, label in zip(batch["arrays"], batch["label"], strict=True):
        np.testing.assert_allclose(
            array[0, 0], sine(hz(60 + int(label)), RATE, SAMPLES, 1.0), atol=1e-3
        )
    assert set(batch["label"].tolist()) == {0, 4, 7}, "72 is above the highest"
    network = made.make_network()
    arrays = made.batch(8, np.random.default_rng(2))["arrays"]
    assert network.levels.scaled(arrays).abs().max() == pytest.approx(1, abs=0.01)


def test_scales_fade_in_over_the_first_half_of_their_steps() -> None:
    growth = task().growth
    assert growth(0) == growth(9) == (0, 0.0)
    assert growth(10) == (1, 1.0)
    assert growth(12)[1] == pytest.approx(0.6)
    assert growth(15) == growth(19) == (1, 0.0)
    assert growth(20) == (2, 1.0)
    assert growth(1000) == (2, 0.0)


def test_a_note_is_cut_faded_and_padded() -> None:
    plan = NotesPlan(sample_rate=RATE, samples=1000)
    rng = np.random.default_rng(0)
    ((long, gap),) = plan.cut(np.ones(3000, np.float32), "instruments", rng)
    assert gap == 0
    assert (long[0, :700] == 1).all()
    assert long[0, -1] == 0
    assert (np.diff(long[0, 700:]) < 0).all()
    ((short, _),) = plan.cut(np.ones(300, np.float32), "instruments", rng)
    assert short.sum() == 300
    assert not list(plan.cut(np.zeros(3000, np.float32), "instruments", rng))
    assert not list(plan.cut(np.ones(3000, np.float32), "speech", rng))


def a_run(tmp_path: Path, text: str = RECIPE) -> tuple[Path, list[str]]:
    """Train on notes of a folder; return the run's folder and the command's arguments."""
    rows, notes = ["path,domain,split"], ["path,start_s,duration_s,midi"]
    for number, pitch in enumerate(PITCHES):
        name = f"note{number}.wav"
        x = np.concatenate([sine(hz(pitch), RATE, RATE), noise(number, RATE // 2)])
        soundfile.write(tmp_path / name, x, RATE)
        rows.append(f"{name},instruments,{'valid' if number < 2 else 'train'}")
        notes += [f"{name},0.0,0.5,{pitch}", f"{name},0.5,0.5,{pitch}"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "notes.csv").write_text("\n".join(notes) + "\n")
    recipe = tmp_path / "mine.toml"
    recipe.write_text(text)
    arguments = ["train", str(recipe), "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    ran(app, *arguments)
    return tmp_path / "run", arguments


def test_notes_without_pitch_are_refused() -> None:
    whole = segments()
    unknown = Segments(whole.lines, whole.gaps, whole.peaks, whole.domains)
    settings = NotesSettings(representation="mel")
    with pytest.raises(ConfigError, match="no note of the split train has a pitch from 44 to 70"):
        NotesTask(NotesPlan(sample_rate=RATE, samples=SAMPLES), settings, unknown, whole)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"complex"', '"cqt"', "settings.representation is 'cqt'; expected waveform or complex"),
        ("lowest = 60", "lowest = 68", "settings.lowest is 68; expected at most the highest, 67"),
        ("samples = 1024", "samples = 0", "data.samples is 0"),
        ("samples = 1024", "samples = 1024\nspeeds = [1.0, 0.9]", "speed 1 alone"),
        ("widths = [6, 4, 4]", "widths = [6, 0]", "widths"),
        (
            '"complex"',
            '"mfcc"\nquiet_db = 60.0',
            "settings.quiet_db is 60; mfcc has no magnitudes: expected 0",
        ),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(old: str, new: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_recipe(RECIPE.replace(old, new), "mine", "mine.toml")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Manifest]]:
    """Return the folder of a run of a representation, and its model."""

    @cache
    def of(name: str) -> tuple[Path, Manifest]:
        text = RECIPE.replace('"complex"', f'"{name}"\nlabel_gain = 6.0\nquiet_db = 60.0')
        folder, _ = a_run(tmp_path_factory.mktemp(name), text)
        return folder, export_run(folder, folder / "models").manifest

    return of


@pytest.mark.parametrize(
    "name",
    [
        "waveform",
        *(pytest.param(each, marks=pytest.mark.deep) for each in ("complex", "magnitude-if")),
    ],
)
def test_a_model_without_torch_plays_what_the_run_plays(
    exported: Callable[[str], tuple[Path, Manifest]], name: str
) -> None:
    folder, manifest = exported(name)
    assert (manifest.kind, manifest.sample_rates) == ("notes", (RATE, RATE))
    assert manifest.horizon_ms == pytest.approx(1000 * SAMPLES / RATE)
    ours, theirs = open_generator(folder), NoteGenerator(manifest)
    assert (theirs.lowest, theirs.highest, theirs.latent) == (60, 67, 4)
    noise = ours.latents(3, np.random.default_rng(0))
    pitches = np.array([60, 63, 67])
    pairs = zip(ours.arrays(noise, pitches), theirs.arrays(noise, pitches), strict=True)
    for torchs, runtimes in pairs:
        # Weights of the model are rounded to half precision.
        assert np.square(torchs - runtimes).sum() < 1e-3 * np.square(torchs).sum()
    first, second = theirs.arrays(noise[[0, 0]], pitches[:2])
    assert not np.allclose(first, second)


def test_a_louder_label_changes_more_of_a_note() -> None:
    spreads = []
    for gain in (1.0, 6.0):
        torch.manual_seed(0)
        generator = task(label_gain=gain).make_network().generator
        made = generator(torch.ones(1, 4).expand(8, 4), torch.arange(8))
        spreads.append(float(made.std(0).mean().detach()))
    assert spreads[1] > 1.15 * spreads[0]


def test_the_generator_may_learn_at_a_pace_of_its_own(tmp_path: Path) -> None:
    assert [turn.pace for turn in task(generator_pace=3.0).turns(0)] == [1.0, 3.0]
    weights = []
    for pace in ("0.0", "1e-9"):
        folder = tmp_path / pace
        folder.mkdir()
        text = RECIPE.replace("scale_steps = 2", f"scale_steps = 2\ngenerator_pace = {pace}")
        weights.append(open_generator(a_run(folder, text)[0]).network.generator.state_dict())
    still, slow = weights
    for name, weight in still.items():
        torch.testing.assert_close(weight, slow[name], atol=1e-6, rtol=1e-6)
    default = open_generator(a_run(tmp_path)[0]).network.generator.state_dict()
    assert any((default[name] - weight).abs().max() > 1e-4 for name, weight in still.items())
