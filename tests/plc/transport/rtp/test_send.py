"""Recordings that are sent, through a relay, in the time of the test."""

import itertools
import sys
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import plc.transport.rtp.codecs
from plc.errors import ConfigError, MissingExtraError
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import G722
from plc.transport.rtp.libopus import LibopusDecoder
from plc.transport.rtp.packets import RtpPacket, parse_rtp
from plc.transport.rtp.sdp import build_sdp, parse_sdp
from plc.transport.rtp.send import RtpSender, open_sender
from plc.transport.rtp.udp import Endpoint, UdpPort
from tests.plc.configs import changed
from tests.plc.transport.streams import CONFIG, HERE, SOURCE
from tests.signals import noise, tones

PACKET_S = 0.02


def relay_of(codec: str, rate: int) -> StreamRelay:
    samples = round(PACKET_S * rate)
    return StreamRelay(changed(CONFIG, codec=codec, sample_rate=rate, packet_samples=samples))


def relayed(
    sender: RtpSender, port: UdpPort, relay: StreamRelay, gone: set[int]
) -> tuple[NDArray[np.float32], list[RtpPacket]]:
    """Send to the port, lose packets, and play the rest; return the audio and what was sent."""
    played: list[NDArray[np.float32]] = []
    sent: list[RtpPacket] = []
    rest = 6
    for tick in range(1000):
        now_s = tick * PACKET_S
        sender.advance(now_s)
        for datagram, _ in port.arrived():
            packet = parse_rtp(datagram)
            assert isinstance(packet, RtpPacket)
            if len(sent) not in gone:
                relay.receive(datagram, SOURCE, now_s)
            sent.append(packet)
        block = relay.play(now_s)
        if block is not None:
            played.append(block[:, 0].copy())
        rest -= sender.done
        if not rest:
            break
    return np.concatenate(played), sent


def recording(path: Path, signal: NDArray[np.float32], rate: int) -> Path:
    soundfile.write(path, signal, rate, subtype="PCM_16")
    return path


def test_g722_goes_through_sender_and_relay_by_a_clock_of_8000_hz(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    signal = tones(3, 16_000, 16_000)
    path = recording(tmp_path / "tones.wav", signal, 16_000)
    gone = {20, 30, 31}
    with closing(UdpPort(HERE)) as port:
        sender = open_sender(path, port.endpoint, "g722", packet_ms=20.0, seed=1)
        with closing(sender), closing(relay_of("g722", 16_000)) as relay:
            played, sent = relayed(sender, port, relay, gone)
            assert relay.playout.received.lost_packets == len(gone)
            assert relay.playout.received.packets_received == 50 - len(gone)
            found = relay.playout.inspection.found
            relayed_on = parse_rtp(relay.packetizer.pack(np.zeros((320, 1), np.float32)))
            after = parse_rtp(relay.packetizer.pack(np.zeros((320, 1), np.float32)))
    assert not found
    assert {packet.payload_type for packet in sent} == {9}
    assert {len(packet.payload) for packet in sent} == {160}
    steps = {(b.timestamp - a.timestamp) % 2**32 for a, b in itertools.pairwise(sent)}
    assert steps == {160}
    assert isinstance(relayed_on, RtpPacket)
    assert isinstance(after, RtpPacket)
    assert (after.timestamp - relayed_on.timestamp) % 2**32 == 160
    # The codec holds 22 samples back; the relay 60 ms.
    best = max(
        snr_db(signal[1600:6000], played[1600 + lag : 6000 + lag]) for lag in range(22, 1100)
    )
    assert best > 20.0


def snr_db(truth: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.sum(truth**2) / np.sum((truth - found) ** 2)))


def test_g722_is_described_by_its_clock(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    path = recording(tmp_path / "noise.wav", noise(1, 3200), 16_000)
    to = Endpoint("192.0.2.9", 5004)
    with closing(open_sender(path, to, "g722", packet_ms=20.0)) as sender:
        text = build_sdp([sender.media(to, 20.0)])
    assert "a=rtpmap:9 G722/8000/1\r\n" in text
    (media,) = parse_sdp(text)
    assert (media.codec, media.sample_rate, media.channels) == ("g722", 16_000, 1)
    (static,) = parse_sdp("m=audio 5004 RTP/AVP 9\r\n")
    assert (static.codec, static.sample_rate, static.payload_type) == ("g722", 16_000, 9)


def test_g722_plays_redundancy_that_reaches_back_by_its_clock(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    path = recording(tmp_path / "tones.wav", tones(3, 16_000, 16_000), 16_000)
    with closing(UdpPort(HERE)) as port:
        sender = open_sender(path, port.endpoint, "g722", packet_ms=20.0, redundancy=1, seed=1)
        with closing(sender), closing(StreamRelay(_redundant())) as relay:
            relayed(sender, port, relay, {20, 30})
            assert relay.playout.received.redundant_packets == 2
            assert relay.playout.received.lost_samples == 0


def _redundant() -> RelayConfig:
    return changed(relay_of("g722", 16_000).config, red_payload_type=100)


def test_g722_without_pyav_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"G\.722 needs PyAV.*pip install .*\[rtp\]"):
        plc.transport.rtp.codecs.open_codec("g722", 16_000, 1)


def test_g722_refuses_what_it_cannot_carry(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    with pytest.raises(ConfigError, match="16000"):
        plc.transport.rtp.codecs.open_codec("g722", 8_000, 1)
    with pytest.raises(ConfigError, match="even"):
        G722().encode(np.zeros((161, 1), np.float32))
    path = recording(tmp_path / "noise.wav", noise(1), 48_000)
    with pytest.raises(ConfigError, match="g722 is sent at 16000 Hz"):
        open_sender(path, Endpoint("192.0.2.9", 5004), "g722")


def test_opus_with_fec_recovers_most_single_losses(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    soxr = pytest.importorskip("soxr", reason="soxr is not installed")
    if LibopusDecoder.open(1) is None:
        pytest.skip("libopus is not installed (Debian: libopus0)")
    speech, rate = soundfile.read(str(files("plc") / "data" / "speech.flac"), dtype="float32")
    speech = soxr.resample(speech.reshape(len(speech), -1)[:, 0], rate, 48_000)
    path = recording(tmp_path / "speech.wav", speech[:240_000], 48_000)
    recovered = {}
    gone = set(range(10, 200, 5))
    for expected_loss in (0.0, 0.2):
        with closing(UdpPort(HERE)) as port:
            sender = open_sender(
                path, port.endpoint, "opus", packet_ms=20.0, expected_loss=expected_loss
            )
            with closing(sender), closing(relay_of("opus", 48_000)) as relay:
                relayed(sender, port, relay, gone)
                recovered[expected_loss] = relay.playout.received.redundant_packets
    assert recovered[0.0] == 0
    assert recovered[0.2] > 0.6 * len(gone)


def test_only_opus_takes_a_bit_rate_and_fec(tmp_path: Path) -> None:
    path = recording(tmp_path / "noise.wav", noise(1), 48_000)
    to = Endpoint("192.0.2.9", 5004)
    for settings in ({"bit_rate": 24_000}, {"expected_loss": 0.2}):
        with pytest.raises(ConfigError, match="only opus"):
            open_sender(path, to, "l16", **settings)


def test_a_bit_rate_of_opus_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    path = recording(tmp_path / "noise.wav", noise(1, 96_000), 48_000)
    sizes = {}
    for bit_rate in (12_000, 96_000):
        with closing(UdpPort(HERE)) as port:
            sender = open_sender(path, port.endpoint, "opus", packet_ms=20.0, bit_rate=bit_rate)
            with closing(sender):
                for tick in range(100):
                    sender.advance(tick * PACKET_S)
                sizes[bit_rate] = sum(len(datagram) - 12 for datagram, _ in port.arrived(200))
    for bit_rate, octets in sizes.items():
        assert octets * 8 / 2.0 == pytest.approx(bit_rate, rel=0.35)
