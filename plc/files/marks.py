"""Damaged places of a recording, as people write them down.

A gap is written ``START:STOP`` in seconds, or ``START-STOP`` where a place is one of::

    62.5     seconds       1:02.5    minutes and seconds     0:01:02.5   hours too
    62500ms  milliseconds  2756250smp  samples, counted from 0

``1.25:1.31[1]`` is a gap of the first channel alone, ``[1,2]`` of the first two.

A file of gaps holds one a line, or is the label track that Audacity exports (start, end, text,
between tabs; a text may end in channels, too, and is marked ``doubtful:`` where a place is probably
meant so). A mask says for every sample of the recording, or
of each of its channels, whether it is missing: a NumPy file (``.npy``) of bools, or an audio file
that is silent where the recording is sound.
"""

import math
import os
import re
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePath, PurePosixPath
from typing import Protocol
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from plc.errors import AudioFileError, ConfigError, why
from plc.files.audio import AudioReader
from plc.files.fill.gaps import Hole, Stretch

DOUBTFUL = "doubtful:"
"""In the text of a label: the place is filled only if doubtful ones are asked for."""
_EXPECTED = (
    "expected START:STOP in seconds, such as 1.250:1.314, or START-STOP, such as 1:02-1:02.5"
)
_NUMBER = r"(?:\d*\.?\d+|\d+\.)"
_SECONDS = re.compile(rf"\s*({_NUMBER})\s*:\s*({_NUMBER})\s*", re.ASCII)
_PLACES = re.compile(r"\s*([\d.:]+\s*(?:ms|smp|s)?)\s*-\s*([\d.:]+\s*(?:ms|smp|s)?)\s*", re.ASCII)
_COUNTED = re.compile(rf"({_NUMBER})\s*(ms|smp|s)?", re.ASCII)
_CLOCK = re.compile(rf"(?:(\d+):)?(\d+):({_NUMBER})", re.ASCII)
_CHANNELS = re.compile(r"\s*\[\s*(\d{1,4}(?:\s*,\s*\d{1,4})*)\s*\]\s*$", re.ASCII)
# Lines of Audacity's label tracks that say which frequencies the label before them covers.
_FREQUENCIES = "\\"
_BLOCK_SAMPLES = 2**16
_NAME_BYTES_MAX = 255
_ZIP = ".zip"
# One of more is none of ours.
_LABELS_BYTES_MAX = 2**24
BAD_ZIP = OSError, EOFError, KeyError, ValueError, RuntimeError, LZMAError, BadZipFile, zlib.error
"""What reading a zip file raises that is damaged, or of a kind that is not read."""


def parse_gap(text: str, sample_rate: int | None = None) -> Stretch:
    """Return start and end in seconds of a gap such as ``1.250:1.314``.

    Of a gap such as ``1.250:1.314[2]`` also its channels, from 0 on.

    Parameters
    ----------
    text : str
        The gap, in one of the forms above.
    sample_rate : int, optional
        Of the recording, in Hz; needed where places are counted in samples.

    Raises
    ------
    ConfigError
        If the text is no gap, or one that ends before it starts.
    """
    place, channels = _parted(text)
    found = _SECONDS.fullmatch(place) or _PLACES.fullmatch(place)
    if not found:
        raise ConfigError(f"gap {text!r}: {_EXPECTED}")
    start_s, stop_s = (_seconds(place.strip(), text, sample_rate) for place in found.groups())
    if math.isinf(start_s) or math.isinf(stop_s):
        raise ConfigError(
            f"gap {text[:30]!r}... is too large a number; expected START:STOP in seconds"
        )
    if start_s >= stop_s:
        raise ConfigError(f"gap {text!r} ends at or before its start; expected START:STOP")
    return (start_s, stop_s, channels) if channels else (start_s, stop_s)


def channel_mark(channels: tuple[int, ...]) -> str:
    """Return channels as they are written behind a gap: ``[1,2]`` for the first two."""
    return f"[{','.join(str(channel + 1) for channel in channels)}]"


def _parted(text: str) -> tuple[str, tuple[int, ...]]:
    found = _CHANNELS.search(text)
    if not found:
        return text, ()
    channels = tuple(sorted({int(number) - 1 for number in found[1].split(",")}))
    if channels[0] < 0:
        raise ConfigError(f"{text!r} names channel 0; channels are counted from 1")
    return text[: found.start()], channels


def _seconds(place: str, gap: str, sample_rate: int | None) -> float:
    counted = _COUNTED.fullmatch(place)
    if counted:
        number, unit = float(counted[1]), counted[2]
        if unit != "smp":
            return number / 1000 if unit == "ms" else number
        if sample_rate is None:
            raise ConfigError(f"gap {gap!r} is in samples, and the sample rate is unknown")
        return number / sample_rate
    clock = _CLOCK.fullmatch(place)
    if not clock or float(clock[3]) >= 60 or (clock[1] and float(clock[2]) >= 60):
        raise ConfigError(f"gap {gap!r}: {_EXPECTED}")
    return 3600 * float(clock[1] or 0) + 60 * float(clock[2]) + float(clock[3])


def read_gaps(
    path: str | Path,
    sample_rate: int | None = None,
    *,
    may_be_empty: bool = False,
    doubtful: bool = False,
) -> list[Stretch]:
    """Read gaps in seconds from a text file or Audacity labels.

    Parameters
    ----------
    path : str or Path
        One gap a line; what follows ``#`` is a comment, but for labels.
    sample_rate : int, optional
        Of the recording, in Hz; needed where places are counted in samples.
    may_be_empty : bool, whether there may be no gap
    doubtful : bool
        Whether labels that are marked as doubtful are gaps, too.

    Raises
    ------
    ConfigError
        If the file cannot be read, a line is no gap, or there is none.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise ConfigError(f"cannot read the gaps in {path}: {reason}") from error
    gaps: list[Stretch] = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            if "\t" in line.strip():
                gaps += [] if DOUBTFUL in line and not doubtful else _labelled(line)
            elif bare := line.partition("#")[0].strip():
                gaps.append(parse_gap(bare, sample_rate))
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
    if not gaps and not may_be_empty:
        if DOUBTFUL in text:
            raise ConfigError(f"{path} holds doubtful places alone; --doubtful fills them")
        raise ConfigError(f"{path} holds no gaps; expected one START:STOP in seconds a line")
    return gaps


def _labelled(line: str) -> Iterator[Stretch]:
    if line.startswith(_FREQUENCIES):
        return
    start, stop, *label = line.strip("\r\n").split("\t")
    try:
        start_s, stop_s = float(start.replace(",", ".")), float(stop.replace(",", "."))
    except ValueError:
        raise ConfigError(f"{line!r} is not a label: expected start, end and text") from None
    if not (math.isfinite(start_s) and math.isfinite(stop_s) and 0 <= start_s <= stop_s):
        raise ConfigError(f"{line!r} is not a stretch: expected 0 <= start < end, in seconds")
    if start_s == stop_s:
        name = f" {label[0]!r}" if label and label[0] else ""
        raise ConfigError(f"the label{name} at {start_s:g} s is a point; drag it over the damage")
    _, channels = _parted(label[0]) if label else ("", ())
    yield (start_s, stop_s, channels) if channels else (start_s, stop_s)


def names_beside(name: str, suffix: str = ".txt") -> tuple[str, str]:
    """Return the names of a file about a recording.

    ``a.wav.txt`` is of ``a.wav`` alone, ``a.txt`` of ``a.flac``, too. Both are the latter where the
    former is longer than disks take.
    """
    path = PurePath(name)
    own, shared = f"{path.name}{suffix}", path.with_suffix(suffix).as_posix()
    if len(os.fsencode(own)) > _NAME_BYTES_MAX:
        return shared, shared
    return path.with_name(own).as_posix(), shared


def label(
    start_s: float, stop_s: float, text: str, doubt: str = "", channels: tuple[int, ...] = ()
) -> str:
    """Return a line of a label track, with why it is doubtful, and its channels if not all."""
    text += f" {DOUBTFUL} {doubt}" if doubt else ""
    text += f" {channel_mark(channels)}" if channels else ""
    return f"{start_s:.6f}\t{stop_s:.6f}\t{text}\n"


class Stamped(Protocol):
    """Files by their names: a folder, a bucket or a zip file."""

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file does; empty if it is missing."""


class ZippedLabels:
    """A zip file of labels, as the page of ``plc repair`` saves it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)
        try:
            with ZipFile(path) as archive:
                self._members = {each.filename: each for each in archive.infolist()}
        except BAD_ZIP as error:
            reason = why(error) if isinstance(error, OSError) else "it is no zip file"
            raise AudioFileError(f"cannot read the labels in {path}: {reason}") from error

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file does; empty if it is missing."""
        about = self._members.get(name)
        return "" if about is None else f"{about.file_size} {about.CRC:08x}"

    def fetch(self, name: str, folder: Path) -> Path:
        """Return a copy in a folder."""
        about = self._members[name]
        if about.file_size > _LABELS_BYTES_MAX:
            raise AudioFileError(f"{name} of {self.path} has {about.file_size} bytes: no labels")
        made = folder / "labels.txt"
        try:
            with ZipFile(self.path) as archive:
                made.write_bytes(archive.read(about))
        except BAD_ZIP as error:
            raise AudioFileError(f"cannot read {name} of {self.path}: {error}") from error
        return made


def zipped_labels(path: Path) -> ZippedLabels | None:
    """Return the zipped labels that a path leads to; None if it leads to others."""
    return ZippedLabels(path) if path.suffix.lower() == _ZIP and not path.is_dir() else None


def label_of(labels: Stamped, name: str) -> tuple[str, str]:
    """Return name and stamp of a recording's labels; empty texts if there are none."""
    for label in names_beside(PurePosixPath(name).as_posix()):
        if stamp := labels.stamp(label):
            return label, stamp
    return "", ""


def read_mask(path: str | Path, samples: int, channels: int = 1) -> list[Hole]:
    """Read the gaps of a mask, in samples.

    Parameters
    ----------
    path : str or Path
        A ``.npy`` file of bools or integers, shape (n,) or (n, channels), true where a sample is
        missing; or an audio file that is zero where none is. Audio of one channel, or a mask of a
        recording of one, is of all channels.
    samples, channels : int, of the recording

    Raises
    ------
    ConfigError
        If the mask cannot be read, is not as long as the recording, has other channels or marks
        nothing.
    """
    path = Path(path)
    edges: list[list[int]] = [[]]
    length, inside = 0, np.zeros(1, np.bool_)
    for block in _mask_blocks(path, channels):
        if not length:
            edges = [[] for _ in range(block.shape[1])]
        inside = np.broadcast_to(inside, block.shape[1])
        for column, last, found in zip(block.T, inside, edges, strict=True):
            found += (length + np.flatnonzero(np.diff(column, prepend=last))).tolist()
        length, inside = length + len(block), block[-1]
    if length != samples:
        raise ConfigError(
            f"the mask {path} has {length} samples, the recording {samples}; give one of each "
            "sample"
        )
    holes = []
    for k, found in enumerate(edges):
        ends = [*found, length] if len(found) % 2 else found
        where = (k,) if len(edges) > 1 else ()
        holes += [Hole(*span, where) for span in zip(ends[::2], ends[1::2], strict=True)]
    if not holes:
        raise ConfigError(f"the mask {path} marks nothing: there is nothing to fill")
    return holes


def _mask_blocks(path: Path, channels: int) -> Iterator[NDArray[np.bool_]]:
    """Yield a mask in blocks of shape (n, channels).

    Of shape (n, 1) where all channels are lost together.
    """
    if path.suffix.lower() != ".npy":
        with AudioReader(path) as reader:
            if channels > 1 and reader.channels not in (1, channels):
                raise ConfigError(
                    f"the mask {path} has {reader.channels} channels; the recording has "
                    f"{channels}: give as many, or one for all"
                )
            for block in reader.stream(_BLOCK_SAMPLES):
                marked = block != 0.0
                yield marked if channels > 1 else marked.any(axis=1, keepdims=True)
        return
    try:
        mask = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # of a header that is none, numpy raises many
        reason = getattr(error, "strerror", None) or "it is no NumPy array"
        raise ConfigError(f"cannot read the mask {path}: {reason}") from error
    shapes = mask.ndim == 1 or (mask.ndim == 2 and mask.shape[1] == channels)
    if not shapes or mask.dtype.kind not in "bui":
        raise ConfigError(
            f"the mask {path} is {mask.dtype}, shape {mask.shape}; expected bool, shape "
            f"(samples,) or (samples, {channels}), as the recording has {channels} channels"
        )
    for start in range(0, len(mask), _BLOCK_SAMPLES):
        part = np.asarray(mask[start : start + _BLOCK_SAMPLES]) != 0
        yield part.reshape(len(part), -1)
