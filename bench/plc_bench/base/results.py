"""Write results as JSON, CSV and text."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plc.errors import ConfigError
from plc.jsonable import to_json
from plc.notice import counted

__all__ = ["counted", "to_json", "write_csv", "write_json", "write_text"]


def write_json(path: Path, result: Any) -> None:
    """Write :func:`to_json` of ``result`` to ``path``."""
    write_text(path, to_json(result) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows``, all with the keys of the first, to ``path``."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]) if rows else [])
            table.writeheader()
            table.writerows(rows)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
