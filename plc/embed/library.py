"""Build ``libplc``: the engine as a C library without Python.

The step of a stream is compiled ahead of time (:mod:`plc_kernels.emit`), for x86-64 at three
levels of which each stream takes the best; ``plc.c`` checks arguments around it. For Windows and
musl ``plc_math.c`` stands in for functions of their C libraries that round otherwise than glibc's.
For WebAssembly it is the step alone (:mod:`plc.embed.wasm`).
"""

import shlex
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from plc.embed.packaging import DLL, IMPORTS, INSIDE, PLUGIN, SHARED, SONAME, header, package
from plc.embed.toolchain import ARCHIVER, COMPILER, CROSS_COMPILERS, MUSL, RENAMER, Tool, find, run
from plc.embed.wasm import COUNTED, RECEIVED, build_wasm
from plc.errors import ConfigError, unknown, why
from plc_kernels.build.targets import WASM32, WINDOWS, X86_64, Target, machine, targets_of
from plc_kernels.emit.objects import EmitError, emit_objects
from plc_kernels.receive import layout as receiver
from plc_kernels.signal.burst import LEAVE_MS
from plc_kernels.signal.rungs import STEADY_MS
from plc_kernels.stream import dropout_search, entry, layout, model, model_file, preparation, step
from plc_kernels.stream.gap import NETS

HERE = Path(__file__).parent
SOURCE = HERE / "plc.c"
PLUGIN_SOURCE, INSIDE_SOURCE = HERE / "plc_ladspa.c", HERE / "plc_inside.c"
MATHEMATICS_SOURCE = HERE / "plc_math.c"
CARRIED = HERE / "libplc"
"""Built already, in a wheel for one platform (``.ci/machine_code.py``)."""
HOST = "host"
FAMILIES = (HOST, *CROSS_COMPILERS, WASM32)

CFLAGS = ("-O2", "-std=c11", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
# What plc_math.c defines, with a prefix: names of an archive meet those of the program.
REPLACED = ("expf", "log10f", "log10")
# As plc.h numbers them.
_LEVELS = {"x86-64-v2": 2, "x86-64-v3": 3, "x86-64-v4": 4}
_PLACES = (
    *("RATE", "AHEAD", "NETWORK", "POSITION", "PREPARED_AT"),
    *("SECOND", "FILL", "FILL_SAMPLES", "STATS"),
)

BUILT = (SHARED, "libplc.a", "plc.h", PLUGIN, INSIDE)
"""What compilers make; links and texts are added to it."""


@dataclass(frozen=True, slots=True)
class Library:
    """A built library.

    Attributes
    ----------
    family : str
        Of processors: ``"x86_64"``, ``"aarch64"`` or ``"wasm32"``; or ``"windows"``, ``"musl"``.
    files : list of path
        All that was written; the library first.
    flags : str
        For a compiler, to use it; none for WebAssembly.
    compiler : str, its usual name
    """

    family: str
    files: list[Path]
    flags: str
    compiler: str = ""

    @property
    def library(self) -> Path:
        """The shared library, or the module of WebAssembly."""
        return self.files[0]


def build_library(
    folder: str | Path,
    target: str = HOST,
    tell: Callable[[str], None] = lambda line: None,
    prefix: bool = False,
) -> Library:
    """Build the library, its header, and the files by which other builds find it.

    Where the package carries it built, it is copied.

    Parameters
    ----------
    folder : path
        Where to; made if it is not there. Files of an earlier build are replaced, each at once.
    target : str
        ``"host"``, ``"x86_64"``, ``"aarch64"``, ``"wasm32"``; ``"windows"`` (x86-64) or ``"musl"``
        (this machine's processors).
    tell : callable
        Called with a line for each thing done, from any thread.
    prefix : bool
        Install into ``include`` and ``lib`` of the folder, as packages do, with what CMake reads.

    Raises
    ------
    ConfigError
        If the target is unknown or is not installed so, a compiler or linker is not there or fails,
        or the folder cannot be written.
    """
    if target not in FAMILIES:
        raise ConfigError(unknown("target", target, FAMILIES))
    if target == HOST and sys.platform != "linux":
        raise ConfigError(
            f"libplc is built on Linux, and this is {sys.platform}; "
            f"give {', '.join(FAMILIES[1:-1])} or {FAMILIES[-1]}"
        )
    family = machine() if target == HOST else target
    if family not in FAMILIES:
        raise ConfigError(f"libplc is for {', '.join(FAMILIES[1:])}, and this machine is {family}")
    if family == WASM32 and prefix:
        raise ConfigError("the module of wasm32 is one file for a page; it is not installed")
    into = Path(folder).resolve()
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as work:
            ready = Path(work, "ready")
            ready.mkdir()
            made = _make(family, Path(work), ready, prefix, tell)
            files = [into / path.relative_to(ready) for path in made]
            for path, final in zip(made, files, strict=True):
                final.parent.mkdir(parents=True, exist_ok=True)
                path.replace(final)  # a program that uses the one before keeps it
    except OSError as error:
        raise ConfigError(f"cannot write to {into}: {why(error)}") from error
    names = ("include", "lib") if prefix else ("", "")
    include, lib = (shlex.quote(str(into / name)) for name in names)
    flags = "" if family == WASM32 else f"-I{include} -L{lib} -lplc"
    flags += "" if family in (WASM32, WINDOWS) else f" -Wl,-rpath,{lib}"
    compiler = "" if family == WASM32 else compiler_for(family).names[0]
    return Library(family=family, files=files, flags=flags, compiler=compiler)


def _make(
    family: str, work: Path, ready: Path, prefix: bool, tell: Callable[[str], None]
) -> list[Path]:
    if family == WASM32:
        return [path.replace(ready / path.name) for path in _build_module(family, work, tell)]
    carried = family == machine() and CARRIED.is_dir()
    return package((_copy if carried else _build_objects)(family, work, tell), ready, prefix)


def _copy(family: str, work: Path, tell: Callable[[str], None]) -> list[Path]:
    tell(f"copying libplc for {family}, which this package carries")
    return [Path(shutil.copy(CARRIED / name, work)) for name in BUILT]


def _build_module(family: str, work: Path, tell: Callable[[str], None]) -> list[Path]:
    tell(f"compiling the step for {family}")
    module = work / "plc.wasm"
    build_wasm(module, work)
    return [module]


def _build_objects(family: str, work: Path, tell: Callable[[str], None]) -> list[Path]:
    compiler = find(compiler_for(family))
    archiver = find(ARCHIVER)
    targets = step_targets(family)
    write_sources(work, targets)

    def compile_c(source: Path, *flags: str) -> str:
        made = str(work / f"{source.stem}.o")
        run([*compiler, *CFLAGS, *flags, f"-I{work}", "-c", str(source), "-o", made])
        return made

    renamed = [f"--redefine-sym={name}=plck_{name}" for name in REPLACED]
    renamer = [*find(RENAMER), *renamed] if family in (WINDOWS, MUSL) else []
    glue = [compile_c(SOURCE), *([compile_c(MATHEMATICS_SOURCE)] if renamer else [])]
    count = 0

    def done(name: str) -> None:
        nonlocal count
        count += 1
        tell(f"compiled the step for {name} ({count} of {len(targets)})")

    tell(f"compiling the step for {', '.join(each.name for each in targets)}")
    objects = [*glue, *map(str, emitted(targets, work, done))]
    for each in objects[len(glue) :] if renamer else ():
        run([*renamer, each])
    shared, archive = work / SHARED, work / "libplc.a"
    if family == WINDOWS:
        # Else the time and an address made of the path stand in it, and no build is like another.
        same = ["-Wl,--no-insert-timestamp", "-Wl,--disable-auto-image-base", "-s"]
        made = [f"-Wl,--out-implib,{work / IMPORTS}", "-o", str(work / DLL)]
        run([*compiler, "-shared", "-static-libgcc", *same, *objects, *made])
        compile_c(SOURCE, "-DPLC_STATIC")  # a program that has the archive in it exports nothing
        run([*archiver, "rcs", str(archive), *objects])
        return [work / name for name in (DLL, IMPORTS, "libplc.a", "plc.h")]
    checks = ["-Wl,--no-undefined", "-Wl,-z,relro,-z,now", f"-Wl,-soname,{SONAME}"]
    run([*compiler, "-shared", *checks, *objects, "-lm", "-o", str(shared)])
    run([*archiver, "rcs", str(archive), *objects])
    # Their own copies of the library, unseen by the host: plugins are moved to folders of theirs.
    for source, name in ((PLUGIN_SOURCE, PLUGIN), (INSIDE_SOURCE, INSIDE)):
        needed = [str(archive), "-lm", "-ldl", "-pthread", "-Wl,--exclude-libs,ALL"]
        linked = [f"-I{work}", str(source), *needed, "-o", str(work / name)]
        run([*compiler, *CFLAGS, "-shared", *checks[:2], *linked])
    return [work / name for name in BUILT]


def compiler_for(family: str) -> Tool:
    """Return the C compiler for a family of processors, Windows or musl."""
    return COMPILER if family == machine() else CROSS_COMPILERS[family]


def step_targets(family: str) -> list[Target]:
    """Return the types of processors of a family, of Windows or musl, the least first."""
    if family == WINDOWS:
        return targets_of(X86_64, WINDOWS)
    return targets_of(machine() if family == MUSL else family)


def emitted(
    targets: list[Target], work: Path, done: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Write the step's object files to a folder.

    Raises
    ------
    ConfigError
        If one cannot be compiled.
    """
    try:
        return emit_objects(targets, work, done)
    except EmitError as error:
        raise ConfigError(str(error)) from error


def write_sources(work: Path, targets: list[Target]) -> None:
    """Write the sources to a folder, with ``step.h`` for these targets."""
    (work / "plc.h").write_text(header())
    shutil.copy(SOURCE, work / SOURCE.name)
    steps = [
        f'X({each.suffix.removeprefix("_")}, {_LEVELS.get(name, 0)}, "{name}")'
        for each in targets
        for name in [each.processor or each.name]
    ]
    lines = [f"#define PLC_STEPS(X) {' '.join(steps)}"]
    lines += [f"#define PLCK_{name} {getattr(layout, name)}" for name in _PLACES]
    # Answers beside the flags of plc.h: a draft is ready, the packet is not done; and the time in
    # which a caller's fill goes back to the draft, or half of its length.
    lines += [f"#define PLCK_WANTS_FILL {step.WANTS_FILL}", f"#define PLCK_MORE {step.MORE}"]
    lines.append(f"#define PLCK_LEAVE_S {LEAVE_MS / 1000.0}f")
    counted = " ".join(f"X({name}, {word})" for name, word in COUNTED.items())
    lines.append(f"#define PLCK_COUNTED(X) {counted}")
    lines += [f"#define PLCK_BESIDE {preparation.BESIDE}", f"#define PLCK_RUNGS {len(STEADY_MS)}"]
    lines.append(f"#define PLCK_NETWORK_SAMPLES {layout.RUNG_SAMPLES + entry.NETWORK_PLACE}")
    lines += [f"#define PLCK_NETWORKS {len(NETS)}", f"#define PLCK_FILE_BYTES {model_file.BYTES}"]
    for name in ("BYTES", "LOWEST_RATE", "HIGHEST_RATE"):
        lines.append(f"#define PLCK_MODEL_{name} {getattr(model, name)}")
    lines.append(f"#define PLCK_SEARCH_PARTS {dropout_search.PARTS}")
    lines += [f"#define PLCK_{name} ({getattr(receiver, name)})" for name in RECEIVED]
    lines.append(f"#define PLCK_COUNTERS {layout.LADDER - layout.STATS}")
    powers = (
        struct.unpack("<q", struct.pack("<d", 2.0 ** (k / 32)))[0] - (k << 47) for k in range(32)
    )
    lines.append(f"#define PLCK_POWERS {', '.join(map(hex, powers))}")
    (work / "step.h").write_text("\n".join(lines) + "\n")
