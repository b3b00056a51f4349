import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from plc_kernels.build.compile import kernel
from plc_kernels.build.denormals import SUPPORTED, flush_denormals, restore_denormals

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="no known setting on this processor")


@kernel
def halve(x: float, times: int) -> float:
    for _ in range(times):
        x *= 0.5
    return x


def test_denormals_are_zero_while_flushed_and_back_afterwards() -> None:
    smallest_normal = float(np.finfo(np.float64).tiny)
    assert halve(smallest_normal, 1) > 0.0
    before = flush_denormals()
    try:
        flushed = halve(smallest_normal, 1)
    finally:
        restore_denormals(before)
    assert flushed == 0.0
    assert halve(smallest_normal, 1) > 0.0


def test_the_setting_belongs_to_the_thread() -> None:
    other = threading.Thread(target=flush_denormals)
    other.start()
    other.join()
    assert halve(float(np.finfo(np.float64).tiny), 1) > 0.0


@pytest.mark.parametrize(
    ("machine", "bits"), [("aarch64", 1 << 24), ("wasm32", 0), ("x86_64", 0x8040)]
)
def test_code_for_another_family_leaves_the_register_to_whoever_emits_it(
    machine: str, bits: int
) -> None:
    script = f"""
import platform
platform.machine = lambda: "a machine of its own"
import llvmlite.binding as llvm
from plc_kernels.build import denormals
for name in (denormals.READ, denormals.WRITE):
    llvm.add_symbol(name, llvm.address_of_symbol("free"))
denormals.generate_for({machine!r})
from numba import njit
flush = njit(denormals.flush_denormals.py_func)
flush.compile(())
text = flush.inspect_llvm(())
assert ("plck_read_control" in text) == ({machine!r} != "wasm32"), text
assert "stmxcsr" not in text and "fpcr" not in text
assert not {bits} or "or i64" in text and " {bits}" in text
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
