"""The sides of a gap continued into it, each by itself.

The network is given the signal with the gap filled in several ways, and weighs them bin by bin.
Those made here are its training's too, so that it meets what it was trained on.
"""

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.expected_contour import ContourBridge
from plc.engine.predict.ladder import Rung
from plc.engine.predict.linear import ArFiller
from plc.engine.predict.played_history import History
from plc_kernels.signal.predict import LEAST_KNOWN, LEAST_PAST_SAMPLES

SIDE_RUNG = Rung(62.5, 250.0)
"""Order and past with which a side of a gap is continued where there is time."""
# On the contour of a voice's pitch: of validation speech, 10 to 64 ms, this is the best of three.
_VOICE_RUNG = Rung(30.0, 60.0)


def continued(
    past: NDArray[np.float32], samples: int, sample_rate: int, rung: Rung = SIDE_RUNG
) -> NDArray[np.float32]:
    """Continue ``past`` by linear prediction.

    Parameters
    ----------
    past : float32, shape (n,), what is known, the newest last
    samples : int, how many to predict
    sample_rate : int, in Hz
    rung : Rung
        Order and past; less where less is known.

    Returns
    -------
    float32, shape (samples,)
        Zeros where too little is known to fit anything.
    """
    if past.size < LEAST_PAST_SAMPLES:
        return np.zeros(samples, np.float32)
    filler = ArFiller(sample_rate, 1, rung)
    history = History(1, filler.past_samples)
    history.append(past[None], trusted=True)
    filler.begin(history)
    out = np.empty((1, samples), np.float32)
    filler.extend(out)
    line: NDArray[np.float32] = out[0]
    return line


def bridged_along_the_pitch(
    before: NDArray[np.float32], after: NDArray[np.float32], samples: int, sample_rate: int
) -> NDArray[np.float32] | None:
    """Bridge a gap along the contour of a voice's pitch.

    Parameters
    ----------
    before, after : float32, shape (n,) and (m,), what is known
    samples : int, of the gap
    sample_rate : int, in Hz

    Returns
    -------
    float32, shape (samples,), or None
        None where there is no pitch, the gap is too long to follow one, or too little is known.
    """
    if min(before.size, after.size) < LEAST_KNOWN:
        return None
    contour = ContourBridge(sample_rate, 1, samples)
    reach = max(samples, min(after.size, round(sample_rate * _VOICE_RUNG.past_ms / 1000.0)))
    filler = ArFiller(sample_rate, 1, _VOICE_RUNG, reach)
    history = History(1, max(filler.past_samples, contour.past_samples))
    history.append(before[None], trusted=True)
    filler.begin(history)
    out = np.empty((1, samples), np.float32)
    known = np.ascontiguousarray(after[None, :reach])
    landed = filler.bridge(history, known, out, contour)
    line: NDArray[np.float32] = out[0]
    return line if landed and contour.followed[0] else None
