"""Reports on a stream by RTCP (RFC 3550, section 6): received upstream, sent downstream.

::

    sender ── RTP ──▶ relay ── RTP ──▶ receiver        each on its port
           ── SR ───▶       ── SR ───▶                 RTCP on the port after it
           ◀── RR ──        ◀── RR ──

:class:`Reports` keeps what the reports say of one stream, in both directions, and makes ours. It
has no socket and no clock but those passed in. Packets are built and parsed by aiortc's classes.
"""

import itertools
import math
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from plc.extras import needed
from plc.transport.rtp.packets import SEQUENCE_BITS, RtpPacket, Unwrapper
from plc_kernels.receive.units import AHEAD_MOST

# RFC 3550, section 6.2: five seconds, less or more by half so that reports do not meet.
INTERVAL_S = 5.0
_FIRST_S = 0.5 * INTERVAL_S
# Section 4: seconds from 1900 to 1970, and parts of one.
_NTP_EPOCH_S = 2_208_988_800
_NTP_PARTS = 1 << 32
# Middle 32 bits of such a time: parts of 2⁻¹⁶ s.
_MIDDLE = 0xFFFF_FFFF
_MIDDLE_PARTS = 1 << 16
# Appendix A.8.
_JITTER_GAIN = 1.0 / 16.0
_CNAME = 1
_BYE = 203
# A compound fits an Ethernet packet (section 6.1), and has a packet of each kind or two. The parser
# makes 85 ms of work of 65 kB with 8000 goodbyes.
_COMPOUND_BYTES = 1500
_COMPOUND_PACKETS = 32
# aiortc's parser raises these for what is no RTCP.
_UNREADABLE = (ValueError, IndexError, struct.error)


@dataclass(slots=True)
class Peer:
    """A receiver's last report on the stream that we send."""

    lost_ratio: float
    """Share of packets lost since its report before."""
    lost_packets: int
    jitter_s: float
    round_trip_s: float | None
    """There and back; None before it had a report of ours."""


@dataclass(slots=True)
class ReportStats:
    """Counters of RTCP."""

    sent: int = 0
    received: int = 0
    unreadable: int = 0


def _packets_of(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 4 <= len(datagram) and datagram[at] >> 6 == 2:
        size = 4 * (1 + int.from_bytes(datagram[at + 2 : at + 4], "big"))
        yield datagram[at + 1], datagram[at] & 31, datagram[at : at + size]
        at += size


def _is_compound(datagram: bytes) -> bool:
    packets = itertools.islice(_packets_of(datagram), _COMPOUND_PACKETS + 1)
    return len(datagram) <= _COMPOUND_BYTES and sum(1 for _ in packets) <= _COMPOUND_PACKETS


def ended_by(datagram: bytes) -> list[int]:
    """Return the SSRCs that RTCP takes leave of (RFC 3550, section 6.6)."""
    ended: list[int] = []
    if not _is_compound(datagram):
        return ended
    for kind, count, packet in _packets_of(datagram):
        size = 4 * (1 + int.from_bytes(packet[2:4], "big"))
        if kind == _BYE and len(packet) == size >= 4 + 4 * count:
            ended += struct.unpack_from(f"!{count}I", packet, 4)
    return ended


class _Reception:
    """Numbers of one received source, as its receiver reports state them."""

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self._rate = clock_rate
        self._numbers = Unwrapper(SEQUENCE_BITS)
        self._first = 0
        self._packets = 0
        self._reported = (0, 0)
        self._transit: int | None = None
        self.jitter = 0.0
        """In timestamp units."""
        self.heard: tuple[int, float] | None = None
        """Middle of the last sender report's time, and when that came."""

    def note(self, packet: RtpPacket, now_s: float) -> None:
        newest = self._numbers.newest
        if newest is not None and abs(self._numbers.peek(packet.sequence) - newest) > AHEAD_MOST:
            # It has started over (appendix A.1); loss before that is no loss.
            self._numbers.reset()
            self._packets, self._reported, self._transit = 0, (0, 0), None
            newest = None
        number = self._numbers.unwrap(packet.sequence)
        self._first = number if newest is None else min(self._first, number)
        self._packets += 1
        transit = (round(now_s * self._rate) - packet.timestamp) & 0xFFFF_FFFF
        if self._transit is not None:
            differs = (transit - self._transit) & 0xFFFF_FFFF
            differs = min(differs, (1 << 32) - differs)
            self.jitter += (differs - self.jitter) * _JITTER_GAIN
        self._transit = transit

    def report(self, rtp: Any, now_s: float) -> Any:
        """Return the block of a receiver report, and begin its next interval."""
        newest = self._numbers.newest
        assert newest is not None
        expected = newest - self._first + 1
        since, received_since = expected - self._reported[0], self._packets - self._reported[1]
        self._reported = expected, self._packets
        lost = max(0, since - received_since)
        heard = self.heard
        return rtp.RtcpReceiverInfo(
            ssrc=self.ssrc,
            fraction_lost=min(255, 256 * lost // since) if since > 0 else 0,
            packets_lost=rtp.clamp_packets_lost(expected - self._packets),
            highest_sequence=newest & 0xFFFF_FFFF,
            jitter=int(self.jitter),
            lsr=0 if heard is None else heard[0],
            dlsr=0 if heard is None else round((now_s - heard[1]) * _MIDDLE_PARTS) & _MIDDLE,
        )


class Reports:
    """RTCP of one stream.

    Parameters
    ----------
    clock_rate : int, timestamp units in a second, of the received and the sent stream
    ssrc : int, of the sent stream
    cname : str, name of this end (RFC 3550, section 6.5.1)
    seed : int or None, seed of the intervals; None: unpredictable ones
    wall : callable, returns the time of day in s since 1970

    Attributes
    ----------
    stats : ReportStats, counters
    peer : Peer or None, the last report on the sent stream; None before any
    next_s : float, when reports are due; infinite before the first packet

    Raises
    ------
    MissingExtraError
        If aiortc is not installed.
    """

    def __init__(
        self,
        clock_rate: int,
        ssrc: int,
        cname: str,
        seed: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._rtp = _import_rtp()
        self._rate = clock_rate
        self._ssrc = ssrc
        self._cname = cname.encode()[:255]
        self._rng = Random(seed)
        self._wall = wall
        self._reception: _Reception | None = None
        self._sent: tuple[int, float] | None = None
        self._packets = 0
        self._octets = 0
        self.stats = ReportStats()
        self.peer: Peer | None = None
        self.next_s = math.inf

    @property
    def jitter_s(self) -> float:
        """Interarrival jitter of the received stream (RFC 3550, section 6.4.1)."""
        return 0.0 if self._reception is None else self._reception.jitter / self._rate

    def note_received(self, packet: RtpPacket, now_s: float) -> None:
        """Take in a packet of the received stream."""
        if self._reception is None or self._reception.ssrc != packet.ssrc:
            self._reception = _Reception(packet.ssrc, self._rate)
        self._reception.note(packet, now_s)
        self._begin(now_s)

    def note_sent(self, timestamp: int, packets: int, octets: int, now_s: float) -> None:
        """Take in that a packet was sent.

        Parameters
        ----------
        timestamp : int, of the packet after it
        packets, octets : int, sent so far; octets of payloads
        now_s : float, when it was sent
        """
        self._sent = timestamp, now_s
        self._packets, self._octets = packets, octets
        self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        if self.next_s == math.inf:
            self.next_s = now_s + _FIRST_S * self._rng.uniform(0.5, 1.5)

    def receive(self, datagram: bytes, now_s: float) -> bool:
        """Take in a datagram; return whether the source reports.

        The source is that of the received stream.
        """
        rtp = self._rtp
        if not _is_compound(datagram):
            self.stats.unreadable += 1
            return False
        try:
            packets = rtp.RtcpPacket.parse(datagram)
        except _UNREADABLE:
            self.stats.unreadable += 1
            return False
        self.stats.received += 1
        is_sender = False
        for packet in packets:
            if isinstance(packet, rtp.RtcpSrPacket):
                reception = self._reception
                if reception is not None and packet.ssrc == reception.ssrc:
                    is_sender = True
                    reception.heard = packet.sender_info.ntp_timestamp >> 16 & _MIDDLE, now_s
            if isinstance(packet, rtp.RtcpSrPacket | rtp.RtcpRrPacket):
                for block in packet.reports:
                    if block.ssrc == self._ssrc:
                        self.peer = self._peer(block)
        return is_sender

    def _peer(self, block: Any) -> Peer:
        round_trip_s = None
        if block.lsr:
            passed = ((self._ntp() >> 16) - block.lsr - block.dlsr) & _MIDDLE
            # Clocks that differ in speed make a short way negative.
            round_trip_s = passed / _MIDDLE_PARTS if passed <= _MIDDLE >> 1 else 0.0
        return Peer(
            block.fraction_lost / 256.0, block.packets_lost, block.jitter / self._rate, round_trip_s
        )

    def due(self, now_s: float) -> tuple[bytes | None, bytes | None]:
        """Return the reports to sender and receiver that are due.

        It sets the next time. None where there is nothing to report on.
        """
        self.next_s = now_s + INTERVAL_S * self._rng.uniform(0.5, 1.5)
        upstream = None if self._reception is None else self._receiver_report(now_s)
        downstream = None if self._sent is None else self._sender_report(now_s)
        self.stats.sent += (upstream is not None) + (downstream is not None)
        return upstream, downstream

    def report(self) -> dict[str, Any]:
        """Return the counters and the last report by name."""
        peer = None if self.peer is None else asdict(self.peer)
        return asdict(self.stats) | {"jitter_s": self.jitter_s, "peer": peer}

    def farewell(self) -> bytes:
        """Return the end of the sent stream."""
        empty = self._rtp.RtcpRrPacket(ssrc=self._ssrc)
        end = self._rtp.RtcpByePacket(sources=[self._ssrc])
        return bytes(empty) + self._description() + bytes(end)

    def _receiver_report(self, now_s: float) -> bytes:
        assert self._reception is not None
        block = self._reception.report(self._rtp, now_s)
        report = self._rtp.RtcpRrPacket(ssrc=self._ssrc, reports=[block])
        return bytes(report) + self._description()

    def _sender_report(self, now_s: float) -> bytes:
        assert self._sent is not None
        timestamp, sent_s = self._sent
        info = self._rtp.RtcpSenderInfo(
            ntp_timestamp=self._ntp(),
            rtp_timestamp=(timestamp + round((now_s - sent_s) * self._rate)) & 0xFFFF_FFFF,
            packet_count=self._packets & 0xFFFF_FFFF,
            octet_count=self._octets & 0xFFFF_FFFF,
        )
        report = self._rtp.RtcpSrPacket(ssrc=self._ssrc, sender_info=info)
        return bytes(report) + self._description()

    def _description(self) -> bytes:
        chunk = self._rtp.RtcpSourceInfo(ssrc=self._ssrc, items=[(_CNAME, self._cname)])
        return bytes(self._rtp.RtcpSdesPacket(chunks=[chunk]))

    def _ntp(self) -> int:
        return int((self._wall() + _NTP_EPOCH_S) * _NTP_PARTS) & 0xFFFF_FFFF_FFFF_FFFF


def _import_rtp() -> Any:
    with needed("RTCP needs aiortc, which is not installed", "rtp"):
        from aiortc import rtp
    return rtp
