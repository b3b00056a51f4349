"""Pages of Ogg: read, checked, and written.

A page carries a number, and a checksum: the CRC of zlib, of bytes whose bits are read the other way
round, which is as fast. Packets lie in pages one behind another, each in segments of 255 bytes of
which the last is shorter.

References
----------
RFC 3533 (Ogg).
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MARK = b"OggS"
# A page: mark, version, flags, position, stream, number, checksum, lengths.
HEAD = struct.Struct("<4sBBqIIIB")
CONTINUED, FIRST, LAST = 1, 2, 4
SEGMENTS_MAX = 255
NO_POSITION = -1
"""Of a page on which no packet ends."""
_CHECKSUM_AT = 22
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """A page without its checksum."""

    flags: int
    position: int
    """Of the end of the last packet that ends on it, in samples of its coding."""
    stream: int
    number: int
    segments: bytes
    """Lengths of its segments."""
    content: bytes

    def packed(self) -> bytes:
        """Return the page as it is stored."""
        fields = MARK, 0, self.flags, self.position, self.stream, self.number
        count = len(self.segments)
        rest = self.segments + self.content
        check = checksum(HEAD.pack(*fields, 0, count) + rest)
        return HEAD.pack(*fields, check, count) + rest


def pages_of(packets: Sequence[tuple[bytes, int]], stream: int, number: int) -> Iterator[Page]:
    """Yield the pages of packets.

    Parameters
    ----------
    packets : sequence of (bytes, int), each with the position of its end
    stream, number : int, of the first page
    """
    lengths = [_lengths(len(packet)) for packet, _ in packets]
    ends = [
        end
        for each, (_, position) in zip(lengths, packets, strict=True)
        for end in (*(NO_POSITION,) * (len(each) - 1), position)
    ]
    joined, data = b"".join(lengths), b"".join(packet for packet, _ in packets)
    flags = at = first = 0
    while first < len(joined):
        segments = joined[first : first + SEGMENTS_MAX]
        # libsndfile finds no place on a last page that begins within a packet.
        if whole := len(segments.rstrip(b"\xff")):
            segments = segments[:whole]
        size = sum(segments)
        ended = [end for end in ends[first : first + len(segments)] if end != NO_POSITION]
        position = ended[-1] if ended else NO_POSITION
        yield Page(flags, position, stream, number, segments, data[at : at + size])
        at += size
        first += len(segments)
        number += 1
        flags = CONTINUED if segments[-1] == SEGMENTS_MAX else 0


def _lengths(size: int) -> bytes:
    return b"\xff" * (size // SEGMENTS_MAX) + bytes([size % SEGMENTS_MAX])


def is_intact(page: bytes) -> bool:
    """Return whether a stored page has the checksum that it says."""
    told = int.from_bytes(page[_CHECKSUM_AT : _CHECKSUM_AT + 4], "little")
    return told == checksum(page[:_CHECKSUM_AT] + bytes(4) + page[_CHECKSUM_AT + 4 :])


def checksum(page: bytes) -> int:
    """Return the CRC of a page: polynomial 0x04c11db7, highest bit first, from 0."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
