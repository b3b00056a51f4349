"""The samples of a gap that a predictor expects, by least squares.

References
----------
.. [1] A. Janssen, R. Veldhuis, L. Vries, "Adaptive interpolation of discrete-time signals that can
   be modeled as autoregressive processes", IEEE Trans. ASSP 34 (2), 1986.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.signal.toeplitz import solve_toeplitz


def solve_gap(
    line: NDArray[np.float64], begin: int, length: int, predictor: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the samples of a gap with the least squared prediction error.

    Parameters
    ----------
    line : float64, shape (n,)
        Samples; known for ``order`` of them on each side of the gap.
    begin, length : int
        First sample of the gap, and its samples.
    predictor : float64, shape (order + 1,), ``predictor[0] = 1``

    Returns
    -------
    float64, shape (length,), or None
        None if rounding left the system without a solution.

    Notes
    -----
    Equations (10)-(12) of [1]_ in the module: ``B x = -z``, where ``B[i, j]`` is the
    autocorrelation of the predictor at lag ``|i - j|`` and ``z`` what the known samples add.
    """
    order = predictor.size - 1
    return solve(line[begin - order : begin + length + order], autocorrelation(predictor))


def solve(around: NDArray[np.float64], lags: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the result of :func:`solve_gap`, for a gap with ``order`` samples on each side."""
    order = lags.size // 2
    length = around.size - 2 * order
    known = around.copy()
    known[order : order + length] = 0.0
    gap = -np.correlate(known, lags, "valid")
    column = np.zeros(length)
    column[: order + 1] = lags[order : order + length]
    solved = solve_toeplitz(column, np.empty((length, length)), np.empty((2, length)), gap)
    return gap if solved else None


def autocorrelation(predictor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the autocorrelation of a predictor, the middle at lag 0."""
    return np.correlate(predictor, predictor, "full")
