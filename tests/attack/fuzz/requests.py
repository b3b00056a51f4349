"""What asks a program for something: control requests, configurations, snapshots of streams.

A target of Atheris, as a program: ``python -m tests.attack.fuzz.requests FOLDER`` begins with the
inputs in the folder, and keeps there what reaches new code. The first byte of an input says what
the others are: ``r``, ``c`` or ``s``. Any error but one of ours is a fault.
"""

import atexit
import hmac
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from plc import ConcealerPool
from plc.errors import PlcError
from plc.transport.cli.streams import read_relay_file, stream_of
from plc.transport.service.control import ControlServer

CORPUS = Path(__file__).parent / "requests"
KEY = bytes(range(32))


@cache
def folder() -> Path:
    """Return a folder for this process."""
    made = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def server() -> ControlServer:
    """Return a control socket's server, of a relay that only looks at what it is told."""

    def add(request: dict[str, Any]) -> str:
        table = request.get("stream")
        return stream_of(table if isinstance(table, dict) else {}).name

    made = ControlServer(folder() / "control", {"add": add, "list": lambda _: []})
    atexit.register(made.close)
    return made


@cache
def pool() -> ConcealerPool:
    """Return a pool that snapshots are restored to."""
    return ConcealerPool()


def ask(data: bytes) -> str:
    """Give an input to what it is for; return what came of it."""
    kind, rest = data[:1], data[1:]
    if kind == b"r":
        answer = server()._answer(rest)
        assert not server().faults, answer
        return answer.decode()
    try:
        if kind == b"c":
            place = folder() / "relay.toml"
            place.write_bytes(rest)
            return str(len(read_relay_file(place).streams))
        # Signed rightly: else nothing behind the signature is ever reached.
        ids = pool().restore([rest + hmac.digest(KEY, rest, "sha256")], KEY)
        pool().close(ids)
        return str(len(ids))
    except PlcError as error:
        return str(error)


def main() -> None:
    """Let Atheris give inputs for as long as its options say."""
    import atheris  # its own, from PyPI

    atheris.instrument_all()
    atheris.Setup(sys.argv, ask)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
