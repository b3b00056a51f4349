"""``plc bench quality``, ``told``, ``phase``, ``representations`` and ``trace``."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from plc.cli.options import AsJson
from plc.cli.output import Overwrite
from plc.errors import ConfigError, printable
from plc_bench.cli.options import (
    BudgetMs,
    CsvFile,
    IncludeStereo,
    Jobs,
    Save,
    Seed,
    Sources,
    end,
    names_of,
    numbers,
    processes,
    progress_shown,
    report_failures,
    share,
    show,
)


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
            help="By comma: nmse sdr lsd mel level click zeros fad peaq visqol-audio, for speech "
            "plcmos dnsmos distillmos pesq stoi visqol; with suffix _single or _30ms of such "
            "bursts alone. \\[default: nmse,lsd; with --out all but fad to visqol]"
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
        typer.Option(help="Trace, or folder with one per clip, in place of --loss and --burst."),
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
            "compared with their loss-free decode."
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
        int, typer.Option("--clips", min=0, help="Number of clips to take; 0 is all.")
    ] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Length to take of each clip in s; else all.")
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    per_clip: Annotated[bool, typer.Option("--per-clip", help="Also print every clip.")] = False,
    as_json: AsJson = False,
    save: Save = None,
    csv_file: CsvFile = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Keep the study in this folder; the same command resumes it."),
    ] = None,
    excerpts: Annotated[
        int, typer.Option(min=0, help="With --out: excerpts of audio to keep for the page.")
    ] = 30,
    excerpt_s: Annotated[float, typer.Option(min=0.5, help="Length of an excerpt in s.")] = 5.0,
    ray: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster, auto, or local to start one."),
    ] = None,
) -> None:
    """Compare methods on the same lost packets of the same clips.

    Music:  plc bench quality CORPUS/music/test

    Speech: plc bench quality CORPUS/speech/test --metrics plcmos,pesq,stoi --packet-ms 20
    --sample-rate 16000

    Live:   plc bench quality CORPUS/speech/test --metrics plcmos,pesq --sample-rate 16000 --paced

    Study:  plc bench quality CORPUS --methods ar,auto,zeros --loss 10%,20% --burst 1.5,3 --out
    RESULTS; then plc bench report RESULTS
    """
    from plc_bench.base import corpus, progress, results
    from plc_bench.quality import contenders, study, summary
    from plc_bench.scores import registry

    given = [contenders.parse_peer(text, names_of(coded), peer_timeout_s) for text in peer or []]
    peers = dict(given)
    if len(peers) < len(given):
        raise ConfigError(f"two peers have one name: {', '.join(name for name, _ in given)}")
    if unknown := set(names_of(coded)) - set(peers):
        raise ConfigError(f"--coded names {', '.join(sorted(unknown))}, which no --peer does")
    names = contenders.PACED if paced else names_of(methods)
    names += tuple(name for name in peers if name not in names)
    lookaheads = numbers("lookahead", lookahead, int)
    usual = study.METRICS if out else summary.SHORT_METRICS
    settings = study.StudySettings(
        methods=contenders.with_lookaheads(names, lookaheads, tuple(peers)),
        metrics=usual if metrics is None else registry.with_bad(names_of(metrics)),
        conditions=_conditions(
            numbers("loss", loss, share),
            numbers("burst", burst, float),
            numbers("packet-ms", packet_ms, float),
            numbers("packet-samples", packet_samples, int, needed=False),
            [str(path) for path in trace or []],
        ),
        peers=peers,
        sample_rate=sample_rate,
        budget_ms=budget_ms,
        seconds=seconds,
        seed=seed,
        excerpt_count=excerpts,
        excerpt_s=excerpt_s,
    )
    clips = corpus.find_named_clips(sources, stereo)
    clips = clips[: limit or len(clips)]
    if paced and not jobs:
        jobs = 1  # streams that are played side by side take each other's processors
    console = Console(stderr=True)
    with progress.shown("scores", console=console) as meter:

        def on_start(todo: int, there: int) -> None:
            if there:
                was = "was" if there == 1 else "were"
                said = f"{results.counted(there, 'score')} {was} there, {todo} to go"
                console.print(said, highlight=False)
            meter.start(todo)

        try:
            result = study.run(out, clips, settings, processes(jobs), on_start, meter.advance, ray)
        except KeyboardInterrupt:
            if out:
                console.print(
                    f"stopped; the same command goes on where {escape(printable(out))} is",
                    soft_wrap=True,
                )
            raise
    if out:
        for line in summary.write_tables(result, out):
            console.print(escape(printable(line)), soft_wrap=True, highlight=False)
    show(result, summary.printed_tables(result, per_clip), as_json, save)
    if csv_file:
        results.write_csv(csv_file, summary.score_rows(result))
    report_failures(result.missing)
    end(result.missing)


def told(
    sources: Sources,
    loss: Annotated[str, typer.Option(help="Share of packets lost: 0.1 or 10%; a list.")] = "0.1",
    burst: Annotated[str, typer.Option(help="Mean packets in a burst; a list.")] = "1.5",
    packet_ms: Annotated[str, typer.Option(help="Packet length in ms; a list.")] = "20",
    sample_rate: Annotated[int, typer.Option(help="Resample to this many Hz.")] = 48_000,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    as_json: AsJson = False,
    save: Save = None,
) -> None:
    """Measure how often streams under losses are classified as speech.

    At the beginnings of bursts, from 0.6 s on, as the engine asks; by domain, and for each
    instrument or other work.

    plc bench told CORPUS/speech/test CORPUS/music/test --loss 55% --burst 3
    """
    from plc_bench.base import corpus
    from plc_bench.quality import told as bench

    conditions = _conditions(
        numbers("loss", loss, share),
        numbers("burst", burst, float),
        numbers("packet-ms", packet_ms, float),
        [],
        [],
    )
    clips = corpus.find_named_clips(sources, stereo)
    with progress_shown("clips", len(clips)) as advance:
        found = bench.measure_told(clips, conditions, sample_rate, seed, processes(jobs), advance)
    report_failures(found.failures, len(clips))
    show(found, [bench.told_table(found), bench.works_table(found)], as_json, save)
    end(found.failures)


def phase(
    sources: Sources,
    clips: Annotated[int, typer.Option(min=1, help="Clips taken of each source.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length taken of each clip.")] = 2.0,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of fast Griffin-Lim.")] = 100,
    jobs: Jobs = 0,
    out: Annotated[Path | None, typer.Option(help="Write the tables here too.")] = None,
    as_json: AsJson = False,
    save: Save = None,
) -> None:
    """Measure the quality of phase made from magnitudes.

    Exits with 1 if a clip has no score.
    """
    from plc_bench.base import progress, results
    from plc_bench.papers import phase as bench

    with progress.shown("clips") as meter:
        report = bench.measure(
            sources, clips, seconds, iterations, processes(jobs), meter.start, meter.advance
        )
    text = bench.markdown(report)
    if not as_json:
        typer.echo(text)
    show(report, [], as_json, save)
    if out:
        results.write_text(out, text)
    report_failures(report.failures)
    end(report.failures)


def representations(
    sources: Sources,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length taken of each clip.")] = 4.0,
    sample_rate: Annotated[int, typer.Option(help="Resample clips to this many Hz.")] = 16_000,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the first clip's first second in all of them (PNG).")
    ] = None,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    as_json: AsJson = False,
    save: Save = None,
    csv_file: CsvFile = None,
) -> None:
    """Measure what arrays of time and frequency lose of a sound.

    Waveform, complex spectra, magnitude with phase or phase steps, mel, MFCC,
    constant-Q, NSGT and ERB: error of the inverse, size and time.
    Exits with 1 if a clip has no score.

    A picture: plc bench representations NOTE.flac --picture note.png
    """
    from plc_bench.base import corpus, results
    from plc_bench.papers import representations as bench

    clips = corpus.find_named_clips(sources, stereo)
    with progress_shown("clips", len(clips)) as advance:
        report = bench.measure_inversion(clips, sample_rate, seconds, processes(jobs), advance)
    report_failures(report.failures, len(clips))
    show(report, bench.result_tables(report), as_json, save)
    if csv_file:
        results.write_csv(csv_file, [asdict(score) for score in report.scores])
    if picture:
        first = corpus.read_clip(clips[0].path, sample_rate).signal.mean(axis=1)
        note = np.ascontiguousarray(first[: round(bench.PICTURE_S * sample_rate)])
        bench.draw_representations(picture, note, sample_rate, clips[0].path.stem)
    end(report.failures)


def trace(
    source: Annotated[Path, typer.Argument(help="A capture of RTP (.pcap, .pcapng), or 0/1 text.")],
    target: Annotated[Path, typer.Argument(help="The trace to write.")],
    overwrite: Overwrite = False,
    ssrc: Annotated[
        str | None, typer.Option(help="SSRC of the stream, such as 0x1a2b3c4d; else the longest.")
    ] = None,
    deadline_ms: Annotated[
        float, typer.Option(help="A packet that much later than the earliest is lost.")
    ] = math.inf,
    clock_hz: Annotated[
        int | None, typer.Option(min=1, help="The stream's clock; else by its payload type.")
    ] = None,
) -> None:
    """Make a trace of the losses of a real network."""
    from plc.whole_files import check_new
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
    Console().print(escape(printable(said)), soft_wrap=True, highlight=False)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (quality, told, phase, representations, trace):
        app.command()(command)


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
