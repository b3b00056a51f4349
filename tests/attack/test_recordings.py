"""What a relay records is kept: on full and slow disks, by hangups, and through stops."""

import contextlib
import math
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.errors import AudioFileError, ConfigError
from plc.files.audio import AudioReader, read_audio
from plc.files.writing import AudioWriter
from plc.transport.relay.relay import Relay, run_relay
from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.udp import Endpoint, UdpPort, serve, step
from plc.transport.service.recorder import WAITING_MAX_S, Recorder, RecordingFile
from tests.examples import some
from tests.plc.configs import changed
from tests.plc.transport.programs import line_of, listening, plc
from tests.plc.transport.streams import find
from tests.signals import noise

RATE, BLOCK = 16_000, 160
TICK_S = BLOCK / RATE
HERE = Endpoint("127.0.0.1", 0)
CONFIG = changed(
    RelayConfig(listen=HERE, to=Endpoint("127.0.0.1", 9)),
    sample_rate=RATE,
    packet_samples=BLOCK,
    delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=60),
    model="ar",
    budget_ms=math.inf,
    seed=1,
)
PLAIN = AudioWriter.write


def as_sent(signal_: NDArray[np.float32]) -> NDArray[np.float32]:
    return (np.rint(signal_ * 32768) / 32768).astype(np.float32)


def packets_of(signal_: NDArray[np.float32]) -> list[bytes]:
    packetizer = Packetizer(L16(RATE, 1), ssrc=7)
    return [packetizer.pack(block[:, None]) for block in signal_.reshape(-1, BLOCK)]


def full_after(samples: int, name: str) -> Callable[[AudioWriter, NDArray[np.float32]], None]:
    """Return a ``write`` that finds the disk full after so many samples of one file."""

    def write(self: AudioWriter, block: NDArray[np.float32]) -> None:
        room = samples - self.written_samples
        if self.path.name != name or len(block) <= room:
            PLAIN(self, block)
            return
        PLAIN(self, block[:room])
        raise AudioFileError(f"cannot write {self.path}: No space left on device")

    return write


def played_through(relay: Relay, signals: list[NDArray[np.float32]]) -> int:
    """Send a signal to each stream, by a clock of our own; return the ticks until the end."""
    packets = [packets_of(each) for each in signals]
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for tick in range(len(packets[0])):
            for each, port in zip(packets, relay.ports, strict=True):
                sender.sendto(each[tick], ("127.0.0.1", port.endpoint.port))
            step(relay, tick * TICK_S)
    relay.stop(tick * TICK_S)
    while not relay.done:
        tick += 1
        step(relay, tick * TICK_S)
        assert tick < len(packets[0]) + 200
    return tick


# ---- full disks ---------------------------------------------------------------------------------


def test_a_full_disk_ends_one_recording_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("plc.notice.listener", told.append)
    monkeypatch.setattr(AudioWriter, "write", full_after(5000, "full.wav"))
    relay = Relay(
        [changed(CONFIG, to=RecordingFile(tmp_path / name)) for name in ("full.wav", "good.wav")]
    )
    signals = [as_sent(noise(seed, 50 * BLOCK)) for seed in (1, 2)]
    played_through(relay, signals)
    relay.close()
    full = soundfile.read(tmp_path / "full.wav", dtype="float32")[0]
    good = soundfile.read(tmp_path / "good.wav", dtype="float32")[0]
    begin = find(good, signals[1])
    np.testing.assert_array_equal(good[begin : begin + signals[1].size], signals[1])
    assert full.size == 5000
    begin = find(full, signals[0])
    np.testing.assert_array_equal(full[begin:], signals[0][: full.size - begin])
    reports = relay.report()
    assert "No space left" in reports[0]["recording"]["error"]
    assert reports[0]["recording"]["recorded_s"] == pytest.approx(5000 / RATE)
    assert reports[0]["relay"]["unwritten_samples"] == good.size - 5000
    assert reports[1]["recording"]["error"] is None
    [line] = [line for line in told if ".wav" in line]
    assert "full.wav: No space left" in line
    assert sorted(os.listdir(tmp_path)) == ["full.wav", "good.wav"]


def test_a_relay_of_which_no_recording_goes_on_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AudioWriter, "write", full_after(1000, "a.wav"))
    relay = Relay([changed(CONFIG, to=RecordingFile(tmp_path / "a.wav"))])
    target = relay.lanes[0].recording
    assert isinstance(target, Recorder)
    target.write(np.zeros((2000, 1), np.float32))
    assert not relay.done
    target.close()
    assert relay.done
    relay.close()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_file_that_meets_a_full_disk_is_sound(tmp_path: Path, name: str) -> None:
    """The disk is a limit on the size of files; it is of a process, so it is one of our own."""
    resource = pytest.importorskip("resource")
    limit = 200_000 if name in ("a.wav", "a.flac") else 20_000
    if not hasattr(os, "fork"):
        pytest.skip("needs a process whose files are limited")
    signal_ = noise(1, 600_000)[:, None]
    path = tmp_path / name
    process = os.fork()
    if process == 0:
        status = 1
        with contextlib.suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            writer = AudioWriter(path, RATE, 1)
            try:
                for start in range(0, len(signal_), 4001):
                    writer.write(signal_[start : start + 4001])
            except AudioFileError:
                writer.salvage()
                status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert os.listdir(tmp_path) == [name]
    with AudioReader(path) as reader:
        back = np.concatenate(list(reader.stream(4096)))
    assert RATE < len(back) < len(signal_)
    if name in ("a.wav", "a.flac"):
        assert np.abs(back - signal_[: len(back)]).max() <= 2.0**-16
    elif name == "a.ogg":
        assert soundfile.info(path).frames == len(back)


# ---- long recordings ----------------------------------------------------------------------------


@some("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE"], 3)
@some("channels", [1, 2])
@pytest.mark.parametrize("long", [False, True])
def test_a_wav_file_of_any_length_is_written_and_is_rf64_only_beyond_4_gb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str, channels: int, long: bool
) -> None:
    if long:
        monkeypatch.setattr("plc.files.writing._WAV_BYTES_MAX", 10_000)
    signal_ = as_sent(noise(1, 30_011 * channels)).reshape(-1, channels)
    path = tmp_path / "a.wav"
    with AudioWriter(path, RATE, channels, subtype) as writer:
        for start in range(0, len(signal_), 1000):
            writer.write(signal_[start : start + 1000])
    head = path.read_bytes()[:44]
    assert head[:4] == (b"RF64" if long else b"RIFF")
    info = soundfile.info(path)
    assert (info.format, info.subtype) == ("RF64" if long else "WAV", subtype)
    back, rate = read_audio(path)
    assert (rate, back.shape) == (RATE, signal_.shape)
    assert np.abs(back - signal_).max() <= (2.0**-7 if subtype == "PCM_U8" else 0.0)
    if not long:
        tag, declared_channels, declared_rate = struct.unpack("<HHI", head[20:28])
        assert tag == (3 if subtype in ("FLOAT", "DOUBLE") else 1)
        assert (declared_channels, declared_rate) == (channels, RATE)
        assert int.from_bytes(head[4:8], "little") == path.stat().st_size - 8


# ---- slow disks ---------------------------------------------------------------------------------


def test_a_disk_that_stands_still_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()

    def write(self: AudioWriter, block: NDArray[np.float32]) -> None:
        assert free.wait(60.0)
        PLAIN(self, block)

    monkeypatch.setattr(AudioWriter, "write", write)
    recorder = Recorder(tmp_path / "a.wav", RATE, 1)
    room = round(WAITING_MAX_S * RATE)
    signal_ = as_sent(noise(1, room + 4 * RATE)).reshape(-1, RATE // 2, 1)
    for block in signal_:
        recorder.write(block)
    lost = recorder.unwritten_samples
    assert lost == 4 * RATE
    free.set()
    limit_s = time.monotonic() + 60.0
    while recorder._taken > recorder._done:
        assert time.monotonic() < limit_s
        time.sleep(0.01)
    recorder.write(signal_[0])
    recorder.close()
    assert recorder.report()["error"] is None
    back = read_audio(tmp_path / "a.wav")[0]
    whole = signal_.reshape(-1, 1)
    np.testing.assert_array_equal(back[:room], whole[:room])
    assert not back[room : room + lost].any()
    np.testing.assert_array_equal(back[room + lost :], signal_[0])


def test_what_is_kept_back_is_written_when_a_block_follows_and_a_long_pause_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plc.transport.service.recorder.KEPT_BACK_MAX_S", 0.5)
    recorder = Recorder(tmp_path / "a.wav", RATE, 1)
    signal_ = as_sent(noise(1, 3 * RATE)).reshape(-1, RATE // 4, 1)
    for number, block in enumerate(signal_):
        recorder.keep_back(block) if number % 6 else recorder.write(block)
    recorder.close()
    back = read_audio(tmp_path / "a.wav")[0].reshape(-1, RATE // 4, 1)
    np.testing.assert_array_equal(back[:3], signal_[:3])
    assert not back[3:6].any()
    np.testing.assert_array_equal(back[6:], signal_[6:7])
    assert recorder.unwritten_samples == 0


# ---- files that were there ----------------------------------------------------------------------


def test_a_relay_that_heard_nothing_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.wav"
    target.write_bytes(b"of yesterday")
    configs = [
        changed(CONFIG, to=RecordingFile(target)),
        changed(CONFIG, to=RecordingFile(tmp_path / "new.wav")),
    ]
    run_relay(configs, duration_s=0.05)
    assert target.read_bytes() == b"of yesterday"
    assert os.listdir(tmp_path) == ["a.wav"]


def test_what_cannot_be_recorded_is_refused_before_anything_is_heard(tmp_path: Path) -> None:
    for to, says in (("no/a.wav", "make it first"), ("a.opus", "cannot hold")):
        with pytest.raises(AudioFileError, match=says):
            Relay([changed(CONFIG, to=RecordingFile(tmp_path / to), sample_rate=22_050)])
    with pytest.raises(ConfigError, match="several streams"):
        run_relay([changed(CONFIG, to=RecordingFile(tmp_path / "a.wav"))] * 2)
    assert os.listdir(tmp_path) == []


def test_what_was_recorded_is_kept_when_the_relay_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(relay: Relay, **_: object) -> None:
        played_through(relay, [as_sent(noise(1, 50 * BLOCK))])
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr("plc.transport.relay.relay.serve", fail)
    with pytest.raises(RuntimeError):
        run_relay([changed(CONFIG, to=RecordingFile(tmp_path / "a.wav"))])
    assert len(read_audio(tmp_path / "a.wav")[0]) > 50 * BLOCK


# ---- signals and stops --------------------------------------------------------------------------


class Sending(threading.Thread):
    """Sends packets in their time from a thread."""

    def __init__(self, packets: list[bytes], port: int) -> None:
        super().__init__(daemon=True)
        self.packets, self.port, self.sent = packets, port, 0
        self.start()

    def run(self) -> None:
        begin_s = time.monotonic()
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as out:
            for number, packet in enumerate(self.packets):
                time.sleep(max(0.0, begin_s + number * TICK_S - time.monotonic()))
                out.sendto(packet, ("127.0.0.1", self.port))
                self.sent += 1


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
@pytest.mark.realtime
def test_a_hangup_ends_a_relay_as_a_terminate_does(tmp_path: Path) -> None:
    signal_ = as_sent(noise(1, 100 * BLOCK))
    # Tests that were started with nohup ignore it, and so would every program of theirs.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    relay = plc(
        *("relay", "--listen", "udp://127.0.0.1:0", "--to", tmp_path / "a.wav", "--json"),
        *("--sample-rate", RATE, "--fixed-delay-ms", 150, "--model", "ar"),
    )
    signal.signal(signal.SIGHUP, before)
    try:
        port = int(listening(relay).rpartition(":")[2])
        Sending(packets_of(signal_), port).join()
        relay.send_signal(signal.SIGHUP)
        out, errors = relay.communicate(timeout=120)
    finally:
        relay.kill()
        relay.communicate()
    assert relay.returncode == 0, errors
    assert '"unwritten_samples": 0' in out
    written = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    begin = find(written, signal_)
    np.testing.assert_array_equal(written[begin : begin + signal_.size], signal_)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no SIGSTOP")
@pytest.mark.deep
@pytest.mark.realtime
def test_a_process_that_is_stopped_for_3_s_records_what_came_meanwhile(tmp_path: Path) -> None:
    signal_ = as_sent(noise(1, 500 * BLOCK))
    relay = plc(
        *("relay", "--listen", "udp://127.0.0.1:0", "--to", tmp_path / "a.wav", "--json"),
        *("--sample-rate", RATE, "--fixed-delay-ms", 190, "--model", "ar"),
    )
    try:
        port = int(listening(relay).rpartition(":")[2])
        sending = Sending(packets_of(signal_), port)
        while sending.sent < 100:
            time.sleep(0.01)
        relay.send_signal(signal.SIGSTOP)
        time.sleep(3.0)
        relay.send_signal(signal.SIGCONT)
        sending.join()
        relay.send_signal(signal.SIGTERM)
        _, errors = relay.communicate(timeout=120)
    finally:
        relay.kill()
        relay.communicate()
    assert relay.returncode == 0, errors
    written = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    begin = find(written, signal_)
    np.testing.assert_array_equal(written[begin : begin + signal_.size], signal_)


def test_packets_read_late_are_recorded_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """Also where more waits than is read at once, and a block is due between any two of them."""
    signal_ = as_sent(noise(1, 400 * BLOCK))
    packets = packets_of(signal_)
    relay = Relay([changed(CONFIG, to=RecordingFile(tmp_path / "a.wav"))])
    for number, packet in enumerate(packets[:50]):
        relay.receive(0, packet, ("192.0.2.1", 4000), number * TICK_S)
        relay.advance(number * TICK_S)
    now_s = len(packets) * TICK_S
    port = relay.ports[0]
    for at in range(50, len(packets), 64):
        for number in range(at, min(at + 64, len(packets))):
            relay.receive(0, packets[number], ("192.0.2.1", 4000), number * TICK_S)
        port.drained = at + 64 >= len(packets)
        relay.advance(now_s)
    relay.stop(now_s)
    while not relay.done:
        now_s += TICK_S
        relay.advance(now_s)
    relay.close()
    assert relay.report()[0]["jitter_buffer"]["late_packets"] == 0
    written = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    begin = find(written, signal_)
    np.testing.assert_array_equal(written[begin : begin + signal_.size], signal_)


def test_a_port_tells_how_long_a_datagram_has_waited() -> None:
    with closing(UdpPort(HERE)) as port, socket.socket(type=socket.SOCK_DGRAM) as out:
        time.sleep(0.5)  # the kernel begins to note the times a little after it was asked to
        out.sendto(b"one", (port.endpoint.host, port.endpoint.port))
        time.sleep(0.2)
        [(datagram, _, age_s)] = list(port.aged())
        assert datagram == b"one"
        assert port.drained
        if os.uname().sysname == "Linux":
            assert 0.1 < age_s < 60.0


class Noting:
    """A service that notes when what came was read, and what time it was told meanwhile."""

    def __init__(self, port: UdpPort, count: int) -> None:
        self.ports = (port,)
        self.next_s = -math.inf
        self.done = False
        self.count = count
        self.seen: list[str] = []

    def receive(self, port: int, datagram: bytes, source: object, now_s: float) -> None:
        self.seen.append(datagram.decode())
        self.done = len(self.seen) >= self.count

    def advance(self, now_s: float) -> None:
        self.next_s = math.inf

    def stop(self, now_s: float) -> None:
        self.seen.append("the end")
        self.done = True


def test_all_that_had_arrived_when_the_end_came_is_received_however_much_it_is() -> None:
    with closing(UdpPort(HERE)) as port, socket.socket(type=socket.SOCK_DGRAM) as out:
        for number in range(150):
            out.sendto(str(number).encode(), (port.endpoint.host, port.endpoint.port))
        service = Noting(port, 1000)
        serve(service, duration_s=0.0)
    assert service.seen == [*map(str, range(150)), "the end"]


@pytest.mark.realtime
def test_a_full_disk_is_told_by_the_program_and_its_status(tmp_path: Path) -> None:
    """A file limit of the process stands for the disk; its other stream goes on."""
    resource = pytest.importorskip("resource")
    signal_ = as_sent(noise(1, 150 * BLOCK))
    relay = plc(
        *("relay", "--sample-rate", RATE, "--model", "ar", "--fixed-delay-ms", 100),
        *("--listen", "udp://127.0.0.1:0", "--to", tmp_path / "a.wav"),
        *("--listen", "udp://127.0.0.1:0", "--to", "udp://127.0.0.1:9"),
    )
    try:
        port = int(listening(relay).rpartition(":")[2])
        line_of(relay.stderr)
        if not hasattr(resource, "prlimit"):
            pytest.skip("needs prlimit")
        resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        Sending(packets_of(signal_), port).join()
        assert relay.poll() is None
        relay.send_signal(signal.SIGTERM)
        out, errors = relay.communicate(timeout=120)
    finally:
        relay.kill()
        relay.communicate()
    assert relay.returncode == 1, errors
    assert "samples not written: cannot write" in out
    assert (tmp_path / "a.wav").exists(), (out, errors, list(tmp_path.iterdir()))
    assert len(read_audio(tmp_path / "a.wav")[0]) > 0
