"""The commands that documents, help and docstrings name exist, with their options."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import takewhile
from typing import Any

from plc.programs.cli.app import app
from plc_bench.cli import app as bench_app
from tests.attack.test_command_line import commands
from tests.house.test_documents import DOCUMENTS, ROOT

# What tells of former commands.
FORMER = {ROOT / "CHANGELOG.md", *ROOT.glob("docs/history/*.md")}
SOURCES = sorted(
    path
    for folder in ("plc", "bench/plc_bench", "training/plc_training")
    for path in (ROOT / folder).rglob("*.py")
)
# Of .ci/run, pytest, libopus' configure and examples/c/conceal.c.
OTHER_OPTIONS = {"--deep", "--hypothesis-profile", "--enable-dred", "--work"}
# A word behind which another command, or none, begins.
_END = re.compile(r"^(\||\|\||&&|;|&|\d?>|<|>>|#.*)$")


APPS = [("plc", app), ("plc bench", bench_app)]
if find_spec("torch") is not None:
    from plc_training.cli import app as train_app

    APPS.append(("plc", train_app))

LEAVES = {f"{path} {name}": each for path, one in APPS for name, each in commands(one).items()}
GROUPS = {path.rpartition(" ")[0] for path in LEAVES}
# None: a group of commands, which has no options of its own.
COMMANDS: dict[str, Any] = LEAVES | dict.fromkeys(GROUPS - {"plc train"})


def lines_of(text: str) -> Iterator[str]:
    """Yield the command lines of a page: in code, indented or between backticks."""
    text = re.sub(r"\\\n\s*", " ", text)
    for fenced in re.findall(r"^```.*?^```", text, re.M | re.S):
        yield from re.findall(r"^(?:\$ )?(plc .*)$", fenced, re.M)
    yield from re.findall(r"^ {4,}(plc .*)$", text, re.M)
    yield from re.findall(r"``?(plc [^`\n]*)``?", text)


def lines_of_docstrings(source: str) -> Iterator[str]:
    """Yield the command lines in the docstrings of a module."""
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield from re.findall(r"(?:^ *|: )(plc [a-z].*)$", re.sub(r"\\\n\s*", " ", text), re.M)
            yield from re.findall(r"``(plc [^`\n]*)``", text)


def lone_options(text: str) -> set[str]:
    """Return the options that a page names without their command."""
    return set(re.findall(r"(?<!`)`(--[a-z][a-z0-9-]+)", text))


def fault_of(line: str) -> str:
    """Return what a command line names and plc has not; empty if it has all."""
    try:
        words = shlex.split(line.split("   ")[0], comments=True)
    except ValueError:  # a quote that the line's end cuts off
        words = line.split()
    words = words[: next((k for k, word in enumerate(words) if _END.match(word)), None)]
    plain = [word.rstrip(",.:;") for word in words]
    count = max(n for n in range(1, len(words) + 1) if " ".join(plain[:n]) in COMMANDS)
    path, rest = " ".join(plain[:count]), plain[count:]
    command = COMMANDS[path]
    if path in ("plc train", "plc export") and find_spec("torch") is None:
        return ""
    name = rest[0] if rest else ""
    if command is None:
        return f"{path} has no {name}" if re.fullmatch(r"[a-z][a-z-]*", name) else ""
    if path == "plc inside":  # behind its options stands the command of another program
        rest = list(takewhile(lambda word: word.startswith("-"), rest))
    options = {each for one in command.params for each in (*one.opts, *one.secondary_opts)}
    for word in rest:
        name = word.partition("=")[0]
        if name.startswith("--") and name.strip("-") and name not in {*options, "--help"}:
            return f"{path} has no option {name}"
    return ""


def test_commands_that_pages_and_docstrings_name_are_there() -> None:
    pages = [(page, lines_of) for page in DOCUMENTS if page not in FORMER]
    found = {
        f"{path.relative_to(ROOT)}: {line}": fault
        for path, lines in [*pages, *((path, lines_of_docstrings) for path in SOURCES)]
        for line in lines(path.read_text("utf-8"))
        if (fault := fault_of(line))
    }
    assert found == {}


def test_options_that_pages_name_alone_are_there() -> None:
    known = {
        name
        for command in COMMANDS.values()
        if command is not None
        for one in command.params
        for name in (*one.opts, *one.secondary_opts)
    }
    if len(APPS) < 3:
        return  # those of plc train are not known
    found = {
        str(page.relative_to(ROOT)): sorted(unknown)
        for page in DOCUMENTS
        if page not in FORMER
        and (unknown := lone_options(page.read_text("utf-8")) - known - OTHER_OPTIONS)
    }
    assert found == {}


def test_every_command_that_measures_is_in_the_table_of_its_page() -> None:
    page = (ROOT / "docs/measuring.md").read_text("utf-8")
    rows = re.findall(r"^\| \[?`([^`]*)`", page, re.M)
    measures = {path.removeprefix("plc bench ") for path in LEAVES if path.startswith("plc bench ")}
    listed = {name for name in measures for row in rows if f"{row} ".startswith(f"{name} ")}
    assert measures - listed == set()


def test_every_share_of_lost_packets_may_be_given_in_percent() -> None:
    losses = [
        (path, one.help)
        for path, command in LEAVES.items()
        for one in command.params
        if "--loss" in one.opts
    ]
    assert len(losses) > 6
    assert [path for path, said in losses if "10%" not in said] == []
