"""The command that serves the engine to a browser: ``plc web``.

As in :mod:`plc.programs.cli.app`: parse, call one function, print its result; everything heavy is
imported inside. ``register`` adds it to the command.
"""

import math
from pathlib import Path
from typing import Annotated

import typer

from plc.cli.options import Duration, examples
from plc.cli.output import Overwrite, say


def web(
    port: Annotated[
        int, typer.Option(help="Port to listen at; 0 takes any that is free.", min=0, max=65_535)
    ] = 8765,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the page and the module into this folder; serve nothing."
        ),
    ] = None,
    overwrite: Overwrite = False,
    duration_s: Duration = math.inf,
) -> None:
    """Hear and see the engine in a browser: clips, files or the microphone.

    The page needs no internet. Ctrl-C or SIGTERM end the server. An exported page works on any
    web server, and from a disk; beside it is a module for pages of your own (plc.html says how).
    """
    from plc.programs.web import FILES, run_web
    from plc.programs.web import export as write

    if export is not None:
        for path in write(export, overwrite=overwrite):
            say(path)
            say(f"plc: {path.name}: {FILES[path.name].use}", err=True)
        return
    run_web(port, duration_s=duration_s, announce=lambda line: say(f"plc: {line}", err=True))


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    lines = examples("plc web", "plc web --export page      page/index.html, for any web server")
    app.command(rich_help_panel="This machine", epilog=lines)(web)
