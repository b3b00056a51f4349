"""Recordings at the rate of a network, and fills at their own."""

import numpy as np
from numpy.typing import NDArray

from plc.engine.networks.spectral_fill import padded
from plc_kernels.signal.resample import resample, sinc_table

TAPS = 64
"""Of the resampler, at the network's rate."""
# Its cutoff as a share of half that rate.
_CUTOFF = 0.92


class OtherRate:
    """Two rates of the same sound, in Hz: of a recording, and of a network, which is no higher.

    ``step`` is how many samples of the recording are one of the network.
    """

    def __init__(self, sample_rate: int, network_rate: int) -> None:
        self.step = sample_rate / network_rate
        taps = 2 * round(TAPS / 2 * self.step)
        self._down = sinc_table(taps, _CUTOFF / self.step)
        self._up = sinc_table(TAPS, _CUTOFF)

    def samples(self, of_row: int) -> int:
        """Return the network's samples that ``of_row`` samples of the recording reach into."""
        return -int(-of_row // self.step)

    def of_row(
        self, row: NDArray[np.float32], place: int, begin: int, samples: int
    ) -> NDArray[np.float32]:
        """Resample a part of a row to the network's rate; samples beyond its ends are silent.

        Parameters
        ----------
        row : float32, shape (n,), at the recording's rate
        place : int
            Sample of the row that is the network's sample 0.
        begin, samples : int
            First of the network's samples, and their number.
        """
        if self.step == 1.0:
            return padded(row, place + begin, place + begin + samples)
        at = begin * self.step
        low = int(np.floor(at)) - self._down.shape[1]
        high = int(np.ceil(at + samples * self.step)) + self._down.shape[1]
        out = np.empty((1, samples), np.float32)
        line = padded(row, place + low, place + high)[None]
        resample(at - low, self.step, self._down, line, out)
        at_network_rate: NDArray[np.float32] = out[0]
        return at_network_rate

    def replace(
        self, row: NDArray[np.float32], fill: NDArray[np.float32], before: NDArray[np.float32]
    ) -> None:
        """Put a fill into a row; keep the content above the network's rate.

        Parameters
        ----------
        row : float32, shape (n,), read and written
            The gap alone, at the recording's rate.
        fill, before : float32, shape (samples,)
            The fill, and what the row holds, at the network's rate.
        """
        if self.step == 1.0:
            row[:] = fill
            return
        out = np.empty((1, row.size), np.float32)
        line = np.pad(fill - before, TAPS)[None]
        resample(float(TAPS), 1.0 / self.step, self._up, line, out)
        row += out[0]
