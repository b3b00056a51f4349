"""Files that FFmpeg's libraries read and write, through PyAV: M4A, MP4, Matroska and others.

Of a film the first audio stream is read. A film whose sound is written anew keeps its other
streams: their packets are copied as they are, and put between those of the sound by their times.
Chapters, languages, covers and attachments are kept. What the format cannot hold is told.
"""

import contextlib
import io
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.errors import AudioFileError, MissingExtraError
from plc.extras import install_command
from plc.files.formats import flac_frames
from plc.files.formats.films import OWN, Film, describe, is_cover, opened, reason_of
from plc.files.tags.values import Picture, Tags, mapped, mime_of
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
# Names of files that are read, besides those that are written and those of libsndfile.
READ_SUFFIXES = (".wma", ".aac", ".ac3", ".avi", ".mpg", ".ts", ".mts", ".m4v", ".3gp")
_ENCODERS = {"opus": "libopus", "mp3": "libmp3lame"}
# libsndfile's names of what these store exactly.
_EXACT = {
    "flac": ("PCM_16", "PCM_24"),
    "alac": ("PCM_16", "PCM_24"),
    "pcm_s16le": ("PCM_16",),
    "pcm_s24le": ("PCM_24",),
}
_SUBTYPES = {
    "pcm_u8": "PCM_U8",
    "pcm_s16le": "PCM_16",
    "pcm_s16be": "PCM_16",
    "pcm_s24le": "PCM_24",
    "pcm_s24be": "PCM_24",
    "pcm_s32le": "PCM_32",
    "pcm_f32le": "FLOAT",
    "pcm_f64le": "DOUBLE",
}
# A second coding costs less when it is not sparing.
BITRATE_OF_A_CHANNEL = 96_000
# Codecs end on a whole frame; the longest is AAC's with spectral band replication.
_FRAME_MAX = 2048
# A file that ends sooner than its header says by more than this was cut, not damaged.
_CUT_S = 1.0
# Stamps that jump further are none, and shorter jumps are their rounding.
_JUMP_MOST_S, _STAMP_S = 600, 0.003
# Frames that need those before them: one, which they overlap with; those of MP3 also begin in
# bytes that are left over in the last ones (the "bit reservoir").
_REACHES = {"mp3": 3}

# FFmpeg's names and those of Vorbis comments; and what says something of a container alone.
_NAMES = {"TRACK": "TRACKNUMBER", "DISC": "DISCNUMBER", "ALBUM_ARTIST": "ALBUMARTIST"}
_NAMES_WRITTEN = {ours: theirs for theirs, ours in _NAMES.items()}
# A cover's name in Matroska, and the demuxer that reads its size.
_COVERS = {"image/jpeg": ("cover.jpg", "jpeg_pipe"), "image/png": ("cover.png", "png_pipe")}
_EDITED = (".m4a", ".mp4", ".mov")
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def library() -> ModuleType:
    """Return PyAV; raise MissingExtraError without it."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise MissingExtraError(
            f"PyAV reads many more formats: {install_command('media')}"
        ) from error
    return av


def coding(suffix: str, source_codec: str | None, source_subtype: str | None) -> tuple[str, str]:
    """Return codec and subtype for a target.

    Parameters
    ----------
    suffix : str
        One of :data:`FORMATS`.
    source_codec : str or None
        FFmpeg's name of the source's coding; it is kept if the format can.
    source_subtype : str or None
        libsndfile's name of it.

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


class MediaDecoder:
    """The first audio stream of a file that FFmpeg reads."""

    def __init__(self, av: ModuleType, path: Path) -> None:
        self.av, self.path = av, path
        self.container: Any = opened(av, path)
        if not self.container.streams.audio:
            self.container.close()
            raise AudioFileError(f"{path} is not an audio file: FFmpeg finds no sound in it")
        self.audio: Any = self.container.streams.audio[0]
        # Without a coding that FFmpeg knows, such as PCM of 0 bits, there is nothing to ask.
        known = self.audio.codec_context is not None
        self.sample_rate: int = (self.audio.rate or 0) if known else 0
        self.channels: int = (self.audio.channels or 0) if known else 0
        if not (self.sample_rate > 0 and self.channels > 0):
            self.container.close()
            raise AudioFileError(
                f"{path} cannot be read: its header names no known coding, no sample rate or no "
                "channels"
            )
        # A stream's own changes while it is decoded.
        self.layout: str = self.audio.layout.name
        self.codec: str | None = self.audio.codec_context.codec.canonical_name
        self.subtype: str | None = _SUBTYPES.get(self.codec or "")
        # A header that is damaged may leave the width to the frames.
        stored = self.audio.codec_context.format
        if self.codec in ("flac", "alac") and stored is not None and stored.bytes > 2:
            self.subtype = "PCM_24"
        coder = self.audio.codec_context
        self.bitrate: int | None = None if coder.codec.lossless else coder.bit_rate or None
        self.samples: int | None = None
        duration = self.container.duration
        self.expected_samples: int | None = (
            None if duration is None else round(duration / av.time_base * self.sample_rate)
        )

    def pieces(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples; raise AudioFileError where the file is damaged."""
        stop = self._told_samples()
        if stop is None:
            yield from self._decoded()
            return
        done, beyond = 0, []
        for piece in self._decoded():
            inside = piece[: max(0, stop - done)]
            done += len(piece)
            if len(inside):
                yield inside
            if len(inside) < len(piece):
                beyond.append(piece[len(inside) :])
        if 0 < done < stop:
            if stop - done <= _CUT_S * self.sample_rate:
                yield from flac_frames.missing(stop - done, self.channels)
            else:
                tell_cut(self.path, (stop - done) / self.sample_rate)
        # More than a frame is no padding: the header is wrong.
        if done - stop > _FRAME_MAX:
            yield from beyond

    def _told_samples(self) -> int | None:
        """Return the length that an MP4 file states: less than its last frame reaches."""
        stated = self.audio.duration
        if not stated or "mp4" not in self.container.format.name:
            return None
        samples: int = round(stated * self.audio.time_base * self.sample_rate)
        return samples

    def _decoded(self) -> Iterator[NDArray[np.float32]]:
        """Yield samples at the places of their stamps, NaN between."""
        samples_of = _Samples(self)
        lossless = self.audio.codec_context.codec.lossless
        place = _Place(self.sample_rate, 0 if lossless else _REACHES.get(self.codec or "", 1))
        stamp = None
        try:
            for packet in self.container.demux(self.audio):
                # The empty packet at the end asks for what is left of the one before.
                stamp = _samples_of(packet, self.sample_rate) if packet.size else stamp
                told = self._told_start(packet)
                stamp = stamp if told is None else told
                try:
                    frames = packet.decode()
                except self.av.error.FFmpegError:
                    place.fail(stamp)
                    continue
                for frame in frames:
                    start = _samples_of(frame, self.sample_rate) if told is None else told
                    length = round(frame.samples * self.sample_rate / frame.sample_rate)
                    leads = not place.known
                    absent, stale = place.take(start, length)
                    for piece in flac_frames.missing(absent, self.channels):
                        yield np.zeros_like(piece) if leads else piece
                    for piece in samples_of.frame(frame, place.done - length):
                        if stale:
                            piece[:] = np.nan
                        yield piece
            yield from samples_of.rest()
        except (self.av.error.FFmpegError, OSError) as error:
            raise AudioFileError(
                f"{self.path} is damaged after about {place.done / self.sample_rate:.3f} s "
                f"({reason_of(error)})"
            ) from error
        if place.failed and not place.done:
            raise AudioFileError(f"{self.path} is damaged: nothing in it can be decoded")
        yield from flac_frames.missing(place.absent_at_end(), self.channels)

    def _told_start(self, packet: Any) -> int | None:
        """Return where a frame of FLAC in Ogg begins.

        Stamps go on behind an absent page, up to the end of the next one.
        """
        if self.codec != "flac" or self.container.format.name != "ogg" or not packet.size:
            return None
        return flac_frames.start_of(bytes(packet), self.audio.codec_context.extradata or b"")

    def tags(self) -> Tags:
        """Return names, values and covers."""
        found = {**self.audio.metadata, **self.container.metadata}
        comments = mapped({name.upper(): value for name, value in found.items()}, _NAMES)
        own = tuple((name, value) for name, value in comments if name not in OWN)
        pictures = []
        with (
            contextlib.suppress(self.av.error.FFmpegError, OSError),
            opened(self.av, self.path) as container,
        ):
            covers = [stream for stream in container.streams.video if is_cover(self.av, stream)]
            for packet in container.demux(covers) if covers else ():
                data = bytes(packet)
                if data:
                    pictures.append(Picture(data, mime=mime_of(data)))
                if len(pictures) == len(covers):
                    break
        return Tags(own, tuple(pictures))

    def close(self) -> None:
        """Close the file."""
        self.container.close()


class _Samples:
    """Samples of decoded frames, of the stream's first rate and channels whatever follows."""

    def __init__(self, decoder: MediaDecoder) -> None:
        self._decoder = decoder
        self._resampler: Any = None
        self._like: tuple[object, ...] = ()

    def frame(self, frame: Any, done: int) -> Iterator[NDArray[np.float32]]:
        """Yield the pieces of the next frame, which begins after ``done`` samples."""
        like = frame.sample_rate, frame.layout.name, frame.format.name
        if like != self._like:
            yield from self.rest()
            ours = self._decoder
            if self._like:
                notice.tell_once(
                    f"{ours.path} goes on with {frame.sample_rate} Hz, {frame.layout.name} at "
                    f"{done / ours.sample_rate:.3f} s: that is read as {ours.sample_rate} Hz, "
                    f"{ours.layout}"
                )
            self._like = like
            # FFmpeg would lower one channel by 3 dB to make several of it.
            layout = "mono" if frame.layout.nb_channels == 1 else ours.layout
            self._resampler = ours.av.AudioResampler(
                format="fltp", layout=layout, rate=ours.sample_rate
            )
        yield from self._resampled(frame)

    def rest(self) -> Iterator[NDArray[np.float32]]:
        """Yield what the last frame has left."""
        if self._resampler is not None:
            yield from self._resampled(None)

    def _resampled(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        for part in self._resampler.resample(frame):
            piece = part.to_ndarray().T
            copies = self._decoder.channels // piece.shape[1]
            yield np.ascontiguousarray(np.repeat(piece, copies, axis=1), np.float32)


class _Place:
    """Places of a stream's frames by their stamps, which may be rounded.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    reach : int
        Frames behind a missing one that are damaged by that, as they need what it held.
    """

    def __init__(self, sample_rate: int, reach: int) -> None:
        self._rate, self._reach = sample_rate, reach
        self._stale = 0
        self.done = 0
        self.failed = False
        self._expected: int | None = None
        """Stamp of the next frame."""
        self._lengths: set[int] = set()
        self._fails: list[int] = []
        """Stamps of packets that failed since the last frame."""

    @property
    def known(self) -> bool:
        """False before the second frame: the first one may be the coder's run-in, from earlier."""
        return bool(self._lengths or self._fails)

    def fail(self, stamp: int | None) -> None:
        """Note a packet that cannot be decoded."""
        self.failed = True
        if stamp is not None:
            self._fails.append(stamp)
        if not self.done and self._expected is None and stamp is not None:
            self._expected = max(0, stamp)

    def take(self, stamp: int | None, samples: int) -> tuple[int, bool]:
        """Return the samples absent before a frame, and whether that harms it."""
        absent, leads = 0, not self.known
        if stamp is not None and self._expected is not None:
            absent = self._between(stamp - self._expected, samples)
        if (absent and not leads) or self._fails:
            self._stale = self._reach + 1
        self._stale = max(0, self._stale - 1)
        if stamp is not None:
            self._expected = stamp + samples
        elif self._expected is not None:
            self._expected += samples
        if self.done:
            self._lengths.add(samples)
        self.done += absent + samples
        self._fails.clear()
        return absent, self._stale > 0

    def absent_at_end(self) -> int:
        """Return how many samples the last packets would have had."""
        if not self._fails or self._expected is None or len(self._lengths) != 1:
            return 0
        length = next(iter(self._lengths))
        return self._between(self._fails[-1] + length - self._expected, length)

    def _between(self, gap: int, samples: int) -> int:
        """Return a gap between stamps, in whole frames where possible."""
        if gap > _JUMP_MOST_S * self._rate:
            return 0
        if len(self._lengths) == 1:
            length = next(iter(self._lengths))
            whole = round(gap / length)
            return max(0, whole * length)
        return gap if gap > max(samples // 2, round(_STAMP_S * self._rate)) else 0


def tell_cut(path: Path, missing_s: float) -> None:
    """Give notice of a file that ends too soon."""
    notice.tell_once(
        f"{path} is cut short: {missing_s:.3f} s that its header promises are missing at its end; "
        "copy it again, if you can"
    )


def _samples_of(stamped: Any, sample_rate: int) -> int | None:
    """Return a packet's or frame's stamp in samples."""
    if stamped.pts is None or not stamped.time_base:
        return None
    samples: int = round(stamped.pts * stamped.time_base * sample_rate)
    return samples


class MediaEncoder:
    """Writes an audio stream, and copies of a film's other streams.

    Parameters
    ----------
    file : BinaryIO
        To write to, from its beginning; :meth:`close` closes it.
    suffix : str
        One of :data:`FORMATS`.
    codec, subtype : str
        As of :func:`coding`.
    sample_rate, channels : int
        Of the sound.
    bitrate : int or None
        In bit/s, for a coding that has one; by default 96 kbit/s a channel.
    tags : Tags
        Names, values and covers.
    film : Path or None
        Whose other streams are copied, if FFmpeg reads it.

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
        film: Path | None,
    ) -> None:
        self.av = library()
        self._file, self._rate = file, sample_rate
        self._sample_format = {"PCM_16": "s16", "PCM_24": "s32"}.get(subtype, "flt")
        self._container: Any = None
        self._film = Film.open(self.av, film)
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
                f"Hz{beside} ({reason_of(error)}); {WIDEST}, .mkv most films"
            ) from error

    def _add_streams(self, encoder: str, channels: int) -> Any:
        """Add the sound, and in their order the streams to copy."""
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
        """Add covers that the format holds; return their packets."""
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
                raise OSError(reason_of(error)) from error
            finally:
                self._file.close()

    def _mux(self, packets: Iterable[Any], container: Any = None) -> None:
        for packet in packets:
            try:
                (container or self._container).mux(packet)
            except self.av.error.FFmpegError as error:
                what = packet.stream.type if self._film else "sound"
                told = "" if isinstance(error, OSError) else f" ({what}; .mkv takes most films)"
                raise OSError(f"{reason_of(error)}{told}") from error

    def _end_films(self) -> None:
        if self._film is not None:
            self._film.close()


def _options(suffix: str, sample_rate: int) -> dict[str, str]:
    """Return the muxer's options."""
    if suffix not in _EDITED:
        return {}
    # Edit lists, which say where the sound begins and ends, count in these units.
    options = {"movie_timescale": str(sample_rate)}
    return {**options, "brand": "M4A "} if suffix == ".m4a" else options
