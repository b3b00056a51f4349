"""The recent level of a stream, and concealment held within it.

Received samples leave a peak and a mean power for each slot of a few ms. The loudest slot of the
last seconds bounds a concealment, whatever made it. Where little was received, or nothing but
silence for half a second, what a slot allows falls with its age::

    age of a slot   0            HOLD    FORGET
    it allows       ───────────────╮
                                    ╲___________________

Concealed samples never enter, so a prediction that feeds on its own output cannot raise the bound.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel

# A slot counts up to this age.
LATELY_S = 8.0
# Where its age matters, it allows its full level up to this one, and then falls in a line, in dB, …
HOLD_S = 0.4
# … by this much at this age, beyond which it is forgotten.
FORGET_S = 0.5
FALL_DB = 70.0


@kernel
def largest(samples: NDArray[np.float32]) -> float:
    """Return the largest magnitude of samples, shape (n,); 0 of none."""
    peak = np.float32(0.0)
    for i in range(samples.size):
        peak = max(peak, abs(samples[i]))
    return float(peak)


@kernel
def follow_level(
    rows: NDArray[np.float32],
    begin: int,
    stop: int,
    position: int,
    hop: int,
    slots: NDArray[np.int64],
    counts: NDArray[np.int64],
    peaks: NDArray[np.float32],
    energies: NDArray[np.float64],
) -> None:
    """Note the peak and the energy of received samples, slot by slot.

    Parameters
    ----------
    rows : float32, shape (channels, n), received samples
    begin, stop : int
        The first of them to note, and the one after the last.
    position : int
        Samples of the stream before the first of the rows.
    hop : int, samples of a slot
    slots : int64, shape (size,), read and written
        The slot of the stream that stands at each place; -1: none.
    counts : int64, shape (size,), read and written, samples received in each slot
    peaks, energies : float32 and float64, shape (channels, size), read and written
        Largest magnitude and sum of squares in each slot.
    """
    channels = rows.shape[0]
    done = begin
    while done < stop:
        slot = (position + done) // hop
        end = min(stop, (slot + 1) * hop - position)
        place = slot % slots.size
        if slots[place] != slot:
            slots[place] = slot
            counts[place] = 0
            for c in range(channels):
                peaks[c, place] = 0.0
                energies[c, place] = 0.0
        counts[place] += end - done
        for c in range(channels):
            row = rows[c, done:end]
            energy = 0.0
            peak = np.float32(0.0)
            for i in range(row.size):
                energy += row[i] * row[i]
                peak = max(peak, abs(row[i]))
            energies[c, place] += energy
            peaks[c, place] = max(peaks[c, place], peak)
        done = end


@kernel
def allowed_level(
    newest: int,
    hop: int,
    hold: int,
    forget: int,
    lately: int,
    slots: NDArray[np.int64],
    counts: NDArray[np.int64],
    peaks: NDArray[np.float32],
    energies: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the loudest level allowed for a concealment, from received samples.

    Parameters
    ----------
    newest : int
        Slot that ages are counted from; younger slots count as this one.
    hop : int
        Samples of a slot. Of fewer than a quarter the mean power says little: they count as that
        many.
    hold, forget, lately : int
        Ages in slots: full level up to the first, nothing from the second on; from the third on a
        slot is too old to count at all.
    slots, counts, peaks, energies : as :func:`follow_level` writes them
    out : float64, shape (channels, 4), written
        Peak and mean power by age, and the largest of either at any age.
    """
    out[:] = 0.0
    fall = FALL_DB / (forget - hold)
    for place in range(slots.size):
        age = newest - slots[place]
        if slots[place] < 0 or age >= lately:
            continue
        gain = 1.0
        if age >= forget:
            gain = 0.0
        elif age > hold:
            gain = 10.0 ** (-fall * (age - hold) / 20.0)
        share = 1.0 / max(counts[place], hop // 4, 1)
        for c in range(out.shape[0]):
            power = share * energies[c, place]
            out[c, 0] = max(out[c, 0], gain * peaks[c, place])
            out[c, 1] = max(out[c, 1], gain * gain * power)
            out[c, 2] = max(out[c, 2], peaks[c, place])
            out[c, 3] = max(out[c, 3], power)


@kernel
def quietest_power(
    newest: int,
    hop: int,
    hold: int,
    slots: NDArray[np.int64],
    counts: NDArray[np.int64],
    energies: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the least mean power of recent slots; infinite without any.

    ``out`` is float64, shape (channels,); the others are as for :func:`allowed_level`. Slots of
    which less than an eighth was received do not count.
    """
    out[:] = np.inf
    for place in range(slots.size):
        if slots[place] < 0 or newest - slots[place] > hold or counts[place] < max(hop // 8, 1):
            continue
        for c in range(out.size):
            out[c] = min(out[c], energies[c, place] / counts[place])


@kernel
def quieten(
    most: float, smoothing: float, state: NDArray[np.float64], noise: NDArray[np.float32]
) -> None:
    """Turn comfort noise down to a mean power.

    Parameters
    ----------
    most : float
        Mean power, at least 0.
    smoothing : float
        Weight of a new sample in the running mean of the power.
    state : float64, shape (1,), read and written
        That mean; 0 when a burst begins.
    noise : float32, shape (n,), read and written
        Stays bit for bit where it is no louder.
    """
    power = state[0]
    for i in range(noise.size):
        power += smoothing * (noise[i] * noise[i] - power)
        if power > most:
            noise[i] *= np.float32(math.sqrt(most / power))
    state[0] = power


@kernel
def hold_level(
    peak: float,
    power: float,
    energy: float,
    smoothing: float,
    glide: int,
    state: NDArray[np.float64],
    recent: NDArray[np.float64],
    row: NDArray[np.float32],
) -> bool:
    """Limit a concealment by peak, mean power and energy; return whether it changed.

    What is within all of them is left as it is, bit for bit. What is not is turned down by a gain
    without steps, and what is not finite becomes silence.

    Parameters
    ----------
    peak, power : float
        Largest magnitude and mean power, at least 0.
    energy : float
        The most that as many samples in a row hold as there are in ``recent``: the running mean
        alone allows twice its power for as long as it takes to rise.
    smoothing : float
        Weight of a new sample in the running mean of the power.
    glide : int
        Samples within which the gain goes over to that of the block.
    state : float64, shape (3,), read and written
        Gain and running mean of the power at the end of the last block, and the place of the oldest
        of ``recent``; when a burst begins, 1, the power that was received, and any place.
    recent : float64, shape (m,), read and written
        Squares of the samples before, a ring; when a burst begins, the power that was received.
    row : float32, shape (n,), read and written, the concealment
    """
    acted = False
    loudest = 0.0
    for i in range(row.size):
        if not math.isfinite(row[i]):
            row[i] = np.float32(0.0)
            acted = True
        loudest = max(loudest, math.fabs(row[i]))
    target = min(1.0, peak / loudest) if loudest > 0.0 else 1.0
    gain, mean, place = state[0], state[1], int(state[2])
    held = 0.0
    for k in range(recent.size):
        held += recent[k]
    step = (target - gain) / glide
    for i in range(row.size):
        if i < glide:
            gain += step
        else:
            gain = target
        held -= recent[place]
        rest = max(power - (1.0 - smoothing) * mean, 0.0) / smoothing
        rest = min(rest, max(energy - held, 0.0))
        most = min(peak, math.sqrt(rest))
        sample = min(max(row[i] * gain, -most), most)
        mean += smoothing * (sample * sample - mean)
        recent[place] = sample * sample
        held += recent[place]
        place = place + 1 if place + 1 < recent.size else 0
        limited = np.float32(sample)
        acted = acted or limited != row[i]
        row[i] = limited
    state[0] = gain
    state[1] = mean
    state[2] = place
    return acted
