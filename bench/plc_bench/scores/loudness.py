"""Loudness of a concealment over the received signal, and its limits."""

import math

import numpy as np
from numpy.typing import NDArray

LOUDEST_FILL_DB = 4.0
"""Limit of a concealment over the signal received in the last ``LATELY_S``."""
LATELY_S = 8.0
"""Length of the compared past."""
GHOST_DB = -60.0
"""No concealment is louder than this, re full scale, in silence that has lasted."""
GHOST_AFTER_S = 0.5
"""How long silence lasts until then, where a packet was last received: it ends no sound sooner that
nothing arrives, and a burst that begins before then is concealed as it began."""
_POWER_MS = 5.0
# What is quieter counts as this: -80 dB.
_LEAST = 1e-4


class Loudness:
    """Loudness of each concealment of a stream, packet by packet."""

    def __init__(self, sample_rate: int, packet_samples: int) -> None:
        self._window = max(1, min(packet_samples, round(sample_rate * _POWER_MS / 1000.0)))
        lately = max(1, math.ceil(LATELY_S * sample_rate / packet_samples))
        self._received = np.zeros((lately, 2))
        self._place = 0
        self._lost = 0
        self._heard, self._enough = 0, math.ceil(_POWER_MS / 1000.0 * sample_rate / packet_samples)

    def receive(self, packet: NDArray[np.float32] | None) -> None:
        """Add a packet, float32, shape (n, channels); None is lost.

        Lost packets age the packets before them when a newer packet is received.
        """
        if packet is None:
            self._lost += 1
            return
        self._heard += 1
        size = len(self._received)
        self._received[(self._place + np.arange(min(self._lost, size))) % size] = 0.0
        self._place = (self._place + self._lost) % size
        self._received[self._place] = self._levels(packet)
        self._place = (self._place + 1) % size
        self._lost = 0

    def excess_db(self, fill: NDArray[np.float32]) -> float:
        """Return a concealment's level over the loudest recent packet, in dB.

        Peak against peak and power over 5 ms against power over 5 ms; the greater of the two. -inf
        where less than 5 ms of a sound were received: nobody knows how loud it is.
        """
        if 0 < self._heard < self._enough:
            return -math.inf
        loudest = np.maximum(self._received.max(axis=0), (_LEAST, _LEAST**2))
        peak, power = np.maximum(self._levels(fill), 1e-30) / loudest
        return max(20.0 * math.log10(peak), 10.0 * math.log10(power))

    def _levels(self, packet: NDArray[np.float32]) -> tuple[float, float]:
        """Return the peak and the largest mean power, over the channels."""
        samples = packet.astype(np.float64)
        sums = np.cumsum(np.pad(samples**2, ((1, 0), (0, 0))), axis=0)
        powers = (sums[self._window :] - sums[: -self._window]) / self._window
        return float(np.abs(samples).max()), float(powers.max())
