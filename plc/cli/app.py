"""The ``plc`` command: parse, call one function, print its result.

Results go to stdout, progress and warnings to stderr. The status is 0 when the work is done, 1
when it was refused (one line on stderr says why), 2 when the command was misused, 130 after
Ctrl-C, 143 after SIGTERM. Everything heavy is imported inside the subcommand that needs it, so
that ``plc --help`` answers at once.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from plc import notice
from plc.cli import batch, detect, embed, generate, live, network, repair, streams, web
from plc.cli.batch import progress_bar, warn_of_clipping
from plc.cli.detect import gaps_to_fill
from plc.cli.errors import REFUSED, flush, line_of, mend_streams
from plc.cli.options import (
    HELP,
    AsJson,
    Burst,
    FileMethod,
    FillSeed,
    Lookahead,
    LookaheadMs,
    Loss,
    Method,
    Model,
    PacketMs,
    Seed,
    SelectionOptions,
    Trace,
    Variants,
    examples,
    packets_of,
    share,
    with_options,
)
from plc.cli.output import Overwrite, Quality, console, print_json, say
from plc.errors import ConfigError, MissingExtraError, printable, printable_lines
from plc.extras import install_command
from plc.notice import counted

if TYPE_CHECKING:
    from plc.apps.demo import DemoReport, Judge, Rival
    from plc.apps.doctor import Health
    from plc.audio.loss import LossSource
    from plc.repair.batch import Pair
    from plc.repair.gaps import Stretch
    from plc.repair.recordings import ConcealReport, InpaintReport, Progress

# Panels of plc --help, in its order.
_FILES, _HERE, _MEASURE = "Files", "This machine", "Measure and train"


class _Refusing(TyperGroup):
    """A group that reports refusals as one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; turn errors into a line and a status."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            line = line_of(error)
            if line is None:
                raise
            say(f"plc: {line}", err=True)
            raise typer.Exit(REFUSED) from None

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; where a shell completes, one of another package itself."""
        if ctx.resilient_parsing and cmd_name in ("bench", "train", "export"):
            with suppress(ImportError):
                return _of_another_package(cmd_name)
        return super().get_command(ctx, cmd_name)


def _of_another_package(name: str) -> Any:
    if name == "bench":
        from plc_bench.cli import app as bench_app

        return get_command(bench_app)
    from plc_training.cli import app as training_app

    group: Any = get_command(training_app)
    return group.commands[name]


def _end_cleanly_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind like Ctrl-C: half-written files are removed."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):  # the latter is unknown to Windows
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, stop)


app = typer.Typer(
    name="plc",
    cls=_Refusing,
    help="Conceal lost packets of live music and speech.",
    epilog=examples(
        "plc demo                                        hear and see what it does",
        "plc conceal damaged.wav good.wav --trace lost.trace",
        "plc inpaint damaged.flac good.flac --gap 1.250:1.314",
        "plc doctor                                      what will run on this machine",
    ),
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


def main() -> None:
    """Run the command."""
    mend_streams()
    _end_cleanly_on_signals()
    notice.listener = lambda line: say(f"plc: {line}", err=True)
    try:
        app(prog_name="plc")
    except Exception as error:  # before there is a subcommand: stdout under --help, above all
        line = line_of(error)
        if line is None:
            raise
        flush(sys.stdout)
        say(f"plc: {line}", err=True)
        raise SystemExit(REFUSED) from None
    except SystemExit as end:
        unwritten = flush(sys.stdout)
        if unwritten is None or end.code:  # a refusal has had its line
            raise
        say(f"plc: {line_of(unwritten)}", err=True)
        raise SystemExit(REFUSED) from None


def _version(wanted: bool) -> None:
    if wanted:
        from plc import __version__

        say(f"plc {__version__}")
        raise typer.Exit


Source = Annotated[Path, typer.Argument(metavar="IN", help="Audio file to read.")]
Target = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="To write: .wav, .flac, .ogg, .opus, .mp3, .m4a or .mkv."),
]
MaybeLoss = Annotated[
    float | None,
    typer.Option(parser=share, metavar="SHARE", help="Lose this share of the packets: 10% or 0.1."),
]
MaybeBurst = Annotated[
    float | None,
    typer.Option(
        metavar="PACKETS", help="Mean number of packets lost in a row.", min=1.0, show_default="1.5"
    ),
]
Loop = Annotated[bool, typer.Option("--loop", help="Repeat the trace at its end.")]


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    rich_help_panel=_FILES,
    epilog=examples(
        "plc demo",
        "plc demo --loss 20% --burst 3 --packet-ms 10 --out demo-20",
    ),
)
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("plc-demo"),
    loss: Loss = 0.1,
    burst: Burst = 2.0,
    packet_ms: Annotated[float, typer.Option(metavar="MS", help="Length of a packet.")] = 20.0,
    seed: Seed = 1,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="Draw spectrograms (needs matplotlib).")
    ] = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Lose packets of two recordings and conceal them: listen, look, compare."""
    from plc.apps.demo import run

    with _status() as tell:
        report = run(
            out,
            loss=loss,
            mean_burst=burst,
            packet_ms=packet_ms,
            seed=seed,
            pictures=picture,
            overwrite=overwrite,
            judges=_speech_judges(),
            rivals=_rivals(),
            progress=tell,
        )
    print_json(report.as_dict()) if as_json else _print_demo(report)


@app.command(
    rich_help_panel=_FILES,
    epilog=examples(
        "plc conceal damaged.wav good.wav --trace lost.trace",
        "plc conceal clean.flac heard.flac --loss 10% --burst 3 --packet-ms 20",
        "plc conceal clean.wav heard.wav --loss 5% --lookahead 1 --json",
        "plc conceal clean.wav heard.wav --loss 5% --model my/paper.json --lookahead-ms 200",
        "plc conceal damaged/ good/ --trace traces/ --report report.html",
    ),
)
def conceal(
    sources: batch.Sources,
    target: batch.Target,
    trace: Trace = None,
    loop: Loop = False,
    loss: MaybeLoss = None,
    burst: MaybeBurst = None,
    seed: Seed = 0,
    packet_ms: PacketMs = 10.0,
    lookahead: Lookahead = 0,
    lookahead_ms: LookaheadMs = None,
    method: Method = "auto",
    model: Model = "auto",
    budget_ms: Annotated[
        float,
        typer.Option(
            metavar="MS", help="Time limit for a lost packet; a shorter one gives cheaper methods."
        ),
    ] = float("inf"),
    file_format: batch.Format = None,
    bitrate: batch.Bitrate = None,
    picture: batch.Picture = None,
    page: batch.Page = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Conceal lost packets of recordings, as a receiver would.

    With --trace the recording is damaged: samples of its lost packets are ignored.
    With --loss the recording is intact, and packets of it are lost first.
    For several recordings --trace may be a folder of NAME.trace.
    """
    from plc.repair.recordings import conceal_file

    packets = packets_of(lookahead, lookahead_ms, packet_ms)
    with batch.recordings(sources, target, file_format) as work:
        work.check_shown(picture, page, overwrite)

        def conceal_one(pair: "Pair", progress: "Progress") -> "ConcealReport":
            given = None if trace is None else batch.belonging(trace, pair, (".trace",))
            return conceal_file(
                pair.source,
                pair.target,
                _losses(given, loop, loss, burst, seed),
                packet_ms=packet_ms,
                lookahead=packets,
                method=method,
                model=model,
                budget_ms=budget_ms,
                seed=seed,
                overwrite=overwrite,
                bitrate=bitrate,
                progress=progress,
            )

        done = work.each("concealing", conceal_one)
        work.finish(done, _print_conceal, as_json=as_json, picture=picture, page=page)


@app.command(
    rich_help_panel=_FILES,
    epilog=examples(
        "plc inpaint damaged.wav good.wav                finds the gaps itself",
        "plc inpaint damaged.wav good.wav --gap 1.250:1.314 --gap 1:07.5-1:07.52",
        "plc inpaint damaged.flac good.flac --gaps labels.txt --quality best --picture gaps.png",
        "plc inpaint lossy.wav good.wav --trace lossy.trace --packet-ms 20",
        "plc inpaint film.mkv good.mkv --mask missing.npy",
        "plc inpaint damaged/ good/ --gaps labels/ --format flac --report report.html",
        "plc inpaint damaged.wav good.wav --method restore   lost frames, by a network to 8 kHz",
        "plc inpaint song.wav good.wav --gap 3.1:3.4 --method gacela --variants 5",
        "plc inpaint - - --gap 1.250:1.314 <damaged.wav >good.wav",
    ),
)
@with_options
def inpaint(
    sources: batch.Sources,
    target: batch.Target,
    asked: SelectionOptions,
    gap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="START:STOP",
            help="A gap in seconds, or START-STOP in 1:02.5, 62500ms, 2756250smp; may be repeated.",
        ),
    ] = None,
    gaps: Annotated[
        Path | None,
        typer.Option(
            help="Gaps, one a line, or Audacity labels; a folder or .zip for several files."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="A .npy of bools, or an audio file that is not zero at missing samples."),
    ] = None,
    trace: Trace = None,
    loop: Loop = False,
    packet_ms: PacketMs = 10.0,
    quality: Annotated[
        Quality,
        typer.Option(
            case_sensitive=False, help="Quality; best takes several times longer than good."
        ),
    ] = "good",
    method: FileMethod = "auto",
    model: Model = "auto",
    seed: FillSeed = 0,
    variants: Variants = 1,
    file_format: batch.Format = None,
    bitrate: batch.Bitrate = None,
    picture: batch.Picture = None,
    page: batch.Page = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Fill gaps of recordings from both sides.

    Without --gap, --gaps, --mask and --trace, plc detect finds the gaps.

    Good and best refine gaps of up to 4096 samples (85 ms at 48 kHz).
    Longer gaps, and fast, get a blend of predictions from both sides.
    With --trace the gaps are its lost packets, filled better than plc conceal does.
    For several recordings --gaps, --mask and --trace may be folders of NAME.txt and so on.
    Method gacela invents music for a gap; --variants writes several inventions.
    """
    from plc.models.kinds import KINDS
    from plc.networks.inpaint import kind_of_filler
    from plc.repair.marks import parse_gap
    from plc.repair.recordings import inpaint_file

    given = batch.Places(
        gap=gap or [], gaps=gaps, mask=mask, trace=trace, loop=loop, packet_ms=packet_ms
    )
    try:
        for text in gap or []:
            if "smp" not in text:  # those are checked where the sample rate is known
                parse_gap(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--gap") from None
    varied = [name for name, kind in KINDS.items() if kind.variants]
    if variants > 1 and kind_of_filler(method, model) not in varied:
        raise typer.BadParameter(
            f"method {method} has one result; --method {' or '.join(varied)} has many",
            param_hint="--variants",
        )
    if asked.given and given.any:
        raise typer.BadParameter(
            "they choose among findings, but the gaps are given",
            param_hint="--kinds, --min-confidence, --longest-ms",
        )
    selection = asked.selection()
    with batch.recordings(sources, target, file_format) as work:
        numbers = work.vary(variants)
        work.check_shown(picture, page, overwrite)
        found: dict[Path, list[Stretch]] = {}

        def inpaint_one(pair: "Pair", progress: "Progress") -> "InpaintReport":
            gaps_s = given.of(pair) or found.get(pair.source)
            if not gaps_s:
                told = gaps_to_fill(pair, work, selection, overwrite, as_json)
                gaps_s = found[pair.source] = told
            return inpaint_file(
                pair.source,
                pair.target,
                gaps_s,
                quality=quality,
                method=method,
                model=model,
                seed=seed + numbers[pair.target],
                overwrite=overwrite,
                bitrate=bitrate,
                progress=progress,
            )

        done = work.each("inpainting", inpaint_one)
        work.finish(done, _print_inpaint, as_json=as_json, picture=picture, page=page)


@app.command(
    rich_help_panel=_FILES,
    epilog=examples(
        "plc lose clean.wav lossy.wav --loss 10% --burst 3",
        "plc conceal lossy.wav heard.wav --trace lossy.trace",
    ),
)
def lose(
    source: Source,
    target: Target,
    loss: MaybeLoss = None,
    burst: MaybeBurst = None,
    seed: Seed = 0,
    trace: Trace = None,
    loop: Loop = False,
    packet_ms: PacketMs = 10.0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Lose packets of a recording on purpose; the trace is written beside the result."""
    from plc.repair.recordings import lose_file

    losses = _losses(trace, loop, loss, burst, seed)
    with progress_bar("losing") as progress:
        report = lose_file(
            source, target, losses, packet_ms=packet_ms, overwrite=overwrite, progress=progress
        )
    warn_of_clipping(report.clipped_samples, target)
    if as_json:
        print_json(report.as_dict())
        return
    share = 100 * report.lost_packets / report.packets
    say(
        f"lost {report.lost_packets} of {counted(report.packets, 'packet')} ({share:.1f} %) in "
        f"{counted(report.bursts, 'burst')}: {target}, {report.trace}"
    )


@app.command(
    rich_help_panel=_HERE,
    epilog=examples("plc doctor", "plc doctor --warm        in an image build"),
)
def doctor(
    warm: Annotated[
        bool, typer.Option("--warm", help="Compile every kernel into the cache first.")
    ] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Also time a start with nothing compiled (minutes).")
    ] = False,
    methods: Annotated[
        bool, typer.Option("--methods", help="Only list the methods of concealment.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine this machine: which parts run, and how fast."""
    if methods:
        _print_methods(as_json)
        return
    from plc.apps.doctor import examine

    with _status() as tell:
        health = examine(warm=warm, cold=cold, progress=tell)
    print_json(health.as_dict()) if as_json else _print_health(health)
    if health.problems:
        raise typer.Exit(REFUSED)


@app.command(
    rich_help_panel=_HERE,
    epilog=examples(
        "plc models", "plc models speech", "plc conceal in.wav out.wav --loss 10% --model speech"
    ),
)
def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Name or path of a model to describe."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the networks in the package: purpose, training, quality."""
    from plc.models.catalogue import LIST_COLUMNS, available, find, model_table, models_table

    found = available() if name is None else [find(name)]
    if as_json:
        print_json({"models": found})
        return
    shown = console()
    if name is None:
        shown.print(models_table(found), width=min(shown.width, LIST_COLUMNS))
    else:
        shown.print(model_table(found[0]))


def _handed_on(command: Callable[[typer.Context], None]) -> None:
    """Add a command that another package runs."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(rich_help_panel=_MEASURE, add_help_option=False, context_settings=settings)(command)


@_handed_on
def bench(ctx: typer.Context) -> None:
    """Measure quality and latency; plc bench --help lists the commands."""
    _benchmark(ctx.args)


def _benchmark(arguments: list[str]) -> None:
    try:
        from plc_bench.cli import app as bench_app
    except ImportError as error:
        raise MissingExtraError(
            f"plc bench needs {error.name}: {install_command('bench')}"
        ) from error
    status = bench_app(args=arguments, prog_name="plc bench", standalone_mode=False)
    if isinstance(status, int) and status:
        raise typer.Exit(status)


@_handed_on
def train(ctx: typer.Context) -> None:
    """Train a network as a recipe says; plc train --help says how."""
    _training("train", ctx.args)


@_handed_on
def export(ctx: typer.Context) -> None:
    """Write a trained network as a model; plc export --help says how."""
    _training("export", ctx.args)


for _commands in (detect, repair, generate, live, network, streams, embed, web):
    _commands.register(app)


def _training(command: str, arguments: list[str]) -> None:
    try:
        from plc_training.cli import app as training_app

        status = training_app(args=[command, *arguments], prog_name="plc", standalone_mode=False)
    except MissingExtraError:
        raise
    except ImportError as error:
        raise MissingExtraError(
            f"plc {command} needs {error.name}: {install_command('cpu', 'train')}"
        ) from error
    if isinstance(status, int) and status:
        raise typer.Exit(status)


def _losses(
    trace: Path | None, loop: bool, loss: float | None, burst: float | None, seed: int
) -> "LossSource":
    from plc.audio.loss import Bernoulli, GilbertElliott, TraceLosses, read_trace

    if (trace is None) == (loss is None):
        raise typer.BadParameter(
            "say which packets are lost by one of --trace FILE and --loss 10%",
            param_hint="--trace / --loss",
        )
    if trace is not None:
        return TraceLosses(read_trace(trace), loop, path=trace)
    assert loss is not None
    if burst is not None:
        if loss == 1.0:
            raise typer.BadParameter(
                "--loss 100% is one burst without end; leave --burst out, or lose less",
                param_hint="--burst",
            )
        return GilbertElliott(loss, burst).source(seed)
    return (GilbertElliott(loss) if loss < 1.0 else Bernoulli(loss)).source(seed)


@contextmanager
def _status() -> "Iterator[Any]":
    """Show the current step on stderr, if that is a terminal."""
    from rich.console import Console

    shown = Console(stderr=True)
    if not shown.is_terminal:
        yield None
        return
    with shown.status("starting") as status:
        yield status.update


def _print_demo(report: "DemoReport") -> None:
    from rich.table import Table

    table = Table(title=f"packets of {report.packet_ms:g} ms, lost in bursts")
    table.add_column("clip")
    table.add_column("played")
    judges = list(dict.fromkeys(name for row in report.rows for name in row.scores))
    for heading in ("error", "spectral distance", *judges, "time live, ms"):
        table.add_column(heading, justify="right")
    last = ""
    for row in report.rows:
        if last and row.clip != last:
            table.add_section()
        clip = "" if row.clip == last else f"{row.clip}, {100 * row.lost_share:.0f} % lost"
        # Of speech nobody hears whether the wave is the same.
        nmse = "" if row.clip == "speech" else f"{row.nmse_db:+.1f} dB"
        scores = [f"{row.scores[name]:.2f}" if name in row.scores else "" for name in judges]
        table.add_row(clip, row.label, nmse, f"{row.lsd_db:.1f} dB", *scores, row.time)
        last = row.clip
    shown = console()
    shown.print(table)
    lines = [
        "error: over the lost samples, silence has 0 dB; spectral distance: around the gaps; lower "
        "is better.",
        "time live: inside push for a lost packet, in real time: median / p99 of the limit.",
    ]
    if judges:
        lines.append(f"{' and '.join(judges)}: of speech, 1 to 5; higher is better.")
    # What is optional, and how to have it.
    left_out = [name for name in ("PLCMOS", "PESQ") if name not in judges]
    if left_out:
        command = f"pip install --no-deps speechmos; {install_command('bench')}"
        lines.append(f"To score speech by {' and '.join(left_out)}, too: {command}")
    if report.rival_problem:
        lines.append(f"To hear a codec beside it: {report.rival_problem}")
    if report.picture_problem:
        lines.append(f"To see spectrograms, too: {install_command('plots')}")
    for line in lines:
        shown.print(printable(line), soft_wrap=True, markup=False, highlight=False)
    shown.print(printable(f"listen: {report.folder}/{report.page}"), soft_wrap=True)
    pictures = f"; pictures: {', '.join(report.pictures)}" if report.pictures else ""
    heard = f"{report.folder}/CLIP-PLAYED.wav, such as {report.rows[-1].file}"
    shown.print(printable(f"files: {heard}{pictures}"), soft_wrap=True)


def _speech_judges() -> "dict[str, Judge]":
    """Return judges of speech, if the benchmarks are installed."""
    try:
        from plc_bench.scores.registry import METRICS
    except ImportError:
        return {}
    return {METRICS[name].label: METRICS[name].score for name in ("plcmos", "pesq")}


def _rivals() -> "dict[str, Rival]":
    """Return codecs that conceal by themselves, if the benchmarks are installed."""
    try:
        from plc_bench.peers.opus import peer
    except ImportError:
        return {}
    from plc.apps.demo import Rival

    return {"Opus": Rival(how="its decoder, at 64 kb/s", play=peer("opus").play)}


def _print_conceal(report: "ConcealReport", work: batch.Work, pair: "Pair") -> None:
    share = 100 * report.lost_packets / report.packets
    work.say(
        f"{f'{pair.name}: ' if work.to_folder else ''}concealed {report.lost_packets} of "
        f"{counted(report.packets, 'packet')} ({share:.1f} %), {report.duration_s:.2f} s of audio "
        f"in {report.elapsed_s:.2f} s ({report.real_time_factor:.0f} x real time)"
    )
    invalid = report.stats["invalid_packets"]
    if invalid:
        work.say(f"and {counted(invalid, 'packet')} with NaN or infinity in it")


def _print_inpaint(report: "InpaintReport", work: batch.Work, pair: "Pair") -> None:
    from plc.repair.interpolate import LONGEST_REFINED_GAP

    gaps = len(report.gaps)
    filled_ms = 1000 * sum(stop - start for start, stop in report.gaps) / report.sample_rate
    where = "stdout" if work.to_stdout else pair.target
    work.say(f"filled {counted(gaps, 'gap')}, {filled_ms:.1f} ms of {where}")
    partial = sum(len(hole.channels) < report.channels for hole in report.holes)
    if partial:
        work.say(f"{partial} of them not in all channels: what the others hold there is as it was")
    if report.damaged_samples:
        damaged = counted(report.damaged_samples, "damaged sample")
        work.say(f"with {damaged} beside them: muted, at full scale, or an isolated jump")
    if report.refined_gaps is not None and report.refined_gaps < gaps:
        longest_ms = 1000 * LONGEST_REFINED_GAP / report.sample_rate
        work.say(
            f"refined {report.refined_gaps} of {counted(gaps, 'gap')}: not those longer than "
            f"{longest_ms:.0f} ms, nor those with nothing to go by on one side"
        )


def _print_methods(as_json: bool) -> None:
    from plc.engine.methods import FILE_METHODS, METHODS

    methods = METHODS | FILE_METHODS
    if as_json:
        print_json(methods)
        return
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for name, description in methods.items():
        table.add_row(name, description)
    console().print(table)


def _print_health(health: "Health") -> None:
    from rich.table import Table
    from rich.text import Text

    from plc.apps.doctor import facts, ladder_text

    shown = console()
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    for name, value in facts(health):
        # Text: the brackets of an extra are no markup.
        table.add_row(name, Text(printable_lines(value)))
    shown.print(table)
    ladders = Table(title="What conceals, calibrated here")
    for heading in ("stream", "budget", "rung that a burst begins with"):
        ladders.add_column(heading)
    for ladder in health.ladders:
        ladders.add_row(ladder.format, f"{ladder.budget_ms:g} ms", ladder_text(ladder))
    shown.print(ladders)
    for problem in health.problems:
        say(f"plc: {problem}", err=True)
