"""``plc bench inpaint``, ``paper`` and ``published``: gaps with both sides known."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from plc.cli.options import AsJson, share
from plc.cli.output import Quality
from plc_bench.cli.options import (
    CsvFile,
    IncludeStereo,
    Jobs,
    Save,
    Seed,
    Sources,
    names_of,
    numbers,
    processes,
)
from plc_bench.cli.output import end, progress_shown, report_failures, show


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
    """
    from plc_bench.base import corpus, results
    from plc_bench.gaps import twosided
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


def paper(
    sources: Sources,
    models: Annotated[
        str, typer.Option(help="Networks of the paper's kind by comma, as plc export writes them.")
    ],
    gaps_per_clip: Annotated[int, typer.Option(min=1, help="Gaps drawn in each clip.")] = 3,
    seed: Seed = 0,
    jobs: Jobs = 0,
    stereo: IncludeStereo = False,
    as_json: AsJson = False,
    save: Save = None,
    csv_file: CsvFile = None,
) -> None:
    """Make the context-encoder paper's tables 2 and 3.

    The published figures stand below those measured.
    """
    from plc_bench.base import corpus, results
    from plc_bench.gaps import paper_tables, twosided

    drawing = twosided.InpaintSettings(gaps_per_clip=gaps_per_clip, context="paper", seed=seed)
    clips = corpus.find_clips(sources, stereo)
    with progress_shown("clips", len(clips)) as advance:
        reports = paper_tables.measure_paper_tables(
            clips, names_of(models), drawing, processes(jobs), advance
        )
    failures = reports[0].failures
    report_failures(failures, len(clips))
    show(reports, [paper_tables.result_table(reports)], as_json, save)
    if csv_file:
        results.write_csv(csv_file, [row for each in reports for row in twosided.csv_rows(each)])
    end(failures)


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
    for command in (inpaint, paper, published):
        app.command()(command)
