"""Histograms of the time for packets, with logarithmic bins."""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.layout import TIMES

BINS_PER_DECADE = 100
"""A percentile is right to 2.4 %."""
FIRST_MS = 1e-5
"""Begin of the first bin; the last ends at 100 s."""
_FIRST_LOG = math.log10(FIRST_MS)

GOOD, CONCEALED = 1, 2
"""What TIMED says of the packet whose duration SPENT_MS is; 0: there is none."""


@kernel
def count_time(duration_ms: float, bins: NDArray[np.int64], most: NDArray[np.float64]) -> None:
    """Count one duration; NaN counts as the shortest.

    Parameters
    ----------
    duration_ms : float
    bins : int64, shape (TIME_BINS,), read and written
    most : float64, shape (1,), read and written
        The longest duration in ms.
    """
    if not math.isfinite(duration_ms):
        duration_ms = 0.0
    # The difference of logarithms: a quotient of what a broken clock says may overflow.
    decades = math.log10(max(duration_ms, FIRST_MS)) - _FIRST_LOG
    bins[min(int(BINS_PER_DECADE * decades), at.TIME_BINS - 1)] += 1
    most[0] = max(most[0], duration_ms)


@kernel
def note_time(block: Block) -> None:
    """Count the duration that the caller wrote of the last packet."""
    if block[at.TIMED] == 0:
        return
    concealed = block[at.TIMED] == CONCEALED
    block[at.TIMED] = 0
    numbers = at.reals(block)
    bins = at.array(block, TIMES)[1 if concealed else 0]
    most = at.CONCEALED_MAX_MS if concealed else at.GOOD_MAX_MS
    count_time(numbers[at.SPENT_MS], bins, numbers[most : most + 1])
