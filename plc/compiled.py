"""What of the kernels lies compiled on this machine."""

import contextlib
from typing import Any


def lies_compiled(kernel: Any) -> bool:
    """Return True if a kernel's machine code is in the package or in numba's cache."""
    # numba offers no other way to ask; without it the answer is no and nothing else changes.
    cache = getattr(kernel, "_cache", None)
    load_index: Any = getattr(getattr(cache, "_cache_file", None), "_load_index", dict)
    with contextlib.suppress(Exception):  # damaged, or being replaced by another process
        return bool(getattr(cache, "prebuilt", False) or load_index())
    return False
