"""Play notes that a small network makes: a scale, random ones, a line between two, a MIDI file.

python examples/notes.py scale out.wav
python examples/notes.py song.mid out.wav    (needs mido)
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from plc.engine.models.catalogue import find
from plc.papers.notes import NoteGenerator

COUNT = 9
FADE_S = 0.03
DRUMS = 9

Note = tuple[float, float, int, float, NDArray[np.float32]]
"""Start and end in s, MIDI pitch, loudness, and the latent, which is the instrument."""


def made(way: str, player: NoteGenerator, rng: np.random.Generator) -> list[Note]:
    """Return notes one after the other, as the paper's program makes them."""
    first, last, *others = rng.standard_normal((2 + COUNT, player.latent)).astype(np.float32)
    pitches = {
        "scale": np.linspace(player.lowest, player.highest, COUNT).astype(int),
        "random": rng.integers(player.lowest, player.highest + 1, COUNT),
        "line": np.full(COUNT, rng.integers(player.lowest, player.highest + 1)),
    }[way]
    line = first + np.linspace(0, 1, COUNT, dtype=np.float32)[:, None] * (last - first)
    latents = {"scale": [first] * COUNT, "random": others, "line": list(line)}[way]
    each_s = player.samples / player.sample_rate
    return [
        (k * each_s, (k + 1) * each_s, int(pitch), 1.0, latent)
        for k, (pitch, latent) in enumerate(zip(pitches, latents, strict=True))
    ]


def read(path: str, player: NoteGenerator, rng: np.random.Generator) -> list[Note]:
    """Return the notes of a MIDI file: a latent for each channel, octaves within the range."""
    import mido

    latents = rng.standard_normal((16, player.latent)).astype(np.float32)
    now_s, notes = 0.0, []
    down: dict[tuple[int, int], tuple[float, float]] = {}
    for message in mido.MidiFile(path):
        now_s += message.time
        if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
            continue
        key = message.channel, message.note
        if key in down:
            start_s, loudness = down.pop(key)
            pitch = min(message.note, player.highest - (player.highest - message.note) % 12)
            pitch = max(pitch, player.lowest + (message.note - player.lowest) % 12)
            notes.append((start_s, now_s, pitch, loudness, latents[message.channel]))
        if message.type == "note_on" and message.velocity:
            down[key] = now_s, message.velocity / 127
    return notes


def main() -> None:
    """Make the notes, mix and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", help="scale, random, line, or a MIDI file")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="notes-mel", help="of plc export, or the package's")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.out.exists():
        parser.error(f"{given.out} exists; name a new file")
    player, rng = NoteGenerator(find(given.model)), np.random.default_rng(given.seed)
    ways = ("scale", "random", "line")
    notes = (made if given.what in ways else read)(given.what, player, rng)
    if not notes:
        parser.error(f"{given.what} has no note")
    rate, fade = player.sample_rate, round(FADE_S * player.sample_rate)
    mixed = np.zeros(round(max(note[1] for note in notes) * rate) + fade + 1, np.float32)
    for start_s, stop_s, pitch, loudness, latent in notes:
        (sound,) = player.arrays(latent[None], np.array([pitch]))
        held = sound[: round((stop_s - start_s) * rate) + fade] * loudness / np.abs(sound).max()
        held[-fade:] *= np.linspace(1, 0, fade)
        at = round(start_s * rate)
        mixed[at : at + len(held)] += held
    soundfile.write(given.out, 0.89 * mixed / np.abs(mixed).max(), rate)
    print(f"{len(notes)} notes, {len(mixed) / rate:.1f} s")


if __name__ == "__main__":
    main()
