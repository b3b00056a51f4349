"""Make a wheel that brings the kernels' machine code and ``libplc``, and needs no compiler.

    python .ci/machine_code.py dist/plc_engine-*.whl --out dist

A wheel as ``python -m build`` makes it has sources alone, and its first start compiles them for
about a minute, with numba. Here the kernels are added as a module for Python
(:mod:`plc_kernels.build.library`), for each level of x86-64 or for aarch64, and the C library with
its header; numba is then what the extra ``compile`` brings. It takes some five minutes, gcc (for
the other family of processors its compiler), Python's headers, and the packages auditwheel and
wheel.
"""

import argparse
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import plc
from plc.embed.library import BUILT, CARRIED, CFLAGS, build_library, compiler_for
from plc.embed.toolchain import find, run
from plc.errors import ConfigError, PlcError
from plc_kernels.build.library import LEVEL, PATH
from plc_kernels.build.targets import AARCH64, TARGETS, X86_64, machine, targets_of
from plc_kernels.emit.objects import EmitError, emit_objects

LEVELS = tuple(target.name for family in (X86_64, AARCH64) for target in targets_of(family))
_RECORD = Path(__file__).with_name("kernel_types.py")
_KERNELS = PATH.parents[1]
_PACKAGE = Path(plc.__file__).parent
_SOURCE = _KERNELS / "emit" / "kernels.c"
# As pyproject.toml has it.
_NUMBA = "Requires-Dist: numba"


def build_wheel(
    wheel: str | Path,
    folder: str | Path,
    levels: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write a wheel for Linux and Python 3.11 or newer, which indexes take.

    Parameters
    ----------
    wheel : path
        One with these very sources, for any platform.
    folder : path
        Where to; made if it is not there.
    levels : sequence of str, optional
        For which processors: of ``"x86-64-v2"``, ``"x86-64-v3"``, ``"x86-64-v4"``, or
        ``"aarch64"``; all of this machine's family by default.
    tell : callable
        Called with a line for each thing done.

    Returns
    -------
    path
        The new wheel.

    Raises
    ------
    ConfigError
        If this installation has no numba, the wheel cannot be read or has other sources, a level is
        unknown or of another family than the first, this is no Linux on x86-64 or aarch64, a
        compiler or one of the packages is missing, or the folder cannot be written.
    """
    if sys.platform != "linux" or machine() not in (X86_64, AARCH64):
        raise ConfigError(
            f"such wheels are for Linux on x86-64 and aarch64; this is {sysconfig.get_platform()}"
        )
    if LEVEL is not None:
        raise ConfigError(
            "this installation has machine code of its own, and the kernels' types are learned "
            "while numba compiles them: make the wheel from a source checkout"
        )
    levels = [target.name for target in targets_of(machine())] if levels is None else levels
    unknown = sorted(set(levels) - set(LEVELS))
    if unknown or not levels:
        raise ConfigError(f"levels are {unknown or 'none'}; give some of {', '.join(LEVELS)}")
    if len({TARGETS[level].family for level in levels}) > 1:
        raise ConfigError(
            f"levels are {', '.join(levels)}; a wheel is for one family of processors"
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
    code = unpacked / PATH.relative_to(_KERNELS.parent)
    code.parent.mkdir()
    build_kernels(code, levels, work, tell)
    _without_numba(unpacked)
    carried = unpacked / CARRIED.relative_to(_PACKAGE.parent)
    carried.mkdir()
    family = TARGETS[levels[0]].family
    library = build_library(work / "libplc", family, tell).library
    for name in BUILT:  # a wheel has no links
        shutil.copy(library.with_name(name), carried)
    made = pack(unpacked, family, work)
    return Path(shutil.move(made, into / made.name))


def pack(unpacked: Path, family: str, work: Path) -> Path:
    """Return a wheel of an unpacked one, for a family of processors and the C library it needs.

    Indexes take no wheel that does not name that.
    """
    (about,) = unpacked.glob("*.dist-info/WHEEL")
    about.write_text(about.read_text().replace("Root-Is-Purelib: true", "Root-Is-Purelib: false"))
    packed, repaired = work / "packed", work / "repaired"
    packed.mkdir()
    run([sys.executable, "-m", "wheel", "pack", str(unpacked), "--dest-dir", str(packed)])
    tags = ["--python-tag=cp311", "--abi-tag=abi3", f"--platform-tag=linux_{family}"]
    (plain,) = packed.iterdir()
    run([sys.executable, "-m", "wheel", "tags", "--remove", *tags, str(plain)])
    (tagged,) = packed.iterdir()
    # It has no library to put in, so there is nothing to patch.
    repair = ["auditwheel", "repair", "--patcher=none", f"--wheel-dir={repaired}", str(tagged)]
    run([sys.executable, "-m", *repair])
    (made,) = repaired.iterdir()
    return made


def build_kernels(
    path: Path, levels: Sequence[str], work: Path, tell: Callable[[str], None] = lambda line: None
) -> None:
    """Build the module of machine code that Python loads, for Python 3.11 and newer.

    Parameters
    ----------
    path : path
        What to write.
    levels : sequence of str
        For which processors, the least first.
    work : path
        A folder for what is made on the way.
    tell : callable
        Called with a line for each thing done.

    Raises
    ------
    ConfigError
        If the kernels cannot be compiled, or there is no compiler of C.
    """
    compiler = find(compiler_for(TARGETS[levels[0]].family))
    signatures = work / "signatures"
    tell("running what calls the kernels, to learn with which types: about a minute")
    run([sys.executable, str(_RECORD), str(signatures)])
    tell(f"compiling the kernels for {', '.join(levels)}: some four minutes")
    try:
        emit_objects([TARGETS[level] for level in levels], work, signatures=signatures)
    except EmitError as error:
        raise ConfigError(str(error)) from error
    objects = [work / f"kernels-{level}.o" for level in levels]
    include = [f"-I{folder}" for folder in (work, np.get_include(), sysconfig.get_path("include"))]
    linked = ["-shared", "-Wl,-z,relro,-z,now", str(_SOURCE), *map(str, objects), "-lm"]
    run([*compiler, *CFLAGS, *include, *linked, "-o", str(path)])


def _without_numba(unpacked: Path) -> None:
    """Make numba, which compiles kernels elsewhere, what the extra ``compile`` brings."""
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    lines = metadata.read_text().splitlines(keepends=True)
    at = next(k for k, line in enumerate(lines) if line.startswith(_NUMBA))
    lines[at] = f'{lines[at].rstrip()}; extra == "compile"\nProvides-Extra: compile\n'
    metadata.write_text("".join(lines))


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


def main() -> int:
    """Make the wheel; return the status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path, help="of these sources, for any platform")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new wheel")
    parser.add_argument(
        "--level", action="append", help=f"{', '.join(LEVELS)}; all of this family by default"
    )
    given = parser.parse_args()
    try:
        print(
            build_wheel(given.wheel, given.out, given.level, lambda line: print(line, flush=True))
        )
    except PlcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
