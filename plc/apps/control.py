"""Control of a running relay: requests by a Unix socket, for this user alone.

A request is one line of JSON, and so is its answer::

    {"do": "list"}                                        {"ok": true, "result": [...]}
    {"do": "add", "stream": {"listen": ..., "to": ...}}   {"ok": true, "result": "NAME"}
    {"do": "remove", "name": "NAME"}                      {"ok": false, "error": "..."}
    {"do": "reload"}

One connection is served at a time, in a thread of its own, and has a few seconds for each line.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from plc.embed.unix_socket import identity_of, listen_at
from plc.errors import ConfigError, NetworkError, PlcError, in_a_line
from plc.jsonable import plain

_REQUEST_BYTES_MAX = 1 << 20
_REQUEST_S = 2.0
_ANSWER_S = 60.0
_TURN_S = 0.2

Handler = Callable[[dict[str, Any]], Any]
"""Takes a request; returns what is answered; raises PlcError to refuse."""


class ControlServer:
    """Answers requests until closed.

    Parameters
    ----------
    path : Path
        Where the socket is to be.
    handlers : mapping of str to callable
        By what a request asks to do.

    Raises
    ------
    NetworkError
        If the socket cannot be made there.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self.path = path
        self._handlers = dict(handlers)
        self._listener = listen_at(path)
        self._listener.settimeout(_TURN_S)
        self._identity = identity_of(path)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="plc control", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nobody, or gone again
                continue
            with connection, contextlib.suppress(OSError):
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        connection.settimeout(_REQUEST_S)
        while (line := _read_line(connection)) is not None and not self._ending.is_set():
            answer = json.dumps(plain(self._answer(line)), allow_nan=False)
            connection.sendall(answer.encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, "result": self._handle(line)}
        except PlcError as error:
            return {"ok": False, "error": in_a_line(error)}

    def _handle(self, line: bytes) -> Any:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise ConfigError("the request is no line of JSON") from None
        wanted = request.get("do") if isinstance(request, dict) else None
        handler = self._handlers.get(wanted) if isinstance(wanted, str) else None
        if handler is None:
            known = ", ".join(self._handlers)
            raise ConfigError(f'the request does not say what to do; give "do": one of {known}')
        return handler(request)

    def close(self) -> None:
        """Stop answering, and remove the socket."""
        self._ending.set()
        self._thread.join()
        self._listener.close()
        if identity_of(self.path) == self._identity:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop answering."""
        self.close()


def request(path: Path, **asked: Any) -> Any:
    """Ask the relay whose socket is there; return its answer.

    Raises
    ------
    ConfigError
        If the relay refuses.
    NetworkError
        If there is no relay, or it does not answer.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise NetworkError("this system has no Unix sockets for Python")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(str(path))
            connection.sendall(json.dumps(asked).encode() + b"\n")
            line = _read_line(connection)
        answer = None if line is None else json.loads(line)
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"no relay answers at {path}: {in_a_line(error)}; start one with --control {path}"
        ) from error
    if not isinstance(answer, dict):
        raise NetworkError(f"the relay at {path} has closed the connection; see what it says")
    if not answer.get("ok"):
        raise ConfigError(str(answer.get("error")))
    return answer.get("result")


def _read_line(connection: socket.socket) -> bytes | None:
    """Return a line; None if the other end has closed, or it is too long."""
    received = bytearray()
    while not received.endswith(b"\n"):
        piece = connection.recv(65_536)
        received += piece
        if not piece or len(received) > _REQUEST_BYTES_MAX:
            return None
    return bytes(received)
