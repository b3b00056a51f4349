"""Build ``libplc``: the engine as a shared library with a C header.

The library holds a Python interpreter (through cffi's embedding) that finds this very installation
again: the interpreter's path and the folders of the packages are written into it. So it is built
where it is used, not shipped.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from plc.embed.calls import DECLARATIONS
from plc.errors import ConfigError, MissingExtraError

HERE = Path(__file__).parent
HEADER = HERE / "plc.h"
_MODULE = "_libplc"

# What runs in the interpreter when the library starts. The folders are those of a checkout, or
# of an editable installation, which the interpreter may not know.
_START = """
import sys
from _libplc import ffi

for folder in {folders!r}:
    if folder not in sys.path:
        sys.path.append(folder)
try:
    from plc.embed.calls import Calls
except Exception as error:
    raise ImportError(
        f"libplc was built with {executable}, and the engine is not there any more ({{error}}); "
        "build it again, or set PLC_PYTHON to a Python that has it"
    ) from error
Calls(ffi).bind()
"""


@dataclass(frozen=True, slots=True)
class Library:
    """A built library."""

    library: Path
    header: Path
    python: str
    """The interpreter whose packages it uses."""
    flags: str
    """For a compiler, to use it."""


def build_library(folder: str | Path) -> Library:
    """Build the library and put its header beside it.

    Parameters
    ----------
    folder : path
        Where to; made if it is not there.

    Raises
    ------
    MissingExtraError
        If cffi is not installed.
    ConfigError
        If there is no C compiler, Python's headers or shared library are missing, or the folder
        cannot be written.
    """
    target = Path(folder).resolve()
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    library = target / f"libplc{suffix}"
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as work:
            source = Path(work) / f"{_MODULE}.c"
            _write_source(source)
            built = Path(work) / library.name
            _compile(source, built)
            built.replace(library)  # a program that uses the one before keeps it
        shutil.copy(HEADER, target / HEADER.name)
    except OSError as error:
        raise ConfigError(f"cannot write to {target}: {error.strerror}") from error
    return Library(
        library=library,
        header=target / HEADER.name,
        python=sys.executable,
        flags=f"-I{target} -L{target} -lplc -Wl,-rpath,{target}",
    )


def _write_source(source: Path) -> None:
    try:
        import cffi
    except ImportError as error:
        raise MissingExtraError(
            'the C library needs cffi; pip install "plc-engine[c]" brings it'
        ) from error
    ffi = cffi.FFI()
    header = HEADER.read_text()
    ffi.embedding_api("")
    ffi.cdef(_declarations(header) + DECLARATIONS)
    executable = str(Path(sys.executable).absolute())
    defines = f'#define PLC_PYTHON_DEFAULT "{_escaped(executable)}"\n'
    ffi.set_source(_MODULE, defines + header + (HERE / "libplc.c").read_text())
    ffi.embedding_init_code(_START.format(folders=_folders(), executable=executable))
    with contextlib.redirect_stdout(io.StringIO()):  # it says where it writes
        ffi.emit_c_code(str(source))


def _declarations(header: str) -> str:
    """Return the structs of the header, which Python reads and writes."""
    return "".join(re.findall(r"typedef struct \w+ \{.*?\} \w+;\n", header, re.DOTALL))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _folders() -> list[str]:
    """Return where the packages are imported from."""
    folders = []
    for name in ("plc", "plc_kernels"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        folders.append(str(Path(spec.origin).parents[1]))
    return folders


def _compile(source: Path, library: Path) -> None:
    variables = sysconfig.get_config_vars()
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise ConfigError(f"there is no C compiler {compiler[0]}; apt-get install gcc libc6-dev")
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        raise ConfigError(f"Python's headers are not in {include}; apt-get install python3-dev")
    if not variables.get("Py_ENABLE_SHARED"):
        raise ConfigError(
            f"{sys.executable} has no shared library to put into another; use one built with "
            "--enable-shared, as Debian's and conda's are"
        )
    folder = str(variables["LIBDIR"])
    name = str(variables["LDLIBRARY"]).removeprefix("lib").rsplit(".", 1)[0]
    shared = "-dynamiclib" if sys.platform == "darwin" else "-shared"
    command = [*compiler, "-O2", "-fPIC", shared, "-fvisibility=hidden", "-w", "-pthread"]
    command += [f"-I{include}", str(source), "-o", str(library)]
    command += [f"-L{folder}", f"-l{name}", f"-Wl,-rpath,{folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split())[:500]
        raise ConfigError(f"the C compiler refused: {shlex.join(command)}: {reason}")
