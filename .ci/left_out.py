"""A plugin of pytest: ``--beyond report.xml`` runs what a former run left out or skipped."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the former run's JUnit report."""
    parser.addoption("--beyond", type=Path, help="JUnit report of a run: what ran there does not")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take away what ran."""
    there = ran(config.getoption("--beyond"))
    left_out = [item for item in items if name_in_report(item.nodeid) not in there]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(left_out)])
    items[:] = left_out


def ran(report: Path) -> set[tuple[str, str]]:
    """Return class and name of each test that ran, whether it passed or not."""
    cases = ET.parse(report).iter("testcase")
    return {
        (case.get("classname", ""), case.get("name", ""))
        for case in cases
        if case.find("skipped") is None
    }


def name_in_report(nodeid: str) -> tuple[str, str]:
    """Return what a JUnit report calls a test: its module and classes, and its name."""
    address, bracket, parameters = nodeid.partition("[")
    path, *names = address.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    return ".".join([module, *names[:-1]]), names[-1] + bracket + parameters
