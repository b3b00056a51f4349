"""``plc bench``: measure quality, time and robustness.

Each command parses, calls one module, prints a table. Modules are imported inside, so that
``--help`` answers at once. Results go to stdout, progress to stderr. ``--json`` prints the numbers
in place of the tables; ``--save FILE`` of quality, inpaint and latency writes them to a file, too.
"""

import sys
from collections.abc import Callable
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
_COMMANDS: dict[str, Callable[..., None]] = {
    "quality": quality.quality,
    "trace": quality.trace,
    "inpaint": gaps.inpaint,
    "detect damage": detection.detect,
    "detect dropouts": detection.dropouts,
    "detect content": detection.told,
    "latency": timing.latency,
    "streams server": timing.server,
    "gpu": timing.gpu,
    "robust soak": robust.soak,
    "robust relay-load": robust.relay_load,
    "robust relay-cost": robust.relay_cost,
    "robust receiver": robust.receiver,
    "robust library": robust.library,
    "papers context-encoder": papers.context_encoder,
    "papers published": papers.published,
    "papers long-gaps": papers.long_gaps,
    "papers phase": papers.phase,
    "papers representations": papers.representations,
    "report": report.report,
    "tables": report.tables,
}
_GROUPS = {
    "detect": "Measure what is recognised: damage of recordings and streams, speech and music.",
    "streams": "Measure how many streams a core serves in a pool.",
    "robust": "Examine what must hold for long: streams, packets, the relay, libplc.",
    "papers": "Make the tables of papers: their networks, phases, representations, long gaps.",
}
_groups = {word: typer.Typer(help=said, no_args_is_help=True) for word, said in _GROUPS.items()}
for _word, _group in _groups.items():
    app.add_typer(_group, name=_word, context_settings=HELP)
for _name, _command in _COMMANDS.items():
    _word, _, _below = _name.rpartition(" ")
    _groups.get(_word, app).command(_below, context_settings=HELP)(_command)


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
