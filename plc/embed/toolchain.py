"""Compilers and linkers: found, run, and missed with advice."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from plc.errors import ConfigError
from plc_kernels.build.targets import AARCH64, WINDOWS, X86_64

MUSL = "musl"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that building needs.

    Parameters
    ----------
    what : str
        For people, with an article.
    names : tuple of str
        Its names, the first that is found is taken.
    package : str, debian's
    variable : str
        An environment variable that names another; empty: none.
    """

    what: str
    names: tuple[str, ...]
    package: str
    variable: str = ""


COMPILER = Tool("a C compiler", ("cc", "gcc", "clang"), "gcc libc6-dev", "CC")
CROSS_COMPILERS = {
    target: Tool(f"a C compiler for {name}", (compiler,), package, f"CC_{target.upper()}")
    for target, name, compiler, package in (
        (X86_64, "x86-64", "x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
        (AARCH64, "aarch64", "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        (WINDOWS, "Windows", "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"),
        (MUSL, "musl", "musl-gcc", "musl-tools"),
    )
}
"""By what they compile for."""
RENAMER = Tool("objcopy", ("objcopy", "llvm-objcopy"), "binutils", "OBJCOPY")
ARCHIVER = Tool("an archiver", ("ar", "llvm-ar"), "binutils", "AR")
WASM_LINKER = Tool(
    "a linker for WebAssembly", ("wasm-ld", "wasm-ld-19", "wasm-ld-14"), "lld", "WASM_LD"
)


def find(tool: Tool) -> list[str]:
    """Return the beginning of a command line that runs a tool.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    given = shlex.split(os.environ.get(tool.variable, "")) if tool.variable else []
    if given:
        if shutil.which(given[0]) is None:
            raise ConfigError(f"{tool.variable} names {given[0]}, which is not installed")
        return given
    for name in tool.names:
        if shutil.which(name):
            return [name]
    raise ConfigError(
        f"building needs {tool.what}, and there is no {' or '.join(tool.names)}: "
        f"apt-get install {tool.package}, or name one in {tool.variable}"
    )


def run(command: Sequence[str]) -> None:
    """Run a command.

    Raises
    ------
    ConfigError
        If it cannot be run or fails, with the beginning of its words.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        reason = " ".join(done.stderr.split())[:500]
        raise ConfigError(f"{shlex.join(command)} failed: {reason}")
