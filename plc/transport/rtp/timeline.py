"""Lay packets on a line of media time; cut blocks from it.

*Media time* is counted in samples: a packet's timestamp, unwrapped, and a shift that keeps the
line whole when the sender starts over. What stands at the position is played next::

                 played │ next block │              newest
    ──────────────────▓▓│▓▓▓▓▓▓▓▓▓▓▓▓│▓▓▓▓    ▓▓▓▓▓▓▓▓│
                        └ position           └ hole

Blocks have one length, packets may have any: a block is cut from as many packets as it spans. What
of it is there is never held back or left out for what is not, so that a packet of 594 samples that
is lost leaves a hole of 594 samples, wherever it lies in its blocks.

Memory is bounded by ``PACKETS_MAX`` packets. When a position is reached is decided elsewhere.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, NamedTuple

from plc.transport.rtp.outcomes import Verdict
from plc.transport.rtp.packets import TIMESTAMP_BITS, Unwrapper

PACKETS_MAX = 4096


@dataclass(slots=True)
class PlacedPacket:
    """A packet's place on the line."""

    start: int
    stop: int
    """Media time of its first sample, and of the one after its last."""
    sequence: int
    """Its place in the row of packets (:mod:`plc.transport.rtp.sequence`)."""
    payload_type: int
    payload: bytes
    redundant: bool
    repeats: int = 0
    """Samples that this begins before those of its payload, a later packet's; 0: it is its own."""
    decoded: Any = None
    """For whoever plays it, to decode it once."""


class BlockPart(NamedTuple):
    """Part of a packet that is part of a block."""

    packet: PlacedPacket
    begin: int
    """Sample of the packet at which the part begins."""
    samples: int
    at: int
    """Sample of the block at which it stands."""


class Timeline:
    """Packets in the order of their media time.

    Parameters
    ----------
    block : int
        Samples of a block.

    Attributes
    ----------
    position : int
        Media time of the next sample to play.
    parts : list of BlockPart
        What :meth:`gather` found last, in order.
    unit : int
        Samples of which blocks and the newest packet are made, one as the other.
    """

    def __init__(self, block: int) -> None:
        self.block = block
        self.parts: list[BlockPart] = []
        self._timestamps = Unwrapper(TIMESTAMP_BITS)
        self._packets: list[PlacedPacket] = []
        self._starts: list[int] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything; media time begins anew."""
        self._timestamps.reset()
        self.clear()
        self.parts.clear()
        self.position = 0
        self.unit = self.block
        self._shift = 0

    def clear(self) -> None:
        """Forget the packets."""
        self._packets.clear()
        self._starts.clear()

    def __len__(self) -> int:
        """Return how many packets are here."""
        return len(self._packets)

    @property
    def first(self) -> PlacedPacket | None:
        """The packet that begins first, or None."""
        return self._packets[0] if self._packets else None

    @property
    def last(self) -> PlacedPacket | None:
        """The packet that begins last, or None."""
        return self._packets[-1] if self._packets else None

    @property
    def buffered_samples(self) -> int:
        """From the position to the end of the newest packet."""
        return max(0, self._packets[-1].stop - self.position) if self._packets else 0

    # ---- packets in -----------------------------------------------------------------------------

    def start_of(self, timestamp: int) -> int:
        """Return the media time of a timestamp, without taking it in."""
        return self._timestamps.peek(timestamp) + self._shift

    @property
    def newest(self) -> int:
        """Media time of the newest timestamp."""
        return (self._timestamps.newest or 0) + self._shift

    def note(self, timestamp: int, samples: int) -> int:
        """Take in where a packet begins, and its length; return its media time."""
        self.unit = math.gcd(self.block, samples)
        return self._timestamps.unwrap(timestamp) + self._shift

    def shift(self, samples: int) -> None:
        """Move the packets to come by a number of samples."""
        self._shift += samples

    def jump(self, timestamp: int, earliest: int) -> int:
        """Place a timestamp behind the packets held, not before ``earliest``; return where it is.

        That is whole blocks from the position: packets then fill blocks as they did before. Between
        the two is a hole, so that the one fades into the other.
        """
        self._timestamps.reset()
        self._timestamps.unwrap(timestamp)
        due = max(earliest, self._packets[-1].stop + 1) if self._packets else earliest
        due += (self.position - due) % self.block
        self._shift = due - timestamp
        return due

    def insert(self, placed: PlacedPacket) -> Verdict:
        """Put a packet onto the line; it takes the place of a redundant copy."""
        place = bisect_left(self._starts, placed.start)
        if place < len(self._packets) and self._packets[place].start == placed.start:
            if placed.redundant or not self._packets[place].redundant:
                return Verdict.DUPLICATE
            self._packets[place] = placed
            return Verdict.ACCEPTED
        if placed.redundant and self._covered(placed, place):
            return Verdict.DUPLICATE
        if len(self._packets) >= PACKETS_MAX:
            return Verdict.OVERFLOW
        self._packets.insert(place, placed)
        self._starts.insert(place, placed.start)
        return Verdict.ACCEPTED

    def _covered(self, placed: PlacedPacket, place: int) -> bool:
        """Return whether packets around ``place`` overlap with ``placed``."""
        before = place > 0 and self._packets[place - 1].stop > placed.start
        after = place < len(self._packets) and self._packets[place].start < placed.stop
        return before or after

    # ---- blocks out -----------------------------------------------------------------------------

    def gather(self) -> PlacedPacket | None:
        """Collect the parts of the next block; return the first packet behind it."""
        self.parts.clear()
        at = self.position
        stop = at + self.block
        for placed in self._packets:
            begin = max(placed.start, at)
            if begin >= stop:
                return placed
            if placed.stop <= at:
                continue
            at = min(placed.stop, stop)
            self.parts.append(
                BlockPart(placed, begin - placed.start, at - begin, begin - self.position)
            )
        return None

    def drop_played(self) -> PlacedPacket | None:
        """Forget the packets that end before the position; return the last of them."""
        stale = 0
        for placed in self._packets:
            if placed.stop > self.position:
                break
            stale += 1
        if not stale:
            return None
        last = self._packets[stale - 1]
        del self._packets[:stale]
        del self._starts[:stale]
        return last
