"""A process that conceals for others: ``plc serve``, packets in and out of a Unix socket.

One connection is one stream (:mod:`plc.embed.wire` says what is spoken); programs in any language,
and any number of them, share one warm engine::

    client ──▶ kernel's buffer ──▶ FrameReader ──▶ Conversation ──▶ Concealer
           ◀── kernel's buffer ◀──────────── answer ◀──┘
                                  (a thread for each connection)

A connection's memory is one frame in, one out, and the kernel's buffers: who sends without reading
is not read from any more, and cut off after a while; who sends rubbish is told so and cut off; who
vanishes is forgotten; who has not said HELLO gives way where there is no place for another that
connects. None of it touches another thread. The kernels run without the interpreter's
lock, so streams that are concealed at the same time use several cores.
"""

import contextlib
import ctypes
import gc
import math
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plc.embed import wire
from plc.embed.served_stream import EmbeddedConfig, EmbeddedStream, prepare
from plc.embed.unix_socket import identity_of, listen_at
from plc.ending import stop_signals
from plc.engine.runtime.priority import Priority, Wish
from plc.engine.runtime.threads import Level, leave, take
from plc.engine.warm import warm_up
from plc.errors import PlcError
from plc.jsonable import to_json

MAX_CLIENTS = 256
# Who connects says HELLO within this time, and reads an answer within that.
_HELLO_S = 5.0
_ANSWER_S = 5.0
# The kernel's shortest wait; 0 would be for ever.
_LEAST_WAIT_S = 1e-4
# Streams that are open when the end is asked for get this long to finish.
_DRAIN_S = 2.0
# A signal is noticed within this time.
_LONGEST_WAIT_S = 0.1
# How long ended clients' threads get at a time to leave, before the next client is taken.
_TURN_S = 0.001
# A thread that computes hands the interpreter over after this time; Python's own is ten times it.
_SWITCH_S = 0.0005
_AUDIO = int(wire.FrameKind.AUDIO)

Opener = Callable[[EmbeddedConfig], EmbeddedStream]


class Conversation:
    """One client's stream: frames in, answers out; it knows no socket.

    Parameters
    ----------
    open_stream : callable
        Opens the stream that a HELLO asks for.

    Attributes
    ----------
    reader : FrameReader
        What the client's bytes go through.
    done : bool
        Nothing more will be answered.
    """

    def __init__(self, open_stream: Opener = EmbeddedStream) -> None:
        self.reader = wire.FrameReader(wire.HELLO_LIMIT)
        self.done = False
        self._open = open_stream
        self._stream: EmbeddedStream | None = None
        self._reply = bytearray()

    @property
    def greeted(self) -> bool:
        """True if there is a stream."""
        return self._stream is not None

    def answer(self) -> bytes | bytearray | None:
        """Return the answer to the next complete frame, or None.

        The bytes of AUDIO are written in place: send them before asking for the next.
        """
        if self.done:
            return None
        sequence = 0
        try:
            frame = self.reader.next()
            if frame is None:
                return None
            sequence = frame.sequence
            if frame.kind is wire.FrameKind.PUSH and self._stream is not None:
                return self._push(self._stream, frame)
            return self._answer(frame)
        except wire.WireError as error:
            return self._end(error.code, str(error), sequence)
        except PlcError as error:
            return self._end(wire.Code.SETTINGS, str(error), sequence)

    def goodbye(self) -> bytes:
        """Return the BYE at the server's end, with the lookahead's samples."""
        return self._bye(0)

    def close(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.close()

    def _answer(self, frame: wire.WireFrame) -> bytes:
        stream = self._stream
        if stream is None:
            return self._hello(frame)
        if frame.kind not in (wire.FrameKind.ASK, wire.FrameKind.END):
            raise wire.WireError(f"{frame.kind.name} from a client with a stream; PUSH, ASK or END")
        if frame.payload:
            raise wire.WireError(f"{frame.kind.name} with {len(frame.payload)} bytes; it has none")
        if frame.kind is wire.FrameKind.ASK:
            counters = to_json(stream.concealer.stats.as_dict()).encode()
            return wire.pack(wire.FrameKind.REPORT, counters, sequence=frame.sequence)
        return self._bye(frame.sequence)

    def _hello(self, frame: wire.WireFrame) -> bytes:
        if frame.kind is not wire.FrameKind.HELLO:
            raise wire.WireError(f"{frame.kind.name} before HELLO")
        config = wire.parse_hello(frame.payload)
        stream = self._open(config)
        self._stream = stream
        self._reply = bytearray(wire.HEADER.size + config.packet_bytes)
        self._out = stream.view(memoryview(self._reply)[wire.HEADER.size :])
        self.reader.allow(config.packet_bytes)
        return wire.pack_ready(stream.tail_samples, config.packet_bytes, frame.sequence)

    def _push(self, stream: EmbeddedStream, frame: wire.WireFrame) -> bytearray:
        lost = frame.flags == wire.LOST
        size = stream.packet_bytes
        if len(frame.payload) != (0 if lost else size) or frame.flags > wire.LOST:
            raise wire.WireError(
                f"PUSH of {len(frame.payload)} bytes with flags {frame.flags}; "
                f"{size} bytes with 0, or none with {wire.LOST}"
            )
        flags = stream.push(None if lost else stream.view(frame.payload), self._out)
        wire.HEADER.pack_into(self._reply, 0, size, _AUDIO, flags, 0, frame.sequence)
        return self._reply

    def _bye(self, sequence: int) -> bytes:
        self.done = True
        stream = self._stream
        if stream is None:
            return wire.pack(wire.FrameKind.BYE, sequence=sequence)
        tail = np.empty((stream.tail_samples, stream.shape[1]), stream.config.format.dtype)
        stream.flush(tail)
        return wire.pack(wire.FrameKind.BYE, tail.tobytes(), sequence=sequence)

    def _end(self, code: wire.Code, message: str, sequence: int) -> bytes:
        self.done = True
        return wire.pack_error(code, message, sequence)


@dataclass(slots=True)
class SidecarStats:
    """Counters of a server."""

    clients: int = 0
    """Connections that were taken."""
    turned_away: int = 0
    """Connections above the most that are allowed."""
    ended: int = 0
    """Those that said END."""
    vanished: int = 0
    """Those that were gone without it, in whatever state."""
    violations: int = 0
    """Those that broke the protocol, or asked for what is not possible."""
    stalled: int = 0
    """Those that did not say HELLO, or did not read their answers, in time, or before their place
    was wanted."""
    faults: int = 0
    """Those that met a fault of ours."""


class Sidecar:
    """A listening Unix socket and its connections.

    Parameters
    ----------
    path : path
        Of the socket; made with mode 0600. A socket that nobody listens on any more is replaced.
    max_clients : int
        More are turned away.

    Attributes
    ----------
    stats : SidecarStats
        What happened so far.

    Raises
    ------
    NetworkError
        If something else is there, another server listens, or the path cannot be bound.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_clients: int = MAX_CLIENTS,
        open_stream: Opener = EmbeddedStream,
    ) -> None:
        self.path = Path(path)
        self.stats = SidecarStats()
        self._open = open_stream
        self._max_clients = max_clients
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._silent: dict[socket.socket, None] = {}
        """Those of them that have not said HELLO, the oldest first."""
        self._displaced: set[socket.socket] = set()
        self._most = 0
        """Connections at a time, since memory was last given back."""
        self._stopping = threading.Event()
        self._listener = listen_at(self.path)
        self._identity = identity_of(self.path)

    @property
    def clients(self) -> int:
        """Connections that are open."""
        with self._lock:
            return len(self._clients)

    def serve(
        self, *, duration_s: float = math.inf, each_turn: Callable[[], object] = lambda: None
    ) -> None:
        """Serve until the time is over, :meth:`stop`, SIGTERM or SIGINT.

        ``each_turn`` is called at least ten times a second.
        What has been received by then is answered. A second signal ends at once.
        """
        end_s = time.monotonic() + duration_s
        with stop_signals() as signals, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not (signals or self._stopping.is_set()) and time.monotonic() < end_s:
                wait_s = min(_LONGEST_WAIT_S, end_s - time.monotonic())
                is_asked = selector.select(max(0.0, wait_s))
                try:
                    if is_asked:
                        self._accept()
                    self._give_back()
                    each_turn()
                except Exception as error:  # the clients that are here are served on
                    self._tell("the server", error)
                    self.stats.faults += 1
                    time.sleep(_TURN_S)
            self.close()
            drained_s = time.monotonic() + _DRAIN_S
            while self.clients and len(signals) < 2 and time.monotonic() < drained_s:
                time.sleep(0.01)

    def _tell(self, who: str, error: Exception) -> None:
        """Report the first fault; count the others."""
        if not self.stats.faults:
            sys.stderr.write(f"plc: {who} met a fault: {error!r}\n")

    def stop(self) -> None:
        """Make :meth:`serve` come to its end, from another thread."""
        self._stopping.set()

    def close(self) -> None:
        """Stop listening, remove the socket, and end every connection."""
        self._listener.close()
        if identity_of(self.path) == self._identity:
            with contextlib.suppress(OSError):
                self.path.unlink()
        with self._lock:
            for connection in self._clients:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)

    def _give_back(self) -> None:
        """Return memory to the system when half of its users have left.

        The C library keeps what threads free for the next ones.
        """
        clients = self.clients
        self._most = max(self._most, clients)
        if self._most and clients <= self._most // 2:
            self._most = clients
            _trim()

    def _accept(self) -> None:
        with self._lock:
            crowded = len(self._displaced) >= self._max_clients
        if crowded:  # who connects waits with the system until the threads of those have ended
            time.sleep(_TURN_S)
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:  # gone already; or no descriptor is free, which others' ends will mend
            time.sleep(0.01)
            return
        connection.setblocking(True)
        with self._lock:
            full = len(self._clients) - len(self._displaced) >= self._max_clients
            if full:
                full = not self._displace()
            if not full:
                self._silent[connection] = None
                thread = threading.Thread(
                    target=self._attend, args=(connection,), name="plc-client", daemon=True
                )
                self._clients[connection] = thread
        if full:
            self.stats.turned_away += 1
            text = f"{self._max_clients} clients are connected, which is the most allowed here"
            with contextlib.suppress(OSError), connection:
                connection.setblocking(False)
                connection.send(wire.pack_error(wire.Code.BUSY, text))
            return
        self.stats.clients += 1
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self.stats.faults += 1
            with self._lock:
                del self._clients[connection]
                self._silent.pop(connection, None)
            connection.close()

    def _displace(self) -> bool:
        """Let the oldest that has not said HELLO give way; return whether there was one.

        Its thread ends in its own time; :meth:`_accept` waits where these become too many.
        """
        if not self._silent:
            return False
        oldest = next(iter(self._silent))
        del self._silent[oldest]
        self._displaced.add(oldest)
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)
        return True

    def _attend(self, connection: socket.socket) -> None:
        """Hold one conversation; no error leaves it."""

        def open_stream(config: EmbeddedConfig) -> EmbeddedStream:
            with self._lock:  # who has said HELLO keeps its place
                self._silent.pop(connection, None)
            return self._open(config)

        conversation = Conversation(open_stream)
        try:
            with connection:
                outcome = self._converse(connection, conversation)
        except (BrokenPipeError, ConnectionResetError):
            outcome = "vanished"
        except OSError:  # the time to send or receive is over
            outcome = "stalled"
        except Exception as error:
            outcome = "faults"
            self._tell("a client", error)
        finally:
            leave()
            conversation.close()
            with self._lock:
                del self._clients[connection]
                self._silent.pop(connection, None)
                if connection in self._displaced:
                    self._displaced.discard(connection)
                    outcome = "stalled"
        with self._lock:
            setattr(self.stats, outcome, getattr(self.stats, outcome) + 1)

    def _converse(self, connection: socket.socket, conversation: Conversation) -> str:
        greet_by_s = time.monotonic() + _HELLO_S
        _limit_time(connection, socket.SO_SNDTIMEO, _ANSWER_S)
        reader = conversation.reader
        greeted = False
        last: bytes | bytearray = b""
        while True:
            if not greeted:
                # A HELLO that comes byte by byte has no more time than one that does not come.
                left_s = greet_by_s - time.monotonic()
                if left_s < _LEAST_WAIT_S:
                    return "stalled"
                _limit_time(connection, socket.SO_RCVTIMEO, left_s)
            count = connection.recv_into(reader.room())
            if count == 0:
                if not greeted or reader.waiting:
                    return "vanished"
                connection.sendall(conversation.goodbye())
                return "ended"
            reader.came(count)
            try:
                while (answer := conversation.answer()) is not None:
                    connection.sendall(answer)
                    last = answer
            except (OSError, PlcError):
                raise
            except Exception as error:
                with contextlib.suppress(OSError):
                    connection.sendall(wire.pack_error(wire.Code.INTERNAL, repr(error)))
                raise
            if conversation.done:
                return "ended" if last[4] == wire.FrameKind.BYE else "violations"
            if not greeted and conversation.greeted:
                greeted = True
                take(Level.AUDIO)  # not before: opening a stream computes long
                _limit_time(connection, socket.SO_RCVTIMEO, 0.0)


def run_sidecar(
    path: str | Path,
    *,
    max_clients: int = MAX_CLIENTS,
    duration_s: float = math.inf,
    priority: Wish = "normal",
    announce: Callable[[], None] = lambda: None,
) -> SidecarStats:
    """Serve at ``path`` until asked to end; return the counters.

    Everything is compiled and the models are loaded before the socket is there: a client that can
    connect need not wait for it. For a process of its own: it changes how often threads take
    turns, and takes what is loaded out of the garbage collector's sight.

    Raises
    ------
    NetworkError
        As :class:`Sidecar`.
    """
    warm_up()
    prepare(EmbeddedConfig())
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    sidecar = Sidecar(path, max_clients=max_clients)
    with Priority(priority) as asked:
        announce()
        try:
            sidecar.serve(duration_s=duration_s, each_turn=asked.tend)
        finally:
            sidecar.close()
    return sidecar.stats


def _trim() -> None:
    """Return glibc's free memory to the system; other C libraries do so themselves."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


def _limit_time(connection: socket.socket, option: int, limit_s: float) -> None:
    """Let the kernel end a wait, which costs a call nothing; 0: wait for ever."""
    seconds = int(limit_s)
    microseconds = int(1e6 * (limit_s - seconds))
    connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, microseconds))
