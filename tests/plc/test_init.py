import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import plc

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_there_and_has_a_home() -> None:
    assert set(plc._HOMES) == set(plc.__all__)
    for name in plc.__all__:
        assert getattr(plc, name) is not None
    assert set(plc.__all__) <= set(dir(plc))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'conseal'"):
        plc.conseal  # noqa: B018


def test_importing_the_package_loads_neither_numpy_nor_numba() -> None:
    code = "import sys, plc; assert not {'numpy', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("home", sorted(set(plc._HOMES.values())))
def test_the_examples_of_the_docstrings_are_true(home: str) -> None:
    module = importlib.import_module(home)
    found = doctest.testmod(module, extraglobs={"np": np}, raise_on_error=False)
    assert not found.failed


def test_every_class_and_function_to_call_has_an_example() -> None:
    for name in ("Concealer", "ConcealerPool", "conceal", "inpaint"):
        assert ">>>" in (getattr(plc, name).__doc__ or "")


def test_version_and_licence_are_the_same_wherever_they_stand() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, dynamic = settings["project"], settings["tool"]["setuptools"]["dynamic"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert project["dynamic"] == ["version"]
    assert dynamic["version"] == {"attr": "plc.__version__"}
    assert f"\nversion: {plc.__version__}\n" in citation
    recordings = (ROOT / "plc/data/LICENCE.md").read_text()
    theirs = set(re.findall(r"\((CC-[A-Z0-9.-]+)\)\]", recordings))
    assert project["license"] == " AND ".join(["MIT", *sorted(theirs)])
    assert "\nlicense: MIT\n" in citation
    assert (ROOT / "CHANGELOG.md").read_text().count("## Unreleased\n") == 1
