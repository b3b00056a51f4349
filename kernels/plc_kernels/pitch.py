"""Pitch lag of the recent past, by normalised cross-correlation."""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel

# Added to each product of energies: silence then scores 0 instead of 0/0.
_ENERGY_FLOOR = 1e-9


@kernel
def best_lag(
    history: NDArray[np.float32],
    template_samples: int,
    lag_min: int,
    score: NDArray[np.float32],
) -> int:
    """Return the lag, in samples, whose past best predicts the newest samples.

    Parameters
    ----------
    history : float32, shape (n,), C-contiguous
        Newest sample last; ``n >= template_samples + lag_min + score.size - 1``.
    template_samples : int
        Samples compared, counted back from the newest.
    lag_min : int
        Smallest lag tried, in samples.
    score : float32, shape (lags,), written
        Normalised correlation of lag ``lag_min + k``, in [-1, 1].

    Returns
    -------
    int
        The lag of the highest score; the smallest such lag on a tie.
    """
    newest = history[history.size - template_samples :]
    energy = 0.0
    for i in range(newest.size):
        energy += newest[i] * newest[i]
    best = 0
    for k in range(score.size):
        begin = history.size - template_samples - lag_min - k
        shifted = history[begin : begin + template_samples]
        cross = 0.0
        past = 0.0
        for i in range(newest.size):
            cross += newest[i] * shifted[i]
            past += shifted[i] * shifted[i]
        score[k] = cross / math.sqrt(energy * past + _ENERGY_FLOOR)
        if score[k] > score[best]:
            best = k
    return lag_min + best
