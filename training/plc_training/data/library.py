"""Audio for training: files, their splits, and a cache of decoded clips.

A folder may carry a ``manifest.csv`` with the columns ``path``, ``domain`` and ``split``
(``train``, ``valid``, ``test``); its splits are kept, and files of ``test`` are never opened. Any
other folder is split by a hash of each file's name: one file in ten validates. Beside the manifest
or one folder below, a ``notes.csv`` may hold the bounds of single notes in their files, with the
columns ``path`` (as in the manifest), ``start_s``, ``duration_s`` and, if known, ``midi``, the
pitch.

Decoded clips are int16 ``.npy`` files, one for each rate, named by a hash of the source's path,
size and time of change: a changed file is decoded again. Training reads them through the page
cache.
Files are decoded block by block, so that a file may hold hours of audio.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import AudioFileError, ConfigError
from plc.files.audio import AudioReader
from plc_bench.base.corpus import find_clips
from plc_bench.base.notes import NoteTable, read_notes, read_rows
from plc_bench.base.workers import Failure, score_clips

SPLITS = ("train", "valid")
INT16_PEAK = 32767.0
# One file in this number validates, in folders without a manifest.
_VALID_SHARE = 10
_BLOCK_SAMPLES = 1 << 18
_NEXT_LICENCE = "; "


@dataclass(frozen=True, slots=True)
class Clip:
    """An audio file of the library."""

    path: Path
    domain: str
    """``music``, ``instruments``, ``speech``, or ``any`` if unknown."""
    split: str
    top_hz: float
    """Half the sample rate of its source in Hz; infinite if unknown."""
    source: str = ""
    """Origin; empty if unknown."""
    licence: str = ""
    notes: tuple[tuple[float, float], ...] = ()
    """Start and duration of each single note in s; empty if unknown."""
    pitches: tuple[int, ...] = ()
    """MIDI pitch of each of these notes; 0 if unknown."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A clip and the file of its samples in the cache."""

    clip: Clip
    samples: Path


def find_library(folder: Path, domain: str = "any") -> list[Clip]:
    """Return the clips of a folder for training and validation, sorted.

    Parameters
    ----------
    folder : Path
        Searched to any depth, or read from its ``manifest.csv``.
    domain : str
        Domain of the clips, for a folder without a manifest.

    Raises
    ------
    ConfigError
        If the folder does not exist or holds no audio of these splits, or its manifest is
        malformed.
    """
    manifest = folder / "manifest.csv"
    clips = _of_manifest(manifest) if manifest.exists() else _of_folder(folder, domain)
    if not clips:
        raise ConfigError(f"{folder} holds no audio of the splits {' and '.join(SPLITS)}")
    return sorted(clips, key=lambda clip: clip.path.parts)


def find_libraries(folders: Sequence[Path], domain: str = "any") -> list[list[Clip]]:
    """Return the clips of each of several folders.

    Raises
    ------
    ConfigError
        As for :func:`find_library`, or if folders share files: a test file of one folder may be
        a training file of another.
    """
    libraries = [find_library(folder, domain) for folder in folders]
    files: set[Path] = set()
    for clip in (clip for library in libraries for clip in library):
        file = clip.path.resolve()
        if file in files:
            raise ConfigError(
                f"{clip.path} is listed twice; name libraries that share no files with --data"
            )
        files.add(file)
    return libraries


def decode_library(
    clips: Sequence[Clip],
    sample_rate: int,
    cache: Path,
    jobs: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> tuple[list[Decoded], list[Failure]]:
    """Decode clips into the cache; return the decoded clips and the failures.

    Parameters
    ----------
    sample_rate : int
        Rate in Hz of the decoded clips, which are mono.
    cache : Path
        Folder; created if missing.
    on_done : callable
        Called once for each clip.
    """
    cache.mkdir(parents=True, exist_ok=True)
    by_path = {clip.path: clip for clip in clips}
    outcome = score_clips(
        partial(_decode, sample_rate=sample_rate, cache=cache), list(by_path), jobs, on_done
    )
    return [Decoded(by_path[path], npy) for path, npy in outcome.results], outcome.failures


def read_samples(decoded: Decoded) -> NDArray[np.float32]:
    """Return a clip's samples, float32, shape (n,), full scale 1.0."""
    samples: NDArray[np.float32] = np.load(decoded.samples).astype(np.float32) / INT16_PEAK
    return samples


def sources_of(clips: Sequence[Clip]) -> dict[str, str]:
    """Return the licences of clips by the names of their sources."""
    heard = [clip for clip in clips if clip.source]
    return together(*({clip.source: clip.licence or "licence not said"} for clip in heard))


def together(*sources: dict[str, str]) -> dict[str, str]:
    """Merge results of :func:`sources_of`; a source keeps all its licences."""
    found: dict[str, set[str]] = {}
    for source, licences in (item for each in sources for item in each.items()):
        found.setdefault(source, set()).update(licences.split(_NEXT_LICENCE))
    return {source: _NEXT_LICENCE.join(sorted(found[source])) for source in sorted(found)}


def to_int16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Return samples of full scale 1.0 as int16, clipped."""
    rounded: NDArray[np.int16] = np.clip(np.rint(samples * INT16_PEAK), -32768, 32767).astype(
        np.int16
    )
    return rounded


def _of_manifest(manifest: Path) -> list[Clip]:
    folder = manifest.parent
    notes = read_notes(sorted([*folder.glob("notes.csv"), *folder.glob("*/notes.csv")]))
    clips = [
        _of_row(manifest, line, row, notes)
        for line, row in read_rows(manifest, {"path", "domain", "split"})
    ]
    return [clip for clip in clips if clip.split in SPLITS]


def _of_row(manifest: Path, line: int, row: dict[str, str], notes: Mapping[str, NoteTable]) -> Clip:
    label = f"{manifest}, line {line}"
    if not row["path"]:
        raise ConfigError(f"{label}: path is empty; expected a path relative to the manifest")
    if row["split"] not in (*SPLITS, "test"):
        raise ConfigError(f"{label}: split is {row['split']!r}; known: {', '.join(SPLITS)}, test")
    top = row.get("source_nyquist_hz") or "inf"
    table = notes.get(row["path"], NoteTable())
    try:
        top_hz = float(top)
    except ValueError as error:
        raise ConfigError(f"{label}: source_nyquist_hz is {top!r}; expected Hz") from error
    path, domain = manifest.parent / row["path"], row["domain"] or "any"
    origin = row.get("source") or "", row.get("licence") or ""
    return Clip(path, domain, row["split"], top_hz, *origin, table.bounds, table.pitches)


def _of_folder(folder: Path, domain: str) -> list[Clip]:
    paths = find_clips([folder])
    if len(paths) < 2:
        raise ConfigError(f"{folder} holds one file; training needs one more, to validate with")
    keys = [zlib.crc32(path.relative_to(folder).as_posix().encode()) for path in paths]
    validates = [key % _VALID_SHARE == 0 for key in keys]
    if all(validates) or not any(validates):
        validates = [key == min(keys) for key in keys]
    return [
        Clip(path, domain, "valid" if held_out else "train", float("inf"))
        for path, held_out in zip(paths, validates, strict=True)
    ]


def _decode(path: Path, sample_rate: int, cache: Path) -> tuple[Path, Path]:
    """Decode a clip unless the cache has it; return both paths."""
    try:
        status = path.stat()
    except OSError as error:
        raise AudioFileError(f"cannot read {path}: {error.strerror or error}") from error
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{sample_rate}"
    target = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
    if not target.exists():
        part = cache / f"{target.stem}.{os.getpid()}.part"
        try:
            _write_npy(part, _blocks(path, sample_rate))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return path, target


def _blocks(path: Path, sample_rate: int) -> Iterator[NDArray[np.int16]]:
    """Yield a file's samples, mixed to mono and resampled, as int16."""
    # The extra that brings torch brings it.
    import soxr

    with AudioReader(path) as reader:
        rate = reader.sample_rate
        resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
        for block in reader.stream(_BLOCK_SAMPLES):
            if not np.isfinite(block).all():
                raise AudioFileError(f"{path} holds samples that are not finite")
            mono = block.mean(axis=1)
            yield to_int16(mono if rate == sample_rate else resampler.resample_chunk(mono))
        if rate != sample_rate:
            yield to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


def _write_npy(path: Path, blocks: Iterator[NDArray[np.int16]]) -> None:
    """Write blocks as one ``.npy`` array.

    The header is written twice: numpy pads it, so that any length fits.
    """
    header = {"descr": "<i2", "fortran_order": False, "shape": (0,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        samples = 0
        for block in blocks:
            file.write(block.astype("<i2").tobytes())
            samples += block.size
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, header | {"shape": (samples,)})
