"""Frames of a FLAC file, each at its place.

Every frame says which samples it holds, guarded by a CRC of its own. libFLAC stops at the first
frame that is damaged, and puts silence where one is absent; so frames are looked for here, and the
intact ones are given to libsndfile in streams that hold nothing else::

    file      STREAMINFO │ frame 0 │ frame 1 │ #damaged# │ frame 3 │ …
    streams   STREAMINFO' + frame 0 + frame 1      STREAMINFO' + frame 3 + …
    samples   ..................│ NaN      │..................

What STREAMINFO says is a hint: rate, channels, bits and length are those of the frames. These count
samples or frames, whatever their mark says, as old coders had none; numbers that do not rise, or of
a file that holds all samples it promises, say nothing.

A search costs a pass over the file, and some microseconds a frame.

References
----------
RFC 9639, clauses 8.2 (STREAMINFO) and 9.1 (frame header).
"""

import io
import mmap
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

_MARK = b"fLaC"
_STREAMINFO_BYTES = 34
# Two syncs: blocks of one size, and of any.
_SYNCS = (b"\xff\xf8", b"\xff\xf9")
_HEADER_BYTES_MAX = 16
_BLOCK_SAMPLES = {1: 192, **{k: 144 << k for k in range(2, 6)}, **{k: 1 << k for k in range(8, 16)}}
_RATES = (88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
# Of 16, those below 8 are so many channels and one, then two channels in other forms.
_CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 2, 2, 2)
# Bits of a sample that libsndfile takes, in the first header; of the frames it takes any.
_HEADER_BITS = (8, 16, 24)
# A stream that was taken while it ran begins anywhere: more than this is not missing at its begin.
_LEAD_MOST_S = 10
# Frames that are decoded at once, as long as they are sound.
_GROUP = 32
_MISSING_SAMPLES = 1 << 16


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame: its first byte, where it ends at the latest, and the samples it holds."""

    at: int
    end: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a file.

    Attributes
    ----------
    streaminfo : bytes
        The block that describes it, as its frames are; without their sizes, by which libFLAC would
        tell what they count, and put silence where it sees none.
    told : int, length by its header; 0 where that is not known
    frames : tuple of Frame, in order, those with a whole header; at least one
    ended : bool, whether nothing can follow the last frame, as that is shorter than all others
    """

    streaminfo: bytes
    told: int
    frames: tuple[Frame, ...]
    ended: bool

    @property
    def complete(self) -> bool:
        """Return whether no frame is absent up to the last one."""
        ends = [0, *(frame.stop for frame in self.frames)]
        return all(frame.start == end for frame, end in zip(self.frames, ends, strict=False))

    @property
    def samples(self) -> int:
        """Return the first sample behind the last frame."""
        return self.frames[-1].stop


class _Header(NamedTuple):
    """A frame's header; ``number`` counts samples or frames, ``form`` is rate and channels."""

    at: int
    number: int
    samples: int
    marked: bool
    form: tuple[int, int]
    bits: int


def search(path: Path) -> Frames | None:
    """Return the frames of a FLAC file; None if it is not one, or none can be found.

    It is a ValueError if they are of several rates or numbers of channels, or of 32 bits.
    """
    with path.open("rb") as file:
        if not file.read(len(_MARK)).startswith((_MARK, b"ID3")):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            begin = data.find(_MARK, 0, 1 << 20) + len(_MARK)
            streaminfo = bytes(data[begin + 4 : begin + 4 + _STREAMINFO_BYTES])
            if begin < len(_MARK) or data[begin] & 0x7F or len(streaminfo) < _STREAMINFO_BYTES:
                return None
            at = _behind_blocks(data, begin)
            found = sorted(_headers(data, at, streaminfo))
            if not found:
                return None
            form = Counter(header.form for header in found).most_common(1)[0][0]
            alike = [header for header in found if header.form == form]
            depth = Counter(header.bits for header in alike).most_common(1)[0][0]
            if depth > max(_HEADER_BITS) or any(
                a.form == b.form != form for a, b in pairwise(found)
            ):
                raise ValueError(f"its samples have {depth} bits, or its rate or channels change")
            told = int.from_bytes(streaminfo[10:18], "big") & (1 << 36) - 1
            frames = _placed(alike, told, (at, len(data)), streaminfo)
            sizes = {frame.stop - frame.start for frame in frames[:-1]}
            ended = len(sizes) == 1 and frames[-1].stop - frames[-1].start < max(sizes)
            number = form[0] << 8 | form[1] - 1 << 5 | depth - 1
            mended = bytes(10) + (number << 36).to_bytes(8, "big") + bytes(16)
            last = frames[-1]
            if len(frames) > 1 and 0 < told <= last.start:
                # Behind the end that is stated: what a full disk left of a frame is none.
                whole = _decoded(mended, [last], [data[last.at : last.end]])
                frames = frames if next(whole, None) else frames[:-1]
            return Frames(mended, told, tuple(frames), ended)


def pieces(path: Path, found: Frames, samples: int) -> Iterator[NDArray[np.float32]]:
    """Yield all samples of a damaged file, NaN where there are none.

    Parameters
    ----------
    path : Path, the file
    found : Frames, as :func:`search` found them
    samples : int, length that is wanted
    """
    done = 0
    channels = (found.streaminfo[12] >> 1 & 7) + 1
    with path.open("rb") as file:
        for group in _groups(found.frames):
            file.seek(first := group[0].at)
            data = file.read(group[-1].end - first)
            parts = [data[frame.at - first : frame.end - first] for frame in group]
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
    """Return the first sample of a frame, as its header says.

    None if the packet is no frame, or counts frames of many sizes.
    """
    found = _parsed(packet[:_HEADER_BYTES_MAX], 0, streaminfo)
    block = _block_of(streaminfo)
    if found is None or found.form != _form_of(streaminfo)[:2]:
        return None
    if found.marked:
        return found.number
    return found.number * block if found.samples <= block else None


def _form_of(streaminfo: bytes) -> tuple[int, int, int]:
    number = int.from_bytes(streaminfo[10:14], "big")
    return number >> 12, (number >> 9 & 7) + 1, (number >> 4 & 31) + 1


def _block_of(streaminfo: bytes) -> int:
    """Return the samples of every frame but the last; 0 where they are not of one size."""
    least, most = (int.from_bytes(streaminfo[k : k + 2], "big") for k in (0, 2))
    return most if least == most else 0


def _behind_blocks(data: mmap.mmap, begin: int) -> int:
    """Return the start of the audio; skip metadata blocks of wrong size."""
    at, last = begin, False
    while not last and at + 4 < len(data):
        last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at if at + 4 < len(data) else begin + 4 + _STREAMINFO_BYTES


def _headers(data: mmap.mmap, begin: int, streaminfo: bytes) -> Iterator[_Header]:
    for sync in _SYNCS:
        at = data.find(sync, begin)
        while at >= 0:
            found = _parsed(data[at : at + _HEADER_BYTES_MAX], at, streaminfo)
            if found is not None:
                yield found
            at = data.find(sync, at + 1)


def _parsed(header: bytes, at: int, streaminfo: bytes) -> _Header | None:
    if len(header) < 6:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 0x0F
    form, bits_code = header[3] >> 4, header[3] >> 1 & 7
    if not size_code or rate_code == 15 or form >= len(_CHANNELS) or header[3] & 1:
        return None
    number, place = _coded(header)
    extra = {6: 1, 7: 2}.get(size_code, 0)
    rate_at = place + extra
    end = rate_at + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if number < 0 or end >= len(header) or _crc8(header[:end]) != header[end]:
        return None
    told = int.from_bytes(header[place:rate_at], "big") + 1
    samples = told if extra else _BLOCK_SAMPLES.get(size_code, 0)
    rate, _, bits = _form_of(streaminfo)
    if rate_code > 11:
        rate = int.from_bytes(header[rate_at:end], "big") * (1000, 1, 10)[rate_code - 12]
    elif rate_code:
        rate = _RATES[rate_code - 1]
    depth = _BITS.get(bits_code, bits)
    found = _Header(at, number, samples, bool(header[1] & 1), (rate, _CHANNELS[form]), depth)
    return found if samples else None


def _coded(header: bytes) -> tuple[int, int]:
    """Return the coded number of a frame, and the place behind it."""
    first = header[4]
    more = 8 - (first ^ 0xFF).bit_length()
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
    return reduce(lambda crc, byte: _CRC8[crc ^ byte], data, 0)


def _placed(
    found: Sequence[_Header], told: int, audio: tuple[int, int], streaminfo: bytes
) -> list[Frame]:
    """Return frames at their places; the file states that they hold ``told``, 0 if unknown."""
    row = _rising(found)
    if sum(header.samples for header in found) == told or 2 * len(row) < len(found):
        row, starts = list(found), list(accumulate((header.samples for header in found), initial=0))
    else:
        starts = _starts(row, told, _block_of(streaminfo))
    ends = [*(header.at for header in row[1:]), audio[1]]
    frames = [
        Frame(header.at, end, start, start + header.samples)
        for header, end, start in zip(row, ends, starts, strict=False)
    ]
    # What only looks like a header says anything.
    while len(frames) > 1 and frames[-1].start > (before := frames[-2].stop):
        if frames[-1].stop <= (told if before <= told else 2 * before):
            break
        frames[-2:] = [replace(frames[-2], end=audio[1])]
    lead, last = frames[0].start, frames[-1].stop
    if told < last and (frames[0].at == audio[0] or lead > _LEAD_MOST_S * found[0].form[0]):
        frames = [replace(each, start=each.start - lead, stop=each.stop - lead) for each in frames]
    return frames


def _rising(found: Sequence[_Header]) -> list[_Header]:
    """Return the longest run of frames with rising numbers.

    What only looks like a header does not fit into it.
    """
    numbers: list[int] = []
    lasts: list[int] = []
    before: list[int] = []
    for k, header in enumerate(found):
        place = bisect_left(numbers, header.number)
        before.append(lasts[place - 1] if place else -1)
        if numbers[place : place + 1] != [header.number]:
            numbers[place : place + 1] = [header.number]
            lasts[place : place + 1] = [k]
    row = []
    k = lasts[-1]
    while k >= 0:
        row.append(found[k])
        k = before[k]
    return row[::-1]


def _starts(row: Sequence[_Header], told: int, block: int) -> list[int]:
    steps = list(pairwise(row))
    counting = sum(b.number - a.number >= a.samples for a, b in steps)
    if 2 * counting > len(steps) - (row[0].marked and not steps):
        return [header.number for header in row]
    sizes = {a.samples for a, b in steps if b.number == a.number + 1}
    if len(sizes) <= 1:
        every = sizes.pop() if sizes else block or max(header.samples for header in row)
        return [header.number * every for header in row]
    # Of many sizes: nobody knows those of absent ones, at most all together.
    held, absent = sum(header.samples for header in row), row[-1].number + 1 - len(row)
    fits = held < told <= held + 2 * absent * max(sizes)
    mean = (told - held) / absent if fits else held / len(row)
    before = accumulate((header.samples for header in row), initial=0)
    return [
        samples + round((header.number - k) * mean)
        for k, (header, samples) in enumerate(zip(row, before, strict=False))
    ]


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


def _decoded(
    streaminfo: bytes, frames: Sequence[Frame], parts: Sequence[bytes]
) -> Iterator[tuple[Frame, NDArray[np.float32]]]:
    """Yield the frames that are sound, and their samples; the others are passed over."""
    samples = frames[-1].stop - frames[0].start
    stream = head(streaminfo, samples) + b"".join(parts)
    try:
        with soundfile.SoundFile(io.BytesIO(stream)) as file:
            block = file.read(samples, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        block = np.empty((0, 1), np.float32)
    if len(block) == samples:
        for frame in frames:
            yield frame, block[frame.start - frames[0].start : frame.stop - frames[0].start]
    elif len(frames) > 1:
        for frame, part in zip(frames, parts, strict=True):
            yield from _decoded(streaminfo, [frame], [part])


def head(streaminfo: bytes, samples: int) -> bytes:
    """Return the bytes before frames of so many samples.

    Frames that state no depth have that of the last of several headers.
    """
    number = int.from_bytes(streaminfo[10:18], "big") | samples
    depth = _form_of(streaminfo)[2]
    known = min(k for k in _HEADER_BITS if depth <= k)
    first, last = (
        b"\0\0\x22" + streaminfo[:10] + (number + (k << 36)).to_bytes(8, "big") + bytes(16)
        for k in (known - depth, 0)
    )
    return _MARK + (b"\0" + first if known > depth else b"") + b"\x80" + last
