"""The course of a recording in coarse bands, and where it resembles that around a gap.

Levels of 48 bands every 10 ms: 35 MB for an hour. Of each place of the recording the frames of a
second before and behind it are compared with those around the gap, the nearest ones most. The
measure is the cosine of their deviations from the recording's mean level in each band, on that side
of the gap where it is less. It is a correlation, made in the frequency domain.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.similar import fast_length

HOP_MS = 10.0
"""From frame to frame."""
_WINDOW_MS = 60.0
# Bands of equal width in pitch.
_BANDS, _LOWEST_HZ, _HIGHEST_HZ, _HIGHEST_SHARE = 48, 80.0, 8_000.0, 0.45
_FLOOR, _RANGE_DB = 1e-20, 50.0
# Compared on either side of a gap; a frame so far from it weighs 1/e.
_CONTEXT_S, _NEAR_S = 1.0, 0.4
# Of the frames around the gap, by weight, so many must be known around a place.
_LEAST_KNOWN = 0.5
# Deviations in dB that tell nothing: a steady sound is like itself.
_LEAST_DB = 1.0
# Likeness of what is no place.
_NONE = -2.0
# Places are at least so many frames from each other.
_APART = 3

Span = tuple[int, int]


class Outline:
    """Band levels of a recording.

    Parameters
    ----------
    sample_rate : int, in Hz
    blocks : iterable of float32, shape (n, channels)
        The recording from its beginning. What is not finite counts as unknown.
    holes : sequence of (start, stop)
        What is unknown of it, in samples.
    """

    def __init__(
        self, sample_rate: int, blocks: Iterable[NDArray[np.float32]], holes: Sequence[Span]
    ) -> None:
        self.hop = round(HOP_MS * sample_rate / 1000.0)
        """Samples from frame to frame."""
        self._window = round(_WINDOW_MS * sample_rate / 1000.0)
        self._edges = _band_edges(sample_rate, self._window)
        self._holes = np.array(sorted(holes), np.int64).reshape(-1, 2)
        self.samples = 0
        none = np.zeros((0, self._edges.size - 1), np.float16)
        levels = np.concatenate([none, *self._levels(blocks)])
        self._known = np.isfinite(levels).all(axis=1)
        for start, stop in holes:
            first = max(0, (start - self._window) // self.hop + 1)
            self._known[first : -(-stop // self.hop)] = False
        self._bands = levels.T
        _turn_to_deviations(self._bands, self._known)

    def places(self, gap: Span, reach: int, most: int) -> list[tuple[int, float]]:
        """Return where the recording resembles a gap's surroundings, the best place first.

        Parameters
        ----------
        gap : (start, stop), in samples; one of the holes
        reach : int
            Samples on either side of a place that are known, as all of it.
        most : int, places returned at the most

        Returns
        -------
        list of (int, float)
            Samples from the gap to the place, a multiple of :attr:`hop`, and the likeness, -1 to 1.
        """
        frames = self._known.size
        context, near = (round(1000.0 * s / HOP_MS) for s in (_CONTEXT_S, _NEAR_S))
        last, first = (gap[0] - self._window) // self.hop, -(-gap[1] // self.hop)
        distance = np.arange(context)
        sides = []
        for rows in (last - distance, first + distance):
            usable = (rows >= 0) & (rows < frames)
            usable[usable] = self._known[rows[usable]]
            if usable.any():
                weights = np.exp(-distance[usable] / near).astype(np.float32)
                sides.append((rows[usable], weights))
        if not sides:
            return []
        likeness = self._likeness(sides)
        likeness[~self._whole(gap[0] - reach, gap[1] + reach)] = _NONE
        found = []
        for _ in range(most):
            best = int(likeness.argmax())
            if likeness[best] <= _NONE:
                break
            found.append(((best - frames + 1) * self.hop, float(likeness[best])))
            likeness[max(0, best - _APART + 1) : best + _APART] = _NONE
        return found

    def _likeness(
        self, sides: Sequence[tuple[NDArray[np.intp], NDArray[np.float32]]]
    ) -> NDArray[np.floating]:
        """Return the likeness at each shift in frames; the first is of all frames but one."""
        frames = self._known.size
        size = fast_length(2 * frames)

        def at_shifts(
            rows: NDArray[np.intp],
            pattern: NDArray[np.float32],
            spectrum: NDArray[np.complexfloating],
        ) -> NDArray[np.complexfloating]:
            line = np.zeros(frames, np.float32)
            line[rows] = pattern
            return spectrum * np.conj(np.fft.rfft(line, size))

        def back(spectrum: NDArray[np.complexfloating]) -> NDArray[np.floating]:
            return np.roll(np.fft.irfft(spectrum, size), frames - 1)[: 2 * frames - 1]

        products = [np.zeros(size // 2 + 1, np.complex64) for _ in sides]
        energies = np.zeros(frames, np.float32)
        for band in self._bands:
            course = band.astype(np.float32)
            energies += course**2
            spectrum = np.fft.rfft(course, size)
            for (rows, weights), product in zip(sides, products, strict=True):
                product += at_shifts(rows, weights * course[rows], spectrum)
        energy, known = (
            np.fft.rfft(each, size) for each in (energies, self._known.astype(np.float32))
        )
        found = []
        for (rows, weights), product in zip(sides, products, strict=True):
            there = np.maximum(back(at_shifts(rows, weights, known)), 0.0)
            own = back(at_shifts(rows, weights * energies[rows], known))
            power = np.maximum(own, 0.0) * np.maximum(back(at_shifts(rows, weights, energy)), 0.0)
            least = _LEAST_DB**2 * len(self._bands) * there
            likeness = (back(product) + least) / (np.sqrt(power) + least + 1e-9)
            likeness[there < _LEAST_KNOWN * float(weights.sum())] = _NONE
            found.append(likeness)
        worse: NDArray[np.floating] = np.min(found, axis=0)
        return worse

    def _whole(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Return for each shift in frames whether the whole stretch is known there."""
        shifts = np.arange(1 - self._known.size, self._known.size) * self.hop
        # Holes do not overlap, or do so in order.
        ended = np.searchsorted(self._holes[:, 1], start + shifts, "right")
        begun = np.searchsorted(self._holes[:, 0], stop + shifts, "left")
        whole: NDArray[np.bool_] = ended == begun
        whole &= (start + shifts >= 0) & (stop + shifts <= self.samples)
        unknown = np.pad(np.cumsum(~self._known), (1, 0))
        first, last = -(-(start + shifts) // self.hop), (stop - self._window + shifts) // self.hop
        counts = [unknown[np.clip(each, 0, self._known.size)] for each in (first, last + 1)]
        whole &= counts[0] == counts[1]
        return whole

    def _levels(self, blocks: Iterable[NDArray[np.float32]]) -> Iterable[NDArray[np.float16]]:
        """Yield levels in dB, shape (frames, bands)."""
        window = np.hanning(self._window).astype(np.float32)
        window /= np.float32(window.sum())
        held: NDArray[np.float32] | None = None
        for block in blocks:
            self.samples += len(block)
            held = block if held is None else np.concatenate([held, block])
            frames = max(0, (len(held) - self._window) // self.hop + 1)
            if not frames:
                continue
            power = np.zeros((frames, self._window // 2 + 1), np.float32)
            for row in held.T:
                parts = np.lib.stride_tricks.sliding_window_view(row, self._window)
                with np.errstate(invalid="ignore"):
                    spectra = np.fft.rfft(parts[: frames * self.hop : self.hop] * window)
                    power += np.square(np.abs(spectra))
            sums = np.add.reduceat(power[:, : self._edges[-1]], self._edges[:-1], axis=1)
            sums /= (np.diff(self._edges) * held.shape[1]).astype(np.float32)
            with np.errstate(invalid="ignore"):
                yield (10.0 * np.log10(sums + np.float32(_FLOOR))).astype(np.float16)
            held = held[frames * self.hop :]


def _band_edges(sample_rate: int, window: int) -> NDArray[np.intp]:
    highest = min(_HIGHEST_HZ, _HIGHEST_SHARE * sample_rate)
    hz = np.geomspace(_LOWEST_HZ, highest, _BANDS + 1)
    edges: NDArray[np.intp] = np.unique(np.round(hz * window / sample_rate).astype(np.intp))
    return edges


def _turn_to_deviations(bands: NDArray[np.float16], known: NDArray[np.bool_]) -> None:
    """Take the mean of each band from its levels, shape (bands, frames); 0 where unknown."""
    least = bands[:, known].max(initial=-np.inf) - np.float16(_RANGE_DB)
    for band in bands:
        levels = np.maximum(band, least).astype(np.float32)
        mean = levels[known].mean() if known.any() else 0.0
        band[:] = np.where(known, levels - mean, 0.0)
