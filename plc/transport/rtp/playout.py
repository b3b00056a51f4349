"""RTP packets in at any time, a steady stream of samples out.

::

    packet ──▶ jitter buffer ──▶ decode ──▶ Concealer ──▶ line ──▶ resample ──▶ block
               what is due when             None if it    what      a little faster
                                            is not there  is ready  or slower, or not

Every tick gives one block of the same length, whatever came in. The concealer works on decoded
samples before they are stretched: what it makes of a trace of losses is what it makes of it
offline. The resampler behind it takes up the difference of
the two clocks; while there is none it only copies, and received samples come out bit for bit.

The concealer is built once, with everything else, for the block that a tick plays: building one
takes so long that no packet may wait for it. So its packets are blocks of one tick. The jitter
buffer makes each of the sender's packets, whatever their lengths, and says which samples are
missing. These alone are concealed (``▓``: received, ``·``: concealed)::

    packets   |    594    |    594    |    lost   |    594    |    594    |
    blocks    |   480   |   480   |   480   |   480   |   480   |   480   |
                                  |▓▓▓▓ ····|·······▓▓|

In a pause a sender refreshes the background by a packet now and then (DTX of Opus). Played between
two bursts of concealment it would be heard as a dip at each, as a burst begins with what was heard
last and takes its time to become noise. So, where it is about as loud as the noise that is played,
the noise goes on in its place, and becomes as loud; any other is played.
"""

import math
from collections import deque
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.concealer import Concealer
from plc.engine.stream.stats import Stats
from plc.errors import ConfigError, not_copied
from plc.transport.rtp.codecs import Codec, open_beside, samples_per_tick
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.jitter import JitterBuffer, JitterConfig, PlacedPacket, Turn
from plc.transport.rtp.mismatch import Inspection
from plc.transport.rtp.outcomes import JitterStats, Verdict
from plc.transport.rtp.packets import Malformed, RtpPacket, parse_red, parse_rtp
from plc_kernels.receive import entry, layout
from plc_kernels.signal.packet import LARGEST
from plc_kernels.stream.layout import KNOWN_MS

# What came between two holes is played if it is as long as the shortest packets in use (AES67).
_LEAST_MS = 0.125

# Counters of the concealer that leave out what is made after the last packet.
_ENDING = "concealment_events", "concealed_samples", "silent_concealed_samples"
# A pause is filled by noise after this long; a packet that refreshes it differs by less than this.
_PAUSE_S = 0.2
_REFRESH_DB = 6.0


@dataclass(slots=True)
class PlayoutStats:
    """Counters of a playout; the jitter buffer and the concealer keep their own."""

    malformed_packets: dict[Malformed, int] = field(default_factory=dict)
    """By reason; redundancy that could not be read among them."""
    unknown_packets: int = 0
    """Of another payload type: comfort noise and telephone events, say, which are not played."""
    undecodable_packets: int = 0
    refresh_packets: int = 0
    """Of a pause, as loud as its noise, which went on in their place."""
    ticks: int = 0


class _PauseNoise:
    """The noise of a pause: how loud it is, and is to be."""

    __slots__ = ("_blocks", "_gain", "_gain_before", "_power", "_tick_s")

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._power = 0.0
        self.end()

    def end(self) -> None:
        """Note that something else is played."""
        self._blocks = 0
        self._gain = self._gain_before = 1.0

    @property
    def is_settled(self) -> bool:
        """True if nothing else was played for so long that it is noise."""
        return self._blocks * self._tick_s >= _PAUSE_S

    def note(self, concealed: NDArray[np.float32]) -> None:
        """Measure a block of noise; make it as loud as its refresh."""
        self._blocks += 1
        share = 1.0 / min(self._blocks, max(1.0, 0.5 * _PAUSE_S / self._tick_s))
        self._power += share * (_power_of(concealed) - self._power)
        if self._gain != 1.0:
            gains = np.linspace(self._gain_before, self._gain, len(concealed))
            concealed *= gains[:, np.newaxis].astype(np.float32)
            self._gain_before = self._gain

    def takes(self, refresh: NDArray[np.float32]) -> bool:
        """Become as loud as a refresh; return whether that is about as loud already."""
        power, ratio = _power_of(refresh), 10.0 ** (0.1 * _REFRESH_DB)
        if not self._power < ratio * power < ratio * ratio * self._power:
            return False
        self._gain = math.sqrt(power / self._power)
        return True


def _power_of(samples: NDArray[np.float32]) -> float:
    return float(np.vdot(samples, samples)) / samples.size


class Arrivals:
    """Packets of one stream into its jitter buffer, by their payload types.

    Attributes
    ----------
    buffer : JitterBuffer, the jitter buffer
    codecs : dict of int to Codec, by the payload types that are played
    payload_type, red_payload_type : int, int or None, of the audio and of RFC 2198
    inspection : Inspection, mismatches between received packets and the settings
    """

    def __init__(
        self, config: ReceiverConfig, codec: Codec, paths: int, stats: PlayoutStats
    ) -> None:
        self._codec, self._stats = codec, stats
        self._samples_per_tick = samples_per_tick(codec.name)
        self.payload_type = (
            codec.payload_type if config.payload_type is None else config.payload_type
        )
        self.red_payload_type = config.red_payload_type
        self.codecs = open_beside(codec, config.more_payload_types) | {self.payload_type: codec}
        if self.payload_type == self.red_payload_type:
            raise ConfigError(
                f"payload type {self.payload_type} is both the audio's and the redundancy's"
            )
        self.inspection = Inspection(codec, self.payload_type)
        self.buffer = JitterBuffer(
            JitterConfig(
                clock_rate=codec.sample_rate,
                block=config.stream.packet_samples,
                channels=codec.channels,
                delay=config.delay,
                paths=paths,
            )
        )

    def put(
        self, packet: RtpPacket | Malformed, now_s: float, path: int = 0
    ) -> Verdict | Malformed | None:
        """Add a packet; return its verdict, or None for a foreign payload type."""
        if isinstance(packet, Malformed):
            return self._count(packet)
        if self._samples_per_tick != 1:
            # A whole factor: stamps in samples wrap at 32 bits as those sent do.
            stamp = packet.timestamp * self._samples_per_tick & 0xFFFF_FFFF
            packet = packet._replace(timestamp=stamp)
        if packet.payload_type == self.red_payload_type:
            return self._put_redundant(packet, now_s, path)
        codec = self.codecs.get(packet.payload_type)
        if codec is None:
            if not self.inspection.note_other(packet, now_s):
                self._pass_over(packet, now_s)
                return None
            self.payload_type = packet.payload_type
            self.codecs[packet.payload_type] = codec = self._codec
        return self._put_primary(packet, codec, now_s, path)

    def yield_place(self, verdict: Verdict | Malformed | None) -> None:
        """Give up the source that plays, if this packet's is on probation."""
        if verdict is Verdict.PROBATION:  # otherwise it is the one that is played
            self.buffer.yield_place()

    def _put_redundant(
        self, packet: RtpPacket, now_s: float, path: int
    ) -> Verdict | Malformed | None:
        blocks = parse_red(packet.payload)
        if isinstance(blocks, Malformed):
            return self._count(blocks)
        primary = blocks[-1]
        codec = self.codecs.get(primary.payload_type)
        if codec is None:
            self._pass_over(packet, now_s)
            return None
        whole = packet._replace(
            payload_type=primary.payload_type, payload=primary.payload, csrcs=()
        )
        verdict = self._put_primary(whole, codec, now_s, path)
        if verdict in (Verdict.ACCEPTED, Verdict.LATE):
            for block in blocks[:-1]:
                if block.payload_type in self.codecs:
                    self.buffer.put_redundant(
                        whole,
                        block.offset * self._samples_per_tick,
                        block.payload_type,
                        block.payload,
                        self.codecs[block.payload_type].samples(block.payload),
                    )
        return verdict

    def _pass_over(self, packet: RtpPacket, now_s: float) -> None:
        self._stats.unknown_packets += 1
        self.buffer.pass_over(packet, now_s)

    def _put_primary(self, packet: RtpPacket, codec: Codec, now_s: float, path: int) -> Verdict:
        samples = codec.samples(packet.payload)
        verdict = self.buffer.put(packet, samples, now_s, path)
        if verdict is Verdict.EMPTY:
            self.inspection.note_without_audio(packet)
        elif (
            packet.payload_type == self.payload_type
            and verdict is not Verdict.DUPLICATE
            and self.buffer.ssrc in (None, packet.ssrc)
        ):
            self.inspection.note_audio(packet, samples, now_s)
        if verdict is Verdict.ACCEPTED and (reach := codec.repeated(packet.payload)):
            each = min(samples, reach)  # of several frames the last is repeated, by the first one
            copy = packet.payload_type, packet.payload, each
            for offset in range(each, reach + 1, each):  # the nearest first
                if self.buffer.put_redundant(packet, offset, *copy) is Verdict.LATE:
                    break
        return verdict

    def _count(self, reason: Malformed) -> Malformed:
        counts = self._stats.malformed_packets
        counts[reason] = counts.get(reason, 0) + 1
        return reason


class _Decoded:
    """The received parts of a block, decoded, and its holes."""

    def __init__(self, arrivals: Arrivals, stats: PlayoutStats, sample_rate: int) -> None:
        self._arrivals, self._buffer, self._stats = arrivals, arrivals.buffer, stats
        self._block = self._buffer.block
        self._least = int(sample_rate * _LEAST_MS / 1000.0)
        self._edge = sample_rate // 1000  # what does not follow the block before is concealed
        self._enough = round(sample_rate * KNOWN_MS / 1000.0)
        self._last_sequence: int | None = None
        self._decoded_to: tuple[int, int] | None = None
        """Place of the packet that was decoded last, and the media time behind it."""
        self._undoable: deque[tuple[PlacedPacket, Codec, Any, tuple[int, int] | None]] = deque()
        """Packets decoded before their turn, and copies, with the codec's state before each."""
        self._refresh: PlacedPacket | None = None
        self._undecodable: PlacedPacket | None = None
        """The last packet in its turn that could not be decoded."""
        self.lacks = False
        """Whether something of the block could not be decoded."""
        self.noise = _PauseNoise(self._block / sample_rate)
        self.missing: list[tuple[int, int]] = []
        """First sample of each hole, and the one after its last."""
        self.follows = True
        """Whether the next block follows the last one."""

    def read(self, inbox: NDArray[np.float32], conceals: bool) -> None:
        """Decode the parts of the block that was pulled last, and note the holes."""
        self.missing.clear()
        self.lacks = False
        stop = 0
        for placed, begin, samples, at in self._buffer.parts:
            while self._undoable and self._undoable[0][0].start < placed.start:
                self._undoable.popleft()
            decoded = self._samples_of(placed)
            if decoded is None:
                self.lacks = True
                self._stats.undecodable_packets += placed is not self._undecodable
                self._undecodable = placed
                continue
            if placed is self._refresh:
                continue
            if conceals and self.noise.is_settled and self._is_refresh(placed, decoded):
                continue
            self._last_sequence = placed.sequence
            inbox[at : at + samples] = decoded[begin : begin + samples]
            self._note_hole(stop, at)
            stop = at + samples
        self._note_hole(stop, self._block)
        if not self.follows:
            self._conceal_edge()

    def behind(self, samples: int) -> list[tuple[int, NDArray[np.float32]]]:
        """Return the packets behind the block, decoded, in order, as many as a bridge needs."""
        found: list[tuple[int, NDArray[np.float32]]] = []
        stop = row = 0
        for placed, begin, count, at in self._buffer.behind(samples):
            decoded = self._samples_of(placed)
            if decoded is None or not np.abs(decoded).max() < LARGEST:
                break
            found.append((at, decoded[begin : begin + count]))
            stop, row = at + count, count + (row if at == stop else 0)
            if row >= self._enough:
                break
        return found

    def _conceal_edge(self) -> None:
        """Conceal the first samples of the block, which do not follow those before."""
        self.follows = True
        holes = [hole for hole in self.missing if hole[1] > self._edge]
        self.missing.clear()
        self._note_hole(0, self._edge)
        for begin, stop in holes:
            self._note_hole(max(begin, self._edge), stop)

    def _is_refresh(self, placed: PlacedPacket, samples: NDArray[np.float32]) -> bool:
        before, line = self._last_sequence, self._buffer.receiver.block
        if before is None or not entry.stands_alone(line, before, placed.sequence):
            return False
        if not self.noise.takes(samples):
            return False
        self._refresh, self._last_sequence = placed, placed.sequence
        self._stats.refresh_packets += 1
        return True

    def _samples_of(self, placed: PlacedPacket) -> NDArray[np.float32] | None:
        """Return a packet's samples, decoded once; None if they cannot be had."""
        if placed.decoded is None:
            arrivals, number = self._arrivals, placed.payload_type
            codec, away = arrivals.codecs[number], placed.repeats
            samples = None
            if not (arrivals.inspection.is_misread and number == arrivals.payload_type):
                self._go_to(placed, codec)
                decode = partial(codec.decode_repeated, offset=away) if away else codec.decode
                samples = decode(placed.payload)
            sound = samples is not None and len(samples) >= placed.samples
            placed.decoded = samples if sound else False
            if sound:
                self._decoded_to = placed.sequence, placed.start + placed.samples
        return None if placed.decoded is False else placed.decoded

    def _go_to(self, placed: PlacedPacket, codec: Codec) -> None:
        """Bring a codec's state to a packet: over lost samples, or back before later packets.

        What came after all is decoded where it stands, and what stands behind it once more.
        """
        while self._undoable and self._undoable[-1][0].start >= placed.start:
            later, its_codec, memory, self._decoded_to = self._undoable.pop()
            its_codec.recall(memory)
            later.decoded = None
        played_to = self._buffer.receiver.block.item(layout.POSITION)
        is_early = placed.start >= played_to or placed.repeats > 0  # or what stands for another
        if is_early and (memory := codec.memory()) is not None:
            self._undoable.append((placed, codec, memory, self._decoded_to))
        place, stop = self._decoded_to or (placed.sequence, placed.start)
        if placed.repeats or placed.sequence > place + 1:  # else nothing was sent between them
            codec.pass_lost(max(0, placed.start - stop))

    def _note_hole(self, begin: int, stop: int) -> None:
        if stop <= begin:
            return
        missing = self.missing
        if missing and begin - missing[-1][1] < self._least:
            begin = missing.pop()[0]
        missing.append((begin, stop))


class Playout:
    """One stream of RTP in, blocks of samples out.

    Parameters
    ----------
    config : ReceiverConfig
        Settings. Each tick plays a packet of its stream.
    codec : Codec, optional, instead of the one that the config names
    paths : int, ways by which each packet comes (ST 2022-7)

    Attributes
    ----------
    arrivals : Arrivals, where packets go in
    buffer : JitterBuffer, the jitter buffer
    stats : PlayoutStats, counters; ``received`` and ``concealment`` have the rest
    inspection : Inspection, mismatches between received packets and the settings
    conceals : bool
        Whether lost packets are concealed; else they are silent, to hear the difference.
    """

    def __init__(
        self, config: ReceiverConfig, codec: Codec | None = None, *, paths: int = 1
    ) -> None:
        if codec is None:
            codec = config.open_codec()
        stream = config.stream
        if (codec.sample_rate, codec.channels) != (stream.sample_rate, stream.channels):
            raise ConfigError(
                f"the codec has {codec.channels} channels at {codec.sample_rate} Hz, the stream "
                f"{stream.channels} at {stream.sample_rate} Hz; give both the same"
            )
        self.codec = codec
        self.block = block = config.stream.packet_samples
        self.stats = PlayoutStats()
        self.arrivals = Arrivals(config, codec, paths, self.stats)
        self.buffer, self.inspection = self.arrivals.buffer, self.arrivals.inspection
        self._receiver = self.buffer.receiver
        self._heard = self._receiver.played[:-1]
        self._decoded = _Decoded(self.arrivals, self.stats, codec.sample_rate)
        self._concealer = Concealer(**asdict(config.stream))
        self._held_blocks = self._concealer.delay // block
        self._receiver.block[layout.LOOKAHEAD] = self._held_blocks
        self.conceals = True
        # Blocks as they were received, as many as the concealer holds back, and the one played.
        self._plain: deque[NDArray[np.float32]] = deque(maxlen=self._held_blocks + 1)
        self._drained_samples = 0
        self._blocks_after = self._samples_after = 0
        """Whole blocks, and samples before them, since the last sound that came."""
        self._up_to_end = (0, 0, 0)
        """The counters of ``_ENDING`` when that sound was played."""

    __reduce_ex__ = not_copied("make another of the same config, which begins anew")

    def close(self) -> None:
        """End the threads of the concealer's networks, if there are any."""
        self._concealer.close()

    @property
    def concealment(self) -> Stats:
        """Counters of the concealer."""
        return self._concealer.stats

    @property
    def received(self) -> JitterStats:
        """Counters of the jitter buffer."""
        return self.buffer.stats

    @property
    def delay_s(self) -> float:
        """By how much the last block was later than a packet that nothing holds up could be."""
        return self._receiver.played_delay_s

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Samples of the last block that were lost, shape (block,), if nothing is looked ahead.

        Pauses of the sender, as far as they are known to be such, are not among them.
        """
        lost: NDArray[np.bool_] = self._receiver.played[-1] > 0.5
        return lost

    @property
    def drained(self) -> bool:
        """True if everything received was played, or a drain took too long."""
        receiver = self._receiver
        if not receiver.begun:
            return True
        waiting = float(entry.ready(receiver.block)) + self._concealer.delay
        played_out = receiver.buffered_samples == 0 and self._drained_samples >= waiting
        limit_s = 2.0 * self.buffer.config.delay.max_delay_ms / 1000.0
        return played_out or self._drained_samples > limit_s * self.codec.sample_rate

    def report(self) -> dict[str, Any]:
        """Return the counters by name, for reports.

        Until a packet comes nobody knows that one is lost: what was made since the last one is no
        burst, and counted as ``after_end`` alone, among the seconds played.
        """
        received, malformed = self.received, self.stats.malformed_packets
        counts, rate = self._counts(), self.codec.sample_rate
        if self._blocks_after >= self._held_blocks:
            counts = tuple(map(min, counts, self._up_to_end))
        played = received.played_samples, counts[1], self.concealment.concealed_samples - counts[1]
        return {
            "played_s": dict(
                zip(("received", "concealed", "after_end"), [n / rate for n in played], strict=True)
            ),
            "jitter_buffer": asdict(received) | {"lost_packets": received.lost_packets},
            "target_delay_ms": 1000.0 * self._receiver.target_s,
            "stretch_ppm": 1e6 * (self._receiver.step - 1.0),
            "concealment": self.concealment.as_dict() | dict(zip(_ENDING, counts, strict=True)),
            "malformed_packets": {reason.name.lower(): n for reason, n in malformed.items()},
            "unknown_packets": self.stats.unknown_packets,
            "undecodable_packets": self.stats.undecodable_packets,
            "refresh_packets": self.stats.refresh_packets,
        }

    def drain(self) -> None:
        """Expect nothing more; :attr:`drained` is true once all is played."""
        self._drained_samples = 0

    def put(self, datagram: bytes, now_s: float, path: int = 0) -> Verdict | Malformed | None:
        """Add a datagram; return its verdict, or None for a foreign payload type."""
        return self.arrivals.put(parse_rtp(datagram), now_s, path)

    def tick(self, now_s: float, limit_ms: float = math.inf) -> NDArray[np.float32]:
        """Return the next block: float32, shape (channels, block), good until the next tick.

        ``now_s`` is when it is due; ticks are one block apart by that clock. ``limit_ms`` is as
        :meth:`~plc.engine.stream.concealer.Concealer.hurry` takes it.
        """
        receiver = self._receiver
        self.stats.ticks += 1
        self._concealer.hurry(limit_ms)
        if receiver.buffered_samples == 0:
            self._drained_samples += self.block
        while not receiver.play(now_s):
            self._pull(now_s)
        return self._heard

    def leave_out(self, blocks: int) -> None:
        """Go on behind that many blocks, for which there is no time."""
        entry.leave_out(self._receiver.block, blocks * self.block)
        self._decoded.follows = False

    def rest(self, blocks: int) -> None:
        """Go on over as many blocks of a pause that has become silent, as if they were played."""
        samples, counts = blocks * self.block, self.concealment
        entry.rest(self._receiver.block, samples)
        self.stats.ticks += blocks
        counts.total_samples_received += samples
        counts.concealed_samples += samples
        counts.silent_concealed_samples += samples

    def _pull(self, now_s: float) -> None:
        receiver, decoded = self._receiver, self._decoded
        made_up_before = receiver.made_up_samples
        if self.buffer.pull(now_s) is Turn.WAIT:
            return
        inbox, missing = receiver.inbox, decoded.missing
        decoded.read(inbox, self.conceals)
        receiver.marks.fill(0)
        if decoded.lacks or receiver.made_up_samples > made_up_before:
            for begin, stop in missing:
                receiver.marks[begin:stop] = 1
        plain = None
        if not self.conceals:
            plain = self._plain_block(inbox)
        elif self._plain:
            self._plain.clear()
        concealer = self._concealer
        if missing == [(0, self.block)]:
            # What is behind is decoded in its turn, once nothing depends on it here.
            behind = None if concealer.is_prepared else decoded.behind(concealer.behind_samples)
            concealer.push(None, inbox, behind=behind)
            decoded.noise.note(inbox)
        else:
            decoded.noise.end()
            behind = decoded.behind(concealer.behind_samples)
            concealer.push(inbox, inbox, tuple(missing), behind)
        self._note_end(*(missing[-1] if missing else (self.block, 0)))
        if plain is not None:
            inbox[:] = plain
        receiver.append()

    def _counts(self) -> tuple[int, ...]:
        return tuple(getattr(self.concealment, name) for name in _ENDING)

    def _note_end(self, start: int, stop: int) -> None:
        """Take in the last hole of a block; keep the counters where sound ended last."""
        if (start, stop) == (0, self.block):
            self._blocks_after += 1
        else:
            self._blocks_after = 0
            self._samples_after = self.block - start if stop == self.block else 0
        if self._blocks_after == self._held_blocks:
            events, concealed, silent = self._counts()
            begun = self._samples_after > 0
            self._up_to_end = events - begun, concealed - self._samples_after, silent

    def _plain_block(self, inbox: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the block to play with its gaps silent; None: it is not there yet."""
        plain = inbox.copy()
        for begin, stop in self._decoded.missing:
            plain[begin:stop] = 0.0
        self._plain.append(plain)
        return self._plain[0] if len(self._plain) == self._plain.maxlen else None
