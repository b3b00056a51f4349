"""What the encoder starts from: each side of a gap continued by itself.

The network is given the signal with the gap filled in several ways, and weighs them bin by bin.
Those made here are its training's too, so that it meets what it was trained on.
"""

import numpy as np
from numpy.typing import NDArray

from plc.ladder import LEAST_PAST_SAMPLES, Rung
from plc_kernels.ar import extrapolate, fit_burg, taps_of

# Of the two-sided drafts: what plc.inpaint drafts with.
SIDE_RUNG = Rung(62.5, 250.0)
# A prediction may overshoot what it was fitted on by this much; beyond, it is held.
_OVERSHOOT = 1.5
# Samples for each coefficient where there is less past than the rung asks for.
_SAMPLES_PER_COEFFICIENT = 4


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
    past = past[max(0, past.size - rung.past_samples(sample_rate)) :]
    out = np.zeros(samples, np.float32)
    if past.size < LEAST_PAST_SAMPLES or not past.any():
        return out
    order = min(rung.order(sample_rate), past.size // _SAMPLES_PER_COEFFICIENT)
    predictor = fit_burg(past.astype(np.float64), order)
    taps = np.zeros(predictor.size - 1)
    taps_of(predictor, taps)
    line = np.zeros(taps.size + samples)
    line[: taps.size] = past[past.size - taps.size :]
    extrapolate(taps, line)
    limit = _OVERSHOOT * float(np.abs(past).max())
    np.clip(line[taps.size :], -limit, limit, out=line[taps.size :])
    out[:] = line[taps.size :]
    return out
