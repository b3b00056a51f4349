"""Network captures among the recordings of the workshop: their losses are damage."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plc.cli.output import print_json, say
from plc.files.cli import batch
from plc.notice import counted
from plc.transport.cli.captures import OFFLINE, among, is_capture, play_capture
from plc.transport.cli.options import DescribedOptions, ReceiverOptions

if TYPE_CHECKING:
    from plc.files.fill.signals import FillSettings
    from plc.restore.detect.findings import Selection
    from plc.restore.detect.recorded import DetectReport


@contextmanager
def recordings_of(
    sources: Sequence[Path], options: DescribedOptions, name: str = ""
) -> Iterator[tuple[list[Path], dict[Path, list[tuple[int, int]]], Path]]:
    """Yield sources with captures as recordings, the losses of those, and their folder.

    ``name`` is that of a stream's recording; by default the capture's.
    """
    from plc.files.scratch import scratch

    received = ReceiverOptions(method="burg", **OFFLINE)
    among(sources, options)
    with scratch() as folder:
        found: list[Path] = []
        lost: dict[Path, list[tuple[int, int]]] = {}
        for number, source in enumerate(sources):
            if not is_capture(source):
                found.append(source)
                continue
            within = folder / str(number) if lost else folder  # two may have one name
            within.mkdir(exist_ok=True)
            target = within / (name or source.with_suffix(".wav").name)
            for each in play_capture(source, target, options, received, conceals=False)[0]:
                if each.samples:
                    found.append(each.target)
                    lost[each.target] = each.lost
        yield found, lost, folder


def with_losses(
    report: "DetectReport", lost: list[tuple[int, int]], selection: "Selection"
) -> "DetectReport":
    """Return a report in which a stream's losses replace the findings at their places."""
    from plc.restore.detect.findings import Finding

    losses = [Finding(*each, "lost", 1.0, tuple(range(report.channels))) for each in lost]
    starts = [start for start, _ in lost]
    apart = [
        each
        for each in report.findings
        if not (at := bisect_left(starts, each.stop)) or lost[at - 1][1] <= each.start
    ]
    asked = selection.of(losses, report.sample_rate)
    findings = tuple(sorted([*asked, *apart], key=lambda each: each.start))
    return replace(report, findings=findings, left_out=report.left_out + len(losses) - len(asked))


def repair_capture(
    source: Path,
    out: Path,
    options: DescribedOptions,
    settings: "FillSettings",
    selection: "Selection",
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the streams of a capture, their gaps filled from both sides."""
    from plc.files.jobs import make_folders
    from plc.files.recordings import inpaint_file
    from plc.files.writing import WRITABLE_SUFFIXES
    from plc.restore.detect.recorded import detect_file
    from plc.restore.folders import Folder
    from plc.whole_files import check_new

    to_file = out.suffix.lower() in WRITABLE_SUFFIXES
    folder = out.parent if to_file else out
    with recordings_of([source], options, out.name if to_file else "") as (found, lost, _):
        made = [folder / path.name for path in found]
        for path in made:
            check_new(path, overwrite)
        make_folders(made)
        told = []
        for path, target in zip(found, made, strict=True):
            filled: dict[str, Any] = {"gaps": []}
            with batch.progress_bar(f"repairing {target.name}") as progress:
                report = detect_file(path, selection=selection, progress=progress)
                if gaps_s := with_losses(report, lost[path], selection).gaps_s:
                    done = inpaint_file(path, target, gaps_s, settings=settings,
                                        overwrite=overwrite, progress=progress)  # fmt: skip
                    filled = done.as_dict()
                else:
                    Folder(str(folder)).store(path, path.name, overwrite)
            told.append({"target": str(target), **filled})
            if not as_json:
                gaps, rate = filled["gaps"], report.sample_rate
                filled_ms = 1000 * sum(stop - start for start, stop in gaps) / rate
                say(f"filled {counted(len(gaps), 'gap')}, {filled_ms:.1f} ms of {target}")
    if as_json:
        print_json({"streams": told})
