"""The limits of what a reader has to hold in the head: lines, parameters and attributes."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Thousands of lines that a part of the product may have. Whoever exceeds one raises it, and says
# in the commit why the lines are worth it.
THOUSANDS = {
    "plc": 53.1,
    "plc/networks plc/predict plc/runtime": 7.9,
    "kernels": 17.4,
    "bench": 19.9,
    "training": 15.0,
}
MOST_PARAMETERS, MOST_ATTRIBUTES = 9, 25
# What had more when the limits were set. An entry may fall, and goes where it is no longer true.
MORE_PARAMETERS = {
    "plc.apps.demo.run": 11,
    "plc.apps.live.run_live": 11,
    "plc.repair.arrays.inpaint": 10,
    "plc.rtp.send.open_sender": 13,
    "plc_training.papers.blocks.UNet.__init__": 11,
}
MORE_ATTRIBUTES = {
    "plc.networks.streams.context_encoder.ContextEncoderFiller": 27,
    "plc.rtp.playout.Playout": 27,
}


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Return modules with their names; not commands, nor kernels, whose arrays come one by one."""
    return tuple(_modules())


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in (ROOT, ROOT / "bench", ROOT / "training"):
        for package in ("plc", "plc_bench", "plc_training"):
            for path in sorted((folder / package).rglob("*.py")):
                name = ".".join(path.relative_to(folder).with_suffix("").parts)
                if ".cli" not in name:
                    yield name, ast.parse(path.read_text())


def functions(
    node: ast.AST, name: str
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield functions and methods with their full names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}.{child.name}", child
        if isinstance(child, ast.ClassDef):
            yield from functions(child, f"{name}.{child.name}")


def attributes(node: ast.ClassDef) -> set[str]:
    """Return the names that a class declares, or its methods set."""
    declared = {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    return declared | {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


@pytest.mark.parametrize("part", THOUSANDS)
def test_a_part_of_the_product_has_no_more_lines_than_its_budget(part: str) -> None:
    paths = (path for folder in part.split() for path in (ROOT / folder).rglob("*.py"))
    lines = sum(len(path.read_text().splitlines()) for path in paths)
    assert lines <= 1000 * THOUSANDS[part]


def test_functions_have_few_parameters() -> None:
    found = {}
    for module, tree in modules():
        for name, node in functions(tree, module):
            given = node.args
            names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            if count > MOST_PARAMETERS:
                found[name] = count
    assert found == MORE_PARAMETERS


def test_classes_have_few_attributes() -> None:
    found = {}
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and len(attributes(node)) > MOST_ATTRIBUTES:
                found[f"{module}.{node.name}"] = len(attributes(node))
    assert found == MORE_ATTRIBUTES


def test_what_is_too_much_is_seen() -> None:
    source = "class A:\n b: int\n def f(self, x, *, y):\n  self.c = self.d.e = x"
    tree = ast.parse(source)
    assert [name for name, _ in functions(tree, "m")] == ["m.A.f"]
    assert attributes(next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))) == {"b", "c"}
