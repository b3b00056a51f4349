"""Flush denormal numbers to zero while the audio path runs.

A signal that decays to silence ends in denormal floats, on which x86 arithmetic is ten to a
hundred times slower. The processor can treat them as zero instead: bits FTZ and DAZ of MXCSR on
x86, bit FZ of FPCR on ARM. The setting belongs to the thread and hosts reset it, so the engine
sets it on entry to a packet and puts back what it found on exit; both take nanoseconds.
"""

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from plc_kernels.compile import kernel

_MACHINE = platform.machine().lower()
_X86 = _MACHINE in ("x86_64", "amd64", "i386", "i686")
_ARM = _MACHINE in ("aarch64", "arm64")
# Intel SDM vol. 1, 10.2.3: flush-to-zero is bit 15 and denormals-are-zeros bit 6 of MXCSR.
_X86_BITS = 0x8040
# ARM ARM, FPCR: FZ is bit 24.
_ARM_BITS = 1 << 24

SUPPORTED = _X86 or _ARM
"""Whether this processor's setting is known; elsewhere the calls below do nothing."""


@intrinsic
def _read_control(typing_context: Any) -> Any:
    """Return the floating-point control register as int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _X86:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
            function = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
            name = "llvm.x86.sse.stmxcsr"
            builder.call(cgutils.get_or_insert_function(builder.module, function, name), [pointer])
            return builder.zext(builder.load(place), ir.IntType(64))
        if _ARM:
            function = ir.FunctionType(ir.IntType(64), [])
            name = "llvm.aarch64.get.fpcr"
            return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [])
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(), generate


@intrinsic
def _write_control(typing_context: Any, value: Any) -> Any:
    """Set the floating-point control register from an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _X86:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(arguments[0], ir.IntType(32)), place)
            pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
            function = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
            name = "llvm.x86.sse.ldmxcsr"
            builder.call(cgutils.get_or_insert_function(builder.module, function, name), [pointer])
        elif _ARM:
            function = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
            name = "llvm.aarch64.set.fpcr"
            builder.call(
                cgutils.get_or_insert_function(builder.module, function, name), [arguments[0]]
            )
        return context.get_dummy_value()

    return types.void(types.int64), generate


@kernel
def flush_denormals() -> int:
    """Make this thread's arithmetic treat denormals as zero; return the setting found before."""
    before: int = _read_control()  # type: ignore[call-arg]  # numba passes the context
    bits = _X86_BITS if _X86 else _ARM_BITS if _ARM else 0
    _write_control(before | bits)
    return before


@kernel
def restore_denormals(before: int) -> None:
    """Put back what :func:`flush_denormals` returned, in the same thread."""
    _write_control(before)  # type: ignore[call-arg]  # numba passes the context
