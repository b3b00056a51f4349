"""A relay that another program runs: its file, its health, and a stream through it."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing

import numpy as np

from plc.transport.rtp.udp import Endpoint, UdpPort
from tests.plc.transport.streams import BLOCK, HERE, RATE, packets_of
from tests.signals import tones


def comes_true(condition: Callable[[], object], within_s: float = 30.0) -> bool:
    """Tell whether ``condition`` becomes true."""
    end_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """Return a port of this machine that nobody has, at the moment."""
    with closing(socket.socket(socket.AF_INET, kind)) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def stream(name: str, listen: int, to: int) -> str:
    """Return the table of a stream for a relay's file."""
    return (
        f'[[stream]]\nname = "{name}"\nlisten = "udp://127.0.0.1:{listen}"\n'
        f'to = "udp://127.0.0.1:{to}"\nsample_rate = {RATE}\n'
    )


def send(port: int, packets: int, ssrc: int = 7, pause_s: float = 0.0) -> None:
    """Send packets of 10 ms of tones, L16."""
    with closing(UdpPort(HERE)) as sender:
        target = sender.target(Endpoint("127.0.0.1", port))
        for packet in packets_of(tones(1, RATE, packets * BLOCK), ssrc):
            sender.send(packet, target)
            time.sleep(pause_s)


def sent_and_heard(listen: int, to: int, packets: int = 60, ssrc: int = 7) -> int:
    """Return how many packets with sound come out of a relay that is sent some."""
    heard = 0
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(("127.0.0.1", to))
        receiver.settimeout(2.0)
        send(listen, packets, ssrc, BLOCK / RATE)
        receiver.setblocking(False)
        try:
            while True:
                samples = np.frombuffer(receiver.recv(4096)[12:], ">i2").astype(int)
                heard += int(np.abs(samples).max(initial=0) > 1000)
        except BlockingIOError:
            return heard


def health(port: int) -> int:
    """Return the status of ``/healthz``: 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=4) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
