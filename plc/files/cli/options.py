"""Options of commands on files: which damage, and which fill."""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from plc.cli.options import Content, FileMethod, Model
from plc.cli.output import Quality

FillSeed = Annotated[
    int,
    typer.Option(
        help="Another seed, another fill by gacela; of copies, how many better places are left.",
        min=0,
        max=2**31 - 1,
    ),
]

Variants = Annotated[
    int,
    typer.Option(
        metavar="K", help="Write K fills, of seeds from --seed on: OUT-1, OUT-2, …", min=1, max=99
    ),
]

Doubtful = Annotated[bool, typer.Option("--doubtful", help="Take doubtful places for damage, too.")]


@dataclass(frozen=True, kw_only=True)
class FillOptions:
    """Options that say how gaps are filled, by the names of the library's settings."""

    quality: Annotated[
        Quality,
        typer.Option(
            case_sensitive=False, help="Quality; best takes several times longer than good."
        ),
    ] = "good"
    method: FileMethod = "auto"
    model: Model = "auto"
    content: Content = "auto"


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Options that say which damage is asked for."""

    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,…",
            help="Only these kinds: silence, dropout, repeat, click, alternate, invalid, lost.",
            show_default="all",
        ),
    ] = None
    min_confidence: Annotated[
        float, typer.Option(metavar="0…1", help="Only damage of at least this confidence.")
    ] = 0.0
    longest_ms: Annotated[
        float, typer.Option(metavar="MS", help="Only damage up to this long.", show_default="any")
    ] = math.inf
    doubtful: Doubtful = False

    @property
    def given(self) -> bool:
        """True if any chooses among findings; doubtful ones may be in labels, too."""
        return replace(self, doubtful=False) != SelectionOptions()
