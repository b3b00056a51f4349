"""Clicks: edges of a gap where the signal jumps as it never does around them.

A concealment that does not meet what stands before or after it leaves a step between two samples.
Whether that is heard as a click depends on what surrounds it: a step that vanishes among the attack
of a cymbal stands out of a flute. So the step at each edge, between the last sample on one side and
the first on the other, is measured in units of the largest step that the undamaged signal makes
there, within 2 ms on either side: long enough to hold the steepest part of a 250 Hz period, short
enough not to borrow the steps of another note. The largest of these ratios is the result: at most
1 for an undamaged signal, well over 2 for an audible click.

It costs a pass over the trace of the samples, and one over 4 ms of the reference for each edge.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel

NEIGHBOURHOOD_MS = 2.0
"""Half-width of the neighbourhood whose steps a click is compared with."""

STEP_MIN = 1e-4
"""Smallest local step, -80 dB: what stands out of silence by less is no click."""


@kernel
def click_ratio(
    width: int,
    reference: NDArray[np.float64],
    estimate: NDArray[np.float64],
    lost: NDArray[np.bool_],
) -> float:
    """Return the largest step at a gap's edge, relative to local steps.

    Parameters
    ----------
    width : int
        Steps looked at on each side of an edge, at least 1: ``NEIGHBOURHOOD_MS`` in samples.
    reference : float64, shape (n,), the undamaged signal
    estimate : float64, shape (n,), what was played
    lost : bool, shape (n,)
        True where the sample was in a lost packet; an edge stands wherever it changes, so that
        the signal's own start and end are none.

    Returns
    -------
    float
        NaN if there is no edge, or no number at one: the step or one of those around it is NaN.
    """
    steps = reference.size - 1
    worst = math.nan
    for edge in range(1, lost.size):
        if lost[edge] == lost[edge - 1]:
            continue
        local = STEP_MIN
        for i in range(max(0, edge - 1 - width), min(steps, edge + width)):
            step = abs(reference[i + 1] - reference[i])
            # Whatever is not below takes its place, a NaN too; and a NaN stays.
            if not (step <= local or math.isnan(local)):
                local = step
        ratio = abs(estimate[edge] - estimate[edge - 1]) / local
        if math.isnan(ratio):
            return math.nan
        if not ratio <= worst:
            worst = ratio
    return worst
