"""Tests are collected with any extras: what is not installed skips a file, and stops none.

A file's statements outside functions are read in their order, with those of the modules of ours
that they import: a library is asked for by ``pytest.importorskip`` before anything imports it.
"""

import ast
import importlib.metadata
import itertools
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from tests.house.test_imports import MODULES, ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
SCRIPTS = {
    path.stem: path
    for folder in PYPROJECT["tool"]["pytest"]["ini_options"]["pythonpath"]
    for path in (ROOT / folder).glob("*.py")
}
OURS: dict[str, Path] = SCRIPTS | MODULES
"""Modules, and scripts beside the packages, by the names that tests import them by."""
EXTRAS = sorted(set(PROJECT["optional-dependencies"]) - {"test", "dev"})
Step = tuple[bool, str]
"""Whether a library is needed, or asked for only; and its name."""


@cache
def path_of(module: str) -> Path | None:
    """Return the file of a module or a script of ours, or of the tests."""
    if module in OURS:
        return OURS[module]
    path = ROOT.joinpath(*module.split("."))
    if module.partition(".")[0] != "tests":
        return None
    return next(
        (each for each in (path.with_suffix(".py"), path / "__init__.py") if each.exists()), None
    )


@cache
def steps_of(path: Path) -> tuple[Step, ...]:
    """Return what a file asks for and needs while it is imported, in order, each library once."""
    first: dict[str, Step] = {}
    for step in _steps(path, set()):
        first.setdefault(step[1], step)
    return tuple(first.values())


def _steps(path: Path, seen: set[Path]) -> Iterator[Step]:
    """Yield the steps of a file, and of the modules of ours that it is the first to import."""
    seen.add(path)
    for needed, name in own_steps(path):
        inner = path_of(name) if needed else None
        if inner is None:
            yield needed, name.partition(".")[0]
        elif inner not in seen:
            yield from _steps(inner, seen)


@cache
def own_steps(path: Path) -> tuple[Step, ...]:
    """Return the steps of a file alone: modules of ours are needed by their full names."""
    return tuple(steps_in(ast.parse(path.read_text()).body))


def steps_in(body: list[ast.stmt]) -> Iterator[Step]:
    """Yield the steps of statements."""
    for node in body:
        match node:
            case ast.Import():
                yield from ((True, alias.name) for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                for alias in node.names:
                    inner = f"{module}.{alias.name}"
                    yield True, inner if path_of(inner) else module
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Try() | ast.FunctionDef():
                pass  # a try at this place is for what may be missing
            case ast.For(iter=ast.Tuple() | ast.List() as names):
                asked = any(True for _ in asked_for(node))
                yield from ((False, text(each)) for each in names.elts if asked)
            case ast.If() | ast.With() | ast.ClassDef():
                yield from steps_in(node.body)
            case _:
                yield from ((False, name) for name in asked_for(node))


def asked_for(node: ast.AST) -> Iterator[str]:
    """Yield the names in calls of ``importorskip``."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("importorskip"):
            yield text(call.args[0])


def text(node: ast.AST) -> str:
    """Return a constant, or nothing where a node is none."""
    return str(node.value) if isinstance(node, ast.Constant) else ""


def libraries(requirements: list[str]) -> set[str]:
    """Return the modules that requirements bring, with what those require."""
    found: set[str] = set()
    waiting, done = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        matched = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", requirement)
        assert matched, requirement
        name, extras = matched.groups()
        if (name, extras) in done or "extra ==" in requirement:
            continue
        done.add((name, extras))
        if plain(name) == "plc-engine":
            for extra in (extras or "").split(","):
                waiting += PROJECT["optional-dependencies"].get(extra, [])
            continue
        # Of two builds of one library, as of ONNX Runtime, the other one may be installed.
        like = plain(name).removesuffix("-gpu")
        found.update(places().get(like, [like.replace("-", "_")]))
        with suppress(importlib.metadata.PackageNotFoundError):
            waiting += importlib.metadata.requires(like) or []
    return found


@cache
def places() -> dict[str, list[str]]:
    """Return the modules of each distribution that is installed."""
    found: dict[str, list[str]] = {}
    for module, distributions in importlib.metadata.packages_distributions().items():
        for each in distributions:
            found.setdefault(plain(each), []).append(module)
    return found


def plain(name: str) -> str:
    """Return a distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def stops(path: Path, there: set[str]) -> str | None:
    """Return the library that a file misses where only some are installed, or None."""
    for needed, name in steps_of(path):
        if name and name not in there:
            return name if needed else None
    return None


def test_every_file_of_tests_is_collected_with_any_two_extras() -> None:
    base = libraries([*PROJECT["dependencies"], "plc-engine[test]"]) | sys.stdlib_module_names
    brought = {extra: libraries([f"plc-engine[{extra}]"]) for extra in EXTRAS}
    found = {
        f"{path.relative_to(ROOT)} with {first} and {second}: {missing}"
        for first, second in itertools.combinations(EXTRAS, 2)
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (missing := stops(path, base | brought[first] | brought[second])) is not None
        if path.name.startswith("test_")
    }
    assert not found


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("import torch", [(True, "torch")]),
        ("torch = pytest.importorskip('torch')", [(False, "torch")]),
        ("for each in ('a', 'b'):\n    pytest.importorskip(each)", [(False, "a"), (False, "b")]),
        ("if TYPE_CHECKING:\n    import torch", []),
        ("def test():\n    import torch", []),
        ("if True:\n    from torch import nn", [(True, "torch")]),
    ],
)
def test_what_a_file_asks_for_is_told_from_what_it_needs(source: str, steps: list[Step]) -> None:
    assert list(steps_in(ast.parse(source).body)) == steps
