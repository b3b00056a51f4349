"""Compiled kernels: a check for them, direct calls, and compilation in another process."""

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from plc_kernels.build.library import FUNCTIONS, BoundKernel

# However this process ends, its pipe to the other is closed then.
_WITH_PARENT = (
    "import os, threading; "
    "threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start(); "
)


def lies_compiled(kernel: Any) -> bool:
    """Return True if a kernel's machine code is in the package or in numba's cache."""
    if FUNCTIONS is not None:
        return True
    # numba offers no other way to ask; without it the answer is no and nothing else changes.
    cache = getattr(kernel, "_cache", None)
    load_index: Any = getattr(getattr(cache, "_cache_file", None), "_load_index", dict)
    with contextlib.suppress(Exception):  # damaged, or being replaced by another process
        return bool(load_index())
    return False


class DirectCall:
    """A kernel as Python calls it in each packet: numba looks at the types of arguments no more.

    That takes 0.4 µs of ten arguments. They must be of the types that the kernel was compiled for:
    ``run`` is the kernel, from :meth:`settle` on without numba's dispatcher.
    """

    __slots__ = ("_kernel", "run")

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.run: Any = kernel

    def __reduce__(self) -> tuple[type["DirectCall"], tuple[Any]]:
        """Copy the kernel without its entry point, which holds in this process alone."""
        return DirectCall, (self._kernel,)

    def settle(self) -> None:
        """Call it directly from here on, if it is compiled for arguments of one kind."""
        if isinstance(self._kernel, BoundKernel):
            self.run = self._kernel.entry_point
        found = list(getattr(self._kernel, "overloads", {}).values())
        if len(found) == 1:
            self.run = found[0].entry_point


def can_compile_beside() -> bool:
    """Return True if another process can be started; a program may name itself as Python."""
    return Path(sys.executable or "").stem.startswith("python")


def compile_beside(program: str) -> "subprocess.Popen[bytes] | None":
    """Start Python on a program that compiles, with this process's modules; None: it cannot."""
    # Not with the folder in which it runs, which -c puts in front.
    program = f"{_WITH_PARENT}import sys; sys.path[:] = {sys.path!r}; {program}"
    nowhere = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere
        )
    except OSError:
        return None
