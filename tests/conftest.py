"""Shared by every test."""

import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer.main

from tests.examples import register
from tests.processes import environment

if TYPE_CHECKING:
    from plc.embed.library import Library

# More workers than these cost memory, and wait for the longest tests all the same.
MOST_WORKERS = 8

# Trainings, attacks, benchmarks, and transforms that only files and papers have: half of the time;
# and kernels compiled one by one, whose allocations a stream's steps show too.
SLOW = tuple(
    Path(__file__).parent / folder
    for folder in (
        *("training", "attack", "bench"),
        *("kernels/spectra", "kernels/papers", "plc/papers/representations"),
        "kernels/test_allocation.py",
    )
)

# Of kernels that no stream calls, and of receivers; whatever tests them finds them compiled.
COMPILING = ("test_allocation.py", "test_entry.py", "test_copies.py")

_WARM_UP = """
from plc.compiled import compile_beside
from plc.engine.stream import warm
beside = compile_beside(
    "from plc.engine.models.catalogue import find; from plc.programs import doctor_networks;"
    "doctor_networks.examine_networks([find('speech')])"
)
warm.warm_up()
if beside is not None:
    beside.wait()
"""

os.environ["NUMBA_NRT_STATS"] = "1"  # counts the allocations of kernels
# One thread for each worker, set before NumPy and torch start any: what is this small gains nothing
# from a second one, which spins while it waits. Where cores are busy, that takes six times as long.
for library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

register()

# A shell's background job ignores interrupts, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A process of a user builds a command once; typer's CliRunner would build it for each call.
typer.main.get_command = functools.cache(typer.main.get_command)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many workers ``-n auto`` starts: as many as there are cores.

    None for a single file, which is through before they have started, nor where tests that
    measure real time are among those asked for.
    """
    chosen: str = config.option.markexpr
    if "not realtime" not in chosen or (len(config.args) == 1 and ".py" in config.args[0]):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_WORKERS, cores or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the kernels before workers start, which would compile the same ones side by side."""
    if config.getoption("numprocesses", 0) and not hasattr(config, "workerinput"):
        subprocess.run([sys.executable, "-c", _WARM_UP], env=environment(), check=True)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> "Library":
    """Return libplc, built for this machine."""
    from plc.embed.library import build_library

    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return build_library(tmp_path_factory.mktemp("libplc"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no slow test where none is asked for: that takes longer than to import the others."""
    return True if collection_path in SLOW and "not slow" in config.option.markexpr else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without looking for garbage: what is imported stays, and to search it all
    again and again takes a quarter of the time, then and during the tests.
    """
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before pytest looks at markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what lies in a folder of slow tests; order files for several workers.

    What is slow comes first: no worker waits then for the last one's longest file. After it what
    compiles kernels that neighbours use: side by side those would compile the same ones.
    """
    for item in items:
        if _slow(item):
            item.add_marker("slow")
    items.sort(key=lambda item: (-_slow(item), item.path.name not in COMPILING))


def _slow(item: pytest.Item) -> int:
    """Return 0 of a test outside the slow folders; the longer a folder's tests take, the more."""
    return sum(item.path.is_relative_to(folder) * (len(SLOW) - k) for k, folder in enumerate(SLOW))
