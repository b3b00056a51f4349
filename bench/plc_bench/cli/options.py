"""Options that several commands share, and how lists in them are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from plc.errors import ConfigError
from plc.processor_time import usable_cores

Number = TypeVar("Number", int, float)

Sources = Annotated[
    list[Path], typer.Argument(help="Audio files, folders of them, or manifests (CSV).")
]
Save = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the numbers to a file, too, as JSON.")
]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Write a row per clip and method.")]
Jobs = Annotated[int, typer.Option(help="Processes; 0 is one for each core.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed draws anew.")]
Loss = Annotated[float, typer.Option(help="Share of packets lost, 0 to 1.")]
Burst = Annotated[float, typer.Option(help="Mean number of packets in a burst.")]
PacketMs = Annotated[float, typer.Option(help="Packet length in ms.")]
Lookahead = Annotated[int, typer.Option(min=0, help="Future packets the engine waits for.")]
Method = Annotated[str, typer.Option(help="Method, such as auto, repeat or burg:5/50.")]
IncludeStereo = Annotated[
    bool, typer.Option("--stereo", help="Keep clips named stereo_*, which folders leave out.")
]
BudgetMs = Annotated[
    float,
    typer.Option(help="Time the engine may take for a packet, in ms; inf is no limit."),
]


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
        raise ConfigError(f"--{option} is {text or 'empty'}; give numbers, by comma")
    return numbers


def share(text: str) -> float:
    """Return a share given as ``10%`` or ``0.1``."""
    if text.endswith("%"):
        # Rounded: 0.1 and 10% are to be the same.
        return round(float(text[:-1]) / 100, 12)
    return float(text)


def processes(jobs: int) -> int:
    """Return how many processes to use; ``jobs`` of 0 is one for each core."""
    return jobs if jobs > 0 else usable_cores()
