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
from plc_kernels.signal.fade import crossfade_ramp
from plc_kernels.signal.predict import LEAST_KNOWN, LEAST_PAST_SAMPLES
from plc_kernels.stream.layout import RECOVERY_MS

SIDE_RUNG = Rung(62.5, 250.0)
"""Order and past with which a side of a gap is continued where there is time."""
# On the contour of a voice's pitch: of validation speech, 10 to 64 ms, this is the best of three.
_VOICE_RUNG = Rung(30.0, 60.0)
_DITHER = np.float32(1e-5)


def dithered(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sound, of one channel or several, with noise 100 dB below it: less than 16 bits hold.

    Where a sound has nothing, as above the band of a coder, a predictor of many coefficients would
    be fitted to how its samples were rounded, which is otherwise at another level.
    """
    noise = _DITHER * np.random.default_rng(0).standard_normal(rows.shape[-1], np.float32)
    return np.asarray(rows + noise * rows.std(axis=-1, keepdims=True) if rows.size else rows)


def continued(
    past: NDArray[np.float32], samples: int, sample_rate: int, rung: Rung = SIDE_RUNG
) -> NDArray[np.float32]:
    """Continue ``past`` by linear prediction: float32, shape (samples,).

    There are zeros where too little is known to fit anything.

    Parameters
    ----------
    past : float32, shape (n,), what is known, the newest last
    samples : int, how many to predict
    sample_rate : int, in Hz
    rung : Rung
        Order and past; less where less is known.
    """
    out = np.zeros(samples, np.float32)
    if past.size >= LEAST_PAST_SAMPLES:
        fill_between(past[None], past[None, :0], sample_rate, rung, out[None])
    return out


def fill_between(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    sample_rate: int,
    rung: Rung,
    gap: NDArray[np.float32],
) -> None:
    """Fill a gap from the known samples on both sides, or on one.

    Where the far side is too short for a bridge, the end is bent to meet its first sample.

    Parameters
    ----------
    before, after : float32, shape (channels, n) and (channels, m), what is known
    sample_rate : int, in Hz
    rung : Rung
        Order and past; less where less is known.
    gap : float32, shape (channels, samples), written
    """
    if after.shape[1] and not before.shape[1]:
        fill_between(after[:, ::-1], before, sample_rate, rung, gap[:, ::-1])
        return
    channels, samples = gap.shape
    filler, history = _fitted(before, sample_rate, rung, max(samples, after.shape[1]))
    out = np.zeros((channels, samples), np.float32)
    bridged = False
    if after.shape[1] < LEAST_KNOWN:
        filler.extend(out)
    else:
        bridged = filler.bridge(history, dithered(after), out)
    if after.shape[1] and not bridged:
        beyond = np.zeros((channels, 1), np.float32)
        filler.extend(beyond)
        n = min(round(sample_rate * RECOVERY_MS / 1000.0), samples)
        out[:, samples - n :] += crossfade_ramp(n) * (after[:, :1] - beyond)
    gap[:] = out


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
    filler, history = _fitted(before[None], sample_rate, _VOICE_RUNG, reach, contour.past_samples)
    out = np.empty(samples, np.float32)
    known = dithered(after[None, :reach])
    landed = filler.bridge(history, known, out[None], contour)
    return out if landed and contour.followed[0] else None


def _fitted(
    past: NDArray[np.float32], sample_rate: int, rung: Rung, reach: int = 0, remembered: int = 1
) -> tuple[ArFiller, History]:
    filler = ArFiller(sample_rate, len(past), rung, reach)
    history = History(len(past), max(filler.past_samples, remembered))
    history.append(dithered(past), trusted=True)
    filler.begin(history)
    return filler, history
