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
from plc_kernels.predict import REHEARSED_MS
from plc_kernels.recall import (
    COMPARED_MS,
    LEAST_LAG_MS,
    RecallSpace,
    Search,
    forget,
    join_passages,
    listen,
    recall,
    recall_sizes,
)
from plc_kernels.rungs import MAX_ORDER


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
        self.sum = np.zeros((channels, self.known + ahead), np.float32)
        """What was found last, for each channel."""
        self.peaks = np.zeros(channels)
        """The largest sample of each channel in any of the passages summed; -1: there are none."""
        self.errors = np.zeros(channels)
        """Mean square errors of linear prediction of each channel's newest samples."""
        rehearsed = round(sample_rate * REHEARSED_MS / 1000.0)
        played = MAX_ORDER + round(sample_rate * COMPARED_MS / 1000.0)
        self.rehearsal = np.zeros(rehearsed, np.float32), np.zeros(played, np.float32)
        """Samples predicted again, and played ones: scratch memory of kernels."""
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
            self.peaks[c] = recall(self.sample_rate, self.known, *given)


def draft_from(
    passages: Passages,
    history: History,
    ar: ArFiller,
    lines: NDArray[np.float32],
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
    """
    passages.find(history)
    for c, rows in enumerate(lines):
        past = history.ring[c], history.position
        found = passages.sum[c], passages.known, passages.peaks[c]
        passages.errors[c] = join_passages(
            ar.predictor, c, *passages.rehearsal, *past, *found, 1.0, rows
        )
