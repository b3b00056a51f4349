"""What an object file expects from elsewhere, read from LLVM's own files."""

import importlib

import llvmlite.binding as llvm
import pytest

from plc_kernels.build.targets import TARGETS, WINDOWS, Target
from plc_kernels.emit import worker
from plc_kernels.emit.symbols import MATHEMATICS, undefined_symbols

TEXT = """
declare double @llvm.log10.f64(double)
declare double @sin(double)
declare i64 @elsewhere(ptr)
@given = external global i32
define double @inner(double %x) {
  %y = call double @llvm.log10.f64(double %x)
  %z = call double @sin(double %y)
  ret double %z
}
define i64 @outer(ptr %x) {
  %y = call i64 @elsewhere(ptr %x)
  %z = load i32, ptr @given
  %w = zext i32 %z to i64
  %v = add i64 %y, %w
  ret i64 %v
}
"""


def compiled(target: Target) -> bytes:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.processor, features=target.features, codemodel="default", reloc="static"
    )
    head = f'target datalayout = "{machine.target_data}"\ntarget triple = "{target.triple}"\n'
    return bytes(machine.emit_object(llvm.parse_assembly(head + TEXT)))


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"wasm32"}))
def test_what_is_not_defined_is_found_and_what_is_defined_is_not(name: str) -> None:
    found = set(undefined_symbols(compiled(TARGETS[name])))
    assert found == {"log10", "sin", "elsewhere", "given"}
    if TARGETS[name].system == WINDOWS:
        assert compiled(TARGETS[name])[:2] == b"\x64\x86"
    assert found - MATHEMATICS == {"elsewhere", "given"}


@pytest.mark.parametrize("code", [b"", b"\x7fELF\x01\x01", b"MZ" + bytes(100), b"\0asm\1\0\0\0"])
def test_another_files_kind_is_refused(code: bytes) -> None:
    with pytest.raises(ValueError, match="ELF of 64 bits"):
        list(undefined_symbols(code))


def test_what_is_made_small_or_kept_apart_is_there() -> None:
    # Their symbols are found by these names; a module that has another one would be left out.
    for name in (*worker._SMALL, *worker._APART):
        module, _, function = f"plc_kernels.{name}".rpartition(".")
        known = hasattr(importlib.import_module(module), function)
        assert known or importlib.import_module(f"plc_kernels.{name}"), name
