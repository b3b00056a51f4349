"""What the programs of this package have in common."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from plc.errors import PlcError
from plc_kernels.own_folder import cache_root

Libraries = Annotated[
    list[Path], typer.Option(help="Libraries, as plc train has them; may repeat.")
]
DecodedCache = Annotated[
    Path | None,
    typer.Option(help="Folder for decoded audio.", show_default="the user's cache folder"),
]
DecodingJobs = Annotated[int, typer.Option(min=1, help="Processes that decode.")]


def default_cache() -> Path:
    """Return where decoded audio is kept if nobody says otherwise."""
    return cache_root() / "training"


def run_command(name: str, command: Callable[[], object]) -> None:
    """Run a command; an error of ours becomes one line on stderr, after the command's name."""
    try:
        command()
    except PlcError as error:
        typer.echo(f"{name}: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
