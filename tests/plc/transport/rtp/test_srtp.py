"""SRTP: what is opened, what is refused, and that no key is ever shown."""

import base64
import hmac
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from plc.errors import ConfigError, MissingExtraError
from plc.transport.relay.relayed import StreamRelay
from plc.transport.rtp.packets import RtpPacket, build_rtp
from plc.transport.rtp.rtcp import Reports
from plc.transport.rtp.sdp import build_sdp, parse_sdp
from plc.transport.rtp.send import open_sender
from plc.transport.rtp.srtp import (
    SEALED_BYTES_MAX,
    SOURCES_MAX,
    SUITES,
    SrtpKey,
    SrtpReceiver,
    SrtpSender,
    parse_crypto,
    parse_key,
    read_key,
)
from plc.transport.rtp.udp import Endpoint, UdpPort
from tests.examples import examples
from tests.plc.configs import changed
from tests.plc.transport import streams
from tests.plc.transport.streams import BLOCK, RATE, SOURCE, as_sent, packets_of
from tests.signals import tones

pytest.importorskip("pylibsrtp", reason="pylibsrtp is not installed")

STRANGER = ("192.0.2.66", 4000)
MASTER = bytes(range(1, 31))
KEY = SrtpKey(MASTER)
OTHER = SrtpKey(bytes(30))
TEXT = base64.b64encode(MASTER).decode()
CONFIG = changed(streams.CONFIG, key=KEY, seed=None)


def packets(n: int, ssrc: int = 7) -> list[bytes]:
    return packets_of(tones(1, RATE, n * BLOCK), ssrc)


@pytest.fixture
def relay() -> Iterator[StreamRelay]:
    with closing(StreamRelay(CONFIG)) as opened:
        yield opened


def srtp(relay: StreamRelay) -> dict[str, int]:
    counts: dict[str, int] = relay.report()["srtp"]
    return counts


def received(relay: StreamRelay) -> int:
    return relay.playout.received.packets_received


def told(relay: StreamRelay) -> list[str]:
    lines: list[str] = []

    def note(_event: str, *, says: str = "", **_rest: Any) -> None:
        lines.append(says)

    relay.tell("udp://127.0.0.1:5004", note)
    return lines


@pytest.mark.parametrize("suite", SUITES)
def test_the_right_key_opens_what_was_sealed(suite: str) -> None:
    key = SrtpKey(MASTER, suite)
    sender, receiver = SrtpSender(key), SrtpReceiver(key)
    plain = packets(5)
    sealed = [sender.seal(packet) for packet in plain]
    assert all(s is not None and s[12:] != p[12:] for s, p in zip(sealed, plain, strict=True))
    assert {len(s or b"") - len(p) for s, p in zip(sealed, plain, strict=True)} == {
        10 if suite.endswith("80") else 4
    }
    assert [receiver.open(packet or b"") for packet in sealed] == plain


def test_a_sealed_stream_is_played_bit_for_bit_and_sealed_again(relay: StreamRelay) -> None:
    sender, behind = SrtpSender(KEY), SrtpReceiver(KEY)
    plain = packets(30)
    played = []
    for k, packet in enumerate(plain):
        relay.receive(sender.seal(packet) or b"", SOURCE, 0.01 * k)
        block = relay.play(0.01 * k)
        if block is not None:
            played.append(block[:, 0].copy())
            made = relay.packetizer.pack(block)
            sealed = relay.seal(made)
            assert sealed is not None
            assert made[12:] not in sealed
            assert behind.open(sealed) == made
    assert received(relay) == 30
    assert srtp(relay)["opened_packets"] == 30
    heard = np.concatenate(played)
    signal = as_sent(tones(1, RATE, 30 * BLOCK))
    at = 10 * BLOCK
    assert any(
        np.array_equal(heard[at : at + BLOCK], signal[begin : begin + BLOCK])
        for begin in range(at - 8 * BLOCK, at + 1)
    )
    assert not told(relay)


def test_another_key_is_counted_and_told_once_and_never_played(relay: StreamRelay) -> None:
    sender = SrtpSender(OTHER)
    for k, packet in enumerate(packets(30)):
        relay.receive(sender.seal(packet) or b"", SOURCE, 0.01 * k)
    assert received(relay) == 0
    assert relay.latch.source is None
    assert srtp(relay)["forged_packets"] == 30
    (line,) = told(relay)
    assert "this key does not open" in line
    assert not told(relay)


def test_plain_rtp_to_a_keyed_port_is_never_played(relay: StreamRelay) -> None:
    for k, packet in enumerate(packets(30)):
        relay.receive(packet, SOURCE, 0.01 * k)
    assert received(relay) == 0
    assert srtp(relay)["forged_packets"] == 30
    assert len(told(relay)) == 1


def test_replays_and_forged_tags_are_counted_and_never_played(relay: StreamRelay) -> None:
    sender = SrtpSender(KEY)
    sealed = [sender.seal(packet) or b"" for packet in packets(30)]
    for k, packet in enumerate(sealed):
        relay.receive(packet, SOURCE, 0.01 * k)
        relay.receive(packet, STRANGER, 0.01 * k)
        relay.receive(packet[:-1] + bytes([packet[-1] ^ 1]), SOURCE, 0.01 * k)
        relay.receive(packet[:20] + bytes([packet[20] ^ 1]) + packet[21:], SOURCE, 0.01 * k)
    assert received(relay) == 30
    assert relay.playout.received.duplicate_packets == 0
    counts = srtp(relay)
    assert counts["opened_packets"] == 30
    # Changed copies have numbers that came before, which is seen first.
    assert counts["replayed_packets"] + counts["forged_packets"] == 90
    assert counts["replayed_packets"] >= 30
    assert relay.latch.source == SOURCE
    assert any("came before" in line for line in told(relay))


def test_a_forged_tag_ahead_of_the_stream_is_refused(relay: StreamRelay) -> None:
    sender = SrtpSender(KEY)
    sealed = [sender.seal(packet) or b"" for packet in packets(30)]
    for k, packet in enumerate(sealed):
        relay.receive(packet[:-1] + bytes([packet[-1] ^ 1]), SOURCE, 0.01 * k)
        relay.receive(packet, SOURCE, 0.01 * k)
    assert received(relay) == 30
    assert srtp(relay)["forged_packets"] == 30


def test_a_flood_of_strangers_takes_neither_place_nor_rate() -> None:
    with closing(StreamRelay(changed(CONFIG, packets_per_s=100.0))) as relay:
        sender = SrtpSender(KEY)
        rng = random.Random(1)
        for k, packet in enumerate(packets(30)):
            for _ in range(20):
                relay.receive(b"\x80\x60" + rng.randbytes(200), SOURCE, 0.01 * k)
            relay.receive(sender.seal(packet) or b"", SOURCE, 0.01 * k)
        assert received(relay) == 30
        assert relay.stats.capped_datagrams == 0


def test_each_path_of_a_stream_opens_its_own_copy() -> None:
    config = changed(CONFIG, second=Endpoint("127.0.0.1", 1))
    with closing(StreamRelay(config)) as relay:
        sender = SrtpSender(KEY)
        for k, packet in enumerate(packets(30)):
            sealed = sender.seal(packet) or b""
            if k % 3:
                relay.receive(sealed, SOURCE, 0.01 * k, 0)
            relay.receive(sealed, SOURCE, 0.01 * k, 1)
        assert received(relay) == 30
        assert relay.playout.received.lost_packets == 0
        assert srtp(relay)["replayed_packets"] == 0


def test_rtcp_is_sealed_and_opened_too() -> None:
    pytest.importorskip("aiortc", reason="aiortc is not installed")
    reports = Reports(RATE, 7, "here")
    report = reports.farewell()
    sender, receiver = SrtpSender(KEY), SrtpReceiver(KEY)
    sealed = sender.seal(report)
    assert sealed is not None
    assert sealed[8:] != report[8:]
    assert receiver.open(sealed) == report
    assert receiver.open(sealed) is None
    assert receiver.open(report) is None
    assert SrtpReceiver(OTHER).open(sealed) is None
    assert receiver.stats.replayed_packets == 1


@examples(300)
@given(st.binary(max_size=2000), st.sampled_from([b"", b"\x80\x60", b"\x9f\xe0", b"\x80\xc8"]))
def test_no_datagram_raises_or_is_opened(rest: bytes, head: bytes) -> None:
    receiver = SrtpReceiver(KEY)
    assert receiver.open(head + rest) is None
    stats = receiver.stats
    assert stats.opened_packets == 0
    assert stats.forged_packets + stats.malformed_packets + stats.replayed_packets == 1


def test_every_length_of_a_sealed_packet_but_its_own_is_refused() -> None:
    for suite in SUITES:
        key = SrtpKey(MASTER, suite)
        for plain in (packets(1)[0], bytes.fromhex("80c90001000000070000") * 4):
            sealed = SrtpSender(key).seal(plain) or b""
            receiver = SrtpReceiver(key)
            for size in range(len(sealed)):
                assert receiver.open(sealed[:size]) is None
            assert receiver.open(sealed + b"\0") is None
            assert receiver.open(bytes(65_000)) is None


def test_a_key_holder_with_many_sources_costs_bounded_memory() -> None:
    sender, receiver = SrtpSender(KEY), SrtpReceiver(KEY)
    for ssrc in range(SOURCES_MAX + 5):
        receiver.open(sender.seal(packets(1, ssrc)[0]) or b"")
    assert receiver.stats.opened_packets == SOURCES_MAX
    assert receiver.stats.excess_packets == 5


def test_a_description_brings_the_key_and_none_is_written_into_one() -> None:
    text = (
        "v=0\r\nm=audio 5004 RTP/SAVP 96\r\na=rtpmap:96 L16/16000\r\n"
        "a=crypto:1 F8_128_HMAC_SHA1_80 inline:AAAA\r\n"
        f"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{TEXT}|2^20\r\n"
        f"a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{TEXT}\r\n"
    )
    (media,) = parse_sdp(text)
    assert media.key == SrtpKey(MASTER, SUITES[1])
    assert media.is_secure
    written = build_sdp([media])
    assert "RTP/SAVP" in written
    assert TEXT not in written
    (again,) = parse_sdp(written)
    assert again.is_secure
    assert again.key is None


@pytest.mark.parametrize(
    "value",
    [
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{TEXT}|2^20|1:4",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{TEXT} UNENCRYPTED_SRTP",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{TEXT[:-1]}",
        f"1 AES_256_CM_HMAC_SHA1_80 inline:{TEXT}",
        "",
        "1 AES_CM_128_HMAC_SHA1_80 inline:",
    ],
)
def test_what_sdes_has_beyond_one_key_is_not_understood(value: str) -> None:
    assert parse_crypto(value) is None


@pytest.mark.parametrize("text", ["", TEXT[:-4], TEXT + "AAAA", "secret!", "F8:" + TEXT, "é" * 40])
def test_what_is_no_key_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(text + "\n", encoding="utf-8")
    parses: list[Callable[[], object]] = [lambda: parse_key(text), lambda: read_key(file)]
    for parse in parses:
        with pytest.raises(ConfigError, match="SRTP key") as raised:
            parse()
        assert not text or text not in str(raised.value)
        assert raised.value.__cause__ is None


def test_keys_are_read_from_text_and_file_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SUITES[1]}:{TEXT}\n")
    assert parse_key(TEXT) == KEY
    assert read_key(file) == SrtpKey(MASTER, SUITES[1])
    for shown in (repr(KEY), str(KEY), repr(CONFIG), repr(CONFIG.receiver)):
        assert TEXT not in shown
        assert repr(MASTER) not in shown


def test_numbers_that_could_repeat_are_refused_with_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SRTP takes none"):
        changed(CONFIG, seed=1)
    path = tmp_path / "tones.wav"
    soundfile.write(path, tones(1, RATE, RATE), RATE)
    with pytest.raises(ConfigError, match="SRTP takes none"):
        open_sender(path, Endpoint("127.0.0.1", 9), seed=1, key=KEY)


def test_packets_too_long_to_be_sealed_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=f"at most {SEALED_BYTES_MAX}"):
        changed(CONFIG, packet_samples=800)
    sender = SrtpSender(KEY)
    assert sender.seal(packets(1)[0] + bytes(SEALED_BYTES_MAX)) is None
    assert sender.failed == 1


def test_a_sender_seals_every_packet(tmp_path: Path) -> None:
    path = tmp_path / "tones.wav"
    soundfile.write(path, tones(1, RATE, RATE), RATE)
    receiver = SrtpReceiver(KEY)
    with closing(UdpPort(Endpoint("127.0.0.1", 0))) as port:
        with closing(open_sender(path, port.endpoint, key=KEY)) as sender:
            for tick in range(100):
                sender.advance(0.01 * tick)
        opened = [receiver.open(datagram) for datagram, _ in port.arrived(200)]
    assert len(opened) == 100
    assert None not in opened


def test_without_pylibsrtp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylibsrtp", None)
    with pytest.raises(MissingExtraError, match=r"SRTP needs pylibsrtp.*pip install .*\[rtp\]"):
        SrtpReceiver(KEY)


# ---- outages, late listeners, handovers ---------------------------------------------------------


def at(index: int, ssrc: int = 7) -> bytes:
    return build_rtp(RtpPacket(96, index % 2**16, index * BLOCK % 2**32, ssrc, bytes(2 * BLOCK)))


class Sent:
    """Sealed packets of a stream, of which most go nowhere."""

    def __init__(self, key: SrtpKey = KEY, ssrc: int = 7) -> None:
        self._sender, self._ssrc, self._at = SrtpSender(key), ssrc, 0

    def sealed(self, index: int) -> bytes:
        while index - self._at > 32_000:
            self._at += 32_000
            self._sender.seal(at(self._at, self._ssrc))
        self._at = max(self._at, index)
        return self._sender.seal(at(index, self._ssrc)) or b""


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("first", [0, 32_760, 40_000, 65_500])
@pytest.mark.parametrize("gap", [32_700, 32_769, 40_000, 65_000, 65_536, 70_000, 3_600_000])
def test_a_stream_goes_on_after_any_outage(suite: str, first: int, gap: int) -> None:
    sent, receiver = Sent(SrtpKey(MASTER, suite)), SrtpReceiver(SrtpKey(MASTER, suite))
    before = [sent.sealed(first + k) for k in range(30)]
    assert None not in [receiver.open(packet) for packet in before]
    indices = range(first + gap, first + gap + 300)
    after = [sent.sealed(index) for index in indices]
    opened = [receiver.open(packet) for packet in after]
    # A short tag proves too little to try what seems a double; an hour of 1 ms takes some tries.
    least = 128 if gap == 65_536 and suite.endswith("32") else 30 if gap > 2**20 else 0
    assert opened[least:] == [at(index) for index in indices[least:]]
    # Nothing is opened twice, whatever it was opened as.
    again = [receiver.open(packet) for packet in before + after]
    assert set(again) == {None}


@pytest.mark.parametrize(("turns", "least"), [(1, 0), (12, 0), (60, 60), (300, 1000)])
def test_a_stream_that_has_turned_before_it_is_first_heard_is_opened(
    turns: int, least: int
) -> None:
    sent, receiver = Sent(), SrtpReceiver(KEY)
    opened = [receiver.open(sent.sealed(65_536 * turns + k)) for k in range(least + 100)]
    assert None not in opened[least:]


def test_sources_turn_each_by_itself_and_reordered_packets_are_opened() -> None:
    receiver, rng = SrtpReceiver(KEY), random.Random(2)
    sources = [Sent(ssrc=ssrc) for ssrc in range(5)]
    for begin in (0, 50_000, 150_000):
        packets_ = [
            sent.sealed(begin * (ssrc + 1) + k) for ssrc, sent in enumerate(sources)
            for k in range(40)
        ]  # fmt: skip
        packets_.sort(key=lambda _: rng.random())
        assert None not in [receiver.open(packet) for packet in packets_]


def test_a_flood_of_forged_packets_is_tried_with_few_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = 0
    digest = hmac.digest

    def counted(key: bytes, message: bytes, name: str) -> bytes:
        nonlocal tries
        tries += 1
        return digest(key, message, name)

    monkeypatch.setattr(hmac, "digest", counted)
    rng, sent, receiver = random.Random(3), Sent(), SrtpReceiver(KEY)
    receiver.open(sent.sealed(0))
    for _ in range(10_000):
        receiver.open(at(rng.getrandbits(16), rng.choice([7, 8]))[:12] + rng.randbytes(200))
    assert tries < 5200
    assert receiver.stats.forged_packets + receiver.stats.replayed_packets == 10_000
    opened = [receiver.open(sent.sealed(100_000 + k)) for k in range(100)]
    assert None not in opened[12:]


def test_an_authenticated_packet_moves_its_stream_to_another_address_at_once(
    relay: StreamRelay,
) -> None:
    sent = Sent()
    for k in range(60):
        # What was under way by the first address comes between packets by the second.
        source = SOURCE if k < 30 or k in (33, 36) else STRANGER
        relay.receive(sent.sealed(k), source, 0.01 * k)
        relay.play(0.01 * k)
    assert relay.stats.refused_datagrams == 0
    assert received(relay) == 60
    assert relay.latch.source == STRANGER


def test_another_ssrc_of_the_same_key_takes_no_place_at_once(relay: StreamRelay) -> None:
    sent, other = Sent(), Sent(ssrc=8)
    for k in range(60):
        relay.receive(sent.sealed(k), SOURCE, 0.01 * k)
        relay.receive(other.sealed(k), STRANGER, 0.01 * k)
    assert relay.stats.refused_datagrams == 60
    assert relay.latch.source == SOURCE
