"""Lay packets on a line of media time, and cut blocks from it.

*Media time* is counted in samples: a packet's timestamp, unwrapped, and a shift that keeps the
line whole when the sender starts over. What stands at the position is played next::

                 played │ next block │              newest
    ──────────────────▓▓│▓▓▓▓▓▓▓▓▓▓▓▓│▓▓▓▓    ▓▓▓▓▓▓▓▓│
                        └ position           └ hole

Blocks have one length, packets may have any: a block is cut from as many packets as it spans. What
of it is there is never held back or left out for what is not, so that a packet of 594 samples that
is lost leaves a hole of 594 samples, wherever it lies in its blocks.

Memory is bounded by ``SLOTS`` packets. When a position is reached is decided elsewhere.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from plc.rtp.outcomes import Verdict
from plc.rtp.packets import TIMESTAMP_BITS, Unwrapper

SLOTS = 4096


@dataclass(slots=True)
class Slot:
    """A packet's place on the line."""

    start: int
    stop: int
    """Media time of its first sample, and of the one after its last."""
    sequence: int
    """Its place in the row of packets (:mod:`plc.rtp.sequence`)."""
    payload_type: int
    payload: bytes
    redundant: bool
    repeats: bool = False
    """Whether the payload is that of the packet after it, which repeats it."""
    decoded: Any = None
    """For whoever plays it, to decode it once."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a packet that is part of a block."""

    slot: Slot
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
        Media time of what is played next.
    pieces : list of Piece
        What :meth:`gather` found last, in order.
    unit : int
        Samples of which blocks and the newest packet are made, one as the other.
    """

    def __init__(self, block: int) -> None:
        self.block = block
        self.pieces: list[Piece] = []
        self._timestamps = Unwrapper(TIMESTAMP_BITS)
        self._slots: list[Slot] = []
        self._starts: list[int] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything; media time begins anew."""
        self._timestamps.reset()
        self.clear()
        self.pieces.clear()
        self.position = 0
        self.unit = self.block
        self._shift = 0

    def clear(self) -> None:
        """Forget the packets."""
        self._slots.clear()
        self._starts.clear()

    def __len__(self) -> int:
        """Return how many packets are here."""
        return len(self._slots)

    @property
    def first(self) -> Slot | None:
        """The packet that begins first; None if there is none."""
        return self._slots[0] if self._slots else None

    @property
    def buffered_samples(self) -> int:
        """From the position to the end of the newest packet."""
        return max(0, self._slots[-1].stop - self.position) if self._slots else 0

    # ---- packets in -----------------------------------------------------------------------------

    def start_of(self, timestamp: int) -> int:
        """Return the media time of a timestamp, without taking it in."""
        return self._timestamps.peek(timestamp) + self._shift

    def note(self, timestamp: int, samples: int) -> int:
        """Take in where a packet begins, and its length; return its media time."""
        self.unit = math.gcd(self.block, samples)
        return self._timestamps.unwrap(timestamp) + self._shift

    def jump(self, timestamp: int, earliest: int) -> int:
        """Let this timestamp follow what is here, not before ``earliest``; return where it is.

        That is whole blocks from the position: packets then fill blocks as they did before.
        """
        self._timestamps.reset()
        self._timestamps.unwrap(timestamp)
        due = max(earliest, self._slots[-1].stop) if self._slots else earliest
        due += (self.position - due) % self.block
        self._shift = due - timestamp
        return due

    def insert(self, slot: Slot) -> Verdict:
        """Put a packet onto the line; it takes the place of a redundant copy."""
        place = bisect_left(self._starts, slot.start)
        if place < len(self._slots) and self._slots[place].start == slot.start:
            if slot.redundant or not self._slots[place].redundant:
                return Verdict.DUPLICATE
            self._slots[place] = slot
            return Verdict.ACCEPTED
        if slot.redundant and self._covered(slot, place):
            return Verdict.DUPLICATE
        if len(self._slots) >= SLOTS:
            return Verdict.OVERFLOW
        self._slots.insert(place, slot)
        self._starts.insert(place, slot.start)
        return Verdict.ACCEPTED

    def _covered(self, slot: Slot, place: int) -> bool:
        """Tell whether the packets around ``place`` hold any of what ``slot`` does."""
        before = place > 0 and self._slots[place - 1].stop > slot.start
        after = place < len(self._slots) and self._slots[place].start < slot.stop
        return before or after

    # ---- blocks out -----------------------------------------------------------------------------

    def gather(self) -> Slot | None:
        """Collect the pieces of the next block; return the first packet behind it."""
        self.pieces.clear()
        at = self.position
        stop = at + self.block
        for slot in self._slots:
            begin = max(slot.start, at)
            if begin >= stop:
                return slot
            if slot.stop <= at:
                continue
            at = min(slot.stop, stop)
            self.pieces.append(Piece(slot, begin - slot.start, at - begin, begin - self.position))
        return None

    def drop_played(self) -> Slot | None:
        """Forget the packets that end before the position; return the last of them."""
        stale = 0
        for slot in self._slots:
            if slot.stop > self.position:
                break
            stale += 1
        if not stale:
            return None
        last = self._slots[stale - 1]
        del self._slots[:stale]
        del self._starts[:stale]
        return last
