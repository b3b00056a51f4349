"""The module of machine code that Python loads, against what numba compiles."""

import copy
import pickle
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numba import types

from plc_kernels import emit
from plc_kernels.build import library
from plc_kernels.build.targets import WINDOWS, X86_64, machine, targets_of
from plc_kernels.emit.objects import emit_objects, run_for
from plc_kernels.signal.level import largest
from plc_kernels.signal.noise import noise_windows
from plc_kernels.signal.packet import pack_int16, unpack_int16
from plc_kernels.signal.predict import measure_bridge
from plc_kernels.signal.resample import resample
from plc_kernels.signal.rungs import order_of
from tests.signals import noise

pytestmark = pytest.mark.system
if shutil.which("gcc") is None:
    pytest.skip("needs gcc", allow_module_level=True)
HEADERS = Path(sysconfig.get_path("include"))
if not (HEADERS / "Python.h").is_file():
    pytest.skip("needs Python's headers", allow_module_level=True)

ROW = types.Array(types.float32, 1, "C")
ROWS = types.Array(types.float32, 2, "C")
ANY_ROWS = types.Array(types.float32, 2, "A")
SIGNATURES: list[tuple[Any, tuple[Any, ...]]] = [
    (largest, (ROW,)),
    (noise_windows, (ROWS,)),
    (unpack_int16, (types.Array(types.int16, 2, "C"), types.int64, types.int64, ROWS)),
    (measure_bridge, (types.int64,) * 6),
    (resample, (types.float64, types.float64, ROWS, ROWS, ROWS)),
    (resample, (types.float64, types.float64, ROWS, ANY_ROWS, ROWS)),
    (order_of, (types.float64, types.float64, types.int64)),
]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Some kernels, compiled for the least of this processor's family."""
    folder = tmp_path_factory.mktemp("emitted")
    told = [(each.py_func.__module__, each.py_func.__name__, of) for each, of in SIGNATURES]
    signatures = folder / "signatures"
    signatures.write_bytes(pickle.dumps(told))
    targets = targets_of(machine())[:1]
    emit_objects(targets, folder, signatures=signatures)
    source = Path(emit.__file__).parent / "kernels.c"
    include = [f"-I{each}" for each in (folder, HEADERS, np.get_include())]
    objects = [str(folder / f"kernels-{target.name}.o") for target in targets]
    flags = ["-O2", "-std=c11", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    path = folder / "kernels.abi3.so"
    command = ["gcc", *flags, *include, "-shared", str(source), *objects, "-lm", "-o", str(path)]
    subprocess.run(command, check=True)
    loader = ExtensionFileLoader("kernels", str(path))
    spec = spec_from_loader("kernels", loader)
    assert spec is not None
    made = module_from_spec(spec)
    loader.exec_module(made)
    return made


@pytest.fixture
def bound(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a kernel of the module's of one that numba compiles."""
    monkeypatch.setattr(library, "FUNCTIONS", vars(module))
    return lambda kernel: library.bound(kernel.py_func)


def test_kernels_give_what_numbas_give(bound: Any) -> None:
    row = noise(1, 480)
    assert bound(largest)(row) == pytest.approx(float(np.abs(row).max()))
    assert bound(order_of)(20.0, 250.0, 48_000) == order_of(20.0, 250.0, 48_000)
    assert bound(order_of)(20, np.float32(250.0), np.int64(48_000)) == order_of(20.0, 250.0, 48_000)
    mine, numbas = np.zeros((2, 2, 256), np.float32)
    bound(noise_windows)(mine)
    noise_windows(numbas)
    np.testing.assert_allclose(mine, numbas, rtol=1e-6)
    words = np.arange(20, dtype=np.int16).reshape(10, 2)
    outs = np.zeros((2, 2, 10), np.float32)
    for unpack, out in zip((bound(unpack_int16), unpack_int16), outs, strict=True):
        assert unpack(words, 2, 8, out) is True
    np.testing.assert_array_equal(*outs)
    assert outs.any()


def test_named_tuples_stay_ones_and_several_layouts_are_taken(bound: Any) -> None:
    given = (48_000, 64, 480, 0, 960, 480)
    found = bound(measure_bridge)(*given)
    assert found == measure_bridge(*given)
    assert type(found) is type(measure_bridge(*given))
    table = noise(2, 64 * 8).reshape(8, 64)
    lines = noise(3, 2 * 1000).reshape(2, 1000)
    for line in (lines, lines[:, ::2]):
        mine, numbas = np.zeros((2, 2, 100), np.float32)
        ends = [
            each(70.0, 1.1, table, line, out)
            for each, out in ((bound(resample), mine), (resample, numbas))
        ]
        assert ends[0] == ends[1]
        np.testing.assert_allclose(mine, numbas, atol=1e-5)


def test_other_types_are_refused(bound: Any) -> None:
    whole = bound(largest)
    row = noise(1, 480)
    swapped = row.astype(">f4")
    wrong = (row.astype(np.float64), row[None], row[::2], swapped, [1.0], None, 3.0)
    for given in (*((each,) for each in wrong), (), (row, row)):
        with pytest.raises(TypeError, match=r"plc_kernels\.signal\.level\.largest takes"):
            whole(*given)
    with pytest.raises(TypeError, match="order_of"):
        bound(order_of)(20.0, 250.0, 48_000.5)
    with pytest.raises(TypeError, match="order_of"):
        bound(order_of)("20", 250.0, 1 << 70)
    whole_of_frozen = noise(4, 8)
    whole_of_frozen.flags.writeable = False
    assert whole(whole_of_frozen) > 0.0


def test_what_the_module_lacks_says_so_and_copies_are_the_same(bound: Any) -> None:
    with pytest.raises(RuntimeError, match=r"no machine code of plc_kernels\.signal\.packet\.pack"):
        bound(pack_int16)(np.zeros((1, 4), np.float32), np.zeros((4, 1), np.int16))
    kernel = bound(largest)
    assert copy.deepcopy(kernel) is kernel
    assert kernel.__doc__ == largest.__doc__


@pytest.mark.skipif(sys.platform != "linux", reason="levels are known for Linux")
def test_a_module_that_does_not_fit_is_left_alone(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CPU_NAME", "CPU_FEATURES", "BOUNDSCHECK", "DISABLE_JIT"):
        monkeypatch.delenv(f"NUMBA_{name}", raising=False)
    path = tmp_path / "kernels.abi3.so"
    monkeypatch.setattr(library, "PATH", path)
    assert library._read() == (None, None)
    path.write_bytes(b"damaged")
    assert library._read() == (None, None)
    shutil.copy(str(module.__spec__.loader.path), path)  # type: ignore[union-attr]
    level, functions = library._read()
    assert level in [target.name for target in targets_of(machine())]
    assert functions is not None
    assert "plc_kernels.signal.level.largest" in functions
    monkeypatch.setattr(library, "SOURCES", b"others")
    assert library._read() == (None, None)
    monkeypatch.undo()
    monkeypatch.setattr(library, "PATH", path)
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    assert library._read() == (None, None)


RESHAPING = """
import sys
from numba import types
from plc_kernels.build.compile import kernel
from plc_kernels.emit.python import Entry
from plc_kernels.emit.symbols import MATHEMATICS, MEMORY, undefined_symbols
from plc_kernels.emit.worker import object_code
from plc_kernels.build.targets import TARGETS

@kernel
def reshaped(row):
    return row.reshape((2, 2))[1, 0]

entry = Entry(reshaped, (types.Array(types.float32, 1, "C"),))
code = object_code(TARGETS[sys.argv[1]], {"plck_0": entry})
raise SystemExit(", ".join(set(undefined_symbols(code)) - MATHEMATICS - MEMORY))
"""


FOR_WINDOWS = """
import math, sys
from numba import types
from plc_kernels.build.compile import kernel
from plc_kernels.emit.python import Entry
from plc_kernels.emit.symbols import undefined_symbols
from plc_kernels.emit.worker import object_code
from plc_kernels.build.targets import TARGETS

@kernel
def decades(row):
    return math.log10(row[0])

entry = Entry(decades, (types.Array(types.float64, 1, "C"),))
code = object_code(TARGETS[sys.argv[1]], {"plck_decades": entry})
names = [each for each in ("plck_decades_v2", "decades_v2_") if each.encode() in code]
raise SystemExit(f"{code[:2].hex()} {names} {set(undefined_symbols(code))}")
"""


@pytest.mark.skipif(machine() != X86_64, reason="numba optimises for x86-64 alone")
def test_an_object_for_windows_is_coff_and_has_the_functions_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "for_windows.py").write_text(FOR_WINDOWS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    target = targets_of(X86_64, WINDOWS)[0]
    found = run_for(target, "for_windows", [target.name])
    assert found == "6486 ['plck_decades_v2'] {'log10'}"


def test_what_calls_code_of_numba_is_not_made_to_trap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reshaping.py").write_text(RESHAPING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    target = targets_of(machine())[0]
    # In a process of its own: numba optimises for the target's processor from there on.
    assert run_for(target, "reshaping", [target.name]) == "numba_attempt_nocopy_reshape"
