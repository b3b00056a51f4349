"""The kernels that Python calls, for ``kernels.c``: entries, and their names and types.

An entry takes 64-bit words and makes the kernel's arguments of them.
"""

import importlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import as_dtype

from plc_kernels.build.jit import compiled_text
from plc_kernels.build.library import SOURCES
from plc_kernels.build.targets import Target
from plc_kernels.signal import ring

_WORD = ir.IntType(64)
kinds: Any = types  # whose attributes numba's stubs do not have


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel as Python sees it, with the types of its arguments as numba names them."""

    kernel: Any
    types: tuple[Any, ...]

    @property
    def returned(self) -> Any:
        """The type of the result, as numba names it."""
        return types.unliteral(compiled_text(self.kernel, self.types).signature.return_type)

    def text(self, name: str) -> str:
        """Return LLVM's text of the function of words, which calls numba's."""
        result = compiled_text(self.kernel, self.types)
        context, returned = result.target_context, result.signature.return_type
        module = ir.Module(name=f"{name}.c")
        module.triple = llvm.get_process_triple()
        outer = ir.Function(module, ir.FunctionType(_WORD, [_WORD.as_pointer()]), name)
        kind = context.call_conv.get_function_type(returned, self.types)
        inner = ir.Function(module, kind, result.fndesc.llvm_func_name)
        build = ir.IRBuilder(outer.append_basic_block())
        words = _Words(context, build, outer.args[0])
        values = [words.take(each) for each in self.types]
        status, answer = context.call_conv.call_function(build, inner, returned, self.types, values)
        with build.if_then(status.is_error, likely=False):
            build.ret(_WORD(1))
        words.next = 0
        words.give(returned, answer)
        build.ret(_WORD(0))
        return str(cgutils.normalize_ir_text(str(module)))


class _Words:
    """The words of a call, read and written one after another."""

    def __init__(self, context: Any, build: Any, begin: Any) -> None:
        self._context, self._build, self._begin = context, build, begin
        self.next = 0

    def _place(self) -> Any:
        self.next += 1
        return self._build.gep(self._begin, [_WORD(self.next - 1)])

    def take(self, type_: Any) -> Any:
        build, context = self._build, self._context
        match type_:
            case kinds.Array():
                made = context.make_array(type_)(context, build)
                data = build.inttoptr(build.load(self._place()), made.data.type)
                shape = [build.load(self._place()) for _ in range(type_.ndim)]
                strides = [build.load(self._place()) for _ in range(type_.ndim)]
                itemsize = context.get_abi_sizeof(context.get_data_type(type_.dtype))
                populate_array(
                    made, data=data, shape=shape, strides=strides, itemsize=itemsize, meminfo=None
                )
                return made._getvalue()
            case kinds.BaseTuple():
                return context.make_tuple(build, type_, [self.take(each) for each in type_.types])
            case kinds.Boolean():
                return build.icmp_signed("!=", build.load(self._place()), _WORD(0))
            case kinds.Float():
                kind = context.get_value_type(type_)
                return build.load(build.bitcast(self._place(), kind.as_pointer()))
            case kinds.Integer():
                return build.trunc(build.load(self._place()), context.get_value_type(type_))
        raise TypeError(f"{type_} is of no kind that kernels.c takes")

    def give(self, type_: Any, value: Any) -> None:
        build = self._build
        match type_:
            case kinds.BaseTuple():
                for k, each in enumerate(type_.types):
                    self.give(each, build.extract_value(value, k))
            case kinds.Float():
                kind = self._context.get_value_type(type_)
                build.store(value, build.bitcast(self._place(), kind.as_pointer()))
            case kinds.Boolean():
                build.store(build.zext(value, _WORD), self._place())
            case kinds.Integer():
                extend = build.sext if type_.signed else build.zext
                build.store(extend(value, _WORD), self._place())
            case kinds.NoneType():
                pass
            case _:
                raise TypeError(f"{type_} is of no kind that kernels.c gives")


def code_of(type_: Any) -> str:
    """Return a type as ``kernels.c`` has it.

    Raises
    ------
    TypeError
        If it has none.
    """
    match type_:
        case kinds.Array():
            layout = "C" if type_.layout == "C" else "A"
            return f"a{as_dtype(type_.dtype).char}{type_.ndim}{layout}"
        case kinds.BaseTuple():
            return f"({''.join(map(code_of, type_.types))})"
        case kinds.Boolean():
            return "b"
        case kinds.Float():
            return "d" if type_.bitwidth == 64 else "f"
        case kinds.Integer():
            return "l" if type_.signed else "L"
        case kinds.NoneType():
            return "n"
    raise TypeError(f"{type_} is of no kind that kernels.c takes")


def plain(type_: Any) -> Any:
    """Return a type without a constant's value or an array's read-only flag."""
    match type_:
        case kinds.Array():
            return types.Array(type_.dtype, type_.ndim, type_.layout)
        case kinds.NamedTuple() | kinds.NamedUniTuple():
            return types.BaseTuple.from_types(tuple(map(plain, type_.types)), type_.instance_class)
        case kinds.BaseTuple():
            return types.BaseTuple.from_types(tuple(map(plain, type_.types)))
    return types.unliteral(type_)


def _words_of(type_: Any) -> int:
    match type_:
        case kinds.Array():
            return 1 + 2 * int(type_.ndim)
        case kinds.BaseTuple():
            return sum(map(_words_of, type_.types))
    return 1


def read_signatures(path: Path) -> list[tuple[str, Entry]]:
    """Return names and entries of a file, which has module, name and numba's types of each."""
    found: dict[tuple[str, str], Entry] = {}
    for module, name, types_ in pickle.loads(path.read_bytes()):
        these = tuple(map(plain, types_))
        entry = Entry(getattr(importlib.import_module(module), name), these)
        found[f"{module}.{name}", "".join(map(code_of, these))] = entry
    # Contiguous arrays, C, after others, A, in the alphabet: the former are to be asked first.
    order = sorted(found, key=lambda each: (each[0], each[1].replace("A", "Z")))
    return [(name, found[name, code]) for name, code in order]


def header(entries: list[tuple[str, Entry]], targets: list[Target]) -> str:
    """Return ``kernels.h``."""
    lines = [f'#define PLCK_SOURCES "{SOURCES.hex()}"']
    lines += [
        f"#define PLCK_RING_{name} {getattr(ring, name)}"
        for name in ("HEADER", "CAPACITY", "CHANNELS")
    ]
    most = max(sum(map(_words_of, (*entry.types, entry.returned))) for _, entry in entries)
    lines.append(f"#define PLCK_MOST_WORDS {most}")
    levels = [
        f'X({target.suffix.removeprefix("_")}, PLCK_RUNS("{target.name}"), "{target.name}")'
        for target in targets
    ]
    lines.append(f"#define PLCK_LEVELS(X) {' '.join(levels)}")
    shown = [
        f'X("{name}", "{"".join(map(code_of, entry.types))}", "{code_of(entry.returned)}")'
        for name, entry in entries
    ]
    lines.append("#define PLCK_ENTRIES(X) " + " \\\n    ".join(shown))
    for target in targets:
        names = " ".join(f"X(plck_{k}{target.suffix})" for k in range(len(entries)))
        lines.append(f"#define PLCK_FUNCTIONS_{target.suffix.removeprefix('_')}(X) {names}")
    return "\n".join(lines) + "\n"
