"""The first sentence of each docstring is short and plain."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["plc", "kernels/plc_kernels", "bench/plc_bench", "training/plc_training"]
MOST_WORDS = 12
VAGUE = re.compile(
    r"\b(so (many|much|long|far|often)|one that|is no|that there is)\b|^What\b", re.I
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def first_sentences(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line of each docstring's owner, and its first sentence."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            paragraph = " ".join(text.split("\n\n")[0].split())
            yield getattr(node, "lineno", 1), re.split(r"(?<=[.:;])\s", paragraph)[0]


def words_of(sentence: str) -> int:
    """Return the words of a sentence; a reference or a piece of code is one."""
    plain = re.sub(r":\w+:`[^`]*`|``[^`]*``|\*\*?\w+", "code", sentence)
    return sum(bool(re.search(r"\w", word)) for word in plain.split())


def faults(source: str) -> list[str]:
    return [
        f"{line}: {sentence}"
        for line, sentence in first_sentences(source)
        if words_of(sentence) > MOST_WORDS or VAGUE.search(sentence)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_first_sentences_are_short_and_plain(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {file: faults(file.read_text(encoding="utf-8")) for file in files}
    assert not {str(file.relative_to(ROOT)): lines for file, lines in found.items() if lines}


def test_long_and_vague_sentences_are_found() -> None:
    long = "one two three four five six seven eight nine ten eleven twelve thirteen."
    assert faults(f'"""{long}"""') == [f"1: {long}"]
    assert faults('def f():\n    """Return what comes of so many packets."""')
    assert not faults('"""Return ``a, b, c`` and the samples of :func:`f <g.h>`.\n\nSo many."""')
