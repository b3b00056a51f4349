"""One stream through the relay: datagrams in, blocks out.

::

    path ──▶ latch ─┐
                    ├──▶ Playout (jitter buffer, concealer, resampler) ──▶ block ──▶ encode
    path ──▶ latch ─┘                                     one each packet length

A stream may come by two paths (SMPTE ST 2022-7): the same packets, with the same numbers, by two
networks. Each path has a latch and a rate limit of its own; of each packet the first copy counts. A
clock is passed in, and there are no sockets.
"""

import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.config import OPEN
from plc.engine.stream.stats import TimeHistogram, percentiles
from plc.errors import ConfigError
from plc.transport.rtp.codecs import check_frame, samples_per_tick
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.latch import Gate, Latch, Refusal
from plc.transport.rtp.mismatch import Reading, Told
from plc.transport.rtp.outcomes import Peak, Verdict
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import Malformed, RtpPacket, is_rtcp, parse_rtp
from plc.transport.rtp.playout import Playout
from plc.transport.rtp.rtcp import Reports, ended_by
from plc.transport.rtp.srtp import SrtpSender, SrtpTold, check_sealable, merged
from plc.transport.rtp.udp import Address, Endpoint, is_multicast

if TYPE_CHECKING:
    from plc.transport.service.recorder import RecordingFile

# Ticks that are this much overdue are left out: the machine slept.
_OVERDUE_S = 1.0
# The same of a recording, where nothing was received for so long.
_RECORDING_OVERDUE_S = 30.0
# A stream that was a packet late or more for so long has too little time: what is due is left out,
# so that the rest is heard in time. After a standstill it may catch up as long.
_CATCH_UP_S = 0.5
# Share of a packet by which a block may be behind before bursts begin with less, and share of the
# time left that they may then take: several streams that lose a packet at once share one packet's
# time. 64 streams of which 5 % is lost, on two cores: 0.17 % late without.
_BEHIND = 0.25
# A stream that said its end, and sends for so long nothing more, has ended.
_LEFT_S = 0.25
# What may be the end of a recording is kept in memory meanwhile.
_END_AFTER_MAX_S = 60.0
# Six bits (RFC 2474).
_DSCP_MAX = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """Settings of one stream through the relay.

    Parameters
    ----------
    listen : Endpoint, where it comes in
    to : Endpoint or RecordingFile
        Where it goes: a host, or an audio file (:mod:`plc.transport.service.recorder`).
    receiver : ReceiverConfig
        How it is received. It is sent on in the same format and codec, with the same payload type,
        in packets of ``receiver.stream``.
    seed : int or None, seed of the sent stream's first numbers; None: unpredictable ones
    second : Endpoint or None, where the same packets come in by a second path (SMPTE ST 2022-7)
    rtcp : bool
        Whether to take and send reports (RFC 3550), on the ports after those of the streams.
    dscp : int or None, what sent packets are marked with, 0 to 63; None: the system's default
    end_after_s : float
        A recording ends when its stream was silent for this time; infinite: only when it says so
        (RTCP BYE), or the relay ends. What was made after the last packet is not in it.
    align : bool
        Whether a recording begins with those beside it: silence stands in front of what came later
        than the first packet of any.
    share_port : bool
        Whether other relays on this machine may listen there, too: each takes the senders that the
        kernel gives it. Of one path without RTCP, to a port of this machine.
    is_open : bool
        Whether a recording takes the coding that its packets say, as nobody has said one.
    name : str, what it is called in reports, events and metrics; empty: the endpoint that listens
    """

    listen: Endpoint
    to: "Endpoint | RecordingFile"
    receiver: ReceiverConfig = field(default_factory=ReceiverConfig)
    seed: int | None = None
    second: Endpoint | None = None
    rtcp: bool = False
    dscp: int | None = None
    end_after_s: float = math.inf
    align: bool = False
    share_port: bool = False
    is_open: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        """Check that the codec has such packets, and the numbers."""
        if self.dscp is not None and not 0 <= self.dscp <= _DSCP_MAX:
            raise ConfigError(f"dscp is {self.dscp}; supported: 0 to {_DSCP_MAX}")
        if not 0.0 < self.end_after_s <= _END_AFTER_MAX_S and self.end_after_s != math.inf:
            raise ConfigError(
                f"end_after_s is {self.end_after_s}; supported: more than 0, at most "
                f"{_END_AFTER_MAX_S:g} s"
            )
        if self.second is not None and self.second == self.listen and self.listen.port:
            raise ConfigError(f"both paths are {self.listen}; give two ports, groups or cards")
        if self.share_port and (self.rtcp or self.second or is_multicast(self.listen.host)):
            raise ConfigError(
                "share_port goes without rtcp, a second path and multicast: what belongs together "
                "would reach several processes"
            )
        block = self.receiver.stream.packet_samples
        check_frame(self.receiver.codec, block)
        if self.receiver.key is None:
            return
        if self.seed is not None:
            raise ConfigError(f"seed is {self.seed}; SRTP takes none: numbers must not repeat")
        if isinstance(self.to, Endpoint):
            stream = self.receiver.stream
            check_sealable(self.receiver.codec, stream.sample_rate, stream.channels, block)

    def read_as(self, reading: Reading) -> Self:
        """Return the same stream in another coding."""
        codec, sample_rate, channels, number = reading
        # Packets of the same time.
        form = replace(
            self.receiver.stream, sample_rate=sample_rate, channels=channels, packet_samples=OPEN
        )
        receiver = replace(self.receiver, stream=form, codec=codec, payload_type=number)
        return replace(self, receiver=receiver)

    @property
    def subtype(self) -> str | None:
        """Coding of a recording, by libsndfile's name, whose samples need more than 16 bits."""
        return {"l24": "PCM_24"}.get(self.receiver.codec)


@dataclass(slots=True)
class RelayStats:
    """Counters of a stream through the relay; its parts keep their own."""

    datagrams_received: int = 0
    refused_datagrams: int = 0
    """Not from the source that counts, or not allowed."""
    capped_datagrams: int = 0
    """Too many in a second."""
    packets_sent: int = 0
    late_packets_sent: int = 0
    """Sent more than one packet length after they were due."""
    hurried_packets: int = 0
    """Made with less than their time, as those before had taken it: by the cheaper method."""
    skipped_packets: int = 0
    """Not sent: the machine was asleep when they were due, or had no time for them."""
    unwritten_samples: int = 0
    """Played for a recording and not in its file, whose disk was full or stood still."""
    source_changes: int = 0
    lateness: TimeHistogram = field(default_factory=TimeHistogram)
    """By how much packets were sent after they were due."""
    delay: TimeHistogram = field(default_factory=TimeHistogram)
    """What the relay added to the stream's delay, at each packet sent."""


class StreamRelay:
    """One stream: datagrams in, blocks out."""

    def __init__(self, config: RelayConfig) -> None:
        self.config = config
        self.records = not isinstance(config.to, Endpoint)
        """Whether it goes to a file."""
        self.end_after_s = config.end_after_s if self.records else math.inf
        """Silence that ends the stream; infinite: none does."""
        receiver = config.receiver
        self.paths = [Gate(receiver) for _ in range(1 if config.second is None else 2)]
        self.playout = Playout(receiver, paths=len(self.paths))
        self.arrivals = self.playout.arrivals
        rng = random.SystemRandom() if config.seed is None else random.Random(config.seed)
        # Decoding and encoding keep state of their own.
        self.packetizer = Packetizer(
            receiver.open_codec(),
            ssrc=rng.getrandbits(32),
            sequence=rng.getrandbits(15),
            timestamp=rng.getrandbits(32),
            payload_type=self.arrivals.payload_type,
        )
        self.srtp_receivers = [path.srtp for path in self.paths if path.srtp is not None]
        self.srtp_sender = None if receiver.key is None else SrtpSender(receiver.key)
        self.reports: Reports | None = None
        if config.rtcp:
            codec, ssrc = self.playout.codec, self.packetizer.ssrc
            clock_rate = codec.sample_rate // samples_per_tick(codec.name)
            self.reports = Reports(clock_rate, ssrc, f"plc-{ssrc:08x}", config.seed)
        self.stats = RelayStats()
        self.peak = Peak()
        self.heard_s = -math.inf
        """When a packet was played, or to be, last."""
        self.told = Told(self.playout.inspection)
        self._srtp_told = SrtpTold(self.srtp_receivers)
        self._period_s = self.playout.block / self.playout.codec.sample_rate
        self._overdue_s = _RECORDING_OVERDUE_S if self.records else _OVERDUE_S
        # A recording is heard later: it waits for its time.
        self._hurries_s = _CATCH_UP_S if self.records else _BEHIND * self._period_s
        self.next_s = math.inf
        """Time at which the next block is due; infinite before anything was received."""
        self._begin_s = math.inf
        self._due_s = math.inf
        self._late_since_s = math.inf
        self._left_s = math.inf
        self._ssrc: int | None = None
        self._ticks = 0

    @property
    def latch(self) -> Latch:
        """Latch of the first path: the sender that counts."""
        return self.paths[0].latch

    def begin(self, now_s: float) -> None:
        """Let the first block be due at a time, if nothing comes before."""
        self._count_blocks(0, now_s)

    def _count_blocks(self, ticks: int, begin_s: float) -> None:
        """Let the first block be due at a time, and the next one so many ticks later."""
        self._ticks, self._begin_s = ticks, begin_s
        self.next_s = begin_s + ticks * self._period_s

    def receive(
        self,
        datagram: bytes,
        source: Address,
        now_s: float,
        number: int = 0,
        seen_s: float | None = None,
    ) -> None:
        """Take in a datagram of the path of this number, read at ``seen_s``."""
        stats, path = self.stats, self.paths[number]
        stats.datagrams_received += 1
        ahead_s = self.next_s - (now_s if seen_s is None else seen_s)
        if self._overdue_s < ahead_s < math.inf:
            # The clock was set back: no block may wait until it is again as late as it was.
            self._count_blocks(self._ticks, self._begin_s - ahead_s)
        opened = path.open(datagram, source, now_s)
        if isinstance(opened, Refusal):
            stats.refused_datagrams += opened is Refusal.FOREIGN
            stats.capped_datagrams += opened is Refusal.CAPPED
            return
        datagram, latch = opened, path.latch
        packet = parse_rtp(datagram)
        if isinstance(packet, Malformed) and is_rtcp(datagram):
            self.note_farewell(datagram, now_s)
            if self.reports is not None:
                self.reports.receive(datagram, now_s)
                return
        verdict = self.arrivals.put(packet, now_s, number)
        self.told.note_source(source, self.arrivals.buffer.ssrc)
        if verdict is Verdict.ACCEPTED:
            assert isinstance(packet, RtpPacket)
            path.stats.first_packets += 1
            if self.reports is not None:
                self.reports.note_received(packet, now_s)
        elif verdict is Verdict.DUPLICATE and len(self.paths) > 1:
            # What the other path was first with is as good a sign of its sender.
            verdict = Verdict.ACCEPTED
        path.stats.packets += verdict in (Verdict.ACCEPTED, Verdict.LATE)
        before = latch.source
        if latch.heard(source, datagram, verdict, now_s, path.srtp is not None):
            self.arrivals.yield_place(verdict)
        stats.source_changes += latch.source != before is not None
        if verdict is Verdict.ACCEPTED and isinstance(packet, RtpPacket):
            self.heard_s = now_s
            if now_s < self._begin_s:
                self._count_blocks(self._ticks, now_s)
            self._ssrc = packet.ssrc
            self._left_s = math.inf
            if self.records:
                self.playout.drain()

    def note_farewell(self, datagram: bytes, now_s: float) -> None:
        """Take in RTCP of the sender: perhaps the end of the stream."""
        ended = ended_by(datagram)
        if self.playout.buffer.ssrc in ended:
            self.playout.buffer.give_way()
        if self.records and self._ssrc in ended:
            self._left_s = now_s

    @property
    def may_have_ended(self) -> bool:
        """True if the block played now may be after the end of a recording."""
        return self._ssrc is not None and self.playout.drained

    def has_ended(self, now_s: float) -> bool:
        """Return whether the stream has ended, or was silent too long."""
        left = now_s - self._left_s >= _LEFT_S
        return self.may_have_ended and (left or now_s - self.heard_s >= self.end_after_s)

    def play(self, now_s: float, seen_s: float | None = None) -> NDArray[np.float32] | None:
        """Return the block that is due, shape (n, channels); None if none is, or nothing began.

        Once it is more than a quarter of a packet behind ``seen_s``, by default ``now_s``, or half
        a second if it is recorded, a burst begins with what takes at most a quarter of the time
        left.
        """
        late_s = now_s - self.next_s
        if late_s > self._overdue_s or self._is_late_for_long(late_s, now_s):
            self._leave_out(int(late_s / self._period_s))
        due_s = self.next_s
        if now_s < due_s:
            return None
        self._count_blocks(self._ticks + 1, self._begin_s)
        behind_s = (now_s if seen_s is None else seen_s) - due_s
        left_s = max(0.0, self._period_s - behind_s)
        hurried = behind_s > self._hurries_s
        self.stats.hurried_packets += hurried
        played = self.playout.tick(due_s, 1000.0 * _BEHIND * left_s if hurried else math.inf)
        if not self.playout.buffer.receiver.begun:
            return None
        stats = self.stats
        stats.packets_sent += 1
        stats.delay.add(1000.0 * max(0.0, self.playout.delay_s))
        self.peak.note(played, due_s)
        self._due_s = due_s
        return played.T

    def rest(self, now_s: float) -> int:
        """Go on over the blocks that are due, of a silent pause; return how many samples it is."""
        blocks = 1 + int((now_s - self.next_s) / self._period_s)
        self._count_blocks(self._ticks + blocks, self._begin_s)
        self.stats.packets_sent += blocks
        self.playout.rest(blocks)
        return blocks * self.playout.block

    def _is_late_for_long(self, late_s: float, now_s: float) -> bool:
        if self.records or late_s <= self._period_s:
            self._late_since_s = math.inf
        else:
            self._late_since_s = min(self._late_since_s, now_s)
        return now_s - self._late_since_s > _CATCH_UP_S

    def _leave_out(self, blocks: int) -> None:
        """Leave out blocks: receivers take them for lost packets; go on with the block due now."""
        self._count_blocks(self._ticks + blocks, self._begin_s)
        self.stats.skipped_packets += blocks
        if not self.records and self.playout.buffer.receiver.begun:
            self.packetizer.leave_out(blocks, self.playout.block)
            self.playout.leave_out(blocks)

    def note_sent(self, now_s: float) -> None:
        """Count how late the block that was last played has left."""
        if self.reports is not None:
            made = self.packetizer
            self.reports.note_sent(made.timestamp, made.packets, made.octets, now_s)
        late_s = now_s - self._due_s
        self.stats.late_packets_sent += late_s > self._period_s
        self.stats.lateness.add(1000.0 * max(0.0, late_s))

    def seal(self, packet: bytes) -> bytes | None:
        """Return a packet as it is to be sent; None if it cannot be sealed."""
        return packet if self.srtp_sender is None else self.srtp_sender.seal(packet)

    def tell(self, where: str, note: Callable[..., None]) -> None:
        """Note packets that differ from the configuration."""
        self.told.tell(where, note)
        self._srtp_told.tell(where, note)

    def close(self) -> None:
        """End the threads of the concealer's networks, if there are any."""
        self.playout.close()

    @property
    def drained(self) -> bool:
        """True if everything received has been played."""
        return self.playout.drained

    def report(self) -> dict[str, Any]:
        """Return everything that was counted, by name."""
        to = self.config.to
        stats = asdict(self.stats)
        stats["lateness_ms"] = percentiles(self.stats.lateness)
        stats["delay_ms"] = percentiles(self.stats.delay)
        del stats["lateness"], stats["delay"]
        return {
            "name": self.config.name or str(self.config.listen),
            "listen": str(self.config.listen),
            "to": str(to),
            "codec": self.config.receiver.codec,
            "source": None if self.latch.source is None else "{}:{}".format(*self.latch.source),
            "relay": stats,
            "srtp": merged(self.srtp_receivers),
            "paths": [asdict(path.stats) for path in self.paths],
            "rtcp": None if self.reports is None else self.reports.report(),
        } | self.playout.report()
