"""Differences of a signal from itself a while ago, by blocks: where it says the same again."""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel

SILENT_POWER = 1e-7
"""Added to a frame's energy, so that silence repeats nothing."""
INNER_MAX = 0.2
"""Largest relative error inside a repetition."""
OUTER_MIN = 0.15
"""Least relative error before it."""
CONTRAST = 4.0
"""Least ratio of the two."""


@kernel
def lag_errors(lag: int, block: int, x: NDArray[np.float32], errors: NDArray[np.float64]) -> None:
    """Write sums of squared differences from ``lag`` samples ago.

    Parameters
    ----------
    lag : int, at least 1
    block : int
        Samples that are summed; at least 1.
    x : float32, shape (n,)
        The signal; before its start is silence.
    errors : float64, shape (n // block + 1,), written
        ``errors[k]`` is the sum over the samples before ``k * block``: that of blocks ``a`` to
        ``b`` is ``errors[b] - errors[a]``.
    """
    total = 0.0
    errors[0] = 0.0
    for k in range(errors.size - 1):
        start = k * block
        part = np.float32(0.0)
        if start >= lag:
            here = x[start : start + block]
            there = x[start - lag : start - lag + block]
            for i in range(block):
                d = here[i] - there[i]
                part += d * d
        else:
            for i in range(start, start + block):
                d = x[i] - (x[i - lag] if i >= lag else np.float32(0.0))
                part += d * d
        total += float(part)
        errors[k + 1] = total


@kernel
def repeat_starts(
    lag: int,
    block: int,
    side: int,
    errors: NDArray[np.float64],
    powers: NDArray[np.float64],
    found: NDArray[np.float64],
) -> None:
    """Find where repetitions at a lag begin, and keep the best.

    Parameters
    ----------
    lag : int, in samples
    block : int, samples of a frame
    side : int
        Frames compared before and after the repetition.
    errors, powers : float64, shape (frames + 1,)
        Running sums by frames, of :func:`lag_errors` and of the squared samples.
    found : float64, shape (frames, 7), read and written
        For each frame: score, lag, last frame + 1, relative error inside, before and behind, and
        how many lags repeat here at all.
    """
    frames = errors.size - 1
    width = max(3, lag // block - 1)
    for k in range(max(side + 1, -(-lag // block)), frames - width - 1):
        energy = powers[k + width] - powers[k] + SILENT_POWER * block * width
        inner = (errors[k + width] - errors[k]) / energy
        if not inner < INNER_MAX or energy < 1e-5 * block * width:
            continue
        before = (errors[k - 1] - errors[k - 1 - side]) / (
            powers[k - 1] - powers[k - 1 - side] + SILENT_POWER
        )
        found[k, 6] += 1.0
        if before < OUTER_MIN or before < CONTRAST * inner:
            continue
        end = k + width
        limit = max(0.25, CONTRAST * inner)
        while (
            end < frames
            and errors[end + 1] - errors[end]
            < limit * (powers[end + 1] - powers[end]) + SILENT_POWER
        ):
            end += 1
        last = min(frames, end + 1 + side)
        behind = 0.0
        if last > end + 1:
            behind = (errors[last] - errors[end + 1]) / (
                powers[last] - powers[end + 1] + SILENT_POWER
            )
        contrast = min(before, behind, 2.0) / (inner + 1e-4)
        if contrast < 2.5:
            continue
        score = math.log(contrast) * math.sqrt(min(width, 20))
        if score > found[k, 0]:
            found[k, 0] = score
            found[k, 1] = lag
            found[k, 2] = end
            found[k, 3] = inner
            found[k, 4] = before
            found[k, 5] = behind
