"""``plc bench robust``: streams, packets, the relay and libplc, for long."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from plc.cli.options import AsJson, Loss
from plc.jsonable import plain
from plc_bench.cli.options import Method, Seed, names_of, numbers, progress_shown, scored, show


def soak(
    packets: Annotated[int, typer.Option(min=1, help="Packets over all streams.")] = 1_000_000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Push a million packets: random losses, an hour's outage, silence, NaN.

    Exits with 1 if a length was wrong, a sample not finite, or memory grew.
    """
    from plc_bench.robust import soak as bench

    with progress_shown("packets", packets) as advance:
        report = bench.soak(packets, seed, advance)
    show(report, [bench.soak_table(report)], as_json)
    if report.violations:
        raise typer.Exit(1)


def relay_load(
    streams: Annotated[int, typer.Option(min=1, help="Streams of 48 kHz L16.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration.")] = 10.0,
    method: Method = "auto",
    as_json: AsJson = False,
) -> None:
    """Relay streams in real time, speech and music, and count late packets."""
    from plc_bench.robust import transport

    result = transport.load(streams, seconds, method)
    show(result, [_facts(result)], as_json)


def relay_cost(
    streams: Annotated[int, typer.Option(min=1, help="Streams of 48 kHz L16.")] = 32,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each stream.")] = 5.0,
    loss: Loss = 0.05,
    method: Method = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the processor time of a relayed packet, in simulated time."""
    from plc_bench.robust import transport

    result = transport.cost(streams, seconds, loss, method)
    show(result, [_facts(result)], as_json)


def receiver(
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Speech: files or folders; else the package's clip.")
    ] = None,
    schedules: Annotated[str, typer.Option(help="Which, by comma; empty: all.")] = "",
    safety: Annotated[str, typer.Option(help="Of plc, by comma; empty: without plc.")] = "0.5",
    min_delay_ms: Annotated[
        str, typer.Option(help="Of NetEq, by comma; empty: without NetEq.")
    ] = "0",
    seeds: Annotated[int, typer.Option(min=1, help="A row is the mean over as many.")] = 3,
    scores: Annotated[bool, typer.Option(help="PLCMOS and PESQ, too.")] = True,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw PESQ over the delay; unscored: what is made up."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play schedules of arrivals through the RTP receiver and through WebRTC's NetEq.

    A row has the delay beyond the network's, sound made up, in all and
    though it had arrived, heard twice, left out (ms), PLCMOS and PESQ, as
    means over seeds. Several settings and --no-scores give a curve.
    Schedules: two-links, minority (some packets slower), tcp, wifi, mobile
    (stalls), wander, drift, fast, slow (clocks), step-up, step-down, tail,
    tail-loss (jitter), lossy-5, lossy-20, lossy-40, talk (pauses);
    docs/measuring.md has each.
    NetEq needs Debian's libtgowt-dev.
    """
    from plc_bench.report.charts import draw_receivers
    from plc_bench.robust import receiver as bench

    runs = bench.all_runs(
        names_of(schedules),
        numbers("safety", safety, float, needed=False),
        numbers("min-delay-ms", min_delay_ms, float, needed=False),
    )
    play = partial(bench.measure, bench.speech(sources or ()), range(seeds), scores)
    scored(
        *("runs", play, runs, bench.receiver_table, as_json),
        name=lambda run: "{}, {} {:g}".format(*run),
        picture=picture,
        draw=lambda path, outcome: draw_receivers(path, outcome.results),
    )


Packets = Annotated[int, typer.Option(min=1, help="Packets to push.")]


def library(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Audio files or folders to push, with the network; else two tones."),
    ] = None,
    packets: Packets = 20_000,
    lost_every: Annotated[int, typer.Option(min=0, help="Period of lost packets; 0: none.")] = 50,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Prepare for a loss after each packet, untimed.")
    ] = False,
    share: Annotated[
        float,
        typer.Option(
            "--work-share",
            min=0.0,
            max=1.0,
            help="Most of its duration that a lost packet may take (work_limit); 0: no limit.",
        ),
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Time plc_push in a C program, in µs."""
    from plc_bench.robust import library as bench

    clips = tuple(sources or ())
    result = bench.push_from_c(packets, lost_every, prepare=prepare, share=share, clips=clips)
    tables = [_facts(report, f"Packets of {name}") for name, report in result.items()]
    show(result, tables, as_json)


def _facts(result: Any, title: str = "") -> Any:
    from plc_bench.base.tables import Table

    table = Table(title)
    for name, value in plain(result).items():
        each = value.items() if isinstance(value, dict) else [("", value)]
        shown = ", ".join(f"{k} {_short(v)}".strip() for k, v in each)
        table.add(name.replace("_", " "), shown)
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
