"""Tags of MP3: ID3, versions 2.2 to 2.4 read, 2.4 written, 1 read where there is no other.

References
----------
The documents "ID3 tag version 2.3.0" and "2.4.0 - Main Structure", "- Native Frames" (id3.org).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from plc.files.tags.values import (
    BYTES_MAX,
    Picture,
    Tags,
    copy_rest,
    mapped,
    mime_of,
    take,
    text_of,
)

_HEAD = 10
_UNSYNCHRONISED, _EXTENDED = 0x80, 0x40
_TEXTS = {
    "TIT2": "TITLE",
    "TPE1": "ARTIST",
    "TALB": "ALBUM",
    "TDRC": "DATE",
    "TYER": "DATE",
    "TCON": "GENRE",
    "TRCK": "TRACKNUMBER",
    "TPE2": "ALBUMARTIST",
    "TCOM": "COMPOSER",
    "TEXT": "LYRICIST",
    "TCOP": "COPYRIGHT",
    "TPOS": "DISCNUMBER",
    "TSRC": "ISRC",
    "TBPM": "BPM",
    "TPUB": "ORGANIZATION",
    "TLAN": "LANGUAGE",
}
# Version 2.2 has names of three letters.
_SHORT = {
    "TT2": "TIT2",
    "TP1": "TPE1",
    "TAL": "TALB",
    "TYE": "TYER",
    "TCO": "TCON",
    "TRK": "TRCK",
    "TP2": "TPE2",
    "TCM": "TCOM",
    "TCR": "TCOP",
    "TPA": "TPOS",
    "COM": "COMM",
    "TXX": "TXXX",
}
_FRAMES = {comment: frame for frame, comment in _TEXTS.items() if frame != "TYER"}
_CODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
_UTF8 = b"\x03"
# Version 1: the last 128 bytes, texts of fixed length.
_OLD = struct.Struct("3s30s30s30s4s30sB")


def read_file(file: BinaryIO) -> Tags:
    """Return the tags of an MP3 file."""
    head = file.read(_HEAD)
    if head.startswith(b"ID3") and len(head) == _HEAD:
        file.seek(0)
        tag = take(file, _HEAD + _syncsafe(head[6:]))
        parsed = parse(tag)
        return Tags(parsed.comments, parsed.pictures, id3=tag)
    if file.seek(0, 2) >= _OLD.size:
        file.seek(-_OLD.size, 2)
        return Tags(_old(file.read()))
    return Tags()


def tag_bytes(file: BinaryIO) -> int:
    """Return the length of the tag that an MP3 file begins with."""
    head = file.read(_HEAD)
    return _HEAD + _syncsafe(head[6:]) if head.startswith(b"ID3") else 0


def write_file(source: BinaryIO, target: BinaryIO, tags: Tags) -> None:
    """Copy an MP3 file with these tags in place of its own."""
    source.seek(tag_bytes(source))
    target.write(tags.id3 or build(tags))
    copy_rest(source, target)


def parse(tag: bytes) -> Tags:
    """Parse a whole ID3v2 tag."""
    if len(tag) < _HEAD or tag[:3] != b"ID3" or not 2 <= tag[3] <= 4:
        raise ValueError("no ID3 tag of version 2.2 to 2.4")
    version, flags = tag[3], tag[5]
    body = tag[_HEAD : _HEAD + _syncsafe(tag[6:10])]
    if flags & _UNSYNCHRONISED and version < 4:
        body = body.replace(b"\xff\x00", b"\xff")
    if flags & _EXTENDED and version > 2:
        size = _syncsafe(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4], "big")
        body = body[size:]
    comments: list[tuple[str, str]] = []
    pictures = []
    for name, data in _frames(body, version):
        if name == "APIC" and data:
            pictures.append(_attached(data))
        elif name in ("COMM", "TXXX") and data:
            comments += _described(name, data)
        elif name in _TEXTS and data:
            values = _text(data).split("\0")
            comments += [(_TEXTS[name], value) for value in values if value]
    return Tags(tuple(dict.fromkeys(comments)), tuple(pictures))


def build(tags: Tags) -> bytes:
    """Return an ID3v2.4 tag; nothing where there is nothing to say."""
    named: dict[str, list[str]] = {}
    for name, value in tags.comments:
        named.setdefault(name.upper(), []).append(value)
    frames = []
    for name, values in named.items():
        text = "\0".join(values).encode("utf-8", "replace")
        if name in _FRAMES:
            frames.append(_frame(_FRAMES[name], _UTF8 + text))
        elif name == "COMMENT":
            frames.append(_frame("COMM", _UTF8 + b"XXX\0" + text))
        else:
            described = _UTF8 + name.encode("utf-8", "replace") + b"\0" + text
            frames.append(_frame("TXXX", described))
    for picture in tags.pictures:
        mime = (picture.mime or mime_of(picture.data)).encode("latin-1", "replace")
        description = picture.description.encode("utf-8", "replace")
        kind = bytes([picture.kind & 0xFF])
        data = _UTF8 + mime + b"\0" + kind + description + b"\0" + picture.data
        frames.append(_frame("APIC", data))
    body = b"".join(frames)
    if len(body) > BYTES_MAX:
        raise ValueError(f"over {BYTES_MAX} bytes of tags")
    return b"ID3\x04\0\0" + _as_syncsafe(len(body)) + body if body else b""


def _frames(body: bytes, version: int) -> Iterator[tuple[str, bytes]]:
    at, names, head = 0, 3 if version == 2 else 4, 6 if version == 2 else _HEAD
    while at + head <= len(body) and body[at] != 0:
        name = body[at : at + names].decode("latin-1")
        size_bytes = body[at + names : at + 2 * names]
        size = _syncsafe(size_bytes) if version == 4 else int.from_bytes(size_bytes, "big")
        form = 0 if version == 2 else body[at + 9]
        data = body[at + head : at + head + size]
        if len(data) < size:
            raise ValueError("an ID3 frame is cut short")
        at += head + size
        if version == 4 and form & 0x0F:
            if form & 0x0C:
                continue
            data = data[4:] if form & 0x01 else data
            data = data.replace(b"\xff\x00", b"\xff") if form & 0x02 else data
        elif version == 3 and form:
            continue
        yield _SHORT.get(name, name) if version == 2 else name, data


def _text(data: bytes) -> str:
    if data[0] >= len(_CODINGS):
        raise ValueError(f"coding {data[0]} of a text; 0 to 3 are known")
    return data[1:].decode(_CODINGS[data[0]], "replace").rstrip("\0")


def _described(name: str, data: bytes) -> list[tuple[str, str]]:
    start = 4 if name == "COMM" else 1  # a comment has a language of three letters
    description, _, text = _text(data[:1] + data[start:]).partition("\0")
    text = text.removeprefix("\ufeff")
    if name == "COMM":
        return [("COMMENT", text)] if text and not description else []
    return [(description.upper(), value) for value in text.split("\0") if description and value]


def _attached(data: bytes) -> Picture:
    mime, _, rest = data[1:].partition(b"\0")
    kind, rest = rest[0], rest[1:]
    if data[0] in (1, 2):  # two bytes a letter
        ends = (i for i in range(0, len(rest) - 1, 2) if rest[i : i + 2] == b"\0\0")
        end = next(ends, len(rest))
        description, image = rest[:end], rest[end + 2 :]
    else:
        description, _, image = rest.partition(b"\0")
    return Picture(image, kind, mime.decode("latin-1"), _text(data[:1] + description))


def _old(data: bytes) -> tuple[tuple[str, str], ...]:
    mark, title, artist, album, year, comment, _ = _OLD.unpack(data)
    if mark != b"TAG":
        return ()
    texts = {"TITLE": title, "ARTIST": artist, "ALBUM": album, "DATE": year, "COMMENT": comment}
    values = {name: text_of(text) for name, text in texts.items()}
    if comment[28] == 0 and comment[29]:
        values["TRACKNUMBER"] = str(comment[29])
    return mapped(values, {})


def _frame(name: str, data: bytes) -> bytes:
    return name.encode() + _as_syncsafe(len(data)) + b"\0\0" + data


def _syncsafe(data: bytes) -> int:
    if len(data) < 4 or any(byte & 0x80 for byte in data[:4]):
        raise ValueError("a size in an ID3 tag is invalid")
    return data[0] << 21 | data[1] << 14 | data[2] << 7 | data[3]


def _as_syncsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
