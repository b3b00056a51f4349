"""Results as tables for a terminal and as Markdown, and as files of JSON, CSV and text."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import table as rich
from rich.text import Text

from plc.errors import ConfigError
from plc.jsonable import to_json


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: text, a value to sort by (NaN: none), and a style of the terminal."""

    text: str
    value: float = math.nan
    style: str = ""

    @classmethod
    def of(cls, content: "Content") -> "Cell":
        """Return a cell that holds this."""
        if isinstance(content, Cell):
            return content
        return cls(content) if isinstance(content, str) else cls(str(content), content)


Content = Cell | str | int


@dataclass(slots=True)
class Table:
    """A table of results.

    Attributes
    ----------
    headings : sequence of str
        Of the columns; none: a list of facts.
    rows : list of list of Cell
        As many cells each as there are headings.
    note : str
        What a reader must know.
    left : tuple of int
        Columns of words, which are aligned to the left; from the end if negative.
    ends : set of int
        Rows that a line follows.
    own : str
        What begins the rows that are in bold.
    """

    title: str
    headings: Sequence[str] = ()
    rows: list[list[Cell]] = field(default_factory=list)
    note: str = ""
    left: tuple[int, ...] = (0,)
    ends: set[int] = field(default_factory=set)
    own: str = ""

    def add(self, *cells: Content, end: bool = False) -> None:
        """Add a row; with ``end`` a line follows it."""
        self.rows.append([Cell.of(cell) for cell in cells])
        if end:
            self.ends.add(len(self.rows) - 1)

    def printed(self) -> rich.Table:
        """Return the table for a terminal."""
        table = rich.Table(
            title=self.title or None, caption=self.note or None, show_header=bool(self.headings)
        )
        columns = len(self.headings)
        words = {number % columns for number in self.left} if columns else set()
        for number, heading in enumerate(self.headings):
            table.add_column(
                heading, justify="left" if number in words else "right", overflow="fold"
            )
        for number, row in enumerate(self.rows):
            bold = "bold" if self.own and row[0].text == self.own else ""
            cells = [Text(cell.text, cell.style or bold) for cell in row]
            table.add_row(*cells, end_section=number in self.ends)
        return table

    def markdown(self) -> str:
        """Return heading, table and note as Markdown."""
        table = markdown_table(self.headings, [[cell.text for cell in row] for row in self.rows])
        return f"## {self.title}\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return lines of a table; all columns but the first are aligned to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


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
