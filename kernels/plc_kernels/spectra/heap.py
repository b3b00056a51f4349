"""A binary max-heap in two arrays: keys, and the item that belongs to each."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel


@kernel
def push(
    keys: NDArray[np.float32], items: NDArray[np.int32], size: int, key: float, item: int
) -> int:
    """Add ``item`` to a heap of ``size`` entries; return the new size."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if keys[parent] >= key:
            break
        keys[child] = keys[parent]
        items[child] = items[parent]
        child = parent
    keys[child] = key
    items[child] = item
    return size + 1


@kernel
def sift(keys: NDArray[np.float32], items: NDArray[np.int32], size: int, hole: int) -> None:
    """Sink the entry at ``hole`` to its place among ``size`` entries."""
    key = keys[hole]
    item = items[hole]
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] > keys[child]:
            child += 1
        if keys[child] <= key:
            break
        keys[hole] = keys[child]
        items[hole] = items[child]
        hole = child
    keys[hole] = key
    items[hole] = item


@kernel
def pop(keys: NDArray[np.float32], items: NDArray[np.int32], size: int) -> int:
    """Move the entry of the greatest key to index ``size - 1``; return the new size."""
    last = size - 1
    keys[0], keys[last] = keys[last], keys[0]
    items[0], items[last] = items[last], items[0]
    sift(keys, items, last, 0)
    return last


@kernel
def heapify(keys: NDArray[np.float32], items: NDArray[np.int32], size: int) -> None:
    """Turn ``size`` entries in any order into a heap."""
    for hole in range((size >> 1) - 1, -1, -1):
        sift(keys, items, size, hole)
