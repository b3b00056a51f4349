"""Gap-wise interpolation as published by Janssen and others, to compare with.

Written from the paper [1]_ and the settings of its comparison [2]_: a predictor fitted by Burg's
method to the gap and its surroundings, the samples of the gap that leave the least prediction
error, and so on in turn. All in float64.

References
----------
.. [1] A. Janssen, R. Veldhuis, L. Vries, "Adaptive interpolation of discrete-time signals that can
   be modeled as autoregressive processes", IEEE Trans. ASSP 34 (2), 1986.
.. [2] O. Mokrý, P. Rajmic, "On the use of autoregressive methods for audio inpainting", EUSIPCO,
   2025, arXiv 2403.04433.
"""

import numpy as np
from numpy.typing import NDArray

from plc_bench.base.corpus import Samples
from plc_kernels.signal.toeplitz import solve_toeplitz

ORDER = 1024
SIDE_SAMPLES = 4096
ITERATIONS = 20
# Below this share of the first error's energy what remains is rounding.
_ROUNDING = 1e-14


def interpolate(
    signal: Samples,
    gap: tuple[int, int],
    order: int = ORDER,
    side: int = SIDE_SAMPLES,
    iterations: int = ITERATIONS,
) -> Samples:
    """Return a signal with one gap interpolated.

    Parameters
    ----------
    signal : float32, shape (n,)
        What stands in the gap is not looked at.
    gap : tuple of int
        First sample, and the first behind it.
    order : int
        Of the predictor; less where the surroundings are shorter than three times that.
    side : int
        Samples looked at on either side.
    iterations : int
        Fits, each followed by an interpolation; it ends earlier where the system has no solution
        in float64.

    Returns
    -------
    float32, shape (n,)
        A copy.
    """
    start, stop = gap
    low, high = max(0, start - side), min(signal.size, stop + side)
    x = signal[low:high].astype(np.float64)
    missing = slice(start - low, stop - low)
    x[missing] = 0.0
    known = x.copy()
    order = min(order, x.size // 3)
    count = stop - start
    upper, generators = np.empty((count, count)), np.empty((2, count))
    for _ in range(iterations):
        predictor = burg(x, order)
        lags = np.correlate(predictor, predictor, "full")
        column = np.zeros(count)
        reach = min(count, order + 1)
        column[:reach] = lags[order : order + reach]
        # The error's gradient by the gap's samples, of the known ones alone.
        sums = np.convolve(known, lags)[order : order + known.size]
        unknown = -sums[missing]
        if not solve_toeplitz(column, upper, generators, unknown):
            break
        x[missing] = unknown
    whole = signal.copy()
    whole[start:stop] = x[missing]
    return whole


def burg(x: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Return the predictor of Burg's method, leading 1 first.

    Parameters
    ----------
    x : float64, shape (n,), samples
    order : int
        Coefficients beyond the leading 1; fewer than ``n``.

    Returns
    -------
    float64, shape (order + 1,)
        Zeros behind the stage at which the error falls to rounding.
    """
    predictor = np.zeros(order + 1)
    predictor[0] = 1.0
    forward, backward = x[1:].copy(), x[:-1].copy()
    first = _dot(x, x)
    for stage in range(1, order + 1):
        energy = _dot(forward, forward) + _dot(backward, backward)
        if not energy > _ROUNDING * first:
            break
        reflection = -2.0 * _dot(forward, backward) / energy
        mirrored = predictor[: stage + 1][::-1].copy()
        predictor[: stage + 1] += reflection * mirrored
        forward, backward = (
            forward[1:] + reflection * backward[1:],
            backward[:-1] + reflection * forward[:-1],
        )
    return predictor


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    # A product of BLAS may start threads for it, which a busy machine makes wait.
    return float(np.einsum("i,i", a, b))
