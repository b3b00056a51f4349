"""The commands that touch sound cards: ``plc live`` and ``plc devices``.

As in :mod:`plc.cli.app`: parse, call one function, print what it returns; everything heavy is
imported inside. ``register`` adds them to the command.
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plc.apps.quiet import quiet_libraries
from plc.cli.options import (
    AsJson,
    BudgetMs,
    Duration,
    HeadroomMs,
    LogJson,
    Lookahead,
    MaxDelayMs,
    Method,
    Metrics,
    Model,
    Safety,
    Seed,
    delay_of,
    end_unheard,
    share,
    usual_rate,
)
from plc.cli.output import Codec, left_out, print_json

if TYPE_CHECKING:
    from plc.apps.events import Note
    from plc.apps.live import Live, LiveConfig
    from plc.audio.devices import Device
    from plc.rtp.impair import ImpairConfig
    from plc.rtp.udp import Endpoint

_BACKENDS = ("sounddevice", "pyaudio")

# What --impair calls the settings of plc.rtp.impair.ImpairConfig, and how each is read.
_SHARES = {"loss": "loss", "reorder": "reorder", "duplicate": "duplicate"}
_NUMBERS = {
    "burst": "mean_burst",
    "delay": "delay_ms",
    "jitter": "jitter_ms",
    "reorder_by": "reorder_ms",
    "rate": "rate_kbit_s",
    "queue": "queue_ms",
}
_IMPAIR_HELP = (
    "What the network does: loss=10%,burst=2,delay=20,jitter=30,reorder=1%,reorder_by=30,"
    "duplicate=1%,rate=128,queue=100,in_order (ms, packets, kbit/s)."
)


def impairment_of(text: str) -> "ImpairConfig":
    """Return what ``loss=10%,burst=2,jitter=30`` asks for; raise BadParameter if it is nothing."""
    from plc.errors import ConfigError
    from plc.rtp.impair import ImpairConfig

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
                f"{part.strip()!r} is no impairment; give name=value of {known}, or in_order"
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


def devices(
    backend: Annotated[
        Literal["sounddevice", "pyaudio", "all"], typer.Option(help="Of which library.")
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the sound cards, as each library names them."""
    from plc.audio.portaudio import open_backend
    from plc.errors import DeviceError, MissingExtraError

    names = _BACKENDS if backend == "all" else (backend,)
    found: list[Device] = []
    absent: dict[str, str] = {}
    for name in names:
        try:
            with quiet_libraries():
                found += open_backend(name).devices()
        except (MissingExtraError, DeviceError) as error:
            absent[name] = str(error)
    if as_json:
        print_json({"devices": found, "absent": absent})
    else:
        _print_devices(found, absent)
    if len(absent) == len(names):
        raise typer.Exit(1)


def _print_devices(found: list["Device"], absent: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    if found:
        table = Table(box=None)
        for heading in ("back end", "number", "name", "through", "in", "out", "Hz", "default"):
            table.add_column(heading, justify="right" if heading in ("number", "Hz") else "left")
        for each in found:
            ways = [("in", each.is_default_input), ("out", each.is_default_output)]
            table.add_row(
                each.backend,
                str(each.index),
                each.name,
                each.host_api,
                str(each.inputs),
                str(each.outputs),
                str(each.sample_rate),
                ", ".join(way for way, is_default in ways if is_default),
            )
        console.print(table)
    elif len(absent) < len(_BACKENDS):
        typer.echo("no sound card: plug one in, or start the sound server")
    for name, why in absent.items():
        typer.echo(f"plc: {name} is not available: {why}", err=True)


def live(
    source: Annotated[
        str,
        typer.Option(
            "--in",
            metavar="DEV|udp://HOST:PORT",
            help="Input: a number or a name (see plc devices), or where RTP comes in.",
        ),
    ] = "default",
    output: Annotated[str, typer.Option("--out", metavar="DEV", help="Output.")] = "default",
    impair: Annotated[str | None, typer.Option(metavar="HOW", help=_IMPAIR_HELP)] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Which are lost: a text file, 1 = lost; begins again.")
    ] = None,
    seed: Seed = 0,
    packet_ms: Annotated[float, typer.Option(metavar="MS", help="Length of a packet.")] = 10.0,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ",
            help="Of the stream; devices are converted.",
            show_default="48000; 8000 for RTP in pcmu, pcma",
        ),
    ] = None,
    channels: Annotated[int, typer.Option(help="Of the stream.", min=1, max=8)] = 1,
    codec: Codec = "l16",
    payload_type: Annotated[
        int | None, typer.Option(help="Of RTP.", show_default="the codec's", min=0, max=127)
    ] = None,
    red_payload_type: Annotated[
        int | None, typer.Option(help="Of redundancy in RTP (RFC 2198).", min=0, max=127)
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Who may send RTP: 192.0.2.7 or 192.0.2.0/24."),
    ] = None,
    backend: Annotated[
        Literal["sounddevice", "pyaudio"], typer.Option(help="By which library.")
    ] = "sounddevice",
    safety: Safety = 0.5,
    fixed_delay_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", help="This delay; unstretched, received samples pass exactly."),
    ] = None,
    headroom_ms: HeadroomMs = None,
    max_delay_ms: MaxDelayMs = 200.0,
    reserve_ms: Annotated[
        float, typer.Option(metavar="MS", help="Ready for the output, at first.")
    ] = 20.0,
    lookahead: Lookahead = 0,
    method: Method = "auto",
    model: Model = "auto",
    budget_ms: BudgetMs = None,
    duration_s: Duration = math.inf,
    give_up_s: Annotated[
        float,
        typer.Option(metavar="S", help="End when a device has been away this long.", min=0.0),
    ] = math.inf,
    view: Annotated[
        bool | None,
        typer.Option("--view/--no-view", help="Show meters.", show_default="on a terminal"),
    ] = None,
    metrics: Metrics = None,
    log_json: LogJson = False,
    as_json: AsJson = False,
) -> None:
    """Play an input on an output, through a bad network made on purpose, concealed on the way.

    Devices that go away are waited for. Ends on Ctrl-C or SIGTERM, after what is there was played.
    """
    from plc.apps.live import LiveConfig
    from plc.audio.loss import TraceLosses, read_trace
    from plc.rtp.udp import parse_endpoint, parse_network

    from_network = source.startswith("udp://")
    if sample_rate is None:
        sample_rate = usual_rate(codec if from_network else "l16")
    settings: dict[str, Any] = {}
    if impair is not None:
        settings["impair"] = impairment_of(impair)
    config = LiveConfig(
        sample_rate=sample_rate,
        channels=channels,
        packet_ms=packet_ms,
        seed=seed,
        delay=delay_of(safety, fixed_delay_ms, headroom_ms, max_delay_ms),
        reserve_ms=reserve_ms,
        lookahead=lookahead,
        method=method,
        model=model,
        budget_ms=budget_ms,
        codec=codec,
        payload_type=payload_type,
        red_payload_type=red_payload_type,
        **settings,
    )
    run(
        config,
        parse_endpoint(source) if from_network else source,
        output,
        backend=backend,
        losses=None if trace is None else TraceLosses(read_trace(trace), loop=True),
        allow=tuple(parse_network(text) for text in allow or []),
        duration_s=duration_s,
        give_up_s=give_up_s,
        view=view,
        metrics=metrics,
        log_json=log_json,
        as_json=as_json,
    )


def run(
    config: "LiveConfig",
    source: "str | Endpoint",
    output: str,
    *,
    backend: str = "sounddevice",
    view: bool | None = None,
    metrics: str | None = None,
    log_json: bool = False,
    as_json: bool = False,
    **settings: Any,
) -> None:
    """Run a live stream with all that looks at it, and print what it counted."""
    from plc.apps.live import run_live
    from plc.audio.portaudio import open_backend

    with quiet_libraries(), _watchers(view, metrics, log_json, str(source)) as (note, watch):
        report = run_live(
            config, open_backend(backend), source, output, note=note, watch=watch, **settings
        )
    print_json(report) if as_json else _print_live(report)
    if not isinstance(source, str):
        end_unheard([report | {"listen": str(source)}])


@contextlib.contextmanager
def _watchers(
    view: bool | None, metrics: str | None, log_json: bool, stream: str
) -> Iterator[tuple["Note", Callable[["Live"], None]]]:
    """Open what looks at a stream while it runs: the view, the metrics, the log."""
    from plc.apps.events import EventLog, StreamWatch, in_words
    from plc.apps.live_view import open_view
    from plc.apps.metrics import Exporter, playout_samples

    note: Note = EventLog(sys.stderr) if log_json else in_words
    watch_events: StreamWatch | None = None
    looks = 0
    with contextlib.ExitStack() as opened:
        shown = sys.stderr.isatty() and not log_json if view is None else view
        show = opened.enter_context(open_view(sys.stderr)) if shown else None
        exporter = opened.enter_context(Exporter(metrics)) if metrics is not None else None
        if exporter is not None:
            typer.echo(f"plc: metrics at {exporter.url}", err=True)

        def watch(live: "Live") -> None:
            nonlocal watch_events, looks
            if watch_events is None:
                watch_events = StreamWatch(stream, live.engine.playout, note)
                if exporter is not None:
                    exporter.add(lambda: playout_samples(stream, live.engine.playout))
                    exporter.add(lambda: live_samples(stream, live))
            if looks % 10 == 0:
                watch_events.look()
            looks += 1
            if show is not None:
                show(live)

        from plc.apps.metrics import live_samples

        yield note, watch


def _print_live(report: dict[str, Any]) -> None:
    live, jitter = report["live"], report["jitter_buffer"]
    concealment, delay = report["concealment"], report["live"]["delay_ms"]
    expected = max(1, jitter["packets_expected"])
    typer.echo(
        f"{jitter['packets_received']} packets in, {jitter['lost_packets']} lost "
        f"({100 * jitter['lost_packets'] / expected:.1f} %), {jitter['late_packets']} too late; "
        f"{concealment['concealment_events']} bursts concealed, "
        f"{concealment['deadline_misses']} over the time; delay {delay['p50']:.0f} ms "
        f"(at most {delay['max']:.0f})"
        f"{left_out(report, live['refused_datagrams'])}"
    )
    for direction, device in report["devices"].items():
        is_input = direction == "input"
        samples = device["missed_samples"] if is_input else live["starved_samples"]
        typer.echo(
            f"{direction} {device['device']}: {device['losses']} times lost, {device['breaks']} "
            f"xruns, {samples} samples {'dropped' if is_input else 'not in time'}"
        )
    if live["reserve_raises"]:
        typer.echo(
            f"{report['reserve_ms']:.0f} ms are kept ready for the output by now; --reserve-ms "
            "begins with that"
        )


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (live, devices):
        app.command(rich_help_panel="Live and on the wire")(command)
