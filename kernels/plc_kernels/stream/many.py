"""The step of many streams of one format, in one call."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel
from plc_kernels.stream.layout import FLAGS, TAKES
from plc_kernels.stream.step import step


@kernel
def step_many(
    blocks: NDArray[np.int64],
    action: int,
    packets: int,
    stride: int,
    integer: bool,
    missing: NDArray[np.int64],
    count: int,
    out: int,
    first: int,
    stop: int,
) -> int:
    """Have each stream take in a packet and play one.

    Parameters
    ----------
    blocks : int64, shape (streams, words), read and written
        A row for each stream. The word TAKES says whether its packet arrived; FLAGS becomes what
        :func:`~plc_kernels.stream.step.step` answered.
    action, integer, missing, count
        As for that.
    packets, out : int
        Addresses of a packet for each stream, and of those to play; may be the same.
    stride : int
        Bytes from one packet to the next.
    first, stop : int
        The first stream, and the one after the last.

    Returns
    -------
    int
        The answer of the last stream.
    """
    flags = 0
    for k in range(first, stop):
        block = blocks[k]
        at = k * stride
        takes = block[TAKES] != 0
        flags = step(block, action, packets + at, integer, takes, missing, count, out + at)
        block[FLAGS] = flags
    return flags
