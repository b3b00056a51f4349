"""Memory of what follows the content, as a stream's block lays it out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc_kernels.signal.content import APART_FRAMES, CHANGE_BINS, INPUTS, MEMORY


@dataclass(frozen=True, slots=True)
class ContentState:
    """Memory of :func:`follow_content`; the arrays are what that says of them."""

    numbers: NDArray[np.float64]
    logs: NDArray[np.float32]
    counts: NDArray[np.int64]
    inputs: NDArray[np.float32]
    units: NDArray[np.float32]

    @classmethod
    def allocate(cls) -> "ContentState":
        """Return the state of a stream that has heard nothing yet."""
        return cls(
            numbers=np.zeros(2),
            logs=np.zeros((APART_FRAMES + 1, CHANGE_BINS), np.float32),
            counts=np.zeros(2, np.int64),
            inputs=np.zeros(INPUTS, np.float32),
            units=np.zeros(MEMORY, np.float32),
        )
