"""Files that were cut short: parts that their headers promise are missing.

Read are the sizes of the outermost parts of Matroska and WebM, MP4, CAF and AIFF.
"""

import os
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from plc import notice
from plc.files.containers.riff import HEADER_BYTES, UNFINISHED

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_UNKNOWN = 2**64 - 1
# A day of fragments of half a second.
_PARTS_MOST = 400_000


class Cut(NamedTuple):
    """Missing parts of a file: bytes at its end, and the index of an MP4 file."""

    missing: int = 0
    no_index: bool = False


def cut_of(path: Path) -> Cut:
    """Return the missing parts of a file, as far as it can be read and its headers say."""
    boxes: set[bytes] = set()
    try:
        with path.open("rb", buffering=0) as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(64).ljust(64, b"\0")
            end, as_mp4 = _promised(head), head[4:8] in _BOXES
            if as_mp4 or head.startswith(b"caff"):
                end, boxes = _walked(file, size, caf=not as_mp4)
    except OSError:
        return Cut()
    # MP4's index says how much is missing, in seconds; without it nothing can be read.
    told = 0 if as_mp4 and b"moof" not in boxes else end - size
    return Cut(told if told > HEADER_BYTES else 0, as_mp4 and b"moov" not in boxes)


def tell_cut(path: Path) -> None:
    """Give notice of a file that ends too soon."""
    if missing := cut_of(path).missing:
        notice.tell_once(
            f"{path} is cut short by {missing} bytes: it is read as far as it goes; copy it again, "
            "if you can"
        )


def _promised(head: bytes) -> int:
    """Return where Matroska or AIFF ends by its first bytes; 0 if they do not say."""
    if head.startswith(b"FORM"):
        size = int.from_bytes(head[4:8], "big")
        return 8 + size if size < UNFINISHED else 0
    if not head.startswith(b"\x1aE\xdf\xa3"):
        return 0
    size, at = _vint(head, 4)
    size, at = _vint(head, at + size + 4) if at + size < 48 else (_UNKNOWN, 0)
    return 0 if size == _UNKNOWN else at + size


def _vint(head: bytes, at: int) -> tuple[int, int]:
    """Return a number of Matroska, and the place of the byte behind it."""
    length = 9 - head[at].bit_length()
    if length > 8:
        return _UNKNOWN, 0
    most = (1 << 7 * length) - 1
    value = int.from_bytes(head[at : at + length], "big") & most
    return (_UNKNOWN if value == most else value), at + length


def _walked(file: FileIO, size: int, caf: bool) -> tuple[int, set[bytes]]:
    """Return where the last part of MP4 or CAF ends, and the kinds of all parts."""
    at = 8 if caf else 0
    kinds: set[bytes] = set()
    for _ in range(_PARTS_MOST):
        if at + 8 > size:
            return at, kinds
        file.seek(at)
        head = file.read(16).ljust(16, b"\0")
        if caf:
            kind, length = head[:4], 12 + int.from_bytes(head[4:12], "big", signed=True)
        else:
            kind, length = head[4:8], int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:], "big") if length == 1 else length
        if length < 8:  # up to the end of the file, or damaged
            return size, kinds | {kind}
        at += length
        kinds |= {kind} if at <= size else set()
    return size, kinds
