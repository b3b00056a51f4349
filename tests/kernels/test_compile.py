import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import plc_kernels.compile
import plc_kernels.own_folder

CALLEE = """
from plc_kernels.compile import kernel
@kernel
def scaled(x):
    return 2.0 * x
"""
CALLER = """
from plc_kernels.compile import kernel
from plc_kernels.callee import scaled
@kernel
def shifted(x):
    return scaled(x) + 1.0
"""


def run_caller(root: Path) -> tuple[float, int]:
    """Return what the caller gives in a fresh process, and how often its cache was hit."""
    environment = os.environ | {"PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(root / "cache")}
    program = (
        "from plc_kernels.caller import shifted\n"
        "print(shifted(3.0), sum(shifted.stats.cache_hits.values()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    ).stdout.split()
    return float(answer[0]), int(answer[1])


@pytest.mark.system
def test_a_cached_kernel_is_renewed_when_the_file_of_its_callee_changes(tmp_path: Path) -> None:
    package = tmp_path / "plc_kernels"
    package.mkdir()
    for module in (plc_kernels.compile, plc_kernels.own_folder):
        shutil.copy(str(module.__file__), package)
    (package / "__init__.py").touch()
    (package / "caller.py").write_text(CALLER)
    (package / "callee.py").write_text(CALLEE)
    assert run_caller(tmp_path) == (7.0, 0)
    assert run_caller(tmp_path) == (7.0, 1)
    (package / "callee.py").write_text(CALLEE.replace("2.0", "5.0"))
    assert run_caller(tmp_path) == (16.0, 0)
