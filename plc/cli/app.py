"""The ``plc`` command: parse, call one function, print its result.

Results go to stdout, progress and warnings to stderr. The status is 0 when the work is done, 1
when it was refused (one line on stderr says why), 2 when the command was misused, 130 after
Ctrl-C, 143 after SIGTERM. Everything heavy is imported inside the subcommand that needs it, so
that ``plc --help`` answers at once.
"""

import os
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
from plc.cli import embed, live, network, streams, web
from plc.cli.errors import REFUSED, flush, line_of, mend_streams
from plc.cli.options import (
    HELP,
    AsJson,
    Burst,
    Lookahead,
    Loss,
    Method,
    Model,
    PacketMs,
    Seed,
    Trace,
    share,
)
from plc.cli.output import Overwrite, Quality, print_json
from plc.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console

    from plc.apps.demo import DemoReport
    from plc.apps.doctor import Health
    from plc.audio.loss import LossSource
    from plc.repair.detect.files import DetectReport
    from plc.repair.recordings import ConcealReport, InpaintReport, Progress

# Panels of plc --help, in its order.
_FILES, _HERE, _MEASURE = "Files", "What runs here", "Measure and train"


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
            typer.echo(f"plc: {line}", err=True)
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


def _examples(*lines: str) -> str:
    """Return the examples of a help page, one a line."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in lines)])


app = typer.Typer(
    name="plc",
    cls=_Refusing,
    help="Conceal lost packets of live music and speech.",
    epilog=_examples(
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
    notice.listener = lambda line: typer.echo(f"plc: {line}", err=True)
    try:
        app(prog_name="plc")
    except Exception as error:  # before there is a subcommand: stdout under --help, above all
        line = line_of(error)
        if line is None:
            raise
        flush(sys.stdout)
        typer.echo(f"plc: {line}", err=True)
        raise SystemExit(REFUSED) from None
    except SystemExit as end:
        unwritten = flush(sys.stdout)
        if unwritten is None or end.code:  # a refusal has had its line
            raise
        typer.echo(f"plc: {line_of(unwritten)}", err=True)
        raise SystemExit(REFUSED) from None


def _version(wanted: bool) -> None:
    if wanted:
        from plc import __version__

        typer.echo(f"plc {__version__}")
        raise typer.Exit


Source = Annotated[Path, typer.Argument(metavar="IN", help="Audio file to read.")]
Target = Annotated[
    Path, typer.Argument(metavar="OUT", help="To write: .wav, .flac, .ogg, .opus or .mp3.")
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
    epilog=_examples(
        "plc demo",
        "plc demo --loss 20% --burst 3 --packet-ms 10 --out demo-20",
    ),
)
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("plc-demo"),
    loss: Loss = 0.1,
    burst: Burst = 2.0,
    packet_ms: PacketMs = 20.0,
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
            progress=tell,
        )
    if report.picture_problem:
        typer.echo(f"plc: no picture: {report.picture_problem}", err=True)
    print_json(report.as_dict()) if as_json else _print_demo(report)


@app.command(
    rich_help_panel=_FILES,
    epilog=_examples(
        "plc conceal damaged.wav good.wav --trace lost.trace",
        "plc conceal clean.flac heard.flac --loss 10% --burst 3 --packet-ms 20",
        "plc conceal clean.wav heard.wav --loss 5% --lookahead 1 --json",
    ),
)
def conceal(
    source: Source,
    target: Target,
    trace: Trace = None,
    loop: Loop = False,
    loss: MaybeLoss = None,
    burst: MaybeBurst = None,
    seed: Seed = 0,
    packet_ms: PacketMs = 10.0,
    lookahead: Lookahead = 0,
    method: Method = "auto",
    model: Model = "auto",
    budget_ms: Annotated[
        float,
        typer.Option(
            metavar="MS", help="Time limit for a lost packet; a shorter one gives cheaper methods."
        ),
    ] = float("inf"),
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Conceal a recording's lost packets, as a receiver would.

    With --trace the recording is damaged: samples of its lost packets are ignored.
    With --loss the recording is intact, and packets of it are lost first.
    """
    from plc.repair.recordings import conceal_file

    losses = _losses(trace, loop, loss, burst, seed)
    with _progress("concealing") as progress:
        report = conceal_file(
            source,
            target,
            losses,
            packet_ms=packet_ms,
            lookahead=lookahead,
            method=method,
            model=model,
            budget_ms=budget_ms,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    _warn_of_clipping(report.clipped_samples, target)
    print_json(report.as_dict()) if as_json else _print_conceal(report)


@app.command(
    rich_help_panel=_FILES,
    epilog=_examples(
        "plc inpaint damaged.wav good.wav                finds the gaps itself",
        "plc inpaint damaged.wav good.wav --gap 1.250:1.314 --gap 7.5:7.52",
        "plc inpaint damaged.flac good.flac --gaps gaps.txt --quality best",
        "plc inpaint lossy.wav good.wav --trace lossy.trace --packet-ms 20",
    ),
)
def inpaint(
    source: Source,
    target: Target,
    gap: Annotated[
        list[str] | None,
        typer.Option(metavar="START:STOP", help="A gap, in seconds; may be repeated."),
    ] = None,
    gaps: Annotated[
        Path | None, typer.Option(help="A text file of gaps, one START:STOP in seconds a line.")
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
    method: Method = "auto",
    model: Model = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Fill gaps of a recording from both of their sides.

    Without --gap, --gaps and --trace the gaps are what plc detect finds.

    Good and best refine gaps of up to 4096 samples (85 ms at 48 kHz).
    Longer gaps, and fast, get a blend of predictions from both sides.
    With --trace the gaps are its lost packets, filled better than plc conceal does.
    """
    from plc.audio.loss import TraceLosses, read_trace
    from plc.repair.gaps import parse_gap, read_gaps
    from plc.repair.recordings import inpaint_file, lost_gaps

    try:
        gaps_s = [parse_gap(text) for text in gap or []]
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--gap") from None
    if gaps is not None:
        gaps_s += read_gaps(gaps)
    if trace is not None:
        gaps_s += lost_gaps(source, TraceLosses(read_trace(trace), loop, path=trace), packet_ms)
    if not gaps_s:
        gaps_s = _found_gaps(source, target, overwrite, as_json)
    with _progress("inpainting") as progress:
        report = inpaint_file(
            source,
            target,
            gaps_s,
            quality=quality,
            method=method,
            model=model,
            overwrite=overwrite,
            progress=progress,
        )
    _warn_of_clipping(report.clipped_samples, target)
    if as_json:
        print_json(report.as_dict())
        return
    _print_inpaint(report, target)


@app.command(
    rich_help_panel=_FILES,
    epilog=_examples(
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
    with _progress("losing") as progress:
        report = lose_file(
            source, target, losses, packet_ms=packet_ms, overwrite=overwrite, progress=progress
        )
    _warn_of_clipping(report.clipped_samples, target)
    if as_json:
        print_json(report.as_dict())
        return
    share = 100 * report.lost_packets / report.packets
    typer.echo(
        f"lost {report.lost_packets} of {_count(report.packets, 'packet')} ({share:.1f} %) in "
        f"{_count(report.bursts, 'burst')}: {target}, {report.trace}"
    )


@app.command(
    rich_help_panel=_FILES,
    epilog=_examples(
        "plc detect damaged.wav",
        "plc detect damaged.mp3 --labels damage.txt --picture damage.png",
        "plc inpaint damaged.wav good.wav                finds the damage, too",
    ),
)
def detect(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Audio file to look at.")],
    labels: Annotated[Path | None, typer.Option(help="Write labels for Audacity here.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw a picture (PNG) here; needs matplotlib.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find the damage of a recording, knowing nothing of it.

    Muted and faded dropouts of up to 1 s, blocks that repeat, clicks, NaN.
    Confidence: 0.5, as likely as not, to 1, certain.
    """
    from plc.audio.files import check_new
    from plc.repair.detect.files import detect_file, write_labels

    for made in (labels, picture):
        if made is not None:
            check_new(made, overwrite)
    with _progress("looking") as progress:
        report = detect_file(source, progress=progress)
    if labels is not None:
        write_labels(labels, report)
    if picture is not None:
        from plc.apps.damage_picture import draw_damage

        draw_damage(picture, source, report)
    print_json(report.as_dict()) if as_json else _print_findings(report)


@app.command(
    rich_help_panel=_HERE,
    epilog=_examples("plc doctor", "plc doctor --warm        in an image build"),
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
    """Examine this machine: what runs, and how fast."""
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
    epilog=_examples(
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
    console = _console()
    if name is None:
        console.print(models_table(found), width=min(console.width, LIST_COLUMNS))
    else:
        console.print(model_table(found[0]))


def _handed_on(command: Callable[[typer.Context], None]) -> None:
    """Add a command that another package runs."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(rich_help_panel=_MEASURE, add_help_option=False, context_settings=settings)(command)


@_handed_on
def bench(ctx: typer.Context) -> None:
    """Measure quality and latency; plc bench --help lists what."""
    _benchmark(ctx.args)


def _benchmark(arguments: list[str]) -> None:
    try:
        from plc_bench.cli import app as bench_app
    except ImportError as error:
        raise MissingExtraError(
            f"plc bench needs {error.name}: pip install 'plc-engine[bench]'"
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


for _commands in (live, network, streams, embed, web):
    _commands.register(app)


def _training(command: str, arguments: list[str]) -> None:
    try:
        from plc_training.cli import app as training_app

        status = training_app(args=[command, *arguments], prog_name="plc", standalone_mode=False)
    except MissingExtraError:
        raise
    except ImportError as error:
        raise MissingExtraError(
            f"plc {command} needs {error.name}: pip install 'plc-engine[cpu,train]'"
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
def _progress(what: str) -> "Iterator[Progress]":
    """Show a bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda samples, total: bar.update(task, completed=samples, total=total)


@contextmanager
def _status() -> "Iterator[Any]":
    """Show the current step on stderr, if that is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status("starting") as status:
        yield status.update


def _console() -> "Console":
    from rich.console import Console

    # A program that reads a table through a pipe gets whole lines, unless it asks for others.
    asked = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if asked else 120, highlight=False, markup=False)


def _print_demo(report: "DemoReport") -> None:
    from rich.table import Table

    table = Table(title=f"packets of {report.packet_ms:g} ms, lost in bursts")
    table.add_column("clip")
    table.add_column("played")
    for heading in ("error", "spectral distance", "time, p50 / p99"):
        table.add_column(heading, justify="right")
    last = ""
    for row in report.rows:
        if last and row.clip != last:
            table.add_section()
        clip = "" if row.clip == last else f"{row.clip}, {100 * row.lost_share:.0f} % lost"
        times = "" if row.p50_ms is None else f"{row.p50_ms:.2f} / {row.p99_ms:.2f} ms"
        nmse, lsd = f"{row.nmse_db:+.1f} dB", f"{row.lsd_db:.1f} dB"
        table.add_row(clip, row.label, nmse, lsd, times)
        last = row.clip
    console = _console()
    console.print(table)
    console.print(
        "error: over the lost samples, silence has 0 dB; spectral distance: around the gaps; lower "
        "is better.\nNeither says much about speech: listen, or see PLCMOS in the README. "
        "time: inside push, for a lost packet.",
        soft_wrap=True,
    )
    pictures = f"; pictures: {', '.join(report.pictures)}" if report.pictures else ""
    heard = f"{report.folder}/CLIP-PLAYED.wav, such as {report.rows[-1].file}"
    console.print(f"files: {heard}{pictures}", soft_wrap=True)


def _print_conceal(report: "ConcealReport") -> None:
    share = 100 * report.lost_packets / report.packets
    typer.echo(
        f"concealed {report.lost_packets} of {_count(report.packets, 'packet')} ({share:.1f} %), "
        f"{report.duration_s:.2f} s of audio in {report.elapsed_s:.2f} s "
        f"({report.real_time_factor:.0f} x real time)"
    )
    invalid = report.stats["invalid_packets"]
    if invalid:
        typer.echo(f"and {_count(invalid, 'packet')} with NaN or infinity in it")


def _print_inpaint(report: "InpaintReport", target: Path) -> None:
    from plc.repair.interpolate import LONGEST_REFINED_GAP

    gaps = len(report.gaps)
    filled_ms = 1000 * sum(stop - start for start, stop in report.gaps) / report.sample_rate
    typer.echo(f"filled {_count(gaps, 'gap')}, {filled_ms:.1f} ms of {target}")
    if report.damaged_samples:
        damaged = _count(report.damaged_samples, "damaged sample")
        typer.echo(f"with {damaged} beside them: muted, at full scale, or an isolated jump")
    if report.refined_gaps is not None and report.refined_gaps < gaps:
        longest_ms = 1000 * LONGEST_REFINED_GAP / report.sample_rate
        typer.echo(
            f"refined {report.refined_gaps} of {_count(gaps, 'gap')}: not those longer than "
            f"{longest_ms:.0f} ms, nor those with nothing to go by on one side"
        )


def _found_gaps(
    source: Path, target: Path, overwrite: bool, as_json: bool
) -> list[tuple[float, float]]:
    """Return the damage of a recording as gaps; say what was found."""
    from plc.audio.files import check_target
    from plc.errors import AudioFileError
    from plc.repair.detect.files import detect_file

    check_target(target, source, overwrite)
    with _progress("looking") as progress:
        report = detect_file(source, progress=progress)
    if not report.findings:
        raise AudioFileError(
            f"no damage found in {source}; say where it is: --gap START:STOP, --gaps FILE or "
            "--trace FILE"
        )
    if not as_json:
        typer.echo(_found(report))
    return report.gaps_s


def _found(report: "DetectReport") -> str:
    counts = ", ".join(f"{number} {kind}" for kind, number in report.counts().items())
    places = _count(len(report.findings), "place")
    return f"found {places} of damage in {report.duration_s:.1f} s{': ' if counts else ''}{counts}"


def _print_findings(report: "DetectReport") -> None:
    from rich.table import Table

    if report.findings:
        table = Table(box=None)
        for heading in ("start", "length", "kind", "confidence", "channels"):
            table.add_column(heading, justify="left" if heading == "kind" else "right")
        for each, (start_s, stop_s) in zip(report.findings, report.gaps_s, strict=True):
            length_ms = 1000 * (stop_s - start_s)
            channels = ",".join(str(channel + 1) for channel in each.channels)
            table.add_row(
                f"{start_s:.4f} s",
                f"{length_ms:.1f} ms",
                each.kind,
                f"{each.confidence:.2f}",
                "all" if len(each.channels) == report.channels else channels,
            )
        _console().print(table)
    typer.echo(_found(report))


def _print_methods(as_json: bool) -> None:
    from plc import METHODS

    if as_json:
        print_json(METHODS)
        return
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for name, description in METHODS.items():
        table.add_row(name, description)
    _console().print(table)


def _print_health(health: "Health") -> None:
    from rich.table import Table
    from rich.text import Text

    from plc.apps.doctor import facts, ladder_text

    console = _console()
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    for name, value in facts(health):
        # Text: the brackets of an extra are no markup.
        table.add_row(name, Text(value))
    console.print(table)
    ladders = Table(title="What conceals, calibrated here")
    for heading in ("stream", "budget", "rung that a burst begins with"):
        ladders.add_column(heading)
    for ladder in health.ladders:
        ladders.add_row(ladder.format, f"{ladder.budget_ms:g} ms", ladder_text(ladder))
    console.print(ladders)
    for problem in health.problems:
        typer.echo(f"plc: {problem}", err=True)


def _warn_of_clipping(clipped_samples: int, target: Path) -> None:
    if clipped_samples:
        typer.echo(
            f"plc: warning: {_count(clipped_samples, 'sample')} beyond full scale clipped in "
            f"{target}; a float WAV source keeps them in a .wav target",
            err=True,
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
