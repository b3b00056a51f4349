"""A bound on the level of concealments, from recently received samples.

Every concealed sample of a stream passes here, behind every filler, network and comfort noise,
before it is played and before it becomes history. The bound follows from received samples alone, so
it holds for a filler that feeds on its own output and for a network that answers anything. Gaps of
recordings are held within what is known on either side.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from plc.engine.burst import FADE_MS, STEADY_HOLD_MS
from plc_kernels.level import (
    FORGET_S,
    HOLD_S,
    LATELY_S,
    allowed_level,
    follow_level,
    hold_level,
    quieten,
    quietest_power,
)

PEAK_RATIO = 1.5
"""A concealment's largest sample over the largest received lately: +3.5 dB. As far as a prediction
may overshoot what it was fitted on."""
POWER_RATIO = 1.9
"""The same for the mean power, smoothed over 5 ms: +2.8 dB."""
# Where less than this share of the last half second was received, older samples allow less.
_MOSTLY_RECEIVED = 0.6
# So it is where what was received of it is no louder than this: -60 dBFS. The sound has ended.
_SILENCE = 1e-3
ENERGY_RATIO = 2.4
"""The same for any 5 ms of it: +3.8 dB. The smoothed one alone allows 5.8 dB while it rises, which
a network that is quiet and loud in turn would make use of."""
# Comfort noise over the quietest 5 ms received lately: +10 dB, as far as a hum varies within those.
_NOISE_RATIO = 10.0
_NOISE_MEAN_MS = 20.0
# Time constant of the share of packets that were received.
_SHARE_S = 0.5
# Slots of received samples, and the time constant of the mean power.
_SLOT_MS = 5.0
# The gain of a limited concealment changes within this time.
_GLIDE_MS = 1.0


class _Holder(NamedTuple):
    """Applies :func:`hold_level` at one sample rate."""

    hop: int
    """Samples of a slot."""
    glide: int
    smoothing: float

    @classmethod
    def at(cls, sample_rate: int) -> Self:
        """Return the holder of a sample rate in Hz."""
        hop = max(1, round(sample_rate * _SLOT_MS / 1000.0))
        glide = max(1, round(sample_rate * _GLIDE_MS / 1000.0))
        return cls(hop, glide, -math.expm1(-1.0 / hop))

    def hold(
        self,
        peak: float,
        power: float,
        state: NDArray[np.float64],
        recent: NDArray[np.float64],
        row: NDArray[np.float32],
    ) -> bool:
        """Hold ``row`` within the ratios to a received peak and mean power."""
        return hold_level(
            PEAK_RATIO * peak,
            POWER_RATIO * power,
            ENERGY_RATIO * power * self.hop,
            self.smoothing,
            self.glide,
            state,
            recent,
            row,
        )


class FillLimit:
    """Track the received level of a stream; hold concealments within it.

    Parameters
    ----------
    channels, sample_rate : int
        Of the stream.
    delay : int
        Samples by which a packet is received before its turn to play.

    Attributes
    ----------
    received_share : float
        How much of the last half second was received, 0 to 1.
    """

    __slots__ = (
        "_allowed",
        "_begins",
        "_counts",
        "_energies",
        "_forget",
        "_hold",
        "_holder",
        "_hop",
        "_lately",
        "_newest",
        "_noise_power",
        "_noise_smoothing",
        "_peaks",
        "_quietest",
        "_reach",
        "_recent",
        "_share_rate",
        "_slots",
        "_state",
        "received_share",
    )

    def __init__(self, channels: int, sample_rate: int, delay: int) -> None:
        self._holder = _Holder.at(sample_rate)
        self._hop = hop = self._holder.hop
        self._hold = round(1000.0 * HOLD_S / _SLOT_MS)
        self._forget = round(1000.0 * FORGET_S / _SLOT_MS)
        self._reach = round((STEADY_HOLD_MS + FADE_MS) / _SLOT_MS)
        self._lately = round(1000.0 * LATELY_S / _SLOT_MS)
        size = self._lately + -(-delay // hop) + 2
        self._share_rate = -1.0 / (sample_rate * _SHARE_S)
        self._slots = np.full(size, -1, np.int64)
        self._counts = np.zeros(size, np.int64)
        self._peaks = np.zeros((channels, size), np.float32)
        self._energies = np.zeros((channels, size))
        self._allowed = np.zeros((channels, 4))
        self._state = np.zeros((channels, 3))
        self._recent = np.zeros((channels, hop))
        self._quietest = np.zeros(channels)
        self._noise_power = np.zeros(channels)
        self._noise_smoothing = -math.expm1(-1000.0 / (sample_rate * _NOISE_MEAN_MS))
        self.reset()

    def reset(self) -> None:
        """Reset all memory."""
        self._slots.fill(-1)
        self._newest = 0
        self.received_share = 1.0
        self.begin()

    def follow(self, block: NDArray[np.float32], position: int) -> None:
        """Take in received samples, shape (channels, n), C-contiguous.

        They begin at ``position`` of the stream.
        """
        remembered = math.exp(self._share_rate * block.shape[1])
        self.received_share = 1.0 - remembered * (1.0 - self.received_share)
        self._newest = (position + block.shape[1] - 1) // self._hop
        follow_level(
            block,
            position,
            self._hop,
            self._slots,
            self._counts,
            self._peaks,
            self._energies,
        )

    def miss(self, samples: int) -> None:
        """Note samples that did not arrive."""
        self.received_share = self.share_without(samples)

    def share_without(self, samples: int) -> float:
        """Return :attr:`received_share` after further lost samples."""
        return self.received_share * math.exp(self._share_rate * samples)

    def begin(self) -> None:
        """Note the begin of a burst."""
        self._state[:, 0] = 1.0
        self._begins = True
        self._noise_power.fill(0.0)

    def _newest_at(self, position: int) -> int:
        """Return the slot that ages are counted from: the playing one, or soon after the received.

        A prediction ends that long after the last received sample; comfort noise goes on, at the
        level last known.
        """
        return min(self._newest + self._reach, position // self._hop)

    def quieten(self, noise: NDArray[np.float32], position: int) -> None:
        """Limit comfort noise, shape (channels, n), by the quietest recent level.

        The background is no louder than that.
        """
        newest = self._newest_at(position)
        quietest_power(
            newest,
            self._hop,
            self._hold,
            self._slots,
            self._counts,
            self._energies,
            self._quietest,
        )
        for c, row in enumerate(noise):
            most = _NOISE_RATIO * self._quietest[c]
            quieten(most, self._noise_smoothing, self._noise_power[c : c + 1], row)

    def hold(self, block: NDArray[np.float32], position: int) -> bool:
        """Hold a concealment within the bound; return whether it changed.

        Parameters
        ----------
        block : float32, shape (channels, n), read and written
            The concealment, from ``position`` of the stream on.
        position : int
            Samples of the stream played before it.
        """
        newest = self._newest_at(position)
        allowed_level(
            newest,
            self._hop,
            self._hold,
            self._forget,
            self._lately,
            self._slots,
            self._counts,
            self._peaks,
            self._energies,
            self._allowed,
        )
        by_age = self.received_share < _MOSTLY_RECEIVED
        acted = False
        for c, row in enumerate(block):
            peak, power, most, most_power = self._allowed[c]
            if not by_age and peak > _SILENCE:
                peak, power = most, most_power
            if self._begins:
                self._state[c, 1] = power
                self._recent[c] = power
            acted |= self._holder.hold(peak, power, self._state[c], self._recent[c], row)
        self._begins = False
        return acted


def hold_between(
    sides: Sequence[NDArray[np.float32]], sample_rate: int, gap: NDArray[np.float32]
) -> None:
    """Hold the fill of a recording's gap within the level around it.

    Parameters
    ----------
    sides : sequence of float32, shape (channels, n)
        What is known before and after the gap, and nothing that was filled; a side may be empty.
    sample_rate : int
        In Hz.
    gap : float32, shape (channels, n), read and written
        The fill.
    """
    holder = _Holder.at(sample_rate)
    hop = holder.hop
    for c in range(gap.shape[0]):
        peak = power = 0.0
        for row in (side[c] for side in sides if side.shape[1]):
            powers = np.add.reduceat(np.square(row, dtype=np.float64), np.arange(0, row.size, hop))
            power = max(power, float(powers.max()) / min(hop, row.size))
            peak = max(peak, float(row.max()), -float(row.min()))
        row = np.ascontiguousarray(gap[c])
        if holder.hold(peak, power, np.array([1.0, power, 0.0]), np.full(hop, power), row):
            gap[c] = row
