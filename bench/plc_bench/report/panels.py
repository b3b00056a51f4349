"""Panels: curves on axes side by side, as a picture file or as SVG text for a page.

matplotlib draws them, with one legend beside them. On a page a colour is ``var(--ck)`` of the style
sheet, so that a chart follows a dark page.

Series ``k`` has a colour, a marker and a dash. Any two of the first :data:`DISTINCT` differ in at
least two of the three, so that neither a colour-blind reader nor a grey print mixes them up::

    k         0 … 7    8 … 15   16 … 23   24 … 31
    colour    k mod 8
    dash      none     long     short     both
    marker    k mod 8, begun three later with each dash

The colours are those of Okabe and Ito ("Color Universal Design", 2008) without black and yellow,
which vanish on one of the two grounds, and with an olive and a grey in their place; the page has
its own for a dark ground, in the same order.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from plc.errors import ConfigError
from plc.files.pages.picture import blank_figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a6548a", "#c98500", "#2f8fc7", "#6b6b00", "#5a616d")
# Lengths of dash and space in line widths; none is a solid line.
DASHES: tuple[tuple[int, ...], ...] = ((), (9, 4), (3, 3), (9, 3, 2, 3))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DISTINCT = len(COLOURS) * len(DASHES)

_PANEL_INCHES = (5.0, 4.2)
_ACROSS = 4
_LEGEND_INCHES = 2.2
_DPI = 120
# A marker at each of many points would hide the curve.
_MARKERS = 12
_BAND_ALPHA = 0.13
_GRID = "#d9dbe0"
# Colours of the page's style sheet, by the colour that matplotlib writes.
_PAGE_COLOURS = {
    "#000000": "var(--soft)",
    _GRID: "var(--line)",
    **{colour: f"var(--c{k})" for k, colour in enumerate(COLOURS)},
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a panel.

    Attributes
    ----------
    style : mapping, arguments of matplotlib's ``plot``
    low, high : sequence of float, optional
        An interval around each point; NaN where it is unknown.
    """

    name: str
    style: Mapping[str, Any]
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves on the same axes."""

    curves: Sequence[Curve]
    x_label: str
    y_label: str
    title: str = ""


def line_style(k: int) -> dict[str, Any]:
    """Return matplotlib's arguments of ``plot`` for series ``k``."""
    round_number = k // len(COLOURS)
    dashes = DASHES[round_number % len(DASHES)]
    return {
        "color": COLOURS[k % len(COLOURS)],
        "linestyle": (0, dashes) if dashes else "-",
        "marker": MARKERS[(k + 3 * round_number) % len(MARKERS)],
    }


def draw_panels(path: Path, panels: Sequence[Panel]) -> None:
    """Draw panels side by side (PNG, SVG, PDF); raise as :func:`save`."""
    save(figure_of(panels), path)


def figure_of(panels: Sequence[Panel], inches: tuple[float, float] | None = None) -> Any:
    """Draw panels in rows, with one legend; ``inches`` are width and height of all."""
    width, height = _PANEL_INCHES
    across = min(len(panels), _ACROSS)
    down = -(-len(panels) // _ACROSS)
    figure = blank_figure(*(inches or (width * across + _LEGEND_INCHES, height * down)))
    legend: dict[str, Any] = {}
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.remove()
    for panel, axes in zip(panels, places, strict=False):
        for curve in panel.curves:
            every = max(1, len(curve.x) // _MARKERS)
            (line,) = axes.plot(curve.x, curve.y, markersize=5, markevery=every, **curve.style)
            legend.setdefault(curve.name, line)
            if curve.low:
                colour = curve.style["color"]
                axes.fill_between(
                    curve.x, curve.low, curve.high, color=colour, alpha=_BAND_ALPHA, linewidth=0
                )
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label, title=panel.title)
        axes.grid(color=_GRID)
    figure.legend(
        legend.values(),
        legend.keys(),
        loc="outside right upper",
        fontsize="small",
        frameon=False,
        handlelength=4.0,  # room for two dashes
    )
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a figure to a picture file.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    try:
        figure.savefig(path, dpi=_DPI)
    except (OSError, ValueError) as error:  # ValueError: the suffix names no format
        raise ConfigError(f"cannot write {path}: {error}") from error


def svg(figure: Any, label: str) -> str:
    """Return a figure as SVG with the page's colours and font."""
    from matplotlib import rc_context

    stream = io.StringIO()
    # The salt makes the marks' identifiers the same in every run, and another for each chart.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(stream, format="svg", transparent=True)
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for written, shown in _PAGE_COLOURS.items():
        text = text.replace(written, shown)
    text = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font: \1 system-ui, sans-serif", text)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', head)
    assert box
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return (
        f'<svg class="chart" {namespaces} {box[0]} role="img" aria-label="{escape(label)}">'
        f"{body.strip()}"
    )
