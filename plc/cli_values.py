"""What every command takes and gives alike."""

from typing import Annotated, Any, Literal

import typer

Overwrite = Annotated[
    bool, typer.Option("--overwrite", "-y", help="Replace what is there under that name.")
]
Quality = Literal["fast", "good", "best"]
Codec = Annotated[
    Literal["l16", "pcmu", "pcma", "opus"],
    typer.Option(case_sensitive=False, help="How RTP is coded."),
]


def share(value: str | float) -> float:
    """Return a share given as ``10%`` or ``0.1``."""
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise typer.BadParameter(f"{text} is no share; give 0% to 100%, or 0 to 1, such as 10%")
    return share


def print_json(result: Any) -> None:
    """Print a result as JSON."""
    from plc.jsonable import to_json

    typer.echo(to_json(result))
