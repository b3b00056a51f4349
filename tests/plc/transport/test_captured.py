"""Streams of network captures: played as the relay does, whatever else a capture holds."""

import base64
import json
import math
import random
import re
import struct
import tracemalloc
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from plc.engine.loss import GilbertElliott
from plc.engine.spans import gaps_of
from plc.errors import ConfigError, PlcError, TraceError
from plc.files.tags.carried import read_tags
from plc.programs.cli.app import app
from plc.transport.cli.options import ReceiverOptions
from plc.transport.cli.rtp import as_described
from plc.transport.relay.relay import Relay
from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.codecs import open_codec
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.playout import Playout
from plc.transport.rtp.sdp import AudioMedia
from plc.transport.rtp.srtp import SrtpKey, SrtpSender
from plc.transport.rtp.udp import Endpoint
from plc.transport.service import recorder
from plc.transport.service.recorder import RecordingFile
from tests.plc.transport.streams import as_sent, find
from tests.signals import tones

pytest.importorskip("dpkt", reason="captures are read by dpkt (extra rtp)")
from plc.transport import captured
from plc.transport.captured import Capture, Sender, media_of, play
from plc.transport.rtp.capture import read_datagrams
from tests.plc.transport.rtp.test_capture import Sent, ipv4, pcap, pcapng

BEGIN_S = 1_764_200_000.25
AS_HEARD = "--safety", "normal"
KEY = SrtpKey(bytes(range(30)))
KEY_TEXT = base64.b64encode(KEY.master).decode()
STEREO_44 = ("l16", 44_100, 2, 441)
FORMATS = [("l16", 48_000, 1, 480), ("l16", 48_000, 1, 594), STEREO_44, ("pcmu", 8000, 1, 160),
           ("pcma", 8000, 1, 160), ("l24", 48_000, 2, 48), ("g722", 16_000, 1, 320),
           ("opus", 48_000, 2, 960)]  # fmt: skip


class Call:
    """A stream as it is sent, and what of it is captured."""

    def __init__(
        self,
        codec: str = "l16",
        rate: int = 48_000,
        channels: int = 1,
        block: int = 480,
        *,
        seconds: float = 2.0,
        seed: int = 1,
        loss: float = 0.05,
        jitter_s: float = 0.008,
        begin_s: float = BEGIN_S,
        ssrc: int = 0x1A2B3C4D,
        port: int = 5004,
    ) -> None:
        if codec in ("opus", "g722"):
            pytest.importorskip("av", reason=f"{codec} is coded by PyAV")
        coder = open_codec(codec, rate, channels)
        count = int(seconds * rate) // block
        signal = 0.3 * tones(seed, rate, count * block * channels).reshape(-1, channels)
        self.signal = as_sent(signal)
        self.coding = codec, rate, channels
        self.lost = np.zeros(count, np.bool_)
        if loss:
            self.lost = GilbertElliott(loss, 1.5).trace(count, seed)
            self.lost[:4] = self.lost[-4:] = False
        packetizer = Packetizer(coder, ssrc=ssrc, sequence=65_530, timestamp=2**32 - 5000)
        rng = random.Random(seed)
        packets = [packetizer.pack(each) for each in self.signal.reshape(count, block, channels)]
        self.sent: list[Sent] = sorted(
            (begin_s + k * block / rate + rng.uniform(0.0, jitter_s), packet, port)
            for k, packet in enumerate(packets)
            if not self.lost[k]
        )

    def sealed(self) -> list[Sent]:
        pytest.importorskip("pylibsrtp", reason="SRTP is done by pylibsrtp")
        sender = SrtpSender(KEY)
        return [(at_s, sender.seal(packet) or b"", port) for at_s, packet, port in self.sent]


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def told(*words: object) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def recorded(path: Path, call: Call, target: Path) -> dict[str, Any]:
    """Return what a relay reports that records the datagrams of a capture at their times."""
    codec, rate, channels = call.coding
    media = AudioMedia(endpoint=Endpoint("127.0.0.1", 0), codec=codec, sample_rate=rate,
                       channels=channels,
                       payload_type=open_codec(codec, rate, channels).payload_type)  # fmt: skip
    options = as_described(ReceiverOptions(prepare="never"), media)
    receiver = options.config(budget_ms=math.inf)
    config = RelayConfig(listen=media.endpoint, to=RecordingFile(target), receiver=receiver)
    with closing(Relay([config])) as relay:
        begin_s = next(read_datagrams(path)).time_s
        for datagram in read_datagrams(path):
            relay.receive(0, datagram.payload, datagram.flow[0], datagram.time_s - begin_s)
        relay.stop(datagram.time_s - begin_s)
        while not relay.done:
            relay.advance(relay.lanes[0].stream.next_s)
    return relay.report()[0]


@pytest.mark.parametrize("coding", FORMATS)
def test_a_capture_is_concealed_as_a_relay_records_it(
    tmp_path: Path, coding: tuple[str, int, int, int]
) -> None:
    call = Call(*coding)
    path = written(tmp_path / "call.pcap", pcap(call.sent, nano=True))
    report = told("conceal", path, tmp_path / "heard.wav", *AS_HEARD)
    expected = recorded(path, call, tmp_path / "relayed.wav")
    [stream] = report["streams"]
    assert (stream["codec"], stream["sample_rate"], stream["channels"]) == call.coding
    assert stream["jitter_buffer"] == expected["jitter_buffer"]
    assert stream["jitter_buffer"]["lost_packets"] == call.lost.sum() > 0
    assert soundfile.info(tmp_path / "heard.wav").subtype == (
        "PCM_24" if coding[0] == "l24" else "PCM_16"
    )
    heard, relayed = (
        soundfile.read(tmp_path / name, dtype="float32")[0] for name in ("heard.wav", "relayed.wav")
    )
    np.testing.assert_array_equal(heard, relayed)
    assert abs(len(heard) - len(call.signal)) < 0.1 * coding[1]


def test_several_streams_get_files_of_their_own_that_can_begin_together(tmp_path: Path) -> None:
    """Of two with one SSRC the addresses are in the names, too."""
    later_s = 0.37
    calls = [
        Call(),
        Call(*STEREO_44, seed=2, ssrc=7, begin_s=BEGIN_S + later_s, port=5006),
        Call(seed=3, ssrc=7, port=5008),
    ]
    path = written(
        tmp_path / "call.pcapng", pcapng(sorted(each for call in calls for each in call.sent))
    )
    target = tmp_path / "out.flac"
    names = [
        "out-1a2b3c4d.flac",
        "out-00000007-97.98.99.100.5006-101.102.103.104.6000.flac",
        "out-00000007-97.98.99.100.5008-101.102.103.104.6000.flac",
    ]
    for align in (False, True):
        words = ("--align", "-y") if align else ()
        report = told("conceal", path, target, "--model", "ar", *words)
        assert {each["recording"]["file"] for each in report["streams"]} == {
            str(tmp_path / name) for name in names
        }
        places = []
        for name, call in zip(names, calls, strict=True):
            heard, rate = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)
            [stream] = [each for each in report["streams"] if name in each["recording"]["file"]]
            start = datetime.fromisoformat(stream["recording"]["start"]).timestamp()
            assert not align or start == pytest.approx(BEGIN_S, abs=0.01)
            at = find(heard[:, 0], call.signal[:200, 0])
            places.append((at / rate, start))
        heard_s = [at_s + start for at_s, start in places]
        # Each waits for its own jitter, so that they are heard some ms apart.
        assert heard_s[1] - heard_s[0] == pytest.approx(later_s, abs=0.02)
        comments = dict(read_tags(tmp_path / names[0]).comments)
        assert comments["ORIGINATION_DATE"] == f"{datetime.fromtimestamp(BEGIN_S):%Y-%m-%d}"
    refused = run("conceal", path, target)
    assert refused.exit_code == 1
    assert "exists" in refused.output


@pytest.mark.parametrize("described", [False, True])
def test_a_sealed_stream_is_opened_by_its_key_and_by_no_other(
    tmp_path: Path, described: bool
) -> None:
    """The key comes from the options, or from a description in the capture."""
    call = Call("pcmu", 8000, 1, 160)
    sent = call.sealed()
    refused = run("conceal", written(tmp_path / "a.pcap", pcap(sent)), tmp_path / "no.wav")
    assert refused.exit_code == 1
    assert "as SRTP is: give --key-file" in refused.output
    other = base64.b64encode(bytes(30)).decode()
    wrong_key = written(tmp_path / "other", other.encode())
    wrong = run("conceal", tmp_path / "a.pcap", tmp_path / "no.wav", "--key-file", wrong_key)
    assert "its key opens none of its packets" in wrong.output
    assert not (tmp_path / "no.wav").exists()
    given: tuple[object, ...] = ("--key-file", written(tmp_path / "key", KEY_TEXT.encode()))
    if described:
        sdp = f"m=audio 6000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_TEXT}"
        other_sdp = sdp.replace(KEY_TEXT, other)
        sent = [
            (BEGIN_S - 1.0, f"INVITE sip:a@b SIP/2.0\r\n\r\nv=0\r\n{each}\r\n".encode(), 5060)
            for each in (other_sdp, sdp.replace("6000", "6002"))
        ] + sent
        given = ()
    path = written(tmp_path / "sealed.pcap", pcap(sent))
    plain = written(tmp_path / "plain.pcap", pcap(call.sent))
    opened = told("conceal", path, tmp_path / "opened.wav", *given)
    assert opened["streams"][0]["srtp"]["opened_packets"] == len(call.sent)
    told("conceal", plain, tmp_path / "plain.wav")
    heard = [soundfile.read(tmp_path / name)[0] for name in ("opened.wav", "plain.wav")]
    np.testing.assert_array_equal(*heard)


def test_what_is_no_audio_is_left_out_and_counted(tmp_path: Path) -> None:
    call = Call(loss=0.0)
    others = [
        bytes.fromhex("80c80006") + bytes(24),  # a sender report
        bytes.fromhex("0001000021 12a442".replace(" ", "")) + bytes(12),  # STUN
        bytes.fromhex("16feff") + bytes(40),  # DTLS
        b"GET / nothing that anybody knows",
        b"\x00\x01\x00\x00 begins as STUN does",
        b"200 begins as DTLS does",
        struct.pack("!BBHII", 0x80, 0, 1, 2, 3) + bytes(160),  # RTP, alone
    ]
    sent = [(at_s, packet, 5004) for at_s, packet, _ in call.sent]
    sent += [(BEGIN_S + 0.1 * k, other, 5004) for k, other in enumerate(others)]
    report = told("conceal", written(tmp_path / "a.pcap", pcap(sorted(sent))), tmp_path / "a.wav")
    assert report["left_out"] == {
        "RTCP": 1, "STUN": 1, "DTLS": 1, "other datagrams": 3, "stray RTP": 1
    }  # fmt: skip
    [stream] = report["streams"]
    assert stream["jitter_buffer"]["packets_received"] == len(call.sent)
    counts = stream["concealment"]
    assert counts["concealment_events"] == counts["concealed_samples"] == 0  # nor is the end


def test_detect_lists_what_was_lost_and_repair_fills_it_from_both_sides(tmp_path: Path) -> None:
    call = Call(*STEREO_44, loss=0.08, jitter_s=0.3)  # too late for anybody who listens
    path = written(tmp_path / "call.pcap", pcap(call.sent))
    report = told("detect", path)
    assert report["counts"] == {"lost": len(gaps_of(call.lost, 441))}
    assert run("repair", path, "--out", tmp_path / "whole.wav").exit_code == 0
    whole = soundfile.read(tmp_path / "whole.wav", dtype="float32")[0]
    at = find(whole[:, 0], call.signal[:441, 0])
    found = [(each["start"] - at, each["stop"] - at) for each in report["findings"]]
    assert found == [tuple(gap) for gap in gaps_of(call.lost, 441)]
    heard = whole[at : at + len(call.signal)]
    lost = np.repeat(call.lost, 441)
    np.testing.assert_array_equal(heard[~lost], call.signal[~lost])
    error = np.sum((heard - call.signal)[lost] ** 2)
    assert error < 0.3 * np.sum(call.signal[lost] ** 2)
    again = run("repair", path, "--out", tmp_path / "whole.wav")
    assert "exists" in again.output
    assert again.exit_code == 1


def test_a_pause_of_the_sender_is_no_loss(tmp_path: Path) -> None:
    call = Call("pcmu", 8000, 1, 160, loss=0.0, seconds=3.0)
    head, tail = call.sent[:50], call.sent[100:]
    # The numbers go on, the timestamps show the second in which nothing was sent.
    tail = [
        (at_s, packet[:2] + struct.pack("!H", (65_530 + 50 + k) % 65_536) + packet[4:], port)
        for k, (at_s, packet, port) in enumerate(tail)
    ]
    report = told("detect", written(tmp_path / "dtx.pcap", pcap(head + tail)))
    assert "lost" not in report["counts"]
    holes = told("detect", written(tmp_path / "hole.pcap", pcap(call.sent[:50] + call.sent[100:])))
    [lost] = [each for each in holes["findings"] if each["kind"] == "lost"]
    assert lost["stop_s"] - lost["start_s"] == pytest.approx(1.0, abs=1e-3)


def test_captures_of_one_name_are_looked_at_side_by_side(tmp_path: Path) -> None:
    paths = []
    for seed, name in ((1, "a"), (2, "b")):
        (tmp_path / name).mkdir()
        data = pcap(Call(seed=seed, loss=0.05 * (seed - 1)).sent)
        paths.append(written(tmp_path / name / "call.pcap", data))
    report = told("detect", *paths, "--kinds", "lost")
    assert [bool(each["findings"]) for each in report["files"]] == [False, True]


@pytest.mark.parametrize("step_s", [-500.0, 7200.0, 8e8, 0.0])
def test_a_clock_that_was_set_makes_no_pause(tmp_path: Path, step_s: float) -> None:
    """Nor does it end a stream; where the stream says so, too, there is one."""
    call = Call(loss=0.0)
    half = len(call.sent) // 2
    later = [(at_s + step_s, packet, port) for at_s, packet, port in call.sent[half:]]
    if not step_s:  # 40 s of silence, by the sender's own stamps
        later = [(at_s + 40.0,
                  packet[:4] + struct.pack("!I", (struct.unpack_from("!I", packet, 4)[0]
                                                  + 40 * 48_000) % 2**32) + packet[8:], port)
                 for at_s, packet, port in later]  # fmt: skip
    path = written(tmp_path / "set.pcap", pcap(call.sent[:half] + later))
    report = told("conceal", path, tmp_path / "a.wav", "--model", "ar")
    length_s = report["streams"][0]["recording"]["recorded_s"]
    assert length_s == pytest.approx(2.0 if step_s else 42.0, abs=0.1)
    assert report["left_out"] == ({"jumps of the clock": 1} if step_s else {})


def paused(pauses_s: list[float], bundle: int = 3) -> list[Sent]:
    """Return a call of G.711 that is interrupted by pauses, with a bundle of packets between."""
    sent: list[Sent] = []
    at_s, stamp = BEGIN_S, 0
    signal = np.float32(0.3) * tones(1, 8000, 160)[:, None]
    payload = open_codec("pcmu", 8000, 1).encode(signal)
    for pause_s in (*pauses_s, 0.0):
        for _ in range(bundle):
            head = struct.pack("!BBHII", 0x80, 0, len(sent), stamp % 2**32, 7)
            sent.append((at_s, head + payload, 5004))
            at_s, stamp = at_s + 0.02, stamp + 160
        at_s, stamp = at_s + pause_s, stamp + round(8000 * pause_s)
    return sent


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the times of the blocks that are played, as they come; of pauses 5 s are."""
    monkeypatch.setattr(captured, "KEPT_BACK_MAX_S", 5.0)
    found: list[float] = []
    tick = Playout.tick

    def noted(playout: Playout, now_s: float, limit_ms: float = math.inf) -> Any:
        found.append(now_s)
        return tick(playout, now_s, limit_ms)

    monkeypatch.setattr(Playout, "tick", noted)
    return found


@pytest.mark.parametrize("command", ["conceal", "detect"])
def test_a_long_pause_costs_no_more_than_a_short_one(
    tmp_path: Path, ticks: list[float], command: str
) -> None:
    counts = []
    for pause_s in (15.0, 45.0):
        path = written(tmp_path / "call.pcap", pcap(paused([pause_s, pause_s])))
        target = [tmp_path / f"{pause_s}.flac"] if command == "conceal" else []
        report = told(command, path, *target)
        if command == "conceal":
            [stream] = report["streams"]
            assert stream["recording"]["recorded_s"] == pytest.approx(2 * pause_s + 0.2, abs=0.2)
            assert stream["jitter_buffer"]["lost_samples"] == 0
            assert len(soundfile.read(target[0])[0]) / 8000 == stream["recording"]["recorded_s"]
        counts.append(len(ticks))
        ticks.clear()
    assert counts[1] <= counts[0] + 10 < 3000


@pytest.mark.parametrize("lost", [False, True])
def test_a_silent_pause_sounds_as_if_it_were_played_block_by_block(
    tmp_path: Path, ticks: list[float], monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    sent = paused([9.0, 12.0], bundle=20)
    if lost:  # the numbers say that packets were sent meanwhile
        sent = [(at_s, packet[:2] + struct.pack("!H", round((at_s - BEGIN_S) / 0.02)) + packet[4:],
                 port) for at_s, packet, port in sent]  # fmt: skip
    path = written(tmp_path / "call.pcap", pcap(sent))
    found, counts, places = [], [], []
    for most_s in (5.0, math.inf):
        monkeypatch.setattr(captured, "KEPT_BACK_MAX_S", most_s)
        [stream] = told("conceal", path, tmp_path / "a.wav", "-y")["streams"]
        played = soundfile.read(tmp_path / "a.wav", dtype="int16")[0]
        counts.append(len(ticks))
        found.append((played, stream["jitter_buffer"], stream["relay"]["packets_sent"],
                      stream["concealment"]["concealed_samples"]))  # fmt: skip
        places.append(told("detect", path, "--kinds", "lost")["findings"])
        ticks.clear()
    one, other = found[0][0].astype(np.int64), found[1][0].astype(np.int64)
    begin = 5 * 8000
    np.testing.assert_array_equal(one[:begin], other[:begin])
    assert np.abs(one - other).max() < 0.1 * np.abs(other).max()
    np.testing.assert_array_equal(one[-1600:], other[-1600:])
    sums = [[counted.pop(name) for name in ("waited_s", "aimed_s")] for _, counted, *_ in found]
    assert sums[0] == pytest.approx(sums[1], rel=0.01)
    assert found[0][1:] == found[1][1:]
    assert places[0] == places[1]
    assert bool(places[0]) == lost
    assert counts[0] < 0.7 * counts[1]


def test_a_capture_of_pauses_alone_is_refused_with_a_part_that_is_not(
    tmp_path: Path,
    ticks: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = paused(24 * [3500.0])
    refused = run("conceal", written(tmp_path / "day.pcap", pcap(sent)), tmp_path / "a.wav")
    assert refused.exit_code == 1
    text = " ".join(refused.output.split())
    assert "23.3 h, makes 1.3 GB as WAV, of which 100 % are pauses" in text
    assert not list(tmp_path.glob("*.wav"))
    monkeypatch.setattr(captured, "_PAUSES_BYTES", 5_000_000)
    sent = paused(12 * [100.0], bundle=5)
    refused = run("detect", written(tmp_path / "b.pcap", pcap(sent)))
    text = "".join(refused.output.split())
    begin, stop = re.findall(r"editcap-A(\S+?\+00:00)-B(\S+?\+00:00)FILE", text)[0]
    times = [datetime.fromisoformat(each).timestamp() for each in (begin, stop)]
    part = [each for each in sent if times[0] <= each[0] <= times[1]]
    assert 3 <= len(part) < len(sent)
    monkeypatch.setattr(captured, "_TOLD_BYTES", 0.0)
    caplog.set_level("INFO", logger="plc")
    played = run("conceal", written(tmp_path / "part.pcap", pcap(part)), tmp_path / "a.wav")
    assert played.exit_code == 0, played.output
    assert "GB as WAV" in caplog.text
    assert len(ticks) < 100 * 5.5 * len(part)


def test_a_call_of_mostly_pauses_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "_PAUSES_BYTES", 0)
    path = written(tmp_path / "call.pcap", pcap(paused(3 * [20.0], bundle=20)))
    told("conceal", path, tmp_path / "a.wav")


def test_a_long_pause_is_written_as_a_relay_records_it(
    tmp_path: Path, ticks: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "KEPT_BACK_MAX_S", 5.0)
    call = Call("pcmu", 8000, 1, 160, loss=0.0)
    call.sent = paused([12.0], bundle=20)
    path = written(tmp_path / "call.pcap", pcap(call.sent))
    told("conceal", path, tmp_path / "heard.wav", *AS_HEARD)
    recorded(path, call, tmp_path / "relayed.wav")
    heard, relayed = (
        soundfile.read(tmp_path / name, dtype="int16")[0] for name in ("heard.wav", "relayed.wav")
    )
    assert len(heard) == len(relayed)
    assert not heard[6 * 8000 : 12 * 8000].any()
    np.testing.assert_array_equal(heard[: 12 * 8000], relayed[: 12 * 8000])
    np.testing.assert_array_equal(heard[-1600:], relayed[-1600:])


@pytest.mark.parametrize("ports", [False, True])
def test_streams_without_end_are_counted_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ports: bool
) -> None:
    """Each packet asks for few of them, and what is short is not read again."""
    asked = reads = 0

    class Counted(Sender):
        def __getattribute__(self, name: str) -> Any:
            nonlocal asked
            asked += name == "is_stream"
            return super().__getattribute__(name)

    def read(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return read_datagrams(*arguments)

    monkeypatch.setattr(captured, "Sender", Counted)
    monkeypatch.setattr(captured, "read_datagrams", read)
    monkeypatch.setattr(captured, "_SOURCES_MAX", 100)
    monkeypatch.setattr(captured, "_STREAMS_MAX", 20)
    sent = [
        (BEGIN_S + 0.0001 * k + 0.02 * n,
         struct.pack("!BBHII", 0x80, 0, n, 160 * n, 7 if ports else k) + bytes(160),
         5004 + k * ports)
        for n in range(8) for k in range(300)
    ]  # fmt: skip
    capture = Capture(written(tmp_path / "many.pcap", pcap(sent)))
    assert len(capture.streams) == 20
    assert capture.left_out["stray RTP"] == 280 * 8
    assert asked < 3 * len(sent)
    configs = {
        heard: RelayConfig(
            listen=Endpoint(*heard.target),
            to=RecordingFile(tmp_path / f"{k}.wav"),
            receiver=as_described(
                ReceiverOptions(prepare="never", method="burg"),
                media_of(heard, [], {}, None),
            ).config(budget_ms=math.inf),
        )
        for k, heard in enumerate(capture.streams)
    }
    played = play(capture, configs, overwrite=False)
    assert [each.heard for each in played] == capture.streams
    assert all(each.samples for each in played)
    assert reads == 1


def test_comfort_noise_is_no_codec_to_be_given(tmp_path: Path) -> None:
    """A stream that was muted most of the time is played by its other type."""
    audio = paused([], bundle=50)
    noise = [
        (BEGIN_S + 1.0 + 0.02 * k,
         struct.pack("!BBHII", 0x80, 13, 50 + k, 8000 + 160 * k, 7) + b"\x40", 5004)
        for k in range(1500)
    ]  # fmt: skip
    path = written(tmp_path / "muted.pcap", pcap(audio + noise))
    result = run("conceal", path, tmp_path / "a.wav")
    assert result.exit_code == 0
    assert "receives" not in result.output
    for number, what in ((13, "comfort noise"), (18, "G.729")):
        other = [(at_s, packet[:1] + bytes([number]) + packet[2:], port)
                 for at_s, packet, port in noise[:50]]  # fmt: skip
        refused = run("conceal", written(tmp_path / "b.pcap", pcap(other)), tmp_path / "b.wav")
        assert refused.exit_code == 1
        text = " ".join(refused.output.split())
        assert f"payload type {number} is {what}, which no codec here plays" in text


def test_a_codec_is_known_by_description_number_options_or_packets(tmp_path: Path) -> None:
    def heard_of(sent: list[Sent]) -> Sender:
        [heard] = Capture(written(tmp_path / "a.pcap", pcap(sent))).streams
        return heard

    for coding in FORMATS:
        media = media_of(heard_of(Call(*coding).sent), [], {}, None)
        assert (media.codec, media.sample_rate, media.channels) == coding[:3]
    linear = heard_of(Call().sent)
    described = AudioMedia(endpoint=Endpoint("192.0.2.1", 6000), codec="l24", payload_type=96,
                           sample_rate=48_000, channels=1)  # fmt: skip
    assert media_of(linear, [described], {"codec": "l16"}, None).codec == "l24"
    assert media_of(linear, [], {"codec": "l24", "channels": 2}, None).channels == 2
    of_another = {"codec": "l16", "payload_type": 111}
    stereo = heard_of([(at_s, packet[:1] + b"\x61" + packet[2:], port)
                       for at_s, packet, port in Call(*STEREO_44).sent])  # fmt: skip
    media = media_of(stereo, [], of_another, None)
    assert (media.payload_type, media.sample_rate, media.channels) == (97, 44_100, 2)
    red = media_of(stereo, [], {"codec": "opus", "payload_type": 111, "red_payload_type": 97}, None)
    assert (red.codec, red.payload_type, red.red_payload_type) == ("opus", 111, 97)
    strange = [
        (at_s, packet[:1] + b"\x60" + packet[2:12] + packet[12:100], port)
        for at_s, packet, port in Call("pcmu", 8000, 1, 160).sent
    ]
    with pytest.raises(ConfigError, match="payload type 96 does not say its codec"):
        media_of(heard_of(strange), [], {}, None)


HOSTILE = {
    "empty": (b"", "is empty"),
    "text": (b"not a capture", "neither pcap nor pcapng"),
    "head": (pcap([])[:10], "holds no RTP"),
    "none": (pcap([]), "holds no RTP"),
    "web": (pcap([(BEGIN_S, b"GET /", 80)]), "1 other datagrams"),
    "forged": (pcap([]) + struct.pack("<IIII", 1, 1, 2**32 - 1, 2**32 - 1) + bytes(99), "1 cut"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("command", ["conceal", "detect", "repair"])
def test_a_capture_without_a_stream_is_refused(tmp_path: Path, what: str, command: str) -> None:
    data, why = HOSTILE[what]
    path = written(tmp_path / "call.pcap", data)
    target = tmp_path / "a.wav"
    words: dict[str, list[object]] = {"conceal": [target], "repair": ["--out", target]}
    result = run(command, path, *words.get(command, []))
    assert result.exit_code == 1
    assert why in " ".join(result.output.split())
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not (tmp_path / "a.wav").exists()


def test_options_of_captures_are_refused_for_recordings(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    soundfile.write(sound, tones(1, 48_000, 4800), 48_000)
    for words in (
        ("conceal", sound, tmp_path / "b.wav", "--loss", "5%", "--align"),
        ("conceal", sound, tmp_path / "b.wav", "--loss", "5%", "--fixed-delay-ms", "20"),
        ("detect", sound, "--sdp", sound),
        ("repair", tmp_path, "--out", tmp_path / "c", "--key-file", sound),
    ):
        refused = run(*words)
        assert refused.exit_code == 2
        assert "are for network captures" in " ".join(re.findall(r"[\w,.-]+", refused.output))
    path = written(tmp_path / "call.pcap", pcap(Call().sent))
    refused = run("conceal", path, tmp_path / "b.wav", "--loss", "5%")
    assert refused.exit_code == 2
    assert "goes alone" in refused.output


def test_packets_that_the_capture_cut_are_lost_and_told(tmp_path: Path) -> None:
    call = Call(loss=0.0)
    data = pcap(call.sent)
    size = len(ipv4(call.sent[0][1], 5004)) + 14

    def cut_at(numbers: set[int]) -> bytes:
        whole = data[:24]
        for number in range(len(call.sent)):
            at = 24 + number * (16 + size)
            kept = 80 if number in numbers else size
            whole += data[at : at + 8] + struct.pack("<II", kept, size) + data[at + 16 :][:kept]
        return whole

    path = written(tmp_path / "cut.pcap", cut_at({40, 41, 90}))
    report = told("conceal", path, tmp_path / "a.wav")
    assert report["left_out"] == {"cut packets": 3}
    assert report["streams"][0]["jitter_buffer"]["lost_packets"] == 3
    all_of_them = written(tmp_path / "short.pcap", cut_at(set(range(len(call.sent)))))
    short = run("conceal", all_of_them, tmp_path / "b.wav")
    assert short.exit_code == 1
    assert "200 cut packets" in short.output


def test_a_damaged_capture_is_played_or_refused(tmp_path: Path) -> None:
    call = Call(seconds=0.2)
    rng = np.random.default_rng(5)
    for whole in (pcap(call.sent), pcapng(call.sent)):
        for _ in range(25):
            data = bytearray(whole[: int(rng.integers(30, len(whole)))])
            for at in rng.integers(4, len(data), 20):
                data[at] = int(rng.integers(256))
            path = written(tmp_path / "damaged.pcap", bytes(data))
            result = run("conceal", path, tmp_path / "a.wav", "-y", "--method", "burg")
            assert result.exit_code in (0, 1)
            assert isinstance(result.exception, SystemExit | PlcError | type(None))


def test_memory_does_not_grow_with_sources_that_are_no_streams(tmp_path: Path) -> None:
    """Nor with the length of a capture."""
    sent = [(BEGIN_S + 0.001 * n, struct.pack("!BBHII", 0x80, 0, n % 7, n, n) + bytes(160), 5004)
            for n in range(12_000)]  # fmt: skip
    path = written(tmp_path / "many.pcap", pcap(sent))
    tracemalloc.start()
    capture = Capture(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert capture.streams == []
    assert +capture.left_out == {"stray RTP": 12_000}
    assert peak < 12e6
    with pytest.raises(TraceError):
        Capture(tmp_path / "none.pcap")
    assert play(capture, {}, overwrite=False) == []
