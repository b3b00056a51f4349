"""Output that several commands share."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plc.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace an existing file.")]
Quality = Literal["fast", "good", "best"]


def say(text: object, *, err: bool = False) -> None:
    """Print a line; control characters from outside are written out."""
    typer.echo(printable(text), err=err)


def print_json(result: Any) -> None:
    """Print a result as JSON."""
    from plc.jsonable import to_json

    typer.echo(to_json(result))


def _refused_as_srtp(counts: dict[str, int]) -> int:
    return sum(number for name, number in counts.items() if name != "opened_packets")


def console() -> "Console":
    """Return where tables are printed."""
    from rich.console import Console

    # A program that reads a table through a pipe gets whole lines, unless it asks for others.
    asked = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if asked else 120, highlight=False, markup=False)


def left_out(report: dict[str, Any], refused: int) -> str:
    """Return the packets left out, by reason, if any."""
    counts = {
        "of another payload type": report["unknown_packets"],
        "that could not be decoded": report["undecodable_packets"],
        "that were no RTP": sum(report["malformed_packets"].values()),
        "from others": refused,
        "refused as SRTP": _refused_as_srtp(report.get("srtp") or {}),
        "too many in a second": report.get("relay", {}).get("capped_datagrams", 0),
        "that could not be sent": report.get("failed_sends", 0),
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    return f"; packets left out: {', '.join(found)}" if found else ""


@contextmanager
def status() -> Iterator[Any]:
    """Show the current step on stderr, if that is a terminal."""
    from rich.console import Console

    shown = Console(stderr=True)
    if not shown.is_terminal:
        yield None
        return
    with shown.status("starting") as line:
        yield line.update
