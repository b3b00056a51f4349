"""Choose the source to play among senders to one port.

RFC 3550 numbers and times the packets of each source (SSRC) by themselves. A new source, or a jump
of the known one, is believed after two packets next to each other, in either order, which are then
played, too; between packets of the known one it never is. The known one must have been quiet for
five of its packets, at least 50 ms, before another takes over. For 30 s after that the one before
has its place back as soon as it is believed. Of several sources that share a port the first one is
played::

    known    ▓  ▓  ▓  ▓                 quiet for five packets
    others        ░     ░  ░       ░  ▓  ▓
                  └ forgotten      └──┴ a row: believed, and played from its first packet

Its numbers may begin anew where they have been, and pass for doubles: they are believed once five
packets in a row are doubles, as long as the known row is quiet, and were held up by more than
others that came between its packets (doubles of a network).

Where a stream comes by several paths (ST 2022-7), rows are those of one path. What jumps on another
path than the one last believed is the same stream, ahead or behind: it waits for that long, too.

No clock is read. Memory is bounded: few sources are heard at once, each by few packets.
"""

import math
from dataclasses import dataclass, field

from plc.transport.rtp.outcomes import Verdict
from plc.transport.rtp.packets import TIMESTAMP_BITS, RtpPacket, steps_between

# Packets of a new source, or after a jump, before it is believed; how many may miss between two.
PROBATION = 2
PROBATION_STEP_MAX = 3
_AUDITION_MAX = 32
# Sources that may be on probation at once: several share a port.
AUDITIONS_MAX = 8
# The known source has been quiet for so many of its packets, and as long, when another takes over.
QUIET_PACKETS = 5
QUIET_S = 0.05
# A double comes as long after its original as those before, up to this.
_DOUBLES_S, _DOUBLES_SHARE = 0.05, 0.25
# Until then the source that was displaced has its place back at once.
ELDER_S = 30.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A packet that waits until its source is believed."""

    packet: RtpPacket
    samples: int
    arrived_s: float
    verdict: Verdict = Verdict.PROBATION


@dataclass(slots=True)
class _Audition:
    """Packets in a row of a source that is not believed yet."""

    row: list[Heard] = field(default_factory=list)

    def continues(self, packet: RtpPacket) -> bool:
        return any(
            0 < abs(steps_between(heard.packet.sequence, packet.sequence)) <= PROBATION_STEP_MAX
            for heard in self.row
        )

    @property
    def is_believed(self) -> bool:
        """Return whether the row is long enough; it must be longer where its stamps go back."""
        if len(self.row) < PROBATION:
            return False
        before, newest = (heard.packet.timestamp for heard in self.row[-2:])
        goes_back = (newest - before) % (1 << TIMESTAMP_BITS) >= 1 << (TIMESTAMP_BITS - 1)
        return not goes_back or len(self.row) >= QUIET_PACKETS

    def hear(self, heard: Heard) -> int:
        """Take a packet in, in the order of numbers; return how many are dropped for it."""
        dropped = 0
        if not self.continues(heard.packet):
            dropped = len(self.row)
            self.row.clear()
        elif len(self.row) == _AUDITION_MAX:
            del self.row[0]
            dropped = 1
        self.row.append(heard)
        newest = heard.packet.sequence
        self.row.sort(key=lambda each: steps_between(newest, each.packet.sequence))
        return dropped


class Sources:
    """The source that is played, and its rivals.

    Attributes
    ----------
    known : int or None, SSRC of the source that is played; None before any was believed
    foreign_packets, changes : int
        Packets of other sources, or strays, that were not believed; sources and restarts that were,
        but for the first.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.foreign_packets = self.changes = 0
        self._auditions: dict[tuple[int, int], _Audition] = {}
        """By SSRC and path."""
        self.reset()

    def reset(self) -> None:
        """Know no source."""
        self.known: int | None = None
        self._path = 0
        self._auditions.clear()
        self._doubles = _Audition()
        self._held_up_s = self._double_s = -math.inf
        """By how much the last double was, and the most between packets of the known row."""
        self._last_arrival_s = -math.inf
        self._packet_s = 0.0
        self._elder: int | None = None
        self._elder_until_s = -math.inf

    def note(self, now_s: float) -> None:
        """Note that the known source is heard."""
        self._last_arrival_s = now_s

    def confirm(self, samples: int, now_s: float) -> None:
        """Note that the known source goes on with audio: only its elder may be believed now."""
        self._packet_s = samples / self._rate
        if self._doubles.row:
            self._doubles.row.clear()
            self._double_s = max(self._double_s, self._held_up_s)
        if self._auditions:
            for audition in [key for key in self._auditions if not self._is_elder(key[0], now_s)]:
                self._dismiss(audition)
        self.note(now_s)

    def give_way(self) -> None:
        """Let another source be believed without a pause of the known one."""
        self._last_arrival_s = -math.inf
        self._elder = None

    def hear(self, packet: RtpPacket, samples: int, now_s: float, path: int = 0) -> list[Heard]:
        """Take in a packet of a path that is not believed.

        Returns
        -------
        list of Heard
            The row that ends with it, if its source is believed now and has become the known one;
            else nothing.
        """
        ssrc = packet.ssrc
        audition = self._auditions.get((ssrc, path))
        if audition is None:
            if len(self._auditions) >= AUDITIONS_MAX:
                self._dismiss(next(iter(self._auditions)))
            audition = self._auditions[ssrc, path] = _Audition()
        self.foreign_packets += audition.hear(Heard(packet, samples, now_s))
        # Not heard since the clock was set back is quiet, too.
        since_s = now_s - self._last_arrival_s
        goes_on = ssrc == self.known and path == self._path
        regains = self._is_elder(ssrc, now_s)
        quiet_s = max(QUIET_S, QUIET_PACKETS * self._packet_s)
        quiet = goes_on or regains or not 0.0 <= since_s < quiet_s
        if not (audition.is_believed and quiet):
            return []
        self.changes += self.known is not None
        if regains:
            self._elder = None
        elif ssrc != self.known and not self._is_elder(self._elder, now_s):
            # Who is displaced while there is an elder gains no right to the place.
            self._elder, self._elder_until_s = self.known, now_s + ELDER_S
        self.known, self._path = ssrc, path
        self._packet_s = samples / self._rate
        self.note(now_s)
        del self._auditions[ssrc, path]
        return audition.row

    def hear_again(self, heard: Heard, held_up_s: float) -> list[Heard]:
        """Take in a double, held up by so much; return the row if the source begins anew."""
        row = self._doubles.row
        is_known = held_up_s <= _DOUBLES_S + (1.0 + _DOUBLES_SHARE) * self._double_s
        if is_known or any(each.packet.sequence == heard.packet.sequence for each in row):
            return []
        self._doubles.hear(heard)
        self._held_up_s = held_up_s
        quiet_s = max(QUIET_S, QUIET_PACKETS * self._packet_s)
        if len(row) < QUIET_PACKETS or heard.arrived_s - self._last_arrival_s < quiet_s:
            return []
        self._doubles = _Audition()
        self.changes += 1
        self.note(heard.arrived_s)
        return row

    def _is_elder(self, ssrc: int | None, now_s: float) -> bool:
        """Return whether a source was displaced by the known one."""
        return ssrc is not None and ssrc == self._elder and now_s < self._elder_until_s

    def _dismiss(self, audition: tuple[int, int]) -> None:
        """Forget the packets of a source that was not believed."""
        self.foreign_packets += len(self._auditions.pop(audition).row)
