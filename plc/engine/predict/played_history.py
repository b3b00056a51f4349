"""The newest samples that were played, received or concealed."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.signal.history import FILLED, POSITION, append, newest


class History:
    """A ring of the last ``samples`` samples of each channel.

    Writing copies a block into the ring; reading copies the newest samples of one channel out,
    in order, so that kernels see contiguous memory. Both cost a copy and nothing else.

    Parameters
    ----------
    channels, samples : int, rows, and samples remembered in each
    """

    __slots__ = ("counts", "ring")

    def __init__(self, channels: int, samples: int) -> None:
        self.ring = np.empty((channels, samples), np.float32)
        self.counts = np.zeros(3, np.int64)
        """Position, filled and trusted."""
        self.reset()  # all of it touched now, not page by page while audio runs

    @property
    def position(self) -> int:
        """Index in :attr:`ring` of the next sample; the newest is before it."""
        return int(self.counts[POSITION])

    @property
    def filled(self) -> int:
        """Samples written since the stream began, at most the capacity."""
        return int(self.counts[FILLED])

    def reset(self) -> None:
        """Forget everything."""
        self.ring.fill(0.0)
        self.counts.fill(0)

    def append(self, block: NDArray[np.float32], trusted: bool) -> None:
        """Write a block, shape (channels, n); faded concealment and noise are not to be trusted."""
        rows = np.ascontiguousarray(block, np.float32)
        append(rows, 0, rows.shape[1], int(trusted), self.ring, self.counts)

    def newest(self, channel: int, out: NDArray[np.float32]) -> None:
        """Copy the newest ``out.size`` samples of a channel into ``out``, oldest first."""
        newest(self.ring[channel], self.position, out)
