"""The command ``plc inpaint``."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plc.cli.options import AsJson, examples, with_options
from plc.cli.output import Overwrite
from plc.errors import ConfigError
from plc.files.cli import batch
from plc.notice import counted

if TYPE_CHECKING:
    from plc.files.audio import Progress
    from plc.files.fill.gaps import Stretch
    from plc.files.jobs import Pair
    from plc.files.recordings import InpaintReport

_Seed = Annotated[
    int,
    typer.Option(
        help="Another seed, another fill by gacela; of copies, how many better places are left.",
        min=0,
        max=2**31 - 1,
    ),
]
_Variants = Annotated[
    int,
    typer.Option(
        metavar="K", help="Write K fills, of seeds from --seed on: OUT-1, OUT-2, …", min=1, max=99
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    lines = examples(
        "plc inpaint damaged.wav good.wav                finds the gaps itself",
        "plc inpaint damaged.wav good.wav --gap 1.250:1.314 --gap 1:07.5-1:07.52",
        "plc inpaint damaged.flac good.flac --gaps labels.txt --quality best",
        "plc inpaint lossy.wav good.wav --trace lossy.trace --packet-ms 20",
        "plc inpaint film.mkv good.mkv --mask missing.npy",
        "plc inpaint damaged/ good/ --gaps labels/ --format flac --report report.html",
        "plc inpaint damaged.wav good.wav --method restore   lost frames, by a network to 8 kHz",
        "plc inpaint song.wav good.wav --gap 3.1:3.9 --variants 5     copied from five places",
        "plc inpaint song.wav good.wav --gap 3.1:3.4 --method gacela --variants 5",
        "plc inpaint - - --gap 1.250:1.314 <damaged.wav >good.wav",
    )
    app.command(rich_help_panel="Files", epilog=lines)(inpaint)


@with_options
def inpaint(
    *,
    context: typer.Context,
    sources: batch.Sources,
    target: batch.Target,
    given: batch.Places,
    fill: batch.FillOptions,
    seed: _Seed = 0,
    variants: _Variants = 1,
    file_format: batch.Format = None,
    bitrate: batch.Bitrate = None,
    page: batch.Page = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Fill gaps of recordings from both sides.

    Without --gap, --gaps, --mask and --trace, plc detect finds the gaps. To fill some kinds
    alone, give its labels by --gaps.

    Good and best refine gaps of up to 4096 samples (85 ms at 48 kHz).
    Longer gaps, and fast, get a blend of predictions from both sides.
    Method auto copies a similar passage of the recording to gaps of 100 to 1500 ms in music.
    With --trace the gaps are its lost packets, filled better than plc conceal does.
    For several recordings --gaps, --mask and --trace may be folders of NAME.txt and so on.
    Method gacela invents music for a gap.
    --variants writes several inventions, or copies from the best place, the next best, ….
    """
    from plc.engine.models.kinds import KINDS
    from plc.files.fill.networks import kind_of_filler
    from plc.files.fill.signals import FillSettings
    from plc.files.marks import parse_gap
    from plc.files.recordings import inpaint_file
    from plc.files.writing import check_target

    try:
        for text in given.gap or ():
            if "smp" not in text:  # those are checked where the sample rate is known
                parse_gap(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--gap") from None
    varied = [name for name, kind in KINDS.items() if kind.variants]
    settings = FillSettings(**asdict(fill), seed=seed)
    kind = kind_of_filler(fill.method, fill.model)
    if variants > 1 and not settings.copies and kind not in varied:
        raise typer.BadParameter(
            f"method {fill.method} of quality {fill.quality} has one result; --method "
            f"{' or '.join(('auto', *varied))} of quality good or best has many",
            param_hint="--variants",
        )
    find = context.obj(given.doubtful)
    with batch.recordings(sources, target, file_format) as work:
        numbers = work.vary(variants)
        batch.check_page(page, overwrite, [pair.source for pair in work.pairs])
        found: dict[Path, list[Stretch]] = {}

        def inpaint_one(pair: "Pair", progress: "Progress") -> "InpaintReport":
            gaps_s = given.of(pair) or found.get(pair.source)
            if not gaps_s:
                check_target(pair.target, pair.source, overwrite)
                gaps_s = found[pair.source] = find(pair, work, as_json)
            return inpaint_file(
                pair.source,
                pair.target,
                gaps_s,
                settings=replace(settings, seed=seed + numbers[pair.target]),
                overwrite=overwrite,
                bitrate=bitrate,
                progress=progress,
            )

        done = work.each("inpainting", inpaint_one)
        work.finish(done, _print_inpaint, as_json=as_json, page=page, overwrite=overwrite)


def _print_inpaint(report: "InpaintReport", work: batch.Work, pair: "Pair") -> None:
    from plc.files.fill.interpolate import LONGEST_REFINED_GAP

    gaps = len(report.gaps)
    filled_ms = 1000 * sum(stop - start for start, stop in report.gaps) / report.sample_rate
    where = "stdout" if work.to_stdout else pair.target
    work.say(f"filled {counted(gaps, 'gap')}, {filled_ms:.1f} ms of {where}")
    partial = sum(len(hole.channels) < report.channels for hole in report.holes)
    if partial:
        work.say(f"{partial} of them in some channels only; the other channels are unchanged")
    if report.damaged_samples:
        damaged = counted(report.damaged_samples, "damaged sample")
        work.say(f"with {damaged} beside them: muted, at full scale, or an isolated jump")
    copied = sum(gap.copied_from is not None for gap in report.long_gaps)
    for gap in report.long_gaps:
        work.say(gap.told(report.sample_rate))
    if report.refined_gaps is not None and report.refined_gaps < gaps - copied:
        longest_ms = 1000 * LONGEST_REFINED_GAP / report.sample_rate
        work.say(
            f"refined {report.refined_gaps} of {counted(gaps - copied, 'gap')}; gaps longer than "
            f"{longest_ms:.0f} ms, or with sound on one side only, are not refined"
        )
