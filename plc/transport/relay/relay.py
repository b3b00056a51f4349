"""The relay: lossy RTP in, whole RTP (or a file) out, at a steady pace.

::

    ports ──▶ StreamRelay (latch, Playout) ──▶ encode ──▶ to
                      one block each packet length

For each stream, a *lane*, there is a :class:`~plc.transport.relay.relayed.StreamRelay`, the sockets
where it comes in, and a :class:`~plc.transport.rtp.packetizer.Packetizer` or a file that takes it.
From the first block on the output never pauses: what is not received is concealed, and after a long
while silence. All is a state machine with the clock passed in; :func:`plc.transport.rtp.udp.serve`
runs it.

Lanes may be added and removed while it runs: another thread makes them, which takes time, and
closes them; the one that serves takes them over between two turns (:meth:`Relay.turn`).

Blocks are played in the order of time between the packets that came in, however late those are
read, so that a process that was held up loses none of them. A recording can wait for that; a packet
sent too late is worth nothing, so a stream that is sent waits for 0.3 s at most, as where its port
is flooded.
"""

import contextlib
import gc
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from plc.ending import held
from plc.engine.runtime.priority import Priority, Wish
from plc.engine.runtime.standing import StandingThread
from plc.engine.runtime.threads import Level, aside
from plc.errors import ConfigError, NetworkError, PlcError
from plc.notice import counted
from plc.transport.relay.processes import run_workers
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.latch import RateCap
from plc.transport.rtp.mismatch import Note, in_words
from plc.transport.rtp.packets import is_rtcp
from plc.transport.rtp.udp import Address, Backlog, Endpoint, UdpPort, is_multicast, serve

# Blocks of a recording played before the other streams, and the ports, have their turn.
_RECORDED_AT_ONCE = 64
_WATCH_S = 1.0
# Datagrams of RTCP at its port; a sender or a receiver sends one in a second or two.
_REPORTS_PER_S = 100.0
# Streams that a new file takes away are played to their ends in the watch's turn.
_RELOAD_MAX_S = 120.0
# A datagram as StreamRelay.receive takes it, and how many are kept until their coding is known.
_Came = tuple[bytes, Address, float, int, float | None]
_KEPT_MAX = 4096
# Share of a second's packets that are made in a hurry, from which on it is said, and what helps.
_HURRIED = 0.5
_MORE_TIME = "give --workers as many as it has cores, --method server, or larger packets"
# Pairs of ports tried where any will do.
_PAIRS_TRIED = 32


@dataclass(slots=True)
class Run:
    """The common beginning of a relay's recordings."""

    first_s: float = math.inf
    """When the first packet of any of them came."""


class Lane:
    """A stream with its sockets and where it goes.

    Parameters
    ----------
    config : RelayConfig, of the stream
    run : Run, optional, that of all lanes beside it

    Attributes
    ----------
    stream : StreamRelay, the stream
    ports : list of UdpPort, one for each path, then that of RTCP
    target : Address or None, where it goes, if that is a host
    recording : Recorder or None, what takes it, if that is a file
    stopped : bool, whether nothing more is received
    ended : bool, whether its stream has ended, and with it the recording
    joined, left : threading.Event, set when the relay has taken it over, and let go of it

    Raises
    ------
    NetworkError
        If a port is taken, or a host not found.
    """

    def __init__(self, config: RelayConfig, run: Run | None = None) -> None:
        self.config = config
        self._run = run or Run()
        self.stopped = False
        self.ended = False
        self.is_settling = False
        self._kept: list[_Came] | None = None
        """Datagrams of an open recording, until it is known how they are coded."""
        self.joined = threading.Event()
        self.left = threading.Event()
        self._closed = False
        self.ports: list[UdpPort] = []
        self.stream = StreamRelay(config)
        try:
            self.ports += _open_ports(config)
            self._rtcp = self.ports[-1] if config.rtcp else None
            self._backlog = Backlog([port for port in self.ports if port is not self._rtcp])
            to, form = config.to, config.receiver.stream
            shape = form.sample_rate, form.channels, config.subtype
            self.target = self._open_target(to) if isinstance(to, Endpoint) else None
            self.recording = None if isinstance(to, Endpoint) else to.record(*shape)
            self._kept = [] if config.is_open and self.stream.records else None
        except BaseException:
            self._close_ports()
            self.stream.close()
            raise
        self._upstream: Address | None = None
        self._reports_cap = RateCap(_REPORTS_PER_S)

    def _open_target(self, to: Endpoint) -> Address:
        if self.config.dscp is not None:
            for port in self.ports:
                port.mark(self.config.dscp)
        if self._rtcp is not None:
            self._rtcp.target(_next_port(to))  # the card of a group, too
        return self.ports[0].target(to)

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self.config.name or str(self.ports[0].endpoint)

    @property
    def drained(self) -> bool:
        """True if all datagrams that came have been read."""
        return all(port.drained for port in self.ports)

    def is_due(self, now_s: float) -> bool:
        """Return whether a block is due to be sent, and the packets before it are read."""
        due_s = self.stream.next_s
        may_be_due = due_s <= now_s and not self.stream.records
        return may_be_due and self._backlog.is_read(due_s, now_s)

    @property
    def next_s(self) -> float:
        """Time at which a block or reports are due."""
        reports = self.stream.reports
        block_s = math.inf if self.ended else self.stream.next_s
        return block_s if reports is None else min(block_s, reports.next_s)

    @property
    def error(self) -> str | None:
        """Why its recording cannot be written any more."""
        return None if self.recording is None else self.recording.error

    @property
    def played_out(self) -> bool:
        """True if all that was received is played."""
        return self.ended or self.stream.drained

    def receive(
        self,
        number: int,
        datagram: bytes,
        source: Address,
        now_s: float,
        seen_s: float | None = None,
    ) -> None:
        """Take in a datagram of the port of this number, read at ``seen_s``."""
        if self.stopped or self.ended:
            return
        if self.ports[number] is self._rtcp:
            self._receive_report(datagram, source, now_s)
            return
        self._take(came := (datagram, source, now_s, number, seen_s))
        if self._kept is not None:
            self._kept.append(came)
            self._settle(self._kept)

    def _take(self, came: _Came) -> None:
        now_s = came[2]
        if self.stream.records:
            while self.stream.next_s <= now_s and not self.ended:
                self.record(now_s, now_s)
        self.stream.receive(*came)
        if self.stream.records:
            self._run.first_s = min(self._run.first_s, self.stream.next_s)

    def _settle(self, kept: list[_Came]) -> None:
        """Begin an open recording anew, as its packets say, or keep it as it is."""
        inspection = self.stream.playout.inspection
        told = next((each for each in inspection.found if each.reading is not None), None)
        if told is None or told.reading is None:
            self._kept = None if inspection.is_settled or len(kept) == _KEPT_MAX else kept
            return
        self._kept, self.is_settling = None, True
        assert self.recording is not None
        with contextlib.suppress(PlcError):  # it stays silent, and the line says why
            stream = StreamRelay(self.config.read_as(told.reading))
            form = stream.config.receiver.stream
            self.recording.set_format(form.sample_rate, form.channels, stream.config.subtype)
            how = f"{told.reading[0]}, {form.sample_rate} Hz, {counted(form.channels, 'channel')}"
            stream.playout.inspection.found.append(replace(told, advice=f"recorded as {how}"))
            self.stream.close()
            self.stream = stream
            for each in kept:
                self._take(each)
        self.is_settling = False

    def _receive_report(self, datagram: bytes, source: Address, now_s: float) -> None:
        sender, target = self.stream.latch.source, self.target
        is_sender = sender is not None and source[0] == sender[0]
        may_receive = target is not None and (is_multicast(target[0]) or source[0] == target[0])
        if not is_sender and not may_receive:
            self.stream.stats.refused_datagrams += 1
            return
        if not self._reports_cap.take(now_s):
            self.stream.stats.capped_datagrams += 1
            return
        if self.stream.srtp_receivers:
            opened = self.stream.srtp_receivers[0].open(datagram)
            if opened is None or not is_rtcp(opened):
                return
            datagram = opened
        if is_sender:
            self.stream.note_farewell(datagram, now_s)
        assert self.stream.reports is not None
        if self.stream.reports.receive(datagram, now_s) and is_sender:
            self._upstream = source

    def send_due(self, now_s: float, clock: Callable[[float], float]) -> None:
        """Send the block that is due."""
        played = self.stream.play(clock(now_s))
        if played is not None:
            assert self.target is not None
            packet = self.stream.packetizer.pack(played)
            self.ports[0].send(self.stream.seal(packet), self.target)
            self.stream.note_sent(clock(now_s))

    def catch_up(self, now_s: float, clock: Callable[[float], float]) -> None:
        """Record due blocks, unless earlier datagrams are still unread."""
        for _ in range(_RECORDED_AT_ONCE):
            if self.ended or self.stream.next_s > now_s or not self.drained:
                return
            self.record(now_s, clock(now_s))

    def record(self, now_s: float, seen_s: float) -> None:
        """Record the block that is due; keep it back if it may be after the end."""
        stream, target = self.stream, self.recording
        assert target is not None
        due_s = stream.next_s
        is_after = stream.may_have_ended
        played = stream.play(now_s, seen_s)
        if played is None:
            return
        if target.start_s is None:
            early_s = due_s - self._run.first_s if self.config.align else 0.0
            silent = round(max(0.0, early_s) * stream.config.receiver.stream.sample_rate)
            target.begin(time.time() - time.monotonic() + due_s, silent)
        if is_after or self._kept is not None:
            target.keep_back(played)
        else:
            target.write(played)
            stream.stats.unwritten_samples = target.unwritten_samples
        self.ended = stream.has_ended(due_s)

    def report_on(self, now_s: float) -> None:
        """Send the reports that are due."""
        reports = self.stream.reports
        if reports is None or now_s < reports.next_s:
            return
        assert self._rtcp is not None
        upstream, downstream = reports.due(now_s)
        sender = self.stream.latch.source
        if upstream is not None and sender is not None:
            told = self._upstream
            if told is None or told[0] != sender[0]:
                told = _next_address(sender)
            self._rtcp.send(self.stream.seal(upstream), told)
        if downstream is not None and self.target is not None:
            self._rtcp.send(self.stream.seal(downstream), _next_address(self.target))

    def stop(self) -> None:
        """Stop receiving; the packets held are still played."""
        self.stopped, self._kept = True, None
        if not self.stream.records:  # a recording has waited for the end since the last packet
            self.stream.playout.drain()

    def finish(self) -> None:
        """Close the recording of an ended stream; this waits for the disk."""
        if self.ended and self.recording is not None:
            self.recording.close()

    def report(self) -> dict[str, Any]:
        """Return everything that was counted, by name."""
        if self.recording is not None:
            self.stream.stats.unwritten_samples = self.recording.unwritten_samples
        report = self.stream.report() | {
            "name": self.name,
            "listen": str(self.ports[0].endpoint),
            "failed_sends": sum(port.failed_sends for port in self.ports),
        }
        if self.recording is not None:
            report["recording"] = self.recording.report()
        return report

    def close(self) -> None:
        """Close the ports, and the file with all that was recorded; once."""
        if self._closed:
            return
        self._closed = True
        reports = self.stream.reports
        is_reported_on = reports is not None and reports.stats.sent > 0
        if self._rtcp is not None and is_reported_on and self.target is not None:
            assert reports is not None
            self._rtcp.send(self.stream.seal(reports.farewell()), _next_address(self.target))
        self.stream.close()
        self._close_ports()
        if self.recording is not None:
            self.recording.close()

    def _close_ports(self) -> None:
        for port in self.ports:
            port.close()


def _open_ports(config: RelayConfig) -> list[UdpPort]:
    opened: list[UdpPort] = []
    try:
        if config.rtcp:
            opened += _open_pair(config.listen)
        else:
            opened.append(UdpPort(config.listen, shared=config.share_port))
        if config.second is not None:
            opened.insert(1, UdpPort(config.second))
    except BaseException:
        for port in opened:
            port.close()
        raise
    return opened


def _open_pair(endpoint: Endpoint) -> tuple[UdpPort, UdpPort]:
    """Open a port and the one after it; where any will do, the first such pair."""
    for _ in range(_PAIRS_TRIED):
        port = UdpPort(endpoint)
        try:
            return port, UdpPort(_next_port(port.endpoint))
        except ConfigError:
            port.close()
            raise
        except NetworkError as error:
            port.close()
            if endpoint.port:
                raise
            failure = error
    raise failure


def _next_port(endpoint: Endpoint) -> Endpoint:
    if endpoint.port == 65_535:
        raise ConfigError(f"{endpoint} leaves no port after it for RTCP; give a lower one")
    return Endpoint(endpoint.host, endpoint.port + 1, endpoint.interface)


def _next_address(address: Address) -> Address:
    return address[0], min(address[1] + 1, 65_535)


class Relay:
    """A :class:`~plc.transport.rtp.udp.Service` of several streams.

    Parameters
    ----------
    configs : sequence of RelayConfig, the streams
    clock : callable, optional
        Returns seconds, by the clock of :meth:`advance`: how far that falls behind while it works
        is then seen. Without one, no time passes meanwhile.
    stays : bool, whether it goes on without streams: more may be added

    Raises
    ------
    NetworkError
        If a port is taken, or a host not found.
    """

    def __init__(
        self,
        configs: Sequence[RelayConfig],
        clock: Callable[[], float] | None = None,
        *,
        stays: bool = False,
    ) -> None:
        if not configs and not stays:
            raise ConfigError("a relay needs at least one stream")
        self._clock = (lambda now_s: now_s) if clock is None else (lambda _: clock())
        self._stays = stays
        self._stopped_s = math.inf
        self._changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._gone: list[Lane] = []
        self._told_left_out = 0
        self._told_hurried = False
        self._counted = 0, 0
        self.turned_s = time.monotonic()
        """When it had its last turn, by ``time.monotonic``."""
        self.serving = threading.Event()
        """Set with the first turn: from then on signals are heard."""
        self._run = Run()
        self.lanes: list[Lane] = []
        self._ports: list[UdpPort] = []
        self._places: list[tuple[Lane, int, int]] = []
        self._due: list[float] = []
        try:
            for config in configs:
                self.lanes.append(Lane(config, self._run))
        except BaseException:
            self.close()
            raise
        self._place_ports()

    def _place_ports(self) -> None:
        # New lists: other threads may be reading the ones before.
        self._places = [
            (lane, at, number)
            for at, lane in enumerate(self.lanes)
            for number in range(len(lane.ports))
        ]
        self._ports = [lane.ports[number] for lane, _, number in self._places]
        # Of each lane, renewed where it may have changed: asking all in each turn of many streams
        # took as long as serving them (docs/notebook.md).
        self._due = [lane.next_s for lane in self.lanes]

    @property
    def streams(self) -> list[StreamRelay]:
        """The streams, in order."""
        return [lane.stream for lane in self.lanes]

    @property
    def ports(self) -> Sequence[UdpPort]:
        """Ports of all streams, in order."""
        return self._ports

    @property
    def next_s(self) -> float:
        """Time at which the next block of any stream is due."""
        return min(self._due, default=math.inf)

    @property
    def done(self) -> bool:
        """True if every stream was played to its end, or none goes on."""
        if not self._stays and (
            all(lane.error for lane in self.lanes) or all(lane.ended for lane in self.lanes)
        ):
            return True
        return self._stopped_s < math.inf and all(lane.played_out for lane in self.lanes)

    # ---- streams that come and go ---------------------------------------------------------------

    def turn(self) -> None:
        """Take over added lanes, and let go of ended ones."""
        self.turned_s = time.monotonic()
        if not self.serving.is_set():  # setting it takes a lock
            self.serving.set()
        for lane in self._gone:
            lane.left.set()
        self._gone.clear()
        changed = self._take_changes()
        leaving = [lane for lane in self.lanes if lane.stopped and lane.played_out]
        if leaving and self._stopped_s == math.inf:
            self.lanes = [lane for lane in self.lanes if lane not in leaving]
            self._gone += leaving
            changed = True
        if changed:
            self._place_ports()

    def _take_changes(self) -> bool:
        changed = False
        while not self._changes.empty():
            self._changes.get()()
            changed = True
        return changed

    def add(self, config: RelayConfig) -> Lane:
        """Make a lane and hand it over; from another thread than that which serves.

        ``lane.joined`` tells when it is served.

        Raises
        ------
        ConfigError
            If a stream of that name is there.
        NetworkError
            If a port is taken, or a host not found.
        """
        with aside():
            lane = Lane(config, self._run)
        if lane.name in [each.name for each in self.lanes]:
            lane.close()
            raise ConfigError(f"a stream {lane.name} is there already; remove it first")

        def take_over() -> None:
            self.lanes = [*self.lanes, lane]
            lane.joined.set()

        self._changes.put(take_over)
        return lane

    def remove(self, lane: Lane) -> None:
        """Let a lane be played to its end; close it when ``lane.left`` is true."""
        self._changes.put(lane.stop)

    # ---- serving --------------------------------------------------------------------------------

    def receive(self, port: int, datagram: bytes, source: Address, now_s: float) -> None:
        """Take in a datagram that came at ``now_s``, unless stopped."""
        if now_s < self._stopped_s:
            lane, at, number = self._places[port]
            lane.receive(number, datagram, source, now_s, self._clock(now_s))
            self._due[at] = lane.next_s

    def advance(self, now_s: float) -> None:
        """Send due blocks, oldest first, one of each stream in turn."""
        lanes = [(at, self.lanes[at]) for at, due_s in enumerate(self._due) if due_s <= now_s]
        for _, lane in lanes:
            if lane.stream.records:
                lane.catch_up(now_s, self._clock)
        while due := [(lane.stream.next_s, at) for at, lane in lanes if lane.is_due(now_s)]:
            for _, at in sorted(due):
                self.lanes[at].send_due(now_s, self._clock)
        for at, lane in lanes:
            lane.report_on(now_s)
            self._due[at] = lane.next_s

    def stop(self, now_s: float) -> None:
        """Stop receiving; the packets held are still played."""
        self._stopped_s = now_s
        for lane in self.lanes:
            lane.stop()

    def tell(self, note: Note) -> None:
        """Note packets that were left out, and how received streams differ from their settings."""
        for lane in self.lanes:
            if not lane.is_settling:  # what its packets say is told by the stream to come
                lane.stream.tell(lane.name, note)
        stats = [stream.stats for stream in self.streams]
        left_out, hurried, sent = (
            sum(getattr(each, name) for each in stats)
            for name in ("skipped_packets", "hurried_packets", "packets_sent")
        )
        if left_out > 2 * self._told_left_out:  # not every second
            self._told_left_out = left_out
            says = (
                f"{counted(left_out, 'packet')} left out, too late to be sent: the machine slept, "
                f"or has no time for so many streams; {_MORE_TIME}"
            )
            note("left_out", packets=left_out, says=says)
        hurried_before, sent_before = self._counted
        self._counted = hurried, sent
        if not self._told_hurried and hurried - hurried_before > _HURRIED * (sent - sent_before):
            self._told_hurried = True
            says = (
                "there is no time for so many streams: where it lacks, lost packets are concealed "
                f"by the cheaper method; {_MORE_TIME}"
            )
            note("hurried", packets=hurried, says=says)

    def report(self) -> list[dict[str, Any]]:
        """Return the counters of each stream."""
        return [lane.report() for lane in self.lanes]

    def close(self) -> None:
        """Close the ports, and the files with all that was recorded."""
        self._take_changes()
        for lane in self.lanes:
            lane.close()
        # Who waits for one to leave need wait no longer.
        for lane in [*self._gone, *self.lanes]:
            lane.left.set()


def run_relay(
    configs: Sequence[RelayConfig],
    *,
    workers: int = 1,
    duration_s: float = math.inf,
    stays: bool = False,
    priority: Wish = "normal",
    announce: Callable[["Relay"], None] | None = None,
    watch: Callable[["Relay"], None] | None = None,
    note: Note = in_words,
    on_hangup: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """Relay until a signal or the end of the time; return the counters.

    However it ends, recordings are kept. A recording that failed is reported by
    :func:`plc.notice.tell`, and by ``recording`` in its report.

    Parameters
    ----------
    configs : sequence of RelayConfig, the streams
    workers : int, processes that share the streams: one core runs a few dozen
    duration_s : float, how long; infinite: until a signal comes
    stays : bool, whether to go on without streams; with one worker
    priority : str, of the threads, as :class:`plc.engine.runtime.priority.Priority` takes it
    announce : callable, optional
        Called once the ports are open; not with several workers, each of which has its own.
    watch : callable, optional
        Called every second from another thread, and at the end; not with several workers either.
    note : callable
        Takes mismatches between received packets and settings, from that thread; with several
        workers :mod:`plc.notice` takes them.
    on_hangup : callable, optional, called at SIGHUP, which then ends nothing; with one worker

    Raises
    ------
    NetworkError
        If a port is taken, or a host not found.
    """
    if not 1 <= workers <= 256:
        raise ConfigError(f"workers is {workers}; supported: 1 to 256")
    taken: set[object] = set()
    for file in (config.to for config in configs if not isinstance(config.to, Endpoint)):
        if taken & file.places:
            raise ConfigError(f"{file} is where several streams go; give each a file of its own")
        taken |= file.places
    if min(workers, len(configs)) > 1:
        if any(config.align for config in configs):
            raise ConfigError("align goes with one worker, which knows when all streams began")
        with Priority(priority) as asked:  # a refusal is told once, here
            wish: Wish = "auto" if asked.granted else "normal"
        run = partial(run_relay, priority=wish)
        return run_workers(configs, min(workers, len(configs)), duration_s, run)
    with Priority(priority) as asked:
        relay = Relay(configs, time.monotonic, stays=stays)
        try:
            if announce is not None:
                announce(relay)
            gc.collect()
            gc.freeze()  # present objects stay; a collection need not walk them
            with _watched(relay, watch, note, asked):
                asked.take(Level.AUDIO)
                serve(relay, duration_s=duration_s, each_turn=relay.turn, on_hangup=on_hangup)
        finally:
            with held():  # recordings are kept
                relay.close()
    return relay.report()


@contextlib.contextmanager
def _watched(
    relay: Relay, watch: Callable[[Relay], None] | None, note: Note, priority: Priority
) -> Iterator[None]:
    """Look at the relay once a second, in another thread."""

    def look() -> None:
        priority.tend()
        relay.tell(note)
        for lane in relay.lanes:
            lane.finish()
        if watch is not None:
            watch(relay)

    def turn() -> None:
        if not relay.serving.is_set():
            relay.serving.wait(_WATCH_S)
        look()
        thread.ending.wait(_WATCH_S)

    thread = StandingThread("the relay's watch", turn, stuck_s=_RELOAD_MAX_S)
    thread.start()
    try:
        yield
    finally:
        thread.end()
        look()
