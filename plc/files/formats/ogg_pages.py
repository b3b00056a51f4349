"""Ogg files of Opus or Vorbis with damaged or absent pages: every other packet stays at its place.

A page says which samples it ends at, what number it has, and a checksum. Decoders pass over a page
whose checksum is wrong, so that what follows comes too soon. Here the stream is written anew, with
packets of silence for the samples that are missing between two pages::

    file      page 0 │ page 1 │ #damaged# │ page 3 │ …
    packets   a b c  │ d e f  │           │ k l m  │
    written   a b c    d e f    - - - -     k l m    …
    samples   ..................│ NaN     │ ...      as many as position 3 says

Opus needs the packet before to decode one, Vorbis overlaps with it: the first packet behind a hole
counts as missing with it.

Recordings that stand one behind another in a file (a chain) are taken apart, as most decoders read
no more than the first.

References
----------
RFC 3533 (Ogg), RFC 6716 and 7845 (Opus); "Vorbis I", clauses 4.2 and 4.3.
"""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from plc import notice
from plc.files.containers import ogg
from plc.files.formats.mp3_frames import Mended

_OPUS_HEAD, _OPUS_TAGS = b"OpusHead", b"OpusTags"
_VORBIS_HEAD, _VORBIS_TAGS, _VORBIS_SETUP = b"\x01vorbis", b"\x03vorbis", b"\x05vorbis"
_FILE_BYTES_MAX = 1 << 30
# A stretch of more is no damage: positions of another recording. A stream that was taken while it
# ran begins anywhere.
_LOST_MOST_S, _LOST_MOST_AT_BEGIN_S = 600, 10


@dataclass(slots=True)
class _Packet:
    """A packet of audio.

    Attributes
    ----------
    data : bytes, all of it
    position : int, where it ends, if its page says so
    hole : bool, whether a page is missing before it
    last : bool, whether it is the last one, which may be cut at its end
    """

    data: bytes
    position: int = ogg.NO_POSITION
    hole: bool = False
    last: bool = False


class _Opus:
    """Packets of Opus; the first byte states their length."""

    rate: int = 48_000

    def __init__(self, headers: Sequence[bytes]) -> None:
        head = headers[0]
        self.skipped = int.from_bytes(head[10:12], "little")
        self._streams = head[19] if head[18] else 1
        tags = [each for each in headers if each.startswith(_OPUS_TAGS)]
        self.headers = [head, tags[0] if tags else _OPUS_TAGS + bytes(8)]

    def samples(self, before: bytes | None, packet: bytes) -> int:
        count = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[packet[0] & 3]
        return count * _frame_samples(packet[0])

    def silence(
        self, before: bytes | None, behind: bytes, samples: int, least: bool
    ) -> list[bytes]:
        """Return packets for missing samples: frames of no bytes, which the decoder conceals."""
        like = (before or behind)[0] & 0xFC
        frame = _frame_samples(like)
        count = -(-samples // frame) if least else round(samples / frame)
        return [bytes((like, 0)) * (self._streams - 1) + bytes((like,))] * max(0, count)


def _frame_samples(first: int) -> int:
    config = first >> 3
    if config >= 16:
        return 120 << (config & 3)
    if config >= 12:
        return 480 << (config & 1)
    return (480, 960, 1920, 2880)[config & 3]


class _Vorbis:
    """Packets of Vorbis: blocks of two lengths, each overlapping with the next by half."""

    skipped = 0

    def __init__(self, headers: Sequence[bytes]) -> None:
        by_kind = {header[:7]: header for header in reversed(headers)}
        head, setup = by_kind[_VORBIS_HEAD], by_kind[_VORBIS_SETUP]
        self.rate = int.from_bytes(head[12:16], "little")
        self._channels = head[11]
        self._blocks = 1 << (head[28] & 15), 1 << (head[28] >> 4)
        self._long = _modes(setup)
        self._mode_bits = (len(self._long) - 1).bit_length()
        self.headers = [head, by_kind.get(_VORBIS_TAGS, _VORBIS_TAGS + bytes(8) + b"\1"), setup]

    def _block(self, packet: bytes) -> int:
        mode = packet[0] >> 1 & (1 << self._mode_bits) - 1
        return self._blocks[mode < len(self._long) and self._long[mode]]

    def samples(self, before: bytes | None, packet: bytes) -> int:
        return 0 if before is None else (self._block(before) + self._block(packet)) // 4

    def silence(
        self, before: bytes | None, behind: bytes, samples: int, least: bool
    ) -> list[bytes]:
        mode = self._long.index(min(self._long))
        # No window, no floor of any channel; of a long block its neighbours' lengths, too.
        beside = 3 << self._mode_bits + 1 if self._long[mode] else 0
        silent = (mode << 1 | beside).to_bytes(2, "little") + bytes(1 + self._channels // 8)
        first = [] if before is not None else [silent]
        step = self._blocks[self._long[mode]] // 2
        left = samples - (self._block(before or silent) + self._block(behind)) // 4
        count = -(-left // step) if least else round(left / step)
        return first + [silent] * max(0, count)


_Coding = _Opus | _Vorbis


def _modes(setup: bytes) -> list[bool]:
    """Return of each mode whether its block is the long one; they stand at the header's end."""
    bits = int.from_bytes(setup, "little")
    at = bits.bit_length() - 1
    long: list[bool] = []
    found: list[bool] = []
    while at >= 97 and len(long) < 64:
        mode = bits >> at - 41 & (1 << 41) - 1
        if mode >> 33 > 63 or mode >> 1 & 0xFFFFFFFF:
            break
        long.append(bool(mode & 1))
        at -= 41
        if (bits >> at - 6 & 63) + 1 == len(long):
            found = long[::-1]
    if not found:
        raise ValueError("no modes")
    return found


def mend(path: Path) -> Mended | None:
    """Return a damaged or chained Ogg file mended; None if sound or not readable."""
    with path.open("rb") as file:
        if file.read(4) != ogg.MARK:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) > _FILE_BYTES_MAX:
                return None
            pages = _intact(data)
    if not pages or not pages[0].flags & ogg.FIRST:
        return None
    links = list(_links(pages))
    if not links:
        return None
    if len({page.stream for page in pages} - {link[0].stream for link in links}):
        notice.tell_once(f"{path} holds sound whose first page is missing: that is left out")
    if not all(link[-1].flags & ogg.LAST for link in links):
        notice.tell_once(
            f"{path} has no last page: its end may be missing; it is read as far as it goes"
        )
    mended = [_mended(link) for link in links]
    # libsndfile gets no length of a file that holds more than one stream.
    if len(links) == 1 and len(links[0]) == len(pages):
        return mended[0]
    first, *others = [
        Mended(b"".join(page.packed() for page in link), ()) if each is None else each
        for each, link in zip(mended, links, strict=True)
    ]
    return replace(first, behind=tuple(others))


def _links(pages: Sequence[ogg.Page]) -> Iterator[list[ogg.Page]]:
    """Yield the pages of each recording; nothing where streams begin together, as in a film."""
    begins = [k for k, page in enumerate(pages) if page.flags & ogg.FIRST]
    if begins[1:2] == [1]:
        return
    for start, stop in pairwise([*begins, len(pages)]):
        yield [page for page in pages[start:stop] if page.stream == pages[start].stream]


def _intact(data: mmap.mmap | bytes) -> list[ogg.Page]:
    pages = []
    at = data.find(ogg.MARK)
    while at >= 0:
        head = data[at : at + ogg.HEAD.size]
        stop = at + len(ogg.MARK)
        if len(head) == ogg.HEAD.size and head[4] == 0:
            _, _, flags, position, stream, number, _, count = ogg.HEAD.unpack(head)
            begin = at + ogg.HEAD.size + count
            segments = data[at + ogg.HEAD.size : begin]
            end = begin + sum(segments)
            if end <= len(data) and ogg.is_intact(data[at:end]):
                content = data[begin:end]
                pages.append(ogg.Page(flags, position, stream, number, segments, content))
                stop = end
        at = data.find(ogg.MARK, stop)
    return pages


def _packets(pages: Sequence[ogg.Page]) -> Iterator[_Packet]:
    begun: bytes | None = None
    expected, hole = pages[0].number, False
    for page in pages:
        pieces = list(_pieces(page))
        hole |= page.number != expected
        expected = page.number + 1
        if begun is not None and (hole or not page.flags & ogg.CONTINUED):
            begun, hole = None, True
        if page.flags & ogg.CONTINUED and begun is None and pieces:
            # Its beginning is missing.
            hole = True
            if not pieces.pop(0)[1]:
                continue
        ends = sum(whole for _, whole in pieces)
        for piece, whole in pieces:
            begun = piece if begun is None else begun + piece
            if not whole:
                continue
            ends -= 1
            position = ogg.NO_POSITION if ends else page.position
            yield _Packet(begun, position, hole, bool(page.flags & ogg.LAST) and not ends)
            begun, hole = None, False


def _pieces(page: ogg.Page) -> Iterator[tuple[bytes, bool]]:
    at = begin = 0
    for length in page.segments:
        at += length
        if length < ogg.SEGMENTS_MAX:
            yield page.content[begin:at], True
            begin = at
    if begin < at or (page.segments and page.segments[-1] == ogg.SEGMENTS_MAX):
        yield page.content[begin:at], False


def _coding(packets: list[_Packet]) -> _Coding | None:
    """Return the coding of a stream; None if headers are missing.

    They are taken from the packets.
    """
    of: type[_Opus] | type[_Vorbis] = _Vorbis
    kinds: tuple[bytes, ...] = (_VORBIS_HEAD, _VORBIS_TAGS, _VORBIS_SETUP)
    if packets and packets[0].data.startswith(_OPUS_HEAD):
        of, kinds = _Opus, (_OPUS_HEAD, _OPUS_TAGS)
    headers, hole = [], False
    while packets and packets[0].data.startswith(kinds):
        hole |= packets[0].hole
        headers.append(packets.pop(0).data)
    # Packets of no bytes are none.
    packets[:] = [packet for packet in packets if packet.data]
    if packets:
        packets[0].hole |= hole
    try:
        return of(headers)
    except (LookupError, ValueError):
        return None


def _mended(link: Sequence[ogg.Page]) -> Mended | None:
    """Write a stream anew, with silence where packets are missing; None if none are."""
    packets = list(_packets(link))
    coding = _coding(packets)
    if coding is None:
        return None
    made = _Made(coding)
    for group in _groups(packets):
        made.append(group)
    if not made.harmed:
        return None
    stream = link[0].stream
    pages = list(ogg.pages_of([(coding.headers[0], 0)], stream, 0))
    pages[0] = pages[0]._replace(flags=ogg.FIRST)
    for part in ([(header, 0) for header in coding.headers[1:]], made.positions()):
        pages += ogg.pages_of(part, stream, len(pages))
    pages[-1] = pages[-1]._replace(flags=pages[-1].flags | ogg.LAST)
    offset = made.lead + coding.skipped
    missing = [(max(0, start - offset), stop - offset) for start, stop in made.missing]
    inside = tuple((start, stop) for start, stop in missing if stop > 0)
    return Mended(b"".join(page.packed() for page in pages), inside, coding.rate)


def _groups(packets: Sequence[_Packet]) -> Iterator[list[_Packet]]:
    group: list[_Packet] = []
    for packet in packets:
        group.append(packet)
        if packet.position != ogg.NO_POSITION:
            yield group
            group = []
    if group:
        yield group


class _Made:
    """A stream as it is written anew.

    Attributes
    ----------
    harmed : bool, whether anything is missing
    missing : list of (int, int), where, in samples from the first that is decoded
    lead : int, samples that the file's first position leaves out
    """

    def __init__(self, coding: _Coding) -> None:
        self.coding = coding
        self.harmed = False
        self.missing: list[tuple[int, int]] = []
        self.lead = 0
        self._written: list[tuple[bytes, int]] = []
        self._before: bytes | None = None
        self._done = 0
        self._told: int | None = None
        """Position of the last packet, as the file says."""

    def positions(self) -> list[tuple[bytes, int]]:
        return [(packet, max(0, end - self.lead)) for packet, end in self._written]

    def append(self, group: Sequence[_Packet]) -> None:
        self.harmed |= any(packet.hole for packet in group)
        self._close(group)
        absent, start = self._absent(group), self._done
        for packet in group:
            begin = self._done
            # Nothing is missing before the first packet where tags alone are damaged.
            harmed = packet.hole and (absent > 0 or self._before is not None)
            if packet.hole and absent > 0:
                least = group[-1].last
                for silent in self.coding.silence(self._before, packet.data, absent, least):
                    self._take(silent)
                absent = 0
            self._take(packet.data)
            if harmed:
                self.missing.append((begin, self._done))
        end = group[-1].position
        if group[-1].last and end != ogg.NO_POSITION:
            # Where the sound ends in its last packet.
            stop = start + end - (self._told or 0)
            packet_data, done = self._written[-1]
            self._written[-1] = packet_data, min(done, max(start, stop))
        self._told = end

    def _close(self, group: Sequence[_Packet]) -> None:
        """Close holes that page numbers alone state: by its end, the group has all samples."""
        whole = self._held([replace(packet, hole=False) for packet in group])
        beyond = sum(whole) - group[-1].position + (self._told or 0)
        if self._told is not None and 0 <= beyond <= whole[-1] * group[-1].last:
            for packet in group:
                packet.hole = False

    def _take(self, packet: bytes) -> None:
        self._done += self.coding.samples(self._before, packet)
        self._before = packet
        self._written.append((packet, self._done))

    def _absent(self, group: Sequence[_Packet]) -> int:
        """Return how many samples are missing in a group; mark where if no page number does."""
        end, held = group[-1].position, self._held(group)
        if end == ogg.NO_POSITION:
            return 0
        begins = self._told is None
        absent = end - (self._told or 0) - sum(held)
        if begins and absent < 0 and not group[-1].last:
            self.lead = -absent
        most = self.coding.rate * (_LOST_MOST_AT_BEGIN_S if begins else _LOST_MOST_S)
        if not any(packet.hole for packet in group) and not begins and max(held) <= absent <= most:
            group[0].hole = self.harmed = True
            absent = end - (self._told or 0) - sum(self._held(group))
        return absent if 0 < absent <= most else 0

    def _held(self, group: Sequence[_Packet]) -> list[int]:
        """Return the samples that each packet adds; an overlap with a missing one is missing."""
        held, before = [], self._before
        for packet in group:
            held.append(self.coding.samples(None if packet.hole else before, packet.data))
            before = packet.data
        return held
