"""Commands for this machine: ``plc doctor`` and ``plc models``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zipfile import ZipFile

import typer

from plc.cli.errors import REFUSED
from plc.cli.options import AsJson, examples
from plc.cli.output import console, print_json, say, status
from plc.errors import ModelError, printable_lines, why

if TYPE_CHECKING:
    from plc.programs.doctor import Health


# A larger network is none of papers; a wider list is hard to read.
_PAPER_BYTES_MAX, _LIST_COLUMNS = 1 << 24, 80


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    panel = "This machine"
    lines = examples("plc doctor", "plc doctor --warm        in an image build")
    app.command(rich_help_panel=panel, epilog=lines)(doctor)
    lines = examples(
        "plc models", "plc models speech", "plc conceal in.wav out.wav --loss 10% --model speech"
    )
    app.command(rich_help_panel=panel, epilog=lines)(models)


def doctor(
    warm: Annotated[
        bool, typer.Option("--warm", help="Compile every kernel into the cache first.")
    ] = False,
    methods: Annotated[
        bool, typer.Option("--methods", help="Only list the methods of concealment.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine this machine: which parts run, and how fast."""
    if methods:
        _print_methods(as_json)
        return
    from plc.programs.doctor import examine

    with status() as tell:
        health = examine(warm=warm, progress=tell)
    print_json(health.as_dict()) if as_json else _print_health(health)
    if health.problems:
        raise typer.Exit(REFUSED)


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Name or path of a model to describe.")
    ] = None,
    papers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take networks of papers: plc_engine_papers-*.whl."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the networks: name, use, size; of one MODEL all there is to know."""
    from plc.engine.models.catalogue import available, find
    from plc.programs.model_tables import model_table, models_table

    if papers:
        _take_papers(papers)
    found = available() if name is None else [find(name)]
    if as_json:
        print_json({"models": found})
        return
    shown = console()
    if name is None:
        shown.print(models_table(found), width=min(shown.width, _LIST_COLUMNS))
    else:
        shown.print(model_table(found[0]))


def _take_papers(file: Path) -> None:
    """Copy the networks of papers from their wheel into the package."""
    from plc.engine.models.catalogue import PAPERS, models_folder
    from plc.files.marks import BAD_ZIP
    from plc.whole_files import write_whole

    found = {}
    try:
        with ZipFile(file) as archive:
            for name in (f"{name}{end}" for name in PAPERS for end in (".onnx", ".json")):
                about = archive.getinfo(f"plc/data/models/{name}")
                if about.file_size > _PAPER_BYTES_MAX:
                    raise ValueError(f"{name} has {about.file_size} bytes")
                found[models_folder() / name] = archive.read(about)
    except BAD_ZIP as error:
        raise ModelError(f"{file}: {why(error)}; give a plc_engine_papers-*.whl") from error
    for path, data in found.items():
        if not path.exists():
            write_whole(path, data)


def _print_methods(as_json: bool) -> None:
    from plc.engine.stream.methods import BASELINES, FILE_METHODS, METHODS

    methods = METHODS | FILE_METHODS | BASELINES
    if as_json:
        print_json(methods)
        return
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for name, description in methods.items():
        table.add_row(name, description)
    console().print(table)


def _print_health(health: "Health") -> None:
    from rich.table import Table
    from rich.text import Text

    from plc.programs.doctor import facts, ladder_text

    shown = console()
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    for name, value in facts(health):
        # Text: the brackets of an extra are no markup.
        table.add_row(name, Text(printable_lines(value)))
    shown.print(table)
    ladders = Table(
        title="Predictions and networks, timed on this machine",
        caption="steady: tones; unsteady: speech and fast changes\n"
        "what takes longer than the budget is prepared before the loss",
    )
    for heading in ("stream", "budget", "rung that a burst begins with"):
        ladders.add_column(heading)
    for ladder in health.ladders:
        ladders.add_row(ladder.format, f"{ladder.budget_ms:g} ms", ladder_text(ladder))
    shown.print(ladders)
    for problem in health.problems:
        say(f"plc: {problem}", err=True)
