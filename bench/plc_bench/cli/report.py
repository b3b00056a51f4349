"""``plc bench report`` and ``tables``: pages of kept results."""

from pathlib import Path
from typing import Annotated

import typer

from plc.cli.output import say


def report(
    results: Annotated[Path, typer.Argument(help="Folder of plc bench quality --out.")],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("report"),
    ratings: Annotated[
        list[Path] | None, typer.Option(help="File of the blind test; may be repeated.")
    ] = None,
) -> None:
    """Make a page of a study, to read and to listen to; it opens without a server."""
    from plc.notice import counted
    from plc_bench.report import build as bench

    page = bench.build(results, out, ratings or [])
    megabytes = page.total_bytes / 1e6
    say(f"{page.path}: {counted(page.clips, 'clip')}, {megabytes:.1f} MB")
    if megabytes > bench.LARGE_MB:
        say(f"large: over {bench.LARGE_MB:g} MB; fewer --excerpts make it smaller", err=True)


def tables(
    documents: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Markdown files.", show_default="README.md, docs/*.md and bench/results/*.md"
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a figure is not the kept one.")
    ] = False,
) -> None:
    """Write the kept figures of benchmarks into the tables of documents.

    A comment before a table names the JSON files that benchmarks saved, and the
    key of each row and column: see docs/measuring.md.
    """
    from plc_bench.report import figures as bench

    usual = [Path("README.md"), *Path("docs").glob("*.md"), *Path("bench/results").glob("*.md")]
    paths = documents or sorted(path for path in usual if path.is_file())
    count = sum(bench.tables_in(path) for path in paths)
    if check:
        stale = [line for path in paths for line in bench.stale_lines(path)]
        for line in stale:
            say(f"{line.path}:{line.line}: {line.found}")
            say(f"  the kept figures say: {line.expected}")
        say(f"{count} tables, {len(stale)} lines to renew (plc bench tables)", err=True)
        raise typer.Exit(1 if stale else 0)
    changed = sum(bench.renew(path) for path in paths)
    say(f"{count} tables, {changed} lines renewed")
