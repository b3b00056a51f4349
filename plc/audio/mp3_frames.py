"""MP3 files with damaged frames: every other frame stays at its place.

Decoders look for the next frame and go on there, so that what follows comes too soon. Here the
damaged stretch is replaced by as many silent frames, and their samples are known to be missing::

    file      frame 0 │ frame 1 │ #zeros# │ frame 3 │ frame 4 …
    decoded   frame 0 │ frame 1 │ silent  │ frame 3 │ frame 4 …
    samples   ..................│ NaN               │ …

Frame 3 overlaps with the lost one, and its bytes may begin in it ("bit reservoir"): it is missing,
too, and so is every further one whose first bytes are lost.

References
----------
ISO/IEC 11172-3, clause 2.4; ISO/IEC 13818-3.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plc.audio.tags_id3 import tag_bytes

_KBITRATES = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_LAYER_3 = 1
# The first bytes of a header of that layer, whatever its version, with and without a checksum.
_SYNC = re.compile(b"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
# Of a decoder's filters, which a gapless one cuts off with the coder's own.
_DECODER_DELAY = 529
_LAME_DELAY_AT = 141
_MARKS = (b"Xing", b"Info")
_FILE_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class _Frame:
    at: int
    size: int


@dataclass(frozen=True, slots=True)
class Mended:
    """A file with silent frames for damaged ones.

    Attributes
    ----------
    data : bytes
        What a decoder reads.
    missing : tuple of (int, int)
        What of its samples is none of the recording.
    rate : int
        Of these samples, in Hz; 0 is that of the file.
    """

    data: bytes
    missing: tuple[tuple[int, int], ...]
    rate: int = 0


def mend(path: Path) -> Mended | None:
    """Return a damaged MP3 file mended; None if it is sound or no MP3."""
    with path.open("rb") as file:
        try:
            begin = tag_bytes(file)
        except ValueError:
            return None
        file.seek(begin)
        if not begin and file.read(1) != b"\xff" and path.suffix.lower() != ".mp3":
            return None
        file.seek(0)
        data = file.read(_FILE_BYTES_MAX + 1)
    if len(data) > _FILE_BYTES_MAX:
        return None
    first = _resync(data, begin, None)
    if first is None:
        return None
    frames = _frames(data, begin, data[first.at : first.at + 4])
    return _mended(data, begin, frames)


def _mended(data: bytes, begin: int, frames: Sequence[_Frame]) -> Mended | None:
    """Replace holes between frames by silent ones."""
    mean = sum(frame.size for frame in frames) / len(frames)
    parts, missing, number = [data[:begin]], [], 0
    at = begin
    head = data[frames[0].at : frames[0].at + 4]
    samples = 1152 if head[1] >> 3 & 3 == 3 else 576
    offset = _offset(data, frames[0], head)
    # Of the smallest, so that a file cannot grow: a hole has as many as there is room for.
    model = min(frames, key=lambda frame: frame.size)
    silent = _silent(head[:2] + data[model.at + 2 : model.at + 3] + head[3:], model.size)
    absent = _absent(data, frames, begin, head)
    for k, frame in enumerate(frames):
        count = absent or round((frame.at - at) / mean) if frame.at > at else 0
        if count:
            parts += [silent] * count
            last = number + count + _stale(data, frames, k, at == begin)
            missing.append((number * samples - offset, last * samples - offset))
            number += count
        parts.append(data[frame.at : frame.at + frame.size])
        number += 1
        at = frame.at + frame.size
    parts.append(data[at:])
    inside = [(max(0, start), stop) for start, stop in missing if stop > 0]
    return Mended(b"".join(parts), tuple(inside)) if inside else None


def _frames(data: bytes, begin: int, like: bytes) -> list[_Frame]:
    """Return all frames of a stream."""
    frames: list[_Frame] = []
    at = begin
    while True:
        size = _size(data[at : at + 4], like)
        frame = _Frame(at, size) if size else _resync(data, at, like)
        if frame is None or frame.at + frame.size > len(data):
            return frames
        frames.append(frame)
        at = frame.at + frame.size


def _resync(data: bytes, at: int, like: bytes | None) -> _Frame | None:
    """Return the next frame that two others follow, or the end."""
    for sync in _SYNC.finditer(data, at, len(data) - 3):
        at = sync.start()
        head = data[at : at + 4]
        size = _size(head, like or head)
        place, follow = at + size, 0
        while size and follow < 2 and place + 4 <= len(data):
            step = _size(data[place : place + 4], head)
            if not step:
                break
            place, follow = place + step, follow + 1
        if size and (follow == 2 or (like is not None and place + 4 > len(data))):
            return _Frame(at, size)
    return None


def _size(head: bytes, like: bytes) -> int:
    """Return a frame's length in bytes; 0 if no header is there."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xFE != like[1] & 0xFE:
        return 0
    if head[1] & 0xE0 != 0xE0 or head[1] >> 1 & 3 != _LAYER_3 or head[2] & 0x0C != like[2] & 0x0C:
        return 0
    version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3
    if version == 1 or rate == 3 or head[2] >> 4 in (0, 15):
        return 0
    kbitrate = _KBITRATES[3 if version == 3 else 2][head[2] >> 4]
    per = 144_000 if version == 3 else 72_000
    return per * kbitrate // _RATES[version][rate] + (head[2] >> 1 & 1)


def _side(head: bytes) -> tuple[int, int]:
    """Return where a frame's side information begins, and its length."""
    mono = head[3] >> 6 == 3
    long = head[1] >> 3 & 3 == 3
    size = (17 if mono else 32) if long else (9 if mono else 17)
    return (4 if head[1] & 1 else 6), size


def _silent(head: bytes, size: int) -> bytes:
    """Return a frame of silence, without a checksum."""
    return bytes([head[0], head[1] | 1, head[2], head[3]]) + bytes(size - 4)


def _stale(data: bytes, frames: Sequence[_Frame], first: int, at_begin: bool) -> int:
    """Return how many frames from ``first`` on a hole damages."""
    if at_begin:
        return 1
    held = 0
    for number in range(first, len(frames)):
        frame = frames[number]
        head = data[frame.at : frame.at + 4]
        begin, side = _side(head)
        bits = int.from_bytes(data[frame.at + begin : frame.at + begin + 2], "big")
        back = bits >> 7 if head[1] >> 3 & 3 == 3 else bits >> 8
        if back <= held:
            return number - first + 1
        held += frame.size - begin - side
    return len(frames) - first


def _absent(data: bytes, frames: Sequence[_Frame], begin: int, head: bytes) -> int:
    """Return how many frames the only hole had, by the coder's count; 0 where that is not known."""
    ends = [begin, *(frame.at + frame.size for frame in frames)]
    holes = sum(frame.at > end for frame, end in zip(frames, ends, strict=False))
    place, side = _side(head)
    mark = frames[0].at + place + side
    if holes != 1 or data[mark : mark + 4] not in _MARKS or not data[mark + 7] & 1:
        return 0
    count = int.from_bytes(data[mark + 8 : mark + 12], "big") + 1 - len(frames)
    return count if 0 < count <= len(frames) else 0


def _offset(data: bytes, first: _Frame, head: bytes) -> int:
    """Return the samples that a decoder cuts off at the start, by the first frame."""
    begin, side = _side(head)
    mark = first.at + begin + side
    if data[mark : mark + 4] not in _MARKS:
        return 0
    told = data[mark + _LAME_DELAY_AT : mark + _LAME_DELAY_AT + 3]
    delay = int.from_bytes(told, "big") >> 12
    samples = 1152 if head[1] >> 3 & 3 == 3 else 576
    return samples + (delay + _DECODER_DELAY if data[mark + 120 : mark + 124].strip(b"\0") else 0)
