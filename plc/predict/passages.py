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

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.predict.history import History
from plc.predict.linear import ArFiller
from plc_kernels.passages import LAG_ROW, LINE_ROW, ROWS
from plc_kernels.recall import (
    LEAST_LAG_MS,
    REHEARSED_MS,
    RecallSpace,
    Search,
    forget,
    listen,
    recall,
    recall_sizes,
    trust,
)


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
        _, self.past_samples, _, _, match = recall_sizes(sample_rate)
        self.known = max(match, past)
        """Samples of :attr:`sum` before the gap."""
        self._searches = [
            Search(
                thinning=np.zeros(4),
                line=np.zeros(ROWS * LINE_ROW, np.float32),
                power=np.zeros(ROWS * LINE_ROW, np.float32),
                correlation=np.zeros(ROWS * LAG_ROW, np.float32),
                end=np.zeros(1, np.int64),
            )
            for _ in range(channels)
        ]
        self._space = RecallSpace.allocate(sample_rate)
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
            forget(self.sample_rate, search)

    def listen(self, block: NDArray[np.float32]) -> None:
        """Take in a played block, shape (channels, n), C-contiguous."""
        for search, line in zip(self._searches, block, strict=True):
            listen(self.sample_rate, self._space, search, line)

    def find(self, history: History) -> None:
        """Sum the passages like the newest samples, and their continuations.

        A sum is no louder than any of its passages. There are none where too little was heard,
        and after silence.

        Parameters
        ----------
        history : History
            Of at least :attr:`past_samples`; all of it was listened to.
        """
        where = history.position, history.filled
        for c, search in enumerate(self._searches):
            given = self._space, search, history.ring[c], *where, self.sum[c]
            peak = recall(self.sample_rate, self.known, *given)
            self.found[c] = peak >= 0.0
            if self.found[c]:
                self.peaks[c] = peak

    def trust(self, history: History) -> NDArray[np.float64]:
        """Return the weight of each channel's passages, shape (channels,), 0 to 1.

        It is 1 where they come as near to the newest samples as the prediction whose errors are
        :attr:`errors`, and less where they stay further away.
        """
        newest = self._rehearsed
        for c, error in enumerate(self.errors):
            history.newest(c, newest)
            self._trust[c] = trust(
                error, self.sum[c, self.known - newest.size : self.known], newest
            )
        return self._trust


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
