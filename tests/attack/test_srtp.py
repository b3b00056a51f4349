"""SRTP beside those who have no key, an old one, or yesterday's packets: the stream goes on."""

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.transport.cards.devices import DevicePort
from plc.transport.live.ends import NetworkSource
from plc.transport.live.live import LiveConfig, LiveEngine
from plc.transport.live.sending import SendConfig
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.srtp import SUITES, SrtpKey, SrtpReceiver, SrtpSender
from plc.transport.rtp.udp import Endpoint, UdpPort
from tests.examples import some
from tests.plc.configs import changed
from tests.plc.fake_devices import FakeBackend, card
from tests.signals import tones

pytest.importorskip("pylibsrtp", reason="pylibsrtp is not installed")

RATE, BLOCK, PACKETS = 16_000, 160, 240
TICK_S = BLOCK / RATE
HERE = Endpoint("127.0.0.1", 0)
SOURCE, STRANGER = ("192.0.2.1", 4000), ("192.0.2.66", 4000)
KEY, OTHER = SrtpKey(bytes(range(1, 31))), SrtpKey(bytes(30))
SSRC = 7
# The numbers wrap in midstream: SRTP counts that, and tells it to nobody.
FIRST = 65_536 - PACKETS // 2
TAG_BYTES = 10

Blocks = list[NDArray[np.float32]]
Attack = Callable[[random.Random, list[bytes]], list[bytes]]


def config_of(**settings: Any) -> RelayConfig:
    plain = RelayConfig(listen=HERE, to=Endpoint("127.0.0.1", 9))
    delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=60)
    given = {"sample_rate": RATE, "packet_samples": BLOCK, "delay": delay, "model": "ar",
             "key": KEY}  # fmt: skip
    return changed(plain, **given | settings)


def sealed_by(key: SrtpKey, count: int = PACKETS, first: int = FIRST) -> list[bytes]:
    """Return the packets of a sender with that key."""
    packetizer, sender = Packetizer(L16(RATE, 1), ssrc=SSRC, sequence=first), SrtpSender(key)
    blocks = tones(1, RATE, count * BLOCK).reshape(count, BLOCK, 1)
    return [sender.seal(packetizer.pack(block)) or b"" for block in blocks]


def with_number(packet: bytes, ahead: int) -> bytes:
    """Return a packet that claims to be so many ahead."""
    (number,) = struct.unpack_from("!H", packet, 2)
    return packet[:2] + struct.pack("!H", (number + ahead) % 65_536) + packet[4:]


def spoilt(packet: bytes, at: int) -> bytes:
    return packet[:at] + bytes([packet[at] ^ 0x40]) + packet[at + 1 :]


def with_ssrc(packet: bytes, ssrc: int) -> bytes:
    return packet[:8] + struct.pack("!I", ssrc) + packet[12:]


STRANGE = sealed_by(OTHER)

ATTACKS: dict[str, Attack] = {
    "tags forged, ahead of the stream": lambda rng, sent: [
        spoilt(with_number(sent[-1], ahead), -1 - rng.randrange(TAG_BYTES)) for ahead in range(1, 6)
    ],
    "payloads changed": lambda rng, sent: [
        spoilt(sent[-1], rng.randrange(12, len(sent[-1]) - TAG_BYTES)) for _ in range(5)
    ],
    "all that was sent, again": lambda rng, sent: rng.sample(sent, min(5, len(sent))),
    "another key": lambda rng, sent: [STRANGE[len(sent) - 1]],
    "another key, ahead": lambda rng, sent: STRANGE[len(sent) : len(sent) + 5],
    "numbers that guess a wrap": lambda rng, sent: [
        with_number(sent[-1], ahead) for ahead in (32_767, 32_768, 32_769, -1, -200, 65_000)
    ],
    "tags of four bytes": lambda rng, sent: [sent[-1][:-6]],
    "any length": lambda rng, sent: [sent[-1][: rng.randrange(len(sent[-1]))] for _ in range(5)],
    "plain RTP": lambda rng, sent: [sent[-1][:12] + bytes(2 * BLOCK)],
    "a source of their own": lambda rng, sent: [
        with_ssrc(sent[-1], rng.getrandbits(32)) for _ in range(5)
    ],
    "headers with all that RTP has": lambda rng, sent: [
        bytes([rng.choice([0x8F, 0x90, 0xA0, 0xBF])]) + sent[-1][1:] for _ in range(5)
    ],
    "a plain goodbye": lambda rng, sent: [struct.pack("!BBHI", 0x81, 203, 1, SSRC)],
    "a goodbye of another key": lambda rng, sent: [
        SrtpSender(OTHER).seal(struct.pack("!BBHI", 0x81, 203, 1, SSRC)) or b""
    ],
}


def play(
    relay: StreamRelay, sent: list[bytes], attack: Attack | None = None, source: Any = SOURCE
) -> Blocks:
    """Return what is played of packets, each followed by what the attack makes of those so far."""
    rng = random.Random(4)
    played = []
    for k, packet in enumerate(sent):
        now_s = k * TICK_S
        relay.receive(packet, SOURCE, now_s)
        for hostile in attack(rng, sent[: k + 1]) if attack else []:
            relay.receive(hostile, source, now_s)
        while relay.next_s <= now_s:
            block = relay.play(now_s)
            if block is not None:
                played.append(block[:, 0].copy())
    return played


@pytest.fixture(scope="module")
def undisturbed() -> Blocks:
    with closing(StreamRelay(config_of())) as relay:
        return play(relay, sealed_by(KEY))


@some("source", [SOURCE, STRANGER])
@pytest.mark.parametrize("name", ATTACKS)
def test_who_has_no_key_changes_no_sample(name: str, source: Any, undisturbed: Blocks) -> None:
    with closing(StreamRelay(config_of(packets_per_s=150.0))) as relay:
        played = play(relay, sealed_by(KEY), ATTACKS[name], source)
        counts: dict[str, int] = relay.report()["srtp"]
        assert counts["opened_packets"] == relay.playout.received.packets_received == PACKETS
        assert sum(counts.values()) + relay.stats.capped_datagrams >= 2 * PACKETS - 5
        assert relay.latch.source == SOURCE
        assert relay.playout.received.source_changes == 0
        assert source == STRANGER or relay.stats.capped_datagrams == 0
    np.testing.assert_array_equal(played, undisturbed)


FLOOD = 200
"""Forged packets for each of the sender's: 20 000 a second."""


def flood(rng: random.Random, sent: list[bytes]) -> list[bytes]:
    return [spoilt(with_number(sent[-1], ahead), -1) for ahead in range(1, FLOOD + 1)]


@pytest.mark.parametrize("source", [SOURCE, STRANGER])
def test_of_a_flood_no_more_is_opened_than_a_stream_may_have(
    source: Any, undisturbed: Blocks
) -> None:
    """From another address; from the sender's own all is opened, as there is no telling."""
    allowed = 2000.0
    with closing(StreamRelay(config_of(packets_per_s=allowed))) as relay:
        played = play(relay, sealed_by(KEY), flood, source)
        counts = relay.report()["srtp"]
        assert counts["opened_packets"] == PACKETS
        if source == STRANGER:
            assert counts["forged_packets"] <= allowed * (PACKETS * TICK_S + 1.0)
        assert counts["forged_packets"] + relay.stats.capped_datagrams == FLOOD * PACKETS
    np.testing.assert_array_equal(played, undisturbed)


def test_a_stream_that_begins_in_a_flood_is_heard_soon() -> None:
    sent = sealed_by(KEY, first=0)
    with closing(StreamRelay(config_of())) as relay:
        rng = random.Random(4)
        for k in range(-100, PACKETS):
            strangers = flood(rng, sent[: max(1, k + 1)])
            for number, datagram in enumerate(strangers):
                if number == 100 and k >= 0:
                    relay.receive(sent[k], SOURCE, k * TICK_S)
                at_s = (k + number / FLOOD) * TICK_S
                relay.receive(datagram, STRANGER, at_s)
        assert relay.latch.source == SOURCE
        assert relay.report()["srtp"]["opened_packets"] >= PACKETS - 50


@pytest.mark.parametrize("suite", SUITES)
def test_a_sender_that_changes_its_key_is_refused_until_it_has_the_old_one(suite: str) -> None:
    """Nothing is played in its place, and the stream is not given to another meanwhile."""
    old, new = SrtpKey(KEY.master, suite), SrtpKey(OTHER.master, suite)
    first, again = sealed_by(old, 60, 0), sealed_by(old, 180, 0)[120:]
    between = sealed_by(new, 120, 0)[60:]
    with closing(StreamRelay(config_of(key=old))) as relay:
        play(relay, first + between + again)
        counts = relay.report()["srtp"]
        assert (counts["opened_packets"], counts["forged_packets"]) == (120, 60)
        assert relay.playout.received.packets_received == 120
        lines: list[str] = []
        relay.tell("here", lambda event, says, **_: lines.append(f"{event}: {says}"))
        assert lines == [
            "srtp_refused: here refuses packets that were not sealed with this key; none is played"
        ]


def test_no_forged_packet_moves_the_count_of_wraps() -> None:
    """Not even thousands that claim each number there is."""
    sender, receiver = SrtpSender(KEY), SrtpReceiver(KEY)
    packetizer = Packetizer(L16(RATE, 1), ssrc=SSRC, sequence=65_530)
    block = np.zeros((BLOCK, 1), np.float32)
    for _ in range(12):
        plain = packetizer.pack(block)
        sealed = sender.seal(plain) or b""
        for ahead in range(1, 65_536, 97):
            assert receiver.open(with_number(sealed, ahead)) is None
        assert receiver.open(sealed) == plain
    assert receiver.stats.opened_packets == 12


# ---- live ---------------------------------------------------------------------------------------


class End:
    """One end of a call: a card, its engine, and what it has played."""

    def __init__(self, key: SrtpKey, to: Endpoint) -> None:
        self.backend = FakeBackend(cards=[card(0, "card", 1, 1)])
        self.ports = [
            DevicePort(self.backend, "card", is_input, RATE, 1, TICK_S)
            for is_input in (True, False)
        ]
        for port in self.ports:
            port.open(0.0)
        config = changed(
            LiveConfig(reserve_ms=20),
            sample_rate=RATE,
            packet_samples=BLOCK,
            model="ar",
            delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=20),
            key=key,
        )
        send = SendConfig(device="card", to=to)
        self.engine = LiveEngine(config, HERE, self.ports[1], None, send, self.ports[0])

    @property
    def endpoint(self) -> Endpoint:
        assert isinstance(self.engine.source, NetworkSource)
        return self.engine.source.port.endpoint

    def step(self, now_s: float, block: NDArray[np.float32]) -> None:
        self.backend.stream(True).give(block[:, None])
        self.backend.stream(False).take(BLOCK)
        self.engine.step(now_s)


@pytest.fixture
def far() -> Iterator[UdpPort]:
    with closing(UdpPort(HERE)) as port:
        yield port


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_a_call_is_heard_by_its_key_alone(far: UdpPort, key: SrtpKey) -> None:
    """What the other end says with another key, or with none, is silence here."""
    end = End(KEY, far.endpoint)
    target = far.target(end.endpoint)
    packetizer, sender, receiver = Packetizer(L16(RATE, 1), ssrc=3), SrtpSender(key), SrtpReceiver(
        KEY
    )  # fmt: skip
    try:
        for k, block in enumerate(tones(1, RATE, 100 * BLOCK).reshape(100, BLOCK)):
            packet = packetizer.pack(block[:, None])
            far.send(sender.seal(packet) or b"", target)
            far.send(packet, target)  # and once in the clear
            end.step((k + 1) * TICK_S, block)
        sent = [receiver.open(datagram) for datagram, _ in far.arrived(200)]
        assert len(sent) == 100
        assert None not in sent
        counts = end.engine.report()["srtp"]
        heard = np.concatenate(end.backend.stream(False).played)
        if key is KEY:
            assert counts["opened_packets"] == 100
            assert counts["replayed_packets"] + counts["forged_packets"] == 100
            assert np.abs(heard).max() > 0.1
        else:
            assert counts["forged_packets"] == 200
            assert not heard.any()
        said: list[str] = []
        end.engine.tell(lambda event, says, **_: said.append(event))
        assert "srtp_refused" in said
    finally:
        end.engine.close()


@pytest.mark.parametrize("absent_s", [20.0, 400.0, 700.0])
def test_a_card_that_was_away_for_long_is_sealed_and_heard_again(
    far: UdpPort, absent_s: float
) -> None:
    """Half a turn of the numbers is 327 s here; they would pass for old ones."""
    end, receiver = End(KEY, far.endpoint), SrtpReceiver(KEY)
    assert end.engine.sender is not None
    block = tones(1, RATE, BLOCK)
    try:
        for k in range(50):
            end.step(k * TICK_S, block)
        end.ports[0].close()
        end.ports[0].open(1.0)
        for k in range(50):
            end.step(absent_s + k * TICK_S, block)
        opened = [receiver.open(datagram) for datagram, _ in far.arrived(200)]
        assert None not in opened
        assert len(opened) == end.engine.sender.packets == 100
        assert end.engine.sender.report()["failed_sends"] == 0
        assert end.engine.stats.absent_packets > 0.9 * absent_s / TICK_S
    finally:
        end.engine.close()
