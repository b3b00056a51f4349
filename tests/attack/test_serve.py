"""Clients of ``plc serve`` that stall, vanish, lie or come in hundreds: others are served on."""

import contextlib
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plc.embed import server as serving
from plc.embed.client import Client
from plc.embed.server import MAX_CLIENTS, Sidecar
from plc.embed.stream import Flag, Format
from plc.embed.wire import HEADER, LOST, Code, Kind, pack, pack_hello, parse_error
from plc.errors import NetworkError
from tests.plc.configs import embedded
from tests.processes import environment
from tests.signals import tones

psutil = pytest.importorskip("psutil")
if not hasattr(socket, "AF_UNIX"):
    pytest.skip("no Unix sockets", allow_module_level=True)

RATE, BLOCK = 8000, 80
SETTINGS = embedded(sample_rate=RATE, packet_samples=BLOCK, model="ar", budget_ms=math.inf)
PACKETS = tones(1, RATE, 100 * BLOCK).reshape(-1, BLOCK, 1)
PUSH = pack(Kind.PUSH, PACKETS[0].tobytes())
# Of a busy machine; what a round trip takes on an idle one is a fraction of a millisecond.
ROUND_TRIP_S = 3.0
TYPICAL_S = 0.25
GROWTH_MB = 48.0
PATIENCE_S = 60.0
MEGABYTE = float(1 << 20)

SERVE = """
import sys
from plc.embed.server import run_sidecar
print(run_sidecar(sys.argv[1], announce=lambda: print("ready", flush=True)))
"""


@dataclass
class Server:
    """A server in a process of its own."""

    path: Path
    process: Any

    def resident_mb(self) -> float:
        resident: float = self.process.memory_info().rss / MEGABYTE
        return resident

    def raw(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.path))
        connection.settimeout(PATIENCE_S)
        return connection

    def settled(self, threads: int, files: float = math.inf) -> bool:
        """Wait until no more threads and open files than that are left."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            if self.process.num_threads() <= threads and self.process.num_fds() <= files:
                return True
            time.sleep(0.05)
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("serve") / "s"
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Server(path, psutil.Process(process.pid))
        process.terminate()
        assert "faults=0" in process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0


class Neighbour:
    """A client that behaves, beside those that do not: how long each of its packets takes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.times_s: list[float] = []
        self.failure: BaseException | None = None

    def _run(self) -> None:
        try:
            with Client(self._server.path, SETTINGS) as client:
                k = 0
                while not self._end.wait(0.005):
                    began_s = time.perf_counter()
                    lost = k % 5 == 4
                    samples, flag = client.push(None if lost else PACKETS[k % len(PACKETS)])
                    self.times_s.append(time.perf_counter() - began_s)
                    assert bool(flag & Flag.CONCEALED) == lost
                    assert np.isfinite(samples).all()
                    k += 1
                assert client.stats()["packets"] == k
        except BaseException as error:
            self.failure = error

    def __enter__(self) -> "Neighbour":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        assert len(self.times_s) > 3
        assert max(self.times_s) < ROUND_TRIP_S
        assert float(np.median(self.times_s)) < TYPICAL_S


def stuff(connection: socket.socket, data: bytes, most: int = 1 << 24) -> int:
    """Send until nothing more is taken; return how many bytes were."""
    connection.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        while sent < most:
            sent += connection.send(data)
    return sent


def test_clients_that_read_nothing_hold_up_nobody_and_cost_no_memory(server: Server) -> None:
    before_mb = server.resident_mb()
    with ExitStack() as stack:
        stack.enter_context(Neighbour(server))
        slow = [stack.enter_context(server.raw()) for _ in range(40)]
        for connection in slow:
            connection.sendall(pack_hello(SETTINGS))
        end_s = time.monotonic() + 1.0
        sent = [0] * len(slow)
        while time.monotonic() < end_s:
            for k, connection in enumerate(slow):
                sent[k] += stuff(connection, PUSH, 1 << 20)
            time.sleep(0.05)
        assert max(sent) < 1 << 22  # what the kernel's two buffers hold, and no more
        assert server.resident_mb() - before_mb < GROWTH_MB


def test_clients_that_vanish_in_the_middle_of_anything_leave_nothing(server: Server) -> None:
    threads, before_mb = server.process.num_threads(), server.resident_mb()
    files = server.process.num_fds()
    frames = pack_hello(SETTINGS) + PUSH + pack(Kind.PUSH, flags=LOST) + pack(Kind.ASK) + PUSH
    with Neighbour(server):
        for k in range(200):
            connection = server.raw()
            connection.sendall(frames[: k * len(frames) // 199])
            if k % 3 == 0:  # with a reset in place of an end
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif k % 3 == 1:  # half open: nothing more will be sent, answers are waited for
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            connection.close()
    assert server.settled(threads, files)
    assert server.resident_mb() - before_mb < GROWTH_MB


def test_hundreds_that_say_nothing_leave_room_for_who_does(server: Server) -> None:
    threads = server.process.num_threads()
    with ExitStack() as stack:
        stack.enter_context(Neighbour(server))
        for round_ in range(2):
            for _ in range(MAX_CLIENTS):
                connection = stack.enter_context(server.raw())
                connection.sendall(pack_hello(SETTINGS)[: 7 * round_])
            began_s = time.monotonic()
            with Client(server.path, SETTINGS) as late:
                assert np.array_equal(late.push(PACKETS[3])[0], PACKETS[3])
            assert time.monotonic() - began_s < ROUND_TRIP_S
        assert server.process.num_threads() <= threads + 2 * MAX_CLIENTS + 2
    assert server.settled(threads)


def test_clients_with_streams_are_never_displaced(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "s", max_clients=3)
    thread = threading.Thread(target=sidecar.serve)
    thread.start()
    try:
        with ExitStack() as stack:
            held = [stack.enter_context(Client(sidecar.path, SETTINGS)) for _ in range(2)]
            for _ in range(20):
                silent = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                silent.connect(str(sidecar.path))
            held.append(stack.enter_context(Client(sidecar.path, SETTINGS)))
            with pytest.raises(NetworkError, match="3 clients"):
                Client(sidecar.path, SETTINGS)
            for client in held:
                client.push(PACKETS[0])
                client.end()
    finally:
        sidecar.stop()
        thread.join(PATIENCE_S)
    stats = sidecar.stats
    assert (stats.ended, stats.turned_away, stats.faults) == (3, 1, 0)
    assert stats.stalled == 20


WRONG = {
    "too short": pack(Kind.PUSH, PACKETS[0].tobytes()[:-1]),
    "too long": pack(Kind.PUSH, PACKETS[0].tobytes() + b"\0"),
    "4 GB": HEADER.pack(2**32 - 1, Kind.PUSH, 0, 0, 0),
    "a lost one with samples": pack(Kind.PUSH, PACKETS[0].tobytes(), flags=LOST),
    "an unknown flag": pack(Kind.PUSH, PACKETS[0].tobytes(), flags=128),
    "HELLO again": pack_hello(SETTINGS),
    "an answer": pack(Kind.AUDIO, PACKETS[0].tobytes()),
    "END with more": pack(Kind.END, b"x"),
    "no frame": os.urandom(0) + bytes(range(200, 250)),
}


@pytest.mark.parametrize("name", WRONG)
def test_frames_that_may_not_come_end_their_own_stream_alone(server: Server, name: str) -> None:
    with Neighbour(server), server.raw() as connection:
        connection.sendall(pack_hello(SETTINGS) + 10 * PUSH + WRONG[name] + 10 * PUSH)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1 << 16):
                answer += piece
        time.sleep(0.2)
    kinds = []
    while answer:
        kinds.append(answer[4])
        answer = answer[HEADER.size + int.from_bytes(answer[:4], "little") :]
    assert kinds == [Kind.READY] + 10 * [Kind.AUDIO] + [Kind.ERROR]


def test_numbers_in_any_order_are_answered_by_theirs(server: Server) -> None:
    """Order is the stream's; a number is only what an answer is told by."""
    numbers = [5, 3, 3, 2**32 - 1, 0, 7]
    with server.raw() as connection:
        frames = [pack(Kind.PUSH, PACKETS[0].tobytes(), sequence=each) for each in numbers]
        connection.sendall(pack_hello(SETTINGS) + b"".join(frames) + pack(Kind.END, sequence=9))
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    found = []
    while answer:
        length, kind, _, _, sequence = HEADER.unpack_from(answer)
        found.append((Kind(kind), sequence))
        answer = answer[HEADER.size + length :]
    assert found[1:] == [(Kind.AUDIO, each) for each in numbers] + [(Kind.BYE, 9)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -3e38])
def test_samples_that_are_no_sound_are_refused_and_concealed(server: Server, value: float) -> None:
    broken = PACKETS[0].copy()
    broken[13] = value
    with Client(server.path, SETTINGS) as client:
        for packet in PACKETS[:20]:
            client.push(packet)
        for _ in range(20):
            samples, flag = client.push(broken)
            assert flag & Flag.REFUSED
            assert flag & Flag.CONCEALED
            assert np.abs(samples).max() < 2.0 * np.abs(PACKETS).max()
        assert client.stats()["invalid_packets"] == 20


def hello_of(
    rate: int = RATE,
    packet: int = BLOCK,
    lookahead: int = 0,
    channels: int = 1,
    budget_ms: float = math.inf,
    method: bytes = b"auto",
    model: bytes = b"ar",
) -> bytes:
    """Return a HELLO, whatever it asks for."""
    numbers = struct.pack("<IIIHBB", rate, packet, 0, lookahead, channels, Format.FLOAT32)
    lengths = struct.pack("<dII", budget_ms, len(method), len(model))
    return pack(Kind.HELLO, b"PLC1" + numbers + lengths + method + model)


HELLOS_OF_NO_STREAM = [
    hello_of(rate=2**32 - 1),
    hello_of(channels=255),
    hello_of(packet=2**32 - 1),
    hello_of(lookahead=65_535),
    hello_of(budget_ms=-1.0),
    hello_of(method=b"x" * 255),
    hello_of(model=b"/etc/passwd"),
    hello_of(model=b"../" * 80),
    hello_of(model=b"/dev/zero"),
]


def test_settings_of_no_stream_cost_neither_time_nor_memory(server: Server) -> None:
    before_mb = server.resident_mb()
    with Neighbour(server):
        for hello in HELLOS_OF_NO_STREAM * 5:
            with server.raw() as connection:
                connection.sendall(hello)
                answer = connection.recv(1 << 16)
            assert answer[4] == Kind.ERROR
            assert parse_error(answer[HEADER.size :])[0] == Code.SETTINGS
        time.sleep(0.2)
    assert server.resident_mb() - before_mb < GROWTH_MB


def test_streams_that_come_and_go_leave_no_memory(server: Server) -> None:
    largest = embedded(
        sample_rate=48_000, channels=2, packet_samples=480, lookahead=20, format=Format.INT16
    )
    packet = np.zeros((480, 2), np.int16)

    def visit() -> None:
        with Client(server.path, largest) as client:
            client.push(packet)

    for _ in range(3):
        visit()
    threads, before_mb = server.process.num_threads(), server.resident_mb()
    with Neighbour(server):
        for _ in range(10):
            visit()
    assert server.settled(threads)
    assert server.resident_mb() - before_mb < GROWTH_MB


def test_who_keeps_a_stream_open_and_reads_a_byte_at_a_time_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is taken in drips takes no longer than one that is not taken at all."""
    monkeypatch.setattr(serving, "_ANSWER_S", 0.3)
    sidecar = Sidecar(tmp_path / "s", max_clients=3)
    thread = threading.Thread(target=sidecar.serve)
    thread.start()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as drip:
            drip.connect(str(sidecar.path))
            drip.sendall(pack_hello(SETTINGS))
            end_s = time.monotonic() + PATIENCE_S
            while sidecar.stats.stalled + sidecar.stats.vanished == 0:
                assert time.monotonic() < end_s
                stuff(drip, PUSH, 1 << 20)
                time.sleep(0.05)
    finally:
        sidecar.stop()
        thread.join(PATIENCE_S)
