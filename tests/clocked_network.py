"""Datagrams sent to real ports by a clock that only goes on as work is done and waits end.

So the outcome of a service does not depend on what else the machine does.
"""

import gc
import math
import selectors
import socket
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from plc.transport.rtp import udp
from plc.transport.rtp.udp import Address, Ready, UdpPort

Planned = tuple[float, UdpPort, bytes]
"""When a datagram is sent, where to, and what it is."""


LOOK_S = 15e-6
"""What each look at the clock takes, whatever the machine does: 30 datagrams are read in 1 ms."""


class ClockedNetwork:
    """A sender, its network, and the clock of both.

    Parameters
    ----------
    plan : iterator of Planned
        What is sent, in order of time.

    Attributes
    ----------
    now_s : float
        The time.
    longest_s : float
        Processor time of this thread between two looks, at most: what no other stream could stop.
    gone : list of (float, Address, bytes)
        What the service has sent: when, where to, and the datagram.
    """

    def __init__(self, plan: Iterator[Planned]) -> None:
        self.now_s = self.longest_s = 0.0
        self._looked_s = math.inf
        self.sent = 0
        self.gone: list[tuple[float, Address, bytes]] = []
        self._plan = plan
        self._next = next(plan, None)
        self._out = socket.socket(type=socket.SOCK_DGRAM)
        self._under_way: defaultdict[int, deque[tuple[bytes, float]]] = defaultdict(deque)

    def clock(self) -> float:
        """Return the time; each look costs some."""
        before_s, self._looked_s = self._looked_s, time.thread_time()
        self.longest_s = max(self.longest_s, self._looked_s - before_s)
        self.now_s += LOOK_S
        return self.now_s

    def wait(self, selector: selectors.BaseSelector, wait_s: float) -> Ready:
        """Let the time pass until the next datagram, that long at most."""
        until_s = self.now_s + wait_s
        if self._next is not None:
            until_s = max(self.now_s, min(until_s, self._next[0]))
        self.now_s = until_s
        self.send()
        return selector.select(0.0)

    def send(self) -> None:
        """Send what was to be sent until now."""
        while self._next is not None and self._next[0] <= self.now_s:
            at_s, port, datagram = self._next
            self.pass_on(self._out, port, datagram, at_s)
            self.sent += 1
            self._next = next(self._plan, None)

    def pass_on(self, out: socket.socket, port: UdpPort, datagram: bytes, at_s: float) -> None:
        """Send a datagram, as sent at that time."""
        number = port.endpoint.port
        self._under_way[number].append((datagram, at_s))
        out.sendto(datagram, ("127.0.0.1", number))

    def read(self, port: UdpPort) -> tuple[bytes, Address, float]:
        """Read a datagram as a port does, aged by this clock."""
        datagram, source, _ = _READ(port)
        under_way = self._under_way[port.endpoint.port]
        while under_way:
            sent, at_s = under_way.popleft()
            if sent == datagram:  # any before it was dropped
                return datagram, source, max(0.0, self.now_s - at_s)
        return datagram, source, 0.0

    def close(self) -> None:
        """Close the socket."""
        self._out.close()


Network = TypeVar("Network", bound=ClockedNetwork)

_READ = UdpPort._read
_SEND = UdpPort.send


@contextmanager
def on_network(monkeypatch: pytest.MonkeyPatch, network: Network) -> Iterator[Network]:
    """Let ports be read, and waits end, by a network's clock."""

    def send(port: UdpPort, datagram: bytes, target: Address) -> None:
        network.gone.append((network.clock(), target, datagram))
        _SEND(port, datagram, target)

    gc.collect()
    gc.freeze()  # as the programs do: what tests before this one left is not walked
    with monkeypatch.context() as patched:
        patched.setattr(udp, "_wait", network.wait)
        patched.setattr(UdpPort, "_read", lambda port: network.read(port))
        patched.setattr(UdpPort, "send", send)
        try:
            yield network
        finally:
            network.close()
            gc.unfreeze()
