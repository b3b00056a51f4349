"""How steadily a relay sends while many connect to its metrics: ``python -m`` this module.

Senders, receivers and those that connect are processes of their own. Printed is the pause between
two packets of a stream, at the receiver: with nobody connected, while metrics of another process
are attacked, which costs the machine as much, and while the relay's own are.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np

from plc.transport.rtp.codecs import L16
from plc.transport.rtp.packetizer import Packetizer

_RATE, _BLOCK = 48_000, 480
_PERIOD_S = _BLOCK / _RATE


def send(ports: list[int], seconds: float) -> None:
    """Send every stream's packets in their time, one of twenty left out."""
    rng = np.random.default_rng(1)
    samples = (0.1 * rng.standard_normal((_BLOCK, 1))).astype(np.float32)
    packetizers = [Packetizer(L16(_RATE, 1), ssrc=port) for port in ports]
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    begin_s = time.monotonic()
    for number in range(round(seconds / _PERIOD_S)):
        time.sleep(max(0.0, begin_s + number * _PERIOD_S - time.monotonic()))
        for port, packetizer in zip(ports, packetizers, strict=True):
            datagram = packetizer.pack(samples)
            if rng.random() >= 0.05:
                out.sendto(datagram, ("127.0.0.1", port))


def connect(port: int, count: int) -> None:
    """Keep ``count`` connections that send a byte a second, anew whenever they are closed."""
    os.nice(10)
    selector = selectors.DefaultSelector()

    def one() -> None:
        link = socket.socket()
        link.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            link.connect(("127.0.0.1", port))
        selector.register(link, selectors.EVENT_READ)

    for _ in range(count):
        one()
    drip_s = time.monotonic() + 1.0
    while True:
        for key, _ in selector.select(0.5):
            link = key.fileobj
            assert isinstance(link, socket.socket)
            with contextlib.suppress(BlockingIOError):
                try:
                    gone = not link.recv(4096)
                except BlockingIOError:
                    continue
                except OSError:
                    gone = True
                if gone:
                    selector.unregister(link)
                    link.close()
                    one()
        if time.monotonic() > drip_s:
            drip_s += 1.0
            for key in list(selector.get_map().values()):
                with contextlib.suppress(OSError):
                    os.write(key.fd, b"G")
        time.sleep(0.01)


def scrape(port: int) -> None:
    """Scrape without a pause."""
    os.nice(10)
    while True:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read()


def pauses(sockets: list[socket.socket], until_s: float) -> list[float]:
    """Return the pauses between the packets of each stream, in ms, until a time."""
    last: dict[int, float] = {}
    found = []
    while time.monotonic() < until_s:
        for ready in select.select(sockets, [], [], 0.1)[0]:
            ready.recv(4096)
            now_s = time.monotonic()
            if ready.fileno() in last:
                found.append(1000.0 * (now_s - last[ready.fileno()]))
            last[ready.fileno()] = now_s
    return found


def stand_in() -> tuple[subprocess.Popen[str], int]:
    """Return a process that serves metrics and does nothing else, and its port."""
    code = (
        "import time; from plc.transport.metrics import Exporter\n"
        "print(Exporter('127.0.0.1:0').endpoint.port, flush=True); time.sleep(1e6)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    return other, int(other.stdout.readline())


def measure(streams: int, connections: int, seconds: float, elsewhere: bool) -> None:
    """Run a relay, attacked or not; print the pauses."""
    sinks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(streams)]
    for sink in sinks:
        sink.bind(("127.0.0.1", 0))
    arguments = [sys.executable, "-m", "plc", "relay", "--metrics", "127.0.0.1:0", "--model", "ar"]
    for sink in sinks:
        arguments += ["--listen", "udp://127.0.0.1:0"]
        arguments += ["--to", f"udp://127.0.0.1:{sink.getsockname()[1]}"]
    relay = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    ports: list[int] = []
    metrics = 0
    assert relay.stderr is not None
    while len(ports) < streams or not metrics:
        line = relay.stderr.readline()
        assert line, "the relay ended"
        if "->" in line:
            ports.append(int(re.findall(r":(\d+) ->", line)[0]))
        elif "metrics at" in line:
            metrics = int(re.findall(r":(\d+)/", line)[0])
    other, others_port = stand_in()
    attacked = others_port if elsewhere else metrics
    helpers = [multiprocessing.Process(target=send, args=(ports, seconds + 10.0), daemon=True)]
    if connections:
        for target, arguments_ in ((connect, (attacked, connections)), (scrape, (attacked,))):
            helpers.append(multiprocessing.Process(target=target, args=arguments_, daemon=True))
    for helper in helpers:
        helper.start()
    pauses(sinks, time.monotonic() + 3.0)
    threads = len(os.listdir(f"/proc/{relay.pid}/task"))
    found = pauses(sinks, time.monotonic() + seconds)
    threads = max(threads, len(os.listdir(f"/proc/{relay.pid}/task")))
    for helper in helpers:
        helper.terminate()
        helper.join()
    other.kill()
    other.communicate()
    relay.send_signal(signal.SIGTERM)
    relay.communicate(timeout=60)
    for sink in sinks:
        sink.close()
    where = "to another process" if elsewhere else "to the relay"
    print(f"{connections:5d} connections {where}, {threads:4d} threads: ", end="")
    p = np.percentile(found, [50, 99, 99.9])
    print(f"p50 {p[0]:.2f}, p99 {p[1]:.2f}, p99.9 {p[2]:.2f}, max {max(found):.2f} ms", end="")
    print(f" ({len(found)} pauses)", flush=True)


def main() -> None:
    """Print the three."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--connections", type=int, default=1024)
    chosen = parser.parse_args()
    for connections, elsewhere in (
        (0, False),
        (chosen.connections, True),
        (chosen.connections, False),
    ):
        measure(chosen.streams, connections, chosen.seconds, elsewhere)


if __name__ == "__main__":
    main()
