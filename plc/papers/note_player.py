"""Notes that a generator makes: at random, along a scale, between two sounds, from a MIDI file.

As the document's program does it [1]_: random latents and pitches; one latent at every pitch; a
straight line between two latents at one pitch. Sounds are divided by their largest sample.

From a MIDI file each channel has a latent, which is its instrument. Notes begin when their keys go
down, as loud as those are struck, and end with the generator's sound or, faded out, when keys go
up; what sounds together is added. (The document's program plays the pitches in the order of the
file, at a distance of its own.)

References
----------
.. [1] J. Nistal, S. Lattner, G. Richard, "Comparing representations for audio synthesis using
   generative adversarial networks", EUSIPCO, 2020, arXiv 2006.09266.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from plc.errors import AudioFileError
from plc.papers.midi import Key, Score, read_midi
from plc.whole_files import check_new

PEAK = 0.89
"""Of what is written: -1 dB of full scale."""
FADE_MS = 30.0
"""In which a note ends when its key goes up."""
_LOUDEST = 127
_OCTAVE = 12
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Sound:
    """A made note: its MIDI pitch, and float32 samples of peak 0.89."""

    pitch: int
    samples: NDArray[np.float32]


class Player(Protocol):
    """A generator of notes."""

    @property
    def sample_rate(self) -> int:
        """Of its notes, in Hz."""
        ...

    @property
    def lowest(self) -> int:
        """Its lowest MIDI pitch."""
        ...

    @property
    def highest(self) -> int:
        """Its highest MIDI pitch."""
        ...

    @property
    def latent(self) -> int:
        """Numbers of a latent."""
        ...

    def arrays(
        self, latents: NDArray[np.float32], pitches: NDArray[np.integer]
    ) -> list[NDArray[np.float32]]:
        """Return the samples of notes.

        Parameters
        ----------
        latents : float32, shape (notes, latent)
            Normal.
        pitches : int, shape (notes,)
            MIDI, from the lowest to the highest.
        """
        ...


def play(player: Player, latents: NDArray[np.float32], pitches: NDArray[np.integer]) -> list[Sound]:
    """Return the notes of latents, shape (notes, latent), at MIDI pitches."""
    sounds = []
    for samples, pitch in zip(player.arrays(latents, pitches), pitches, strict=True):
        peak = max(float(np.abs(samples).max()), 1e-6)
        sounds.append(Sound(int(pitch), samples * np.float32(PEAK / peak)))
    return sounds


def latents(player: Player, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return random latents, shape (count, latent)."""
    return rng.standard_normal((count, player.latent)).astype(np.float32)


def at_random(player: Player, count: int, rng: np.random.Generator) -> list[Sound]:
    """Return notes of random latents and pitches."""
    pitches = rng.integers(player.lowest, player.highest + 1, size=count)
    return play(player, latents(player, count, rng), pitches)


def along_scale(player: Player, count: int, rng: np.random.Generator) -> list[Sound]:
    """Return one latent at ``count`` pitches, from the lowest to the highest."""
    pitches = np.rint(np.linspace(player.lowest, player.highest, count)).astype(np.int64)
    return play(player, np.repeat(latents(player, 1, rng), count, axis=0), pitches)


def interpolated(player: Player, count: int, rng: np.random.Generator) -> list[Sound]:
    """Return notes on the line between two latents, at a random pitch."""
    pitch = int(rng.integers(player.lowest, player.highest + 1))
    first, last = latents(player, 2, rng)
    shares = np.linspace(0.0, 1.0, count, dtype=np.float32)[:, None]
    return play(player, first + shares * (last - first), np.full(count, pitch))


WAYS: Mapping[str, Callable[[Player, int, np.random.Generator], list[Sound]]] = {
    "random": at_random,
    "scale": along_scale,
    "interpolation": interpolated,
}
"""By the names of the document's commands."""


@dataclass(frozen=True, slots=True)
class Performance:
    """A MIDI file as a generator plays it.

    Attributes
    ----------
    samples : float32, shape (n,)
        Of peak 0.89.
    notes : int
        That are played.
    transposed : int
        Of those: moved by octaves into the generator's range.
    skipped : int
        Without an octave in that range.
    drums : int
        Left out.
    """

    samples: NDArray[np.float32]
    notes: int
    transposed: int
    skipped: int
    drums: int


def perform(player: Player, score: Score, seed: int = 0) -> Performance:
    """Return a score as a generator plays it.

    Parameters
    ----------
    player : Player
        The generator.
    score : Score
        Of :func:`plc.papers.midi.read_midi`.
    seed : int
        Of the channels' latents.

    Raises
    ------
    AudioFileError
        If no note can be played.
    """
    found = [(key, within(key.pitch, player.lowest, player.highest)) for key in score.keys]
    playable = [(key, pitch) for key, pitch in found if pitch is not None]
    if not playable:
        raise AudioFileError(
            f"no note has an octave from {player.lowest} to {player.highest}, which are the MIDI "
            "pitches of the generator"
        )
    sounds = _sounds(player, sorted({(key.channel, pitch) for key, pitch in playable}), seed)
    rate = player.sample_rate
    length = max(len(sound) for sound in sounds.values())
    last = max(round(key.start_s * rate) for key, _ in playable)
    mixed = np.zeros(last + length, np.float32)
    for key, pitch in playable:
        first = round(key.start_s * rate)
        note = _struck(sounds[key.channel, pitch], key, rate)
        mixed[first : first + note.size] += note
    peak = max(float(np.abs(mixed).max()), 1e-6)
    moved = sum(key.pitch != pitch for key, pitch in playable)
    skipped = len(found) - len(playable)
    return Performance(mixed * np.float32(PEAK / peak), len(playable), moved, skipped, score.drums)


def perform_midi(player: Player, midi: Path, seed: int = 0) -> Performance:
    """Return a MIDI file as a generator plays it.

    Raises
    ------
    AudioFileError, MissingExtraError
        As :func:`plc.papers.midi.read_midi` and :func:`perform` raise them.
    """
    return perform(player, read_midi(midi), seed)


def within(pitch: int, lowest: int, highest: int) -> int | None:
    """Return a pitch or its nearest octave within bounds; None without any."""
    if pitch < lowest:
        pitch += _OCTAVE * math.ceil((lowest - pitch) / _OCTAVE)
    elif pitch > highest:
        pitch -= _OCTAVE * math.ceil((pitch - highest) / _OCTAVE)
    return pitch if lowest <= pitch <= highest else None


def write_sounds(
    player: Player, sounds: Sequence[Sound], out: Path, overwrite: bool = False
) -> list[Path]:
    """Write notes as WAV files, ``NUMBER-PITCH.wav``, into a folder; return the paths.

    Raises
    ------
    AudioFileError
        If a file exists and is not to be replaced, or cannot be written.
    """
    paths = [out / f"{number:03d}-{sound.pitch}.wav" for number, sound in enumerate(sounds)]
    for path in paths:
        check_new(path, overwrite)
    for path, sound in zip(paths, sounds, strict=True):
        write_sound(path, sound.samples, player.sample_rate)
    return paths


def write_sound(path: Path, samples: NDArray[np.float32], sample_rate: int) -> None:
    """Write samples as a WAV file of 16 bits; its folder is made.

    Raises
    ------
    AudioFileError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, sample_rate, format="WAV", subtype="PCM_16")
    except (OSError, RuntimeError) as error:  # LibsndfileError is a RuntimeError
        raise AudioFileError(f"cannot write {path}: {error}") from error


def _sounds(
    player: Player, wanted: list[tuple[int, int]], seed: int
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """Return the sounds of channels and pitches, each made once."""
    of_channel = {
        channel: latents(player, 1, np.random.default_rng([seed, channel]))[0]
        for channel, _ in wanted
    }
    made: list[NDArray[np.float32]] = []
    for first in range(0, len(wanted), _AT_ONCE):
        part = wanted[first : first + _AT_ONCE]
        chosen = np.stack([of_channel[channel] for channel, _ in part])
        pitches = np.array([pitch for _, pitch in part])
        made += [sound.samples for sound in play(player, chosen, pitches)]
    return dict(zip(wanted, made, strict=True))


def _struck(sound: NDArray[np.float32], key: Key, sample_rate: int) -> NDArray[np.float32]:
    """Return a sound in the strength and length of its key."""
    fade = round(FADE_MS * sample_rate / 1000.0)
    held = round((key.stop_s - key.start_s) * sample_rate)
    note = sound[: held + fade] * np.float32(key.velocity / _LOUDEST)
    if note.size > held:
        note[held:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)[: note.size - held]
    return note
