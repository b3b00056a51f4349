"""Notes that a trained generator makes: at random, along a scale, between two sounds.

As the document's program does it: random latents and pitches; one latent at every pitch; a straight
line between two latents at one pitch. Sounds are divided by their largest sample.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from plc.errors import AudioFileError
from plc_training.tasks.notes import NotesNetwork, NotesTask
from plc_training.train.run import open_best

# Peak of what is written: -1 dB of full scale.
_PEAK = 0.89


@dataclass(frozen=True, slots=True)
class Sound:
    """A made note: its MIDI pitch, and float32 samples of peak 0.89."""

    pitch: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Orchestra:
    """A trained generator with its task."""

    task: NotesTask
    network: NotesNetwork

    @torch.no_grad()
    def play(self, latents: NDArray[np.float32], pitches: NDArray[np.integer]) -> list[Sound]:
        """Return the notes of latents, shape (notes, latent), at MIDI pitches."""
        labels = torch.from_numpy(np.asarray(pitches, np.int64) - self.task.lowest)
        arrays = self.network(torch.from_numpy(latents), labels).numpy()
        sounds = []
        for array, pitch in zip(arrays, pitches, strict=True):
            samples = self.task.representation.inverse(array)
            peak = max(float(np.abs(samples).max()), 1e-6)
            sounds.append(Sound(int(pitch), samples * np.float32(_PEAK / peak)))
        return sounds

    def latents(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return random latents, shape (count, latent)."""
        size = self.network.generator.latent
        return rng.standard_normal((count, size)).astype(np.float32)


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


def at_random(orchestra: Orchestra, count: int, rng: np.random.Generator) -> list[Sound]:
    """Return notes of random latents and pitches."""
    pitches = rng.integers(orchestra.task.lowest, orchestra.task.highest + 1, size=count)
    return orchestra.play(orchestra.latents(count, rng), pitches)


def along_scale(orchestra: Orchestra, count: int, rng: np.random.Generator) -> list[Sound]:
    """Return one latent at ``count`` pitches, from the lowest to the highest."""
    task = orchestra.task
    pitches = np.rint(np.linspace(task.lowest, task.highest, count)).astype(np.int64)
    return orchestra.play(np.repeat(orchestra.latents(1, rng), count, axis=0), pitches)


def interpolated(orchestra: Orchestra, count: int, rng: np.random.Generator) -> list[Sound]:
    """Return notes on the line between two latents, at a random pitch."""
    pitch = int(rng.integers(orchestra.task.lowest, orchestra.task.highest + 1))
    first, last = orchestra.latents(2, rng)
    shares = np.linspace(0.0, 1.0, count, dtype=np.float32)[:, None]
    return orchestra.play(first + shares * (last - first), np.full(count, pitch))


WAYS: Mapping[str, Callable[[Orchestra, int, np.random.Generator], list[Sound]]] = {
    "random": at_random,
    "scale": along_scale,
    "interpolation": interpolated,
}
"""By the names of the document's commands."""


def write_sounds(orchestra: Orchestra, sounds: list[Sound], out: Path) -> list[Path]:
    """Write notes as WAV files, ``NUMBER-PITCH.wav``, into a folder; return the paths.

    Raises
    ------
    AudioFileError
        If a file cannot be written.
    """
    paths = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, sound in enumerate(sounds):
            path = out / f"{number:03d}-{sound.pitch}.wav"
            soundfile.write(path, sound.samples, orchestra.task.sample_rate, subtype="PCM_16")
            paths.append(path)
    except (OSError, RuntimeError) as error:  # LibsndfileError is a RuntimeError
        raise AudioFileError(f"cannot write into {out}: {error}") from error
    return paths
