"""Solve symmetric positive definite Toeplitz systems in O(n^2), and parts of them.

Least-squares interpolation ends in such a system, and at the spectral peaks of tonal music it is
as ill-conditioned as float64 allows. Levinson's recursion loses those peaks; Schur's algorithm
computes the Cholesky factor itself, row by row, with hyperbolic rotations, and is as stable as
Cholesky's method when they are applied in the mixed form below [1]_. 3072 unknowns take some
20 ms, where a general Cholesky factorisation takes a second.

References
----------
.. [1] A. Bojanczyk, R. Brent, F. de Hoog, D. Sweet, "On the stability of the Bareiss and related
   Toeplitz factorization algorithms", SIAM J. Matrix Anal. Appl. 16 (1), 1995.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel


@kernel
def solve_toeplitz(
    column: NDArray[np.float64],
    upper: NDArray[np.float64],
    generators: NDArray[np.float64],
    x: NDArray[np.float64],
) -> bool:
    """Solve ``T y = x``, where ``T[i, j] = column[abs(i - j)]``; float64.

    Parameters
    ----------
    column : float64, shape (n,), first column of the matrix
    upper : float64, shape (n, n), written
        Scratch memory: row ``k`` holds the Cholesky factor ``R`` (``R.T @ R = T``) from its
        diagonal on.
    generators : float64, shape (2, n), written, scratch memory
    x : float64, shape (n,), read and written
        Right-hand side; holds ``y`` afterwards.

    Returns
    -------
    bool
        False if the matrix is not positive definite as far as rounding can tell; ``x`` is then
        undefined.
    """
    n = column.size
    if not column[0] > 0.0:
        return False
    first = generators[0]
    second = generators[1]
    scale = 1.0 / math.sqrt(column[0])
    for i in range(n):
        first[i] = column[i] * scale
        second[i] = column[i] * scale
    for k in range(n):
        # ``first`` stands still in memory instead of shifting: its entry i is R[k, k + i].
        rest = n - k
        lead = first[:rest]
        trail = second[k:]
        if k > 0:
            rho = trail[0] / lead[0]
            if not abs(rho) < 1.0:
                return False
            cosine = math.sqrt((1.0 - rho) * (1.0 + rho))
            secant = 1.0 / cosine
            for i in range(rest):
                turned = (lead[i] - rho * trail[i]) * secant
                trail[i] = cosine * trail[i] - rho * turned
                lead[i] = turned
        row = upper[k, :rest]
        z = x[k] / lead[0]
        x[k] = z
        below = x[k:]
        for i in range(rest):
            row[i] = lead[i]
        for i in range(1, rest):
            below[i] -= lead[i] * z
    for k in range(n - 1, -1, -1):
        row = upper[k, : n - k]
        found = x[k:]
        total = found[0]
        for i in range(1, row.size):
            total -= row[i] * found[i]
        found[0] = total / row[0]
    return True


@kernel
def solve_toeplitz_at(
    column: NDArray[np.float64],
    places: NDArray[np.int64],
    lower: NDArray[np.float64],
    x: NDArray[np.float64],
) -> bool:
    """Solve for some of a Toeplitz matrix's rows and columns: gaps that lie near each other.

    Parameters
    ----------
    column : float64, shape (m,)
        First column of the whole matrix, which is 0 from row ``m`` on.
    places : int64, shape (n,)
        The rows that are taken, which are also the columns, in order.
    lower : float64, shape (n, n), written
        Scratch memory: holds the Cholesky factor where it is not 0.
    x : float64, shape (n,), read and written
        Right-hand side; holds the solution afterwards.

    Returns
    -------
    bool
        False if the matrix is not positive definite as far as rounding can tell; ``x`` is then
        undefined.
    """
    reach = column.size
    begin = 0  # of what is not 0 in a row; it never falls, so it serves the rows above as well
    for i in range(places.size):
        row = lower[i]
        while places[i] - places[begin] >= reach:
            begin += 1
        for j in range(begin, i):
            mine = row[begin:j]
            other = lower[j, begin:j]
            total = column[places[i] - places[j]]
            for k in range(mine.size):
                total -= mine[k] * other[k]
            row[j] = total / lower[j, j]
        mine = row[begin:i]
        found = x[begin:i]
        pivot, total = column[0], x[i]
        for k in range(mine.size):
            pivot -= mine[k] * mine[k]
            total -= mine[k] * found[k]
        if not pivot > 0.0:
            return False
        row[i] = math.sqrt(pivot)
        x[i] = total / row[i]
    for i in range(places.size - 1, -1, -1):
        while begin > 0 and places[i] - places[begin - 1] < reach:
            begin -= 1
        x[i] /= lower[i, i]
        mine = lower[i, begin:i]
        found = x[begin:i]
        for k in range(mine.size):
            found[k] -= mine[k] * x[i]
    return True
