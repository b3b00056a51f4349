"""The commands that touch sound cards."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from plc import notice
from plc.engine.stream.config import StreamConfig
from plc.errors import AudioFileError, DeviceError
from plc.extras import install_command
from plc.transport.cards.devices import DevicePort
from plc.transport.cards.portaudio import SoundServer
from plc.transport.cli.live import register
from plc.transport.cli.options import ReceiverOptions, impairment_of
from plc.transport.cli.rtp import register as register_network
from plc.transport.live.ends import FileBackend
from plc.transport.live.jacktrip import JackTripPort
from plc.transport.live.sending import SendConfig
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.impair import ImpairConfig
from plc.transport.rtp.udp import Endpoint, UdpPort
from tests.plc.fake_devices import FakeBackend, card
from tests.signals import noise

app = typer.Typer(pretty_exceptions_enable=False)
register(app)
register_network(app)
runner = CliRunner()


def test_an_impairment_is_read_from_names_and_values() -> None:
    text = "loss=10%, burst=2,jitter=30,delay=20,reorder=1%,reorder_by=15,duplicate=0.02,in_order"
    assert impairment_of(text) == ImpairConfig(
        loss=0.1,
        mean_burst=2.0,
        jitter_ms=30.0,
        delay_ms=20.0,
        reorder=0.01,
        reorder_ms=15.0,
        duplicate=0.02,
        in_order=True,
    )
    assert impairment_of("rate=128,queue=50") == ImpairConfig(rate_kbit_s=128.0, queue_ms=50.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lost=10%", "'lost=10%' is not an impairment; give name=value of loss, "),
        ("loss", "'loss' is not an impairment"),
        ("", "'' is not an impairment"),
        ("burst=many", "burst is 'many'; give a number"),
        ("loss=120%", "120% is not a share"),
        ("loss=50%,burst=0.5", "it is 1 or more"),
        ("jitter=-1", "supported: 0 to 60000 ms"),
    ],
)
def test_what_is_no_impairment_is_refused(text: str, says: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        impairment_of(text)
    assert says in str(caught.value)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    backend = FakeBackend(cards=[card(0, "Built-in"), card(4, "USB Interface", rate=44_100)])
    monkeypatch.setattr("plc.transport.cards.portaudio.open_backend", lambda name: backend)
    return backend


@pytest.mark.usefixtures("cards")
def test_devices_are_listed() -> None:
    listed = runner.invoke(app, ["devices", "--backend", "pyaudio"])
    assert listed.exit_code == 0
    assert "USB Interface" in listed.stdout
    assert "44100" in listed.stdout
    found = json.loads(runner.invoke(app, ["devices", "--backend", "pyaudio", "--json"]).stdout)
    assert [each["index"] for each in found["devices"]] == [0, 4]
    assert found["devices"][0]["is_default_input"] is True


def ended(*done: Callable[[], bool]) -> None:
    """Wait until all is so."""
    limit_s = time.monotonic() + 30.0
    while not all(each() for each in done):
        assert time.monotonic() < limit_s
        time.sleep(0.002)


def test_a_recording_is_a_device_that_plays_and_one_that_is_written(tmp_path: Path) -> None:
    source, target = tmp_path / "a b.wav", tmp_path / "c d.flac"
    sent = (np.rint(noise(1, 1000) * 2**15) / 2**15).astype(np.float32).reshape(500, 2)
    soundfile.write(source, sent, 44_100)
    devices = FileBackend("sounddevice", str(source), str(target))
    assert 0.2 < devices.length_s < 0.3
    ports = [DevicePort(devices, str(source), True, 48_000, 2, 0.002),
             DevicePort(devices, str(target), False, 48_000, 2, 0.002)]  # fmt: skip
    with closing(devices):
        for port in ports:
            port.open(0.0)
        given, taken = (port.stream for port in ports)
        assert given is not None
        assert taken is not None
        assert (given.sample_rate, taken.sample_rate) == (44_100, 48_000)
        heard = np.zeros((700, 2), np.float32)
        taken.ring.write(sent)
        ended(lambda: given.ring.waiting >= 700, lambda: taken.ring.waiting == 0)
        given.ring.read(heard)
        for port in ports:  # as where a card is looked for again
            port.close()
            port.open(0.0)
        for port in ports:
            port.close()
    np.testing.assert_array_equal(heard[:500], sent)
    assert not heard[500:].any()
    written, rate = soundfile.read(target, dtype="float32")
    assert rate == 48_000
    begin = int(np.flatnonzero(written[:, 0])[0])
    np.testing.assert_array_equal(written[begin : begin + 500], sent)


def test_a_recording_of_nothing_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    target = tmp_path / "heard.wav"
    devices = FileBackend("sounddevice", "", str(target))
    port = DevicePort(devices, str(target), False, 48_000, 2, 0.002)
    with closing(devices):
        port.open(0.0)
        assert port.stream is not None
        port.stream.ring.write(np.zeros((500, 2), np.float32))
        ended(lambda: port.stream is not None and port.stream.ring.waiting == 0)
        port.close()
    assert not target.exists()
    assert told == [f"{target} was not made: nothing was heard"]


def test_a_live_stream_of_recordings_needs_no_sound_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    source, target = tmp_path / "a b.wav", tmp_path / "c d.wav"
    soundfile.write(source, noise(1, 8820).reshape(4410, 2), 44_100)
    asked = ["live", "--in", str(source), "--out", str(target), "--model", "ar", "--json"]
    done = runner.invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["devices"]["output"]["device"] == str(target)
    written = soundfile.info(target)
    assert (written.samplerate, written.channels) == (44_100, 2)
    assert written.frames > 4410
    with pytest.raises(AudioFileError, match="exists; remove it, or choose another name"):
        runner.invoke(app, asked, catch_exceptions=False)


def test_where_nobody_is_heard_no_recording_is_left(tmp_path: Path) -> None:
    """Of a peer, a stream from the network, and a relay."""
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, noise(1, 8820).reshape(4410, 2), 44_100)
    near = "udp://127.0.0.1:0"
    for asked in (
        ["live", "--in", source, "--out", target, "--to", "udp://127.0.0.1:9", "--from", near],
        ["live", "--from", near, "--out", target, "--seconds", "0.1"],
        ["relay", "--listen", near, "--to", target, "--seconds", "0.1"],
    ):
        for _ in range(2):  # so the second time is not refused
            done = runner.invoke(app, [*map(str, asked), "--model", "ar"], catch_exceptions=False)
            assert done.exit_code == 1, done.output
            assert "heard no stream: no datagram at all" in done.stderr
            assert list(tmp_path.iterdir()) == [source]


def test_where_no_library_is_there_the_commands_that_bring_them_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for library in ("sounddevice", "pyaudio"):
        monkeypatch.setitem(sys.modules, library, None)
    listed = runner.invoke(app, ["devices"])
    assert listed.exit_code == 1
    assert install_command("live") in listed.stderr
    assert "recordings need none: --in FILE --out FILE" in listed.stderr
    assert install_command("pyaudio") in listed.stderr


@pytest.mark.realtime
def test_a_live_stream_prints_what_it_counted(cards: FakeBackend) -> None:
    pytest.importorskip("prometheus_client")
    options = ["--seconds", "0.2", "--model", "ar", "--impair", "loss=20%"]
    done = runner.invoke(app, ["live", *options, "--json", "--log-json", "--metrics", ":0"])
    assert done.exit_code == 0, done.exception
    report = json.loads(done.stdout)
    assert report["devices"]["output"]["opened"] == 1
    assert [stream.is_input for stream in cards.streams] == [True, False]
    assert "metrics at http://127.0.0.1:" in done.stderr
    assert '"event": "device_opened"' in done.stderr
    plain = runner.invoke(app, ["live", *options])
    assert "0 packets in" in plain.stdout
    assert "output default: 0 times lost" in plain.stdout


@pytest.mark.realtime
def test_a_stream_from_the_network_is_played_on_a_device(cards: FakeBackend) -> None:
    options = ["--from", "udp://127.0.0.1:0", "--seconds", "0.2", "--model", "ar", "--out", "USB"]
    done = runner.invoke(app, ["live", *options, "--json"])
    assert done.exit_code == 1, done.exception  # it heard nothing
    assert "udp://127.0.0.1:0 heard no stream: no datagram at all" in done.stderr
    assert list(json.loads(done.stdout)["devices"]) == ["output"]
    plain = runner.invoke(app, ["live", *options, "--codec", "pcmu"])
    assert "0 packets in" in plain.stdout
    assert "left out" not in plain.stdout


def test_a_relay_names_the_command_that_plays_on_a_device() -> None:
    refused = runner.invoke(app, ["relay", "--listen", "udp://127.0.0.1:0", "--to", "device:USB"])
    assert "plc live --from udp://HOST:PORT --out USB" in str(refused.exception)


@pytest.mark.parametrize("command", ["live", "relay"])
def test_both_commands_take_every_option_of_a_received_stream(command: str) -> None:
    given = runner.invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    for field in dataclasses.fields(ReceiverOptions):
        assert f"--{field.name.replace('_', '-')}" in given
    refused = runner.invoke(app, [command, "--method", "magic"])
    assert refused.exit_code == 2
    assert "unknown method 'magic'" in refused.stderr


def test_options_become_the_settings_of_a_received_stream() -> None:
    options = ReceiverOptions(
        codec="pcmu", packet_ms=20.0, lookahead=2, headroom_ms=30.0, allow=["192.0.2.0/24"]
    )
    config = options.config(seed=7)
    stream = StreamConfig(sample_rate=8000, packet_samples=160, lookahead=2, seed=7)
    assert config == ReceiverConfig(
        stream=stream,
        codec="pcmu",
        delay=DelayConfig(mode=DelayMode.HEADROOM, delay_ms=30.0),
        allow=(ip_network("192.0.2.0/24"),),
    )


@pytest.mark.usefixtures("cards")
def test_a_device_that_is_not_there_is_refused() -> None:
    refused: Any = runner.invoke(app, ["live", "--in", "nonsense", "--model", "ar"])
    assert isinstance(refused.exception, DeviceError)
    assert "there are 0 (Built-in), 4 (USB Interface)" in str(refused.exception)


def test_what_libraries_print_is_kept_off_the_terminal_but_not_what_we_do() -> None:
    script = (
        "import os, sys\nfrom plc.quiet import quiet_libraries\n"
        "with quiet_libraries():\n    os.write(2, b'library'); print('ours', file=sys.stderr)\n"
        "os.write(2, b'after\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.stderr == "ours\nafter\n"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return what the command asks to be run, instead of running it."""
    calls: list[tuple[Any, ...]] = []

    def played(config: Any, source: Any, output: Any, **more: Any) -> None:
        calls.append((config, source, output, more["send"]))

    def sent(send: Any, receiver: Any, *_: Any, **more: Any) -> None:
        calls.append((receiver, None, None, send))

    monkeypatch.setattr("plc.transport.cli.live.play", played)
    monkeypatch.setattr("plc.transport.cli.live._send", sent)
    return calls


def ask(*options: str) -> Any:
    return runner.invoke(app, ["live", "--model", "ar", *options])


def test_a_preset_stands_for_options_and_options_overrule_it(ran: list[tuple[Any, ...]]) -> None:
    assert ask("--preset", "stage").exit_code == 0
    config = ran[-1][0]
    assert config.receiver.stream.packet_samples == 64
    assert config.receiver.delay.safety == 0.0
    assert config.reserve_ms == 3.0
    assert ask("--reserve-ms", "7", "--preset", "stage", "--packet-ms", "2").exit_code == 0
    config = ran[-1][0]
    assert (config.reserve_ms, config.receiver.stream.packet_samples) == (7.0, 96)
    assert ask("--preset", "conference", "--from", "udp://0.0.0.0:5004").exit_code == 0
    config = ran[-1][0]
    assert config.receiver.codec == "opus"
    assert config.receiver.stream.packet_ms == 20.0
    assert ask("--preset", "opera").exit_code == 2
    for options, content in (
        ((), "auto"),
        (("--preset", "stage"), "music"),
        (("--preset", "conference", "--from", "udp://0.0.0.0:5004"), "speech"),
        (("--preset", "stage", "--content", "auto"), "auto"),
        (("--peer", "192.0.2.7"), "music"),
        (("--peer", "192.0.2.7", "--preset", "conference"), "speech"),
        (("--preset", "conference", "--peer", "192.0.2.7"), "speech"),
        (("--peer", "192.0.2.7", "--content", "speech"), "speech"),
    ):
        assert ask(*options).exit_code == 0, options
        assert ran[-1][0].receiver.stream.content == content


def test_the_ends_of_a_stream_are_named_alone_or_by_a_peer(
    ran: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No name is looked up here.
    monkeypatch.setattr(
        "plc.transport.rtp.udp.addresses_of", lambda host: (ip_network("192.0.2.9"),)
    )
    assert ask("--in", "2", "--to", "udp://192.0.2.9:6000", "--dscp", "ef").exit_code == 0
    receiver, played, _, send = ran[-1]
    assert (receiver.codec, played) == ("l16", None)
    assert (send.device, str(send.to), send.dscp) == ("2", "udp://192.0.2.9:6000", 46)
    assert ask("--from", "udp://0.0.0.0:6000", "--out", "3").exit_code == 0
    _, played, output, send = ran[-1]
    assert (str(played), output, send) == ("udp://0.0.0.0:6000", "3", None)
    for peer, to, from_ in (
        ("studio.example", "udp://studio.example:5004", "udp://0.0.0.0:5004"),
        ("192.0.2.9:7000", "udp://192.0.2.9:7000", "udp://0.0.0.0:7000"),
        ("2001:db8::9", "udp://[2001:db8::9]:5004", "udp://[::]:5004"),
        ("[2001:db8::9]:7000", "udp://[2001:db8::9]:7000", "udp://[::]:7000"),
    ):
        assert ask("--peer", peer).exit_code == 0
        config, played, _, send = ran[-1]
        assert (str(send.to), str(played)) == (to, from_)
        assert config.receiver.allow == (ip_network("192.0.2.9"),)
    with closing(UdpPort(Endpoint("0.0.0.0", 0))) as free:
        port = free.endpoint.port
    assert ask("--peer", f"jacktrip://192.0.2.9:{port}", "--channels", "2").exit_code == 0
    _, played, _, send = ran[-1]
    assert isinstance(played, JackTripPort)
    assert (str(send.to), str(played)) == (f"udp://192.0.2.9:{port}", f"udp://0.0.0.0:{port}")
    assert ask("--peer", "192.0.2.9", "--allow", "198.51.100.0/24").exit_code == 0
    assert ran[-1][0].receiver.allow == (ip_network("198.51.100.0/24"),)
    assert ask("--peer", "239.1.2.3").exit_code == 0
    assert ran[-1][0].receiver.allow == ()


def test_two_peers_on_one_machine_hear_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the second starts while the first still loads what it needs."""
    with closing(UdpPort(Endpoint("0.0.0.0", 0))) as free:
        port = free.endpoint.port
    other = port + 2 if port + 2 <= 65_535 else port - 2
    ends: list[tuple[int, int]] = []

    def play(_config: Any, source: UdpPort, *_: Any, send: SendConfig, **more: Any) -> None:
        ends.append((source.endpoint.port, send.to.port))
        if len(ends) < 2:
            assert ask("--peer", f"127.0.0.1:{port}").exit_code == 0

    monkeypatch.setattr("plc.transport.cli.live.play", play)
    first = ask("--peer", f"127.0.0.1:{port}")
    assert f"127.0.0.1 is this machine: heard at port {port}, sent to {other}" in first.stderr
    assert ends == [(port, other), (other, port)]
    UdpPort(Endpoint("0.0.0.0", port)).close()  # free again


@pytest.mark.usefixtures("cards")
def test_devices_say_what_the_sound_server_has(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SoundServer(("mic", "bad\x1b[31mname"), ("out",))
    monkeypatch.setattr("plc.transport.cards.portaudio.ask_sound_server", lambda: server)
    listed = runner.invoke(app, ["devices", "--backend", "pyaudio"])
    assert "PULSE_SOURCE=NAME" in listed.stdout
    assert "PULSE_SINK=NAME" in listed.stdout
    assert "  mic\n" in listed.stdout
    assert "\x1b" not in listed.stdout
    found = json.loads(runner.invoke(app, ["devices", "--backend", "pyaudio", "--json"]).stdout)
    assert found["sound_server"]["sinks"] == ["out"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--peer", "a", "--to", "udp://b:1"], "--peer stands for --to and --from"),
        (["--in", "udp://a:1"], "--in is a device or a recording; give RTP by --from"),
        (["--to", "udp://b:1", "--impair", "loss=1%"], "go with a stream that is played"),
        (["--peer", "jacktrip://192.0.2.9", "--codec", "opus"], "samples of 16 bits: --codec l16"),
        (["--dscp", "ef"], "--dscp goes with --to or --peer"),
        (["--to", "udp://b:1", "--dscp", "loud"], "loud is not a DSCP"),
    ],
)
def test_ends_that_contradict_each_other_are_refused(
    ran: list[tuple[Any, ...]], options: list[str], says: str
) -> None:
    refused = ask(*options)
    assert refused.exit_code == 2
    assert says in " ".join(refused.stderr.replace("│", " ").split())
    assert not ran
