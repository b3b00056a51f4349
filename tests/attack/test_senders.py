"""Senders whose numbers, stamps, sources and packets fit no rule, through ``plc relay`` itself."""

import contextlib
import json
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.rtp.codecs import Codec, Opus, open_codec
from plc.rtp.libopus import repeated_samples
from plc.rtp.packets import RtpPacket, build_rtp
from tests.plc.apps.served_relay import free_port
from tests.processes import environment
from tests.signals import sine, voice

pytestmark = pytest.mark.realtime

RATE = 16_000
SECONDS = 5.0
OTHER = 9999
"""Packet of a second source."""

Plan = list[tuple[float, bytes]]

SENDING = """
import pickle, socket, sys, time
plan = pickle.load(open(sys.argv[1], "rb"))
out = socket.socket(type=socket.SOCK_DGRAM)
begin_s = time.monotonic()
for at_s, port, packet in plan:
    time.sleep(max(0.0, begin_s + at_s - time.monotonic()))
    out.sendto(packet, ("127.0.0.1", port))
"""
"""In a process of its own: a thread beside the tests waits for the interpreter."""


@dataclass
class Sender:
    """What one sender sends, and how the relay takes it."""

    plan: Plan
    options: dict[str, Any] = field(default_factory=dict)
    packet: int = 320
    """Samples of a packet, each of which says which one it is; 0: the codec changes them."""
    heard: frozenset[int] = frozenset()
    """Packets of which all should be heard."""


def l16(number: int, stamp: int, k: int, samples: int = 320, ssrc: int = 7) -> bytes:
    """Return packet ``k``, of which every sample says so."""
    payload = np.full(samples, k + 1, ">i2").tobytes()
    return build_rtp(RtpPacket(96, number % 2**16, stamp % 2**32, ssrc, payload))


def twenty(count: int = 250) -> Iterator[tuple[float, int]]:
    """Yield times of packets of 20 ms, and their places."""
    return ((0.02 * k, k) for k in range(count))


def of_a_codec(codec: Codec, tick: int, block: int, lost: tuple[int, ...] = ()) -> Plan:
    """Return a voice in packets of 20 ms; ``tick`` is what a stamp advances by."""
    sound = voice(codec.sample_rate, SECONDS, 150.0, 0.05)[:, None]
    # Syllables: an encoder repeats what it takes for speech.
    sound *= 0.55 + 0.45 * sine(4.0, codec.sample_rate, len(sound), 1.0)[:, None]
    return [
        (
            at_s,
            build_rtp(
                RtpPacket(
                    codec.payload_type, k, tick * k, 7, codec.encode(sound[block * k :][:block])
                )
            ),
        )
        for at_s, k in twenty()
        if k % 10 not in lost
    ]


def second_source() -> Sender:
    """Two SSRCs of one address; the first loses two packets in a row, once each second."""
    first = [(at, l16(k, 320 * k, k)) for at, k in twenty() if k % 50 not in (30, 31)]
    other = [(at + 0.005, l16(k, 320 * k, OTHER, ssrc=8)) for at, k in twenty() if k > 5]
    heard = frozenset(k for _, k in twenty() if k % 50 not in (30, 31))
    return Sender(first + other, heard=heard)


def standing_stamps() -> Sender:
    """Nothing is sent in pauses of 0.4 s, and stamps stand still."""
    return Sender(
        [(at + 0.4 * (k // 50), l16(k, 320 * k, k)) for at, k in twenty(180)],
        heard=frozenset(range(180)),
    )


def jumping_stamps() -> Sender:
    """Stamps that jump by a packet's length at each twentieth, without a pause."""
    return Sender(
        [(at, l16(k, 320 * (k + k // 20), k)) for at, k in twenty()], heard=frozenset(range(250))
    )


def falling_numbers() -> Sender:
    """Numbers that fall by 60 in the midst, with stamps that go on."""
    return Sender(
        [(at, l16(k - 60 * (k >= 125), 320 * k, k)) for at, k in twenty()],
        heard=frozenset(range(250)),
    )


def held_up() -> Sender:
    """Packets of 1 ms, of which 20 are held up for 150 ms and come at once."""
    count, first = 4000, 2000
    held = range(first, first + 20)
    late_s = {k: first / 1000 + 0.15 for k in held}
    return Sender(
        [(late_s.get(k, k / 1000), l16(k, 16 * k, k, 16)) for k in range(count)],
        {"fixed_delay_ms": 40, "packet_ms": 10.0},
        16,
        frozenset(range(count)) - frozenset(held),
    )


def padding() -> Sender:
    """Packets of nothing but padding in pauses of half a second."""
    plan = []
    for at_s, k in twenty():
        if k % 100 < 75:
            plan.append((at_s, l16(k, 320 * k, k)))
        else:
            empty = bytearray(build_rtp(RtpPacket(96, k, 320 * k, 7, bytes([0, 0, 0, 4]))))
            empty[0] |= 0x20
            plan.append((at_s, bytes(empty)))
    return Sender(plan, heard=frozenset(k for k in range(250) if k % 100 < 75))


@cache
def senders() -> dict[str, Sender]:
    """Return the senders by name."""
    g722, opus = open_codec("g722", RATE, 1), open_codec("opus", 48_000, 1)
    fec = Opus(1, bit_rate=24_000, expected_loss=0.2)
    g711 = {"codec": "pcmu", "sample_rate": 8000}
    opus_options = {"codec": "opus", "sample_rate": 48_000, "payload_type": 111}
    return {
        "second source": second_source(),
        "standing stamps": standing_stamps(),
        "jumping stamps": jumping_stamps(),
        "falling numbers": falling_numbers(),
        "held up": held_up(),
        "padding": padding(),
        "G.722": Sender(of_a_codec(g722, 160, 320), {"codec": "g722"}, 0),
        "PCMU": Sender(of_a_codec(open_codec("pcmu", 8000, 1), 160, 160), g711, 0),
        "Opus": Sender(of_a_codec(opus, 960, 960), opus_options, 0),
        "Opus FEC": Sender(of_a_codec(fec, 960, 960, (4,)), opus_options, 0),
    }


class Sink:
    """Takes what the relay sends at several ports."""

    def __init__(self, names: list[str]) -> None:
        self.taken: dict[str, list[bytes]] = {name: [] for name in names}
        self.ports: dict[str, int] = {}
        self._ended = threading.Event()
        self._sockets = []
        for name in names:
            one = socket.socket(type=socket.SOCK_DGRAM)
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
            self.ports[name] = one.getsockname()[1]
            self._sockets.append((name, one))
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        while not self._ended.wait(0.005):
            for name, one in self._sockets:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        self.taken[name].append(one.recv(4096))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for _, one in self._sockets:
            one.close()


def numbers_in(packets: list[bytes], samples: int) -> set[int]:
    """Return which packets are in what the relay sent, at least nine tenths of each."""
    if not samples:
        return set()
    sound: NDArray[np.int16] = np.frombuffer(b"".join(each[12:] for each in packets), ">i2")
    values, counts = np.unique(sound, return_counts=True)
    return {int(value) - 1 for value in values[counts >= 0.9 * samples] if value > 0}


@pytest.fixture(scope="module")
def relayed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], set[int]]]:
    """Send all senders' packets through one relay; return its report and the numbers it sent."""
    pytest.importorskip("av", reason="PyAV is not installed")
    folder: Path = tmp_path_factory.mktemp("relay")
    all_, listens = senders(), {}
    sink = Sink(list(all_))
    text = ""
    for name, sender in all_.items():
        listens[name] = free_port()
        given = {"sample_rate": RATE, "fixed_delay_ms": 60, "packet_ms": 20.0, "model": "ar"}
        lines = "\n".join(
            f"{key} = {json.dumps(to)}" for key, to in (given | sender.options).items()
        )
        text += (
            f'[[stream]]\nname = "{name}"\nlisten = "udp://127.0.0.1:{listens[name]}"\n'
            f'to = "udp://127.0.0.1:{sink.ports[name]}"\n{lines}\n'
        )
    (folder / "relay.toml").write_text(text)
    relay = subprocess.Popen(
        [sys.executable, "-m", "plc", "relay", "--config", folder / "relay.toml", "--json"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert relay.stderr is not None
        for _ in all_:
            next(line for line in relay.stderr if " -> " in line)
        plan = [(at_s, listens[name], p) for name, s in all_.items() for at_s, p in s.plan]
        (folder / "plan").write_bytes(pickle.dumps(sorted(plan, key=lambda each: each[0])))
        subprocess.run([sys.executable, "-c", SENDING, folder / "plan"], check=True)
        time.sleep(0.5)
    finally:
        relay.send_signal(signal.SIGTERM)
        out, errors = relay.communicate(timeout=60)
        sink.close()
    assert relay.returncode == 0, errors
    assert "Traceback" not in errors
    return {
        report["name"]: (
            report,
            numbers_in(sink.taken[report["name"]], all_[report["name"]].packet),
        )
        for report in json.loads(out)
    }


@pytest.mark.parametrize(
    "name",
    ["second source", "standing stamps", "jumping stamps", "falling numbers", "held up", "padding"],
)
def test_what_came_in_time_is_sent_on(
    relayed: dict[str, tuple[dict[str, Any], set[int]]], name: str
) -> None:
    """Told by the samples themselves, behind the relay."""
    report, heard = relayed[name]
    sender = senders()[name]
    missed = sender.heard - heard
    assert len(missed) <= 0.01 * len(sender.heard), sorted(missed)
    assert OTHER not in heard
    buffer = report["jitter_buffer"]
    assert report["relay"]["skipped_packets"] == 0
    if name == "padding":
        assert buffer["lost_packets"] == 0
        assert buffer["empty_packets"] == len(sender.plan) - len(sender.heard)
    if name == "held up":
        assert buffer["source_changes"] == 0
        assert report["relay"]["delay_ms"]["p50"] <= 60.0


@pytest.mark.parametrize("name", ["G.722", "PCMU", "Opus", "Opus FEC"])
def test_each_codec_is_played_as_it_came(
    relayed: dict[str, tuple[dict[str, Any], set[int]]], name: str
) -> None:
    report, _ = relayed[name]
    sender = senders()[name]
    buffer = report["jitter_buffer"]
    samples = {"G.722": 320, "PCMU": 160}.get(name, 960)
    assert buffer["packets_received"] == len(sender.plan)
    assert report["undecodable_packets"] == report["unknown_packets"] == 0
    copies = 0
    if name == "Opus FEC":
        # One of ten is lost; most of those are repeated by the next one.
        behind = [packet[12:] for _, packet in sender.plan if packet[3] % 10 == 5]
        copies = sum(repeated_samples(payload, 1) > 0 for payload in behind)
        assert copies >= 12
        assert buffer["redundant_packets"] >= copies - 1
    assert buffer["played_samples"] >= 0.99 * (len(sender.plan) + copies) * samples
