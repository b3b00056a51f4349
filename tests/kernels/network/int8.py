"""Weights as the kernels hold them, for comparison."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rounded(weight: NDArray[Any]) -> NDArray[np.float64]:
    """Return weights, outputs first, rounded to 127 steps of the largest one of each output."""
    wide = weight.astype(np.float64).reshape(len(weight), -1)
    scale = np.abs(wide).max(axis=1, keepdims=True) / 127.0
    made: NDArray[np.float64] = (np.rint(wide / scale) * scale).reshape(weight.shape)
    return made
