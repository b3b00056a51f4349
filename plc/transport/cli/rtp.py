"""The commands that touch the network: ``plc relay``, ``plc send``, ``plc impair``.

As in :mod:`plc.programs.cli.app`: parse, call one function, print its result; everything heavy is
imported inside. ``register`` adds them to the command.
"""

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from plc.cli.errors import REFUSED
from plc.cli.options import AsJson, Duration, LoopedTrace, PacketMs, Seed, examples, with_options
from plc.cli.output import Overwrite, left_out, print_json, say
from plc.notice import counted, tell
from plc.transport.cli.options import (
    IMPAIR_HELP,
    Codec,
    Dscp,
    KeyFile,
    ReceiverOptions,
    RelayedOptions,
    RunningOptions,
    SdpOut,
    heard_nothing,
    impairment_of,
    key_of,
    paths_of,
)
from plc.transport.cli.relay_session import RelaySession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from plc.transport.cli.streams import RelayFile
    from plc.transport.relay.relay import Relay
    from plc.transport.relay.relayed import RelayConfig
    from plc.transport.rtp.sdp import AudioMedia

# What Opus with --fec prepares for, as a share of packets: the more, the larger the repeats.
_EXPECTED_LOSS = 0.2
# Status of a relay of which a recording is not whole.
_UNFINISHED = 1


def relay(
    *,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="udp://HOST:PORT",
            help="Address that receives a stream; two with a comma: two paths. May be repeated.",
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="udp://HOST:PORT|FILE", help="Target of each --listen, in order."),
    ] = None,
    received: RelayedOptions,
    sdp: Annotated[
        Path | None, typer.Option(help="Description (SDP) of the received streams.")
    ] = None,
    sdp_out: SdpOut = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Streams in TOML; SIGHUP reads it again.")
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Socket by which plc streams changes the streams."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that share the streams.", min=1, max=256)
    ] = 1,
    running: RunningOptions,
    overwrite: Overwrite = False,
) -> None:
    """Receive lossy RTP; send it on at a steady pace, losses concealed.

    Ctrl-C, SIGTERM or SIGHUP play the received packets, then end it; a second one ends it at once.
    Recordings are kept; an incomplete one makes the status 1.
    """
    from plc.transport.relay.relay import run_relay
    from plc.whole_files import check_new

    source = _source(listen or [], to or [], sdp, config, received, control is not None)
    metrics = running.metrics or source.settings.get("metrics")
    if control is None and "control" in source.settings:
        control = Path(source.settings["control"])
    log_json = running.log_json or source.settings.get("log_json", False)
    alone = (sdp_out, config, control, metrics, log_json)
    if workers > 1 and any(alone):
        raise typer.BadParameter(
            "--sdp-out, --config, --control, --metrics and --log-json go with one worker"
        )
    session = RelaySession(config, control, metrics, log_json=log_json, overwrite=overwrite)
    session.check(source.streams)
    if sdp_out is not None:
        check_new(sdp_out, overwrite)

    def announce(opened: "Relay") -> None:
        session.begin(opened)
        if sdp_out is not None:
            _write_sdp(sdp_out, session.media(opened))

    with closing(session):
        reports = run_relay(
            source.streams,
            workers=workers,
            duration_s=running.duration_s,
            stays=session.changes,
            priority=running.priority,
            announce=announce,
            watch=session.look,
            note=session.note,
            on_hangup=session.hang_up if config is not None else None,
        )
    print_json(reports) if running.as_json else print_relay(reports)
    # A service whose streams nobody sends has done its work.
    if reports and heard_nothing(reports) and not session.changes:
        raise typer.Exit(REFUSED)
    if any(report.get("recording", {}).get("unwritten_samples") for report in reports):
        raise typer.Exit(_UNFINISHED)


def send(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Audio file to send.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="udp://HOST:PORT",
            help="Address to send to; two with a comma: two paths (ST 2022-7).",
        ),
    ],
    codec: Codec = "l16",
    packet_ms: PacketMs = 10.0,
    bitrate: Annotated[
        float | None,
        typer.Option(
            metavar="KBIT/S",
            help="Bit rate of Opus, in kbit/s.",
            min=6.0,
            max=510.0,
            show_default="64 a channel; 24 with --fec",
        ),
    ] = None,
    fec: Annotated[
        bool,
        typer.Option("--fec", help="Repeat packets in those after them, inside Opus (of speech)."),
    ] = False,
    redundancy: Annotated[
        int,
        typer.Option(
            metavar="PACKETS", help="Earlier packets repeated by each packet.", min=0, max=8
        ),
    ] = 0,
    loop: Annotated[bool, typer.Option("--loop", help="Repeat the file.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the SSRC and the first numbers.", min=0, show_default="unpredictable"
        ),
    ] = None,
    dscp: Dscp = None,
    key_file: KeyFile = None,
    sdp_out: SdpOut = None,
    duration_s: Duration = math.inf,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Send a recording as RTP, in real time."""
    from plc.transport.rtp.send import open_sender
    from plc.transport.rtp.udp import serve
    from plc.whole_files import check_new

    if sdp_out is not None:
        check_new(sdp_out, overwrite)
    target, second = paths_of(to)
    sender = open_sender(
        source,
        target,
        codec,
        packet_ms=packet_ms,
        bit_rate=0 if bitrate is None else round(1000.0 * bitrate),
        expected_loss=_EXPECTED_LOSS if fec else 0.0,
        redundancy=redundancy,
        loop=loop,
        seed=seed,
        second=second,
        dscp=dscp,
        key=key_of(key_file),
    )
    try:
        if sdp_out is not None:
            _write_sdp(sdp_out, [sender.media(target, packet_ms)])
        serve(sender, duration_s=duration_s)
    finally:
        sender.close()
    report = {"packets": sender.packets, "samples": sender.samples, "to": to}
    print_json(report) if as_json else say(f"sent {sender.packets} packets to {to}")


def impair(
    listen: Annotated[str, typer.Option(metavar="udp://HOST:PORT", help="Address to listen at.")],
    to: Annotated[str, typer.Option(metavar="udp://HOST:PORT", help="Address to send to.")],
    how: Annotated[str, typer.Argument(metavar="HOW", help=IMPAIR_HELP)] = "",
    trace: LoopedTrace = None,
    seed: Seed = 0,
    duration_s: Duration = math.inf,
    as_json: AsJson = False,
) -> None:
    """Simulate a bad network: delay, double, reorder or lose datagrams."""
    from plc.engine.loss import TraceLosses
    from plc.engine.trace_files import read_trace
    from plc.transport.rtp.impair import ImpairConfig, Impairment, ImpairProxy
    from plc.transport.rtp.udp import parse_endpoint, serve

    config = impairment_of(how) if how else ImpairConfig()
    losses = None if trace is None else TraceLosses(read_trace(trace), loop=True)
    impairment = Impairment(config, seed, losses)
    target = parse_endpoint(to)
    proxy = ImpairProxy(parse_endpoint(listen), target, impairment)
    say(f"plc: {proxy.ports[0].endpoint} -> {target}", err=True)
    try:
        serve(proxy, duration_s=duration_s)
    finally:
        proxy.close()
    stats = impairment.stats
    if as_json:
        print_json(stats)
        return
    say(
        f"{stats.received} datagrams in, {stats.sent} out: {stats.lost} lost, {stats.dropped} "
        f"dropped by the rate cap, {stats.duplicated} doubled, {stats.reordered} overtaken"
    )


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    shown: dict[Callable[..., None], tuple[str, ...]] = {
        relay: (
            "plc relay --listen udp://0.0.0.0:5004 --to udp://192.0.2.9:5006",
            "plc relay --listen udp://0.0.0.0:5004 --to heard.wav --end-after-s 5",
            "plc relay --config relay.toml --control /run/plc/relay.sock --metrics :9464",
        ),
        send: ("plc send clean.wav --to udp://192.0.2.9:5004 --codec opus --packet-ms 20 --fec",),
        impair: ("plc impair --listen udp://127.0.0.1:5004 --to udp://127.0.0.1:5005 loss=10%",),
    }
    for command, lines in shown.items():
        app.command(rich_help_panel="Live and on the wire", epilog=examples(*lines))(
            with_options(command)
        )


R = TypeVar("R", bound=ReceiverOptions)


def _source(
    listen: list[str],
    to: list[str],
    sdp: Path | None,
    config: Path | None,
    received: RelayedOptions,
    may_be_none: bool,
) -> "RelayFile":
    from plc.transport.cli.streams import RelayFile, read_relay_file
    from plc.transport.rtp.sdp import read_sdp

    if config is not None:
        if listen or to or sdp is not None:
            raise typer.BadParameter("--config goes without --listen, --to and --sdp")
        return read_relay_file(config)
    if may_be_none and not listen and not to and sdp is None:
        return RelayFile([], {})
    if (sdp is None) == (not listen):
        raise typer.BadParameter(
            "say where from: --listen udp://HOST:PORT, --sdp FILE or --config FILE"
        )
    described = [] if sdp is None else read_sdp(sdp)
    _tell_not_played(described)
    sources = described or listen
    if len(to) != len(sources):
        raise typer.BadParameter(
            f"{counted(len(sources), 'stream')} to receive, {len(to)} --to; give one for each"
        )
    if described:
        streams = [_described(received, *each) for each in zip(described, to, strict=True)]
    else:
        streams = [received.relayed(*each) for each in zip(listen, to, strict=True)]
    return RelayFile(streams, {})


def _tell_not_played(described: "Sequence[AudioMedia]") -> None:
    for media in described:
        if media.not_played:
            tell(
                f"{media.endpoint} is described with several codecs, of which {media.codec} "
                f"({media.payload_type}) is played, and not {', '.join(media.not_played)}, which "
                "has other samples: let the sender agree to the first, or list another first"
            )


def _described(received: RelayedOptions, media: "AudioMedia", target: str) -> "RelayConfig":
    from plc.errors import ConfigError

    paths = ",".join(str(end) for end in (media.endpoint, media.second) if end is not None)
    stream = as_described(received, media).relayed(paths, target)
    key = stream.receiver.key or media.key
    if media.is_secure and key is None:
        raise ConfigError(
            f"the description says that {media.endpoint} is SRTP, without a key that is understood "
            "(a=crypto with AES_CM_128_HMAC_SHA1_80 or _32, one key without MKI): give --key-file"
        )
    receiver = replace(stream.receiver, more_payload_types=media.beside, key=key)
    return replace(stream, receiver=receiver)


def as_described(received: R, media: "AudioMedia") -> R:
    """Return the options of a stream with the coding of its description."""
    return replace(
        received,
        codec=cast("Any", media.codec),
        sample_rate=media.sample_rate,
        channels=media.channels,
        packet_ms=media.packet_ms or received.packet_ms,
        payload_type=media.payload_type,
        red_payload_type=media.red_payload_type,
        content=cast("Any", media.content) if received.content == "auto" else received.content,
    )


def _write_sdp(path: Path, media: "Sequence[AudioMedia]") -> None:
    from plc.errors import ConfigError
    from plc.transport.rtp.sdp import build_sdp

    if not media:
        raise ConfigError("nothing is sent to a host; a description of it would be empty")
    try:
        path.write_text(build_sdp(media), newline="")
    except OSError as error:
        raise ConfigError(f"cannot write the description {path}: {error.strerror}") from error


def print_relay(reports: list[dict[str, Any]]) -> None:
    """Print the counters of each stream in a line."""
    for report in reports:
        relay, jitter, played = report["relay"], report["jitter_buffer"], report["played_s"]
        expected = max(1, jitter["packets_expected"])
        say(
            f"{report['name']} -> {report['to']}: {jitter['packets_received']} packets in, "
            f"{jitter['lost_packets']} lost ({100 * jitter['lost_packets'] / expected:.1f} %), "
            f"{jitter['late_packets']} too late, {jitter['redundant_packets']} recovered; "
            f"{relay['packets_sent']} out ({played['received']:.2f} s received, "
            f"{played['concealed']:.2f} s concealed, {played['after_end']:.2f} s after the last "
            f"packet in), {relay['late_packets_sent']} late; "
            f"{counted(report['concealment']['concealment_events'], 'burst')} concealed; delay "
            f"{relay['delay_ms']['p50']:.0f} ms (at most {relay['delay_ms']['max']:.0f})"
            f"{left_out(report, relay['refused_datagrams'])}"
            f"{_unwritten(report.get('recording'))}"
            f"{'; its process died and was replaced' if report.get('restarts') else ''}"
        )


def _unwritten(recording: dict[str, Any] | None) -> str:
    if recording is None or not recording.get("unwritten_samples"):
        return ""
    why = recording["error"] or "its disk was too slow; silence stands for them"
    return (
        f"; {recording['recorded_s']:.1f} s recorded, {recording['unwritten_samples']} samples not "
        f"written: {why}"
    )
