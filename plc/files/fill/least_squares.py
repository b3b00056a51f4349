"""The samples of a gap that a predictor expects, by least squares.

References
----------
.. [1] A. Janssen, R. Veldhuis, L. Vries, "Adaptive interpolation of discrete-time signals that can
   be modeled as autoregressive processes", IEEE Trans. ASSP 34 (2), 1986.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.signal.toeplitz import solve_toeplitz


def solve_gap(around: NDArray[np.float64], lags: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the samples of a gap with the least squared prediction error.

    Parameters
    ----------
    around : float64, shape (order + n + order,), the gap, and what is known beside it
    lags : float64, shape (2 * order + 1,)
        Autocorrelation of a predictor whose first coefficient is 1, the middle at lag 0.

    Returns
    -------
    float64, shape (n,), or None
        None if rounding left the system without a solution.

    Notes
    -----
    Equations (10)-(12) of [1]_ in the module: ``B x = -z``, where ``B[i, j]`` is the
    autocorrelation at lag ``|i - j|`` and ``z`` what the known samples add.
    """
    order = lags.size // 2
    length = around.size - 2 * order
    known = around.copy()
    known[order : order + length] = 0.0
    gap = -np.correlate(known, lags, "valid")
    column = np.zeros(length)
    column[: order + 1] = lags[order : order + length]
    solved = solve_toeplitz(column, np.empty((length, length)), np.empty((2, length)), gap)
    return gap if solved else None
