"""Contents of tags, and helpers of their readers."""

import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from plc import notice
from plc.errors import in_a_line

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
    pictures : tuple of Picture, covers and others
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
    """Return the MIME type of a picture by its first bytes."""
    return next((kind for start, kind in _IMAGES.items() if data.startswith(start)), "")


def copy_rest(source: BinaryIO, target: BinaryIO) -> None:
    """Copy the rest of a file."""
    shutil.copyfileobj(source, target, _COPY_BYTES)


def take(file: BinaryIO, size: int) -> bytes:
    """Return exactly this number of bytes of a file; raise ValueError otherwise."""
    if not 0 <= size <= BYTES_MAX:
        raise ValueError(f"{size} bytes; at most {BYTES_MAX} are kept")
    data = file.read(size)
    if len(data) < size:
        raise ValueError("cut short")
    return data


def text_of(data: bytes, whole: bool = False) -> str:
    """Decode a text of unknown encoding, UTF-8 or older; up to its end mark unless whole."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text if whole else text.partition("\0")[0].strip()


def mapped(values: Mapping[str, str], names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return values by the names of Vorbis comments, where they have one; without empty ones."""
    return tuple((names.get(name, name), value) for name, value in values.items() if value)


def tell_left_out(file: BinaryIO, what: str, error: Exception) -> None:
    """Give notice of damaged tags that are not copied."""
    notice.tell(f"{what} in {file.name} is damaged and left out ({in_a_line(error)})")
