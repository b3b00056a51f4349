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

    __slots__ = ("_counts", "_ring")

    def __init__(self, channels: int, samples: int) -> None:
        self._ring = np.empty((channels, samples), np.float32)
        self._counts = np.zeros(3, np.int64)
        self.reset()  # all of it touched now, not page by page while audio runs

    @property
    def ring(self) -> NDArray[np.float32]:
        """The memory, shape (channels, samples), for kernels that search it."""
        return self._ring

    @property
    def counts(self) -> NDArray[np.int64]:
        """Position, filled and trusted, shape (3,), for kernels."""
        return self._counts

    @property
    def position(self) -> int:
        """Index in :attr:`ring` of the next sample; the newest is before it."""
        return int(self._counts[POSITION])

    @property
    def filled(self) -> int:
        """Samples written since the stream began, at most the capacity."""
        return int(self._counts[FILLED])

    def reset(self) -> None:
        """Forget everything."""
        self._ring.fill(0.0)
        self._counts.fill(0)

    def append(self, block: NDArray[np.float32], trusted: bool) -> None:
        """Write a block, shape (channels, n); faded concealment and noise are not to be trusted."""
        rows = np.ascontiguousarray(block, np.float32)
        append(rows, 0, rows.shape[1], int(trusted), self._ring, self._counts)

    def newest(self, channel: int, out: NDArray[np.float32]) -> None:
        """Copy the newest ``out.size`` samples of a channel into ``out``, oldest first."""
        newest(self._ring[channel], self.position, out)
