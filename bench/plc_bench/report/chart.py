"""Curves as SVG text for a page: no font, no script, colours from the page's style sheet.

A chart is drawn in its own units, 640 by 300, and scales with the page. Series ``k`` looks as
:mod:`plc_bench.report.palette` says; its colour is ``var(--ck)`` of the page's style sheet, so that
it follows a dark page, and the legend shows the same line and marker.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from plc_bench.report import palette

WIDTH, HEIGHT = 640, 300
_DIGIT = 7  # no digit of the page's 12 pixels is wider
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 44
# A piece of the line in the legend.
_SAMPLE_WIDTH, _SAMPLE_HEIGHT = 34, 12


@dataclass(frozen=True, slots=True)
class Series:
    """A curve.

    Attributes
    ----------
    name : str
        For the legend.
    number : int
        Which colour, marker and dash of :mod:`plc_bench.report.palette` it has.
    x, y : sequence of float
        The points.
    low, high : sequence of float, optional
        An interval around each; NaN where none is known.
    """

    name: str
    number: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes
    ----------
    label : str
        What it shows, with its unit.
    ticks : sequence of (float, str)
        Where a line is drawn, and what stands there.
    logarithmic : bool
        Whether equal ratios are equally long.
    """

    label: str
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies between the first tick and the last, 0 to 1 and beyond."""
        low, high, at = (self._warped(one) for one in (self.ticks[0][0], self.ticks[-1][0], value))
        return (at - low) / (high - low) if high > low else 0.5

    def _warped(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def line_chart(series: Sequence[Series], x_axis: Axis, y_axis: Axis, title: str) -> str:
    """Return a chart with its legend as HTML."""
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">'
    ]
    for value, label in y_axis.ticks:
        y = _y(y_axis, value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
    for value, label in x_axis.ticks:
        x = _x(x_axis, value)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        inside = min(x, WIDTH - _DIGIT * len(label) / 2)
        parts.append(
            f'<text x="{inside:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
            f"{escape(label)}</text>"
        )
    parts.append(
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x_axis.label)}</text>"
    )
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_axis.label)}</text>"
    )
    parts += [_curve(one, x_axis, y_axis) for one in series]
    return "".join(parts) + "</svg>" + legend(series)


def legend(series: Sequence[Series]) -> str:
    """Return which line is which, as HTML."""
    entries = "".join(f"<span>{_sample(one.number)}{escape(one.name)}</span>" for one in series)
    return f'<div class="legend">{entries}</div>'


def round_ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """Return about ``count`` round values that reach from below ``low`` to above ``high``."""
    span = (high - low) or abs(high) or 1.0
    rough = span / count
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(decade * m for m in (1, 2, 2.5, 5, 10) if decade * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [(step * k, f"{step * k:.6g}") for k in range(first, max(last, first + 1) + 1)]


def decade_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return the powers of ten from below ``low`` to above ``high``, both above 0."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [(10.0**k, f"{10.0**k:g}") for k in range(first, max(last, first + 1) + 1)]


def _sample(number: int) -> str:
    """Return a piece of a series' line with its marker, for the legend."""
    middle = f"M{_SAMPLE_WIDTH / 2:g} {_SAMPLE_HEIGHT / 2:g}"
    return (
        f'<svg class="sample" viewBox="0 0 {_SAMPLE_WIDTH} {_SAMPLE_HEIGHT}" aria-hidden="true">'
        f'<path class="curve" d="M0 {_SAMPLE_HEIGHT / 2:g}H{_SAMPLE_WIDTH}" '
        f'style="{_line(number)}"/>'
        f'<path d="{middle}{palette.marker_path(number)}" style="fill:{_colour(number)}"/></svg>'
    )


def _colour(number: int) -> str:
    return f"var(--c{palette.colour(number)})"


def _line(number: int) -> str:
    """Return the style of a series' line."""
    dash = ",".join(map(str, palette.dash(number)))
    return f"stroke:{_colour(number)}" + (f";stroke-dasharray:{dash}" if dash else "")


def _curve(series: Series, x_axis: Axis, y_axis: Axis) -> str:
    colour = _colour(series.number)
    points = [
        f"{_x(x_axis, x):.1f} {_y(y_axis, y):.1f}" for x, y in zip(series.x, series.y, strict=True)
    ]
    if not points:
        return ""
    band = ""
    reach = zip(series.x, series.low, series.high, strict=True) if series.low else ()
    known = [(x, low, high) for x, low, high in reach if math.isfinite(low)]
    if known:
        upper = [f"{_x(x_axis, x):.1f} {_y(y_axis, high):.1f}" for x, _, high in known]
        lower = [f"{_x(x_axis, x):.1f} {_y(y_axis, low):.1f}" for x, low, _ in known]
        outline = "L".join(upper + lower[::-1])
        band = f'<path class="band" d="M{outline}Z" style="fill:{colour}"/>'
    path = palette.marker_path(series.number)
    dots = "".join(
        f'<path class="dot" d="M{point}{path}" style="fill:{colour}"/>' for point in points
    )
    name = escape(series.name)
    line = f'<path class="curve" d="M{"L".join(points)}" style="{_line(series.number)}"/>'
    return f"<g><title>{name}</title>{band}{line}{dots}</g>"


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    share = min(1.0, max(0.0, axis.share(value)))
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)
