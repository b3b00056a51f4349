"""Standard MIDI files: which notes sound when.

Needs ``mido``, and only this module knows it.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from plc.errors import AudioFileError, MissingExtraError, why

MOST_S = 1800.0
"""Length of a file at most: a few bytes may say years."""
MOST_NOTES = 100_000
MOST_BYTES = 16 << 20
# Of General MIDI, counted from 0: its keys are drums.
_DRUMS = 9


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is held.

    Attributes
    ----------
    start_s, stop_s : float
        When it goes down and up.
    pitch : int
        MIDI, 0 to 127.
    velocity : int
        1 to 127.
    channel : int
        0 to 15.
    """

    start_s: float
    stop_s: float
    pitch: int
    velocity: int
    channel: int


@dataclass(frozen=True, slots=True)
class Score:
    """A file's keys in the order of their starts.

    ``drums`` says how many were left out.
    """

    keys: tuple[Key, ...]
    drums: int


def read_midi(path: Path) -> Score:
    """Return the notes of a standard MIDI file.

    Its format is 0 or 1. Changes of tempo are followed; drums (channel 10) are left out.

    Raises
    ------
    AudioFileError
        If it cannot be read, is broken, lasts longer than :data:`MOST_S`, or holds no notes or
        more than :data:`MOST_NOTES`.
    MissingExtraError
        If ``mido`` is not installed.
    """
    try:
        import mido
    except ImportError as error:
        raise MissingExtraError("MIDI files need mido: pip install 'plc-engine[midi]'") from error
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise AudioFileError(f"cannot read {path}: {why(error)}") from error
    if len(data) > MOST_BYTES:
        raise AudioFileError(f"{path} is larger than {MOST_BYTES >> 20} MB; that is no MIDI file")
    try:
        messages = list(mido.MidiFile(file=BytesIO(data)))
    # What mido raises for broken files depends on where they break.
    except Exception as error:
        said = str(error) or type(error).__name__
        raise AudioFileError(f"{path} is no whole MIDI file of format 0 or 1: {said}") from error
    return _score(path, messages)


def _score(path: Path, messages: list[Any]) -> Score:
    """Return the keys of messages, with times since the one before."""
    held: dict[tuple[int, int], list[tuple[float, int]]] = {}
    keys: list[Key] = []
    drums, now_s = 0, 0.0

    def lift(place: tuple[int, int]) -> None:
        if held.get(place):
            start_s, velocity = held[place].pop(0)
            keys.append(Key(start_s, now_s, place[1], velocity, place[0]))

    for message in messages:
        now_s += message.time
        if now_s > MOST_S:
            raise AudioFileError(f"{path} lasts longer than {MOST_S:g} s")
        if message.type not in ("note_on", "note_off"):
            continue
        place = (message.channel, message.note)
        if message.type == "note_off" or not message.velocity:
            lift(place)
        elif message.channel == _DRUMS:
            drums += 1
        else:
            held.setdefault(place, []).append((now_s, message.velocity))
            if len(keys) + len(held) > MOST_NOTES:
                raise AudioFileError(f"{path} holds more than {MOST_NOTES} notes")
    # Keys that are never lifted sound to the end.
    for place, starts in held.items():
        for _ in tuple(starts):
            lift(place)
    if not keys:
        raise AudioFileError(f"{path} holds no notes{' but drums' if drums else ''}")
    return Score(tuple(sorted(keys, key=lambda key: (key.start_s, key.pitch))), drums)
