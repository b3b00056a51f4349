"""The page of thresholds has the values and the meanings of the code."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

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


def module_of(folder: Path, text: str) -> ModuleType:
    path = folder / "made.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("made", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_threshold_has_a_short_meaning_of_its_own() -> None:
    meanings = [meaning for _, meaning in in_code().values()]
    assert len(meanings) > 200
    assert [each for each in meanings if not each or len(each.split()) > 20 or ";" in each] == []


def test_the_page_has_the_values_and_meanings_of_the_code() -> None:
    assert on_page() == in_code()


def test_parts_of_a_comment_belong_to_the_names_in_their_order(tmp_path: Path) -> None:
    text = (
        "# Longest gap, in\n# samples; its level; first\n# and last.\n"
        "_GAP, _WORD, _LEVEL = 3, 'a', 0.5\n_ENDS = (1, 2)\n"
        '_LEAST = 2\n"""Least of all; and more."""\n'
    )
    found = thresholds.thresholds_of(module_of(tmp_path, text))
    assert [(each.name, each.value, each.meaning) for each in found] == [
        ("_GAP", 3, "Longest gap, in samples"),
        ("_LEVEL", 0.5, "Its level"),
        ("_ENDS", (1, 2), "First and last"),
        ("_LEAST", 2, "Least of all; and more"),
    ]


@pytest.mark.parametrize("comment", ["", "# Longest gap.\n", "# Longest; level; least.\n"])
def test_numbers_without_a_part_each_are_refused(comment: str, tmp_path: Path) -> None:
    module = module_of(tmp_path, f"{comment}_GAP, _LEVEL = 3, 0.5\n")
    with pytest.raises(ValueError, match=r"made: .*_GAP, _LEVEL"):
        list(thresholds.thresholds_of(module))
