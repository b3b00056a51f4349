"""Control of a running relay: requests by a Unix socket, for this user alone.

A request is one line of JSON, and so is its answer::

    {"do": "list"}                                        {"ok": true, "result": [...]}
    {"do": "add", "stream": {"listen": ..., "to": ...}}   {"ok": true, "result": "NAME"}
    {"do": "remove", "name": "NAME"}                      {"ok": false, "error": "..."}
    {"do": "reload"}

Each connection is served in a thread of its own, and has two seconds for a whole line. Where all
places are taken, the oldest that has not asked gives way.
"""

import contextlib
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plc import notice
from plc.engine.runtime.standing import StandingThread
from plc.engine.runtime.threads import Level, leave, take
from plc.errors import ConfigError, NetworkError, PlcError, in_a_line
from plc.jsonable import plain

_REQUEST_BYTES_MAX = 1 << 20
_REQUEST_S = 2.0
_ANSWER_S = 60.0
_TURN_S = 0.2
CONNECTIONS_MAX = 8
# Of these, a reader of answers that takes none is given up.
_SEND_S = 5.0

# The shortest wait.
_LEAST_S = 1e-3
_BACKLOG = 128
_BUSY = b'{"ok": false, "error": "too many ask at once; ask again"}\n'

Handler = Callable[[dict[str, Any]], Any]
"""Takes a request; returns what is answered; raises PlcError to refuse."""


class ControlServer:
    """Answers requests until closed.

    Parameters
    ----------
    path : Path, where the socket is to be
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
        self._identity = _identity_of(path)
        self.faults = 0
        """Requests that met a fault of ours."""
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, bool] = {}
        """Whether each has asked, the oldest first."""
        self._thread = StandingThread("control", self._accept)
        self._thread.start()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # nobody, gone again, or no file descriptor is left
            self._thread.ending.wait(_LEAST_S)
            return
        if not self._has_place():
            with connection, contextlib.suppress(OSError):
                connection.setblocking(False)
                connection.sendall(_BUSY)
            return
        with self._lock:
            self._connections[connection] = False
        thread = threading.Thread(
            target=self._attend, args=(connection,), name="plc control request", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._forget(connection)

    def _has_place(self) -> bool:
        """Return whether there is a place.

        The oldest that has not asked gives way.
        """
        with self._lock:
            if len(self._connections) < CONNECTIONS_MAX:
                return True
            waiting = [each for each, asked in self._connections.items() if not asked]
            for oldest in waiting[:1]:
                del self._connections[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
            return bool(waiting)

    def _attend(self, connection: socket.socket) -> None:
        take(Level.SERVING)
        try:
            with contextlib.suppress(OSError):
                self._converse(connection)
        finally:
            self._forget(connection)
            leave()

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.pop(connection, None)
        connection.close()

    def _note_asked(self, connection: socket.socket, asked: bool) -> bool:
        """Note whether a connection waits for its answer; return whether it is still served."""
        with self._lock:
            if connection not in self._connections:
                return False
            self._connections[connection] = asked
            return True

    def _converse(self, connection: socket.socket) -> None:
        while not self._thread.ending.is_set():
            line = _read_line(connection, _REQUEST_S)
            if line is None or not self._note_asked(connection, asked=True):
                return
            answer = self._answer(line)
            connection.settimeout(_SEND_S)
            connection.sendall(answer + b"\n")
            if not self._note_asked(connection, asked=False):
                return

    def _answer(self, line: bytes) -> bytes:
        try:
            said = {"ok": True, "result": self._handle(line)}
            return json.dumps(plain(said), allow_nan=False).encode()
        except PlcError as error:
            said = {"ok": False, "error": in_a_line(error)}
        except Exception as error:
            self.faults += 1
            fault = f"{type(error).__name__}: {in_a_line(error)}"
            if self.faults == 1:
                notice.tell(f"a request by the control socket met a fault: {fault}")
            said = {"ok": False, "error": f"the relay met a fault: {fault}"}
        return json.dumps(said).encode()

    def _handle(self, line: bytes) -> Any:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise ConfigError("the request is not a line of JSON") from None
        wanted = request.get("do") if isinstance(request, dict) else None
        handler = self._handlers.get(wanted) if isinstance(wanted, str) else None
        if handler is None:
            known = ", ".join(self._handlers)
            raise ConfigError(f'the request does not say what to do; give "do": one of {known}')
        return handler(request)

    def close(self) -> None:
        """Stop answering, and remove the socket."""
        self._thread.end()
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
        if _identity_of(self.path) == self._identity:
            self.path.unlink(missing_ok=True)


def request(path: Path, **asked: Any) -> Any:
    """Send a request to the relay at a socket; return its answer.

    Raises
    ------
    ConfigError
        If the relay refuses.
    NetworkError
        If there is no relay, or it does not answer.
    """
    _need_unix_sockets()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(str(path))
            connection.sendall(json.dumps(asked).encode() + b"\n")
            line = _read_line(connection, _ANSWER_S)
        answer = None if line is None else json.loads(line)
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"no relay answers at {path}: {in_a_line(error)}; start one with --control {path}"
        ) from error
    if not isinstance(answer, dict):
        raise NetworkError(f"the relay at {path} has closed the connection; see its output")
    if not answer.get("ok"):
        raise ConfigError(str(answer.get("error")))
    return answer.get("result")


def _read_line(connection: socket.socket, within_s: float) -> bytes | None:
    """Return a line; None if it is too long or its end closed; TimeoutError: it is late."""
    received = bytearray()
    end_s = time.monotonic() + within_s
    while not received.endswith(b"\n"):
        connection.settimeout(max(_LEAST_S, end_s - time.monotonic()))
        if time.monotonic() > end_s:
            raise TimeoutError
        piece = connection.recv(65_536)
        received += piece
        if not piece or len(received) > _REQUEST_BYTES_MAX:
            return None
    return bytes(received)


def _need_unix_sockets() -> None:
    if not hasattr(socket, "AF_UNIX"):
        raise NetworkError("this system has no Unix sockets for Python")


def listen_at(path: Path) -> socket.socket:
    """Return a listening socket at a path, for this user alone.

    Raises
    ------
    NetworkError
        If something else is there, another server listens, or there are no such sockets.
    """
    _need_unix_sockets()
    _make_way(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # so that there is no moment at which others could connect
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise NetworkError(
            f"cannot make a socket at {path}: {reason}; take a short path in a folder of yours"
        ) from error
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _make_way(path: Path) -> None:
    """Remove a socket without server; raise for any other file."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing is there; or the bind will say what is wrong
    if not stat.S_ISSOCK(mode):
        raise NetworkError(f"{path} is not a socket; take another path, or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            reason = error.strerror or str(error)
            raise NetworkError(f"the socket {path} is in use: {reason}") from error
    raise NetworkError(f"another server listens at {path}; end it, or take another path")


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
