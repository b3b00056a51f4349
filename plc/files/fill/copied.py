"""Long gaps of music filled with the most similar passage of the recording.

What was in a gap of a tenth of a second and more cannot be predicted, but music repeats itself
(:mod:`plc.engine.predict.similar`). The places that resemble the gap's surroundings by their
outline (:mod:`plc.files.fill.outline`) are compared with them sample by sample at both joins, which
puts each right to the sample. The mean of both likenesses ranks them::

    recording  ...|~~~ like ~~~|~~ passage ~~|~~~ like ~~~|......|~~ known ~~|  gap  |~~ known ~~|
                                     ╰── one gain a band, from that of one join to the other ──▲

The passage is brought to the levels beside the gap in 16 bands, with gains on straight lines (in
dB) from one join to the other. It is added, bin by bin of a short-time spectrum, to what filled the
gap before, linear prediction from both sides: by as much as prediction lacks of the power beside
the gap; one that is like both joins stands in its place. So steady tones go on, and the passage
brings what cannot be predicted.

Next to the joins a prediction may be right and the passage wrong. There the passage has that place
only where it errs less, beside both joins, than any prediction of the known sound there did; else,
band by band, the share that both errors give it. All channels come from one place. Words cannot be
copied, so speech keeps its fill, as does a gap that nothing is like.

A recording is read once for its outline, and twice for each :data:`_TOGETHER` gaps.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.sides import continued
from plc.engine.predict.similar import MATCH_MS, fast_length
from plc.files.fill.gaps import Gap, Track, gaps_within
from plc.files.fill.outline import Outline, Span
from plc.files.fill.spoken_background import is_spoken
from plc_kernels.signal.edges import EDGE_SAMPLES
from plc_kernels.signal.fade import crossfade_ramp
from plc_kernels.signal.predict import LEAST_PAST_SAMPLES
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.scales import band_centres_hz
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import window

LEAST_MS, LONGEST_MS = 100.0, 1500.0
"""Gaps longer than the first, which prediction does not bridge, up to the second are copied."""
_LEVEL_MS = 100.0
"""On either side: what gives the levels."""
_MIX_MS = 10.0
"""At both ends: where the draft goes over into the passage."""
_BANDS, _LIMIT_DB = 16, 12.0
"""Bands whose levels are bent, and by how much at the most."""
# A prediction that keeps 70 % of the power beside the gap lacks nothing; its error is
# this share, at least, and that of a passage grows by so much with what it lacks in coherence.
_ENOUGH, _WRONG, _UNLIKE_ERROR = 1.4, 0.1, 10.0
# So far from a join both errors rule (50 ms and half a window), and from the second on no more.
_NEAR_MS, _WHOLE_MS = 62.0, 100.0
# A passage errs as it does so far beside the joins; a prediction as it does in the first of these,
# from sound that is known so far from them. A passage needs no bound if its error in the first is
# less than so much of that at best, or if all are less than the square of it of that in the mean.
# Else it errs by so much more than it does beside the joins, the ratio of both errors counts to
# this power, and it is no louder than so much of what is beside it.
_CHECKED_MS, _REHEARSED_MS, _CONTEXT_S = (50.0, 300.0), (50.0, 100.0, 200.0), 0.5
_BETTER, _DOUBT, _TRUST, _LOUDER = 0.4, 1.1, 1.5, 1.7
# Places that are compared sample by sample; several fills come from places so far apart.
_PLACES, _APART_MS = 32, 100.0
# Mean of the likeness of outline and samples below which nothing is copied.
_LEAST_LIKENESS = 0.2
# Gaps whose places are read together, of which one takes up to 4 MB for each channel at 48 kHz.
_TOGETHER = 16
_LITTLE = 1e-30

_Rows = NDArray[np.float32]
Blocks = Callable[[], Iterable[_Rows]]
"""Reads a recording from its beginning: float32, shape (n, channels)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongGap:
    """A filled gap of more than :data:`LEAST_MS`, in samples, and the source of its fill."""

    start: int
    stop: int
    channels: tuple[int, ...]
    """From 0 on; all of them have one place."""
    copied_from: int | None
    """Sample of the recording that was copied to the gap's first; None where linear prediction from
    both sides fades out and in."""
    reason: str = ""
    """Why nothing was copied; ``""`` where something was."""

    def how(self, sample_rate: int) -> str:
        """Return how it was filled, as text."""
        if self.copied_from is None:
            return f"faded out and in: {self.reason}"
        return f"copied from {self.copied_from / sample_rate:.3f} s"

    def told(self, sample_rate: int) -> str:
        """Return a line that says where it is, how long, and how it was filled."""
        begin_s, ms = self.start / sample_rate, 1000 * (self.stop - self.start) / sample_rate
        return f"at {begin_s:.3f} s, {ms:.0f} ms: {self.how(sample_rate)}"


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of a recording."""

    begin: int
    """Place of what goes to the gap's first sample."""
    around: _Rows
    """The passage, and what is beside it: shape (channels, n)."""
    hole: Span
    """The passage alone, in samples of ``around``."""

    def put(self, rows: _Rows, gap: Gap, known: Span, sample_rate: int) -> None:
        """Put the passage in the place of a draft.

        Parameters
        ----------
        rows : float32, shape (channels, n), written in the gap, with a draft in the gap
        gap : Gap, as long as the passage
        known : (start, stop)
            The stretch around the gap that was received but for the gap.
        sample_rate : int, in Hz
        """
        level = round(_LEVEL_MS * sample_rate / 1000.0)
        hole = slice(*self.hole)
        plan = _plan(sample_rate)
        edges = _band_edges(sample_rate, plan.bins)
        for row, around in zip(rows, self.around, strict=True):
            # Both sides begin at the gap.
            sides = [
                (row[known[0] : gap.start][::-1], around[: hole.start][::-1]),
                (row[gap.stop : known[1]], around[hole.stop :]),
            ]
            fits = [_fit(beside[:level], own[:level], plan, edges) for beside, own in sides]
            followed = _followed(sides, fits, plan, edges, sample_rate)
            draft = np.zeros_like(around)
            first = gap.start - hole.start
            begin, end = max(0, first), min(row.size, first + around.size)
            draft[begin - first : end - first] = row[begin:end]
            joined = _joined(draft, around, self.hole, fits, followed, plan, edges, sample_rate)
            _mix(row[gap.start : gap.stop], joined, round(_MIX_MS * sample_rate / 1000.0))


class Passages:
    """The passages of a recording that fill long gaps.

    Parameters
    ----------
    sample_rate : int, in Hz
    tracks : sequence of Track
        What is lost: no passage has any of it, whatever the channel.
    blocks : callable, reads the recording
    variant : int
        How many better places are passed over.
    content : str
        As for :class:`~plc.StreamConfig`; ``"auto"``: gaps of speech are told by their sides.
    """

    def __init__(
        self,
        sample_rate: int,
        tracks: Sequence[Track],
        blocks: Blocks,
        variant: int = 0,
        content: str = "auto",
    ) -> None:
        self._rate, self._tracks, self._blocks = sample_rate, tracks, blocks
        self._variant, self._content = variant, content
        self._outline: Outline | None = None
        self._found: dict[Span, Passage | None] = {}
        self.told: list[LongGap] = []
        """What filled the long gaps so far."""

    def fill(
        self, track: Track, first: int, rows: _Rows, gap: Gap, received: NDArray[np.bool_]
    ) -> None:
        """Fill a gap, if it is a long one of music and something is like its surroundings.

        Parameters
        ----------
        track : Track, the gap's
        first : int
            Sample of the recording that is the rows' first.
        rows : float32, shape (channels, n), written in the gap
            The track's channels, with a draft in the gap.
        gap : Gap, in samples of the rows
        received : bool, shape (n,)
            What of the rows is no fill.
        """
        if gap.samples <= LEAST_MS * self._rate / 1000.0:
            return
        lost = np.flatnonzero(~received[: gap.start])
        known = int(lost[-1]) + 1 if lost.size else 0, gap.end
        reason = self._refusal(rows, gap, known, received)
        passage = None if reason else self._passage(track, first + gap.start, first + gap.stop)
        if passage:
            passage.put(rows, gap, known, self._rate)
        self.told.append(
            LongGap(
                start=first + gap.start,
                stop=first + gap.stop,
                channels=track.channels,
                copied_from=passage.begin if passage else None,
                reason=reason or ("" if passage else "nothing is similar enough"),
            )
        )

    def _refusal(self, rows: _Rows, gap: Gap, known: Span, received: NDArray[np.bool_]) -> str:
        """Return why nothing can be copied to a gap, or ``""``."""
        if gap.samples > LONGEST_MS * self._rate / 1000.0:
            return f"longer than {LONGEST_MS:g} ms"
        if min(gap.start - known[0], known[1] - gap.stop) < self._samples(MATCH_MS) + EDGE_SAMPLES:
            return f"less than {MATCH_MS:g} ms known on a side"
        spoken = is_spoken(rows, received, gap.span, self._rate, self._content)
        return "speech" if spoken else ""

    def _passage(self, track: Track, start: int, stop: int) -> Passage | None:
        """Return the passage for a gap that may be wider than the track's by a few samples."""
        gap = gaps_within(track.gaps, start, stop)[0]
        if gap.span not in self._found:
            least, most = self._samples(LEAST_MS), self._samples(LONGEST_MS)
            more = [each for each in track.gaps if each > gap and least < each.samples <= most]
            self._search(track.channels, [gap, *more[: _TOGETHER - 1]])
        found = self._found.pop(gap.span)
        if found is None:
            return None
        before, after = gap.start - start, stop - gap.stop
        hole = found.hole[0] - before, found.hole[1] + after
        return Passage(found.begin - before, found.around, hole)

    def _search(self, channels: tuple[int, ...], gaps: Sequence[Gap]) -> None:
        self._found.update(dict.fromkeys((gap.span for gap in gaps), None))
        margin = self._samples(_LEVEL_MS) + EDGE_SAMPLES
        chosen = list(self._chosen(channels, gaps, margin))
        spans = [self._known_around(place, place + gap.samples) for gap, place in chosen]
        parts = gather(self._blocks(), spans, channels)
        for (gap, place), (first, _), around in zip(chosen, spans, parts, strict=True):
            if np.isfinite(around).all():
                hole = place - first, place - first + gap.samples
                self._found[gap.span] = Passage(place, around, hole)

    def _known_around(self, begin: int, end: int) -> Span:
        """Return a passage with the known stretches that are checked beside it."""
        margin = self._samples(max(_CHECKED_MS)) + EDGE_SAMPLES
        first = max(0, begin - margin)
        last = min(end + margin, cast(Outline, self._outline).samples)
        for track in self._tracks:
            for gap in gaps_within(track.gaps, first, last):
                before = gap.stop <= begin
                first, last = (
                    (max(first, gap.stop), last) if before else (first, min(last, gap.start))
                )
        return first, last

    def _chosen(
        self, channels: tuple[int, ...], gaps: Sequence[Gap], margin: int
    ) -> Iterator[tuple[Gap, int]]:
        if self._outline is None:
            holes = [gap.span for track in self._tracks for gap in track.gaps]
            self._outline = Outline(self._rate, self._blocks(), holes)
        slack = round(1.5 * self._outline.hop)
        tried = [self._outline.places(gap.span, margin + slack, _PLACES) for gap in gaps]
        spans: list[Span] = []
        for gap, places in zip(gaps, tried, strict=True):
            spans += self._joins(gap, 0, 0)
            for shift, _ in places:
                spans += self._joins(gap, shift, slack)
        parts = iter(gather(self._blocks(), spans, channels))
        for gap, places in zip(gaps, tried, strict=True):
            sides = next(parts), next(parts)
            found = []
            for shift, likeness in places:
                lag, exactly = best_lag((next(parts), next(parts)), sides)
                found.append((0.5 * (likeness + exactly), gap.start + shift + lag - slack))
            place = self._ranked(found)
            if place is not None:
                yield gap, place

    def _joins(self, gap: Gap, shift: int, slack: int) -> list[Span]:
        """Return the stretches compared beside a place, ``slack`` samples longer at either end."""
        match = self._samples(MATCH_MS)
        before = gap.start + shift - EDGE_SAMPLES
        behind = gap.stop + shift + EDGE_SAMPLES
        return [(before - match - slack, before + slack), (behind - slack, behind + match + slack)]

    def _ranked(self, found: Sequence[tuple[float, int]]) -> int | None:
        """Return the place of this variant; None if so many are not similar enough."""
        apart = self._samples(_APART_MS)
        places: list[int] = []
        for likeness, place in sorted(found, reverse=True):
            if likeness >= _LEAST_LIKENESS and all(abs(place - p) >= apart for p in places):
                places.append(place)
        return places[self._variant] if self._variant < len(places) else None

    def _samples(self, ms: float) -> int:
        return round(ms * self._rate / 1000.0)


def gather(
    blocks: Iterable[_Rows], spans: Sequence[Span], channels: tuple[int, ...]
) -> list[_Rows]:
    """Read stretches of a recording in one pass: float32, shape (channels, n) each.

    Parameters
    ----------
    blocks : iterable of float32, shape (n, channels), the recording from its beginning
    spans : sequence of (start, stop)
        In any order; what lies outside of the recording is silence.
    channels : tuple of int, those that are read
    """
    out = [np.zeros((len(channels), stop - start), np.float32) for start, stop in spans]
    waiting = sorted(range(len(spans)), key=lambda k: spans[k][0], reverse=True)
    reading: list[int] = []
    begin = 0
    for block in blocks:
        end = begin + len(block)
        while waiting and spans[waiting[-1]][0] < end:
            reading.append(waiting.pop())
        for k in reading:
            start, stop = spans[k]
            low, high = max(start, begin), min(stop, end)
            if low < high:
                out[k][:, low - start : high - start] = block[
                    low - begin : high - begin, channels
                ].T
        reading = [k for k in reading if spans[k][1] > end]
        if not reading and not waiting:
            break
        begin = end
    return out


def best_lag(joins: Sequence[_Rows], sides: Sequence[_Rows]) -> tuple[int, float]:
    """Return the lag at which both joins of a passage correlate best with both sides of a gap.

    Parameters
    ----------
    joins : two of float32, shape (channels, n + lags - 1), of the passage
    sides : two of float32, shape (channels, n), of the gap

    Returns
    -------
    int, float
        The lag, from 0 on, and the normalised correlation there; -1 where a sample is not finite.
    """
    if not all(np.isfinite(part).all() for part in (*joins, *sides)):
        return 0, -1.0
    products = energies = power = np.zeros(1)
    for join, side in zip(joins, sides, strict=True):
        match, size = side.shape[1], fast_length(join.shape[1])
        lags = join.shape[1] - match + 1
        join, side = join.astype(np.float64), side.astype(np.float64)
        spectra = np.fft.rfft(join, size) * np.conj(np.fft.rfft(side, size))
        products = products + np.fft.irfft(spectra, size)[:, :lags].sum(axis=0)
        sums = np.pad(np.cumsum((join**2).sum(axis=0)), (1, 0))
        energies = energies + sums[match:] - sums[:-match]
        power = power + (side**2).sum()
    likeness = products / np.sqrt(np.maximum(energies * power, _LITTLE))
    best = int(likeness.argmax())
    return best, float(likeness[best])


def _fit(beside: _Rows, own: _Rows, plan: Stft, edges: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how a passage fits a gap at a join: float64, shape (3, bins).

    By how much it is raised, by bands, in dB; the power beside the gap, in dB; and the coherence of
    both, by bands, from 0 to 1.
    """
    one, other = _whole_frames(beside, plan), _whole_frames(own, plan)
    products = (one * other.conj()).real, np.abs(one) ** 2, np.abs(other) ** 2
    rows = [np.sum(each, axis=0, dtype=np.float64) for each in products]
    alike, wanted, found = (np.add.reduceat(row, edges[:-1]) for row in rows)
    ratios_db = 10.0 * np.log10((wanted + _LITTLE) / (found + _LITTLE))
    middles = (edges[:-1] + edges[1:] - 1) / 2.0
    gains_db = np.interp(np.arange(plan.bins), middles, np.clip(ratios_db, -_LIMIT_DB, _LIMIT_DB))
    coherence = np.clip(alike / (np.sqrt(wanted * found) + _LITTLE), 0.0, 1.0)
    power_db = 10.0 * np.log10(rows[1] / len(one) + _LITTLE)
    return np.stack([gains_db, power_db, np.repeat(coherence, np.diff(edges))])


def _followed(
    sides: Sequence[tuple[_Rows, _Rows]],
    fits: Sequence[NDArray[np.float64]],
    plan: Stft,
    edges: NDArray[np.intp],
    sample_rate: int,
) -> list[NDArray[np.float64] | None]:
    """Return the share of a passage next to either join, by bands; None where it needs no bound.

    A side begins at the gap, and is what is known there and what is beside the passage.
    """
    near, *_ = rehearsed = [round(ms * sample_rate / 1000.0) for ms in _REHEARSED_MS]
    copied, predicted = [], []
    for (beside, own), fit in zip(sides, fits, strict=True):
        for ms in _CHECKED_MS:
            size = round(ms * sample_rate / 1000.0)
            one, other = (_whole_frames(part[:size], plan) for part in (beside, own))
            copied.append(_error(one, 10.0 ** (fit[0] / 20.0) * other, edges))
        made = []
        for size in rehearsed:
            past = beside[size : size + round(_CONTEXT_S * sample_rate)]
            if past.size >= LEAST_PAST_SAMPLES:
                line = continued(past[::-1], near, sample_rate)[::-1]
                one, other = (
                    _whole_frames(part, plan) for part in (beside[size - near : size], line)
                )
                made.append(_error(one, other, edges))
        predicted.append(np.minimum(made or np.ones((1, edges.size)), 1.0))
    worst, least = np.max(copied, axis=0), np.concatenate(predicted).min(axis=0)
    nearby = max(error[-1] for error in copied[:: len(_CHECKED_MS)])
    followed: list[NDArray[np.float64] | None] = []
    for errors in predicted:
        of_all = errors[:, -1]
        free = nearby < _BETTER * of_all.min() or worst[-1] < _BETTER**2 * of_all.mean()
        rival = np.sqrt(errors.min(axis=0) * least)
        followed.append(
            None if free else (rival**_TRUST / (rival**_TRUST + (_DOUBT * worst) ** _TRUST))[:-1]
        )
    return followed


def _error(
    wanted: NDArray[np.complex64], made: NDArray[np.inexact], edges: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the power of an error over that of the sound: by bands, and at the end of all bins."""
    size = min(len(wanted), len(made))
    pair = wanted[:size] - made[:size], wanted[:size]
    powers = np.square(np.abs(pair)).sum(axis=1, dtype=np.float64) + _LITTLE
    error, power = np.column_stack(
        [np.add.reduceat(powers, edges[:-1], axis=1), powers.sum(axis=1)]
    )
    return np.asarray(error / power)


def _whole_frames(part: _Rows, plan: Stft) -> NDArray[np.complex64]:
    partial = plan.window.size // plan.hop - 1
    return spectra_of(part, plan)[partial : part.size // plan.hop]


def _joined(
    draft: _Rows,
    around: _Rows,
    hole: Span,
    fits: Sequence[NDArray[np.float64]],
    followed: Sequence[NDArray[np.float64] | None],
    plan: Stft,
    edges: NDArray[np.intp],
    sample_rate: int,
) -> _Rows:
    """Return the draft in the hole, with the passage where it is missing power."""
    spectra, passage = spectra_of(draft, plan), spectra_of(around, plan)
    middles = (np.arange(len(spectra)) + 1) * plan.hop - plan.window.size / 2.0
    share = np.clip((middles - hole[0]) / (hole[1] - hole[0]), 0.0, 1.0)[:, None]
    gains_db, power_db, coherence = fits[0][:, None] + share * (fits[1] - fits[0])[:, None]
    passage *= (10.0 ** (gains_db / 20.0)).astype(np.float32)
    there = np.minimum(1.0, _ENOUGH * np.abs(spectra) ** 2 / 10.0 ** (power_db / 10.0))
    lacks = (1.0 - there) ** 2
    wrong = np.maximum(1.0 - there, _WRONG)
    instead = wrong / (wrong + _UNLIKE_ERROR * (1.0 - coherence))
    beside, own = (
        np.add.reduceat(power, edges[:-1], axis=1) + _LITTLE
        for power in (10.0 ** (power_db / 10.0), np.square(np.abs(passage)))
    )
    quieter = np.sqrt(np.minimum(_LOUDER * beside / own, 1.0))
    for shares, behind in zip(followed, (middles - hole[0], hole[1] - middles), strict=True):
        if shares is not None:
            far_ms = 1000.0 / sample_rate * behind[:, None]
            far = np.clip((far_ms - _NEAR_MS) / (_WHOLE_MS - _NEAR_MS), 0.0, 1.0)
            near = np.repeat(shares * quieter, np.diff(edges), axis=1)
            instead = far * instead + (1.0 - far) * near
            lacks *= far
    spectra *= (1.0 - instead).astype(np.float32)
    spectra += (instead + (1.0 - instead) * lacks).astype(np.float32) * passage
    return signal_of(spectra, around.size, plan)[slice(*hole)]


def _mix(draft: _Rows, passage: _Rows, samples: int) -> None:
    """Put a passage into its draft, but for both ends, where one goes over into the other.

    Their mixture has the power between theirs, however alike they are.
    """
    ramp = crossfade_ramp(min(samples, draft.size // 2)).astype(np.float64)
    whole = draft.size - ramp.size
    mixed = passage.copy()
    for part, share in ((slice(0, ramp.size), ramp), (slice(whole, None), ramp[::-1])):
        one, other = draft[part].astype(np.float64), passage[part].astype(np.float64)
        powers = float(one @ one), float(other @ other)
        alike = float(one @ other) / max(float(np.sqrt(powers[0] * powers[1])), _LITTLE)
        alike = min(max(alike, 0.0), 1.0)
        power = share**2 + (1.0 - share) ** 2 + 2.0 * alike * share * (1.0 - share)
        mixed[part] = ((1.0 - share) * one + share * other) / np.sqrt(power)
    draft[:] = mixed


def _plan(sample_rate: int) -> Stft:
    """Return the transform in which levels are bent; its window fits into a matched stretch."""
    size = 1 << int(MATCH_MS * sample_rate / 1000.0).bit_length() - 1
    return Stft.allocate(window("hann", size), size // 4)


def _band_edges(sample_rate: int, bins: int) -> NDArray[np.intp]:
    """Return the first bin of each band, of equal width in mel, and the end."""
    hz = band_centres_hz("mel", _BANDS + 1, 0.0, sample_rate / 2.0)
    edges: NDArray[np.intp] = np.unique(np.round(hz * 2 * (bins - 1) / sample_rate).astype(np.intp))
    edges[-1] = bins
    return edges
