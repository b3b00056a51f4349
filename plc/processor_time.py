"""Processor time of the calling thread, independent of other programs, and processors."""

import os
import platform
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

_READINGS = 1000
# Readings in a row, and those among them that see a clock with steps below 0.1 ms go on.
_LEAST_STEPS = 50

# What kernels and networks run on is twice as wide in the first.
_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}


@cache
def thread_clock() -> Callable[[], float]:
    """Return a clock of this thread's processor time in s, or of the wall's.

    Windows counts in steps of 16 ms, and says nothing of it; so do some sandboxes. So the clock is
    read until it must have gone on, once in a process.
    """
    clock: Callable[[], float] | None = getattr(time, "thread_time", None)
    return clock if clock is not None and is_fine(clock) else time.perf_counter


def is_fine(clock: Callable[[], float]) -> bool:
    """Return whether a clock's steps are short against a concealment."""
    readings = [clock() for _ in range(_READINGS)]
    return len(set(readings)) > _LEAST_STEPS


def usable_cores() -> int:
    """Return how many processors this process may run on; all where the system has no figure."""
    known = getattr(os, "sched_getaffinity", None)
    return len(known(0)) if known else os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's name and, where known, its widest vectors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    features = told.get("flags", "").split()
    vectors = next((name for flag, name in _VECTORS.items() if flag in features), "")
    return told.get("model name", platform.machine()) + (f" ({vectors})" if vectors else "")
