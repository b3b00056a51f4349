"""``plc bench detect``: how well damage, speech and music are recognised."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from plc.cli.options import AsJson
from plc.errors import ConfigError
from plc_bench.cli.options import Sources, conditions_of, end, numbers, scored, share


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
    undamaged: false findings in ten minutes. With --undamaged nothing but that: without clips, of
    kinds that look like damage and are none; exits with 1 if a repair would change more than 1 %
    of the samples of one. With --seams each clip gets blocks said again, left out and silenced as
    by a recorder whose buffer overruns, at the clip's own rate.

    plc bench detect damage CORPUS/music/test CORPUS/instruments/test CORPUS/speech/test
    """
    from plc_bench.base import corpus
    from plc_bench.restore import harmless, study
    from plc_bench.restore.kinds import UNDAMAGED
    from plc_bench.restore.seams import SORTS, score_seams, seams_table

    if undamaged and not sources:
        work = "kinds", harmless.score_kind, list(UNDAMAGED), harmless.kinds_table
        end(harmless.harmed(scored(*work, as_json, of="recordings")))
        return
    if not sources:
        raise ConfigError("no clips; give audio files or folders, or --undamaged")
    clips = corpus.find_named_clips(sources)
    if undamaged:
        found = harmless.score_clip, clips, harmless.clips_table
        scored("clips", *found, as_json, of="recordings")
    elif seams:
        each = [(sort, clip) for clip in clips for sort in SORTS]
        scored("sorts in clips", score_seams, each, seams_table, as_json, name=_clip)
    else:
        numbered, tables = list(enumerate(clips)), study.result_tables
        scored("clips", study.score_clip, numbered, tables, as_json, of="files", name=_clip)


def _clip(item: Any) -> str:
    """Return the name of a clip that stands behind something else."""
    return str(item[1].name)


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
    clips = list(enumerate(corpus.find_named_clips(sources)))
    scored(
        *("clips", partial(stream.score_clip, settings=settings), clips, stream.stream_tables),
        as_json,
        of="clips",
        facts={"settings": settings},
        name=_clip,
    )


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
    scored(
        *("clips", partial(bench.score_clip, conditions=conditions), clips, bench.told_table),
        as_json,
        of="clips",
        facts={"sample_rate": bench.SAMPLE_RATE},
    )
