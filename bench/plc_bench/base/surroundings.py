"""Surroundings of a time measurement: the machine, one of its CPUs, and load beside it."""

import contextlib
import ctypes
import gc
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

from plc.errors import ConfigError
from plc.extras import needed
from plc.processor_time import cpu_name, usable_cores
from plc_kernels.build.library import LEVEL

MOST_LOAD = 256
"""Processes; more would say more about the machine's memory than about its scheduler."""

# Arithmetic in the caches, then a copy that displaces what others have there. Ends by itself when
# the process that started it is gone.
_BURN = """
import os
parent = os.getppid()
source, target = bytearray(16 << 20), bytearray(16 << 20)
while os.getppid() == parent:
    sum(range(200_000))
    target[:] = source
"""


def machine_facts() -> dict[str, str]:
    """Return processor, system and versions behind figures of time."""
    import numpy

    return {
        "cpu": cpu_name(),
        "cores": str(usable_cores()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": f"none; machine code for {LEVEL}" if LEVEL else version("numba"),
    }


@contextlib.contextmanager
def background_load(processes: int) -> Iterator[None]:
    """Keep processes busy, in arithmetic and memory, during a block."""
    if not 0 <= processes <= MOST_LOAD:
        raise ConfigError(f"load is {processes} processes; supported: 0 to {MOST_LOAD}")
    with contextlib.ExitStack() as running:
        for _ in range(processes):
            burner = subprocess.Popen([sys.executable, "-c", _BURN], stderr=subprocess.DEVNULL)
            running.callback(burner.wait)
            running.callback(burner.kill)
        yield


def kept_mb() -> float:
    """Release free memory; return the memory in use, in MB.

    The C library keeps what threads have freed, some for each of them.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)
    return resident_mb()


def resident_mb() -> float:
    """Return the memory of this process that is in use, in MiB."""
    with needed("memory is measured by psutil", "bench"):
        import psutil
    return float(psutil.Process().memory_info().rss) / 2**20
