"""The command ``plc detect``, and its findings for ``plc inpaint``."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from plc.cli.options import AsJson, examples, with_options
from plc.cli.output import Overwrite, console, say
from plc.files.cli import batch
from plc.notice import counted
from plc.restore.cli.captures import recordings_of, with_losses
from plc.transport.cli.options import DescribedOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from plc.files.audio import Progress
    from plc.files.fill.gaps import Stretch
    from plc.files.jobs import Pair
    from plc.restore.detect.findings import Selection
    from plc.restore.detect.recorded import DetectReport

# Doubtful places that a refusal names, and that a table does: a gate has hundreds.
_NAMED, _ROWS = 3, 10


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    lines = examples(
        "plc detect damaged.wav",
        "plc detect damaged.mp3 --labels damage.txt",
        "plc detect tapes/ more/*.flac --labels labels/ --kinds click,silence",
        "plc detect call.pcap                            what its RTP streams lack",
        "plc inpaint damaged.wav good.wav                finds the damage, too",
    )
    app.command(rich_help_panel="Files", epilog=lines)(detect)


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Options that say which damage is asked for."""

    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,…",
            help="Only these kinds: silence, dropout, repeat, click, alternate, invalid, lost.",
            show_default="all",
        ),
    ] = None
    min_confidence: Annotated[
        float, typer.Option(metavar="0…1", help="Only damage of at least this confidence.")
    ] = 0.0
    longest_ms: Annotated[
        float, typer.Option(metavar="MS", help="Only damage up to this long.", show_default="any")
    ] = math.inf
    doubtful: batch.Doubtful = False

    @property
    def given(self) -> bool:
        """True if any chooses among findings; doubtful ones may be in labels, too."""
        return replace(self, doubtful=False) != SelectionOptions()

    @property
    def selection(self) -> "Selection":
        """The selection that options ask for; raises ConfigError if it is impossible."""
        from plc.restore.detect.findings import Selection

        kinds = (self.kinds or "").split(",") if self.kinds is not None else []
        return Selection(
            kinds=tuple(kind.strip() for kind in kinds),
            min_confidence=self.min_confidence,
            longest_ms=self.longest_ms,
            doubtful=self.doubtful,
        )


@with_options
def detect(
    *,
    sources: batch.Sources,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|DIR/", help="Write labels for Audacity; a folder for several files."
        ),
    ] = None,
    asked: SelectionOptions,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    captured: DescribedOptions,
) -> None:
    """Find damage in recordings.

    Muted and faded dropouts of up to 1 s, blocks that repeat, clicks, NaN.
    Confidence: 0.5, as likely as not, to 1, certain.
    In a folder labels are NAME.wav.txt; empty where nothing is found.
    Doubtful places are marked, and --gaps skips them without --doubtful.
    Of a network capture (pcap, pcapng) also lost packets, in the time of each RTP stream.
    """
    from plc.restore.detect.recorded import detect_file, write_labels

    selection = asked.selection
    with (
        recordings_of(sources, captured) as (found, lost, folder),
        batch.recordings(found, None) as work,
    ):
        work.folder = folder if lost else work.folder
        made = {} if labels is None else batch.beside(labels, work, ".txt", overwrite)

        def look(pair: "Pair", progress: "Progress") -> "DetectReport":
            report = detect_file(pair.source, selection=selection, progress=progress)
            if pair.source in lost:
                report = with_losses(report, lost[pair.source], selection)
            if made:
                write_labels(made[pair.name], report, overwrite)
            return report

        done = []
        for pair, report in work.looked_at("looking", look):
            done.append((pair, report))
            if not as_json:
                _print(report, pair.name if work.to_folder else "")
        if as_json:
            work.print_json(done)
        work.end(len(done))


def damage_finder(doubtful: bool) -> "Callable[[Pair, batch.Work, bool], list[Stretch]]":
    """Return a function that finds the damage of a recording as gaps, and prints it."""
    from plc.restore.detect.findings import Selection

    selection = Selection(doubtful=doubtful)

    def find(pair: "Pair", work: batch.Work, as_json: bool) -> "list[Stretch]":
        from plc.errors import AudioFileError
        from plc.restore.detect.recorded import detect_file

        with batch.progress_bar(f"looking at {pair.name}") as progress:
            report = detect_file(pair.source, selection=selection, progress=progress)
        if not report.damage:
            raise AudioFileError(
                f"no damage found in {pair.source}{_doubtful(report)}{_left_out(report)}"
                f"{_named(report)}; or say where it is: --gap START:STOP, --gaps FILE, --mask FILE "
                "or --trace FILE"
            )
        if not as_json:
            work.say(_found(report))
        return report.gaps_s

    return find


def _named(report: "DetectReport") -> str:
    """Return the first doubtful places, as ``--gap`` takes them."""
    rate = report.sample_rate
    told = [
        f"--gap {each.start / rate:.6f}:{each.stop / rate:.6f} ({each.kind}: {each.doubt})"
        for each in report.doubtful[:_NAMED]
    ]
    if not told:
        return ""
    more = len(report.doubtful) - len(told)
    others = f", and {more} more: plc detect --json lists them" if more else ""
    return f"; to fill them anyway: {' '.join(told)}{others}; or --doubtful for all"


def _print(report: "DetectReport", name: str) -> None:
    from rich.table import Table

    from plc.restore.detect.recorded import channels_of

    doubtful = report.doubtful[:_ROWS]
    shown = [each for each in report.findings if not each.doubt or each in doubtful]
    if shown:
        table = Table(box=None)
        for heading in ("start", "length", "kind", "confidence", "channels", "doubtful"):
            left = heading in ("kind", "doubtful")
            table.add_column(heading, justify="left" if left else "right")
        rate = report.sample_rate
        for each in shown:
            start_s, length_ms = each.start / rate, 1000 * (each.stop - each.start) / rate
            table.add_row(
                f"{start_s:.4f} s",
                f"{length_ms:.1f} ms",
                each.kind,
                f"{each.confidence:.2f}",
                channels_of(each, report.channels),
                each.doubt,
            )
        console().print(table)
    if more := len(report.findings) - len(shown):
        say(f"and {counted(more, 'more doubtful place')}: --json lists all")
    say(f"{name}: {_found(report)}" if name else _found(report))


def _found(report: "DetectReport") -> str:
    kinds = [each.kind for each in report.damage]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    places = counted(len(kinds), "place")
    told = f"found {places} of damage in {report.duration_s:.1f} s{': ' if counts else ''}{counts}"
    return told + _doubtful(report) + _left_out(report)


def _doubtful(report: "DetectReport") -> str:
    doubts = [each.doubt for each in report.doubtful]
    if not doubts:
        return ""
    reasons = ", ".join(f"{doubts.count(doubt)} {doubt}" for doubt in dict.fromkeys(doubts))
    return f"; {counted(len(doubts), 'doubtful place')}, not filled ({reasons})"


def _left_out(report: "DetectReport") -> str:
    if not report.left_out:
        return ""
    return f"; {counted(report.left_out, 'place')} left out by the options"
