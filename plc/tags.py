"""What a recording says of itself: title, artist, cover, BWF origin; carried from file to file.

Where source and target are of one kind, what was written is copied byte for byte: the chunks of a
WAV file (``bext``, ``LIST``, ``cue``, ``iXML``, whatever is not the audio), the blocks of FLAC,
the ID3 tag of MP3. Where they differ, names and values go by way of Vorbis comments::

    WAV    ─▶ chunks ──┐                                  ┌──▶ the same chunks; else INFO and ID3
    FLAC   ─▶ blocks ──┼─▶ Tags: comments and pictures ───┼──▶ blocks
    Ogg    ─▶ comments ┤                                  ├──▶ comments, pages numbered anew
    MP3    ─▶ ID3 ─────┘                                  └──▶ the same ID3; else one made anew

What cannot be read is left out, and said so: no recording is refused for its tags. Sizes are
bounded, and nothing that a file claims is believed before it was read.
"""

import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from plc import notice

# Of all tags of a file: large covers, no recordings.
BYTES_MAX = 1 << 26
# What damaged or hostile bytes lead to.
DAMAGE = (OSError, ValueError, IndexError, OverflowError, struct.error)
_COPY_BYTES = 1 << 20

_IMAGES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a recording; ``kind`` as ID3 and FLAC number them, 3 is the front cover."""

    data: bytes
    kind: int = 3
    mime: str = ""
    description: str = ""
    size: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Width, height, bits and colours; 0 where not known."""


@dataclass(frozen=True, slots=True)
class Tags:
    """Everything in a recording that is not its audio.

    Attributes
    ----------
    comments : tuple of (str, str)
        Names and values as in Vorbis comments; a name may come again.
    pictures : tuple of Picture
        Covers and others.
    chunks : tuple of (bytes, bytes)
        Of a WAV file, as they are: name and content.
    blocks : tuple of (int, bytes)
        Of FLAC, as they are, but for comments and pictures: kind and content.
    id3 : bytes
        A whole ID3v2 tag, as it is.
    """

    comments: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Picture, ...] = ()
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    blocks: tuple[tuple[int, bytes], ...] = ()
    id3: bytes = b""

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return bool(self.comments or self.pictures or self.chunks or self.blocks or self.id3)


def mime_of(data: bytes) -> str:
    """Return what kind of picture begins like this."""
    return next((kind for start, kind in _IMAGES.items() if data.startswith(start)), "")


def read_tags(path: Path) -> Tags:
    """Return what a file says of itself; nothing where its format is not known here.

    What is damaged is left out, and the listener of :mod:`plc.notice` told.
    """
    from plc import tags_id3, tags_riff, tags_vorbis

    try:
        with path.open("rb") as file:
            start = file.read(12)
            file.seek(0)
            if start[:4] in (b"RIFF", b"RF64", b"FORM"):
                return tags_riff.read(file)
            if start.startswith(b"fLaC"):
                return tags_vorbis.read_flac(file)
            if start.startswith(b"OggS"):
                return tags_vorbis.read_ogg(file)
            if start.startswith(b"ID3") or start[:1] == b"\xff":
                return tags_id3.read_file(file)
    except DAMAGE as error:
        notice.tell(f"the tags of {path} are damaged and left out ({_line(error)})")
    return Tags()


def write_tags(path: Path, suffix: str, tags: Tags) -> None:
    """Put tags into a complete file of the kind that ``suffix`` names, such as ``.flac``.

    Tags that the format cannot hold are left out, and the listener of :mod:`plc.notice` told.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from plc import tags_id3, tags_riff, tags_vorbis

    if not tags:
        return
    if suffix == ".wav":
        tags_riff.append(path, tags)
        return
    write = {
        ".flac": tags_vorbis.write_flac,
        ".ogg": tags_vorbis.write_ogg,
        ".opus": tags_vorbis.write_ogg,
        ".mp3": tags_id3.write_file,
    }[suffix]
    beside = path.with_name(f"{path.name}.tags")
    try:
        with path.open("rb") as source, beside.open("wb") as target:
            write(source, target, tags)
        os.replace(beside, path)
    except (ValueError, IndexError, struct.error) as error:
        notice.tell(f"the tags are left out ({_line(error)})")
    finally:
        beside.unlink(missing_ok=True)


def copy_rest(source: BinaryIO, target: BinaryIO) -> None:
    """Copy what is left of a file."""
    shutil.copyfileobj(source, target, _COPY_BYTES)


def take(file: BinaryIO, size: int) -> bytes:
    """Return exactly so many bytes of a file; raise ValueError for fewer, or too many."""
    if not 0 <= size <= BYTES_MAX:
        raise ValueError(f"{size} bytes; at most {BYTES_MAX} are kept")
    data = file.read(size)
    if len(data) < size:
        raise ValueError("cut short")
    return data


def text_of(data: bytes) -> str:
    """Return a text of unknown coding, as programs of either age write it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.partition("\0")[0].strip()


def mapped(values: Mapping[str, str], names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return values by the names of Vorbis comments, where they have one; without empty ones."""
    return tuple((names.get(name, name), value) for name, value in values.items() if value)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
