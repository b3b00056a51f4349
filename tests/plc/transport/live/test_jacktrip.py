"""JackTrip's datagrams as RTP, and JackTrip itself at the other end."""

import math
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc import conceal, notice
from plc.engine.stream.config import StreamConfig
from plc.errors import ConfigError
from plc.transport.live.jacktrip import FAREWELL, JackTripPort
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import RtpPacket, is_rtcp, parse_rtp
from plc.transport.rtp.rtcp import ended_by
from plc.transport.rtp.udp import Endpoint, UdpPort
from tests.plc.configs import playout_of
from tests.plc.transport.streams import Incoming, find
from tests.signals import content, nmse_db, sine

RATE, BLOCK = 48_000, 128
STREAM = StreamConfig(sample_rate=RATE, channels=2, packet_samples=BLOCK)
HERE = "127.0.0.1"


@pytest.fixture
def near() -> Iterator[JackTripPort]:
    with closing(JackTripPort(Endpoint(HERE, 0), STREAM)) as port:
        yield port


@pytest.fixture
def far() -> Iterator[UdpPort]:
    with closing(UdpPort(Endpoint(HERE, 0))) as port:
        yield port


def datagram(
    number: int, planes: np.ndarray, rate: int = 3, bits: int = 16, sends: int = 0
) -> bytes:
    """Return a packet as JackTrip 1.7 sends it; ``planes``: shape (channels, samples)."""
    channels, samples = planes.shape
    head = struct.pack("<QHHBBBB", 1, number, samples, rate, bits, channels, sends)
    return head + planes.astype("<i2").tobytes()


def heard(port: UdpPort, count: int, within_s: float = 10.0) -> list[bytes]:
    """Return the next datagrams of a port."""
    found: list[bytes] = []
    end_s = time.monotonic() + within_s
    while len(found) < count and time.monotonic() < end_s:
        found += [each for each, _ in port.arrived()]
    return found


def test_what_is_sent_is_jacktrips(near: JackTripPort, far: UdpPort) -> None:
    packets = Packetizer(L16(RATE, 2), ssrc=7, sequence=65_535)
    samples = np.arange(2 * BLOCK, dtype=np.float32).reshape(BLOCK, 2) / 32_768.0
    target = near.target(far.endpoint)
    for _ in range(2):
        near.send(packets.pack(samples), target)
    near.send(b"\x81\xcb no packet", target)
    first, second = heard(far, 2)
    _, number, count, *form = struct.unpack_from("<QHHBBBB", first)
    assert (number, count, form) == (65_535, BLOCK, [3, 16, 2, 2])
    assert struct.unpack_from("<QH", second)[1] == 0
    planes = np.frombuffer(first, "<i2", offset=16).reshape(2, BLOCK)
    assert np.array_equal(planes, np.arange(2 * BLOCK).reshape(BLOCK, 2).T)


def test_what_comes_is_rtp_whose_time_goes_on(near: JackTripPort, far: UdpPort) -> None:
    target = far.target(near.endpoint)
    planes = np.array([np.arange(BLOCK), -np.arange(BLOCK)])
    for number in (65_534, 65_535, 0, 2):
        far.send(datagram(number, planes, sends=2), target)
    found = [parse_rtp(each) for each in heard(near, 4)]
    assert all(isinstance(each, RtpPacket) for each in found)
    packets = [each for each in found if isinstance(each, RtpPacket)]
    assert [each.sequence for each in packets] == [65_534, 65_535, 0, 2]
    stamps = np.diff([each.timestamp for each in packets])
    assert stamps.tolist() == [BLOCK, BLOCK, 2 * BLOCK]
    played = L16(RATE, 2).decode(packets[0].payload)
    assert played is not None
    assert np.array_equal(played * 32_768.0, planes.T)


def test_repeated_packets_come_oldest_first_and_a_farewell_is_one(
    near: JackTripPort, far: UdpPort
) -> None:
    planes = np.zeros((2, BLOCK))
    far.send(
        datagram(6, planes) + datagram(5, planes) + datagram(4, planes), far.target(near.endpoint)
    )
    far.send(FAREWELL, far.target(near.endpoint))
    *packets, last = heard(near, 4)
    found = [parse_rtp(each) for each in packets]
    assert [each.sequence for each in found if isinstance(each, RtpPacket)] == [4, 5, 6]
    assert is_rtcp(last)
    assert ended_by(last) == [each.ssrc for each in found if isinstance(each, RtpPacket)][:1]


def test_what_differs_is_told_once_and_not_played(
    near: JackTripPort, far: UdpPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "tell", told.append)
    planes = np.zeros((1, BLOCK))
    target = far.target(near.endpoint)
    strange = [datagram(1, planes, rate=2, bits=24), datagram(2, planes), b"", b"\0" * 15]
    strange += [datagram(3, np.zeros((2, BLOCK)))[:-1], datagram(4, np.zeros((2, 0))), b"\xff" * 40]
    for each in (*strange, datagram(5, np.zeros((2, BLOCK)))):
        far.send(each, target)
    (only,) = heard(near, 1)
    packet = parse_rtp(only)
    assert isinstance(packet, RtpPacket)
    assert packet.sequence == 5
    assert told == [
        "JackTrip at the other end sends 44100 Hz, 24 bits, 1 channels: give --sample-rate 44100 "
        "--channels 1, and there --bitres 16"
    ]
    with pytest.raises(ConfigError, match="sample_rate is 8000; JackTrip has 22050, 32000"):
        JackTripPort(Endpoint(HERE, 0), StreamConfig(sample_rate=8_000))


def test_what_waits_behind_a_lost_packet_fills_its_hole(near: JackTripPort, far: UdpPort) -> None:
    count, lost = 80, slice(40, 46)
    planes = np.rint(32_767.0 * content("speech", RATE, count * BLOCK, 2).T)
    trace = np.zeros(count, np.bool_)
    trace[lost] = True
    target = far.target(near.endpoint)
    for k in np.flatnonzero(~trace).tolist():
        far.send(datagram(k, planes[:, k * BLOCK : (k + 1) * BLOCK], sends=2), target)
    playout = playout_of(L16(RATE, 2), BLOCK, model="ar", budget_ms=math.inf)
    waiting = heard(near, count - 6)
    blocks = []
    for k, is_lost in enumerate(trace):
        if not is_lost:
            playout.put(waiting.pop(0), k * BLOCK / RATE)
        blocks.append(playout.tick(k * BLOCK / RATE).T.copy())
    signal = (planes.T / 32_768.0).astype(np.float32)
    played = np.concatenate(blocks)
    played = played[find(played, signal) :]
    alone = conceal(signal, trace, sample_rate=RATE, packet_samples=BLOCK, model="ar")
    hole = slice(40 * BLOCK, 46 * BLOCK)
    assert nmse_db(played[hole], signal[hole]) < nmse_db(alone[hole], signal[hole]) - 3.0


@pytest.mark.parametrize("repeats", [2, 3])
def test_what_is_repeated_in_time_is_not_lost(near: JackTripPort, repeats: int) -> None:
    count, rng = 2000, np.random.default_rng(0)
    lost = rng.random(count) < 0.05
    lost[:50] = False
    late_s = rng.exponential(0.0003, count)
    pieces = [datagram(k, np.full((2, BLOCK), k), sends=2) for k in range(count)]
    sent = [(k * BLOCK / RATE + float(late_s[k]), k) for k in np.flatnonzero(~lost).tolist()]
    playout = playout_of(L16(RATE, 2), BLOCK, model="ar", budget_ms=math.inf)
    incoming = Incoming(sent)
    for tick in range(count):
        for at_s, k in incoming.until(tick * BLOCK / RATE):
            for packet in near._packets(b"".join(pieces[max(0, k - repeats + 1) : k + 1][::-1])):
                playout.put(packet, at_s)
        playout.tick(tick * BLOCK / RATE)
    came = np.append(~lost, np.zeros(repeats, np.bool_))
    gone = sum(not came[k : k + repeats].any() for k in range(count))
    assert playout.received.late_packets == 0
    assert playout.received.lost_samples <= (gone + 2) * BLOCK
    assert playout.received.packets_received >= count - gone - 5


@pytest.mark.system
def test_jacktrip_hears_us_and_we_hear_it(tmp_path: Path) -> None:
    for program in ("jackd", "jacktrip", "jack_rec"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install jackd2 jacktrip")
    own = os.environ | {
        "JACK_NO_AUDIO_RESERVATION": "1",
        "JACK_DEFAULT_SERVER": f"plc{os.getpid()}",
    }
    form = ["-r", str(RATE), "-p", str(BLOCK)]
    with ExitStack() as held:

        def started(*command: str) -> "subprocess.Popen[bytes]":
            log = held.enter_context((tmp_path / f"{command[0]}.log").open("wb"))
            process = subprocess.Popen(command, env=own, stdout=log, stderr=log)
            held.callback(process.wait, 20)
            held.callback(process.terminate)
            return process

        port = held.enter_context(closing(JackTripPort(Endpoint(HERE, 0), STREAM)))
        with closing(UdpPort(Endpoint(HERE, 0))) as free:
            theirs = free.endpoint.port
        started("jackd", "--no-realtime", "-d", "dummy", *form)
        time.sleep(2.0)
        ports = ["-B", str(theirs), "-P", str(port.endpoint.port)]
        jacktrip = started("jacktrip", "-s", "-n", "2", *ports)
        packets = Packetizer(L16(RATE, 2), ssrc=7)
        target = port.target(Endpoint(HERE, theirs))
        tone = sine(440.0, RATE, RATE, 0.3)
        recording = tmp_path / "heard.wav"
        numbers: list[int] = []
        recorder = None
        begun_s, sent = time.monotonic(), 0
        while (passed_s := time.monotonic() - begun_s) < 8.0:
            for each, _ in port.arrived():
                packet = parse_rtp(each)
                if isinstance(packet, RtpPacket):
                    numbers.append(packet.sequence)
            while sent * BLOCK < passed_s * RATE:
                at = sent * BLOCK % RATE
                block = np.take(tone, range(at, at + BLOCK), mode="wrap")
                port.send(
                    packets.pack(np.stack([block, 0.5 * block], 1).astype(np.float32)), target
                )
                sent += 1
            if recorder is None and passed_s > 4.0:
                places = ("JackTrip:receive_1", "JackTrip:receive_2")
                recorder = started("jack_rec", "-f", str(recording), "-d", "2", *places)
            time.sleep(0.001)
        assert jacktrip.poll() is None, (tmp_path / "jacktrip.log").read_text()
        jacktrip.send_signal(signal.SIGINT)
        assert any(is_rtcp(each) for each in heard(port, 1_000_000, 2.0)[-3:])
    assert len(numbers) > 1_000
    assert np.mean(np.diff(numbers) == 1) > 0.95
    played, _ = soundfile.read(recording)
    left, right = np.sqrt(np.mean(played[RATE // 2 : -RATE // 4] ** 2, axis=0))
    assert left == pytest.approx(0.3 / np.sqrt(2.0), rel=0.1)
    assert right == pytest.approx(0.5 * left, rel=0.02)
