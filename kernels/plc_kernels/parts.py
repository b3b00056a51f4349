"""Compile kernels to LLVM's text, and to machine code only those that Python calls.

numba makes machine code of a function before another function may call it. Here what a kernel calls
stays text, numba's own functions included: optimised as numba does, where a kernel or a function of
numba's is called, and not before it is linked to its caller where a part is.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

from llvmlite import binding as llvm
from numba import config, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.dispatcher import _FunctionCompiler  # type: ignore[attr-defined]  # not in stubs
from numba.core.registry import cpu_target
from numba.core.typed_passes import NativeLowering


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
    """A function as text, optimised with what it calls once another function calls it."""

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
    """Let numba keep as text what it compiles; its global lock is held."""
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
    """Compiler of what Python calls: makes machine code of a kernel's text."""

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
