"""Passages of a signal that resemble the surroundings of a gap.

Music repeats itself. Of all places of a signal those are sought whose samples correlate best with
the samples on both sides of the gap, and the sum of them that comes nearest to these (least squares
with a little ridge) goes on into the gap::

    signal    ...|~~~ like ~~~|~~~~~|~~~ like ~~~|......|~~ known ~~|  gap  |~~ known ~~|...
                       │                                      ▲         ▲         ▲
                       ╰──── times a coefficient, and added ──┴─────────┴─────────╯

The idea is that of [1]_, which finds a passage by a graph of features and puts it in whole. Here
samples are matched, several passages are summed, and how well the sum meets what is known is left
to be seen by whoever makes use of it.

References
----------
.. [1] N. Perraudin, N. Holighaus, P. Majdak, P. Balazs, "Inpainting of long audio segments with
   similarity graphs", IEEE/ACM TASLP 26 (6), 2018.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MATCH_MS = 40.0
"""Of the signal on either side of a gap: what is matched."""
REACH_S = 30.0
"""How far around a gap is searched."""
# Passages in the sum: more of them gain little (docs/notebook.md).
_PASSAGES = 24
# Share of their mean energy that is added to the diagonal of the normal equations.
_RIDGE = 0.02
# Passages begin at least this far from each other, in samples of the search.
_APART = 4
# The search is made at no more than about this rate, each find then put right to the sample.
_SEARCH_HZ = 16_000
# In less there is nothing but the surroundings themselves.
_LEAST_S = 0.5


@dataclass(frozen=True, slots=True)
class SimilarPassages:
    """Passages that resemble a gap's surroundings."""

    begins: NDArray[np.int64]
    """Where each begins, in samples of the signal that was searched."""
    shares: NDArray[np.float32]
    """Of each in their sum."""
    start: int
    """Where the gap's own surroundings begin."""

    def line(self, signal: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
        """Return the passages' sum for ``signal[first:last]``: float32, shape (last - first,).

        Parameters
        ----------
        signal : float32, shape (n,), the one that was searched
        first, last : int
            Around the gap; either may lie outside of the signal. Where a passage would reach
            beyond the signal there is silence.
        """
        moved = self.begins + (first - self.start)
        before = max(0, -int(moved.min()))
        after = max(0, int(moved.max()) + last - first - signal.size)
        padded = np.pad(signal, (before, after))
        line: NDArray[np.float32] = (
            self.shares @ padded[moved[:, None] + before + np.arange(last - first)]
        )
        return line


def find_passages(
    signal: NDArray[np.float32], start: int, stop: int, sample_rate: int
) -> SimilarPassages | None:
    """Return the passages that resemble a gap's surroundings most.

    Parameters
    ----------
    signal : float32, shape (n,)
        Known but for the gap, which may hold anything finite.
    start, stop : int, the gap
    sample_rate : int, in Hz

    Returns
    -------
    SimilarPassages or None
        None where less than 40 ms are known on a side or half a second in all, or where there is
        no passage to take.
    """
    match = round(MATCH_MS * sample_rate / 1000.0)
    known = signal.size - (stop - start)
    if min(start, signal.size - stop) < match or known < _LEAST_S * sample_rate:
        return None
    around = np.r_[0:match, stop - start + match : stop - start + 2 * match]
    begins = _search(signal, start, stop, around, max(1, round(sample_rate / _SEARCH_HZ)))
    if not begins.size:
        return None
    parts = signal[begins[:, None] + around].astype(np.float64)
    wanted = signal[start - match + around].astype(np.float64)
    normal = parts @ parts.T
    normal.flat[:: begins.size + 1] += _RIDGE * np.trace(normal) / begins.size + 1e-30
    shares = np.linalg.solve(normal, parts @ wanted).astype(np.float32)
    return SimilarPassages(begins, shares, start - match)


def _search(
    signal: NDArray[np.float32], start: int, stop: int, around: NDArray[np.int64], stride: int
) -> NDArray[np.int64]:
    match = around.size // 2
    if stride == 1:
        return _best(_scores(signal, start, stop, match))
    known = signal.copy()
    known[start:stop] = 0.0
    coarse = known[: known.size // stride * stride].reshape(-1, stride).mean(axis=1)
    rough = _best(_scores(coarse, start // stride, -(-stop // stride), match // stride)) * stride
    # Rounding moved the template by less than a stride, and each find by as much.
    near = rough[:, None] + np.arange(-2 * stride, 2 * stride + 1)
    width = int(around[-1]) + 1
    apart = (near + width <= start) | (near >= stop)
    usable = (near >= 0) & (near + width <= signal.size) & apart
    passages = signal[np.where(usable, near, 0)[..., None] + around]
    products = np.abs(passages @ signal[start - match + around])
    scores = products / np.sqrt((passages**2).sum(axis=2) + 1e-30)
    scores[~usable] = -1.0
    finest = scores.argmax(axis=1)
    rows = np.arange(rough.size)
    begins: NDArray[np.int64] = np.unique(near[rows, finest][scores[rows, finest] > 0.0])
    return begins


def _scores(signal: NDArray[np.float32], start: int, stop: int, match: int) -> NDArray[np.float64]:
    """Return the match with the surroundings at each place, 0 to 1."""
    gap = stop - start
    width = gap + 2 * match
    known = signal.copy()
    known[start:stop] = 0.0
    template = known[start - match : stop + match]
    places = max(known.size - width + 1, 0)
    size = fast_length(known.size)
    products = np.fft.rfft(known, size) * np.conj(np.fft.rfft(template, size))
    correlation = np.fft.irfft(products, size)[:places]
    sums = np.concatenate([[0.0], np.cumsum(known**2, dtype=np.float64)])
    begins = np.arange(places)
    energies = sums[begins + match] - sums[begins]
    energies += sums[begins + width] - sums[begins + match + gap]
    scale = np.sqrt(np.maximum(energies, 1e-30) * np.dot(template, template))
    scores: NDArray[np.float64] = np.abs(correlation) / np.maximum(scale, 1e-30)
    # Passages that the gap is part of say nothing; next to silence everything is alike.
    scores[max(0, start - width + 1) : stop] = 0.0
    scores[energies < 1e-6 * energies.max(initial=0.0)] = 0.0
    return scores


def _best(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    # The highest of each few places, then the best of those: no more than one in a few is taken.
    usable = scores.size // _APART * _APART
    groups = scores[:usable].reshape(-1, _APART)
    tops = groups.max(axis=1)
    count = min(_PASSAGES, tops.size)
    if not count:
        return np.zeros(0, np.int64)
    chosen = np.argpartition(tops, tops.size - count)[tops.size - count :]
    chosen = chosen[np.argsort(-tops[chosen])]
    chosen = chosen[tops[chosen] > 0.0]
    begins: NDArray[np.int64] = chosen * _APART + groups[chosen].argmax(axis=1)
    return begins


def fast_length(least: int) -> int:
    """Return a length with a fast transform, at least ``least``."""
    best = 1 << (least - 1).bit_length()
    for odd in (9, 15, 5, 3):
        shift = max(0, -(-least // odd) - 1).bit_length()
        best = min(best, odd << shift)
    return best
