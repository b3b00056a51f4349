"""Concealments of a channel whose neighbour arrived.

All channels of a lost part are predicted. Where one of them arrived, the error of its prediction is
known, and tells of the other's as far as both err alike. So a burst begins with a rehearsal: the
last 5 ms of each channel are predicted from what stood before, and the errors give the gain, by
least squares. What is alike because it is predictable, such as a chord with another voice on each
side, gains nothing, and does no harm.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.ar import burg, extrapolate, taps_of
from plc_kernels.signal.history import newest
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.layout import GUIDE_FIT, GUIDE_GAINS, GUIDE_LINES, GUIDE_ROWS, RING, array

# Where the errors have less of their energy in common, no channel is a guide.
_LEAST_ALIKE = 0.1


@part
def compare(block: Block, kept: int) -> None:
    """Choose the guide of each lost channel, and its gain, before the burst's samples are played.

    Channels that arrived are ``kept``, bit by bit.
    """
    channels, order = block[at.CHANNELS], block[at.GUIDE_ORDER]
    gains, lines = array(block, GUIDE_GAINS), array(block, GUIDE_LINES)
    for lost in range(channels):
        gains[lost, 0] = -1.0
        gains[lost, 1] = 0.0
        if kept >> lost & 1 or block[at.HISTORY_FILLED] < block[at.GUIDE_SAMPLES] or order < 4:
            continue
        _rehearse(block, lost, lines[0])
        best = _LEAST_ALIKE
        for c in range(channels):
            if kept >> c & 1:
                _rehearse(block, c, lines[1])
                alike, gain = likeness(lines[0, order:], lines[1, order:])
                if alike > best:
                    best = alike
                    gains[lost, 0] = float(c)
                    gains[lost, 1] = gain


@part
def _rehearse(block: Block, channel: int, line: NDArray[np.float64]) -> None:
    """Write the errors of a prediction of the newest samples."""
    n, order = block[at.GUIDE_SAMPLES], block[at.GUIDE_ORDER]
    rows, fit, ring = array(block, GUIDE_ROWS), array(block, GUIDE_FIT), array(block, RING)
    newest(ring[channel], block[at.HISTORY_AT], rows[0])
    known = n - (line.size - order)
    burg(order, rows[0, :known], rows[1], rows[2], fit[0], fit[1])
    taps_of(fit[1], fit[2, :order])
    for i in range(order):
        line[i] = rows[0, known - order + i]
    extrapolate(fit[2, :order], line)
    for i in range(n - known):
        line[order + i] -= rows[0, known + i]


@inlined
def likeness(own: NDArray[np.floating], other: NDArray[np.floating]) -> tuple[float, float]:
    """Return the squared correlation of two rows of samples, and the gain from the other's."""
    both, energy, others = 0.0, 0.0, 0.0
    for i in range(own.size):
        both += own[i] * other[i]
        energy += own[i] * own[i]
        others += other[i] * other[i]
    if not energy * others > 0.0:
        return 0.0, 0.0
    return both * both / (energy * others), both / others


@part
def guide(
    block: Block, kept: int, received: NDArray[np.float32], fill: NDArray[np.float32]
) -> None:
    """Correct the fills of lost channels by the errors of their guides.

    Channels that arrived are ``kept``, bit by bit. ``received``, the part as it arrived, and
    ``fill``, as predicted, are float32, shape (channels, n); the latter is written.
    """
    gains = array(block, GUIDE_GAINS)
    for lost in range(block[at.CHANNELS]):
        source, gain = int(gains[lost, 0]), np.float32(gains[lost, 1])
        if kept >> lost & 1 or source < 0 or not kept >> source & 1:
            continue
        for i in range(fill.shape[1]):
            fill[lost, i] += gain * (received[source, i] - fill[source, i])
