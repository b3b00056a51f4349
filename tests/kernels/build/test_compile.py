import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import plc_kernels
from plc_kernels.build.library import digest_of
from plc_kernels.build.targets import X86_64, machine

CALLEE = """
from plc_kernels.build.compile import kernel
@kernel
def scaled(x):
    return 2.0 * x
"""
CALLER = """
from plc_kernels.build.compile import kernel
from plc_kernels.callee import scaled
@kernel
def shifted(x):
    return scaled(x) + 1.0
"""


PROGRAM = """
from plc_kernels.caller import shifted
print(shifted(3.0), sum(shifted.stats.cache_hits.values()))
"""
COUNTED = """
import numpy as np
from numba.core.codegen import JITCPUCodegen
from plc_kernels.build.compile import kernel, part
made = []
add = JITCPUCodegen._add_module
JITCPUCodegen._add_module = lambda self, module: made.append(module) or add(self, module)
@part
def put(x, at, value):
    x[at] = value
@kernel
def total(x):
    put(x, 0, 1.0)
    put(x, 1, 2.0)
    return np.sum(x)
@kernel
def outer(x):
    put(x, 2, 3.0)
    return total(x) + np.max(x)
@kernel
def called():
    return outer(np.zeros(4))
@kernel
def steady(x):
    return True
assert outer(np.zeros(4)) == 6.0 + 3.0 and steady(np.zeros(4)) is True
print(*[module.name for module in made], len(put.overloads))
"""

TEXTS = """
import hashlib
import numpy as np
from numba import types
from plc_kernels.build import jit
from plc_kernels.build.compile import kernel, part
@part
def scale(x, y):
    for i in range(len(x)):
        y[i] += np.float32(2.0) * x[i]
@kernel
def inner(x, y):
    scale(x, y)
    return np.sum(y)
@kernel
def outer(x, y):
    return inner(x, y) + x[0]
def tell(*processors):
    row = types.Array(types.float32, 1, "C")
    for processor in processors:
        jit.optimise_for(processor)
        print(hashlib.sha256(jit.whole_text(outer, (row, row)).encode()).hexdigest())
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with two kernels, compiled as those of this one are."""
    root = Path(plc_kernels.__file__).parent
    folder = tmp_path / "plc_kernels"
    (folder / "build").mkdir(parents=True)
    shutil.copy(root / "__init__.py", folder)
    for name in ("__init__", "compile", "jit", "library", "own_folder"):
        shutil.copy(root / "build" / f"{name}.py", folder / "build")
    (folder / "caller.py").write_text(CALLER)
    (folder / "callee.py").write_text(CALLEE)
    return folder


def run(package: Path, program: str = PROGRAM, cache: str = "cache", processor: str = "") -> str:
    """Return what a program prints in a fresh process."""
    root = package.parent
    environment = os.environ | {"PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(root / cache)}
    environment.pop("NUMBA_BOUNDSCHECK", None)  # code of a package has no checks
    if processor:
        environment |= {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    ).stdout


def run_caller(package: Path, cache: str = "cache") -> tuple[float, int]:
    """Return what the caller gives in a fresh process, and how often its cache was hit."""
    answer = run(package, cache=cache).split()
    return float(answer[0]), int(answer[1])


def test_the_kernels_of_papers_leave_the_engines_machine_code_valid(tmp_path: Path) -> None:
    package = tmp_path / "plc_kernels"
    shutil.copytree(
        Path(plc_kernels.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    before = digest_of(package)
    for path in (package / "papers").glob("*.py"):
        path.write_text(path.read_text() + "\n# changed\n")
    assert digest_of(package) == before
    path = package / "spectra" / "fft.py"
    path.write_text(path.read_text() + "\n# changed\n")
    assert digest_of(package) != before


def test_only_what_python_calls_becomes_machine_code_and_once_for_all_constants(
    package: Path,
) -> None:
    (package / "counted.py").write_text(COUNTED)
    # The first is numba's own counting of references, once in a process.
    assert run(package, "import plc_kernels.counted").split() == ["nrt", "outer", "steady", "1"]


@pytest.mark.skipif(machine() != X86_64, reason="levels are known for x86-64")
def test_a_text_is_optimised_for_one_type_of_processor_after_another(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # numba names functions by the order of a set
    (package / "texts.py").write_text(TEXTS)
    told = [
        run(
            package, f"from plc_kernels.texts import tell; tell(*{names})", processor=names[0]
        ).split()
        for names in (["x86-64-v2", "x86-64-v3", "x86-64-v2"], ["x86-64-v3"])
    ]
    (older, newer, again), (alone,) = told
    assert older == again != newer == alone


def test_a_start_from_the_cache_loads_no_compiler(package: Path) -> None:
    program = f"{PROGRAM}\nimport sys; print('numba.np.linalg' in sys.modules)"
    assert run(package, program).split() == ["7.0", "0", "True"]
    assert run(package, program).split() == ["7.0", "1", "False"]


@pytest.mark.system
def test_a_cached_kernel_is_renewed_when_the_file_of_its_callee_changes(package: Path) -> None:
    assert run_caller(package) == (7.0, 0)
    assert run_caller(package) == (7.0, 1)
    (package / "callee.py").write_text(CALLEE.replace("2.0", "5.0"))
    assert run_caller(package) == (16.0, 0)
