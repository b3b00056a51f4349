"""``plc bench latency``, ``gpu`` and ``streams server``."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from plc.cli.options import AsJson, Loss, Model, Priority
from plc_bench.cli.options import Burst, Save, measured, names_of, numbers, show

Pushed = Annotated[
    list[Path] | None,
    typer.Argument(help="Audio files or folders to push; else a made piece of music."),
]


def latency(
    sources: Pushed = None,
    sample_rate: Annotated[str, typer.Option(help="In Hz; a list.")] = "48000",
    packet_ms: Annotated[str, typer.Option(help="Packet length in ms; a list.")] = "10",
    channels: Annotated[str, typer.Option(help="Channels; a list.")] = "1",
    method: Annotated[str, typer.Option(help="Such as auto, ar or burg:5/50; a list.")] = "auto",
    model: Model = "auto",
    mode: Annotated[
        str, typer.Option(help="Of back-to-back, steady, cold; a list.")
    ] = "back-to-back,steady,cold",
    seconds: Annotated[float, typer.Option(help="Audio to push in each mode.")] = 30.0,
    runs: Annotated[
        int, typer.Option(min=1, help="Processes for each combination, one after another.")
    ] = 3,
    load: Annotated[int, typer.Option(min=0, help="Busy processes beside it.")] = 0,
    priority: Priority = "normal",
    compare: Annotated[
        Path | None, typer.Option(help="An earlier --save to compare with, by statistics.")
    ] = None,
    as_json: AsJson = False,
    save: Save = None,
) -> None:
    """Time every push, and each loss to its audio.

    One after another: as fast as it goes, in real time, and in real time with cold caches.

    By format:  plc bench latency --seconds 4 --sample-rate 16000,48000 --method ar,auto
    --channels 1,8

    Real-time factor over ten minutes:  plc bench latency --mode back-to-back --seconds 600

    Beside busy processes:  plc bench latency CLIPS --mode steady --load 2 --priority auto

    Before and after:  plc bench latency --runs 5 --save a.json, then … --compare a.json
    """
    from plc_bench.peers.opus import timed_decoder
    from plc_bench.timing import latency as bench
    from plc_bench.timing import latency_compare, latency_tables

    common = bench.LatencySettings(
        seconds=seconds,
        modes=names_of(mode),
        load=load,
        priority=priority,
        clips=tuple(sources or ()),
        model=model,
    )
    combinations = bench.grid(
        common,
        sample_rate=numbers("sample-rate", sample_rate, int),
        packet_ms=numbers("packet-ms", packet_ms, float),
        channels=numbers("channels", channels, int),
        method=names_of(method),
    )
    old = latency_compare.read_report(compare) if compare else None
    expected_s = runs * sum(one.expected_s for one in combinations)

    def tables(report: bench.LatencyReport) -> list[Any]:
        shown = latency_tables.latency_tables(report)
        if compare and old and report.rows:
            shown += latency_compare.compare(compare.name, old, report)
        return shown

    measure = partial(bench.measure, combinations, runs, open_peer=timed_decoder)
    measured("seconds", round(expected_s), measure, tables, as_json, save)


def gpu(
    provider: Annotated[
        Literal["auto", "tensorrt", "cuda", "cpu"],
        typer.Option(help="auto: every accelerator that is installed, and the CPU."),
    ] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Time streams of a pool whose networks run on the GPU: 1, 8, 64 at once, 100 in real time.

    Also names the providers that run, why others do not, and how far their samples are apart.

    Under the real-time scheduler:  chrt -f 20 plc bench gpu
    """
    from plc_bench.timing import gpu as bench

    settings = bench.QUICK if quick else bench.GpuSettings()
    providers = bench.wanted_providers(provider)
    console = Console(stderr=True)
    report = bench.measure(providers, settings, lambda what: console.print(what, style="dim"))
    show(report, bench.gpu_tables(report), as_json)


def server(
    sources: Pushed = None,
    streams: Annotated[int, typer.Option(min=1, max=65_536, help="Number of streams.")] = 158,
    packet_samples: Annotated[int, typer.Option(min=1, help="Of a packet at 48 kHz.")] = 64,
    method: Annotated[
        str, typer.Option(help="Of server, auto, ar, burg:ORDER_MS/PAST_MS; a list.")
    ] = "server,ar",
    model: Annotated[str, typer.Option(help="auto, or ar: without a network.")] = "auto",
    paced: Annotated[
        bool,
        typer.Option("--paced", help="In real time; what a tick leaves of it prepares bursts."),
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="That share the streams.")] = 1,
    loss: Loss = 0.0476,
    burst: Burst = 1.5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of each stream.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Measure many streams that one call pushes, as on mix servers.

    On real clips:  plc bench streams server CORPUS/music/valid --seconds 5

    In real time:  plc bench streams server CLIPS --streams 100 --packet-samples 480
    --paced --seconds 30
    """
    from plc_bench.timing import server as bench

    settings = bench.ServerSettings(
        streams=streams,
        packet_samples=packet_samples,
        threads=threads,
        methods=tuple(names_of(method)),
        model=model,
        paced=paced,
        loss=loss,
        mean_burst=burst,
        seconds=seconds,
        clips=tuple(sources or ()),
    )
    measure = partial(bench.measure, settings)
    measured("methods", len(settings.methods), measure, bench.server_tables, as_json)
