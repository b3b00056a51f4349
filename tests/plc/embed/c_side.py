"""The C side of libplc as a source, to be compiled with other flags than the library was."""

import shutil
import subprocess
from pathlib import Path

from plc.embed.library import Library, write_sources
from plc_kernels.targets import machine, targets_of


def c_side(built: Library, folder: Path) -> list[Path]:
    """Return ``plc.c`` and the library's archive without what was compiled of it, in a folder."""
    shutil.copy(built.library.parent / "libplc.a", folder)
    subprocess.run(["ar", "d", "libplc.a", "plc.o"], cwd=folder, check=True)
    write_sources(folder, targets_of(machine()))
    return [folder / "plc.c", folder / "libplc.a"]
