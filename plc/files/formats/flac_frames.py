"""Frames of a damaged FLAC file, each at its place.

Every frame says which samples it holds, guarded by a CRC of its own. libFLAC stops at the first
frame that is damaged, or says nothing where one is absent; so frames are looked for here, and the
intact ones are given to libsndfile in streams that hold nothing else::

    file      STREAMINFO │ frame 0 │ frame 1 │ #damaged# │ frame 3 │ …
    streams   STREAMINFO' + frame 0 + frame 1      STREAMINFO' + frame 3 + …
    samples   ..........................│ NaN      │..................

A search costs a pass over the file, and some microseconds a frame.

References
----------
RFC 9639, clauses 8.2 (STREAMINFO) and 9.1 (frame header).
"""

import io
import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

_MARK = b"fLaC"
_STREAMINFO_BYTES = 34
_TAG_HEAD = 10
# Two syncs: blocks of one size, and of any.
_SYNCS = (b"\xff\xf8", b"\xff\xf9")
_HEADER_BYTES_MAX = 16
_BLOCK_SAMPLES = {1: 192, **{k: 144 << k for k in range(2, 6)}, **{k: 1 << k for k in range(8, 16)}}
_RATES = (88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
# Of 16, those below 8 are so many channels and one, then two channels in other forms.
_CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 2, 2, 2)
# Frames that are decoded at once, as long as they are sound.
_GROUP = 32
_MISSING_SAMPLES = 1 << 16


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame: its first byte, and the samples it holds."""

    at: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a file.

    Attributes
    ----------
    streaminfo : bytes
        The block that describes it.
    samples : int
        Length by its header; 0 where that is not known.
    frames : tuple of Frame
        In order, those with a whole header.
    end : int
        Length of the file in bytes.
    """

    streaminfo: bytes
    samples: int
    frames: tuple[Frame, ...]
    end: int

    @property
    def complete(self) -> bool:
        """Return whether no frame is absent."""
        ends = [0, *(frame.stop for frame in self.frames)]
        return (self.samples or ends[-1]) == ends[-1] and all(
            frame.start == end for frame, end in zip(self.frames, ends, strict=False)
        )


def search(path: Path) -> Frames | None:
    """Return the frames of a FLAC file; None if it is not one."""
    with path.open("rb") as file:
        head = file.read(_TAG_HEAD)
        if not head.startswith((_MARK, b"ID3")):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            begin = data.find(_MARK, 0, 1 << 20) + len(_MARK)
            streaminfo = bytes(data[begin + 4 : begin + 4 + _STREAMINFO_BYTES])
            if begin < len(_MARK) or data[begin] & 0x7F or len(streaminfo) < _STREAMINFO_BYTES:
                return None
            at = _behind_blocks(data, begin)
            number = int.from_bytes(streaminfo[10:18], "big")
            samples = number & (1 << 36) - 1
            found = sorted(_headers(data, at, streaminfo), key=lambda frame: frame.at)
            return Frames(streaminfo, samples, tuple(_in_order(found, samples)), len(data))


def pieces(path: Path, found: Frames, samples: int) -> Iterator[NDArray[np.float32]]:
    """Yield all samples of a damaged file, NaN where there are none.

    Parameters
    ----------
    path : Path
        The file.
    found : Frames
        As :func:`search` found them.
    samples : int
        Length that is wanted.
    """
    done = 0
    channels = (found.streaminfo[12] >> 1 & 7) + 1
    with path.open("rb") as file:
        for group in _groups(found.frames):
            bounds = [*(frame.at for frame in group), _end_of(found, group[-1])]
            file.seek(bounds[0])
            data = file.read(bounds[-1] - bounds[0])
            parts = [data[a - bounds[0] : b - bounds[0]] for a, b in pairwise(bounds)]
            for frame, block in _decoded(found.streaminfo, group, parts):
                yield from missing(frame.start - done, channels)
                yield block[max(0, done - frame.start) :]
                done = max(done, frame.stop)
    yield from missing(samples - done, channels)


def missing(samples: int, channels: int) -> Iterator[NDArray[np.float32]]:
    """Yield NaN for samples that are missing."""
    for start in range(0, samples, _MISSING_SAMPLES):
        yield np.full((min(_MISSING_SAMPLES, samples - start), channels), np.nan, np.float32)


def start_of(packet: bytes, streaminfo: bytes) -> int | None:
    """Return the first sample of a frame, as its header says; None if the packet is no frame."""
    least, fixed = (int.from_bytes(streaminfo[k : k + 2], "big") for k in (0, 2))
    number = int.from_bytes(streaminfo[10:18], "big")
    stream = number >> 44, (number >> 41 & 7) + 1, (number >> 36 & 31) + 1
    header = packet[:_HEADER_BYTES_MAX]
    frame = _parsed(header, 0, stream, fixed if least == fixed else 0)
    return None if frame is None else frame.start


def _behind_blocks(data: mmap.mmap, begin: int) -> int:
    """Return the start of the audio; skip metadata blocks of wrong size."""
    at, last = begin, False
    while not last and at + 4 < len(data):
        last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at if at + 4 < len(data) else begin + 4 + _STREAMINFO_BYTES


def _headers(data: mmap.mmap, begin: int, streaminfo: bytes) -> Iterator[Frame]:
    """Yield every place that looks like a frame of this stream."""
    least, fixed = (int.from_bytes(streaminfo[k : k + 2], "big") for k in (0, 2))
    number = int.from_bytes(streaminfo[10:18], "big")
    stream = number >> 44, (number >> 41 & 7) + 1, (number >> 36 & 31) + 1
    for sync in _SYNCS:
        at = data.find(sync, begin)
        while at >= 0:
            header = data[at : at + _HEADER_BYTES_MAX]
            frame = _parsed(header, at, stream, fixed if least == fixed else 0)
            if frame is not None:
                yield frame
            at = data.find(sync, at + 1)


def _parsed(header: bytes, at: int, stream: tuple[int, int, int], fixed: int) -> Frame | None:
    """Return the frame that a header of this stream begins."""
    rate, channels, bits = stream
    if len(header) < 6:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 0x0F
    form, bits_code = header[3] >> 4, header[3] >> 1 & 7
    if not size_code or rate_code == 15 or form >= len(_CHANNELS) or header[3] & 1:
        return None
    if _CHANNELS[form] != channels or _BITS.get(bits_code, bits) != bits:
        return None
    if 0 < rate_code < 12 and _RATES[rate_code - 1] != rate:
        return None
    number, place = _coded(header)
    extra = {6: 1, 7: 2}.get(size_code, 0)
    rate_extra = {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    end = place + extra + rate_extra
    if number < 0 or end >= len(header) or _crc8(header[:end]) != header[end]:
        return None
    told = int.from_bytes(header[place : place + extra], "big") + 1
    samples = told if extra else _BLOCK_SAMPLES.get(size_code, 0)
    start = number if header[1] & 1 else number * (fixed or samples)
    return Frame(at, start, start + samples) if samples else None


def _coded(header: bytes) -> tuple[int, int]:
    """Return the coded number of a frame, and the place behind it."""
    first = header[4]
    more = 0
    while more < 7 and first & 0x80 >> more:
        more += 1
    if more in (1, 8) or len(header) < 5 + max(0, more - 1):
        return -1, 0
    if not more:
        return first, 5
    value = first & (0x7F >> more)
    for byte in header[5 : 4 + more]:
        if byte & 0xC0 != 0x80:
            return -1, 0
        value = value << 6 | byte & 0x3F
    return value, 4 + more


def _crc8_of(byte: int) -> int:
    for _ in range(8):
        byte = (byte << 1 ^ 0x07) & 0xFF if byte & 0x80 else byte << 1
    return byte


_CRC8 = tuple(_crc8_of(byte) for byte in range(256))


def _crc8(data: bytes) -> int:
    """Return the CRC of a header: polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _in_order(found: Sequence[Frame], samples: int) -> list[Frame]:
    """Return the longest run of frames with consecutive samples.

    What only looks like a header does not fit into it.
    """
    starts: list[int] = []
    lasts: list[int] = []
    before: list[int] = []
    for k, frame in enumerate(found):
        place = bisect_left(starts, frame.start)
        before.append(lasts[place - 1] if place else -1)
        if samples and frame.stop > samples:
            continue
        starts[place : place + 1] = [frame.start]
        lasts[place : place + 1] = [k]
    row = []
    k = lasts[-1] if lasts else -1
    while k >= 0:
        row.append(found[k])
        k = before[k]
    return row[::-1]


def _groups(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Yield frames that follow each other, some at once."""
    group: list[Frame] = []
    for frame in frames:
        if group and (len(group) == _GROUP or frame.start != group[-1].stop):
            yield group
            group = []
        group.append(frame)
    if group:
        yield group


def _end_of(found: Frames, frame: Frame) -> int:
    """Return where a frame's bytes end at the latest."""
    place = bisect_left(found.frames, frame.at, key=lambda each: each.at) + 1
    return found.frames[place].at if place < len(found.frames) else found.end


def _decoded(
    streaminfo: bytes, frames: Sequence[Frame], parts: Sequence[bytes]
) -> Iterator[tuple[Frame, NDArray[np.float32]]]:
    """Yield the frames that are sound, and their samples; the others are passed over."""
    samples = frames[-1].stop - frames[0].start
    try:
        with soundfile.SoundFile(io.BytesIO(_stream(streaminfo, samples, parts))) as file:
            block = file.read(samples, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        block = np.empty((0, 1), np.float32)
    if len(block) == samples:
        for frame in frames:
            yield frame, block[frame.start - frames[0].start : frame.stop - frames[0].start]
    elif len(frames) > 1:
        half = len(frames) // 2
        yield from _decoded(streaminfo, frames[:half], parts[:half])
        yield from _decoded(streaminfo, frames[half:], parts[half:])


def _stream(streaminfo: bytes, samples: int, parts: Sequence[bytes]) -> bytes:
    """Return frames as a FLAC stream of their own."""
    number = int.from_bytes(streaminfo[10:18], "big") >> 36 << 36 | samples
    info = streaminfo[:4] + bytes(6) + number.to_bytes(8, "big") + bytes(16)
    return b"".join((_MARK, b"\x80\0\0\x22", info, *parts))
