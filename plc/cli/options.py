"""Options that several commands share."""

import math
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plc.cli.output import left_out

if TYPE_CHECKING:
    from plc.rtp.delay import DelayConfig


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


# One knob: how many packets may come too late. Numbers between 0 and 1 do, too.
SAFETIES = {"quick": 0.0, "normal": 0.5, "safe": 1.0}


def safety_of(value: str | float) -> float:
    """Return a safety given as a word or a number."""
    text = str(value).strip().lower()
    try:
        number = SAFETIES[text] if text in SAFETIES else float(text)
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise typer.BadParameter(f"{text} is no safety; give {', '.join(SAFETIES)}, or 0 to 1")
    return number


def usual_rate(codec: str) -> int:
    """Return the sample rate of a codec where none is given."""
    return 8_000 if codec.lower() in ("pcmu", "pcma") else 48_000


PacketMs = Annotated[float, typer.Option(metavar="MS", help="Length of a packet sent.")]
Duration = Annotated[
    float, typer.Option("--duration-s", metavar="S", help="End after this long.", min=0.0)
]
Safety = Annotated[
    float,
    typer.Option(parser=safety_of, metavar="HOW", help="Delay: quick, normal, safe, or 0 to 1."),
]
HeadroomMs = Annotated[
    float | None, typer.Option(metavar="MS", help="As much more than the jitter asks for.")
]
MaxDelayMs = Annotated[float, typer.Option(metavar="MS", help="The delay never exceeds this.")]
Lookahead = Annotated[
    int, typer.Option(metavar="PACKETS", help="Packets to wait for besides.", min=0)
]
Method = Annotated[str, typer.Option(help="How to conceal.")]
Model = Annotated[str, typer.Option(metavar="NAME|FILE", help="Network to use.")]
BudgetMs = Annotated[
    float | None, typer.Option(metavar="MS", help="Time that concealing a packet may take.")
]
Metrics = Annotated[
    str | None, typer.Option(metavar="[HOST]:PORT", help="Serve Prometheus metrics here.")
]
LogJson = Annotated[
    bool, typer.Option("--log-json", help="Write what happens to stderr, as lines of JSON.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the counters as JSON.")]
Seed = Annotated[int, typer.Option(help="Another seed loses other packets.", min=0)]


def delay_of(
    safety: float, fixed_ms: float | None, headroom_ms: float | None, max_ms: float
) -> "DelayConfig":
    """Return the delay that the options ask for."""
    from plc.errors import ConfigError
    from plc.rtp.delay import DelayConfig, DelayMode

    if fixed_ms is not None and headroom_ms is not None:
        raise typer.BadParameter("one of --fixed-delay-ms and --headroom-ms, not both")
    asked: dict[str, Any] = {"safety": safety, "max_delay_ms": max_ms}
    option = "--headroom-ms"
    if fixed_ms is not None:
        option = "--fixed-delay-ms"
        asked |= {"mode": DelayMode.FIXED, "delay_ms": fixed_ms}
    elif headroom_ms is not None:
        asked |= {"mode": DelayMode.HEADROOM, "delay_ms": headroom_ms}
    try:
        return DelayConfig(**asked)
    except ConfigError as error:
        text = re.sub(r"\bdelay_ms\b", option, str(error))
        text = re.sub(r"\bmax_delay_ms\b", "--max-delay-ms", text)
        raise ConfigError(text) from None


def end_unheard(reports: list[dict[str, Any]]) -> None:
    """Say to which ports nothing came that can be played; end with status 1 if that is all."""
    unheard = [each for each in reports if not each["jitter_buffer"]["packets_received"]]
    for report in unheard:
        counted = report.get("relay") or report["live"]
        why = left_out(report, counted["refused_datagrams"]).removeprefix("; ")
        why = why or "no datagram at all"
        typer.echo(f"plc: {report['listen']} heard no stream: {why}", err=True)
    if len(unheard) == len(reports):
        raise typer.Exit(1)
