"""``plc bench``: measure quality, time and robustness.

Each command parses, calls one module, prints a table. Modules are imported inside, so that
``--help`` answers at once. Results go to stdout, progress to stderr. ``--json`` prints the numbers
in place of the tables; ``--save FILE`` of quality, inpaint and latency writes them to a file, too.
"""

import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from plc.cli.errors import REFUSED, line_of
from plc.cli.options import HELP
from plc.errors import printable
from plc_bench.cli import detection, gaps, papers, quality, report, robust, timing


class _Bench(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse ``--set`` by a line that names its replacement."""
        if "--set" in args:
            raise typer.BadParameter("give --NAME VALUE in place of --set NAME=VALUE", ctx)
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="bench",
    cls=_Bench,
    help="Measure quality, time and robustness. Defaults are those of the README's figures.",
    no_args_is_help=True,
    context_settings=HELP,
    add_completion=False,
)
for _commands in (quality, gaps, detection, timing, robust, papers, report):
    _commands.register(app)


def main() -> None:
    """Run the command; print a :class:`plc.PlcError` as one line on stderr."""
    try:
        app()
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        Console(stderr=True).print(f"[red]error:[/red] {escape(printable(line))}", soft_wrap=True)
        sys.exit(REFUSED)
