"""The command ``plc lose``, and losses on purpose for ``plc conceal``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plc.cli.options import AsJson, Loop, PacketMs, Seed, Trace, examples, share
from plc.cli.output import Overwrite, print_json, say
from plc.files.cli.batch import progress_bar, warn_of_clipping
from plc.notice import counted

if TYPE_CHECKING:
    from plc.engine.loss import LossSource

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


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    lines = examples(
        "plc lose clean.wav lossy.wav --loss 10% --burst 3",
        "plc conceal lossy.wav heard.wav --trace lossy.trace",
    )
    app.command(rich_help_panel="Files", epilog=lines)(lose)


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
    from plc.files.streamed import lose_file

    losses = losses_of(trace, loop, loss, burst, seed)
    with progress_bar("losing") as progress:
        report = lose_file(
            source, target, losses, packet_ms=packet_ms, overwrite=overwrite, progress=progress
        )
    warn_of_clipping(report.clipped_samples, target)
    if as_json:
        print_json(report)
        return
    lost_share = 100 * report.lost_packets / report.packets
    say(
        f"lost {report.lost_packets} of {counted(report.packets, 'packet')} "
        f"({lost_share:.1f} %) in "
        f"{counted(report.bursts, 'burst')}: {target}, {report.trace}"
    )
    if not report.lost_packets:
        say(NOTHING_LOST)


NOTHING_LOST = "no packet was lost: give another --seed, a shorter --burst or a higher --loss"
"""Said where losses drawn at random hit nothing."""


def check_losses(trace: Path | None, loss: float | None, burst: float | None) -> None:
    """Raise BadParameter if options ask for no losses or for two."""
    if (trace is None) == (loss is None):
        raise typer.BadParameter(
            "say which packets are lost by one of --trace FILE and --loss 10%",
            param_hint="--trace / --loss",
        )
    if loss == 1.0 and burst is not None:
        raise typer.BadParameter(
            "--loss 100% is one burst without end; leave --burst out, or lose less",
            param_hint="--burst",
        )


def losses_of(
    trace: Path | None, loop: bool, loss: float | None, burst: float | None, seed: int
) -> "LossSource":
    """Return the losses that options ask for, as :func:`check_losses` permits."""
    from plc.engine.loss import Bernoulli, GilbertElliott, TraceLosses
    from plc.engine.trace_files import read_trace

    check_losses(trace, loss, burst)
    if trace is not None:
        return TraceLosses(read_trace(trace), loop, path=trace)
    assert loss is not None
    if burst is not None:
        return GilbertElliott(loss, burst).source(seed)
    return (GilbertElliott(loss) if loss < 1.0 else Bernoulli(loss)).source(seed)
