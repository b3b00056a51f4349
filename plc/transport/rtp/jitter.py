"""The jitter buffer: packets in as they come, blocks of the stream out at a steady pace.

It joins four machines, each with one idea, and hands each packet from one to the next::

    packet ──▶ Sources ──────▶ SequenceLog ──▶ Timeline ──▶ Turns ──▶ block
               which stream    which number    where it     what is due, and
               is played       it has, or      lies in      what of it is there
                               had before      media time

Some things it decides itself, because they take what several machines know: whether a packet of the
known source stands so far from where it should that its sender must have started over; whether
the packets that come too late are so many that the line must go to them; and, where numbers go on,
whether the stamps say what the numbers and the pace do not. Stamps are believed in what the pace
bears out: a pause is one if what follows it comes later, too::

    numbers   7    8    9         7    8    9         7    8              9
    stamps    7    8       9      7    8       9      7    8    9
    arrival   7    8       9      7    8    9         7    8              9
              a pause             none: 9 is moved    a pause: the line moves to 9
                                  next to 8

No clock is read: the time comes with each call. Memory is bounded by what each machine keeps.
"""

import math
from dataclasses import dataclass, field

from plc.errors import ConfigError
from plc.transport.rtp.delay import DelayConfig, DelayEstimator
from plc.transport.rtp.outcomes import JitterStats, Verdict
from plc.transport.rtp.packets import RtpPacket
from plc.transport.rtp.sequence import MISORDER_MAX, PATHS_BEHIND_MAX, SequenceLog
from plc.transport.rtp.sources import Heard, Sources
from plc.transport.rtp.timeline import BlockPart, PlacedPacket, Timeline
from plc.transport.rtp.turns import Turn, Turns

# A transit that differs this much from the base is a jump of the sender's clock.
_STRAY_S = 3.0
# Unless it is one of the next by its number, and as near to its time by that.
_NEXT_STEPS, _NEXT_S = 3, 0.5
# For this long each packet came later than the line can wait, with nothing behind it: the line is
# moved to the packets, or their ends alone would be played, or nothing at all.
_LATE_S = 0.1
_LATE_PACKETS = 3
# The next number comes so much later than the line can wait, and nothing is there: it waited for a
# pause that the stamps do not tell, as those of senders that count only what they send.
_ONSET_S = 0.06
# Behind a pause of so long the line is moved to the packet that ends it, however little it is late.
_LONG_PAUSE_S = 0.5
# Of a packet, what stamps may be off by.
_OFF_SHARE = 0.125
# Stamps that advance by other than the samples are compared with the clock once both are so far
# apart, by less after a second; at once, where packets come by so much, and that share, sooner than
# they say.
_APART_S, _STAMPS_S, _APART_LEAST_S = 0.25, 1.0, 0.05
_SOON_S = 0.06
_SOON_SHARE = 0.25
# A standstill of the network is over so soon after its first packet, or after one that came
# faster than those before.
_STAND_S = 0.25
# By so much sooner than any packet of the last seconds nothing comes: its stamp is wrong.
_SOONER_S = 0.002
# By how much of it the numbers and the stamps of a late packet may differ.
_LATE_SHARE = 0.25
# A packet longer than this is no audio packet.
_PACKET_MAX_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterConfig:
    """Settings of a jitter buffer.

    Parameters
    ----------
    clock_rate : int
        Timestamp units, that is samples, in a second.
    block : int
        Samples pulled at once.
    delay : DelayConfig
        How long packets wait.
    paths : int
        Ways by which each packet comes (ST 2022-7): the delay is then long enough for the slowest.
    """

    clock_rate: int
    block: int
    delay: DelayConfig = field(default_factory=DelayConfig)
    paths: int = 1

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.clock_rate <= 0:
            raise ConfigError(f"clock_rate is {self.clock_rate} Hz; it is above 0")
        if not 0 < self.block <= self.clock_rate:
            raise ConfigError(f"block is {self.block} samples; supported: 1 to a second of them")


@dataclass(slots=True)
class _LateRow:
    """Packets in order that all came too late."""

    since_s: float = math.inf
    packets: int = 0

    def add(self, now_s: float) -> bool:
        """Take note of one more; return whether there are enough to move the line."""
        self.since_s = min(self.since_s, now_s)
        self.packets += 1
        return self.packets >= _LATE_PACKETS and now_s - self.since_s >= _LATE_S


@dataclass(slots=True)
class _Stamps:
    """Packets in a row whose stamps advance by more, or by less, than their samples."""

    since_s: float | None = None
    samples: int = 0
    ahead: int = 0
    """By how many samples more the stamps have advanced."""
    came_soon: bool = False
    """Whether packets came so much sooner than stamped that no delay of the first explains it."""
    are_false: bool = False
    """Whether the samples keep the pace, not the stamps."""

    def note(self, samples: int, ahead: int, rate: float, now_s: float) -> None:
        """Take in the next packet."""
        if ahead == 0:
            self.since_s, self.are_false = None, False
        elif self.since_s is None or now_s < self.since_s:
            self._begin(now_s)
        else:
            self.samples += samples
            self.ahead += ahead
            self._judge(now_s - self.since_s, rate)
            if self._are_apart(now_s - self.since_s, rate):
                self._begin(now_s)

    def _are_apart(self, lasted_s: float, rate: float) -> bool:
        return abs(self.ahead) >= (_APART_S if lasted_s < _STAMPS_S else _APART_LEAST_S) * rate

    def _begin(self, now_s: float) -> None:
        self.since_s, self.samples, self.ahead, self.came_soon = now_s, 0, 0, False

    def _judge(self, lasted_s: float, rate: float) -> None:
        """Compare both with the clock; late packets prove nothing, early ones do."""
        sampled_s, stamped_s = self.samples / rate, (self.samples + self.ahead) / rate
        self.came_soon |= lasted_s < (1.0 - _SOON_SHARE) * stamped_s - _SOON_S
        self.are_false |= self.came_soon
        if not self._are_apart(lasted_s, rate) or self.came_soon:
            return
        if abs(lasted_s - sampled_s) < abs(lasted_s - stamped_s):
            self.are_false = True
        elif stamped_s >= (1.0 - _SOON_SHARE) * lasted_s:
            self.are_false = False


@dataclass(slots=True)
class _Onset:
    """A move of the line to a packet that came late: behind a pause, or held up."""

    transit_s: float
    """On the line since then, of that packet."""
    base_before_s: float
    """On the same, the base there was before."""
    least_s: float
    """The least since then."""
    until_s: float
    """When the network is known to hold nothing up that came before."""


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
    delays : DelayEstimator
        The delay aimed for.
    """

    def __init__(self, config: JitterConfig) -> None:
        self.config = config
        self.block = config.block
        self.stats = JitterStats()
        self.delays = DelayEstimator(config.delay)
        self._rate = float(config.clock_rate)
        self._sources = Sources(self.stats, self._rate)
        behind_max = MISORDER_MAX if config.paths == 1 else PATHS_BEHIND_MAX
        self._sequences = SequenceLog(self.stats, behind_max)
        self._timeline = Timeline(config.block)
        self._turns = Turns(
            config.clock_rate, self.delays, self._timeline, self._sequences, self.stats
        )
        self._late = _LateRow()
        self._stamps = _Stamps()
        self._onset: _Onset | None = None
        self._following: int | None = None
        """Media time behind the packet with the newest number."""
        self._length = 0
        """Samples of that packet."""
        self._newest = 0
        """Its place in the row of packets."""
        self._waits_since_s: float | None = None
        """Since when a stream of several paths waits to hear the slower one; -inf: it was heard."""

    def reset(self) -> None:
        """Make the buffer as new, but for its counters."""
        self.delays.reset()
        self._sources.reset()
        self._sequences.reset()
        self._timeline.reset()
        self._turns.reset()
        self._late = _LateRow()
        self._stamps = _Stamps()
        self._onset = self._following = self._waits_since_s = None
        self._length = self._newest = 0

    @property
    def ssrc(self) -> int | None:
        """The source that is played; None before any was believed."""
        return self._sources.known

    @property
    def begun(self) -> bool:
        """True if the first block has been played."""
        return self._turns.begun

    @property
    def parts(self) -> list[BlockPart]:
        """Received parts of the block pulled last, in order.

        All of it if that was PLAY, some of it if it was PART, else nothing.
        """
        return self._timeline.parts

    def stands_alone(self, placed: PlacedPacket, before: int | None) -> bool:
        """Return whether a pause lies before a packet and nothing behind."""
        is_pause = self._sequences.is_pause(before, placed.sequence)
        return is_pause and self._timeline.last in (None, placed)

    @property
    def buffered_samples(self) -> int:
        """Samples from the next block to the newest packet's end."""
        return self._timeline.buffered_samples

    @property
    def packets_held(self) -> int:
        """Packets in the buffer."""
        return len(self._timeline)

    def delay_s(self, now_s: float) -> float:
        """Return the delay of a block pulled now, less the line's wait for a packet."""
        waits = self._turns.reached - self._timeline.position
        return self._turns.delay_s(now_s) - waits / self._rate

    def put(self, packet: RtpPacket, samples: int, now_s: float, path: int = 0) -> Verdict:
        """Take a packet in.

        Parameters
        ----------
        packet : RtpPacket
            As received.
        samples : int
            Length of its audio.
        now_s : float
            When it arrived.
        path : int
            By which of several ways.
        """
        if not self._is_length(samples):
            self.stats.empty_packets += 1
            if not packet.payload:
                self.pass_over(packet, now_s)  # padding or a keepalive (RFC 6263): a pause
            return Verdict.EMPTY
        if packet.ssrc == self._sources.known and not self._strays(packet, samples, now_s):
            verdict, believed = self._take_known(packet, samples, now_s)
        else:
            verdict = Verdict.PROBATION
            believed = self._sources.hear(packet, samples, now_s, path)
        if not believed:
            return verdict
        first = believed[0]
        self._following = None
        self._sequences.restart(first.packet.sequence)
        self._move_line(first.packet.timestamp, first.arrived_s)
        for heard in believed:
            verdict = self._take(heard.packet, heard.samples, heard.arrived_s)
        return verdict

    def _take_known(
        self, packet: RtpPacket, samples: int, now_s: float
    ) -> tuple[Verdict, list[Heard]]:
        """Take in a packet of the believed source; return the row of those that it begins anew."""
        held_up_s = now_s - self._timeline.start_of(packet.timestamp) / self._rate
        held_up_s -= self.delays.base_s
        may_be_late = held_up_s <= self.config.delay.max_delay_ms / 1000.0
        may_be_late |= self._sequences.behind(packet.sequence) < 0
        verdict = self._take(packet, samples, now_s)
        is_double = verdict is Verdict.DUPLICATE or (verdict is Verdict.LATE and not may_be_late)
        if is_double and self.config.paths == 1:
            heard = Heard(packet, samples, now_s, verdict)
            return verdict, self._sources.hear_again(heard, held_up_s)
        self._sources.confirm(samples, now_s)
        return verdict, []

    def pass_over(self, packet: RtpPacket, now_s: float) -> None:
        """Note a packet of the same sequence without audio.

        Senders put comfort noise (RFC 3389) and telephone events (RFC 4733) between their audio;
        without this they would pass for losses.
        """
        if packet.ssrc == self.ssrc and not self._sequences.is_stray(packet.sequence):
            self._sources.note(now_s)
            self._sequences.count(packet.sequence, has_audio=False)

    def give_way(self) -> None:
        """Let another source be believed without a pause."""
        self._sources.give_way()

    def yield_place(self) -> None:
        """Drop the current source, which had no right to its place.

        What is here of it is not played, and another one is believed without a pause.
        """
        self._timeline.clear()
        self._sources.give_way()

    def put_redundant(
        self,
        packet: RtpPacket,
        offset: int,
        payload_type: int,
        payload: bytes,
        samples: int,
    ) -> Verdict:
        """Add a packet's copy of an earlier, missing one.

        Parameters
        ----------
        packet : RtpPacket
            The packet that carries the copy, already accepted.
        offset : int
            Samples by which the earlier one's timestamp lies before its own.
        payload_type, payload, samples
            Of the earlier one; or the later one's own payload, which repeats it.
        """
        if packet.ssrc != self.ssrc or not self._is_length(samples):
            return Verdict.EMPTY
        start = self._timeline.start_of(packet.timestamp) - offset
        sequence = self._sequences.place(packet.sequence) - max(1, round(offset / samples))
        if start + samples <= self._timeline.position:
            return Verdict.LATE
        repeats = offset if payload is packet.payload else 0
        placed = PlacedPacket(
            start, start + samples, sequence, payload_type, payload, True, repeats
        )
        verdict = self._insert(placed)
        self.stats.redundant_packets += verdict is Verdict.ACCEPTED
        return verdict

    def pull(self, now_s: float) -> Turn:
        """Pull the next block and return its kind; :attr:`parts` holds its samples."""
        if self.config.paths > 1 and not self.begun and self._waits_for_path(now_s):
            return Turn.WAIT
        return self._turns.pull(now_s)

    def _waits_for_path(self, now_s: float) -> bool:
        """Return whether the slower path is still to be heard."""
        if self._waits_since_s is None and self.packets_held:
            self._waits_since_s = now_s
        since_s = now_s if self._waits_since_s is None else self._waits_since_s
        return now_s - since_s < self.config.delay.max_delay_ms / 1000.0

    def leave_out(self, blocks: int) -> None:
        """Go on behind that many blocks: nobody has time to play them."""
        self._turns.leave_out(blocks)

    def rest(self, blocks: int) -> None:
        """Go on over as many blocks, of which nothing is there."""
        self._turns.rest(blocks)

    def hurry(self) -> None:
        """Let the next pull cut the excess delay after a standstill."""
        self._turns.hurry()

    def _is_length(self, samples: int) -> bool:
        return 0 < samples <= _PACKET_MAX_S * self._rate

    def _strays(self, packet: RtpPacket, samples: int, now_s: float) -> bool:
        """Return whether a packet is far from its expected place."""
        start = self._timeline.start_of(packet.timestamp)
        behind = self._sequences.behind(packet.sequence)
        if self._stamps.are_false and not self._sequences.is_stray(packet.sequence):
            return False
        if -_NEXT_STEPS <= behind < 0 and self._following is not None:
            pace_s = now_s - (self._following - (behind + 1) * samples) / self._rate
            if abs(pace_s - self.delays.base_s) < _NEXT_S:
                return False
        transit_s = now_s - start / self._rate - self.delays.base_s
        if abs(transit_s) > _STRAY_S and not (
            transit_s > 0.0 and self._goes_on(start, -behind, samples)
        ):
            return True
        behind_samples = self._timeline.newest - start
        if behind_samples < 0 and self._sequences.place(packet.sequence) <= self._newest:
            return True  # an earlier number with a later time: the numbers begin anew
        if not self._sequences.is_stray(packet.sequence):
            return False
        # However many packets were sent since: late is what lies as far behind by both.
        return behind <= 0 or abs(behind_samples - behind * samples) > _LATE_SHARE * behind_samples

    def _goes_on(self, start: int, steps: int, samples: int) -> bool:
        """Return whether a packet stands where its number says, or nearer."""
        if self._following is None or steps <= 0:
            return False
        return 0 <= start - self._following <= (steps - 1) * max(samples, self._length)

    def _take(self, packet: RtpPacket, samples: int, now_s: float) -> Verdict:
        """Put a packet of the believed source onto the line."""
        steps = -self._sequences.behind(packet.sequence)
        sequence = self._sequences.count(packet.sequence)
        if sequence is None:
            if self.config.paths > 1:
                # Of a slower path. Should the faster one lose a packet, its copy must be in time.
                self._waits_since_s = -math.inf
                start = self._timeline.start_of(packet.timestamp)
                self.delays.note(now_s - start / self._rate, now_s)
                if not self.begun:
                    self.delays.look(now_s)
            return Verdict.DUPLICATE
        if steps > 0:
            self._follow_pace(packet, steps, samples, now_s)
        start = self._timeline.note(packet.timestamp, samples)
        if sequence < self._newest and self._stamps.are_false and self._following is not None:
            start = self._following + (sequence - self._newest - 1) * samples
        stop = start + samples
        if self._following is None or sequence > self._newest:
            self._following, self._length, self._newest = stop, samples, sequence
        # The last packet that a block needs begins so far behind the block, at most.
        self.delays.coarseness_s = (self.block - self._timeline.unit) / self._rate
        transit_s = now_s - start / self._rate
        is_useless = transit_s - self.delays.base_s > self.config.delay.max_delay_ms / 1000.0
        if sequence == self._newest or not is_useless:
            self.delays.note(transit_s, now_s)
        if self._onset is not None:
            self._judge_onset(self._onset, now_s - start / self._rate, now_s)
        begun, position = self._turns.begun, self._timeline.position
        if begun and stop <= position:
            self.stats.late_packets += 1
            return Verdict.LATE
        self.stats.merged_packets += begun and start < position
        return self._insert(
            PlacedPacket(start, stop, sequence, packet.payload_type, packet.payload, False)
        )

    def _follow_pace(self, packet: RtpPacket, steps: int, samples: int, now_s: float) -> None:
        """Move the line where a stamp contradicts number and pace."""
        if self._following is None:
            return
        start = self._timeline.start_of(packet.timestamp)
        ahead = start - self._following - (steps - 1) * samples
        if steps == 1 or self._stamps.since_s is not None:
            self._stamps.note(steps * samples, ahead, self._rate, now_s)
        if not self._stamps.are_false:
            # What is missing may be as long as the packet before it, or without audio.
            most = self._following + (steps - 1) * max(samples, self._length)
            ahead = start - min(max(start, self._following), most)
        shift = ahead if self._stamps.are_false else self._false_samples(start, ahead, now_s)
        if steps == 1 and abs(ahead) <= _OFF_SHARE * samples:
            shift = ahead  # stamps so little off their grid say nothing
        if shift:
            self._timeline.shift(-shift)
        if not self.begun:
            return
        place = start - shift
        late_s = now_s - place / self._rate - self.delays.base_s - self.delays.target_s
        ready = self.buffered_samples > 0
        is_row = False
        if place < self._turns.reached:
            is_row = self._late.add(now_s)
        elif self._late.packets and (ready or late_s <= 0.0):
            self._late = _LateRow()
        # However many were lost before it: its stamp says no more than its number.
        is_onset = ahead <= shift and late_s > _ONSET_S
        # Behind a long pause a clock, or the path, may have become another one.
        is_long = place - self._following > _LONG_PAUSE_S * self._rate
        is_onset |= is_long and place < self._turns.reached
        if (is_row or is_onset) and not ready:
            self._begin_again(packet, now_s)

    def _false_samples(self, start: int, ahead: int, now_s: float) -> int:
        """Return how many samples too many a stamp says."""
        if ahead == 0:
            return 0
        pace_s = now_s - (start - ahead) / self._rate - self.delays.base_s
        if ahead < 0:
            return ahead if pace_s >= -_SOONER_S or -ahead > _STRAY_S * self._rate else 0
        sooner_s = ahead / self._rate - pace_s
        if sooner_s <= _SOONER_S:
            return 0
        # A pause is as long as the pace says; none, if the packet is in time next to the last.
        return ahead if pace_s <= self.delays.target_s else math.ceil(sooner_s * self._rate)

    def _begin_again(self, packet: RtpPacket, now_s: float) -> None:
        """Move the line to a packet that came late, and see on."""
        self._turns.pass_held()
        before, onset = self._timeline.start_of(packet.timestamp), self._onset
        base_s = self.delays.base_s if onset is None else onset.base_before_s
        moved = self._move_line(packet.timestamp, now_s)
        base_s -= (moved - before) / self._rate
        transit_s = now_s - moved / self._rate
        self._onset = _Onset(transit_s, base_s, transit_s, now_s + _STAND_S)

    def _judge_onset(self, onset: _Onset, transit_s: float, now_s: float) -> None:
        """Go back to the delay before if the network stood still."""
        if transit_s <= onset.base_before_s + self.delays.target_s:
            self.delays.rebase(onset.base_before_s, now_s)
            self.delays.note(onset.transit_s, now_s)
            self._turns.hurry_as_configured()
            self._onset = None
        elif transit_s < onset.least_s - _SOONER_S:
            # What was held up comes in faster than it was sent, and has not all come yet.
            onset.least_s, onset.until_s = transit_s, now_s + _STAND_S
        elif not 0.0 <= onset.until_s - now_s <= _STAND_S:
            self._onset = None
            if onset.transit_s - onset.least_s > _ONSET_S:
                self._turns.hurry_as_configured()

    def _insert(self, placed: PlacedPacket) -> Verdict:
        verdict = self._timeline.insert(placed)
        self.stats.duplicate_packets += verdict is Verdict.DUPLICATE and not placed.redundant
        self.stats.overflow_packets += verdict is Verdict.OVERFLOW
        return verdict

    def _move_line(self, timestamp: int, now_s: float) -> int:
        """Shift media time so that this packet waits the target delay; return its place.

        Nothing is said by that about the sender's clock: the base starts from here.
        """
        self._late = _LateRow()
        due = self._timeline.jump(timestamp, self._turns.place_for(now_s))
        self.delays.rebase(now_s - due / self._rate, now_s)
        return due
