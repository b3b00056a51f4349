"""The newest samples that were played, received or concealed."""

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

    __slots__ = ("_position", "_ring", "filled", "trusted")

    def __init__(self, channels: int, samples: int) -> None:
        self._ring = np.empty((channels, samples), np.float32)
        self._ring.fill(0.0)  # all of it touched now, not page by page while audio runs
        self._position = 0
        self.filled = 0
        """Samples written since the stream began, at most the capacity."""
        self.trusted = 0
        """Newest samples in a row that were received or concealed at full level."""

    def view(self, position: int, filled: int, trusted: int) -> "History":
        """Return a history on the same memory, ending at a position."""
        view = History.__new__(History)
        view._ring = self._ring
        view._position = position
        view.filled = filled
        view.trusted = trusted
        return view

    @property
    def ring(self) -> NDArray[np.float32]:
        """The memory, shape (channels, samples), for kernels that search it."""
        return self._ring

    @property
    def position(self) -> int:
        """Where in :attr:`ring` the next sample will stand; before it stands the newest."""
        return self._position

    @property
    def capacity(self) -> int:
        """Samples remembered."""
        return self._ring.shape[1]

    def reset(self) -> None:
        """Forget everything."""
        self._ring.fill(0.0)
        self._position = 0
        self.filled = 0
        self.trusted = 0

    def append(self, block: NDArray[np.float32], trusted: bool) -> None:
        """Write a block, shape (channels, n); faded concealment and noise are not to be trusted."""
        n = block.shape[1]
        size = self.capacity
        self.filled = min(self.filled + n, size)
        self.trusted = min(self.trusted + n, size) if trusted else 0
        if n >= size:
            self._ring[:] = block[:, n - size :]
            self._position = 0
            return
        first = min(n, size - self._position)
        self._ring[:, self._position : self._position + first] = block[:, :first]
        self._ring[:, : n - first] = block[:, first:]
        self._position = (self._position + n) % size

    def newest(self, channel: int, out: NDArray[np.float32]) -> None:
        """Copy the newest ``out.size`` samples of a channel into ``out``, oldest first."""
        ring = self._ring[channel]
        begin = self._position - out.size
        if begin >= 0:
            out[:] = ring[begin : self._position]
        else:
            out[:-begin] = ring[begin:]
            out[-begin:] = ring[: self._position]
