"""Standard MIDI files: notes with their times.

References
----------
"Standard MIDI Files 1.0", RP-001, MIDI Manufacturers Association, 1996.
"""

import struct
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from plc.errors import AudioFileError, why

MOST_S = 1800.0
"""Length of a file at most: a few bytes may say years."""
MOST_NOTES = 100_000
MOST_EVENTS = 1_000_000
"""Of all kinds: a second of work."""
MOST_BYTES = 16 << 20
_NOTE_OFF, _NOTE_ON, _META, _TEMPO, _END_OF_TRACK = 0x80, 0x90, 0xFF, 0x51, 0x2F
# Data bytes behind a status, by its upper four bits.
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_SYSTEM_EXCLUSIVE = (0xF0, 0xF7)
# Until a tempo says otherwise.
_BEAT_US = 500_000
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

    Its format is 0 or 1. Changes of tempo, and times in frames of SMPTE, are followed; drums
    (channel 10) are left out.

    Raises
    ------
    AudioFileError
        If it cannot be read, is broken, lasts longer than :data:`MOST_S`, or holds no notes, more
        than :data:`MOST_NOTES`, or more than :data:`MOST_EVENTS` events.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise AudioFileError(f"cannot read {path}: {why(error)}") from error
    if len(data) > MOST_BYTES:
        raise AudioFileError(f"{path} is larger than {MOST_BYTES >> 20} MB: not a MIDI file")
    try:
        division, events = _parsed(data)
    except (ValueError, IndexError, struct.error) as error:
        raise AudioFileError(
            f"{path} is not a whole MIDI file of format 0 or 1: {error}"
        ) from error
    return _score(path, division, events)


_Event = tuple[int, int, int, int]
"""Tick, status, and two numbers: key and velocity, or a tempo in us a beat."""


def _parsed(data: bytes) -> tuple[int, list[_Event]]:
    """Return a file's division, and its notes and tempos in order; raise ValueError."""
    mark, size, form, tracks, division = struct.unpack_from(">4sIHHh", data)
    if mark != b"MThd" or form > 1 or not division:
        raise ValueError("it has no MIDI header")
    at, left = 8 + size, MOST_EVENTS
    events: list[_Event] = []
    while tracks:
        mark, size = struct.unpack_from(">4sI", data, at)
        at += 8
        if at + size > len(data):
            raise ValueError("a track is cut short")
        if mark == b"MTrk":
            left -= _read_track(data[at : at + size], left, events)
            tracks -= 1
        at += size
    return division, sorted(events, key=itemgetter(0))


def _read_track(track: bytes, most: int, events: list[_Event]) -> int:
    """Append a track's notes and tempos; return the number of its events."""
    at = tick = status = count = 0
    while at < len(track):
        step, at = _number(track, at)
        tick += step
        count += 1
        if count > most:
            raise ValueError(f"it holds more than {MOST_EVENTS} events")
        byte = track[at]
        if byte >= _SYSTEM_EXCLUSIVE[0]:
            kind = track[at + 1] if byte == _META else None
            if kind is None and byte not in _SYSTEM_EXCLUSIVE:
                raise ValueError(f"an event of kind {byte}")
            size, at = _number(track, at + (1 if kind is None else 2))
            if at + size > len(track):
                raise ValueError("an event is cut short")
            if kind == _TEMPO and size == 3:
                events.append((tick, _META, int.from_bytes(track[at : at + 3], "big"), 0))
            at += size
            if kind == _END_OF_TRACK:
                # Its time is that of keys which are never lifted.
                events.append((tick, _META, 0, 0))
                break
            continue
        if byte & 0x80:
            status, at = byte, at + 1
        elif not status:
            raise ValueError("data without an event")
        kind = status & 0xF0
        if kind <= _NOTE_ON:
            pitch, velocity = track[at], track[at + 1]
            if (pitch | velocity) & 0x80:
                raise ValueError("a note that is none")
            events.append((tick, status, pitch, velocity))
        at += _DATA_BYTES[kind]
    return count


def _number(track: bytes, at: int) -> tuple[int, int]:
    """Return a number of up to four bytes, and the rest."""
    value = 0
    for place in range(at, at + 4):
        byte = track[place]
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, place + 1
    raise ValueError("a number of more than four bytes")


def _score(path: Path, division: int, events: list[_Event]) -> Score:
    """Return the keys of events."""
    held: dict[tuple[int, int], list[tuple[float, int]]] = {}
    keys: list[Key] = []
    now_s, now, drums, notes = 0.0, 0, 0, 0
    tick_s = _tick_s(division, _BEAT_US)

    def lift(place: tuple[int, int]) -> None:
        if held.get(place):
            start_s, velocity = held[place].pop(0)
            keys.append(Key(start_s, now_s, place[1], velocity, place[0]))

    for tick, status, first, second in events:
        now_s, now = now_s + (tick - now) * tick_s, tick
        if now_s > MOST_S:
            raise AudioFileError(f"{path} lasts longer than {MOST_S:g} s")
        if status == _META:
            tick_s = _tick_s(division, first) if first else tick_s
            continue
        channel = status & 0x0F
        if status < _NOTE_ON or not second:
            lift((channel, first))
        elif channel == _DRUMS:
            drums += 1
        else:
            held.setdefault((channel, first), []).append((now_s, second))
            notes += 1
            if notes > MOST_NOTES:
                raise AudioFileError(f"{path} holds more than {MOST_NOTES} notes")
    # Keys that are never lifted sound to the end.
    for place, starts in held.items():
        for _ in tuple(starts):
            lift(place)
    if not keys:
        raise AudioFileError(f"{path} holds no notes{' but drums' if drums else ''}")
    return Score(tuple(sorted(keys, key=lambda key: (key.start_s, key.pitch))), drums)


def _tick_s(division: int, beat_us: int) -> float:
    """Return the length of a tick: a part of a beat, or of a frame of SMPTE."""
    if division > 0:
        return beat_us / 1e6 / division
    frames = -(division >> 8)
    # 29 stands for 30 frames with drops, 29.97 in a second.
    rate = 30_000 / 1001 if frames == 29 else float(frames)
    return 1.0 / (rate * max(1, division & 0xFF))
