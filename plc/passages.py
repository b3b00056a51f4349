"""Music repeats itself: what came before, where a stream sounded as it does now.

All that was played of the last seconds is remembered and compared with the newest samples as they
come (:mod:`plc_kernels.passages`). When a burst begins, the passages that resemble its past most
are weighed so that their sum comes nearest to it, and what followed them is carried on into the
gap. Linear prediction and this sum meet in one line: the predictor is applied to what the sum does
not explain::

    joined = share * passages + prediction of (past - share * passages)

which is what an all-pole filter makes whose state is the past's and whose input in the gap is the
passages' innovation. So there is no step where the gap begins, and where the share is 0 it is
linear prediction. How much of the passages' innovation the signal had just before says the share.

The files' counterpart, which sees both sides of a gap, is :mod:`plc.similar`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.filler import ArFiller
from plc.history import History
from plc_kernels.passages import (
    add_passages,
    best_lags,
    follow_lags,
    refine_lags,
    thin_flattened,
    weigh_passages,
)

PASSAGE_DRAFTS = ("passages", "joined")
"""What a model is given of them: their sum, and the line that it and linear prediction make."""
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
# Samples of the search that are taken in at once at most.
_PIECE = 256


class Passages:
    """Remembers how a stream sounded when, and drafts a gap from where it sounded as it does now.

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
        self.sample_rate = sample_rate
        """In Hz."""
        self._stride = stride = max(1, round(sample_rate / _SEARCH_HZ))
        least = round(sample_rate * LEAST_LAG_MS / 1000.0)
        if ahead > least:
            raise ConfigError(
                f"drafts of {1000.0 * ahead / sample_rate:g} ms; passages of the past reach "
                f"through {LEAST_LAG_MS:g} ms at most: give a shorter horizon"
            )
        self._match = match = round(sample_rate * MATCH_MS / 1000.0)
        self.past_samples = round(sample_rate * REACH_S)
        """Samples of history that it reads."""
        lags = self.past_samples // stride
        self._least = -(-least // stride) + 1  # a lag may move by a stride
        self._decay = math.exp(-1000.0 * stride / (sample_rate * _FORGET_MS))
        self._thinning = np.zeros(4)
        self._thinned = np.zeros(_PIECE + 1, np.float32)
        self._weights = np.zeros(_PIECE + 1, np.float32)
        self._line = np.zeros(2 * lags + _PIECE + 1, np.float32)
        self._power = np.zeros_like(self._line)
        self._correlation = np.zeros(lags, np.float32)
        self._every = np.zeros(lags + 1, np.float32)
        self._end = lags
        refined = round(sample_rate * _REFINE_MS / 1000.0)
        self._newest = np.zeros(refined, np.float32)
        self._around = np.zeros(refined + 2 * stride, np.float32)
        self._template = np.zeros(match, np.float32)
        self._matched = np.zeros((_PASSAGES, match), np.float32)
        self._normal = np.zeros((_PASSAGES, _PASSAGES))
        self._shares = np.zeros(_PASSAGES)
        self._lags = np.zeros(_PASSAGES, np.int64)
        self._scores = np.zeros(_PASSAGES, np.float32)
        self.known = max(match, past)
        """Samples of :attr:`sum` before the gap."""
        self.sum = np.zeros((channels, self.known + ahead), np.float32)
        """What was found last, for each channel."""
        self.peaks = np.zeros(channels, np.float32)
        """The largest sample of each channel in any of the passages summed."""
        self.reset()  # all memory touched now, not page by page while audio runs

    def reset(self) -> None:
        """Forget the stream."""
        self._thinning.fill(0.0)
        self._line.fill(0.0)
        self._power.fill(0.0)
        self._correlation.fill(0.0)
        self._end = self._correlation.size

    def listen(self, block: NDArray[np.float32]) -> None:
        """Take in what was played, shape (channels, n), C-contiguous."""
        n = block.shape[1]
        piece = _PIECE * self._stride
        for begin in range(0, n, piece):
            self._listen(block, begin, min(begin + piece, n))

    def _listen(self, block: NDArray[np.float32], begin: int, stop: int) -> None:
        count = thin_flattened(block, begin, stop, self._stride, self._thinning, self._thinned)
        lags = self._correlation.size
        if self._end + count > self._line.size:
            for line in (self._line, self._power):
                line[:lags] = line[self._end - lags : self._end]
            self._end = lags
        self._line[self._end : self._end + count] = self._thinned[:count]
        follow_lags(
            self._line,
            self._end,
            count,
            self._decay,
            self._power,
            self._weights,
            self._correlation,
        )
        self._end += count

    def find(self, history: History) -> bool:
        """Sum the passages that resemble the newest samples, and what followed them.

        Parameters
        ----------
        history : History
            Of at least :attr:`past_samples`; all of it was listened to.

        Returns
        -------
        bool
            Whether there are any: not where too little was heard, nor after silence.
        """
        lags = self._lags_of(history)
        if not lags.size:
            return False
        where = (history.ring, history.position)
        add_passages(*where, lags, self._shares, self.known, self.peaks, self.sum)
        return True

    def _lags_of(self, history: History) -> NDArray[np.int64]:
        """Return the lags of the passages, their shares written."""
        stride = self._stride
        longest = history.filled - self.known - 2
        most = min(longest // stride - 1, self._correlation.size)
        found = 0
        if most >= self._least:
            found = best_lags(
                self._correlation,
                self._power,
                self._end - 1,
                self._least,
                most,
                self._every,
                self._lags,
                self._scores,
            )
        lags = self._lags[:found]
        if found:
            lags *= stride
            where = (history.ring, history.position)
            refine_lags(*where, stride, self._newest, self._around, lags)
            weigh_passages(*where, lags, self._template, self._matched, self._normal, self._shares)
        return lags


def draft_from(
    passages: Passages, history: History, ar: ArFiller, lines: NDArray[np.float32]
) -> None:
    """Write the drafts of a gap: the passages' sum, and what it and linear prediction make.

    Parameters
    ----------
    passages : Passages
        That listened to all of the history.
    history : History
        What was played.
    ar : ArFiller
        That has begun. It goes on from the end of the second draft.
    lines : float32, shape (channels, 2, past + ahead)
        :data:`PASSAGE_DRAFTS`. The second holds the past already; the rest is written. Where there
        are no passages both are what linear prediction says.
    """
    gap = passages.sum.shape[1] - passages.known
    past = lines.shape[2] - gap
    if passages.find(history):
        lines[:, 0] = passages.sum[:, passages.known - past :]
        ar.join(history, passages.sum, passages.peaks, lines[:, 1, past:])
    else:
        ar.extend(lines[:, 1, past:])
        lines[:, 0] = lines[:, 1]
