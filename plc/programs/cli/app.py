"""The ``plc`` command: parse, call one function, print its result.

Results go to stdout, progress and warnings to stderr. The status is 0 when the work is done, 1
when it was refused (one line on stderr says why), 2 when the command was misused, 130 after
Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. Everything heavy is imported inside the subcommand that
needs it, so that ``plc --help`` answers at once.
"""

import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from plc import notice
from plc.cli.errors import REFUSED, flush, line_of, mend_streams, put_in_words
from plc.cli.options import HELP, examples
from plc.cli.output import say
from plc.embed import cli as embedded
from plc.files.cli import lose
from plc.programs.cli import conceal, demo, inpaint, machine, measure, web
from plc.restore.cli import detect, repair
from plc.transport.cli import live, rtp, streams

# In the order of plc --help.
_COMMANDS = (
    demo,
    conceal,
    inpaint,
    lose,
    machine,
    measure,
    detect,
    repair,
    live,
    rtp,
    streams,
    embedded,
    web,
)


class _Refusing(TyperGroup):
    """A group that reports refusals as one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            line = line_of(error)
            if line is None:
                put_in_words(error)
                raise
            say(f"plc: {line}", err=True)
            raise typer.Exit(REFUSED) from None

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; where a shell completes, one of another package itself."""
        if ctx.resilient_parsing and cmd_name in ("bench", "train", "export"):
            with suppress(ImportError):
                return measure.of_another_package(cmd_name)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    name="plc",
    cls=_Refusing,
    help="Conceal lost packets of live music and speech.",
    epilog=examples(
        "plc demo                                        hear and see what it does",
        "plc conceal damaged.wav good.wav --trace lost.trace",
        "plc inpaint damaged.flac good.flac --gap 1.250:1.314",
        "plc doctor                                      what will run on this machine",
    ),
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={**HELP, "obj": detect.damage_finder},  # for plc inpaint
)


def main() -> None:
    """Run the command."""
    mend_streams()
    notice.listener = lambda line: say(f"plc: {line}", err=True)
    try:
        app(prog_name="plc")
    except Exception as error:  # before there is a subcommand: stdout under --help, above all
        line = line_of(error)
        if line is None:
            raise
        flush(sys.stdout)
        say(f"plc: {line}", err=True)
        raise SystemExit(REFUSED) from None
    except SystemExit as end:
        unwritten = flush(sys.stdout)
        if unwritten is None or end.code:  # a refusal has had its line
            raise
        say(f"plc: {line_of(unwritten)}", err=True)
        raise SystemExit(REFUSED) from None


def _version(wanted: bool) -> None:
    if wanted:
        from plc import __version__

        say(f"plc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for _commands in _COMMANDS:
    _commands.register(app)
