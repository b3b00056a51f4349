"""Play an input on a sound card, through a simulated network.

::

    input device ─▶ ring ─▶ packets ─▶ Impairment ─▶ Playout ─▶ ring ─▶ output device
    or RTP by UDP ───────────────────────────────────▲            │
                                                     └── clock ◀──┘

    and, where RTP is played, the input device to the network (:mod:`plc.transport.live.sending`)

The devices fill and empty their rings by themselves. The engine comes by every millisecond or two,
takes what is there, and keeps as much ready for the output as it consumes before the next visit,
and a reserve, which grows with each time that it did not suffice.

Time is what the output device has played (:class:`~plc.transport.live.ends.PlayClock`): packets
arrive, and blocks are due, by that clock. So the jitter buffer sees the input's clock drift against
the output's, as it does with a sender's, and takes it up in the same way; and a device that calls
in bursts costs delay, not samples. Packets of the network are read before the blocks that they are
in time for are played, as in the relay: an engine that was held up loses none of them. An input
that goes away is an outage, an output that goes away lets the stream go on unheard.

:class:`LiveEngine` is a state machine with the clock passed in; :func:`run_live` gives it a thread
of its own.
"""

import contextlib
import gc
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from plc import notice
from plc.ending import stop_signals
from plc.engine.loss import LossSource
from plc.engine.runtime import standing
from plc.engine.runtime.priority import Priority, Wish
from plc.engine.runtime.threads import Level, leave, take
from plc.engine.stream.stats import percentiles
from plc.errors import ConfigError, in_a_line
from plc.transport.cards.devices import Backend, DevicePort, tend
from plc.transport.live.ends import (
    MAX_RESERVE_S,
    DeviceSink,
    DeviceSource,
    Float32,
    LiveStats,
    NetworkSource,
)
from plc.transport.live.sending import NetworkSink, SendConfig
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.impair import ImpairConfig, Impairment
from plc.transport.rtp.mismatch import Note, Told, in_words
from plc.transport.rtp.playout import Playout
from plc.transport.rtp.srtp import SrtpReceiver, SrtpTold, merged
from plc.transport.rtp.udp import Endpoint, UdpPort

# Steps that fail one after another before the stream ends.
_FAULTS_MAX = 100
_POLL_S = 0.001
_TEND_S = 0.1
_DRAIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """A stream from an input to an output.

    Parameters
    ----------
    receiver : ReceiverConfig
        How packets are played. Devices are converted to the format of its stream, and packets of
        input devices have the length of its stream's packets. Codec, payload types and permitted
        senders are those of RTP. The seed of the stream also decides which packets are lost.
    impair : ImpairConfig, the simulated network
    reserve_ms : float
        Audio kept ready for the output device, at first.
    """

    receiver: ReceiverConfig = field(default_factory=ReceiverConfig)
    impair: ImpairConfig = field(default_factory=ImpairConfig)
    reserve_ms: float = 20.0

    def __post_init__(self) -> None:
        """Check the reserve."""
        if not 1.0 <= self.reserve_ms <= 1000.0 * MAX_RESERVE_S:
            raise ConfigError(
                f"reserve_ms is {self.reserve_ms:g}; supported: 1 to {1000 * MAX_RESERVE_S:g} ms"
            )


class LiveEngine:
    """One stream: from the source through impairment and playout to the sink.

    Parameters
    ----------
    config : LiveConfig, its settings
    source : DevicePort, Endpoint or UdpPort
        The input; an open port is closed with the engine.
    output : DevicePort, the output
    losses : LossSource, optional
        Lost packets, instead of the config's model.
    send : SendConfig, optional
        What is sent meanwhile; the source is an endpoint then.
    sent_from : DevicePort, optional, the device of that

    Attributes
    ----------
    playout : Playout, the jitter buffer and the concealer
    stats : LiveStats, what happened
    behind : bool
        Whether a block that is due waits for datagrams that are not read yet.
    """

    def __init__(
        self,
        config: LiveConfig,
        source: DevicePort | Endpoint | UdpPort,
        output: DevicePort,
        losses: LossSource | None = None,
        send: SendConfig | None = None,
        sent_from: DevicePort | None = None,
    ) -> None:
        self.config = config
        self.stats = LiveStats()
        receiver, stream = config.receiver, config.receiver.stream
        local = Float32(stream.sample_rate, stream.channels)
        self.playout = Playout(receiver, local if isinstance(source, DevicePort) else None)
        self._told = Told(self.playout.inspection)
        self.impairment = Impairment(config.impair, stream.seed, losses)
        self.source: DeviceSource | NetworkSource
        if isinstance(source, DevicePort):
            self.source = DeviceSource(source, local, stream.packet_samples, self.stats)
        else:
            self.source = NetworkSource(source, self.stats, receiver)
        self.srtp_receivers: list[SrtpReceiver] = []
        if isinstance(self.source, NetworkSource) and self.source.srtp is not None:
            self.srtp_receivers.append(self.source.srtp)
        self._srtp_told = SrtpTold(self.srtp_receivers)
        self.sink = DeviceSink(
            output,
            stream.sample_rate,
            stream.packet_samples,
            config.reserve_ms / 1000.0,
            self.stats,
        )
        self.sender: NetworkSink | None = None
        if send is not None and sent_from is not None and isinstance(self.source, NetworkSource):
            try:
                self.sender = NetworkSink(send, receiver, sent_from, self.source.port, self.stats)
            except BaseException:
                self.close()
                raise
        self.stopping = False
        self.behind = False

    def step(self, ours_s: float, clock: Callable[[], float] | None = None) -> int:
        """Do the work due by our clock; return the number of blocks made.

        With ``clock``, ours as it goes on meanwhile, packets came when the system received them;
        without one, now.
        """
        if self.sender is not None:
            self.sender.step(ours_s)
        if self.sink.update(ours_s):
            self.playout.buffer.receiver.hurry()
        now_s = self.sink.clock.now_s
        if isinstance(self.source, NetworkSource):
            self._hear(self.source, ours_s, now_s, clock)
        else:
            for datagram in self.source.datagrams(ours_s):
                self.impairment.put(datagram, now_s)
            self._take_due(now_s)
        blocks, self.behind = 0, False
        while not self._drained and (due_s := self.sink.due_s()) is not None:
            self.behind = not self._has_heard(due_s + ours_s - now_s, ours_s)
            if self.behind:
                break
            self._play(due_s, ours_s)
            blocks += 1
        return blocks

    def _hear(
        self, source: NetworkSource, ours_s: float, now_s: float, clock: Callable[[], float] | None
    ) -> None:
        for datagram, at_s in source.datagrams(ours_s, clock):
            came_s = now_s + at_s - ours_s
            self.impairment.put(datagram, came_s)
            self._take_due(came_s)
        if source.drained:
            self._take_due(now_s)
        if self.playout.buffer.ssrc in source.farewells():
            self.playout.buffer.give_way()  # another may be heard at once

    def _has_heard(self, until_s: float, ours_s: float) -> bool:
        """Return whether the network's packets until then are read; True for other sources."""
        source = self.source
        return not isinstance(source, NetworkSource) or source.has_heard(until_s, ours_s)

    def _take_due(self, now_s: float) -> None:
        for datagram in self.impairment.due(now_s):
            verdict = self.playout.put(datagram, now_s)
            if isinstance(self.source, NetworkSource):
                self._told.note_source(self.source.sender, self.playout.buffer.ssrc)
                if self.source.believe(datagram, verdict):
                    self.playout.arrivals.yield_place(verdict)

    def tell(self, note: Note) -> None:
        """Note mismatches between received packets and the settings."""
        if isinstance(self.source, NetworkSource):
            where = str(self.source.port.endpoint)
            self._told.tell(where, note)
            self._srtp_told.tell(where, note)

    def _play(self, due_s: float, ours_s: float) -> None:
        block = self.playout.tick(due_s)
        if self.playout.buffer.receiver.begun:
            delay_s = max(0.0, self.playout.delay_s) + self.sink.reserve_s
            self.stats.delay.add(1000.0 * delay_s)
        self.sink.write(np.ascontiguousarray(block.T), ours_s)

    def stop(self) -> None:
        """Stop receiving; the packets held are still played."""
        self.stopping = True
        if self.sender is not None:
            self.sender.stop()
        self.source.stop()
        self.playout.drain()

    @property
    def _drained(self) -> bool:
        return self.stopping and self.playout.drained

    @property
    def done(self) -> bool:
        """True if the stream was stopped and played to its end."""
        return self._drained and self.sink.waiting_s == 0.0

    def close(self) -> None:
        """End the networks' threads, and close the port, if there are any."""
        self.playout.close()
        if isinstance(self.source, NetworkSource):
            self.source.close()

    def report(self) -> dict[str, Any]:
        """Return everything that was counted, by name."""
        stats = asdict(self.stats)
        stats["delay_ms"] = percentiles(self.stats.delay)
        stats["step_ms"] = percentiles(self.stats.step_time)
        del stats["delay"], stats["step_time"]
        return {
            "live": stats,
            "reserve_ms": 1000.0 * self.sink.reserve_s,
            "impairment": asdict(self.impairment.stats),
            "sent": None if self.sender is None else self.sender.report(),
            "srtp": merged(self.srtp_receivers),
        } | self.playout.report()


class Live:
    """A running stream: the engine in its thread, the devices kept open.

    Parameters
    ----------
    engine : LiveEngine, the stream
    backend : Backend, of the devices
    ports : sequence of DevicePort, those that are kept open
    clock : callable, returns seconds
    priority : Priority or None
        What was asked of the system; None: nothing.
    """

    def __init__(
        self,
        engine: LiveEngine,
        backend: Backend,
        ports: Sequence[DevicePort],
        clock: Callable[[], float] = time.monotonic,
        priority: Priority | None = None,
    ) -> None:
        self.engine = engine
        self.ports = ports
        self._priority = Priority("normal") if priority is None else priority
        self._backend = backend
        self._clock = clock
        self._end = threading.Event()
        self.faults = 0
        """Steps that ended in an exception."""
        self._in_a_row = 0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="plc live", daemon=True)

    def start(self) -> None:
        """Open the devices and start; raise DeviceError if one of them is not there."""
        try:
            for port in self.ports:
                port.open(self._clock())
        except BaseException:
            self._close_ports()
            raise
        self._thread.start()

    def _work(self) -> None:
        take(Level.AUDIO)
        engine, clock = self.engine, self._clock
        try:
            while not self._end.is_set():
                began_s = clock()
                if self._step(began_s):
                    engine.stats.step_time.add(1000.0 * (clock() - began_s))
                time.sleep(0.0 if engine.behind else _POLL_S)
        except BaseException as error:
            self._failure = error
        finally:
            leave()

    def _step(self, now_s: float) -> int:
        try:
            done = self.engine.step(now_s, self._clock)
        except Exception as error:
            self.faults += 1
            self._in_a_row += 1
            if self._in_a_row > _FAULTS_MAX:
                raise
            if self.faults == 1:
                notice.tell(
                    f"the stream met a fault and goes on: {type(error).__name__}: "
                    f"{in_a_line(error)}"
                )
            return 0
        self._in_a_row = 0
        return done

    @property
    def scheduling(self) -> str:
        """Scheduling class of the engine's thread."""
        return self._priority.describe()

    def tend(self) -> None:
        """Service the devices; re-raise an error of the engine."""
        if self._failure is not None:
            raise self._failure
        self._priority.tend()
        tend(self._backend, self.ports, self._clock())

    def longest_absence_s(self) -> float:
        """Return for how long a device has been away; 0 if all are there."""
        now_s = self._clock()
        return max(
            (now_s - port.away_since_s for port in self.ports if port.away_since_s is not None),
            default=0.0,
        )

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether stream and devices work, and the problems."""
        problems = [f"{port.name}: away" for port in self.ports if port.stream is None]
        problems += standing.problems()
        if not self._thread.is_alive():
            problems.append("the stream has ended")
        status = "failing" if problems else "ok"
        return not problems, {"status": status, "problems": problems}

    def stop(self) -> None:
        """Play the rest, at most 2 s, and close everything."""
        self.engine.stop()
        limit_s = self._clock() + _DRAIN_S
        while not self.engine.done and self._thread.is_alive() and self._clock() < limit_s:
            if all(port.stream is None for port in self.ports if not port.is_input):
                break
            time.sleep(_POLL_S)
        self._end.set()
        self._thread.join()
        self._close_ports()
        self.engine.close()

    def _close_ports(self) -> None:
        for port in self.ports:
            port.close()

    def report(self) -> dict[str, Any]:
        """Return everything that was counted, by name."""
        devices = {
            port.direction: {"device": port.name} | asdict(port.stats) for port in self.ports
        }
        return self.engine.report() | {"devices": devices, "scheduling": self.scheduling}


@contextlib.contextmanager
def without_pauses() -> Iterator[None]:
    """Keep garbage collection and busy threads from pausing Python."""
    interval_s = sys.getswitchinterval()
    gc.collect()
    gc.freeze()  # present objects stay; a collection need not walk them
    sys.setswitchinterval(_POLL_S / 2.0)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)
        gc.unfreeze()


def run_live(
    config: LiveConfig,
    backend: Backend,
    source: str | Endpoint | UdpPort,
    output: str,
    *,
    losses: LossSource | None = None,
    send: SendConfig | None = None,
    duration_s: float = math.inf,
    give_up_s: float = math.inf,
    priority: Wish = "normal",
    note: Note = in_words,
    watch: Callable[["Live"], None] | None = None,
) -> dict[str, Any]:
    """Run until SIGTERM, SIGINT or the end of the time; return the counters.

    Parameters
    ----------
    config : LiveConfig, the stream
    backend : Backend, of the devices
    source : str, Endpoint or UdpPort
        The input: a device, as for :func:`~plc.transport.cards.devices.find_device`, or where RTP
        comes in.
    output : str, the output device
    losses : LossSource, optional
        Lost packets, instead of the config's model.
    send : SendConfig, optional
        What is sent meanwhile, where RTP is played.
    duration_s : float, how long
    give_up_s : float
        End, too, when a device has been away this long.
    priority : str
        Of the threads, as :class:`plc.engine.runtime.priority.Priority` takes it.
    note : callable, told what happens
    watch : callable, optional
        Called ten times a second, and at the end.

    Raises
    ------
    DeviceError
        If a device is absent at the start, or takes no supported format.
    NetworkError
        If the port is taken.
    """
    stream = config.receiver.stream
    block_s = stream.packet_ms / 1000.0

    def port(name: str, is_input: bool) -> DevicePort:
        return DevicePort(
            backend, name, is_input, stream.sample_rate, stream.channels, block_s, note
        )

    ports = [port(output, False)]
    device = send.device if send is not None else source
    if isinstance(device, str):
        ports.insert(0, port(device, True))
    # The engine first: what it compiles takes time in which nothing would be played.
    played = ports[0] if isinstance(source, str) else source
    with Priority(priority) as asked:
        engine = LiveEngine(config, played, ports[-1], losses, send, ports[0])
        live = Live(engine, backend, ports, priority=asked)
        _run(live, duration_s, give_up_s, note, watch)
    engine.tell(note)
    if watch is not None:
        watch(live)
    return live.report()


def _run(
    live: Live,
    duration_s: float,
    give_up_s: float,
    note: Note,
    watch: Callable[["Live"], None] | None,
) -> None:
    engine = live.engine
    with stop_signals() as signals, without_pauses():
        try:
            live.start()
        except BaseException:
            engine.close()
            raise
        try:
            end_s = time.monotonic() + duration_s
            while not signals and time.monotonic() < end_s:
                live.tend()
                engine.tell(note)
                if watch is not None:
                    watch(live)
                if live.longest_absence_s() > give_up_s:
                    note("gave_up", after_s=give_up_s)
                    break
                time.sleep(min(_TEND_S, max(0.0, end_s - time.monotonic())))
        finally:
            live.stop()
