"""A film's streams beside the sound that is written anew: their packets, copied as they are.

Matroska stores when a picture is shown, not when it is decoded, and of streams with B pictures
FFmpeg often cannot tell the latter: their packets come without. As a film cannot be written without
both, they are found here.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from plc import notice
from plc.errors import AudioFileError, why
from plc.files.containers.cut import cut_of

# What says something of a container, or of the stream as it was coded, alone.
_OF_COPY = {"MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS", "ENCODER", "HANDLER_NAME",
            "VENDOR_ID", "DURATION"}  # fmt: skip
OWN = {*_OF_COPY, "LANGUAGE"}
# Pictures that are held until it is clear in which order they are shown, of which H.264 and HEVC
# exchange at most 16.
_HELD_PICTURES = 64
# Codings whose pictures AVI does not say the order of.
_REORDERED = ("h264", "hevc")
# Formats of FFmpeg that hide what lies before a film's first picture.
_HIDING = ("mp4", "mov")


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
        reason = f"{lacks.missing} bytes are cut off" if lacks.missing else reason_of(error)
        raise AudioFileError(
            f"{path} is not an audio file that libsndfile or FFmpeg reads ({reason})"
        ) from error


def reason_of(error: BaseException) -> str:
    """Return FFmpeg's reason without its number and our path."""
    if isinstance(error, OSError):
        return why(error)
    return getattr(error, "strerror", None) or str(error)


def is_cover(av: ModuleType, stream: Any) -> bool:
    """Return whether a stream of video is a picture of the whole file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def describe(source: Any, made: Any) -> None:
    """Give a stream the language, name and role of its source."""
    kept = {name: value for name, value in source.metadata.items() if name.upper() not in _OF_COPY}
    made.metadata.update(kept)
    made.disposition = source.disposition


class Film:
    """The streams beside a recording's sound, to be copied."""

    def __init__(self, av: ModuleType, path: Path) -> None:
        self.av, self.path = av, path
        self._container: Any = opened(av, path)
        self.sound: Any = next(iter(self._container.streams.audio), None)
        self.streams = [
            stream
            for stream in self._container.streams
            if not (stream.type == "video" and is_cover(av, stream))
        ]
        self.chapters = self._container.chapters()
        self._copies: dict[int, Any] = {}
        self._waiting: Any = None
        self._left: Iterator[Any] | None = None
        with opened(av, path) as container:
            frame = next(container.decode(audio=0), None)
        self.begin_s = float(frame.time or 0.0) if frame is not None else 0.0

    @classmethod
    def open(cls, av: ModuleType, path: Path | None) -> Self | None:
        """Open a video file; return None if FFmpeg cannot read it."""
        if path is None:
            return None
        try:
            film = cls(av, path)
        except (AudioFileError, av.error.FFmpegError, OSError):
            return None
        if film.sound is not None:
            return film
        film.close()
        return None

    def copy_to(self, container: Any, stream: Any) -> str:
        """Add a copy of an input stream to an output file; return what is left out, or ``""``.

        Raises
        ------
        AudioFileError
            If the format cannot hold a stream of pictures or sound, or its times are not known.
        """
        form, codec = container.format.name, stream.codec_context
        named = codec.codec.canonical_name if codec else stream.metadata.get("handler_name", "")
        if stream.type == "attachment":
            named = stream.metadata.get("filename") or f"attachment {stream.index}"
            if form == "matroska":
                mime = stream.mimetype or "application/octet-stream"
                container.add_attachment(named, mime, stream.data)
                return ""
            return f"the attachment {named}"
        if stream.type not in ("video", "audio", "subtitle"):
            # Its value is among what is said of the pictures; MP4 makes the stream of that.
            known = "timecode" in stream.metadata
            return "" if known else f"stream {stream.index} ({stream.type} {named}".rstrip() + ")"
        is_avi = self._container.format.name == "avi"
        if is_avi and stream.name in _REORDERED and codec.has_b_frames:
            raise AudioFileError(
                f"{self.path}: AVI does not say when its B pictures ({named}) are shown; code them "
                "anew first: ffmpeg -i FILE -c:a copy film.mkv; or take .wav, the sound alone"
            )
        try:
            made = container.add_stream_from_template(stream, opaque=True)
        except ValueError as error:
            if stream.type == "subtitle":
                return f"the subtitles {stream.index} ({named})"
            raise AudioFileError(
                f"{form} cannot hold stream {stream.index} of {self.path} ({stream.type}, "
                f"{named or 'of an unknown coding'}); .mkv holds most, .wav the sound alone"
            ) from error
        if codec.codec_tag == "hvc1" and form in _HIDING:  # QuickTime plays no other HEVC
            made.codec_context.codec_tag = codec.codec_tag
        describe(stream, made)
        self._copies[stream.index] = made
        return ""

    def packets(self, until_s: float) -> Iterator[Any]:
        """Yield the packets to be copied that are decoded before a time.

        Raises
        ------
        AudioFileError
            If one has no place in time.
        """
        if self._left is None:
            self._left = self._stamped()
        while (packet := self._waiting or next(self._left, None)) is not None:
            self._waiting = packet
            if float(packet.dts * packet.time_base) > until_s:
                return
            self._waiting = None
            packet.stream = self._copies[packet.stream.index]
            yield packet

    def _stamped(self) -> Iterator[Any]:
        """Yield all packets with the times at which they are decoded, each stream's in order.

        The muxer puts those of several streams in order.
        """
        copied = [stream for stream in self.streams if stream.index in self._copies]
        guessed = "matroska" in self._container.format.name
        orders = {stream.index: _Order() for stream in copied}
        hidden = False
        for packet in self._container.demux(copied) if copied else ():
            if not packet.size and packet.pts is None:  # it asks decoders for the rest
                continue
            if packet.pts is None:
                packet.pts = packet.dts
            if packet.pts is None:
                raise self._untimed(packet.stream)
            hidden |= packet.is_discard
            if packet.stream.type == "video" and (guessed or packet.dts is None):
                yield from map(self._checked, orders[packet.stream.index].take(packet))
                continue
            if packet.dts is None:
                packet.dts = packet.pts
            yield self._checked(packet)
        for order in orders.values():
            yield from map(self._checked, order.finish())
        form = next(iter(self._copies.values())).container.format.name if copied else ""
        if hidden and form not in _HIDING:
            notice.tell_once(
                f"{self.path} hides what lies before its beginning (edit list), which only .mp4 "
                "and .mov can: it is shown"
            )

    def _checked(self, packet: Any) -> Any:
        if packet.dts > packet.pts:
            raise self._untimed(packet.stream)
        return packet

    def _untimed(self, stream: Any) -> AudioFileError:
        return AudioFileError(
            f"{self.path}: its stream {stream.index} ({stream.type}) has no usable time stamps and "
            "cannot be copied; give it some: ffmpeg -fflags +genpts -i FILE -c copy film.mkv"
        )

    def close(self) -> None:
        """Close the film."""
        self._container.close()


class _Order:
    """Times at which the pictures of a stream are decoded, where its packets have none.

    These are the times at which pictures are shown, in their order, as many pictures earlier as
    come before others that are shown first.
    """

    def __init__(self) -> None:
        self._held: deque[Any] = deque()
        self._shown: list[int] = []
        self._depth: int | None = None
        self._last: int | None = None

    def take(self, packet: Any) -> list[Any]:
        """Take the next packet; return those that have their time."""
        packet.dts = None
        self._held.append(packet)
        heapq.heappush(self._shown, packet.pts)
        return [self._next()] if len(self._held) > _HELD_PICTURES else []

    def finish(self) -> list[Any]:
        """Return the other packets, with their times."""
        return [self._next() for _ in range(len(self._held))]

    def _next(self) -> Any:
        if self._depth is None:
            stamps = [packet.pts for packet in self._held]
            self._depth = max(
                sum(other > stamp for other in stamps[:k]) for k, stamp in enumerate(stamps)
            )
            step = max(1, (max(stamps) - min(stamps)) // max(1, len(stamps) - 1))
            for k in range(1, self._depth + 1):
                heapq.heappush(self._shown, min(stamps) - k * step)
        packet = self._held.popleft()
        stamp = heapq.heappop(self._shown)
        # Two may be shown at one time, and then be decoded so.
        least = stamp if self._last is None else min(self._last + 1, packet.pts)
        packet.dts = self._last = max(stamp, least)
        return packet
