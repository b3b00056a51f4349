import math
import re
from importlib import resources
from itertools import combinations
from xml.etree import ElementTree

import pytest

from plc_bench.report import palette
from plc_bench.report.chart import (
    HEIGHT,
    WIDTH,
    Axis,
    Series,
    decade_ticks,
    line_chart,
    round_ticks,
)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-7.3, 2.1), (0.0, 140.0), (1e-3, 2e-3), (5.0, 5.0), (0.0, 0.0)]
)
def test_ticks_are_round_and_reach_over_the_values(low: float, high: float) -> None:
    values = [value for value, _ in round_ticks(low, high)]
    assert values[0] <= low + 1e-12
    assert values[-1] >= high - 1e-12
    assert 2 <= len(values) <= 12
    assert all(float(label) == pytest.approx(value) for value, label in round_ticks(low, high))


def test_decades_reach_over_the_values() -> None:
    assert [label for _, label in decade_ticks(0.02, 30.0)] == ["0.01", "0.1", "1", "10", "100"]
    assert len(decade_ticks(1.0, 1.0)) == 2


def test_a_point_lies_where_its_values_say() -> None:
    linear = Axis("x", [(0.0, "0"), (10.0, "10")])
    log = Axis("y", [(1.0, "1"), (100.0, "100")], logarithmic=True)
    assert linear.share(2.5) == 0.25
    assert log.share(10.0) == pytest.approx(0.5)
    svg = line_chart([Series("a", 0, [0.0, 10.0], [1.0, 100.0])], linear, log, "t")
    (x0, y0), (x1, y1) = (
        map(float, pair) for pair in re.findall(r'class="dot" d="M([\d.]+) ([\d.]+)m', svg)
    )
    assert 0 < x0 < x1 < WIDTH
    assert 0 < y1 < y0 < HEIGHT


def test_a_band_leaves_out_where_no_interval_is_known() -> None:
    axis = Axis("x", [(0.0, "0"), (3.0, "3")])
    nan = math.nan
    some = Series("a", 0, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [0.0, 0.0, nan], [2.0, 2.0, nan])
    (band,) = re.findall(r'class="band" d="M(.*?)Z"', line_chart([some], axis, axis, "t"))
    assert len(band.split("L")) == 4
    none = Series("a", 0, [1.0], [1.0], [nan], [nan])
    html = line_chart([none], axis, axis, "t")
    assert "band" not in html
    assert "nan" not in html


def test_a_chart_is_well_formed_whatever_its_names_are() -> None:
    hostile = "<script>&\"'"
    series = Series(hostile, 11, [1.0, 2.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 2.0])
    axis = Axis(hostile, [(0.0, "<0>"), (3.0, "3")])
    html = line_chart([series, Series("none", 1, [], [])], axis, axis, hostile)
    ElementTree.fromstring(f"<p>{html}</p>")
    assert "<script>" not in html
    assert "var(--c3)" in html  # colours come round again


@pytest.mark.parametrize("label", ["140", "100000", "1e+06"])
def test_the_last_label_is_not_cut_off(label: str) -> None:
    axis = Axis("x", [(0.0, "0"), (1.0, label)])
    svg = line_chart([], axis, Axis("y", [(0.0, "0"), (1.0, "1")]), "t")
    match = re.search(rf'<text x="([\d.]+)" y="\d+" text-anchor="middle">{re.escape(label)}<', svg)
    assert match
    assert float(match[1]) + 6.7 * len(label) / 2 <= WIDTH
    assert '<text x="56.0" y=' in svg  # where there is room, a label stands below its line


def looks(html: str) -> list[tuple[str, str, str]]:
    """Return colour, dash and marker of each curve in a chart."""
    return [
        (line[1], line[2] or "", marker)
        for group in re.findall(r"<g>.*?</g>", html)
        for line in [re.search(r'style="stroke:([^;"]+)(?:;stroke-dasharray:([\d,]+))?"', group)]
        for marker in re.findall(r'class="dot" d="M[\d.]+ [\d.]+(m[^"]+)"', group)[:1]
        if line
    ]


def test_two_series_of_a_chart_never_look_alike() -> None:
    axis = Axis("x", [(0.0, "0"), (3.0, "3")])
    series = [Series(str(k), k, [1.0, 2.0], [1.0, 2.0]) for k in range(palette.DISTINCT)]
    html = line_chart(series, axis, axis, "t")
    found = looks(html)
    assert len(found) == palette.DISTINCT >= 20
    for one, other in combinations(found, 2):
        assert sum(a != b for a, b in zip(one, other, strict=True)) >= 2, (one, other)
    # The legend shows the same.
    samples = re.findall(r'<svg class="sample".*?</svg>', html)
    for (colour, dash, marker), sample in zip(found, samples, strict=True):
        assert colour in sample
        assert marker in sample
        assert (f"stroke-dasharray:{dash}" in sample) == bool(dash)


def test_the_pages_style_sheet_has_every_colour_for_either_ground() -> None:
    style = (resources.files("plc_bench.report") / "page" / "page.css").read_text(encoding="utf-8")
    for k, colour in enumerate(palette.COLOURS):
        light, dark = re.findall(rf"--c{k}: (#[0-9a-f]{{6}});", style)
        assert light == colour
        assert dark != colour
    assert len(set(palette.COLOURS)) == len(palette.COLOURS)


def test_pictures_draw_series_as_the_page_does() -> None:
    lines = [palette.line_style(k) for k in range(palette.DISTINCT)]
    for k, line in enumerate(lines):
        assert line["color"] == palette.COLOURS[palette.colour(k)]
        assert line["marker"] == palette.marker(k)
    assert len({str(line) for line in lines}) == palette.DISTINCT
    bars = {str(palette.bar_style(k)) for k in range(palette.DISTINCT)}
    assert len(bars) == palette.DISTINCT


@pytest.mark.parametrize("weights", [(0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722)])
def test_every_colour_stands_out_from_the_paper_in_grey_too(
    weights: tuple[float, ...],
) -> None:
    for colour in palette.COLOURS:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert sum(w * c for w, c in zip(weights, channels, strict=True)) < 0.7
