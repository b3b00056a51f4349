"""Fill the gaps of a recording, from file to file.

The source is read block by block and the target written on the way: in memory is the context around
one group of gaps. The target has exactly the length of the source.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from plc.engine.spans import gaps_of, merge_spans
from plc.errors import AudioFileError
from plc.files.audio import AudioReader, Progress, report
from plc.files.fill.copied import LongGap, Passages
from plc.files.fill.gaps import Hole, Stretch, gaps_in_samples, tracks_of
from plc.files.fill.signals import FillSettings
from plc.files.fill.track_fill import Recording, TrackFill
from plc.files.writing import AudioWriter, check_target, writer_like

_USUAL = FillSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintReport:
    """Result of :func:`inpaint_file`.

    Attributes
    ----------
    samples, sample_rate, channels : int, of the recording
    gaps : tuple of (int, int), in samples, merged and in order, as they were filled: of any channel
    holes : tuple of Hole
        The same by channel: channels that are lost at the same places are together.
    damaged_samples : int
        Received samples beside the gaps that were damaged and counted as lost: they lie in
        ``gaps``.
    refined_gaps : int or None
        Number of gaps that were interpolated by least squares. The others are longer than
        :data:`~plc.files.fill.interpolate.LONGEST_REFINED_GAP` samples, or have too few known ones
        on a side. None where the quality or the method interpolates none.
    long_gaps : tuple of LongGap
        What filled the gaps that are long, and from where; none where the method or the quality
        copies nothing.
    elapsed_s : float, reading and writing included
    clipped_samples : int, of the target
    """

    verb: ClassVar[str] = "filled"
    samples: int
    sample_rate: int
    channels: int
    gaps: tuple[tuple[int, int], ...]
    holes: tuple[Hole, ...]
    damaged_samples: int
    refined_gaps: int | None
    long_gaps: tuple[LongGap, ...]
    elapsed_s: float
    clipped_samples: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Repaired:
    """A repaired recording and its gaps.

    Attributes
    ----------
    name : str, to show
    source, target : Path, before and after
    sample_rate : int, in Hz
    gaps : tuple of (int, int), in samples, in order
    found : tuple of str, what each gap held, if a detector found it
    """

    name: str
    source: Path
    target: Path
    sample_rate: int
    gaps: tuple[tuple[int, int], ...]
    found: tuple[str, ...] = ()
    holes: tuple[Hole, ...] = ()
    """What is lost of which channels; none: the gaps are of all."""
    long_gaps: tuple[LongGap, ...] = ()
    """What filled the gaps that are long."""

    def channels_in(self, start: int, stop: int) -> tuple[int, ...]:
        """Return the channels that have holes in a stretch; none where all may have."""
        inside = [hole for hole in self.holes if hole.start < stop and hole.stop > start]
        if not all(hole.channels for hole in inside):
            return ()
        return tuple(sorted({channel for hole in inside for channel in hole.channels}))


def inpaint_file(
    source: str | Path,
    target: str | Path,
    gaps_s: Iterable[Stretch],
    *,
    settings: FillSettings = _USUAL,
    overwrite: bool = True,
    bitrate: int | None = None,
    progress: Progress | None = None,
) -> InpaintReport:
    """Fill gaps of a recording from the samples before and after them.

    What could not be decoded, and what is no number, is a gap, whatever else is one. More than half
    of a recording is filled only if the gaps name it: else it is an AudioFileError.

    Parameters
    ----------
    source, target : str or Path, audio files; the source's samples in a gap are not looked at
    gaps_s : iterable of (float, float) or (float, float, channels)
        Start and end of each gap in seconds, in any order; those that overlap or touch are one.
        Channels, from 0 on, where not all are lost: the others stay as they are.
    settings : FillSettings, how they are filled, as :func:`plc.inpaint` describes it
    overwrite : bool, whether a file that is there may be replaced
    bitrate : int, optional, in bit/s, for a target whose coding has one
    progress : callable, optional, called after each block

    Returns
    -------
    InpaintReport
        The gaps as they were filled.
    """
    source, target = Path(source), Path(target)
    check_target(target, source, overwrite)
    with AudioReader(source) as reader:
        samples, holes = _holes(source, gaps_s)
        tracks = tracks_of(holes, samples, reader.channels)
        start_s = time.perf_counter()
        with writer_like(reader, target, overwrite, bitrate) as writer:
            window = _Window(reader, writer, progress)
            hints = settings.seed, settings.content
            passages = Passages(reader.sample_rate, tracks, partial(_blocks, source), *hints)
            recording = Recording(
                source=str(source),
                sample_rate=reader.sample_rate,
                samples=samples,
                settings=settings,
                passages=passages if settings.copies else None,
            )
            fills = [TrackFill(track, tracks, recording) for track in tracks if track.gaps]
            jobs = [(fill, group) for fill in fills for group in fill.groups()]
            for fill, group in sorted(jobs, key=lambda job: job[1][0].start):
                first, stop = fill.reach(group)
                fill.fill(window.move_to(first, stop), first, group)
            window.finish()
        return InpaintReport(
            samples=samples,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            gaps=tuple(merge_spans([hole[:2] for fill in fills for hole in fill.holes()], samples)),
            holes=tuple(sorted(hole for fill in fills for hole in fill.holes())),
            damaged_samples=sum(fill.damaged_samples() for fill in fills),
            refined_gaps=_total(fill.refined() for fill in fills),
            long_gaps=tuple(passages.told),
            elapsed_s=time.perf_counter() - start_s,
            clipped_samples=writer.clipped_samples,
        )


def _blocks(source: Path) -> Iterator[NDArray[np.float32]]:
    with AudioReader(source) as reader:
        yield from reader.stream(reader.sample_rate)


def _holes(source: Path, gaps_s: Iterable[Stretch]) -> tuple[int, list[Hole]]:
    """Return a recording's length; its gaps, and where its samples are no numbers."""
    samples, unsound = 0, []
    with AudioReader(source) as reader:
        for block in reader.stream(reader.sample_rate):
            flags = ~np.isfinite(block)
            if flags.any():
                for channel, column in enumerate(flags.T):
                    spans = gaps_of(column, 1)
                    unsound += [Hole(samples + a, samples + b, (channel,)) for a, b in spans]
            samples += len(block)
        named = gaps_in_samples(gaps_s, reader.sample_rate, samples)
        every, known = (
            sum(b - a for a, b in merge_spans([hole[:2] for hole in holes], samples))
            for holes in ([*named, *unsound], named)
        )
        if refusal := reader.refusal(every - known, samples):
            raise AudioFileError(refusal)
    return samples, [*named, *unsound]


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


class _Window:
    """The part of a recording in memory; earlier parts have been written."""

    def __init__(self, reader: AudioReader, writer: AudioWriter, progress: Progress | None) -> None:
        self.reader, self.writer, self.progress = reader, writer, progress
        self.blocks = reader.stream(reader.sample_rate)
        self.start = 0
        self.held = np.empty((0, reader.channels), np.float32)

    def move_to(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples ``start`` to ``stop`` to be changed in place; write those before."""
        while True:
            self._write(max(0, start - self.start))
            if self.start + len(self.held) >= stop:
                return self.held[start - self.start : stop - self.start]
            self.held = np.concatenate([self.held, next(self.blocks)])

    def finish(self) -> None:
        self._write(len(self.held))
        for block in self.blocks:
            self.held = block
            self._write(len(block))

    def _write(self, samples: int) -> None:
        done = self.held[:samples]
        self.writer.write(done)
        self.held = self.held[samples:]
        self.start += len(done)
        report(self.progress, self.start, self.reader)
