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
from plc.embed.served_stream import Flag, Format
from plc.embed.server import MAX_CLIENTS, Sidecar
from plc.embed.wire import HEADER, LOST, Code, FrameKind, pack, pack_hello, parse_error
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
PUSH = pack(FrameKind.PUSH, PACKETS[0].tobytes())
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
                while not self._end.wait(0.005) or k < 4:
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
    frames = (
        pack_hello(SETTINGS) + PUSH + pack(FrameKind.PUSH, flags=LOST) + pack(FrameKind.ASK) + PUSH
    )
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
    "too short": pack(FrameKind.PUSH, PACKETS[0].tobytes()[:-1]),
    "too long": pack(FrameKind.PUSH, PACKETS[0].tobytes() + b"\0"),
    "4 GB": HEADER.pack(2**32 - 1, FrameKind.PUSH, 0, 0, 0),
    "a lost one with samples": pack(FrameKind.PUSH, PACKETS[0].tobytes(), flags=LOST),
    "an unknown flag": pack(FrameKind.PUSH, PACKETS[0].tobytes(), flags=128),
    "HELLO again": pack_hello(SETTINGS),
    "an answer": pack(FrameKind.AUDIO, PACKETS[0].tobytes()),
    "END with more": pack(FrameKind.END, b"x"),
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
    assert kinds == [FrameKind.READY] + 10 * [FrameKind.AUDIO] + [FrameKind.ERROR]


def test_numbers_in_any_order_are_answered_by_theirs(server: Server) -> None:
    """Order is the stream's; a number is only what an answer is told by."""
    numbers = [5, 3, 3, 2**32 - 1, 0, 7]
    with server.raw() as connection:
        frames = [pack(FrameKind.PUSH, PACKETS[0].tobytes(), sequence=each) for each in numbers]
        connection.sendall(
            pack_hello(SETTINGS) + b"".join(frames) + pack(FrameKind.END, sequence=9)
        )
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    found = []
    while answer:
        length, kind, _, _, sequence = HEADER.unpack_from(answer)
        found.append((FrameKind(kind), sequence))
        answer = answer[HEADER.size + length :]
    assert found[1:] == [(FrameKind.AUDIO, each) for each in numbers] + [(FrameKind.BYE, 9)]


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
    return pack(FrameKind.HELLO, b"PLC1" + numbers + lengths + method + model)


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
            assert answer[4] == FrameKind.ERROR
            assert parse_error(answer[HEADER.size :])[0] == Code.SETTINGS
        time.sleep(0.2)
    assert server.resident_mb() - before_mb < GROWTH_MB


def answers(connection: socket.socket) -> list[tuple[FrameKind, bytes]]:
    """Return the kinds and payloads of all answers up to the end."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            data += piece
    found = []
    while data:
        end = HEADER.size + int.from_bytes(data[:4], "little")
        found.append((FrameKind(data[4]), data[HEADER.size : end]))
        data = data[end:]
    return found


HELLO = pack_hello(SETTINGS)[HEADER.size :]
FORMAT_AT = 19
NAMES_AT = 28
HELLOS_OF_NO_PROTOCOL = {
    "an older version": (b"PLC0" + HELLO[4:], Code.VERSION),
    "a newer version": (b"PLC2" + HELLO[4:], Code.VERSION),
    "another program": (b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n" + bytes(20), Code.VERSION),
    "half": (HELLO[:17], Code.PROTOCOL),
    "nothing": (b"", Code.PROTOCOL),
    "names that are longer than it": (
        HELLO[:NAMES_AT] + struct.pack("<II", 255, 255) + HELLO[NAMES_AT + 8 :],
        Code.PROTOCOL,
    ),
    "names whose lengths wrap": (
        HELLO[:NAMES_AT] + struct.pack("<II", 2**32 - 1, 5) + HELLO[NAMES_AT + 8 :],
        Code.PROTOCOL,
    ),
    "more than its names": (HELLO + b"\0", Code.PROTOCOL),
    "names of no text": (
        HELLO[:NAMES_AT] + struct.pack("<II", 2, 0) + b"\xff\xfe",
        Code.PROTOCOL,
    ),
} | {
    f"format {number}": (
        HELLO[:FORMAT_AT] + bytes([number]) + HELLO[FORMAT_AT + 1 :],
        Code.PROTOCOL,
    )
    for number in (0, 3, 127, 128, 131, 255)
}


@pytest.mark.parametrize("name", HELLOS_OF_NO_PROTOCOL)
def test_a_hello_of_another_protocol_is_told_which_is_spoken(server: Server, name: str) -> None:
    hello, code = HELLOS_OF_NO_PROTOCOL[name]
    with server.raw() as connection:
        connection.sendall(pack(FrameKind.HELLO, hello) + 10 * PUSH)
        ((kind, payload),) = answers(connection)
    assert kind is FrameKind.ERROR
    assert parse_error(payload)[0] == code


def test_frames_that_come_byte_by_byte_are_answered_like_whole_ones(server: Server) -> None:
    """With dropouts to be detected, numbers, and the end said: all that the protocol has."""
    hello = pack(FrameKind.HELLO, HELLO[:FORMAT_AT] + bytes([129]) + HELLO[FORMAT_AT + 1 :])
    frames = [pack(FrameKind.PUSH, PACKETS[k].tobytes(), sequence=k) for k in range(3)]
    said = (
        hello
        + frames[0]
        + pack(FrameKind.PUSH, flags=LOST)
        + frames[1]
        + frames[2]
        + pack(FrameKind.END)
    )
    with Neighbour(server), server.raw() as whole, server.raw() as drip:
        whole.sendall(said)
        for k in range(len(said)):
            drip.sendall(said[k : k + 1])
        expected = answers(whole)
        assert answers(drip) == expected
        time.sleep(0.2)
    kinds = [kind for kind, _ in expected]
    assert kinds == [FrameKind.READY, *4 * [FrameKind.AUDIO], FrameKind.BYE]


KILLED = """
import socket, sys
from pathlib import Path
frames = Path(sys.argv[2]).read_bytes()
connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
connection.connect(sys.argv[1])
connection.sendall(frames)
print("sent", flush=True)
while True:
    connection.sendall(frames[-200:])
"""


def test_programs_that_are_killed_leave_nothing(server: Server, tmp_path: Path) -> None:
    """In midst of a frame, of an answer, or with a buffer full of what they did not read."""
    threads, files = server.process.num_threads(), server.process.num_fds()
    frames = tmp_path / "frames"
    frames.write_bytes(pack_hello(SETTINGS) + 200 * PUSH)
    with Neighbour(server), ExitStack() as stack:
        command = [sys.executable, "-c", KILLED, str(server.path), str(frames)]
        programs = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(12)
        ]
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "sent\n"
            program.kill()
    assert server.settled(threads, files)


def test_as_many_clients_as_are_allowed_are_all_served(server: Server) -> None:
    threads, files = server.process.num_threads(), server.process.num_fds()
    with ExitStack() as stack:
        clients = [stack.enter_context(server.raw()) for _ in range(MAX_CLIENTS)]
        frames = [pack(FrameKind.PUSH, packet.tobytes()) for packet in PACKETS[:4]]
        said = (
            pack_hello(SETTINGS)
            + b"".join(frames[:3])
            + pack(FrameKind.PUSH, flags=LOST)
            + frames[3]
        )
        for client in clients:
            client.sendall(said)
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        heard = [answers(client) for client in clients]
    kinds = [kind for kind, _ in heard[0]]
    assert kinds == [FrameKind.READY, *5 * [FrameKind.AUDIO], FrameKind.BYE]
    assert [payload for _, payload in heard[0][1:4]] == [each.tobytes() for each in PACKETS[:3]]
    assert all(each == heard[0] for each in heard)
    assert server.settled(threads, files)


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
