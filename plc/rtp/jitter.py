"""The jitter buffer: packets in as they come, blocks of the stream out at a steady pace.

Packets lie on a line of *media time*, counted in samples: a packet's timestamp, unwrapped, and a
shift that keeps the line whole when the sender starts over. Every pull hands out the next block of
that line. What becomes of it is decided by what is there when it is due to be played, never by
sequence numbers alone::

                 played │ next block │              newest
    ──────────────────▓▓│▓▓▓▓▓▓▓▓▓▓▓▓│▓▓▓▓    ▓▓▓▓▓▓▓▓│
                        └ position           └ hole

    PLAY     the block is there
    PART     some of it is there: play that, and conceal the rest, which is any of what follows
    LOST     it is not, but packets after it are: conceal it, go on
    SILENCE  the same, but the packets around the hole are numbered without one: none were sent,
             or none with audio
    HOLD     nothing is there (yet): conceal, but let the line wait
    WAIT     the stream has not begun: play silence

A hold is settled by the next packet. Is it the missing one, late, then it is played after all and
the delay has grown by what was held, if the delay aimed for allows it; if not, the packet is one of
those few that may come too late, and is left out as far as it was concealed. Is it one beyond,
then what was missing is lost, has been concealed already, and the line moves on by as much; the
delay is what it was. So a lost packet costs no delay. The fixed mode never holds.

Blocks have one length, packets may have any: a block is cut from as many packets as it spans. What
of it is there is never held back or left out for what is not, so that a packet of 594 samples that
is lost leaves a hole of 594 samples, wherever it lies in its blocks. A hold begins where the hole
does.

Whoever plays the blocks conceals what is not there of them. The line jumps only inside such a hole,
so that each jump is led into by a concealment and out of by its crossfade.

Sources: packets are numbered and timed as RFC 3550 has it. A new source (SSRC), or a jump of the
known one, is believed after two packets in a row, which are then played, too; between packets of
the known one it never is. The known one must have been quiet for 50 ms before another takes over.
Of several sources that share a port, one is played: the first that is believed.

No clock is read: the time comes with each call. Memory is bounded by ``_SLOTS`` packets.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from plc.errors import ConfigError
from plc.rtp.delay import DelayConfig, DelayEstimator, DelayMode
from plc.rtp.packets import SEQUENCE_BITS, TIMESTAMP_BITS, RtpPacket, Unwrapper

# RFC 3550, appendix A.1: a packet this far ahead or behind is no loss or reordering, but a restart.
_DROPOUT_MAX = 3000
_MISORDER_MAX = 100
# A transit that differs this much from the base is a jump of the sender's clock.
_STRAY_S = 3.0
# Packets of a new source, or after a jump, before it is believed; how many may miss between two.
_PROBATION = 2
_PROBATION_STEP_MAX = 3
_AUDITION_MAX = 32
# Sources that may be on probation at once: several share a port.
_AUDITIONS_MAX = 8
# The known source has been quiet this long when another takes over.
_QUIET_S = 0.05
# Every packet of this long came too late, and nothing else: the line is moved to the packets.
_LATE_S = 0.1
_LATE_PACKETS = 3
_SLOTS = 4096
_SEEN_BITS = 1024
_SEEN_MASK = (1 << _SEEN_BITS) - 1
# A packet longer than this is no audio packet.
_PACKET_MAX_S = 1.0


class Verdict(Enum):
    """What became of a packet that was put in."""

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


class Turn(Enum):
    """What a block is; see the module's text."""

    PLAY = auto()
    PART = auto()
    LOST = auto()
    SILENCE = auto()
    HOLD = auto()
    WAIT = auto()


@dataclass(slots=True)
class Slot:
    """A packet's place on the line."""

    start: int
    stop: int
    """Media time of its first sample, and of the one after its last."""
    sequence: int
    """Unwrapped; consecutive packets of one source have consecutive ones."""
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
    """That were not there when it was their turn."""
    silent_samples: int = 0
    """Of pauses in which the sender sent nothing on purpose (DTX)."""
    held_samples: int = 0
    """Concealed while waiting for what came next."""
    skipped_samples: int = 0
    """Left out to keep within the largest delay."""

    @property
    def lost_packets(self) -> int:
        """Expected and not received, those under way included (W3C ``packetsLost``)."""
        return self.packets_expected - self.packets_received


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterConfig(DelayConfig):
    """Settings of a jitter buffer.

    Parameters
    ----------
    clock_rate : int
        Timestamp units, that is samples, in a second.
    block : int
        Samples pulled at once.
    """

    clock_rate: int
    block: int

    def __post_init__(self) -> None:
        """Check the settings."""
        # A class with slots is made anew: the bare super() would mean the other one.
        super(JitterConfig, self).__post_init__()
        if self.clock_rate <= 0:
            raise ConfigError(f"clock_rate is {self.clock_rate} Hz; it is above 0")
        if not 0 < self.block <= self.clock_rate:
            raise ConfigError(f"block is {self.block} samples; supported: 1 to a second of them")


@dataclass(slots=True)
class _Audition:
    """Packets in a row of a source that is not believed yet."""

    packets: list[tuple[RtpPacket, int, float]] = field(default_factory=list)

    def continues(self, packet: RtpPacket) -> bool:
        """Tell whether ``packet`` goes on where the row ends."""
        if not self.packets:
            return False
        last = self.packets[-1][0]
        step = (packet.sequence - last.sequence) % (1 << SEQUENCE_BITS)
        ahead = (packet.timestamp - last.timestamp) % (1 << TIMESTAMP_BITS)
        return (
            packet.ssrc == last.ssrc
            and 0 < step <= _PROBATION_STEP_MAX
            and 0 < ahead < 1 << (TIMESTAMP_BITS - 1)
        )

    def hear(self, packet: RtpPacket, samples: int, now_s: float) -> int:
        """Take a packet in; return how many are dropped for it."""
        dropped = 0
        if not self.continues(packet):
            dropped = len(self.packets)
            self.packets.clear()
        elif len(self.packets) == _AUDITION_MAX:
            del self.packets[0]
            dropped = 1
        self.packets.append((packet, samples, now_s))
        return dropped


class JitterBuffer:
    """Packets of one stream in, blocks out.

    Parameters
    ----------
    config : JitterConfig
        Rates and delays.

    Attributes
    ----------
    stats : JitterStats
        What happened so far.
    pieces : list of Piece
        What is there of the block pulled last, in order: all of it if that was PLAY, some of it if
        it was PART, else nothing.
    """

    def __init__(self, config: JitterConfig) -> None:
        self.config = config
        self.block = config.block
        self.stats = JitterStats()
        self.pieces: list[Piece] = []
        self.delays = DelayEstimator(config)
        self._rate = float(config.clock_rate)
        self._max_s = config.max_delay_ms / 1000.0
        self._holds = config.mode is not DelayMode.FIXED
        self._sequences = Unwrapper(SEQUENCE_BITS)
        self._timestamps = Unwrapper(TIMESTAMP_BITS)
        self._slots: list[Slot] = []
        self._starts: list[int] = []
        self._auditions: dict[int, _Audition] = {}
        self.ssrc: int | None = None
        self.reset()

    def reset(self) -> None:
        """Make the buffer as new, but for its counters."""
        self._sequences.reset()
        self._timestamps.reset()
        self.delays.reset()
        self._slots.clear()
        self._starts.clear()
        self._auditions.clear()
        self.pieces.clear()
        self.ssrc = None
        self._shift = 0
        self._sequence_shift = 0
        self._seen = 0
        self._without_audio = 0
        self._position = 0
        self._pulled_s = 0.0
        self._begun = False
        self._hurries = False
        self._held = 0
        self._starved = 0
        self._last_sequence: int | None = None
        self._last_arrival_s = -math.inf
        self._late_since_s: float | None = None
        self._late_packets = 0
        self._packet_samples = self.block

    @property
    def begun(self) -> bool:
        """Whether the first block has been played."""
        return self._begun

    @property
    def buffered_samples(self) -> int:
        """From what is played next to the end of the newest packet."""
        return max(0, self._slots[-1].stop - self._position) if self._slots else 0

    @property
    def packets_held(self) -> int:
        """Packets in the buffer."""
        return len(self._slots)

    def delay_s(self, now_s: float) -> float:
        """Return by how much a block pulled now is later than it could have been played."""
        if not self._begun:
            return 0.0
        return now_s - self._position / self._rate - self.delays.base_s

    # ---- packets in -----------------------------------------------------------------------------

    def put(self, packet: RtpPacket, samples: int, now_s: float) -> Verdict:
        """Take a packet in.

        Parameters
        ----------
        packet : RtpPacket
            As received.
        samples : int
            Length of its audio.
        now_s : float
            When it arrived.
        """
        if not 0 < samples <= _PACKET_MAX_S * self._rate:
            self.stats.empty_packets += 1
            return Verdict.EMPTY
        if packet.ssrc != self.ssrc or self._strays(packet, now_s):
            return self._hear(packet, samples, now_s)
        while self._auditions:
            self._dismiss(next(iter(self._auditions)))
        return self._take(packet, samples, now_s)

    def pass_over(self, packet: RtpPacket, now_s: float) -> None:
        """Take note of a packet that holds no audio, but has a number of the same sequence.

        Senders put comfort noise (RFC 3389) and telephone events (RFC 4733) between their audio;
        without this they would pass for losses.
        """
        newest = self._sequences.newest
        if packet.ssrc != self.ssrc or newest is None:
            return
        if not -_MISORDER_MAX <= self._sequences.peek(packet.sequence) - newest <= _DROPOUT_MAX:
            return
        self._last_arrival_s = now_s
        _, is_new = self._count(packet.sequence, has_audio=False)
        self.stats.duplicate_packets += not is_new

    def yield_place(self) -> None:
        """Let the known source, which had no right to its place, be gone.

        What is here of it is not played, and another one is believed without a pause.
        """
        self._slots.clear()
        self._starts.clear()
        self._last_arrival_s = -math.inf

    def put_redundant(
        self,
        packet: RtpPacket,
        offset: int,
        payload_type: int,
        payload: bytes,
        samples: int,
        repeats: bool = False,
    ) -> Verdict:
        """Take in what a packet repeats of an earlier one, if that one is not here.

        Parameters
        ----------
        packet : RtpPacket
            The one that carries it, put in already and accepted.
        offset : int
            Samples by which the earlier one's timestamp lies before its own.
        payload_type, payload, samples
            Of the earlier one.
        repeats : bool
            Whether the payload is the later packet's own, which repeats the earlier one.
        """
        if packet.ssrc != self.ssrc or not 0 < samples <= _PACKET_MAX_S * self._rate:
            return Verdict.EMPTY
        start = self._timestamps.peek(packet.timestamp) + self._shift - offset
        sequence = self._sequences.peek(packet.sequence) + self._sequence_shift
        sequence -= max(1, round(offset / samples))
        if start + samples <= self._position:
            return Verdict.LATE
        slot = Slot(start, start + samples, sequence, payload_type, payload, True, repeats)
        verdict = self._insert(slot)
        self.stats.redundant_packets += verdict is Verdict.ACCEPTED
        return verdict

    def _strays(self, packet: RtpPacket, now_s: float) -> bool:
        """Tell whether a packet of the known source stands far from where it should."""
        newest = self._sequences.newest
        assert newest is not None
        ahead = self._sequences.peek(packet.sequence) - newest
        start = self._timestamps.peek(packet.timestamp) + self._shift
        transit_s = now_s - start / self._rate
        return (
            ahead > _DROPOUT_MAX
            or ahead < -_MISORDER_MAX
            or abs(transit_s - self.delays.base_s) > _STRAY_S
        )

    def _hear(self, packet: RtpPacket, samples: int, now_s: float) -> Verdict:
        """Take in a packet that is not believed, and believe it if it is one of a row."""
        audition = self._auditions.get(packet.ssrc)
        if audition is None:
            if len(self._auditions) >= _AUDITIONS_MAX:
                self._dismiss(next(iter(self._auditions)))
            audition = self._auditions[packet.ssrc] = _Audition()
        self.stats.foreign_packets += audition.hear(packet, samples, now_s)
        heard = audition.packets
        # Not heard since the clock was set back is quiet, too.
        since_s = now_s - self._last_arrival_s
        quiet = packet.ssrc == self.ssrc or not 0.0 <= since_s < _QUIET_S
        if len(heard) < _PROBATION or not quiet:
            return Verdict.PROBATION
        first, _, first_s = heard[0]
        self._adopt(first, first_s)
        verdict = Verdict.ACCEPTED
        for each, length, arrived_s in heard:
            verdict = self._take(each, length, arrived_s)
        del self._auditions[packet.ssrc]
        return verdict

    def _dismiss(self, ssrc: int) -> None:
        """Forget what came from a source that was not believed."""
        self.stats.foreign_packets += len(self._auditions.pop(ssrc).packets)

    def _adopt(self, first: RtpPacket, now_s: float) -> None:
        """Let ``first`` be the next packet of the line, wherever its own numbers stand."""
        if self.ssrc is not None:
            self.stats.source_changes += 1
        self.ssrc = first.ssrc
        newest = self._sequences.newest
        # A hole in the numbers, so that what is missing between the two never passes for a pause,
        # not even when packets from before ``first`` come after it.
        after = 0 if newest is None else newest + self._sequence_shift + _MISORDER_MAX + 2
        self._sequences.reset()
        self._seen = 0
        self._without_audio = 0
        self._sequence_shift = after - first.sequence
        self._move_line(first.timestamp, now_s)

    def _move_line(self, timestamp: int, now_s: float) -> None:
        """Shift media time so that a packet of this timestamp, here now, waits as long as it ought.

        Nothing is said by that about the sender's clock: the base starts from here.
        """
        self._timestamps.reset()
        self._timestamps.unwrap(timestamp)
        self._late_since_s = None
        due = 0
        if self._begun:
            wait_s = now_s + self.delays.target_s - self._pulled_s
            due = self._position + math.ceil(wait_s * self._rate) - self.block
        if self._slots:
            due = max(due, self._slots[-1].stop)
        # Whole blocks from the position: packets then fill blocks as they did before.
        due += (self._position - due) % self.block
        self._shift = due - timestamp
        self.delays.rebase(now_s - due / self._rate, now_s)

    def _take(self, packet: RtpPacket, samples: int, now_s: float) -> Verdict:
        """Put a packet of the believed source onto the line."""
        self._last_arrival_s = now_s
        sequence, is_new = self._count(packet.sequence)
        if not is_new:
            self.stats.duplicate_packets += 1
            return Verdict.DUPLICATE
        start = self._timestamps.unwrap(packet.timestamp) + self._shift
        self._packet_samples = samples
        # The last packet that a block needs begins so far behind the block, at most.
        self.delays.coarseness_s = (self.block - self._common_samples()) / self._rate
        self.delays.note(now_s - start / self._rate, now_s)
        if self._begun and start + samples <= self._position:
            return self._take_late(packet, samples, now_s)
        self._late_since_s = None
        self.stats.merged_packets += self._begun and start < self._position
        slot = Slot(
            start, start + samples, sequence, packet.payload_type, packet.payload, redundant=False
        )
        return self._insert(slot)

    def _count(self, number: int, has_audio: bool = True) -> tuple[int, bool]:
        """Unwrap a sequence number; return it, and whether it is seen for the first time."""
        before = self._sequences.newest
        whole = self._sequences.unwrap(number)
        if before is None:
            bit = 1
            self.stats.packets_expected += 1
        elif whole > before:
            step = whole - before
            bit = 1
            self._seen = (self._seen << step) & _SEEN_MASK
            self._without_audio = (self._without_audio << step) & _SEEN_MASK
            self.stats.packets_expected += step
        else:
            bit = 1 << (before - whole)
            if self._seen & bit or before - whole >= _SEEN_BITS:
                return 0, False
            self.stats.reordered_packets += 1
        self._seen |= bit
        if not has_audio:
            self._without_audio |= bit
        self.stats.packets_received += 1
        return whole + self._sequence_shift, True

    def _take_late(self, packet: RtpPacket, samples: int, now_s: float) -> Verdict:
        """Discard a packet whose turn has passed; move the line if all of them are such."""
        self.stats.late_packets += 1
        in_order = self._sequences.peek(packet.sequence) == self._sequences.newest
        if self._slots or not in_order:
            return Verdict.LATE
        if self._late_since_s is None:
            self._late_since_s = now_s
            self._late_packets = 0
        self._late_packets += 1
        long_s = now_s - self._late_since_s
        if self._late_packets >= _LATE_PACKETS and long_s >= _LATE_S:
            # Behind the numbers there are now others; media time goes on from the next packet.
            following = (packet.timestamp + samples) % (1 << TIMESTAMP_BITS)
            self._move_line(following, now_s + samples / self._rate)
            self.stats.source_changes += 1
        return Verdict.LATE

    def _insert(self, slot: Slot) -> Verdict:
        place = bisect_left(self._starts, slot.start)
        if place < len(self._slots) and self._slots[place].start == slot.start:
            there = self._slots[place]
            if slot.redundant or not there.redundant:
                self.stats.duplicate_packets += not slot.redundant
                return Verdict.DUPLICATE
            self._slots[place] = slot
            return Verdict.ACCEPTED
        if slot.redundant and self._covered(slot, place):
            return Verdict.DUPLICATE
        if len(self._slots) >= _SLOTS:
            self.stats.overflow_packets += 1
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

    def pull(self, now_s: float) -> Turn:
        """Return what the next block is; what is there of it is in :attr:`pieces`."""
        self.pieces.clear()
        self._pulled_s = now_s
        if not self._begun and not self._begin(now_s):
            return Turn.WAIT
        if self._is_overdue(now_s):
            return self._skip(now_s)
        self._drop_played()
        if self._slots and (self._held or self._starved):
            self._settle(now_s)
        return self._pass_block(now_s, self._gather())

    def hurry(self) -> None:
        """Let the next pull leave out what the delay is too long: its player stood still."""
        self._hurries = True

    def _is_overdue(self, now_s: float) -> bool:
        """Tell whether to leave something out rather than to bear the delay."""
        block_s = self.block / self._rate
        limit_s = self.delays.target_s + block_s if self._hurries else self._max_s + 2.0 * block_s
        self._hurries = False
        return self.delay_s(now_s) > limit_s

    def _begin(self, now_s: float) -> bool:
        """Tell whether it is time to play the first block, and go to where it stands."""
        if not self._slots:
            return False
        first = self._slots[0].start
        due_s = first / self._rate + self.delays.base_s + self.delays.target_s
        behind = (now_s - due_s) * self._rate
        if behind < 0.0:
            return False
        self._position = first + int(behind) // self.block * self.block
        self._begun = True
        return True

    def _gather(self) -> Slot | None:
        """Collect what is there of the next block; return the first packet behind it."""
        at = self._position
        stop = at + self.block
        for slot in self._slots:
            if slot.start >= stop:
                return slot
            if slot.stop <= at:
                continue
            begin = max(slot.start, at)
            at = min(slot.stop, stop)
            self.pieces.append(Piece(slot, begin - slot.start, at - begin, begin - self._position))
        return None

    def _pass_block(self, now_s: float, behind: Slot | None) -> Turn:
        """Go on over a block, hole by hole; at one that ends nowhere, see whether to wait.

        ``behind`` is the first packet that begins after the block.
        """
        at = 0
        turn = Turn.PLAY
        for piece in self.pieces:
            if piece.at > at:
                turn = self._count_hole(piece.at - at, piece.slot.sequence)
            at = piece.at + piece.samples
            self._last_sequence = piece.slot.sequence
            self.stats.played_samples += piece.samples
        if at < self.block:
            if behind is None:
                turn = self._starve(now_s, at)
            else:
                turn = self._count_hole(self.block - at, behind.sequence)
        if turn is not Turn.HOLD:
            at = self.block
        self._position += at
        return Turn.PART if self.pieces and turn is not Turn.PLAY else turn

    def _count_hole(self, samples: int, after: int) -> Turn:
        """Count what is missing before the packet of that number, as lost or as a pause.

        It is a pause if no packet is missing by number around it, so that none was sent.
        """
        if self._follows(self._last_sequence, after):
            self.stats.silent_samples += samples
            return Turn.SILENCE
        self.stats.lost_samples += samples
        return Turn.LOST

    def _follows(self, before: int | None, after: int) -> bool:
        """Tell whether no packet with audio was sent between two, by their numbers."""
        if before is None or after <= before:
            return False
        newest = self._sequences.newest
        assert newest is not None
        between = (1 << (after - before - 1)) - 1
        first_bit = newest + self._sequence_shift - after + 1
        return self._without_audio >> first_bit & between == between

    def _starve(self, now_s: float, at: int) -> Turn:
        """Let the line wait there, as long as the delay may grow; else go on."""
        samples = self.block - at
        if self._holds and self.delay_s(now_s) + self.block / self._rate <= self._max_s:
            self._held += samples
            self.stats.held_samples += samples
            return Turn.HOLD
        self._starved += samples
        self.stats.lost_samples += samples
        return Turn.LOST

    def _settle(self, now_s: float) -> None:
        """Take what was concealed for want of any packet as what it turned out to be."""
        first = self._slots[0]
        gap = max(0, first.start - self._position)
        filled = min(self._held, gap)
        self._position += filled
        self.stats.held_samples -= filled
        is_pause = self._follows(self._last_sequence, first.sequence)
        if is_pause and gap + self._starved > 0:
            self.stats.silent_samples += filled + self._starved
            self.stats.lost_samples -= self._starved
        else:
            self.stats.lost_samples += filled
        if self._held > filled:
            self._settle_late(self._held - filled, now_s)
        self._held = 0
        self._starved = 0

    def _settle_late(self, held: int, now_s: float) -> None:
        """Keep the delay that a late packet has brought, less what is too much.

        What is left out keeps packets and blocks as they stand to each other.
        """
        unit = self._common_samples()
        excess = (self.delay_s(now_s) - self.delays.target_s) * self._rate
        left_out = min(max(0, int(excess)), held) // unit * unit
        self._position += left_out
        self.stats.held_samples -= left_out
        self.stats.lost_samples += left_out
        self._drop_played()
        self.stats.merged_packets += left_out < held

    def _common_samples(self) -> int:
        """Return the samples of which packets and blocks are made, one as the other."""
        return math.gcd(self.block, self._packet_samples)

    def _skip(self, now_s: float) -> Turn:
        """Leave out what is too much; this block is concealed, and leads over the jump."""
        excess_s = self.delay_s(now_s) - self.delays.target_s
        blocks = max(1, int(excess_s * self._rate) // self.block)
        self._position += blocks * self.block
        self._held = 0
        self._starved = 0
        self.stats.skipped_samples += (blocks - 1) * self.block
        self.stats.lost_samples += self.block
        self._drop_played()
        return Turn.LOST

    def _drop_played(self) -> None:
        """Forget the packets that end before the position."""
        stale = 0
        for slot in self._slots:
            if slot.stop > self._position:
                break
            stale += 1
        if stale:
            self._last_sequence = self._slots[stale - 1].sequence
            del self._slots[:stale]
            del self._starts[:stale]
