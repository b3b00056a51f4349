"""Options of streams that live: delays, codecs, keys, addresses."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plc.cli.options import (
    AsJson,
    Content,
    Duration,
    LogJson,
    Lookahead,
    Method,
    Metrics,
    Model,
    PacketMs,
    Priority,
    lookahead_of,
    packets_of,
    share,
)
from plc.cli.output import left_out, say

if TYPE_CHECKING:
    from plc.transport.relay.relayed import RelayConfig
    from plc.transport.rtp.config import ReceiverConfig
    from plc.transport.rtp.delay import DelayConfig
    from plc.transport.rtp.impair import ImpairConfig
    from plc.transport.rtp.srtp import SrtpKey
    from plc.transport.rtp.udp import Endpoint
    from plc.transport.service.recorder import RecordingFile

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


_DEVICE = "device:"
# The coding where nobody said one: codec, sample rate, channels, payload type.
_UNSAID = ("l16", None, 1, None)
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

KeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="SRTP: a file's first line is key and salt, [SUITE:]BASE64."),
]

Align = Annotated[
    bool,
    typer.Option(
        "--align", help="Let all recordings begin at one moment, with silence in front of some."
    ),
]


# What an impairment calls the settings of ImpairConfig, and how each is read.
_SHARES = {"loss": "loss", "reorder": "reorder", "duplicate": "duplicate"}
_NUMBERS = {
    "burst": "mean_burst",
    "delay": "delay_ms",
    "jitter": "jitter_ms",
    "reorder_by": "reorder_ms",
    "rate": "rate_kbit_s",
    "queue": "queue_ms",
}
IMPAIR_HELP = (
    "Simulated network, such as loss=10%,jitter=30. Shares: loss, reorder, duplicate; "
    "packets: burst; ms: delay, jitter, reorder_by, queue; kbit/s: rate; and in_order."
)


def impairment_of(text: str) -> "ImpairConfig":
    """Return the impairment of ``loss=10%,burst=2,jitter=30``; raise BadParameter."""
    from plc.errors import ConfigError
    from plc.transport.rtp.impair import ImpairConfig

    settings: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name == "in_order" and not equals:
            settings["in_order"] = True
        elif name in _SHARES and value:
            settings[_SHARES[name]] = share(value)
        elif name in _NUMBERS and value:
            settings[_NUMBERS[name]] = _number(name, value)
        else:
            known = ", ".join([*_SHARES, *_NUMBERS])
            raise typer.BadParameter(
                f"{part.strip()!r} is not an impairment; give name=value of {known}, or in_order"
            )
    try:
        return ImpairConfig(**settings)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{name} is {text!r}; give a number") from None


def key_of(key_file: Path | None) -> "SrtpKey | None":
    """Return the key of a file; raise ConfigError if it holds none."""
    from plc.transport.rtp.srtp import read_key

    return None if key_file is None else read_key(key_file)


@dataclass(frozen=True, kw_only=True)
class RunningOptions:
    """Options of a program that serves streams until it is ended."""

    duration_s: Duration = math.inf
    priority: Priority = "auto"
    metrics: Metrics = None
    log_json: LogJson = False
    as_json: AsJson = False


@dataclass(frozen=True, kw_only=True)
class DelayOptions:
    """Options of how long packets wait."""

    safety: Annotated[
        float | None,
        typer.Option(
            parser=safety_of,
            metavar="HOW",
            help="Packets that may come too late: quick (1 in 10), normal (1 in 300), safe (1 in "
            "10 000), or 0 to 1 between.",
            show_default="normal",
        ),
    ] = None
    fixed_delay_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="This delay, whatever the jitter.")
    ] = None
    headroom_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="Delay on top of the jitter's.")
    ] = None
    max_delay_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", help="The delay never exceeds this.", show_default="200"),
    ] = None

    @property
    def delay_is_given(self) -> bool:
        """Whether any of them is given: then a capture is played as a receiver would."""
        given = self.safety, self.fixed_delay_ms, self.headroom_ms, self.max_delay_ms
        return any(each is not None for each in given)

    def delay_config(self) -> "DelayConfig":
        """Return the settings; raise ConfigError if one is out of range."""
        from plc.errors import ConfigError
        from plc.transport.rtp.delay import DelayConfig, DelayMode

        if self.fixed_delay_ms is not None and self.headroom_ms is not None:
            raise typer.BadParameter("one of --fixed-delay-ms and --headroom-ms, not both")
        mode, delay_ms, option = DelayMode.ADAPTIVE, 0.0, ""
        if self.fixed_delay_ms is not None:
            mode, delay_ms, option = DelayMode.FIXED, self.fixed_delay_ms, "--fixed-delay-ms"
        elif self.headroom_ms is not None:
            mode, delay_ms, option = DelayMode.HEADROOM, self.headroom_ms, "--headroom-ms"
        try:
            both = {"safety": self.safety, "max_delay_ms": self.max_delay_ms}
            given: dict[str, Any] = {name: each for name, each in both.items() if each is not None}
            return DelayConfig(mode=mode, delay_ms=delay_ms, **given)
        except ConfigError as error:
            text = re.sub(r"\bdelay_ms\b", option, str(error))
            text = re.sub(r"\bmax_delay_ms\b", "--max-delay-ms", text)
            raise ConfigError(text) from None


@dataclass(frozen=True, kw_only=True)
class SealedOptions:
    """The option of RTP that is encrypted."""

    key_file: KeyFile = None


@dataclass(frozen=True, kw_only=True)
class DescribedOptions(SealedOptions):
    """Options of the streams in a network capture, where it does not say so itself."""

    sdp: Annotated[
        Path | None, typer.Option(help="Of a capture: description (SDP) of its streams.")
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """The options of the coding that are given, by the names of AudioMedia."""
        names = ("codec", "payload_type", "sample_rate", "channels", "red_payload_type")
        return {name: each for name in names if (each := getattr(self, name, None)) is not None}


@dataclass(frozen=True, kw_only=True)
class WireOptions(SealedOptions):
    """Options of RTP as it comes."""

    payload_type: Annotated[
        int | None,
        typer.Option(help="Payload type of RTP.", show_default="the codec's", min=0, max=127),
    ] = None
    red_payload_type: Annotated[
        int | None,
        typer.Option(help="Payload type of received redundancy (RFC 2198).", min=0, max=127),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CaptureOptions(DescribedOptions, WireOptions):
    """Options of the streams in a network capture, and of their coding without a description."""

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

    def config(self, seed: int = 0, budget_ms: float | None = None) -> "ReceiverConfig":
        """Return the settings; raise ConfigError if one is out of range."""
        from plc.engine.stream.config import StreamConfig, samples_of_packet
        from plc.transport.rtp.codecs import usual_rate
        from plc.transport.rtp.config import ReceiverConfig
        from plc.transport.rtp.udp import parse_network

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
                budget_ms=budget_ms,
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
            key=key_of(self.key_file),
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
        from plc.transport.relay.relayed import RelayConfig

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
            is_open=(self.codec, self.sample_rate, self.channels, self.payload_type) == _UNSAID,
            name=name,
        )


def paths_of(text: str) -> "tuple[Endpoint, Endpoint | None]":
    """Return the ends of a stream: of its path, and of its second."""
    from plc.errors import ConfigError
    from plc.transport.rtp.udp import parse_endpoint

    ends = [parse_endpoint(each) for each in text.split(",")]
    if len(ends) > 2:
        raise ConfigError(f"{text} has {len(ends)} paths; a stream has one or two")
    return ends[0], ends[1] if len(ends) > 1 else None


def _target(text: str) -> "Endpoint | RecordingFile":
    from plc.errors import ConfigError
    from plc.files.writing import WRITABLE_SUFFIXES
    from plc.transport.rtp.udp import parse_endpoint
    from plc.transport.service.recorder import RecordingFile

    if text.startswith(_DEVICE):
        device = text.removeprefix(_DEVICE)
        raise ConfigError(f"{text}: plc live --from udp://HOST:PORT --out {device} plays a stream")
    if Path(text).suffix.lower() in WRITABLE_SUFFIXES:
        return RecordingFile(Path(text))
    files = ", ".join(WRITABLE_SUFFIXES)
    return parse_endpoint(text, f"udp://HOST:PORT, or a file that ends in one of {files}")


def heard_nothing(reports: list[dict[str, Any]]) -> bool:
    """Report the streams without anything to play, or next to it; return whether all are."""
    unheard = [
        each
        for each in reports
        if each["jitter_buffer"]["packets_received"] <= 2 * each["undecodable_packets"]
    ]
    for report in unheard:
        counted = report.get("relay") or report["live"]
        why = left_out(report, counted["refused_datagrams"]).removeprefix("; ")
        why = why or "no datagram at all"
        say(f"plc: {report['name']} heard no stream: {why}", err=True)
    return len(unheard) == len(reports)
