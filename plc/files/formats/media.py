"""Files that FFmpeg's libraries read, through PyAV: M4A, MP4, Matroska and others.

Of a film the first audio stream is read. :mod:`~plc.files.formats.encoder` writes such files.
"""

import contextlib
import mmap
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.errors import AudioFileError, why
from plc.files.formats import flac_frames
from plc.files.formats.ffmpeg import NAMES, OF_COPY, is_cover, opened
from plc.files.tags.values import Picture, Tags, mapped, mime_of

# Names of files that are read, besides those of libsndfile.
_FILMS = (".m4a", ".mp4", ".mov", ".mkv", ".mka", ".webm")
READ_SUFFIXES = (*_FILMS, ".wma", ".aac", ".ac3", ".avi", ".mpg", ".ts", ".mts", ".m4v", ".3gp")
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
# Codecs end on a whole frame; the longest is AAC's with spectral band replication.
_FRAME_MAX = 2048
# A file that ends sooner than its header says by more than this was cut, not damaged.
_CUT_S = 1.0
# Stamps that jump further are none, and shorter jumps are their rounding.
_JUMP_MOST_S, _STAMP_S = 600, 0.003
# Codings whose frames have a checksum.
_CHECKED = ("flac", "ac3", "eac3")
# Frames of AAC before a hole whose mean size is that of those which it had; tags are none.
_NEAR = 8
_TAGS = b"ID3", b"TAG", b"APETAGEX"
# Frames that need those before them: one, which they overlap with; those of MP3 also begin in
# bytes that are left over in the last ones (the "bit reservoir").
_REACHES = {"mp3": 3}

_OWN = {*OF_COPY, "LANGUAGE"}


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
        if self.codec in _CHECKED:  # or a damaged frame is decoded as it is
            coder.options = {"err_detect": "crccheck+explode"}
        self.adts = _AdtsFrames(path) if self.container.format.name == "aac" else None
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
                told = self._told_start(packet) if packet.size else None
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
            if not (self.adts and place.done):  # what follows the last frame may be anything
                raise AudioFileError(
                    f"{self.path} is damaged after about {place.done / self.sample_rate:.3f} s "
                    f"({why(error)})"
                ) from error
        if place.failed and not place.done:
            raise AudioFileError(f"{self.path} is damaged: nothing in it can be decoded")
        absent = place.absent_at_end()
        if self.adts and (behind := self.adts.before(b"")) <= _CUT_S * self.sample_rate:
            absent += behind
        yield from flac_frames.missing(absent, self.channels)

    def _told_start(self, packet: Any) -> int | None:
        """Return where a frame begins of AAC without stamps (ADTS), or of FLAC alone or in Ogg.

        Stamps go on behind what is absent; in Ogg up to the end of the next page.
        """
        if self.adts:
            length = round(packet.duration * packet.time_base * self.sample_rate)
            return self.adts.start_of(bytes(packet), length)
        if self.codec != "flac" or self.container.format.name not in ("flac", "ogg"):
            return None
        return flac_frames.start_of(bytes(packet), self.audio.codec_context.extradata or b"")

    def tags(self) -> Tags:
        """Return names, values and covers."""
        found = {**self.audio.metadata, **self.container.metadata}
        comments = mapped({name.upper(): value for name, value in found.items()}, NAMES)
        own = tuple((name, value) for name, value in comments if name not in _OWN)
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


class _AdtsFrames:
    """Frames that are missing in a file of AAC frames alone, by the bytes that are in none."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = self._done = self._length = 0
        self._sizes: deque[int] = deque(maxlen=_NEAR)

    def start_of(self, packet: bytes, length: int) -> int:
        """Return the first sample of the next frame, which has so many."""
        start = self._done + self.before(packet)
        self._sizes.append(len(packet))
        self._done, self._length = start + length, length
        return start

    def before(self, packet: bytes) -> int:
        """Return the samples that are missing before the next frame; of none, at the end."""
        place = self._data.find(packet, self._at) if packet else len(self._data)
        room, begin = place - self._at, self._at
        self._at = max(self._at, place + len(packet))
        if room <= 0 or not self._sizes or self._data[begin : begin + 8].startswith(_TAGS):
            return 0
        return max(1, round(room * len(self._sizes) / sum(self._sizes))) * self._length


class _Samples:
    """Samples of decoded frames, all at the stream's first rate and with its first channels."""

    def __init__(self, decoder: MediaDecoder) -> None:
        self._decoder = decoder
        self._resampler: Any = None
        self._like: tuple[object, ...] = ()

    def frame(self, frame: Any, done: int) -> Iterator[NDArray[np.float32]]:
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
    sample_rate : int, in Hz
    reach : int, frames behind a missing one that are damaged by that, as they need what it held
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
    if stamped.pts is None or not stamped.time_base:
        return None
    samples: int = round(stamped.pts * stamped.time_base * sample_rate)
    return samples
