"""The streams of a network capture: found, played as by the relay, and written.

::

    capture ──▶ RTP by addresses and SSRC ──▶ StreamRelay (Playout) ──▶ a file for each stream
                 first pass: what it is        second pass: by the sender's clock, or as they came

A capture is read twice, and never held: the first time tells which streams there are and how they
are coded. Each is played by the relay's playout, as fast as that goes; what the relay counts is
counted here. A stream is played whole: its packets are sorted by their numbers, and come when the
sender's clock says. Or it is played as a receiver would, by the times of arrival.
"""

import contextlib
import heapq
import itertools
import math
import struct
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from plc import notice
from plc.engine.spans import gaps_of
from plc.errors import ConfigError
from plc.files.tags.chunks import origin_tags
from plc.files.writing import AudioWriter
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.capture import Address, Datagram, Progress, read_datagrams
from plc.transport.rtp.codecs import STATIC_CODINGS, samples_per_tick, usual_rate
from plc.transport.rtp.coding import SAMPLE_BYTES
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.libopus import opus_samples
from plc.transport.rtp.mismatch import COMFORT_NOISE, OTHER_STATIC, in_words
from plc.transport.rtp.packets import (
    TIMESTAMP_BITS,
    RtpPacket,
    is_rtcp,
    parse_red,
    parse_rtp,
    steps_between,
)
from plc.transport.rtp.sdp import AudioMedia, parse_sdp
from plc.transport.rtp.sources import PROBATION, PROBATION_STEP_MAX, QUIET_PACKETS
from plc.transport.rtp.srtp import SrtpKey, SrtpReceiver
from plc.transport.rtp.udp import Endpoint
from plc.transport.service.recorder import KEPT_BACK_MAX_S, RecordingFile, in_utc
from plc_kernels.receive import layout
from plc_kernels.receive.units import AHEAD_MOST

_ticks_between = partial(steps_between, bits=TIMESTAMP_BITS)
# A clock that goes back by more was set; by less, its frames come from several queues. Ahead it was
# set where nothing comes for an hour, or where pauses, of more than 0.25 s, are a day in all.
_BACK_S, _PAUSE_S, _PAUSE_MAX_S, _PAUSES_MAX_S = 1.0, 0.25, 3600.0, 86_400.0
_STREAMS_MAX, _SOURCES_MAX, _DESCRIBED_MAX = 256, 4096, 256
# Of the packets of further sources one in so many gets a place: if all did, of more sources that
# send in turn none would stay until its second packet.
_PLACE_EVERY = 8
# Packets by which a stream is known, and bytes of those of all.
_HEAD_PACKETS, _HEADS_BYTES_MAX = 64, 1 << 26
# Played at once; for others the capture is read again.
_AT_ONCE = 16
_USUAL_RATES = (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_RATE_TOLERANCE = 0.04
# Share of a stream's first packets that have one size: a first one may be short.
_MOST = 0.9
# Bytes for a tick of the timestamps and a channel; of SRTP's tags.
_TICK_BYTES = SAMPLE_BYTES | {"g722": 1}
_TAG_BYTES = {4, 10}
# Of RFC 8489, and of RFC 6347 and 4347: versions 1.2 and 1.0.
_STUN_COOKIE, _DTLS = b"\x21\x12\xa4\x42", {b"\xfe\xfd", b"\xfe\xff"}
# Pauses are written up to so many bytes, and so many times the bytes of the sound between them.
_PAUSES_BYTES, _PAUSES_SHARE = 1 << 30, 100
# Said before so much is written.
_TOLD_BYTES = 1e8
# A packet is sorted among those that came in so many s, and so many of them at most.
_SORT_S, _SORTED_MAX = 10.0, 2048
# Copies that came so much later than those with new packets between them are a row sent again.
_AGAIN_S = 1.0
# So much is known behind a block, in s and packets at most: copies, and both sides of a hole.
_KNOWN_S, _KNOWN_PACKETS = 1.0, 2000
# A packet that begins within this share of it from the end of the one before follows it; rounding
# is believed up to the second one.
_OFF_SHARE, _ROUNDED_SHARE = 0.125, 0.75
# Stamps are false where they are further from the times of arrival, and the samples are not.
_PACE_SHARE = 0.2
# A pause is as long as it is stamped, unless what follows came by more too soon for that: then it
# is what the times of arrival say, if that is more. A sender is fast by this share at most. Lost
# packets are believed up to a number in any case.
_SOON_S, _FAST_SHARE, _LOST_BELIEVED = 0.5, 0.05, 25


@dataclass(eq=False, slots=True)
class Sender:
    """The RTP of one source, from one address to another."""

    source: Address
    target: Address
    ssrc: int
    first_s: float = math.nan
    last_s: float = math.nan
    """When its first and its last packet came, from the capture's first on."""
    packets: int = 0
    ticks: int = 0
    """By how much its timestamps advanced."""
    octets: Counter[int] = field(default_factory=Counter)
    """Bytes by payload type."""
    heads: list[tuple[float, bytes]] = field(default_factory=list)
    """Its first datagrams, and when they came."""
    sound_s: float = 0.0
    """Time from packet to packet, without what is a pause."""
    is_stream: bool = False
    """Whether two packets came in a row."""
    before: RtpPacket | None = None
    row: tuple[int, int, float] = 0, 0, 0.0
    """Of packets near each other, by number and time: how many were sent, in what ticks and s."""

    @property
    def name(self) -> str:
        """Its name in printed lines."""
        (source, port), (target, to) = self.source, self.target
        return f"SSRC {self.ssrc:08x} from {source}:{port} to {target}:{to}"

    @property
    def is_short(self) -> bool:
        """Whether these are all: then the capture need not be read again."""
        return len(self.heads) == self.packets

    def follow(self, packet: RtpPacket, now_s: float) -> None:
        """Take in a packet."""
        if self.before is not None:
            ticks = _ticks_between(self.before.timestamp, packet.timestamp)
            self.ticks += ticks
            steps = steps_between(self.before.sequence, packet.sequence)
            self.is_stream |= 0 < abs(steps) <= PROBATION_STEP_MAX
            is_next = 0 < steps <= PROBATION_STEP_MAX and 0 <= ticks < 1 << 16
            if is_next and now_s - self.last_s < _PAUSE_S:
                sent, before, lasted_s = self.row
                self.row = sent + steps, before + ticks, lasted_s + now_s - self.last_s
        self.before = packet

    def stamps_are_false(self, samples: int, ticks: int, rate: int) -> bool:
        """Return whether samples a packet keep pace with the arrivals, and stamps do not."""
        whole_s = self.last_s - self.first_s
        if abs(self.ticks * ticks / rate - whole_s) <= _PACE_SHARE * whole_s:
            return False  # pauses count by stamps, and in a row by no time
        sent, stamped, lasted_s = self.row
        apart_s = [abs(each / rate - lasted_s) for each in (sent * samples, stamped * ticks)]
        return apart_s[0] <= _PACE_SHARE * lasted_s < apart_s[1]


class _Clock:
    """The times of a capture, from its first on: they neither fall nor leap."""

    def __init__(self) -> None:
        self.begin_s = self._last_s = math.nan
        self._now_s = self._leapt_s = 0.0
        self._pauses_left_s = _PAUSES_MAX_S
        self.jumps = 0

    def read(self, time_s: float) -> float:
        if math.isnan(self._last_s):
            self.begin_s = self._last_s = time_s
        gap_s, self._last_s = time_s - self._last_s, time_s
        if not -_BACK_S <= gap_s <= max(_PAUSE_S, min(_PAUSE_MAX_S, self._pauses_left_s)):
            self.jumps += 1
            self._leapt_s += gap_s
        elif gap_s > _PAUSE_S:
            self._pauses_left_s -= gap_s
        self._now_s = max(self._now_s, time_s - self.begin_s - self._leapt_s)
        return self._now_s


class Capture:
    """A capture, and the streams that were found in it.

    Attributes
    ----------
    streams : list of Sender, in order of their first packets
    described : list of AudioMedia
        What descriptions (SDP) in its datagrams say, as SIP and SAP send them.
    left_out : Counter, what else there is, by name
    begin_s : float, when its first RTP came, in s since 1970

    Raises
    ------
    TraceError
        If the file, pcap or pcapng, cannot be read, or is no capture.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.path = path
        self.described: list[AudioMedia] = []
        self.left_out: Counter[str] = Counter()
        self._sources: dict[tuple[Address, Address, int], Sender] = {}
        self._strays: deque[Sender] = deque()
        """Sources that were no streams when they came, the oldest first."""
        self._beyond = 0
        self._is_known = False
        heads_bytes = 0
        for now_s, heard, datagram in self.packets(progress):
            heard.first_s = heard.first_s if heard.packets else now_s
            heard.sound_s += min(_PAUSE_S, now_s - heard.last_s) if heard.packets else _PAUSE_S
            heard.last_s = now_s
            heard.packets += 1
            heard.octets[datagram[1] & 0x7F] += len(datagram)
            if len(heard.heads) < _HEAD_PACKETS and heads_bytes < _HEADS_BYTES_MAX:
                heard.heads.append((now_s, datagram))
                heads_bytes += len(datagram)
        found = sorted(self._sources.values(), key=lambda each: (not each.is_stream, each.first_s))
        self.streams = [each for each in found[:_STREAMS_MAX] if each.is_stream]
        self.left_out["stray RTP"] += sum(each.packets for each in found[len(self.streams) :])
        self.left_out["jumps of the clock"] = self._clock.jumps
        self.begin_s = self._clock.begin_s
        self._is_known = True

    def packets(self, progress: Progress | None = None) -> Iterator[tuple[float, Sender, bytes]]:
        """Yield time (from the capture's first on), source and bytes of each packet."""
        self._clock = _Clock()
        left_out = Counter() if self._is_known else self.left_out
        for datagram in read_datagrams(self.path, left_out, progress):
            packet = parse_rtp(datagram.payload)
            if not isinstance(packet, RtpPacket) or datagram.is_cut or math.isnan(datagram.time_s):
                left_out[_kind_of(datagram, isinstance(packet, RtpPacket))] += 1
                self._describe(datagram.payload)
                continue
            heard = self._source((*datagram.flow, packet.ssrc))
            now_s = self._clock.read(datagram.time_s)
            if heard is not None:
                if not self._is_known:
                    heard.follow(packet, now_s)
                yield now_s, heard, datagram.payload

    def _source(self, key: tuple[Address, Address, int]) -> Sender | None:
        sources = self._sources
        if key not in sources and not self._is_known:
            if len(sources) >= _SOURCES_MAX:
                while self._strays and self._strays[0].is_stream:
                    self._strays.popleft()
                self._beyond += 1
                if not self._strays or self._beyond % _PLACE_EVERY:
                    self.left_out["stray RTP"] += 1
                    return None
                gone = self._strays.popleft()
                self.left_out["stray RTP"] += gone.packets
                del sources[gone.source, gone.target, gone.ssrc]
            sources[key] = Sender(*key)
            self._strays.append(sources[key])
        return sources.get(key)

    def _describe(self, payload: bytes) -> None:
        if b"m=audio" in payload and len(self.described) < _DESCRIBED_MAX:
            with contextlib.suppress(ConfigError):
                found = parse_sdp(payload.decode("utf-8", "replace"))
                self.described += [each for each in found if each not in self.described]


def _kind_of(datagram: Datagram, is_rtp: bool) -> str:
    """Return the kind of a datagram that is no whole RTP packet, by its first bytes (RFC 7983)."""
    first = datagram.payload[0]
    if is_rtp:
        return "cut packets" if datagram.is_cut else "packets without a time"
    if first >> 6 == 2 and is_rtcp(datagram.payload):
        return "RTCP"
    if first < 4 and datagram.payload[4:8] == _STUN_COOKIE:
        return "STUN"
    return "DTLS" if 20 <= first < 64 and datagram.payload[1:3] in _DTLS else "other datagrams"


def media_of(
    heard: Sender, described: list[AudioMedia], given: Mapping[str, Any], key: SrtpKey | None
) -> AudioMedia:
    """Return a stream's coding: by descriptions, static types, the user's options, or its packets.

    ``given`` are the user's options for streams without a description, by the names of AudioMedia.
    Without a ``key`` that of the description seals the stream, if there is one.

    Raises
    ------
    ConfigError
        If nothing tells, the codec is not played, or the key is missing or another one.
    """
    # Comfort noise stands for the pauses of another type.
    sound = {kind: octets for kind, octets in heard.octets.items() if kind != COMFORT_NOISE}
    most = max(sound, key=sound.__getitem__, default=COMFORT_NOISE)
    kind: int = given["payload_type"] if given.get("payload_type") in heard.octets else most
    port = heard.target[1]
    fitting = [
        each
        for each in sorted(described, key=lambda each: each.endpoint.port != port)
        if kind in (each.payload_type, each.red_payload_type, *dict(each.beside))
        and (each.endpoint.port == port or kind not in STATIC_CODINGS)
    ]
    keys = [key]
    if fitting and fitting[0].is_secure and key is None:
        # SIP's descriptions tell where one receives, and the key by which one sends (RFC 4568).
        keys = [each.key for each in (*fitting, *described) if each.key is not None]
        if not keys:
            raise ConfigError("its description says that it is SRTP: give --key-file")
    key, packets = _opened(heard, keys)
    if kind == given.get("red_payload_type"):
        packets = [_inside(each) if each.payload_type == kind else each for each in packets]
        types = Counter(each.payload_type for each in packets if each.payload_type != kind)
        kind = given.get("payload_type", max(types, key=types.__getitem__, default=kind))
    row = _in_a_row([each for each in packets if each.payload_type == kind])
    media = fitting[0] if fitting else _media_of_packets(heard, kind, row, given)
    tick_bytes = _TICK_BYTES.get(media.codec, 0) * media.channels
    extra = {len(each.payload) - ticks * tick_bytes for each, ticks in row}
    if key is None and extra and tick_bytes and extra <= _TAG_BYTES:
        raise ConfigError(
            f"each packet is {max(extra)} bytes longer than its {media.codec}, as SRTP is: give "
            "--key-file"
        )
    return replace(media, key=key)


def _opened(
    heard: Sender, keys: Sequence[SrtpKey | None]
) -> tuple[SrtpKey | None, list[RtpPacket]]:
    """Return the key that opens a stream's first packets, and these in their order."""
    for key in keys:
        sealed = [datagram for _, datagram in heard.heads]
        heads = sealed if key is None else map(SrtpReceiver(key).open, sealed)
        parsed = [parse_rtp(each or b"") for each in heads]
        packets = [each for each in parsed if isinstance(each, RtpPacket)]
        if packets or key is None:
            begin = 0x8000 + (packets[0].sequence if packets else 0)
            return key, sorted(packets, key=lambda each: (each.sequence - begin) & 0xFFFF)
    raise ConfigError(
        "its key opens none of its packets: compare keys and suites; the capture has to begin in "
        "the first 65536 packets of the stream"
    )


def _inside(packet: RtpPacket) -> RtpPacket:
    """Return a packet of redundancy (RFC 2198) as it would be without."""
    blocks = parse_red(packet.payload)
    if not isinstance(blocks, list):
        return packet
    return packet._replace(payload_type=blocks[-1].payload_type, payload=blocks[-1].payload)


def _in_a_row(packets: list[RtpPacket]) -> list[tuple[RtpPacket, int]]:
    """Return the packets that another one follows soon, and their ticks."""
    return [
        (each, ticks // steps)
        for each, after in itertools.pairwise(packets)
        if 0 < (steps := steps_between(each.sequence, after.sequence)) <= PROBATION_STEP_MAX
        and 0 < (ticks := (after.timestamp - each.timestamp) & 0xFFFF_FFFF) < 1 << 16
    ]


def _media_of_packets(
    heard: Sender, kind: int, row: list[tuple[RtpPacket, int]], given: Mapping[str, Any]
) -> AudioMedia:
    """Return the coding of a payload type by its number, its packets, and the user's options."""
    codec = None if kind in STATIC_CODINGS else given.get("codec")
    coding = STATIC_CODINGS.get(kind) or _guessed(heard, row)
    if codec and (coding is None or coding[0] != codec):
        coding = codec, usual_rate(codec), 1
    if coding is None and kind in OTHER_STATIC:
        raise ConfigError(f"payload type {kind} is {OTHER_STATIC[kind]}, which no codec here plays")
    if coding is None:
        is_red = row and all(_inside(each).payload_type in STATIC_CODINGS for each, _ in row)
        raise ConfigError(
            f"payload type {kind} does not say its codec, nor do its packets: give "
            + (f"--red-payload-type {kind}" if is_red else "--codec or --sdp")
        )
    found: dict[str, Any] = dict(zip(("codec", "sample_rate", "channels"), coding, strict=True))
    taken = {"red_payload_type"} if kind in STATIC_CODINGS else given
    found |= {"payload_type": kind} | {name: given[name] for name in taken if name in given}
    if kind != given.get("red_payload_type"):
        found["payload_type"] = kind
    return AudioMedia(endpoint=Endpoint(*heard.target), **found)


def _guessed(heard: Sender, row: list[tuple[RtpPacket, int]]) -> tuple[str, int, int] | None:
    """Return codec, rate and channels that packets in a row have; None if they fit none."""
    if not row:
        return None
    _, ticks, lasted_s = heard.row
    paces = (heard.ticks, heard.last_s - heard.first_s), (ticks, lasted_s)
    off, rate = min(
        (abs(count / max(1e-3, in_s) / each - 1.0), each)
        for count, in_s in paces for each in _USUAL_RATES
    )  # fmt: skip
    sizes = Counter(divmod(len(each.payload), ticks) for each, ticks in row)
    [((size, rest), count)] = sizes.most_common(1)
    if rest == 0 and count >= _MOST * len(row) and off <= _RATE_TOLERANCE:
        for codec in ("l24", "l16"):
            channels, odd = divmod(size, _TICK_BYTES[codec])
            if not odd and 0 < channels <= 8:
                return codec, rate, channels
    # Pauses make the time to the next packet longer.
    if 2 * sum(opus_samples(each.payload) == ticks for each, ticks in row) >= len(row):
        return "opus", 48_000, 2 if any(each.payload[0] & 4 for each, _ in row) else 1
    return None


def named(target: Path, streams: list[Sender]) -> list[Path]:
    """Return a file for each stream: of several, with its SSRC and, if it has to be, addresses."""
    if len(streams) == 1:
        return [target]
    times = Counter(each.ssrc for each in streams)
    texts = []
    for each in streams:
        ends = "-{}.{}-{}.{}".format(*each.source, *each.target).replace(":", ".")
        texts.append(f"-{each.ssrc:08x}{ends if times[each.ssrc] > 1 else ''}")
    return [target.with_stem(f"{target.stem}{text}") for text in texts]


class _InOrder:
    """Packets of a source in the order of their numbers, which may begin anew."""

    def __init__(self) -> None:
        self.strays = self._taken = self._row = self._newest = self._stamp = 0
        self._held: list[tuple[int, int, int, float, bytes]] = []
        """A heap of row, number, count, time of arrival and datagram."""
        self._arrivals: deque[float] = deque()
        self._known: dict[int, float] = {}
        """By number: when its first copy came."""
        self._aside: list[tuple[bool, int, float, bytes]] = []
        """Packets in a row that are far from the others (strays, else), or come again."""
        self._copied_s = 0.0
        """How late copies came that had new packets between them."""

    def take(self, now_s: float, datagram: bytes) -> Iterator[tuple[int, int, float, bytes]]:
        """Take a packet in; yield row, number, time of arrival and datagram of those now sorted."""
        sequence, stamp = struct.unpack_from("!HI", datagram, 2)
        if not self._known:
            self._newest, self._stamp = sequence, stamp
        ahead = steps_between(self._newest, sequence)
        is_far = not -_SORTED_MAX <= ahead <= AHEAD_MOST
        is_far |= ahead < 0 < _ticks_between(self._stamp, stamp)
        aside, number = self._aside, self._newest + ahead
        if not is_far and now_s - self._known.get(number, now_s) < self._copied_s + _AGAIN_S:
            if aside and number not in self._known and not aside[-1][0]:
                before = self._newest + steps_between(self._newest, aside[-1][1])
                self._copied_s = max(self._copied_s, aside[-1][2] - self._known[before])
            aside.clear()
        else:
            if aside and not 0 < abs(steps_between(aside[-1][1], sequence)) <= PROBATION_STEP_MAX:
                aside.clear()
            aside.append((is_far, sequence, now_s, datagram))
            self.strays += is_far
        if len(aside) >= (PROBATION if is_far else QUIET_PACKETS):
            self.strays -= sum(each[0] for each in aside)
            self._row += 1
            self._known.clear()
            self._newest, self._stamp = aside[0][1], int.from_bytes(aside[0][3][4:8])
            for _, *each in aside:
                self._hold(*cast(Any, each))
            aside.clear()
        elif not is_far:
            self._hold(sequence, now_s, datagram)
        return self.sorted_until(now_s)

    def _hold(self, sequence: int, now_s: float, datagram: bytes) -> None:
        number = self._newest + steps_between(self._newest, sequence)
        self._newest = max(self._newest, number)
        later = _ticks_between(self._stamp, int.from_bytes(datagram[4:8]))
        self._stamp += max(0, later)
        self._known.setdefault(number, now_s)
        if len(self._known) > 4 * _SORTED_MAX:
            oldest = self._newest - 2 * _SORTED_MAX
            self._known = {k: at_s for k, at_s in self._known.items() if k >= oldest}
        self._taken += 1
        heapq.heappush(self._held, (self._row, number, self._taken, now_s, datagram))
        self._arrivals.append(now_s)

    def sorted_until(self, now_s: float) -> Iterator[tuple[int, int, float, bytes]]:
        """Yield the packets that have waited long enough for those before them."""
        held, arrivals = self._held, self._arrivals
        while held and (now_s - arrivals[0] > _SORT_S or len(held) > _SORTED_MAX):
            arrivals.popleft()
            row, number, _, at_s, datagram = heapq.heappop(held)
            yield row, number, at_s, datagram


class _SenderClock:
    """Places packets, in order, by their stamps, or by their numbers where stamps are false."""

    def __init__(self, heard: Sender, codec: str, rate: int) -> None:
        self._heard, self._ticks, self.rate = heard, samples_per_tick(codec), rate
        self.start = self.stop = self._stamp = self._number = self._shift = self._others = 0
        """Media times of the newest packet, its stamp and number; packets without audio since."""
        self._row: int | None = None
        self._arrived_s = self._least_s = 0.0
        """When the newest came; the least that any came after its place, as far as that is slow."""
        self._owed = 0
        """Samples by which rounded stamps are behind the line, below 0."""
        self._is_false = False

    def place(
        self, packet: RtpPacket, samples: int, row: int, number: int, at_s: float
    ) -> RtpPacket:
        """Return a packet with its number and its media time as a receiver is to take them."""
        steps, start = number - self._number, self.stop
        if not samples:
            self._others += row == self._row and steps > self._others
        elif row == self._row and steps <= 0:  # a copy, or later than all that was sorted
            stamped = self.start + _ticks_between(self._stamp, packet.timestamp)
            start = self.start + steps * samples if self._is_false else stamped
        else:
            if row == self._row:
                start += self._hole(packet, samples, steps - 1 - self._others, at_s)
            elif self._row is None:
                self._is_false = self._heard.stamps_are_false(samples, self._ticks, self.rate)
                self._least_s = self._heard.first_s
            else:
                self._shift += self._number + 1 - number
                start = max(start, self.start + round((at_s - self._arrived_s) * self.rate))
            self.start, self.stop, self._row, self._others = start, start + samples, row, 0
            self._number, self._stamp, self._arrived_s = number, packet.timestamp, at_s
            is_first = at_s < self._heard.first_s + _SOON_S  # what was held up comes at once
            slowest_s = -math.inf if is_first else self._least_s - _FAST_SHARE * samples / self.rate
            self._least_s = max(slowest_s, min(self._least_s, at_s - start / self.rate))
        sequence, stamp = number + self._shift & 0xFFFF, start & 0xFFFF_FFFF
        return packet._replace(sequence=sequence, timestamp=stamp)

    def _hole(self, packet: RtpPacket, samples: int, missing: int, at_s: float) -> int:
        """Return the samples before a packet, of which so many others did not come."""
        length = self.stop - self.start
        hole = _ticks_between(self._stamp, packet.timestamp) - length
        lost, least = missing * samples, _OFF_SHARE * samples
        if not missing and hole < -least:
            self._owed = max(-int(_ROUNDED_SHARE * samples), self._owed + hole)
        if self._is_false or hole < 0 or abs(hole - lost) <= least:
            hole = lost
        elif not missing:
            self._owed, hole = min(0, self._owed + hole), max(0, self._owed + hole)
            hole = 0 if hole <= least else hole
        soon_s = self._least_s - _SOON_S - at_s + (self.stop + hole) / self.rate
        if soon_s > 0.0:
            believed = min(hole, lost, _LOST_BELIEVED * samples)
            away_s = at_s - self._arrived_s - length / self.rate
            waited = round(away_s * self.rate) if away_s > _SOON_S else 0
            hole = max(believed, min(waited, hole - math.ceil(soon_s * self.rate)))
        return hole


def _known_in_full(config: RelayConfig, heard: Sender) -> RelayConfig:
    """Return a stream with a delay for all that is known behind a block, in whole blocks."""
    receiver, stream = config.receiver, config.receiver.stream
    (sent, ticks, _), block_s = heard.row, stream.packet_samples / stream.sample_rate
    packet_s = ticks * samples_per_tick(receiver.codec) / max(1, sent) / stream.sample_rate
    known_s = min(_KNOWN_S, _KNOWN_PACKETS * (packet_s or block_s))
    delay_ms = 1000.0 * block_s * math.ceil(known_s / block_s)
    delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=delay_ms, max_delay_ms=delay_ms)
    return replace(config, receiver=replace(receiver, delay=delay))


class Played:
    """A stream of a capture on its way into a file.

    Attributes
    ----------
    target : Path, its file
    samples : int, written so far
    lost : list of (int, int), those that stand for lost ones
    first_s : float, when the first of all files begins, from the capture's beginning on
    """

    def __init__(
        self, heard: Sender, config: RelayConfig, begin_s: float, overwrite: bool, as_heard: bool
    ) -> None:
        assert isinstance(config.to, RecordingFile)
        self.heard, self.target = heard, config.to.path
        self._config = config = config if as_heard else _known_in_full(config, heard)
        self._begin_s, self._overwrite = begin_s, overwrite
        self.relay = StreamRelay(config)
        self._order = None if as_heard else _InOrder()
        codec = self.relay.playout.codec
        self._clock = _SenderClock(heard, codec.name, codec.sample_rate)
        self._at = 0, 0, 0.0
        """Row, number and time of arrival of the packet that is taken in."""
        self._origin_s = -math.inf
        """When the first packet of the whole stream came."""
        self._before = 0
        """Samples to leave out at the beginning: the first block and what is looked ahead."""
        self._most = math.inf
        """Samples that the file is to have."""
        if not as_heard:
            buffer = self.relay.playout.buffer
            buffer.placing = self._place
            ahead: int = buffer.receiver.block.item(layout.LOOKAHEAD)
            self._before = (1 + ahead) * buffer.block
        self._writer: AudioWriter | None = None
        self._start_s: float | None = None
        self._paused = 0
        """Samples played since all that was received."""
        self.first_s = heard.first_s
        self.samples = 0
        self.lost: list[tuple[int, int]] = []

    def receive(self, datagram: bytes, now_s: float) -> None:
        """Take in a packet, and write the blocks that were due before it."""
        if self._order is None:
            self._play_until(now_s)
            self.relay.receive(datagram, self.heard.source, now_s)
        else:
            self._take(self._order.take(now_s, datagram))

    def _take(self, packets: Iterator[tuple[int, int, float, bytes]]) -> None:
        for *at, datagram in packets:
            self._at = cast(Any, at)
            at_s = max(self._at[2], self._origin_s)
            self.relay.receive(datagram, self.heard.source, at_s, seen_s=self.relay.next_s)

    def _place(self, packet: RtpPacket, samples: int) -> tuple[RtpPacket, float]:
        """Return a packet as the sender's clock places it, and when it comes by that."""
        placed = self._clock.place(packet, samples, *self._at)
        if samples and self._origin_s == -math.inf:
            self._origin_s = self._at[2]
            self.relay.begin(self._origin_s)
        now_s = self._origin_s + self._clock.start / self._config.receiver.stream.sample_rate
        self._play_until(now_s)
        return placed, now_s

    def _play_until(self, now_s: float) -> None:
        silent_from = KEPT_BACK_MAX_S * self._config.receiver.stream.sample_rate
        while self.relay.next_s <= now_s:
            if self.relay.may_have_ended and self._paused >= silent_from:
                self._rest(now_s)
            else:
                self._play()

    def _play(self) -> None:
        due_s, buffer = self.relay.next_s, self.relay.playout.buffer
        before = buffer.receiver.made_up_samples
        is_after = self.relay.may_have_ended
        block = self.relay.play(due_s)
        if block is None:
            return
        writer = self._writer or self._open(due_s if self._order is None else self._origin_s)
        kept = slice(self._before, int(min(len(block), self._before + self._most - self.samples)))
        self._before -= min(self._before, len(block))
        block = block[kept]
        if buffer.receiver.made_up_samples < before and self.lost:
            self.lost.pop()  # it was a pause, as the packet behind it says
        for start, stop in gaps_of(self.relay.playout.lost[kept], 1):
            begin = self.samples + start
            if self.lost and self.lost[-1][1] == begin:
                begin = self.lost.pop()[0]
            self.lost.append((begin, self.samples + stop))
        writer.write(block)
        self.samples += len(block)
        self._paused = self._paused + len(block) if is_after else 0

    def _rest(self, now_s: float) -> None:
        samples = self.relay.rest(now_s)
        if self.lost and self.lost[-1][1] == self.samples:
            self.lost[-1] = self.lost[-1][0], self.samples + samples
        assert self._writer is not None
        self._writer.write_silence(samples)
        self.samples += samples

    def _open(self, due_s: float) -> AudioWriter:
        stream = self._config.receiver.stream
        rate, shape = stream.sample_rate, (stream.sample_rate, stream.channels)
        silent = round((due_s - self.first_s) * rate) if self._config.align else 0
        self._start_s = self._begin_s + due_s - silent / rate
        tags = origin_tags(self._start_s, rate)
        self._writer = AudioWriter(self.target, *shape, self._config.subtype, tags=tags,
                                   overwrite=self._overwrite)  # fmt: skip
        self._writer.write_silence(silent)
        self.samples = silent
        return self._writer

    def finish(self) -> None:
        """Write the rest, and give the file its name."""
        if self._order is not None:
            self._take(self._order.sorted_until(math.inf))
        if self._origin_s > -math.inf:
            silent = round((self._origin_s - self.first_s) * self._clock.rate) * self._config.align
            self._most = silent + self._clock.stop
            self._play_until(self._origin_s + self._config.receiver.delay.delay_ms / 1000.0)
        self.relay.playout.drain()
        while not self.relay.drained:
            self._play()
        if self.lost and self.lost[-1][1] == self.samples:
            self.lost.pop()  # behind the last packet nothing is known to be lost
        self.relay.tell(self._config.name, in_words)
        if self._writer is not None:
            self._writer.commit()
            self._writer = None

    def close(self) -> None:
        """End the stream; remove its file if it was not finished."""
        self.relay.close()
        if self._writer is not None:
            self._writer.discard()

    def report(self) -> dict[str, Any]:
        """Return the relay's report of a stream and its recording."""
        stream, counts = self._config.receiver.stream, self.relay.report()
        if self._order is not None:
            words, counted = self.relay.playout.buffer.receiver.block, counts["jitter_buffer"]
            counted["foreign_packets"] += self._order.strays
            counts["relay"]["delay_ms"] = dict.fromkeys(counts["relay"]["delay_ms"], 0.0)
            # Nobody knows that anything is lost behind the last packet.
            counted["lost_samples"] -= words.item(layout.POSITION) - self._clock.stop
        return counts | {
            "ssrc": self.heard.ssrc,
            "sample_rate": stream.sample_rate,
            "channels": stream.channels,
            "recording": {
                "file": str(self.target),
                "start": None if self._start_s is None else in_utc(self._start_s),
                "recorded_s": self.samples / stream.sample_rate,
            },
        }


def _check_size(capture: Capture, configs: Mapping[Sender, RelayConfig], first_s: float) -> None:
    """Say how much is to be written, if it is much; refuse endless pauses."""
    sound = pauses = 0.0
    for heard, config in configs.items():
        stream = config.receiver.stream
        bytes_per_s = stream.sample_rate * stream.channels * (3 if config.subtype else 2)
        length_s = heard.last_s - (first_s if config.align else heard.first_s)
        sound += heard.sound_s * bytes_per_s
        pauses += max(0.0, length_s - heard.sound_s) * bytes_per_s
    begin_s, span_s = first_s, max((each.last_s for each in configs), default=first_s) - first_s
    told = (
        f"{capture.path}, {span_s / 3600.0:.1f} h, makes {(sound + pauses) / 1e9:.1f} GB as WAV, "
        f"of which {100.0 * pauses / max(1.0, sound + pauses):.0f} % are pauses"
    )
    beyond = pauses - _PAUSES_SHARE * sound
    if beyond > _PAUSES_BYTES:
        begin_s += capture.begin_s
        part_s = 0.5 * span_s * _PAUSES_BYTES / beyond
        raise ConfigError(
            f"{told}: play a part of it, such as that of editcap -A {in_utc(begin_s)} -B "
            f"{in_utc(begin_s + part_s)} FILE part.pcap"
        )
    if sound + pauses > _TOLD_BYTES:
        notice.tell(told)


def play(
    capture: Capture,
    configs: Mapping[Sender, RelayConfig],
    *,
    as_heard: bool = False,
    conceals: bool = True,
    overwrite: bool,
    progress: Progress | None = None,
) -> list[Played]:
    """Play streams of a capture into files; return them, finished, in their order.

    Parameters
    ----------
    configs : mapping of Sender to RelayConfig, how each stream is played, and into which file
    as_heard : bool
        Whether packets count by their times of arrival, with the delay of their configuration. Else
        a stream is whole: no packet is late, and the sender's clock alone decides.
    conceals : bool
        Whether what is lost is concealed; else it is silent, and all else as it was received.
    progress : callable, optional, called now and then with the bytes read and those of the capture

    Raises
    ------
    AudioFileError
        If a file cannot be written; files of streams that were finished before stay.
    ConfigError
        If almost all of it would be pauses, and more than 1 GB.
    """
    first_s = min((heard.first_s for heard in configs), default=0.0)
    _check_size(capture, configs, first_s)
    done: dict[Sender, Played] = {}
    rows = sorted(configs.items(), key=lambda row: row[0].is_short)
    for start in range(0, len(rows), _AT_ONCE):
        playing: dict[Sender, Played] = {}
        with contextlib.ExitStack() as stack:
            for heard, config in rows[start : start + _AT_ONCE]:
                each = Played(heard, config, capture.begin_s, overwrite, as_heard)
                playing[heard] = stack.enter_context(contextlib.closing(each))
                each.relay.playout.conceals, each.first_s = conceals, first_s
            for each in playing.values():
                for now_s, datagram in each.heard.heads if each.heard.is_short else ():
                    each.receive(datagram, now_s)
            if not all(heard.is_short for heard in playing):
                for now_s, heard, datagram in capture.packets(progress):
                    if heard in playing and not heard.is_short:
                        playing[heard].receive(datagram, now_s)
            for each in playing.values():
                each.finish()
        done |= playing
    return [done[heard] for heard in configs]
