"""RTP packets (RFC 3550) and redundant audio (RFC 2198) as bytes.

::

     0               1               2               3
     V=2 P X  CC     M  payload type  sequence number (16 bits)
     timestamp (32 bits, in samples of the stream)
     SSRC (32 bits: which stream)
     CC times a contributing source     [extension: profile, length in words, words]
     payload                            [padding, whose last byte is its length]

Everything that parses is pure and total: whatever bytes come in, what comes out is a packet or a
:class:`Malformed` that says what is wrong with them, so that a receiver can count it. Nothing
raises, and nothing allocates more than the bytes that came in.
"""

import struct
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

HEADER_BYTES = 12
SEQUENCE_BITS = 16
TIMESTAMP_BITS = 32

_VERSION = 2
_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")
# RFC 5761, section 4: with RTP and RTCP on one port, a second byte of 192 to 223 is RTCP's packet
# type; no RTP payload type may make it with the marker set (64 to 95).
_RTCP_TYPES = range(192, 224)
# RFC 2198, section 3: 14 bits of timestamp offset, 10 bits of length.
RED_OFFSET_MAX = 2**14 - 1
RED_LENGTH_MAX = 2**10 - 1
# The standard sets no limit. Senders repeat one to three packets; so many, of 10 ms, are as far
# back as an offset reaches at 48 kHz, and no payload of header after header takes long to refuse.
RED_BLOCKS_MAX = 32


class Malformed(Enum):
    """Reasons why bytes are not RTP or not redundant audio."""

    SHORT = "shorter than a header"
    VERSION = "version is not 2"
    RTCP = "RTCP, not RTP"
    CSRC = "shorter than its list of contributing sources"
    EXTENSION = "shorter than its header extension"
    PADDING = "padding of zero bytes, or longer than the payload"
    RED_HEADER = "redundancy headers without an end"
    RED_LENGTH = "shorter than its redundant blocks"
    RED_BLOCKS = "more redundant blocks than anybody sends"


class RtpPacket(NamedTuple):
    """One RTP packet.

    Attributes
    ----------
    payload_type : int, 0 to 127; what the payload is coded in
    sequence : int, 0 to 65535, one more with each packet
    timestamp : int, 0 to 2³² - 1; that of the first sample, in samples
    ssrc : int, 0 to 2³² - 1
    payload : bytes, without padding
    marker : bool, for audio: the first packet after a silence in which none were sent
    csrcs : tuple of int, contributing sources, at most 15
    """

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False
    csrcs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RedBlock:
    """One block of a redundant payload.

    Attributes
    ----------
    payload_type : int, 0 to 127
    offset : int, samples by which its timestamp lies before the packet's; 0 for the primary block
    payload : bytes, what a packet of its own would have carried
    """

    payload_type: int
    offset: int
    payload: bytes


def parse_rtp(datagram: bytes) -> RtpPacket | Malformed:
    """Return the RTP packet of ``datagram``, or the reason against it."""
    size = len(datagram)
    if size < HEADER_BYTES:
        return Malformed.SHORT
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    if first >> 6 != _VERSION:
        return Malformed.VERSION
    if is_rtcp(datagram):
        return Malformed.RTCP
    sources = first & 15
    begin = HEADER_BYTES + 4 * sources
    if begin > size:
        return Malformed.CSRC
    if first & 0x10:
        extended = _after_extension(datagram, begin)
        if extended is None:
            return Malformed.EXTENSION
        begin = extended
    end = size
    if first & 0x20:
        padding = datagram[-1] if begin < size else 0
        if not 0 < padding <= size - begin:
            return Malformed.PADDING
        end -= padding
    csrcs = struct.unpack_from(f"!{sources}I", datagram, HEADER_BYTES) if sources else ()
    return RtpPacket(
        second & 0x7F, sequence, timestamp, ssrc, datagram[begin:end], second > 0x7F, csrcs
    )


def is_rtcp(datagram: bytes) -> bool:
    """Return whether a datagram is RTCP (RFC 5761)."""
    return len(datagram) > 1 and datagram[1] in _RTCP_TYPES


def ssrc_of(datagram: bytes) -> int:
    """Return the SSRC of an RTP packet, also of an incomplete one."""
    return int.from_bytes(datagram[8:12], "big")


def build_rtp(packet: RtpPacket) -> bytes:
    """Return the bytes of ``packet``, without extension and padding."""
    first = _VERSION << 6 | len(packet.csrcs)
    second = packet.payload_type | packet.marker << 7
    head = _HEADER.pack(first, second, packet.sequence, packet.timestamp, packet.ssrc)
    if packet.csrcs:
        head += struct.pack(f"!{len(packet.csrcs)}I", *packet.csrcs)
    return head + packet.payload


def _after_extension(datagram: bytes, begin: int) -> int | None:
    """Return where the payload begins behind a header extension; None if it is cut off."""
    if begin + _EXTENSION.size > len(datagram):
        return None
    _, words = _EXTENSION.unpack_from(datagram, begin)
    end: int = begin + _EXTENSION.size + 4 * words
    return end if end <= len(datagram) else None


def parse_red(payload: bytes) -> list[RedBlock] | Malformed:
    """Return the blocks of a redundant payload, oldest first.

    A header of a redundant block is four bytes (1, payload type, offset, length), that of the
    primary block one byte (0, payload type); all headers stand before all blocks. More than
    ``RED_BLOCKS_MAX`` redundant blocks are refused, and no more headers are looked at.
    """
    heads: list[tuple[int, int, int]] = []
    at = 0
    while at < len(payload) and payload[at] & 0x80:
        if at + 4 > len(payload):
            return Malformed.RED_HEADER
        if len(heads) == RED_BLOCKS_MAX:
            return Malformed.RED_BLOCKS
        word = int.from_bytes(payload[at : at + 4], "big")
        heads.append((word >> 24 & 0x7F, word >> 10 & RED_OFFSET_MAX, word & RED_LENGTH_MAX))
        at += 4
    if at >= len(payload):
        return Malformed.RED_HEADER
    primary = payload[at]
    at += 1
    if at + sum(length for _, _, length in heads) > len(payload):
        return Malformed.RED_LENGTH
    blocks: list[RedBlock] = []
    for payload_type, offset, length in heads:
        blocks.append(RedBlock(payload_type, offset, payload[at : at + length]))
        at += length
    blocks.append(RedBlock(primary, 0, payload[at:]))
    return blocks


def build_red(blocks: list[RedBlock]) -> bytes:
    """Return the payload of ``blocks``, the primary one last.

    Blocks that a header cannot describe (over 1023 bytes, or 16383 samples old) are left out, and
    the oldest of more than ``RED_BLOCKS_MAX``: redundancy is a favour, not a promise.
    """
    primary = blocks[-1]
    kept = [
        block
        for block in blocks[:-1]
        if 0 < block.offset <= RED_OFFSET_MAX and len(block.payload) <= RED_LENGTH_MAX
    ][-RED_BLOCKS_MAX:]
    heads = b"".join(
        (1 << 31 | block.payload_type << 24 | block.offset << 10 | len(block.payload)).to_bytes(
            4, "big"
        )
        for block in kept
    )
    bodies = b"".join(block.payload for block in kept)
    return heads + bytes([primary.payload_type]) + bodies + primary.payload


def steps_between(before: int, after: int, bits: int = SEQUENCE_BITS) -> int:
    """Return by how many a number of so many bits is ahead of another; below 0: behind."""
    half = 1 << (bits - 1)
    return (after - before + half) % (2 * half) - half


class Unwrapper:
    """Makes numbers that wrap around into ones that do not.

    A number is taken to lie within half a turn of the newest one before it, ahead or behind.

    ``bits`` is the width of the numbers: 16 for sequence numbers, 32 for timestamps.
    """

    __slots__ = ("_half", "_span", "newest")

    def __init__(self, bits: int) -> None:
        self._span = 1 << bits
        self._half = self._span >> 1
        self.newest: int | None = None
        """Largest number returned since the last reset; None before any."""

    def peek(self, number: int) -> int:
        """Return ``number`` unwrapped, without letting it move the newest one."""
        newest = self.newest
        if newest is None:
            return number
        return newest + (number - newest + self._half) % self._span - self._half

    def unwrap(self, number: int) -> int:
        """Return ``number`` unwrapped; it becomes the newest if it is the largest so far."""
        whole = self.peek(number)
        if self.newest is None or whole > self.newest:
            self.newest = whole
        return whole

    def reset(self) -> None:
        """Begin anew: the next number stands for itself."""
        self.newest = None
