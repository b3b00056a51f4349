"""The one place that says how a kernel is compiled."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from numba import njit
from numba.core.dispatcher import Dispatcher

_F = TypeVar("_F", bound=Callable[..., object])

# Every fast-math licence but "nnan" and "ninf": those two let the compiler
# drop isfinite() checks, and a corrupt packet would then reach the speaker.
_FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}

_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).digest()


def kernel(function: _F) -> "Dispatcher[_F]":
    """Compile ``function`` to run without the GIL; keep the machine code on disk.

    Where no cache directory can be written (a read-only install run by a user
    without a home), numba refuses to decorate; such a process compiles anew.
    """
    try:
        compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)(function)
        _renew_with_package(compiled)
    except (RuntimeError, AttributeError):
        return njit(nogil=True, error_model="numpy", fastmath=_FAST)(function)
    return compiled


def _renew_with_package(compiled: "Dispatcher[_F]") -> None:
    """Make cached machine code of ``compiled`` stale when any kernel's source changes.

    numba compares the hash of a kernel's own file alone, yet the code of kernels that
    it calls is inlined: after an upgrade that changed only a callee, the old callee
    would live on. numba offers no setting, so its stamp is widened in place; should
    the attribute vanish, the caller's fall-back compiles without a cache.
    """
    index = compiled._cache._cache_file  # type: ignore[attr-defined]  # not in numba's stubs
    index._source_stamp = (index._source_stamp, _SOURCES)
