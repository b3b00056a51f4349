"""How loud a stream was received lately, and concealment held within that.

Received samples leave a peak and a mean power for each slot of a few ms. What a slot allows falls
with its age; the loudest of them bounds a concealment, whatever made it::

    received   ▂▅█▇▆▅▃▂▂▁▁▁▁                     slots, the newest on the right
    allowed    ───────────╮                       full up to HOLD
                           ╲_____________________ nothing from FORGET on

Concealed samples never enter, so a filler that feeds on its own output cannot raise the bound.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel

# A slot allows its full level up to this age, and then falls in a line, in dB, …
HOLD_S = 0.4
# … by this much at this age, beyond which it is forgotten.
FORGET_S = 0.5
FALL_DB = 70.0


@kernel
def follow_level(
    block: NDArray[np.float32],
    position: int,
    hop: int,
    smoothing: float,
    running: NDArray[np.float64],
    slots: NDArray[np.int64],
    peaks: NDArray[np.float32],
    powers: NDArray[np.float32],
) -> None:
    """Note the peak and the mean power of received samples, slot by slot.

    The power is a running mean, corrected for the few samples it begins with.

    Parameters
    ----------
    block : float32, shape (channels, n)
        Received samples.
    position : int
        Samples of the stream before the block.
    hop : int
        Samples of a slot.
    smoothing : float
        Weight of a new sample in the running mean.
    running : float64, shape (channels + 1,), read and written
        Running sum of each channel, and of the weights; zeros where a run of packets begins.
    slots : int64, shape (size,), read and written
        The slot of the stream that stands at each place; −1: none.
    peaks, powers : float32, shape (channels, size), read and written
        Largest magnitude and largest mean power in each slot.
    """
    channels, n = block.shape
    size = slots.size
    keep = 1.0 - smoothing
    weight = running[channels]
    done = 0
    while done < n:
        slot = (position + done) // hop
        stop = min(n, (slot + 1) * hop - position)
        place = slot % size
        if slots[place] != slot:
            slots[place] = slot
            for c in range(channels):
                peaks[c, place] = 0.0
                powers[c, place] = 0.0
        for i in range(done, stop):
            weight = keep * weight + smoothing
        for c in range(channels):
            row = block[c, done:stop]
            total = running[c]
            peak = peaks[c, place]
            for i in range(row.size):
                total = keep * total + smoothing * row[i] * row[i]
                peak = max(peak, np.float32(math.fabs(row[i])))
            running[c] = total
            peaks[c, place] = peak
            powers[c, place] = max(powers[c, place], np.float32(total / weight))
        done = stop
    running[channels] = weight


@kernel
def allowed_level(
    newest: int,
    hold: int,
    forget: int,
    slots: NDArray[np.int64],
    peaks: NDArray[np.float32],
    powers: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Write how loud a concealment may be, from what was received lately.

    Parameters
    ----------
    newest : int
        Slot that ages are counted from; younger slots count as this one.
    hold, forget : int
        Ages in slots: full level up to the one, nothing from the other on.
    slots, peaks, powers
        As :func:`follow_level` writes them.
    out : float64, shape (channels, 2), written
        Peak and mean power.
    """
    out[:] = 0.0
    fall = FALL_DB / (forget - hold)
    for place in range(slots.size):
        age = newest - slots[place]
        if slots[place] < 0 or age >= forget:
            continue
        gain = 1.0
        if age > hold:
            gain = 10.0 ** (-fall * (age - hold) / 20.0)
        for c in range(out.shape[0]):
            out[c, 0] = max(out[c, 0], gain * peaks[c, place])
            out[c, 1] = max(out[c, 1], gain * gain * powers[c, place])


@kernel
def hold_level(
    allowed: NDArray[np.float64],
    smoothing: float,
    glide: int,
    state: NDArray[np.float64],
    block: NDArray[np.float32],
) -> bool:
    """Keep a concealment within a peak and a mean power; tell whether that changed it.

    What is within both is left as it is, bit for bit. What is not is turned down by a gain without
    steps, and what is not finite becomes silence.

    Parameters
    ----------
    allowed : float64, shape (channels, 2)
        Peak and mean power.
    smoothing : float
        Weight of a new sample in the running mean of the power.
    glide : int
        Samples within which the gain goes over to that of the block.
    state : float64, shape (channels, 2), read and written
        Gain and running mean of the power at the end of the last block; 1 and 0 when a burst
        begins.
    block : float32, shape (channels, n), read and written
        The concealment.
    """
    acted = False
    for c in range(block.shape[0]):
        row = block[c]
        peak = 0.0
        for i in range(row.size):
            if not math.isfinite(row[i]):
                row[i] = np.float32(0.0)
                acted = True
            peak = max(peak, math.fabs(row[i]))
        most = allowed[c, 0]
        target = min(1.0, most / peak) if peak > 0.0 else 1.0
        gain, power = state[c, 0], state[c, 1]
        step = (target - gain) / glide
        for i in range(row.size):
            if i < glide:
                gain += step
            else:
                gain = target
            sample = row[i] * gain
            power += smoothing * (sample * sample - power)
            if power > allowed[c, 1]:
                sample *= math.sqrt(allowed[c, 1] / power)
                power = allowed[c, 1]
            sample = min(max(sample, -most), most)
            limited = np.float32(sample)
            acted = acted or limited != row[i]
            row[i] = limited
        state[c, 0] = gain
        state[c, 1] = power
    return acted
