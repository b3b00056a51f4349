"""The one place that says how a kernel is compiled."""

from collections.abc import Callable
from typing import TypeVar

from numba import njit
from numba.core.dispatcher import Dispatcher

_F = TypeVar("_F", bound=Callable[..., object])

# Every fast-math licence but "nnan" and "ninf": those two let the compiler
# drop isfinite() checks, and a corrupt packet would then reach the speaker.
_FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}


def kernel(function: _F) -> "Dispatcher[_F]":
    """Compile ``function`` to run without the GIL; keep the machine code on disk.

    Where no cache directory can be written (a read-only install run by a user
    without a home), numba refuses to decorate; such a process compiles anew.
    """
    try:
        return njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy", fastmath=_FAST)(function)
