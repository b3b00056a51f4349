"""``plc bench``: measure quality, time and robustness.

Each command parses, calls one module, prints a table. Modules are imported inside, so that
``--help`` answers at once. Results go to stdout, progress to stderr; with ``--json FILE`` the same
numbers go to a file, ``-`` is stdout in place of the table.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from plc.cli.errors import REFUSED, line_of
from plc.cli.output import Overwrite, Quality
from plc.errors import ConfigError

_Number = TypeVar("_Number", int, float)

# Of tables that go to a file or a pipe: at the usual 80 a grid's numbers are cut off.
_FILE_COLUMNS = 160

app = typer.Typer(
    name="bench",
    help="Measure quality, time and robustness. Defaults are those of the README's figures.",
    no_args_is_help=True,
    add_completion=False,
)

Sources = Annotated[
    list[Path], typer.Argument(help="Audio files, folders of them, or manifests (CSV).")
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the numbers here; - is stdout, no table.")
]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Write a row per clip and method.")]
Jobs = Annotated[int, typer.Option(help="Processes; 0 is one for each core.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed draws other losses.")]
Loss = Annotated[float, typer.Option(help="Share of packets lost, 0 to 1.")]
Burst = Annotated[float, typer.Option(help="Mean number of packets in a burst.")]
PacketMs = Annotated[float, typer.Option(help="Packet length in ms.")]
Lookahead = Annotated[int, typer.Option(min=0, help="Future packets the engine waits for.")]
Method = Annotated[str, typer.Option(help="Method, such as auto, repeat or burg:5/50.")]
IncludeStereo = Annotated[
    bool, typer.Option("--stereo", help="Keep clips named stereo_*, which folders leave out.")
]
BudgetMs = Annotated[
    float,
    typer.Option(help="Time the engine may take for a packet, in ms; inf is no limit."),
]


@app.command()
def quality(
    sources: Sources,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods by comma, METHOD\\[@lookaheadK]\\[@model=NAME]; the first is compared "
            "with each other one."
        ),
    ] = "auto,burg:5/50",
    metrics: Annotated[
        str | None,
        typer.Option(
            help="By comma: nmse sdr lsd mel level click zeros fad, for speech plcmos dnsmos pesq "
            "stoi; with _single or _30ms behind one, of such bursts alone. \\[default: nmse,lsd; "
            "with --out all but fad and those of speech]"
        ),
    ] = None,
    loss: Annotated[str, typer.Option(help="Share of packets lost: 0.1 or 10%; a list.")] = "0.1",
    burst: Annotated[str, typer.Option(help="Mean packets in a burst; a list.")] = "1.5",
    packet_ms: Annotated[str, typer.Option(help="Packet length in ms; a list.")] = "10",
    packet_samples: Annotated[
        str, typer.Option(help="Packet length in samples, in place of --packet-ms; a list.")
    ] = "",
    trace: Annotated[
        list[Path] | None,
        typer.Option(help="Trace, or folder of one for each clip, in place of --loss and --burst."),
    ] = None,
    lookahead: Annotated[
        str, typer.Option(help="Future packets the engine waits for; a list.")
    ] = "0",
    sample_rate: Annotated[
        int | None, typer.Option(help="Resample to this many Hz; else each clip's own rate.")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="A program to compare: name='command {in} {trace} {out}'."),
    ] = None,
    coded: Annotated[
        str,
        typer.Option(
            help="Peers that code the audio, by comma: they get it intact, and are also "
            "compared with their own loss-free decode."
        ),
    ] = "",
    peer_timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Time a peer may take for a clip.")
    ] = 60.0,
    budget_ms: BudgetMs = math.inf,
    paced: Annotated[
        bool,
        typer.Option(
            "--paced",
            help="Compare auto@paced, which plays each clip in its own time with the default "
            "budget, with auto and ar.",
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option("--clips", min=0, help="Take so many of the clips; 0 is all.")
    ] = 0,
    seconds: Annotated[
        float | None, typer.Option(help="Take so much from the beginning of each clip.")
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    per_clip: Annotated[bool, typer.Option("--per-clip", help="Also print every clip.")] = False,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep everything in this folder; the same again goes on.")
    ] = None,
    excerpts: Annotated[
        int, typer.Option(min=0, help="With --out: stretches of audio to keep for plc report.")
    ] = 30,
    excerpt_s: Annotated[float, typer.Option(min=0.5, help="Their length.")] = 5.0,
    ray: Annotated[
        str | None,
        typer.Option(help="With --out: address of a Ray cluster, auto, or local to start one."),
    ] = None,
) -> None:
    """Compare methods on the same lost packets of the same clips.

    Music:  plc bench quality CORPUS/music/test

    Speech: plc bench quality CORPUS/speech/test --metrics plcmos,pesq,stoi --packet-ms 20
    --sample-rate 16000

    Live:   plc bench quality CORPUS/speech/test --metrics plcmos,pesq --sample-rate 16000 --paced

    Study:  plc bench quality CORPUS --methods ar,auto,zeros --loss 10%,20% --burst 1.5,3 --out
    RESULTS; then plc report RESULTS
    """
    from plc_bench.quality import contenders, study

    given = [contenders.parse_peer(text, _names(coded), peer_timeout_s) for text in peer or []]
    peers = dict(given)
    if len(peers) < len(given):
        raise ConfigError(f"two peers have one name: {', '.join(name for name, _ in given)}")
    if unknown := set(_names(coded)) - set(peers):
        raise ConfigError(f"--coded names {', '.join(sorted(unknown))}, which no --peer does")
    if out and (paced or limit or seconds):
        raise ConfigError("--paced, --clips and --seconds are for a comparison: leave --out")
    if out and (per_clip or csv_file):
        raise ConfigError(
            "with --out every clip's scores are in scores.csv; leave --per-clip and --csv"
        )
    names = contenders.PACED if paced else _names(methods)
    names += tuple(name for name in peers if name not in names)
    lookaheads = _numbers("lookahead", lookahead, int, needed=True)
    conditions = _conditions(
        _numbers("loss", loss, _share),
        _numbers("burst", burst, float),
        _numbers("packet-ms", packet_ms, float),
        _numbers("packet-samples", packet_samples, int),
        [str(path) for path in trace or []],
    )
    common: dict[str, Any] = {
        "peers": peers,
        "sample_rate": sample_rate,
        "budget_ms": budget_ms,
        "seed": seed,
    }
    if out:
        settings = study.StudySettings(
            methods=contenders.with_lookaheads(names, lookaheads, tuple(peers)),
            metrics=_names(metrics) if metrics else study.METRICS,
            conditions=conditions,
            excerpt_count=excerpts,
            excerpt_s=excerpt_s,
            **common,
        )
        _study(sources, settings, out, _jobs(jobs), stereo, json_file, ray)
    elif ray is not None:
        raise ConfigError("--ray spreads a study over a cluster; give its folder with --out")
    else:
        common["metrics"] = _names("nmse,lsd" if metrics is None else metrics)
        if len(lookaheads) > 1:
            names = contenders.with_lookaheads(names, lookaheads, tuple(peers))
        common |= {"methods": names, "lookahead": lookaheads[0], "seconds": seconds}
        # Streams that are played side by side take each other's processors.
        jobs = 1 if paced and not jobs else _jobs(jobs)
        _compare(sources, conditions, common, jobs, limit, stereo, per_clip, json_file, csv_file)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="What plc bench quality --out wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("report"),
    ratings: Annotated[
        list[Path] | None, typer.Option(help="What the blind test saved; may be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "",
) -> None:
    """Make a page of a study, to read and to listen to; it opens without a server."""
    from plc_bench.base.results import counted
    from plc_bench.report import build as bench

    page = bench.build(results, out, ratings or [], title)
    megabytes = page.total_bytes / 1e6
    Console().print(
        f"{page.path}: {counted(page.clips, 'clip')}, {megabytes:.1f} MB",
        soft_wrap=True,
        highlight=False,
    )
    if megabytes > bench.LARGE_MB:
        Console(stderr=True).print(
            f"[yellow]large:[/yellow] over {bench.LARGE_MB:g} MB; fewer or shorter excerpts "
            "(--excerpts, --excerpt-s) make it smaller",
            soft_wrap=True,
        )


@app.command()
def trace(
    source: Annotated[Path, typer.Argument(help="A capture of RTP (.pcap, .pcapng), or 0/1 text.")],
    target: Annotated[Path, typer.Argument(help="The trace to write.")],
    overwrite: Overwrite = False,
    ssrc: Annotated[
        str | None, typer.Option(help="Which stream, such as 0x1a2b3c4d; else the longest.")
    ] = None,
    deadline_ms: Annotated[
        float, typer.Option(help="A packet that much later than the earliest is lost.")
    ] = math.inf,
    clock_hz: Annotated[
        int | None, typer.Option(min=1, help="The stream's clock; else by its payload type.")
    ] = None,
) -> None:
    """Make a trace of what a network really lost."""
    from plc.audio.files import check_new
    from plc_bench import traces

    if target.exists() and source.exists() and target.samefile(source):
        raise ConfigError(f"{target} is the source itself; choose another name for the trace")
    check_new(target, overwrite)
    number: int | None = None
    if ssrc is not None:
        try:
            number = int(ssrc, 0)
        except ValueError:
            raise ConfigError(f"--ssrc is {ssrc}; give a number such as 0x1a2b3c4d") from None
    said = traces.import_trace(
        source, target, ssrc=number, deadline_ms=deadline_ms, clock_hz=clock_hz
    )
    Console().print(said, soft_wrap=True, highlight=False)


@app.command()
def inpaint(
    sources: Sources,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods by comma, METHOD\\[@model=NAME]; the others are compared with the first."
        ),
    ] = "lpc,auto",
    gap_ms: Annotated[str, typer.Option(help="Length of a gap in ms; a list.")] = "64",
    gaps_per_clip: Annotated[int, typer.Option(min=1, help="Gaps drawn in each clip.")] = 3,
    sample_rate: Annotated[int, typer.Option(help="Resample clips to this many Hz.")] = 16_000,
    context: Annotated[
        Literal["full", "paper"],
        typer.Option(help="full: methods see the whole clip; paper: 128 ms on either side."),
    ] = "full",
    quality: Annotated[Quality, typer.Option(help="As plc inpaint --quality.")] = "good",
    picture: Annotated[
        Path | None, typer.Option(help="Draw curves over the length of the gap here.")
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """Fill gaps with both sides known, in the setting of the context-encoder paper.

    SNR_MS compares magnitudes inside the gap, SNR the samples. Method lpc is the paper's own
    reference: Burg's method of order 1000 on 128 ms of either side, mixed by a squared cosine.

    Curve: plc bench inpaint CORPUS/music/test --gap-ms 10,20,40,64 --picture curve.png
    """
    from plc_bench.base import corpus, results
    from plc_bench.gaps import twosided
    from plc_bench.report import gap_curve

    settings = [
        twosided.InpaintSettings(
            methods=_names(methods),
            gap_ms=length,
            gaps_per_clip=gaps_per_clip,
            sample_rate=sample_rate,
            context=context,
            quality=quality,
            seed=seed,
        )
        for length in _numbers("gap-ms", gap_ms, float)
    ]
    clips = corpus.find_clips(sources, stereo)
    with _progress("clips", len(clips) * len(settings)) as advance:
        reports = [
            twosided.measure_inpainting(clips, each, _jobs(jobs), advance) for each in settings
        ]
    for report in reports:
        _report_failures(report.failures, len(clips))
    tables = [twosided.result_table(report) for report in reports]
    if len(reports) > 1:
        tables.append(gap_curve.curve_table(reports))
    _show(reports if len(reports) > 1 else reports[0], tables, json_file)
    if csv_file:
        results.write_csv(csv_file, [row for each in reports for row in twosided.csv_rows(each)])
    if picture:
        gap_curve.draw_curves(reports, picture)
    _end([failure for report in reports for failure in report.failures])


@app.command()
def paper(
    sources: Sources,
    models: Annotated[
        str, typer.Option(help="Networks of the paper's kind by comma, as plc export writes them.")
    ],
    gaps_per_clip: Annotated[int, typer.Option(min=1, help="Gaps drawn in each clip.")] = 3,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """Make the context-encoder paper's tables 2 and 3 with networks that were trained here.

    The published figures stand below those measured.
    """
    from plc_bench.base import corpus, results
    from plc_bench.gaps import paper_tables

    settings = paper_tables.PaperSettings(
        models=_names(models), gaps_per_clip=gaps_per_clip, seed=seed
    )
    clips = corpus.find_clips(sources, stereo)
    with _progress("clips", len(clips)) as advance:
        report = paper_tables.measure_paper_tables(clips, settings, _jobs(jobs), advance)
    _report_failures(report.failures, len(clips))
    _show(report, [paper_tables.result_table(report)], json_file)
    if csv_file:
        results.write_csv(csv_file, paper_tables.csv_rows(report))
    _end(report.failures)


@app.command()
def latency(
    quick: Annotated[
        bool, typer.Option("--quick", help="4 s of audio a mode: within a minute.")
    ] = False,
    sample_rate: Annotated[str, typer.Option(help="In Hz; a list.")] = "48000",
    packet_ms: Annotated[str, typer.Option(help="Packet length in ms; a list.")] = "10",
    channels: Annotated[str, typer.Option(help="Channels; a list.")] = "1",
    method: Annotated[str, typer.Option(help="Such as auto, ar or burg:5/50; a list.")] = "auto",
    provider: Annotated[
        str, typer.Option(help="What networks run on: auto, cpu, cuda, tensorrt; a list.")
    ] = "auto",
    lookahead: Annotated[
        str, typer.Option(help="Future packets the engine waits for; a list.")
    ] = "0",
    prepare: Annotated[
        str, typer.Option(help="Prepare concealments before the loss: auto, always, never; a list.")
    ] = "auto",
    loss: Annotated[str, typer.Option(help="Share of packets lost: 0.1 or 10%; a list.")] = "0.1",
    burst: Annotated[str, typer.Option(help="Mean packets in a burst; a list.")] = "1.5",
    mode: Annotated[
        str, typer.Option(help="Of back-to-back, steady, idle-burst; a list.")
    ] = "back-to-back,steady,idle-burst",
    seconds: Annotated[float, typer.Option(help="Audio to push in each mode.")] = 30.0,
    runs: Annotated[
        int, typer.Option(min=1, help="Processes for each combination, one after another.")
    ] = 3,
    idle_s: Annotated[float, typer.Option(help="Calm before each burst of idle-burst.")] = 1.0,
    budget_ms: Annotated[
        float | None, typer.Option(help="Time for a packet in ms; else the engine's default.")
    ] = None,
    load: Annotated[int, typer.Option(min=0, help="Busy processes beside it.")] = 0,
    fault: Annotated[
        str, typer.Option(help="What networks do once they run: none, sleep, throw, die; a list.")
    ] = "none",
    cpu: Annotated[int | None, typer.Option(min=0, help="Bind it to this CPU.")] = None,
    collector: Annotated[
        bool, typer.Option("--gc", help="Leave Python's garbage collector on.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option(help="Audio to push, repeated; else a made piece of music.")
    ] = None,
    seed: Seed = 0,
    picture: Annotated[Path | None, typer.Option(help="Draw the percentiles here (PNG).")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="An earlier --json to compare with, by statistics.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Time every push, and from a loss to its audio, beside a loop that does nothing.

    One after another: as fast as it goes, in real time, and in real time with bursts after calm.

    By format:  plc bench latency --quick --sample-rate 16000,48000 --channels 1,8 --method ar,auto

    Real-time factor over ten minutes:  plc bench latency --mode back-to-back --seconds 600

    Before and after:  plc bench latency --runs 5 --json a.json, then … --compare a.json

    Networks that hang, fail or die, beside busy processes:  plc bench latency --mode steady
    --fault none,sleep,throw,die --load 4
    """
    from plc_bench.report import latency_picture
    from plc_bench.timing import latency as bench
    from plc_bench.timing import latency_compare, latency_tables

    common = bench.LatencySettings(
        seconds=4.0 if quick else seconds,
        idle_s=min(idle_s, 0.5) if quick else idle_s,
        modes=_names(mode),
        budget_ms=budget_ms,
        load=load,
        cpu=cpu,
        collector=collector,
        file=file,
        seed=seed,
    )
    combinations = bench.grid(
        common,
        sample_rate=_numbers("sample-rate", sample_rate, int),
        packet_ms=_numbers("packet-ms", packet_ms, float),
        channels=_numbers("channels", channels, int),
        method=_names(method),
        provider=_names(provider),
        lookahead=_numbers("lookahead", lookahead, int),
        prepare=_names(prepare),
        loss=_numbers("loss", loss, _share),
        mean_burst=_numbers("burst", burst, float),
        fault=_names(fault),
    )
    old = latency_compare.read_report(compare) if compare else None
    expected_s = runs * sum(one.expected_s for one in combinations)
    with _progress("seconds", round(expected_s)) as advance:
        report = bench.measure(combinations, runs, advance)
    shown = latency_tables.latency_tables(report)
    if compare and old and report.rows:
        comparison = latency_compare.compare(compare.name, old, report)
        shown += [*latency_compare.comparison_tables(comparison), *comparison.notes]
    _show(report, shown, json_file)
    if picture and report.rows:
        latency_picture.draw(picture, report)
    _report_failures(report.failures, len(combinations))
    _end(report.failures)


@app.command()
def throughput(
    quick: Annotated[bool, typer.Option("--quick", help="2 s of audio each.")] = False,
    method: Annotated[str, typer.Option(help="Such as ar, auto or burg:5/50; a list.")] = "ar,auto",
    sample_rate: Annotated[int, typer.Option(help="In Hz.")] = 48_000,
    packet_ms: PacketMs = 10.0,
    channels: Annotated[int, typer.Option(min=1, help="Channels.")] = 1,
    loss: Loss = 0.1,
    burst: Burst = 1.5,
    budget_ms: Annotated[
        str, typer.Option(help="Time for a packet in ms; a list. \\[default: the engine's]")
    ] = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="Audio of a stream.")] = 10.0,
    cores: Annotated[int, typer.Option(min=0, help="Most at once; 0 is all.")] = 0,
    most_streams: Annotated[
        int, typer.Option(min=1, help="Where the search for the capacity ends.")
    ] = 1000,
    provider: Annotated[
        str, typer.Option(help="Device to measure: cuda, tensorrt, cpu; auto is what is there.")
    ] = "auto",
    json_file: JsonFile = None,
) -> None:
    """Measure how many streams a core and a GPU serve, and how cost grows.

    Also the real-time factor by cores, in processes and threads, and the memory of a stream.

    Streams by time limit:  plc bench throughput --method ar --budget-ms 2.5,1,0.5,0.25
    """
    from plc_bench.timing import throughput as bench
    from plc_bench.timing import throughput_report, throughput_scaling

    budgets: list[float | None] = [*_numbers("budget-ms", budget_ms, float)] or [None]
    streams = [
        bench.StreamSettings(
            sample_rate=sample_rate,
            packet_ms=packet_ms,
            channels=channels,
            method=name,
            budget_ms=budget,
            loss=loss,
            mean_burst=burst,
            seconds=2.0 if quick else seconds,
        )
        for name in _names(method) or [""]
        for budget in budgets
    ]
    for one in streams:
        one.check()
    plan = throughput_report.Plan(
        streams=streams,
        most_streams=most_streams,
        memory_streams=8 if quick else 32,
        growth_streams=16 if quick else 64,
        cores=throughput_scaling.worker_counts(cores),
        provider=throughput_report.accelerator() if provider == "auto" else provider,
    )
    with _progress("measurements", len(plan.jobs())) as advance:
        report = throughput_report.measure(plan, advance)
    _show(report, throughput_report.throughput_tables(report), json_file)
    _report_failures(report.failures, len(plan.jobs()))
    _end(report.failures)


@app.command()
def busy(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Audio files or folders to push; else a made piece of music."),
    ] = None,
    load: Annotated[int, typer.Option(min=0, help="Busy processes.")] = 2,
    calm_s: Annotated[float, typer.Option(help="Before and after them.")] = 20.0,
    load_s: Annotated[float, typer.Option(help="Beside them.")] = 60.0,
    piece_s: Annotated[float, typer.Option(help="Length of what is played over and over.")] = 20.0,
    real_time: Annotated[
        bool, typer.Option("--real-time/--as-fast", help="A packet waits for its turn.")
    ] = True,
    sample_rate: Annotated[int, typer.Option(help="In Hz.")] = 48_000,
    packet_ms: PacketMs = 10.0,
    loss: Loss = 0.1,
    burst: Burst = 1.5,
    method: Method = "ar",
    budget_ms: Annotated[
        float | None, typer.Option(help="Time for a packet in ms; else the engine's default.")
    ] = None,
    cpu: Annotated[int | None, typer.Option(min=0, help="Bind all of it to this CPU.")] = None,
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Push a stream alone, beside busy processes, and alone again: which rungs, how close.

    On real clips:  plc bench busy CORPUS/music/valid

    As fast as it goes:  plc bench busy --as-fast
    """
    from plc_bench.timing import busy as bench

    settings = bench.BusySettings(
        sample_rate=sample_rate,
        packet_ms=packet_ms,
        method=method,
        budget_ms=budget_ms,
        loss=loss,
        mean_burst=burst,
        seed=seed,
        piece_s=piece_s,
        calm_s=calm_s,
        load_s=load_s,
        load=load,
        real_time=real_time,
        cpu=cpu,
        clips=tuple(sources or ()),
    )
    with _progress("seconds", round(2 * calm_s + load_s)) as advance:
        report = bench.measure(settings, lambda seconds: advance(round(seconds)))
    _show(report, [bench.busy_table(report)], json_file)


@app.command()
def soak(
    packets: Annotated[int, typer.Option(min=1, help="Packets over all streams.")] = 1_000_000,
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Push a million packets of everything: random losses, an hour's outage, silence, NaN.

    Exits with 1 if a length was wrong, a sample not finite, or memory grew.
    """
    from plc_bench.robust import soak as bench

    with _progress("packets", packets) as advance:
        report = bench.soak(packets, seed, advance)
    _show(report, [bench.soak_table(report)], json_file)
    if report.violations:
        raise typer.Exit(1)


@app.command()
def tone(
    seconds: Annotated[float, typer.Option(min=1.0, help="Sine per case.")] = 10.0,
    method: Method = "auto",
    budget_ms: BudgetMs = math.inf,
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Lose 5 % of a 440 Hz sine at every packet size: no hole, no click, the phase kept.

    Exits with 1 if a case fails.
    """
    from plc_bench.robust import tone as bench

    cases = bench.all_cases()
    with _progress("cases", len(cases)) as advance:
        results = bench.measure_tones(cases, seconds, method, budget_ms, seed, advance)
    passed = sum(result.passed for result in results)
    _show(results, [bench.tone_table(results), f"{passed} of {len(results)} cases pass"], json_file)
    if passed < len(results):
        raise typer.Exit(1)


@app.command()
def kernels(
    rounds: Annotated[int, typer.Option(min=1, help="Times each is run, in turn.")] = 200,
    json_file: JsonFile = None,
) -> None:
    """Time Burg's method and extrapolation against the same recursions in C.

    The C file is compiled with gcc -O3 -march=native -ffast-math for the occasion; both run in
    turn in this process.
    """
    from plc_bench.timing import burg_ratio

    timings = burg_ratio.measure_ratios(rounds)
    _show(timings, [burg_ratio.ratio_table(timings)], json_file)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def phase(ctx: typer.Context) -> None:
    """Measure how well phase is made from magnitudes; plc bench phase --help says more."""
    from plc_bench.quality.phase import app as phase_app

    status = phase_app(args=ctx.args, prog_name="plc bench phase", standalone_mode=False)
    if isinstance(status, int) and status:
        raise typer.Exit(status)


def main() -> None:
    """Run the command; an error of ours becomes one line on stderr."""
    try:
        app()
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        Console(stderr=True).print(f"[red]error:[/red] {escape(line)}", soft_wrap=True)
        sys.exit(REFUSED)


def _study(
    sources: list[Path],
    settings: Any,
    out: Path,
    jobs: int,
    stereo: bool,
    json_file: Path | None,
    cluster: str | None,
) -> None:
    """Run a study, or what is missing of it, and print its first tables."""
    from plc_bench.base import corpus, progress
    from plc_bench.base.results import counted
    from plc_bench.quality import study, summary

    console = Console(stderr=True)
    clips = corpus.find_named_clips(sources, stereo)
    with progress.shown("scores", console=console) as meter:

        def on_start(todo: int, there: int) -> None:
            if there:
                was = "was" if there == 1 else "were"
                said = f"{counted(there, 'score')} {was} there, {todo} to go"
                console.print(said, highlight=False)
            meter.start(todo)

        try:
            result = study.run(out, clips, settings, jobs, on_start, meter.advance, cluster)
        except KeyboardInterrupt:
            console.print(f"stopped; the same command goes on where {out} is", soft_wrap=True)
            raise
    for line in summary.write_tables(result):
        console.print(line, soft_wrap=True, highlight=False)
    if json_file != Path("-"):
        tables = _stdout()
        for table in summary.summary_tables(result):
            tables.print(summary.rich_table(table))
    if json_file:
        _show(result, [], json_file)
    _report_failures(result.missing)
    _end(result.missing)


def _compare(
    sources: list[Path],
    conditions: tuple[Any, ...],
    settings: dict[str, Any],
    jobs: int,
    limit: int,
    stereo: bool,
    per_clip: bool,
    json_file: Path | None,
    csv_file: Path | None,
) -> None:
    """Compare under one condition after the other, and keep nothing."""
    from plc_bench.base import corpus, results
    from plc_bench.quality import causal

    clips = corpus.find_clips(sources, stereo)
    clips = clips[: limit or len(clips)]
    reports = []
    for condition in conditions:
        each = causal.QualitySettings(condition=condition, **settings)
        with _progress("clips", len(clips)) as advance:
            reports.append(causal.measure_quality(clips, each, jobs, advance))
        _report_failures(reports[-1].failures, len(clips))
    tables = [
        table
        for report in reports
        for table in [*([causal.clip_table(report)] if per_clip else []), causal.mean_table(report)]
    ]
    _show(reports[0] if len(reports) == 1 else reports, tables, json_file)
    if csv_file:
        results.write_csv(csv_file, [row for report in reports for row in causal.csv_rows(report)])
    _end([failure for report in reports for failure in report.failures])


def _conditions(
    losses: list[float],
    bursts: list[float],
    packets_ms: list[float],
    packets_samples: list[int],
    traces: list[str],
) -> tuple[Any, ...]:
    """Return every combination."""
    from plc_bench.quality.conditions import Condition

    packets: list[dict[str, Any]] = [{"packet_samples": samples} for samples in packets_samples]
    packets = packets or [{"packet_ms": packet_ms} for packet_ms in packets_ms]
    damages: list[dict[str, Any]] = [{"trace": trace} for trace in traces]
    damages = damages or [{"loss": p, "mean_burst": burst} for p in losses for burst in bursts]
    if not packets or not damages:
        raise ConfigError("--loss, --burst and --packet-ms need a number at least")
    return tuple(Condition(**damage, **packet) for packet in packets for damage in damages)


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    """Show on stderr how far a run is; yield what advances it, by one or by a given count."""
    from plc_bench.base import progress

    with progress.shown(label, total) as meter:
        yield meter.advance


def _show(result: Any, tables: list[Any], json_file: Path | None) -> None:
    """Print ``tables``; write ``result`` as JSON, or print it in their place for ``-``."""
    from plc_bench.base import results

    if json_file == Path("-"):
        typer.echo(results.to_json(result))
        return
    console = _stdout()
    for table in tables:
        console.print(table)
    if json_file:
        results.write_json(json_file, result)


def _stdout() -> Console:
    """Return a console on stdout, with room for the widest table where that is no terminal."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_COLUMNS
    return console


def _report_failures(failures: list[Any], clips: int = 0) -> None:
    """Say on stderr which clips and methods have no score, once for each reason.

    Exit with 1 if all of so many clips have none; :func:`_end` does where only some have.
    """
    console = Console(stderr=True)
    by_reason: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        condition = getattr(failure, "condition", "")
        place = f"{failure.clip} ({condition})" if condition else failure.clip
        by_reason.setdefault((failure.method, failure.reason), []).append(place)
    for (method, reason), names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        who = f"{method} on " if method else ""
        # Escaped: 'plc-engine[gpu]' is no markup.
        said = escape(f"{who}{names[0]}{more}: {reason}")
        console.print(f"[yellow]failed:[/yellow] {said}", soft_wrap=True, highlight=False)
    if clips and sum(not failure.method for failure in failures) == clips:
        raise typer.Exit(1)


def _end(failures: Sequence[Any]) -> None:
    """Exit with 1 if anything that was asked for has no score."""
    if failures:
        raise typer.Exit(1)


def _channels(file: Path, sample_rate: int, channels: int) -> Any:
    """Return a file's samples with as many channels as asked for, repeating them in turn."""
    from plc_bench.base.corpus import read_clip

    signal = read_clip(file, sample_rate).signal
    return signal[:, [channel % signal.shape[1] for channel in range(channels)]]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(
    option: str, text: str, read: Callable[[str], _Number], needed: bool = False
) -> list[_Number]:
    """Return the numbers in an option that takes a list; none where it is not given."""
    try:
        numbers = list(dict.fromkeys(read(part) for part in _names(text)))
    except ValueError:
        numbers = []
    if (text or needed) and not numbers:
        raise ConfigError(f"--{option} is {text or 'empty'}; give numbers, by comma")
    return numbers


def _share(text: str) -> float:
    """Return a share given as ``10%`` or ``0.1``."""
    if text.endswith("%"):
        # Rounded: 0.1 and 10% are to be the same.
        return round(float(text[:-1]) / 100, 12)
    return float(text)


def _jobs(jobs: int) -> int:
    return jobs if jobs > 0 else len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
