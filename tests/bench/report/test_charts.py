import math
import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from plc.errors import ConfigError
from plc.files.pages import listening
from plc_bench.quality.study import ClipGapScores, Row, Study
from plc_bench.report import charts, panels

HOSTILE = "<script>&\"'"


def study(*methods: str, clips: int = 1) -> Study:
    """Return a study whose methods differ by 1 dB, over gaps of 10 and 40 ms."""
    rows = [
        Row(
            *(f"{clip}.wav", "music", "c", method, 16_000, 1, 160, 100, 10, 5),
            {"nmse": -1.0},
            tuple(
                ClipGapScores(packets, 20, {"nmse": -float(number + clip), "lsd": math.nan})
                for packets in (1, 4)
            ),
        )
        for clip in range(clips)
        for number, method in enumerate(methods)
    ]
    recorded = {"methods": list(methods), "metrics": ["nmse"], "conditions": [{}]}
    return Study(None, recorded, rows, [])


@pytest.fixture(autouse=True)
def _matplotlib() -> None:
    pytest.importorskip("matplotlib")


def test_a_chart_is_well_formed_whatever_its_names_are() -> None:
    html = charts.gap_chart(study(HOSTILE, "zeros"), "nmse", HOSTILE)
    root = ElementTree.fromstring(html)
    assert root.get("aria-label") == HOSTILE
    assert HOSTILE in [element.text for element in root.iter()]
    assert "<script>" not in html
    assert "nan" not in html


def test_a_chart_takes_its_colours_from_the_style_sheet_and_shares_no_mark() -> None:
    one = charts.gap_chart(study("a", "b"), "nmse", "one")
    assert "var(--c0)" in one
    assert "var(--c1)" in one
    assert "var(--c2)" not in one
    assert not re.search("#[0-9a-f]{6}", one)
    assert charts.gap_chart(study("a", "b"), "nmse", "one") == one
    marks = set(re.findall('<path id="([^"]+)"', one))
    other = charts.gap_chart(study("a", "b"), "nmse", "other")
    assert marks
    assert not marks & set(re.findall('<path id="([^"]+)"', other))


def test_a_band_stands_only_where_an_interval_is_known() -> None:
    assert "opacity: 0.13" not in charts.gap_chart(study("a", clips=2), "nmse", "t")
    assert "opacity: 0.13" in charts.gap_chart(study("a", clips=8), "nmse", "t")


def test_a_metric_without_a_score_has_no_chart() -> None:
    assert charts.gap_chart(study("a"), "lsd", "t") == ""
    assert charts.gap_chart(study("neteq"), "nmse", "t") == ""


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    one = study("a")
    for path in (tmp_path / "none" / "a.png", tmp_path / "a.nonsense"):
        with pytest.raises(ConfigError, match="cannot write"):
            charts.draw_curves(path, one)


def test_two_series_never_look_alike() -> None:
    lines = [panels.line_style(k) for k in range(panels.DISTINCT)]
    assert len(lines) >= 20
    for one, other in combinations(lines, 2):
        assert sum(one[name] != other[name] for name in one) >= 2, (one, other)


def test_the_pages_style_sheet_has_every_colour_for_either_ground() -> None:
    style = listening.style()
    for k, colour in enumerate(panels.COLOURS):
        light, dark = re.findall(rf"--c{k}: (#[0-9a-f]{{6}});", style)
        assert light == colour
        assert dark != colour
    assert len(set(panels.COLOURS)) == len(panels.COLOURS)


@pytest.mark.parametrize("weights", [(0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722)])
def test_every_colour_stands_out_from_the_paper_in_grey_too(
    weights: tuple[float, ...],
) -> None:
    for colour in panels.COLOURS:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert sum(w * c for w, c in zip(weights, channels, strict=True)) < 0.7
