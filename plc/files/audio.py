"""Audio files read block by block.

libsndfile (the ``soundfile`` package) takes WAV, FLAC, Ogg, Opus, MP3, AIFF, CAF and its other
formats; what it does not know goes to PyAV (:mod:`plc.files.formats.media`), if that is installed:
AAC, M4A, WMA, Matroska, the sound of a film. No file is held in memory.
:mod:`~plc.files.writing` writes them.
"""

import contextlib
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from plc import notice
from plc.errors import AudioFileError, MissingExtraError, why
from plc.files.containers import cut, riff
from plc.files.formats import bitrates, flac_frames, media, mp3_frames, ogg_pages
from plc.files.formats.ffmpeg import library
from plc.notice import counted

# A FLAC file that ends sooner than its header says by more than this was cut, not damaged.
_CUT_S = 1.0
# Of a file that misses this much, at least one part of ten must be there.
_LOST_MOST_S, _HELD_SHARE = 600, 10
# Largest share that cannot be decoded of what is filled without being named.
_MISSING_MOST = 0.5
# Bytes of samples that may be shifted. Looked for in blocks: so many near each other count.
_SAMPLE_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}
_SHIFT_SAMPLES, _SHIFT_BLOCKS, _SHIFT_NEAR = 2048, 4, 128
# What libsndfile hands over at once to be cut to the caller's blocks.
_READ_SAMPLES = 2**14

_OWN = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".oga")
_RARE = (".rf64", ".w64", ".wave")
AUDIO_SUFFIXES = frozenset((*_OWN, *_RARE, *media.READ_SUFFIXES))

Progress = Callable[[int, int | None], None]
"""Called with the samples done, and the expected samples (None if unknown)."""


class AudioReader:
    """An open audio file; a context manager that closes it.

    Parameters
    ----------
    path : str or Path, the file

    Attributes
    ----------
    sample_rate : int, in Hz
    channels : int, channels of each sample
    samples : int or None
        Length of the file; None where only decoding it tells (MP3 and what PyAV reads).
    expected_samples : int or None, about how long it is, for a progress bar
    subtype : str or None
        libsndfile's name of the coding, such as ``PCM_16``; None for what it has none for.
    codec : str or None
        FFmpeg's name of the coding, such as ``aac``; None for what libsndfile reads.
    bitrate : int or None, of a lossy coding, in bit/s
    film : MediaDecoder or None, FFmpeg's decoder; None for what libsndfile reads
    undecoded : int, samples that could not be decoded, once all are streamed

    Raises
    ------
    AudioFileError
        If there is no such file, it is empty, or holds no audio.
    MissingExtraError
        If it needs PyAV, which is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        _check_readable(self.path)
        self._decoder = _open(self.path)
        self.film = self._decoder if isinstance(self._decoder, media.MediaDecoder) else None
        self.sample_rate = self._decoder.sample_rate
        self.channels = self._decoder.channels
        self.samples = self._decoder.samples
        self.expected_samples = self._decoder.expected_samples
        self.subtype = self._decoder.subtype
        self.codec = self._decoder.codec
        self.bitrate = self._decoder.bitrate
        self.undecoded = 0

    def stream(self, block_samples: int) -> Iterator[NDArray[np.float32]]:
        """Yield the file once, in order: float32, shape (n, channels).

        Every block has ``block_samples`` samples, the last one as many as are left (at least 1).
        Each is a new array, the caller's to keep. What is damaged in a file, or absent by its
        frame numbers or time stamps, is NaN, and :mod:`plc.notice` is told how much of it.
        """
        held: list[NDArray[np.float32]] = []
        held_samples = samples = 0
        places, missing, inside, shifted = 0, 0, False, list[int]()
        for piece in self._decoder.pieces():
            absent = np.isnan(piece[:, 0])
            if absent.any():
                absent &= np.isnan(piece).all(axis=1)
                places += int(np.count_nonzero(np.diff(absent, prepend=inside) & absent))
                missing += int(np.count_nonzero(absent))
            inside = absent.size > 0 and bool(absent[-1])
            for start in range(0, len(piece) - _SHIFT_SAMPLES + 1, _SHIFT_SAMPLES):
                if _is_shifted(piece[start : start + _SHIFT_SAMPLES], self.subtype or ""):
                    shifted.append(samples + start)
            near = shifted[-_SHIFT_BLOCKS:]
            if len(near) == _SHIFT_BLOCKS and near[-1] - near[0] < _SHIFT_NEAR * _SHIFT_SAMPLES:
                raise AudioFileError(
                    f"{self.path} is noise from about {near[0] / self.sample_rate:.1f} s on: its "
                    "bytes are shifted there, as one was lost or added; copy it again, if you can"
                )
            held.append(piece)
            held_samples += len(piece)
            samples += len(piece)
            if held_samples < block_samples:
                continue
            joined = np.concatenate(held)
            whole = held_samples - held_samples % block_samples
            for start in range(0, whole, block_samples):
                yield joined[start : start + block_samples].copy()
            held, held_samples = [joined[whole:]], held_samples - whole
        if samples and missing == samples:
            raise AudioFileError(
                f"{self.path} is damaged: nothing in it can be decoded; copy it again, if you can"
            )
        if places and self.subtype not in ("FLOAT", "DOUBLE"):
            self.undecoded = missing
            ms = 1000.0 * missing / self.sample_rate
            notice.tell_once(
                f"{self.path} is damaged: {counted(places, 'place')}, {ms:.1f} ms in all, "
                "could not be decoded and count as missing"
            )
        if held_samples:
            yield np.concatenate(held)
        elif not samples:
            raise AudioFileError(f"{self.path} holds no samples; expected at least one")

    def refusal(self, unnamed: int, samples: int) -> str:
        """Return why it is not filled: too many samples are missing that nobody has named.

        Empty for half of ``samples`` or less, and for a file that marks them itself, by NaN.
        """
        share = unnamed / samples if self.undecoded else 0.0
        if share <= _MISSING_MOST:
            return ""
        return (
            f"{self.path} is damaged: {unnamed / self.sample_rate:.3f} s ({int(100 * share)} %) of "
            "it cannot be decoded; copy it again, if you can; to fill that nonetheless, write the "
            "places by plc detect --labels FILE, and give them by --gaps FILE"
        )

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    def __enter__(self) -> Self:
        """Return the open reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def _is_shifted(block: NDArray[np.float32], subtype: str) -> bool:
    """Return whether samples are noise, but for a byte within each."""
    if subtype not in _SAMPLE_BYTES:
        return False
    floats, peak = subtype == "FLOAT", np.abs(block).max()
    noisy = np.vdot(block, block) > 0.2 * block.size
    # Noise at full scale; or the first byte of each sample is zero; or no size that floats have.
    odd = not 1e-20 < peak < 1e4 if floats else noisy or (block.min() >= 0 and peak < 2.0**-7)
    if not odd or not peak:
        return False
    words = block.view(np.int32) if floats else (block * np.float64(2**31)).astype(np.int32)
    rough, *others = (
        _roughness((words << 8 * k).view(block.dtype if floats else words.dtype))
        for k in range(_SAMPLE_BYTES[subtype])
    )
    return (rough > 0.8 or not noisy) and min(others) < 0.3 * rough


def _roughness(samples: NDArray[Any]) -> float:
    """Return the power of the steps between samples by that of noise as loud; 2 of silence."""
    with np.errstate(invalid="ignore"):  # of bytes that are no floats
        wide = np.nan_to_num(samples.astype(np.float64), posinf=0.0, neginf=0.0)
    power = 2.0 * float(np.var(wide, axis=0).sum())
    return float(np.square(np.diff(wide, axis=0)).mean(axis=0).sum()) / power if power else 2.0


def read_audio(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Return a whole (short) file: float32, shape (n, channels), and its sample rate in Hz."""
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.stream(_READ_SAMPLES))), reader.sample_rate


def count_samples(path: str | Path) -> int:
    """Return a file's length in samples, decoding it where necessary."""
    with AudioReader(path) as reader:
        if reader.samples is not None:
            return reader.samples
        return sum(len(block) for block in reader.stream(_READ_SAMPLES))


def report(progress: Progress | None, samples: int, reader: AudioReader) -> None:
    """Say how much of a recording is done, where somebody wants to know."""
    if progress is not None:
        progress(samples, reader.expected_samples)


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            raise AudioFileError(f"{path} is a folder; name an audio file in it")
        if path.exists() and not path.is_file():  # opening it might wait forever
            raise AudioFileError(f"{path} is a pipe or a device; give a file, or - for stdin")
        with path.open("rb") as file:
            head = file.read(1)
    except AudioFileError:
        raise
    except OSError as error:
        raise AudioFileError(f"cannot read {path}: {why(error)}") from error
    if not head:
        raise AudioFileError(f"{path} is empty (0 bytes); expected an audio file")


def _open(path: Path) -> "_Libsndfile | media.MediaDecoder":
    cut.tell_cut(path)
    try:
        return _Libsndfile(path)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        reason = why(error)
    try:
        av = library()
    except MissingExtraError as error:
        raise MissingExtraError(f"libsndfile cannot read {path} ({reason}); {error}") from error
    return media.MediaDecoder(av, path)


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A file that is read once from its beginning.

    The library seeks to where it is after each block. In MP3 that loses what the next frames need
    of the last ones: their first milliseconds were muted, every 16384 samples.
    """

    def seekable(self) -> bool:
        return False


class _Part:
    """A recording as libsndfile reads it, NaN where it is missing."""

    def __init__(self, file: str | bytes | io.IOBase, mended: mp3_frames.Mended | None) -> None:
        self.file = _Forward(file)
        self.sample_rate: int = self.file.samplerate
        self.channels: int = self.file.channels
        scale = self.sample_rate / (mended.rate or self.sample_rate) if mended else 1.0
        self._missing = [
            (math.floor(start * scale), math.ceil(stop * scale))
            for start, stop in (mended.missing if mended else ())
        ]

    def pieces(self) -> Iterator[NDArray[np.float32]]:
        done = 0
        while len(piece := self.file.read(_READ_SAMPLES, "float32", always_2d=True)):
            for start, stop in self._missing:
                piece[max(0, start - done) : max(0, stop - done)] = np.nan
            done += len(piece)
            yield piece


class _Libsndfile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames = flac = flac_frames.search(path)
        self._source: io.RawIOBase | io.BytesIO | None = _mended(path)
        if flac is not None:
            head, frames = flac_frames.head(flac.streaminfo, flac.samples), flac.frames
            self._source = riff.MendedHead(path, head, frames[0].at, frames[-1].end)
        whole = None if self._source else mp3_frames.mend(path) or ogg_pages.mend(path)
        if whole is not None:
            self._source = io.BytesIO(whole.data)
        part = _Part(self._source or _library_name(path), whole)
        self.file = part.file
        self._parts = [part, *(_like(part, whole.behind, path) if whole else ())]
        self.sample_rate = part.sample_rate
        self.channels = part.channels
        self.subtype: str | None = self.file.subtype
        self.codec: str | None = None
        samples = sum(part.file.frames for part in self._parts)
        samples = samples if flac is None else self._length(flac)
        self.expected_samples: int | None = samples
        # An MP3 file without a complete header only has an estimate of its length.
        self.samples: int | None = None if self.file.format == "MP3" else samples
        self.bitrate = bitrates.of_file(path, self.file.subtype, samples / self.sample_rate)
        if self.samples == 0:
            self.close()
            raise AudioFileError(f"{path} holds no samples; expected at least one")

    def _length(self, flac: flac_frames.Frames) -> int:
        """Return a FLAC file's length; one that was cut short ends where its frames do."""
        last, rate, absent = flac.samples, self.sample_rate, flac.told - flac.samples
        held = sum(frame.stop - frame.start for frame in flac.frames)
        if last > _HELD_SHARE * held and last - held > _LOST_MOST_S * rate:
            raise AudioFileError(
                f"{self.path} is damaged: of {last / rate:.0f} s only {held / rate:.3f} s can be "
                "found in it; copy it again, if you can"
            )
        if flac.told and (absent < 0 or (absent and flac.ended)):
            notice.tell_once(
                f"{self.path}: its header states {flac.told / rate:.3f} s, its frames hold "
                f"{last / rate:.3f} s: these are read"
            )
        elif 0 < absent <= _CUT_S * rate:
            return flac.told
        elif absent > 0:
            media.tell_cut(self.path, absent / rate)
        return last

    def pieces(self) -> Iterator[NDArray[np.float32]]:
        done = 0
        try:
            if self._frames is None or self._frames.complete:
                for piece in (piece for part in self._parts for piece in part.pieces()):
                    done += len(piece)
                    yield piece
        except (soundfile.LibsndfileError, OSError) as error:
            if self._frames is None or isinstance(error, OSError):
                raise self._damaged(done, why(error)) from error
        if self._frames is not None and self.samples is not None and done < self.samples:
            for piece in flac_frames.pieces(self.path, self._frames, self.samples):
                # What came before the damage has been given.
                yield piece[done:]
                done -= min(done, len(piece))
            return
        if self.samples is not None and done < self.samples:
            raise self._damaged(done, f"{self.samples} samples were promised")

    def _damaged(self, done: int, reason: str) -> AudioFileError:
        return AudioFileError(
            f"{self.path} is truncated or damaged after about {done / self.sample_rate:.3f} s "
            f"({reason}); copy it again, or save the rest with: ffmpeg -i FILE rescued.wav"
        )

    def close(self) -> None:
        for part in self._parts:
            part.file.close()
        if self._source is not None:
            self._source.close()


def _like(first: _Part, behind: Sequence[mp3_frames.Mended], path: Path) -> Iterator[_Part]:
    """Yield the recordings behind the first one in a file that have its rate and channels."""
    left_out = 0
    for mended in behind:
        with contextlib.suppress(soundfile.LibsndfileError):
            part = _Part(io.BytesIO(mended.data), mended)
            if (part.sample_rate, part.channels) == (first.sample_rate, first.channels):
                yield part
                continue
            part.file.close()
        left_out += 1
    if behind:
        others = f"; {left_out} of another sample rate or number of channels left out"
        notice.tell_once(
            f"{path} holds {len(behind) + 1} recordings, one behind another (chained Ogg): they "
            f"are read as one, with the tags of the first{others if left_out else ''}"
        )


def _mended(path: Path) -> riff.MendedHead | None:
    """Return a WAV file with valid headers; give notice of missing parts."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
            found = riff.layout(file)
            if found is None:
                return None
            if not found.known and head[:4] == b"RIFF":
                notice.tell_once(f"{path}: its header was never finished; it is read to its end")
            bytes_per_s = max(1, found.bytes_per_s)
            if found.missing > riff.HEADER_BYTES:
                media.tell_cut(path, found.missing / bytes_per_s)
            if found.behind > _CUT_S * bytes_per_s:
                notice.tell_once(
                    f"{path}: its header states {(found.stop - found.start) / bytes_per_s:.3f} s; "
                    f"what lies behind, bytes of {found.behind / bytes_per_s:.3f} s, is left out; "
                    "if it is audio: ffmpeg -ignore_length 1 -i FILE whole.wav"
                )
            if found.others > bytes_per_s / 1000:
                told = f"audio of {found.others / bytes_per_s:.3f} s in another chunk (data)"
                notice.tell_once(f"{path}: {told} is left out")
            if not found.plain:
                return riff.MendedHead(path, riff.head_of(found), found.start, found.stop)
    return None


def _library_name(path: Path) -> str | bytes:
    return os.fsencode(path) if os.name == "posix" else str(path)
