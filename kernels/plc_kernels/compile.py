"""The one place that says how a kernel is compiled."""

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from numba import config, njit
from numba.core.dispatcher import Dispatcher

from plc_kernels.own_folder import foreign, own_folder
from plc_kernels.parts import PartPipeline, call_from_python, keep_text
from plc_kernels.prebuilt import SOURCES, PrebuiltCache

_F = TypeVar("_F", bound=Callable[..., object])

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


refused: list[str] = []
"""Why folders of compiled kernels are not used; each reason once."""


def kernel(function: _F) -> "Dispatcher[_F]":
    """Compile ``function`` to run without the GIL; keep the machine code on disk.

    What the package brings compiled is not compiled (:mod:`~plc_kernels.prebuilt`).

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
            _refuse(f"compiled kernels are not taken from {why}")
            compiled = _cached_in_ours(function)
            if why := _mistrusted(compiled, function):
                raise RuntimeError(why)
        _renew_with_package(compiled)
    except (RuntimeError, AttributeError, OSError) as error:
        _refuse(f"compiled kernels are not kept: {error}")
        compiled = njit(nogil=True, error_model="numpy", fastmath=_FAST)(function)
    if isinstance(compiled, Dispatcher):  # unless numba is told not to compile
        cached: Any = compiled
        cached._cache = PrebuiltCache(function, cached._cache)
        call_from_python(cached, keep_text(njit(**_PART)(function)))
    return compiled


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


def _refuse(why: str) -> None:
    if why not in refused:
        refused.append(why)


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
