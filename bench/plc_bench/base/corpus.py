"""The clips a benchmark runs on: found in folders or manifests, always in the same order."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import AudioFileError, ConfigError
from plc.extras import needed
from plc_bench.base.notes import read_rows

# What libsndfile reads, by the end of the name.
AUDIO_SUFFIXES = frozenset({".flac", ".wav", ".ogg", ".opus", ".mp3", ".aif", ".aiff"})
# Stereo versions of places that mono clips show too: counted, they would count twice.
STEREO_PREFIX = "stereo_"
# A clip whose loudest sample is below this (-80 dB of full scale) has nothing to score.
_LEAST_PEAK = 1e-4
# Folders that name the purpose of clips, not their domain.
SPLITS = frozenset({"train", "valid", "validation", "dev", "test"})


Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples of one clip.

    Attributes
    ----------
    signal : float32, shape (n, channels), full scale 1.0
    """

    signal: Samples
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip by name.

    Attributes
    ----------
    name : str
        Path below the source folder or manifest; unique.
    path : Path
        Where it lies; whether it does shows when it is read.
    domain : str
        What it is: the manifest's column ``domain``, else the name of its folder, of the one
        above a folder of a split (``music/test/clip.flac`` is music).
    """

    name: str
    path: Path
    domain: str


def find_named_clips(sources: Iterable[str | Path]) -> list[Clip]:
    """Return the clips that ``sources`` name, as :func:`find_clips` does, with their domains.

    Raises
    ------
    ConfigError
        If a source does not exist, none of them holds a clip, or two clips have one name.
    """
    clips: dict[str, Clip] = {}
    for source in [Path(source) for source in sources]:
        rows = _manifest_rows(source) if source.suffix.lower() == ".csv" else []
        domains = {source.parent / row["path"]: row.get("domain") for row in rows}
        base = source if source.is_dir() else source.parent
        for path in find_clips([source]):
            name = path.relative_to(base).as_posix()
            clip = Clip(name, path, domains.get(path) or _domain_of(path))
            if clips.setdefault(name, clip).path.resolve() != path.resolve():
                raise ConfigError(
                    f"two clips are named {name}: {clips[name].path} and {path}; give the folder "
                    "above them"
                )
    return [clips[name] for name in sorted(clips)]


def find_clips(sources: Iterable[str | Path]) -> list[Path]:
    """Return the audio files that ``sources`` name.

    Parameters
    ----------
    sources : iterable of str or Path
        Folders (searched to any depth), audio files, or manifests: ``.csv`` with a column ``path``
        relative to the manifest. Of folders and manifests, clips named ``stereo_`` stay out.

    Returns
    -------
    list of Path
        Each file once, sorted by name and then by folder.

    Raises
    ------
    ConfigError
        If a source does not exist, or none of them holds a clip.
    """
    paths = [Path(source) for source in sources]
    clips = {clip for path in paths for clip in _clips_of(path)}
    if not clips:
        raise ConfigError(
            f"no audio in {', '.join(map(str, paths))}; looked for files ending in "
            f"{' '.join(sorted(AUDIO_SUFFIXES))}"
        )
    return sorted(clips, key=lambda clip: (clip.name, clip.parts))


def read_clip(path: Path, sample_rate: int | None = None) -> Recording:
    """Read a clip, resampled to ``sample_rate`` in Hz if needed.

    Raises
    ------
    AudioFileError
        If the file cannot be read, is empty, or holds a NaN or an infinity.
    MissingExtraError
        If it has to be resampled and soxr is not installed.
    """
    import soundfile

    try:
        signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:  # LibsndfileError is a RuntimeError
        raise AudioFileError(f"cannot read {path}: {error}") from error
    if not signal.size:
        raise AudioFileError(f"{path} holds no samples")
    if not np.isfinite(signal).all():
        raise AudioFileError(f"{path} holds samples that are not finite")
    if sample_rate is None or rate == sample_rate:
        return Recording(signal, rate)
    return Recording(resample(signal, rate, sample_rate), sample_rate)


def middle_of(path: Path, sample_rate: int | None, seconds: float) -> tuple[Samples, int]:
    """Return the middle of a clip as one channel, shape (n,), and its rate; refuse silence."""
    read = read_clip(path, sample_rate)
    count = round(seconds * read.sample_rate)
    start = max(0, (len(read.signal) - count) // 2)
    middle = read.signal[start : start + count].mean(axis=1, dtype=np.float32)
    if not np.abs(middle).max() > _LEAST_PEAK:
        raise ConfigError(f"the middle {seconds:g} s of {path.name} are silent")
    return middle, read.sample_rate


def resample(signal: Samples, rate: float, new_rate: float) -> Samples:
    """Resample ``signal``, shape (n,) or (n, channels), by soxr.

    Raises
    ------
    MissingExtraError
        If soxr is not installed.
    """
    with needed("resampling needs soxr", "bench"):
        import soxr
    resampled: Samples = soxr.resample(signal, rate, new_rate, quality="HQ")
    return resampled


def clip_seed(name: str, seed: int = 0) -> int:
    """Return the seed of a clip's losses: from its name alone, the same on every machine.

    So a clip loses the same packets whichever other clips or methods run beside it.
    """
    return zlib.crc32(name.encode(), seed & 0xFFFFFFFF)


def _domain_of(path: Path) -> str:
    """Return a clip's domain: its folder's name, without splits."""
    folder = path.resolve().parent
    return folder.parent.name if folder.name in SPLITS else folder.name


def _clips_of(source: Path) -> list[Path]:
    if source.is_dir():
        clips = [path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES]
    elif source.suffix.lower() == ".csv" and source.exists():
        clips = [source.parent / row["path"] for row in _manifest_rows(source)]
    elif source.exists():
        return [source]
    else:
        raise ConfigError(f"{source} does not exist")
    return [clip for clip in clips if not clip.name.startswith(STEREO_PREFIX)]


def _manifest_rows(manifest: Path) -> list[dict[str, str]]:
    return [row for _, row in read_rows(manifest, {"path"}) if row["path"]]
