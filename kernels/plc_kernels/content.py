"""Features of a stream's last seconds that tell speech from music.

Averages over frames of 20 ms, two seconds deep, of what a power spectrum up to 8 kHz shows: how
often and how far the level falls, where the power lies and how much that moves, how even the
spectrum is, and how fast it changes. About 2 microseconds a frame.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel

BINS = 161
"""Of spectra whose bins are 50 Hz apart: up to 8 kHz."""
FEATURES = (
    "pauses",
    "dynamics",
    "bass",
    "centre",
    "movement",
    "treble",
    "flatness",
    "change",
    "flux",
)
MEMORY_FRAMES = 100
"""Time constant of the averages: 2 s."""

# What is further below the loudest of the last seconds is a pause, says nothing of the spectrum, or
# is as good as silence. The loudest falls by 1 dB a second, or by half of what lies below it: a
# bump of the microphone, 40 dB above the voice, is forgotten in a second.
_PAUSE_DB, _LOUD_DB, _LEAST_DB = 20.0, 25.0, 50.0
_FALL_DB, _FALL_SHARE = 0.02, 0.01
_BASS_BINS, _TREBLE_FROM = 2, 81
_FLAT_FROM, _FLAT_TO = 4, 125
_CHANGE_FROM, _CHANGE_TO = 2, 100
CHANGE_BINS = _CHANGE_TO - _CHANGE_FROM
"""Bins whose change is measured."""
APART_FRAMES = 2
"""Frames over which change is measured: 40 ms."""
# Places in the averages.
_PEAK, _PAUSES, _LEVEL, _LEVEL2, _BASS, _TREBLE, _POWER = range(7)
_CENTRE, _CENTRE2, _FLATNESS, _CHANGE = range(7, 11)
AVERAGES = 11
"""Averages that are kept."""


STREAM_MODEL = np.array(
    [
        [
            0.097051,
            10.826,
            -17.374,
            2.501,
            0.74743,
            -24.004,
            -5.2972,
            1.5724,
            3.2881,
            0.027008,
            161.42,
            453.76,
            6.8536,
            0.81403,
            743.03,
            32.499,
            2.5815,
            13.237,
            0,
        ],
        [
            0.13263,
            6.6505,
            12.325,
            0.77361,
            0.50535,
            12.917,
            2.1068,
            0.33049,
            1.5574,
            0.065855,
            194.01,
            594.89,
            3.6732,
            1.0204,
            785.07,
            26.643,
            1.0367,
            11.367,
            1,
        ],
        [
            0.3283,
            2.4024,
            -1.2598,
            1.7698,
            1.8486,
            0.18624,
            4.0557,
            5.1076,
            2.8418,
            -0.53828,
            -1.2936,
            -1.4128,
            -0.94563,
            -0.55035,
            2.6298,
            2.5178,
            -1.1969,
            -3.117,
            -0.93269,
        ],
    ]
)
"""Means, deviations and weights of the features and their squares; the last weight stands alone.

``plc train content`` fits it."""


@dataclass(frozen=True, slots=True)
class ContentState:
    """Memory of :func:`follow_content`.

    ``counts`` are the frames heard, those of them that were loud, those of them whose change is
    known, each up to :data:`MEMORY_FRAMES`, and the loud ones in a row.
    """

    averages: NDArray[np.float64]
    logs: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def allocate(cls) -> "ContentState":
        """Return the state of a stream that has heard nothing yet."""
        return cls(
            averages=np.zeros(AVERAGES),
            logs=np.zeros((APART_FRAMES + 1, CHANGE_BINS)),
            counts=np.zeros(4, np.int64),
        )

    def reset(self) -> None:
        """Reset all memory."""
        self.averages.fill(0.0)
        self.logs.fill(0.0)
        self.counts.fill(0)

    def interrupt(self) -> None:
        """Note that the next frame does not follow the last."""
        self.counts[3] = 0


@kernel
def follow_content(
    powers: NDArray[np.float32],
    averages: NDArray[np.float64],
    logs: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Learn from the spectrum of one more frame.

    Parameters
    ----------
    powers : float32, shape (n,), n >= :data:`BINS`
        Of bins 50 Hz apart; finite.
    averages, logs, counts
        Of a :class:`ContentState`; written.
    """
    total = 0.0
    centre = 0.0
    for k in range(BINS):
        total += powers[k]
        centre += k * powers[k]
    if not total > 0.0:
        counts[3] = 0
        return
    level = 10.0 * math.log10(total)
    first = counts[0] == 0
    peak = averages[_PEAK]
    fallen = peak - max(_FALL_DB, _FALL_SHARE * (peak - level))
    peak = level if first else max(level, fallen)
    averages[_PEAK] = peak
    counts[0] = min(counts[0] + 1, MEMORY_FRAMES)
    share = 1.0 / counts[0]
    pause = 1.0 if level < peak - _PAUSE_DB else 0.0
    audible = max(level, peak - _LEAST_DB)
    averages[_PAUSES] += share * (pause - averages[_PAUSES])
    averages[_LEVEL] += share * (audible - averages[_LEVEL])
    averages[_LEVEL2] += share * (audible * audible - averages[_LEVEL2])
    if level <= peak - _LOUD_DB:
        counts[3] = 0
        return
    counts[1] = min(counts[1] + 1, MEMORY_FRAMES)
    counts[3] += 1
    share = 1.0 / counts[1]
    bass = 0.0
    for k in range(_BASS_BINS):
        bass += powers[k]
    treble = 0.0
    for k in range(_TREBLE_FROM, BINS):
        treble += powers[k]
    centre /= total
    # Relative to the loudest, which is forgotten: what was loud long ago has no more weight.
    loudest = 10.0 ** (peak / 10.0)
    averages[_BASS] += share * (bass / loudest - averages[_BASS])
    averages[_TREBLE] += share * (treble / loudest - averages[_TREBLE])
    averages[_POWER] += share * (total / loudest - averages[_POWER])
    averages[_CENTRE] += share * (centre - averages[_CENTRE])
    averages[_CENTRE2] += share * (centre * centre - averages[_CENTRE2])
    averages[_FLATNESS] += share * (_flatness(powers, total) - averages[_FLATNESS])
    change = _change(powers, total, logs, counts)
    if counts[3] > APART_FRAMES:
        counts[2] = min(counts[2] + 1, MEMORY_FRAMES)
        averages[_CHANGE] += (change - averages[_CHANGE]) / counts[2]


@kernel
def _flatness(powers: NDArray[np.float32], total: float) -> float:
    """Return the logarithm of the geometric over the arithmetic mean."""
    least = 1e-10 * total
    logs = 0.0
    mean = 0.0
    for k in range(_FLAT_FROM, _FLAT_TO):
        logs += math.log(powers[k] + least)
        mean += powers[k] + least
    count = _FLAT_TO - _FLAT_FROM
    return logs / count - math.log(mean / count)


@kernel
def _change(
    powers: NDArray[np.float32],
    total: float,
    logs: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> float:
    """Keep the log spectrum; return its distance, without level, from 40 ms earlier."""
    size = _CHANGE_TO - _CHANGE_FROM
    new = logs[counts[3] % (APART_FRAMES + 1)]
    old = logs[(counts[3] - APART_FRAMES) % (APART_FRAMES + 1)]
    least = 1e-10 * total
    mean = 0.0
    for k in range(size):
        new[k] = math.log(powers[_CHANGE_FROM + k] + least)
        mean += new[k] - old[k]
    mean /= size
    change = 0.0
    for k in range(size):
        change += abs(new[k] - old[k] - mean)
    return change / size


@kernel
def content_features(
    averages: NDArray[np.float64], flux_db: float, out: NDArray[np.float64]
) -> None:
    """Write what was heard, in the order of :data:`FEATURES`; the flux as it is given.

    Parameters
    ----------
    averages
        Of a :class:`ContentState` that has heard a loud frame.
    flux_db : float
        Mean change of the band levels, as :func:`plc_kernels.noise.track_noise` measures it.
    out : float64, shape (9,), written
    """
    power = averages[_POWER]
    centre = averages[_CENTRE]
    level = averages[_LEVEL]
    out[0] = averages[_PAUSES]
    out[1] = math.sqrt(max(averages[_LEVEL2] - level * level, 0.0))
    out[2] = 10.0 * math.log10(averages[_BASS] / power + 1e-6)
    out[3] = math.log(centre + 1e-3)
    out[4] = math.sqrt(max(averages[_CENTRE2] - centre * centre, 0.0)) / (centre + 1e-3)
    out[5] = 10.0 * math.log10(averages[_TREBLE] / power + 1e-6)
    out[6] = averages[_FLATNESS]
    out[7] = averages[_CHANGE]
    out[8] = flux_db


@kernel
def logit(model: NDArray[np.float64], features: NDArray[np.float64]) -> float:
    """Return the logit of a logistic regression on features and their squares.

    Parameters
    ----------
    model : float64, shape (3, 2 n + 1)
        Means, deviations and weights of features and squares; the last weight stands alone.
    features : float64, shape (n,)
    """
    n = features.size
    said = float(model[2, 2 * n])
    for k in range(n):
        value = features[k]
        said += model[2, k] * (value - model[0, k]) / model[1, k]
        said += model[2, n + k] * (value * value - model[0, n + k]) / model[1, n + k]
    return said
