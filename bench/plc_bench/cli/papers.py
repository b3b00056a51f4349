"""``plc bench papers``: tables and experiments of published work."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from plc.cli.options import AsJson, Model
from plc_bench.cli.options import (
    Sources,
    end,
    measured,
    names_of,
    numbers,
    processes,
    progress_shown,
    report_failures,
    scored,
    show,
)


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
    as_json: AsJson = False,
) -> None:
    """Make the context-encoder paper's tables 2 and 3, and its experiments.

    The published figures stand below those measured.

    plc bench papers context-encoder CORPUS/music/test --probe tones,chirp

    plc bench papers context-encoder NOTES --notes NOTES/notes.csv --gaps-per-clip 20
    """
    from plc.errors import ConfigError
    from plc_bench.base import corpus
    from plc_bench.base.notes import notes_of_clips
    from plc_bench.gaps import twosided
    from plc_bench.papers import context_encoder as tables_of
    from plc_bench.papers import probes

    wanted, networks = names_of(probe), names_of(models)
    probes.check_probes(wanted)
    if not sources and not wanted:
        raise ConfigError("there is nothing to fill; give clips, or --probe tones,chirp")
    clips = corpus.find_clips(sources) if sources else []
    reports: list[twosided.InpaintReport] = []
    if clips:
        drawing = twosided.InpaintSettings(gaps_per_clip=gaps_per_clip, context="paper")
        bounds = notes_of_clips(notes, clips) if notes else None
        with progress_shown("clips", len(clips)) as advance:
            reports = tables_of.measure_paper_tables(
                clips, networks, drawing, processes(), advance, bounds
            )
        report_failures(reports[0].failures, len(clips))
    count = len(probes.probe_tones(probes.TONES)) if "tones" in wanted else 0
    with progress_shown("tones", count) as advance:
        scores = probes.measure_probes(wanted, networks, processes(), advance)
    printed = [tables_of.result_table(reports)] if reports else []
    printed += probes.result_tables(scores)
    show({"gaps": reports, "probes": scores} if wanted else reports, printed, as_json)
    end(reports[0].failures if reports else [])


def long_gaps(
    sources: Sources,
    gap_ms: Annotated[
        str, typer.Option(help="Length of a gap in ms; a list.")
    ] = "370,750,1000,1500",
    model: Model = "auto",
    picture: Annotated[
        Path | None, typer.Option(help="Draw the fills of the first clip's first gap here (PNG).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fill long gaps in music: invented, as auto fills them (copied), faded.

    FAD: Fréchet distance of the notes of all fills. LSD: log-spectral distance, in dB.
    Step: at an edge, in usual steps nearby. FAD needs basic-pitch.
    """
    from plc_bench.base import corpus
    from plc_bench.papers import long_gaps

    settings = [
        long_gaps.LongGapSettings(gap_ms=length, model=model)
        for length in numbers("gap-ms", gap_ms, float)
    ]
    clips = corpus.find_clips(sources)
    measured(
        "clips",
        len(clips) * len(settings),
        lambda advance: [
            long_gaps.measure_long_gaps(clips, each, processes(), advance) for each in settings
        ],
        lambda reports: [
            *map(long_gaps.result_table, reports),
            f"64 gaps at once: {1000 * long_gaps.batch_s(model, 64):.0f} ms",
        ],
        as_json,
        picture=picture,
        draw=lambda path, _: long_gaps.draw_fills(path, clips[0], settings[0]),
    )


def published(
    data: Annotated[Path, typer.Argument(help="Folder as its authors publish it; see above.")],
    methods: Annotated[
        str, typer.Option(help="Methods by comma, METHOD\\[@model=NAME] or janssen.")
    ] = "auto,ar",
    gap_ms: Annotated[str, typer.Option(help="Lengths of gaps in ms; all by default.")] = "",
    as_json: AsJson = False,
) -> None:
    """Score fills on clips and gaps that others published.

    Outputs of others that lie beside them are scored, too. A folder of NAME_clean.wav and
    NAME_20_METHOD.wav (gaps of 20 ms), such as docs/audio of
    github.com/ondrejmokry/InpaintingAutoregressive; or one that holds EBU_SQAM.mat, such as
    github.com/ondrejmokry/InpaintingRevisited, whose gaps are drawn as its program does.

    plc bench papers published InpaintingAutoregressive/docs/audio --methods auto,ar,janssen
    """
    from plc_bench.gaps import published as study

    cases = study.find_cases(data, numbers("gap-ms", gap_ms, int, needed=False))
    names = names_of(methods)
    scored(
        *("cases", partial(study.score_case, methods=names), cases),
        lambda scores: study.result_table(scores, names),
        as_json,
        of="scores",
        facts={"methods": names, "quality": study.QUALITY},
    )


def phase(sources: Sources, as_json: AsJson = False) -> None:
    """Measure the quality of phase made from magnitudes.

    Exits with 1 if a clip has no score.
    """
    from plc_bench.papers import phase as bench

    scored(
        *("clips", bench.score_clip, bench.chosen_clips(sources), bench.result_tables, as_json),
        of="scores",
        facts={"seconds": bench.SECONDS},
        name=lambda clip: clip[1].name,
    )


def representations(
    sources: Sources,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the first clip's first second in all of them (PNG).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the error of a sound turned into arrays of time and frequency and back.

    Waveform, complex spectra, magnitude with phase or phase steps, mel, MFCC,
    constant-Q, NSGT and ERB: error of the inverse, size and time.
    Exits with 1 if a clip has no score.

    A picture: plc bench papers representations NOTE.flac --picture note.png
    """
    from plc_bench.base import corpus
    from plc_bench.papers import representations as bench

    clips = corpus.find_named_clips(sources)
    scored(
        *("clips", bench.score_clip, clips, bench.result_tables, as_json),
        of="scores",
        facts={"sample_rate": bench.SAMPLE_RATE, "seconds": bench.SECONDS},
        name=lambda clip: clip.path.name,
        picture=picture,
        draw=lambda path, _: bench.draw_first(path, clips[0]),
    )
