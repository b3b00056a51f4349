"""The command as a program of its own, and what it says."""

import os
import re
import select
import subprocess
import sys
from typing import IO

from tests.processes import environment, hear_signals


def plc(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start a command, with further variables in its environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "plc", *map(str, arguments)],
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
    )


def line_of(stream: IO[str] | None) -> str:
    """Return a program's next line; fail rather than wait for ever."""
    assert stream is not None
    # Byte by byte: of two lines that are there at once, a buffer would keep the second one.
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([stream], [], [], 120.0)[0], "nothing was said for two minutes"
        byte = os.read(stream.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def said(process: subprocess.Popen[str], text: str) -> str:
    """Return the next line of stderr that holds a text."""
    while line := line_of(process.stderr):
        if text in line:
            return line
    raise AssertionError(f"the program ended without {text!r}")


def listening(process: subprocess.Popen[str]) -> str:
    """Return where a program says it listens, once it does."""
    found = re.match(r"plc: (udp://\S+) -> ", said(process, " -> "))
    assert found
    return found.group(1)
