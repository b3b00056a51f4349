"""Excerpts of a study to listen to: a stretch of a clip, played in every way.

A folder for each clip and condition::

    reference.flac   the original
    lossy.flac       the same with zeros where packets are lost
    played-*.flac    the output of each method
    excerpt.json     which is which, the packets lost, the rate

All are FLAC of 16 bits and sample-aligned, so that a listener can switch among them and a
difference between two of them is exact. If the loudest would clip, one gain reduces all of them:
levels stay comparable.
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import AudioFileError, ConfigError, why
from plc.files.writing import AudioWriter
from plc_bench.base.corpus import Clip, Samples
from plc_bench.quality.stream import Stream

REFERENCE = "reference"
LOSSY = "lossy"
_INDEX = "excerpt.json"
EXCERPT_S = 5.0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of a clip, kept in a folder.

    Attributes
    ----------
    start : int
        First sample of the stretch in the clip.
    trace : bool, shape (packets,)
        Packets of the stretch; True = lost.
    files : mapping
        File by method, after ``reference`` and ``lossy``.
    """

    folder: Path
    clip: str
    domain: str
    condition: str
    sample_rate: int
    packet_samples: int
    start: int
    trace: NDArray[np.bool_]
    files: Mapping[str, str]

    def read(self, name: str) -> NDArray[np.int16]:
        """Return the samples of one file: int16, shape (n, channels).

        Raises
        ------
        AudioFileError
            If it cannot be read.
        """
        import soundfile

        path = self.folder / self.files[name]
        try:
            samples: NDArray[np.int16] = soundfile.read(path, dtype="int16", always_2d=True)[0]
        except (OSError, RuntimeError) as error:  # LibsndfileError is a RuntimeError
            raise AudioFileError(f"cannot read {path}: {error}") from error
        return samples


def plan(clips: Sequence[Clip], conditions: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Choose the clips and conditions of the excerpts.

    Domains take turns, and so do the conditions from clip to clip, so that a listener hears some
    of everything.
    """
    by_domain: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: zlib.crc32(clip.name.encode())):
        by_domain.setdefault(clip.domain, []).append(clip)
    queues = [by_domain[domain] for domain in sorted(by_domain)]
    turns = [
        queue[turn]
        for turn in range(max(map(len, queues)))
        for queue in queues
        if turn < len(queue)
    ]
    rounds = [
        (clip.name, conditions[(number + lap) % len(conditions)])
        for lap in range(len(conditions))
        for number, clip in enumerate(turns)
    ]
    return rounds[:count]


def stretch(trace: NDArray[np.bool_], packet_samples: int, samples: int) -> slice:
    """Return the packets of about ``samples`` samples that hold the most bursts."""
    packets = min(trace.size, max(1, round(samples / packet_samples)))
    onsets = np.diff(trace, prepend=False) & trace
    begun = np.concatenate([[0], np.cumsum(onsets)])
    start = int((begun[packets:] - begun[:-packets]).argmax())
    return slice(start, start + packets)


def keep(
    folder: Path,
    clip: Clip,
    condition: str,
    stream: Stream,
    played: Mapping[str, Samples],
    seconds: float = EXCERPT_S,
) -> None:
    """Write an excerpt, or add methods to an existing one.

    Parameters
    ----------
    played : mapping from str to float32, shape (n, channels), what each method played

    Raises
    ------
    AudioFileError
        If it cannot be written.
    """
    packets = stretch(stream.trace, stream.packet_samples, round(seconds * stream.sample_rate))
    samples = slice(packets.start * stream.packet_samples, packets.stop * stream.packet_samples)
    kept = _index(folder)
    files = dict(kept["files"]) if kept else {}
    # One gain for all files of the folder, so that a later run stays comparable.
    gain = kept["gain"] if kept else _gain([stream.signal[samples], *played.values()])
    wanted = {REFERENCE: stream.signal, LOSSY: stream.lossy} if not kept else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioFileError(f"cannot make the folder {folder}: {why(error)}") from error
    for name, signal in {**wanted, **played}.items():
        files[name] = f"{name}.flac" if name in wanted else f"played-{slug(name)}.flac"
        _write(folder / files[name], gain * signal[samples], stream.sample_rate)
    index = {
        "clip": clip.name,
        "domain": clip.domain,
        "condition": condition,
        "sample_rate": stream.sample_rate,
        "packet_samples": stream.packet_samples,
        "start": samples.start,
        "trace": "".join("01"[int(lost)] for lost in stream.trace[packets]),
        "gain": gain,
        "files": files,
    }
    (folder / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def find(folder: Path) -> list[Excerpt]:
    """Return the excerpts below a folder, by domain and clip.

    Raises
    ------
    ConfigError
        If an index cannot be read.
    """
    found = []
    for path in folder.rglob(_INDEX):
        index = _index(path.parent)
        assert index is not None
        trace = np.array([digit == "1" for digit in index.pop("trace")], np.bool_)
        del index["gain"]
        found.append(Excerpt(folder=path.parent, trace=trace, **index))
    return sorted(found, key=lambda excerpt: (excerpt.domain, excerpt.clip, excerpt.condition))


def _index(folder: Path) -> dict[str, Any] | None:
    path = folder / _INDEX
    if not path.exists():
        return None
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}; remove its folder") from error
    assert isinstance(index, dict)
    return index


def _gain(signals: Sequence[Samples]) -> float:
    """Return the gain that prevents clipping, 1 or less."""
    loudest = max(float(np.abs(signal).max()) for signal in signals)
    return min(1.0, 1.0 / loudest) if loudest > 0.0 else 1.0


def slug(name: str) -> str:
    """Return a unique part of a file name for ``name``."""
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("_")
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode()):08x}"


def _write(path: Path, signal: Samples, sample_rate: int) -> None:
    with AudioWriter(path, sample_rate, signal.shape[1], "PCM_16", len(signal)) as writer:
        writer.write(signal)
