"""Decide the kind of each block when it is due: play, conceal, hold, or skip.

What becomes of a block is decided by what of it is there, never by sequence numbers alone:

    PLAY     the block is there
    PART     some of it is there: play that, and conceal the rest, which is any of what follows
    LOST     it is not, but packets after it are: conceal it, go on
    SILENCE  the same, but the packets around the hole are numbered without one: none were sent,
             or none with audio
    HOLD     nothing is there (yet): conceal, but let the line wait
    WAIT     the stream has not begun: play silence

A hold begins where the hole does, and ends with the next packet; where packets are behind the
hole, with the missing one, or once the delay is at its aim: a minority of the packets comes that
late, and one wait is cheaper than a concealment each. Where it ends with the missing one, that is
played after all and the delay has grown by what was held, if the delay aimed for allows it; if not,
the packet is one of those few that may come too late, and is left out as far as it was concealed.
Where it ends with one beyond, what was missing is lost, has been concealed already, and the line
moves on by as much; the delay is what it was. So a lost packet costs no delay. The fixed mode holds
only while there is less delay than it is to have: the network has become slower.

Whoever plays the blocks conceals what is not there of them. The line jumps only inside such a hole,
so that each jump is led into by a concealment and out of by its crossfade.
"""

import math
from enum import Enum, auto

from plc.transport.rtp.delay import DelayEstimator, DelayMode
from plc.transport.rtp.outcomes import JitterStats
from plc.transport.rtp.sequence import SequenceLog
from plc.transport.rtp.timeline import PlacedPacket, Timeline

# Times that differ by less are the same but for the rounding of sums.
_EXACT_S = 1e-6


class Turn(Enum):
    """Kind of a block; see the module's text."""

    PLAY = auto()
    PART = auto()
    LOST = auto()
    SILENCE = auto()
    HOLD = auto()
    WAIT = auto()


class Turns:
    """The position on a timeline, moved block by block.

    Parameters
    ----------
    clock_rate : int
        Samples in a second.
    delays : DelayEstimator
        The delay to aim for; its settings say whether to hold, and how long at most.
    timeline, sequences
        Packets held, and their numbers.
    stats : JitterStats
        Where samples are counted.

    Attributes
    ----------
    begun : bool
        Whether the first block has been played.
    """

    def __init__(
        self,
        clock_rate: int,
        delays: DelayEstimator,
        timeline: Timeline,
        sequences: SequenceLog,
        stats: JitterStats,
    ) -> None:
        self._rate = float(clock_rate)
        self._max_s = delays.config.max_delay_ms / 1000.0
        self._holds = delays.config.mode is not DelayMode.FIXED
        self._delays = delays
        self._timeline = timeline
        self._block = timeline.block
        self._sequences = sequences
        self._stats = stats
        self.reset()

    def reset(self) -> None:
        """Let the stream begin anew; the timeline is reset by its owner."""
        self.begun = False
        self._pulled_s = 0.0
        self._cut_s: float | None = None
        """Delay to which the next pull cuts, or the one aimed for; None: it need not."""
        self._held = 0
        self._starved = 0
        self._last_sequence: int | None = None

    @property
    def reached(self) -> int:
        """Media time behind the samples played, or concealed while the line waits."""
        return self._timeline.position + self._held

    def delay_s(self, now_s: float) -> float:
        """Return the delay of a block pulled now."""
        if not self.begun:
            return 0.0
        return now_s - self._timeline.position / self._rate - self._delays.base_s

    def place_for(self, now_s: float) -> int:
        """Return the media time at which a packet waits the target delay."""
        if not self.begun:
            return 0
        wait_s = now_s + self._delays.target_s - self._pulled_s
        return self._timeline.position + math.ceil(wait_s * self._rate) - self._block

    def hurry(self) -> None:
        """Let the next pull cut the excess delay after a standstill."""
        self._cut_s = 0.0

    def hurry_as_configured(self) -> None:
        """Hurry down to the delay that the mode allows; only a fixed one cannot grow."""
        self._cut_s = self._max_s if self._holds else 0.0

    def leave_out(self, blocks: int) -> None:
        """Leave out as many blocks, as there is no time to play them."""
        if self.begun:
            self._timeline.position += blocks * self._block
            self._stats.skipped_samples += blocks * self._block
            self._drop_played()

    def rest(self, blocks: int) -> None:
        """Go on over as many blocks, of which nothing is there."""
        self._timeline.position += blocks * self._block
        self._pulled_s += blocks * self._block / self._rate
        self._starved += blocks * self._block
        self._stats.lost_samples += blocks * self._block

    def pass_held(self) -> None:
        """Count held samples as lost, and go on behind them."""
        self._timeline.position += self._held
        self._starved += self._held
        self._stats.held_samples -= self._held
        self._stats.lost_samples += self._held
        self._held = 0

    def pull(self, now_s: float) -> Turn:
        """Pull the next block and return its kind; the timeline's parts hold its samples."""
        timeline = self._timeline
        timeline.parts.clear()
        self._pulled_s = now_s
        if not self.begun and not self._begin(now_s):
            return Turn.WAIT
        kept_s = max(self._delays.target_s, self._cut_s or 0.0)
        if self._is_overdue(now_s, kept_s):
            return self._skip(now_s, kept_s)
        self._drop_played()
        first = timeline.first
        if first is not None and (self._held or self._starved):
            self._settle(first, now_s)
        return self._pass_block(now_s, timeline.gather())

    def _is_overdue(self, now_s: float, kept_s: float) -> bool:
        """Return whether to leave something out rather than to bear the delay."""
        block_s = self._block / self._rate
        limit_s = self._max_s + 2.0 * block_s if self._cut_s is None else kept_s + block_s
        self._cut_s = None
        return self.delay_s(now_s) > limit_s

    def _begin(self, now_s: float) -> bool:
        """Return whether the first block is due, and go to its place."""
        first = self._timeline.first
        if first is None:
            return False
        due_s = first.start / self._rate + self._delays.base_s + self._delays.target_s
        behind = (now_s - due_s) * self._rate
        if behind < 0.0:
            return False
        self._timeline.position = first.start + int(behind) // self._block * self._block
        self.begun = True
        return True

    def _pass_block(self, now_s: float, behind: PlacedPacket | None) -> Turn:
        """Go on over a block, hole by hole; at one that ends nowhere, see whether to wait.

        ``behind`` is the first packet that begins after the block.
        """
        at = 0
        turn = Turn.PLAY
        parts = self._timeline.parts
        for place, part in enumerate(parts):
            if part.at > at:
                turn = self._count_hole(part.at - at, part.packet.sequence, now_s)
                if turn is Turn.HOLD:
                    del parts[place:]
                    return self._hold(at)
            at = part.at + part.samples
            self._last_sequence = part.packet.sequence
            self._stats.played_samples += part.samples
        if at < self._block:
            if behind is None:
                turn = self._starve(now_s, at)
            else:
                turn = self._count_hole(self._block - at, behind.sequence, now_s)
            if turn is Turn.HOLD:
                return self._hold(at)
        self._timeline.position += self._block
        return Turn.PART if parts and turn is not Turn.PLAY else turn

    def _hold(self, at: int) -> Turn:
        """Let the line wait behind the first samples of the block."""
        self._held += self._block - at
        self._stats.held_samples += self._block - at
        self._timeline.position += at
        return Turn.PART if self._timeline.parts else Turn.HOLD

    def _waits_for_minority(self, now_s: float) -> bool:
        """Return whether missing packets may still come: the delay is below its aim."""
        return self._holds and self.delay_s(now_s) < self._delays.target_s - _EXACT_S

    def _count_hole(self, samples: int, after: int, now_s: float) -> Turn:
        """Count the gap before a packet, as lost or as a pause, unless the line waits for it."""
        if self._sequences.is_pause(self._last_sequence, after):
            self._stats.silent_samples += samples
            return Turn.SILENCE
        if self._waits_for_minority(now_s):
            return Turn.HOLD
        self._stats.lost_samples += samples
        return Turn.LOST

    def _starve(self, now_s: float, at: int) -> Turn:
        """Let the line wait there, as long as the delay may grow; else go on."""
        samples = self._block - at
        limit_s = self._max_s if self._holds else self._delays.target_s
        if self.delay_s(now_s) + self._block / self._rate <= limit_s:
            return Turn.HOLD
        self._starved += samples
        self._stats.lost_samples += samples
        return Turn.LOST

    def _settle(self, first: PlacedPacket, now_s: float) -> None:
        """Reclassify blocks concealed while no packet was there."""
        gap = max(0, first.start - self._timeline.position)
        is_pause = self._sequences.is_pause(self._last_sequence, first.sequence)
        if gap and self._held and not is_pause and self._waits_for_minority(now_s):
            return
        filled = min(self._held, gap)
        self._timeline.position += filled
        self._stats.held_samples -= filled
        if is_pause and gap + self._starved > 0:
            self._stats.silent_samples += filled + self._starved
            self._stats.lost_samples -= self._starved
        else:
            self._stats.lost_samples += filled
        if self._held > filled:
            self._settle_late(self._held - filled, now_s)
        self._held = 0
        self._starved = 0

    def _settle_late(self, held: int, now_s: float) -> None:
        """Keep the delay that a late packet caused, less any excess.

        What is left out keeps packets and blocks as they stand to each other.
        """
        unit = self._timeline.unit
        excess = (self.delay_s(now_s) - self._delays.target_s) * self._rate
        left_out = min(max(0, int(excess)), held) // unit * unit
        self._timeline.position += left_out
        self._stats.held_samples -= left_out
        self._stats.lost_samples += left_out
        self._drop_played()
        self._stats.merged_packets += left_out < held

    def _skip(self, now_s: float, kept_s: float) -> Turn:
        """Skip the excess delay; conceal this block across the jump."""
        excess_s = self.delay_s(now_s) - kept_s
        blocks = max(1, int(excess_s * self._rate) // self._block)
        self._timeline.position += blocks * self._block
        self._held = 0
        self._starved = 0
        self._stats.skipped_samples += (blocks - 1) * self._block
        self._stats.lost_samples += self._block
        self._drop_played()
        return Turn.LOST

    def _drop_played(self) -> None:
        last = self._timeline.drop_played()
        if last is not None:
            self._last_sequence = last.sequence
