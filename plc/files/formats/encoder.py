"""Files that FFmpeg's libraries write, through PyAV: M4A, MP4, Matroska, and films among them."""

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.errors import AudioFileError, why
from plc.files.formats.ffmpeg import NAMES, library
from plc.files.formats.films import Film, describe
from plc.files.tags.values import Tags, mime_of
from plc.notice import counted

# FFmpeg's format of a suffix, and the codings that may be kept from the source, the first for any
# other source.
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".m4a": ("mp4", ("aac", "alac")),
    ".mp4": ("mp4", ("aac", "alac", "mp3", "ac3", "eac3")),
    ".mov": ("mov", ("aac", "alac", "mp3", "ac3", "eac3", "pcm_s16le", "pcm_s24le")),
    ".mkv": ("matroska", ("flac", "alac", "aac", "opus", "mp3", "ac3", "eac3", "pcm_s16le")),
    ".mka": ("matroska", ("flac", "alac", "aac", "opus", "mp3", "ac3", "eac3", "pcm_s16le")),
    ".webm": ("webm", ("opus",)),
}
WIDEST = ".wav holds any rate and number of channels, .flac up to 655350 Hz and 8 channels"
"""Said where a format cannot hold a recording."""
_ENCODERS = {"opus": "libopus", "mp3": "libmp3lame"}
# libsndfile's names of what these store exactly.
_EXACT = {
    "flac": ("PCM_16", "PCM_24"),
    "alac": ("PCM_16", "PCM_24"),
    "pcm_s16le": ("PCM_16",),
    "pcm_s24le": ("PCM_24",),
}
# A second coding costs less when it is not sparing.
BITRATE_OF_A_CHANNEL = 96_000
_NAMES_WRITTEN = {ours: theirs for theirs, ours in NAMES.items()}
# A cover's name in Matroska, and the demuxer that reads its size.
_COVERS = {"image/jpeg": ("cover.jpg", "jpeg_pipe"), "image/png": ("cover.png", "png_pipe")}
_EDITED = (".m4a", ".mp4", ".mov")
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@dataclass(frozen=True, slots=True)
class Source:
    """A recording that is written anew: its coding, its bit rate, and the streams beside it."""

    codec: str | None
    bitrate: int | None
    streams: Film | None = None


def coding(suffix: str, source_codec: str | None, source_subtype: str | None) -> tuple[str, str]:
    """Return codec and subtype for a target.

    Parameters
    ----------
    suffix : str, one of :data:`FORMATS`
    source_codec : str or None, FFmpeg's name of the source's coding; it is kept if the format can
    source_subtype : str or None, libsndfile's name of it

    Returns
    -------
    codec, subtype : str
        The subtype is ``PCM_16`` or ``PCM_24`` for what is stored exactly, else the codec's name.
    """
    codecs = FORMATS[suffix][1]
    codec = source_codec if source_codec in codecs else codecs[0]
    assert codec is not None
    exact = _EXACT.get(codec)
    if exact is None:
        return codec, codec
    wider = source_subtype in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
    return codec, exact[-1] if wider else exact[0]


class MediaEncoder:
    """Writes an audio stream, and copies of a film's other streams.

    Parameters
    ----------
    file : BinaryIO, to write to, from its beginning; :meth:`close` closes it
    suffix : str, one of :data:`FORMATS`
    codec, subtype : str, as of :func:`coding`
    sample_rate, channels : int, of the sound
    bitrate : int or None, in bit/s, for a coding that has one; by default 96 kbit/s a channel
    tags : Tags, names, values and covers
    film : Film or None, whose other streams are copied; it is closed with this

    Raises
    ------
    AudioFileError
        If the format cannot hold the sound or the streams.
    """

    def __init__(
        self,
        file: BinaryIO,
        suffix: str,
        codec: str,
        subtype: str,
        sample_rate: int,
        channels: int,
        bitrate: int | None,
        tags: Tags,
        film: Film | None,
    ) -> None:
        self.av = library()
        self._file, self._rate = file, sample_rate
        self._sample_format = {"PCM_16": "s16", "PCM_24": "s32"}.get(subtype, "flt")
        self._container: Any = None
        self._film = film
        self._position = round(self._film.begin_s * sample_rate) if self._film else 0
        try:
            self._container = self.av.open(
                file, "w", format=FORMATS[suffix][0], options=_options(suffix, sample_rate)
            )
            self._stream: Any = self._add_streams(_ENCODERS.get(codec, codec), channels)
            if self._sample_format != "flt":
                self._stream.format = self._exact_format()
            if subtype == codec:
                self._stream.bit_rate = bitrate or BITRATE_OF_A_CHANNEL * channels
            for name, value in tags.comments:
                self._container.metadata[_NAMES_WRITTEN.get(name, name).lower()] = value
            covers = self._add_covers(suffix, tags)
            self._container.start_encoding()
            self._container.mux(covers)
        except (self.av.error.FFmpegError, OSError, ValueError) as error:
            self._end_films()
            if isinstance(error, AudioFileError):
                raise
            beside = " beside the other streams of its source" if self._film else ""
            raise AudioFileError(
                f"{suffix} cannot hold {counted(channels, 'channel')} of {codec} at {sample_rate} "
                f"Hz{beside} ({why(error)}); {WIDEST}, .mkv most films"
            ) from error

    def _add_streams(self, encoder: str, channels: int) -> Any:
        usual = _LAYOUTS.get(channels, f"{channels}c")
        if self._film is None:
            return self._container.add_stream(encoder, rate=self._rate, layout=usual)
        made, left_out = None, []
        for stream in self._film.streams:
            if stream is not self._film.sound:
                left_out.append(self._film.copy_to(self._container, stream))
                continue
            # PCM may say how many channels it has, and not which.
            layout = usual if " " in stream.layout.name else stream.layout.name
            made = self._container.add_stream(encoder, rate=self._rate, layout=layout)
            describe(stream, made)
        if told := ", ".join(filter(None, left_out)):
            form = self._container.format.name
            notice.tell_once(f"{self._film.path}: {told} left out, as {form} cannot hold that")
        if self._film.chapters:
            self._container.set_chapters(self._film.chapters)
        return made

    def _exact_format(self) -> str:
        """Return the coder's own name of our format, interleaved or by channels."""
        names: list[str] = [each.name for each in self._stream.codec_context.codec.audio_formats]
        return next(name for name in names if name.startswith(self._sample_format))

    def _add_covers(self, suffix: str, tags: Tags) -> list[Any]:
        packets = []
        for picture in tags.pictures:
            mime = picture.mime or mime_of(picture.data)
            name, demuxer = _COVERS.get(mime, ("", ""))
            if not name or FORMATS[suffix][0] == "webm":
                notice.tell_once(f"{suffix} cannot hold a cover ({mime or 'unknown'}): left out")
            elif FORMATS[suffix][0] == "matroska":
                self._container.add_attachment(name, mime, picture.data)
            elif suffix in _EDITED:
                with self.av.open(io.BytesIO(picture.data), format=demuxer) as cover:
                    stream = self._container.add_stream_from_template(cover.streams.video[0])
                stream.disposition = self.av.stream.Disposition.attached_pic
                packet = self.av.Packet(picture.data)
                packet.stream, packet.pts, packet.dts = stream, 0, 0
                packets.append(packet)
        return packets

    def write(self, block: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """Append samples: float32 or left-aligned int32, shape (n, channels).

        Raises
        ------
        OSError
            If they cannot be written.
        """
        if not len(block):
            return
        samples: NDArray[Any] = block
        if self._sample_format == "s16":
            samples = (block.astype(np.int32) >> 16).astype(np.int16)
        frame = self.av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples).reshape(1, -1),
            format=self._sample_format,
            layout=self._stream.layout,
        )
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._position
        self._position += len(block)
        self._mux(self._stream.encode(frame))
        if self._film is not None:
            self._mux(self._film.packets(self._position / self._rate))

    def close(self) -> None:
        """Write the rest, also of the video; raise OSError if that fails."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            self._mux(self._stream.encode(None), container)
            if self._film is not None:
                self._mux(self._film.packets(math.inf), container)
        finally:
            self._end_films()
            try:
                container.close()
            except self.av.error.FFmpegError as error:
                raise OSError(why(error)) from error
            finally:
                self._file.close()

    def _mux(self, packets: Iterable[Any], container: Any = None) -> None:
        for packet in packets:
            try:
                (container or self._container).mux(packet)
            except self.av.error.FFmpegError as error:
                what = packet.stream.type if self._film else "sound"
                told = "" if isinstance(error, OSError) else f" ({what}; .mkv takes most films)"
                raise OSError(f"{why(error)}{told}") from error

    def _end_films(self) -> None:
        if self._film is not None:
            self._film.close()


def _options(suffix: str, sample_rate: int) -> dict[str, str]:
    if suffix not in _EDITED:
        return {}
    # Edit lists, which say where the sound begins and ends, count in these units.
    options = {"movie_timescale": str(sample_rate)}
    return {**options, "brand": "M4A "} if suffix == ".m4a" else options
