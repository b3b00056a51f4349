"""Options that several commands share."""

import dataclasses
import functools
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from plc.cli.output import left_out, say

if TYPE_CHECKING:
    from plc.apps.relay_stream import RelayConfig
    from plc.repair.detect.selection import Selection
    from plc.rtp.config import ReceiverConfig
    from plc.rtp.delay import DelayConfig
    from plc.rtp.srtp import SrtpKey
    from plc.rtp.udp import Endpoint


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
        raise typer.BadParameter(f"{text} is not a safety; give {', '.join(SAFETIES)}, or 0 to 1")
    return number


# RFC 2474, 2597, 3246: what AES67 and others mark media with.
_DSCP_NAMES = {"cs0": 0, "ef": 46} | {
    f"af{k}{d}": 8 * k + 2 * d for k in range(1, 5) for d in (1, 2, 3)
}


def dscp_of(value: str | int) -> int:
    """Return a DSCP given as a number or a name."""
    text = str(value).strip().lower()
    number = _DSCP_NAMES.get(text)
    if number is None and text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
    if number is None or not 0 <= number <= 63:
        raise typer.BadParameter(f"{text} is not a DSCP; give 0 to 63, ef, or af11 to af43")
    return number


def known_method(method: str) -> str:
    """Return a method's name; raise BadParameter if it is unknown."""
    if method == "auto":
        return method
    from plc.engine.methods import METHODS, RECORDING_METHODS

    if method in RECORDING_METHODS and method not in METHODS:
        raise typer.BadParameter(f"{method} fills gaps of recordings: give it to plc inpaint")
    return _among(METHODS, method)


def known_file_method(method: str) -> str:
    """Return the name of a method for recordings; raise BadParameter if it is unknown."""
    if method == "auto":
        return method
    from plc.engine.methods import RECORDING_METHODS

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
Burst = Annotated[
    float, typer.Option(metavar="PACKETS", help="Mean number of packets lost in a row.", min=1.0)
]
Seed = Annotated[int, typer.Option(help="Another seed loses other packets.", min=0)]
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
Loop = Annotated[bool, typer.Option("--loop", help="Repeat the trace at its end.")]
Trace = Annotated[
    Path | None,
    typer.Option(help="Lost packets: text, 0 or 1 for each packet, 1 = lost; or of ITU-T G.192."),
]
LoopedTrace = Annotated[
    Path | None,
    typer.Option(help="Lost packets, as of plc conceal; it begins again at its end."),
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
View = Annotated[
    bool | None,
    typer.Option("--view/--no-view", help="Show meters.", show_default="on a terminal"),
]
Dscp = Annotated[
    int | None,
    typer.Option(parser=dscp_of, metavar="DSCP", help="Mark sent packets: 0 to 63, ef, af41, ..."),
]
SdpOut = Annotated[
    Path | None, typer.Option(help="Write a description (SDP) of the sent streams here.")
]
Codec = Annotated[
    Literal["l16", "l24", "pcmu", "pcma", "g722", "opus"],
    typer.Option(case_sensitive=False, help="Codec of RTP."),
]


Key = Annotated[
    str | None,
    typer.Option(
        metavar="[SUITE:]BASE64",
        help="SRTP: key and salt of 30 bytes; others see it in ps, --key-file hides it.",
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="SRTP: the key is a file's first line.")
]

Align = Annotated[
    bool,
    typer.Option(
        "--align", help="Let all recordings begin at one moment, with silence in front of some."
    ),
]


def key_of(key: str | None, key_file: Path | None) -> "SrtpKey | None":
    """Return the key that options give; raise ConfigError without one."""
    from plc.rtp.srtp import parse_key, read_key

    if key is not None and key_file is not None:
        raise typer.BadParameter("one of --key and --key-file, not both")
    if key_file is not None:
        return read_key(key_file)
    return None if key is None else parse_key(key)


@dataclass(frozen=True, kw_only=True)
class DelayOptions:
    """Options of how long packets wait."""

    safety: Annotated[
        float,
        typer.Option(
            parser=safety_of,
            metavar="HOW",
            help="Packets that may come too late: quick (1 in 10), normal (1 in 300), safe (1 in "
            "10 000), or 0 to 1 between.",
            show_default="normal",
        ),
    ] = 0.5
    fixed_delay_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", help="This delay, whatever the jitter."),
    ] = None
    headroom_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="Delay on top of the jitter's.")
    ] = None
    max_delay_ms: Annotated[
        float, typer.Option(metavar="MS", help="The delay never exceeds this.")
    ] = 200.0

    def delay_config(self) -> "DelayConfig":
        """Return the settings; raise ConfigError if one is out of range."""
        from plc.errors import ConfigError
        from plc.rtp.delay import DelayConfig, DelayMode

        if self.fixed_delay_ms is not None and self.headroom_ms is not None:
            raise typer.BadParameter("one of --fixed-delay-ms and --headroom-ms, not both")
        mode, delay_ms, option = DelayMode.ADAPTIVE, 0.0, ""
        if self.fixed_delay_ms is not None:
            mode, delay_ms, option = DelayMode.FIXED, self.fixed_delay_ms, "--fixed-delay-ms"
        elif self.headroom_ms is not None:
            mode, delay_ms, option = DelayMode.HEADROOM, self.headroom_ms, "--headroom-ms"
        try:
            return DelayConfig(
                mode=mode, safety=self.safety, delay_ms=delay_ms, max_delay_ms=self.max_delay_ms
            )
        except ConfigError as error:
            text = re.sub(r"\bdelay_ms\b", option, str(error))
            text = re.sub(r"\bmax_delay_ms\b", "--max-delay-ms", text)
            raise ConfigError(text) from None


@dataclass(frozen=True, kw_only=True)
class WireOptions:
    """Options of RTP as it comes."""

    payload_type: Annotated[
        int | None,
        typer.Option(help="Payload type of RTP.", show_default="the codec's", min=0, max=127),
    ] = None
    red_payload_type: Annotated[
        int | None,
        typer.Option(help="Payload type of received redundancy (RFC 2198).", min=0, max=127),
    ] = None
    key: Key = field(default=None, repr=False)
    key_file: KeyFile = None


@dataclass(frozen=True, kw_only=True)
class CaptureOptions(WireOptions):
    """Options of the streams in a network capture, where it does not say so itself."""

    sdp: Annotated[
        Path | None, typer.Option(help="Of a capture: description (SDP) of its streams.")
    ] = None
    codec: Annotated[
        Literal["l16", "l24", "pcmu", "pcma", "g722", "opus"] | None,
        typer.Option(
            case_sensitive=False,
            help="Of a capture: codec, where its packets do not say it.",
            show_default="what its packets say",
        ),
    ] = None
    sample_rate: Annotated[
        int | None, typer.Option(metavar="HZ", help="Of a capture: sample rate.")
    ] = None
    channels: Annotated[int | None, typer.Option(help="Of a capture: channels.", min=1, max=8)] = (
        None
    )

    @property
    def given(self) -> dict[str, Any]:
        """What of the coding is given, by the names of AudioMedia."""
        names = ("codec", "payload_type", "sample_rate", "channels", "red_payload_type")
        return {name: each for name in names if (each := getattr(self, name)) is not None}


@dataclass(frozen=True, kw_only=True)
class ReceiverOptions(WireOptions, DelayOptions):
    """Options of a received stream, for the commands that play one."""

    codec: Codec = "l16"
    sample_rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ",
            help="Sample rate of the stream; devices are converted.",
            show_default="48000; 8000 for pcmu, pcma; 16000 for g722",
        ),
    ] = None
    channels: Annotated[int, typer.Option(help="Channels of the stream.", min=1, max=8)] = 1
    packet_ms: PacketMs = 10.0
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Permitted sender: 192.0.2.7 or 192.0.2.0/24."),
    ] = None
    packets_per_s: Annotated[
        float, typer.Option(help="Packets taken from a sender per second.", min=1.0)
    ] = 2000.0
    lookahead: Lookahead = 0
    method: Method = "auto"
    model: Model = "auto"
    content: Content = "auto"
    budget_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            help="Time limit for a lost packet.",
            show_default="a quarter of the packet",
        ),
    ] = None

    prepare: Annotated[
        str,
        typer.Option(
            metavar="WHEN", help="Prepare concealments before the loss: auto, always or never."
        ),
    ] = "auto"
    detect_dropouts: Annotated[
        bool,
        typer.Option(
            "--detect-dropouts",
            help="Also conceal cut-off, stuck or repeated sound inside received packets.",
        ),
    ] = False

    def config(self, seed: int = 0) -> "ReceiverConfig":
        """Return the settings; raise ConfigError if one is out of range."""
        from plc.engine.config import StreamConfig, samples_of_packet
        from plc.rtp.codecs import usual_rate
        from plc.rtp.config import ReceiverConfig
        from plc.rtp.udp import parse_network

        rate = usual_rate(self.codec) if self.sample_rate is None else self.sample_rate
        return ReceiverConfig(
            stream=StreamConfig(
                sample_rate=rate,
                channels=self.channels,
                packet_samples=samples_of_packet(self.packet_ms, rate),
                lookahead=packets_of(lookahead_of(self.lookahead), self.packet_ms),
                method=self.method,
                model=self.model,
                content=self.content,
                budget_ms=self.budget_ms,
                prepare=self.prepare,
                detect_dropouts=self.detect_dropouts,
                seed=seed,
            ),
            codec=self.codec,
            delay=self.delay_config(),
            payload_type=self.payload_type,
            red_payload_type=self.red_payload_type,
            allow=tuple(parse_network(text) for text in self.allow or []),
            packets_per_s=self.packets_per_s,
            key=key_of(self.key, self.key_file),
        )


@dataclass(frozen=True, kw_only=True)
class RelayedOptions(ReceiverOptions):
    """Options of a stream that is received and sent on."""

    rtcp: Annotated[
        bool, typer.Option("--rtcp", help="Receive and send RTCP reports, on the next ports.")
    ] = False
    dscp: Dscp = None
    end_after_s: Annotated[
        float,
        typer.Option(
            metavar="S",
            help="End a recording after this silence of its stream; at RTCP BYE anyway.",
            show_default="never",
        ),
    ] = math.inf
    align: Align = False
    share_port: Annotated[
        bool,
        typer.Option(
            "--share-port", help="Let other relays listen there, too; each has its own senders."
        ),
    ] = False

    def relayed(self, listen: str, to: str, name: str = "") -> "RelayConfig":
        """Return the stream between two ends; raise ConfigError where something is wrong.

        Parameters
        ----------
        listen : str
            ``udp://HOST:PORT``, or two of them with a comma between: two paths (ST 2022-7).
        to : str
            ``udp://HOST:PORT``, or the name of a file.
        name : str
            What it is called; empty: where it listens.
        """
        from plc.apps.relay_stream import RelayConfig

        first, second = paths_of(listen)
        return RelayConfig(
            listen=first,
            to=_target(to),
            receiver=self.config(),
            second=second,
            rtcp=self.rtcp,
            dscp=self.dscp,
            end_after_s=self.end_after_s,
            align=self.align,
            share_port=self.share_port,
            name=name,
        )


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
    doubtful: Annotated[
        bool, typer.Option("--doubtful", help="Take doubtful places for damage, too.")
    ] = False

    def selection(self) -> "Selection":
        """Return the selection; raise ConfigError if it is impossible."""
        from plc.repair.detect.selection import Selection

        kinds = (self.kinds or "").split(",") if self.kinds is not None else []
        return Selection(
            kinds=tuple(kind.strip() for kind in kinds),
            min_confidence=self.min_confidence,
            longest_ms=self.longest_ms,
            doubtful=self.doubtful,
        )

    @property
    def given(self) -> bool:
        """True if any chooses among findings; doubtful ones may be in labels, too."""
        return replace(self, doubtful=False) != SelectionOptions()


def paths_of(text: str) -> "tuple[Endpoint, Endpoint | None]":
    """Return the ends of a stream: of its path, and of its second."""
    from plc.errors import ConfigError
    from plc.rtp.udp import parse_endpoint

    ends = [parse_endpoint(each) for each in text.split(",")]
    if len(ends) > 2:
        raise ConfigError(f"{text} has {len(ends)} paths; a stream has one or two")
    return ends[0], ends[1] if len(ends) > 1 else None


def _target(text: str) -> "Endpoint | Path":
    from plc.audio.files import WRITABLE_SUFFIXES
    from plc.rtp.udp import parse_endpoint

    if Path(text).suffix.lower() in WRITABLE_SUFFIXES:
        return Path(text)
    files = ", ".join(WRITABLE_SUFFIXES)
    return parse_endpoint(text, f"udp://HOST:PORT, or a file that ends in one of {files}")


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


def heard_nothing(reports: list[dict[str, Any]]) -> bool:
    """Say which streams nothing came of that can be played; return whether that is all of them."""
    unheard = [each for each in reports if not each["jitter_buffer"]["packets_received"]]
    for report in unheard:
        counted = report.get("relay") or report["live"]
        why = left_out(report, counted["refused_datagrams"]).removeprefix("; ")
        why = why or "no datagram at all"
        say(f"plc: {report['name']} heard no stream: {why}", err=True)
    return len(unheard) == len(reports)
