"""Options that several commands share, and how lists in them are read."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from plc.errors import ConfigError, printable
from plc.processor_time import usable_cores

Number = TypeVar("Number", int, float)

Sources = Annotated[
    list[Path], typer.Argument(help="Audio files, folders of them, or manifests (CSV).")
]
Save = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the numbers to a file, too, as JSON.")
]
Jobs = Annotated[int, typer.Option(help="Processes; 0 is one for each core.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed draws anew.")]
Burst = Annotated[float, typer.Option(help="Mean number of packets in a burst.")]
Method = Annotated[str, typer.Option(help="Method, such as auto, repeat or burg:5/50.")]


def names_of(text: str) -> tuple[str, ...]:
    """Return the names in a list by comma."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(
    option: str, text: str, read: Callable[[str], Number], needed: bool = True
) -> list[Number]:
    """Return the numbers in an option that takes a list; without ``needed`` it may be empty."""
    try:
        numbers = list(dict.fromkeys(read(part) for part in names_of(text)))
    except ValueError:
        numbers = []
    if (text or needed) and not numbers:
        raise ConfigError(f"{option} is {text or 'empty'}; give numbers, by comma")
    return numbers


def share(text: str) -> float:
    """Return a share given as ``10%`` or ``0.1``."""
    if text.endswith("%"):
        # Rounded: 0.1 and 10% are to be the same.
        return round(float(text[:-1]) / 100, 12)
    return float(text)


def processes(jobs: int = 0) -> int:
    """Return how many processes to use; ``jobs`` of 0 is one for each core."""
    return jobs if jobs > 0 else usable_cores()


# Of tables that go to a file or a pipe: at the usual 80 a grid's numbers are cut off.
FILE_COLUMNS = 160


@contextmanager
def progress_shown(label: str, total: int) -> Iterator[Callable[..., None]]:
    """Show progress on stderr; yield a function that adds one, or a count."""
    from plc.cli import progress

    with progress.shown(label, total) as meter:
        yield meter.advance


def check_absent(path: Path | None) -> None:
    """Refuse to write over a file."""
    if path is not None and os.path.lexists(path):
        raise ConfigError(f"{path} exists; remove it, or choose another name")


def measured(
    label: str,
    total: int,
    measure: Callable[[Callable[..., None]], Any],
    tables: Callable[[Any], Iterable[Any]],
    as_json: bool,
    save: Path | None = None,
    picture: Path | None = None,
    draw: Callable[[Path, Any], None] = lambda path, result: None,
    shown: Callable[[Any], Any] = lambda result: result,
) -> Any:
    """Measure with progress shown, print, draw, return; exit with 1 if anything has no score.

    Parameters
    ----------
    label, total : str, int
        What is counted meanwhile, and how many there are.
    measure : callable
        Takes a function that adds one, or a count; returns a result, or a list of them, with
        failures if any.
    tables : callable, makes tables of the result
    as_json : bool, whether the result is printed in their place
    save : Path or None, file of the result
    picture : Path or None, what is drawn of the result
    shown : callable, what of the result is JSON
    """
    for path in (save, picture):
        check_absent(path)
    with progress_shown(label, total) as advance:
        result = measure(advance)
    each = result if isinstance(result, list) else [result]
    failures = [failure for one in each for failure in getattr(one, "failures", [])]
    report_failures(failures, total)
    show(shown(result), tables(result), as_json, save)
    if picture is not None:
        draw(picture, result)
    end(failures)
    return result


def scored(
    label: str,
    score: Callable[[Any], Any],
    items: Sequence[Any],
    tables: Callable[[list[Any]], Any],
    as_json: bool,
    *,
    of: str = "",
    facts: Mapping[str, Any] | None = None,
    name: Callable[[Any], str] | None = None,
    **more: Any,
) -> list[Any]:
    """Score items in processes, each alone; print and end as :func:`measured`; return scores.

    Parameters
    ----------
    score : callable, returns a score of an item, or a list of them; picklable
    tables : callable, makes a table of all scores, or several
    of : str, name of the scores in JSON; empty: they alone are JSON
    facts : mapping, what else JSON has
    name : callable, names an item in a failure
    """
    from plc_bench.base import workers

    def measure(advance: Callable[..., None]) -> workers.Outcome[Any]:
        found = workers.score_clips(score, items, processes(), advance, name or workers.name_of)
        each = [one if isinstance(one, list) else [one] for one in found.results]
        return workers.Outcome([score for scores in each for score in scores], found.failures)

    def shown(found: workers.Outcome[Any]) -> Any:
        whole = {**(facts or {}), of: found.results, "failures": found.failures}
        return whole if of else found.results

    def printed(found: workers.Outcome[Any]) -> list[Any]:
        made = tables(found.results)
        return made if isinstance(made, list) else [made]

    found = measured(label, len(items), measure, printed, as_json, shown=shown, **more)
    return list(found.results)


def show(result: Any, tables: Iterable[Any], as_json: bool, save: Path | None = None) -> None:
    """Print ``tables``, or ``result`` as JSON; write that to a file, too, if there is one."""
    from plc.jsonable import to_json
    from plc_bench.base.tables import Table, write_json

    if as_json:
        typer.echo(to_json(result))
    else:
        console = stdout()
        for table in tables:
            console.print(table.printed() if isinstance(table, Table) else table)
    if save is not None:
        write_json(save, result)


def stdout() -> Console:
    """Return a console on stdout, wide if stdout is a file."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_COLUMNS
    return console


def report_failures(failures: list[Any], clips: int = 0) -> None:
    """Print failures on stderr, once for each reason.

    Exit with 1 if all ``clips`` failed; :func:`end` exits with 1 if some failed.
    """
    console = Console(stderr=True)
    by_place: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        condition = getattr(failure, "condition", "")
        place = f"{failure.clip} ({condition})" if condition else failure.clip
        by_place.setdefault((place, failure.reason), []).append(failure.method)
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (place, reason), methods in by_place.items():
        by_reason.setdefault((", ".join(methods), reason), []).append(place)
    for (who, reason), places in by_reason.items():
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        of = f"{who} on " if who else ""
        # Escaped: the extra's name in brackets is no markup.
        said = escape(printable(f"{of}{places[0]}{more}: {reason}"))
        console.print(f"[yellow]failed:[/yellow] {said}", soft_wrap=True, highlight=False)
    if clips and sum(not failure.method for failure in failures) == clips:
        raise typer.Exit(1)


def end(failures: Sequence[Any]) -> None:
    """Exit with 1 if anything that was asked for has no score."""
    if failures:
        raise typer.Exit(1)


def conditions_of(
    losses: list[float],
    bursts: list[float],
    packets_ms: list[float],
    packets_samples: list[int],
    traces: list[str],
) -> tuple[Any, ...]:
    """Return every combination."""
    from plc_bench.quality.conditions import Condition

    packets: list[dict[str, Any]] = [{"packet_samples": samples} for samples in packets_samples]
    packets = packets or [{"packet_ms": packet_ms} for packet_ms in packets_ms]
    damages: list[dict[str, Any]] = [{"trace": trace} for trace in traces]
    damages = damages or [{"loss": p, "mean_burst": burst} for p in losses for burst in bursts]
    if not packets or not damages:
        raise ConfigError("--loss, --burst and --packet-ms need a number at least")
    return tuple(Condition(**damage, **packet) for packet in packets for damage in damages)
