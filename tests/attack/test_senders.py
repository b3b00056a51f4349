"""Senders whose numbers, stamps, sources and packets fit no rule, through a relay and its ports.

Time goes on by the relay's looks at its clock: what comes in time does not depend on the machine.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.transport.cli.streams import read_relay_file
from plc.transport.relay.relay import Relay
from plc.transport.rtp.codecs import Codec, Opus, open_codec
from plc.transport.rtp.libopus import repeated_samples
from plc.transport.rtp.packets import RtpPacket, build_rtp
from plc.transport.rtp.udp import serve
from tests.clocked_network import ClockedNetwork, on_network
from tests.signals import sine, voice

RATE = 16_000
SECONDS = 5.0
OTHER = 9999
"""Packet of a second source."""
SINK = 9000
"""Port of the first stream's receiver, who is not there."""

Plan = list[tuple[float, bytes]]


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
    file: Path = tmp_path_factory.mktemp("relay") / "relay.toml"
    all_, text = senders(), ""
    given = {"sample_rate": RATE, "fixed_delay_ms": 60, "packet_ms": 20.0, "model": "ar"}
    for place, (name, sender) in enumerate(all_.items()):
        lines = "\n".join(
            f"{key} = {json.dumps(to)}" for key, to in (given | sender.options).items()
        )
        text += (
            f'[[stream]]\nname = "{name}"\nlisten = "udp://127.0.0.1:0"\n'
            f'to = "udp://127.0.0.1:{SINK + place}"\n{lines}\n'
        )
    file.write_text(text)
    taken: dict[str, list[bytes]] = {name: [] for name in all_}
    with closing(Relay(read_relay_file(file).streams, lambda: network.clock())) as relay:
        ports = dict(zip(all_, relay.ports, strict=True))
        plan = [(at_s, ports[name], p) for name, s in all_.items() for at_s, p in s.plan]
        plan.sort(key=lambda each: each[0])
        network = ClockedNetwork(iter(plan))
        with pytest.MonkeyPatch.context() as patched, on_network(patched, network):
            serve(relay, clock=network.clock, duration_s=plan[-1][0] + 0.5)
        reports = relay.report()
    for _, (_, port), packet in network.gone:
        taken[list(all_)[port - SINK]].append(packet)
    return {
        report["name"]: (report, numbers_in(taken[report["name"]], all_[report["name"]].packet))
        for report in reports
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
