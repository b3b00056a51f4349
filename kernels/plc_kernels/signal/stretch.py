"""Make a line of samples shorter or longer by whole periods of its sound: the pitch stays.

The lag is the one at which the sound is most like itself, by normalised correlation over a window
as long as the longest lag; first in sums of neighbours about 0.25 ms apart, then sample by sample.
Leaving out crossfades from the sound into the sound one lag later, repeating into the sound one lag
before, each over a lag (WSOLA: Verhelst and Roelands, ICASSP 1993; time stretching as in WebRTC's
NetEq)::

    line            a │ lag b │ lag c │ d
    left out        a │ b → c │ d
    played twice    a │ lag b │ c → b │ lag c │ d

Correlations are summed in float64.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.signal.level import largest

LEAST_MS, MOST_MS = 2.5, 15.0
"""Lags that are looked at: 67 to 400 Hz."""
_COARSE_S = 0.00025
# Sound 60 dB below the loudest that the line has up to there is changed anywhere.
_SILENT = 1e-3


@part
def _likeness(rows: NDArray[np.float32], begin: int, lag: int, window: int, step: int) -> float:
    """Return the correlation of a window and of the one a lag later, both in steps; -1 to 1."""
    product = before = after = 0.0
    for c in range(rows.shape[0] - 1):
        row = rows[c]
        for i in range(begin, begin + window, step):
            x, y = 0.0, 0.0
            for k in range(step):
                x += row[i + k]
                y += row[i + lag + k]
            product += x * y
            before += x * x
            after += y * y
    return product / math.sqrt(before * after) if before > 0.0 and after > 0.0 else 0.0


@inlined
def _is_silent(rows: NDArray[np.float32], begin: int, stop: int) -> bool:
    loudest = here = 0.0
    for c in range(rows.shape[0] - 1):
        loudest = max(loudest, largest(rows[c, :stop]))
        here = max(here, largest(rows[c, begin:stop]))
    return here <= _SILENT * loudest


@part
def best_lag(rows: NDArray[np.float32], begin: int, rate: int, most: int, enough: float) -> int:
    """Return the lag at which the line from ``begin`` on is most like itself.

    0: it is nowhere as like as ``enough``. Twice the longest lag, and a step, must follow there.
    """
    least, window = int(LEAST_MS * rate / 1000.0), int(MOST_MS * rate / 1000.0)
    most = min(most, window)
    if most < least:
        return 0
    if _is_silent(rows, begin, begin + window + most):
        return most
    step = max(1, int(_COARSE_S * rate))
    best, likest = 0, -1.0
    for lag in range(least, most + 1, step):
        like = _likeness(rows, begin, lag, window - step + 1, step)
        if like > likest:
            best, likest = lag, like
    near, likest = best, -1.0
    for lag in range(max(least, near - step), min(most, near + step) + 1):
        like = _likeness(rows, begin, lag, window, 1)
        if like > likest:
            best, likest = lag, like
    return best if likest >= enough else 0


@kernel
def shorten(
    rows: NDArray[np.float32], begin: int, filled: int, rate: int, most: int, enough: float
) -> int:
    """Leave out a period of a line; return its samples, 0: there is none.

    Parameters
    ----------
    rows : float32, shape (channels + 1, n), read and written
        The line, and below it a row of marks, of which the larger one stays.
    begin : int, first sample that may change
    filled : int
        Samples of the line; it has as many less then. Those from ``begin`` on must be twice
        ``MOST_MS`` at least, and 1.
    rate : int, samples in a second
    most : int, samples to leave out at most
    enough : float
        Correlation from which on a period is one, -1 to 1.
    """
    lag = best_lag(rows, begin, rate, most, enough)
    if lag == 0:
        return 0
    marks = rows.shape[0] - 1
    for c in range(rows.shape[0]):
        row = rows[c]
        for i in range(lag):
            a, b = row[begin + i], row[begin + lag + i]
            share = np.float32((i + 1) / (lag + 1))
            row[begin + i] = max(a, b) if c == marks else a + share * (b - a)
        for i in range(begin + lag, filled - lag):
            row[i] = row[i + lag]
    return lag


@kernel
def lengthen(
    rows: NDArray[np.float32], begin: int, filled: int, rate: int, most: int, enough: float
) -> int:
    """Play a period of a line twice; return its samples, 0: there is none.

    Parameters
    ----------
    rows, filled, rate, enough
        As for :func:`shorten`; there is room for ``MOST_MS`` more, which the line has then.
    begin : int
        First sample that may change; the longest lag lies before it, and ``most`` behind it.
    most : int, samples to play twice at most
    """
    window = int(MOST_MS * rate / 1000.0)
    lag = best_lag(rows, begin - window, rate, most, enough)
    if lag == 0:
        return 0
    marks = rows.shape[0] - 1
    for c in range(rows.shape[0]):
        row = rows[c]
        for i in range(filled - 1, begin - 1, -1):
            row[i + lag] = row[i]
        for i in range(lag):
            a, b = row[begin + lag + i], row[begin - lag + i]
            share = np.float32((i + 1) / (lag + 1))
            row[begin + i] = max(a, b) if c == marks else a + share * (b - a)
    return lag
