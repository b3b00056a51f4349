"""UDP sockets and the loop that serves them: the only module that knows the network.

A :class:`Service` is a state machine: datagrams and the time go in, datagrams come out. The loop
waits for whichever is first, a datagram or the service's next time, and hands it over; it has one
thread, no callback of its own and nothing to lock. Tests hand over time and datagrams themselves.
Groups are joined by :mod:`plc.transport.rtp.multicast`.

Ports take turns, and what is due is done between two turns: whatever comes in at one port, and
however long it takes to see to, what the others' streams have to send is held up by one turn.
"""

import contextlib
import math
import select
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Protocol

from plc.ending import stop_signals
from plc.errors import ConfigError, NetworkError
from plc.transport.rtp.multicast import in_url, join, send_from

Address = tuple[str, int]
Ready = list[tuple[selectors.SelectorKey, int]]
Network = IPv4Network | IPv6Network

_INTERFACE = "?interface="

# UDP carries no more; what is read is never cut, as a cut packet passes for a shorter one.
_DATAGRAM_BYTES = 65_535
# Datagrams read from a port before the others have their turn, and the time that may take.
_READ_AT_ONCE = 64
_TURN_S = 0.001
# Where there is too little time for all: reading may take this many times what the last work that
# was due took. Packets that are read too late to be played cost their work, and are lost for it.
_READING = 2.0
_PORT_DIGITS = 5
# Of a host that is none, a message keeps this much; a longer name exists nowhere.
_HOST_CHARACTERS = 253
# The kernel's buffer, should the process be held up: seconds of a stream, also where it counts 2 to
# 4 kB for each packet. Without privileges it grants net.core.rmem_max at most.
_RECEIVE_BYTES = 1 << 22
_SO_RCVBUFFORCE = 33
# Linux notes when a datagram came in (socket(7); a struct timespec).
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@ll")
_STAMPS = sys.platform == "linux"
_NOTE_BYTES = socket.CMSG_SPACE(_STAMP.size) if _STAMPS else 0
# Reads of each port when the end comes.
_LAST_READS = 256
# What is due waits so long for what came before it and is not read yet: seconds of 1 ms packets are
# read meanwhile. A flood is never read to its end, nor is anything where time is short.
_UNREAD_MAX_S = 0.3
# Held up by more than this while it waited, the loop looks again at what has arrived.
_HELD_UP_S = 0.005
# Shorter waits are none.
_LEAST_S = 1e-5
# Where the next work is due so soon, what comes meanwhile is read then: the kernel notes when it
# came, and a process of many streams has half as many turns.
_SOON_S = 0.002 if _STAMPS else 0.0
# A signal is noticed within this time.
_LONGEST_WAIT_S = 0.1


class Service(Protocol):
    """A program that the loop serves."""

    @property
    def ports(self) -> Sequence["UdpPort"]:
        """Sockets to listen on."""

    @property
    def next_s(self) -> float:
        """Time of the service's next call; infinite: only for datagrams."""

    @property
    def done(self) -> bool:
        """True if there is nothing more to do."""

    def receive(self, port: int, datagram: bytes, source: Address, now_s: float) -> None:
        """Take a datagram of the port of this number."""

    def advance(self, now_s: float) -> None:
        """Do the work that is due."""

    def stop(self, now_s: float) -> None:
        """End: finish the work under way, then be done."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port.

    Parameters
    ----------
    host : str, its name or address; to listen, that of a multicast group is joined
    port : int, 0: any that is free
    interface : str, optional
        Of a multicast group: the network card, by its name or, with IPv4, its address.
    """

    host: str
    port: int
    interface: str | None = None

    def __str__(self) -> str:
        """Return it as a URL."""
        where = "" if self.interface is None else f"{_INTERFACE}{self.interface}"
        return f"udp://{in_url(self.host)}:{self.port}{where}"


def parse_endpoint(text: str, expected: str = "udp://HOST:PORT") -> Endpoint:
    """Return the endpoint in ``udp://HOST:PORT``, or ``HOST:PORT``.

    ``?interface=eth0`` or ``?interface=192.0.2.1`` may follow: the card of a multicast group.
    ``expected`` is what an error says it should have been.

    Raises
    ------
    ConfigError
        If it is none.
    """
    rest, with_interface, interface = text.removeprefix("udp://").partition(_INTERFACE)
    host, colon, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    is_url = colon and host and port.isascii() and port.isdigit() and "://" not in rest
    if not is_url or bool(with_interface) != bool(interface):
        raise ConfigError(f"{text!r} is not an endpoint; expected {expected}")
    if len(port.lstrip("0")) > _PORT_DIGITS or int(port) > 65535:
        raise ConfigError(f"port is {port[:20]}; supported: 0 to 65535, 0 for any that is free")
    _check_host(host)
    return Endpoint(host, int(port), interface or None)


def _check_host(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError:
        raise ConfigError(
            f"{host[:_HOST_CHARACTERS]!r} is not a host; its parts between dots have 1 to 63 "
            "letters, digits or hyphens"
        ) from None


def parse_network(text: str) -> Network:
    """Return the network of ``192.0.2.7`` or ``192.0.2.0/24``; raise ConfigError for others."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not an address; expected one such as 192.0.2.0/24"
        ) from None


def is_multicast(host: str) -> bool:
    """Return whether a host is the numeric address of a multicast group."""
    try:
        return ip_address(host.partition("%")[0]).is_multicast
    except ValueError:
        return False


def is_in(host: str, networks: Sequence[Network]) -> bool:
    """Return whether a numeric address lies in one of the networks."""
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def addresses_of(host: str) -> tuple[Network, ...]:
    """Return all addresses of a host; raise NetworkError if it is not found."""
    found = _found(Endpoint(host, 0), socket.AF_UNSPEC)
    addresses = {str(address[0]).partition("%")[0] for _, _, _, _, address in found}
    return tuple(ip_network(address) for address in sorted(addresses))


class UdpPort:
    """A bound UDP socket that never blocks.

    Parameters
    ----------
    endpoint : Endpoint, where to listen; port 0 takes any
    shared : bool
        Whether other processes of this user may listen there, too (SO_REUSEPORT): the kernel gives
        all datagrams of a sender's address and port to one of them.

    Raises
    ------
    NetworkError
        If that is not possible.
    """

    def __init__(self, endpoint: Endpoint, *, shared: bool = False) -> None:
        family, address = _resolve(endpoint)
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self._leave: Callable[[], None] | None = None
        _enlarge(self.socket)
        if _STAMPS:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            if shared:
                _share(self.socket)
            if is_multicast(address[0]):
                self._leave = join(self.socket, address, endpoint.interface)
            else:
                self.socket.bind(address)
        except OSError as error:
            self.socket.close()
            if isinstance(error, NetworkError):
                raise
            raise NetworkError(
                f"cannot listen on {endpoint}: {error.strerror}; take another port, or 0 for any"
            ) from error
        self.family = family
        port = self.socket.getsockname()[1]
        self.endpoint = Endpoint(endpoint.host, port, endpoint.interface)
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(self.socket, select.POLLIN)
        self._space = [memoryview(bytearray(_DATAGRAM_BYTES))]
        self.failed_sends = 0
        self.drained = True
        """Whether nothing was left when it was last read."""
        self.heard_s = -math.inf
        """Until when all that came was handed over, by the clock that serves it."""

    def __str__(self) -> str:
        """Return where it listens."""
        return str(self.endpoint)

    def target(self, endpoint: Endpoint) -> Address:
        """Return the address to send to, for :meth:`send`.

        Raises
        ------
        ConfigError
            If the port is 0, which nobody listens on.
        NetworkError
            If there is no such host for a socket of this kind, or no such interface.
        """
        if endpoint.port == 0:
            raise ConfigError(f"cannot send to {endpoint}: port 0 is not a port; give 1 to 65535")
        if endpoint.interface is not None:
            send_from(self.socket, endpoint.interface)
        try:
            return _resolve(endpoint, self.family)[1]
        except NetworkError as error:
            kind = "IPv6" if self.family == socket.AF_INET6 else "IPv4"
            raise NetworkError(f"{error} (by {kind}, as {self.endpoint} is)") from error

    def mark(self, dscp: int) -> None:
        """Set the DSCP of sent packets (RFC 2474).

        Raises
        ------
        NetworkError
            If the system does not allow it.
        """
        try:
            if self.family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
            else:
                self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        except (OSError, AttributeError) as error:
            raise NetworkError(f"cannot mark packets with DSCP {dscp}: {error}") from error

    def send(self, datagram: bytes | None, target: Address) -> None:
        """Send, or count a failure, as None is (not sealed); UDP promises no more."""
        if datagram is None:
            self.failed_sends += 1
            return
        try:
            self.socket.sendto(datagram, target)
        except OSError:
            self.failed_sends += 1

    def arrived(self, at_most: int = _READ_AT_ONCE) -> Iterator[tuple[bytes, Address]]:
        """Yield the arrived datagrams and their senders, without waiting."""
        for datagram, source, _ in self.aged(at_most):
            yield datagram, source

    def aged(self, at_most: int = _READ_AT_ONCE) -> Iterator[tuple[bytes, Address, float]]:
        """Yield datagrams, their senders and ages in s, without waiting."""
        self.drained = False
        for _ in range(at_most):
            try:
                datagram, source, age_s = self._read()
            except BlockingIOError:
                self.drained = True
                return
            except OSError:  # what one of our own datagrams met with: its receiver is not there
                continue
            yield datagram, source[:2], age_s
            # In a third of the time of a read that finds nothing.
            if self._poll is not None and not self._poll.poll(0):
                self.drained = True
                return

    def _read(self) -> tuple[bytes, Address, float]:
        if not _STAMPS:
            datagram, source = self.socket.recvfrom(_DATAGRAM_BYTES)
            return datagram, source, 0.0
        size, notes, _, source = self.socket.recvmsg_into(self._space, _NOTE_BYTES)
        datagram = bytes(self._space[0][:size])
        for level, kind, note in notes:
            if kind == _SO_TIMESTAMPNS and level == socket.SOL_SOCKET and len(note) == _STAMP.size:
                seconds, nanoseconds = _STAMP.unpack(note)
                return datagram, source, max(0.0, time.time() - seconds - 1e-9 * nanoseconds)
        return datagram, source, 0.0

    def close(self) -> None:
        """Close the socket, and leave the group."""
        if self._leave is not None:
            self._leave()
            self._leave = None
        self.socket.close()


class Backlog:
    """Progress of reading: whether the packets that came at ports before a time were read.

    So blocks go in the order of time between the packets that came in, however late those are read:
    who was held up loses none of them. Nothing waits for longer than 0.3 s, as in a flood.
    """

    __slots__ = ("_ports", "_since_s")

    def __init__(self, ports: Sequence[UdpPort]) -> None:
        self._ports = ports
        self._since_s = math.inf

    def is_read(self, until_s: float, now_s: float) -> bool:
        """Return whether all that came until then is read, or was waited for too long."""
        unread = [port for port in self._ports if not port.drained]
        if not unread:
            self._since_s = math.inf
            return True
        if all(port.heard_s >= until_s for port in unread):
            return True
        self._since_s = min(self._since_s, now_s)
        return now_s - self._since_s >= _UNREAD_MAX_S


def sending_port(to: Endpoint) -> UdpPort:
    """Return a port of any number that can send there."""
    return UdpPort(Endpoint("::" if ":" in to.host else "0.0.0.0", 0))


def is_of_this_machine(host: str) -> bool:
    """Return whether a host is an address of this machine."""
    if is_multicast(host):
        return False
    try:
        family, address = _resolve(Endpoint(host, 0))
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def _share(port: socket.socket) -> None:
    if not hasattr(socket, "SO_REUSEPORT"):
        raise NetworkError("this system shares no ports (SO_REUSEPORT); give each process its own")
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _enlarge(port: socket.socket) -> None:
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF) if _STAMPS else (socket.SO_RCVBUF,):
        with contextlib.suppress(OSError):
            port.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BYTES)
            return


def _resolve(
    endpoint: Endpoint, family: socket.AddressFamily = socket.AF_UNSPEC
) -> tuple[socket.AddressFamily, Address]:
    kind, _, _, _, address = _found(endpoint, family)[0]
    return kind, (str(address[0]), int(address[1]))


def _found(endpoint: Endpoint, family: socket.AddressFamily) -> list[tuple[Any, ...]]:
    try:
        return list(socket.getaddrinfo(endpoint.host, endpoint.port, family, socket.SOCK_DGRAM))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no name of a host"
        raise NetworkError(f"cannot find {endpoint.host}: {reason}") from error


def step(service: Service, now_s: float) -> None:
    """Hand over the arrived datagrams, and the time."""
    for number, port in enumerate(service.ports):
        for datagram, source in port.arrived():
            service.receive(number, datagram, source, now_s)
    if now_s >= service.next_s:
        service.advance(now_s)


def serve(
    service: Service,
    *,
    duration_s: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
    each_turn: Callable[[], None] | None = None,
    on_hangup: Callable[[], None] | None = None,
) -> None:
    """Serve until the service ends, time is over, or a signal comes.

    A first signal (SIGTERM, SIGINT, SIGHUP) lets the service finish what is under way, a second one
    ends at once. What had arrived when the end came is received. A datagram is handed over with the
    time at which it came in, where the kernel tells (Linux), and the service is told a time only
    when what came before it was handed over, or a port has more than is read at once
    (:attr:`UdpPort.drained`, :attr:`UdpPort.heard_s`): what comes while the process is held up is
    not late for that, if the service waits for it.

    ``each_turn`` is called at least ten times a second, before each wait, and may change the
    service's ports. ``on_hangup`` is called at SIGHUP, which is then no end.
    """
    with stop_signals(on_hangup) as signals, selectors.DefaultSelector() as selector:
        listening: list[UdpPort] = []
        unread: set[UdpPort] = set()
        worked_s = 0.0

        def advance_if_due(now_s: float) -> None:
            nonlocal worked_s
            if now_s >= service.next_s:
                began_s = clock()
                service.advance(now_s)
                worked_s = clock() - began_s

        def take(ready: Ready, until_s: float, turn_s: float) -> None:
            waiting = {key.data[1] for key, _ in ready}
            for port in unread - waiting:
                # A turn may have ended with a port's last datagram: only the selector knows then.
                port.drained = True
            for port in waiting:
                port.drained = False
            began_s = clock()
            turn_s = max(turn_s, _READING * worked_s)
            for key, _ in ready:
                number, port = key.data
                _take_turn(service, number, port, turn_s, clock)
                if port.drained:
                    port.heard_s = max(port.heard_s, until_s)
                now_s = clock()
                if now_s - began_s >= turn_s:
                    advance_if_due(now_s)
                    began_s = clock()
            unread.clear()
            unread.update(port for port in waiting if not port.drained)

        end_s = clock() + duration_s
        stopping = False
        while not service.done and len(signals) < 2:
            if each_turn is not None:
                each_turn()
            _listen_to(service.ports, selector, listening)
            now_s = clock()
            ending = not stopping and (bool(signals) or now_s >= end_s)
            wait_s = min(service.next_s - now_s, end_s - now_s, _LONGEST_WAIT_S)
            wait_s = 0.0 if ending else max(0.0, wait_s)
            limit_s = now_s + wait_s + _HELD_UP_S
            ready = _wait(selector, wait_s)
            now_s = clock()
            if now_s > limit_s:
                ready = selector.select(0.0)
            # What came until now is heard before the service is told the time.
            take(ready, now_s, math.inf if ending else _TURN_S)
            if ending:
                for _ in range(_LAST_READS):
                    if all(port.drained for port in service.ports):
                        break
                    take(selector.select(0.0), now_s, math.inf)
                # What is under way has its own times: a time that is over would never let it wait.
                stopping, end_s = True, math.inf
                service.stop(clock())
            advance_if_due(now_s)


def _wait(selector: selectors.BaseSelector, wait_s: float) -> Ready:
    if _LEAST_S < wait_s <= _SOON_S:
        time.sleep(wait_s)
        return selector.select(0.0)
    whole_s = math.floor(1000.0 * wait_s) / 1000.0
    ready = selector.select(max(0.0, whole_s - _LEAST_S))
    if ready or wait_s - whole_s < _LEAST_S:
        return ready
    time.sleep(wait_s - whole_s)
    return selector.select(0.0)


def _listen_to(
    ports: Sequence[UdpPort], selector: selectors.BaseSelector, listening: list[UdpPort]
) -> None:
    if listening == list(ports):
        return
    for port in listening:
        selector.unregister(port.socket)
    listening[:] = ports
    for number, port in enumerate(ports):
        selector.register(port.socket, selectors.EVENT_READ, (number, port))


def _take_turn(
    service: Service, number: int, port: UdpPort, turn_s: float, clock: Callable[[], float]
) -> None:
    began_s = clock()
    for datagram, source, age_s in port.aged():
        now_s = clock()
        # No earlier than what was here before, should the wall clock be set.
        port.heard_s = max(port.heard_s, now_s - age_s)
        service.receive(number, datagram, source, port.heard_s)
        if clock() - began_s >= turn_s:
            return
