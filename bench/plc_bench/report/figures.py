"""Figures in documents, taken from saved benchmarks: ``plc bench tables``.

A comment before a Markdown table names a query, in a file of TOML beside the figures::

    <!-- figures: results/queries.toml speech -->
    | method | PESQ | STOI |
    |---|---:|---:|
    | plc | **2.36** | .971 |
    | without network | 2.04 | .960 |

The query says in which files the figures are, and the key of each column and that of each row;
together they name one row of the files' summaries (:mod:`plc_bench.base.rows`)::

    [speech]
    files = ["speech.json"]
    all = "domain=speech"
    columns = ["-", "metric=pesq", "metric=stoi"]
    rows = ["method=auto", "method=ar"]

A key is ``field=value``; those of a column are joined by commas. ``-`` is a column or row of words
or of figures that no file has; for a column ``*`` each row says its own key, after a ``*``. What
``all`` says holds for all rows. The numbers of a cell are replaced as they are written:
decimals, sign, a zero before the point, what stands around them. One number is the mean, two are
mean and standard deviation, three are mean and interval. A cell without a number stays.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from plc.errors import ConfigError
from plc_bench.base.rows import Row, read_rows

_BLOCK = re.compile(
    r"<!-- figures: (?P<file>\S+) (?P<query>\S+) -->\n+"
    r"(?P<heading>\|[^\n]*\n\|[-:| ]+\|\n)(?P<body>(?:\|[^\n]*(?:\n|$))+)"
)
# As documents write it; benchmarks write a hyphen.
_MINUS = "\N{MINUS SIGN}"
_NUMBER = re.compile(rf"(?<![\w.])[+{_MINUS}-]?(?:\d+(?:\.\d+)?|\.\d+)")
_FIELDS = {1: ("value",), 2: ("value", "std"), 3: ("value", "low", "high")}
_NONE, _OWN = "-", "*"
# Fields that a key names where, and only where, a row has them.
_MARKS = ("over", "own")

Key = dict[str, str]


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the figures of a table are; the module says how."""

    files: list[str]
    columns: list[str]
    rows: list[str]
    all: str = ""


@dataclass(frozen=True, slots=True)
class Stale:
    """A line of a document that differs from the kept figures."""

    path: Path
    line: int
    found: str
    expected: str


def stale_lines(path: Path) -> list[Stale]:
    """Return the lines of a document that differ from the kept figures.

    Raises
    ------
    ConfigError
        If it cannot be read, or names figures that no file has.
    """
    text = _read(path)
    pairs = zip(text.split("\n"), renewed(text, path).split("\n"), strict=True)
    return [
        Stale(path, number, found, expected)
        for number, (found, expected) in enumerate(pairs, start=1)
        if found != expected
    ]


def renew(path: Path) -> int:
    """Write the kept figures into a document; return the number of lines that changed."""
    stale = stale_lines(path)
    if stale:
        try:
            path.write_text(renewed(_read(path), path), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return len(stale)


def tables_in(path: Path) -> int:
    """Return how many tables of a document are taken from files."""
    return len(_BLOCK.findall(_read(path)))


def renewed(text: str, path: Path) -> str:
    """Return a document's text with the figures of its files."""
    opened = text.count("<!-- figures:")
    if opened != len(_BLOCK.findall(text)):
        raise ConfigError(f"{path}: a comment 'figures:' has no file and query, or no table below")
    return _BLOCK.sub(lambda block: _renewed_block(block, path), text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _renewed_block(block: re.Match[str], path: Path) -> str:
    where = f"{path}:{block.string.count(chr(10), 0, block.start()) + 1}"
    queries = path.parent / block["file"]
    query = _query(queries, block["query"], where)
    rows = [row for file in query.files for row in _rows_of(queries.parent / file)]
    common, columns, keys = _key(query.all.split()), query.columns, query.rows
    table = [_cells(line) for line in block["body"].splitlines()]
    if len(keys) != len(table) or any(len(cells) != len(columns) for cells in table):
        raise ConfigError(
            f"{where}: keys for {len(keys)} rows of {len(columns)} columns; the table below has "
            f"{len(table)} rows of {' or '.join(map(str, sorted({*map(len, table)})))}"
        )
    styles = [_NUMBER.findall(" ".join(cells)) for cells in zip(*table, strict=True)]
    for cells, line in zip(table, keys, strict=True):
        for number, key in enumerate(_keys_of(line, columns, where)):
            if key is not None and _NUMBER.search(cells[number]):
                figure = _find(rows, common | key, where)
                cells[number] = _written(cells[number], figure, styles[number])
    body = "".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n" for cells in table
    )
    kept = block.group(0)[: block.start("body") - block.start()]
    return kept + (body if block["body"].endswith("\n") else body.rstrip("\n"))


def _query(path: Path, name: str, where: str) -> Query:
    try:
        queries = tomllib.loads(_read(path))
        return msgspec.convert(queries[name], Query)
    except KeyError:
        raise ConfigError(f"{where}: {path} has no query [{name}]") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}, [{name}]: {error}") from error


def _rows_of(path: Path) -> Iterator[Row]:
    for row in read_rows(path):
        yield {"file": path.stem, **row}


def _keys_of(line: str, columns: Sequence[str], where: str) -> Iterator[Key | None]:
    """Yield the key of each cell of a row; None for a cell that no file has."""
    first, *own = (part.split() for part in line.split(f" {_OWN} "))
    for column in columns:
        words = own.pop(0) if column == _OWN and own else column.split(",")
        if _NONE in (*first, *words) or _OWN in words:
            yield None
        elif all("=" in word for word in (*first, *words)):
            yield _key((*first, *words))
        else:
            raise ConfigError(
                f"{where}: {line!r} and {column!r} are no keys; give field=value, or {_NONE}"
            )


def _key(words: Iterable[str]) -> Key:
    return dict(word.split("=", 1) for word in words)


def _find(rows: Sequence[Row], key: Key, where: str) -> Row:
    found = [
        row
        for row in rows
        if all((mark in key) == (mark in row) for mark in _MARKS)
        and all(name in row and _text(row[name]) == value for name, value in key.items())
    ]
    if len(found) != 1:
        said = ", ".join(f"{name}={value}" for name, value in key.items())
        raise ConfigError(f"{where}: {len(found)} figures of the files are {said}; expected one")
    return found[0]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def _written(cell: str, figure: Row, styles: Sequence[str]) -> str:
    numbers = _NUMBER.findall(cell)
    names = _FIELDS.get(len(numbers))
    if names is None or any(figure[name] is None for name in names):
        raise ConfigError(f"the cell {cell!r} has {len(numbers)} numbers; the figure is {figure}")
    values = iter([figure[name] for name in names])
    return _NUMBER.sub(lambda match: _styled(next(values), match[0], styles), cell)


def _styled(value: float, like: str, styles: Sequence[str]) -> str:
    digits = len(like.partition(".")[2])
    text = f"{abs(value):.{digits}f}"
    if any(one.lstrip(f"+{_MINUS}-").startswith(".") for one in styles) and text.startswith("0."):
        text = text[1:]
    if value < 0 and float(f"{value:.{digits}f}") != 0:
        return ("-" if like.startswith("-") else _MINUS) + text
    signed = not like[0].isdigit() and like[0] != "."
    return f"+{text}" if signed and any(one.startswith("+") for one in styles) else text
