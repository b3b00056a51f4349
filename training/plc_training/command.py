"""What the programs of this package have in common."""

import sys
from collections.abc import Callable

import typer

from plc.errors import PlcError


def run_command(name: str, command: Callable[[], object]) -> None:
    """Run a command; an error of ours becomes one line on stderr, after the command's name."""
    try:
        command()
    except PlcError as error:
        typer.echo(f"{name}: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
