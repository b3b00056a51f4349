"""The jitter buffer: packets in as they come, blocks of the stream out at a steady pace.

It says which source is played (:mod:`~plc.transport.rtp.sources`) and keeps the payloads; where
each packet stands in time and what is due is the timeline's (:mod:`plc_kernels.receive`)::

    packet ──▶ Sources ──────▶ timeline: its number, its place, ──▶ block
               which stream    what is due and what of it is there
               is played

No clock is read: the time comes with each call. Memory is bounded: ``PACKETS_MAX`` packets.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from plc.errors import ConfigError
from plc.transport.rtp.delay import DelayConfig, Receiver, warm_receiver
from plc.transport.rtp.outcomes import JitterStats, Verdict
from plc.transport.rtp.packets import SEQUENCE_BITS, TIMESTAMP_BITS, RtpPacket
from plc.transport.rtp.sources import Heard, Sources
from plc_kernels.receive import entry, layout

PACKETS_MAX = 4096
# RFC 3550, appendix A.1: a packet this far behind is no reordering, but a restart.
_MISORDER_MAX = 100
# Of several paths one may be behind the others by as much as is known of the numbers: a second in
# packets of 1 ms, 128 ms in those of 125 µs. ST 2022-7 has up to 450 ms, of 10 ms for low delay.
_PATHS_BEHIND_MAX = layout.LOG_NUMBERS - 1
# A packet longer than this is no audio packet.
_PACKET_MAX_S = 1.0
_VERDICTS = {
    layout.ACCEPTED: Verdict.ACCEPTED,
    layout.DUPLICATE: Verdict.DUPLICATE,
    layout.LATE: Verdict.LATE,
    layout.OVERFLOW: Verdict.OVERFLOW,
}


class Turn(IntEnum):
    """Kind of a block, as :mod:`plc_kernels.receive.turns` says them."""

    PLAY = layout.PLAY
    PART = layout.PART
    LOST = layout.LOST
    SILENCE = layout.SILENCE
    HOLD = layout.HOLD
    WAIT = layout.WAIT


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterConfig:
    """Settings of a jitter buffer.

    Parameters
    ----------
    clock_rate : int
        Timestamp units, that is samples, in a second.
    block : int, samples pulled at once
    channels : int, of what is played
    delay : DelayConfig, how long packets wait
    paths : int
        Ways by which each packet comes (ST 2022-7): the delay is then long enough for the slowest.
    """

    clock_rate: int
    block: int
    channels: int = 1
    delay: DelayConfig = field(default_factory=DelayConfig)
    paths: int = 1

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.clock_rate <= 0:
            raise ConfigError(f"clock_rate is {self.clock_rate} Hz; it is above 0")
        if not 0 < self.block <= self.clock_rate:
            raise ConfigError(f"block is {self.block} samples; supported: 1 to a second of them")

    def open_receiver(self) -> Receiver:
        """Return the memory of a new receiver."""
        return Receiver(
            self.delay,
            {
                layout.RATE: self.clock_rate,
                layout.BLOCK_SAMPLES: self.block,
                layout.CHANNELS: self.channels,
                layout.PATHS: self.paths,
                layout.NUMBERED: 1,
                layout.BEHIND_MOST: _MISORDER_MAX if self.paths == 1 else _PATHS_BEHIND_MAX,
                layout.NUMBER_BITS: SEQUENCE_BITS,
                layout.STAMP_BITS: TIMESTAMP_BITS,
                layout.ROOM: PACKETS_MAX,
            },
        )


@dataclass(slots=True)
class PlacedPacket:
    """A packet that waits to be played."""

    start: int
    """Media time of its first sample."""
    samples: int
    sequence: int
    """Its place in the row of packets (:mod:`plc_kernels.receive.units`)."""
    payload_type: int
    payload: bytes
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


class JitterBuffer:
    """Packets of one stream in, blocks out.

    Parameters
    ----------
    config : JitterConfig, rates and delays

    Attributes
    ----------
    parts : list of BlockPart
        Received parts of the block pulled last, in order: all of it if that was PLAY, some of it if
        it was PART, else nothing.
    receiver : Receiver
        The memory of the timeline and of the line: whoever plays writes a block into its ``inbox``.
    """

    def __init__(self, config: JitterConfig) -> None:
        self.config = config
        self.block = config.block
        self.parts: list[BlockPart] = []
        warm_receiver()
        self.receiver = config.open_receiver()
        self._line, self._numbers = self.receiver.block, self.receiver.reals
        self._packets: list[PlacedPacket | None] = [None] * PACKETS_MAX
        """By handle."""
        self._sources = Sources(float(config.clock_rate))
        self._waits_since_s: float | None = None
        """Since when a stream of several paths waits to hear the slower one; -inf: it was heard."""

    def reset(self) -> None:
        """Make the buffer as new, but for its counters."""
        entry.forget(self._line)
        self._sources.reset()
        self.parts.clear()
        self._waits_since_s = None

    # ---- what is known --------------------------------------------------------------------------

    @property
    def stats(self) -> JitterStats:
        """All counters so far."""
        words = self._line
        return JitterStats(
            packets_received=int(words[layout.RECEIVED]),
            packets_expected=int(words[layout.EXPECTED]),
            duplicate_packets=int(words[layout.DOUBLES]),
            late_packets=int(words[layout.LATE_UNITS]),
            merged_packets=int(words[layout.MERGED]),
            reordered_packets=int(words[layout.REORDERED]),
            empty_packets=int(words[layout.EMPTY_UNITS]),
            overflow_packets=int(words[layout.OVERFLOWN]),
            foreign_packets=self._sources.foreign_packets,
            redundant_packets=int(words[layout.COPIES]),
            source_changes=self._sources.changes,
            played_samples=int(words[layout.PLAYED]),
            lost_samples=int(words[layout.LOST_SAMPLES]),
            late_samples=int(words[layout.LATE_SAMPLES]),
            silent_samples=int(words[layout.UNSENT]),
            skipped_samples=int(words[layout.SKIPPED]),
        )

    @property
    def made_up_samples(self) -> int:
        """Samples that were lost, or too late, so far."""
        return int(self._line[layout.LOST_SAMPLES] + self._line[layout.LATE_SAMPLES])

    @property
    def ssrc(self) -> int | None:
        """The source that is played; None before any was believed."""
        return self._sources.known

    @property
    def begun(self) -> bool:
        """True if the first block has been played."""
        return bool(self._line[layout.BEGUN])

    @property
    def buffered_samples(self) -> int:
        """Samples from the next block to the newest packet's end."""
        return int(entry.waiting(self._line))

    @property
    def packets_held(self) -> int:
        """Packets in the buffer."""
        return int(self._line[layout.COUNT])

    @property
    def target_s(self) -> float:
        """The delay that is aimed for, above that of a packet which nothing holds up."""
        return float(self._numbers[layout.TARGET_S])

    def delay_s(self, now_s: float) -> float:
        """Return the delay of a block pulled now, less the line's wait for a packet."""
        return float(entry.delay_now(self._line, now_s))

    def stands_alone(self, placed: PlacedPacket, before: int | None) -> bool:
        """Return whether a pause lies before a packet and nothing behind."""
        return before is not None and bool(entry.stands_alone(self._line, before, placed.sequence))

    # ---- packets in -----------------------------------------------------------------------------

    def put(self, packet: RtpPacket, samples: int, now_s: float, path: int = 0) -> Verdict:
        """Take a packet in.

        Parameters
        ----------
        packet : RtpPacket, as received
        samples : int, length of its audio
        now_s : float, when it arrived
        path : int
            By which of several ways.
        """
        if not self._is_length(samples):
            self._line[layout.EMPTY_UNITS] += 1
            if not packet.payload:
                self.pass_over(packet, now_s)  # padding or a keepalive (RFC 6263): a pause
            return Verdict.EMPTY
        if packet.ssrc == self.ssrc and not entry.stands_apart(
            self._line, packet.sequence, packet.timestamp, samples, float(now_s)
        ):
            verdict, believed = self._take_known(packet, samples, now_s)
        else:
            verdict = Verdict.PROBATION
            believed = self._sources.hear(packet, samples, now_s, path)
        if not believed:
            return verdict
        first = believed[0]
        entry.begin_row(self._line, first.packet.sequence, first.packet.timestamp, first.arrived_s)
        for heard in believed:
            verdict = self._take(heard.packet, heard.samples, heard.arrived_s)
        return verdict

    def _take_known(
        self, packet: RtpPacket, samples: int, now_s: float
    ) -> tuple[Verdict, list[Heard]]:
        """Take in a packet of the believed source; return the row of those that it begins anew."""
        held_up_s, may_be_late = entry.held_up(self._line, packet.sequence, packet.timestamp, now_s)
        verdict = self._take(packet, samples, now_s)
        is_double = verdict is Verdict.DUPLICATE or (verdict is Verdict.LATE and not may_be_late)
        if is_double and self.config.paths == 1:
            heard = Heard(packet, samples, now_s, verdict)
            believed = self._sources.hear_again(heard, held_up_s)
            for each in believed:
                self._line[layout.DOUBLES] -= each.verdict is Verdict.DUPLICATE
                self._line[layout.LATE_UNITS] -= each.verdict is Verdict.LATE
            return verdict, believed
        self._sources.confirm(samples, now_s)
        return verdict, []

    def _take(self, packet: RtpPacket, samples: int, now_s: float) -> Verdict:
        """Put a packet of the believed source onto the line."""
        line = self._line
        verdict = entry.take(line, packet.sequence, packet.timestamp, samples, now_s)
        if verdict == layout.DUPLICATE and self.config.paths > 1:
            # Of a slower path. Should the faster one lose a packet, its copy must be in time.
            self._waits_since_s = -math.inf
        if verdict == layout.ACCEPTED:
            self._keep(samples, packet.payload_type, packet.payload)
        return _VERDICTS[verdict]

    def _keep(self, samples: int, payload_type: int, payload: bytes, repeats: int = 0) -> None:
        """Keep a payload under the handle that the timeline gave it."""
        line = self._line
        start, place = int(line[layout.GIVEN_START]), int(line[layout.GIVEN_PLACE])
        self._packets[line[layout.GIVEN]] = PlacedPacket(
            start, samples, place, payload_type, payload, repeats
        )

    def pass_over(self, packet: RtpPacket, now_s: float) -> None:
        """Note a packet of the same sequence without audio.

        Senders put comfort noise (RFC 3389) and telephone events (RFC 4733) between their audio;
        without this they would pass for losses.
        """
        if packet.ssrc == self.ssrc and entry.pass_over(self._line, packet.sequence):
            self._sources.note(now_s)

    def give_way(self) -> None:
        """Let another source be believed without a pause."""
        self._sources.give_way()

    def yield_place(self) -> None:
        """Drop the current source, which had no right to its place.

        What is here of it is not played, and another one is believed without a pause.
        """
        entry.clear(self._line)
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
        verdict = entry.take_copy(self._line, packet.sequence, packet.timestamp, offset, samples)
        if verdict == layout.ACCEPTED:
            repeats = offset if payload is packet.payload else 0
            self._keep(samples, payload_type, payload, repeats)
        return _VERDICTS[verdict]

    def _is_length(self, samples: int) -> bool:
        return 0 < samples <= _PACKET_MAX_S * self.config.clock_rate

    # ---- blocks out -----------------------------------------------------------------------------

    def pull(self, now_s: float) -> Turn:
        """Pull the next block and return its kind; :attr:`parts` holds its samples."""
        self.parts.clear()
        if self.config.paths > 1 and not self.begun and self._waits_for_path(now_s):
            self.receiver.inbox.fill(0.0)
            self.receiver.marks.fill(0)
            self.append()
            return Turn.WAIT
        turn = Turn(entry.pull(self._line, now_s))
        for handle, begin, samples, at in self.receiver.parts[
            : self._line[layout.PARTS_COUNT]
        ].tolist():
            packet = self._packets[handle]
            assert packet is not None
            self.parts.append(BlockPart(packet, begin, samples, at))
        return turn

    def _waits_for_path(self, now_s: float) -> bool:
        """Return whether the slower path is still to be heard."""
        if self._waits_since_s is None and self.packets_held:
            self._waits_since_s = now_s
        since_s = now_s if self._waits_since_s is None else self._waits_since_s
        return now_s - since_s < self.config.delay.max_delay_ms / 1000.0

    def play(self, now_s: float) -> bool:
        """Play the next block, as the receiver's ``played``; False: one is to be pulled first."""
        return bool(entry.play(self._line, now_s) == layout.READY)

    def append(self) -> None:
        """Append the block of the receiver's ``inbox`` to the line; none is after WAIT."""
        entry.append(self._line)

    @property
    def ready_samples(self) -> float:
        """Samples of the line that wait to be played."""
        return float(entry.ready(self._line))

    @property
    def played_delay_s(self) -> float:
        """The delay of the block that was played last."""
        return float(self._numbers[layout.WAITED_S])

    @property
    def step(self) -> float:
        """Samples of the line for each that is played next."""
        return 1.0 + float(self._numbers[layout.STRETCH])

    @property
    def stretched_samples(self) -> tuple[int, int]:
        """Samples left out, and played twice, by whole periods so far."""
        return int(self._line[layout.SHORTENED]), int(self._line[layout.LENGTHENED])

    def leave_out(self, blocks: int) -> None:
        """Go on behind that many blocks: nobody has time to play them."""
        entry.leave_out(self._line, blocks * self.block)

    def rest(self, blocks: int) -> None:
        """Go on over as many blocks, of which nothing is there."""
        entry.rest(self._line, blocks * self.block)

    def hurry(self) -> None:
        """Let the next pull cut the excess delay after a standstill."""
        entry.hurry(self._line)
