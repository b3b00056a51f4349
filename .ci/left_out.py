"""A plugin of pytest: ``--beyond report.xml`` runs what a former run left out or skipped."""

import functools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

Case = tuple[str, str]
"""Of a test what a report calls its class (its module and classes), and its name."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the former run's JUnit report."""
    parser.addoption("--beyond", type=Path, help="JUnit report of a run: what ran there does not")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a file of which all ran, or was left out as this run leaves it out."""
    there, skipped = cases_of(config.getoption("--beyond"))
    module, _ = name_in_report(collection_path.relative_to(config.rootpath).as_posix())
    known = module in {name for name, _ in there} - {name for name, _ in skipped}
    return True if known and "mark.slow" not in collection_path.read_text() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take away what ran."""
    there, _ = cases_of(config.getoption("--beyond"))
    left_out = [item for item in items if name_in_report(item.nodeid) not in there]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(left_out)])
    items[:] = left_out


@functools.cache
def cases_of(report: Path) -> tuple[set[Case], set[Case]]:
    """Return which tests ran, whether they passed or not, and which were skipped."""
    ran: set[Case] = set()
    skipped: set[Case] = set()
    for case in ET.parse(report).iter("testcase"):
        name = case.get("classname", ""), case.get("name", "")
        (ran if case.find("skipped") is None else skipped).add(name)
    return ran, skipped


def name_in_report(nodeid: str) -> Case:
    """Return what a JUnit report calls a test: its module and classes, and its name."""
    address, bracket, parameters = nodeid.partition("[")
    path, *names = address.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    return ".".join([module, *names[:-1]]), (names or [""])[-1] + bracket + parameters
