"""Pages over HTTP, for few readers: a thread, eight connections, two seconds for each.

What connects shall cost the rest of the process next to nothing, whatever it does. So there is one
thread, which looks at its connections at most fifty times a second, takes in a few new ones each
time and leaves the others to the kernel, whose queue is short. A connection has two seconds to ask,
and two more to take its answer. Where all places are taken the oldest that has not asked goes: a
reader asks at once, and is answered; who waits loses the place.

Each connection is closed after its answer (HTTP/1.1, ``Connection: close``).
"""

import math
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from plc.engine.runtime.standing import StandingThread
from plc.errors import NetworkError
from plc.transport.rtp.udp import Endpoint

CONNECTIONS_MAX = 8
LIMIT_S = 2.0
REQUEST_BYTES_MAX = 8192
_TURN_S = 0.02
_LONGEST_WAIT_S = 2.0
_BACKLOG = 16
_SEND_BYTES = 1 << 20

Page = Callable[[str], tuple[int, str, bytes]]
"""Takes the request's ``Accept`` header; returns a status, a content type and the page."""

_REASONS = {200: "OK", 503: "Service Unavailable"}


@dataclass(slots=True)
class _Connection:
    """A reader that was taken in."""

    socket: socket.socket
    end_s: float
    request: bytes = b""
    answer: memoryview | None = None
    """What is still to be sent; None: the request is not whole yet."""


class PageServer:
    """Serves pages until closed.

    Parameters
    ----------
    endpoint : Endpoint
        Where; port 0 takes any.
    pages : mapping of str to callable
        What makes a page, by its path; it runs in the server's thread.
    what : str
        What they are of, for messages.
    limit_s : float
        Time that a connection has to ask, and to take its answer.
    fields : callable
        Takes a path, returns further lines of an answer's head, each ended by CR LF.

    Raises
    ------
    NetworkError
        If the address is not ours, or its port is taken.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pages: Mapping[str, Page],
        *,
        what: str = "metrics",
        limit_s: float = LIMIT_S,
        fields: Callable[[str], str] = lambda path: "",
    ) -> None:
        self._pages, self._limit_s, self._fields = pages, limit_s, fields
        self._listener = _listen(endpoint, what)
        self.endpoint = Endpoint(endpoint.host, self._listener.getsockname()[1])
        self._connections: dict[int, _Connection] = {}
        """By file descriptor, the oldest first."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake_out, self._wake_in = socket.socketpair()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._thread = StandingThread(what, self._work)
        self._thread.start()

    def _work(self) -> None:
        ends_s = min((each.end_s for each in self._connections.values()), default=math.inf)
        wait_s = min(_LONGEST_WAIT_S, max(0.0, ends_s - time.monotonic()))
        self._turn([key.fileobj for key, _ in self._selector.select(wait_s)])
        self._thread.ending.wait(_TURN_S)

    def _turn(self, ready: list[object]) -> None:
        for connection in list(self._connections.values()):
            if connection.socket in ready:
                self._serve(connection)
        if self._listener in ready:
            for _ in range(CONNECTIONS_MAX):
                if not self._take_in():
                    break
        now_s = time.monotonic()
        for connection in list(self._connections.values()):
            if now_s >= connection.end_s:
                self._drop(connection)

    def _take_in(self) -> bool:
        try:
            accepted, _ = self._listener.accept()
        except OSError:  # none, gone again, or no file descriptor is left
            return False
        accepted.setblocking(False)
        if len(self._connections) >= CONNECTIONS_MAX:
            self._drop(self._least_wanted())
        connection = _Connection(accepted, time.monotonic() + self._limit_s)
        self._connections[accepted.fileno()] = connection
        self._selector.register(accepted, selectors.EVENT_READ)
        self._serve(connection)
        return True

    def _least_wanted(self) -> _Connection:
        oldest_first = list(self._connections.values())
        return next((each for each in oldest_first if each.answer is None), oldest_first[0])

    def _serve(self, connection: _Connection) -> None:
        try:
            if connection.answer is None and not self._read(connection):
                return
            self._send(connection)
        except BlockingIOError:
            return
        except OSError:  # it is gone
            self._drop(connection)
        except Exception:  # whatever it is, it is this reader's
            self._drop(connection)
            raise

    def _read(self, connection: _Connection) -> bool:
        received = connection.socket.recv(REQUEST_BYTES_MAX)
        if not received:
            raise ConnectionResetError
        connection.request += received
        head, end, _ = connection.request.partition(b"\r\n\r\n")
        if not end and len(connection.request) < REQUEST_BYTES_MAX:
            return False
        connection.answer = memoryview(self._answer(head) if end else _refusal(431, "Too large"))
        connection.end_s = time.monotonic() + self._limit_s
        self._selector.modify(connection.socket, selectors.EVENT_WRITE)
        return True

    def _send(self, connection: _Connection) -> None:
        assert connection.answer is not None
        sent = connection.socket.send(connection.answer[:_SEND_BYTES])
        connection.answer = connection.answer[sent:]
        if not connection.answer:
            self._drop(connection)

    def _answer(self, head: bytes) -> bytes:
        line, *fields = head.decode("latin-1").split("\r\n")
        method, _, rest = line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return _refusal(405, "Method not allowed")
        page, more = self._pages.get(path), self._fields(path)
        if page is None:
            return _refusal(404, f"Not found; see {', '.join(self._pages)}", more)
        headers = {name.strip().lower(): text.strip() for name, _, text in map(_colon, fields)}
        try:
            status, kind, body = page(headers.get("accept", ""))
        except Exception:  # it reads what other threads write; the next request may do better
            return _refusal(500, "Cannot be told at the moment")
        return _answer(f"{status} {_REASONS[status]}", kind, body, more, method == "GET")

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.socket.fileno()]
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def close(self) -> None:
        """Stop serving."""
        self._thread.ending.set()
        self._wake_in.send(b"\0")
        self._thread.end()
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._selector.close()
        for each in (self._listener, self._wake_in, self._wake_out):
            each.close()


def _listen(endpoint: Endpoint, what: str) -> socket.socket:
    host, port = endpoint.host, endpoint.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NetworkError(f"cannot find {host}: {reason}") from error
    family, _, _, _, address = found[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        if os.name == "posix":  # elsewhere it would let two share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise NetworkError(
            f"cannot serve {what} on {host}:{port}: {error.strerror}; take another port, or 0 "
            "for any"
        ) from error
    return listener


def _colon(field: str) -> tuple[str, str, str]:
    return field.partition(":")


def _refusal(status: int, reason: str, more: str = "") -> bytes:
    return _answer(f"{status} {reason}", "text/plain", f"{reason}\n".encode(), more)


def _answer(status: str, kind: str, body: bytes, more: str = "", with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nServer: plc\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
