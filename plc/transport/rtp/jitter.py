"""The jitter buffer: packets in as they come, blocks of the stream out at a steady pace.

It says which source is played (:mod:`~plc.transport.rtp.sources`) and keeps the payloads; where
each packet stands in time and what is due is the timeline's (:mod:`plc_kernels.receive`)::

    packet ──▶ Sources ──────▶ timeline: its number, its place, ──▶ block
               which stream    what is due and what of it is there
               is played

No clock is read: the time comes with each call. Memory is bounded: ``PACKETS_MAX`` packets.
"""

import math
from collections.abc import Callable, Iterator
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
    layout.DOUBTFUL: Verdict.LATE,
}


class Turn(IntEnum):
    """Kind of a block, as :mod:`plc_kernels.receive.turns` says them."""

    PLAY = layout.PLAY
    PART = layout.PART
    LOST = layout.LOST
    SILENCE = layout.SILENCE
    HOLD = layout.HOLD
    WAIT = layout.WAIT


_TURNS = tuple(Turn)  # which takes an eighth of the time of Turn(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterConfig:
    """Settings of a jitter buffer.

    Parameters
    ----------
    clock_rate : int, timestamp units, that is samples, in a second
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

    ``parts`` are the received parts of the block pulled last, in order: all of it if that was PLAY,
    some of it if it was PART, else nothing. ``receiver`` is the memory of the timeline and of the
    line: whoever plays writes a block into its ``inbox``. ``placing``, if there is one, takes
    each packet and its samples, and returns it as it is to be taken, and its time; the first is
    believed.
    """

    def __init__(self, config: JitterConfig) -> None:
        self.config = config
        self.block = config.block
        self.parts: list[BlockPart] = []
        warm_receiver()
        self.receiver = config.open_receiver()
        self._line = self.receiver.block
        self._most = int(_PACKET_MAX_S * config.clock_rate)
        self._given = self._line[layout.GIVEN : layout.GIVEN + 3]
        self._packets: list[PlacedPacket | None] = [None] * PACKETS_MAX
        """By handle."""
        self._sources = Sources(float(config.clock_rate))
        self.placing: Callable[[RtpPacket, int], tuple[RtpPacket, float]] | None = None
        self._as_placed: RtpPacket | None = None
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
        words, numbers = self._line, self.receiver.reals
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
            inserted_samples=float(numbers[layout.INSERTED]) + int(words[layout.LENGTHENED]),
            removed_samples=float(numbers[layout.REMOVED]) + int(words[layout.SHORTENED]),
            waited_s=float(numbers[layout.DELAYED]),
            aimed_s=float(numbers[layout.AIMED]),
            emitted_samples=int(words[layout.EMITTED]),
        )

    @property
    def ssrc(self) -> int | None:
        """The source that is played; None before any was believed."""
        return self._sources.known

    # ---- packets in -----------------------------------------------------------------------------

    def put(self, packet: RtpPacket, samples: int, now_s: float, path: int = 0) -> Verdict:
        """Take a packet in, with so many samples of audio, which came by one of several paths."""
        if not 0 < samples <= self._most:
            self._line[layout.EMPTY_UNITS] += 1
            if not packet.payload:
                self.pass_over(packet, now_s)  # padding or a keepalive (RFC 6263): a pause
            return Verdict.EMPTY
        if self.placing is not None:
            packet, now_s = self.placing(packet, samples)
            self._as_placed = packet
            if self._sources.known is None:
                self._sources.known = packet.ssrc
                return self._begin_anew([Heard(packet, samples, now_s)])
        verdict, doubles = layout.APART, False
        if packet.ssrc == self._sources.known:
            verdict = entry.arrive(self._line, packet.sequence, packet.timestamp, samples, now_s)
            doubles = verdict in (layout.DUPLICATE, layout.DOUBTFUL)
        if verdict == layout.APART:
            believed = self._sources.hear(packet, samples, now_s, path)
            if not believed:
                return Verdict.PROBATION
        elif doubles and self.config.paths == 1:
            believed = self._heard_again(Heard(packet, samples, now_s, _VERDICTS[verdict]))
            if not believed:
                return _VERDICTS[verdict]
        else:
            self._sources.confirm(samples, now_s)
            return self._taken(verdict, packet, samples)
        return self._begin_anew(believed)

    def _begin_anew(self, believed: list[Heard]) -> Verdict:
        """Let the line begin anew with a row of packets; return the outcome of the last one."""
        first = believed[0]
        entry.begin_row(self._line, first.packet.sequence, first.packet.timestamp, first.arrived_s)
        for heard in believed:
            sent = heard.packet.sequence, heard.packet.timestamp
            taken = entry.take(self._line, *sent, heard.samples, heard.arrived_s)
            verdict = self._taken(taken, heard.packet, heard.samples)
        return verdict

    def _heard_again(self, heard: Heard) -> list[Heard]:
        """Take in a double; return the row that the known source begins anew, if it does."""
        believed = self._sources.hear_again(heard, float(self.receiver.reals[layout.HELD_UP_S]))
        for each in believed:
            self._line[layout.DOUBLES] -= each.verdict is Verdict.DUPLICATE
            self._line[layout.LATE_UNITS] -= each.verdict is Verdict.LATE
        return believed

    def _taken(self, verdict: int, packet: RtpPacket, samples: int) -> Verdict:
        """Keep a packet of the believed source, if the timeline has a place for it."""
        if verdict == layout.ACCEPTED:
            self._keep(samples, packet.payload_type, packet.payload)
            return Verdict.ACCEPTED
        if verdict == layout.DUPLICATE and self.config.paths > 1:
            # Of a slower path. Should the faster one lose a packet, its copy must be in time.
            self._waits_since_s = -math.inf
        return _VERDICTS[verdict]

    def _keep(self, samples: int, payload_type: int, payload: bytes, repeats: int = 0) -> None:
        handle, place, start = self._given.tolist()
        self._packets[handle] = PlacedPacket(start, samples, place, payload_type, payload, repeats)

    def pass_over(self, packet: RtpPacket, now_s: float) -> None:
        """Note a packet of the same sequence without audio.

        Senders put comfort noise (RFC 3389) and telephone events (RFC 4733) between their audio;
        without this they would pass for losses.
        """
        if self.placing is not None:
            packet, now_s = self.placing(packet, 0)
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

        ``packet``, put last and accepted, carries the copy; the earlier one's timestamp lies
        ``offset`` samples before its own. ``payload_type``, ``payload`` and ``samples`` are of the
        earlier one; or the later one's own payload, which repeats it.
        """
        if packet.ssrc != self.ssrc or not 0 < samples <= self._most:
            return Verdict.EMPTY
        packet = self._as_placed or packet
        verdict = entry.take_copy(self._line, packet.sequence, packet.timestamp, offset, samples)
        if verdict == layout.ACCEPTED:
            repeats = offset if payload is packet.payload else 0
            self._keep(samples, payload_type, payload, repeats)
        return _VERDICTS[verdict]

    # ---- blocks out -----------------------------------------------------------------------------

    def pull(self, now_s: float) -> Turn:
        """Pull the next block and return its kind; :attr:`parts` holds its samples."""
        self.parts.clear()
        receiver = self.receiver
        if self.config.paths > 1 and not receiver.begun and self._waits_for_path(now_s):
            receiver.inbox.fill(0.0)
            receiver.marks.fill(0)
            receiver.append()
            return Turn.WAIT
        turn = _TURNS[entry.pull(self._line, now_s)]
        self.parts.extend(self._collected(self._line.item(layout.PARTS_COUNT)))
        return turn

    def behind(self, samples: int) -> Iterator[BlockPart]:
        """Yield the parts of so many samples behind the block pulled last, in order.

        A part's ``at`` is counted from the block's end.
        """
        return self._collected(entry.known_behind(self._line, samples))

    def _collected(self, count: int) -> Iterator[BlockPart]:
        for handle, begin, samples, at in self.receiver.parts[:count].tolist():
            packet = self._packets[handle]
            assert packet is not None
            yield BlockPart(packet, begin, samples, at)

    def _waits_for_path(self, now_s: float) -> bool:
        if self._waits_since_s is None and self.receiver.units:
            self._waits_since_s = now_s
        since_s = now_s if self._waits_since_s is None else self._waits_since_s
        return now_s - since_s < self.config.delay.max_delay_ms / 1000.0
