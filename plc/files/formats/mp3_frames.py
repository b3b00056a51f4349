"""MP3 files with damaged frames: every other frame stays at its place.

Decoders look for the next frame and go on there, so that what follows comes too soon. Here the
damaged stretch is replaced by as many silent frames, and their samples are known to be missing::

    file      frame 0 │ frame 1 │ #zeros# │ frame 3 │ frame 4 …
    decoded   frame 0 │ frame 1 │ silent  │ frame 3 │ frame 4 …
    samples   ..................│ NaN               │ …

Frame 3 overlaps with the lost one, and its bytes may begin in it ("bit reservoir"): it is missing,
too, and so is every further one whose first bytes are lost. The first frames of a file that was cut
out of a longer one lack theirs as well.

References
----------
ISO/IEC 11172-3, clause 2.4; ISO/IEC 13818-3.
"""

import heapq
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plc import notice
from plc.files.formats import media
from plc.files.tags.id3 import tag_bytes
from plc.notice import counted

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
# Samples behind a lost frame that its overlap and a decoder's filters reach, in whole frames.
_OVERLAP = 1152
_MARKS = (b"Xing", b"Info")
# Frames on either side of a hole whose mean size is that of those which it had.
_NEAR = 4
# A file that ends sooner than its coder says by more than this was cut, not damaged.
_CUT_S = 1.0
# What a stream's length in bytes may be wrong by: more than half of what a decoder takes.
_BYTES_OFF = 0.005
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
    data : bytes, what a decoder reads
    missing : tuple of (int, int), what of its samples is none of the recording
    rate : int, of these samples, in Hz; 0 is that of the file
    behind : tuple of Mended, further recordings in the same file
    """

    data: bytes
    missing: tuple[tuple[int, int], ...]
    rate: int = 0
    behind: tuple["Mended", ...] = ()


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
    holes = _holes(data, begin, frames)
    if holes.cut:
        rate = _rate(data[frames[0].at : frames[0].at + 4])
        media.tell_cut(path, holes.cut * _samples(data[first.at : first.at + 4]) / rate)
    elif holes.told is None and holes.rooms[-1]:
        notice.tell_once(
            f"{path}: {counted(holes.rooms[-1], 'byte')} at its end are no frame of MP3 and were "
            "left out"
        )
    return _mended(data, begin, frames, holes)


@dataclass(frozen=True, slots=True)
class _Holes:
    """Bytes between frames that are no frames.

    Attributes
    ----------
    counts : list of int, frames that are missing before each frame, and behind the last one
    rooms : list of int, bytes at these places that are no tag
    told : int or None, how many the coder says that there were, its own first one too
    cut : int, frames that are missing at the end of a file that was cut short
    """

    counts: list[int]
    rooms: list[int]
    told: int | None
    cut: int


def _holes(data: bytes, begin: int, frames: Sequence[_Frame]) -> _Holes:
    """Count missing frames by bytes and the coder's count."""
    first = frames[0]
    head = data[first.at : first.at + 4]
    ends = [begin, *(frame.at + frame.size for frame in frames)]
    starts = [*(frame.at for frame in frames), len(data)]
    rooms = [
        start - _behind_tags(data, end, start) if start > end else 0
        for end, start in zip(ends, starts, strict=True)
    ]
    sums = [0, *itertools.accumulate(frame.size for frame in frames)]
    smallest = min(frame.size for frame in frames)
    wanted = [0.0] * len(rooms)
    counts = [0] * len(rooms)
    for k, room in enumerate(rooms):
        if room:
            low, high = max(0, k - _NEAR), min(len(frames), k + _NEAR)
            wanted[k] = room * (high - low) / (sums[high] - sums[low])
            counts[k] = max(round(wanted[k]), int(room >= smallest))
    told = _told(data, first, head)
    if told is None or told < len(frames):
        # What follows the last frame may be anything.
        counts[-1] = 0
        return _Holes(counts, rooms, told, 0)
    rest = _share(told - len(frames), counts, wanted, [room // smallest for room in rooms])
    if rooms[-1] and rest * _samples(head) <= _CUT_S * _rate(head):
        counts[-1] += rest
        rest = 0
    # Coders that count their own first frame promise one too many.
    return _Holes(counts, rooms, told, rest if rest > 1 else 0)


def _share(absent: int, counts: list[int], wanted: Sequence[float], most: Sequence[int]) -> int:
    """Share a number of frames out among holes, in place; return how many do not fit."""
    rest = absent - sum(counts)
    step = 1 if rest > 0 else -1
    for least in (1, 0):
        heap = [(step * (counts[k] - want), k) for k, want in enumerate(wanted) if want]
        heapq.heapify(heap)
        while rest and heap:
            _, k = heapq.heappop(heap)
            if least <= counts[k] + step and (step < 0 or counts[k] < most[k]):
                counts[k] += step
                rest -= step
                heapq.heappush(heap, (step * (counts[k] - wanted[k]), k))
    return max(0, rest)


def _behind_tags(data: bytes, at: int, stop: int) -> int:
    """Return where tags between frames, or behind them, end."""
    while at < stop:
        head = data[at : at + 16]
        if head.startswith(b"ID3"):
            size = tag_bytes(io.BytesIO(head))
        elif head.startswith(b"TAG+"):
            size = 227
        elif head.startswith(b"TAG"):
            size = 128
        elif head.startswith(b"APETAGEX"):
            size = 32 + int.from_bytes(head[12:16], "little")
        elif head.startswith(b"LYRICSBEGIN"):
            end = data.find(b"LYRICS200", at, stop)
            size = end + 9 - at if end >= 0 else stop - at
        else:
            return at
        at += size
    return stop


def _mended(
    data: bytes, begin: int, frames: Sequence[_Frame], holes: _Holes | None = None
) -> Mended | None:
    """Replace holes between frames by silent ones."""
    holes = holes or _holes(data, begin, frames)
    head = data[frames[0].at : frames[0].at + 4]
    samples = _samples(head)
    offset = _offset(data, frames[0], head)
    # Of the smallest, so that a file cannot grow: a hole has as many as there is room for.
    model = min(frames, key=lambda frame: frame.size)
    silent = _silent(head[:2] + data[model.at + 2 : model.at + 3] + head[3:], model.size)
    parts, missing, number, silenced = [], [], 0, 0
    at = begin
    # The coder's own frame has no sound, nor bytes of that behind it.
    lead = int(_mark(frames[0].at, data, head) >= 0)
    for k, frame in enumerate(frames):
        count = holes.counts[k]
        if count or (k == lead and _bytes_before(data, frame)):
            parts.append(silent * count)
            silenced = max(silenced, _sound_from(data, frames, k))
            last = number + count + silenced - k + _OVERLAP // samples
            missing.append((number * samples - offset, last * samples - offset))
            number += count
        elif holes.rooms[k] and k and holes.told is not None:
            parts[-1] = _lengthened(parts[-1], data[at : frame.at])
        content = data[frame.at : frame.at + frame.size]
        parts.append(_silenced(content) if k < silenced else content)
        number += 1
        at = frame.at + frame.size
    if count := holes.counts[-1]:
        parts.append(silent * count)
        missing.append((number * samples - offset, (number + count) * samples - offset))
    inside = [(max(0, start), stop) for start, stop in missing if stop > 0]
    more = holes.told is not None and len(frames) > holes.told + 1
    # A decoder complains about a length that is not so, on the terminal of whoever called it.
    stream = _retold(b"".join(parts), head, number - 1 if more else 0)
    if not holes.rooms[-1] and stream == data[begin:at]:
        return None
    return Mended(data[:begin] + stream, tuple(inside))


def _frames(data: bytes, begin: int, like: bytes) -> list[_Frame]:
    frames: list[_Frame] = []
    at = begin
    while True:
        size = _size(data[at : at + 4], like)
        frame = _Frame(at, size) if size else _resync(data, at, like)
        if not size and frames and at + 4 <= len(data):
            # One that reaches beyond the next one's header has a wrong length itself.
            inside = _resync(data, frames[-1].at + 4, like, at)
            if inside is not None and inside.at < at:
                frames.pop()
                frame = inside
        if frame is None or frame.at + frame.size > len(data):
            return frames
        frames.append(frame)
        at = frame.at + frame.size


def _resync(data: bytes, at: int, like: bytes | None, before: int | None = None) -> _Frame | None:
    """Return the next frame that two others, or the end, follow.

    Where it has to begin before a place, two others must follow.
    """
    for sync in _SYNC.finditer(data, at, before or len(data) - 3):
        at = sync.start()
        head = data[at : at + 4]
        size = _size(head, like or head)
        place, follow = at + size, 0
        while size and follow < 2 and place + 4 <= len(data):
            step = _size(data[place : place + 4], head)
            if not step:
                break
            place, follow = place + step, follow + 1
        if size and (
            follow == 2 or (like is not None and before is None and place + 4 > len(data))
        ):
            return _Frame(at, size)
    return None


def _size(head: bytes, like: bytes) -> int:
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
    return bytes([head[0], head[1] | 1, head[2], head[3]]) + bytes(size - 4)


def _sound_from(data: bytes, frames: Sequence[_Frame], first: int) -> int:
    """Return the number of the first frame whose bytes all come behind a hole before ``first``."""
    held = 0
    for number in range(first, len(frames)):
        frame = frames[number]
        if _bytes_before(data, frame) <= held:
            return number
        held += frame.size - sum(_side(data[frame.at : frame.at + 4]))
    return len(frames) - 1


def _bytes_before(data: bytes, frame: _Frame) -> int:
    head = data[frame.at : frame.at + 4]
    place = frame.at + _side(head)[0]
    bits = int.from_bytes(data[place : place + 2], "big")
    return bits >> 7 if head[1] >> 3 & 3 == 3 else bits >> 8


def _silenced(frame: bytes) -> bytes:
    begin, side = _side(frame)
    # The first bits say where its bytes begin.
    kept = 9 if frame[1] >> 3 & 3 == 3 else 8
    told = int.from_bytes(frame[begin : begin + 2], "big") >> 16 - kept << 16 - kept
    return frame[:begin] + told.to_bytes(2, "big") + bytes(side - 2) + frame[begin + side :]


def _mark(frame_at: int, data: bytes, head: bytes) -> int:
    """Return the place of the mark in the coder's own frame; -1 where there is none."""
    begin, side = _side(head)
    mark = frame_at + begin + side
    return mark if data[mark : mark + 4] in _MARKS else -1


def _told(data: bytes, first: _Frame, head: bytes) -> int | None:
    """Return the coder's count of frames, with its own."""
    mark = _mark(first.at, data, head)
    if mark < 0 or not data[mark + 7] & 1:
        return None
    return int.from_bytes(data[mark + 8 : mark + 12], "big") + 1


def _retold(stream: bytes, head: bytes, count: int) -> bytes:
    """Return a stream whose coder's frame states its true length.

    Parameters
    ----------
    stream : bytes, its frames
    head : bytes, of the first one
    count : int, frames behind it; 0 leaves what it says
    """
    mark = _mark(0, stream, head)
    if mark < 0:
        return stream
    flags, place = stream[mark + 7], mark + 8
    for flag, value, least in ((1, count, 1), (2, len(stream), _BYTES_OFF * len(stream))):
        if flags & flag:
            told = int.from_bytes(stream[place : place + 4], "big")
            if value and abs(value - told) >= least:
                stream = stream[:place] + value.to_bytes(4, "big") + stream[place + 4 :]
            place += 4
    return stream


def _lengthened(frame: bytes, rest: bytes) -> bytes:
    whole = len(frame) + len(rest)
    for byte in range(frame[2] & 15, 256, 16):
        for padded in (byte & ~2, byte | 2):
            head = frame[:2] + bytes([padded]) + frame[3:4]
            if _size(head, head) == whole:
                return head + frame[4:] + rest
    return frame


def _samples(head: bytes) -> int:
    return 1152 if head[1] >> 3 & 3 == 3 else 576


def _rate(head: bytes) -> int:
    return _RATES[head[1] >> 3 & 3][head[2] >> 2 & 3]


def _offset(data: bytes, first: _Frame, head: bytes) -> int:
    """Return the samples that a decoder cuts off at the start, by the first frame."""
    mark = _mark(first.at, data, head)
    if mark < 0:
        return 0
    told = data[mark + _LAME_DELAY_AT : mark + _LAME_DELAY_AT + 3]
    delay = int.from_bytes(told, "big") >> 12
    known = data[mark + 120 : mark + 124].strip(b"\0")
    return _samples(head) + (delay + _DECODER_DELAY if known else 0)
