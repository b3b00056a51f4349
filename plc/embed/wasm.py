"""The step of a stream as a WebAssembly module, for browsers.

It exports the functions of :mod:`plc_kernels.stream.entry` as C sees them (pointers are i32, all
numbers i64), its ``memory`` and ``__heap_base``, the first byte that is free. It imports the
mathematics that it needs (``sin``, ``log`` …) from ``env``.
"""

from collections.abc import Callable
from pathlib import Path

from plc.embed.toolchain import WASM_LINKER, find, run
from plc.errors import ConfigError
from plc_kernels.emit.objects import EmitError, emit_objects
from plc_kernels.emit.symbols import MATHEMATICS
from plc_kernels.targets import TARGETS

EXPORTS = (
    *("plck_size", "plck_open", "plck_reset", "plck_push", "plck_fill", "plck_resume"),
    *("plck_drain", "plck_model_size", "plck_model_open", "__heap_base"),
)
_STACK_BYTES = 1 << 18


def build_wasm(module: Path, work: Path, done: Callable[[str], None] = lambda name: None) -> None:
    """Write the module.

    Parameters
    ----------
    module : path
        The file, written.
    work : path
        A folder for what is needed on the way.
    done : callable
        Called with the target's name when it is compiled.

    Raises
    ------
    ConfigError
        If there is no linker, or the step cannot be compiled.
    """
    linker = find(WASM_LINKER)
    try:
        objects = emit_objects([TARGETS["wasm32"]], work, done)
    except EmitError as error:
        raise ConfigError(str(error)) from error
    allowed = work / "mathematics.txt"
    allowed.write_text("\n".join(sorted(MATHEMATICS)) + "\n")
    run(
        [
            *linker,
            "--no-entry",
            "--stack-first",  # so that a stack that overflows traps
            *("-z", f"stack-size={_STACK_BYTES}"),
            f"--allow-undefined-file={allowed}",
            *(f"--export={name}" for name in EXPORTS),
            "--strip-all",
            *map(str, objects),
            *("-o", str(module)),
        ]
    )
