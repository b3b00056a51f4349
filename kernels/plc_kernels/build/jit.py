"""How numba compiles a kernel: to LLVM's text, and to machine code where Python calls it.

numba makes machine code of a function before another function may call it. Here functions that a
kernel calls stay text, numba's own included: optimised as numba does, where a kernel or a function
of numba's is called, and not before it is linked to its caller where a part is.
"""

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
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
    """A function as text, optimised with its callees once another function calls it."""

    codegen: Any = _NoEngine()
    optimised: ClassVar[list[Any]] = []
    """Those whose whole text is kept."""
    _whole: Any = None

    def finalize(self) -> None:
        """Take no more; numba calls this."""
        this: Any = self  # numba has no types
        this._raise_if_finalized()
        for library in dict.fromkeys(this._linking_libraries):
            library._ensure_finalized()
            this._reload_init.update(library._reload_init)
        this._finalize_dynamic_globals()
        this._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return no address; numba calls this."""
        this: Any = self
        this._ensure_finalized()
        return 0

    def _get_module_for_linking(self) -> Any:
        this: Any = self
        this._ensure_finalized()
        if self._whole is None:
            alone = this._final_module
            this._final_module = alone.clone()
            for library in dict.fromkeys(this._linking_libraries):
                this._final_module.link_in(library._get_module_for_linking(), preserve=True)
            self._optimise()
            self._whole = super()._get_module_for_linking()  # type: ignore[no-untyped-call]
            this._final_module = alone
            self.optimised.append(self)
        return self._whole

    def _optimise(self) -> None:
        self._optimize_final_module()  # type: ignore[no-untyped-call]


class _Part(_Text):
    """A function as text, which is optimised with its caller alone."""

    def _optimise(self) -> None:
        pass


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    """As numba's own, to a part's text."""

    _name = "plc_part_lowering"

    def run_pass(self, state: Any) -> bool:
        make: Any = _Part
        state.library = make(state.targetctx.codegen(), state.func_id.func_qualname)
        return bool(super().run_pass(state))  # type: ignore[no-untyped-call]


class PartPipeline(CompilerBase):
    """numba's pipeline, ending in a part's text."""

    def define_pipelines(self) -> list[Any]:
        """Return numba's passes, with another lowering; numba calls this."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        for k, (each, told) in enumerate(passes.passes):
            if each is NativeLowering:
                passes.passes[k] = _PartLowering, told
        passes.finalize()
        return [passes]


@contextlib.contextmanager
def _text_alone(context: Any) -> Iterator[None]:
    """Let numba keep the functions that it compiles as text; its global lock is held."""
    context.refresh()
    codegen = context.codegen()
    before = codegen._library_class
    codegen._library_class = _Text
    try:
        yield
    finally:
        codegen._library_class = before


class _TextCompiler(_FunctionCompiler):  # type: ignore[misc]  # numba has no types
    """numba's compiler of a function, ending in text."""

    def fold_argument_types(self, args: Any, kws: Any) -> Any:
        """Return types of arguments without values: one version serves all constants."""
        signature, args = super().fold_argument_types(args, kws)
        return signature, tuple(types.unliteral(each) for each in args)

    def compile(self, args: Any, return_type: Any) -> Any:
        """Return numba's result for types of arguments; numba calls this."""
        this: Any = self
        with _text_alone(this.targetdescr.target_context):
            return super().compile(args, return_type)


class _EntryCompiler(_FunctionCompiler):  # type: ignore[misc]  # numba has no types
    """numba's compiler of kernels that Python calls: makes machine code of a kernel's text."""

    text: Any

    def compile(self, args: Any, return_type: Any) -> Any:
        """Return numba's result for types of arguments; numba calls this."""
        self.text.compile(args)
        result = self.text.overloads[tuple(args)]
        context, kept = result.target_context, result.library
        make: Any = _Entry
        library = make(context.codegen(), result.fndesc.qualname)
        library.enable_object_caching()
        library._reload_init.update(kept._reload_init)
        library._final_module.link_in(kept._final_module, preserve=True)
        library._linking_libraries += kept._linking_libraries
        with context.push_code_library(library):  # a conversion of the result may compile
            context.create_cpython_wrapper(
                library, result.fndesc, result.environment, result.call_helper, release_gil=True
            )
        function = context.get_executable(library, result.fndesc, result.environment)
        result = result._replace(library=library, entry_point=function, metadata={})
        for environment in result._find_referenced_environments():
            library.codegen.set_env(environment.env_name, environment)
        return result


def keep_text(dispatcher: Any) -> Any:
    """Make text of a function of numba's, for other functions to call; return it."""
    dispatcher._compiler.__class__ = _TextCompiler
    return dispatcher


def call_from_python(dispatcher: Any, text: Any) -> Any:
    """Let Python call a kernel by ``dispatcher``, and kernels call its text; return it."""
    dispatcher._compiler.__class__ = _EntryCompiler
    dispatcher._compiler.text = text
    dispatcher.get_call_template = text.get_call_template
    dispatcher.get_overload = text.get_overload
    # What comes from the cache needs none of numba's extensions.
    dispatcher._compilation_chain_init_hook = lambda: None
    return dispatcher


def compiled_text(dispatcher: Any, args: tuple[Any, ...]) -> Any:
    """Return numba's result for a kernel's text."""
    text = dispatcher._compiler.text
    text.compile(args)
    return text.overloads[args]


def whole_text(dispatcher: Any, args: tuple[Any, ...]) -> str:
    """Return the text of a kernel with all that it calls, optimised as its machine code is."""
    result = compiled_text(dispatcher, args)
    module = result.library._get_module_for_linking().clone()
    module.get_function(result.fndesc.llvm_func_name).linkage = "external"
    return str(module)


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
        library._whole = library._shared_module = None
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
        cached: Any = compiled
        cached._cache = LeanCache(cached._cache)
        call_from_python(cached, keep_text(njit(**_PART)(function)))
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
    with _cache_in(folder):
        return njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)(function)


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Make numba keep its cache in ``folder``."""
    settings: Any = config  # numba makes its attributes at import
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder)
    try:
        yield
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
    return _part(function, _PART)


def rounded_part(function: _F) -> "Dispatcher[_F]":
    """Compile ``function`` as :func:`part` does, with each operation rounded as NumPy rounds it.

    Of what a network's answer depends on so much that a last bit is seen.
    """
    return _part(function, {**_PART, "fastmath": False})


def _part(function: _F, settings: dict[str, Any]) -> "Dispatcher[_F]":
    compiled: Dispatcher[_F] = njit(pipeline_class=PartPipeline, **settings)(function)
    if isinstance(compiled, Dispatcher):
        keep_text(compiled)
    return compiled


def inlined(function: _F) -> "Dispatcher[_F]":
    """Make ``function`` a part of the kernel that calls it.

    numba optimises a kernel with all that it calls, so each level of calls costs as much again;
    but it is slow to inline much. So this is for what is short, or called in one place.
    """
    compiled: Dispatcher[_F] = njit(inline="always", **_PART)(function)
    return compiled
