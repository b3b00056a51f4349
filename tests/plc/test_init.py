import doctest
import importlib
import subprocess
import sys
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
    for name in ("Concealer", "Concealers", "conceal", "inpaint"):
        assert ">>>" in (getattr(plc, name).__doc__ or "")
