"""Noise filling: a concealment keeps the level that its bands had before the burst.

Prediction lets what is like noise die away, and a network's fill ends before the level is let go.
In music most of what is above 2 kHz is like noise. From 20 ms into a burst on, the fill's spectrum
is compared with that of the last received samples, in short frames that half overlap, and noise is
added where it lacks power. The frames' phases are random: what is gone there cannot be foretold.
Tones leave no room for noise: they hold their level in the fill, and are not in what it is compared
with (:func:`~plc_kernels.signal.noise.recent_levels`).

The fill is seen up to the sample where a frame of noise begins, so that packets of any size make
the same samples.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, part
from plc_kernels.signal.noise import mean_around, next_random
from plc_kernels.spectra.fft import irfft, rfft

BEGIN_MS, FULL_MS = 20.0, 40.0
"""Into a burst noise begins, and has its full level: before, prediction or a network has a smaller
log-spectral distance without it (docs/notebook.md)."""
_FRAME_MS = 16.0 / 3.0
# Noise rises from the first to the second: below, the waveform is foretold too well.
_LOW_HZ, _WHOLE_HZ = 1600.0, 2000.0
# A fill that has lost less than 3 dB gets none; what is well predicted fluctuates by as much.
_LEAST_LOSS = np.float32(2.0)
# No bin gets more than what the last frame before the burst had around it, and 3 dB.
_MOST_RISE = np.float32(2.0)
# Share of the past in the fill's spectrum.
_KEEP = np.float32(0.5)
_NEIGHBOURS = 3
"""On each side of a bin, over which spectra of a frame are averaged."""
# Rows of :attr:`Filling.levels`: what was there before the burst, what the fill is to have, what it
# has had, and has now; and workspace.
LEVEL_ROWS = 5
_BEFORE, _TARGET, _HELD, _NOW, _POWERS = range(LEVEL_ROWS)


class Filling(NamedTuple):
    """Memory of a channel in a burst, and workspace that channels share."""

    windows: NDArray[np.float32]
    """Shape (2, n): Hann, for the fill, and sine, for the noise."""
    factors: NDArray[np.int64]
    twiddles: NDArray[np.float32]
    scratch: NDArray[np.float32]
    frame: NDArray[np.float32]
    spectrum: NDArray[np.complex64]
    past: NDArray[np.float32]
    """Shape (n,): the last samples of the fill; before a burst, of the history."""
    noise: NDArray[np.float32]
    """Shape (n,): of this half frame, and what the next one begins from."""
    levels: NDArray[np.float32]
    """Shape (LEVEL_ROWS, n // 2 + 1): powers of bins."""
    random: NDArray[np.uint64]


@kernel
def filling_samples(sample_rate: int) -> int:
    """Return the samples of a frame: a power of two near 5.3 ms."""
    n = 16
    while 1.5 * n < sample_rate * _FRAME_MS / 1000.0:
        n *= 2
    return n


@kernel
def first_frame(begin: int, n: int) -> int:
    """Return where frames of ``n`` samples begin, so that noise is whole ``begin`` into a burst."""
    return begin // (n // 2) * (n // 2) - n // 2


@kernel
def aim_at(sample_rate: int, recent: NDArray[np.float32], filling: Filling) -> None:
    """Write the level that the fill is to have, the row of targets of ``filling``.

    ``recent``, float32, shape (m,), is the power of each bin before the burst, from
    :func:`~plc_kernels.signal.noise.recent_levels`.
    """
    target = filling.levels[_TARGET]
    hz = 0.5 * sample_rate / (target.size - 1)
    wider = (recent.size - 1.0) / (target.size - 1.0)
    for k in range(target.size - 1):
        at = int(k * wider)
        share = np.float32(k * wider - at)
        power = recent[at] + share * (recent[at + 1] - recent[at])
        rise = min(max((k * hz - _LOW_HZ) / (_WHOLE_HZ - _LOW_HZ), 0.0), 1.0)
        target[k] = power * np.float32(rise * rise)
    target[target.size - 1] = np.float32(0.0)


@part
def _measure(filling: Filling) -> None:
    """Write the power of each bin of the last samples, averaged over its neighbours."""
    frame, window, spectrum = filling.frame, filling.windows[0], filling.spectrum
    powers, now = filling.levels[_POWERS], filling.levels[_NOW]
    for i in range(frame.size):
        frame[i] = filling.past[i] * window[i]
    rfft(frame, filling.factors, filling.twiddles, filling.scratch, spectrum)
    # The window's energy is 3/8 of its samples.
    scale = np.float32(8.0 / (3.0 * frame.size))
    for k in range(powers.size):
        value = spectrum[k]
        powers[k] = scale * (value.real * value.real + value.imag * value.imag)
    for k in range(powers.size):
        now[k] = mean_around(powers, k, _NEIGHBOURS)


@part
def _begin(filling: Filling) -> None:
    """Keep the levels before the burst, and clear the last burst's noise."""
    before, held, now = filling.levels[_BEFORE], filling.levels[_HELD], filling.levels[_NOW]
    for k in range(now.size):
        before[k] = now[k]
        held[k] = now[k]
    for i in range(filling.noise.size):
        filling.noise[i] = 0.0
    # The last bin gets no noise. There stands the loudest sample, whose sign all noise has: that of
    # a signal upside down is upside down.
    loudest = np.float32(0.0)
    for i in range(filling.past.size):
        if abs(filling.past[i]) > abs(loudest):
            loudest = filling.past[i]
    before[before.size - 1] = loudest


@part
def _make(filling: Filling) -> None:
    spectrum, frame, noise = filling.spectrum, filling.frame, filling.noise
    before, target = filling.levels[_BEFORE], filling.levels[_TARGET]
    held, now = filling.levels[_HELD], filling.levels[_NOW]
    scale = np.float32(0.5 * frame.size)
    turned = np.uint64(before[before.size - 1] < np.float32(0.0))
    for k in range(held.size):
        held[k] = now[k] + _KEEP * (held[k] - now[k])
        lacking = min(target[k], _MOST_RISE * before[k]) - _LEAST_LOSS * held[k]
        magnitude = np.sqrt(scale * max(lacking, np.float32(0.0)))
        drawn = next_random(filling.random)
        re = magnitude if drawn >> np.uint64(63) != turned else -magnitude
        im = magnitude if (drawn >> np.uint64(62)) & np.uint64(1) != turned else -magnitude
        spectrum[k] = complex(re, im)
    irfft(spectrum, filling.factors, filling.twiddles, filling.scratch, frame)
    half, sine = frame.size // 2, filling.windows[1]
    for i in range(half):
        noise[i] = noise[half + i] + frame[i] * sine[i]
        noise[half + i] = frame[half + i] * sine[half + i]


@kernel
def fill_noise(age: int, begin: int, full: int, filling: Filling, row: NDArray[np.float32]) -> None:
    """Add noise to a channel's next samples of a burst, where they lack power.

    Parameters
    ----------
    age : int
        Samples of the burst before them. At 0 ``filling.past`` has the newest samples of history.
    begin, full : int
        Samples of the burst from which on there is noise, and noise at its level. Before the sample
        :func:`first_frame` is made, :func:`aim_at` writes the targets.
    filling : Filling, read and written
    row : float32, shape (n,), read and written
    """
    past, noise = filling.past, filling.noise
    half = past.size // 2
    first = first_frame(begin, past.size)
    done = 0
    while done < row.size:
        at = age + done
        into = at % half
        if into == 0:
            if at == 0 or at >= first:
                _measure(filling)
                if at == 0:
                    _begin(filling)
                else:
                    _make(filling)
            for i in range(half):
                past[i] = past[half + i]
        take = min(half - into, row.size - done)
        fill = row[done : done + take]
        for i in range(take):
            past[half + into + i] = fill[i]
        _add(noise[into : into + take], at - begin, full - begin, fill)
        done += take


@part
def _add(noise: NDArray[np.float32], into: int, rise: int, out: NDArray[np.float32]) -> None:
    """Add noise that rises, ``into`` samples after its begin."""
    for i in range(out.size):
        if into + i >= 0:
            out[i] += noise[i] * np.float32(min((into + i) / rise, 1.0))
