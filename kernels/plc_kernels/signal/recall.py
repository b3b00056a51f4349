"""Drafts of a burst from passages that sounded like now: found, summed, trusted, joined.

What :mod:`plc_kernels.signal.passages` has kernels for, as a stream goes through it: all that is
played is listened to, and where a burst begins the passages that resemble its past are summed
(:func:`recall`), and what followed them is carried on into the gap. The predictor is applied to
what the sum does not explain::

    joined = share * passages + prediction of (past - share * passages)

which is what an all-pole filter makes whose state is the past's and whose input in the gap is the
passages' innovation: there is no step where the gap begins. How much of that innovation the signal
had just before says the share; where it is 0 this is linear prediction.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, rounded_part
from plc_kernels.signal import passages
from plc_kernels.signal.history import newest
from plc_kernels.signal.predict import (
    CHUNK,
    Predictor,
    add_beside,
    error_power,
    extend_prediction,
    go_on,
    go_on_from,
    rehearse,
)

REACH_S = 8.0
"""How far back is searched."""
MATCH_MS = 80.0
"""Of the newest samples: what the passages' sum comes near to."""
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
    """Return the sizes of a search at a sample rate.

    Parameters
    ----------
    rate : int
        In Hz.

    Returns
    -------
    (int, int, int, int, int)
        Samples that become one of the search; samples of history; its lags; and the samples that
        lags are put right on, and that are matched.
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
    """Take in the played samples of a channel.

    Parameters
    ----------
    rate : int
        In Hz.
    space : RecallSpace
        Written.
    search : Search
        Read and written.
    played : float32, shape (n,)
    """
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
        kept = lags // passages.ROWS + 1
        for row in range(passages.ROWS):
            _move(
                columns, kept, search.line[row * passages.LINE_ROW : (row + 1) * passages.LINE_ROW]
            )
            _move(
                columns, kept, search.power[row * passages.LINE_ROW : (row + 1) * passages.LINE_ROW]
            )
        end -= passages.ROWS * columns
        search.end[0] = end
    return int(end)


@inlined
def _move(columns: int, kept: int, row: NDArray[np.float32]) -> None:
    for i in range(kept):
        row[i] = row[columns + i]


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

    Parameters
    ----------
    rate : int
        In Hz.
    known : int
        Samples of the sum before the gap.
    space : RecallSpace
        Written.
    search : Search
        That listened to all of the ring.
    ring : float32, shape (capacity,)
        The played samples.
    position, filled : int
        Where its next sample will stand, and how many do.
    out : float32, shape (known + n,), written where there are passages
        No louder than any of them.

    Returns
    -------
    float
        The largest sample in any of the passages; -1 where there are none: too little was heard,
        or it is silent.
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
def trust(error: float, recalled: NDArray[np.float32], newest: NDArray[np.float32]) -> float:
    """Return the weight of passages, 0 to 1.

    Parameters
    ----------
    error : float
        Mean square error of a prediction of the newest samples.
    recalled, newest : float32, shape (n,)
        The passages' sum there, and these samples.

    Returns
    -------
    float
        1 where they come as near to the newest samples as the prediction, and less where they stay
        further away.
    """
    return float(_share(error, error_power(recalled, newest, 0)))


@rounded_part
def _share(error: float, own: float) -> float:
    return min(1.0, 2.0 * error / max(error + own, _LEAST_POWER))


@kernel
def join(
    p: Predictor,
    c: int,
    known: NDArray[np.float32],
    beside: NDArray[np.float32],
    peak: float,
    weight: float,
    out: NDArray[np.float32],
) -> None:
    """Predict a channel along another line: its innovation drives the predictor.

    Parameters
    ----------
    p : Predictor
        That has begun.
    c : int
        The channel.
    known : float32, shape (m,)
        The newest samples, more than coefficients.
    beside : float32, shape (at least m + n,)
        What the signal may be like, up to the gap and in it.
    peak : float
        As loud as that line may become.
    weight : float
        Of that line, 0 to 1.
    out : float32, shape (n,), written
    """
    order = p.orders[c]
    taps, recent = p.taps[c, :order], p.recent[c, :order]
    past = beside.size - out.size
    before = beside[past - known.size : past]
    gain = np.float32(weight * passages.innovation_share(taps, known, before, _EVERY))
    _take_off(gain, beside[past - order : past], recent)
    go_on(taps, p.limits[c], recent, p.line[: order + CHUNK], out)
    p.limits[c] = limit = max(p.limits[c], peak)
    _put_on(gain, beside[past:], np.float32(limit), out)


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

    These are the passages, and prediction along them. The passages count as far as :func:`trust`
    says. Without any both drafts are prediction alone.

    Parameters
    ----------
    p : Predictor
        That has begun; it goes on from the end of the second draft.
    c : int
        The channel.
    made, played : float32, shape (n,) and (order + m,), written
        What is predicted of the newest samples, and these, of which m are compared.
    ring : float32, shape (capacity,)
        What was played of the channel.
    position : int
        Where its next sample will stand.
    beside : float32, shape (known + ahead,)
        What :func:`recall` wrote.
    known : int
        Samples of it before the gap.
    peak : float
        What that returned.
    weight : float
        Of passages, 0 to 1.
    rows : float32, shape (2, past + ahead), written
        Of the second row only what is ahead.
    """
    start = rows.shape[1] - (beside.size - known)
    played = played[: p.orders[c] + int(np.rint(p.rate * COMPARED_MS / 1000.0))]
    newest(ring, position, played)
    error = rehearse(p, c, played, made)
    if peak < 0.0:
        extend_prediction(p, c, rows[1, start:])
        rows[0, :] = rows[1, :]
        return error
    share = weight * trust(error, beside[known - made.size : known], played[-made.size :])
    newest_played, out = played[-min(played.size, known) :], rows[1, start:]
    join(p, c, newest_played, beside, peak, share, out)
    add_beside(p, c, 1.0 - share, out)
    go_on_from(p, c, newest_played, out)
    rows[0, :] = beside[known - start :]
    return error
