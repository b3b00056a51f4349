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
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from plc.errors import ConfigError, MissingExtraError
from plc.papers.representations.mel import Mel
from plc_bench.base.pieces import aligned, draw_levels
from plc_bench.papers.generated import (
    RESAMPLES,
    Figure,
    Kernels,
    frames_distance,
    inception_score,
    with_interval,
)
from plc_bench.scores.frechet import note_frames
from plc_training.papers.comparison import Asked, Comparison
from plc_training.papers.judges import EPOCHS, NoteSet, Trained, gather_notes, train_judge
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
    """Return the best generator of a run, as :func:`open_best`."""
    task, network = open_best(folder, NotesTask)
    assert isinstance(network, NotesNetwork)
    return Orchestra(task, network)


REAL, TRAINED_ON, SINES = "real, unheard", "real, trained on", "sines"
FORMS = {"tune": ".2f", "PIS": ".2f", "IIS": ".2f", "PKID": ".1f", "IKID": ".1f", "FAD": ".3f"}
"""Scores, and how many digits they have."""
# Kernel distances are below 2, and of real notes below 0.01.
_KID_UNIT = 1000.0
_PER_CALL = 32
_NOTES = 324
_SHOWN_PITCHES = 9
_SHOWN_DB = 60.0


class Judges(NamedTuple):
    """The judges of pitch and of instrument."""

    pitch: Trained
    instrument: Trained


def judge(
    orchestras: Mapping[str, "Orchestra"],
    asked: Asked,
    count: int,
    epochs: int = EPOCHS,
    resamples: int = RESAMPLES,
) -> tuple[Judges, dict[str, dict[str, Figure]]]:
    """Return judges, and the scores of references and generators by their names.

    Judges are trained on the training split of ``place.data``, on which generators were trained,
    too; ``unseen`` are notes of other instruments. Of each origin are at most ``count`` notes.
    """
    task = next(iter(orchestras.values())).task
    plan, pitches = task.plan, (task.lowest, task.highest)
    display, cache = Display(), asked.place.cache
    trained_on = gather_notes(asked.place.data, plan, pitches, cache, display, ("train",))
    held_out = gather_notes(asked.unseen, plan, pitches, cache, display)
    if len(held_out) < 4:
        raise ConfigError(f"there are {len(held_out)} unseen notes in range; give at least 4")
    with display.stage("epochs of judges", 2 * epochs) as advance:
        names = ([f"{pitch:03d}" for pitch in trained_on.pitches], trained_on.instruments)
        judges = Judges(*(train_judge(trained_on, each, 0, epochs, advance) for each in names))
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(held_out))
    half = min(count, len(held_out) // 2)
    sets = {
        REAL: held_out.of(shuffled[half : 2 * half]),
        TRAINED_ON: trained_on.of(rng.permutation(len(trained_on))[:count]),
        SINES: sines(plan, spread(pitches, count, rng)),
    }
    with display.stage("notes generated", count * len(orchestras)) as advance:
        for name, orchestra in orchestras.items():
            sets[name] = generate(orchestra, spread(pitches, count, rng), rng, advance)
    scorer = Scorer(judges, held_out.of(shuffled[:half]), display, resamples=resamples)
    found = {}
    with display.stage("sets of notes judged", len(sets)) as advance:
        for name, notes in sets.items():
            found[name] = scorer.scores(notes)
            advance()
    return judges, found


def open_alike(runs: Sequence[Path]) -> dict[str, Orchestra]:
    """Return the generators of runs by the names of their folders; refuse other kinds of notes."""
    found: dict[str, Orchestra] = {}
    for folder in runs:
        name = folder.resolve().name
        if name in found:
            raise ConfigError(f"two runs are called {name}; rename the folder of one")
        found[name] = open_generator(folder)
    first, kind = "", (0, 0, 0, 0)
    for name, orchestra in found.items():
        task = orchestra.task
        its = task.sample_rate, task.plan.samples, task.lowest, task.highest
        if first and its != kind:
            raise ConfigError(
                f"{name} makes other notes than {first}: rate, samples and pitches are {its} and "
                f"{kind}; judge them one by one"
            )
        first, kind = name, its
    return found


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

    Without Basic Pitch there is no FAD, which the display says; resamples are of the intervals.
    """

    def __init__(
        self, judges: Judges, reference: NoteSet, display: Display, resamples: int = RESAMPLES
    ) -> None:
        self._judges, self._size = judges, len(reference)
        self._interval = partial(with_interval, resamples=resamples)
        self._logits = [judge.logits(reference) for judge in judges]
        self._frames: list[NDArray[np.float64]] = []
        try:
            self._frames = _frames_of(reference)
        except MissingExtraError as error:
            display.say(f"no FAD: {error}")

    def scores(self, notes: NoteSet) -> dict[str, Figure]:
        """Return the scores of notes, by the names of :data:`FORMS`."""
        logits = [judge.logits(notes) for judge in self._judges]
        counts = [len(notes)]
        heard = np.array(self._judges.pitch.classes, int)[logits[0].argmax(axis=1)]
        found = {"tune": self._interval(partial(_mean, heard == notes.pitches), counts)}
        for name, each in zip(("PIS", "IIS"), logits, strict=True):
            posteriors = torch.from_numpy(each).softmax(1).numpy()
            found[name] = self._interval(partial(inception_score, posteriors), counts)
        counts.append(self._size)
        for name, each, real in zip(("PKID", "IKID"), logits, self._logits, strict=True):
            found[name] = self._interval(partial(_kid, Kernels.of(each, real)), counts)
        if self._frames:
            found["FAD"] = self._interval(
                partial(frames_distance, _frames_of(notes), self._frames), counts
            )
        return found


def _frames_of(notes: NoteSet) -> list[NDArray[np.float64]]:
    return [note_frames(sound[:, None], notes.sample_rate) for sound in notes.sounds]


def _draw_scales(path: Path, orchestras: Mapping[str, Orchestra]) -> None:
    """Draw a scale that each generator plays with one latent, as mel spectra (PNG)."""
    task = next(iter(orchestras.values())).task
    pitches = np.rint(np.linspace(task.lowest, task.highest, _SHOWN_PITCHES)).astype(np.int64)
    played = {SINES: sines(task.plan, pitches).sounds}
    for name, orchestra in orchestras.items():
        latent = orchestra.latents(1, np.random.default_rng(0)).repeat(_SHOWN_PITCHES, axis=0)
        played[name] = orchestra.play(latent, pitches)
    kind = Mel(task.sample_rate, task.plan.samples)
    rows = {}
    for name, sounds in played.items():
        levels = np.concatenate([kind.log_power(sound) for sound in sounds], axis=1)
        rows[name] = 10.0 / np.log(10.0) * (levels - levels.max())
    ends = (0.0, _SHOWN_PITCHES * task.plan.samples / task.sample_rate, 0.0, 0.0)
    draw_levels(path, rows, ends, "time (s)", down=True, range_db=_SHOWN_DB)


def _tell(asked: Asked) -> Iterator[str]:
    orchestras = open_alike(asked.runs)
    judges, found = judge(orchestras, asked, asked.count or _NOTES)
    right = [
        f"{name} {each.accuracy:.1%} of {len(each.classes)}"
        for name, each in judges._asdict().items()
    ]
    yield f"judges are right on held-out notes: {', '.join(right)}"
    rows: list[Sequence[str]] = [("", "in tune", "PIS", "IIS", "1000 PKID", "1000 IKID", "FAD")]
    for name, scores in found.items():
        cells = [scores[each].text(form) if each in scores else "-" for each, form in FORMS.items()]
        rows.append((name, *cells))
    yield from aligned(rows)
    if asked.picture is not None:
        _draw_scales(asked.picture, orchestras)


JUDGED = Comparison(tell=_tell)
"""Generators of notes, by judges that are trained on real ones."""


def _mean(values: NDArray[np.bool_], weights: NDArray[np.integer] | None = None) -> float:
    return float(np.average(values, weights=weights))


def _kid(kernels: Kernels, *weights: NDArray[np.integer]) -> float:
    return _KID_UNIT * kernels.distance(*weights)
