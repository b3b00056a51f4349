"""Write object files for types of processors of a family: ``worker FOLDER SIGNATURES TARGET…``.

For types of this machine's family, the code is numba's own to the last bit: what numba would run,
as it would optimise it for that type, only translated to a file instead of memory. numba writes the
text once, and it is optimised for each type. For another family it is the same text before any
optimisation, with that family's sizes of memory, and LLVM's ordinary passes over it. Between the
two, sums differ by their order.

:mod:`~plc_kernels.emit.objects` starts this with numba's variables set.
"""

import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from plc_kernels.build import denormals
from plc_kernels.build.compile import kernel
from plc_kernels.build.jit import compiled_text, optimise_for, whole_text
from plc_kernels.build.targets import LINUX, TARGETS, WASM32, Target, machine
from plc_kernels.emit import python
from plc_kernels.emit.symbols import MATHEMATICS, MEMORY, undefined_symbols
from plc_kernels.network.product import PAIRS
from plc_kernels.receive import entry as receive
from plc_kernels.receive import pieces
from plc_kernels.stream import dropout_search, entry, fill_limit, model_file, networks, preparation
from plc_kernels.stream.layout import HEADER
from plc_kernels.stream.step import DRAIN, GO_ON, PUSH, step

_INT64_ARRAY = types.Array(types.int64, 1, "C")
# The functions look at as many words as the settings say; no length is known outside.
_ANY_LENGTH = ir.IntType(64)(1 << 40)


class Kind(Enum):
    """Conversion of C's arguments into a kernel's."""

    WORDS = auto()
    """A pointer to int64: an array."""
    ADDRESS = auto()
    """A pointer: a number."""
    NUMBER = auto()
    """An int64."""
    FLAG = auto()
    """An int64: True unless it is 0."""
    REAL = auto()
    """A double."""
    CONSTANT = auto()
    """That number."""
    FALSE = auto()
    """False."""
    SCRATCH = auto()
    """A header for the duration of the call."""


@dataclass(frozen=True, slots=True)
class View:
    """A function as C sees it.

    Parameters
    ----------
    kernel : callable, what it calls
    pointers : str
        For each argument of C ``"p"``, a pointer, ``"i"``, an int64, or ``"d"``, a double.
    arguments : tuple of (Kind, int)
        The kernel's: of which kind, and the place among C's or the constant.
    """

    kernel: Any
    pointers: str
    arguments: tuple[tuple[Kind, int], ...]

    @property
    def types(self) -> tuple[Any, ...]:
        """The types of the kernel's arguments, as numba names them."""
        known = {
            **dict.fromkeys((Kind.WORDS, Kind.SCRATCH), _INT64_ARRAY),
            **dict.fromkeys((Kind.FLAG, Kind.FALSE), types.boolean),
            Kind.REAL: types.float64,
        }
        return tuple(known.get(kind, types.int64) for kind, _ in self.arguments)

    def text(self, name: str) -> str:
        """Return LLVM's text of C's function, which calls numba's."""
        result = compiled_text(self.kernel, self.types)
        context, returned = result.target_context, result.signature.return_type
        module = ir.Module(name=f"{name}.c")
        module.triple = llvm.get_process_triple()
        word, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        given = {"p": pointer, "i": word, "d": ir.DoubleType()}
        outer = ir.Function(
            module,
            ir.FunctionType(
                ir.VoidType() if returned == types.none else word,
                [given[each] for each in self.pointers],
            ),
            name,
        )
        kind = context.call_conv.get_function_type(returned, self.types)
        inner = ir.Function(module, kind, result.fndesc.llvm_func_name)
        build = ir.IRBuilder(outer.append_basic_block())
        values = [_value(context, build, kind, outer.args, k) for kind, k in self.arguments]
        _, answer = context.call_conv.call_function(build, inner, returned, self.types, values)
        if returned == types.none:
            build.ret_void()
        else:
            build.ret(answer)
        return str(cgutils.normalize_ir_text(str(module)))


# By itself, as no kernel here contains it.
_STEP: Any = kernel(step.py_func)


def _step(action: int, pointers: str, *given: tuple[Kind, int]) -> View:
    return View(_STEP, pointers, ((Kind.WORDS, 0), (Kind.CONSTANT, action), *given))


def _receiver(function: Any, pointers: str = "") -> View:
    """Return a view of a receiver's function, with these arguments behind the block."""
    kinds = {"p": Kind.ADDRESS, "i": Kind.NUMBER, "d": Kind.REAL}
    given = tuple((kinds[each], k) for k, each in enumerate(pointers, 1))
    return View(function, f"p{pointers}", ((Kind.WORDS, 0), *given))


_LOST = (Kind.CONSTANT, 0), (Kind.FLAG, 2), (Kind.FALSE, 0), (Kind.WORDS, 0), (Kind.CONSTANT, 0)
FUNCTIONS = {
    "plck_size": View(entry.prepare, "p", ((Kind.WORDS, 0), (Kind.SCRATCH, 0))),
    "plck_open": View(entry.open_block, "pp", ((Kind.WORDS, 1), (Kind.WORDS, 0))),
    "plck_reset": View(entry.reset, "p", ((Kind.WORDS, 0),)),
    # block, packet, arrived, missing, missing_count, out, integer
    "plck_push": _step(
        PUSH,
        "ppipipi",
        (Kind.ADDRESS, 1),
        (Kind.FLAG, 6),
        (Kind.FLAG, 2),
        (Kind.WORDS, 3),
        (Kind.NUMBER, 4),
        (Kind.ADDRESS, 5),
    ),
    # block, samples, integer, count, distance
    "plck_know": View(
        fill_limit.know,
        "ppiii",
        (
            *((Kind.WORDS, 0), (Kind.ADDRESS, 1), (Kind.FLAG, 2)),
            *((Kind.NUMBER, 3), (Kind.NUMBER, 4)),
        ),
    ),
    # block, model, flags
    "plck_fill": View(
        networks.fill_part, "ppi", ((Kind.WORDS, 0), (Kind.ADDRESS, 1), (Kind.NUMBER, 2))
    ),
    # block, at; block, model
    "plck_look": View(preparation.look, "pi", ((Kind.WORDS, 0), (Kind.NUMBER, 1))),
    "plck_prepare": View(
        networks.fill_part,
        "pp",
        ((Kind.WORDS, 0), (Kind.ADDRESS, 1), (Kind.CONSTANT, networks.PREPARES)),
    ),
    # block, model
    "plck_calibrate": View(entry.calibrate, "pp", ((Kind.WORDS, 0), (Kind.ADDRESS, 1))),
    # file, size; file, size, block
    "plck_model_size": View(model_file.block_size, "pi", ((Kind.ADDRESS, 0), (Kind.NUMBER, 1))),
    "plck_model_open": View(
        model_file.open_block, "pip", ((Kind.ADDRESS, 0), (Kind.NUMBER, 1), (Kind.ADDRESS, 2))
    ),
    # block, out, integer
    "plck_resume": _step(GO_ON, "ppi", *_LOST, (Kind.ADDRESS, 1)),
    "plck_drain": _step(DRAIN, "ppi", *_LOST, (Kind.ADDRESS, 1)),
    # settings; memory, settings; memory, packet, integer
    "plck_search_size": View(
        dropout_search.lay_out_search, "p", ((Kind.WORDS, 0), (Kind.SCRATCH, 0))
    ),
    "plck_search_open": View(
        dropout_search.lay_out_search, "pp", ((Kind.WORDS, 1), (Kind.WORDS, 0))
    ),
    "plck_search": View(
        dropout_search.search, "ppi", ((Kind.WORDS, 0), (Kind.ADDRESS, 1), (Kind.FLAG, 2))
    ),
    # block, sample_rate, channels, samples, lookahead, delay_s, most_s, ahead_s
    "plck_receive_size": _receiver(pieces.settle, "iiiiddd"),
    "plck_receive_open": _receiver(receive.forget),
    # block, samples, form, count, position, is_placed
    "plck_receive_put": View(
        pieces.put,
        "ppiiii",
        (
            *((Kind.WORDS, 0), (Kind.ADDRESS, 1), (Kind.NUMBER, 2)),
            *((Kind.NUMBER, 3), (Kind.NUMBER, 4), (Kind.FLAG, 5)),
        ),
    ),
    "plck_receive_due": _receiver(pieces.due),
    "plck_receive_known": _receiver(pieces.known_behind, "i"),
    "plck_receive_append": _receiver(pieces.append),
    # block, out, form, marks, count
    "plck_receive_give": _receiver(pieces.give, "pipi"),
    "plck_receive_end": _receiver(pieces.end),
    "plck_receive_clear": _receiver(pieces.clear),
    "plck_receive_waiting": _receiver(receive.waiting),
    "plck_search_nothing": View(dropout_search.search_nothing, "p", ((Kind.WORDS, 0),)),
    "plck_search_reset": View(dropout_search.forget_search, "p", ((Kind.WORDS, 0),)),
}
"""What is emitted."""
# Modules whose loops are few: what they cost a page is their size.
_SMALL = (
    "receive",
    *(
        f"stream.{name}"
        for name in (
            *("entry", "layout", "start", "tables", "networks", "bridge", "model_file", "step"),
            *("extend", "extend_music", "preparation", "fill_limit", "neighbours", "background"),
            *("noise", "received", "queue", "model"),
        )
    ),
    *("signal.edges", "signal.history", "signal.recall", "signal.bridged_gap", "signal.burst"),
    *("signal.noise_filling", "signal.rungs", "signal.predict.relative_error"),
    *("network.plan", "network.check"),
)
# What several places call: there once, and as fast as it is elsewhere.
_APART = (
    *("signal.predict.sound_begins", "signal.predict.set_out", "signal.predict.go_on_from"),
    *("signal.history.newest", "signal.passages.follow_lags", "signal.contour._likeness"),
    *("stream.bridge", "stream.extend_network.make_bridge", "stream.fill_limit._follow_part"),
    *("stream.background.is_speech", "network.layers.turn", "network.layers._multiply_spectra"),
    *("network.product.layer", "network.layers._add_products"),
    *("receive.delays.note", "receive.delays.rebase", "receive.units", "receive.turns.make_up"),
    *("receive.pieces", "receive.places.place_piece"),
    *(f"spectra.fft.{name}" for name in ("_first4", "_pass2", "_pass3", "_pass4", "_pass5")),
    *("signal.stretch", "signal.resample"),
)
# Functions of Python's and numba's that only raise, or count the users of arrays. Others are
# refused, such as the one of numba that reshapes an array: without numba nothing has them.
_INTERPRETER = ("Py", "_Py", "NRT_")


def _pairs() -> str:
    """Return LLVM's text of :data:`~plc_kernels.network.product.PAIRS` for WebAssembly."""

    def lanes(first: int, count: int) -> str:
        return f"<{count} x i32> <{', '.join(f'i32 {first + k}' for k in range(count))}>"

    lines = [f"define <16 x i32> @{PAIRS}(<32 x i16> %a, <32 x i16> %b) alwaysinline {{"]
    for k in range(4):
        for name in "ab":
            some = f"<32 x i16> %{name}, <32 x i16> %{name}, {lanes(8 * k, 8)}"
            lines.append(f"  %{name}{k} = shufflevector {some}")
        given = f"<8 x i16> %a{k}, <8 x i16> %b{k}"
        lines.append(f"  %d{k} = call <4 x i32> @llvm.wasm.dot({given})")
    lines += [
        f"  %low = shufflevector <4 x i32> %d0, <4 x i32> %d1, {lanes(0, 8)}",
        f"  %high = shufflevector <4 x i32> %d2, <4 x i32> %d3, {lanes(0, 8)}",
        f"  %all = shufflevector <8 x i32> %low, <8 x i32> %high, {lanes(0, 16)}",
        "  ret <16 x i32> %all\n}\n",
    ]
    return "\n".join(lines)


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
declare <4 x i32> @llvm.wasm.dot(<8 x i16>, <8 x i16>)
"""
    + _pairs(),
}


def main(arguments: Sequence[str]) -> None:
    """Write ``step-TARGET.o`` for each; for :mod:`~plc_kernels.emit.objects`.

    Where signatures are given, ``kernels-TARGET.o`` and ``kernels.h``, too.
    """
    folder, signatures, *names = arguments
    warnings.simplefilter("ignore")  # that code for other processors cannot be cached
    targets = [TARGETS[name] for name in names]
    files: dict[str, Mapping[str, Any]] = {"step": FUNCTIONS}
    if signatures:
        entries = python.read_signatures(Path(signatures))
        files["kernels"] = {f"plck_{k}": each for k, (_, each) in enumerate(entries)}
    for target in targets:
        for file, functions in files.items():
            code = object_code(target, functions)
            known = MATHEMATICS | MEMORY  # a page's linker refuses all else by itself
            if target.family != WASM32 and (strange := set(undefined_symbols(code)) - known):
                raise SystemExit(f"the code for {target.name} calls {', '.join(sorted(strange))}")
            Path(folder, f"{file}-{target.name}.o").write_bytes(code)
    if signatures:
        Path(folder, "kernels.h").write_text(python.header(entries, targets))


def object_code(target: Target, functions: Mapping[str, Any]) -> bytes:
    """Return the object file of functions, by name, to which the target's suffix is added."""
    if target.family == WASM32:
        # LLVM interleaves none of its loops: each addition to a sum would wait for the last one.
        llvm.set_option("", "-force-vector-interleave=2")
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
    if at_home:
        optimise_for(target.processor)
    else:
        _stand_in()
    denormals.generate_for(target.family)
    kernels = dict.fromkeys((each.kernel, each.types) for each in functions.values())
    modules = [_text(kernel, types_) for kernel, types_ in kernels]
    modules += [each.text(name + target.suffix) for name, each in functions.items()]
    if target.family == WASM32:
        modules = [_made_small(text) for text in modules]
    if not at_home:
        modules = [_moved(text, target, compiler) for text in modules]
        modules.append(_moved(_CONTROL[target.family], target, compiler))
    elif target.system != LINUX:
        modules = [_begun_anew(text, target, compiler) for text in modules]
    linked = llvm.parse_assembly(modules[0])
    for text in modules[1:]:
        linked.link_in(llvm.parse_assembly(text))
    head = _head(target, compiler)
    linked.link_in(llvm.parse_assembly(head + _traps(linked)))
    linked.verify()
    _keep(linked, {name + target.suffix for name in functions}, target)
    if at_home:
        settings = llvm.create_pipeline_tuning_options(speed_level=0)
        builder = llvm.create_pass_builder(compiler, settings)
        passes = llvm.create_new_module_pass_manager()
        passes.add_global_dead_code_eliminate_pass()
    else:
        settings = llvm.create_pipeline_tuning_options(speed_level=3)
        settings.loop_vectorization = True
        settings.slp_vectorization = True
        # A page fetches the module: loops that are written out several times are no faster in it.
        settings.loop_unrolling = settings.loop_interleaving = target.family != WASM32
        builder = llvm.create_pass_builder(compiler, settings)
        passes = builder.getModulePassManager()
    passes.run(linked, builder)
    return bytes(compiler.emit_object(linked))


def _stand_in() -> None:
    """Let numba link functions that only the other family's code has; nobody calls them here."""
    anything = llvm.address_of_symbol("free")
    for name in (denormals.READ, denormals.WRITE, PAIRS):
        llvm.add_symbol(name, anything)


def _text(kernel: Any, types_: tuple[Any, ...]) -> str:
    text = whole_text(kernel, types_) + "\ndeclare void @llvm.trap()\n"
    # What tells how two arrays differ in shape is a hundred functions on text.
    return re.sub(
        r"^(define [^\n]*raise_with_shape_context[^\n]*\{)$.*?^\}$",
        r"\1\n  call void @llvm.trap()\n  unreachable\n}",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )


def _value(context: Any, build: Any, kind: Kind, given: Any, k: int) -> Any:
    word = ir.IntType(64)
    match kind:
        case Kind.WORDS:
            return _array(context, build, build.bitcast(given[k], word.as_pointer()))
        case Kind.SCRATCH:
            return _array(context, build, build.alloca(word, HEADER), word(HEADER))
        case Kind.ADDRESS:
            return build.ptrtoint(given[k], word)
        case Kind.NUMBER | Kind.REAL:
            return given[k]
        case Kind.FLAG:
            return build.icmp_signed("!=", given[k], word(0))
        case Kind.CONSTANT:
            return word(k)
        case Kind.FALSE:
            return ir.IntType(1)(0)


def _array(context: Any, build: Any, pointer: Any, length: Any = _ANY_LENGTH) -> Any:
    array = context.make_array(_INT64_ARRAY)(context, build)
    populate_array(
        array, data=pointer, shape=[length], strides=[ir.IntType(64)(8)], itemsize=8, meminfo=None
    )
    return array._getvalue()


def _moved(text: str, target: Target, compiler: Any) -> str:
    """Return unoptimised text for another family of processors."""
    text = re.sub(r'"(target-cpu|target-features|probe-stack)"="[^"]*"', "", text)
    # Nothing is allocated, so no array has an owner whose users would be counted.
    text = re.sub(
        r"^define [^\n]* @(NRT_(?:in|de)cref)\(.*?^}$",
        r"define linkonce_odr void @\1(ptr %0) {\n  ret void\n}",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    return _begun_anew(text, target, compiler)


def _begun_anew(text: str, target: Target, compiler: Any) -> str:
    text = re.sub(r'^target (datalayout|triple) = ".*"\n', "", text, flags=re.MULTILINE)
    return _head(target, compiler) + text


def _made_small(text: str) -> str:
    """Return text with the functions marked that are to become small rather than fast."""
    small = "|".join(map(_mangled, _SMALL))
    text = _marked(text, rf"(?:{small}|plck_(?:size|open|reset|receive_\w+)\b)", "optsize")
    return _marked(text, rf"(?:{'|'.join(map(_mangled, _APART))})", "noinline")


def _mangled(name: str) -> str:
    """Return the begin of numba's symbols of a module or function of the kernels."""
    return "_ZN11plc_kernels" + "".join(f"{len(part)}{part}" for part in name.split("."))


def _marked(text: str, name: str, attribute: str) -> str:
    return re.sub(
        rf"^(define [^\n]*@{name}[^\n]*\))([^\n)]*\{{)$",
        rf"\1 {attribute}\2",
        text,
        flags=re.MULTILINE,
    )


def _head(target: Target, compiler: Any) -> str:
    return f'target datalayout = "{compiler.target_data}"\ntarget triple = "{target.triple}"\n'


def _traps(module: Any) -> str:
    """Return a module of traps for the functions that raise an exception.

    numba compiles a path for arrays of different lengths, which no kernel here takes, and one for
    arrays whose last user goes, where all here are made of addresses.
    """
    lines = ["declare void @llvm.trap()"]
    for function in module.functions:
        if function.is_declaration and function.name.startswith(_INTERPRETER):
            found = re.search(r"(\S+) @\S+?\((.*)\)", str(function))
            assert found is not None
            given = [each.split()[0] for each in found[2].split(",") if each.strip()]
            lines.append(
                f"define linkonce_odr {found[1]} @{function.name}({', '.join(given)}) {{\n"
                "  call void @llvm.trap()\n  unreachable\n}"
            )
    for value in module.global_variables:
        if value.is_declaration and value.name.startswith(_INTERPRETER):
            lines.append(f"@{value.name} = linkonce_odr global ptr null")
    return "\n".join(lines) + "\n"


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
