"""Machine code that comes with the package: where it fits, no start compiles, nor needs numba.

A wheel for a platform has ``machine_code/kernels.abi3.so``, made by
:mod:`plc_kernels.emit.python`: the kernels that Python calls, for each level of processors,
of which a process takes the highest that its processor can run. Where it does not fit (other
sources; numba's variables are set), numba compiles the kernels on this machine.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[1] / "machine_code" / "kernels.abi3.so"
"""The package's machine code, where it has some."""

# Who sets these wants numba to compile.
_OF_NUMBA = ("CPU_NAME", "CPU_FEATURES", "BOUNDSCHECK", "DISABLE_JIT")


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


SOURCES = digest_of(Path(__file__).parents[1])
"""Digest of the engine's kernels: each is compiled with those that it calls."""


class BoundKernel:
    """A kernel of the package's machine code: its ``entry_point``, and ``py_func``, its source."""

    def __init__(self, entry_point: Any, function: Callable[..., Any]) -> None:
        self.entry_point, self.py_func = entry_point, function
        self.__doc__, self.__module__ = function.__doc__, function.__module__

    def __call__(self, *arguments: Any) -> Any:
        """Run it."""
        return self.entry_point(*arguments)

    def __reduce__(self) -> str:
        """Copy by its name."""
        return self.py_func.__qualname__


def bound(function: Callable[..., Any]) -> Any:
    """Return a kernel's function of the machine code; if there is none, one that says so."""
    name = f"{function.__module__}.{function.__qualname__}"
    entry_point: Any = (FUNCTIONS or {}).get(name)
    # numba makes named tuples, the machine code plain ones.
    make: Any = getattr(function.__annotations__.get("return"), "_make", None)

    def named(*arguments: Any) -> Any:
        return make(entry_point(*arguments))

    def absent(*_: Any) -> Any:
        raise RuntimeError(f"this installation has no machine code of {name}")

    return BoundKernel(absent if entry_point is None else named if make else entry_point, function)


def _read() -> tuple[str | None, dict[str, Any] | None]:
    """Return the level and the functions of the package's machine code, or None of both."""
    if not PATH.is_file() or any(os.environ.get(f"NUMBA_{name}") for name in _OF_NUMBA):
        return None, None
    loader = ExtensionFileLoader("kernels", str(PATH))
    spec = importlib.util.spec_from_loader("kernels", loader)
    assert spec is not None
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError:  # of another platform, or damaged
        return None, None
    found = vars(module)
    return (found["level"], found) if found["sources"] == SOURCES.hex() else (None, None)


LEVEL, FUNCTIONS = _read()
"""For which level of processors, ``"x86-64-v3"`` for example, and functions by kernel; or None."""
