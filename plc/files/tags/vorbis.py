"""Tags of FLAC, Ogg Vorbis and Opus: comments and pictures.

A comment header in Ogg lies between others, in pages that carry a number and a checksum. A longer
one may take more pages; then all that follow are numbered anew, and their checksums with them.

References
----------
RFC 9639 (FLAC), RFC 7845 (Opus); "Vorbis I", clause 5 (comments).
"""

import base64
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from plc.files.containers import ogg
from plc.files.tags import values

_STREAMINFO, _APPLICATION, _SEEKTABLE, _COMMENT, _CUESHEET, _PICTURE = 0, 2, 3, 4, 5, 6
_BLOCK_BYTES_MAX = 2**24 - 1
_PICTURE_NAME = "METADATA_BLOCK_PICTURE"
_COMMENTS_MAX = 100_000
_HEADERS_MAX = 3


def read_flac(file: BinaryIO) -> values.Tags:
    """Return the tags of a FLAC file."""
    comments: list[tuple[str, str]] = []
    pictures: list[values.Picture] = []
    blocks: list[tuple[int, bytes]] = []
    kept = 0
    for kind, data in _blocks(file):
        kept += len(data)
        if kept > values.BYTES_MAX:
            raise ValueError(f"over {values.BYTES_MAX} bytes beside the audio")
        try:
            if kind == _COMMENT:
                comments += _comments(data)[1]
            elif kind == _PICTURE:
                pictures.append(_picture(data))
            elif kind in (_APPLICATION, _CUESHEET):
                blocks.append((kind, data))
        except values.DAMAGE as error:
            values.tell_left_out(file, f"a block of kind {kind}", error)
    return values.Tags(tuple(comments), tuple(pictures), blocks=tuple(blocks))


def write_flac(source: BinaryIO, target: BinaryIO, tags: values.Tags) -> None:
    """Copy a FLAC file with these tags in place of its own."""
    vendor, blocks = b"", []
    for kind, data in _blocks(source):
        if kind == _COMMENT:
            vendor = _comments(data)[0]
        elif kind in (_STREAMINFO, _SEEKTABLE):
            blocks.append((kind, data))
    blocks += tags.blocks
    blocks.append((_COMMENT, _packed_comments(vendor, tags.comments)))
    blocks += [(_PICTURE, _packed_picture(picture)) for picture in tags.pictures]
    blocks = [(kind, data) for kind, data in blocks if len(data) <= _BLOCK_BYTES_MAX]
    target.write(b"fLaC")
    for number, (kind, data) in enumerate(blocks, start=1):
        last = 0x80 if number == len(blocks) else 0
        target.write(bytes([kind | last]) + len(data).to_bytes(3, "big") + data)
    values.copy_rest(source, target)


def read_ogg(file: BinaryIO) -> values.Tags:
    """Return the tags of an Ogg Vorbis or Opus file."""
    pages = _pages(file)
    headers, _ = _headers(pages)
    _, comments = _comments(headers[1][_magic_bytes(headers[1]) :])
    pictures = []
    for name, value in comments:
        if name.upper() == _PICTURE_NAME:
            try:
                pictures.append(_picture(base64.b64decode(value, validate=True)))
            except values.DAMAGE:
                continue
    rest = [(name, value) for name, value in comments if name.upper() != _PICTURE_NAME]
    return values.Tags(tuple(rest), tuple(pictures))


def headers_of(file: BinaryIO) -> tuple[bytes, int]:
    """Return an Ogg file's first header, and where its audio begins."""
    headers, _ = _headers(_pages(file))
    return headers[0], file.tell()


def write_ogg(source: BinaryIO, target: BinaryIO, tags: values.Tags) -> None:
    """Copy an Ogg file of one stream, with other tags."""
    pages = _pages(source)
    headers, (flags, stream) = _headers(pages)
    start = headers[1][: _magic_bytes(headers[1])]
    vendor, _ = _comments(headers[1][len(start) :])
    pictures = [
        (_PICTURE_NAME, base64.b64encode(_packed_picture(picture)).decode())
        for picture in tags.pictures
    ]
    comments = _packed_comments(vendor, [*tags.comments, *pictures])
    framing = b"\x01" if start.endswith(b"vorbis") else b""
    headers[1] = start + comments + framing
    (first,) = ogg.pages_of([(headers[0], 0)], stream, 0)
    target.write(first._replace(flags=flags | ogg.FIRST).packed())
    number = 1
    for page in ogg.pages_of([(packet, 0) for packet in headers[1:]], stream, number):
        target.write(page.packed())
        number += 1
    for page in pages:
        target.write(page._replace(stream=stream, number=number).packed())
        number += 1


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each metadata block; the file then stands at the audio."""
    values.take(file, 4)
    last = False
    while not last:
        head = values.take(file, 4)
        last = bool(head[0] & 0x80)
        yield head[0] & 0x7F, values.take(file, int.from_bytes(head[1:], "big"))


def _comments(data: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    at = 4 + struct.unpack_from("<I", data)[0]
    vendor = data[4:at]
    (count,) = struct.unpack_from("<I", data, at)
    if count > _COMMENTS_MAX:
        raise ValueError(f"{count} comments")
    at += 4
    comments = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", data, at)
        text = data[at + 4 : at + 4 + size]
        if len(text) < size:
            raise ValueError("cut short")
        at += 4 + size
        name, _, value = values.text_of(text, whole=True).partition("=")
        comments.append((name, value))
    return vendor, comments


def _packed_comments(vendor: bytes, comments: Sequence[tuple[str, str]]) -> bytes:
    texts = [f"{_name(name)}={value}".encode("utf-8", "replace") for name, value in comments]
    packed = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(texts)) + packed


def _name(name: str) -> str:
    """Return a name as Vorbis comments allow it: printable ASCII without an equals sign."""
    return "".join(c if " " <= c <= "}" and c != "=" else "_" for c in name)


def _picture(data: bytes) -> values.Picture:
    kind, size = struct.unpack_from(">II", data)
    at = 8 + size
    mime = data[8:at].decode("ascii", "replace")
    (size,) = struct.unpack_from(">I", data, at)
    description = data[at + 4 : at + 4 + size].decode("utf-8", "replace")
    at += 4 + size
    *shape, size = struct.unpack_from(">5I", data, at)
    image = data[at + 20 : at + 20 + size]
    if len(image) < size:
        raise ValueError("a picture is cut short")
    return values.Picture(image, kind, mime, description, (shape[0], shape[1], shape[2], shape[3]))


def _packed_picture(picture: values.Picture) -> bytes:
    mime = (picture.mime or values.mime_of(picture.data)).encode("ascii", "replace")
    description = picture.description.encode("utf-8", "replace")
    return (
        struct.pack(">II", picture.kind, len(mime))
        + mime
        + struct.pack(">I", len(description))
        + description
        + struct.pack(">5I", *picture.size, len(picture.data))
        + picture.data
    )


def _pages(file: BinaryIO) -> Iterator[ogg.Page]:
    while head := file.read(ogg.HEAD.size):
        mark, version, flags, position, stream, number, _, count = ogg.HEAD.unpack(head)
        if mark != ogg.MARK or version != 0:
            raise ValueError("no page of Ogg where one should be")
        segments = values.take(file, count)
        content = values.take(file, sum(segments))
        yield ogg.Page(flags, position, stream, number, segments, content)


def _headers(pages: Iterator[ogg.Page]) -> tuple[list[bytes], tuple[int, int]]:
    """Return the header packets, and flags and stream of the first page.

    Audio begins on a page of its own, so that ``pages`` then goes on with it.
    """
    nothing = ogg.Page(0, 0, 0, 0, b"", b"")
    first = next(pages, nothing)
    packets, whole = [bytearray(first.content)], True
    wanted = 2 if first.content.startswith(b"OpusHead") else _HEADERS_MAX
    if not first.content.startswith((b"OpusHead", b"\x01vorbis")):
        raise ValueError("neither Vorbis nor Opus")
    size = 0
    while len(packets) < wanted or not whole:
        page = next(pages, nothing)
        size += len(page.content)
        if page.stream != first.stream or not page.segments or size > values.BYTES_MAX:
            raise ValueError("its headers are not whole")
        at = 0
        for length in page.segments:
            piece = page.content[at : at + length]
            at += length
            if whole:
                packets.append(bytearray(piece))
            else:
                packets[-1] += piece
            whole = length < ogg.SEGMENTS_MAX
    if len(packets) > wanted:
        raise ValueError("audio on a page of its headers")
    return [bytes(packet) for packet in packets], (first.flags & ~ogg.CONTINUED, first.stream)


def _magic_bytes(packet: bytes) -> int:
    for magic in (b"OpusTags", b"\x03vorbis"):
        if packet.startswith(magic):
            return len(magic)
    raise ValueError("there is no comment header")
