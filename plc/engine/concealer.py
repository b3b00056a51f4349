"""Conceal the lost packets of one stream.

Each packet is pushed, lost ones as None, and as many samples come back, ``lookahead`` packets
later::

    packet | None ──▶ push ──▶ pending packets ──▶ history ──▶ output packet
                                     │ lost
                                     ▼
          EXTEND  the filler continues the history (linear prediction)
          BRIDGE  the filler fills from both sides: a packet after the gap is pending
          NOISE   only the background is left of a long burst

    level            1 ──────────────╮ hold           ╭── crossfade into the first
                                      ╲ fade          │   received samples
    background       ──────────────────╲──────────────┴──
                     │ burst begins                   │ recovery

A packet may arrive in part, as a block does that is cut from packets of another length: what is
there is played, and what is missing concealed, sample for sample.

The class does no input or output and reads no clocks but those it is given. After construction
nothing grows (temporaries of some KB come and go, and the array returned, unless the caller
brings one), no lock is taken, no kernel is compiled, and nothing that a packet holds can raise.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from plc.engine.background import Background
from plc.engine.burst import (
    APART,
    FADE_MS,
    QUICK_RECOVERY_MS,
    STEADY_HOLD_MS,
    UNSTEADY_HOLD_MS,
    Burst,
    Play,
    decide,
)
from plc.engine.config import StreamConfig, StreamSettings
from plc.engine.fill_limit import FillLimit
from plc.engine.methods import make_filler
from plc.engine.queue import PacketQueue
from plc.engine.samples import Packet, Samples
from plc.engine.stats import Stats
from plc.engine.warm import warm_up
from plc.errors import ConcurrentPushError
from plc.limits import RECOVERY_MS
from plc.predict.filler import STEADY_MOMENT, Moment
from plc.predict.history import History
from plc.processor_time import thread_clock
from plc.runtime import forks
from plc_kernels.denormals import flush_denormals, restore_denormals
from plc_kernels.fade import burst_gain, crossfade, crossfade_ramp, fade_into

_NOISE_RUNG = "noise"


class Concealer:
    """A stream of packets in, the same stream without gaps out.

    Parameters
    ----------
    sample_rate, channels, packet_samples, lookahead, **settings
        As for :class:`~plc.StreamConfig`.
    clock : callable
        Returns seconds; only differences are used, and only for statistics and the deadlines of
        networks.
    cpu_clock : callable or None
        Returns seconds of processor time, by which rungs are chosen. None: the calling thread's,
        where the system counts it finely and no other ``clock`` is given; else that one.

    Attributes
    ----------
    stats : Stats
        What happened so far.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ModelError, MissingExtraError
        If a model that was asked for by name is not sound, or ONNX Runtime is not installed.

    Notes
    -----
    A stream is for one thread at a time, any one. A call while another thread is inside ``push``,
    ``flush``, ``reset`` or ``close`` raises :class:`~plc.errors.ConcurrentPushError` and changes
    nothing; it never waits.

    Examples
    --------
    >>> concealer = Concealer(sample_rate=48_000, channels=1, packet_samples=480)
    >>> packet = np.zeros((480, 1), np.float32)
    >>> concealer.push(packet).shape
    (480, 1)
    >>> concealer.push(None).shape  # lost: concealed
    (480, 1)
    """

    def __init__(
        self,
        sample_rate: int = 48_000,
        channels: int = 1,
        packet_samples: int = 480,
        lookahead: int = 0,
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] | None = None,
        **settings: Unpack[StreamSettings],
    ) -> None:
        self.config = StreamConfig(
            sample_rate=sample_rate,
            channels=channels,
            packet_samples=packet_samples,
            lookahead=lookahead,
            **settings,
        )
        warm_up()
        config = self.config
        sample_rate, channels = config.sample_rate, config.channels
        packet_samples, lookahead = config.packet_samples, config.lookahead
        self._holds = [
            round(sample_rate * ms / 1000.0) for ms in (STEADY_HOLD_MS, UNSTEADY_HOLD_MS)
        ]
        # A gap that long would be faded in its middle; what leads out of it has little to meet.
        reach = min(lookahead * packet_samples, max(self._holds[0], packet_samples))
        self._reach = reach
        self.stats = Stats()
        self._filler = make_filler(config, reach, clock, self.stats.network, self.stats.ahead)
        self._limit_ms = self.config.time_limit_ms
        self._packet_ms = self.config.packet_ms
        self._clock = clock
        if cpu_clock is None:
            cpu_clock = thread_clock() if clock is time.perf_counter else clock
        self._cpu_clock = cpu_clock
        self._cpu_began = 0.0
        # Holds one item while no thread is inside: taking it is atomic, and never waits.
        self._idle = [True]
        self._generation = forks.generation
        self._samples = Samples(config)
        self._queue = PacketQueue(channels, packet_samples, lookahead)
        self._part = np.zeros(channels * packet_samples, np.float32)
        self._hurry_ms = float("inf")
        self._burst_ms = float("inf")
        self._moment = STEADY_MOMENT
        self._played = 0
        self._block = np.zeros((channels, packet_samples), np.float32)
        self._noise = np.zeros((channels, packet_samples), np.float32)
        self._gain = np.zeros(packet_samples, np.float32)
        self._bridge = np.zeros((channels, reach), np.float32)
        self._after = np.zeros((channels, reach), np.float32)
        self._ramp = crossfade_ramp(max(1, round(sample_rate * RECOVERY_MS / 1000.0)))
        quick = crossfade_ramp(max(1, round(sample_rate * QUICK_RECOVERY_MS / 1000.0)))
        self._quick_ramp = np.ones_like(self._ramp)
        self._quick_ramp[: quick.size] = quick
        self._quick = [False] * channels
        self._tail = np.zeros((channels, min(self._ramp.size, packet_samples)), np.float32)
        self._fade = round(sample_rate * FADE_MS / 1000.0)
        self._history = History(channels, max(self._filler.past_samples, 1))
        self._background = Background(channels, sample_rate, config.seed)
        self._limit = FillLimit(channels, sample_rate, self.delay)
        self._burst: Burst | None = None
        self.stats.rung_samples = dict.fromkeys((*self._filler.names, _NOISE_RUNG), 0)

    @property
    def delay(self) -> int:
        """Samples by which the output lags the input."""
        return self.config.lookahead * self.config.packet_samples

    def reset(self) -> None:
        """Make the concealer as new: history, background, ladder and statistics.

        Raises
        ------
        ConcurrentPushError
            If another thread is at work on this stream.
        """
        self._enter()
        try:
            self._forget()
            self.stats.reset()
        finally:
            self._idle.append(True)

    def _enter(self) -> None:
        try:
            self._idle.pop()
        except IndexError:
            if self._generation == forks.generation:
                raise ConcurrentPushError(
                    "another thread is at work on this stream; a Concealer serves one thread at a "
                    "time: give each stream its own, or let the threads take turns"
                ) from None
            # That thread stayed with the process this one was forked from, in midst of a packet.
            self._forget()
        self._generation = forks.generation

    def _forget(self) -> None:
        self._filler.reset()
        self._history.reset()
        self._background.reset()
        self._limit.reset()
        self._queue.reset()
        self._burst = None
        self._samples.reset()

    def describe(self) -> dict[str, Any]:
        """Return what runs here: the format, and each ladder's rungs with their measured cost."""
        return {
            "sample_rate": self.config.sample_rate,
            "channels": self.config.channels,
            "packet_samples": self.config.packet_samples,
            "lookahead": self.config.lookahead,
            "delay_ms": self.config.lookahead * self.config.packet_ms,
            "budget_ms": self._limit_ms,
        } | self._filler.describe()

    def close(self) -> None:
        """End the threads of the networks, if there are any; a burst now gets the draft.

        Raises
        ------
        ConcurrentPushError
            If another thread is at work on this stream.
        """
        self._enter()
        try:
            self._filler.close()
        finally:
            self._idle.append(True)

    def hurry(self, limit_ms: float) -> None:
        """Begin bursts with what takes at most this long, until told otherwise.

        For a thread that has fallen behind, as one that serves many streams does when several
        lose a packet at once. Networks are left out meanwhile.

        Parameters
        ----------
        limit_ms : float
            Where it is less than the stream's own; ``inf``: that again.
        """
        self._hurry_ms = self._burst_ms = limit_ms

    def push(
        self,
        packet: Packet | None,
        out: Packet | None = None,
        missing: Sequence[tuple[int, int]] = (),
    ) -> Packet:
        """Take the next packet; return the packet to play.

        Parameters
        ----------
        packet : float32 or int16, shape (packet_samples, channels), or None
            As received; ``(packet_samples,)`` will do for one channel. None: lost, or not here
            in time. A packet with a sample that is NaN, infinite or above 1e6 counts as lost.
        out : same dtype and shape (packet_samples, channels), optional
            Array to write to and return, C-contiguous; without it a new one is made.
        missing : sequence of (int, int), optional
            Parts of the packet that did not arrive: the first sample of each, and the one after
            its last; in order, with something between them. What stands there is not looked at.
            Several of them share the time that the stream has for one.

        Returns
        -------
        float32 or int16, shape (packet_samples, channels)
            Samples of ``delay`` before; silence for the first ``lookahead`` packets. The dtype
            is that of the last packet that arrived, float32 before any did.

        Raises
        ------
        PacketError
            If the packet or ``out`` has another shape or dtype, or ``missing`` is no such parts;
            the stream is not advanced.
        ConcurrentPushError
            If another thread is at work on this stream, which goes on untouched.
        """
        self._enter()
        try:
            return self._push(packet, out, missing)
        finally:
            self._idle.append(True)

    def _push(
        self, packet: Packet | None, out: Packet | None, missing: Sequence[tuple[int, int]]
    ) -> Packet:
        began = self._clock()
        if packet is not None:
            self._samples.check(packet)
        if missing:
            self._samples.check_missing(missing)
        if out is not None:
            self._samples.check_out(out, packet)
        self.stats.packets += 1
        self.stats.lost_packets += packet is None
        self.stats.partial_packets += packet is not None and bool(missing)
        concealed, played = self._step(packet, out, missing)
        self._note_time(concealed, 1e3 * (self._clock() - began))
        return played

    def flush(self) -> Packet:
        """Return the packets still held, shape (delay, channels), and end the stream.

        Packets lost at the very end are concealed without a far side. The concealer is then as
        new, but for its statistics; without lookahead there is nothing to return.

        Raises
        ------
        ConcurrentPushError
            If another thread is at work on this stream.
        """
        self._enter()
        try:
            return self._flush()
        finally:
            self._idle.append(True)

    def _flush(self) -> Packet:
        n = self.config.packet_samples
        tail = self._samples.empty(self.delay)
        for begin in range(0, self.delay, n):
            self._step(None, tail[begin : begin + n])
        self._forget()
        return tail

    def _step(
        self,
        packet: Packet | None,
        out: Packet | None,
        missing: Sequence[tuple[int, int]] = (),
    ) -> tuple[bool, Packet]:
        """Take one packet in and one out; return whether that was concealed, and its samples."""
        before = flush_denormals()
        try:
            return self._advance(packet, missing), self._samples.pack(self._block, out)
        finally:
            restore_denormals(before)

    def _advance(self, packet: Packet | None, missing: Sequence[tuple[int, int]]) -> bool:
        """Take one packet in and play one into ``self._block``.

        Returns whether any of it was concealed.
        """
        arrived = packet is not None and self._samples.unpack(packet, missing, self._queue.incoming)
        self.stats.invalid_packets += packet is not None and not arrived
        ready = self._queue.add(arrived, missing)
        self._follow_level()
        if ready:
            return self._play()
        self._block.fill(0.0)
        return False

    def _follow_level(self) -> None:
        """Update the bound on concealments with the newest packet."""
        for position, n, samples in self._queue.newest():
            if samples is None:
                self._limit.miss(n)
            else:
                self._limit.follow(np.ascontiguousarray(samples), position)

    def _play(self) -> bool:
        """Play a packet, part by part; return whether any of it was concealed."""
        parts = self._queue.playing
        if len(parts) == 1:
            if not parts[0].arrived:
                self._cpu_began = self._cpu_clock()
            return self._play_part(self._block, 0)
        self._cpu_began = self._cpu_clock()
        gaps = sum(not part.arrived for part in parts)
        channels = self._block.shape[0]
        self._share_time(gaps)
        for place, (begin, stop, _) in enumerate(parts):
            # Rows of a view would not lie together, as kernels want them.
            part = self._part[: channels * (stop - begin)].reshape(channels, stop - begin)
            self._play_part(part, place)
            self._block[:, begin:stop] = part
        self._share_time(1)
        return gaps > 0

    def _share_time(self, gaps: int) -> None:
        """Share the packet's time among its bursts."""
        share_ms = self._limit_ms / gaps if gaps > 1 else float("inf")
        self._burst_ms = min(self._hurry_ms, share_ms)

    def _play_part(self, block: NDArray[np.float32], place: int) -> bool:
        """Play a part of a packet into ``block``; return whether it was concealed."""
        part = self._queue.playing[place]
        self._played = self._queue.position + part.begin
        gap = self._queue.gap_from(place) if self._filler.bridges and not part.arrived else 0
        play = decide(part.arrived, self._burst, 0 < gap <= self._reach, self._filler.fades)
        self.stats.total_samples_received += block.shape[1]
        if play in (Play.RECEIVED, Play.RECOVER):
            received = self._queue.samples_of(part)
            block[:] = received
            if play is Play.RECOVER:
                self._recover(block)
            self._background.listen(received)
            self._history.append(block, True)
            self._filler.played(block, True)
            if self._filler.prepares and part.stop == self.config.packet_samples:
                self._filler.prepare(self._history, self._moment_without(part.stop))
            return False
        self._background.interrupt()
        self._conceal(block, play, place, gap)
        return True

    def _conceal(self, block: NDArray[np.float32], play: Play, place: int, gap: int) -> None:
        stats = self.stats
        n = block.shape[1]
        burst = self._burst
        if burst is None or burst.recovered:
            burst = self._begin_burst(gap if play is Play.BRIDGE else 0)
        if play is Play.BRIDGE:
            if burst.bridged == burst.bridge:
                self._build_bridge(burst, place, gap)
            block[:] = self._bridge[:, burst.bridged : burst.bridged + n]
            burst.bridged += n
            burst.age += n
            stats.bridged_samples += n
            trusted = True
        else:
            if burst.age:
                self._filler.next_packet()
            trusted = self._continue_burst(block, burst)
        silent = play is Play.NOISE
        rung = _NOISE_RUNG if silent else self._filler.name
        stats.rung_samples[rung] += n
        stats.silent_concealed_samples += n if silent else 0
        stats.concealed_samples += n
        stats.longest_burst_samples = max(stats.longest_burst_samples, burst.age)
        stats.fills_limited += self._limit.hold(block, self._played)
        self._history.append(block, trusted)
        self._filler.played(block, False)

    def _moment_without(self, samples: int) -> Moment:
        """Return the state of a burst that begins with lost samples."""
        return Moment(
            unsteady=self._background.unsteady,
            content=self._background.content,
            received_share=self._limit.share_without(samples),
        )

    def _begin_burst(self, gap: int) -> Burst:
        """Begin a burst; ``gap`` samples are bridged as a whole."""
        self._moment = moment = Moment(
            unsteady=self._background.unsteady,
            content=self._background.content,
            gap_samples=gap,
            received_share=self._limit.received_share,
            limit_ms=self._burst_ms,
        )
        self._filler.begin(self._history, moment)
        hold = self._holds[moment.unsteady]
        self._burst = burst = Burst(hold, self._fade, self._filler.late_samples)
        self._limit.begin()
        self.stats.concealment_events += 1
        return burst

    def _continue_burst(self, out: NDArray[np.float32], burst: Burst) -> bool:
        """Write the burst's next samples, shape (channels, n); return whether to trust them."""
        n = out.shape[1]
        begin = burst.age
        faded = burst.faded
        burst.age += n
        if not self._filler.fades or burst.age <= burst.hold:
            self._filler.extend(out)
            return True
        noise = self._noise[:, :n]
        self._background.make_noise(noise)
        self._limit.quieten(noise, self._played)
        if faded:
            out[:] = noise
            return False
        self._filler.extend(out)
        gain = self._gain[:n]
        burst_gain(begin, burst.hold, burst.fade, gain)
        for c in range(out.shape[0]):
            fade_into(noise[c], gain, out[c])
        return False

    def _build_bridge(self, burst: Burst, place: int, gap: int) -> None:
        """Fill the rest of the gap at once, from both sides."""
        known = self._queue.copy_after(place, gap, self._after)
        burst.bridged = 0
        burst.bridge = gap
        moment = self._moment._replace(fading=burst.age > burst.hold, limit_ms=self._burst_ms)
        burst.landed = self._filler.bridge(
            self._history, self._after[:, :known], self._bridge[:, : burst.bridge], moment
        )

    def _recover(self, block: NDArray[np.float32]) -> None:
        """Crossfade from the continued concealment to the first received samples."""
        burst = self._burst
        assert burst is not None
        if burst.landed or not self._filler.crossfades:
            self._burst = None
            return
        n = min(self._ramp.size - burst.recovered, block.shape[1])
        tail = self._tail[:, :n]
        self._continue_burst(tail, burst)
        self._limit.hold(tail, self._played)
        now = slice(burst.recovered, burst.recovered + n)
        if burst.recovered == 0:
            steady = not self._background.unsteady
            for c in range(block.shape[0]):
                self._quick[c] = steady and _apart(tail[c], block[c, :n])
        for c in range(block.shape[0]):
            ramp = self._quick_ramp if self._quick[c] else self._ramp
            crossfade(block[c, :n], ramp[now], tail[c])
        block[:, :n] = tail
        burst.recovered += n
        self.stats.crossfaded_samples += n
        if burst.recovered == self._ramp.size:
            self._burst = None

    def _note_time(self, concealed: bool, elapsed_ms: float) -> None:
        stats = self.stats
        (stats.concealed_time if concealed else stats.good_time).add(elapsed_ms)
        stats.deadline_misses += concealed and elapsed_ms > self._limit_ms
        if concealed:
            # What others did with the processor meanwhile says nothing about the rung.
            spent_ms = 1e3 * (self._cpu_clock() - self._cpu_began)
            stats.rung_changes += self._filler.took(spent_ms > self._limit_ms)
        stats.rung_changes += self._filler.pass_time(self._packet_ms)


def _apart(continued: NDArray[np.float32], received: NDArray[np.float32]) -> bool:
    """Return whether a concealment differs much from received samples, shape (n,)."""
    difference = continued - received
    error = float(np.dot(difference, difference))
    return error > APART * float(np.dot(received, received))
