"""Frames of the sidecar's protocol: bytes to frames and back, without a socket.

Everything is little-endian. A *frame* is a header of 12 bytes and its payload::

     0        4       5       6          8           12
     ├────────┼───────┼───────┼──────────┼───────────┼──────────────
     │ bytes  │ kind  │ flags │ 0        │ sequence  │ payload
     │ u32    │ u8    │ u8    │ u16      │ u32       │ `bytes` long

The client speaks first and gets one answer to each frame, in order, with the same sequence number:

=====  ======  ================================  ===========================================
kind   name    payload                           answer
=====  ======  ================================  ===========================================
1      HELLO   the stream's settings             READY, or ERROR
2      PUSH    a packet; none with flag 1, LOST  AUDIO
3      ASK     none                              REPORT
4      END     none                              BYE, and the connection is closed
129    READY   version, delay, packet bytes
130    AUDIO   a packet; flags say what it is
131    REPORT  the counters, JSON
132    BYE     what the lookahead held
255    ERROR   u16 code, then UTF-8 text         (the connection is closed)
=====  ======  ================================  ===========================================

A HELLO, 36 bytes and two names::

    "PLC1"                              4 bytes   magic, with the version
    sample rate, packet samples, seed   u32 each
    lookahead                           u16
    channels, format                    u8 each   format 1: float32, 2: int16; 16 more: music,
                                                  32: speech, 128: dropouts are detected
    budget in ms                        f64       NaN: a quarter of the packet; infinite: no limit
    length of the method, of the model  u32 each  at most 255; 0: auto
    method, model                       UTF-8

The parser is total: any bytes, cut anywhere, give frames or one :class:`WireError`, and never take
more memory than the longest frame that is allowed.
"""

import math
import struct
from enum import IntEnum
from typing import NamedTuple

from plc.embed.served_stream import EmbeddedConfig, Format
from plc.engine.config import CONTENTS, StreamConfig
from plc.errors import ConfigError, PlcError

VERSION = 1
MAGIC = b"PLC1"
HEADER = struct.Struct("<IBBHI")
_CONTENT, _DETECT_DROPOUTS = 16, 128
LOST = 1
"""Flag of a PUSH: the packet is lost, and the payload empty."""
_HELLO = struct.Struct("<4sIIIHBBdII")
_READY = struct.Struct("<HHII")
_CODE = struct.Struct("<H")
_LONGEST_NAME = 255
HELLO_LIMIT = _HELLO.size + 2 * _LONGEST_NAME
"""Longest payload of a HELLO, and of anything before it."""
TEXT_LIMIT = 1 << 16
"""Longest payload of a REPORT or an ERROR."""


class FrameKind(IntEnum):
    """Kind of a frame."""

    HELLO = 1
    PUSH = 2
    ASK = 3
    END = 4
    READY = 129
    AUDIO = 130
    REPORT = 131
    BYE = 132
    ERROR = 255


class Code(IntEnum):
    """Reason for which the server ends a connection."""

    PROTOCOL = 1
    """The client's bytes are no frame that may come here."""
    VERSION = 2
    """The HELLO is not of this version."""
    SETTINGS = 3
    """The stream cannot be opened like that."""
    BUSY = 4
    """There are as many clients as are allowed."""
    INTERNAL = 5
    """A fault of the server's own."""


class WireError(PlcError, ValueError):
    """Bytes that break the protocol.

    Attributes
    ----------
    code : Code
        Which rule.
    """

    def __init__(self, message: str, code: Code = Code.PROTOCOL) -> None:
        super().__init__(message)
        self.code = code


class WireFrame(NamedTuple):
    """One frame; its payload is a view into the reader, good until that reads on."""

    kind: FrameKind
    flags: int
    sequence: int
    payload: memoryview


_KINDS = {int(kind): kind for kind in FrameKind}


class FrameReader:
    """Bytes, as they come, to frames.

    Parameters
    ----------
    limit : int
        Longest payload that is taken.
    """

    def __init__(self, limit: int) -> None:
        self._begin = 0
        self._end = 0
        self._memory = memoryview(bytearray(HEADER.size + limit))
        self._limit = limit

    @property
    def waiting(self) -> int:
        """Bytes received beyond the frames returned."""
        return self._end - self._begin

    def allow(self, limit: int) -> None:
        """Take payloads of up to ``limit`` bytes from here on."""
        kept = self._memory[self._begin : self._end]
        memory = memoryview(bytearray(max(HEADER.size + limit, len(kept))))
        memory[: len(kept)] = kept
        self._begin, self._end, self._memory, self._limit = 0, len(kept), memory, limit

    def room(self) -> memoryview:
        """Return memory for the next bytes received, empty only if frames wait."""
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin:
            kept = bytes(self._memory[self._begin : self._end])
            self._memory[: len(kept)] = kept
            self._begin, self._end = 0, len(kept)
        return self._memory[self._end :]

    def came(self, count: int) -> None:
        """Count bytes that were written to the beginning of the room."""
        self._end += count

    def next(self) -> WireFrame | None:
        """Return the next whole frame; None until it is complete.

        Raises
        ------
        WireError
            If the bytes are not a frame; nothing can be read after that.
        """
        waiting = self._end - self._begin
        if waiting < HEADER.size:
            return None
        length, number, flags, zero, sequence = HEADER.unpack_from(self._memory, self._begin)
        kind = _KINDS.get(number)
        if kind is None or zero:
            raise WireError(f"frame of kind {number} with {zero} where 0 belongs; no such frame")
        if length > self._limit:
            raise WireError(f"{kind.name} of {length} bytes; at most {self._limit} here")
        if waiting < HEADER.size + length:
            return None
        begin = self._begin + HEADER.size
        self._begin = begin + length
        return WireFrame(kind, flags, sequence, self._memory[begin : begin + length])


def pack(kind: FrameKind, payload: bytes = b"", *, flags: int = 0, sequence: int = 0) -> bytes:
    """Return a frame's bytes."""
    return HEADER.pack(len(payload), kind, flags, 0, sequence) + payload


def pack_hello(config: EmbeddedConfig) -> bytes:
    """Return the HELLO that opens such a stream.

    Raises
    ------
    ConfigError
        If a setting has no place in a HELLO.
    """
    stream = config.stream
    budget_ms = math.nan if stream.budget_ms is None else stream.budget_ms
    method, model = stream.method.encode(), stream.model.encode()
    if max(len(method), len(model)) > _LONGEST_NAME:
        raise ConfigError(f"a method or model of more than {_LONGEST_NAME} bytes cannot be named")
    try:
        fixed = _HELLO.pack(
            MAGIC,
            stream.sample_rate,
            stream.packet_samples,
            stream.seed,
            stream.lookahead,
            stream.channels,
            config.format
            + _CONTENT * CONTENTS.index(stream.content)
            + _DETECT_DROPOUTS * stream.detect_dropouts,
            budget_ms,
            len(method),
            len(model),
        )
    except struct.error as error:
        raise ConfigError(f"{config} cannot be sent: {error}") from None
    return pack(FrameKind.HELLO, fixed + method + model)


def parse_hello(payload: bytes | memoryview) -> EmbeddedConfig:
    """Return the settings in a HELLO's payload.

    Raises
    ------
    WireError
        If it is malformed, or of another version.
    ConfigError
        If a setting is out of its range.
    """
    if len(payload) < _HELLO.size:
        raise WireError(f"HELLO of {len(payload)} bytes; at least {_HELLO.size}")
    magic, rate, packet, seed, lookahead, channels, number, budget_ms, method, model = (
        _HELLO.unpack_from(payload)
    )
    if magic != MAGIC:
        raise WireError(f"HELLO begins with {magic!r}; this server speaks {MAGIC!r}", Code.VERSION)
    if max(method, model) > _LONGEST_NAME or len(payload) != _HELLO.size + method + model:
        raise WireError(f"HELLO of {len(payload)} bytes with names of {method} and {model}")
    detect_dropouts = number >= _DETECT_DROPOUTS
    content, number = divmod(number % _DETECT_DROPOUTS, _CONTENT)
    if content >= len(CONTENTS):
        raise WireError(f"content is {content}; 0 is auto, 1 music, 2 speech")
    if number not in tuple(Format):
        raise WireError(f"format is {number}; 1 is float32, 2 is int16")
    names = bytes(payload[_HELLO.size :])
    try:
        chosen, network = names[:method].decode(), names[method:].decode()
    except UnicodeDecodeError as error:
        raise WireError(f"a name in the HELLO is not UTF-8: {error.reason}") from None
    stream = StreamConfig(
        sample_rate=rate,
        channels=channels,
        packet_samples=packet,
        lookahead=lookahead,
        budget_ms=None if math.isnan(budget_ms) else budget_ms,
        seed=seed,
        method=chosen or "auto",
        model=network or "auto",
        content=CONTENTS[content],
        detect_dropouts=detect_dropouts,
    )
    return EmbeddedConfig(stream=stream, format=Format(number))


def pack_ready(delay_samples: int, packet_bytes: int, sequence: int = 0) -> bytes:
    """Return a READY: version u16, 0 u16, delay in samples u32, bytes of a packet u32."""
    payload = _READY.pack(VERSION, 0, delay_samples, packet_bytes)
    return pack(FrameKind.READY, payload, sequence=sequence)


def parse_ready(payload: bytes | memoryview) -> tuple[int, int]:
    """Return the delay in samples and the bytes of a packet.

    Raises
    ------
    WireError
        If it is malformed, or of another version.
    """
    if len(payload) != _READY.size:
        raise WireError(f"READY of {len(payload)} bytes; {_READY.size} in version {VERSION}")
    version, _, delay_samples, packet_bytes = _READY.unpack(payload)
    if version != VERSION:
        raise WireError(f"the server speaks version {version}, this is {VERSION}", Code.VERSION)
    return delay_samples, packet_bytes


def pack_error(code: Code, message: str, sequence: int = 0) -> bytes:
    """Return an ERROR."""
    text = message.encode(errors="replace")[: TEXT_LIMIT - _CODE.size]
    return pack(FrameKind.ERROR, _CODE.pack(code) + text, sequence=sequence)


def parse_error(payload: bytes | memoryview) -> tuple[int, str]:
    """Return an ERROR's code and text; raise WireError if it is malformed."""
    if len(payload) < _CODE.size:
        raise WireError(f"ERROR of {len(payload)} bytes; at least {_CODE.size}")
    return _CODE.unpack_from(payload)[0], bytes(payload[_CODE.size :]).decode(errors="replace")
