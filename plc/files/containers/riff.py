"""Chunks of RIFF, RF64 and AIFF files, where they really lie.

Recorders that lost power, and programs that forget a byte of padding, leave sizes that are not so.
Reading goes on where the next chunk is, and a file whose audio no header describes is read through
a header made for it.

References
----------
EBU Tech 3285 (BWF), EBU Tech 3306 (RF64).
"""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

Order = Literal["little", "big"]

_UNKNOWN = 0xFFFFFFFF
_SIZES = 1 << 32
# No file is longer; a program that did not know the length left all bits set.
_LONGEST = 1 << 62
# From here on a size is the "not known yet" of a program that wrote into a pipe.
UNFINISHED = 0x7FFF0000
# Where the next chunk may begin, from where its predecessor's size says.
_SHIFTS = (0, -1, *range(1, 64))
_HEAD = 8
# Files have some dozens of chunks, and formats of 16 to some hundred bytes; what has more is
# no recording, and would be read for hours, or into memory.
_CHUNKS_MAX = 2000
_FORM_BYTES_MAX = 1 << 16
# Of what lies behind the audio, so much is looked at: zeros are padding.
_LOOKED_AT = 1 << 16
# What may be missing of a file without a word: as much as a header with its own chunks.
HEADER_BYTES = 128


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its name, its content's first byte, and its size.

    ``shift`` says how many bytes before or behind its proper place it begins.
    """

    name: bytes
    start: int
    size: int
    shift: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Place of the audio in a file.

    Attributes
    ----------
    form : bytes, content of the chunk ``fmt``
    start, stop : int, of the audio in the file, in bytes
    missing : int, bytes of audio that were promised and are not there
    behind : int
        Bytes behind the audio that are no chunk and not zero: audio that a header does not count.
    others : int, bytes of the audio in other chunks ``data``, which few programs play
    known : bool, whether any header says where the audio ends
    plain : bool, whether libsndfile finds the audio by the headers as they are
    """

    form: bytes
    start: int
    stop: int
    missing: int
    behind: int
    known: bool
    plain: bool
    others: int = 0

    @property
    def bytes_per_s(self) -> int:
        """Bytes of audio for a second, by the header."""
        return int.from_bytes(self.form[8:12], "little")


def walk(file: BinaryIO, order: Order) -> Iterator[Chunk]:
    """Yield every chunk, 2000 at most.

    Sizes are those of headers: the last chunk may reach beyond the end.
    """
    end = file.seek(0, os.SEEK_END)
    at, long_data = 12, 0
    for _ in range(_CHUNKS_MAX):
        chunk = _next(file, at, end, order)
        if chunk is None:
            return
        size = chunk.size
        if chunk.name == b"ds64":
            file.seek(chunk.start)
            sizes = file.read(16)
            long_data = struct.unpack("<8xQ", sizes)[0] if len(sizes) == 16 else 0
            long_data = long_data if long_data < _LONGEST else 0
        elif chunk.name == b"data" and size == _UNKNOWN and long_data:
            size = long_data
        elif chunk.name == b"data" and _is_open(file, chunk, end):
            size = _UNKNOWN
        yield Chunk(chunk.name, chunk.start, size, chunk.shift)
        at = chunk.start + size + size % 2


def layout(file: BinaryIO) -> Layout | None:
    """Return the place of a WAV file's audio; None if it is not found."""
    end = file.seek(0, os.SEEK_END)
    chunks = list(walk(file, "little"))
    data = [number for number, each in enumerate(chunks) if each.name == b"data"]
    if not data:
        return None
    at = next((number for number in data if chunks[number].size), data[0])
    form, chunk = b"", chunks[at]
    for each in chunks[:at]:
        whole = each.start + each.size <= end
        if each.name == b"fmt " and whole and each.size <= _FORM_BYTES_MAX:
            file.seek(each.start)
            form = file.read(each.size)
    if not form:
        return None
    stop = chunk.start + chunk.size
    known = chunk.size != _UNKNOWN
    # Beyond 4 GB some recorders count on from zero.
    wrapped = stop < end and (end - stop) % _SIZES == 0
    if wrapped or not known:
        stop, missing = end, 0
    else:
        stop, missing = min(stop, end), max(0, stop - end)
    rest = [chunks[number] for number in data if number > at and stop < end]
    others = sum(min(each.size, end - each.start) for each in rest)
    shifted = any(each.shift for each in chunks[: at + 1])
    plain = known and not (wrapped or shifted or rest) and at == data[0]
    behind = _behind(file, stop, end)
    return Layout(form, chunk.start, stop, missing, behind, known, plain, others)


class MendedHead(io.RawIOBase):
    """A file, read from ``start`` to ``stop`` with a header that fits."""

    def __init__(self, path: Path, head: bytes, start: int, stop: int) -> None:
        self.name = str(path)
        self._file = path.open("rb")
        self._head = head
        self._first = start - len(head)
        self._size = len(head) + stop - start
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, into: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill ``into``; return the number of bytes."""
        wanted = min(len(into), max(0, self._size - self._at))
        if self._at < len(self._head):
            data = self._head[self._at : self._at + wanted]
        else:
            self._file.seek(self._at + self._first)
            data = self._file.read(wanted)
        into[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _next(file: BinaryIO, at: int, end: int, order: Order) -> Chunk | None:
    """Return the chunk that begins at a place, or near it.

    First what another chunk or the end follows, then one at its place, then any.
    """
    near: list[Chunk] = []
    for shift in _SHIFTS:
        if shift >= _HEAD and near and near[0].shift == 0 and near[0].start + near[0].size <= end:
            break  # whole, and nothing that overlaps its head is better
        name, size = _named(file, at + shift, end, order)
        if not name:
            continue
        found = Chunk(name, at + shift + 8, size, shift)
        stop = found.start + size
        if name in (b"data", b"SSND"):
            return found
        if any(stop + k == end or _named(file, stop + k, end, order)[0] for k in (size % 2, 0, 1)):
            return found
        if stop <= end or not shift:
            near.append(found)
    return near[0] if near else None


def _named(file: BinaryIO, at: int, end: int, order: Order) -> tuple[bytes, int]:
    """Return name and size of a chunk; an empty name if there is no chunk."""
    if not 12 <= at <= end - 8:
        return b"", 0
    file.seek(at)
    head = file.read(8)
    named = head[:4].strip() and all(32 <= byte < 127 for byte in head[:4])
    return (head[:4] if named else b""), int.from_bytes(head[4:], order)


def _is_open(file: BinaryIO, chunk: Chunk, end: int) -> bool:
    """Return whether the size of the audio was never written."""
    if chunk.size >= UNFINISHED and chunk.start + chunk.size > end:
        return True
    if chunk.size or end - chunk.start < 8:
        return False
    # An empty one may have others behind it.
    name, size = _named(file, chunk.start, end, "little")
    return not name or chunk.start + 8 + size > end


def _behind(file: BinaryIO, stop: int, end: int) -> int:
    if stop >= end or _next(file, stop, end, "little") is not None:
        return 0
    file.seek(stop)
    return end - stop if any(file.read(_LOOKED_AT)) else 0


def head_of(found: Layout) -> bytes:
    """Return a header for the audio."""
    size = found.stop - found.start
    form = struct.pack("<4sI", b"fmt ", len(found.form)) + found.form
    form += b"\0" * (len(form) % 2)
    if size + len(form) + 20 < _UNKNOWN:
        riff = struct.pack("<4sI4s", b"RIFF", size + len(form) + 12, b"WAVE")
        return riff + form + struct.pack("<4sI", b"data", size)
    longer = struct.pack("<4sIQQQI", b"ds64", 28, size + len(form) + 48, size, 0, 0)
    riff = struct.pack("<4sI4s", b"RF64", _UNKNOWN, b"WAVE")
    return riff + longer + form + struct.pack("<4sI", b"data", _UNKNOWN)
