"""The command that repairs many recordings."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plc.cli.batch import Bitrate, Page, bar
from plc.cli.errors import REFUSED
from plc.cli.options import AsJson, FileMethod, Model, examples
from plc.cli.output import Overwrite, Quality, print_json, say
from plc.errors import ConfigError, printable

if TYPE_CHECKING:
    from plc.apps.repair import Outcome, Progress, RepairReport

# Of a long table, what failed is told in any case.
_ROWS = 50
# Where there is no terminal, in columns.
_WIDTH = 120
_RIGHT = ("gaps", "filled", "length")


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    lines = examples(
        "plc repair tapes/ --out repaired/ --report report.html",
        "plc repair tapes/ --out repaired/ --gaps labels/ --jobs 4",
        "plc repair s3://archive/tapes --out s3://archive/repaired --ray auto",
    )
    app.command(rich_help_panel="Files", epilog=lines)(repair)


def repair(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER|URL", help="Folder of recordings, or s3://BUCKET/….")
    ],
    out: Annotated[
        str,
        typer.Option(metavar="FOLDER|URL", help="Where the results go; begun ones are gone on."),
    ],
    gaps: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="Damage of each recording, NAME.txt: gaps or an Audacity label track.",
            show_default="what plc detect finds",
        ),
    ] = None,
    quality: Annotated[
        Quality, typer.Option(case_sensitive=False, help="As of plc inpaint.")
    ] = "good",
    method: FileMethod = "auto",
    model: Model = "auto",
    bitrate: Bitrate = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes, here.", min=1, max=1024, show_default="one a core"),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Work on a Ray cluster: auto, ray://HOST:10001, or local."
        ),
    ] = None,
    page: Page = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find and repair the damage of a folder or bucket of recordings.

    A run that ended is gone on with by the same command: what is done stays as it is.
    Sound recordings are copied. Records lie in .plc-repair below --out.
    """
    import os

    from plc.apps.repair import RepairSettings, run_repair
    from plc.apps.repaired import check_page

    if not source or not out:
        raise typer.BadParameter("an empty name is no folder")
    if page is not None:
        check_page(page, overwrite)
        if "://" in source or "://" in out:
            raise ConfigError("--report needs source and --out on this machine")
    settings = RepairSettings(
        gaps=gaps, quality=quality, method=method, model=model, bitrate=bitrate
    )
    with _bar() as progress:
        report = run_repair(
            source,
            out,
            settings,
            workers=jobs or os.cpu_count() or 1,
            ray=ray,
            overwrite=overwrite,
            progress=progress,
        )
    if page is not None:
        _write_page(page, report)
    print_json(report.as_dict()) if as_json else _print(report)
    if report.count("failed"):
        raise typer.Exit(REFUSED)


def _write_page(path: Path, report: "RepairReport") -> None:
    from plc.apps.repair import FAILED
    from plc.apps.repaired import write_page

    failed = [(each.name, each.reason) for each in report.outcomes if each.state == FAILED]
    write_page(path, report.repaired(), failed)


@contextmanager
def _bar() -> "Iterator[Progress]":
    """Show the recordings done on stderr, if that is a terminal."""
    with bar("repairing") as update:

        def show(outcome: "Outcome", done: int, total: int) -> None:
            update(completed=done, total=total, description=f"{done} of {total} files")

        yield show


def _print(report: "RepairReport") -> None:
    from rich.console import Console
    from rich.table import Table

    from plc.apps.repair import FAILED, REPAIRED, SOUND
    from plc.apps.repaired import kinds

    table = Table(box=None)
    for heading in ("recording", "", "found", "gaps", "filled", "length"):
        table.add_column(heading, justify="right" if heading in _RIGHT else "left")
    shown = sorted(report.outcomes, key=lambda each: each.state != FAILED)[:_ROWS]
    for each in sorted(shown, key=lambda each: each.name):
        filled_ms = 1000 * sum(stop - start for start, stop in each.gaps) / each.sample_rate
        state = f"{each.state}, before" if each.before else each.state
        table.add_row(
            printable(each.name),
            state,
            printable(each.reason or kinds(each.found)),
            str(len(each.gaps)),
            f"{filled_ms:.1f} ms",
            f"{each.duration_s:.1f} s",
        )
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width, highlight=False, markup=False).print(table)
    if len(shown) < len(report.outcomes):
        say(f"and {len(report.outcomes) - len(shown)} more: --json has all")
    states = ", ".join(f"{report.count(state)} {state}" for state in (REPAIRED, SOUND, FAILED))
    before = sum(each.before for each in report.outcomes)
    say(f"{states}; {before} of them by an earlier run")
    if (speed := report.hours_per_core_hour) is not None:
        audio_s = sum(each.duration_s for each in report.outcomes if not each.before)
        say(
            f"{_time(audio_s)} of audio in {_time(report.elapsed_s)}: {speed:.3g} hours of audio "
            "for an hour of one core"
        )


def _time(seconds: float) -> str:
    """Return a time in the unit that people would use."""
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200.0 else f"{seconds / 3600:.1f} hours"
