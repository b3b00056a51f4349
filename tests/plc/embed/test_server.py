"""The sidecar: what it answers, and what hostile clients do to the others: nothing."""

import contextlib
import math
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from plc import conceal, warm_up
from plc.embed import cli
from plc.embed import server as serving
from plc.embed.client import Client
from plc.embed.served_stream import EmbeddedConfig, EmbeddedStream, Flag, Format
from plc.embed.server import Conversation, Sidecar
from plc.embed.wire import HEADER, LOST, Code, FrameKind, WireError, pack, pack_hello, parse_error
from plc.errors import ConfigError, NetworkError, PacketError
from tests.examples import examples
from tests.plc.configs import changed, embedded
from tests.signals import tones

RATE = 8_000
BLOCK = 80
SETTINGS = embedded(
    sample_rate=RATE, packet_samples=BLOCK, channels=2, budget_ms=math.inf, seed=3, model="ar"
)
QUICK = embedded(sample_rate=RATE, packet_samples=BLOCK, method="burg")
# Longer than anything here takes; only a failure waits for it.
PATIENCE_S = 30.0
Samples = NDArray[np.float32] | NDArray[np.int16]


def signal_of(format_: Format, packets: int = 40) -> Samples:
    rows = np.stack([tones(c, RATE, packets * BLOCK) for c in range(2)], axis=1)
    if format_ is Format.INT16:
        return np.rint(rows * 32767).astype(np.int16)
    return rows


def trace_of(packets: int = 40) -> NDArray[np.bool_]:
    return np.random.default_rng(5).random(packets) < 0.2


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """So that no client waits for that."""
    warm_up()


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    server = Sidecar(tmp_path / "plc.sock", max_clients=4)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def play(client: Client, signal_: Samples, lost: NDArray[np.bool_]) -> list[tuple[Samples, Flag]]:
    packets = signal_.reshape(-1, BLOCK, 2)
    return [client.push(None if lost[k] else packets[k]) for k in range(len(packets))]


def raw(server: Sidecar) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(server.path))
    return connection


def read_all(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):  # it closed before it had read everything
        while piece := connection.recv(1 << 16):
            data += piece
    return data


def is_served(server: Sidecar) -> bool:
    with Client(server.path, QUICK) as client:
        packet = np.ones((BLOCK, 1), np.float32)
        return bool(np.array_equal(client.push(packet)[0], packet))


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("lookahead", [0, 2])
def test_what_comes_back_is_what_the_engine_makes(
    sidecar: Sidecar, format_: Format, lookahead: int
) -> None:
    signal_, lost = signal_of(format_), trace_of()
    with Client(sidecar.path, changed(SETTINGS, format=format_, lookahead=lookahead)) as client:
        played = [samples for samples, _ in play(client, signal_, lost)]
        played.append(client.end())
    expected = conceal(
        signal_,
        lost,
        sample_rate=RATE,
        packet_samples=BLOCK,
        lookahead=lookahead,
        model="ar",
        seed=3,
    )
    assert np.array_equal(np.concatenate(played)[lookahead * BLOCK :], expected)


def test_flags_say_what_became_of_a_packet(sidecar: Sidecar) -> None:
    packet = np.full((BLOCK, 2), 0.1, np.float32)
    broken = packet.copy()
    broken[7] = math.nan
    with Client(sidecar.path, SETTINGS) as client:
        flags = [client.push(given)[1] for given in (packet, None, packet, packet, broken)]
        counters = client.stats()
    assert flags == [
        Flag(0),
        Flag.CONCEALED,
        Flag.CROSSFADED,
        Flag(0),
        Flag.CONCEALED | Flag.REFUSED,
    ]
    assert counters["concealed_samples"] == 2 * BLOCK
    assert counters["invalid_packets"] == 1


def test_a_stream_of_int16_may_begin_with_lost_packets(sidecar: Sidecar) -> None:
    with Client(sidecar.path, changed(SETTINGS, format=Format.INT16, lookahead=1)) as client:
        first, _ = client.push(None)
        tail = client.end()
    for samples in (first, tail):
        assert samples.dtype == np.int16
        assert not samples.any()


def test_many_streams_at_once_do_not_mix(sidecar: Sidecar) -> None:
    def stream(number: int) -> None:
        rows = np.roll(signal_of(Format.FLOAT32), 1000 * number, axis=0)
        with Client(sidecar.path, SETTINGS) as client:
            played = np.concatenate([samples for samples, _ in play(client, rows, trace_of())])
        alone = conceal(
            rows, trace_of(), sample_rate=RATE, packet_samples=BLOCK, model="ar", seed=3
        )
        results[number] = np.array_equal(played, alone)

    results: dict[int, bool] = {}
    threads = [threading.Thread(target=stream, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert results == dict.fromkeys(range(4), True)


def test_settings_that_cannot_be_are_refused_with_the_reason(sidecar: Sidecar) -> None:
    hello = bytearray(pack_hello(SETTINGS))
    hello[HEADER.size + 4 : HEADER.size + 8] = struct.pack("<I", 11)
    with raw(sidecar) as connection:
        connection.sendall(hello)
        answer = connection.recv(1 << 16)
    assert answer[4] == FrameKind.ERROR
    assert parse_error(answer[HEADER.size :])[0] == Code.SETTINGS
    assert b"sample_rate is 11" in answer
    with pytest.raises(ConfigError, match="known: auto"):
        Client(sidecar.path, changed(SETTINGS, method="magic"))
    assert is_served(sidecar)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "no such frame"),
        (pack(FrameKind.ASK), "before HELLO"),
        (pack_hello(SETTINGS) * 2, "HELLO from a client"),
        (pack_hello(QUICK) + pack(FrameKind.PUSH, b"abc"), "PUSH of 3 bytes"),
        (pack_hello(QUICK) + pack(FrameKind.PUSH, b"abc", flags=LOST), "PUSH of 3 bytes"),
        (pack_hello(QUICK) + pack(FrameKind.PUSH, bytes(4 * BLOCK), flags=2), "flags 2"),
        (pack_hello(QUICK) + pack(FrameKind.PUSH, bytes(9999)), "at most 320"),
        (pack_hello(QUICK) + pack(FrameKind.ASK, b"abc"), "it has none"),
        (pack_hello(QUICK) + pack(FrameKind.BYE), "BYE from a client"),
    ],
)
def test_who_breaks_the_protocol_is_told_how_and_cut_off(
    sidecar: Sidecar, data: bytes, says: str
) -> None:
    with raw(sidecar) as connection:
        connection.sendall(data)
        answer = read_all(connection)
    begin = 0
    while answer[begin + 4] != FrameKind.ERROR:
        begin += HEADER.size + int.from_bytes(answer[begin : begin + 4], "little")
    code, text = parse_error(answer[begin + HEADER.size :])
    assert code == Code.PROTOCOL
    assert says in text
    assert is_served(sidecar)


def test_who_vanishes_in_the_middle_of_a_frame_is_forgotten(sidecar: Sidecar) -> None:
    with Client(sidecar.path, QUICK) as other:
        for data in (b"", b"PL", pack_hello(QUICK), pack_hello(QUICK) + b"\1\2"):
            with raw(sidecar) as connection:
                connection.sendall(data)
        samples, _ = other.push(np.ones((BLOCK, 1), np.float32))
    assert samples.all()


def test_who_sends_and_does_not_read_is_not_read_from(sidecar: Sidecar) -> None:
    with Client(sidecar.path, QUICK) as other, raw(sidecar) as slow:
        slow.sendall(pack_hello(QUICK))
        slow.setblocking(False)
        frame = pack(FrameKind.PUSH, bytes(4 * BLOCK))
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 1 << 26:
                sent += slow.send(frame)
        assert sent < 1 << 24  # or it is buffered somewhere
        samples, _ = other.push(np.ones((BLOCK, 1), np.float32))
    assert samples.all()


def test_who_does_not_say_hello_in_time_is_cut_off(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_HELLO_S", 0.05)
    with raw(sidecar) as connection:
        assert read_all(connection) == b""
    assert is_served(sidecar)


def test_a_hello_that_drips_has_no_more_time_than_one_that_does_not_come(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_s = 0.3
    monkeypatch.setattr(serving, "_HELLO_S", limit_s)
    hello = pack_hello(QUICK)
    sent = 0
    with raw(sidecar) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.settimeout(limit_s / 10)
        while sent < len(hello) - 1:
            connection.send(hello[sent : sent + 1])
            sent += 1
            with contextlib.suppress(TimeoutError):
                if connection.recv(1) == b"":
                    break
    assert sent < len(hello) - 1  # it was cut off before
    assert is_served(sidecar)


def test_who_does_not_read_answers_in_time_is_cut_off(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_ANSWER_S", 0.05)
    with raw(sidecar) as connection:
        connection.sendall(pack_hello(QUICK))
        frames = pack(FrameKind.PUSH, bytes(4 * BLOCK)) * 100
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_for_ever(connection, frames)
    assert is_served(sidecar)


def send_for_ever(connection: socket.socket, data: bytes) -> None:
    while True:
        connection.sendall(data)


def test_more_clients_than_allowed_are_turned_away(sidecar: Sidecar) -> None:
    clients = [Client(sidecar.path, QUICK) for _ in range(4)]
    with pytest.raises(NetworkError, match="4 clients"):
        Client(sidecar.path, QUICK)
    for client in clients:
        client.push(np.ones((BLOCK, 1), np.float32))
        client.end()
    assert sidecar.stats.turned_away == 1


def test_a_fault_of_ours_ends_one_conversation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_stream(settings_: EmbeddedConfig) -> EmbeddedStream:
        if settings_.stream.method == "ar":
            raise ZeroDivisionError("on purpose")
        return EmbeddedStream(settings_)

    server = Sidecar(tmp_path / "plc.sock", open_stream=open_stream)
    thread = threading.Thread(target=server.serve)
    thread.start()
    with pytest.raises(NetworkError, match="on purpose"):
        Client(server.path, changed(QUICK, method="ar"))
    assert is_served(server)
    server.stop()
    thread.join(PATIENCE_S)
    assert server.stats.faults == 1
    assert "on purpose" in capsys.readouterr().err


def test_the_end_lets_open_streams_say_goodbye(tmp_path: Path) -> None:
    server = Sidecar(tmp_path / "plc.sock")
    thread = threading.Thread(target=server.serve)
    thread.start()
    rows = signal_of(Format.FLOAT32, 2)
    with raw(server) as connection:
        connection.sendall(pack_hello(changed(SETTINGS, lookahead=1)))
        connection.recv(1000)
        for packet in rows.reshape(-1, BLOCK, 2):
            connection.sendall(pack(FrameKind.PUSH, packet.tobytes()))
        server.stop()
        data = read_all(connection)
    thread.join(PATIENCE_S)
    size = HEADER.size + 8 * BLOCK
    assert [data[k * size + 4] for k in range(3)] == [
        FrameKind.AUDIO,
        FrameKind.AUDIO,
        FrameKind.BYE,
    ]
    assert data[2 * size + HEADER.size :] == rows[BLOCK:].tobytes()
    assert not server.path.exists()


def test_the_socket_is_for_its_owner_alone(sidecar: Sidecar) -> None:
    assert stat.S_IMODE(sidecar.path.lstat().st_mode) == 0o600


def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear")
    with pytest.raises(NetworkError, match="is not a socket"):
        Sidecar(path)
    assert path.read_text() == "dear"


def test_a_second_server_at_one_path_is_refused(sidecar: Sidecar) -> None:
    with pytest.raises(NetworkError, match="another server listens"):
        Sidecar(sidecar.path)
    assert is_served(sidecar)


def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "plc.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    assert path.exists()
    server = Sidecar(path)
    server.close()
    assert not path.exists()


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="take a short path"):
        Sidecar(tmp_path / ("long" * 40))
    with pytest.raises(NetworkError, match="No such file"):
        Sidecar(tmp_path / "no" / "folder")


def test_a_client_without_a_server_is_told_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="start plc serve"):
        Client(tmp_path / "none", QUICK)


def test_a_client_checks_its_packets(sidecar: Sidecar) -> None:
    with Client(sidecar.path, QUICK) as client:
        with pytest.raises(PacketError, match="this stream takes float32"):
            client.push(np.zeros((BLOCK, 1), np.int16))
        with pytest.raises(PacketError, match="this stream takes float32"):
            client.push(np.zeros((BLOCK, 3), np.float32))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", NetworkError),
        (b"nonsense that is long enough", WireError),
        (pack(FrameKind.BYE), NetworkError),
        (pack(FrameKind.AUDIO), WireError),
        (pack(FrameKind.READY, b"\1\0\0\0\0\0\0\0\7\0\0\0"), WireError),
    ],
)
def test_a_client_bears_with_a_strange_server(
    tmp_path: Path, answer: bytes, error: type[Exception]
) -> None:
    path = tmp_path / "strange"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(error):
            Client(path, QUICK)
        thread.join(PATIENCE_S)


def push_for_ever(client: Client, packet: Samples) -> None:
    while True:
        client.push(packet)


SERVE = """
import sys
from plc.embed.server import run_sidecar
print(run_sidecar(sys.argv[1], announce=lambda: print("ready", flush=True)))
"""
PUSH_FOR_EVER = """
import os, sys, time, numpy as np
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
from plc.embed.client import Client
from plc.embed.served_stream import EmbeddedConfig
from plc.engine.config import StreamConfig
stream = StreamConfig(sample_rate=8000, packet_samples=80, method="burg")
client = Client(sys.argv[1], EmbeddedConfig(stream=stream))
packet = np.ones((80, 1), np.float32)
while True:
    client.push(packet)
    print("pushed", flush=True)
"""


def test_a_process_serves_survives_a_killed_client_and_drains_on_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "plc.sock"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        subprocess.Popen(
            [sys.executable, "-c", SERVE, str(path)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
        subprocess.Popen(
            [sys.executable, "-c", PUSH_FOR_EVER, str(path)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as client,
    ):
        assert server.stdout is not None
        assert client.stdout is not None
        try:
            assert server.stdout.readline() == "ready\n"
            assert client.stdout.readline() == "pushed\n"
            with Client(path, QUICK) as other:
                packet = np.ones((BLOCK, 1), np.float32)
                client.kill()
                client.wait(PATIENCE_S)
                for _ in range(100):
                    assert np.array_equal(other.push(packet)[0], packet)
                server.send_signal(signal.SIGTERM)
                with pytest.raises(NetworkError):
                    push_for_ever(other, packet)
            output, _ = server.communicate(timeout=PATIENCE_S)
        finally:
            client.kill()
            server.kill()
    assert server.returncode == 0
    assert "clients=2" in output
    assert "faults=0" in output
    assert not path.exists()


frames_ = st.one_of(
    st.just(pack_hello(QUICK)),
    st.just(pack(FrameKind.PUSH, bytes(4 * BLOCK))),
    st.just(pack(FrameKind.PUSH, flags=LOST)),
    st.just(pack(FrameKind.ASK)),
    st.builds(pack, st.sampled_from(FrameKind), st.binary(max_size=400), flags=st.integers(0, 255)),
    st.binary(max_size=100),
)


@given(st.lists(frames_, max_size=10).map(b"".join), st.integers(1, 500))
@examples(500)
def test_whatever_a_client_says_a_conversation_answers_in_frames(data: bytes, step: int) -> None:
    """After HELLO as before it: one READY at most, and nothing after a BYE or an ERROR."""
    conversation = Conversation()
    greeting = pack_hello(QUICK) if step % 2 else b""
    kinds = []
    rest = memoryview(greeting + data)
    while rest and not conversation.done:
        room = conversation.reader.room()
        count = min(len(room), len(rest), step)
        room[:count] = rest[:count]
        conversation.reader.came(count)
        rest = rest[count:]
        while (answer := conversation.answer()) is not None:
            assert len(answer) == HEADER.size + int.from_bytes(answer[:4], "little")
            kinds.append(answer[4])
    conversation.close()
    assert kinds.count(FrameKind.READY) <= 1
    assert not {FrameKind.BYE, FrameKind.ERROR} & set(kinds[:-1])


def test_the_command_serves_for_a_while_and_says_what_it_saw(tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    cli.register(app)
    arguments = ["serve", "--socket", str(tmp_path / "s"), "--seconds", "0.01"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "0 clients: 0 ended" in result.output
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert '"clients": 0' in result.output


def test_a_client_hears_its_own_report_behind_calls_that_were_interrupted(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    packet = np.ones((BLOCK, 1), np.float32)
    with Client(sidecar.path, QUICK) as client:
        for count in range(1, 4):
            with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
                patch.setattr(client, "_receive", interrupt)
                client.stats()
            with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
                patch.setattr(client, "_receive", interrupt)
                client.push(packet)
            assert client.stats()["packets"] == 2 * count - 1
            assert client.stats()["packets"] == 2 * count - 1
            np.testing.assert_array_equal(client.push(packet)[0], packet)
        with pytest.raises(PacketError):
            client.push(packet[1:])
        assert client.stats()["packets"] == 6


def interrupt(_: FrameKind) -> None:
    raise KeyboardInterrupt
