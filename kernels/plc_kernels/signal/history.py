"""The ring of samples that were played last, and its three counts."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, part

POSITION, FILLED, TRUSTED = range(3)
"""Where the next sample will stand; samples written, at most the capacity; and the newest in a row
that were received or concealed at full level."""


@part
def copy(x: NDArray[np.generic], out: NDArray[np.generic]) -> None:
    """Copy numbers. Of ``out[:] = x`` numba makes much more: checks, and words for an error."""
    for i in range(out.size):
        out[i] = x[i]


@kernel
def append(
    rows: NDArray[np.float32],
    begin: int,
    stop: int,
    trusted: int,
    ring: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> None:
    """Write samples into the ring.

    Parameters
    ----------
    rows : float32, shape (channels, n), what was played
    begin, stop : int
        The first sample to write, and the one after the last.
    trusted : int
        1; 0 for faded concealment and noise, which are not to be trusted.
    ring : float32, shape (channels, capacity), written
    counts : int64, shape (3,), read and written, named by the constants of the module
    """
    n = stop - begin
    size = ring.shape[1]
    counts[FILLED] = min(counts[FILLED] + n, size)
    counts[TRUSTED] = min(counts[TRUSTED] + n, size) if trusted else 0
    position = counts[POSITION]
    if n >= size:
        begin = stop - size
        position = 0
    first = min(stop - begin, size - position)
    rest = stop - begin - first
    for c in range(ring.shape[0]):
        copy(rows[c, begin : begin + first], ring[c, position : position + first])
        copy(rows[c, begin + first : begin + first + rest], ring[c, :rest])
    counts[POSITION] = (position + first + rest) % size


@kernel
def newest(ring: NDArray[np.float32], position: int, out: NDArray[np.float32]) -> None:
    """Copy the newest samples of a channel, oldest first.

    From ``ring``, float32, shape (capacity,), whose next sample will stand at ``position``, to
    ``out``, float32, shape (n,), at most the capacity.
    """
    size = ring.size
    begin = position - out.size
    if begin < 0:
        begin += size
    first = min(out.size, size - begin)
    copy(ring[begin:], out[:first])
    copy(ring, out[first:])
