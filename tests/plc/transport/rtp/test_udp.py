"""Services on UDP ports: their turns, and their end."""

import contextlib
import selectors
import socket
import time
from collections.abc import Sequence

import pytest

from plc.errors import NetworkError
from plc.transport.rtp import udp
from plc.transport.rtp.udp import Address, Endpoint, UdpPort, serve


class _Slow:
    """A service that is done when its port was read to its end, and takes long for a datagram."""

    next_s = 0.0

    def __init__(self, port: UdpPort) -> None:
        self.ports: Sequence[UdpPort] = [port]
        self.now_s = 0.0
        self.received = 0
        self.advanced = 0

    def clock(self) -> float:
        return self.now_s

    @property
    def done(self) -> bool:
        read = self.received > 0 and self.ports[0].drained
        return read or self.advanced > 50

    def receive(self, port: int, datagram: bytes, source: Address, now_s: float) -> None:
        self.received += 1
        self.now_s += 1.0  # longer than a turn

    def advance(self, now_s: float) -> None:
        self.advanced += 1
        time.sleep(0.001)

    def stop(self, now_s: float) -> None: ...


def test_a_turn_that_ends_with_the_last_datagram_leaves_the_port_drained() -> None:
    port = UdpPort(Endpoint("127.0.0.1", 0))
    service = _Slow(port)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("127.0.0.1", port.endpoint.port))
            serve(service, clock=service.clock)
    finally:
        port.close()
    assert service.received == 1
    assert service.advanced <= 50
    assert port.drained


def test_what_could_not_be_sealed_is_counted_and_not_sent() -> None:
    with contextlib.closing(UdpPort(Endpoint("127.0.0.1", 0))) as port:
        for datagram in (None, b"sealed"):
            port.send(datagram, port.target(port.endpoint))
        time.sleep(0.01)
        assert [datagram for datagram, _ in port.arrived()] == [b"sealed"]
        assert port.failed_sends == 1


def test_all_datagrams_of_a_sender_reach_one_of_the_ports_that_share_a_number() -> None:
    first = UdpPort(Endpoint("127.0.0.1", 0), shared=True)
    second = UdpPort(first.endpoint, shared=True)
    senders = [UdpPort(Endpoint("127.0.0.1", 0)) for _ in range(32)]
    for k in range(3):
        for sender in senders:
            sender.send(bytes([k]), ("127.0.0.1", first.endpoint.port))
    heard = [[source[1] for _, source in port.arrived(at_most=200)] for port in (first, second)]
    for port in (first, second, *senders):
        port.close()
    assert sorted(heard[0] + heard[1]) == sorted(3 * [each.endpoint.port for each in senders])
    assert set(heard[0]).isdisjoint(heard[1])
    assert heard[0]
    assert heard[1]


def test_a_port_is_shared_only_by_who_says_so() -> None:
    port = UdpPort(Endpoint("127.0.0.1", 0), shared=True)
    with contextlib.closing(port), pytest.raises(NetworkError, match="cannot listen on"):
        UdpPort(port.endpoint)


def test_what_comes_shortly_before_the_next_work_is_read_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process of many streams has half as many turns, where the system says when it came."""
    slept_s: list[float] = []
    monkeypatch.setattr(time, "sleep", slept_s.append)
    with (
        selectors.DefaultSelector() as selector,
        contextlib.closing(UdpPort(Endpoint("127.0.0.1", 0))) as listening,
    ):
        selector.register(listening.socket, selectors.EVENT_READ)
        listening.send(b"x" * 20, ("127.0.0.1", listening.endpoint.port))
        assert len(udp._wait(selector, 0.0015)) == 1
        assert slept_s == [0.0015] * udp._STAMPS
        assert len(udp._wait(selector, 0.0095)) == 1
        assert slept_s == [0.0015] * udp._STAMPS  # what is there ended a longer wait
