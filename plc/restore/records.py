"""Records of ``plc repair``: the outcome of each recording, and hashes of results.

A result is replaced only where its record has the hash of what stands there: whatever another
program or a person made of it since, stays. A hash is noted before its result gets its name, so
that this holds for a run that was killed, too.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from plc.errors import AudioFileError
from plc.restore.folders import OWN, WORK, Place
from plc.whole_files import digest

# Of what lies beside the records.
ABOUT, LOCK = "about", "lock"
_FORMAT = 2
_SUFFIX = ".json"
_NAME_BYTES_MAX = 255

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Record:
    """Key, outcome and hashes of a recording."""

    key: str = ""
    """Of its source and the settings."""
    outcome: Any = None
    """As it was noted; None if nothing was."""
    written: dict[str, list[str]] = field(default_factory=dict)
    """Hashes of each result that may stand in its place, by its name."""


def record_name(name: str) -> str:
    """Return where the record of a recording lies, below its target."""
    *folders, last = PurePosixPath(name).parts
    plain = (
        (folders or [""])[0] not in (ABOUT, LOCK, WORK)
        and not any(folder.endswith(_SUFFIX) for folder in folders)
        and len(os.fsencode(last)) + len(_SUFFIX) <= _NAME_BYTES_MAX
    )
    return f"{OWN}/{name if plain else hashlib.sha256(os.fsencode(name)).hexdigest()}{_SUFFIX}"


def read_record(targets: Place, name: str) -> Record:
    """Return the record of a recording.

    It is empty where there is none, or one of another version, or damaged.
    """
    data = targets.read(record_name(name))
    try:
        told = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return Record()
    if not isinstance(told, dict) or told.get("format", 1) not in (1, _FORMAT):
        return Record()
    told = {name: told[name] for name in ("key", "outcome", "written") if name in told}
    return made_of(Record, told) or Record()


class Keeper:
    """Stores the result of a recording and keeps its record.

    Parameters
    ----------
    targets : Place, where results go
    name : str, of the recording
    key : str, of its source and the settings
    overwrite : bool, whether results that are not known may be replaced
    folder : Path, of this machine, for files in the making
    """

    def __init__(self, targets: Place, name: str, key: str, overwrite: bool, folder: Path) -> None:
        self._targets = targets
        self._name = name
        self._key = key
        self._overwrite = overwrite
        self._folder = folder
        self._written = read_record(targets, name).written

    def check(self, result: str) -> bool:
        """Raise if an unknown file has the result's name; return whether the result exists.

        Raises
        ------
        AudioFileError
            If a result is there that this program did not write, or that was changed since.
        """
        there = self._targets.digest(result)
        if there is None:
            return False
        known = self._written.get(result, [])
        if not self._overwrite and there not in known:
            what = "was changed since it was written" if known else "exists, and no record knows it"
            raise AudioFileError(
                f"{self._targets.url}/{result} {what}; give --overwrite to replace it, or another "
                "folder"
            )
        return True

    def store(self, made: Path, result: str) -> None:
        """Put a complete file in its place, its hash being known before.

        Raises
        ------
        AudioFileError
            If it cannot be written, or another file stands there.
        """
        new = digest(made)
        there = self.check(result)
        known = [each for each in self._written.get(result, []) if there and each != new]
        self._written[result] = [*known, new]
        self._write({"name": self._name, "state": "begun"})
        self._targets.store(made, result, there)
        self._written[result] = [new]

    def drop(self, names: Iterable[str]) -> None:
        """Remove former results of the recording unless they were changed since.

        Raises
        ------
        AudioFileError
            If one cannot be removed.
        """
        for name in names:
            known = self._written.get(name)
            if not known:
                continue
            there = self._targets.digest(name)
            if there in known:
                self._targets.remove(name)
            if there is None or there in known:
                del self._written[name]

    def note(self, outcome: dict[str, Any]) -> None:
        """Write the outcome of the recording."""
        self._write(outcome)

    def _write(self, outcome: dict[str, Any]) -> None:
        told = {"format": _FORMAT, "key": self._key, "outcome": outcome, "written": self._written}
        self._targets.write(record_name(self._name), json.dumps(told).encode(), self._folder)


def made_of(kind: type[_T], told: Any) -> _T | None:
    """Return a dataclass made of JSON; None if a field is unknown, absent or of another type."""
    hints = get_type_hints(kind)
    if not isinstance(told, dict) or not set(told) <= set(hints):
        return None
    if not all(_fits(value, hints[name]) for name, value in told.items()):
        return None
    try:
        return kind(**{name: _tupled(value, hints[name]) for name, value in told.items()})
    except (TypeError, ValueError):
        return None


def _fits(value: Any, kind: Any) -> bool:
    whole, parts = get_origin(kind), get_args(kind)
    if whole is tuple and parts[-1] is not Ellipsis:
        return (
            isinstance(value, list) and len(value) == len(parts) and all(map(_fits, value, parts))
        )
    if whole in (tuple, list):
        return isinstance(value, list) and all(_fits(each, parts[0]) for each in value)
    if whole is dict:
        return isinstance(value, dict) and all(_fits(each, parts[1]) for each in value.values())
    if whole is UnionType:
        return any(_fits(value, part) for part in parts)
    if kind is Any:
        return True
    if is_dataclass(kind) and isinstance(kind, type):
        return made_of(kind, value) is not None
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def _tupled(value: Any, kind: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return made_of(kind, value)
    if get_origin(kind) is not tuple:
        return value
    parts = get_args(kind)
    return tuple(_tupled(each, parts[0]) for each in value)
