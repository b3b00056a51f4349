"""Outcomes of packets and their counters, and the peak level of samples.

The machines of a jitter buffer share one :class:`JitterStats`: each counts what it alone knows.
"""

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from plc_kernels.signal.level import largest

_PEAK_FALL_DB_S = 20.0


class Verdict(Enum):
    """Outcome of a packet put into the jitter buffer."""

    ACCEPTED = auto()
    PROBATION = auto()
    """Of a source, or after a jump, that is not believed yet; kept, and played if it is."""
    DUPLICATE = auto()
    LATE = auto()
    """Its turn has passed."""
    EMPTY = auto()
    """It holds no audio, or too much to be one packet."""
    OVERFLOW = auto()
    """The buffer is full."""


@dataclass(slots=True)
class JitterStats:
    """Counters of a jitter buffer; samples are counted once for all channels."""

    packets_received: int = 0
    """Without duplicates (W3C ``packetsReceived``)."""
    packets_expected: int = 0
    """Sequence numbers passed."""
    duplicate_packets: int = 0
    late_packets: int = 0
    """Arrived after their turn (W3C ``packetsDiscarded`` counts these, too)."""
    merged_packets: int = 0
    """Arrived late, but part of them, or all after a hold, could still be played."""
    reordered_packets: int = 0
    empty_packets: int = 0
    overflow_packets: int = 0
    foreign_packets: int = 0
    """Of other sources, or strays of the known one, that were not believed."""
    redundant_packets: int = 0
    """Taken from the redundancy of later ones, for want of the packet itself."""
    source_changes: int = 0
    """New sources and restarts that were believed, the first one not counted."""
    played_samples: int = 0
    lost_samples: int = 0
    """That never came."""
    late_samples: int = 0
    """That came too late, or for which the stream waited."""
    silent_samples: int = 0
    """Of pauses in which the sender sent nothing on purpose (DTX)."""
    skipped_samples: int = 0
    """Left out to keep within the largest delay, or as there was no time to play them."""
    inserted_samples: float = 0.0
    """By playing slower, or periods twice (W3C ``insertedSamplesForDeceleration``)."""
    removed_samples: float = 0.0
    """By playing faster, or leaving periods out (W3C ``removedSamplesForAcceleration``)."""
    waited_s: float = 0.0
    """Sum of all played samples' delay here, with lookahead (W3C ``jitterBufferDelay``)."""
    aimed_s: float = 0.0
    """The same, of the delay aimed for (W3C ``jitterBufferTargetDelay``)."""
    emitted_samples: int = 0
    """Samples these two are over (W3C ``jitterBufferEmittedCount``)."""

    @property
    def lost_packets(self) -> int:
        """Expected and not received, those under way included (W3C ``packetsLost``)."""
        return self.packets_expected - self.packets_received


class Peak:
    """A level meter: the largest sample, falling by 20 dB a second."""

    __slots__ = ("_at_s", "level")

    def __init__(self) -> None:
        self.level = 0.0
        self._at_s = 0.0

    def note(self, samples: NDArray[np.float32], now_s: float) -> None:
        """Take in samples of any shape."""
        fallen = 10.0 ** (-_PEAK_FALL_DB_S * max(0.0, now_s - self._at_s) / 20.0)
        self._at_s = now_s
        self.level = max(self.level * fallen, largest(samples.ravel()))
