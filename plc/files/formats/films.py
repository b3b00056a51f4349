"""The streams of a film beside its sound, to be copied where the sound is written anew.

Their packets are copied as they are, and put between those of the sound by their times. Chapters,
languages, covers and attachments are kept; notice is given of what the format cannot hold.

Matroska stores when a picture is shown, not when it is decoded, and of streams with B pictures
FFmpeg often cannot tell the latter: their packets come without. As a film cannot be written without
both, they are found here.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from plc import notice
from plc.errors import AudioFileError
from plc.files.formats.ffmpeg import OF_COPY, is_cover, library, opened

# Pictures that are held until it is clear in which order they are shown, of which H.264 and HEVC
# exchange at most 16.
_HELD_PICTURES, _EXCHANGED = 64, 16
# Codings whose pictures AVI does not say the order of.
_REORDERED = ("h264", "hevc")
# Formats of FFmpeg that hide what lies before a film's first picture.
_HIDING = ("mp4", "mov")


def describe(source: Any, made: Any) -> None:
    """Give a stream the language, name and role of its source."""
    kept = {name: value for name, value in source.metadata.items() if name.upper() not in OF_COPY}
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
    def open(cls, path: Path) -> Self | None:
        """Open a video file; return None if FFmpeg cannot read it."""
        av = library()
        try:
            film = cls(av, path)
        except (AudioFileError, av.error.FFmpegError, OSError):
            return None
        if film.sound is not None:
            return film
        film.close()
        return None

    def copy_to(self, container: Any, stream: Any) -> str:
        """Add a copy of a stream to an output file; return its name if left out, else ``""``.

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
            raise self._unordered(stream, "AVI")
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
            If pictures do not say when they are shown.
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

    def _unordered(self, stream: Any, what: str) -> AudioFileError:
        return AudioFileError(
            f"{self.path}: {what} does not say when its pictures ({stream.name}) are shown; code "
            "them anew first: ffmpeg -i FILE -c:a copy film.mkv; or take .wav, the sound alone"
        )

    def _stamped(self) -> Iterator[Any]:
        """Yield all packets with the times at which they are decoded, each stream's in order.

        The muxer puts those of several streams in order.
        """
        copied = [stream for stream in self.streams if stream.index in self._copies]
        guessed = "matroska" in self._container.format.name
        orders = {
            stream.index: _Order(guessed, self._unordered(stream, "it"))
            for stream in copied
            if stream.type == "video"
        }
        ends = dict.fromkeys(self._copies, 0)
        hidden = False
        for packet in self._container.demux(copied) if copied else ():
            if not packet.size and packet.pts is None:  # it asks decoders for the rest
                continue
            hidden |= packet.is_discard
            index = packet.stream.index
            if index in orders:
                yield from orders[index].take(packet)
                continue
            if packet.pts is None:
                packet.pts = ends[index] if packet.dts is None else packet.dts
            packet.dts = packet.pts
            ends[index] = packet.pts + (packet.duration or 0)
            yield packet
        for order in orders.values():
            yield from order.finish()
        form = next(iter(self._copies.values())).container.format.name if copied else ""
        if hidden and form not in _HIDING:
            notice.tell_once(
                f"{self.path} hides what lies before its beginning (edit list), which only .mp4 "
                "and .mov can: it is shown"
            )

    def close(self) -> None:
        """Close the film."""
        self._container.close()


class _Order:
    """Times of a stream's pictures, as far as its packets lack them.

    Pictures are decoded at the times at which pictures are shown, in their order, as many pictures
    earlier as come before others that are shown first. One that does not say when it is shown is
    shown where its neighbours leave a gap.

    Parameters
    ----------
    guessed : bool, whether packets do not say when they are decoded, whatever their times
    error : AudioFileError or None, raised if none of the first packets says when it is shown
    """

    def __init__(self, guessed: bool = True, error: AudioFileError | None = None) -> None:
        self._guessed, self._error = guessed, error
        self._held: deque[Any] = deque()
        self._passed: deque[int] = deque(maxlen=_EXCHANGED)
        self._shown: list[int] = []
        self._last: int | None = None

    def take(self, packet: Any) -> list[Any]:
        self._held.append(packet)
        if packet.pts is not None:
            heapq.heappush(self._shown, packet.pts)
        return [self._next()] if len(self._held) > _HELD_PICTURES else []

    def finish(self) -> list[Any]:
        return [self._next() for _ in range(len(self._held))]

    def _next(self) -> Any:
        for place, packet in enumerate(self._held):
            if packet.pts is None and place <= max(0, len(self._held) - _EXCHANGED):
                packet.pts = self._missing(place)
                heapq.heappush(self._shown, packet.pts)
        stamps = [packet.pts for packet in self._held if packet.pts is not None]
        if self._last is None:
            depth = max(
                sum(other > stamp for other in stamps[:k]) for k, stamp in enumerate(stamps)
            )
            step = max(1, (max(stamps) - min(stamps)) // max(1, len(stamps) - 1))
            for k in range(1, depth + 1):
                heapq.heappush(self._shown, min(stamps) - k * step)
        packet = self._held.popleft()
        # Each picture behind it is decoded a tick later at least, and before it is shown.
        latest = min(stamp - k for k, stamp in enumerate(stamps[: _EXCHANGED + 1]))
        dts = None if self._guessed else packet.dts
        if dts is not None or self._shown[0] <= latest:  # else they begin to be exchanged more
            stamp = heapq.heappop(self._shown)
            latest = min(latest, stamp if dts is None else dts)
        packet.dts = latest if self._last is None else max(latest, self._last + 1)
        packet.pts = max(packet.pts, packet.dts)
        self._last = packet.dts
        self._passed.append(packet.pts)
        return packet

    def _missing(self, place: int) -> int:
        """Return when a picture is shown that does not say it, by those decoded around it."""
        packet, place = self._held[place], place + len(self._passed)
        stamps = [*self._passed, *(each.pts for each in self._held)]
        known = sorted({stamp for stamp in stamps if stamp is not None})
        if packet.dts is not None and packet.dts not in known:
            return int(packet.dts)
        if not known:
            assert self._error is not None
            raise self._error
        gaps = [(stop - start, start) for start, stop in itertools.pairwise(known)]
        step = sorted(gaps)[len(gaps) // 2][0] if gaps else 1
        begins = all(stamp is None for stamp in stamps[:place])
        free = [known[0] - step] * begins
        for gap, start in gaps:
            missing = round(gap / step) - 1
            free += [start + k * gap // (missing + 1) for k in (1, missing) if missing > 0]
        # Those that lack it are decoded about in the order in which they are shown.
        rising = (stamp for stamp in free if self._last is None or stamp > self._last)
        return int(next(rising, known[-1] + step))
