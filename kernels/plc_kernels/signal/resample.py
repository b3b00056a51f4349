"""Play a line of samples a little faster or slower: interpolation by a windowed sinc.

For steps within a percent of 1, where no filter against aliases is needed. Sample ``i`` of the
output stands at ``at + i * step`` in the line; its weights are interpolated linearly between the
two of ``PHASES`` rows next to its place's fraction. At a whole place the weights are 1 at one tap
and 0 at the others, so that a line played at step 1 from a whole place comes out bit for bit.

With 32 taps and Kaiser's window (beta 8) a sine at 0.5, 0.7, 0.8, 0.85 of the Nyquist frequency
comes out with an error of -100, -86, -81, -60 dB. 480 samples take 4 µs.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, part

TAPS = 32
PHASES = 512
CENTRE = TAPS // 2 - 1
"""Tap that stands at the place itself: samples needed before it; after it, ``TAPS // 2``."""

_KAISER_BETA = 8.0


def sinc_table(taps: int = TAPS, cutoff: float = 1.0) -> NDArray[np.float32]:
    """Return the weights: float32, shape (PHASES + 1, taps); row k is for the fraction k/PHASES.

    Parameters
    ----------
    taps : int
        Even; ``taps // 2 - 1`` of them stand before the place.
    cutoff : float
        As a share of the Nyquist frequency; below 1 for steps well above 1, which would alias.
        The line does not come out bit for bit then.
    """
    fraction = np.arange(PHASES + 1)[:, None] / PHASES
    distance = np.arange(taps)[None, :] - (taps // 2 - 1) - fraction
    inside = np.clip(1.0 - (distance / (taps // 2)) ** 2, 0.0, None)
    table = np.sinc(cutoff * distance) * np.i0(_KAISER_BETA * np.sqrt(inside))
    table /= table.sum(axis=1, keepdims=True)
    if cutoff == 1.0:
        whole = np.arange(taps)
        table[0] = whole == taps // 2 - 1
        table[PHASES] = whole == taps // 2
    return table.astype(np.float32)


@part
def sinc_weights(table: NDArray[np.float32]) -> None:
    """Write :func:`sinc_table` of full bandwidth: float32, shape (PHASES + 1, TAPS)."""
    for phase in range(table.shape[0]):
        total = 0.0
        for tap in range(TAPS):
            total += _weight(tap - CENTRE - phase / PHASES)
        for tap in range(TAPS):
            table[phase, tap] = _weight(tap - CENTRE - phase / PHASES) / total
    for tap in range(TAPS):
        table[0, tap] = tap == CENTRE
        table[PHASES, tap] = tap == CENTRE + 1


@part
def _weight(x: float) -> float:
    """Return the windowed sinc, less the window's constant."""
    inside = max(0.0, 1.0 - (x / (TAPS // 2)) ** 2)
    half = 0.5 * _KAISER_BETA * math.sqrt(inside)
    bessel, term, k = 1.0, 1.0, 1.0
    while term > 1e-17 * bessel:
        term *= (half / k) ** 2
        bessel += term
        k += 1.0
    weight: float = bessel if x == 0.0 else math.sin(math.pi * x) / (math.pi * x) * bessel
    return weight


@kernel
def resample(
    at: float,
    step: float,
    table: NDArray[np.float32],
    line: NDArray[np.float32],
    out: NDArray[np.float32],
) -> float:
    """Write the samples of ``line`` at ``at``, ``at + step``, …; return where the next one stands.

    Parameters
    ----------
    at : float
        Place of the first sample, at least ``CENTRE`` (half the taps, less 1); the last one is
        below ``line.shape[1] - TAPS // 2``.
    step : float
        Distance between two samples, about 1; places are summed in float64.
    table : float32, shape (PHASES + 1, TAPS), from :func:`sinc_table`
    line : float32, shape (channels, n)
        What to play. Sums run in float32.
    out : float32, shape (channels, m), written, what is played
    """
    count = out.shape[1]
    for c in range(out.shape[0]):
        row = line[c]
        played = out[c]
        for i in range(count):
            place = at + i * step
            whole = math.floor(place)
            phase = (place - whole) * (table.shape[0] - 1)
            near = int(phase)
            share = np.float32(phase - near)
            low = table[near]
            high = table[min(near + 1, table.shape[0] - 1)]
            there = row[whole - (low.size // 2 - 1) :]  # by its indices samples would be gathered
            total = np.float32(0.0)
            for k in range(low.size):
                total += (low[k] + share * (high[k] - low[k])) * there[k]
            played[i] = total
    end: float = at + count * step
    return end
