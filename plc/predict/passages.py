"""Earlier passages of a stream that resemble its newest samples.

All that was played of the last seconds is remembered and compared with the newest samples as they
come (:mod:`plc_kernels.passages`). When a burst begins, the passages that resemble its past most
are weighed so that their sum comes nearest to it, and what followed them is carried on into the
gap. Linear prediction and this sum meet in one line: the predictor is applied to what the sum does
not explain::

    joined = share * passages + prediction of (past - share * passages)

which is what an all-pole filter makes whose state is the past's and whose input in the gap is the
passages' innovation. So there is no step where the gap begins, and where the share is 0 it is
linear prediction. How much of the passages' innovation the signal had just before says the share.

The files' counterpart, which sees both sides of a gap, is :mod:`plc.predict.similar`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.predict.history import History
from plc.predict.linear import REHEARSED_MS, ArFiller
from plc_kernels.passages import (
    LAG_ROW,
    LINE_ROW,
    ROWS,
    add_passages,
    best_lags,
    follow_lags,
    refine_lags,
    thin_flattened,
    weigh_passages,
)
from plc_kernels.predict import error_power

REACH_S = 8.0
"""How far back is searched."""
MATCH_MS = 80.0
"""Of the newest samples: what the passages' sum comes near to."""
LEAST_LAG_MS = 120.0
"""Nearer passages are not taken: what followed them has to reach through the draft."""
# Their share in the search falls by e within this time.
_FORGET_MS = 60.0
# What lags are put right on.
_REFINE_MS = 40.0
_PASSAGES = 24
# The search runs at about this rate: 8 kHz take twice its time for little (training/README.md).
_SEARCH_HZ = 6000
# Below this power nothing is known of a prediction.
_LEAST_POWER = 1e-20
# Samples of the search that are taken in at once at most.
_PIECE = 256


class Passages:
    """Finds passages of a stream's past that resemble its newest samples.

    Each channel for itself.

    Parameters
    ----------
    sample_rate, channels : int
        Of the stream.
    past, ahead : int
        Samples of the drafts before the gap, and in it.

    Raises
    ------
    ConfigError
        If the drafts are longer than passages reach.
    """

    def __init__(self, sample_rate: int, channels: int, past: int, ahead: int) -> None:
        least = round(sample_rate * LEAST_LAG_MS / 1000.0)
        if ahead > least:
            raise ConfigError(
                f"drafts of {1000.0 * ahead / sample_rate:g} ms; passages of the past reach "
                f"through {LEAST_LAG_MS:g} ms at most: give a shorter horizon"
            )
        self.sample_rate = sample_rate
        """In Hz."""
        self._stride = stride = max(1, round(sample_rate / _SEARCH_HZ))
        match = round(sample_rate * MATCH_MS / 1000.0)
        self.known = max(match, past)
        """Samples of :attr:`sum` before the gap."""
        self.past_samples = round(sample_rate * REACH_S)
        """Samples of history that it reads."""
        self._least = -(-least // stride) + 1  # a lag may move by a stride
        self._decay = math.exp(-1000.0 * stride / (sample_rate * _FORGET_MS))
        lags = self.past_samples // stride // ROWS * ROWS
        self._searches = [_Search(lags) for _ in range(channels)]
        self._thinned = np.zeros(_PIECE + 1, np.float32)
        self._weights = np.zeros(_PIECE + 3 * ROWS, np.float32)
        self._every = np.zeros(ROWS * LAG_ROW, np.float32)
        refined = round(sample_rate * _REFINE_MS / 1000.0)
        self._newest = np.zeros(refined, np.float32)
        self._around = np.zeros(refined + 2 * stride, np.float32)
        self._template = np.zeros(match, np.float32)
        self._matched = np.zeros((_PASSAGES, match), np.float32)
        self._normal = np.zeros((_PASSAGES, _PASSAGES))
        self._shares = np.zeros(_PASSAGES)
        self._lags = np.zeros(_PASSAGES, np.int64)
        self._scores = np.zeros(_PASSAGES, np.float32)
        self.found = np.zeros(channels, np.bool_)
        """Of which channels there are passages."""
        self.sum = np.zeros((channels, self.known + ahead), np.float32)
        """What was found last, for each channel."""
        self.peaks = np.zeros(channels, np.float32)
        """The largest sample of each channel in any of the passages summed."""
        self.errors = np.zeros(channels)
        """Mean square errors of linear prediction of each channel's newest samples."""
        self._trust = np.ones(channels)
        self._rehearsed = np.zeros(round(sample_rate * REHEARSED_MS / 1000.0), np.float32)
        self.reset()  # all memory touched now, not page by page while audio runs

    def reset(self) -> None:
        """Forget the stream."""
        for search in self._searches:
            search.reset()

    def listen(self, block: NDArray[np.float32]) -> None:
        """Take in a played block, shape (channels, n), C-contiguous."""
        n = block.shape[1]
        piece = _PIECE * self._stride
        for c, search in enumerate(self._searches):
            for begin in range(0, n, piece):
                stop = min(begin + piece, n)
                self._listen(search, block[c], begin, stop)

    def _listen(self, search: "_Search", line: NDArray[np.float32], begin: int, stop: int) -> None:
        stride = self._stride
        count = thin_flattened(line, begin, stop, stride, search.thinning, self._thinned)
        follow_lags(
            self._thinned,
            count,
            search.room_for(count),
            search.lags,
            self._decay,
            search.line,
            search.power,
            self._weights,
            search.correlation,
        )
        search.end += count

    def find(self, history: History) -> None:
        """Sum the passages like the newest samples, and their continuations.

        A sum is no louder than any of its passages. There are none where too little was heard,
        and after silence.

        Parameters
        ----------
        history : History
            Of at least :attr:`past_samples`; all of it was listened to.
        """
        for c, search in enumerate(self._searches):
            row = history.ring[c]
            lags = self._lags_of(search, row, history)
            self.found[c] = lags.size > 0
            if lags.size:
                line, peak = self.sum[c], self.peaks[c : c + 1]
                where = (row, history.position)
                add_passages(*where, lags, self._shares, self.known, peak, line)
                np.clip(line, -peak[0], peak[0], out=line)

    def trust(self, history: History) -> NDArray[np.float64]:
        """Return the weight of each channel's passages, shape (channels,), 0 to 1.

        It is 1 where they come as near to the newest samples as the prediction whose errors are
        :attr:`errors`, and less where they stay further away.
        """
        for c, error in enumerate(self.errors):
            newest = self._rehearsed
            history.newest(c, newest)
            own = error_power(self.sum[c, self.known - newest.size : self.known], newest, 0)
            self._trust[c] = min(1.0, 2.0 * error / max(error + own, _LEAST_POWER))
        return self._trust

    def _lags_of(
        self, search: "_Search", row: NDArray[np.float32], history: History
    ) -> NDArray[np.int64]:
        """Return the lags of a channel's passages, their shares written."""
        stride = self._stride
        longest = history.filled - self.known - 2
        most = min(longest // stride - 1, search.lags)
        found = 0
        if most >= self._least:
            found = best_lags(
                search.correlation,
                search.power,
                search.lags,
                search.end - 1,
                self._least,
                most,
                self._every,
                self._lags,
                self._scores,
            )
        lags = self._lags[:found]
        if found:
            lags *= stride
            where = (row, history.position)
            refine_lags(*where, stride, self._newest, self._around, lags)
            weigh_passages(*where, lags, self._template, self._matched, self._normal, self._shares)
        return lags


class _Search:
    """Memory of a channel's search, in rows (:mod:`plc_kernels.passages`).

    Parameters
    ----------
    lags : int
        To be searched.
    """

    __slots__ = ("correlation", "end", "lags", "line", "power", "thinning")

    def __init__(self, lags: int) -> None:
        self.thinning = np.zeros(4)
        self.line = np.zeros(ROWS * LINE_ROW, np.float32)
        self.power = np.zeros_like(self.line)
        self.correlation = np.zeros(ROWS * LAG_ROW, np.float32)
        self.lags = lags
        self.end = lags

    def reset(self) -> None:
        """Forget the channel."""
        self.thinning.fill(0.0)
        self.line.fill(0.0)
        self.power.fill(0.0)
        self.correlation.fill(0.0)
        self.end = self.lags

    def room_for(self, count: int) -> int:
        """Return a place for new samples behind the others; make room if needed."""
        if self.end + count > 2 * self.lags + _PIECE:
            columns = (self.end - self.lags) // ROWS
            kept = self.lags // ROWS + 1
            for rows in (self.line, self.power):
                for row in rows.reshape(ROWS, LINE_ROW):
                    row[:kept] = row[columns : columns + kept]
            self.end -= ROWS * columns
        return self.end


def draft_from(
    passages: Passages,
    history: History,
    ar: ArFiller,
    lines: NDArray[np.float32],
    weight: float = 1.0,
) -> None:
    """Write the drafts of a gap from the passages and linear prediction.

    Parameters
    ----------
    passages : Passages
        That listened to all of the history.
    history : History
        What was played.
    ar : ArFiller
        That has begun. It goes on from the end of the second draft.
    lines : float32, shape (channels, 2, past + ahead)
        The sum, and the joined line. The second holds the past already; the rest is written.
        Where there are no passages both are what linear prediction says.
    weight : float
        Of the passages, 0 to 1.
    """
    gap = passages.sum.shape[1] - passages.known
    past = lines.shape[2] - gap
    passages.find(history)
    ar.rehearse(history, passages.errors)
    weights = passages.trust(history)
    weights *= weight
    beside = (passages.sum, passages.peaks, weights, passages.found)
    ar.join(history, *beside, lines[:, 1, past:])
    lines[:, 0] = passages.sum[:, passages.known - past :]
    if not passages.found.all():
        lines[~passages.found, 0] = lines[~passages.found, 1]
