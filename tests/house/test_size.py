"""The limits of what a reader has to hold in the head: lines, names, parameters, attributes."""

import ast
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.house.test_imports import MODULES, WING, graph_of, is_of, statements, tree_of

# What there is to read for one wish: the lines and files that a module reaches by its imports at
# run time, lazy ones included, kernels too; "" is all but the wing of archives, which has a total
# of its own. A limit only falls: a change that needs lines takes others out, and one that saves
# lines lowers it. The comment says where it shall end.
WISHES = {
    "plc.engine.stream.concealer": (20_882, 88),
    "plc.engine.many.pool": (21_721, 91),
    "plc.files.fill.signals": (24_669, 111),
    "plc.transport.relay.relay": (30_526, 122),
    "plc.restore.repair": (35_642, 158),
    "plc.embed.library": (14_759, 63),  # 14,500
    "plc_training.cli": (42_025, 196),
    "": (87_548, 448),  # 77,000
    "the wing": (7_478, 34),
}
# Names that a module imports. More have those of the table; an entry only falls.
MOST_NAMES = 60
MORE_NAMES = {
    "plc.transport.cli.live": 65,
    "plc.transport.cli.rtp": 61,
}
MOST_PARAMETERS, MOST_ATTRIBUTES = 9, 25
# What had more when the limits were set. An entry may fall, and goes where it is no longer true.
MORE_PARAMETERS = {
    "plc.transport.live.live.run_live": 11,
    "plc.transport.rtp.send.open_sender": 12,
}
MORE_ATTRIBUTES: dict[str, int] = {}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield modules with their names; not commands, nor kernels, whose arrays come one by one."""
    for name in MODULES:
        if not name.startswith("plc_kernels") and ".cli" not in name:
            yield name, tree_of(name)


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


def reached(start: str) -> set[str]:
    """Return the modules that a module reaches by imports at run time, itself included."""
    found, new = set(), {start}
    while new:
        found |= new
        new = {each for name in new for each in graph_of(True).get(name, [])} - found
    return found


@pytest.mark.parametrize("start", WISHES)
def test_a_wish_has_few_lines_to_read(start: str) -> None:
    wing = {name for name in MODULES if is_of(name, *WING)}
    names = {"": set(MODULES) - wing, "the wing": wing}.get(start) or reached(start)
    lines = sum(len(MODULES[name].read_text().splitlines()) for name in names)
    most, files = WISHES[start]
    found = f"{start or 'the product'}: {lines:,} lines in {len(names)} files"
    assert lines <= most, f"{found}: take out what is needless"
    assert len(names) <= files, f"{found}: take out what is needless"


def test_modules_import_few_names() -> None:
    found = {}
    for name in MODULES:
        nodes = (n for n in statements(tree_of(name)) if isinstance(n, ast.Import | ast.ImportFrom))
        if (count := sum(len(node.names) for node in nodes)) > MOST_NAMES:
            found[name] = count
    assert found == MORE_NAMES, "import a module of words by a short name, or lower the entry"


def test_a_class_has_its_name_for_itself_in_a_package() -> None:
    counts = Counter(
        f"{name.partition('.')[0]}.{node.name}"
        for name in MODULES
        for node in statements(tree_of(name))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in counts.items() if count > 1] == [], "find one that says more"


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
