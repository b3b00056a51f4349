"""Programs on libplc, and its C side as a source, to be compiled with other flags."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from plc.embed.library import Library, write_sources
from plc_kernels.build.targets import WINDOWS, machine, targets_of

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "c" / "conceal.c"
WARNINGS = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread")
# Sums have another order; what a concealment makes of that is far below what is heard. The largest
# difference that was measured is in docs/embedding.md.
TOLERANCE = 1e-3


def compiled(source: Path, built: Library, *flags: str, compiler: str = "gcc") -> Path:
    """Compile a program with the library's own archive."""
    folder = built.library.parent
    program = folder / f"{source.stem}{'.exe' if built.family == WINDOWS else ''}"
    command = [compiler, "-O2", *WARNINGS, f"-I{folder}", str(source)]
    command += [str(folder / "libplc.a"), "-lm", *flags, "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return program


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment of these variables alone."""
    return subprocess.run(
        [str(each) for each in command],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def conceals(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the example, as before; what it wrote before is removed, for it replaces no file."""
    names = [str(each) for each in command]
    trace = [names[k + 1] for k, name in enumerate(names) if name == "--write-trace"]
    for name in [*[name for name in names if name.endswith(".wav")][1:], *trace]:
        Path(name).unlink(missing_ok=True)
    return run(*names, **variables)


def recording(name: str, rate: int) -> NDArray[np.float64]:
    """Return 2.5 s of a recording at a rate, with no more of its spectrum than it has."""
    signal, recorded = soundfile.read(ROOT / "plc" / "data" / f"{name}.flac")
    some = signal[: int(2.5 * recorded)]
    return np.repeat(some, rate // recorded) if rate >= recorded else some[:: recorded // rate]


def c_side(built: Library, folder: Path) -> list[Path]:
    """Return ``plc.c`` and the library's archive without what was compiled of it, in a folder."""
    shutil.copy(built.library.parent / "libplc.a", folder)
    subprocess.run(["ar", "d", "libplc.a", "plc.o"], cwd=folder, check=True)
    write_sources(folder, targets_of(machine()))
    return [folder / "plc.c", folder / "libplc.a"]
