"""Drafts of a burst from passages that sounded like now: found, summed, trusted, joined.

What :mod:`plc_kernels.signal.passages` has kernels for, as a stream goes through it: all that is
played is listened to, and where a burst begins the passages that resemble its past are summed
(:func:`recall`), and what followed them is carried on into the gap. The predictor is applied to
what the sum does not explain::

    joined = gain * passages + prediction of (past - gain * passages)

which is what an all-pole filter makes whose state is the past's and whose input in the gap is the
passages' innovation: there is no step where the gap begins. The gain is what a rehearsal on the
newest samples and the innovations there say; where it is 0 this is linear prediction.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part, rounded_part
from plc_kernels.signal import passages
from plc_kernels.signal.history import copy, newest
from plc_kernels.signal.predict import (
    CHUNK,
    Predictor,
    add_beside,
    error_power,
    extend_prediction,
    go_on,
    go_on_from,
    predict_last,
    rehearse,
    samples_behind_onset,
    weigh,
)

REACH_S = 8.0
"""How far back is searched."""
MATCH_MS = 80.0
"""The newest samples, which the sum of the passages comes near to."""
LEAST_LAG_MS = 120.0
"""Nearer passages are not taken: what followed them has to reach through the draft."""
COMPARED_MS = 35.0
"""The innovations of so long before a gap tell whether another line's are alike."""
PASSAGES = 24
"""No more of them are summed."""
PIECE = 256
"""Samples of the search that are taken in at once at most."""

# One in so many innovations is compared.
_EVERY = 8
# A passage's share in the search falls by e within this time.
_FORGET_MS = 60.0
# What lags are put right on.
_REFINE_MS = 40.0
# The search runs at about this rate: 8 kHz take twice its time for little (training/README.md).
_SEARCH_HZ = 6000
# Below this power nothing is known of a prediction.
_LEAST_POWER = 1e-20
# Passages that err as much as the prediction are expected whole: their share is a third.
_EVEN = 3.0
# A predictor rings that misses more than so many times the power of what it is to foretell.
_RINGS = 4.0


class Search(NamedTuple):
    """A channel's memory of played samples, for :mod:`plc_kernels.signal.passages`.

    ``thinning`` float64 (4,); ``line`` and ``power`` float32 (ROWS * LINE_ROW,); ``correlation``
    float32 (ROWS * LAG_ROW,); ``end`` int64 (1,), where the next sample stands in them.
    """

    thinning: NDArray[np.float64]
    line: NDArray[np.float32]
    power: NDArray[np.float32]
    correlation: NDArray[np.float32]
    end: NDArray[np.int64]


class RecallSpace(NamedTuple):
    """Scratch memory for one channel at a time, float32 but for some.

    ``thinned`` (PIECE + 1,); ``weights`` (PIECE + 3 * ROWS,); ``every`` (ROWS * LAG_ROW,);
    ``newest`` (refined,) and ``around`` (refined + 2 * stride,); ``template`` (match,) and
    ``matched`` (PASSAGES, match); float64 ``normal`` (PASSAGES, PASSAGES) and ``shares``
    (PASSAGES,); int64 ``lags`` (PASSAGES,); ``scores`` (PASSAGES,). :func:`recall_sizes` tells the
    sizes.
    """

    thinned: NDArray[np.float32]
    weights: NDArray[np.float32]
    every: NDArray[np.float32]
    newest: NDArray[np.float32]
    around: NDArray[np.float32]
    template: NDArray[np.float32]
    matched: NDArray[np.float32]
    normal: NDArray[np.float64]
    shares: NDArray[np.float64]
    lags: NDArray[np.int64]
    scores: NDArray[np.float32]


@kernel
def recall_sizes(rate: int) -> tuple[int, int, int, int, int]:
    """Return the sizes of a search at a sample rate in Hz.

    Samples that become one of the search; samples of history; its lags; and the samples that lags
    are put right on, and that are matched.
    """
    stride = _stride(rate)
    past = int(np.rint(rate * REACH_S))
    refined = int(np.rint(rate * _REFINE_MS / 1000.0))
    match = int(np.rint(rate * MATCH_MS / 1000.0))
    return stride, past, past // stride // passages.ROWS * passages.ROWS, refined, match


@inlined
def _stride(rate: int) -> int:
    return max(1, int(np.rint(rate / _SEARCH_HZ)))


@inlined
def _lags(rate: int) -> int:
    return int(np.rint(rate * REACH_S)) // _stride(rate) // passages.ROWS * passages.ROWS


@kernel
def forget(rate: int, search: Search) -> None:
    """Begin a channel anew: nothing was played."""
    search.thinning[:] = 0.0
    search.line[:] = np.float32(0.0)
    search.power[:] = np.float32(0.0)
    search.correlation[:] = np.float32(0.0)
    search.end[0] = _lags(rate)


@kernel
def listen(rate: int, space: RecallSpace, search: Search, played: NDArray[np.float32]) -> None:
    """Take in the played samples of a channel: float32, shape (n,), at a rate in Hz."""
    stride, lags = _stride(rate), _lags(rate)
    decay = math.exp(_exponent(rate, stride))
    piece = PIECE * stride
    for begin in range(0, played.size, piece):
        stop = min(begin + piece, played.size)
        count = passages.thin_flattened(played, begin, stop, stride, search.thinning, space.thinned)
        passages.follow_lags(
            space.thinned,
            count,
            _room_for(lags, count, search),
            lags,
            decay,
            search.line,
            search.power,
            space.weights,
            search.correlation,
        )
        search.end[0] += count


@rounded_part
def _exponent(rate: int, stride: int) -> float:
    return -1000.0 * stride / (rate * _FORGET_MS)


@inlined
def _room_for(lags: int, count: int, search: Search) -> int:
    """Return a place for new samples behind the others; make room if needed."""
    end = search.end[0]
    if end + count > 2 * lags + PIECE:
        columns = (end - lags) // passages.ROWS
        _move(columns, lags // passages.ROWS + 1, search.line)
        _move(columns, lags // passages.ROWS + 1, search.power)
        end -= passages.ROWS * columns
        search.end[0] = end
    return int(end)


@inlined
def _move(columns: int, kept: int, rows: NDArray[np.float32]) -> None:
    for begin in range(0, rows.size, passages.LINE_ROW):
        for i in range(begin, begin + kept):
            rows[i] = rows[columns + i]


@kernel
def recall(
    rate: int,
    known: int,
    space: RecallSpace,
    search: Search,
    ring: NDArray[np.float32],
    position: int,
    filled: int,
    out: NDArray[np.float32],
) -> float:
    """Sum the passages like a channel's newest samples, and the samples that followed them.

    Return the largest sample in any of the passages; -1 where there are none: too little was heard,
    or it is silent.

    Parameters
    ----------
    rate : int, in Hz
    known : int, samples of the sum before the gap
    space : RecallSpace, written
    search : Search, which listened to all of the ring
    ring : float32, shape (capacity,), the played samples
    position, filled : int
        Where its next sample will stand, and how many do.
    out : float32, shape (known + n,), written where there are passages, no louder than any of them
    """
    stride, lags = _stride(rate), _lags(rate)
    nearest = int(np.rint(rate * LEAST_LAG_MS / 1000.0))
    least = (nearest + stride - 1) // stride + 1  # a lag may move by a stride
    most = min((filled - known - 2) // stride - 1, lags)
    found = 0
    if most >= least:
        found = passages.best_lags(
            search.correlation,
            search.power,
            lags,
            search.end[0] - 1,
            least,
            most,
            space.every,
            space.lags,
            space.scores,
        )
    if found == 0:
        return -1.0
    chosen = space.lags[:found]
    for k in range(found):
        chosen[k] *= stride
    passages.refine_lags(ring, position, stride, space.newest, space.around, chosen)
    passages.weigh_passages(
        ring, position, chosen, space.template, space.matched, space.normal, space.shares
    )
    peak = space.scores[:1]  # of no use any more
    passages.add_passages(ring, position, chosen, space.shares, known, peak, out)
    limit = peak[0]
    for i in range(out.size):
        out[i] = min(max(out[i], -limit), limit)
    return float(limit)


@kernel
def join(
    p: Predictor,
    c: int,
    beside: NDArray[np.float32],
    peak: float,
    gain: float,
    out: NDArray[np.float32],
) -> None:
    """Predict a channel along another line: its innovation drives the predictor.

    Parameters
    ----------
    p : Predictor, that has begun
    c : int, the channel
    beside : float32, shape (at least order + n,)
        What the signal may be like, up to the gap and in it.
    peak : float, as loud as that line may become
    gain : float
        Gain of that line, 0 to 1.
    out : float32, shape (n,), written
    """
    order = p.orders[c]
    taps, recent = p.taps[c, :order], p.recent[c, :order]
    past = beside.size - out.size
    _take_off(np.float32(gain), beside[past - order : past], recent)
    go_on(taps, p.limits[c], recent, p.line[: order + CHUNK], out)
    p.limits[c] = limit = max(p.limits[c], peak)
    _put_on(np.float32(gain), beside[past:], np.float32(limit), out)


@rounded_part
def _take_off(gain: np.float32, line: NDArray[np.float32], recent: NDArray[np.float64]) -> None:
    for k in range(line.size):
        recent[k] -= gain * line[k]


@rounded_part
def _put_on(
    gain: np.float32, line: NDArray[np.float32], limit: np.float32, out: NDArray[np.float32]
) -> None:
    for i in range(out.size):
        out[i] = min(max(out[i] + gain * line[i], -limit), limit)


@part
def _weigh_rehearsed(
    p: Predictor,
    c: int,
    error: float,
    made: NDArray[np.float32],
    played: NDArray[np.float32],
    beside: NDArray[np.float32],
    known: int,
) -> tuple[float, float]:
    """Return the share of passages beside a prediction, and the gain that they are joined with.

    The share is by both errors over the newest samples. The gain is expected to be the passages'
    share of the innovation, and less where they err more. The gain that would have been best in the
    rehearsal has the weight of what no predictor foretells of the passages there, and the expected
    one that of as many samples of the gap: where passages were summed to be near, and then go
    elsewhere, the rehearsal says little. What is many times their power is a predictor that rings.
    """
    line = played[-min(played.size, known) :]
    rehearsed = samples_behind_onset(p, c, line, made.size)
    near = error_power(beside[known - rehearsed : known], line[line.size - rehearsed :], 0)
    share = weigh(error, near)
    taps, before = p.taps[c, : p.orders[c]], beside[known - line.size : known]
    expected = min(_EVEN * share, 1.0) * passages.innovation_share(taps, line, before, _EVERY)
    n = max(min(rehearsed, beside.size - known, known - taps.size), 0)
    own, ahead = p.backward[:n], p.forward[:n]
    predict_last(p, c, beside[:known], own)
    predict_last(p, c, beside[: known + n], ahead)
    made = made[rehearsed - n : rehearsed]
    return share, float(_gain(line, made, beside, known, own, ahead, expected))


@rounded_part
def _gain(
    played: NDArray[np.float32],
    made: NDArray[np.float32],
    beside: NDArray[np.float32],
    known: int,
    own: NDArray[np.float32],
    ahead: NDArray[np.float32],
    expected: float,
) -> float:
    both = power = loud = held = 0.0
    n = own.size
    for i in range(n):
        beyond = beside[known - n + i] - own[i]
        both += (played[played.size - n + i] - made[i]) * beyond
        power += beyond * beyond
        loud += beside[known + i] * beside[known + i]
        beyond = beside[known + i] - ahead[i]
        held += beyond * beyond
    if power + held < _LEAST_POWER:
        return expected
    sound = min(_RINGS * loud / max(held, _LEAST_POWER), 1.0)
    return min(max((both + held * expected) / (power + held), 0.0), 1.0) * sound * sound


@kernel
def join_passages(
    p: Predictor,
    c: int,
    made: NDArray[np.float32],
    played: NDArray[np.float32],
    ring: NDArray[np.float32],
    position: int,
    beside: NDArray[np.float32],
    known: int,
    peak: float,
    weight: float,
    rows: NDArray[np.float32],
) -> float:
    """Write a channel's drafts, and return the mean square error of a rehearsal.

    These are the passages, and prediction along them. Without any both drafts are prediction alone.

    Parameters
    ----------
    p : Predictor
        That has begun; it goes on from the end of the second draft.
    c : int, the channel
    made, played : float32, shape (n,) and (order + m,), written
        What is predicted of the newest samples, and these, of which m are compared.
    ring : float32, shape (capacity,), what was played of the channel
    position : int, where its next sample will stand
    beside : float32, shape (known + ahead,), what :func:`recall` wrote
    known : int, samples of it before the gap
    peak : float, what that returned
    weight : float
        Weight of the passages, 0 to 1.
    rows : float32, shape (2, past + ahead), written
        Only the samples ahead are written to the second row.
    """
    start = rows.shape[1] - (beside.size - known)
    played = played[: p.orders[c] + int(np.rint(p.rate * COMPARED_MS / 1000.0))]
    newest(ring, position, played)
    error = rehearse(p, c, played, made)
    if peak < 0.0:
        extend_prediction(p, c, rows[1, start:])
        copy(rows[1], rows[0])
        return error
    share, gain = _weigh_rehearsed(p, c, error, made, played, beside, known)
    out = rows[1, start:]
    join(p, c, beside, peak, weight * gain, out)
    add_beside(p, c, 1.0 - weight * share, out)
    go_on_from(p, c, played, out)
    copy(beside[known - start :], rows[0])
    return error
