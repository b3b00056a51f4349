"""Judges of generated notes: that they hear, and that scores order notes as ears would."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc_training.cli import app
from plc_training.papers import judged
from plc_training.papers.judged import (
    FORMS,
    REAL,
    SINES,
    TRAINED_ON,
    Judges,
    Scorer,
    open_alike,
    sines,
    spread,
)
from plc_training.papers.judges import NoteSet, gather_notes, train_judge
from plc_training.papers.notes import NotesPlan
from plc_training.train.display import Display
from tests.examples import is_deep
from tests.options import options, ran
from tests.signals import noise
from tests.training.papers.test_notes import RATE, RECIPE, SAMPLES, hz

PLAN = NotesPlan(sample_rate=RATE, samples=SAMPLES)
PITCHES = range(60, 68)
_QUIET = Display(quiet=True)


def played(pitch: int, partials: int, seed: int) -> NDArray[np.float32]:
    """Return a note of so many partials, with a little of its own in level and phase."""
    rng = np.random.default_rng(seed)
    t = np.arange(SAMPLES) / RATE
    phases = rng.uniform(0, 2 * np.pi, partials)
    waves = [
        np.sin(2 * np.pi * k * hz(pitch) * t + phases[k - 1]) / k for k in range(1, partials + 1)
    ]
    note: NDArray[np.float32] = np.sum(waves, axis=0).astype(np.float32)
    return note * np.float32(rng.uniform(0.2, 0.4)) + noise(seed, SAMPLES) * np.float32(1e-3)


def library(folder: Path, instruments: dict[str, int], seed: int = 0, times: int = 4) -> Path:
    """Write a library of notes: a file for each instrument, by its number of partials."""
    folder.mkdir()
    rows, notes = ["path,domain,split"], ["path,start_s,duration_s,midi"]
    length = SAMPLES / RATE
    for number, (name, partials) in enumerate(instruments.items()):
        every = [pitch for pitch in PITCHES for _ in range(times)]
        sounds = [
            played(pitch, partials, seed + 1000 * number + i) for i, pitch in enumerate(every)
        ]
        soundfile.write(folder / f"{name}_notes0.wav", np.concatenate(sounds), RATE)
        rows.append(f"{name}_notes0.wav,instruments,{'valid' if number == 2 else 'train'}")
        notes += [f"{name}_notes0.wav,{i * length},{length},{p}" for i, p in enumerate(every)]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "notes.csv").write_text("\n".join(notes) + "\n")
    return folder


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> NoteSet:
    folder = tmp_path_factory.mktemp("judged")
    made = library(folder / "heard", {"flute": 1, "reed": 3, "brass": 6}, times=6)
    return gather_notes([made], PLAN, (60, 67), folder / "cache", _QUIET)


@pytest.fixture(scope="module")
def judges(notes: NoteSet) -> Judges:
    names = ([str(pitch) for pitch in notes.pitches], notes.instruments)
    return Judges(*(train_judge(notes, each, epochs=12) for each in names))


def test_notes_carry_pitch_and_instrument(notes: NoteSet) -> None:
    assert notes.sounds.shape == (3 * 8 * 6, SAMPLES)
    np.testing.assert_allclose(np.abs(notes.sounds).max(axis=1), 1.0, atol=1e-6)
    assert sorted(set(notes.instruments)) == ["brass", "flute", "reed"]
    assert sorted(set(notes.pitches.tolist())) == list(PITCHES)
    assert 0.0 <= float(notes.features.min()) < float(notes.features.max()) <= 1.0


def test_judges_hear_notes_that_they_were_not_trained_on(judges: Judges) -> None:
    assert judges.pitch.accuracy > 0.8
    assert judges.instrument.accuracy > 0.8


def test_real_notes_score_better_than_noise(notes: NoteSet, judges: Judges) -> None:
    order = np.random.default_rng(0).permutation(len(notes))
    half = (len(notes) if is_deep() else 60) // 2
    scorer = Scorer(judges, notes.of(order[:half]), _QUIET, resamples=30)
    real = notes.of(order[half : 2 * half])
    hiss = np.stack([noise(seed, SAMPLES) for seed in range(half)])
    noises = NoteSet(hiss / np.abs(hiss).max(), real.pitches, (), RATE)
    good, bad = scorer.scores(real), scorer.scores(noises)
    assert good["tune"].value > 0.8 > 0.4 > bad["tune"].value
    for name in FORMS:
        if name in good:
            figures = (
                (good[name], bad[name])
                if name in ("tune", "PIS", "IIS")
                else (bad[name], good[name])
            )
            assert figures[0].low > figures[1].high, name


def test_sines_have_the_pitches_asked_for(judges: Judges) -> None:
    pitches = spread((60, 67), 20, np.random.default_rng(0))
    assert set(np.bincount(pitches)[60:]) == {2, 3}
    made = sines(PLAN, pitches)
    heard = judges.pitch.logits(made).argmax(axis=1)
    right = [judges.pitch.classes[i] == str(p) for i, p in zip(heard, pitches, strict=True)]
    assert np.mean(right) > 0.8


def test_a_library_without_notes_in_range_is_refused(tmp_path: Path) -> None:
    made = library(tmp_path / "few", {"flute": 1}, times=1)
    with pytest.raises(ConfigError, match="few: no notes of pitch 20 to 30 in the split"):
        gather_notes([made], PLAN, (20, 30), tmp_path / "cache", _QUIET)


@pytest.mark.deep
def test_runs_are_judged_from_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = library(tmp_path / "heard", {"flute": 1, "reed": 3, "brass": 6})
    unseen = library(tmp_path / "unseen", {"organ": 2, "bowed": 5}, seed=5000)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE)
    run = tmp_path / "mine"
    ran(app, "train", str(recipe), "--data", str(heard), "--out", str(run))
    given = options(data=heard, unseen=unseen, count=16)
    picture = tmp_path / "scales.png"
    # In less time.
    monkeypatch.setattr(judged, "judge", partial(judged.judge, epochs=2, resamples=30))
    words = ["train papers", "judged", str(run), *given, *options(picture=picture)]
    said = ran(app, *words)
    lines = said.stdout.splitlines()
    assert re.match(
        r"judges are right on held-out notes: pitch .* of 8, instrument .* of 2", lines[0]
    )
    assert lines[1].split()[:4] == ["in", "tune", "PIS", "IIS"]
    assert [line.split("  ")[0] for line in lines[2:]] == [REAL, TRAINED_ON, SINES, "mine"]
    figure = re.compile(r"(-?[\d.]+) \((-?[\d.]+) to (-?[\d.]+)\)")
    for line in lines[2:]:
        figures = [tuple(map(float, found)) for found in figure.findall(line)]
        assert len(figures) >= 4
        assert all(low <= value <= high for value, low, high in figures)
    assert picture.stat().st_size > 1000

    other = tmp_path / "other"
    recipe.write_text(RECIPE.replace("lowest = 60", "lowest = 61"))
    again = ["train", str(recipe), "--data", str(heard), "--out", str(other)]
    ran(app, *again)
    with pytest.raises(ConfigError, match="other makes other notes than mine"):
        open_alike([run, other])
    with pytest.raises(ConfigError, match="two runs are called mine"):
        open_alike([run, run])
