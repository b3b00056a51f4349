"""The first sentence of each docstring is short, and names its subject."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["plc", "kernels/plc_kernels", "bench/plc_bench", "training/plc_training"]
MOST_WORDS = 18
# Words behind which a reader looks for what is meant: say it by name.
VAGUE = re.compile(r"\b(told|of it|those of|none that|what|whatever|whoever)\b", re.I)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def first_paragraphs(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line of each docstring's owner, and its first paragraph."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), " ".join(text.split("\n\n")[0].split())


def words_of(sentence: str) -> int:
    """Return the words of a sentence; a reference or a piece of code is one."""
    plain = re.sub(r":\w+:`[^`]*`|``[^`]*``|\*\*?\w+", "code", sentence)
    return sum(bool(re.search(r"\w", word)) for word in plain.split())


def faults(source: str) -> list[str]:
    return [
        f"{line}: {paragraph}"
        for line, paragraph in first_paragraphs(source)
        if words_of(re.split(r"(?<=[.:;])\s", paragraph)[0]) > MOST_WORDS
        or VAGUE.search(re.sub(r"``[^`]*``", "code", paragraph))
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_first_sentences_are_short_and_plain(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {file: faults(file.read_text(encoding="utf-8")) for file in files}
    assert not {str(file.relative_to(ROOT)): lines for file, lines in found.items() if lines}
