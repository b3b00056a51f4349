import subprocess
import sys
from pathlib import Path

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
