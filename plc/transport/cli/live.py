"""The commands that touch sound cards: ``plc live`` and ``plc devices``.

As in :mod:`plc.programs.cli.app`: parse, call one function, print its result; everything heavy is
imported inside. ``register`` adds them to the command.
"""

import contextlib
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plc.cli.errors import REFUSED
from plc.cli.options import AsJson, LoopedTrace, Seed, examples, with_options
from plc.cli.output import console, left_out, print_json, say
from plc.errors import printable
from plc.notice import counted
from plc.quiet import quiet_libraries
from plc.transport.cli.options import (
    IMPAIR_HELP,
    Dscp,
    ReceiverOptions,
    RunningOptions,
    heard_nothing,
    impairment_of,
)
from plc.transport.cli.watch import Watch

if TYPE_CHECKING:
    from plc.engine.loss import LossSource
    from plc.transport.cards.devices import Device
    from plc.transport.cards.portaudio import SoundServer
    from plc.transport.live.live import Live, LiveConfig
    from plc.transport.live.sending import SendConfig
    from plc.transport.rtp.config import ReceiverConfig
    from plc.transport.rtp.udp import Endpoint, Network, UdpPort

_BACKENDS = ("sounddevice", "pyaudio")
# run_live calls its watch this often.
_LOOKS_PER_S = 10
# Switches concealment off and on.
_SWITCH_KEY = "c"


def devices(
    backend: Annotated[
        Literal["sounddevice", "pyaudio", "all"], typer.Option(help="Library to ask.")
    ] = "all",
    as_json: AsJson = False,
) -> None:
    """List the sound cards by library, and the sound server's devices.

    With PulseAudio or PipeWire, PULSE_SOURCE=NAME and PULSE_SINK=NAME before plc live choose a
    source and a sink for the device pulse, or default.
    """
    from plc.errors import DeviceError, MissingExtraError
    from plc.transport.cards.portaudio import ask_sound_server, open_backend

    names = _BACKENDS if backend == "all" else (backend,)
    found: list[Device] = []
    absent: dict[str, str] = {}
    for name in names:
        try:
            with quiet_libraries():
                found += open_backend(name).devices()
        except (MissingExtraError, DeviceError) as error:
            absent[name] = str(error)
    server = ask_sound_server()
    if as_json:
        print_json({"devices": found, "absent": absent, "sound_server": server})
    else:
        _print_devices(found, absent)
        if server is not None:
            _print_server(server)
    if len(absent) == len(names):
        raise typer.Exit(REFUSED)


def _print_devices(found: list["Device"], absent: dict[str, str]) -> None:
    from rich.table import Table

    if found:
        table = Table(box=None)
        for heading in ("back end", "number", "name", "through", "in", "out", "Hz", "default"):
            table.add_column(heading, justify="right" if heading in ("number", "Hz") else "left")
        for each in found:
            ways = [("in", each.is_default_input), ("out", each.is_default_output)]
            table.add_row(
                each.backend,
                str(each.index),
                printable(each.name),
                printable(each.host_api),
                str(each.inputs),
                str(each.outputs),
                str(each.sample_rate),
                ", ".join(way for way, is_default in ways if is_default),
            )
        console().print(table)
    elif len(absent) < len(_BACKENDS):
        say("no sound card: plug one in, start the sound server, or name recordings: --in FILE")
    for name, why in absent.items():
        say(f"plc: {name} is not available: {why}", err=True)


def _print_server(server: "SoundServer") -> None:
    for variable, way, names in (
        ("PULSE_SOURCE", "inputs", server.sources),
        ("PULSE_SINK", "outputs", server.sinks),
    ):
        say(f"{way} of the sound server, by {variable}=NAME before plc live:")
        for name in names:
            say(f"  {printable(name)}")


# What --preset stands for, unless an option says otherwise.
_PRESETS: dict[str, dict[str, Any]] = {
    # 64 samples of 48 kHz.
    "stage": {
        "packet_ms": 64.0 / 48.0,
        "codec": "l16",
        "safety": "quick",
        "max_delay_ms": 40.0,
        "reserve_ms": 3.0,
        "content": "music",
    },
    "conference": {
        "packet_ms": 20.0,
        "codec": "opus",
        "safety": "normal",
        "max_delay_ms": 200.0,
        "reserve_ms": 20.0,
        "content": "speech",
    },
}
# Even, as RTP's ports are.
_PEER_PORT = 5004
_PAIR = 2
_PORT_MAX = 65_535


def _take_preset(context: typer.Context, name: str | None) -> str | None:
    """Make a preset's values the defaults of the other options."""
    if name is not None:
        context.default_map = dict(context.default_map or {}) | _PRESETS[name]
    return name


def _take_peer(context: typer.Context, peer: str | None) -> str | None:
    """Take the sound of a peer for music, unless a preset says otherwise."""
    if peer is not None:
        context.default_map = {"content": "music"} | dict(context.default_map or {})
    return peer


def _take_file(context: typer.Context, source: str) -> str:
    """Make a recording's rate and channels the stream's by default; a peer has its own."""
    from plc.transport.live import ends

    if context.params.get("peer") is None:
        context.default_map = ends.format_of(source) | dict(context.default_map or {})
    return source


def live(
    *,
    source: Annotated[
        str,
        typer.Option(
            "--in",
            metavar="DEV|FILE",
            callback=_take_file,
            help="Input: a device's number or name (see plc devices); a recording, in real time.",
        ),
    ] = "default",
    output: Annotated[
        str,
        typer.Option(
            "--out", metavar="DEV|FILE", help="Output: a device's number or name; a recording."
        ),
    ] = "default",
    to: Annotated[
        str | None, typer.Option(metavar="udp://HOST:PORT", help="Send the input there, as RTP.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="udp://HOST:PORT", help="Play the RTP that comes in here."),
    ] = None,
    peer: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]",
            is_eager=True,
            callback=_take_peer,
            help="Both at once, with that host; port 5004. Music, unless --content says otherwise. "
            "jacktrip://HOST: with JackTrip there, whose buffer is --packet-ms, such as 128smp.",
        ),
    ] = None,
    preset: Annotated[
        Literal["stage", "conference"] | None,
        typer.Option(
            is_eager=True,
            callback=_take_preset,
            help="Defaults: stage: 64-sample packets, L16, music; conference: 20 ms, Opus, speech.",
        ),
    ] = None,
    impair: Annotated[str | None, typer.Option(metavar="HOW", help=IMPAIR_HELP)] = None,
    trace: LoopedTrace = None,
    seed: Seed = 0,
    received: ReceiverOptions,
    dscp: Dscp = None,
    backend: Annotated[
        Literal["sounddevice", "pyaudio"], typer.Option(help="Library of the sound card.")
    ] = "sounddevice",
    reserve_ms: Annotated[
        float, typer.Option(metavar="MS", help="Audio kept ready for the output, at first.")
    ] = 20.0,
    give_up_s: Annotated[
        float,
        typer.Option(metavar="S", help="End when a device has been absent for this time.", min=0.0),
    ] = math.inf,
    running: RunningOptions,
) -> None:
    """Play an input on an output: through a simulated bad network, or a real one.

    Without a sound card: recordings, --in a.wav --out b.wav. The stream ends with its recording.
    A device that disappears is opened again. Ctrl-C or SIGTERM play the received packets, then
    end it.
    With meters on a terminal, the key c switches concealment off and on. With PulseAudio or
    PipeWire, PULSE_SOURCE and PULSE_SINK choose among their inputs and outputs (plc devices).
    """
    from plc.engine.loss import TraceLosses
    from plc.engine.trace_files import read_trace
    from plc.transport.live.live import LiveConfig
    from plc.transport.rtp.impair import ImpairConfig

    with contextlib.ExitStack() as held:
        played, send = _ends(source, to, from_, peer, dscp, held, received)
        if isinstance(played, str):
            received = replace(received, codec="l16")
        receiver = received.config(seed)
        if peer is not None and not receiver.allow:
            assert send is not None
            receiver = replace(receiver, allow=_only(send.to.host))
        if played is None:
            assert send is not None
            if any((impair, trace, running.metrics)):
                raise typer.BadParameter(
                    "--impair, --trace and --metrics go with a stream that is played: give "
                    "--from udp://HOST:PORT, too"
                )
            _send(send, receiver, backend, running, give_up_s)
            return
        config = LiveConfig(
            receiver=receiver,
            impair=ImpairConfig() if impair is None else impairment_of(impair),
            reserve_ms=reserve_ms,
        )
        play(
            config,
            played,
            output,
            backend=backend,
            losses=None if trace is None else TraceLosses(read_trace(trace), loop=True),
            send=send,
            running=running,
            give_up_s=give_up_s,
        )


def _ends(
    source: str,
    to: str | None,
    from_: str | None,
    peer: str | None,
    dscp: int | None,
    held: contextlib.ExitStack,
    received: ReceiverOptions,
) -> "tuple[str | Endpoint | UdpPort | None, SendConfig | None]":
    from plc.transport.live.sending import SendConfig
    from plc.transport.rtp.udp import UdpPort, parse_endpoint

    if source.startswith("udp://"):
        raise typer.BadParameter("--in is a device or a recording; give RTP by --from")
    if peer is not None:
        if to is not None or from_ is not None:
            raise typer.BadParameter("--peer stands for --to and --from; give it or them")
        far, near = _both_ends(peer, received)
        if isinstance(near, UdpPort):
            held.callback(near.close)
        return near, SendConfig(device=source, to=far, dscp=dscp)
    if to is None:
        if dscp is not None:
            raise typer.BadParameter("--dscp goes with --to or --peer: it marks sent packets")
        return (source if from_ is None else parse_endpoint(from_)), None
    send = SendConfig(device=source, to=parse_endpoint(to), dscp=dscp)
    return (None if from_ is None else parse_endpoint(from_)), send


def _only(host: str) -> "tuple[Network, ...]":
    """Return who may be heard of a peer's call: its host; of a group, anybody."""
    from plc.transport.rtp import udp

    return () if udp.is_multicast(host) else udp.addresses_of(host)


def _both_ends(peer: str, received: ReceiverOptions) -> "tuple[Endpoint, Endpoint | UdpPort]":
    """Return the ends of both directions with a peer; of one on this machine the open port."""
    from plc.errors import NetworkError
    from plc.transport.live import jacktrip
    from plc.transport.rtp.udp import Endpoint, UdpPort, is_of_this_machine, parse_endpoint

    name = peer.removeprefix(jacktrip.SCHEME)
    with_jacktrip = name != peer

    def opened(endpoint: Endpoint) -> UdpPort:
        if not with_jacktrip:
            return UdpPort(endpoint)
        receiver = received.config(0)
        if receiver.codec != "l16" or receiver.key is not None:
            raise typer.BadParameter("jacktrip:// has samples of 16 bits: --codec l16, and no key")
        return jacktrip.JackTripPort(endpoint, receiver.stream)

    bare = name.count(":") > 1 and not name.startswith("[")
    host = f"[{name}]" if bare else name
    has_port = ":" in host.rpartition("]")[2]
    usual = jacktrip.PORT if with_jacktrip else _PEER_PORT
    far = parse_endpoint(host if has_port else f"{host}:{usual}", "HOST or HOST:PORT")
    here = "::" if ":" in far.host else "0.0.0.0"
    if not is_of_this_machine(far.host):
        near_end = Endpoint(here, far.port)
        return far, opened(near_end) if with_jacktrip else near_end
    # Two on one machine: who comes first has the port, from now on, the other one the next pair's.
    near, other = far.port, far.port + (_PAIR if far.port + _PAIR <= _PORT_MAX else -_PAIR)
    try:
        port = opened(Endpoint(here, near))
    except NetworkError:
        near, other = other, near
        port = opened(Endpoint(here, near))
    say(f"plc: {far.host} is this machine: heard at port {near}, sent to {other}", err=True)
    return Endpoint(far.host, other), port


def _send(
    send: "SendConfig",
    receiver: "ReceiverConfig",
    backend: str,
    running: RunningOptions,
    give_up_s: float,
) -> None:
    from plc.transport.live import ends, sending

    with quiet_libraries(), contextlib.closing(Watch(None, running.log_json)) as watch:
        if not running.log_json:
            say(f"plc: {send.device} -> {send.to} ({receiver.codec})", err=True)
        files = ends.FileBackend(backend, send.device)
        report = sending.run_send(
            send,
            receiver,
            files,
            duration_s=min(running.duration_s, files.length_s),
            give_up_s=give_up_s,
            priority=running.priority,
            note=watch.note,
        )
    if running.as_json:
        print_json(report)
        return
    say(f"{report['sent']['packets_sent']} packets sent to {send.to}")
    _print_device("input", report["devices"]["input"])


def play(
    config: "LiveConfig",
    source: "str | Endpoint | UdpPort",
    output: str,
    *,
    backend: str,
    losses: "LossSource | None",
    send: "SendConfig | None",
    running: RunningOptions,
    give_up_s: float,
) -> None:
    """Run a live stream with its view, metrics and log; print its counters."""
    from plc.transport.live import ends, meters
    from plc.transport.live.live import run_live
    from plc.transport.metrics import live_samples

    name = str(source)
    device = send.device if send is not None else source if isinstance(source, str) else ""
    shown = sys.stderr.isatty() and not running.log_json
    looks = 0
    with quiet_libraries(), contextlib.ExitStack() as opened:
        show = opened.enter_context(meters.open_view(sys.stderr)) if shown else None
        pressed = opened.enter_context(meters.open_keys()) if shown else None
        watch = opened.enter_context(contextlib.closing(Watch(running.metrics, running.log_json)))

        def look(live: "Live") -> None:
            nonlocal looks
            if looks == 0:
                watch.begin(name, live.engine.playout, lambda: live_samples(name, live))
                watch.serve_health(live.health)
            if looks % _LOOKS_PER_S == 0:
                watch.look()
            looks += 1
            if pressed is not None and pressed().count(_SWITCH_KEY) % 2:
                playout = live.engine.playout
                playout.conceals = not playout.conceals
                watch.note("concealment_switched", stream=name, on=playout.conceals)
            if show is not None:
                show(live)

        files = opened.enter_context(contextlib.closing(ends.FileBackend(backend, device, output)))
        report = run_live(
            config,
            files,
            source,
            output,
            losses=losses,
            send=send,
            duration_s=min(running.duration_s, files.length_s),
            give_up_s=give_up_s,
            priority=running.priority,
            note=watch.note,
            watch=look,
        )
    print_json(report) if running.as_json else _print_live(report)
    if not isinstance(source, str) and heard_nothing([report | {"name": name}]):
        raise typer.Exit(REFUSED)


def _print_live(report: dict[str, Any]) -> None:
    live, jitter = report["live"], report["jitter_buffer"]
    concealment, delay = report["concealment"], report["live"]["delay_ms"]
    expected = max(1, jitter["packets_expected"])
    say(
        f"{jitter['packets_received']} packets in, {jitter['lost_packets']} lost "
        f"({100 * jitter['lost_packets'] / expected:.1f} %), {jitter['late_packets']} too late; "
        f"{counted(concealment['concealment_events'], 'burst')} concealed, "
        f"{concealment['deadline_misses']} over the time; delay {delay['p50']:.0f} ms "
        f"(at most {delay['max']:.0f})"
        f"{left_out(report, live['refused_datagrams'])}"
    )
    for direction, device in report["devices"].items():
        _print_device(direction, device, live["starved_samples"])
    if report["sent"] is not None:
        say(f"{report['sent']['packets_sent']} packets sent to {report['sent']['to']}")
    if live["reserve_raises"]:
        say(
            f"{report['reserve_ms']:.0f} ms are kept ready for the output by now; --reserve-ms "
            "begins with that"
        )


def _print_device(direction: str, device: dict[str, Any], starved: int = 0) -> None:
    is_input = direction == "input"
    samples = counted(device["missed_samples"] if is_input else starved, "sample")
    say(
        f"{direction} {device['device']}: {counted(device['losses'], 'time')} lost, "
        f"{counted(device['breaks'], 'xrun')}, {samples} {'dropped' if is_input else 'not in time'}"
    )


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    panel = "Live and on the wire"
    lines = examples(
        "plc live --impair loss=10%,burst=2,jitter=30",
        "plc live --in clean.wav --out heard.wav --impair loss=10%       without a sound card",
        "plc live --peer studio.example --preset stage --key-file call.key",
        "plc live --from udp://0.0.0.0:5004 --codec opus --packet-ms 20",
    )
    app.command(rich_help_panel=panel, epilog=lines)(with_options(live))
    app.command(rich_help_panel=panel)(devices)
