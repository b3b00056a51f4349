"""What the encoder starts from: each side of a gap continued by itself.

The network is given the signal with the gap filled in several ways, and weighs them bin by bin.
Those made here are its training's too, so that it meets what it was trained on.
"""

import numpy as np
from numpy.typing import NDArray

from plc.filler import ArFiller
from plc.history import History
from plc.ladder import LEAST_PAST_SAMPLES, Rung

SIDE_RUNG = Rung(62.5, 250.0)
"""Order and past with which a side of a gap is continued where there is time."""


def continued(
    past: NDArray[np.float32], samples: int, sample_rate: int, rung: Rung = SIDE_RUNG
) -> NDArray[np.float32]:
    """Return what linear prediction says comes after ``past``.

    Parameters
    ----------
    past : float32, shape (n,)
        What is known, the newest last.
    samples : int
        How many to predict.
    sample_rate : int
        In Hz.
    rung : Rung
        Order and past; less where less is known.

    Returns
    -------
    float32, shape (samples,)
        Zeros where too little is known to fit anything.
    """
    if past.size < LEAST_PAST_SAMPLES:
        return np.zeros(samples, np.float32)
    filler = ArFiller(sample_rate, 1, 1, rung=rung)
    history = History(1, filler.past_samples)
    history.append(past[None], trusted=True)
    filler.begin(history, unsteady=False)
    out = np.empty((1, samples), np.float32)
    filler.extend(out)
    line: NDArray[np.float32] = out[0]
    return line
