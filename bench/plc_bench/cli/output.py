"""Tables and JSON on stdout, progress and failures on stderr."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from plc.errors import printable

# Of tables that go to a file or a pipe: at the usual 80 a grid's numbers are cut off.
FILE_COLUMNS = 160


@contextmanager
def progress_shown(label: str, total: int) -> Iterator[Callable[..., None]]:
    """Show progress on stderr; yield a function that adds one, or a count."""
    from plc_bench.base import progress

    with progress.shown(label, total) as meter:
        yield meter.advance


def show(result: Any, tables: Iterable[Any], as_json: bool, save: Path | None) -> None:
    """Print ``tables``, or ``result`` as JSON; write that to a file, too, if there is one."""
    from plc_bench.base import results
    from plc_bench.base.tables import Table

    if as_json:
        typer.echo(results.to_json(result))
    else:
        console = stdout()
        for table in tables:
            console.print(table.printed() if isinstance(table, Table) else table)
    if save is not None:
        results.write_json(save, result)


def stdout() -> Console:
    """Return a console on stdout, wide if stdout is a file."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_COLUMNS
    return console


def report_failures(failures: list[Any], clips: int = 0) -> None:
    """Print failures on stderr, once for each reason.

    Exit with 1 if all ``clips`` failed; :func:`end` exits with 1 if some failed.
    """
    console = Console(stderr=True)
    by_place: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        condition = getattr(failure, "condition", "")
        place = f"{failure.clip} ({condition})" if condition else failure.clip
        by_place.setdefault((place, failure.reason), []).append(failure.method)
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (place, reason), methods in by_place.items():
        by_reason.setdefault((", ".join(methods), reason), []).append(place)
    for (who, reason), places in by_reason.items():
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        of = f"{who} on " if who else ""
        # Escaped: the extra's name in brackets is no markup.
        said = escape(printable(f"{of}{places[0]}{more}: {reason}"))
        console.print(f"[yellow]failed:[/yellow] {said}", soft_wrap=True, highlight=False)
    if clips and sum(not failure.method for failure in failures) == clips:
        raise typer.Exit(1)


def end(failures: Sequence[Any]) -> None:
    """Exit with 1 if anything that was asked for has no score."""
    if failures:
        raise typer.Exit(1)
