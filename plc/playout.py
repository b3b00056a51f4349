"""A receiver's ear: RTP packets in at any time, a steady stream of samples out.

::

    packet ──▶ jitter buffer ──▶ decode ──▶ Concealer ──▶ line ──▶ resample ──▶ block
               what is due when             None if it    what      a little faster
                                            is not there  is ready  or slower, or not

Every tick gives one block of the same length, whatever came in. The concealer works on the
stream's own samples, packets as they were sent, before anything is stretched: what it makes of a
trace of losses is what it makes of it offline. The resampler behind it takes up the difference of
the two clocks; while there is none it only copies, and received samples come out bit for bit.

The concealer's packets (the *grain*) are those of the sender where they fit the block, and else
2.5 ms or less, so that packets of odd lengths lose no more than that at the edges of a hole.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.codecs import Codec
from plc.concealer import Concealer
from plc.config import DEFAULT_BUDGET_SHARE
from plc.delay import DelayConfig, DriftControl
from plc.errors import ConfigError
from plc.jitter import JitterBuffer, JitterConfig, JitterStats, Turn, Verdict
from plc.mismatch import Inspection
from plc.rtp import Malformed, RtpPacket, parse_red, parse_rtp
from plc.stats import Stats
from plc_kernels.resample import CENTRE, TAPS, resample, sinc_table

# Where packets do not fill blocks, holes are cut this finely.
_GRAIN_MS = 2.5

_TABLE = sinc_table()


@dataclass(slots=True)
class PlayoutStats:
    """Counters of a playout; the jitter buffer and the concealer keep their own."""

    malformed_packets: dict[Malformed, int] = field(default_factory=dict)
    """By reason; redundancy that could not be read among them."""
    unknown_packets: int = 0
    """Of another payload type: comfort noise and telephone events, say, which are not played."""
    undecodable_packets: int = 0
    ticks: int = 0
    inserted_samples: float = 0.0
    """By playing slower (W3C ``insertedSamplesForDeceleration``)."""
    removed_samples: float = 0.0
    """By playing faster (W3C ``removedSamplesForAcceleration``)."""
    waited_s: float = 0.0
    """Over all samples played, what each waited here (W3C ``jitterBufferDelay``)."""
    aimed_s: float = 0.0
    """The same, of the delay aimed for (W3C ``jitterBufferTargetDelay``)."""
    emitted_samples: int = 0
    """Samples these two are over (W3C ``jitterBufferEmittedCount``)."""


class Playout:
    """One stream of RTP in, blocks of samples out.

    Parameters
    ----------
    codec : Codec
        What the payloads are coded in; its payload type is the one taken.
    block : int
        Samples of each tick.
    delay : DelayConfig
        How long packets wait.
    payload_type : int, optional
        Instead of the codec's own.
    red_payload_type : int, optional
        Payload type of redundant audio (RFC 2198).
    lookahead, method, model, budget_ms, seed
        As for :class:`~plc.Concealer`; lookahead in blocks.

    Attributes
    ----------
    buffer : JitterBuffer
        What is to come.
    stats : PlayoutStats
        What happened so far; ``buffer.stats`` and ``concealment`` have the rest.
    inspection : Inspection
        What came that is not as configured.
    """

    def __init__(
        self,
        codec: Codec,
        block: int,
        delay: DelayConfig | None = None,
        *,
        payload_type: int | None = None,
        red_payload_type: int | None = None,
        lookahead: int = 0,
        method: str = "auto",
        model: str = "auto",
        budget_ms: float | None = None,
        seed: int = 0,
    ) -> None:
        delay = delay or DelayConfig()
        self.codec = codec
        self.block = block
        self.payload_type = codec.payload_type if payload_type is None else payload_type
        self.red_payload_type = red_payload_type
        if self.payload_type == red_payload_type:
            raise ConfigError(
                f"payload type {red_payload_type} is both the audio's and the redundancy's"
            )
        self.inspection = Inspection(codec, self.payload_type, red_payload_type)
        self.buffer = JitterBuffer(
            JitterConfig(
                mode=delay.mode,
                safety=delay.safety,
                delay_ms=delay.delay_ms,
                max_delay_ms=delay.max_delay_ms,
                clock_rate=codec.sample_rate,
                block=block,
            )
        )
        if budget_ms is None:
            budget_ms = DEFAULT_BUDGET_SHARE * 1000.0 * block / codec.sample_rate
        self._settings: dict[str, Any] = {
            "sample_rate": codec.sample_rate,
            "channels": codec.channels,
            "method": method,
            "model": model,
            "budget_ms": budget_ms,
            "seed": seed,
        }
        self._lookahead = lookahead
        self.stats = PlayoutStats()
        self.delay_s = 0.0
        """By how much the last block was played later than a packet that nothing holds up could
        have been."""
        self._drift = DriftControl()
        self._tick_s = block / codec.sample_rate
        self._line = np.zeros((codec.channels, CENTRE + 4 * block + 2 * TAPS), np.float32)
        self._at = float(CENTRE)
        self._drained_samples = 0
        self._filled = CENTRE
        self._played = np.zeros((codec.channels, block), np.float32)
        # The first call in a process loads or compiles it; it is not to come in midstream.
        resample(float(CENTRE), 1.0, _TABLE, self._line, self._played)
        self._set_grain(block)

    @property
    def concealment(self) -> Stats:
        """What the concealer did."""
        return self._concealer.stats

    @property
    def received(self) -> JitterStats:
        """What the jitter buffer did."""
        return self.buffer.stats

    @property
    def stretch(self) -> float:
        """Share by which the stream is played faster than nominal at present."""
        return self._drift.stretch

    @property
    def drained(self) -> bool:
        """Whether nothing that was received is still to be played, or a drain took too long."""
        if not self.buffer.begun:
            return True
        waiting = self._filled - self._at + self._concealer.delay
        played_out = self.buffer.buffered_samples == 0 and self._drained_samples >= waiting
        limit_s = 2.0 * self.buffer.config.max_delay_ms / 1000.0
        return played_out or self._drained_samples > limit_s * self.codec.sample_rate

    def left_out(self) -> dict[str, Any]:
        """Return how many packets came and could not be used, by name, for reports."""
        malformed = self.stats.malformed_packets
        return {
            "malformed_packets": {reason.name.lower(): n for reason, n in malformed.items()},
            "unknown_packets": self.stats.unknown_packets,
            "undecodable_packets": self.stats.undecodable_packets,
        }

    def drain(self) -> None:
        """Expect nothing more; :attr:`drained` then tells when what is here has been played."""
        self._drained_samples = 0

    # ---- packets in -----------------------------------------------------------------------------

    def put(self, datagram: bytes, now_s: float) -> Verdict | Malformed | None:
        """Take in what came from the network; return what became of it, None: another type."""
        packet = parse_rtp(datagram)
        if isinstance(packet, Malformed):
            self._count_malformed(packet)
            return packet
        return self.put_packet(packet, now_s)

    def put_packet(self, packet: RtpPacket, now_s: float) -> Verdict | Malformed | None:
        """Take in a packet; return what became of it, None: of another payload type."""
        if packet.payload_type == self.red_payload_type:
            return self._put_redundant(packet, now_s)
        if packet.payload_type != self.payload_type:
            self.inspection.note_other(packet, now_s)
            self._pass_over(packet, now_s)
            return None
        return self._put_primary(packet, now_s)

    def yield_place(self, verdict: Verdict | Malformed | None) -> None:
        """Let what is played give way to the stream of the packet that this became of."""
        if verdict is Verdict.PROBATION:  # otherwise it is the one that is played
            self.buffer.yield_place()

    def _put_redundant(self, packet: RtpPacket, now_s: float) -> Verdict | Malformed | None:
        blocks = parse_red(packet.payload)
        if isinstance(blocks, Malformed):
            self._count_malformed(blocks)
            return blocks
        primary = blocks[-1]
        if primary.payload_type != self.payload_type:
            self._pass_over(packet, now_s)
            return None
        whole = RtpPacket(
            primary.payload_type,
            packet.sequence,
            packet.timestamp,
            packet.ssrc,
            primary.payload,
            packet.marker,
        )
        verdict = self._put_primary(whole, now_s)
        if verdict in (Verdict.ACCEPTED, Verdict.LATE):
            for block in blocks[:-1]:
                if block.payload_type == self.payload_type:
                    self.buffer.put_redundant(
                        whole,
                        block.offset,
                        block.payload_type,
                        block.payload,
                        self.codec.samples(block.payload),
                    )
        return verdict

    def _pass_over(self, packet: RtpPacket, now_s: float) -> None:
        self.stats.unknown_packets += 1
        self.buffer.pass_over(packet, now_s)

    def _put_primary(self, packet: RtpPacket, now_s: float) -> Verdict:
        samples = self.codec.samples(packet.payload)
        verdict = self.buffer.put(packet, samples, now_s)
        if verdict is Verdict.EMPTY:
            self.inspection.note_without_audio(packet)
        elif packet.ssrc == self.buffer.ssrc:
            self.inspection.note_audio(packet, samples, now_s)
        if verdict is Verdict.ACCEPTED and not self.buffer.begun and samples % self._grain:
            self._set_grain(self._fitting_grain(samples))
        repeated = self.codec.repeated(packet.payload)
        if repeated and verdict is Verdict.ACCEPTED:
            self.buffer.put_redundant(
                packet, repeated, packet.payload_type, packet.payload, repeated, repeats=True
            )
        return verdict

    def _count_malformed(self, reason: Malformed) -> None:
        counts = self.stats.malformed_packets
        counts[reason] = counts.get(reason, 0) + 1

    # ---- blocks out -----------------------------------------------------------------------------

    def tick(self, now_s: float, limit_ms: float = math.inf) -> NDArray[np.float32]:
        """Return the next block: float32, shape (channels, block), good until the next tick.

        Parameters
        ----------
        now_s : float
            When it is due; ticks are one block apart by that clock.
        limit_ms : float
            As :meth:`~plc.concealer.Concealer.hurry` takes it.
        """
        self.stats.ticks += 1
        self._concealer.hurry(limit_ms)
        if self.buffer.buffered_samples == 0:
            self._drained_samples += self.block
        step = 1.0 + self._control(now_s)
        self._count(step)
        whole = step == 1.0 and self._at.is_integer()
        last = self._at + (self.block - 1) * step
        needed = math.floor(last) + 1 + (0 if whole else TAPS // 2)
        while self._filled < needed:
            self._pull(now_s)
        if whole:
            begin = int(self._at)
            self._played[:] = self._line[:, begin : begin + self.block]
            self._at += self.block
        else:
            self._at = resample(self._at, step, _TABLE, self._line, self._played)
        self._forget_played()
        return self._played

    def _control(self, now_s: float) -> float:
        """Return the stretch that brings the delay to its aim."""
        if not self.buffer.begun:
            return 0.0
        delays = self.buffer.delays
        rate = self.codec.sample_rate
        waiting_s = self.buffer.delay_s(now_s) + (self._filled - self._at) / rate
        self.delay_s = waiting_s + self._concealer.delay / rate
        # Between two ticks a grain is pulled up to one grain before it is played.
        excess_s = waiting_s - delays.target_s - self._grain / rate
        return self._drift.update(excess_s, delays.dead_band_s, self._tick_s)

    def _count(self, step: float) -> None:
        """Note what a tick at that step does to the stream."""
        if not self.buffer.begun:
            return
        stats = self.stats
        changed = (step - 1.0) * self.block
        stats.removed_samples += max(0.0, changed)
        stats.inserted_samples += max(0.0, -changed)
        stats.waited_s += max(0.0, self.delay_s) * self.block
        stats.aimed_s += self.buffer.delays.target_s * self.block
        stats.emitted_samples += self.block

    def _pull(self, now_s: float) -> None:
        """Append the next grain to the line."""
        begun = self.buffer.begun
        turn = self.buffer.pull(now_s)
        if self.buffer.begun and not begun:
            self._lead_in(now_s)
        grain = self._line[:, self._filled : self._filled + self._grain]
        self._filled += self._grain
        if turn is Turn.WAIT:
            grain.fill(0.0)
            return
        packet = self._decode() if turn is Turn.PLAY else None
        self._concealer.push(packet, self._inbox)
        grain[:] = self._inbox.T

    def _lead_in(self, now_s: float) -> None:
        """Put off the first grain until what is aimed for, and a grain more, has passed.

        It was pulled at the first tick that was due; the silence in front of it makes up for what
        the tick came early or late.
        """
        missing_s = self.buffer.delays.target_s - self.buffer.delay_s(now_s)
        silence = round(missing_s * self.codec.sample_rate)
        silence = min(max(silence, 0), self._grain)
        self._line[:, self._filled : self._filled + silence] = 0.0
        self._filled += silence

    def _decode(self) -> NDArray[np.float32] | None:
        """Write the pulled pieces into the inbox and return it; None if one is undecodable."""
        at = 0
        for piece in self.buffer.pieces:
            slot = piece.slot
            if slot.decoded is None:
                decode = self.codec.decode_repeated if slot.repeats else self.codec.decode
                samples = decode(slot.payload)
                sound = samples is not None and len(samples) >= slot.stop - slot.start
                self.stats.undecodable_packets += not sound
                slot.decoded = samples if sound else False
            if slot.decoded is False:
                return None
            part = slot.decoded[piece.begin : piece.begin + piece.samples]
            self._inbox[at : at + piece.samples] = part
            at += piece.samples
        return self._inbox

    def _forget_played(self) -> None:
        """Move the line so that what is played next stands behind what the taps still need."""
        stale = math.floor(self._at) - CENTRE
        self._line[:, : self._filled - stale] = self._line[:, stale : self._filled]
        self._filled -= stale
        self._at -= stale

    def _fitting_grain(self, samples: int) -> int:
        """Return the longest grain that cuts the block and packets of this length evenly.

        Where that is shorter than 2.5 ms: the longest part of the block that is not longer.
        """
        common = math.gcd(self.block, samples)
        finest = round(self.codec.sample_rate * _GRAIN_MS / 1000.0)
        if common >= finest:
            return common
        parts = math.ceil(self.block / finest)
        while self.block % parts:
            parts += 1
        return self.block // parts

    def _set_grain(self, grain: int) -> None:
        """Cut the stream into grains of this length; before the first one only."""
        self._grain = grain
        self.buffer.block = grain
        self._inbox = np.zeros((grain, self.codec.channels), np.float32)
        self._concealer = Concealer(
            packet_samples=grain,
            lookahead=self._lookahead * (self.block // grain),
            **self._settings,
        )
