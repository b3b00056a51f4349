"""A client of ``plc serve`` in Python: an example of the protocol, used by tests."""

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any, Self

import numpy as np

from plc.embed import wire
from plc.embed.served_stream import EmbeddedConfig, Flag, as_packet
from plc.engine.samples import Packet
from plc.errors import ConfigError, NetworkError, PacketError, not_copied

_ANSWER_S = 30.0
# A server whose queue of connections is full is asked again after this time.
_QUEUE_S = 0.01
_ANSWERS = (wire.FrameKind.AUDIO, wire.FrameKind.REPORT)


class Client:
    """One stream in a server's process; a context manager.

    Parameters
    ----------
    path : path
        Of the server's socket.
    config : EmbeddedConfig
        Of the stream.
    timeout_s : float
        Longest wait for an answer.

    Raises
    ------
    NetworkError
        If nobody listens there, or the server is gone; from the methods, too.
    ConfigError
        If the server does not open such a stream.
    WireError
        If its answer breaks the protocol.
    """

    def __init__(
        self, path: str | Path, config: EmbeddedConfig, timeout_s: float = _ANSWER_S
    ) -> None:
        self.config = config
        self._sequence = 0
        self._reader = wire.FrameReader(wire.TEXT_LIMIT)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._connect(str(path), timeout_s)
            with contextlib.suppress(BrokenPipeError):  # turned away already: the answer says why
                self._socket.sendall(wire.pack_hello(config))
            self.delay, size = wire.parse_ready(self._receive(wire.FrameKind.READY).payload)
        except OSError as error:
            self._socket.close()
            if isinstance(error, NetworkError):
                raise
            reason = error.strerror or str(error)
            raise NetworkError(f"no server at {path}: {reason}; start plc serve") from error
        except Exception:
            self._socket.close()
            raise
        if size != config.packet_bytes:
            self._socket.close()
            raise wire.WireError(f"the server takes packets of {size} bytes, not of this stream")
        tail = self.delay * config.stream.channels * config.format.dtype.itemsize
        self._reader.allow(max(wire.TEXT_LIMIT, size, tail))
        self._frame = bytearray(wire.HEADER.size + size)
        self._packet = as_packet(memoryview(self._frame)[wire.HEADER.size :], config)

    __reduce_ex__ = not_copied("connect another of the same config")

    def _connect(self, path: str, timeout_s: float) -> None:
        """Connect; retry while the server's queue is full."""
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                self._socket.connect(path)
                return
            except BlockingIOError:  # with a time limit a full queue is no reason to wait
                if time.monotonic() >= end_s:
                    raise
                time.sleep(_QUEUE_S)

    def push(self, packet: Packet | None) -> tuple[Packet, Flag]:
        """Send a packet, None if lost; return the packet to play, and its flags.

        Raises
        ------
        PacketError
            If the packet is not of the stream's shape and dtype.
        """
        if packet is None:
            self._send(wire.pack(wire.FrameKind.PUSH, flags=wire.LOST, sequence=self._next()))
        else:
            if packet.shape != self._packet.shape or packet.dtype != self._packet.dtype:
                raise PacketError(
                    f"packet is {packet.dtype} {packet.shape}; this stream takes "
                    f"{self._packet.dtype} {self._packet.shape}"
                )
            size = self.config.packet_bytes
            wire.HEADER.pack_into(self._frame, 0, size, wire.FrameKind.PUSH, 0, 0, self._next())
            self._packet[:] = packet
            self._send(self._frame)
        answer = self._receive(wire.FrameKind.AUDIO)
        return as_packet(answer.payload, self.config).copy(), Flag(answer.flags)

    def stats(self) -> dict[str, Any]:
        """Return the stream's counters."""
        self._send(wire.pack(wire.FrameKind.ASK, sequence=self._next()))
        counters: dict[str, Any] = json.loads(bytes(self._receive(wire.FrameKind.REPORT).payload))
        return counters

    def end(self) -> Packet:
        """End the stream; return the samples of its lookahead, shape (delay, channels)."""
        self._send(wire.pack(wire.FrameKind.END, sequence=self._next()))
        payload = self._receive(wire.FrameKind.BYE).payload
        self.close()
        if not payload:
            return np.empty((0, self.config.stream.channels), self.config.format.dtype)
        return as_packet(payload, self.config).copy()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self.close()

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) % 2**32
        return self._sequence

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # why it hung up is in what there is to read
        except OSError as error:
            raise NetworkError(f"the server does not read: {error}") from error

    def _receive(self, kind: wire.FrameKind) -> wire.WireFrame:
        frame = self._read()
        while frame.kind in _ANSWERS and 0 < (self._sequence - frame.sequence) % 2**32 < 2**31:
            frame = self._read()  # that answered a call which an exception has ended
        if frame.kind is wire.FrameKind.ERROR:
            code, text = wire.parse_error(frame.payload)
            raise ConfigError(text) if code == wire.Code.SETTINGS else NetworkError(text)
        if frame.kind is wire.FrameKind.BYE is not kind:
            raise NetworkError("the server has come to its end")
        if frame.kind is not kind:
            raise wire.WireError(f"the server answered {frame.kind.name}; expected {kind.name}")
        if kind in _ANSWERS and frame.sequence != self._sequence:
            raise wire.WireError(f"answer to call {frame.sequence}, not to {self._sequence}")
        return frame

    def _read(self) -> wire.WireFrame:
        while (frame := self._reader.next()) is None:
            try:
                count = self._socket.recv_into(self._reader.room())
            except OSError as error:
                raise NetworkError(f"the server does not answer: {error}") from error
            if count == 0:
                raise NetworkError("the server hung up")
            self._reader.came(count)
        return frame
