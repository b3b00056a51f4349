"""Compile kernels that only other kernels call: as text for these, without machine code.

numba optimises a function with all that it calls and makes machine code of it before another
function may call it, and so again at each level of calls. What Python never calls needs neither:
the kernel that calls it is optimised with it.
"""

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]  # not in numba's stubs
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


class _Text(JITCodeLibrary):
    """A function and its callees, linked and no more."""

    def finalize(self) -> None:
        this: Any = self  # numba has no types
        this._raise_if_finalized()
        for library in dict.fromkeys(this._linking_libraries):
            this._reload_init.update(library._reload_init)
            this._final_module.link_in(library._get_module_for_linking(), preserve=True)
        this._final_module.verify()
        this._finalize_dynamic_globals()
        this._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    """As numba's own, up to the text."""

    _name = "plc_text_lowering"

    def run_pass(self, state: Any) -> bool:
        make: Any = _Text
        state.library = make(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)  # type: ignore[no-untyped-call]
        state.library.finalize()
        result = state["cr"]
        name, module = result.fndesc.qualname, result.fndesc.lookup_module()
        keep = (state.library,)
        nothing = _dynfunc.make_function(module, name, "for kernels", 0, result.env, keep)
        state.targetctx.insert_user_function(nothing, result.fndesc, [state.library])
        state["cr"] = result._replace(cfunc=nothing)
        return True


class TextCompiler(CompilerBase):
    """numba's pipeline, ending in text."""

    def define_pipelines(self) -> list[Any]:
        """Return numba's passes, with another lowering; numba calls this."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        for k, (each, told) in enumerate(passes.passes):
            if each is NativeLowering:
                passes.passes[k] = _Lowering, told
        passes.finalize()
        return [passes]
