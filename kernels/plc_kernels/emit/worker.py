"""Write the step's object file for one type of processor: ``worker TARGET FILE``.

For a type of this machine's family, the code is numba's own to the last bit: what numba would run,
as it optimised it for that type, only translated to a file instead of memory. For another family it
is the same text before any optimisation, with that family's sizes of memory, and LLVM's ordinary
passes over it. Between the two, sums differ by their order.

:mod:`~plc_kernels.emit.objects` starts this with numba's variables set.
"""

import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from plc_kernels import denormals
from plc_kernels.emit.symbols import MATHEMATICS, undefined_symbols
from plc_kernels.emit.targets import TARGETS, WASM32, Target, machine
from plc_kernels.stream import entry

_WORDS = types.Array(types.int64, 1, "C")
# The functions look at as many words as the settings say; no length is known outside.
_ANY_LENGTH = 1 << 40
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "plck_size": (_WORDS,),
    "plck_open": (_WORDS, _WORDS),
    "plck_reset": (_WORDS,),
    "plck_push": (
        _WORDS,
        types.intp,
        types.int64,
        _WORDS,
        types.int64,
        types.intp,
        types.int64,
    ),
    "plck_resume": (_WORDS, types.intp, types.int64),
}
"""What is emitted: each function's arguments as numba sees them. C passes an address for an array,
and for a number that is one."""
_ADDRESSES = {"plck_push": (1, 5), "plck_resume": (1,)}
_CONTROL = {
    "x86_64": """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define i64 @plck_read_control() {
  %place = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  %value = load i32, ptr %place
  %wide = zext i32 %value to i64
  ret i64 %wide
}
define void @plck_write_control(i64 %wide) {
  %place = alloca i32
  %value = trunc i64 %wide to i32
  store i32 %value, ptr %place
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  ret void
}
""",
    "aarch64": """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
define i64 @plck_read_control() {
  %value = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %value
}
define void @plck_write_control(i64 %value) {
  call void @llvm.aarch64.set.fpcr(i64 %value)
  ret void
}
""",
    "wasm32": """
define i64 @plck_read_control() {
  ret i64 0
}
define void @plck_write_control(i64 %value) {
  ret void
}
""",
}


def main(arguments: Sequence[str]) -> None:
    """Write an object file; for :mod:`~plc_kernels.emit.objects`."""
    name, path = arguments
    warnings.simplefilter("ignore")  # that code for other processors cannot be cached
    target = TARGETS[name]
    code = object_code(target)
    strange = undefined_symbols(code) - MATHEMATICS
    if strange:
        raise SystemExit(f"the code for {name} calls {', '.join(sorted(strange))}")
    Path(path).write_bytes(code)


def object_code(target: Target) -> bytes:
    """Return the object file of all functions."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    family = llvm.Target.from_triple(target.triple)
    compiler = family.create_target_machine(
        cpu=target.processor,
        features=target.features,
        opt=3,
        reloc="static" if target.family == WASM32 else "pic",
        codemodel="default",
    )
    at_home = target.family == machine()
    if not at_home:
        _stand_in()
    denormals.generate_for(target.family)
    modules = [
        module for name, types_ in FUNCTIONS.items() for module in _texts(name, types_, target)
    ]
    if not at_home:
        modules = [_moved(text, target, compiler) for text in modules]
        modules.append(_moved(_CONTROL[target.family], target, compiler))
    linked = llvm.parse_assembly(modules[0])
    for text in modules[1:]:
        linked.link_in(llvm.parse_assembly(text))
    linked.verify()
    _keep(linked, {name + target.suffix for name in FUNCTIONS}, target)
    if at_home:
        settings = llvm.create_pipeline_tuning_options(speed_level=0)
        builder = llvm.create_pass_builder(compiler, settings)
        passes = llvm.create_new_module_pass_manager()
        passes.add_global_dead_code_eliminate_pass()
    else:
        settings = llvm.create_pipeline_tuning_options(speed_level=3)
        settings.loop_vectorization = True
        settings.slp_vectorization = True
        builder = llvm.create_pass_builder(compiler, settings)
        passes = builder.getModulePassManager()
    passes.run(linked, builder)
    return bytes(compiler.emit_object(linked))


def _stand_in() -> None:
    """Let numba link functions that only the other family's code has; nobody calls them here."""
    anything = llvm.address_of_symbol("free")
    for name in (denormals.READ, denormals.WRITE):
        llvm.add_symbol(name, anything)


def _texts(name: str, types_: tuple[Any, ...], target: Target) -> tuple[str, str]:
    """Return LLVM's text of a function, and of its twin for C."""
    dispatcher = getattr(entry, name)
    dispatcher.compile(types_)
    result = dispatcher.overloads[types_]
    text = result.library.get_llvm_str()
    context = result.target_context
    module = ir.Module(name=f"{name}.c")
    module.triple = llvm.get_process_triple()
    pointer, word = ir.IntType(8).as_pointer(), ir.IntType(64)
    addresses = _ADDRESSES.get(name, ())
    returned = result.signature.return_type
    outer = ir.Function(
        module,
        ir.FunctionType(
            ir.VoidType() if returned == types.none else word,
            [
                pointer if isinstance(each, types.Array) or k in addresses else word
                for k, each in enumerate(types_)
            ],
        ),
        name + target.suffix,
    )
    inner = ir.Function(
        module,
        context.call_conv.get_function_type(returned, types_),
        result.fndesc.llvm_func_name,
    )
    build = ir.IRBuilder(outer.append_basic_block())
    given = []
    for k, (value, each) in enumerate(zip(outer.args, types_, strict=True)):
        if isinstance(each, types.Array):
            array = context.make_array(each)(context, build)
            populate_array(
                array,
                data=build.bitcast(value, context.get_data_type(each.dtype).as_pointer()),
                shape=[word(_ANY_LENGTH)],
                strides=[word(8)],
                itemsize=word(8),
                meminfo=None,
            )
            given.append(array._getvalue())
        else:
            given.append(build.ptrtoint(value, word) if k in addresses else value)
    _, answer = context.call_conv.call_function(build, inner, returned, types_, given)
    if returned == types.none:
        build.ret_void()
    else:
        build.ret(answer)
    # Arrays that are made of addresses have no owner to be freed: this is there, and never called.
    text = re.sub(
        r"^declare void @NRT_MemInfo_call_dtor\(ptr\).*$",
        "define linkonce_odr void @NRT_MemInfo_call_dtor(ptr %0) {\n"
        "  call void @llvm.trap()\n  unreachable\n}\ndeclare void @llvm.trap()",
        text,
        flags=re.MULTILINE,
    )
    return text, cgutils.normalize_ir_text(str(module))


def _moved(text: str, target: Target, compiler: Any) -> str:
    """Return unoptimised text as that of another family of processors."""
    head = f'target datalayout = "{compiler.target_data}"\ntarget triple = "{target.triple}"\n'
    text = re.sub(r'^target (datalayout|triple) = ".*"\n', "", text, flags=re.MULTILINE)
    text = re.sub(r'"(target-cpu|target-features|probe-stack)"="[^"]*"', "", text)
    # Nothing is allocated, so no array has an owner whose users would be counted.
    text = re.sub(
        r"^define [^\n]* @(NRT_(?:in|de)cref)\(.*?^}$",
        r"define linkonce_odr void @\1(ptr %0) {\n  ret void\n}",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    return head + text


def _keep(module: Any, names: set[str], target: Target) -> None:
    """Make all else internal to the object file."""
    for value in (*module.functions, *module.global_variables):
        if value.is_declaration:
            continue
        if value.name not in names:
            value.linkage = "internal"
        elif target.family != WASM32:
            value.visibility = "hidden"


if __name__ == "__main__":
    main(sys.argv[1:])
