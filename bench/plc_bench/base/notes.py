"""Places of single notes in their files: the table ``notes.csv``.

It has the columns ``path``, ``start_s``, ``duration_s`` and, if known, ``midi``, the pitch.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plc.errors import ConfigError


@dataclass(frozen=True, slots=True)
class NoteTable:
    """The single notes of a file.

    Attributes
    ----------
    bounds : tuple of tuple
        Start and duration of each in s.
    pitches : tuple of int
        MIDI pitch of each; 0 if unknown.
    """

    bounds: tuple[tuple[float, float], ...] = ()
    pitches: tuple[int, ...] = ()


def read_notes(files: Iterable[Path]) -> dict[str, NoteTable]:
    """Return the notes of tables, by the path that they name.

    Raises
    ------
    ConfigError
        If a table cannot be read, or a number in it is out of its range.
    """
    notes: dict[str, list[tuple[tuple[float, float], int]]] = {}
    for file in files:
        for line, row in read_rows(file, {"path", "start_s", "duration_s"}):
            try:
                bounds = float(row["start_s"]), float(row["duration_s"])
                pitch = int(row.get("midi") or 0)
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    f"{file}, line {line}: start_s is {row['start_s']!r}, duration_s is "
                    f"{row['duration_s']!r}; expected s, and of midi a whole number"
                ) from error
            if not (0.0 <= bounds[0] < math.inf and 0.0 < bounds[1] < math.inf):
                raise ConfigError(
                    f"{file}, line {line}: a note begins at {bounds[0]:g} s and lasts "
                    f"{bounds[1]:g} s; expected a start of at least 0 and a duration above 0"
                )
            notes.setdefault(row["path"], []).append((bounds, pitch))
    return {path: NoteTable(*zip(*each, strict=True)) for path, each in notes.items()}


def read_rows(file: Path, columns: set[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the numbers of a table's lines, and their values by column.

    Raises
    ------
    ConfigError
        If the table cannot be read, or lacks one of the columns.
    """
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = csv.DictReader(opened)
            missing = columns - set(rows.fieldnames or [])
            if missing:
                raise ConfigError(f"{file} has no column named {', '.join(sorted(missing))}")
            return [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error


def notes_of_clips(table: Path, clips: Sequence[Path]) -> Mapping[Path, NoteTable]:
    """Return the notes of clips; a table's paths begin at its folder.

    Raises
    ------
    ConfigError
        If the table cannot be read, or does not name a clip.
    """
    named = {(table.parent / path).resolve(): each for path, each in read_notes([table]).items()}
    for clip in clips:
        if clip.resolve() not in named:
            raise ConfigError(f"{table} has no note of {clip}")
    return {clip: named[clip.resolve()] for clip in clips}
