"""A ring of samples between a sound card and a stream: :mod:`plc_kernels.signal.ring`."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.signal import ring


class Ring:
    """Samples between a device's callback and the engine; one writes, the other reads.

    So many samples of each channel fit as ``capacity`` says.
    """

    __slots__ = ("_header", "_samples", "_words", "channels")

    def __init__(self, capacity: int, channels: int) -> None:
        self._words = np.zeros(ring.HEADER + -(-capacity * channels // 2), np.int64)
        self._header = self._words[: ring.HEADER]
        self._samples = self._words[ring.HEADER :].view(np.float32)[: capacity * channels]
        self._header[ring.CAPACITY] = capacity
        self._header[ring.CHANNELS] = channels
        self.channels = channels
        # Compiled or loaded here, and not in a callback.
        nothing = np.zeros(0, np.float32)
        ring.take_in(self._header, self._samples, False, nothing)
        ring.give_out(self._header, self._samples, False, nothing)
        self._header[ring.CALLBACKS] = 0

    @property
    def address(self) -> int:
        """Address of the block of memory, valid as long as the ring."""
        return int(self._words.ctypes.data)

    @property
    def waiting(self) -> int:
        """Samples of each channel that can be read."""
        return int(self._header[ring.WRITTEN] - self._header[ring.READ])

    @property
    def room(self) -> int:
        """Samples of each channel that can be written."""
        return int(self._header[ring.CAPACITY]) - self.waiting

    @property
    def passed(self) -> int:
        """Samples per channel given or taken by the device, silence included."""
        return int(self._header[ring.PASSED])

    @property
    def missed(self) -> int:
        """Samples of an input that found no room; of an output, that were not there in time."""
        return int(self._header[ring.MISSED])

    @property
    def callbacks(self) -> int:
        """Times that the device called."""
        return int(self._header[ring.CALLBACKS])

    @property
    def breaks(self) -> int:
        """Callbacks in which the device reported an xrun."""
        return int(self._header[ring.FLAGGED])

    @property
    def largest(self) -> int:
        """Largest number of samples per channel of one callback."""
        return int(self._header[ring.LARGEST])

    def write(self, samples: NDArray[np.float32]) -> int:
        """Write samples, shape (n, channels), as far as there is room; return how many."""
        return ring.write_ring(self._header, self._samples, samples.reshape(-1))

    def read(self, out: NDArray[np.float32]) -> int:
        """Fill ``out``, shape (n, channels), C-contiguous, as far as there is; return how many."""
        return ring.read_ring(self._header, self._samples, out.reshape(-1))

    def take_in(self, samples: NDArray[np.float32], broken: bool) -> None:
        """Act as an input's callback with samples, shape (n, channels)."""
        ring.take_in(self._header, self._samples, broken, samples.reshape(-1))

    def give_out(self, out: NDArray[np.float32], broken: bool) -> None:
        """Act as an output's callback: fill ``out``, shape (n, channels), C-contiguous."""
        ring.give_out(self._header, self._samples, broken, out.reshape(-1))
