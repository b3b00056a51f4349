"""Streams that come and go while a relay runs, by its socket and by its file."""

import contextlib
import json
import os
import socket
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile

from plc.engine.runtime import standing
from plc.errors import ConfigError, NetworkError
from plc.transport.cli.relay_session import RelaySession, notify
from plc.transport.cli.streams import read_relay_file, stream_of
from plc.transport.relay.keeper import RelayKeeper
from plc.transport.relay.relay import Relay, run_relay
from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.delay import DelayConfig
from plc.transport.rtp.udp import Endpoint, UdpPort, serve
from plc.transport.service import control
from plc.transport.service.control import ControlServer, listen_at, request
from plc.transport.service.recorder import RecordingFile
from plc.whole_files import folds_case
from tests.plc.configs import changed
from tests.plc.transport import streams
from tests.plc.transport.programs import plc, said
from tests.plc.transport.relay.served_relay import comes_true, send
from tests.plc.transport.streams import BLOCK, HERE, RATE

CONFIG = changed(streams.CONFIG, delay=DelayConfig())
unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")


@contextmanager
def served(configs: list[RelayConfig]) -> Iterator[tuple[Relay, RelayKeeper]]:
    """Serve a relay in a thread, as its program does."""
    relay = Relay(configs, time.monotonic, stays=True)
    ended = threading.Event()

    def work() -> None:
        serve(relay, each_turn=lambda: relay.turn() if not ended.is_set() else relay.stop(0.0))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield relay, RelayKeeper(relay)
    finally:
        ended.set()
        thread.join(20.0)
        relay.close()
        assert not thread.is_alive()


def port_of(relay: Relay, name: str) -> int:
    [lane] = [lane for lane in relay.lanes if lane.name == name]
    return lane.ports[0].endpoint.port


def test_a_stream_is_added_and_removed_and_the_others_go_on(tmp_path: Path) -> None:
    with served([changed(CONFIG, name="stays")]) as (relay, keeper):
        send(port_of(relay, "stays"), 5)
        file = tmp_path / "new.wav"
        assert keeper.add(changed(CONFIG, name="new", to=RecordingFile(file))) == "new"
        send(port_of(relay, "new"), 30)
        assert comes_true(lambda: relay.lanes[1].stream.playout.received.packets_received == 30)
        assert comes_true(lambda: relay.lanes[1].stream.stats.packets_sent > 0)
        assert {each["state"] for each in keeper.listing()} <= {"playing", "outage"}
        report = keeper.remove("new")
        assert report["jitter_buffer"]["packets_received"] == 30
        # Sent at once, so that most of it is beyond the largest delay.
        assert soundfile.info(file).frames >= 3 * BLOCK
        assert [lane.name for lane in relay.lanes] == ["stays"]
        assert keeper.health()[0]
        sent = relay.streams[0].stats.packets_sent
        assert comes_true(lambda: relay.streams[0].stats.packets_sent > sent + 5)
        assert relay.streams[0].stats.skipped_packets == 0


def test_what_cannot_be_added_or_removed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    with served([changed(CONFIG, name="a", to=RecordingFile(file))]) as (_, keeper):
        with pytest.raises(ConfigError, match="a stream a is there already"):
            keeper.add(changed(CONFIG, name="a"))
        with pytest.raises(ConfigError, match="where another stream goes"):
            keeper.add(changed(CONFIG, name="b", to=RecordingFile(file)))
        with pytest.raises(ConfigError, match="no stream c; there are a"):
            keeper.remove("c")
        with closing(UdpPort(HERE)) as taken, pytest.raises(NetworkError, match="in use"):
            keeper.add(changed(CONFIG, name="d", listen=taken.endpoint))
        assert [each["name"] for each in keeper.listing()] == ["a"]


def test_a_new_list_changes_what_differs_and_nothing_else() -> None:
    a, b = changed(CONFIG, name="a"), changed(CONFIG, name="b")
    with served([a, b]) as (relay, keeper), closing(UdpPort(HERE)) as taken:
        kept = relay.lanes[0]
        done = keeper.replace(
            [
                a,
                changed(b, sample_rate=8000),
                changed(CONFIG, name="c"),
                changed(CONFIG, name="d", listen=taken.endpoint),
            ]
        )
        assert (done["kept"], done["changed"], done["added"]) == (["a"], ["b"], ["c"])
        assert list(done["failed"]) == ["d"]
        assert "in use" in done["failed"]["d"]
        assert relay.lanes[0] is kept
        assert relay.lanes[1].config.receiver.stream.sample_rate == 8000
        done = keeper.replace([])
        assert (done["removed"], relay.lanes) == (["a", "b", "c"], [])


@unix
def test_requests_are_answered_line_by_line_and_nonsense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    asked: list[dict[str, Any]] = []

    def add(what: dict[str, Any]) -> str:
        asked.append(what)
        return "x"

    with closing(ControlServer(path, {"list": lambda _: [1], "add": add})):
        assert path.stat().st_mode & 0o077 == 0
        assert request(path, do="list") == [1]
        assert request(path, do="add", stream={"to": "b"}) == "x"
        assert asked == [{"do": "add", "stream": {"to": "b"}}]
        with pytest.raises(ConfigError, match='give "do": one of list, add'):
            request(path, do="explode")
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(path))
            lines = raw.makefile("rb")
            for line in (b"\xff{", b"[" * 5000, b"[1]", b'{"do": ["list"]}', b'{"do": "list"}'):
                raw.sendall(line + b"\n")
                answer = json.loads(lines.readline())
                assert answer["ok"] is (line == b'{"do": "list"}')
    assert not path.exists()
    with pytest.raises(NetworkError, match=r"no relay answers at .*; start one with --control"):
        request(path, do="list")


FILE = """
control = "CONTROL"
metrics = "127.0.0.1:0"

[defaults]
sample_rate = 16000
model = "ar"
to = "udp://127.0.0.1:9"

[[stream]]
name = "one"
listen = "udp://127.0.0.1:0"
"""


def test_a_file_says_what_the_options_say(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        FILE
        + 'safety = "safe"\ndscp = "af41"\nrtcp = true\nallow = ["192.0.2.0/24"]\n'
        + '[[stream]]\nlisten = ["udp://127.0.0.1:1", "udp://127.0.0.1:2"]\nto = "a.wav"\n'
        + 'codec = "l24"\nchannels = 2\npacket_ms = 1\nsample_rate = 48000\n'
    )
    read = read_relay_file(path)
    one, two = read.streams
    assert read.settings == {"control": "CONTROL", "metrics": "127.0.0.1:0"}
    assert (one.name, one.dscp, one.rtcp) == ("one", 34, True)
    assert one.receiver.delay.safety == 1.0
    assert [str(each) for each in one.receiver.allow] == ["192.0.2.0/24"]
    assert one.receiver.stream.sample_rate == RATE
    assert (two.second, two.to) == (Endpoint("127.0.0.1", 2), RecordingFile(Path("a.wav")))
    assert two.name == "udp://127.0.0.1:1,udp://127.0.0.1:2"
    assert (two.receiver.codec, two.receiver.stream.packet_samples) == ("l24", 48)
    assert read_relay_file(path).streams == read.streams


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("= 1", "is not TOML"),
        ("stream = 3", r"expected tables \[\[stream\]\]"),
        ("[[stream]]\nlisten = 5", 'stream 1: give listen = "udp://HOST:PORT"'),
        ("[[stream]]\nlisten = 'udp://a:1'", 'stream 1: give to = "udp://HOST:PORT"'),
        ("speed = 9", "speed is unknown; known: control, metrics, log_json"),
        ("control = 9", "control is 9; give a str"),
        (
            "[defaults]\nchanels = 2",
            r"\[defaults\]: chanels is unknown; known: .*; did you mean 'channels'",
        ),
        (
            "[[stream]]\nlisten = 'udp://a:1'\nto = 'udp://b:1'\nchannels = 'two'",
            "stream 1: Expected `int`, got `str`: `channels`",
        ),
        (
            "[[stream]]\nlisten = 'udp://a:1'\nto = 'udp://b:1'\nsample_rate = 7",
            "stream 1: sample_rate is 7; supported",
        ),
        (
            "[[stream]]\nlisten = 'udp://a:1'\nto = 'udp://b:1'\nsafety = 'bold'",
            "stream 1: bold is not a safety",
        ),
        (
            "[[stream]]\nlisten = 'udp://a:1,udp://a:2,udp://a:3'\nto = 'udp://b:1'",
            "has 3 paths; a stream has one or two",
        ),
        (
            "[defaults]\nlisten = 'udp://a:1'\n",
            r"\[defaults\]: listen is unknown",
        ),
        (
            "[defaults]\nto = 'udp://b:1'\n" + 2 * "[[stream]]\nlisten = 'udp://a:1'\n",
            "two streams are called udp://a:1",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_relay_file(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_relay_file(tmp_path / "none.toml")


def test_a_request_without_a_stream_is_refused() -> None:
    with pytest.raises(ConfigError, match="give listen"):
        stream_of({})


@unix
def test_systemd_is_told_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        assert notify("READY=1", "STATUS=x")
        assert systemd.recv(100) == b"READY=1\nSTATUS=x"
    assert not notify("READY=1")


@unix
@pytest.mark.realtime
def test_the_program_follows_its_file_its_socket_and_systemd(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    path, control, ready = tmp_path / "relay.toml", tmp_path / "control", tmp_path / "ready"
    text = FILE.replace("CONTROL", str(control))
    path.write_text(text)
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(ready))
    systemd.settimeout(60.0)
    relay = plc("relay", "--config", path, "--json", NOTIFY_SOCKET=str(ready))
    try:
        url = said(relay, "metrics at").rpartition(" ")[2].strip()
        assert systemd.recv(200).startswith(b"READY=1")
        with urllib.request.urlopen(url.replace("/metrics", "/healthz"), timeout=10) as answer:
            health = json.loads(answer.read())
        assert health == {"status": "ok", "streams": {"one": "waiting"}, "problems": []}
        [one] = request(control, do="list")
        send(int(one["listen"][0].rpartition(":")[2]), 20)
        path.write_text(text + '[[stream]]\nname = "two"\nlisten = "udp://127.0.0.1:0"\n')
        relay.send_signal(1)
        assert "1 added, 0 removed, 0 changed, 1 kept" in said(relay, "added")
        states = {each["name"]: each["state"] for each in request(control, do="list")}
        assert set(states) == {"one", "two"}
        request(control, do="remove", name="two")
        path.write_text("nonsense")
        with pytest.raises(ConfigError, match="is not TOML"):
            request(control, do="reload")
        assert [each["packets_received"] for each in request(control, do="list")] == [20]
        relay.send_signal(15)
        out, errors = relay.communicate(timeout=60)
        told = b""
        while b"STOPPING=1" not in told:
            told = systemd.recv(200)
    finally:
        relay.kill()
        relay.communicate()
        systemd.close()
    assert relay.returncode == 0, errors
    [report] = json.loads(out)
    assert report["jitter_buffer"]["packets_received"] == 20


def test_a_relay_that_ends_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Neither who removes a stream, nor a stream that was added and never served."""
    relay = Relay([changed(CONFIG, name="a")], stays=True)
    keeper = RelayKeeper(relay)
    relay.add(changed(CONFIG, name="b", to=RecordingFile(tmp_path / "b.wav")))
    reports: list[dict[str, Any]] = []
    remover = threading.Thread(target=lambda: reports.append(keeper.remove("a")))
    remover.start()
    relay.close()
    remover.join(10.0)
    assert [report["name"] for report in reports] == ["a"]
    assert [lane.name for lane in relay.lanes] == ["a", "b"]
    assert all(port.socket.fileno() == -1 for lane in relay.lanes for port in lane.ports)


@unix
@pytest.mark.parametrize(
    "stream",
    [
        {"listen": "udp://127.0.0.1:0", "to": "a\0b.wav"},
        {"listen": "udp://127.0.0.1:0", "to": "\ud800.wav"},
        {"listen": "udp://127.0.0.1:0", "to": "udp://127.0.0.1:9", "name": "\x1b[31mred"},
        {"listen": "udp://127.0.0.1:0", "to": "udp://127.0.0.1:9", "name": "a\nb"},
    ],
)
def test_texts_that_cannot_be_shown_are_refused_before_anything_is_opened(
    stream: dict[str, Any],
) -> None:
    with pytest.raises(ConfigError, match="control characters"):
        stream_of(stream)


@unix
def test_a_fault_in_a_request_is_answered_and_the_next_one_served(tmp_path: Path) -> None:
    told: list[str] = []

    def add(what: dict[str, Any]) -> bool:
        return Path(what["to"]).exists() or bool(what["to"].encode())

    with (
        pytest.MonkeyPatch.context() as patch,
        closing(ControlServer(tmp_path / "s", {"add": add, "list": lambda _: []})) as server,
    ):
        patch.setattr("plc.notice.listener", told.append)
        for nonsense in ("\ud800", "\ud801"):
            with pytest.raises(ConfigError, match="the relay met a fault: Unicode"):
                request(server.path, do="add", to=nonsense)
        assert request(server.path, do="list") == []
        assert server.faults == 2
    assert len(told) == 1


@unix
def test_half_requests_keep_nobody_waiting(tmp_path: Path) -> None:
    with (
        closing(ControlServer(tmp_path / "s", {"list": lambda _: []})) as server,
        contextlib.ExitStack() as held,
    ):
        for _ in range(3 * control.CONNECTIONS_MAX):
            half = held.enter_context(socket.socket(socket.AF_UNIX))
            half.connect(str(server.path))
            half.sendall(b'{"do": ')
        began_s = time.monotonic()
        assert request(server.path, do="list") == []
        assert time.monotonic() - began_s < control._REQUEST_S
        assert len(server._connections) <= control.CONNECTIONS_MAX


@unix
def test_a_request_that_comes_byte_by_byte_has_no_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_REQUEST_S", 0.3)
    with (
        closing(ControlServer(tmp_path / "s", {"list": lambda _: []})) as server,
        socket.socket(socket.AF_UNIX) as slow,
    ):
        slow.connect(str(server.path))
        with contextlib.suppress(OSError):  # reset or broken, as the system has it
            for _ in range(200):
                slow.sendall(b" ")
                time.sleep(0.05)
            pytest.fail("it was served for 10 s")


def test_health_names_a_thread_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with served([changed(CONFIG, name="a")]) as (_, keeper):
        assert keeper.health()[0]
        monkeypatch.setattr(standing, "problems", lambda: ["the thread of control has ended"])
        works, said = keeper.health()
        assert not works
        assert said["problems"] == ["the thread of control has ended"]


def other_names(file: Path) -> list[Path]:
    """Return further names of a file: by a detour, by links to it and to its folder."""
    (file.parent / "detour").mkdir()
    (file.parent / "link.wav").symlink_to(file)
    (file.parent / "folder").symlink_to(file.parent)
    return [
        file.parent / "detour" / ".." / file.name,
        file.parent / "link.wav",
        file.parent / "folder" / file.name,
        Path(os.path.relpath(file)),
    ]


def test_a_file_in_use_is_refused_by_any_name(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    with served([changed(CONFIG, name="a", to=RecordingFile(file))]) as (relay, keeper):
        for other in other_names(file):
            with pytest.raises(ConfigError, match="where another stream goes"):
                keeper.add(changed(CONFIG, name="b", to=RecordingFile(other)))
            done = keeper.replace(
                [relay.lanes[0].config, changed(CONFIG, name="b", to=RecordingFile(other))]
            )
            assert "where another stream goes" in done["failed"]["b"]
            with pytest.raises(ConfigError, match="where several streams go"):
                run_relay(
                    [
                        changed(CONFIG, to=RecordingFile(file)),
                        changed(CONFIG, to=RecordingFile(other)),
                    ],
                    duration_s=0.0,
                )
        keeper.remove("a")
        assert keeper.add(changed(CONFIG, name="b", to=RecordingFile(other_name(file)))) == "b"


def test_a_hard_link_to_what_stands_there_is_refused(tmp_path: Path) -> None:
    file, link = tmp_path / "a.wav", tmp_path / "b.wav"
    file.write_bytes(b"an earlier recording")
    link.hardlink_to(file)
    with (
        served([changed(CONFIG, name="a", to=RecordingFile(file))]) as (_, keeper),
        pytest.raises(ConfigError, match="where another stream goes"),
    ):
        keeper.add(changed(CONFIG, name="b", to=RecordingFile(link)))


@pytest.mark.parametrize("folds", [True, False])
def test_letters_of_another_case_are_another_name_where_the_folder_says_so(
    folds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before any of the two is there."""
    if folds_case(tmp_path):
        pytest.skip("this file system has no case")
    monkeypatch.setattr("plc.transport.service.recorder.folds_case", lambda _: folds)
    with served([changed(CONFIG, name="a", to=RecordingFile(tmp_path / "\xe9cho.wav"))]) as (
        _,
        keeper,
    ):
        other = changed(CONFIG, name="b", to=RecordingFile(tmp_path / "E\u0301CHO.wav"))
        if not folds:
            assert keeper.add(other) == "b"
            return
        with pytest.raises(ConfigError, match="where another stream goes"):
            keeper.add(other)


def other_name(file: Path) -> Path:
    return file.parent / "folder" / file.name


def test_a_change_that_would_replace_what_was_recorded_is_refused(tmp_path: Path) -> None:
    a = changed(CONFIG, name="a", to=RecordingFile(tmp_path / "a.wav"))
    with served([a]) as (relay, keeper):
        kept = relay.lanes[0]
        done = keeper.replace([changed(a, seed=2)])
        assert "holds the recording so far" in done["failed"]["a"]
        assert relay.lanes == [kept]
        assert not kept.stopped


def test_a_stream_whose_change_fails_goes_on_as_it_was() -> None:
    a = changed(CONFIG, name="a")
    with served([a]) as (relay, keeper), closing(UdpPort(HERE)) as taken:
        done = keeper.replace([changed(a, listen=taken.endpoint)])
        assert "in use" in done["failed"]["a"]
        assert [lane.config for lane in relay.lanes] == [a]


def test_a_file_that_says_nothing_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    for text in ("", "\n# nothing\n", "[defaults]\n", 'control = "c"\n'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="names no stream"):
            read_relay_file(path)
    path.write_text("stream = []")
    assert read_relay_file(path).streams == []
    path.write_text("stream = []\n" + "#" * (1 << 20))
    with pytest.raises(ConfigError, match="has more than"):
        read_relay_file(path)
    with pytest.raises(ConfigError, match="is not a file"):
        read_relay_file(tmp_path)


@unix
def test_a_pipe_in_place_of_the_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is not a file"):
        read_relay_file(tmp_path / "pipe")


def test_an_emptied_file_leaves_the_streams_alone(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("")
    noted: list[tuple[str, str]] = []
    with served([changed(CONFIG, name="a")]) as (relay, keeper):
        session = RelaySession(path, None, None, log_json=False, overwrite=False)
        session._keeper = keeper
        session.note = lambda event, says="", **_: noted.append((event, says))
        session._reload_after_hangup()
        assert [lane.name for lane in relay.lanes] == ["a"]
        assert not relay.lanes[0].stopped
    [(event, says)] = noted
    assert event == "reload_failed"
    assert "names no stream" in says


# ---- the socket ---------------------------------------------------------------------------------


@unix
def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    with listen_at(tmp_path / "s"):
        assert stat.S_IMODE((tmp_path / "s").lstat().st_mode) == 0o600


@unix
def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear")
    with pytest.raises(NetworkError, match="is not a socket"):
        listen_at(path)
    assert path.read_text() == "dear"


@unix
def test_a_second_server_at_one_path_is_refused(tmp_path: Path) -> None:
    with listen_at(tmp_path / "s") as first:
        with pytest.raises(NetworkError, match="another server listens"):
            listen_at(tmp_path / "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(first.getsockname())


@unix
def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    listen_at(tmp_path / "s").close()
    assert (tmp_path / "s").exists()
    with (
        listen_at(tmp_path / "s"),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client,
    ):
        client.connect(str(tmp_path / "s"))


@unix
def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="take a short path"):
        listen_at(tmp_path / ("long" * 40))
    with pytest.raises(NetworkError, match="No such file"):
        listen_at(tmp_path / "no" / "folder")
