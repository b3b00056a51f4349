"""The newest samples that were played, received or concealed, and how far each is to be trusted."""

import numpy as np
from numpy.typing import NDArray


class History:
    """A ring of the last ``samples`` samples of each channel.

    Writing copies a block into the ring; reading copies the newest samples of one channel out,
    in order, so that kernels see contiguous memory. Both cost a copy and nothing else.

    Parameters
    ----------
    channels, samples : int
        Rows, and samples remembered in each.
    """

    __slots__ = ("_position", "_ring", "_trust", "filled")

    def __init__(self, channels: int, samples: int) -> None:
        self._ring = np.zeros((channels, samples), np.float32)
        self._trust = np.zeros(samples, np.float32)
        self._position = 0
        self.filled = 0
        """Samples written since the stream began, at most the capacity."""

    @property
    def capacity(self) -> int:
        """Samples remembered."""
        return int(self._trust.size)

    def reset(self) -> None:
        """Forget everything."""
        self._ring.fill(0.0)
        self._trust.fill(0.0)
        self._position = 0
        self.filled = 0

    def append(self, block: NDArray[np.float32], trust: NDArray[np.float32] | float) -> None:
        """Write a block, shape (channels, n), and its trust: one number, or shape (n,)."""
        n = block.shape[1]
        size = self.capacity
        self.filled = min(self.filled + n, size)
        if n >= size:
            self._ring[:] = block[:, n - size :]
            self._trust[:] = trust if isinstance(trust, float) else trust[n - size :]
            self._position = 0
            return
        first = min(n, size - self._position)
        end = self._position + first
        self._ring[:, self._position : end] = block[:, :first]
        self._ring[:, : n - first] = block[:, first:]
        if isinstance(trust, float):
            self._trust[self._position : end] = trust
            self._trust[: n - first] = trust
        else:
            self._trust[self._position : end] = trust[:first]
            self._trust[: n - first] = trust[first:]
        self._position = (self._position + n) % size

    def newest(self, channel: int, out: NDArray[np.float32] | NDArray[np.float64]) -> None:
        """Copy the newest ``out.size`` samples of a channel into ``out``, oldest first."""
        self._copy(self._ring[channel], out)

    def newest_trust(self, out: NDArray[np.float32]) -> None:
        """Copy the trust of the newest ``out.size`` samples into ``out``, oldest first."""
        self._copy(self._trust, out)

    def _copy(
        self, ring: NDArray[np.float32], out: NDArray[np.float32] | NDArray[np.float64]
    ) -> None:
        begin = self._position - out.size
        if begin >= 0:
            out[:] = ring[begin : self._position]
        else:
            out[:-begin] = ring[begin:]
            out[-begin:] = ring[: self._position]
