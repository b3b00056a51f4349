"""Tags of WAV files (RIFF, RF64) and AIFF: the chunks beside the audio.

Into a WAV file they are appended behind the audio, where every reader of BWF looks, too: what
comes before it is fixed by then, and files of hours are not copied. A source of another kind
becomes ``LIST INFO``, which holds little, and ``id3``, which holds the rest.
"""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from plc import notice
from plc.files.containers import riff
from plc.files.containers.riff import Order
from plc.files.tags import id3, values

# What describes the samples themselves, or only fills: the target has its own.
_OWN = {b"fmt ", b"data", b"fact", b"PEAK", b"ds64", b"JUNK", b"junk", b"PAD ", b"FLLR", b"slnt"}
_OWN |= {b"MD5 ", b"levl", b"COMM", b"SSND", b"FVER"}  # sums and peaks of BWF; those of AIFF
_RIFF_BYTES_MAX = 2**32 - 1
_INFO = {
    "INAM": "TITLE",
    "IART": "ARTIST",
    "IPRD": "ALBUM",
    "ICRD": "DATE",
    "ICMT": "COMMENT",
    "IGNR": "GENRE",
    "ITRK": "TRACKNUMBER",
    "ICOP": "COPYRIGHT",
    "IENG": "ENGINEER",
    "ISBJ": "SUBJECT",
    "IKEY": "KEYWORDS",
    "ISRC": "SOURCE",
    "ILNG": "LANGUAGE",
}
_AIFF = {"NAME": "TITLE", "AUTH": "ARTIST", "(c) ": "COPYRIGHT", "ANNO": "COMMENT"}
# EBU Tech 3285: the texts of bext, by their lengths; then the place in the day, in samples.
_BEXT = (
    ("DESCRIPTION", 256),
    ("ORIGINATOR", 32),
    ("ORIGINATOR_REFERENCE", 32),
    ("ORIGINATION_DATE", 10),
    ("ORIGINATION_TIME", 8),
)
_BEXT_TEXTS = sum(size for _, size in _BEXT)
_BEXT_HEAD = 602  # up to the coding history


def read(file: BinaryIO) -> values.Tags:
    """Return the tags of a WAV or AIFF file."""
    aiff = file.read(4) == b"FORM"
    chunks = list(_chunks(file, "big" if aiff else "little"))
    comments: tuple[tuple[str, str], ...] = ()
    pictures: tuple[values.Picture, ...] = ()
    for name, data in chunks:
        try:
            found = _read_chunk(name, data, aiff)
        except values.DAMAGE as error:
            # Into a WAV file it goes as it is.
            values.tell_left_out(file, f"the text of {name.decode('latin-1')}", error)
            continue
        comments, pictures = comments + found.comments, pictures + found.pictures
    return values.Tags(tuple(dict.fromkeys(comments)), pictures, () if aiff else tuple(chunks))


def _read_chunk(name: bytes, data: bytes, aiff: bool) -> values.Tags:
    if name.lower() == b"id3 ":
        return id3.parse(data)
    if name == b"LIST" and data[:4] == b"INFO":
        return values.Tags(values.mapped(_infos(data[4:]), _INFO))
    if name == b"bext":
        return values.Tags(values.mapped(_origin(data), {}))
    if aiff and name.decode("latin-1") in _AIFF:
        return values.Tags(values.mapped({_AIFF[name.decode("latin-1")]: values.text_of(data)}, {}))
    return values.Tags()


def origin_tags(start_s: float, sample_rate: int) -> values.Tags:
    """Return tags that say when the first sample was due, in s since 1970.

    It is the chunk ``bext`` of EBU Tech 3285, in UTC; the place in the day is counted in samples.
    """
    start = datetime.fromtimestamp(start_s, UTC)
    texts = {"ORIGINATOR": "plc", "ORIGINATION_DATE": f"{start:%Y-%m-%d}"}
    texts["ORIGINATION_TIME"] = f"{start:%H:%M:%S}"
    head = b"".join(texts.get(name, "").encode().ljust(size, b"\0") for name, size in _BEXT)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    samples = round((start - midnight).total_seconds() * sample_rate)
    data = (head + struct.pack("<QH", samples, 1)).ljust(_BEXT_HEAD, b"\0")
    return values.Tags(values.mapped(_origin(data), {}), chunks=((b"bext", data),))


def append(path: Path, tags: values.Tags) -> None:
    """Append chunks to a WAV file, and correct its sizes."""
    chunks = tags.chunks or _made(tags)
    with path.open("r+b") as file:
        head = file.read(28)
        end = file.seek(0, 2)
        data = b"\0" * (end % 2) + b"".join(_packed(name, content) for name, content in chunks)
        size = end + len(data) - 8
        if head[:4] == b"RIFF" and size > _RIFF_BYTES_MAX:
            notice.tell("the tags are left out: with them a WAV file would pass its 4 GB")
            return
        file.write(data)
        if head[:4] == b"RIFF":
            file.seek(4)
            file.write(struct.pack("<I", size))
        elif head[12:16] == b"ds64":
            file.seek(20)
            file.write(struct.pack("<Q", size))


def bytes_of(tags: values.Tags) -> int:
    """Return how much room the chunks take in a WAV file."""
    return 1 + sum(len(data) + 9 for _, data in tags.chunks or _made(tags))


def _chunks(file: BinaryIO, order: Order) -> Iterator[tuple[bytes, bytes]]:
    kept = 0
    for chunk in riff.walk(file, order):
        if chunk.name in _OWN:
            continue
        kept += chunk.size
        if kept > values.BYTES_MAX:
            raise ValueError(f"over {values.BYTES_MAX} bytes beside the audio")
        file.seek(chunk.start)
        try:
            yield chunk.name, values.take(file, chunk.size)
        except ValueError as error:
            values.tell_left_out(file, f"the chunk {chunk.name.decode('latin-1')}", error)


def _infos(data: bytes) -> dict[str, str]:
    texts = {}
    at = 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        texts[name.decode("latin-1")] = values.text_of(data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return texts


def _origin(data: bytes) -> dict[str, str]:
    """Return a bext chunk's fields by FFmpeg's names."""
    texts = {}
    at = 0
    for name, size in _BEXT:
        texts[name] = values.text_of(data[at : at + size])
        at += size
    texts["TIME_REFERENCE"] = str(struct.unpack_from("<Q", data, _BEXT_TEXTS)[0])
    texts["CODING_HISTORY"] = values.text_of(data[_BEXT_HEAD:])
    return texts


def _made(tags: values.Tags) -> tuple[tuple[bytes, bytes], ...]:
    names = {comment: info for info, comment in _INFO.items()}
    infos: dict[str, str] = {}
    for name, value in tags.comments:
        if name.upper() in names:
            infos.setdefault(names[name.upper()], value)
    texts = b"".join(_packed(k.encode(), v.encode() + b"\0") for k, v in infos.items())
    chunks = [(b"LIST", b"INFO" + texts)] if texts else []
    tag = tags.id3 or id3.build(tags)
    return (*chunks, *([(b"id3 ", tag)] if tag else []))


def _packed(name: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", name, len(data)) + data + b"\0" * (len(data) % 2)
