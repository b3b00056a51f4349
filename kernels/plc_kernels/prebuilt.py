"""Machine code that comes with the package: where it fits, no start compiles.

A wheel for one family of processors has a file of compiled kernels for each of that family's
levels, and a process takes the highest that its processor can run. It is what numba would compile
for that level, found before numba's own cache on disk is asked. Whatever does not fit (another
version of Python, numba or llvmlite, other sources, numba's variables set) is left alone, and the
kernels are compiled on this machine.
"""

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba import config
from numba.core.caching import NullCache
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps

from plc_kernels.targets import machine, targets_of

FOLDER = Path(__file__).parent / "machine_code"
"""Of the package: ``TARGET.kernels``."""

# System V ABI for AMD64, 3.1.1: what each level adds, as LLVM names it.
_V2 = {"cx16", "sahf", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"}
_V3 = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_NEEDS = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}

_recorded: dict[str, bytes] | None = None


def engine_sources(package: Path) -> list[Path]:
    """Return the sources of a package of kernels, without its ``papers``.

    No other kernel calls those, and none of their files another one: of a kernel there, numba
    compares the file itself.
    """
    papers = package / "papers"
    return sorted(path for path in package.rglob("*.py") if papers not in path.parents)


def digest_of(package: Path) -> bytes:
    """Return a digest of :func:`engine_sources`."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in engine_sources(package))).digest()


SOURCES = digest_of(Path(__file__).parent)
"""Of the engine's kernels: each is compiled with those that it calls."""


class PrebuiltCache:
    """A cache of numba's that looks into the package first.

    Parameters
    ----------
    function : callable
        The kernel's function.
    behind : object
        The cache of numba's that is asked next, and gets what is compiled.
    """

    def __init__(self, function: Callable[..., object], behind: Any) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._behind = behind

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for a signature, or None; numba calls this."""
        code = _code().get(f"{self._name}{sig}")
        # What numba would load beside that, its tables for compiling, takes half a second.
        rtsys.initialize(target_context)
        if code is None or _recorded is not None:
            return self._load_behind(sig, target_context)
        return numba.core.compiler.CompileResult._rebuild(target_context, *pickle.loads(code))

    def _load_behind(self, sig: Any, target_context: Any) -> Any:
        if isinstance(self._behind, NullCache):
            return None
        with self._behind._guard_against_spurious_io_errors():
            return self._behind._load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function; numba calls this."""
        if _recorded is not None:
            _recorded[f"{self._name}{sig}"] = dumps(data._reduce())
        self._behind.save_overload(sig, data)

    def __getattr__(self, name: str) -> Any:
        """Answer everything else as numba's cache does."""
        return getattr(self._behind, name)

    @property
    def prebuilt(self) -> bool:
        """True if the package has machine code of this kernel for this processor."""
        return any(name.startswith(f"{self._name}(") for name in _code())


def levels_here() -> tuple[str, ...]:
    """Return the levels that this processor can run, the lowest first."""
    has = {name for name, there in llvm.get_host_cpu_features().items() if there}
    names = [target.name for target in targets_of(machine())]
    return tuple(name for name in names if _NEEDS.get(name, set()) <= has)


def level() -> str | None:
    """Return the level of the prebuilt machine code, such as ``"x86-64-v3"``, or None."""
    return _found()[0]


def _code() -> dict[str, bytes]:
    """Return machine code by kernel and signature; empty where none fits."""
    return _found()[1]


@cache
def _found() -> tuple[str | None, dict[str, bytes]]:
    settings: Any = config  # numba makes its attributes at import
    if settings.CPU_NAME or settings.CPU_FEATURES or settings.BOUNDSCHECK:
        return None, {}
    for name in reversed(levels_here()):
        path = FOLDER / f"{name}.kernels"
        if not path.is_file():
            continue
        # A damaged installation is compiled anew.
        with contextlib.suppress(OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError):
            made_of, kernels = pickle.loads(path.read_bytes())
            if made_of == _made_of(name):
                return name, kernels
    return None, {}


def _made_of(name: str) -> tuple[object, ...]:
    versions = sys.implementation.cache_tag, numba.__version__, llvmlite.__version__
    return name, *versions, SOURCES


def record() -> None:
    """Use no prebuilt code from here on, and collect compiled code."""
    global _recorded
    _recorded = {}


def recording() -> bool:
    """Return whether compiled code is collected, which only this process's is."""
    return _recorded is not None


def write_recorded(name: str, path: Path, kernels: Iterable[Any]) -> None:
    """Write the code compiled since :func:`record` as that of a level.

    Parameters
    ----------
    name : str
        The level that numba compiled for.
    path : path
        The file.
    kernels : iterable of kernel
        Those that Python calls; code of others is in theirs.
    """
    names = {each._cache._name for each in kernels}
    code = {key: code for key, code in (_recorded or {}).items() if key.split("(")[0] in names}
    path.write_bytes(pickle.dumps((_made_of(name), code)))
