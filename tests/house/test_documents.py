"""Links between documents lead somewhere, and their figures are those that benchmarks saved."""

import re
import runpy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from plc_bench.report.figures import stale_lines, tables_in
from tests.house.test_imports import MODULES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "bench", "examples", "tests", "training")
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", *(f"{folder}/**/*.md" for folder in FOLDERS))
    for path in ROOT.glob(pattern)
)
_FOLDERS = ("bench", "docs", "examples", "kernels", "plc", "tests", "training")
_CODE = re.compile(r"^```.*?^```|^    .*?$|`[^`\n]*`", re.M | re.S)


def anchors_of(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    found: set[str] = set()
    for heading in headings:
        words = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        numbered = (words if not number else f"{words}-{number}" for number in range(len(headings)))
        found.add(next(name for name in numbered if name not in found))
    return found


def broken_links(page: Path) -> Iterator[str]:
    """Yield the links of a page to files or headings that are not there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _CODE.sub("", page.read_text("utf-8"))):
        name, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors_of(path.read_text("utf-8"))):
            yield target


def faults_of_pages(fault: Callable[[Path], Iterable[object]]) -> dict[str, list[object]]:
    """Return the faults of every page that has some."""
    found = {str(page.relative_to(ROOT)): list(fault(page)) for page in DOCUMENTS}
    return {page: faults for page, faults in found.items() if faults}


def absent_places(page: Path) -> Iterator[str]:
    """Yield the places of the checkout that a page names and that are not there."""
    named = set(re.findall(rf"`((?:{'|'.join(_FOLDERS)})/[\w./-]+)`", page.read_text("utf-8")))
    return (name for name in sorted(named) if not (ROOT / name).exists())


def unknown_modules(page: Path) -> Iterable[str]:
    """Return the modules that a page names and that are not there."""
    # The changelog tells of former ones.
    return () if page.name == "CHANGELOG.md" else unknown_names(page.read_text("utf-8"))


def test_links_lead_somewhere() -> None:
    assert faults_of_pages(broken_links) == {}


def cut_paragraphs(page: Path) -> Iterator[str]:
    """Yield the last lines of paragraphs that end within a sentence."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for paragraph in re.split(r"\n\s*\n", text):
        if re.match(r"\w|\*\*|[`\[(]", paragraph) and re.search(r"[a-z,]\Z", paragraph.rstrip()):
            yield paragraph.splitlines()[-1]


def test_paragraphs_end_with_a_sentence() -> None:
    assert faults_of_pages(cut_paragraphs) == {}


def test_places_of_the_checkout_that_pages_name_are_there() -> None:
    assert faults_of_pages(absent_places) == {}


def unknown_names(text: str) -> Iterator[str]:
    """Yield the dotted names of our packages that are none of a module, nor stand in one."""
    for name in re.findall(r"(?<![\w/.-])plc(?:_kernels|_bench|_training)?(?:\.\w+)+", text):
        parts = name.split(".")
        if parts[1] in ("h", "d") or (len(parts) == 2 and parts[0] == "plc"):
            continue  # files: plc.h, plc.mjs
        known = max(n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in MODULES)
        home = MODULES[".".join(parts[:known])]
        word = parts[known] if known < len(parts) else ""
        # Where a module has a word it is a name of it; a package names its modules as well.
        form = rf'^\s*(def |class |"?){word}\b' if home.name == "__init__.py" else rf"\b{word}\b"
        if word and not re.search(form, home.read_text("utf-8"), re.M):
            yield name


def test_modules_that_pages_name_are_there() -> None:
    assert faults_of_pages(unknown_modules) == {}


def test_modules_that_sources_name_are_there() -> None:
    unknown = {name: [*unknown_names(path.read_text("utf-8"))] for name, path in MODULES.items()}
    assert {name: found for name, found in unknown.items() if found} == {}


def test_modules_of_training_that_its_page_names_are_there() -> None:
    sources = ROOT / "training/plc_training"
    text = (ROOT / "training/README.md").read_text("utf-8")
    table = text[text.index("## Modules") : text.index("\n\n`[data.train]")]
    for cell in re.findall(r"^\| (`.*?) \|", table, re.M):
        folder = Path()
        for name in re.findall(r"`([\w/]+)`", cell.replace("/`:", "`")):
            if (sources / name).is_dir():
                folder = Path(name)
                continue
            folder = Path(name).parent if "/" in name else folder
            places = [sources / f"{place / Path(name).name}.py" for place in (folder, Path())]
            assert any(place.exists() for place in places), name


def test_figures_are_those_that_benchmarks_saved() -> None:
    assert faults_of_pages(stale_lines) == {}


@pytest.mark.parametrize(("name", "tables"), [("README.md", 1), ("docs/benchmarks.md", 7)])
def test_tables_of_quality_are_taken_from_files(name: str, tables: int) -> None:
    assert tables_in(ROOT / name) >= tables


def test_the_page_of_the_block_is_what_the_declarations_print() -> None:
    printed = runpy.run_path(str(ROOT / ".ci/block_page.py"))["page"]()
    assert (ROOT / "docs/block.md").read_text("utf-8") == printed


def test_pages_of_the_notebook_are_short() -> None:
    pages = sorted(ROOT.glob("docs/notebook/*.md"))
    assert pages
    assert [page.name for page in pages if len(page.read_text("utf-8").splitlines()) > 300] == []
    index = (ROOT / "docs/notebook.md").read_text("utf-8")
    assert [page.name for page in pages if f"(notebook/{page.name})" not in index] == []


def test_points_of_the_changelog_are_short() -> None:
    newer = (ROOT / "CHANGELOG.md").read_text("utf-8").partition("\n## 0.1.0\n")[0]
    points = re.findall(r"^\* (.*(?:\n  .*)*)", newer, re.M)
    assert points
    assert [point for point in points if len(point.split()) > 25] == []


def test_the_design_is_short() -> None:
    assert len((ROOT / "docs/design.md").read_text("utf-8").split()) <= 1800
