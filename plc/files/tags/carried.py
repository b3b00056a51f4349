"""Tags of recordings: title, artist, cover, BWF origin; carried from file to file.

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
import struct
from pathlib import Path

from plc import notice
from plc.errors import in_a_line
from plc.files.tags.values import DAMAGE, Tags
from plc.whole_files import open_beside


def read_tags(path: Path) -> Tags:
    """Return a file's tags, empty for an unknown format.

    Damaged tags are left out, and :mod:`plc.notice` is told.
    """
    from plc.files.tags import chunks, id3, vorbis

    try:
        with path.open("rb") as file:
            start = file.read(12)
            file.seek(0)
            if start[:4] in (b"RIFF", b"RF64", b"FORM"):
                return chunks.read(file)
            if start.startswith(b"fLaC"):
                return vorbis.read_flac(file)
            if start.startswith(b"OggS"):
                return vorbis.read_ogg(file)
            if start.startswith(b"ID3") or start[:1] == b"\xff":
                tags = id3.read_file(file)
                if file.read(4) != b"fLaC":
                    return tags
                file.seek(-4, os.SEEK_CUR)
                return vorbis.read_flac(file) or tags
    except DAMAGE as error:
        notice.tell(f"the tags of {path} are damaged and left out ({in_a_line(error)})")
    return Tags()


def write_tags(path: Path, place: Path, suffix: str, tags: Tags) -> None:
    """Write tags into a complete file that will take a place; the suffix says its format.

    Tags that the format cannot hold are left out, and the listener of :mod:`plc.notice` told.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from plc.files.tags import chunks, id3, vorbis

    if not tags:
        return
    if suffix == ".wav":
        chunks.append(path, tags)
        return
    write = {
        ".flac": vorbis.write_flac,
        ".ogg": vorbis.write_ogg,
        ".opus": vorbis.write_ogg,
        ".mp3": id3.write_file,
    }[suffix]
    beside, descriptor = open_beside(place)
    try:
        with os.fdopen(descriptor, "wb") as target, path.open("rb") as source:
            write(source, target, tags)
        os.replace(beside, path)
    except (ValueError, IndexError, struct.error) as error:
        notice.tell(f"the tags are left out ({in_a_line(error)})")
    finally:
        beside.unlink(missing_ok=True)
