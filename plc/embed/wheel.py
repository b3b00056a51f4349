"""Make a wheel that brings the kernels' machine code and ``libplc``.

A wheel as ``python -m build`` makes it has sources alone, and its first start compiles them for
about a minute. :func:`build_wheel` adds what that start would find: for each level of x86-64 what
numba compiles (:mod:`plc_kernels.prebuilt`), and the C library with its header.
"""

import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from plc.embed.library import BUILT, CARRIED, build_library
from plc.embed.toolchain import run
from plc.errors import ConfigError
from plc_kernels.emit.objects import run_for
from plc_kernels.prebuilt import FOLDER, levels_here
from plc_kernels.targets import TARGETS, X86_64, machine, targets_of

LEVELS = tuple(target.name for target in targets_of(X86_64))
_RECORD = "plc.embed.record"
_KERNELS = FOLDER.parent
_PACKAGE = Path(__file__).parents[1]


def build_wheel(
    wheel: str | Path,
    folder: str | Path,
    levels: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write a wheel for Linux on x86-64 and this version of Python.

    Parameters
    ----------
    wheel : path
        One with these very sources, for any platform.
    folder : path
        Where to; made if it is not there.
    levels : sequence of str, optional
        For which processors: of ``"x86-64-v2"``, ``"x86-64-v3"``, ``"x86-64-v4"``. By default all
        that this processor can run: kernels are recorded while they run.
    tell : callable
        Called with a line for each thing done.

    Returns
    -------
    path
        The new wheel.

    Raises
    ------
    ConfigError
        If the wheel cannot be read or has other sources, a level is unknown or beyond this
        processor, this is no Linux on x86-64, a compiler or the package ``wheel`` is missing, or
        the folder cannot be written.
    """
    if sys.platform != "linux" or machine() != X86_64:
        raise ConfigError(
            f"such wheels are for Linux on x86-64; this is {sysconfig.get_platform()}"
        )
    here = levels_here()
    if levels is None:
        levels = here
        for level in LEVELS:
            if level not in here:
                tell(f"no machine code for {level}; such processors take that for {here[-1]}")
    unknown = sorted(set(levels) - set(LEVELS))
    if unknown or not levels:
        raise ConfigError(f"levels are {unknown or 'none'}; give some of {', '.join(LEVELS)}")
    beyond = sorted(set(levels) - set(here))
    if beyond:
        raise ConfigError(
            f"this processor cannot run {', '.join(beyond)}, and kernels are recorded while they "
            f"run; give some of {', '.join(here)}, or make the wheel on a newer one"
        )
    into = Path(folder).resolve()
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as work:
            return _build(Path(wheel).resolve(), into, levels, Path(work), tell)
    except OSError as error:
        raise ConfigError(f"cannot write to {into}: {error.strerror}") from error


def _build(
    wheel: Path, into: Path, levels: Sequence[str], work: Path, tell: Callable[[str], None]
) -> Path:
    run([sys.executable, "-m", "wheel", "unpack", str(wheel), "--dest", str(work)])
    unpacked = next(each for each in work.iterdir() if each.is_dir())
    _compare(wheel, unpacked)
    code = unpacked / _KERNELS.name / FOLDER.name
    code.mkdir()
    for k, level in enumerate(levels):
        tell(f"compiling the kernels for {level} ({k + 1} of {len(levels)}), about a minute")
        arguments = [level, str(code / f"{level}.kernels")]
        why = run_for(TARGETS[level], _RECORD, arguments, _PACKAGE.parent)
        if why:
            raise ConfigError(f"the kernels cannot be compiled for {level}: {why}")
    carried = unpacked / CARRIED.relative_to(_PACKAGE.parent)
    carried.mkdir()
    library = build_library(work / "libplc", X86_64, tell).library
    for name in BUILT:  # a wheel has no links
        shutil.copy(library.with_name(name), carried)
    packed = work / "packed"
    packed.mkdir()
    run([sys.executable, "-m", "wheel", "pack", str(unpacked), "--dest-dir", str(packed)])
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tags = [f"--python-tag={python}", f"--abi-tag={python}", "--platform-tag=linux_x86_64"]
    plain = next(packed.iterdir())
    run([sys.executable, "-m", "wheel", "tags", "--remove", *tags, str(plain)])
    made = next(packed.iterdir())
    return Path(shutil.move(made, into / made.name))


def _compare(wheel: Path, unpacked: Path) -> None:
    """Refuse a wheel of another engine than this one."""
    for package in (_KERNELS, _PACKAGE):
        for path in sorted(package.rglob("*.py")):
            there = unpacked / package.name / path.relative_to(package)
            if not there.is_file() or there.read_bytes() != path.read_bytes():
                raise ConfigError(
                    f"{wheel.name} has another {package.name}/{path.relative_to(package)} than "
                    "this installation; build it from these sources: python -m build --wheel"
                )
