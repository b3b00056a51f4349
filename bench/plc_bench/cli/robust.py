"""``plc bench soak`` and ``tone``."""

import math
from typing import Annotated

import typer

from plc_bench.cli.options import (
    BudgetMs,
    JsonFile,
    Method,
    Seed,
)
from plc_bench.cli.output import progress_shown, show


def soak(
    packets: Annotated[int, typer.Option(min=1, help="Packets over all streams.")] = 1_000_000,
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Push a million packets of everything: random losses, an hour's outage, silence, NaN.

    Exits with 1 if a length was wrong, a sample not finite, or memory grew.
    """
    from plc_bench.robust import soak as bench

    with progress_shown("packets", packets) as advance:
        report = bench.soak(packets, seed, advance)
    show(report, [bench.soak_table(report)], json_file)
    if report.violations:
        raise typer.Exit(1)


def tone(
    seconds: Annotated[float, typer.Option(min=1.0, help="Sine per case.")] = 10.0,
    method: Method = "auto",
    budget_ms: BudgetMs = math.inf,
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Lose 5 % of a 440 Hz sine at every packet size: no hole, no click, the phase kept.

    Exits with 1 if a case fails.
    """
    from plc_bench.robust import tone as bench

    cases = bench.all_cases()
    with progress_shown("cases", len(cases)) as advance:
        results = bench.measure_tones(cases, seconds, method, budget_ms, seed, advance)
    passed = sum(result.passed for result in results)
    show(results, [bench.tone_table(results), f"{passed} of {len(results)} cases pass"], json_file)
    if passed < len(results):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (soak, tone):
        app.command()(command)
