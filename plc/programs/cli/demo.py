"""The command ``plc demo``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plc.cli.options import AsJson, Loss, examples
from plc.cli.output import Overwrite, console, print_json, status
from plc.errors import printable
from plc.extras import install_command

if TYPE_CHECKING:
    from plc.programs.demo import DemoReport, Judge, Rival


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    lines = examples("plc demo", "plc demo --loss 20% --out demo-20")
    app.command(rich_help_panel="Files", epilog=lines)(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("plc-demo"),
    loss: Loss = 0.1,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="Draw spectrograms (needs matplotlib).")
    ] = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Lose packets of three recordings and conceal them: listen, look, compare."""
    from plc.programs.demo import run

    with status() as tell:
        report = run(
            out,
            loss=loss,
            pictures=picture,
            overwrite=overwrite,
            judges=_speech_judges(),
            rivals=_rivals(),
            progress=tell,
        )
    print_json(report) if as_json else _print_demo(report)


def _print_demo(report: "DemoReport") -> None:
    from rich.table import Table

    from plc.programs.demo import OURS, explained

    table = Table(title=f"packets of {report.packet_ms:g} ms, lost in bursts")
    table.add_column("clip")
    table.add_column("played")
    judges = list(dict.fromkeys(name for row in report.rows for name in row.scores))
    for heading in ("error", "spectral distance", *judges, "live: median", "live: p99"):
        table.add_column(heading, justify="right")
    last = ""
    for row in report.rows:
        if last and row.clip != last:
            table.add_section()
        clip = "" if row.clip == last else f"{row.clip}, {100 * row.lost_share:.0f} % lost"
        # Of speech nobody hears whether the wave is the same.
        nmse = "" if row.clip == "speech" else f"{row.nmse_db:+.1f} dB"
        scores = [f"{row.scores[name]:.2f}" if name in row.scores else "" for name in judges]
        cells = clip, row.label, nmse, f"{row.lsd_db:.1f} dB", *scores, *row.times
        table.add_row(*cells, style="bold" if row.label == OURS else "")
        last = row.clip
    shown = console()
    shown.print(table)
    lines = explained(report.rows)
    # What is optional, and how to have it.
    left_out = [name for name in ("PLCMOS", "PESQ") if name not in judges]
    if left_out:
        command = f"pip install --no-deps speechmos; {install_command('bench')}"
        lines.append(f"To score speech by {' and '.join(left_out)}, too: {command}")
    if report.rival_problem:
        lines.append(f"To hear a codec beside it: {report.rival_problem}")
    if report.picture_problem:
        lines.append(f"To see spectrograms, too: {install_command('plots')}")
    for line in lines:
        shown.print(printable(line), soft_wrap=True, markup=False, highlight=False)
    shown.print(printable(f"listen: {report.folder}/{report.page}"), soft_wrap=True)
    pictures = f"; pictures: {', '.join(report.pictures)}" if report.pictures else ""
    heard = f"{report.folder}/CLIP-PLAYED.wav, such as {report.rows[-1].file}"
    shown.print(printable(f"files: {heard}{pictures}"), soft_wrap=True)


def _speech_judges() -> "dict[str, Judge]":
    try:
        from plc_bench.scores.registry import METRICS
    except ImportError:
        return {}
    return {METRICS[name].label: METRICS[name].score for name in ("plcmos", "pesq")}


def _rivals() -> "dict[str, Rival]":
    try:
        from plc_bench.peers.opus import peer
    except ImportError:
        return {}
    from plc.programs.demo import Rival

    return {"Opus": Rival(how="its decoder, at 64 kb/s", play=peer("opus").play)}
