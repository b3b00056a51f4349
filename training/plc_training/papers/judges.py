"""Judges of notes: classifiers of pitch and instrument, trained on a library's notes in minutes.

They stand where the document has Inception networks trained on NSynth: both see log-magnitudes of a
note as a generator's run cuts it, at most 60 dB below its loudest bin. A tenth of the notes of each
library is kept from training and says how often a judge is right.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from plc.errors import ConfigError
from plc.papers.representations.spectral import make_grid
from plc_kernels.spectra.offline import spectra_of
from plc_training.data.library import Clip, find_libraries, read_samples
from plc_training.papers.notes import NotesPlan
from plc_training.train.display import Display, decode_shown

WIDTHS = (8, 16, 32)
EMBEDDING = 64


class Judge(nn.Module):
    """Answers with logits of classes."""

    def __init__(self, bins: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width)]
            layers.append(nn.ReLU())
            before = width
            bins = (bins + 1) // 2
        self.layers = nn.Sequential(*layers)
        self.embed = nn.Linear(2 * before * bins, EMBEDDING)
        self.answer = nn.Linear(EMBEDDING, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (notes, classes).

        Parameters
        ----------
        x : float32, shape (notes, bins, frames), log-magnitudes, 0 to 1
        """
        y = self.layers(x[:, None])
        both = torch.cat([y.mean(3), y[..., : max(1, y.shape[3] // 4)].mean(3)], 1)
        logits: Tensor = self.answer(functional.relu(self.embed(both.flatten(1))))
        return logits


EPOCHS = 6
_BATCH = 32
_RATE = 2e-3
_HELD_OUT = 10
_HEARD = math.log(1e3)  # of magnitudes: 60 dB
_LEAST = 1e-9


@dataclass(frozen=True)
class NoteSet:
    """Single notes.

    Attributes
    ----------
    sounds : float32, shape (notes, samples), of peak 1
    pitches : int64, shape (notes,), MIDI
    instruments : tuple of str
        Of each note; empty if unknown.
    """

    sounds: NDArray[np.float32]
    pitches: NDArray[np.int64]
    instruments: tuple[str, ...]
    sample_rate: int

    def __len__(self) -> int:
        """Return the number of notes."""
        return len(self.sounds)

    def of(self, numbers: NDArray[np.integer]) -> "NoteSet":
        """Return some of the notes."""
        names = tuple(self.instruments[i] for i in numbers) if self.instruments else ()
        return NoteSet(self.sounds[numbers], self.pitches[numbers], names, self.sample_rate)

    @cached_property
    def features(self) -> Tensor:
        """Return the judges' input: float32, shape (notes, bins, frames), 0 to 1."""
        grid = make_grid(self.sample_rate)
        shape = (len(self), grid.bins, grid.frames(self.sounds.shape[1]))
        levels = np.empty(shape, np.float32)
        for level, sound in zip(levels, self.sounds, strict=True):
            level[:] = np.log(np.abs(spectra_of(sound, grid).T) + _LEAST)
        loudest = levels.max(axis=(1, 2), keepdims=True)
        return torch.from_numpy(np.clip((levels - loudest) / _HEARD + 1.0, 0.0, 1.0))


def gather_notes(
    folders: Sequence[Path],
    plan: NotesPlan,
    pitches: tuple[int, int],
    cache: Path,
    display: Display,
    splits: Sequence[str] = ("train", "valid"),
) -> NoteSet:
    """Return the notes of libraries with a known pitch in range.

    Parameters
    ----------
    folders : sequence of Path
        Libraries with a manifest.csv and a notes.csv.
    pitches : (int, int)
        Lowest and highest MIDI pitch.
    splits : sequence of str
        Of the manifest, of which to take notes.

    Raises
    ------
    ConfigError
        If there is none.
    """
    every = [clip for library in find_libraries(folders) for clip in library]
    clips = [clip for clip in every if clip.notes and clip.split in splits]
    sounds: list[NDArray[np.float32]] = []
    labels: list[int] = []
    names: list[str] = []
    rng = np.random.default_rng(0)
    for decoded in decode_shown(clips, plan.sample_rate, cache, 1, display) if clips else []:
        clip, x = decoded.clip, read_samples(decoded)
        for (start_s, duration_s), pitch in zip(clip.notes, clip.pitches, strict=True):
            if not pitches[0] <= pitch <= pitches[1]:
                continue
            first = round(start_s * plan.sample_rate)
            part = x[first : first + round(duration_s * plan.sample_rate)]
            for note, _ in plan.cut(part, clip.domain, rng):
                sounds.append(note[0] / np.abs(note).max())
                labels.append(pitch)
                names.append(instrument_of(clip))
    if not sounds:
        raise ConfigError(
            f"{' and '.join(map(str, folders))}: no notes of pitch {pitches[0]} to {pitches[1]} in "
            f"the split {' or '.join(splits)}; plc train notes --out FOLDER renders some"
        )
    return NoteSet(np.stack(sounds), np.array(labels, np.int64), tuple(names), plan.sample_rate)


def instrument_of(clip: Clip) -> str:
    """Return the instrument of a file of notes: its name without ``_notes`` and a number."""
    return re.sub(r"_notes\d*$", "", clip.path.stem)


@dataclass(frozen=True)
class Trained:
    """A judge and its classes.

    Attributes
    ----------
    classes : tuple of str
        In the order of its answers.
    accuracy : float
        Share of right answers on notes that it was not trained on, 0 to 1.
    """

    network: Judge
    classes: tuple[str, ...]
    accuracy: float

    @torch.no_grad()
    def logits(self, notes: NoteSet) -> NDArray[np.float64]:
        """Return logits, float64, shape (notes, classes)."""
        parts = [self.network(part) for part in torch.split(notes.features, _BATCH)]
        return torch.cat(parts).numpy().astype(np.float64)


def train_judge(
    notes: NoteSet,
    names: Sequence[str],
    seed: int = 0,
    epochs: int = EPOCHS,
    on_epoch: Callable[[], object] = lambda: None,
) -> Trained:
    """Train a judge that tells names of notes apart.

    A tenth of the notes is held out; of each, ``names`` has one, such as its pitch. ``seed`` is of
    weights, batches and what is held out; ``on_epoch`` is called after each of the ``epochs``.
    """
    classes = tuple(sorted(set(names)))
    labels = torch.tensor([classes.index(name) for name in names])
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(notes), generator=draw)
    held, kept = order[::_HELD_OUT], order[torch.arange(len(order)) % _HELD_OUT != 0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Judge(notes.features.shape[1], len(classes))
    steps = epochs * -(-len(kept) // _BATCH)
    optimiser = torch.optim.Adam(network.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    for _ in range(epochs):
        shuffled = kept[torch.randperm(len(kept), generator=draw)]
        for chosen in torch.split(shuffled, _BATCH):
            loss = functional.cross_entropy(network(notes.features[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            optimiser.step()
            schedule.step()
        on_epoch()
    judge = Trained(network.eval(), classes, 0.0)
    guess = judge.logits(notes.of(held.numpy())).argmax(axis=1)
    return Trained(judge.network, classes, float((guess == labels[held].numpy()).mean()))
