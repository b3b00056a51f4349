"""PyAV, and how it opens a file: for reading and writing by FFmpeg."""

from pathlib import Path
from types import ModuleType
from typing import Any

from plc.errors import AudioFileError, why
from plc.extras import needed
from plc.files.containers.cut import cut_of

# FFmpeg's names and those of Vorbis comments.
NAMES = {"TRACK": "TRACKNUMBER", "DISC": "DISCNUMBER", "ALBUM_ARTIST": "ALBUMARTIST"}
# What says something of a container, or of the stream as it was coded, alone.
OF_COPY = {"MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS", "ENCODER", "HANDLER_NAME",
           "VENDOR_ID", "DURATION"}  # fmt: skip


def library() -> ModuleType:
    """Return PyAV; raise MissingExtraError without it."""
    with needed("PyAV reads many more formats", "media"):
        import av
        import av.error
    return av


def opened(av: ModuleType, path: Path) -> Any:
    """Open a file; raise AudioFileError if FFmpeg cannot."""
    try:
        try:
            # "file:" keeps a name with a colon from being taken for a protocol.
            return av.open(f"file:{path}")
        except UnicodeEncodeError:  # a name that is no UTF-8
            return av.open(path.open("rb"))
    except (av.error.FFmpegError, OSError) as error:
        lacks = cut_of(path)
        if lacks.no_index:
            raise AudioFileError(
                f"{path} is cut short: it lacks the index of MP4 (moov), which recorders write "
                "last, and cannot be read without it; copy it again, or rebuild the index with "
                "untrunc and a whole recording of the same device"
            ) from error
        reason = f"{lacks.missing} bytes are cut off" if lacks.missing else why(error)
        raise AudioFileError(
            f"{path} is not an audio file that libsndfile or FFmpeg reads ({reason})"
        ) from error


def is_cover(av: ModuleType, stream: Any) -> bool:
    """Return whether a stream of video is a picture of the whole file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
