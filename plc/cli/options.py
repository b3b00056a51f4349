"""Options that several commands share."""

import dataclasses
import functools
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

HELP = {"help_option_names": ["-h", "--help"]}
"""Settings of every command; those of a group pass them on."""


def examples(*lines: str) -> str:
    """Return the examples of a help page, one a line."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in lines)])


def share(value: str | float) -> float:
    """Return a share given as ``10%`` or ``0.1``."""
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise typer.BadParameter(f"{text} is not a share; give 0% to 100%, or 0 to 1, such as 10%")
    return share


def known_method(method: str) -> str:
    """Return a method's name; raise BadParameter if it is unknown."""
    if method == "auto":
        return method
    from plc.engine.stream.methods import METHODS, RECORDING_METHODS

    if method in RECORDING_METHODS and method not in METHODS:
        raise typer.BadParameter(f"{method} fills gaps of recordings: give it to plc inpaint")
    return _among(METHODS, method)


def known_file_method(method: str) -> str:
    """Return the name of a method for recordings; raise BadParameter if it is unknown."""
    if method == "auto":
        return method
    from plc.engine.stream.methods import RECORDING_METHODS

    return _among(RECORDING_METHODS, method)


def _among(methods: Iterable[str], method: str) -> str:
    if method.partition(":")[0] not in methods:
        from plc.errors import most_like

        known = [*methods, "burg:ORDER_MS/PAST_MS"]
        more = most_like(method, known)
        raise typer.BadParameter(f"unknown method {method!r}; known: {', '.join(known)}{more}")
    return method


def packet_length(value: str | float) -> float | str:
    """Return a packet's length in ms; one in samples stays text."""
    text = str(value).strip().lower()
    if text.endswith("smp"):
        return text
    try:
        return float(text.removesuffix("ms"))
    except ValueError:
        raise typer.BadParameter(f"{text} is not a length; give ms, or samples: 352smp") from None


def lookahead_of(value: str | int) -> int | str:
    """Return a lookahead in packets; one in ms stays text."""
    text = str(value).strip().lower()
    if re.fullmatch(r"\d{1,6}(\.\d{1,6})?ms|\d{1,6}", text, re.ASCII) is None:
        raise typer.BadParameter(f"{text} is not a lookahead; give packets, or ms: 200ms")
    return text if text.endswith("ms") else int(text)


def packets_of(lookahead: int | str, packet_ms: float | str) -> int:
    """Return the packets of a lookahead, rounded up."""
    if isinstance(lookahead, int):
        return lookahead
    if isinstance(packet_ms, str):
        raise typer.BadParameter(
            "where packets are given in samples, give it in packets", param_hint="--lookahead"
        )
    packets = float(lookahead.removesuffix("ms")) / packet_ms if packet_ms > 0.0 else 0.0
    return math.ceil(round(packets, 6)) if math.isfinite(packets) else sys.maxsize


# ---- how to conceal, and what to lose -----------------------------------------------------------

PacketMs = Annotated[
    Any,
    typer.Option(
        parser=packet_length, metavar="MS", help="Length of a packet: 10, or samples: 352smp."
    ),
]
Priority = Annotated[
    Literal["auto", "realtime", "normal"],
    typer.Option(help="Priority of audio threads: above others if allowed, required, or ordinary."),
]
Lookahead = Annotated[
    Any,
    typer.Option(
        parser=lookahead_of, metavar="PACKETS", help="Packets to wait for before playing, or 200ms."
    ),
]
Method = Annotated[
    str, typer.Option(callback=known_method, help="Method: auto, or one of plc doctor --methods.")
]
FileMethod = Annotated[
    str,
    typer.Option(callback=known_file_method, help="Method: auto, or one of plc doctor --methods."),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="Network: auto chooses by content, ar means none, others: see plc models.",
    ),
]
Content = Annotated[
    Literal["auto", "music", "speech"],
    typer.Option(help="What plays, if you know it; auto hears it from the sound."),
]
Loss = Annotated[
    float, typer.Option(parser=share, metavar="SHARE", help="Share of packets lost: 10% or 0.1.")
]
Seed = Annotated[int, typer.Option(help="Another seed loses other packets.", min=0)]
Loop = Annotated[bool, typer.Option("--loop", help="Repeat the trace at its end.")]
Trace = Annotated[
    Path | None,
    typer.Option(help="Lost packets: text, 0 or 1 for each packet, 1 = lost; or of ITU-T G.192."),
]
LoopedTrace = Annotated[
    Path | None, typer.Option(help="Lost packets, as of plc conceal; it begins again at its end.")
]

# ---- programs that run --------------------------------------------------------------------------

Duration = Annotated[
    float, typer.Option("--seconds", metavar="S", help="End after this time.", min=0.0)
]
Metrics = Annotated[
    str | None, typer.Option(metavar="[HOST]:PORT", help="Serve Prometheus metrics here.")
]
LogJson = Annotated[
    bool, typer.Option("--log-json", help="Write events to stderr, as lines of JSON.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with groups of options as dataclass parameters."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        group = parameter.annotation
        if not dataclasses.is_dataclass(group):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        assert isinstance(group, type)
        groups[name] = group
        hints = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in dataclasses.fields(group)
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in dataclasses.fields(group)})
        command(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect's
    return run
