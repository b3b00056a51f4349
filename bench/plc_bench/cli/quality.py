"""``plc bench quality`` and ``trace``."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from plc.cli.options import AsJson
from plc.cli.output import Overwrite
from plc.errors import ConfigError, printable
from plc_bench.cli.options import (
    Jobs,
    Save,
    Seed,
    Sources,
    check_absent,
    conditions_of,
    end,
    names_of,
    numbers,
    processes,
    report_failures,
    share,
    show,
)


def quality(
    sources: Sources,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods by comma, METHOD\\[@lookaheadK]\\[@rtp=MS]\\[@paced]\\[@model=NAME]; "
            "the others are compared with the first."
        ),
    ] = "auto,burg:5/50",
    metrics: Annotated[
        str | None,
        typer.Option(
            help="By comma: nmse lsd mel level click zeros fad peaq visqol-audio bands bandbias, "
            "for speech plcmos dnsmos distillmos pesq stoi words visqol, or speech: most of these; "
            "with suffix _single or _30ms of such bursts, _1st, _2nd, _3rd of such packets alone. "
            "\\[default: nmse,lsd; with --out nmse to zeros]"
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
    limit: Annotated[
        int, typer.Option("--clips", min=0, help="Number of clips to take; 0 is all.")
    ] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Length to take of each clip in s; else all.")
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = 0,
    as_json: AsJson = False,
    save: Save = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Keep the study in this folder; the same command resumes it."),
    ] = None,
    excerpts: Annotated[
        int, typer.Option(min=0, help="With --out: excerpts of audio to keep for the page.")
    ] = 30,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster, auto, or local to start one.")
    ] = None,
) -> None:
    """Compare methods on the same lost packets of the same clips.

    Music:  plc bench quality CORPUS/music/test

    Speech: plc bench quality CORPUS/speech/test --metrics speech --packet-ms 20 --sample-rate
    16000

    Live:   plc bench quality CORPUS/speech/test --metrics plcmos,pesq --sample-rate 16000
    --methods auto@paced,auto,ar

    Study:  plc bench quality CORPUS --methods ar,auto,zeros --loss 10%,20% --burst 1.5,3 --out
    RESULTS; then plc bench report RESULTS
    """
    from plc.cli import progress
    from plc.notice import counted
    from plc_bench.base import corpus
    from plc_bench.quality import contenders, study, summary
    from plc_bench.scores import registry

    check_absent(save)
    given = [contenders.parse_peer(text, names_of(coded)) for text in peer or []]
    peers = dict(given)
    if len(peers) < len(given):
        raise ConfigError(f"two peers have one name: {', '.join(name for name, _ in given)}")
    if unknown := set(names_of(coded)) - set(peers):
        raise ConfigError(f"coded names {', '.join(sorted(unknown))}, which no --peer does")
    names = dict.fromkeys((*names_of(methods), *peers))
    usual = study.METRICS if out else summary.SHORT_METRICS
    scores, left_out = (usual, "") if metrics is None else registry.asked_for(names_of(metrics))
    settings = study.StudySettings(
        methods=tuple(names),
        metrics=scores,
        conditions=conditions_of(
            numbers("loss", loss, share),
            numbers("burst", burst, float),
            numbers("packet-ms", packet_ms, float),
            numbers("packet-samples", packet_samples, int, needed=False),
            [str(path) for path in trace or []],
        ),
        peers=peers,
        sample_rate=sample_rate,
        seconds=seconds,
        seed=seed,
        excerpt_count=excerpts,
    )
    clips = corpus.find_named_clips(sources)
    clips = clips[: limit or len(clips)]
    if not jobs and any("@paced" in name for name in names):
        jobs = 1  # streams that are played side by side take each other's processors
    console = Console(stderr=True)
    if left_out:
        console.print(left_out, highlight=False)
    with progress.shown("scores", console=console) as meter:

        def on_start(todo: int, there: int) -> None:
            if there:
                was = "was" if there == 1 else "were"
                said = f"{counted(there, 'score')} {was} there, {todo} to go"
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
        line = summary.write_tables(result, out)
        console.print(escape(printable(line)), soft_wrap=True, highlight=False)
    for line in summary.remarks(result):
        console.print(escape(line), soft_wrap=True, highlight=False)
    show(result, summary.printed_tables(result), as_json, save)
    report_failures(result.missing)
    end(result.missing)


def trace(
    source: Annotated[Path, typer.Argument(help="A capture of RTP (.pcap, .pcapng).")],
    target: Annotated[Path, typer.Argument(help="The trace to write.")],
    overwrite: Overwrite = False,
    ssrc: Annotated[
        str | None, typer.Option(help="SSRC of the stream, such as 0x1a2b3c4d; else the longest.")
    ] = None,
    deadline_ms: Annotated[
        float, typer.Option(help="A packet that much later than the earliest is lost.")
    ] = math.inf,
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
    said = traces.import_trace(source, target, ssrc=number, deadline_ms=deadline_ms)
    Console().print(escape(printable(said)), soft_wrap=True, highlight=False)
