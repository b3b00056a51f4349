"""Flush denormal numbers to zero while the audio path runs.

A signal that decays to silence ends in denormal floats, on which x86 arithmetic is ten to a
hundred times slower. The processor can treat them as zero instead: bits FTZ and DAZ of MXCSR on
x86, bit FZ of FPCR on ARM. The setting belongs to the thread and hosts reset it, so the engine
sets it on entry to a packet and puts back what it found on exit; both take nanoseconds.
"""

import platform
from typing import Any

from plc_kernels.build.compile import cgutils, intrinsic, ir, kernel, types

# Intel SDM vol. 1, 10.2.3: flush-to-zero is bit 15 and denormals-are-zeros bit 6 of MXCSR.
# ARM ARM, FPCR: FZ is bit 24.
_BITS = {"x86": 0x8040, "arm": 1 << 24, "other": 0}
_KINDS = {
    **dict.fromkeys(("x86_64", "amd64", "i386", "i686"), "x86"),
    **dict.fromkeys(("aarch64", "arm64"), "arm"),
}


def _kind_of(machine: str) -> str:
    return _KINDS.get(machine.lower(), "other")


_kind = _kind_of(platform.machine())
_elsewhere = False

SUPPORTED = _kind != "other"
"""Whether this processor's setting is known; elsewhere the calls below do nothing."""

READ, WRITE = "plck_read_control", "plck_write_control"
"""Functions that code for another family of processors calls, and whoever emits it defines:
``int64 READ(void)`` and ``void WRITE(int64)``."""


def generate_for(machine: str) -> None:
    """Compile the calls below for another family of processors, from here on.

    ``machine`` is as :func:`platform.machine` names it; ``"wasm32"`` has no such setting. For a
    process that emits code and does not run it: a cache of compiled kernels does not notice.
    """
    global _kind, _elsewhere
    _elsewhere = _kind_of(machine) != _kind_of(platform.machine())
    _kind = _kind_of(machine)


def generated_for() -> tuple[str, bool]:
    """Return the family compiled for, ``x86``, ``arm`` or ``other``, and whether it is not ours."""
    return _kind, _elsewhere


def outside(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call a function that another module defines."""
    function = ir.FunctionType(result, [each.type for each in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


@intrinsic
def _read_control(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _elsewhere:
            return outside(builder, READ, ir.IntType(64), [])
        if _kind == "x86":
            place = cgutils.alloca_once(builder, ir.IntType(32))
            pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
            outside(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [pointer])
            return builder.zext(builder.load(place), ir.IntType(64))
        if _kind == "arm":
            return outside(builder, "llvm.aarch64.get.fpcr", ir.IntType(64), [])
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(), generate


@intrinsic
def _write_control(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _elsewhere:
            outside(builder, WRITE, ir.VoidType(), [arguments[0]])
        elif _kind == "x86":
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(arguments[0], ir.IntType(32)), place)
            pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
            outside(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [pointer])
        elif _kind == "arm":
            outside(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [arguments[0]])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def _flushing_bits(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(ir.IntType(64), _BITS[_kind])

    return types.int64(), generate


@kernel
def flush_denormals() -> int:
    """Make this thread's arithmetic treat denormals as zero; return the setting found before."""
    before: int = _read_control()  # type: ignore[call-arg]  # numba passes the context
    bits: int = _flushing_bits()
    _write_control(before | bits)
    return before


@kernel
def restore_denormals(before: int) -> None:
    """Restore the state that :func:`flush_denormals` returned, in the same thread."""
    _write_control(before)  # type: ignore[call-arg]  # numba passes the context
