"""UDP sockets and the loop that serves them: the only module that knows the network.

A :class:`Service` is a state machine: datagrams and the time go in, datagrams come out. The loop
waits for whichever is first, a datagram or the service's next time, and hands it over; it has one
thread, no callback of its own and nothing to lock. Tests hand over time and datagrams themselves.

Ports take turns, and what is due is done between two turns: whatever comes in at one port, and
however long it takes to see to, what the others' streams have to send is held up by one turn.
"""

import contextlib
import math
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

from plc.errors import ConfigError, NetworkError

Address = tuple[str, int]
Network = IPv4Network | IPv6Network

# UDP carries no more; what is read is never cut, as a cut packet passes for a shorter one.
_DATAGRAM_BYTES = 65_535
# Datagrams read from a port before the others have their turn, and the time that may take.
_READ_AT_ONCE = 64
_TURN_S = 0.001
# The kernel's buffer: half a second of 64 streams, should the process be held up.
_RECEIVE_BYTES = 1 << 20
# A signal is noticed within this time.
_LONGEST_WAIT_S = 0.1


class Service(Protocol):
    """What the loop serves."""

    @property
    def ports(self) -> Sequence["UdpPort"]:
        """Sockets to listen on."""
        ...

    @property
    def next_s(self) -> float:
        """When the service wants to be called next; infinite: only for datagrams."""
        ...

    @property
    def done(self) -> bool:
        """Whether there is nothing more to do."""
        ...

    def receive(self, port: int, datagram: bytes, source: Address, now_s: float) -> None:
        """Take a datagram that came in at the port of that number."""
        ...

    def advance(self, now_s: float) -> None:
        """Do what is due."""
        ...

    def stop(self, now_s: float) -> None:
        """Come to an end: finish what is under way, then be done."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"udp://{host}:{self.port}"


def parse_endpoint(text: str, expected: str = "udp://HOST:PORT") -> Endpoint:
    """Return the endpoint in ``udp://HOST:PORT``, or ``HOST:PORT``.

    ``expected`` is what an error says it should have been.

    Raises
    ------
    ConfigError
        If it is none.
    """
    rest = text.removeprefix("udp://")
    host, colon, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if "://" in rest or not (colon and host and port.isascii() and port.isdigit()):
        raise ConfigError(f"{text!r} is no endpoint; expected {expected}")
    if int(port) > 65535:
        raise ConfigError(f"port is {port}; supported: 0 to 65535, 0 for any that is free")
    return Endpoint(host, int(port))


def parse_network(text: str) -> Network:
    """Return the network in ``192.0.2.7`` or ``192.0.2.0/24``; raise ConfigError if it is none."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"{text!r} is no address; expected one such as 192.0.2.0/24") from None


def is_in(host: str, networks: Sequence[Network]) -> bool:
    """Tell whether a numeric address lies in one of the networks."""
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


class UdpPort:
    """A bound UDP socket that never blocks.

    Parameters
    ----------
    endpoint : Endpoint
        Where to listen; port 0 takes any.

    Raises
    ------
    NetworkError
        If that is not possible.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        family, address = _resolve(endpoint)
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        try:
            self.socket.bind(address)
        except OSError as error:
            self.socket.close()
            raise NetworkError(
                f"cannot listen on {endpoint}: {error.strerror}; take another port, or 0 for any"
            ) from error
        self.family = family
        self.endpoint = Endpoint(endpoint.host, self.socket.getsockname()[1])
        self._datagram = bytearray(_DATAGRAM_BYTES)
        self.failed_sends = 0

    def target(self, endpoint: Endpoint) -> Address:
        """Return the address to send to, for :meth:`send`.

        Raises
        ------
        ConfigError
            If the port is 0, which nobody listens on.
        NetworkError
            If there is no such host for a socket of this kind.
        """
        if endpoint.port == 0:
            raise ConfigError(f"cannot send to {endpoint}: port 0 is none; give 1 to 65535")
        try:
            return _resolve(endpoint, self.family)[1]
        except NetworkError as error:
            kind = "IPv6" if self.family == socket.AF_INET6 else "IPv4"
            raise NetworkError(f"{error} (by {kind}, as {self.endpoint} is)") from error

    def send(self, datagram: bytes, target: Address) -> None:
        """Send, or count that it was not possible; UDP promises no more."""
        try:
            self.socket.sendto(datagram, target)
        except OSError:
            self.failed_sends += 1

    def arrived(self, at_most: int = _READ_AT_ONCE) -> Iterator[tuple[bytes, Address]]:
        """Yield what has arrived, and from where, without waiting."""
        for _ in range(at_most):
            try:
                size, source = self.socket.recvfrom_into(self._datagram)
            except BlockingIOError:
                return
            except OSError:  # what one of our own datagrams met with: its receiver is not there
                continue
            yield bytes(memoryview(self._datagram)[:size]), (source[0], source[1])

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _resolve(
    endpoint: Endpoint, family: socket.AddressFamily = socket.AF_UNSPEC
) -> tuple[socket.AddressFamily, Address]:
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, family, socket.SOCK_DGRAM)
    except OSError as error:
        raise NetworkError(f"cannot find {endpoint.host}: {error.strerror}") from error
    kind, _, _, _, address = found[0]
    return kind, (str(address[0]), int(address[1]))


def step(service: Service, now_s: float) -> None:
    """Hand over what has arrived, and the time."""
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
) -> None:
    """Serve until the service is done, the time is over, or SIGTERM or SIGINT asks for an end.

    A first signal lets the service finish what is under way, a second one ends at once. What had
    arrived when the end came is received.
    """
    with stop_signals() as signals, selectors.DefaultSelector() as selector:
        for number, port in enumerate(service.ports):
            selector.register(port.socket, selectors.EVENT_READ, (number, port))
        end_s = clock() + duration_s
        stopping = False
        while not service.done and len(signals) < 2:
            now_s = clock()
            ending = not stopping and (bool(signals) or now_s >= end_s)
            wait_s = min(service.next_s - now_s, end_s - now_s, _LONGEST_WAIT_S)
            ready = selector.select(0.0 if ending else max(0.0, wait_s))
            began_s = clock()
            for key, _ in ready:
                number, port = key.data
                until_s = math.inf if ending else clock() + _TURN_S
                _take_turn(service, number, port, until_s, clock)
                now_s = clock()
                if now_s - began_s >= _TURN_S and not ending:
                    if now_s >= service.next_s:
                        service.advance(now_s)
                    began_s = clock()
            now_s = clock()
            if ending:
                # What is under way has its own times: a time that is over would never let it wait.
                stopping, end_s = True, math.inf
                service.stop(now_s)
            if now_s >= service.next_s:
                service.advance(now_s)


def _take_turn(
    service: Service, number: int, port: UdpPort, until_s: float, clock: Callable[[], float]
) -> None:
    """Hand over what has arrived at a port, as far as the time reaches."""
    for datagram, source in port.arrived():
        now_s = clock()
        service.receive(number, datagram, source, now_s)
        if now_s >= until_s:
            return


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of letting them end the process."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {
        number: signal.signal(number, lambda got, _: caught.append(got))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
