"""Print docs/block.md: the words of the blocks, from their declarations.

``python .ci/block_page.py > docs/block.md``; tests/house checks that the page is current.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ["layout", "gap", "extend_network", "bridge", "extend_music", "tables", "model"]
MODULES += ["dropout_search"]
HEAD = """# The words of a stream's block

`.ci/block_page.py` prints this page from the declarations; do not edit it. A block is one piece of
memory: a row of 64-bit words, named below, then arrays ([design](design.md)). A word is an int64
unless the last column says otherwise. That of an array holds its place in bytes; dtype and shape
stand there. Names in a text or a shape are words of the same module, or of `stream.layout`; modules
are those of `plc_kernels`. A model's and a dropout search's memory are blocks of their own.
"""


def kind_of(declared: str, given: list[str]) -> str:
    """Return the last column: an array's dtype and shape, or the number of words."""
    if declared == "_array":
        shape = (each.removeprefix("fixed(").removesuffix(")") for each in given[1:])
        return f"{given[0].removeprefix('np.')} ({', '.join(shape)})"
    one = "float64" if declared == "_real" else ""
    return f"{one} ({given[0]})".strip() if given and declared != "_counter" else one


def rows_of(source: str) -> Iterator[tuple[str, str]]:
    """Yield the row of each declaration, and the comment above it."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(
                [ast.Name(name)], ast.Call(ast.Name(kind), [ast.Constant(text), *more])
            ):
                if kind in ("_word", "_array", "_real", "_counter"):
                    first = node.lineno - 1
                    while lines[first - 1].startswith("# "):
                        first -= 1
                    above = " ".join(each.strip("# ") for each in lines[first : node.lineno - 1])
                    yield f"| {name} | {text} | {kind_of(kind, [*map(ast.unparse, more)])} |", above


def section(module: str) -> Iterator[str]:
    """Yield the lines for a module."""
    source = (ROOT / f"kernels/plc_kernels/stream/{module}.py").read_text("utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    yield from ("", f"## stream.{module}", "", " ".join(text.partition("\n\n")[0].split()))
    for number, (row, above) in enumerate(rows_of(source)):
        if above or not number:
            yield from ("", above) if above else ()
            yield from ("", "| word | holds | kind |", "|---|---|---|")
        yield row


def page() -> str:
    """Return the page."""
    return HEAD + "".join(f"{line}\n" for each in MODULES for line in section(each))


if __name__ == "__main__":
    print(page(), end="")
