"""Audio files written block by block: WAV, FLAC, Ogg Vorbis, Opus and MP3 by libsndfile.

M4A, MP4 and Matroska are written through PyAV (:mod:`plc.files.formats.encoder`); the target's
suffix says the format. No file is held in memory. A file is whole or not there
(:mod:`plc.whole_files`). Samples that an integer format stores are rounded here, not in libsndfile,
whose scale (32767) would change 16-bit samples that only pass through.

A WAV file whose length nobody knows beforehand is written as RF64 (EBU Tech 3306), which has no
limit, and becomes an ordinary WAV file at its end if it is one of less than 4 GB.
"""

import contextlib
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np
import soundfile
from numpy.typing import NDArray

from plc import notice
from plc.errors import AudioFileError, MissingExtraError, why
from plc.files.formats import bitrates, encoder
from plc.files.formats.ffmpeg import library
from plc.files.formats.films import Film
from plc.files.tags.carried import read_tags, write_tags
from plc.files.tags.chunks import bytes_of
from plc.files.tags.values import Tags
from plc.notice import counted
from plc.whole_files import behind, check_new, open_beside, put, remove_leftovers

if TYPE_CHECKING:
    from plc.files.audio import AudioReader

# Codings that hold more bits of a sample than float32 does.
_FINER = {"PCM_32": "32 bits", "DOUBLE": "64-bit floats"}
# Format and the subtypes that may be kept from the source, the first for any other source.
_CONTAINERS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".wav": ("WAV", ("PCM_16", "PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    ".flac": ("FLAC", ("PCM_16", "PCM_S8", "PCM_24")),
    ".ogg": ("OGG", ("VORBIS",)),
    ".opus": ("OGG", ("OPUS",)),
    ".mp3": ("MP3", ("MPEG_LAYER_III",)),
}
# The nearest subtype where the target cannot hold the source's.
_NEAREST = {
    (".flac", "PCM_32"): "PCM_24",
    (".flac", "FLOAT"): "PCM_24",
    (".flac", "DOUBLE"): "PCM_24",
    (".flac", "PCM_U8"): "PCM_S8",
    (".wav", "PCM_S8"): "PCM_U8",
}
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_BYTES = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
# A WAV file counts its bytes in 32 bits; the rest is room for the headers.
_WAV_BYTES_MAX = 2**32 - 2**16
# libsndfile's RF64 header: RIFF, ds64, fmt in its extensible form, and the data's own eight bytes.
_RF64 = struct.Struct("<4sI4s 4sIQQ12x 4sI 2s14s8x2s14x 4sI")
_RF64_MARKS = (b"RF64", b"WAVE", b"ds64", 28, b"fmt ", 40, b"\xfe\xff", b"data")
# The same bytes as a WAV header: RIFF, fmt, fact, room that readers pass over, data.
_WAV = struct.Struct("<4sI4s 4sI2s14s 4sII 4sI40x 4sI")
_DS64_AT = 20
# In a FLAC file's first block: the low half byte before, and the 32 bits of, the number of samples.
_FLAC_SAMPLES_AT = 21
# What libsndfile hands over at once.
_READ_SAMPLES = 2**14
# No more than what stands before the first sample.
_HEAD_BYTES = 512
# libsndfile's number of samples where a file's head does not say it.
_UNKNOWN_SAMPLES = 1 << 62
# One write of minutes overruns the stack inside libsndfile's Vorbis coder.
_WRITE_SAMPLES = 2**15
# What is tried to write where libsndfile could not: more than a file system keeps back.
_PROBE_BYTES, _PROBE_BLOCKS = 2**16, 4
WRITABLE_SUFFIXES = (*_CONTAINERS, *encoder.FORMATS)
_Encoder: TypeAlias = soundfile.SoundFile | encoder.MediaEncoder


class AudioWriter:
    """A new audio file; a context manager that keeps it if all went well and else removes it.

    Parameters
    ----------
    path : str or Path
        Where it shall stand; the suffix says the format.
    sample_rate : int, in Hz
    channels : int, channels of each sample
    source_subtype : str or None
        The coding of the recording it is made from (:attr:`AudioReader.subtype`), kept if the
        format can.
    expected_samples : int or None
        About how long it will be, None if nobody knows; beyond 4 GB a WAV file is written as RF64.
    tags : Tags, optional, its tags
    bitrate : int, optional
        In bit/s, for MP3, Opus, AAC and what else loses something; by default not below that of
        what it is made from.
    film : Source, optional
        The recording it is made from. Where FFmpeg reads that, and writes this, its coding is kept
        if the format can, and its other streams, such as pictures, are copied.
    overwrite : bool
        Whether a file that is there at the end is replaced.

    Attributes
    ----------
    written_samples : int, samples that :meth:`write` took
    clipped_samples : int
        Samples of single channels that were beyond full scale and so were changed to fit an
        integer format, or that were infinite. NaN becomes silence and is not counted.

    Raises
    ------
    AudioFileError
        If the format is unknown, cannot hold such audio, or the place is not writable.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        source_subtype: str | None = None,
        expected_samples: int | None = None,
        tags: Tags | None = None,
        bitrate: int | None = None,
        film: encoder.Source | None = None,
        overwrite: bool = True,
    ) -> None:
        self.path = Path(path)
        self._overwrite, self._channels = overwrite, channels
        check_target(self.path)
        codec = film.codec if film else None
        container, self.subtype = _coding(self.path, codec, source_subtype)
        check_bitrate(self.path, self.subtype, sample_rate, channels, bitrate)
        if bitrate is None and film is not None and film.bitrate and self.lossy:
            bitrate = self._as_good(film, channels, sample_rate)
        self._sample_bytes = _BYTES.get(self.subtype, 0) * channels
        self._tags = tags or Tags()
        self._wav_bytes = bytes_of(tags) if container == "WAV" and tags else 0
        expected_bytes = (expected_samples or 0) * self._sample_bytes + self._wav_bytes
        if container == "WAV" and (expected_samples is None or 2 * expected_bytes > _WAV_BYTES_MAX):
            container = "RF64"
        self._container = container
        self._bytes_max = _WAV_BYTES_MAX if container == "WAV" else None
        self.written_samples = 0
        self.clipped_samples = 0
        self._place = behind(self.path)
        self._partial, self._descriptor = open_beside(self._place)
        settings = container, sample_rate, channels, bitrate
        try:
            if self.path.suffix.lower() in encoder.FORMATS:
                copied = film.streams if film else None
                self._file: _Encoder = _media(self, *settings, copied)
            else:
                self._file = _create(self, *settings)
        except BaseException:
            os.close(self._descriptor)
            self._partial.unlink(missing_ok=True)
            raise

    @property
    def lossy(self) -> bool:
        """True if the coding changes samples."""
        return self.subtype not in _BITS and self.subtype not in _BYTES

    def _as_good(self, film: encoder.Source, channels: int, sample_rate: int) -> int:
        assert film.bitrate
        least = film.bitrate
        if self.path.suffix.lower() in encoder.FORMATS:
            least = max(least, encoder.BITRATE_OF_A_CHANNEL * channels)
        return bitrates.least_of(self.subtype, sample_rate, channels, least)

    def write(self, block: NDArray[np.float32]) -> None:
        """Append ``block``: float32, shape (n, channels), full scale 1.0."""
        for start in range(0, len(block), _WRITE_SAMPLES):
            self._put(self._stored(block[start : start + _WRITE_SAMPLES]))

    def write_silence(self, samples: int) -> None:
        """Append silence."""
        silence = self._stored(np.zeros((_WRITE_SAMPLES, self._channels), np.float32))
        for start in range(0, samples, _WRITE_SAMPLES):
            self._put(silence[: samples - start])

    def _put(self, stored: NDArray[np.float32] | NDArray[np.int32]) -> None:
        size = (self.written_samples + len(stored)) * self._sample_bytes
        if self._bytes_max is not None and size > self._bytes_max:
            raise AudioFileError(
                f"{self.path} would pass the 4 GB that a WAV file can hold; write FLAC instead"
            )
        try:
            self._file.write(stored)
        except (soundfile.LibsndfileError, OSError) as error:
            raise self._failed(error) from error
        self.written_samples += len(stored)

    def _stored(self, piece: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.int32]:
        """Return ``piece`` as the coding stores it; count clipped samples."""
        bits = _BITS.get(self.subtype)
        if bits is None:
            unsound = ~np.isfinite(piece)
            self.clipped_samples += int(np.count_nonzero(np.isinf(piece)))
            return np.where(unsound, np.float32(0.0), piece) if unsound.any() else piece
        full_scale = 2.0 ** (bits - 1)
        wanted = np.rint(
            np.nan_to_num(piece.astype(np.float64), posinf=2.0, neginf=-2.0) * full_scale
        )
        fitting = wanted.clip(-full_scale, full_scale - 1)
        # +1.0 itself is one step too many for an integer; that is no clipping one can hear.
        self.clipped_samples += int(np.count_nonzero(np.abs(piece) > 1.0))
        # libsndfile takes the leading bits of int32.
        return fitting.astype(np.int32) << (32 - bits)

    def commit(self) -> None:
        """Close the file and give it its name."""
        try:
            # Its lock is kept until the tags are there.
            self._file.close()
            if self._container == "RF64":
                _as_wav(self._partial)
            if (suffix := self.path.suffix.lower()) in _CONTAINERS:
                write_tags(self._partial, self._place, suffix, self._tags)
            self._release()
            put(self._partial, self._place, self._overwrite)
        except (soundfile.LibsndfileError, OSError) as error:
            if isinstance(error, FileExistsError):
                check_new(self.path, overwrite=False)
            raise self._failed(error) from error
        finally:
            self._release()
            self._partial.unlink(missing_ok=True)

    def _failed(self, error: BaseException) -> AudioFileError:
        """Return why it cannot be written; libsndfile itself only says "System error"."""
        if isinstance(error, AudioFileError):
            return error
        reason = _place_error(self._partial) or why(error)
        return AudioFileError(f"cannot write {self.path}: {reason}")

    def salvage(self) -> None:
        """Close the file after an error and keep the samples written.

        Raises
        ------
        AudioFileError
            If it stays under its temporary name, which the error tells.
        """
        with contextlib.suppress(soundfile.LibsndfileError, OSError):
            self._close()
        try:
            if self._container == "RF64":
                _as_wav(self._partial)
            elif self._container == "FLAC":
                _tell_length(self._partial)
            os.replace(self._partial, self._place)
        except OSError as error:
            raise AudioFileError(
                f"cannot name {self.path}: {why(error)}; the result is in {self._partial}"
            ) from error

    def discard(self) -> None:
        """Close the file and remove it."""
        try:
            # It may have been closed already, or what it holds back fails again; it goes anyway.
            with contextlib.suppress(soundfile.LibsndfileError, OSError):
                self._close()
        finally:
            self._partial.unlink(missing_ok=True)

    def _close(self) -> None:
        try:
            self._file.close()
        finally:
            self._release()

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Return the open writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep the file if the block ended well, else remove it."""
        if kind is None:
            self.commit()
        else:
            self.discard()


def rescue(partial: Path, path: Path) -> float:
    """Keep the recording of a killed process: mend its head, give it a name that is free.

    Returns
    -------
    float
        Seconds that it holds; 0: nothing, and it is gone.

    Raises
    ------
    AudioFileError
        If it stays under its temporary name, which the error tells.
    """
    try:
        if partial.stat().st_size < _HEAD_BYTES:
            partial.unlink()
            return 0.0
        if path.suffix.lower() == ".wav":
            _as_wav(partial)
        elif path.suffix.lower() == ".flac":
            _tell_length(partial)
        with soundfile.SoundFile(partial) as file:
            held: int = file.frames if file.frames < _UNKNOWN_SAMPLES else 0
            sample_rate: int = file.samplerate
        if held:
            put(partial, path, overwrite=False)
        else:
            partial.unlink()
    except (soundfile.LibsndfileError, OSError, struct.error) as error:
        raise AudioFileError(
            f"cannot name {path}: {why(error)}; what was recorded is in {partial}"
        ) from error
    return held / sample_rate


def writer_like(
    reader: "AudioReader", target: Path, overwrite: bool, bitrate: int | None = None
) -> AudioWriter:
    """Return a writer that keeps a recording's coding, tags and pictures; remove old leftovers."""
    remove_leftovers(behind(target))
    # A file that libsndfile reads has no codec, and no other streams.
    beside = reader.codec and target.suffix.lower() in encoder.FORMATS
    streams = Film.open(reader.path) if beside else None
    writer = AudioWriter(
        target,
        reader.sample_rate,
        reader.channels,
        reader.subtype,
        reader.expected_samples,
        tags_of(reader),
        bitrate,
        encoder.Source(reader.codec, reader.bitrate, streams),
        overwrite,
    )
    if reader.bitrate and writer.lossy:
        notice.tell_once(
            f"{reader.path} is in a lossy coding ({reader.bitrate / 1000:.0f} kbit/s): all "
            f"of {target} is coded anew; .flac or .wav keeps the decoded samples"
        )
    if writer.subtype in _FINER and writer.subtype == reader.subtype:
        notice.tell_once(
            f"{reader.path} has samples of {_FINER[writer.subtype]}: their first 24 bits are kept, "
            "what is below -140 dB of each is rounded"
        )
    return writer


def tags_of(recording: "AudioReader") -> Tags:
    """Return an open recording's tags, damaged ones left out."""
    return recording.film.tags() if recording.film else read_tags(recording.path)


def check_target(target: Path, source: Path | None = None, overwrite: bool = True) -> None:
    """Refuse a target that cannot be written, or is its own source.

    Raises
    ------
    AudioFileError
        Before anything was written; without ``overwrite`` also where there is such a file.
    """
    if target.suffix.lower() not in WRITABLE_SUFFIXES:
        raise AudioFileError(
            f"{target} has the suffix {target.suffix or '(none)'!r}; the format is chosen by it: "
            f"{', '.join(WRITABLE_SUFFIXES)}"
        )
    if target.suffix.lower() in encoder.FORMATS:
        _check_media(target)
    if target.is_dir():
        raise AudioFileError(f"{target} is a folder; name a file in it")
    if target.exists() and not target.is_file():
        raise AudioFileError(f"{target} is a pipe or a device; name a file, or - for stdout")
    if not target.parent.is_dir():
        raise AudioFileError(
            f"{target.parent} is not a folder; make it first to write {target.name}"
        )
    if not os.access(target.parent, os.W_OK):
        raise AudioFileError(f"{target.parent} is not writable; choose another place")
    if source is not None and target.exists() and source.exists() and target.samefile(source):
        raise AudioFileError(f"{target} is the source itself; choose another name for the result")
    check_new(target, overwrite)


def check_bitrate(
    target: Path, subtype: str, sample_rate: int, channels: int, bitrate: int | None
) -> None:
    """Refuse a bit rate that the coding does not have.

    Raises
    ------
    AudioFileError
        Before anything was written.
    """
    if bitrate is None:
        return
    if subtype in _BITS or subtype in _BYTES or subtype == "VORBIS":
        raise AudioFileError(
            f"{target} would be {subtype}, which takes no bit rate; .mp3, .opus, .m4a and .mp4 do"
        )
    nearest = bitrates.nearest(subtype, sample_rate, channels, bitrate)
    if nearest != bitrate:
        raise AudioFileError(
            f"{target.suffix} has no bit rate of {bitrate / 1000:g} kbit/s for "
            f"{counted(channels, 'channel')} at {sample_rate} Hz; the nearest is "
            f"{nearest / 1000:g}k"
        )


def _check_media(target: Path) -> None:
    try:
        library()
    except MissingExtraError as error:
        raise MissingExtraError(f"{target} cannot be written: {error}") from error


def _coding(path: Path, codec: str | None, source_subtype: str | None) -> tuple[str, str]:
    """Return format and subtype for a target: libsndfile's, or FFmpeg's codec for the format."""
    suffix = path.suffix.lower()
    if suffix in encoder.FORMATS:
        return encoder.coding(suffix, codec, source_subtype)
    container, subtypes = _CONTAINERS[suffix]
    wanted = _NEAREST.get((suffix, source_subtype or ""), source_subtype)
    return container, wanted if wanted in subtypes else subtypes[0]


def _media(
    writer: AudioWriter,
    codec: str,
    sample_rate: int,
    channels: int,
    bitrate: int | None,
    film: Film | None,
) -> encoder.MediaEncoder:
    # With a descriptor of its own: what a full disk leaves in its buffer must not reach a file
    # that is opened later under the number of ours.
    file = os.fdopen(os.dup(writer._descriptor), "r+b")
    sound = codec, writer.subtype, sample_rate, channels
    suffix = writer.path.suffix.lower()
    try:
        return encoder.MediaEncoder(file, suffix, *sound, bitrate, writer._tags, film)
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        raise


def _create(
    writer: AudioWriter, container: str, sample_rate: int, channels: int, bitrate: int | None
) -> soundfile.SoundFile:
    level = (
        None if bitrate is None else bitrates.level(writer.subtype, sample_rate, channels, bitrate)
    )
    constant = "CONSTANT" if level is not None and writer.subtype == "MPEG_LAYER_III" else None
    try:
        return soundfile.SoundFile(
            writer._descriptor,
            "w",
            sample_rate,
            channels,
            subtype=writer.subtype,
            format=container,
            closefd=False,
            compression_level=level,
            bitrate_mode=constant,
        )
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        if reason := _place_error(writer._partial):
            raise AudioFileError(f"cannot write {writer.path}: {reason}") from error
        raise AudioFileError(
            f"{writer.path.suffix} cannot hold {counted(channels, 'channel')} at {sample_rate} Hz "
            f"({why(error)}); {encoder.WIDEST}"
        ) from error


def _place_error(partial: Path) -> str:
    """Return why nothing more can be written to a file, if so; the file stays as it is."""
    try:
        with partial.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                for _ in range(_PROBE_BLOCKS):
                    file.write(bytes(_PROBE_BYTES))
                os.fsync(file.fileno())
            finally:
                file.truncate(size)
    except OSError as error:
        return why(error)
    return ""


def _as_wav(path: Path) -> None:
    """Convert an RF64 file below 4 GB to WAV, in place."""
    with path.open("r+b") as file:
        head = file.read(_RF64.size)
        size = os.fstat(file.fileno()).st_size
        if len(head) < _RF64.size:
            return
        riff, _, wave, ds64, ds64_size, _, data_size, fmt, fmt_size, tag, rest, form, data, _ = (
            _RF64.unpack(head)
        )
        marks = (riff, wave, ds64, ds64_size, fmt, fmt_size, tag, data)
        if marks != _RF64_MARKS:
            return
        sample_bytes = int.from_bytes(rest[10:12], "little")
        if not 0 < data_size <= size - _RF64.size:  # its process was killed
            data_size = (size - _RF64.size) // sample_bytes * sample_bytes
            size = file.truncate(_RF64.size + data_size)
            file.seek(_DS64_AT)
            file.write(struct.pack("<QQQ", size - 8, data_size, data_size // sample_bytes))
        if size > _WAV_BYTES_MAX:
            return
        samples = data_size // sample_bytes
        wav = (b"RIFF", size - 8, b"WAVE", b"fmt ", 16, form, rest, b"fact", 4, samples)
        file.seek(0)
        file.write(_WAV.pack(*wav, b"JUNK", 40, b"data", data_size))


def _tell_length(path: Path) -> None:
    samples = 0
    with contextlib.suppress(soundfile.LibsndfileError), soundfile.SoundFile(path) as file:
        while len(piece := file.read(_READ_SAMPLES, dtype="int32")):
            samples += len(piece)
    with path.open("r+b") as file:
        file.seek(_FLAC_SAMPLES_AT)
        high = file.read(1)[0] & 0xF0 | samples >> 32 & 0x0F
        file.seek(_FLAC_SAMPLES_AT)
        file.write(struct.pack(">BI", high, samples & 0xFFFF_FFFF))
