"""What an installed wheel lacks, for tests that run with one: numba, and a checkout."""

from pathlib import Path

import pytest

import plc
from plc_kernels.library import LEVEL

needs_numba = pytest.mark.skipif(LEVEL is not None, reason="the package has machine code")
needs_checkout = pytest.mark.skipif(
    not Path(plc.__file__).parents[1].joinpath("pyproject.toml").is_file(),
    reason="the package is installed",
)

INNER = ("noise.noise_windows", "stream.background.is_unsteady", "stream.model_file.block_size")
"""Kernels that only kernels and tests call, of which machine code has no functions for Python."""


def is_inner(error: RuntimeError) -> bool:
    """Tell whether it says that there is no machine code of one of them."""
    return str(error).endswith(tuple(f"no machine code of plc_kernels.{name}" for name in INNER))
