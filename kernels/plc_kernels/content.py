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


# fmt: off
STREAM_MODEL = np.array(
    [[-5.31265e+00,  7.29078e-02, -3.29889e-02, -2.22127e-01,  2.74632e-02, -1.35088e-02,
      -1.09419e-01,  3.39451e+00,  2.37613e-01, -7.70787e+00,  2.61430e-01],
     [-2.91901e-01, -1.34089e-01,  4.38472e-02, -1.47365e-01, -5.83991e-01,  6.77855e-02,
      -1.43827e+00, -2.15930e-01, -1.54165e-01, -5.38852e-01, -6.81341e-01],
     [ 3.05963e+00, -1.53457e-01,  1.89610e-02, -1.40553e-01,  1.10751e-01,  5.37257e-02,
      -1.92431e-01, -1.84723e-01,  1.31398e+00, -3.73574e+00, -6.48364e-01],
     [ 1.82533e+00, -8.61812e-02,  2.20575e-02, -2.85932e+00,  4.35661e+00, -2.00905e-02,
       1.93158e-01,  3.50983e-01,  1.34321e-01,  6.41749e+00,  5.47371e-01],
     [-4.60812e+00, -1.70753e-02,  4.19650e-02, -1.61244e-02, -5.99031e-01,  2.53806e-02,
       8.29677e-02, -1.25215e+00, -3.25347e-01,  6.32428e+00, -1.66653e-01],
     [ 6.89978e-01,  4.97634e-02,  3.34563e-03, -1.76011e+00, -1.78298e+00,  9.11997e-02,
       2.36938e-01, -8.74503e-01, -2.54308e-01,  1.22348e+01, -4.34740e-01],
     [ 4.38258e+00, -2.16812e-01, -1.43182e-01, -2.10052e+00, -2.03844e-01, -2.46217e-02,
      -3.51707e-01, -1.29162e+00,  7.64037e-01,  3.20022e+00, -4.14979e-01],
     [ 3.86336e+00, -4.11615e-02,  4.71014e-02, -6.05485e-01, -5.56137e-01,  4.33404e-02,
       2.12892e-01, -3.43062e+00, -1.24907e-01,  1.09942e+01, -3.33891e-01],
     [-3.21468e+00, -5.56288e-02,  3.88960e-02, -2.22633e-01, -6.23160e-01,  2.70252e-02,
       1.50452e-01, -3.43160e+00, -4.39783e-01,  1.09037e+01, -3.21464e-01],
     [-4.51848e-01,  3.70715e-02, -5.14830e-02,  5.68323e-01,  3.05191e-02, -1.39238e-02,
      -3.62212e-01, -3.38434e+00, -4.76152e-01,  1.43693e+00, -9.02017e-01],
     [-4.54634e+00, -6.16157e-02, -2.69205e-02,  2.28777e+00, -2.69165e+00, -7.34551e-03,
       9.79424e-01, -5.72953e-01, -7.15311e-01,  6.29063e+00, -4.21394e-01],
     [ 3.88342e+00, -2.64470e-01,  4.45687e-02, -2.89641e+00,  1.55502e+00,  3.61971e-02,
       5.20536e-01, -2.99876e+00, -1.75214e-01,  1.67903e+01, -5.84917e-01],
     [ 9.03087e-01, -6.38651e-03, -3.13348e-02,  9.40605e-01, -9.48128e-01,  9.20046e-04,
      -9.27767e-01, -2.59302e+00, -3.16727e-01, -2.05996e+00, -6.38102e-01],
     [-2.83121e+00,  2.23641e-01, -7.01421e-02,  2.66073e+00, -1.28572e+00, -3.37507e-02,
      -4.95440e-01,  1.20228e+00, -3.66197e-02, -1.27345e+01,  6.79438e-01],
     [ 4.73397e+00,  3.17602e-02, -6.15667e-02,  3.03829e-01,  5.70337e-01, -2.92291e-02,
      -1.68604e-01,  1.44967e+00,  2.88133e-01, -7.82122e+00,  3.11267e-01],
     [ 3.46324e+00, -5.61070e-02,  4.30462e-02, -5.80749e-01, -2.37001e-01,  3.83196e-02,
       2.02462e-01, -3.75291e+00, -2.16394e-02,  1.09091e+01, -3.76767e-01],
     [ 7.35073e+00,  3.67535e-02, -4.65530e-02, -1.63310e+00,  1.53906e+00, -1.16512e-02,
      -2.04734e-01,  5.68554e-01,  3.17229e-01, -2.44078e+00,  3.98795e-01],
     [-6.99165e-01, -1.01023e-01,  5.99259e-02,  3.21660e-01, -3.29737e-01, -1.47143e-02,
      -1.06648e+00,  1.67828e-01,  6.50878e-01, -5.06949e+00, -6.51663e-01],
     [ 1.30125e+00,  1.47268e-01, -5.94691e-02, -1.09648e-01,  1.07431e+00, -3.41132e-02,
      -2.65775e-01, -2.85758e+00, -2.17080e-01, -1.22503e+00, -3.57638e-01],
     [ 1.11646e+01, -2.59869e-01, -1.45398e-01, -1.37998e+00,  6.18981e-01,  2.00750e-02,
      -3.54601e-01, -4.88163e-01,  2.25527e-01,  2.39348e+00, -7.34542e-01],
     [ 1.71765e+00,  5.38320e-02, -2.61033e-02,  3.66940e-01,  4.98777e-01, -3.56873e-02,
      -9.15511e-02,  2.95450e+00,  2.55832e-01, -9.29910e+00,  2.94547e-01],
     [ 6.80368e-01, -8.45122e-02,  3.36072e-02, -1.37289e+00,  2.24694e+00, -3.19144e-02,
       7.19814e-02,  1.26608e+00,  2.31850e-01,  1.17873e+00,  7.81032e-01],
     [-4.10582e+00, -6.02945e-02, -6.87714e-02,  1.50752e+00, -1.93518e+00,  5.09783e-03,
       9.55940e-01, -6.46346e-01, -3.52084e-01,  5.64314e+00, -3.47047e-01],
     [-2.25754e+00,  1.41633e-02, -2.80437e-02,  1.68794e+00,  1.21287e+00, -8.86574e-02,
      -5.05000e-02,  4.51835e+00, -2.53414e-01, -1.42743e+01,  3.10349e-01],
     [ 2.97845e-01,  9.06951e-02, -3.89666e-02, -3.72960e-02,  2.39909e-01, -1.09727e-02,
       8.96200e-01,  4.85363e-01, -4.62972e-01,  2.29848e+00,  8.43278e-01],
     [ 6.77079e-01,  2.83017e-01, -5.38671e-02, -8.40770e-01,  5.30763e-01, -1.71849e-02,
       4.43173e-02, -3.93646e-01, -2.49265e-01,  1.79264e-01,  4.74723e-01],
     [-9.45095e-01,  1.54565e-01, -5.02864e-02,  9.86381e-01, -2.41654e+00,  1.84376e-02,
      -7.41669e-02, -7.98567e-01, -3.05637e-03, -3.59511e+00, -7.28778e-01],
     [-2.36140e+00, -1.23699e-01,  3.70190e-02, -6.39580e-01, -7.07754e-01,  4.67805e-02,
       1.12789e+00,  1.81761e+00,  5.32090e-01,  6.65944e+00,  4.66451e-01],
     [ 2.65607e+00,  6.52087e-02, -3.74773e-02,  4.15978e-01,  7.26118e-01, -3.99429e-02,
      -1.48482e-01,  3.76035e+00,  3.36458e-01, -1.19541e+01,  5.58388e-01],
     [-6.26925e+00, -1.41597e-02, -9.15485e-02,  1.25694e+00, -1.43094e+00,  3.02125e-02,
       1.06041e+00, -7.61046e-02, -3.24791e-01,  5.16581e+00, -2.83718e-01],
     [ 8.35529e-01, -8.52311e-02,  5.85485e-02, -2.00344e+00,  1.06341e+00,  3.25023e-02,
       4.12692e-01, -3.64370e+00, -6.42753e-02,  1.41837e+01, -5.43127e-01],
     [-8.14647e+00,  1.97338e-01,  1.51822e-01,  1.29652e+00, -5.88631e-01, -8.10008e-03,
       1.79577e-01,  1.86458e-01, -2.01465e-01, -1.80337e+00,  7.02859e-01],
     [-1.40272e-01,  2.73708e-02, -5.88066e-02,  1.67529e-01,  1.62958e-02, -1.14264e-02,
      -6.45218e-02, -2.97349e+00, -3.48134e-01,  2.92093e+00, -4.96925e-01],
     [ 3.48795e+00, -3.30828e-02,  7.96843e-02, -5.57704e-01, -1.10487e+00,  6.37750e-02,
       1.16661e-01, -2.83708e+00, -9.71899e-02,  1.10848e+01, -3.14787e-01],
     [ 2.68468e+00, -1.40332e-02,  3.77646e-02, -9.40640e-01, -9.18410e-01,  6.56794e-02,
       1.14903e-01, -3.00165e+00,  1.46513e-02,  1.06702e+01, -3.26316e-01],
     [ 2.84096e+00,  5.24147e-02, -1.53375e-02, -1.85160e+00,  2.54266e+00,  6.25291e-03,
      -7.47878e-01,  5.46644e-01,  7.34306e-01, -6.26231e+00,  3.08040e-01],
     [ 0.00000e+00,  0.00000e+00,  0.00000e+00,  0.00000e+00,  0.00000e+00,  0.00000e+00,
       0.00000e+00,  0.00000e+00,  0.00000e+00,  0.00000e+00,  9.98321e-02]]
)
# fmt: on
"""A network of one hidden layer: a row has the weights of the features, the bias and the weight of
a unit, ``x / (1 + |x|)``; of the last row the last number alone counts, the bias of the logit.

``plc train content`` trains it."""


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
    """Write the features in the order of :data:`FEATURES`; flux is given.

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
    """Return the logit that a network of one hidden layer gives features.

    Parameters
    ----------
    model : float64, shape (units + 1, n + 2)
        As :data:`STREAM_MODEL`.
    features : float64, shape (n,)
    """
    n = features.size
    units = model.shape[0] - 1
    said = float(model[units, n + 1])
    for unit in range(units):
        row = model[unit]
        total = float(row[n])
        for k in range(n):
            total += row[k] * features[k]
        said += row[n + 1] * total / (1.0 + abs(total))
    return said
