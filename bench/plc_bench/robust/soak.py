"""Every kind of input for a long time: ``plc bench robust soak``.

A run is many *streams*, each with its own drawn rate, packet size, channels, lookahead and sample
type. A stream is many *stretches*: each draws a content (music, a voice, notes that
end, chirps, squares, noise, silence, clipping, denormal numbers, NaN and infinity) and a pattern of
losses (none, at random, regular, or one burst of up to an hour). After every push the output must
have the right shape and type and be finite, and a concealment must be no louder than the signal
received lately (:mod:`plc_bench.scores.loudness`). At the end of a stream its length must be exact,
and over the run the resident memory must not grow.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

import plc
from plc_bench.base.corpus import Samples
from plc_bench.base.surroundings import kept_mb, resident_mb
from plc_bench.base.synth import music
from plc_bench.base.tables import Table
from plc_bench.scores.loudness import GHOST_AFTER_S, GHOST_DB, LOUDEST_FILL_DB, Loudness

# Mostly the cheapest: many packets matter here.
SAMPLE_RATES = (8000, 8000, 8000, 16_000, 44_100, 48_000)
PACKET_MS = (1.0, 2.5, 5.0, 10.0, 20.0, 60.0)
CONTENTS = (
    *("music", "voice", "notes", "chirp", "square", "noise", "silence"),
    *("clipped", "denormal", "broken"),
)
LOSSES = ("none", "light", "heavy", "regular", "burst")
LONGEST_BURST_S = 3600.0
# Packets of the stream with the longest burst: an hour of them is 60 000.
_LONG_BURST_PACKET_MS = 60.0
_STREAM_PACKETS = (2000, 40_000)
_STRETCH_PACKETS = (20, 2000)
# Distinct packets of each content in a stream, handed in again and again.
_VARIETY = 32
# The allocator's own ups and downs between streams of different sizes stay below this.
GROWTH_MAX_MB = 8.0
_RSS_EVERY_PACKETS = 1000
# Fewer streams say nothing of what one leaves behind: some draw a network, others do not.
_LEAST_STREAMS = 8
_VIOLATIONS_KEPT = 20
_VIOLATIONS_SHOWN = 3

Packet = Samples | NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class SoakStream:
    """Settings of a stream."""

    sample_rate: int
    packet_samples: int
    channels: int
    lookahead: int
    int16: bool

    def __str__(self) -> str:
        """Return the settings in a few words."""
        return (
            f"{'int16' if self.int16 else 'float32'} stream, {self.sample_rate} Hz, "
            f"{self.packet_samples} samples, {self.channels} ch, lookahead {self.lookahead}"
        )


@dataclass(slots=True)
class SoakReport:
    """Counts and extremes of a run.

    Attributes
    ----------
    packets, lost, broken : int
        Pushed; None among them; with a NaN or an infinity among them.
    streams : int, opened one after another
    longest_burst_s : float
        Longest burst that was drawn on purpose.
    audio_s, elapsed_s : float
        Audio that went through, and the time it took.
    loudest_fill_db : float
        Largest level of a concealment, re the signal received in the 8 s before.
    loudest_ghost_db : float
        The loudest sample concealed in silence, half a second and more after a sound, re full
        scale.
    rss_mb : list of float
        Resident memory after each stream, in MiB. (An open stream's memory depends on its rate
        and its network.)
    within_mb : float
        The most by which the memory of a stream's second half exceeded that of its first.
    violations : list of str
        The first 20 faults; empty is a pass.
    """

    packets: int = 0
    lost: int = 0
    broken: int = 0
    streams: int = 0
    longest_burst_s: float = 0.0
    audio_s: float = 0.0
    elapsed_s: float = 0.0
    loudest_fill_db: float = -math.inf
    loudest_ghost_db: float = -math.inf
    rss_mb: list[float] = field(default_factory=list)
    within_mb: float = 0.0
    violations: list[str] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """Growth of memory within a stream, or from stream to stream."""
        many = len(self.rss_mb) >= _LEAST_STREAMS
        return max(self.within_mb, _grown(self.rss_mb) if many else 0.0)

    def complain(self, what: str) -> None:
        """Note a violation, if there is still room."""
        if len(self.violations) < _VIOLATIONS_KEPT:
            self.violations.append(what)


def soak(
    packets: int, seed: int = 0, on_packets: Callable[[int], None] = lambda count: None
) -> SoakReport:
    """Push ``packets`` packets of every kind through the engine.

    Parameters
    ----------
    packets : int
        How many, over all streams.
    seed : int
        Of everything that is drawn.
    on_packets : callable
        Called with how many more have been pushed, some times a second.
    """
    rng = np.random.default_rng(seed)
    report = SoakReport()
    for rate in SAMPLE_RATES:  # libraries that load once are not growth
        plc.Concealer(sample_rate=rate, packet_samples=rate // 100).close()
    start = time.perf_counter()
    for number in count():
        left = packets - report.packets
        if left <= 0:
            break
        if number == 0:
            stream = SoakStream(8000, round(8 * _LONG_BURST_PACKET_MS), 1, 0, int16=False)
            _run(stream, min(left, packets // 8 + 1), rng, report, on_packets, outage=True)
        else:
            length = int(rng.integers(*_STREAM_PACKETS))
            _run(_draw_stream(rng), min(left, length), rng, report, on_packets)
        report.rss_mb.append(kept_mb())
    report.elapsed_s = time.perf_counter() - start
    if report.growth_mb > GROWTH_MAX_MB:
        report.complain(f"resident memory grew by {report.growth_mb:.1f} MiB")
    return report


def soak_table(report: SoakReport) -> Table:
    """Return the run in a few rows."""
    table = Table("")
    table.add("packets", f"{report.packets} in {report.streams} streams")
    table.add("lost", f"{report.lost}, longest burst {report.longest_burst_s:.0f} s")
    table.add("with NaN or infinity", report.broken)
    table.add("audio", f"{report.audio_s / 3600:.1f} h in {report.elapsed_s:.0f} s")
    table.add("loudest concealment", f"{report.loudest_fill_db:+.1f} dB re the received signal")
    table.add("in silence after a sound", f"{max(report.loudest_ghost_db, -200.0):.0f} dBFS")
    if report.rss_mb:
        table.add(
            "resident memory", f"{report.rss_mb[-1]:.0f} MiB, growth {report.growth_mb:+.1f} MiB"
        )
    shown = report.violations[:_VIOLATIONS_SHOWN]
    hidden = len(report.violations) - len(shown)
    table.add("violations", "\n".join([*shown, *[f"{hidden} more"] * bool(hidden)]) or "none")
    return table


def _draw_stream(rng: np.random.Generator) -> SoakStream:
    rate = int(rng.choice(SAMPLE_RATES))
    return SoakStream(
        sample_rate=rate,
        packet_samples=round(rate * float(rng.choice(PACKET_MS)) / 1000),
        channels=int(rng.integers(1, 3)),
        lookahead=int(rng.integers(0, 3)),
        int16=bool(rng.random() < 0.25),
    )


def _run(
    stream: SoakStream,
    packets: int,
    rng: np.random.Generator,
    report: SoakReport,
    on_packets: Callable[[int], None],
    outage: bool = False,
) -> None:
    """Push one stream's packets; ``outage`` loses most in one long burst."""
    concealer = plc.Concealer(
        sample_rate=stream.sample_rate,
        channels=stream.channels,
        packet_samples=stream.packet_samples,
        lookahead=stream.lookahead,
        seed=int(rng.integers(2**31)),
    )
    supply = {content: _make_packets(content, stream, rng) for content in CONTENTS}
    watch = _Watch(stream, report)
    pushed = 0
    while pushed < packets:
        length = min(packets - pushed, int(rng.integers(*_STRETCH_PACKETS)))
        loss = str(rng.choice(LOSSES))
        if outage and pushed:
            length, loss, outage = min(packets - pushed, _outage_packets(stream)), "burst", False
        lost = _draw_losses(loss, length, stream, rng, report)
        choices = supply[str(rng.choice(CONTENTS))]
        for i in range(length):
            sent = choices[i % len(choices)]
            packet = None if lost[i] else sent
            watch.check(sent, packet, concealer.push(packet))
        pushed += length
        on_packets(length)
    watch.close(concealer.flush())
    concealer.close()
    report.streams += 1
    report.within_mb = max(report.within_mb, _grown(watch.rss_mb))


def _grown(readings: list[float]) -> float:
    """Return the growth of the maximum from first to second half."""
    half = len(readings) // 2
    return max(readings[half:]) - max(readings[:half]) if half else 0.0


@dataclass(slots=True)
class _Watch:
    """Looks at every packet of a stream, in and out."""

    stream: SoakStream
    report: SoakReport
    samples_in: int = 0
    samples_out: int = 0
    heard: bool = False
    # Whether each packet that is not yet played was lost.
    pending: deque[bool] = field(default_factory=deque)
    # Packets sent since the last one that was not silent, and how many when one was last received.
    silent: int = 0
    silence_heard: int = 0
    rss_mb: list[float] = field(default_factory=list)
    loudness: Loudness = field(init=False)

    def __post_init__(self) -> None:
        """Listen from the stream's begin on."""
        self.loudness = Loudness(self.stream.sample_rate, self.stream.packet_samples)

    def check(self, sent: Packet, packet: Packet | None, output: Packet) -> None:
        """Check a packet as sent, as received and as played."""
        report = self.report
        report.packets += 1
        self.samples_in += self.stream.packet_samples
        received = None
        if packet is None:
            report.lost += 1
        else:
            self.heard = True
            samples = _as_float(packet)
            if np.isfinite(samples).all():
                received = samples
            else:
                report.broken += 1
        self.loudness.receive(received)
        self.pending.append(received is None)
        if np.any(sent):
            self.silent, self.silence_heard = 0, 0
        else:
            self.silent += 1
            self.silence_heard = self.silence_heard if received is None else self.silent
        self._look(output)
        if len(self.pending) > self.stream.lookahead and self.pending.popleft():
            self._listen(output)
        expected = (self.stream.packet_samples, self.stream.channels)
        if output.shape != expected:
            report.complain(f"packet {report.packets}: {output.shape} came out of {self.stream}")
        if report.packets % _RSS_EVERY_PACKETS == 0:
            self.rss_mb.append(resident_mb())

    def close(self, tail: Packet) -> None:
        """Check the rest that the lookahead held, and the total length."""
        self._look(tail)
        held = self.stream.lookahead * self.stream.packet_samples
        if self.samples_out != self.samples_in + held:
            self.report.complain(
                f"{self.samples_in} samples went into {self.stream}, {self.samples_out} came out, "
                f"with {held} of delay"
            )
        self.report.audio_s += self.samples_in / self.stream.sample_rate

    def _look(self, output: Packet) -> None:
        self.samples_out += len(output)
        if output.dtype != (np.int16 if self._plays_int16() else np.float32):
            self.report.complain(f"{output.dtype} came out of {self.stream}")
        if not np.isfinite(_as_float(output)).all():
            self.report.complain(f"not finite: packet {self.report.packets} of {self.stream}")

    def _listen(self, fill: Packet) -> None:
        report = self.report
        samples = _as_float(fill)
        excess_db = self.loudness.excess_db(samples)
        report.loudest_fill_db = max(report.loudest_fill_db, excess_db)
        where = f"packet {report.packets} of {self.stream}"
        if excess_db > LOUDEST_FILL_DB:
            report.complain(f"{excess_db:.1f} dB louder than the received signal: {where}")
        packet_s = self.stream.packet_samples / self.stream.sample_rate
        silent_s = (self.silence_heard - 1 - self.stream.lookahead) * packet_s
        if silent_s >= GHOST_AFTER_S:
            ghost_db = 20.0 * math.log10(max(float(np.abs(samples).max()), 1e-30))
            report.loudest_ghost_db = max(report.loudest_ghost_db, ghost_db)
            if ghost_db > GHOST_DB:
                report.complain(f"{ghost_db:.0f} dBFS in silence: {where}")

    def _plays_int16(self) -> bool:
        # The input decides the type; before any input, float32 is played.
        return self.stream.int16 and self.heard


def _make_packets(content: str, stream: SoakStream, rng: np.random.Generator) -> list[Packet]:
    """Return distinct packets of one content: float32 or int16, (packet_samples, channels)."""
    samples = _VARIETY * stream.packet_samples
    shape = (samples, stream.channels)
    signal = np.zeros(shape, np.float32)
    if content == "music":
        seconds = samples / stream.sample_rate
        signal = music(stream.sample_rate, seconds, stream.channels, int(rng.integers(2**31)))
    elif content in _LINES:
        t = np.arange(samples)[:, None] / stream.sample_rate
        signal[:] = _LINES[content](t, stream.sample_rate, float(rng.uniform(80.0, 800.0)))
    elif content == "clipped":
        # Squares far past full scale, of random length.
        signal[:] = np.where(rng.random(shape).cumsum(axis=0) % 40 < 20, 4.0, -4.0)
    elif content == "denormal":
        signal[:] = 1e-40 * rng.standard_normal(shape)
    elif content != "silence":
        signal[:] = 0.2 * rng.standard_normal(shape)
    if stream.int16:
        signal = np.rint(32767 * signal.clip(-1.0, 1.0))
    packets = np.split(signal.astype(np.int16 if stream.int16 else np.float32), _VARIETY)
    if content == "broken" and not stream.int16:
        for packet in packets[::2]:
            packet[rng.integers(len(packet))] = rng.choice([np.nan, np.inf, -np.inf])
    return [packet.copy() for packet in packets]


def _draw_losses(
    loss: str, packets: int, stream: SoakStream, rng: np.random.Generator, report: SoakReport
) -> list[bool]:
    if loss == "regular":
        period = int(rng.integers(2, 8))
        pattern = np.arange(period) < rng.integers(1, period)
        return [bool(lost) for lost in np.resize(rng.permutation(pattern), packets)]
    share = {"none": 0.0, "light": 0.03, "heavy": float(rng.uniform(0.1, 0.95)), "burst": 1.0}[loss]
    if loss == "burst":
        burst_s = packets * stream.packet_samples / stream.sample_rate
        report.longest_burst_s = max(report.longest_burst_s, burst_s)
    return [bool(lost) for lost in rng.random(packets) < share]


def _outage_packets(stream: SoakStream) -> int:
    return round(LONGEST_BURST_S * stream.sample_rate / stream.packet_samples)


def _as_float(packet: Packet) -> Samples:
    scale = np.float32(1 / 32768 if packet.dtype == np.int16 else 1.0)
    return packet.astype(np.float32) * scale


def _voice(t: NDArray[np.float64], sample_rate: int, hertz: float) -> NDArray[np.float64]:
    phase = 2.0 * np.pi * (hertz * t + 0.5 * np.sin(2.0 * np.pi * 5.0 * t))
    harmonics = range(1, max(2, int(min(3500.0, 0.4 * sample_rate) / hertz)))
    sound = sum(np.cos(k * phase + k * k) / k for k in harmonics)
    return 0.1 * np.asarray(sound) * (np.sin(2.0 * np.pi * 3.0 * t) > -0.5)


def _notes(t: NDArray[np.float64], sample_rate: int, hertz: float) -> NDArray[np.float64]:
    into = t % 1.2
    return 0.5 * np.exp(-5.0 * into) * np.sin(2.0 * np.pi * hertz * t) * (into < 0.3)


def _chirp(t: NDArray[np.float64], sample_rate: int, hertz: float) -> NDArray[np.float64]:
    return 0.5 * np.sin(2.0 * np.pi * (hertz + 0.2 * sample_rate * (t % 1.0)) * (t % 1.0))


def _square(t: NDArray[np.float64], sample_rate: int, hertz: float) -> NDArray[np.float64]:
    return np.where((t * hertz) % 1.0 < 0.5, 1.0, -1.0)


_LINES = {"voice": _voice, "notes": _notes, "chirp": _chirp, "square": _square}
