"""The page of thresholds has the values and the meanings of the code."""

import re
from pathlib import Path

import thresholds

PAGE = Path(__file__).resolve().parents[2] / "docs/thresholds.md"


def in_code() -> dict[tuple[str, str], tuple[str, str]]:
    """Return value and meaning of each threshold, by module and name."""
    return {
        (each.module.__name__.rpartition(".")[2], each.name.lstrip("_")): (
            thresholds.in_words(each.value),
            each.meaning,
        )
        for each in thresholds.thresholds()
    }


def on_page() -> dict[tuple[str, str], tuple[str, str]]:
    found, module = {}, ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("### "):
            module = line.removeprefix("### ")
        cells = [each.strip() for each in line.split("|")[1:-1]]
        where, *cells = cells if len(cells) == 8 else [module, *cells]
        if len(cells) > 2 and re.fullmatch("[A-Z0-9_]+", cells[0]):
            assert (where, cells[0]) not in found
            found[where, cells[0]] = (cells[1], cells[2])
    return found


def test_every_threshold_has_a_short_meaning_of_its_own() -> None:
    meanings = [meaning for _, meaning in in_code().values()]
    assert len(meanings) > 200
    assert [each for each in meanings if not each or len(each.split()) > 20 or ";" in each] == []


def test_the_page_has_the_values_and_meanings_of_the_code() -> None:
    assert on_page() == in_code()
