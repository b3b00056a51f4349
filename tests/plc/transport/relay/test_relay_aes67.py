"""AES67 streams through the programs: 1 ms, from FFmpeg, by GStreamer and by two paths."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.plc.transport.programs import listening, plc
from tests.plc.transport.relay.served_relay import free_port
from tests.processes import hear_signals
from tests.signals import noise, sine

RATE = 48_000
RELAY = ("--channels", "2", "--packet-ms", "1", "--model", "ar", "--json")
GST = (
    "rtpL16pay rtpL24pay rtpL16depay rtpL24depay rtpjitterbuffer udpsink udpsrc "
    "audioconvert wavparse wavenc"
)
CARD = "127.0.0.1"


def relay(*arguments: object, codec: str = "l24") -> subprocess.Popen[str]:
    return plc("relay", "--codec", codec, *RELAY, *arguments)


def ports_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the ports that a relay says it listens on."""
    ends = listening(process).split(",")
    return [int(end.partition("?")[0].rpartition(":")[2]) for end in ends]


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    process.send_signal(15)
    try:
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    [report] = json.loads(out)
    assert isinstance(report, dict)
    return report


@pytest.mark.system
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("multicast", [False, True])
def test_a_stream_of_ffmpeg_is_recorded_and_its_jitter_reported(
    tmp_path: Path, multicast: bool
) -> None:
    clip, heard = tmp_path / "clip.wav", tmp_path / "heard.wav"
    # Its first report may come before its first packet, and then counts for nobody; another
    # follows after 5 s.
    signal_ = 0.5 * np.stack([sine(440.0, RATE, 6 * RATE), sine(660.0, RATE, 6 * RATE)], axis=1)
    soundfile.write(clip, signal_, RATE, subtype="PCM_24")
    host = "239.255.31.7" if multicast else "127.0.0.1"
    card = f"?interface={CARD}" if multicast else ""
    listener = relay(
        *("--listen", f"udp://{host}:0{card}", "--to", heard, "--rtcp"),
        *("--fixed-delay-ms", 60, "--payload-type", 97),
    )
    try:
        [port] = ports_of(listener)
        local = f"&localaddr={CARD}" if multicast else ""
        subprocess.run(
            [
                *("ffmpeg", "-hide_banner", "-loglevel", "error", "-re", "-i", str(clip)),
                *("-af", "asetnsamples=n=48", "-c:a", "pcm_s24be"),
                *("-payload_type", "97", "-f", "rtp"),
                f"rtp://{host}:{port}?pkt_size=300{local}",
            ],
            check=True,
            timeout=60,
        )
    finally:
        report = end(listener)
    # 48 samples of 2 channels, 3 bytes each: 288 bytes and a header.
    assert report["jitter_buffer"]["packets_received"] == pytest.approx(6000, abs=5)
    assert report["unknown_packets"] == report["undecodable_packets"] == 0
    assert report["rtcp"]["received"] >= 1
    assert report["rtcp"]["jitter_s"] > 0.0
    written, rate = soundfile.read(heard, always_2d=True)
    assert rate == RATE
    assert len(written) >= 5.5 * RATE
    spectrum = np.abs(np.fft.rfft(written[RATE : 2 * RATE], axis=0))
    assert spectrum.argmax(axis=0).tolist() == [440, 660]


def need_gstreamer() -> None:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("GStreamer is not installed: apt-get install gstreamer1.0-tools")
    for element in GST.split():
        if subprocess.run(["gst-inspect-1.0", "--exists", element], check=False).returncode:
            pytest.skip(f"GStreamer has no {element}: apt-get install gstreamer1.0-plugins-good")


def gst_receiver(group: str, port: int, codec: str, target: Path) -> subprocess.Popen[str]:
    """Start GStreamer as the receiver of a group; return it once it listens."""
    caps = (
        f"application/x-rtp,media=audio,clock-rate={RATE},encoding-name={codec.upper()},"
        "channels=2,payload=96"
    )
    pipeline = (
        f"udpsrc address={group} port={port} multicast-iface=lo buffer-size=4000000 caps={caps} "
        f"! rtpjitterbuffer latency=500 ! rtp{codec.upper()}depay ! audioconvert ! wavenc "
        f"! filesink location={target}"
    )
    process = subprocess.Popen(
        ["gst-launch-1.0", "-e", *pipeline.split()],
        preexec_fn=hear_signals,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "PLAYING" in line:
            return process
    raise AssertionError("".join(said))


@pytest.mark.system
@pytest.mark.realtime
@pytest.mark.parametrize(("codec", "bits"), [("l24", 24), ("l16", 16)])
def test_a_stream_of_gstreamer_is_relayed_to_gstreamer_bit_for_bit(
    tmp_path: Path, codec: str, bits: int
) -> None:
    """GStreamer sends to a group and receives from another; the relay lies between them."""
    need_gstreamer()
    clip, heard = tmp_path / "clip.wav", tmp_path / "heard.wav"
    full_scale = 2 ** (bits - 1)
    signal_ = (np.rint(0.5 * noise(3, 3 * RATE * 2) * full_scale) / full_scale).reshape(-1, 2)
    soundfile.write(clip, signal_, RATE, subtype=f"PCM_{bits}")
    out = free_port()
    receiver = gst_receiver("239.255.31.9", out, codec, heard)
    listener = relay(
        *("--listen", f"udp://239.255.31.8:0?interface={CARD}"),
        *("--to", f"udp://239.255.31.9:{out}?interface={CARD}"),
        *("--fixed-delay-ms", 300, "--max-delay-ms", 500),
        codec=codec,
    )
    try:
        [port] = ports_of(listener)
        sender = (
            f"filesrc location={clip} ! wavparse ! audioconvert ! audio/x-raw,format=S{bits}BE "
            f"! rtp{codec.upper()}pay pt=96 min-ptime=1000000 max-ptime=1000000 "
            f"! udpsink host=239.255.31.8 port={port} multicast-iface=lo sync=true"
        )
        subprocess.run(["gst-launch-1.0", "-q", *sender.split()], check=True, timeout=60)
    finally:
        report = end(listener)
        receiver.send_signal(signal.SIGINT)
        said, _ = receiver.communicate(timeout=60)
    assert receiver.returncode == 0, said
    assert report["jitter_buffer"]["packets_received"] == pytest.approx(3000, abs=5)
    assert report["unknown_packets"] == report["undecodable_packets"] == 0
    assert soundfile.info(heard).subtype == f"PCM_{bits}"
    sent, written = (soundfile.read(path, dtype="int32")[0] for path in (clip, heard))
    places = {tuple(pair): place for place, pair in enumerate(sent.tolist())}
    found = [places[pair] for pair in map(tuple, written.tolist()) if pair in places]
    # Some may be late where this machine is busy.
    assert len(found) >= 0.9 * len(sent)
    assert np.mean(np.diff(found) == 1) >= 0.99


@pytest.mark.realtime
def test_what_is_sent_by_two_paths_is_marked_and_whole_although_one_is_cut(
    tmp_path: Path,
) -> None:
    """``plc send`` by two paths; of the first nothing arrives in the middle second."""
    clip, heard = tmp_path / "clip.wav", tmp_path / "heard.wav"
    signal_ = (np.rint(0.3 * noise(5, 2 * RATE * 2) * 32768) / 32768).reshape(-1, 2)
    soundfile.write(clip, signal_, RATE, subtype="PCM_16")
    listener = relay(
        *("--listen", "udp://127.0.0.1:0,udp://127.0.0.1:0", "--to", heard),
        *("--fixed-delay-ms", 150, "--max-delay-ms", 400),
    )
    try:
        first, second = ports_of(listener)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as cut:
            cut.bind(("127.0.0.1", 0))
            cut.settimeout(10.0)
            if sys.platform == "linux":
                cut.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            cut.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            ends = f"udp://127.0.0.1:{cut.getsockname()[1]},udp://127.0.0.1:{second}"
            sender = plc(
                *("send", clip, "--to", ends, "--codec", "l24", "--packet-ms", "1"),
                *("--dscp", "af41", "--seed", "1"),
            )
            marks, number = set(), 0
            for number in range(2000):
                datagram, notes, _, _ = cut.recvmsg(2048, 64)
                marks |= {note[0] >> 2 for _, _, note in notes}
                if not 500 <= number < 1500:
                    cut.sendto(datagram, ("127.0.0.1", first))
            sender.communicate(timeout=30)
            assert sender.returncode == 0
        assert len(datagram) == 12 + 48 * 2 * 3
    finally:
        report = end(listener)
    if sys.platform == "linux":
        assert marks == {34}
    assert report["jitter_buffer"]["lost_packets"] == 0
    assert report["paths"][0]["packets"] <= 1001
    assert report["paths"][1]["packets"] >= 1990
    # The second path alone has every sample; some may be late where this machine is busy.
    assert report["jitter_buffer"]["played_samples"] >= 0.97 * 2 * RATE
    assert soundfile.info(heard).frames >= 0.97 * 2 * RATE
