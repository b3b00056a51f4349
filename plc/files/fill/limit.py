"""A bound on the level of a recording's fills."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plc_kernels.stream.fill_limit import hold_within
from plc_kernels.stream.layout import GLIDE_MS, SLOT_MS


def hold_between(
    sides: Sequence[NDArray[np.float32]], sample_rate: int, gap: NDArray[np.float32]
) -> None:
    """Hold the fill of a recording's gap within the level around it.

    Parameters
    ----------
    sides : sequence of float32, shape (channels, n)
        What is known before and after the gap, and nothing that was filled; a side may be empty.
    sample_rate : int
        In Hz.
    gap : float32, shape (channels, n), read and written
        The fill.
    """
    hop = max(1, round(sample_rate * SLOT_MS / 1000.0))
    glide = max(1, round(sample_rate * GLIDE_MS / 1000.0))
    smoothing = -math.expm1(-1.0 / hop)
    for c in range(gap.shape[0]):
        peak = power = 0.0
        for row in (side[c] for side in sides if side.shape[1]):
            powers = np.add.reduceat(np.square(row, dtype=np.float64), np.arange(0, row.size, hop))
            power = max(power, float(powers.max()) / min(hop, row.size))
            peak = max(peak, float(row.max()), -float(row.min()))
        row = np.ascontiguousarray(gap[c])
        state, recent = np.array([1.0, power, 0.0]), np.full(hop, power)
        if hold_within(peak, power, hop, smoothing, glide, state, recent, row):
            gap[c] = row
