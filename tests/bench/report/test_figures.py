"""Documents hold the figures that benchmarks saved."""

import json
from pathlib import Path

import pytest

from plc.errors import ConfigError
from plc_bench.base.rows import FORMAT
from plc_bench.cli import app
from plc_bench.report.figures import renew, renewed, stale_lines, tables_in
from tests.options import ran

TEXT = """Before.

<!-- figures: queries.toml speech -->
| method | PESQ | STOI | date |
|---|---:|---:|---|
| plc | **9.99** | .999 | 2026-11-25 |
| without `ar:1` | 9.99 (9.00 to 9.90) | \u2013 | |
| undamaged | 4.64 | 1 | |

After, 9.99.
"""
QUERIES = """
[speech]
files = ["speech.json"]
all = "domain=speech"
columns = ["-", "metric=pesq", "metric=stoi", "-"]
rows = ["method=auto", "method=ar", "-"]

[over]
files = ["speech.json"]
all = "metric=pesq"
columns = ["-", "over=auto"]
rows = ["method=ar"]

[signs]
files = ["speech.json"]
all = "metric=pesq"
columns = ["-", "*"]
rows = ["method=ar * domain=speech", "method=ar * over=auto"]

[empty]
files = ["speech.json"]
all = "metric=pesq"
columns = ["-", "domain=speech", "-", "-", "-"]
rows = ["method=ar"]

[own]
files = ["speech.json"]
all = "metric=pesq"
columns = ["-", "method=auto", "*", "-"]
rows = ["domain=speech * method=ar", "domain=speech"]
"""


def row(method: str, metric: str, value: float, **more: object) -> dict[str, object]:
    interval = {"std": 0.5, "low": value - 0.1, "high": value + 0.1}
    return {"domain": "speech", "method": method, "metric": metric, "value": value} | (
        interval | more
    )


@pytest.fixture
def document(tmp_path: Path) -> Path:
    rows = [
        row("auto", "pesq", 2.3649),
        row("auto", "stoi", 0.9712),
        row("ar", "pesq", 2.04),
        row("ar", "stoi", 0.5),
        row("ar", "pesq", -0.32, over="auto"),
    ]
    (tmp_path / "speech.json").write_text(json.dumps({"format": FORMAT, "rows": rows}))
    (tmp_path / "queries.toml").write_text(QUERIES)
    (tmp_path / "page.md").write_text(TEXT)
    return tmp_path / "page.md"


def test_figures_are_written_as_the_document_writes_numbers(document: Path) -> None:
    assert renew(document) == 2
    text = document.read_text()
    assert "| plc | **2.36** | .971 | 2026-11-25 |" in text
    assert "| without `ar:1` | 2.04 (1.94 to 2.14) | \u2013 | |" in text
    assert (
        text.replace("2.36", "9.99")
        .replace(".971", ".999")
        .replace("2.04 (1.94 to 2.14)", "9.99 (9.00 to 9.90)")
        == TEXT
    )
    assert renew(document) == 0
    assert tables_in(document) == 1


def test_a_difference_keeps_its_sign(document: Path) -> None:
    text = (
        "<!-- figures: queries.toml over -->\n| method | over plc |\n|---|---:|\n| ar | +1.00 |\n"
    )
    assert "| ar | \u22120.32 |\n" in renewed(text, document)
    kept = json.loads((document.parent / "speech.json").read_text())
    kept["rows"][-1]["value"] = 0.32
    (document.parent / "speech.json").write_text(json.dumps(kept))
    assert "| ar | +0.32 |\n" in renewed(text, document)


@pytest.mark.parametrize(
    ("query", "columns", "rows", "renewed_rows"),
    [
        # A number without a sign stays so beside signed ones.
        ("signs", 2, "| reference | 1.00 |\n| over plc | +1.00 |\n", "| reference | 2.04 |\n"
         "| over plc | \u22120.32 |\n"),
        # Empty cells stay as they are.
        ("empty", 5, "| ar | 2.04 | | | |\n", "| ar | 2.04 | | | |\n"),
        # A row may say the key of a column itself.
        ("own", 4, "| speech | 1.00 | 1.00 | ar 4 |\n| again | 1.00 | 1.00 | by hand |\n",
         "| speech | 2.36 | 2.04 | ar 4 |\n| again | 2.36 | 1.00 | by hand |\n"),
    ],
)  # fmt: skip
def test_cells_keep_their_style(
    document: Path, query: str, columns: int, rows: str, renewed_rows: str
) -> None:
    head = "|" + " |" * columns + "\n|" + "---|" * columns + "\n"
    text = f"<!-- figures: queries.toml {query} -->\n{head}"
    assert renewed(text + rows, document) == text + renewed_rows


def test_lines_that_differ_are_named(document: Path) -> None:
    first, second = stale_lines(document)
    assert (first.line, second.line) == (6, 7)
    assert "9.99" in first.found
    assert "2.36" in first.expected
    result = ran(app, "tables", str(document), "--check", status=1)
    assert f"page.md:6: {first.found}" in result.stdout
    assert document.read_text() == TEXT
    ran(app, "tables", str(document))
    ran(app, "tables", str(document), "--check")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"method=ar"', '"method=none"', "page.md:3: 0 figures of the files are domain=speech, "),
        ('"method=ar"', '"domain=speech"', "2 figures"),
        (', "method=ar"', "", "keys for 2 rows of 4 columns; the table below has 3 rows of 4"),
        ('"method=ar"', '"ar"', "'ar' and 'metric=pesq' are no keys"),
        ('"speech.json"', '"nowhere.json"', "cannot read figures from"),
        ("| method |", "method", "has no file and query, or no table below"),
        ("2026-11-25 |\n", "2026-11-25 | |\n", "3 rows of 4 or 5"),
        ("toml speech -->", "toml music -->", r"page.md:3: .*queries.toml has no query \[music\]"),
        ("queries.toml", "none.toml", "cannot read .*none.toml"),
        ("columns", "column", r"queries.toml, \[speech\]: .*unknown field `column`"),
        ("[speech]", "[speech", "queries.toml, .speech.: "),
    ],
)
def test_a_table_that_cannot_be_made_is_refused(
    document: Path, old: str, new: str, match: str
) -> None:
    document.write_text(TEXT.replace(old, new, 1))
    (document.parent / "queries.toml").write_text(QUERIES.replace(old, new, 1))
    with pytest.raises(ConfigError, match=match):
        stale_lines(document)
