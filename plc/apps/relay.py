"""The relay: lossy RTP in, whole RTP (or a file) out, at a steady pace.

::

    port ──▶ latch ──▶ Playout (jitter buffer, concealer, resampler) ──▶ encode ──▶ to
             whose       one block each packet length

For each stream: a :class:`~plc.rtp.latch.Latch` decides whose datagrams count, a
:class:`~plc.rtp.playout.Playout` makes a steady stream of them, and a
:class:`~plc.rtp.packetizer.Packetizer` or a file takes it. From the first block on the output never
pauses: what is not received is concealed, and after a long while silence. All is a state machine
with the clock passed in; :func:`plc.rtp.udp.serve` runs it.

A packet sent too late is worth nothing, a recording can wait: its blocks are played in the order of
time between the packets that came in, however late those are read, so that a process that was held
up loses none of them.
"""

import contextlib
import gc
import math
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.apps import children
from plc.apps.events import Note, in_words
from plc.apps.recorder import Recorder
from plc.engine.stats import TimeHistogram, percentiles
from plc.errors import ConfigError, NetworkError, PlcError
from plc.rtp.codecs import check_opus_frame
from plc.rtp.config import ReceiverConfig
from plc.rtp.latch import Latch, RateCap
from plc.rtp.mismatch import Told
from plc.rtp.outcomes import Verdict
from plc.rtp.packetizer import Packetizer
from plc.rtp.playout import Playout
from plc.rtp.sdp import AudioMedia
from plc.rtp.udp import Address, Endpoint, UdpPort, serve, stop_signals

# Ticks that are this much overdue are left out: the machine slept.
_OVERDUE_S = 1.0
# The same of a recording, where nothing was received for so long.
_RECORDING_OVERDUE_S = 30.0
# Blocks of a recording played before the other streams, and the ports, have their turn.
_RECORDED_AT_ONCE = 64
# Share of a packet by which a block may be behind before bursts begin with less, and share of the
# time left that they may then take: several streams that lose a packet at once share one packet's
# time. 64 streams of which 5 % is lost, on two cores: 0.17 % late without.
_BEHIND = 0.25
_WATCH_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """Settings of one stream through the relay.

    Parameters
    ----------
    listen : Endpoint
        Where it comes in.
    to : Endpoint or Path
        Where it goes: a host, or an audio file.
    receiver : ReceiverConfig
        How it is received. It is sent on in the same format and codec, with the same payload type,
        in packets of ``receiver.stream``.
    seed : int or None
        Seed of the sent stream's first numbers; None: unpredictable ones.
    """

    listen: Endpoint
    to: Endpoint | Path
    receiver: ReceiverConfig = field(default_factory=ReceiverConfig)
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check that the codec has such packets."""
        if self.receiver.codec == "opus":
            check_opus_frame(self.receiver.stream.packet_samples)


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
    skipped_packets: int = 0
    """Not sent: the machine was asleep when they were due."""
    unwritten_samples: int = 0
    """Played for a recording and not in its file, whose disk was full or stood still."""
    source_changes: int = 0
    lateness: TimeHistogram = field(default_factory=TimeHistogram)
    """By how much packets were sent after they were due."""
    delay: TimeHistogram = field(default_factory=TimeHistogram)
    """What the relay added to the stream's delay, at each packet sent."""


class StreamRelay:
    """One stream: datagrams in, blocks out.

    Parameters
    ----------
    config : RelayConfig
        Its settings.
    """

    def __init__(self, config: RelayConfig) -> None:
        self.config = config
        receiver = config.receiver
        self.playout = Playout(receiver)
        rng = random.SystemRandom() if config.seed is None else random.Random(config.seed)
        # Decoding and encoding keep state of their own.
        self.packetizer = Packetizer(
            receiver.open_codec(),
            ssrc=rng.getrandbits(32),
            sequence=rng.getrandbits(15),
            timestamp=rng.getrandbits(32),
            payload_type=self.playout.payload_type,
        )
        self.stats = RelayStats()
        self.latch = Latch(receiver.allow)
        self.told = Told(self.playout.inspection)
        self._cap = RateCap(receiver.packets_per_s)
        self._period_s = self.playout.block / self.playout.codec.sample_rate
        self._overdue_s = _RECORDING_OVERDUE_S if self.records else _OVERDUE_S
        self._begin_s = math.inf
        self._due_s = math.inf
        self._ticks = 0

    @property
    def records(self) -> bool:
        """Whether it goes to a file."""
        return isinstance(self.config.to, Path)

    @property
    def next_s(self) -> float:
        """When the next block is due; infinite before anything was received."""
        return self._begin_s + self._ticks * self._period_s

    def receive(self, datagram: bytes, source: Address, now_s: float) -> None:
        """Take in a datagram."""
        stats = self.stats
        stats.datagrams_received += 1
        if self._overdue_s < self.next_s - now_s < math.inf:
            # The clock was set back: no block may wait until it is again as late as it was.
            self._begin_s += now_s - self.next_s
        if not self.latch.admits(source, datagram, now_s):
            stats.refused_datagrams += 1
            return
        if not self._cap.take(now_s):
            stats.capped_datagrams += 1
            return
        verdict = self.playout.put(datagram, now_s)
        self.told.note_source(source)
        before = self.latch.source
        if self.latch.heard(source, datagram, verdict, now_s):
            self.playout.yield_place(verdict)
        stats.source_changes += self.latch.source != before is not None
        if verdict is Verdict.ACCEPTED and self._begin_s == math.inf:
            self._begin_s = now_s

    def play(self, now_s: float, seen_s: float | None = None) -> NDArray[np.float32] | None:
        """Return the block that is due, shape (n, channels); None if none is, or nothing began.

        Once it is more than a quarter of a packet behind ``seen_s``, by default ``now_s``, a burst
        begins with what takes at most a quarter of the time left.
        """
        if now_s - self.next_s > self._overdue_s:
            overdue = int((now_s - self.next_s) / self._period_s)
            self._ticks += overdue
            self.stats.skipped_packets += overdue
        if now_s < self.next_s:
            return None
        due_s = self.next_s
        self._ticks += 1
        behind_s = (now_s if seen_s is None else seen_s) - due_s
        left_s = max(0.0, self._period_s - behind_s)
        hurried = behind_s > _BEHIND * self._period_s
        played = self.playout.tick(due_s, 1000.0 * _BEHIND * left_s if hurried else math.inf)
        if not self.playout.buffer.begun:
            return None
        stats = self.stats
        stats.packets_sent += 1
        stats.delay.add(1000.0 * max(0.0, self.playout.delay_s))
        self._due_s = due_s
        return played.T

    def note_sent(self, now_s: float) -> None:
        """Count how late the block that was last played has left."""
        late_s = now_s - self._due_s
        self.stats.late_packets_sent += late_s > self._period_s
        self.stats.lateness.add(1000.0 * max(0.0, late_s))

    def close(self) -> None:
        """End the threads of the concealer's networks, if there are any."""
        self.playout.close()

    @property
    def drained(self) -> bool:
        """Whether everything received has been played."""
        return self.playout.drained

    def report(self) -> dict[str, Any]:
        """Return everything that was counted, by name."""
        to = self.config.to
        stats = asdict(self.stats)
        stats["lateness_ms"] = percentiles(self.stats.lateness)
        stats["delay_ms"] = percentiles(self.stats.delay)
        del stats["lateness"], stats["delay"]
        return {
            "listen": str(self.config.listen),
            "to": str(to),
            "codec": self.config.receiver.codec,
            "source": None if self.latch.source is None else "{}:{}".format(*self.latch.source),
            "relay": stats,
        } | self.playout.report()


class Relay:
    """A :class:`~plc.rtp.udp.Service` of several streams, one port each.

    Parameters
    ----------
    configs : sequence of RelayConfig
        The streams.
    clock : callable, optional
        Returns seconds, by the clock of :meth:`advance`: how far that falls behind while it works
        is then seen. Without one, no time passes meanwhile.

    Raises
    ------
    NetworkError
        If a port is taken, or a host not found.
    """

    def __init__(
        self, configs: Sequence[RelayConfig], clock: Callable[[], float] | None = None
    ) -> None:
        if not configs:
            raise ConfigError("a relay needs a stream at least")
        self._clock = (lambda now_s: now_s) if clock is None else (lambda _: clock())
        self.streams = [StreamRelay(config) for config in configs]
        self._ports: list[UdpPort] = []
        self._targets: list[Address | Recorder] = []
        self._stopped_s = math.inf
        try:
            for config in configs:
                self._ports.append(UdpPort(config.listen))
                self._targets.append(self._open_target(config))
        except BaseException:
            self.close()
            raise

    def _open_target(self, config: RelayConfig) -> Address | Recorder:
        if isinstance(config.to, Endpoint):
            return self._ports[-1].target(config.to)
        stream = config.receiver.stream
        return Recorder(config.to, stream.sample_rate, stream.channels)

    @property
    def ports(self) -> Sequence[UdpPort]:
        """One for each stream, in order."""
        return self._ports

    @property
    def next_s(self) -> float:
        """When the next block of any stream is due."""
        return min(stream.next_s for stream in self.streams)

    @property
    def done(self) -> bool:
        """Whether every stream was played to its end, or none goes on."""
        if all(isinstance(each, Recorder) and each.error for each in self._targets):
            return True
        return self._stopped_s < math.inf and all(stream.drained for stream in self.streams)

    def receive(self, port: int, datagram: bytes, source: Address, now_s: float) -> None:
        """Take in a datagram that came at ``now_s``, unless stopped."""
        if now_s < self._stopped_s:
            stream = self.streams[port]
            if stream.records:
                while stream.next_s <= now_s:
                    self._record(port, stream, now_s)
            stream.receive(datagram, source, now_s)

    def advance(self, now_s: float) -> None:
        """Send due blocks, oldest first, one of each stream in turn."""
        for number, stream in enumerate(self.streams):
            if stream.records:
                self._catch_up(number, stream, now_s)
        while due := [
            (stream.next_s, number)
            for number, stream in enumerate(self.streams)
            if stream.next_s <= now_s and not stream.records
        ]:
            for _, number in sorted(due):
                stream = self.streams[number]
                played = stream.play(self._clock(now_s))
                if played is not None:
                    target = self._targets[number]
                    assert not isinstance(target, Recorder)
                    self._ports[number].send(stream.packetizer.pack(played), target)
                    stream.note_sent(self._clock(now_s))

    def _catch_up(self, number: int, stream: StreamRelay, now_s: float) -> None:
        """Record due blocks, unless earlier datagrams are still unread."""
        for _ in range(_RECORDED_AT_ONCE):
            if stream.next_s > now_s or not self._ports[number].drained:
                return
            self._record(number, stream, now_s)

    def _record(self, number: int, stream: StreamRelay, now_s: float) -> None:
        played = stream.play(now_s, self._clock(now_s))
        if played is not None:
            target = self._targets[number]
            assert isinstance(target, Recorder)
            target.write(played)
            stream.stats.unwritten_samples = target.unwritten_samples

    def stop(self, now_s: float) -> None:
        """Stop receiving; the packets held are still played."""
        self._stopped_s = now_s
        for stream in self.streams:
            stream.playout.drain()

    def tell(self, note: Note) -> None:
        """Note mismatches between received streams and their settings."""
        for port, stream in zip(self._ports, self.streams, strict=True):
            stream.told.tell(str(port.endpoint), note)

    def report(self) -> list[dict[str, Any]]:
        """Return the counters of each stream."""
        reports = []
        for stream, port, target in zip(self.streams, self._ports, self._targets, strict=True):
            if isinstance(target, Recorder):
                stream.stats.unwritten_samples = target.unwritten_samples
            report = stream.report()
            report |= {"listen": str(port.endpoint), "failed_sends": port.failed_sends}
            if isinstance(target, Recorder):
                report["recording"] = target.report()
            reports.append(report)
        return reports

    def media(self) -> list[AudioMedia]:
        """Return descriptions of the sent streams; streams into files are left out."""
        return [
            AudioMedia(
                endpoint=stream.config.to,
                codec=stream.config.receiver.codec,
                payload_type=stream.packetizer.payload_type,
                sample_rate=stream.config.receiver.stream.sample_rate,
                channels=stream.config.receiver.stream.channels,
                packet_ms=stream.config.receiver.stream.packet_ms,
            )
            for stream in self.streams
            if isinstance(stream.config.to, Endpoint)
        ]

    def close(self) -> None:
        """Close the ports, and the files with all that was recorded."""
        for stream in self.streams:
            stream.close()
        for port in self._ports:
            port.close()
        for target in self._targets:
            if isinstance(target, Recorder):
                target.close()


def run_relay(
    configs: Sequence[RelayConfig],
    *,
    workers: int = 1,
    duration_s: float = math.inf,
    announce: Callable[["Relay"], None] | None = None,
    watch: Callable[["Relay"], None] | None = None,
    note: Note = in_words,
) -> list[dict[str, Any]]:
    """Relay until a signal or the end of the time; return the counters.

    However it ends, recordings are kept. A recording that failed is reported by
    :func:`plc.notice.tell`, and by ``recording`` in its report.

    Parameters
    ----------
    configs : sequence of RelayConfig
        The streams.
    workers : int
        Processes that share the streams: one core runs a few dozen.
    duration_s : float
        How long; infinite: until a signal comes.
    announce : callable, optional
        Called once the ports are open; not with several workers, each of which has its own.
    watch : callable, optional
        Called every second from another thread, and at the end; not with several workers either.
    note : callable
        Takes mismatches between received packets and settings, from that thread; with several
        workers :mod:`plc.notice` takes them.

    Raises
    ------
    NetworkError
        If a port is taken, or a host not found.
    """
    if not 1 <= workers <= 256:
        raise ConfigError(f"workers is {workers}; supported: 1 to 256")
    files = [config.to.resolve() for config in configs if isinstance(config.to, Path)]
    for path in files:
        if files.count(path) > 1:
            raise ConfigError(f"{path} is where several streams go; give each a file of its own")
    if min(workers, len(configs)) > 1:
        return _run_workers(configs, min(workers, len(configs)), duration_s)
    relay = Relay(configs, time.monotonic)
    try:
        if announce is not None:
            announce(relay)
        gc.collect()
        gc.freeze()  # present objects stay; a collection need not walk them
        with _watched(relay, watch, note):
            serve(relay, duration_s=duration_s)
    finally:
        relay.close()
    return relay.report()


@contextlib.contextmanager
def _watched(relay: Relay, watch: Callable[[Relay], None] | None, note: Note) -> Iterator[None]:
    """Look at the relay once a second, in another thread."""
    end = threading.Event()

    def look() -> None:
        relay.tell(note)
        if watch is not None:
            watch(relay)

    def go_on_looking() -> None:
        look()
        while not end.wait(_WATCH_S):
            look()

    thread = threading.Thread(target=go_on_looking, name="plc relay watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        look()


def _run_workers(
    configs: Sequence[RelayConfig], workers: int, duration_s: float
) -> list[dict[str, Any]]:
    """Let each of several processes relay some of the streams; collect their reports in order.

    If one of them fails, the others come to their end, as streams of one process would.
    """
    context = multiprocessing.get_context("spawn")
    started = []
    for number in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        mine = list(configs[number::workers])
        process = context.Process(target=_work, args=(mine, duration_s, theirs), daemon=True)
        with children.undisturbed():
            process.start()
        theirs.close()
        started.append((process, ours))
    answers: dict[int, list[dict[str, Any]] | PlcError] = {}
    failure: PlcError | None = None
    with stop_signals() as signals:
        sent = 0
        while len(answers) < workers:
            for process, _ in started:
                for _ in signals[sent:]:
                    process.terminate()
            sent = len(signals)
            waited_for = [ours for number, (_, ours) in enumerate(started) if number not in answers]
            ready = multiprocessing.connection.wait(waited_for, 0.1)
            for number, (process, ours) in enumerate(started):
                if ours not in ready:
                    continue
                answer = _answer_of(process, ours)
                if isinstance(answer, str):
                    notice.tell(answer)
                    continue
                answers[number] = answer
                if failure is None and isinstance(answer, PlcError):
                    failure = answer
                    for other, _ in started:
                        other.terminate()
    for process, _ in started:
        process.join()
    if failure is not None and signals:
        # Asked to end before the workers had begun, or twice: nobody waits for what they counted.
        raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])
    if failure is not None:
        raise failure
    reports: list[dict[str, Any]] = [{} for _ in configs]
    for number, answer in answers.items():
        assert not isinstance(answer, PlcError)
        reports[number::workers] = answer
    return reports


def _answer_of(
    process: BaseProcess, ours: "multiprocessing.connection.Connection"
) -> list[dict[str, Any]] | PlcError | str:
    """Return a worker's reports, or why there are none; or a line to tell, before them."""
    try:
        answer: list[dict[str, Any]] | PlcError | str = ours.recv()
    except (EOFError, OSError):
        process.join()
        return NetworkError(f"a worker ended without a report (status {process.exitcode})")
    return answer


def _work(
    configs: list[RelayConfig], duration_s: float, answer: "multiprocessing.connection.Connection"
) -> None:
    """Be a worker: relay, and send the reports, or what went wrong, back."""
    # A terminal's signals are for the parent, which hands them on: here a second one would end at
    # once.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    threading.Thread(target=_end_with_parent, name="plc relay parent", daemon=True).start()
    one_at_a_time = threading.Lock()

    def send(what: list[dict[str, Any]] | PlcError | str) -> None:
        with one_at_a_time, contextlib.suppress(OSError):  # nobody is there any more
            answer.send(what)

    notice.listener = send
    done: list[dict[str, Any]] | PlcError
    try:
        done = run_relay(configs, duration_s=duration_s)
    except PlcError as error:
        done = error
    send(done)


def _end_with_parent() -> None:
    """End when the process that started this one has: killed, it ends no worker, and ports stay."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
