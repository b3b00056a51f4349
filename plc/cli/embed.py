"""The commands for other programs: ``plc serve``, ``plc c build``, ``plc gstreamer``.

As in :mod:`plc.cli.app`: parse, call one function, print its result; everything heavy is
imported inside. ``register`` adds them to the command.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plc.cli.options import AsJson, Duration
from plc.cli.output import print_json

if TYPE_CHECKING:
    from plc.embed.gstreamer.install import Installed


def serve(
    socket: Annotated[Path, typer.Option(metavar="PATH", help="Path of the Unix socket.")],
    max_clients: Annotated[
        int, typer.Option(help="Largest number of clients.", min=1, max=4096)
    ] = 256,
    duration_s: Duration = math.inf,
    as_json: AsJson = False,
) -> None:
    """Conceal for other programs through a Unix socket, one stream per connection.

    See docs/embedding.md for the protocol. Ctrl-C or SIGTERM answer the received packets, then end
    it; a second one ends it at once.
    """
    from plc.embed.server import run_sidecar

    def announce() -> None:
        typer.echo(f"plc: listening at {socket}", err=True)

    stats = run_sidecar(socket, max_clients=max_clients, duration_s=duration_s, announce=announce)
    if as_json:
        print_json(stats)
        return
    typer.echo(
        f"{stats.clients} clients: {stats.ended} ended, {stats.vanished} vanished, "
        f"{stats.violations} broke the protocol, {stats.stalled} stalled; "
        f"{stats.turned_away} more were turned away"
    )


c = typer.Typer(name="c", help="The engine as a C library.", no_args_is_help=True)


@c.callback()
def _c() -> None:
    """Group the commands, so that ``build`` stays a subcommand."""


@c.command("build")
def build(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for libplc and plc.h.")],
) -> None:
    """Build libplc here, for programs of this machine; needs a C compiler and cffi."""
    from plc.embed.library import build_library

    built = build_library(out)
    typer.echo(f"{built.library}\n{built.header}")
    typer.echo(f"cc program.c {built.flags}")


gstreamer = typer.Typer(
    name="gstreamer", help="The element plcconceal for GStreamer.", no_args_is_help=True
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="A folder named python; its parent goes into GST_PLUGIN_PATH.",
        show_default="the user's",
    ),
]


@gstreamer.command("install")
def install_element(folder: Folder = None) -> None:
    """Install plcconceal for GStreamer, and check it."""
    from plc.embed.gstreamer.install import install

    _print_installed(install(folder))


@gstreamer.command("check")
def check_element(folder: Folder = None) -> None:
    """Check whether GStreamer finds plcconceal; if not, say why."""
    from plc.embed.gstreamer.install import check

    _print_installed(check(folder))


def _print_installed(installed: "Installed") -> None:
    """Print the findings; status 1 if GStreamer does not find the element."""
    if installed.element:
        typer.echo(f"{installed.file}: GStreamer (Python {installed.python}) finds plcconceal")
    if installed.problem is not None:
        typer.echo(f"plc: {installed.problem}", err=True)
    if not installed.element:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    panel = "For other programs"
    app.command(rich_help_panel=panel)(serve)
    app.add_typer(c, rich_help_panel=panel)
    app.add_typer(gstreamer, rich_help_panel=panel)
