"""Emit the step's object files, in a process for each family of processors.

That takes a minute, so they are kept for as long as the sources of the kernels, numba and llvmlite
stay as they are, in a folder that only this user can write to
(:mod:`~plc_kernels.build.own_folder`).
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from plc_kernels.build.library import engine_sources
from plc_kernels.build.own_folder import own_folder
from plc_kernels.build.targets import Target, machine

_ROOT = Path(__file__).parents[2]
_WORKER = "plc_kernels.emit.worker"
# Objects that are kept of each target: for as many states of the sources.
_MOST_KEPT = 4


class EmitError(RuntimeError):
    """The step could not be emitted; the message says why."""


def emit_objects(
    targets: list[Target],
    folder: Path,
    done: Callable[[str], None] = lambda name: None,
    signatures: Path | None = None,
) -> list[Path]:
    """Write an object file for each type of processor.

    Parameters
    ----------
    targets : list of Target, for what
    folder : path
        Where to; exists. The files are ``step-TARGET.o``.
    done : callable
        Called with a target's name when its file is written, from any thread.
    signatures : path, optional
        Emit what Python calls (:mod:`~plc_kernels.emit.python`), too, for types of one
        family, the least first. No kept file is taken.

    Raises
    ------
    EmitError
        If a file cannot be emitted.
    """
    sources = _sources()
    paths = {target: folder / f"step-{target.name}.o" for target in targets}
    missing: dict[str, list[Target]] = {}
    for target, path in paths.items():
        kept = _kept(target, sources)
        if signatures or kept is None or not kept.is_file():
            missing.setdefault(target.family, []).append(target)
        else:
            shutil.copyfile(kept, path)
            done(target.name)

    def emit(family: list[Target]) -> None:
        _emit(family, folder, signatures)
        for target in family:
            _keep(paths[target], _kept(target, sources))
            done(target.name)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(emit, missing.values()))
    return list(paths.values())


def environment_of(target: Target) -> dict[str, str]:
    """Return the variables with which numba compiles for a type of processor."""
    at_home = target.family == machine()
    return {
        "NUMBA_CPU_NAME": (target.processor if at_home else "") or "generic",
        "NUMBA_CPU_FEATURES": "",
        # Sizes of memory differ between families, so nothing may be optimised before they are set.
        "NUMBA_OPT": "3" if at_home else "0",
    }


def _sources() -> bytes:
    """Return a digest of everything but the target behind an object file."""
    package = _ROOT / "plc_kernels"
    known = [version("numba"), version("llvmlite"), sys.version, machine()]
    digest = hashlib.sha256(repr(known).encode())
    for path in sorted(set(engine_sources(package)) - {Path(__file__)}):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.digest()


def _kept(target: Target, sources: bytes) -> Path | None:
    """Return where a target's object file is kept, or None."""
    folder, _ = own_folder("emitted")
    digest = hashlib.sha256(sources + repr(target).encode()).hexdigest()[:32]
    return folder and folder / f"{target.name}-{digest}.o"


def _keep(path: Path, kept: Path | None) -> None:
    """Keep an object file, and the newest of its target's earlier ones; a full disk keeps none."""
    if kept is None:
        return
    with contextlib.suppress(OSError):
        beside = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(path, beside)
        beside.replace(kept)
        found = kept.parent.glob(f"{kept.name[:-35]}-*.o")
        for old in sorted(found, key=lambda each: each.stat().st_mtime)[:-_MOST_KEPT]:
            old.unlink()


def _emit(family: list[Target], folder: Path, signatures: Path | None) -> None:
    names = [target.name for target in family]
    why = run_for(family[0], _WORKER, [str(folder), str(signatures or ""), *names])
    if why:
        raise EmitError(f"the step cannot be compiled for {', '.join(names)}: {why}")


def run_for(target: Target, module: str, arguments: Sequence[str]) -> str:
    """Run a module where numba compiles for a type of processor; return why it failed, or nothing.

    In a process of its own, as numba reads the type once, and with an empty cache.
    """
    given = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    paths = [str(_ROOT), *filter(None, [given.get("PYTHONPATH")])]
    given["PYTHONPATH"] = os.pathsep.join(paths)
    with tempfile.TemporaryDirectory() as cache:  # cached kernels have no text
        variables = given | environment_of(target) | {"NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-m", module, *arguments]
        result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if not result.returncode:
        return ""
    return (result.stderr.strip().splitlines() or ["no reason given"])[-1]
