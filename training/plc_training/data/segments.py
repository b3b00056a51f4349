"""Segments for training: a gap, its truth and the engine's drafts.

Of streams the step makes the drafts (:mod:`plc_training.data.step_rows`), of files what fills their
gaps, so that the network meets what it was trained on. A segment is a few lines of samples, all
alike outside the gap (but for the past that passages have of their own)::

    line      truth      |~~~~ known ~~~~|~~ truth ~~|~~~~ known ~~~~|
              forward    |~~~~ known ~~~~|-- draft --|~~~~ known ~~~~|
              ...
                         |<-- margin --->|<-- gap -->|<- margin or more ->|

Lines are int16, each segment scaled to its peak: levels carry nothing, the networks see ratios.
"""

import hashlib
import json
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

import plc
from plc.engine.loss import GilbertElliott
from plc.engine.networks.flat import BRIDGE_DRAFTS, MUSIC_DRAFTS, SPEECH_DRAFTS
from plc.engine.spans import gaps_of
from plc.errors import ConfigError
from plc.files.fill.gap_drafts import TwoSidedDraft
from plc_bench.base.corpus import clip_seed, resample
from plc_bench.base.workers import Failure, score_clips
from plc_bench.scores.metrics import GAP_RMS_MIN, rms
from plc_training.data.library import Decoded, read_samples
from plc_training.data.step_rows import StepRows

PEAK = 30_000.0
"""Largest magnitude of a segment's lines as they are stored."""
# Raised where the same plan comes to give other segments, or other files, so that none are taken
# from a cache.
_FORMAT = 4
DOMAINS = ("music", "instruments", "speech", "any")
# Clips that gave no segments, so that later runs tell of them, too. Written last: it says that the
# others are whole.
_FAILURES = "failures.json"

Samples = NDArray[np.float32]
Pieces = Iterator[tuple[Samples, int]]
"""Segments, and the samples of their gaps."""


class Plan(Protocol):
    """Choice of segments to make; a dataclass, from which the cache's names follow."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def sample_rate(self) -> int:
        """Rate in Hz that clips are decoded at."""

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of a segment's lines; the first is the truth."""

    @property
    def samples(self) -> int:
        """Samples of a line."""

    @property
    def seed(self) -> int:
        """Seed of the random numbers."""

    @property
    def speeds(self) -> tuple[float, ...]:
        """The speeds at which each clip is played."""

    def cut(self, x: Samples, domain: str, rng: np.random.Generator) -> Pieces:
        """Yield a clip's segments, shape (lines, samples) each, and their gaps' samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPlan:
    """Base of plans that cut clips of some domains.

    Attributes
    ----------
    seed : int
        Of what a plan draws; where it draws nothing, only names in the cache depend on it.
    speeds : tuple of float
        At which each clip is heard, as a tape is played: other speeds are other voices and keys.
        1 is among them: what is resampled has nothing in the topmost bins.
    """

    domains: tuple[str, ...]
    seed: int = 0
    speeds: tuple[float, ...] = (1.0,)

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of a segment's lines; the first is the truth."""
        return ("truth",)

    def cut(self, x: Samples, domain: str, rng: np.random.Generator) -> Pieces:
        """Yield a clip's segments, shape (lines, samples) each, and their gaps' samples."""
        return self._cut(x, rng) if domain in self.domains else iter(())

    @abstractmethod
    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        """Cut a clip of one of the domains, as :meth:`cut`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedPlan(SegmentPlan):
    """Base of plans of stretches of one line, one after the other.

    Attributes
    ----------
    shift_ms : float
        From one stretch to the next.
    """

    sample_rate: ClassVar[int]
    shift_ms: float

    @property
    @abstractmethod
    def samples(self) -> int:
        """Samples of a stretch."""

    @property
    def shift(self) -> int:
        """Samples from one stretch to the next."""
        return round(self.shift_ms * self.sample_rate / 1000.0)

    def _stretches(self, x: Samples) -> Iterator[Samples]:
        """Yield a clip's stretches, shape (1, samples)."""
        for start in range(0, x.size - self.samples + 1, self.shift):
            yield x[None, start : start + self.samples]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan(SegmentPlan):
    """Base of plans of bursts and gaps of streams, whose step drafts them.

    Clips go through the engine with losses drawn by its own model, so that the past of a burst
    holds what the engine played, its earlier concealments included.

    Attributes
    ----------
    loss, burst : float, of the Gilbert-Elliott model
    margin : int
        Samples of a line before the beginning of the gap.
    rung : tuple of float
        Order and past of the drafts, in ms.
    """

    sample_rate: int
    loss: float
    burst: float
    margin: int
    rung: tuple[float, float]

    @property
    @abstractmethod
    def samples(self) -> int:
        """Samples of a line."""

    def _streamed(
        self, x: Samples, packet: int, lookahead: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.bool_], Samples]:
        """Return a loss trace, and the clip as the ladder plays it."""
        packets = x.size // packet
        losses = GilbertElliott(self.loss, self.burst)
        trace = losses.trace(packets, int(rng.integers(2**31)))
        played = plc.conceal(
            x[: packets * packet],
            trace,
            sample_rate=self.sample_rate,
            packet_samples=packet,
            lookahead=lookahead,
            model="ar",
        )
        return trace, played.astype(np.float32, copy=False)  # which it is: for the type checker

    def _lines(self, drafts: Samples, following: Samples) -> Samples:
        """Return a segment: the played samples and those that follow, and the rows of the step."""
        rows = drafts[0, :, : self.samples]
        truth = np.append(rows[-1, : self.margin], following[: self.samples - self.margin])
        return np.concatenate([truth[None], rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintPlan:
    """Gaps with both sides known.

    Attributes
    ----------
    margin : int
        Samples known on either side of the longest gap in each line.
    gaps_ms : tuple of float
        Lengths, drawn alike; repeat one to have more of it.
    contexts_ms : tuple of float
        What the drafts may look at on either side, drawn alike.
    per_second : dict
        Segments for each second of audio, by domain; domains that are not named get none.
    similar_s : float
        Time around a gap that is searched for passages like its surroundings; 0: no such draft.
        A gap of which no more is known than the shortest context gets the interpolation there.
    contour : bool
        Whether there is a draft that follows the contour of a voice's pitch
        (:mod:`plc.engine.predict.expected_contour`).
    speeds : tuple of float
        At which each clip is heard, as a tape is played: other speeds are other voices and keys.
        1 is among them: what is resampled has nothing in the topmost bins.
    """

    sample_rate: int = 16_000
    margin: int = 1408
    gaps_ms: tuple[float, ...] = (64.0,)
    contexts_ms: tuple[float, ...] = (128.0, 500.0)
    similar_s: float = 0.0
    contour: bool = False
    per_second: dict[str, float]
    seed: int = 0
    speeds: tuple[float, ...] = (1.0,)

    @property
    def longest(self) -> int:
        """Samples of the longest gap."""
        return round(max(self.gaps_ms) * self.sample_rate / 1000.0)

    @property
    def samples(self) -> int:
        """Samples of a line."""
        return 2 * self.margin + self.longest

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of a segment's lines; the first is the truth."""
        similar = ("similar",) if self.similar_s else ()
        contour = ("contour",) if self.contour else ()
        return ("truth", "forward", "backward", *similar, *contour, "interpolated")

    def cut(self, x: Samples, domain: str, rng: np.random.Generator) -> Pieces:
        """Yield a clip's segments, shape (lines, samples) each, and their gaps' samples."""
        wanted = rng.poisson(self.per_second.get(domain, 0.0) * x.size / self.sample_rate)
        for _ in range(wanted if x.size >= self.samples else 0):
            start = int(rng.integers(self.margin, x.size - self.samples + self.margin + 1))
            gap = round(rng.choice(self.gaps_ms) * self.sample_rate / 1000.0)
            context = round(rng.choice(self.contexts_ms) * self.sample_rate / 1000.0)
            if rms(x[start : start + gap]) >= GAP_RMS_MIN:
                yield self._filled(x, start, gap, context), gap

    def _filled(self, x: Samples, start: int, gap: int, context: int) -> Samples:
        stop = start + gap
        before = x[max(0, start - context) : start]
        after = x[stop : stop + context]
        seen = np.concatenate([before, np.zeros(gap, np.float32), after])
        # Without the networks that come along: this is what one is to start from.
        gaps = [(before.size, before.size + gap)]
        filled = plc.inpaint(seen, gaps, sample_rate=self.sample_rate, model="ar")
        first = start - self.margin
        lines = np.repeat(x[None, first : first + self.samples], len(self.lines), axis=0)
        lines[1:, self.margin : self.margin + gap] = filled[before.size : before.size + gap]
        draft = TwoSidedDraft(self.lines[1:], self.sample_rate, self.margin, self.similar_s)
        shortest = round(min(self.contexts_ms) * self.sample_rate / 1000.0)
        searched = self.similar_s and context > shortest
        alike = draft.alike(x, start, stop, self.samples) if searched else None
        draft.write(before, after, gap, alike, lines[1:])
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalPlan(StreamPlan):
    """Bursts of a stream without lookahead: only the past is known.

    Attributes
    ----------
    packet_ms : tuple of float
        Packet lengths; every clip is damaged once with each.
    horizon : int
        Samples of a line from the beginning of the burst on.
    passages : bool
        Whether the drafts are those of music, from passages of the past that sound alike; else
        those of speech, along the expected contour of the pitch.
    """

    packet_ms: tuple[float, ...]
    horizon: int
    passages: bool = False

    @property
    def samples(self) -> int:
        """Samples of a line."""
        return self.margin + self.horizon

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of a segment's lines; the first is the truth."""
        return ("truth", *(MUSIC_DRAFTS if self.passages else SPEECH_DRAFTS))

    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        for packet_ms in self.packet_ms:
            n = round(packet_ms * self.sample_rate / 1000.0)
            trace, played = self._streamed(x, n, 0, rng)
            bursts = self.bursts_of(x, played, n)
            for start, stop in gaps_of(trace, n):
                gap = min(stop - start, self.horizon)
                inside = self.margin <= start <= x.size - self.horizon
                if inside and rms(x[start : start + gap]) >= GAP_RMS_MIN:
                    yield bursts(start), gap

    def bursts_of(self, x: Samples, played: Samples, packet: int) -> Callable[[int], Samples]:
        """Return a function that returns a burst's lines, called for a clip's bursts in order.

        Parameters
        ----------
        x, played : float32, shape (n,)
            The clip, and its samples as a stream played them.

        Returns
        -------
        callable
            Takes a burst's first sample, returns float32, shape (lines, samples).
        """
        lengths = self.margin, self.horizon, 0
        rows = StepRows((self.sample_rate, 1, packet, 0), self.lines[1:], lengths, self.rung)
        heard = 0

        def drafted(start: int) -> Samples:
            nonlocal heard
            rows.play(played[None, heard:start])
            heard = start
            drafts = rows.rows_of([None])
            assert drafts is not None, "the past is as long as a row's"
            return self._lines(drafts, x[start:])

        return drafted


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgePlan(StreamPlan):
    """Gaps of a stream with lookahead: the past, and the samples after the gap.

    Of a burst that outlasts the lookahead the last packets are the gap; what was played of it
    before belongs to the past.

    Attributes
    ----------
    lookaheads : tuple of int
        Packets that are waited for; every clip is damaged once with each.
    beyond : int
        Samples of a line after the longest gap.
    played_ms : float
        Bursts of which more than this was played before are left out.
    """

    packet_ms: float
    lookaheads: tuple[int, ...]
    played_ms: float = 0.0
    beyond: int

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return round(self.packet_ms * self.sample_rate / 1000.0)

    @property
    def horizon(self) -> int:
        """Samples of the longest gap."""
        return max(self.lookaheads) * self.packet_samples

    @property
    def samples(self) -> int:
        """Samples of a line."""
        return self.margin + self.horizon + self.beyond

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of a segment's lines; the first is the truth."""
        return ("truth", *BRIDGE_DRAFTS)

    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        n = self.packet_samples
        for lookahead in self.lookaheads:
            trace, heard = self._streamed(x, n, lookahead, rng)
            lengths = self.margin, self.horizon, self.beyond
            stream = self.sample_rate, 1, n, lookahead
            rows = StepRows(stream, BRIDGE_DRAFTS, lengths, self.rung)
            played = 0
            for begin, stop in gaps_of(trace, n):
                gap = min(stop - begin, lookahead * n)
                start = stop - gap
                inside = self.margin <= start <= x.size - self.horizon - self.beyond
                early = start - begin <= self.played_ms * self.sample_rate / 1000.0
                if not early or not inside or rms(x[start:stop]) < GAP_RMS_MIN:
                    continue
                rows.play(heard[None, played:begin])
                played = begin
                # From the first that is lost on, what was waited for when the gap is bridged.
                waited = range(begin // n, start // n + lookahead + 1)
                drafts = rows.rows_of(
                    None if k >= trace.size or trace[k] else x[None, k * n :][:, :n] for k in waited
                )
                if drafts is not None:
                    yield self._lines(drafts, x[start:]), gap


@dataclass(frozen=True, slots=True)
class Segments:
    """Prepared segments.

    Attributes
    ----------
    lines : int16, shape (segments, lines, samples), a memory map
    gaps : int32, shape (segments,)
        Samples of each gap; it begins at the plan's ``margin``.
    peaks : float32, shape (segments,)
        Of the samples that became full scale.
    domains : uint8, shape (segments,), index into :data:`DOMAINS`
    pitches : uint8, shape (segments,)
        MIDI pitch of each segment's note, 0 if unknown; empty if clips were not cut into notes.
    """

    lines: NDArray[np.int16]
    gaps: NDArray[np.int32]
    peaks: Samples
    domains: NDArray[np.uint8]
    pitches: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))

    def at_their_level(self, chosen: NDArray[np.integer] | slice) -> Samples:
        """Return lines of some segments as they were in their clips."""
        lines = self.lines[chosen].astype(np.float32)
        lines *= (self.peaks[chosen] / PEAK)[:, None, None]
        return lines


_SMALL = ("gaps", "peaks", "domains", "pitches")


def prepare_segments(
    plan: Plan,
    clips: Sequence[Decoded],
    cache: Path,
    jobs: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> tuple[Segments, list[Failure]]:
    """Return the segments of a plan, from the cache if possible.

    Raises
    ------
    ConfigError
        If no clip gave a segment.
    """
    names = sorted(
        (decoded.samples.name, decoded.clip.domain, *_notes_for(plan, decoded)) for decoded in clips
    )
    key = json.dumps([_FORMAT, type(plan).__name__, asdict(plan), names], sort_keys=True)
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:24]
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{folder.name}.lock"):  # another run may be making the same
        if not (folder / _FAILURES).exists():
            _make(folder, plan, clips, jobs, on_done)
    failures = json.loads((folder / _FAILURES).read_text())
    return _read(folder), [Failure(**failure) for failure in failures]


def _make(
    folder: Path, plan: Plan, clips: Sequence[Decoded], jobs: int, on_done: Callable[[], None]
) -> None:
    """Write a plan's segments, under another name until they are whole."""
    by_path = {decoded.samples: decoded for decoded in clips}
    cut = partial(_cut_clip, plan=plan, clips=by_path)
    outcome = score_clips(cut, list(by_path), jobs, on_done)
    pieces = [piece for piece in outcome.results if piece.gaps.size]
    if not pieces:
        raise ConfigError("no clip is long and loud enough for a segment")
    made = folder.with_suffix(".part")
    for unfinished in (made, folder):  # of runs that were killed
        shutil.rmtree(unfinished, ignore_errors=True)
    _write(made, pieces, outcome.failures)
    made.rename(folder)


def _write(folder: Path, pieces: list[Segments], failures: list[Failure]) -> None:
    folder.mkdir()
    shape = (sum(len(piece.lines) for piece in pieces), *pieces[0].lines.shape[1:])
    # Piece by piece: all of them may fit the memory once, but not twice.
    made = np.lib.format.open_memmap(folder / "lines.npy", "w+", np.int16, shape)
    place = 0
    for piece in pieces:
        made[place : place + len(piece.lines)] = piece.lines
        place += len(piece.lines)
    made.flush()
    for name in _SMALL:
        values = np.concatenate([getattr(piece, name) for piece in pieces])
        # Pitches are those of plans that take single notes.
        np.save(folder / f"{name}.npy", values if name != "pitches" or values.any() else values[:0])
    (folder / _FAILURES).write_text(json.dumps([asdict(failure) for failure in failures]))


def _read(folder: Path) -> Segments:
    lines = np.load(folder / "lines.npy", mmap_mode="r")
    return Segments(lines, **{name: np.load(folder / f"{name}.npy") for name in _SMALL})


def _cut_clip(path: Path, plan: Plan, clips: dict[Path, Decoded]) -> Segments:
    decoded = clips[path]
    domain = decoded.clip.domain if decoded.clip.domain in DOMAINS else "any"
    rng = np.random.default_rng(clip_seed(decoded.clip.path.name, plan.seed))
    lines, gaps, peaks, pitches = [], [], [], []
    clip = read_samples(decoded)
    for (part, pitch), speed in product(_parts(plan, decoded, clip), plan.speeds):
        for segment, gap in plan.cut(_at_speed(part, speed), domain, rng):
            peak = max(float(np.abs(segment).max()), 1e-6)
            lines.append(np.rint(segment * (PEAK / peak)).astype(np.int16))
            gaps.append(gap)
            peaks.append(peak)
            pitches.append(pitch if speed == 1.0 else 0)
    shape = (len(lines), len(plan.lines), plan.samples)
    return Segments(
        np.array(lines, np.int16).reshape(shape),
        np.array(gaps, np.int32),
        np.array(peaks, np.float32),
        np.full(len(gaps), DOMAINS.index(domain), np.uint8),
        np.array(pitches, np.uint8),
    )


def _notes_for(plan: Plan, decoded: Decoded) -> tuple[tuple[float, float], ...]:
    """Return the notes that a plan takes as clips; none: the clip as a whole."""
    return decoded.clip.notes if getattr(plan, "single_notes", False) else ()


def _parts(plan: Plan, decoded: Decoded, clip: Samples) -> list[tuple[Samples, int]]:
    notes = _notes_for(plan, decoded)
    if not notes:
        return [(clip, 0)]
    edges = np.rint(np.array(notes).cumsum(axis=1) * plan.sample_rate).astype(int)
    parts = [clip[start:stop] for start, stop in edges]
    return list(zip(parts, decoded.clip.pitches, strict=True))


def _at_speed(x: Samples, speed: float) -> Samples:
    """Return a clip as a tape sounds at another speed: pitch and formants move along."""
    return x if speed == 1.0 else resample(x, speed, 1.0)
