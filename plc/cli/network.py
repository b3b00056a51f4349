"""The commands that touch the network: ``plc relay``, ``plc send``, ``plc impair``.

As in :mod:`plc.cli.app`: parse, call one function, print its result; everything heavy is
imported inside. ``register`` adds them to the command.
"""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from plc.cli.options import (
    AsJson,
    Burst,
    Codec,
    Duration,
    LogJson,
    LoopedTrace,
    Loss,
    Metrics,
    PacketMs,
    ReceiverOptions,
    SdpOut,
    Seed,
    end_unheard,
    share,
    with_options,
)
from plc.cli.output import Overwrite, left_out, print_json
from plc.cli.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plc.apps.relay import Relay, RelayConfig
    from plc.rtp.sdp import AudioMedia
    from plc.rtp.udp import Endpoint

_DEVICE = "device:"
# Status of a relay of which a recording is not whole.
_UNFINISHED = 1


def relay(
    *,
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="udp://HOST:PORT", help="Where a stream comes in; may be repeated."),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="udp://HOST:PORT|FILE|device:DEV",
            help="Where it goes: one for each --listen, in order; a device takes one stream.",
        ),
    ] = None,
    received: ReceiverOptions,
    sdp: Annotated[
        Path | None, typer.Option(help="Description (SDP) of the received streams.")
    ] = None,
    sdp_out: SdpOut = None,
    workers: Annotated[
        int, typer.Option(help="Processes that share the streams.", min=1, max=256)
    ] = 1,
    duration_s: Duration = math.inf,
    metrics: Metrics = None,
    log_json: LogJson = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Receive lossy RTP; send it on at a steady pace, losses concealed.

    Ctrl-C, SIGTERM or SIGHUP play the received packets, then end it; a second one ends it at once.
    Recordings are kept; an incomplete one makes the status 1.
    """
    from plc.apps.metrics import relay_samples
    from plc.apps.relay import run_relay
    from plc.audio.files import check_new

    if any(target.startswith(_DEVICE) for target in to or []):
        if workers > 1 or sdp is not None or sdp_out is not None:
            raise typer.BadParameter("a device goes without --workers, --sdp and --sdp-out")
        running = {"duration_s": duration_s, "metrics": metrics, "log_json": log_json}
        _relay_to_device(listen or [], to or [], received, running | {"as_json": as_json})
        return
    configs = _streams(listen or [], to or [], sdp, received)
    for written in (sdp_out, *(config.to for config in configs)):
        if isinstance(written, Path):
            check_new(written, overwrite)

    if workers > 1 and (sdp_out is not None or metrics is not None or log_json):
        raise typer.BadParameter("--sdp-out, --metrics and --log-json go with one worker")

    with Watch(metrics, log_json) as watch:

        def announce(opened: "Relay") -> None:
            for port, stream in zip(opened.ports, opened.streams, strict=True):
                name, config = str(port.endpoint), stream.config
                typer.echo(f"plc: {name} -> {config.to} ({config.receiver.codec})", err=True)
                watch.begin(name, stream.playout, partial(relay_samples, name, stream))
            if sdp_out is not None:
                _write_sdp(sdp_out, opened.media())

        reports = run_relay(
            configs,
            workers=workers,
            duration_s=duration_s,
            announce=announce,
            watch=lambda _: watch.look(),
            note=watch.note,
        )
    print_json(reports) if as_json else _print_relay(reports)
    end_unheard(reports)
    if any(report.get("recording", {}).get("unwritten_samples") for report in reports):
        raise typer.Exit(_UNFINISHED)


def send(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Audio file to send.")],
    to: Annotated[str, typer.Option(metavar="udp://HOST:PORT", help="Where to.")],
    codec: Codec = "l16",
    packet_ms: PacketMs = 10.0,
    redundancy: Annotated[
        int,
        typer.Option(
            metavar="PACKETS", help="Earlier packets repeated by each packet.", min=0, max=8
        ),
    ] = 0,
    loop: Annotated[bool, typer.Option("--loop", help="Repeat the file.")] = False,
    clock_ppm: Annotated[
        float, typer.Option(help="Clock error: send faster by this many ppm.", min=-9e5, max=9e5)
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the SSRC and the first numbers.", min=0, show_default="unpredictable"
        ),
    ] = None,
    sdp_out: SdpOut = None,
    duration_s: Duration = math.inf,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Send a recording as RTP, in real time."""
    from plc.audio.files import check_new
    from plc.rtp.send import open_sender
    from plc.rtp.udp import parse_endpoint, serve

    if sdp_out is not None:
        check_new(sdp_out, overwrite)
    target = parse_endpoint(to)
    sender = open_sender(
        source,
        target,
        codec,
        packet_ms=packet_ms,
        redundancy=redundancy,
        loop=loop,
        clock_ppm=clock_ppm,
        seed=seed,
    )
    try:
        if sdp_out is not None:
            _write_sdp(sdp_out, [sender.media(target, packet_ms)])
        serve(sender, duration_s=duration_s)
    finally:
        sender.close()
    report = {"packets": sender.packets, "samples": sender.samples, "to": str(target)}
    print_json(report) if as_json else typer.echo(f"sent {sender.packets} packets to {target}")


def impair(
    listen: Annotated[str, typer.Option(metavar="udp://HOST:PORT", help="Where to listen.")],
    to: Annotated[str, typer.Option(metavar="udp://HOST:PORT", help="Where to send on to.")],
    loss: Loss = 0.0,
    burst: Burst = 1.5,
    trace: LoopedTrace = None,
    delay_ms: Annotated[float, typer.Option(metavar="MS", help="Delay of every packet.")] = 0.0,
    jitter_ms: Annotated[float, typer.Option(metavar="MS", help="Largest additional delay.")] = 0.0,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Let jitter delay packets without reordering them.")
    ] = False,
    reorder: Annotated[
        float,
        typer.Option(
            parser=share, metavar="SHARE", help="Share of packets delayed behind later ones."
        ),
    ] = 0.0,
    reorder_ms: Annotated[float, typer.Option(metavar="MS", help="Delay of these.")] = 30.0,
    duplicate: Annotated[
        float, typer.Option(parser=share, metavar="SHARE", help="Share of packets sent twice.")
    ] = 0.0,
    rate_kbit_s: Annotated[float, typer.Option(help="Rate limit in kbit/s.")] = math.inf,
    queue_ms: Annotated[
        float, typer.Option(metavar="MS", help="Longest queue at the rate limit.")
    ] = 100.0,
    seed: Seed = 0,
    duration_s: Duration = math.inf,
    as_json: AsJson = False,
) -> None:
    """Simulate a bad network: delay, double, reorder or lose datagrams."""
    from plc.audio.loss import TraceLosses, read_trace
    from plc.rtp.impair import ImpairConfig, Impairment, ImpairProxy
    from plc.rtp.udp import parse_endpoint, serve

    config = ImpairConfig(
        loss=loss,
        mean_burst=burst,
        delay_ms=delay_ms,
        jitter_ms=jitter_ms,
        in_order=in_order,
        reorder=reorder,
        reorder_ms=reorder_ms,
        duplicate=duplicate,
        rate_kbit_s=rate_kbit_s,
        queue_ms=queue_ms,
    )
    losses = None if trace is None else TraceLosses(read_trace(trace), loop=True)
    impairment = Impairment(config, seed, losses)
    target = parse_endpoint(to)
    proxy = ImpairProxy(parse_endpoint(listen), target, impairment)
    typer.echo(f"plc: {proxy.ports[0].endpoint} -> {target}", err=True)
    try:
        serve(proxy, duration_s=duration_s)
    finally:
        proxy.close()
    stats = impairment.stats
    if as_json:
        print_json(stats)
        return
    typer.echo(
        f"{stats.received} datagrams in, {stats.sent} out: {stats.lost} lost, {stats.dropped} "
        f"dropped by the rate cap, {stats.duplicated} doubled, {stats.reordered} overtaken"
    )


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (relay, send, impair):
        app.command(rich_help_panel="Live and on the wire")(with_options(command))


def _relay_to_device(
    listen: list[str], to: list[str], received: ReceiverOptions, running: dict[str, Any]
) -> None:
    """Play a stream on a sound card, by the card's clock."""
    from plc.apps.live import LiveConfig
    from plc.cli.live import play
    from plc.rtp.udp import parse_endpoint

    if len(to) != 1 or len(listen) != 1:
        raise typer.BadParameter("a device takes one stream: one --listen and one --to")
    config = LiveConfig(receiver=received.config())
    device = to[0].removeprefix(_DEVICE)
    play(config, parse_endpoint(listen[0]), device, view=False, **running)


def _streams(
    listen: list[str], to: list[str], sdp: Path | None, received: ReceiverOptions
) -> list["RelayConfig"]:
    """Return the streams that the options, or a description, name."""
    from plc.apps.relay import RelayConfig
    from plc.rtp.sdp import read_sdp
    from plc.rtp.udp import parse_endpoint

    if (sdp is None) == (not listen):
        raise typer.BadParameter("say where from: --listen udp://HOST:PORT, or --sdp FILE")
    if sdp is None:
        receiver = received.config()
        sources = [(parse_endpoint(text), receiver) for text in listen]
    else:
        sources = [
            (
                media.endpoint,
                replace(
                    received,
                    codec=cast("Any", media.codec),
                    sample_rate=media.sample_rate,
                    channels=media.channels,
                    packet_ms=media.packet_ms or received.packet_ms,
                    payload_type=media.payload_type,
                    red_payload_type=media.red_payload_type,
                ).config(),
            )
            for media in read_sdp(sdp)
        ]
    if len(to) != len(sources):
        raise typer.BadParameter(f"{len(sources)} streams come in; give as many --to ({len(to)})")
    return [
        RelayConfig(listen=source, to=_target(text), receiver=receiver)
        for (source, receiver), text in zip(sources, to, strict=True)
    ]


def _target(text: str) -> "Endpoint | Path":
    from plc.audio.files import WRITABLE_SUFFIXES
    from plc.rtp.udp import parse_endpoint

    if Path(text).suffix.lower() in WRITABLE_SUFFIXES:
        return Path(text)
    return parse_endpoint(text)


def _write_sdp(path: Path, media: "Sequence[AudioMedia]") -> None:
    from plc.errors import ConfigError
    from plc.rtp.sdp import build_sdp

    if not media:
        raise ConfigError("nothing is sent to a host; a description of it would be empty")
    try:
        path.write_text(build_sdp(media), newline="")
    except OSError as error:
        raise ConfigError(f"cannot write the description {path}: {error.strerror}") from error


def _print_relay(reports: list[dict[str, Any]]) -> None:
    for report in reports:
        relay, jitter = report["relay"], report["jitter_buffer"]
        expected = max(1, jitter["packets_expected"])
        typer.echo(
            f"{report['listen']} -> {report['to']}: {jitter['packets_received']} packets in, "
            f"{jitter['lost_packets']} lost ({100 * jitter['lost_packets'] / expected:.1f} %), "
            f"{jitter['late_packets']} too late, {jitter['redundant_packets']} recovered; "
            f"{relay['packets_sent']} out, {relay['late_packets_sent']} late; "
            f"{report['concealment']['concealment_events']} bursts concealed; delay "
            f"{relay['delay_ms']['p50']:.0f} ms (at most {relay['delay_ms']['max']:.0f})"
            f"{left_out(report, relay['refused_datagrams'])}"
            f"{_unwritten(report.get('recording'))}"
        )


def _unwritten(recording: dict[str, Any] | None) -> str:
    """Return the gaps of a recording in words, if any."""
    if recording is None or not recording["unwritten_samples"]:
        return ""
    why = recording["error"] or "its disk was too slow; silence stands for them"
    return (
        f"; {recording['recorded_s']:.1f} s recorded, {recording['unwritten_samples']} samples not "
        f"written: {why}"
    )
