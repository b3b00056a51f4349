"""What an installed wheel lacks, for tests that run with one: numba, and a checkout."""

from pathlib import Path

import pytest

import plc
from plc_kernels.build.library import LEVEL

# Tests that look into numba, or call kernels that only kernels call: machine code has none of them.
needs_numba = pytest.mark.skipif(LEVEL is not None, reason="the package has machine code")
needs_checkout = pytest.mark.skipif(
    not Path(plc.__file__).parents[1].joinpath("pyproject.toml").is_file(),
    reason="the package is installed",
)
