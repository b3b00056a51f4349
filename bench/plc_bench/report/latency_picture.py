"""Latency over rarity as a picture, as HdrHistogram draws it: ``plc bench latency --picture``.

The axis is logarithmic in how rare a call is: 50 %, 90 %, 99 %, … are equally far apart, so that
what one packet in 10 000 takes has as much room as what every second one takes.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from plc.engine.stats import TimeHistogram
from plc.errors import ConfigError, MissingExtraError
from plc_bench.report.palette import line_style
from plc_bench.timing.latency import KINDS, LatencyReport, LatencyRow
from plc_bench.timing.times import merged, rarity_curve

_PANEL_INCHES = (7.0, 4.4)
_DPI = 110
# More curves in a panel are a tangle.
_MOST_CURVES = 10
# On a curve of many points, a marker for each would hide it.
_MARKERS = 12
_GREY = "#8a8f98"
# The same in every panel, whichever of them it has.
_STYLES = {
    KINDS["good"]: line_style(0),
    KINDS["concealed"]: line_style(1),
    KINDS["answer"]: line_style(2),
    KINDS["first"]: line_style(3),
    KINDS["null_loop"]: {"color": _GREY, "linestyle": "--"},
    KINDS["null_answer"]: {"color": _GREY, "linestyle": ":"},
}

Curves = Mapping[str, TimeHistogram]


def draw(path: Path, report: LatencyReport) -> None:
    """Write a picture with a panel for each mode.

    One combination: all kinds of calls. Several: lost packets of each, or the time from the loss
    to the audio where calls are paced, and the null loop of the first.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    ConfigError
        If nothing was measured, or ``path`` cannot be written.
    """
    panels = {mode: curves for mode, curves in panels_of(report.rows).items() if curves}
    if not panels:
        raise ConfigError("nothing was measured, so there is no picture")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "--picture needs matplotlib: pip install 'plc-engine[plots]'"
        ) from error
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for (title, curves), panel in zip(panels.items(), axes, strict=True):
        for number, (name, histogram) in enumerate(curves.items()):
            rarity, took_ms = rarity_curve(histogram)
            style = _STYLES.get(name) or line_style(number)
            every = max(1, len(rarity) // _MARKERS)
            panel.plot(rarity, took_ms, label=name, markevery=every, **style)
        rarest = max(histogram.total for histogram in curves.values())
        ticks = rarity_ticks(rarest)
        panel.set(xscale="log", yscale="log", title=title, ylabel="ms", xlabel="percentile")
        panel.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    figure.suptitle(f"{report.machine['cpu']}, {report.machine['system']}", fontsize="small")
    try:
        figure.savefig(path, dpi=_DPI)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write {path}: {error}") from error


def panels_of(rows: Sequence[LatencyRow]) -> dict[str, Curves]:
    """Return the curves of each panel, by their names."""
    if len({row.settings for row in rows}) == 1:
        return {f"{row.mode}: {row.settings.name}": _kinds(row) for row in rows}
    panels: dict[str, dict[str, TimeHistogram]] = {}
    for row in rows:
        kind = "answer" if "answer" in row.histograms else "concealed"
        title = f"{row.mode}: {KINDS[kind]}"
        curves = panels.setdefault(title, {})
        if not curves:
            null = "null_answer" if "null_answer" in row.histograms else "null_loop"
            curves[KINDS[null]] = merged(row.histograms[null])
        if kind in row.histograms and len(curves) <= _MOST_CURVES:
            curves[row.settings.name] = merged(row.histograms[kind])
    return {title: dict(curves) for title, curves in panels.items()}


def rarity_ticks(rarest: int) -> list[tuple[float, str]]:
    """Return where the percentiles 0, 50, 90, 99, … stand on the axis, up to the rarest."""
    decades = max(1, math.ceil(math.log10(max(rarest, 2))))
    nines = [(10.0**k, f"{100 - 10.0 ** (2 - k):.{max(0, k - 2)}f} %") for k in range(decades + 1)]
    return [nines[0], (2.0, "50 %"), *nines[1:]]


def _kinds(row: LatencyRow) -> Curves:
    return {KINDS[kind]: merged(each) for kind, each in row.histograms.items()}
