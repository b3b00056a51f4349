"""The import direction, kept by a test: kernels <- plc <- bench <- training."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "kernels": {"plc", "plc_bench", "plc_training", "torch", "onnxruntime"},
    "plc": {"plc_bench", "plc_training", "torch"},
    "bench": {"plc_training", "torch"},
}
# The command joins all packages; it imports each inside the subcommand that needs it.
COMMAND = ROOT / "plc" / "cli.py"


def imported_roots(source: Path) -> set[str]:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    return roots


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_downwards(folder: str) -> None:
    sources = sorted((ROOT / folder).rglob("*.py"))
    assert sources
    for source in sources:
        if source != COMMAND:
            assert not imported_roots(source) & FORBIDDEN[folder], source
