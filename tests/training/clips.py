"""A library of synthesised clips."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from plc_training.data.segments import PEAK, Segments
from tests.signals import tones

RATE = 16_000


def write_clips(folder: Path, count: int = 5, seconds: float = 1.5, rate: int = RATE) -> list[Path]:
    """Write clips of chords; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"clip{k}.wav" for k in range(count)]
    for seed, path in enumerate(paths):
        soundfile.write(path, tones(seed, rate, round(seconds * rate)), rate)
    return paths


def write_corrupt(folder: Path) -> Path:
    """Write a file that begins like FLAC and is none."""
    path = folder / "corrupt.flac"
    path.write_bytes(b"fLaC" + bytes(200))
    return path


def write_manifest(folder: Path, rows: list[tuple[str, str, str]], header: str = "") -> Path:
    """Write a manifest.csv of (path, domain, split)."""
    path = folder / "manifest.csv"
    lines = [header or "path,domain,split", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def stereo_at(folder: Path, rate: int, samples: int) -> Path:
    """Write a stereo clip whose channels differ."""
    path = folder / f"stereo{rate}.wav"
    both = np.stack([tones(7, rate, samples), tones(8, rate, samples)], axis=1)
    soundfile.write(path, both, rate, subtype="FLOAT")
    return path


def segments_of(
    lines: NDArray[np.floating], gap: int = 0, domain: int = 0, pitches: tuple[int, ...] = ()
) -> Segments:
    """Return segments of lines, shape (segments, lines, samples) or one line each."""
    lines = lines if lines.ndim == 3 else lines[:, None]
    peaks = np.abs(lines).max(axis=(1, 2)).astype(np.float32)
    stored = np.rint(lines * (PEAK / peaks)[:, None, None]).astype(np.int16)
    count = len(lines)
    gaps, domains = np.full(count, gap, np.int32), np.full(count, domain, np.uint8)
    return Segments(stored, gaps, peaks, domains, np.array(pitches, np.uint8))
