"""Shared libraries of the system, loaded by ctypes."""

import ctypes
import ctypes.util
from functools import lru_cache

from plc_bench.peers.base import PeerError


@lru_cache
def load(name: str, package: str) -> ctypes.CDLL:
    """Return a shared library.

    Parameters
    ----------
    name : str
        As the linker knows it, such as ``opus``, or a path.
    package : str
        Debian's package that brings it.

    Raises
    ------
    PeerError
        If there is none.
    """
    path = name if "/" in name else ctypes.util.find_library(name)
    if path is None:
        raise PeerError(f"lib{name} is not installed: apt-get install {package}")
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise PeerError(f"cannot load {path}: {error}; Debian has it in {package}") from error
