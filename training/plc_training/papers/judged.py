"""Scores of generated notes by judges: the document's, with intervals, beside simple references.

Judges are trained on the notes of the training split. Compared are, at equal pitches: notes that
generators make; notes of the training split; sines of the right pitch; and notes of instruments
that neither generators nor judges have heard. Half of those are what distances are measured to,
the other half says how near real notes come.

========  ==========================================================================================
tune      share of notes that the judge of pitch hears at the pitch asked for
PIS, IIS  inception scores by the judges of pitch and of instrument; higher is better
PKID      kernel distance of the pitch judge's logits, times 1000; lower is better
IKID      as PKID, of the judge of instruments
FAD       Fréchet distance of frames as a transcriber hears them
          (:mod:`plc_bench.scores.frechet`); lower is better
========  ==========================================================================================

J. Nistal, S. Lattner, G. Richard, "Comparing representations for audio synthesis using generative
adversarial networks", EUSIPCO, 2020, arXiv 2006.09266.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plc.errors import ConfigError, MissingExtraError
from plc.files.pages.picture import blank_figure, save
from plc.papers.representations.mel import Mel
from plc_bench.papers.generated import (
    RESAMPLES,
    Figure,
    Frames,
    Kernels,
    inception_score,
    with_interval,
)
from plc_bench.scores.frechet import note_frames
from plc_training.papers.judges import (
    EPOCHS,
    NoteSet,
    Trained,
    gather_notes,
    softmax,
    train_judge,
)
from plc_training.papers.notes import NotesNetwork, NotesPlan, NotesTask
from plc_training.train.display import Display
from plc_training.train.run import open_best


@dataclass(frozen=True, slots=True)
class Orchestra:
    """A trained generator with its task."""

    task: NotesTask
    network: NotesNetwork

    @torch.no_grad()
    def arrays(
        self, latents: NDArray[np.float32], pitches: NDArray[np.integer]
    ) -> list[NDArray[np.float32]]:
        """Return the samples of notes of latents, shape (notes, latent), at MIDI pitches."""
        labels = torch.from_numpy(np.asarray(pitches, np.float32) - np.float32(self.task.lowest))
        made = self.network(torch.from_numpy(latents), labels).numpy()
        return [self.task.representation.inverse(array) for array in made]

    def latents(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return random latents, shape (count, latent)."""
        return rng.standard_normal((count, self.network.generator.latent)).astype(np.float32)

    def play(
        self, latents: NDArray[np.float32], pitches: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Return notes of peak 1, shape (notes, samples)."""
        made = np.stack(self.arrays(latents, pitches))
        made /= np.maximum(np.abs(made).max(axis=1, keepdims=True), np.float32(1e-6))
        return made


def open_generator(folder: Path) -> Orchestra:
    """Return the best generator of a run.

    Raises
    ------
    ConfigError
        If the folder holds no run of this task, or no best weights yet.
    """
    task, network = open_best(folder, NotesTask)
    assert isinstance(network, NotesNetwork)
    return Orchestra(task, network)


SCORES = ("tune", "PIS", "IIS", "PKID", "IKID", "FAD")
REAL, TRAINED_ON, SINES = "real, unheard", "real, trained on", "sines"
_FORMS = dict(zip(SCORES, (".2f", ".2f", ".2f", ".1f", ".1f", ".3f"), strict=True))
# Kernel distances are below 2, and of real notes below 0.01.
_KID_UNIT = 1000.0
_PER_CALL = 32
_SHOWN_PITCHES = 9
_SHOWN_DB = 60.0


@dataclass(frozen=True, slots=True)
class Judges:
    """The judges of pitch and of instrument."""

    pitch: Trained
    instrument: Trained


@dataclass(frozen=True, slots=True)
class Row:
    """Scores of one origin of notes.

    Attributes
    ----------
    name : str
        Of the run's folder, or of what the notes are.
    notes : int, their number
    scores : dict
        By :data:`SCORES`; FAD is missing without Basic Pitch.
    """

    name: str
    notes: int
    scores: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores of generators.

    Attributes
    ----------
    pitch_accuracy, instrument_accuracy : float
        Shares of held-out notes that the judges name rightly.
    pitches, instruments : int
        Classes of the judges: the largest PIS and IIS.
    rows : tuple of Row, references first
    """

    pitch_accuracy: float
    instrument_accuracy: float
    pitches: int
    instruments: int
    rows: tuple[Row, ...]


def judge_runs(
    runs: Sequence[Path],
    data: Path,
    unseen: Path,
    cache: Path,
    count: int,
    seed: int = 0,
    epochs: int = EPOCHS,
    resamples: int = RESAMPLES,
) -> tuple[Judged, Mapping[str, Orchestra]]:
    """Return the scores of runs, and their generators by name.

    Parameters
    ----------
    runs : sequence of Path
        Folders of runs of the task notes, of notes of one length, rate and range.
    data : Path
        Library that they were trained on; judges are trained on its training split.
    unseen : Path, library of other instruments
    cache : Path, folder for decoded clips
    count : int
        Notes of each origin, at most.
    seed : int
        Of judges, notes and resamples.
    epochs : int, of the judges' training
    resamples : int, of the intervals

    Raises
    ------
    ConfigError
        If a folder holds no such run, runs differ in their notes, or a library holds too few.
    """
    orchestras = open_alike(runs)
    task = next(iter(orchestras.values())).task
    plan, pitches = task.plan, (task.lowest, task.highest)
    display = Display()
    trained_on = gather_notes(data, plan, pitches, cache, display, ("train",))
    held_out = gather_notes(unseen, plan, pitches, cache, display)
    if len(held_out) < 4:
        raise ConfigError(f"{unseen} holds {len(held_out)} notes in range; give at least 4")
    judges = train_judges(trained_on, display, seed, epochs)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(held_out))
    half = min(count, len(held_out) // 2)
    reference = held_out.of(shuffled[:half])
    sets = {
        REAL: held_out.of(shuffled[half : 2 * half]),
        TRAINED_ON: trained_on.of(rng.permutation(len(trained_on))[:count]),
        SINES: sines(plan, spread(pitches, count, rng)),
    }
    with display.stage("notes generated", count * len(orchestras)) as advance:
        for name, orchestra in orchestras.items():
            sets[name] = generate(orchestra, spread(pitches, count, rng), rng, advance)
    scorer = Scorer(judges, reference, display, seed, resamples)
    with display.stage("sets of notes judged", len(sets)) as advance:
        rows = []
        for name, notes in sets.items():
            rows.append(Row(name, len(notes), scorer.scores(notes)))
            advance()
    judged = Judged(
        judges.pitch.accuracy,
        judges.instrument.accuracy,
        len(judges.pitch.classes),
        len(judges.instrument.classes),
        tuple(rows),
    )
    return judged, orchestras


def open_alike(runs: Sequence[Path]) -> dict[str, Orchestra]:
    """Return the generators of runs by the names of their folders.

    Raises
    ------
    ConfigError
        If a folder holds none, two have one name, or their notes are of another kind.
    """
    found: dict[str, Orchestra] = {}
    for folder in runs:
        name = folder.resolve().name
        if name in found:
            raise ConfigError(f"two runs are called {name}; rename the folder of one")
        found[name] = open_generator(folder)
    first = next(iter(found))
    kinds = {name: _kind(orchestra) for name, orchestra in found.items()}
    for name, kind in kinds.items():
        if kind != kinds[first]:
            raise ConfigError(
                f"{name} makes other notes than {first}: rate, samples and pitches are {kind} and "
                f"{kinds[first]}; judge them one by one"
            )
    return found


def train_judges(notes: NoteSet, display: Display, seed: int = 0, epochs: int = EPOCHS) -> Judges:
    """Return judges of pitch and instrument, trained on notes, with progress."""
    with display.stage("epochs of judges", 2 * epochs) as advance:
        names = ([f"{pitch:03d}" for pitch in notes.pitches], notes.instruments)
        return Judges(*(train_judge(notes, each, seed, epochs, advance) for each in names))


def spread(pitches: tuple[int, int], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return pitches of a range, all alike often, in random order."""
    every = np.arange(pitches[0], pitches[1] + 1)
    return rng.permutation(np.resize(every, count))


def sines(plan: NotesPlan, pitches: NDArray[np.int64]) -> NoteSet:
    """Return sines of MIDI pitches, faded out as notes are."""
    t = np.arange(plan.samples) / plan.sample_rate
    hz = 440.0 * 2.0 ** ((pitches[:, None] - 69) / 12)
    waves = np.sin(2.0 * np.pi * hz * t).astype(np.float32)
    rng = np.random.default_rng(0)
    faded = [note[0] for wave in waves for note, _ in plan.cut(wave, plan.domains[0], rng)]
    return NoteSet(np.stack(faded), pitches, (), plan.sample_rate)


def generate(
    orchestra: Orchestra,
    pitches: NDArray[np.int64],
    rng: np.random.Generator,
    advance: Callable[[], object] = lambda: None,
) -> NoteSet:
    """Return notes of random latents at given MIDI pitches."""
    made = []
    for first in range(0, len(pitches), _PER_CALL):
        part = pitches[first : first + _PER_CALL]
        made.append(orchestra.play(orchestra.latents(len(part), rng), part))
        for _ in part:
            advance()
    return NoteSet(np.concatenate(made), pitches, (), orchestra.task.sample_rate)


class Scorer:
    """Scores sets of notes against one reference.

    Parameters
    ----------
    judges : Judges, of pitch and instrument
    reference : NoteSet
        What distances are measured to.
    display : Display
        Says so where there can be no FAD.
    seed : int, of the resamples
    resamples : int, of the intervals
    """

    def __init__(
        self,
        judges: Judges,
        reference: NoteSet,
        display: Display,
        seed: int = 0,
        resamples: int = RESAMPLES,
    ) -> None:
        self._judges, self._size = judges, len(reference)
        self._interval = partial(with_interval, seed=seed, resamples=resamples)
        self._logits = [judge.logits(reference) for judge in (judges.pitch, judges.instrument)]
        self._frames: Frames | None = None
        try:
            self._frames = frames_of(reference)
        except MissingExtraError as error:
            display.say(f"no FAD: {error}")

    def scores(self, notes: NoteSet) -> dict[str, Figure]:
        """Return the scores of notes, by :data:`SCORES`."""
        judges = (self._judges.pitch, self._judges.instrument)
        logits = [judge.logits(notes) for judge in judges]
        counts = [len(notes)]
        right = _named(self._judges.pitch, logits[0], notes)
        found = {"tune": self._interval(partial(_mean, right), counts)}
        for name, each in zip(("PIS", "IIS"), logits, strict=True):
            found[name] = self._interval(partial(inception_score, softmax(each)), counts)
        counts.append(self._size)
        for name, each, real in zip(("PKID", "IKID"), logits, self._logits, strict=True):
            found[name] = self._interval(partial(_kid, Kernels.of(each, real)), counts)
        if self._frames is not None:
            found["FAD"] = self._interval(partial(frames_of(notes).distance, self._frames), counts)
        return found


def frames_of(notes: NoteSet) -> Frames:
    """Return a transcriber's output in each frame of each note.

    Raises
    ------
    MissingExtraError
        If its network, ONNX Runtime or soxr is not installed.
    """
    every = [note_frames(sound[:, None], notes.sample_rate) for sound in notes.sounds]
    return Frames.of(np.stack(every))


def table(judged: Judged) -> Iterator[str]:
    """Yield a table's lines: scores with their intervals."""
    yield (
        f"judges are right on held-out notes: pitch {judged.pitch_accuracy:.1%} of "
        f"{judged.pitches}, instrument {judged.instrument_accuracy:.1%} of {judged.instruments}"
    )
    widths = (18, *(24 for _ in SCORES))
    names = ("", "in tune", "PIS", "IIS", "1000 PKID", "1000 IKID", "FAD")
    yield "  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    for row in judged.rows:
        cells = [
            row.scores[name].text(_FORMS[name]) if name in row.scores else "-" for name in SCORES
        ]
        yield "  ".join(
            f"{cell:>{width}}" for cell, width in zip([row.name, *cells], widths, strict=True)
        )


def draw_scales(path: Path, orchestras: Mapping[str, Orchestra], seed: int = 0) -> None:
    """Draw a scale that each generator plays with one latent.

    The picture is a PNG of mel spectra.

    Raises
    ------
    AudioFileError, MissingExtraError
        If the picture cannot be written, or matplotlib is missing.
    """
    task = next(iter(orchestras.values())).task
    rows: dict[str, NoteSet] = {}
    for name, orchestra in orchestras.items():
        lowest, highest = orchestra.task.lowest, orchestra.task.highest
        pitches = np.rint(np.linspace(lowest, highest, _SHOWN_PITCHES)).astype(np.int64)
        rows.setdefault(SINES, sines(task.plan, pitches))
        latent = orchestra.latents(1, np.random.default_rng(seed)).repeat(_SHOWN_PITCHES, axis=0)
        rows[name] = NoteSet(orchestra.play(latent, pitches), pitches, (), task.sample_rate)
    figure = blank_figure(9.6, 1.25 * len(rows) + 0.5)
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, notes) in zip(axes, rows.items(), strict=True):
        kind = Mel(task.sample_rate, notes.sounds.shape[1])
        levels = np.concatenate([kind.log_power(sound) for sound in notes.sounds], axis=1)
        decibels = 10.0 / np.log(10.0) * levels
        top = float(decibels.max())
        ends = (0.0, notes.sounds.size / task.sample_rate, 0, len(levels))
        ax.imshow(
            decibels,
            origin="lower",
            aspect="auto",
            extent=ends,
            cmap="magma",
            interpolation="nearest",
            vmin=top - _SHOWN_DB,
            vmax=top,
        )
        ax.set_title(name, loc="left", fontsize="small")
        ax.set_yticks([])
    axes[-1].set_xlabel("time (s)")
    save(figure, path)


def _kind(orchestra: Orchestra) -> tuple[int, int, int, int]:
    task = orchestra.task
    return task.sample_rate, task.plan.samples, task.lowest, task.highest


def _named(judge: Trained, logits: NDArray[np.float64], notes: NoteSet) -> NDArray[np.bool_]:
    heard = np.array([int(judge.classes[each]) for each in logits.argmax(axis=1)])
    named: NDArray[np.bool_] = heard == notes.pitches
    return named


def _mean(values: NDArray[np.bool_], weights: NDArray[np.integer] | None = None) -> float:
    return float(np.average(values, weights=weights))


def _kid(kernels: Kernels, *weights: NDArray[np.integer]) -> float:
    return _KID_UNIT * kernels.distance(*weights)
