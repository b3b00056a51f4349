"""The command that repairs many recordings."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plc.cli.errors import REFUSED
from plc.cli.options import AsJson, examples, with_options
from plc.cli.output import Overwrite, print_json, say
from plc.errors import ConfigError, printable
from plc.files.cli import batch
from plc.notice import counted
from plc.restore.cli.captures import repair_capture
from plc.restore.cli.detect import SelectionOptions
from plc.transport.cli.captures import among
from plc.transport.cli.options import DescribedOptions

if TYPE_CHECKING:
    from plc.restore.repair import Progress, RepairReport, RepairSettings

# Of a long table, what failed is told in any case.
_ROWS = 50
# Where there is no terminal, in columns.
_WIDTH = 120
_RIGHT = ("gaps", "filled", "length")


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    lines = examples(
        "plc repair tapes/ --out repaired/ --report report.html",
        "plc repair tape.wav --out repaired/                                one recording",
        "plc repair tapes/ --out repaired/ --dry-run --report look.html     choose in a browser",
        "plc repair tapes/ --out repaired/ --gaps labels.zip --jobs 4",
        "plc repair call.pcap --out repaired.wav      the RTP streams of a network capture",
        "plc repair s3://archive/tapes --out s3://archive/repaired --ray auto",
    )
    app.command(rich_help_panel="Files", epilog=lines)(repair)


@with_options
def repair(
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|FILE|URL", help="Folder of recordings, one recording, or s3://BUCKET/…."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|URL",
            help="Folder or bucket of the results, by their names; a run begun there continues.",
        ),
    ],
    gaps: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|ZIP|URL",
            help="Damage of each recording, NAME.txt: gaps or Audacity labels; empty: none.",
            show_default="what plc detect finds",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only say what would be done; with --report, a page to choose on."
        ),
    ] = False,
    fill: batch.FillOptions,
    bitrate: batch.Bitrate = None,
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
    page: batch.Page = None,
    asked: SelectionOptions,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    captured: DescribedOptions,
) -> None:
    """Find and repair the damage of a recording, or of a folder or bucket of them.

    The same command continues a run that was stopped; finished results stay as they are.
    Undamaged recordings are copied, as are those without labels and those whose places are
    all doubtful or excluded by options.
    Records lie in .plc-repair below --out.
    """
    import os

    from plc.files.fill.signals import FillSettings
    from plc.files.pages import listening
    from plc.restore.repair import RepairSettings, run_repair

    if among([source], captured):
        if any((gaps, dry_run, bitrate, jobs, ray, page)):
            raise typer.BadParameter(
                "a network capture goes without --gaps, --dry-run, --bitrate, --jobs, --ray and "
                "--report"
            )
        kept = {"overwrite": overwrite, "as_json": as_json}
        settings = FillSettings(**asdict(fill))
        repair_capture(Path(source), Path(out), captured, settings, asked.selection, **kept)
        return
    if not source or not out:
        raise typer.BadParameter("an empty name is neither a folder nor a file")
    if page is not None:
        batch.check_page(page, overwrite, [Path(source)])
        if "://" in source or ("://" in out and not dry_run):
            raise ConfigError("--report needs source and --out on this machine")
    if asked.given and gaps is not None:
        raise typer.BadParameter(
            "they choose among findings, but the gaps are given",
            param_hint="--kinds, --min-confidence, --longest-ms",
        )
    repairs = RepairSettings(gaps=gaps, selection=asked.selection, bitrate=bitrate, **asdict(fill))
    with _bar("looking" if dry_run else "repairing") as progress:
        report = run_repair(
            source,
            out,
            repairs,
            workers=jobs or os.cpu_count() or 1,
            ray=ray,
            overwrite=overwrite,
            dry_run=dry_run,
            anew=page is not None,
            progress=progress,
        )
    if page is not None:
        listening.write(page, _page(report, repairs), overwrite)
    print_json(report.as_dict()) if as_json else _print(report)
    if page is not None:
        say(f"listen: {page}", err=as_json)
    if report.count("failed"):
        raise typer.Exit(REFUSED)


def _page(report: "RepairReport", settings: "RepairSettings") -> str:
    from plc.files.pages.repaired import page_of
    from plc.restore.choosing import choices_page
    from plc.restore.repair import FAILED

    if report.dry_run:
        return choices_page(report, settings)
    failed = [(each.name, each.reason) for each in report.outcomes if each.state == FAILED]
    return page_of(report.repaired(), failed)


@contextmanager
def _bar(what: str) -> "Iterator[Progress]":
    """Show on stderr how many recordings are done."""
    from plc.cli.progress import shown

    with shown(f"files, {what}") as meter:
        yield lambda _, done, total: meter.reach(done, total)


def _print(report: "RepairReport") -> None:
    from rich.console import Console
    from rich.table import Table

    from plc.files.pages.repaired import kinds
    from plc.restore.repair import DOUBTFUL, FAILED, REPAIRED, SOUND, STATES

    table = Table(box=None)
    for heading in ("recording", "", "found", "gaps", "filled", "length"):
        table.add_column(heading, justify="right" if heading in _RIGHT else "left")
    shown = sorted(report.outcomes, key=lambda each: each.state != FAILED)[:_ROWS]
    for each in sorted(shown, key=lambda each: each.name):
        filled_ms = 1000 * sum(stop - start for start, stop in each.gaps) / each.sample_rate
        would = report.dry_run and each.state == REPAIRED and not each.before
        state = "to repair" if would else each.state
        state = f"{state}, before" if each.before else state
        doubts = [f"doubtful {finding.kind}" for finding in each.findings if finding.doubt]
        told = [kinds([*each.found, *doubts]), f"{each.left_out} left out" if each.left_out else ""]
        table.add_row(
            printable(each.name),
            state,
            printable(each.reason or ", ".join(filter(None, told))),
            str(len(each.gaps)),
            f"{filled_ms:.1f} ms",
            f"{each.duration_s:.1f} s",
        )
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width, highlight=False, markup=False).print(table)
    lines = [
        f"{printable(each.name)}: {gap.told(each.sample_rate)}"
        for each in report.outcomes
        for gap in each.long_gaps
        if not each.before
    ]
    for line in lines[:_ROWS]:
        say(line)
    if len(lines) > _ROWS:
        say(f"and {len(lines) - _ROWS} long gaps more: --json has all")
    if len(shown) < len(report.outcomes):
        say(f"and {len(report.outcomes) - len(shown)} more: --json has all")
    always = {REPAIRED, SOUND, FAILED}
    named = [state for state in STATES if state in always or report.count(state)]
    words = {REPAIRED: "to repair"} if report.dry_run else {}
    states = ", ".join(f"{report.count(state)} {words.get(state, state)}" for state in named)
    before = sum(each.before for each in report.outcomes)
    say(f"{states}; {before} of them by an earlier run")
    if report.count(DOUBTFUL):
        say(
            "doubtful places are not filled: --json lists them, and the page of --dry-run; "
            "--doubtful fills them"
        )
    if left_out := sum(each.left_out for each in report.outcomes):
        say(f"{counted(left_out, 'place')} left out by the options")
    if report.dry_run:
        say(f"nothing was written below {report.target}")
        return
    if (speed := report.hours_per_core_hour) is not None:
        audio_s = sum(each.duration_s for each in report.outcomes if not each.before)
        say(
            f"{_time(audio_s)} of audio in {_time(report.elapsed_s)}: 1 hour of audio takes "
            f"{_time(3600 / speed)} of one core"
        )


def _time(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200.0 else f"{seconds / 3600:.1f} hours"
