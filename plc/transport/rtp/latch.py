"""Latch on one sender: its datagrams count until it has been silent.

::

    silence of the holder    0        0.3 s                2 s                        30 s
    who else is heard        nobody   its own stream       a newcomer that has been   anybody, as
                                      from another         heard for the last 0.5 s   at the start
                                      address              without a break

A pause of the sender (DTX) is no farewell. Who takes over after one has no seniority: for 30 s the
one before, as soon as it is heard again, has its place back at once, and the newcomer begins
again. So two that both send cannot take the stream from each other in turns.

A sender is known by its address; by SSRC and the continuation of its numbers where the address has
changed (a NAT that binds anew); by SSRC alone, at once, where its packets are authenticated (SRTP).
Whoever can read the stream and forge addresses is not kept out: that takes SRTP, or ``--allow`` in
a network that checks addresses.

No clock is read, and few newcomers are remembered, however many there are.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.outcomes import Verdict
from plc.transport.rtp.packets import HEADER_BYTES, Malformed, parse_rtp, ssrc_of, steps_between
from plc.transport.rtp.srtp import SrtpReceiver
from plc.transport.rtp.udp import Address, Network, is_in

# A holder that has been heard within this time is not silent: nothing of others is even parsed.
# A sender that was not believed yet gives way after it.
QUIET_S = 0.3
# A newcomer waits for this silence. Opus without speech sends a packet in 400 ms (RFC 6716, section
# 2.1.9), comfort noise comes as often; people pause for a second between sentences.
RELEASE_S = 2.0
# Before that it is heard for this long without a break, which a stray datagram or the tail of an
# old stream is not, and in so many packets; RFC 3550, appendix A.1, has two packets in a row, which
# is right where nobody is displaced.
PROBATION_S = 0.5
PROBATION_PACKETS = 4
# What is no break: as long between two packets, and as many numbers.
_BREAK_S = 0.25
_STEP_MAX = 100
# Silent this long, a holder's claim has lapsed, and so has that of the one displaced before.
LAPSE_S = 30.0
# Numbers that a stream may have gone on by while it was not heard: RFC 3550's MAX_DROPOUT.
_CONTINUES_MAX = 3000
# Newcomers that are remembered: by their first packet, and beyond it.
_FIRSTS_MAX = 256
_RUNS_MAX = 32

_NUMBERS = struct.Struct("!xxHxxxxI")


@dataclass(slots=True)
class _Claim:
    """A sender's claim to the stream."""

    address: Address
    ssrc: int
    sequence: int

    def goes_on(self, sequence: int, ssrc: int) -> bool:
        return ssrc == self.ssrc and 0 < steps_between(self.sequence, sequence) <= _CONTINUES_MAX


@dataclass(slots=True)
class _Run:
    """Packets of a newcomer without a break."""

    sequence: int
    begun_s: float
    heard_s: float
    packets: int = 1

    def goes_on(self, sequence: int, now_s: float) -> bool:
        """Take in the next packet; return whether there was no break before it."""
        step = steps_between(self.sequence, sequence)
        if now_s - self.heard_s > _BREAK_S or abs(step) > _STEP_MAX:
            return False
        self.heard_s = now_s
        if step > 0:
            self.sequence = sequence
            self.packets += 1
        return True


class Latch:
    """Accepts one sender's datagrams until it has been silent.

    A sender is heard provisionally until a packet of its was accepted, and gives way to others soon
    if none is; then it keeps its place as the module's text says. While it sends, others are
    refused by their address alone, before anything is parsed.

    Parameters
    ----------
    allow : sequence of Network, who may send; empty: everybody

    Attributes
    ----------
    believed : bool, whether a packet of the holder's was accepted
    """

    __slots__ = (
        "_allow",
        "_elder",
        "_elder_until_s",
        "_firsts",
        "_heard_s",
        "_holder",
        "_runs",
        "believed",
    )

    def __init__(self, allow: Sequence[Network] = ()) -> None:
        self._allow = tuple(allow)
        self._heard_s = -math.inf
        self._holder: _Claim | None = None
        self._elder: _Claim | None = None
        self._elder_until_s = -math.inf
        self._firsts: dict[tuple[Address, int], _Run] = {}
        self._runs: dict[tuple[Address, int], _Run] = {}
        self.believed = False

    @property
    def source(self) -> Address | None:
        """The sender that counts; None before any was heard."""
        return None if self._holder is None else self._holder.address

    def admits(
        self, source: Address, datagram: bytes, now_s: float, authentic: bool = False
    ) -> bool:
        """Return whether a datagram from there, perhaps authenticated, is to be looked at."""
        holder = self._holder
        if holder is None:
            return self._is_allowed(source)
        if now_s < self._heard_s:
            self._set_back(now_s)
        if source == holder.address:
            return True
        silent_s = now_s - self._heard_s
        is_own = authentic and ssrc_of(datagram) == holder.ssrc
        if is_own or self._is_elder(source, datagram, now_s):
            return self._is_allowed(source)
        if silent_s < QUIET_S or not self._is_allowed(source):
            return False
        if not self.believed or silent_s >= LAPSE_S:
            return True
        packet = parse_rtp(datagram)
        if isinstance(packet, Malformed):
            return False
        if holder.goes_on(packet.sequence, packet.ssrc):
            return True
        run = self._hear(source, packet.ssrc, packet.sequence, now_s)
        is_heard = run.packets >= PROBATION_PACKETS and now_s - run.begun_s >= PROBATION_S
        return is_heard and silent_s >= RELEASE_S

    def heard(
        self,
        source: Address,
        datagram: bytes,
        verdict: Verdict | Malformed | None,
        now_s: float,
        authentic: bool = False,
    ) -> bool:
        """Note the verdict of an admitted datagram; return whether an earlier sender returns.

        Parameters
        ----------
        source : Address, where it came from
        datagram : bytes, the same one
        verdict : Verdict, Malformed or None, of :meth:`~plc.transport.rtp.playout.Playout.put`
        now_s : float, when it came
        authentic : bool
            Whether it was signed with the stream's key: then it moves its stream at once.
        """
        if isinstance(verdict, Malformed) or len(datagram) < HEADER_BYTES:
            return False
        sequence, ssrc = _NUMBERS.unpack_from(datagram)
        holder = self._holder
        if authentic and holder is not None and ssrc == holder.ssrc:
            if steps_between(holder.sequence, sequence) not in range(-_STEP_MAX, 1):
                holder.address = source
            source = holder.address
        if verdict is None or verdict is Verdict.EMPTY:
            # Comfort noise, telephone events, keepalives: nothing to play, but no silence either.
            self._note_presence(source, sequence, ssrc, now_s)
            return False
        regained = False
        if self._holder is None or source != self._holder.address:
            regained = self._hand_over(_Claim(source, ssrc, sequence), now_s)
        self.believed |= verdict is Verdict.ACCEPTED
        if self.believed:
            self._heard_s = now_s
            self._forget_newcomers()
        assert self._holder is not None
        if verdict is Verdict.ACCEPTED or not self.believed:
            self._follow(self._holder, sequence, ssrc)
        return regained

    def _set_back(self, now_s: float) -> None:
        """Begin the times of silence and of seniority anew: the clock was set back."""
        self._heard_s = now_s
        self._elder_until_s = min(self._elder_until_s, now_s + LAPSE_S)
        self._forget_newcomers()

    def _is_allowed(self, source: Address) -> bool:
        return not self._allow or is_in(source[0], self._allow)

    def _is_elder(self, source: Address, datagram: bytes, now_s: float) -> bool:
        """Return whether this comes from the sender that a newcomer displaced."""
        elder = self._elder
        if elder is None or now_s >= self._elder_until_s or len(datagram) < HEADER_BYTES:
            return False
        sequence, ssrc = _NUMBERS.unpack_from(datagram)
        claim = _Claim(source, ssrc, sequence)
        return self._is_claim_of(elder, claim) and not isinstance(parse_rtp(datagram), Malformed)

    def _is_claim_of(self, elder: _Claim, claim: _Claim) -> bool:
        """Return whether the displaced sender makes a claim: by its address, or by its numbers."""
        if claim.address == elder.address:
            return True
        # Of one stream at two addresses, the numbers say nothing about which was first.
        assert self._holder is not None
        return claim.ssrc != self._holder.ssrc and elder.goes_on(claim.sequence, claim.ssrc)

    def _hear(self, source: Address, ssrc: int, sequence: int, now_s: float) -> _Run:
        """Count a packet of a sender without the port; return that sender's packets in a row.

        Thousands of senders of one packet each do not displace one that sends packets in a row.
        """
        key = source, ssrc
        run = self._runs.get(key) or self._firsts.pop(key, None)
        if run is None or not run.goes_on(sequence, now_s):
            self._runs.pop(key, None)
            if len(self._firsts) >= _FIRSTS_MAX:
                del self._firsts[next(iter(self._firsts))]
            run = self._firsts[key] = _Run(sequence, now_s, now_s)
        elif key not in self._runs:
            if len(self._runs) >= _RUNS_MAX:
                del self._runs[min(self._runs, key=lambda each: self._standing(each, now_s))]
            self._runs[key] = run
        return run

    def _standing(self, key: tuple[Address, int], now_s: float) -> tuple[bool, int, float]:
        run = self._runs[key]
        return now_s - run.heard_s <= _BREAK_S, run.packets, run.heard_s

    def _forget_newcomers(self) -> None:
        self._firsts.clear()
        self._runs.clear()

    def _hand_over(self, claim: _Claim, now_s: float) -> bool:
        """Let another sender hold the stream; return whether it is an elder."""
        before = self._holder
        elder = self._elder if now_s < self._elder_until_s else None
        regained = elder is not None and self._is_claim_of(elder, claim)
        if regained:
            elder = None
        elif elder is None and self.believed and now_s - self._heard_s < LAPSE_S:
            # Who is displaced while there is an elder gains no seniority by it.
            elder = before
            self._elder_until_s = now_s + LAPSE_S
        goes_on = before is not None and before.goes_on(claim.sequence, claim.ssrc)
        self.believed = regained or (self.believed and goes_on)
        self._holder, self._elder, self._heard_s = claim, elder, now_s
        self._forget_newcomers()
        return regained

    def _note_presence(self, source: Address, sequence: int, ssrc: int, now_s: float) -> None:
        holder = self._holder
        if self.believed and holder is not None and (source, ssrc) == (holder.address, holder.ssrc):
            self._heard_s = now_s
            self._forget_newcomers()
            self._follow(holder, sequence, ssrc)

    @staticmethod
    def _follow(holder: _Claim, sequence: int, ssrc: int) -> None:
        """Keep the newest number of the holder; one far behind it is of a new beginning."""
        if ssrc != holder.ssrc or not -_STEP_MAX <= steps_between(holder.sequence, sequence) <= 0:
            holder.ssrc, holder.sequence = ssrc, sequence


class RateCap:
    """Token bucket: a rate per second, and a burst of one second."""

    __slots__ = ("_filled_s", "_rate", "_tokens")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = rate
        self._filled_s = -math.inf

    def take(self, now_s: float) -> bool:
        """Take a token; return whether one was left."""
        if now_s < self._filled_s:  # the clock was set back
            self._filled_s = now_s
        if now_s > self._filled_s:
            gained = self._rate * min(now_s - self._filled_s, 1.0)
            self._tokens = min(self._rate, self._tokens + gained)
            self._filled_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass(slots=True)
class GateStats:
    """Counters of one of the ways by which a stream comes."""

    packets: int = 0
    """Of the stream that is played, duplicates among them."""
    first_packets: int = 0
    """That came by this path before any other, and were played."""


class Refusal(Enum):
    """Why a datagram is not looked at."""

    FOREIGN = auto()
    """Of another sender than the one that counts, or of one that may not send."""
    CAPPED = auto()
    """Beyond what may come in a second."""
    SEALED = auto()
    """Not sealed with the stream's key; counted by :class:`SrtpReceiver`."""


class Gate:
    """Lets one sender's datagrams in, as many as may come in a second, and opens sealed ones.

    Attributes
    ----------
    latch : Latch, whose datagrams count
    srtp : SrtpReceiver or None, opens what is sealed
    stats : GateStats, counters to write
    """

    def __init__(self, config: ReceiverConfig) -> None:
        self.latch = Latch(config.allow)
        self.srtp = None if config.key is None else SrtpReceiver(config.key)
        self.stats = GateStats()
        self._cap = RateCap(config.packets_per_s)
        self._strangers = RateCap(config.packets_per_s)

    def open(self, datagram: bytes, source: Address, now_s: float) -> bytes | Refusal:
        """Return a datagram of the sender that counts as it was before it was sealed."""
        latch, srtp = self.latch, self.srtp
        if srtp is not None:
            # First of all: what nobody with the key has sent takes neither place nor rate. Beside a
            # known sender no more of others is opened than a stream may have: forging costs little.
            if latch.source not in (None, source) and not self._strangers.take(now_s):
                return Refusal.CAPPED
            opened = srtp.open(datagram)
            if opened is None:
                return Refusal.SEALED
            datagram = opened
        if not latch.admits(source, datagram, now_s, srtp is not None):
            return Refusal.FOREIGN
        return datagram if self._cap.take(now_s) else Refusal.CAPPED
