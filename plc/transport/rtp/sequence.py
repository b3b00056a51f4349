"""Extend packets' sequence numbers, and find the missing ones.

Sequence numbers have 16 bits and begin anywhere. :class:`SequenceLog` makes *places* of them, which
neither wrap nor begin anew with another source: consecutive packets have consecutive places. For
the newest numbers it keeps two bits each: was it seen, so that a duplicate is told from a
reordered packet, and was it seen without audio, so that a pause is told from a loss::

    place          95   96   97   98   99 = newest
    seen            1    1    0    1    1
    without audio   0    1    0    1    0
                              └ missing: no pause between 95 and 99, but one between 97 and 99
"""

from plc.transport.rtp.outcomes import JitterStats
from plc.transport.rtp.packets import SEQUENCE_BITS, Unwrapper

# RFC 3550, appendix A.1: a packet this far ahead or behind is no loss or reordering, but a restart.
DROPOUT_MAX = 3000
MISORDER_MAX = 100
_SEEN_BITS = 1024
# Of several paths one may be behind the others by as much as is known of the numbers: a second in
# packets of 1 ms, 128 ms in those of 125 µs. ST 2022-7 has up to 450 ms, of 10 ms for low delay.
PATHS_BEHIND_MAX = _SEEN_BITS - 1
_SEEN_MASK = (1 << _SEEN_BITS) - 1


class SequenceLog:
    """Log of the sequence numbers that have come.

    Parameters
    ----------
    stats : JitterStats
        Where packets are counted as received, expected, reordered and duplicate.
    behind_max : int
        Packets by which one may lie behind the newest.
    """

    def __init__(self, stats: JitterStats, behind_max: int = MISORDER_MAX) -> None:
        self._stats = stats
        self._behind_max = behind_max
        self._numbers = Unwrapper(SEQUENCE_BITS)
        self.reset()

    def reset(self) -> None:
        """Know no number; places begin anew."""
        self._numbers.reset()
        self._shift = 0
        self._oldest = 0
        self._seen = 0
        self._without_audio = 0

    def restart(self, number: int) -> None:
        """Go on with another row of numbers, which begins with this one.

        A hole is left in the places, so that what is missing between the two rows never passes for
        a pause, not even when packets from before ``number`` come after it.
        """
        newest = self._numbers.newest
        place = 0 if newest is None else newest + self._shift + self._behind_max + 2
        self.reset()
        self._shift = place - number

    def is_stray(self, number: int) -> bool:
        """Return whether a number is too far from the newest one."""
        newest = self._numbers.newest
        if newest is None:
            return True
        return not -self._behind_max <= self._numbers.peek(number) - newest <= DROPOUT_MAX

    def behind(self, number: int) -> int:
        """Return by how many a number lies behind the newest one; below 0: ahead."""
        newest = self._numbers.newest
        return 0 if newest is None else newest - self._numbers.peek(number)

    def place(self, number: int) -> int:
        """Return the place of a number, without taking it in."""
        return self._numbers.peek(number) + self._shift

    def count(self, number: int, has_audio: bool = True) -> int | None:
        """Take a packet's number in; return its place, None if it is a duplicate."""
        stats = self._stats
        before = self._numbers.newest
        whole = self._numbers.unwrap(number)
        if before is None:
            bit = 1
            self._oldest = whole
            stats.packets_expected += 1
        elif whole > before:
            step = whole - before
            bit = 1
            self._seen = (self._seen << step) & _SEEN_MASK
            self._without_audio = (self._without_audio << step) & _SEEN_MASK
            stats.packets_expected += step
        else:
            bit = 1 << (before - whole)
            if self._seen & bit or before - whole >= _SEEN_BITS:
                stats.duplicate_packets += 1
                return None
            stats.reordered_packets += 1
            # What was sent before the first that came is expected once it is known of.
            stats.packets_expected += max(0, self._oldest - whole)
            self._oldest = min(self._oldest, whole)
        self._seen |= bit
        if not has_audio:
            self._without_audio |= bit
        stats.packets_received += 1
        return whole + self._shift

    def is_pause(self, before: int | None, after: int) -> bool:
        """Return whether no packet with audio was sent between two places."""
        if before is None or after <= before:
            return False
        newest = self._numbers.newest
        assert newest is not None
        between = (1 << (after - before - 1)) - 1
        first_bit = newest + self._shift - after + 1
        return self._without_audio >> first_bit & between == between
