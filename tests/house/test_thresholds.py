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
    """Return the value of each threshold, and its meaning where the page has one."""
    text = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| ([A-Z0-9_]+) \| (.+?) \| (.+?) \|", text, re.M)
    found = {(module, name): (value, meaning) for module, name, value, meaning in rows}
    for module, listed in re.findall(r"^### (\w+)\n\n(.+?)(?:\n\n|\Z)", text, re.M | re.S):
        for name, value in re.findall(r"`(\w+)` ([^;]+)", " ".join(listed.split())):
            assert (module, name) not in found
            found[module, name] = value, ""
    return found


def test_every_threshold_has_a_short_meaning_of_its_own() -> None:
    meanings = [meaning for _, meaning in in_code().values()]
    assert len(meanings) > 200
    assert [each for each in meanings if not each or len(each.split()) > 20 or ";" in each] == []


def test_the_page_has_the_values_of_the_code_and_meanings_where_a_change_is_seen() -> None:
    page = on_page()
    assert page == {
        key: (value, meaning if page.get(key, ("", ""))[1] else "")
        for key, (value, meaning) in in_code().items()
    }
