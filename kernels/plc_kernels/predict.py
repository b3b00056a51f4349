"""Linear prediction of one channel: start, continue, and join samples behind a gap."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.ar import extrapolate, taps_of
from plc_kernels.compile import kernel

OVERSHOOT = 1.5
"""A prediction may overshoot what it was fitted on by this much; beyond, it is held."""
SAMPLES_PER_COEFFICIENT = 4
"""Where a fit has fewer samples than its rung asks for."""
LEAST_PAST_SAMPLES = 64
"""What a fit needs: 8 ms at 8 kHz."""
LEAST_KNOWN = 96
"""Fewer samples beyond a gap than these do more harm than good."""
ALONE = 4
"""The far side of a gap is fitted alone if it has this many samples for each coefficient."""

# A sound that began within the past, behind at least this much that was quieter by so many dB: what
# was before it is no past of it.
_QUIET_MS, _QUIET_DB, SLOT_MS = 10.0, 20.0, 5.0


@kernel
def sound_begins(rate: int, x: NDArray[np.float32]) -> int:
    """Return where the sound at the end of a signal began, if it was quiet before; else 0.

    It began within :data:`SLOT_MS` from there on.

    A predictor that is fitted across such an onset lets the sound die away: a tone that began
    20 ms ago loses 4, 17 and 29 dB in the next three times 20 ms, and 0, 0 and 1 dB where it is
    fitted from its onset on.

    Parameters
    ----------
    rate : int
        In Hz.
    x : float32, shape (n,)
        The newest samples.
    """
    slot = max(1, int(rate * SLOT_MS / 1000.0))
    loud = max(int(rate * _QUIET_MS / 1000.0), LEAST_PAST_SAMPLES)
    if x.size <= loud + slot:
        return 0
    most = 0.0
    for i in range(x.size - loud, x.size):
        most += x[i] * x[i]
    most *= 10.0 ** (-_QUIET_DB / 10.0) * slot / loud
    quiet = 0
    end = x.size - loud
    while end >= slot:
        power = 0.0
        for i in range(end - slot, end):
            power += x[i] * x[i]
        quiet = quiet + 1 if power <= most else 0
        end -= slot
        if quiet * SLOT_MS >= _QUIET_MS:
            return end + quiet * slot
    return 0


@kernel
def set_out(
    x: NDArray[np.float32],
    backwards: int,
    stages: int,
    predictor: NDArray[np.float64],
    decay: float,
    taps: NDArray[np.float64],
    recent: NDArray[np.float64],
) -> tuple[int, float]:
    """Prepare to continue a signal with a fitted predictor.

    Parameters
    ----------
    x : float32, shape (n,)
        The signal, oldest first.
    backwards : int
        1 if what came before it is to be found, and not what comes after it; else 0.
    stages : int
        Of the fit; 0: nothing could be fitted, and the last sample decays.
    predictor : float64, shape (order + 1,)
        As :func:`~plc_kernels.ar.burg` writes it.
    decay : float
        Factor from sample to sample.
    taps, recent : float64, shape (order,), written
        Coefficients, and the samples that they are for.

    Returns
    -------
    (int, float)
        Coefficients in use, and the largest sample that the prediction may have.
    """
    if stages > 0:
        taps_of(predictor[: stages + 1], taps[:stages])
        for k in range(stages):
            recent[k] = x[stages - 1 - k] if backwards else x[x.size - stages + k]
    else:
        taps[0] = decay
        recent[0] = x[0 if backwards else x.size - 1] if x.size > 0 else np.float32(0.0)
    peak = np.float32(0.0)
    for i in range(x.size):
        peak = max(peak, abs(x[i]))
    return max(stages, 1), OVERSHOOT * float(peak)


@kernel
def set_out_again(x: NDArray[np.float32], recent: NDArray[np.float64]) -> None:
    """Prepare to continue a signal with the predictor that was used last.

    Parameters
    ----------
    x : float32, shape (n,)
        The signal, oldest first.
    recent : float64, shape (order,), written
        The samples that the coefficients are for.
    """
    order = recent.size
    for k in range(order):
        recent[k] = x[x.size - order + k]


@kernel
def go_on(
    taps: NDArray[np.float64],
    limit: float,
    recent: NDArray[np.float64],
    line: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write the next samples of a prediction.

    Parameters
    ----------
    taps : float64, shape (order,)
        Coefficients.
    limit : float
        Largest magnitude; beyond, samples are held.
    recent : float64, shape (order,), read and written
        The samples before.
    line : float64, shape (m,), m > order, written
        Workspace.
    out : float32, shape (n,), written
    """
    order = taps.size
    most = line.size - order
    done = 0
    while done < out.size:
        n = min(most, out.size - done)
        for k in range(order):
            line[k] = recent[k]
        extrapolate(taps, line[: order + n])
        for i in range(n):
            out[done + i] = min(max(line[order + i], -limit), limit)
        for k in range(order):
            recent[k] = line[n + k]
        done += n


@kernel
def error_power(estimate: NDArray[np.float32], truth: NDArray[np.float32], backwards: int) -> float:
    """Return the mean square of a prediction's error.

    Parameters
    ----------
    estimate, truth : float32, shape (n,)
    backwards : int
        1 if the prediction runs from the end of ``truth``; else 0.
    """
    n = truth.size
    total = 0.0
    for i in range(n):
        difference = estimate[n - 1 - i if backwards else i] - truth[i]
        total += difference * difference
    return total / max(n, 1)
