"""``plc bench detect``: how well damage, speech and music are recognised."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from plc.cli.options import AsJson
from plc.errors import ConfigError
from plc_bench.cli.options import (
    Sources,
    add_group,
    conditions_of,
    end,
    measured,
    numbers,
    processes,
    progress_shown,
    report_failures,
    share,
    show,
)


def detect(
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Audio files, folders of them, or manifests (CSV).")
    ] = None,
    undamaged: Annotated[
        bool,
        typer.Option(
            "--undamaged", help="Damage nothing: count the findings in made kinds, or in CLIPS."
        ),
    ] = False,
    seams: Annotated[
        bool,
        typer.Option(
            "--seams", help="Seams at equal and drawn distances, and near-silent holes in MP3."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Damage clips on purpose, and measure the findings of plc detect.

    By kind and length: how much was found, and how many of the findings are true. The same files
    undamaged: false findings in ten minutes. With undamaged nothing but that: without clips, of
    kinds that look like damage and are none; exits with 1 if a repair would change more than 1 %
    of the samples of one. With seams each clip gets blocks said again, left out and silenced as
    by a recorder whose buffer overruns, at the clip's own rate.

    plc bench detect damage CORPUS/music/test CORPUS/instruments/test CORPUS/speech/test
    """
    from plc_bench.base import corpus
    from plc_bench.restore import study

    if undamaged:
        _show_undamaged(sources or [], processes(), as_json)
        return
    if not sources:
        raise ConfigError("no clips; give audio files or folders, or --undamaged")
    if seams:
        _show_seams(sources, processes(), as_json)
        return
    clips = corpus.find_named_clips(sources)
    measure = partial(study.measure_detection, clips, processes())
    measured("clips", len(clips), measure, study.result_tables, as_json)


def _show_undamaged(sources: list[Path], jobs: int, as_json: bool) -> None:
    from plc_bench.base import corpus
    from plc_bench.restore import harmless
    from plc_bench.restore.kinds import UNDAMAGED

    if sources:
        clips = corpus.find_named_clips(sources)
        measure = partial(harmless.measure_clips, clips, jobs)
        measured("clips", len(clips), measure, lambda found: [harmless.clips_table(found)], as_json)
        return
    with progress_shown("kinds", len(UNDAMAGED)) as advance:
        scores = harmless.measure_kinds(jobs, advance)
    report_failures(scores.failures)
    show(scores, [harmless.kinds_table(scores)], as_json)
    end(scores.failures or scores.harmed)


def _show_seams(sources: list[Path], jobs: int, as_json: bool) -> None:
    from plc_bench.base import corpus
    from plc_bench.restore import seams

    clips = corpus.find_named_clips(sources)
    measured(
        "sorts in clips",
        len(clips) * len(seams.SORTS),
        partial(seams.measure_seams, clips, jobs),
        lambda scores: [seams.seams_table(scores.results)],
        as_json,
        shown=lambda scores: scores.results,
    )


def dropouts(
    sources: Sources,
    packet_ms: Annotated[
        str, typer.Option(help="Packet lengths in ms; clips take turns.")
    ] = "10,20",
    sample_rate: Annotated[
        str, typer.Option(help="Resample clips to this many Hz; a list.")
    ] = "48000",
    method: Annotated[
        str, typer.Option(help="What conceals; none: findings alone are counted.")
    ] = "auto",
    plcmos: Annotated[bool, typer.Option("--plcmos", help="Score speech by PLCMOS.")] = False,
    as_json: AsJson = False,
) -> None:
    """Damage streams on purpose, and measure the findings of detect_dropouts.

    Mutes and repeated blocks in packets that all arrive: how much was found, how many of the
    findings are true, and what concealing them gains. False findings in undamaged streams.

    plc bench detect dropouts CORPUS/speech/test --packet-ms 20 --sample-rate 16000
    --plcmos
    """
    from plc_bench.base import corpus
    from plc_bench.restore import stream

    settings = stream.StreamDetectSettings(
        packet_ms=tuple(numbers("packet-ms", packet_ms, float)),
        sample_rates=tuple(numbers("sample-rate", sample_rate, int)),
        method=method,
        plcmos=plcmos,
    )
    clips = corpus.find_named_clips(sources)
    measure = partial(stream.measure_streams, clips, settings, processes())
    measured("clips", len(clips), measure, stream.stream_tables, as_json)


def told(
    sources: Sources,
    loss: Annotated[str, typer.Option(help="Share of packets lost: 0.1 or 10%; a list.")] = "0.1",
    burst: Annotated[str, typer.Option(help="Mean packets in a burst; a list.")] = "1.5",
    packet_ms: Annotated[str, typer.Option(help="Packet length in ms; a list.")] = "20",
    as_json: AsJson = False,
) -> None:
    """Measure how often streams under losses are classified as speech.

    At the beginnings of bursts, from 0.6 s on, as the engine asks; by domain.

    plc bench detect content CORPUS/speech/test CORPUS/music/test --loss 55% --burst 3
    """
    from plc_bench.base import corpus
    from plc_bench.quality import told as bench

    conditions = conditions_of(
        numbers("loss", loss, share),
        numbers("burst", burst, float),
        numbers("packet-ms", packet_ms, float),
        [],
        [],
    )
    clips = corpus.find_named_clips(sources)
    measure = partial(bench.measure_told, clips, conditions, bench.SAMPLE_RATE, processes())
    measured("clips", len(clips), measure, lambda found: [bench.told_table(found)], as_json)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add_group(
        app,
        "detect",
        "Measure what is recognised: damage of recordings and streams, speech and music.",
        damage=detect,
        dropouts=dropouts,
        content=told,
    )
