"""``plc bench inpaint``, ``context-encoder`` and ``published``: gaps with both sides known."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from plc.cli.options import AsJson, Model, share
from plc.cli.output import Quality
from plc_bench.cli.options import (
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
    show,
)


def inpaint(
    sources: Sources,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods by comma, METHOD\\[@model=NAME] or janssen; the others are compared with "
            "the first."
        ),
    ] = "lpc,auto",
    gap_ms: Annotated[str, typer.Option(help="Length of a gap in ms; a list.")] = "64",
    hops_lost: Annotated[
        float,
        typer.Option(
            parser=share, metavar="SHARE", help="Share of a gap's hops of 4 ms that is lost: 30%."
        ),
    ] = 1.0,
    gaps_per_clip: Annotated[int, typer.Option(min=1, help="Gaps drawn in each clip.")] = 3,
    sample_rate: Annotated[int, typer.Option(help="Resample clips to this many Hz.")] = 16_000,
    context: Annotated[
        Literal["full", "paper"],
        typer.Option(help="full: methods see the whole clip; paper: 128 ms on either side."),
    ] = "full",
    quality: Annotated[Quality, typer.Option(help="As plc inpaint --quality.")] = "good",
    one_channel: Annotated[
        bool,
        typer.Option(
            "--one-channel",
            help="Lose the first channel alone; compare its fill with and without the others.",
        ),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw curves over the length of the gap here.")
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    as_json: AsJson = False,
    save: Save = None,
    csv_file: CsvFile = None,
) -> None:
    """Fill gaps with both sides known, as in the context-encoder paper.

    SNR_MS compares magnitudes inside the gap, SNR the samples. Method lpc is the paper's own
    reference: Burg's method of order 1000 on 128 ms of either side, mixed by a squared cosine.
    Method janssen is gap-wise Janssen as published: order 1024, 4096 samples a side, 20 rounds.

    Curve: plc bench inpaint CORPUS/music/test --gap-ms 10,20,40,64 --picture curve.png

    Scattered: plc bench inpaint CORPUS/music/test --gap-ms 1000 --hops-lost 30%

    One channel: plc bench inpaint --one-channel CORPUS/music/test --stereo --methods auto
    """
    from plc_bench.base import corpus, results
    from plc_bench.gaps import guided, twosided
    from plc_bench.report import charts

    settings = [
        twosided.InpaintSettings(
            methods=names_of(methods),
            gap_ms=length,
            gaps_per_clip=gaps_per_clip,
            sample_rate=sample_rate,
            context=context,
            quality=quality,
            hops_lost=hops_lost,
            seed=seed,
        )
        for length in numbers("gap-ms", gap_ms, float)
    ]
    clips = corpus.find_clips(sources, stereo)
    if one_channel:
        if picture:
            raise typer.BadParameter("--one-channel draws no picture", param_hint="--picture")
        with progress_shown("clips", len(clips)) as advance:
            told = guided.measure_guides(clips, settings, processes(jobs), advance)
        report_failures(told.failures, len(clips))
        show(told, [guided.result_table(told)], as_json, save)
        if csv_file:
            results.write_csv(csv_file, [asdict(gap) for gap in told.gaps])
        end(told.failures)
        return
    with progress_shown("clips", len(clips) * len(settings)) as advance:
        reports = [
            twosided.measure_inpainting(clips, each, processes(jobs), advance) for each in settings
        ]
    for report in reports:
        report_failures(report.failures, len(clips))
    tables = [twosided.result_table(report) for report in reports]
    if len(reports) > 1:
        tables.append(twosided.curve_table(reports))
    show(reports if len(reports) > 1 else reports[0], tables, as_json, save)
    if csv_file:
        results.write_csv(csv_file, [row for each in reports for row in twosided.csv_rows(each)])
    if picture:
        charts.draw_inpainting(picture, reports)
    end([failure for report in reports for failure in report.failures])


def context_encoder(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Audio files, folders or manifests (CSV); none: the probes alone."),
    ] = None,
    models: Annotated[
        str, typer.Option(help="Networks of the paper's kind by comma, as plc export writes them.")
    ] = "paper-music",
    notes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw gaps inside single notes, as bounded in this notes.csv."
        ),
    ] = None,
    gaps_per_clip: Annotated[int, typer.Option(min=1, help="Gaps drawn in each clip.")] = 3,
    probe: Annotated[
        str, typer.Option(help="Signals to fill a gap of as well: tones, chirp, by comma.")
    ] = "",
    tones: Annotated[int, typer.Option(min=2, help="Frequencies of the tones.")] = 800,
    phases: Annotated[int, typer.Option(min=1, help="Phases of each tone.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the best and the worst gap as audio and picture, and pictures of probes.",
        ),
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    as_json: AsJson = False,
    save: Save = None,
    csv_file: CsvFile = None,
) -> None:
    """Make the context-encoder paper's tables 2 and 3, and its experiments.

    The published figures stand below those measured. Of the first network,
    --out has the best and the worst gap against linear prediction (64 ms).

    plc bench context-encoder CORPUS/music/test --probe tones,chirp --out FOLDER

    plc bench context-encoder NOTES --notes NOTES/notes.csv --gaps-per-clip 20
    """
    from plc.errors import ConfigError
    from plc_bench.base import corpus, results
    from plc_bench.base.notes import notes_of_clips
    from plc_bench.gaps import twosided
    from plc_bench.papers import context_encoder as tables_of
    from plc_bench.papers import probes
    from plc_bench.report import extremes

    wanted, networks = names_of(probe), names_of(models)
    probes.check_probes(wanted)
    if not sources and not wanted:
        raise ConfigError("there is nothing to fill; give clips, or --probe tones,chirp")
    if csv_file and not sources:
        raise ConfigError("--csv has a row for each gap of clips; give some, or --save FILE")
    clips = corpus.find_clips(sources, stereo) if sources else []
    reports: list[twosided.InpaintReport] = []
    if clips:
        drawing = twosided.InpaintSettings(gaps_per_clip=gaps_per_clip, context="paper", seed=seed)
        bounds = notes_of_clips(notes, clips) if notes else None
        with progress_shown("clips", len(clips)) as advance:
            reports = tables_of.measure_paper_tables(
                clips, networks, drawing, processes(jobs), advance, bounds
            )
        report_failures(reports[0].failures, len(clips))
    count = len(probes.probe_tones(tones)) if "tones" in wanted else 0
    with progress_shown("tones", count) as advance:
        scores = probes.measure_probes(wanted, networks, tones, phases, processes(jobs), advance)
    tables = [tables_of.result_table(reports)] if reports else []
    tables += probes.result_tables(scores)
    if out:
        extremes.write_all(out, clips, reports, networks, scores)
    show({"gaps": reports, "probes": scores} if wanted else reports, tables, as_json, save)
    if csv_file:
        results.write_csv(csv_file, [row for each in reports for row in twosided.csv_rows(each)])
    end(reports[0].failures if reports else [])


def long_gaps(
    sources: Sources,
    gap_ms: Annotated[
        str, typer.Option(help="Length of a gap in ms; a list.")
    ] = "370,750,1000,1500",
    model: Model = "auto",
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Gaps that are timed at once.")] = 64,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the fills of the first clip's first gap here (PNG).")
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    as_json: AsJson = False,
    save: Save = None,
) -> None:
    """Fill long gaps in music: invented, as auto fills them (copied), faded.

    FAD: Fréchet distance of the notes of all fills. LSD: log-spectral distance, in dB.
    Step: at an edge, in usual steps nearby. FAD needs basic-pitch.
    """
    from plc_bench.base import corpus
    from plc_bench.papers import long_gaps

    settings = [
        long_gaps.LongGapSettings(gap_ms=length, model=model, seed=seed)
        for length in numbers("gap-ms", gap_ms, float)
    ]
    clips = corpus.find_clips(sources, stereo)
    with progress_shown("clips", len(clips) * len(settings)) as advance:
        reports = [
            long_gaps.measure_long_gaps(clips, each, processes(jobs), advance) for each in settings
        ]
    for report in reports:
        report_failures(report.failures, len(clips))
    tables = [long_gaps.result_table(report) for report in reports]
    show(reports, tables, as_json, save)
    if picture:
        long_gaps.draw_fills(picture, clips[0], settings[0])
    if not as_json:
        typer.echo(f"{batch} gaps at once: {1000 * long_gaps.batch_s(model, batch):.0f} ms")
    end([failure for report in reports for failure in report.failures])


def published(
    data: Annotated[Path, typer.Option(help="Folder as its authors publish it; see above.")],
    methods: Annotated[
        str,
        typer.Option(help="Methods by comma, METHOD\\[@model=NAME] or janssen."),
    ] = "auto,ar",
    gap_ms: Annotated[str, typer.Option(help="Lengths of gaps in ms; all by default.")] = "",
    quality: Annotated[Quality, typer.Option(help="As plc inpaint --quality.")] = "good",
    jobs: Jobs = 0,
    as_json: AsJson = False,
    save: Save = None,
    csv_file: CsvFile = None,
) -> None:
    """Score fills on clips and gaps that others published.

    Outputs of others that lie beside them are scored, too. A folder of NAME_clean.wav and
    NAME_20_METHOD.wav (gaps of 20 ms), such as docs/audio of
    github.com/ondrejmokry/InpaintingAutoregressive; or one that holds EBU_SQAM.mat, such as
    github.com/ondrejmokry/InpaintingRevisited, whose gaps are drawn as its program does.

    Table: plc bench published --data InpaintingAutoregressive/docs/audio --methods auto,ar,janssen
    """
    from plc_bench.base import results
    from plc_bench.gaps import published as study

    cases = study.find_cases(data, numbers("gap-ms", gap_ms, int, needed=False))
    with progress_shown("cases", len(cases)) as advance:
        report = study.measure(cases, names_of(methods), quality, processes(jobs), advance)
    report_failures(report.failures, len(cases))
    show(report, [study.result_table(report)], as_json, save)
    if csv_file:
        results.write_csv(csv_file, study.csv_rows(report))
    end(report.failures)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (inpaint, context_encoder, published, long_gaps):
        app.command()(command)
