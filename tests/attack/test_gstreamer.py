"""GStreamer as a neighbour: buffers and gaps of any time, and streams of its own senders."""

import base64
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.plc.embed.test_gstreamer import BARE, CAPS, probe
from tests.plc.embed.test_gstreamer import plugins as plugins
from tests.plc.transport.relay.served_relay import free_port
from tests.processes import environment
from tests.signals import tones

RATE, BLOCK = 16_000, 160
MS = 1_000_000
STEP = 10 * MS
NONE = 2**64 - 1
"""GStreamer's "no time"."""
LATEST_NS = NONE - 1

ALL_AT_ONCE = [
    ["gap", 0, 0],
    ["gap", LATEST_NS, LATEST_NS],
    ["buffer", 0, 0, 0],
    ["buffer", 0, 1, 0],
    ["buffer", 0, 4 * BLOCK, LATEST_NS],
    ["buffer", 0, 8 * BLOCK, LATEST_NS - 1],
    ["gap", 0, STEP],
    ["gap", LATEST_NS - STEP, 3600 * 1000 * MS],
    ["gap", LATEST_NS, LATEST_NS],
    ["gap", 2**63, None],
    ["buffer", 0, 4 * BLOCK - 3, 2**63],
    ["buffer", 0, 40 * BLOCK, None],
    ["caps", CAPS.format("F32LE", 192_000, 8)],
    ["caps", CAPS.format("S16LE", 8_000, 1)],
    ["buffer", 0, 7, 5],
    ["flush"],
    ["caps", CAPS.format("F32LE", RATE, 1)],
    ["eos"],
    ["buffer", 0, 4 * BLOCK, STEP],
    ["eos"],
]


@pytest.mark.system
@pytest.mark.parametrize("lookahead", [0, 2])
def test_the_element_takes_any_time_and_any_order(
    plugins: Path, tmp_path: Path, lookahead: int
) -> None:
    """It ends nothing, and nothing is played that is no sound."""
    data = np.tile(np.array([np.nan, np.inf, -1e30, 0.5], np.float32), 10 * BLOCK)[:, None]
    seen, _ = probe(plugins, tmp_path, data, ALL_AT_ONCE, properties={"lookahead": lookahead})
    assert len(seen["results"]) == len(ALL_AT_ONCE) + 1
    assert not [text for kind, *text in seen["messages"] if kind == "error"]
    assert all(pts == NONE or 0 <= pts <= LATEST_NS for pts, _, _ in seen["buffers"])


# ---- RTP of GStreamer's -------------------------------------------------------------------------


def need(*elements: str) -> None:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("GStreamer is not installed: apt-get install gstreamer1.0-tools")
    for element in elements:
        if subprocess.run(["gst-inspect-1.0", "--exists", element], check=False).returncode:
            pytest.skip(f"GStreamer has no {element}: apt-get install gstreamer1.0-plugins-bad")


@contextmanager
def relaying(*options: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run ``plc relay``; yield its port, and what will be its report once it has ended."""
    command = [sys.executable, "-m", "plc", "relay", "--model", "ar", "--json"]
    relay = subprocess.Popen(
        [*command, "--listen", "udp://127.0.0.1:0", *map(str, options)],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    report: dict[str, Any] = {}
    try:
        assert relay.stderr is not None
        line = next(line for line in relay.stderr if " -> " in line)
        yield int(line.partition(" -> ")[0].rpartition(":")[2]), report
    finally:
        relay.send_signal(signal.SIGTERM)
        out, errors = relay.communicate(timeout=60)
    assert relay.returncode == 0, errors
    assert "Traceback" not in errors
    report |= json.loads(out)[0] | {"said": errors}


SECONDS = 3


def sender(pipeline: str, port: int) -> list[str]:
    """Return the command that sends a tone by that pipeline."""
    source = f"audiotestsrc is-live=true samplesperbuffer=480 num-buffers={100 * SECONDS}"
    caps = "audio/x-raw,rate=48000,channels=1"
    sink = f"udpsink host=127.0.0.1 port={port}"
    return ["gst-launch-1.0", "-q", *f"{source} ! {caps} ! {pipeline} ! {sink}".split()]


L16 = "audioconvert ! rtpL16pay pt=96 min-ptime=10000000 max-ptime=10000000"
OPUS = "opusenc frame-size=20 inband-fec=true packet-loss-percentage=30 dtx=true"
KEY = bytes(range(1, 31))
SENDERS: dict[str, tuple[str, tuple[object, ...], str]] = {
    "numbers and stamps about to wrap": (
        f"{L16} seqnum-offset=65500 timestamp-offset=4294960000", (), "rtpL16pay",
    ),
    "packets of a length of its own": (
        "audioconvert ! rtpL16pay pt=96 mtu=701", (), "rtpL16pay",
    ),
    "a third lost": (f"{L16} ! identity drop-probability=0.33", (), "rtpL16pay"),
    "a third lost of redundancy": (
        f"{L16} ! rtpredenc pt=100 distance=2 allow-no-red-blocks=false "
        "! identity drop-probability=0.33",
        ("--red-payload-type", 100), "rtpredenc",
    ),
    "Opus with copies and pauses, a third lost": (
        f"{OPUS} ! rtpopuspay pt=96 ! identity drop-probability=0.33",
        ("--codec", "opus", "--payload-type", 96), "rtpopuspay",
    ),
    "telephony": (
        "audioresample ! audio/x-raw,rate=8000 ! mulawenc ! rtppcmupay",
        ("--codec", "pcmu", "--sample-rate", 8000), "mulawenc",
    ),
    "sealed": (
        f"{L16} ! srtpenc key={KEY.hex()} rtp-cipher=aes-128-icm rtp-auth=hmac-sha1-80",
        ("--key-file",), "srtpenc",
    ),
}  # fmt: skip


@pytest.mark.system
@pytest.mark.parametrize("name", SENDERS)
def test_what_gstreamer_sends_is_played(tmp_path: Path, name: str) -> None:
    pipeline, options, element = SENDERS[name]
    need(element, "udpsink")
    if "opus" in pipeline:
        pytest.importorskip("av", reason="PyAV is not installed")
    if options == ("--key-file",):
        pytest.importorskip("pylibsrtp", reason="pylibsrtp is not installed")
        (tmp_path / "key").write_text(base64.b64encode(KEY).decode())
        options = ("--key-file", tmp_path / "key")
    heard = tmp_path / "heard.wav"
    fixed = ("--fixed-delay-ms", 150, "--max-delay-ms", 400)
    with relaying("--to", heard, *fixed, *options) as (port, report):
        subprocess.run(sender(pipeline, port), check=True, timeout=60)
        time.sleep(0.5)
    buffer = report["jitter_buffer"]
    assert report["malformed_packets"] == {}
    assert report["unknown_packets"] == report["undecodable_packets"] == 0
    assert buffer["source_changes"] == buffer["duplicate_packets"] == 0
    samples, rate = soundfile.read(heard, always_2d=True)
    # Of a third lost, what was sent two packets later is lost by a third, too.
    least = 0.8 if "redundancy" in name else 0.5 if "lost" in name else 0.95
    assert buffer["played_samples"] >= least * SECONDS * rate
    # The tone of 440 Hz goes on, whatever was lost of it.
    middle = samples[rate : 2 * rate, 0]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(440, abs=3)
    assert np.std(middle) == pytest.approx(0.8 / np.sqrt(2.0), rel=0.25)


OPENS = """
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
port, key, out = sys.argv[1:]
pipeline = Gst.parse_launch(
    f"udpsrc port={port} caps=application/x-srtp,media=audio,clock-rate=48000,encoding-name=L16,"
    f"channels=1,payload=96 ! srtpdec name=opens ! rtpL16depay ! filesink location={out}"
)
keyed = Gst.Caps.from_string(
    f"application/x-srtp,srtp-key=(buffer){key},srtp-cipher=(string)aes-128-icm,"
    "srtp-auth=(string)hmac-sha1-80,srtcp-cipher=(string)aes-128-icm,"
    "srtcp-auth=(string)hmac-sha1-80"
)
pipeline.get_by_name("opens").connect("request-key", lambda *_: keyed)
pipeline.set_state(Gst.State.PLAYING)
pipeline.get_state(2 * Gst.SECOND)
print("ready", flush=True)
sys.stdin.readline()
pipeline.set_state(Gst.State.NULL)
"""
"""Receives, and opens what comes by a key that is given for any source."""


@pytest.mark.system
@pytest.mark.parametrize("relayed", [False, True])
def test_what_is_sealed_here_is_opened_by_gstreamer(tmp_path: Path, relayed: bool) -> None:
    """And by its right key alone: what ``plc send`` sends, and what ``plc relay`` sends on."""
    need("srtpdec", "srtpenc", "udpsrc")
    loads = 'import gi; gi.require_version("Gst", "1.0"); from gi.repository import Gst'
    if subprocess.run(["/usr/bin/python3", "-c", loads], env=BARE, check=False).returncode:
        pytest.skip("GStreamer is unknown to Python: apt-get install python3-gst-1.0")
    pytest.importorskip("pylibsrtp", reason="pylibsrtp is not installed")
    clip, key = tmp_path / "clip.wav", tmp_path / "key"
    soundfile.write(clip, tones(1, 48_000, 3 * 48_000), 48_000, subtype="PCM_16")
    key.write_text(base64.b64encode(KEY).decode())
    heard = {}
    for name, used in (("right", KEY), ("wrong", bytes(30))):
        out, port = tmp_path / f"{name}.raw", free_port()
        receiver = subprocess.Popen(
            ["/usr/bin/python3", "-c", OPENS, str(port), used.hex(), out],
            env=BARE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        with ExitStack() as stack:
            if relayed:
                options = ("--to", f"udp://127.0.0.1:{port}", "--key-file", key)
                fixed = ("--sample-rate", 48_000, "--packet-ms", 10, "--fixed-delay-ms", 100)
                port, _ = stack.enter_context(relaying(*options, *fixed))
            subprocess.run(
                [sys.executable, "-m", "plc", "send", clip, "--key-file", key,
                 "--packet-ms", "10", "--to", f"udp://127.0.0.1:{port}"],
                env=environment(), check=True, timeout=60,
            )  # fmt: skip
            time.sleep(0.3)
        receiver.communicate("end\n", timeout=60)
        heard[name] = out.stat().st_size
    assert heard["right"] >= 0.9 * 2 * 3 * 48_000
    assert heard["wrong"] == 0
