"""``plc bench inpaint``: gaps with both sides known."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from plc.cli.options import AsJson, share
from plc_bench.cli.options import Save, Sources, measured, names_of, numbers, processes, scored


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
    as_json: AsJson = False,
    save: Save = None,
) -> None:
    """Fill gaps with both sides known, as in the context-encoder paper.

    SNR_MS compares magnitudes inside the gap, SNR the samples. Method lpc is the paper's own
    reference: Burg's method of order 1000 on 128 ms of either side, mixed by a squared cosine.
    Method janssen is gap-wise Janssen as published: order 1024, 4096 samples a side, 20 rounds.

    Curve: plc bench inpaint CORPUS/music/test --gap-ms 10,20,40,64 --picture curve.png

    Scattered: plc bench inpaint CORPUS/music/test --gap-ms 1000 --hops-lost 30%

    One channel: plc bench inpaint --one-channel CORPUS/music/test/stereo_*.flac
    --methods auto
    """
    from plc_bench.base import corpus
    from plc_bench.gaps import guided, twosided
    from plc_bench.report import charts

    settings = [
        twosided.InpaintSettings(
            methods=names_of(methods),
            gap_ms=length,
            gaps_per_clip=gaps_per_clip,
            sample_rate=sample_rate,
            context=context,
            hops_lost=hops_lost,
        )
        for length in numbers("gap-ms", gap_ms, float)
    ]
    clips = corpus.find_clips(sources)
    if one_channel:
        if picture:
            raise typer.BadParameter("one-channel draws no picture", param_hint="--picture")
        guided.check(settings[0])
        scored(
            *("clips", partial(guided.score_clip, settings=settings), clips),
            lambda gaps: guided.result_table(gaps, settings),
            as_json,
            of="gaps",
            facts={"settings": settings},
            save=save,
        )
        return
    measured(
        "clips",
        len(clips) * len(settings),
        lambda advance: [
            twosided.measure_inpainting(clips, each, processes(), advance) for each in settings
        ],
        twosided.result_tables,
        as_json,
        save,
        picture=picture,
        draw=charts.draw_inpainting,
        shown=lambda reports: reports if len(reports) > 1 else reports[0],
    )
