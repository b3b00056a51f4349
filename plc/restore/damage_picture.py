"""A picture of a recording's damage: where it lies, and some places at close range.

Above stands the whole recording, each finding in the colour of its kind, doubtful ones dotted;
below, the waveform around up to six findings, the most certain of each kind first. The file is read
once more, block by block. Needs matplotlib.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plc.files.audio import AudioReader
from plc.files.pages.picture import blank_figure, save
from plc.files.pages.repaired import which
from plc.notice import counted
from plc.restore.detect.findings import Finding
from plc.restore.detect.recorded import DetectReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "invalid": "#7a3fa0",
    "silence": "#d1362f",
    "repeat": "#d98a00",
    "dropout": "#1f8a5b",
    "alternate": "#7d6b2e",
    "click": "#1f5fa8",
    "lost": "#4a4a4a",
}
_COLUMNS = 1600
_CLOSE = 6
_MARGIN_S = 0.012


def draw_damage(path: Path, source: Path, report: DetectReport) -> None:
    """Write a PNG picture of a recording and its damage.

    Parameters
    ----------
    path : Path
        The picture; replaced if it exists.
    source : Path, the recording
    report : DetectReport
        What was found in it.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    AudioFileError
        If ``path`` cannot be written.
    """
    shown = _shown(report.findings)
    rows = -(-len(shown) // 3)
    figure = blank_figure(13.0, 3.2 + 2.2 * rows)
    lows, highs, pieces = _read(source, report, shown)
    grid = figure.add_gridspec(1 + rows, 3)
    _draw_whole(figure.add_subplot(grid[0, :]), report, lows, highs)
    for k, (finding, piece) in enumerate(zip(shown, pieces, strict=True)):
        axes = figure.add_subplot(grid[1 + k // 3, k % 3])
        _draw_close(axes, report, finding, piece)
    told = counted(len(report.damage), "place")
    told += f", and {len(report.doubtful)} doubtful" if report.doubtful else ""
    figure.suptitle(f"{source.name}: {told}", fontsize="x-large")
    save(figure, path)


def _shown(findings: tuple[Finding, ...]) -> list[Finding]:
    """Return the findings to look at: kinds take turns, each in order of confidence."""
    turns: dict[str, int] = {}
    ranked = []
    for each in sorted(findings, key=lambda each: -each.confidence):
        turns[each.kind] = turns.get(each.kind, 0) + 1
        ranked.append((turns[each.kind], each.start, each))
    chosen = [each for _, _, each in sorted(ranked, key=lambda one: one[:2])[:_CLOSE]]
    return sorted(chosen, key=lambda each: each.start)


def _read(
    source: Path, report: DetectReport, shown: list[Finding]
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32]]]:
    """Read the extremes of each column, and the pieces around findings."""
    margin = round(_MARGIN_S * report.sample_rate)
    width = max(1, -(-report.samples // _COLUMNS))
    lows = np.zeros(-(-report.samples // width), np.float32)
    highs = np.zeros_like(lows)
    spans = [(max(0, each.start - margin), each.stop + margin) for each in shown]
    pieces: list[list[NDArray[np.float32]]] = [[] for _ in shown]
    at = 0
    with AudioReader(source) as reader:
        for block in reader.stream(width * max(1, reader.sample_rate // width)):
            bounded = np.clip(np.nan_to_num(block, posinf=0.0, neginf=0.0), -1.0, 1.0)
            for start in range(0, len(block), width):
                lows[(at + start) // width] = bounded[start : start + width].min()
                highs[(at + start) // width] = bounded[start : start + width].max()
            for (start, stop), finding, piece in zip(spans, shown, pieces, strict=True):
                cut = block[max(0, start - at) : max(0, stop - at), finding.channels[0]]
                piece.append(cut)
            at += len(block)
    return lows, highs, [np.concatenate(piece) for piece in pieces]


def _draw_whole(
    axes: "Axes", report: DetectReport, lows: NDArray[np.float32], highs: NDArray[np.float32]
) -> None:
    times = np.linspace(0.0, report.duration_s, lows.size)
    axes.fill_between(times, lows, highs, color="0.6", linewidth=0.0)
    peak = 1.25 * float(max(np.abs(lows).max(), np.abs(highs).max())) or 1.0
    for kind, colour in COLOURS.items():
        of_kind = [each for each in report.findings if each.kind == kind]
        if of_kind:
            middles = [(each.start + each.stop) / 2 / report.sample_rate for each in of_kind]
            doubtful = sum(bool(each.doubt) for each in of_kind)
            label = f"{kind} ({len(of_kind)}{f', {doubtful} doubtful' if doubtful else ''})"
            styles: Any = ["dotted" if each.doubt else "solid" for each in of_kind]
            axes.vlines(
                middles, -peak, peak, color=colour, linewidth=1.0, linestyles=styles, label=label
            )
    axes.set_xlim(0.0, report.duration_s)
    axes.set_ylim(-peak, peak)
    axes.set_yticks([])
    axes.set_xlabel("time (s)")
    if report.findings:
        axes.legend(loc="upper right", ncols=len(COLOURS))


def _draw_close(
    axes: "Axes", report: DetectReport, finding: Finding, piece: NDArray[np.float32]
) -> None:
    rate = report.sample_rate
    first = max(0, finding.start - round(_MARGIN_S * rate))
    time_ms: Any = (np.arange(piece.size) + first - finding.start) * 1000 / rate
    colour = COLOURS[finding.kind]
    length_ms = (finding.stop - finding.start) * 1000 / rate
    axes.axvspan(0.0, length_ms, color=colour, alpha=0.15)
    axes.plot(time_ms, piece, color="0.2", linewidth=0.9)
    axes.set_xlim(time_ms[0], time_ms[-1])
    sound = piece[np.isfinite(piece)]
    peak = 1.25 * float(np.abs(sound).max() if sound.size else 0.0) or 1.0
    axes.set_ylim(-peak, peak)
    axes.set_yticks([])
    where = which(finding.among(report.channels))
    title = f"{finding.kind} at {finding.start / rate:.3f} s, {length_ms:.1f} ms{where}"
    doubt = f"\ndoubtful: {finding.doubt}" if finding.doubt else ""
    axes.set_title(f"{title}{doubt}", loc="left", color=colour)
    axes.set_xlabel("time (ms)")
