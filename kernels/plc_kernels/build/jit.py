"""How numba compiles a kernel: to LLVM's text, and to machine code where Python calls it.

numba makes machine code of a function before another function may call it, and optimises it with
all that it calls. Here functions that a kernel calls stay text, numba's own included. A kernel is
optimised by itself, without kernels that it calls, and again with all of them where Python calls
one; a part is not before it is linked to its caller.
"""

import gc
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from llvmlite import binding as llvm
from numba import config, njit, types
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.dispatcher import (  # type: ignore[attr-defined]  # the latter is not in stubs
    Dispatcher,
    _FunctionCompiler,
)
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys
from numba.core.typed_passes import NativeLowering

from plc_kernels.build.library import SOURCES
from plc_kernels.build.own_folder import foreign, own_folder

_F = TypeVar("_F", bound=Callable[..., object])


class _Entry(JITCodeLibrary):
    """Machine code that Python calls, and no other function is linked with."""

    def _get_module_for_linking(self) -> Any:
        """Return the names that Python asks for; numba keeps them beside the machine code."""
        names = [
            each.name
            for each in self._final_module.functions
            if not each.is_declaration and each.linkage is llvm.Linkage.external
        ]
        return llvm.parse_assembly(
            "\n".join(f'define void @"{name}"() {{ ret void }}' for name in names)
        )


class _NoEngine:
    """Stand in for the engine that runs machine code: text runs nowhere."""

    def set_env(self, name: str, environment: object) -> None:
        """Do nothing; numba calls this."""


class _Text(JITCodeLibrary):
    """A function as text, optimised once another function calls it, without kernels it calls."""

    codegen: Any = _NoEngine()
    optimised: ClassVar[list[Any]] = []
    """Those whose optimised text is kept."""
    kernels: dict[Any, None]
    """Those that it calls, and that they call."""
    _body: Any = None

    def finalize(self) -> None:
        """Take no more; numba calls this."""
        this: Any = self  # numba has no types
        this._raise_if_finalized()
        self.kernels = {}
        for library in dict.fromkeys(this._linking_libraries):
            library._ensure_finalized()
            this._reload_init.update(library._reload_init)
            if isinstance(library, _Kernel):
                self.kernels[library] = None
            self.kernels.update(getattr(library, "kernels", {}))
        this._finalize_dynamic_globals()
        this._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return no address; numba calls this."""
        this: Any = self
        this._ensure_finalized()
        return 0

    def _get_module_for_linking(self) -> Any:
        """Return the text with all kernels that it calls, for a function of numba's."""
        whole = self.body().clone()
        for library in self.kernels:
            whole.link_in(library.body(), preserve=True)
        return whole

    def body(self) -> Any:
        """Return the text, optimised if it is no part, without kernels that it calls."""
        this: Any = self
        this._ensure_finalized()
        if self._body is None:
            alone = this._final_module
            this._final_module = alone.clone()
            for library in dict.fromkeys(this._linking_libraries):
                if library not in self.kernels:
                    this._final_module.link_in(_body(library), preserve=True)
            self._optimise()
            self._body = super()._get_module_for_linking()  # type: ignore[no-untyped-call]
            this._final_module = alone
            self.optimised.append(self)
        return self._body

    def _optimise(self) -> None:
        self._optimize_final_module()  # type: ignore[no-untyped-call]


def _body(library: Any) -> Any:
    return library.body() if isinstance(library, _Text) else library._get_module_for_linking()


class _Bodies:
    """A library of numba's, of a text without kernels that it calls: an entry links them, too."""

    def __init__(self, library: Any) -> None:
        self._reload_init = library._reload_init
        self._get_module_for_linking = lambda: _body(library)


class _Kernel(_Text):
    """A kernel as text, which is optimised once without its caller, and once with that."""


class _Part(_Text):
    """A function as text, which is optimised with its caller alone."""

    def _optimise(self) -> None:
        pass


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    """As numba's own, to a text; nothing counts who uses an array, as kernels borrow all."""

    _name = "plc_lowering"

    def run_pass(self, state: Any) -> bool:
        make: Any = state.pipeline.text
        state.library = make(state.targetctx.codegen(), state.func_id.func_qualname)
        state.targetctx = state.targetctx.subtarget(enable_nrt=False)
        return bool(super().run_pass(state))  # type: ignore[no-untyped-call]


class KernelPipeline(CompilerBase):
    """numba's pipeline, ending in a kernel's text."""

    text: type[_Text] = _Kernel

    def define_pipelines(self) -> list[Any]:
        """Return numba's passes, with another lowering; numba calls this."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        for k, (each, told) in enumerate(passes.passes):
            if each is NativeLowering:
                passes.passes[k] = _Lowering, told
        passes.finalize()
        return [passes]


class PartPipeline(KernelPipeline):
    """numba's pipeline, ending in a part's text."""

    text = _Part


class _TextCompiler(_FunctionCompiler):  # type: ignore[misc]  # numba has no types
    """numba's compiler of a function, ending in text."""

    def fold_argument_types(self, args: Any, kws: Any) -> Any:
        """Return types of arguments without values: one version serves all constants."""
        signature, args = super().fold_argument_types(args, kws)
        return signature, tuple(types.unliteral(each) for each in args)

    def compile(self, args: Any, return_type: Any) -> Any:
        """Return numba's result for types of arguments; numba calls this with its global lock."""
        this: Any = self
        context = this.targetdescr.target_context
        context.refresh()
        codegen = context.codegen()
        before, codegen._library_class = codegen._library_class, _Text
        try:
            return super().compile(args, return_type)
        finally:
            codegen._library_class = before


class _EntryCompiler(_FunctionCompiler):  # type: ignore[misc]  # numba has no types
    """numba's compiler of kernels that Python calls: makes machine code of a kernel's text."""

    text: Any

    def compile(self, args: Any, return_type: Any) -> Any:
        """Return numba's result for types of arguments; numba calls this."""
        collects = gc.isenabled()
        gc.disable()  # numba's objects are many, and in use until it is done
        try:
            self.text.compile(args)
        finally:
            if collects:
                gc.enable()
        result = self.text.overloads[tuple(args)]
        context, kept = result.target_context, result.library
        make: Any = _Entry
        library = make(context.codegen(), result.fndesc.qualname)
        library.enable_object_caching()
        library._reload_init.update(kept._reload_init)
        library._final_module.link_in(kept._final_module, preserve=True)
        called = dict.fromkeys([*kept._linking_libraries, *kept.kernels])
        library._linking_libraries += map(_Bodies, called)
        with context.push_code_library(library):  # a conversion of the result may compile
            context.create_cpython_wrapper(
                library, result.fndesc, result.environment, result.call_helper, release_gil=True
            )
        function = context.get_executable(library, result.fndesc, result.environment)
        result = result._replace(library=library, entry_point=function, metadata={})
        for environment in result._find_referenced_environments():
            library.codegen.set_env(environment.env_name, environment)
        return result


def compiled_text(dispatcher: Any, args: tuple[Any, ...]) -> Any:
    """Return numba's result for a kernel's text."""
    text = dispatcher._compiler.text
    text.compile(args)
    return text.overloads[args]


def whole_text(dispatcher: Any, args: tuple[Any, ...]) -> str:
    """Return the text of a kernel with all that it calls, optimised as its machine code is."""
    kept = compiled_text(dispatcher, args).library
    make: Any = _Text
    whole = make(kept._codegen, kept.name)
    whole._final_module.link_in(kept._final_module, preserve=True)
    for library in dict.fromkeys([*kept._linking_libraries, *kept.kernels]):
        whole._final_module.link_in(_body(library), preserve=True)
    whole._optimise()
    return str(whole._final_module)


def optimise_for(processor: str) -> None:
    """Optimise texts for a type of processor from here on, those that are written already, too."""
    codegen = cpu_target.target_context.codegen()
    settings: Any = config  # numba makes its attributes at import
    options = {"opt": settings.OPT}
    codegen._customize_tm_options(options)
    options["cpu"] = processor
    codegen._tm = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        **options
    )
    for library in _Text.optimised:
        library._body = library._shared_module = None
    _Text.optimised.clear()


# Every fast-math licence but "nnan" and "ninf": those two let the compiler
# drop isfinite() checks, and a corrupt packet would then reach the speaker.
_FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}

_PART: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": _FAST,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


refused: dict[str, None] = {}
"""Why folders of compiled kernels are not used; each reason once."""


def kernel(function: _F) -> "Dispatcher[_F]":
    """Compile ``function`` to run without the GIL; keep the machine code on disk.

    numba unpickles what it finds in its cache, so a folder that others could have
    written to is left alone, and one of this user's own is taken instead: that of
    ``PLC_CACHE_DIR`` at once, if it is set and ``NUMBA_CACHE_DIR`` is not. Where none
    can be had (a read-only install run by a user without a home), such a process
    compiles anew.
    """
    try:
        compiled = _cached(function)
        why = _mistrusted(compiled, function)
        if why:
            refused[f"compiled kernels are not taken from {why}"] = None
            compiled = _cached_in_ours(function)
            if why := _mistrusted(compiled, function):
                raise RuntimeError(why)
        _renew_with_package(compiled)
    except (RuntimeError, AttributeError, OSError) as error:
        refused[f"compiled kernels are not kept: {error}"] = None
        compiled = njit(nogil=True, error_model="numpy", fastmath=_FAST)(function)
    if isinstance(compiled, Dispatcher):  # unless numba is told not to compile
        # Python calls it by this, and kernels its text.
        cached: Any = compiled
        text: Any = _text(function, KernelPipeline, _PART)
        cached._cache = LeanCache(cached._cache)
        cached._compiler.__class__ = _EntryCompiler
        cached._compiler.text = text
        cached.get_call_template = text.get_call_template
        cached.get_overload = text.get_overload
        # What comes from the cache needs none of numba's extensions.
        cached._compilation_chain_init_hook = lambda: None
    return compiled


class LeanCache:
    """A cache of numba's that reads a kernel without the tables for compiling: half a second."""

    def __init__(self, behind: Any) -> None:
        self._behind = behind

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for a signature, or None; numba calls this."""
        rtsys.initialize(target_context)
        if isinstance(self._behind, NullCache):
            return None
        with self._behind._guard_against_spurious_io_errors():
            return self._behind._load_overload(sig, target_context)

    def __getattr__(self, name: str) -> Any:
        """Answer everything else as numba's cache does."""
        return getattr(self._behind, name)


def _cached(function: _F) -> "Dispatcher[_F]":
    if os.environ.get("PLC_CACHE_DIR") and not os.environ.get("NUMBA_CACHE_DIR"):
        return _cached_in_ours(function)
    try:
        return njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)(function)
    except RuntimeError:  # none of numba's own places can be written
        return _cached_in_ours(function)


def _cached_in_ours(function: _F) -> "Dispatcher[_F]":
    folder, why = own_folder("kernels")
    if folder is None:
        raise RuntimeError(why)
    settings: Any = config  # numba makes its attributes at import
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder)
    try:
        return njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)(function)
    finally:
        settings.CACHE_DIR = before


def _mistrusted(compiled: "Dispatcher[_F]", function: _F) -> str:
    """Return why a kernel's cache must not be read, or nothing."""
    place = Path(compiled._cache.cache_path)  # type: ignore[attr-defined]  # not in numba's stubs
    if place == Path(inspect.getfile(function)).parent / "__pycache__":
        return ""  # whoever can write there can change the program itself
    return foreign(place)


def _renew_with_package(compiled: "Dispatcher[_F]") -> None:
    """Renew cached machine code of ``compiled`` when an engine kernel changes.

    numba compares the hash of a kernel's own file alone, yet the code of kernels that
    it calls is inlined: after an upgrade that changed only a callee, the old callee
    would live on. numba offers no setting, so its stamp is widened in place; should
    the attribute vanish, the caller's fall-back compiles without a cache.
    """
    index = compiled._cache._cache_file  # type: ignore[attr-defined]  # not in numba's stubs
    index._source_stamp = (index._source_stamp, SOURCES)


def part(function: _F) -> "Dispatcher[_F]":
    """Compile ``function`` for other kernels alone: Python cannot call it.

    Without the code by which Python calls it, numba takes half as long.
    """
    return _text(function, PartPipeline, _PART)


def rounded_part(function: _F) -> "Dispatcher[_F]":
    """Compile ``function`` as :func:`part` does, with each operation rounded as NumPy rounds it.

    Of what a network's answer depends on so much that a last bit is seen.
    """
    return _text(function, PartPipeline, {**_PART, "fastmath": False})


def _text(function: _F, pipeline: Any, settings: dict[str, Any]) -> "Dispatcher[_F]":
    compiled: Dispatcher[_F] = njit(pipeline_class=pipeline, **settings)(function)
    if isinstance(compiled, Dispatcher):
        text: Any = compiled
        text._compiler.__class__ = _TextCompiler
    return compiled


def inlined(function: _F) -> "Dispatcher[_F]":
    """Make ``function`` a part of the kernel that calls it.

    numba optimises a kernel with all that it calls, so each level of calls costs as much again;
    but it is slow to inline much. So this is for what is short, or called in one place.
    """
    compiled: Dispatcher[_F] = njit(inline="always", **_PART)(function)
    return compiled
