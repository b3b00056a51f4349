"""Emit the step's object files, each in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from plc_kernels.emit.targets import Target, machine

_ROOT = Path(__file__).parents[2]
_WORKER = "plc_kernels.emit.worker"


class EmitError(RuntimeError):
    """The step could not be emitted; the message says why."""


def emit_objects(
    targets: list[Target], folder: Path, done: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Write an object file for each type of processor.

    Parameters
    ----------
    targets : list of Target
        For what.
    folder : path
        Where to; exists. The files are ``step-TARGET.o``.
    done : callable
        Called with a target's name when its file is written, from any thread.

    Raises
    ------
    EmitError
        If a file cannot be emitted.
    """

    def emit(target: Target) -> Path:
        path = folder / f"step-{target.name}.o"
        _emit(target, path)
        done(target.name)
        return path

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(emit, targets))


def environment_of(target: Target) -> dict[str, str]:
    """Return the variables with which numba compiles for a type of processor."""
    at_home = target.family == machine()
    return {
        "NUMBA_CPU_NAME": (target.processor if at_home else "") or "generic",
        "NUMBA_CPU_FEATURES": "",
        # Sizes of memory differ between families, so nothing may be optimised before they are set.
        "NUMBA_OPT": "3" if at_home else "0",
    }


def _emit(target: Target, path: Path) -> None:
    given = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    folders = [str(_ROOT), *filter(None, [given.get("PYTHONPATH")])]
    given["PYTHONPATH"] = os.pathsep.join(folders)
    with tempfile.TemporaryDirectory() as cache:  # cached kernels have no text
        variables = given | environment_of(target) | {"NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-m", _WORKER, target.name, str(path)]
        result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EmitError(f"the step cannot be compiled for {target.name}: {last}")
