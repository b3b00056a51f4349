"""What comes and is not as configured: said once, with the option that takes it."""

import random
import re
import signal
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc import notice
from plc.errors import ConfigError
from plc.transport.cli.options import ReceiverOptions
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import (
    G711,
    L16,
    STATIC_CODINGS,
    Codec,
    open_codec,
    samples_per_tick,
    usual_rate,
)
from plc.transport.rtp.mismatch import Told, in_words
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import RtpPacket, build_rtp, parse_rtp
from plc.transport.rtp.playout import Playout
from plc.transport.rtp.udp import Endpoint
from tests.plc import configs
from tests.plc.transport.programs import line_of, plc
from tests.plc.transport.relay.served_relay import free_port
from tests.plc.transport.streams import Incoming
from tests.signals import tones

SENDER = ("192.0.2.1", 40_000)
PACKET_S = 0.01
HERE = Endpoint("127.0.0.1", 0)


def lines_of(playout: Playout, sent: list[tuple[float, bytes]]) -> list[str]:
    """Return what is said of these packets, taken at these times."""
    told = Told(playout.inspection)
    lines: list[str] = []

    def note(event: str, *, says: str, **_: Any) -> None:
        assert event == "mismatch"
        lines.append(says)

    for at_s, datagram in sent:
        playout.put(datagram, at_s)
        told.note_source(SENDER)
        told.tell("udp://127.0.0.1:5004", note)
    return lines


def sent_by(
    codec: Codec, seconds: float = 1.0, speed: float = 1.0, **options: int
) -> list[tuple[float, bytes]]:
    """Return the packets of a sender and when each comes."""
    packetizer = Packetizer(codec, ssrc=0xABCD, timestamp=2**32 - 3000, **options)
    block = round(codec.sample_rate * PACKET_S)
    signal_ = tones(1, codec.sample_rate, block)[:, None].repeat(codec.channels, axis=1)
    return [
        (k * PACKET_S / speed, packetizer.pack(signal_)) for k in range(round(seconds / PACKET_S))
    ]


def playout_of(
    name: str, sample_rate: int, channels: int = 1, payload_type: int | None = None
) -> Playout:
    codec = open_codec(name, sample_rate, channels)
    block = round(sample_rate * PACKET_S)
    return configs.playout_of(codec, block, model="ar", payload_type=payload_type)


@pytest.mark.parametrize(
    ("codec", "taken", "says"),
    [
        (L16(44_100, 2), ("l16", 48_000, 1), r"payload type 10 \(l16, 44100 Hz, 2 channels, .*"
         r"not 96 \(l16, 48000 Hz, 1 channel\): give --sample-rate 44100 --channels 2$"),
        (G711("pcma"), ("pcmu", 16_000, 1),
         r"payload type 8 \(pcma, .*: give --codec pcma --sample-rate 8000 --channels 1$"),
        (G711("pcmu"), ("l16", 48_000, 1),
         r"payload type 0 .*: give --codec pcmu --sample-rate 8000 --channels 1$"),
    ],
)  # fmt: skip
def test_a_payload_type_that_says_all_is_told_with_every_option(
    codec: Codec, taken: tuple[str, int, int], says: str
) -> None:
    (line,) = lines_of(playout_of(*taken), sent_by(codec))
    assert line.startswith("udp://127.0.0.1:5004 receives ")
    assert " from 192.0.2.1:40000, " in line
    assert "SSRC 0000abcd" in line
    assert re.search(says, line), line


def test_another_payload_type_is_told_after_three_packets_and_once() -> None:
    sent = sent_by(L16(48_000, 1), payload_type=97)
    playout = playout_of("l16", 48_000)
    assert lines_of(playout, sent[:2]) == []
    (line,) = lines_of(playout, sent[2:])
    assert line == (
        "udp://127.0.0.1:5004 receives payload type 97 (l16, 48000 Hz, 1 channel, packets of 960 "
        "bytes, SSRC 0000abcd) from 192.0.2.1:40000, not 96 (l16, 48000 Hz, 1 channel): "
        "it is played, as it decodes as that"
    )
    assert playout.arrivals.payload_type == 97


def test_redundancy_that_was_not_expected_is_told_as_such() -> None:
    (line,) = lines_of(playout_of("l16", 16_000), sent_by(L16(16_000, 1), redundancy=2))
    assert "redundant audio" in line
    assert line.endswith(": give --red-payload-type 100")


@pytest.mark.parametrize(("sent", "taken"), [(2, 1), (1, 2), (6, 2), (1, 8)])
def test_another_count_of_channels_is_told(sent: int, taken: int) -> None:
    (line,) = lines_of(playout_of("l16", 48_000, taken), sent_by(L16(48_000, sent)))
    assert line.endswith(f": give --channels {sent}")
    assert "payload type 96" in line


@pytest.mark.parametrize("taken", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("sent", [32_000, 48_000])
@pytest.mark.parametrize("jitter_s", [0.0, 0.05])
def test_another_sample_rate_is_told(sent: int, taken: int, jitter_s: float) -> None:
    rng = random.Random(1)
    packets = sent_by(L16(sent, 1), 5.0, payload_type=96)
    late = [(at_s + rng.uniform(0, jitter_s), datagram) for at_s, datagram in packets]
    lines = lines_of(playout_of("l16", taken, payload_type=96), late)
    if sent == taken:
        assert lines == []
    else:
        (line,) = lines
        assert line.endswith(f"not by {taken}: give --sample-rate {sent}")


def restamped(sent: list[tuple[float, bytes]], share: float) -> list[tuple[float, bytes]]:
    """Return packets of 480 samples whose stamps advance by that share of it."""
    changed = []
    for k, (at_s, datagram) in enumerate(sent):
        packet = parse_rtp(datagram)
        assert isinstance(packet, RtpPacket)
        changed.append((at_s, build_rtp(packet._replace(timestamp=int(share * 480 * k)))))
    return changed


@pytest.mark.parametrize(
    ("name", "channels", "share"), [("l16", 2, 2.0), ("opus", 1, 0.5), ("l24", 1, 0.5)]
)
def test_stamps_that_alone_are_wrong_are_told_and_no_option_is_advised(
    name: str, channels: int, share: float
) -> None:
    sent = restamped(sent_by(open_codec(name, 48_000, channels), 6.0), share)
    playout = playout_of(name, 48_000, channels)
    (line,) = lines_of(playout, sent)
    assert "played by their numbers" in line
    assert "--" not in line


def test_telephone_events_of_another_source_are_no_audio() -> None:
    events = [
        (3.0 + 0.05 * k, build_rtp(RtpPacket(101, k, 7000, 9, bytes([5, 10, 0, k]))))
        for k in range(20)
    ]
    sent = sorted(sent_by(G711("pcmu"), 5.0) + events)
    assert lines_of(playout_of("pcmu", 8000), sent) == []


def test_a_type_that_would_not_be_audio_as_configured_is_not_advised_as_such() -> None:
    sent = [(0.02 * k, build_rtp(RtpPacket(98, k, 960 * k, 1, bytes(61)))) for k in range(20)]
    (line,) = lines_of(playout_of("l16", 48_000), sent)
    assert "--payload-type" not in line


def test_a_switch_to_a_static_type_of_other_samples_is_told_at_once() -> None:
    sent = sent_by(L16(48_000, 1), 1.0)
    sent += [(1.0 + at_s, datagram) for at_s, datagram in sent_by(G711("pcmu"), 0.1)]
    (line,) = lines_of(playout_of("l16", 48_000), sent)
    assert "payload type 0 (pcmu, 8000 Hz, 1 channel" in line


@pytest.mark.parametrize("says_goodbye", [False, True])
def test_a_change_of_the_source_is_told_once_and_at_once_after_a_goodbye(
    says_goodbye: bool,
) -> None:
    codec = L16(8000, 1)
    config = configs.changed(
        RelayConfig(listen=HERE, to=HERE), sample_rate=8000, packet_samples=80, model="ar"
    )
    relay = StreamRelay(config)
    sent = sent_by(codec, 0.5)
    later = Packetizer(codec, ssrc=0xEEEE)
    block = np.zeros((80, 1), np.float32)
    sent += [(0.5 + PACKET_S * k, later.pack(block)) for k in range(40)]
    lines: list[str] = []
    changed_s = 0.0
    for k, (at_s, datagram) in enumerate(sent):
        if k == 50 and says_goodbye:
            goodbye = struct.pack("!BBHIBBHI", 0x80, 201, 1, 0xABCD, 0x81, 203, 1, 0xABCD)
            relay.receive(goodbye, SENDER, at_s)
        relay.receive(datagram, SENDER, at_s)
        if relay.playout.buffer.ssrc == 0xEEEE:
            changed_s = changed_s or at_s
        relay.told.tell("here", lambda event, says, **_: lines.append(f"{event}: {says}"))
    assert lines == [
        "source: here plays SSRC 0000eeee from 192.0.2.1:40000 now, not 0000abcd any more"
    ]
    assert 0.5 < changed_s <= (0.52 if says_goodbye else 0.58)


def heard_of(playout: Playout, sent: list[tuple[float, bytes]]) -> tuple[list[str], float]:
    """Return what is said of packets, and how loud they are played."""
    played, incoming, lines = [], Incoming(sent), []
    told = Told(playout.inspection)
    for tick in range(round((sent[-1][0] + 0.1) / PACKET_S)):
        now_s = tick * PACKET_S
        for at_s, datagram in incoming.until(now_s + 1e-9):
            playout.put(datagram, at_s)
            told.note_source(SENDER)
        told.tell("here", lambda _event, says, **_: lines.append(says))
        played.append(playout.tick(now_s).copy())
    return lines, float(np.sqrt(np.mean(np.concatenate(played, axis=1) ** 2)))


CODINGS = [
    *(("l16", 48_000, 1), ("l16", 48_000, 2), ("l16", 44_100, 2), ("l16", 8000, 1)),
    *(("l24", 48_000, 2), ("pcmu", 8000, 1), ("pcma", 8000, 1), ("opus", 48_000, 1)),
]


@pytest.mark.parametrize("taken", CODINGS)
@pytest.mark.parametrize("sent", CODINGS)
def test_what_is_of_another_coding_is_silence_and_the_line_names_what_it_is(
    sent: tuple[str, int, int], taken: tuple[str, int, int]
) -> None:
    """Or no option: never a wrong one."""
    codec = open_codec(*sent)
    packets = voiced_by(codec, 1.5, payload_type=96)
    playout = playout_of(*taken, payload_type=96)
    lines, rms = heard_of(playout, packets)
    if sent[0] != taken[0] or sent[2] != taken[2]:
        assert rms < 0.01
        assert playout.stats.undecodable_packets > 0 or playout.received.empty_packets > 0
    if sent == taken:
        assert lines == []
        assert rms > 0.01
        return
    for line in lines:
        advice = line.rpartition(": ")[2]
        for option, value in zip(("codec", "sample-rate", "channels"), sent, strict=True):
            if f"--{option} " in f"{advice} " and "see --" not in advice:
                assert f"--{option} {value}" in advice
    if sent[0] != taken[0] and "opus" not in (sent[0], taken[0]):
        assert any(f"--codec {sent[0]}" in line for line in lines)
    if sent[0] == taken[0] and sent[2] != taken[2]:
        assert any(f"--channels {sent[2]}" in line for line in lines)


@pytest.mark.parametrize("stamps", ["right", "twice", "half", "pauses first"])
@pytest.mark.parametrize(
    "coding", [("l16", 48_000, 2), ("l16", 8000, 1), ("l24", 48_000, 1), ("pcmu", 8000, 1),
               ("opus", 48_000, 1)]
)  # fmt: skip
def test_noise_and_clicks_as_configured_are_played_whatever_their_stamps(
    coding: tuple[str, int, int], stamps: str
) -> None:
    """Nothing tells noise from a payload of another coding: in doubt it is audio."""
    codec, rng = open_codec(*coding), np.random.default_rng(5)
    n = coding[1] // 50
    for sound in (0.1 * rng.standard_normal((150, n)), 0.9 * (rng.random((150, n)) < 0.02)):
        playout = playout_of(*coding, payload_type=96)
        for k, each in enumerate(sound.astype(np.float32)):
            pause = 20 * min(k, 2) if stamps == "pauses first" else 0
            stamp = round((k + pause) * n * {"twice": 2.0, "half": 0.5}.get(stamps, 1.0))
            payload = codec.encode(each[:, None].repeat(coding[2], axis=1))
            playout.put(build_rtp(RtpPacket(96, k, stamp, 1, payload)), 0.02 * (k + pause))
            assert not playout.inspection.is_misread


def voiced_by(codec: Codec, seconds: float, **options: int) -> list[tuple[float, bytes]]:
    """Return packets of 20 ms of a voice-like sound that rises and falls."""
    packetizer = Packetizer(codec, ssrc=0xABCD, timestamp=1000, **options)
    block, rng = round(codec.sample_rate * 0.02), np.random.default_rng(3)
    steps = rng.standard_normal(round(seconds / 0.02) * block) * 48_000 / codec.sample_rate
    sound = np.zeros(steps.size)
    pole = np.exp(-2 * np.pi * 60 / codec.sample_rate)
    for k in range(1, steps.size):
        sound[k] = pole * sound[k - 1] + steps[k]
    sound *= 0.1 / sound.std()
    blocks = sound.reshape(-1, block).astype(np.float32)
    return [
        (0.02 * k, packetizer.pack(each[:, None].repeat(codec.channels, axis=1)))
        for k, each in enumerate(blocks)
    ]


@pytest.mark.parametrize("sent", CODINGS)
@pytest.mark.parametrize("taken", CODINGS)
def test_another_type_is_advised_as_what_it_decodes_as(
    sent: tuple[str, int, int], taken: tuple[str, int, int]
) -> None:
    packets = voiced_by(open_codec(*sent), 0.2, payload_type=105)
    playout = playout_of(*taken)
    (line,) = lines_of(playout, packets)
    advice = line.rpartition(": ")[2]
    is_played = sent == taken and sent[0] != "g722"  # any bytes decode as that
    assert (playout.arrivals.payload_type == 105) == is_played
    names = ("codec", "sample-rate", "channels")
    wanted = [
        f"--{name} {value}"
        for name, value, own in zip(names, sent, taken, strict=True)
        if value != own
    ]
    if "opus" in (sent[0], taken[0]) and sent[0] == "opus" != taken[0]:
        assert "--payload-type" not in advice
    elif is_played:
        assert advice == "it is played, as it decodes as that"
    else:
        assert advice == " ".join(["give", *wanted, "--payload-type 105"])


@pytest.mark.parametrize(
    "name", [("opus", 48_000, 1), ("l16", 48_000, 1), ("pcmu", 8000, 1), ("g722", 16_000, 1)]
)
def test_a_type_that_changes_in_midstream_is_told_and_taken_within_a_second(
    name: tuple[str, int, int],
) -> None:
    sent = []
    for at_s, datagram in voiced_by(open_codec(*name), 4.0):
        changed = datagram[:1] + bytes([102]) + datagram[2:]
        sent.append((at_s, changed if at_s >= 2.0 else datagram))
    playout = playout_of(*name)
    lines, _ = heard_of(playout, sent)
    (line,) = lines
    assert "payload type 102" in line
    # As G.722 any bytes decode: nothing is guessed.
    is_told = "name its codec by --codec" if name[0] == "g722" else "it decodes as that"
    assert line.endswith(is_told)
    played = playout.received.played_samples
    assert played >= 3.7 * name[1] if name[0] != "g722" else played < 2.3 * name[1]


def changed_to(name: str, later: list[bytes]) -> tuple[Playout, list[str]]:
    """Return what has played a second of a codec, and packets of 20 ms behind it; what is said."""
    codec = open_codec(name, usual_rate(name), 1)
    sent = voiced_by(codec, 1.0)
    last = parse_rtp(sent[-1][1])
    assert isinstance(last, RtpPacket)
    ticks = codec.sample_rate // samples_per_tick(name) // 50
    for k, datagram in enumerate(later, 1):
        packet = parse_rtp(datagram)
        assert isinstance(packet, RtpPacket)
        place = last.sequence + k, last.timestamp + ticks * k, last.ssrc
        moved = RtpPacket(packet.payload_type, *place, packet.payload)
        sent.append((0.02 * (49 + k), build_rtp(moved)))
    playout = playout_of(name, codec.sample_rate)
    return playout, heard_of(playout, sent)[0]


# Of a stream, a payload type behind it, and what is in it that is neither.
STRANGERS = [
    (name, number, sent)
    for name in ("g722", "pcmu", "l16", "opus")
    for number in (0, 8, 9, 11, 34, 97)
    for sent in ("pcmu", "pcma", "l16", "g722", "random")
    if (sent != name and number > 11)
    or (STATIC_CODINGS.get(number, name)[0] == sent != name and (name, number) != ("pcmu", 8))
]


@pytest.mark.parametrize(("name", "number", "law"), STRANGERS)
def test_another_coding_in_midstream_is_told_and_silent_whatever_its_number(
    name: str, number: int, law: str
) -> None:
    """Any bytes decode as G.722, L16 and G.711, and a static number is what it says."""
    rng = np.random.default_rng(2)
    later = [build_rtp(RtpPacket(number, 0, 0, 1, rng.bytes(160))) for _ in range(300)]
    if law != "random":
        sent = voiced_by(open_codec(law, usual_rate(law), 1), 6.0, payload_type=number)
        later = [datagram for _, datagram in sent]
    playout, lines = changed_to(name, later)
    assert playout.stats.unknown_packets == 300
    (line,) = lines
    assert f"payload type {number} " in line
    assert "it is played" not in line


def test_packets_that_hold_no_sample_are_told() -> None:
    playout = playout_of("l16", 48_000, 2)
    sent = [
        (0.01 * k, build_rtp(RtpPacket(96, k, 480 * k, 1, bytes(size))))
        for k, size in enumerate([0] * 10 + [3] * 10)
    ]
    (line,) = lines_of(playout, sent)
    assert "packets of 3 bytes (payload type 96, SSRC 00000001)" in line
    assert "--codec" in line


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
@pytest.mark.parametrize("taken", [("g722", 16_000, 1), ("pcmu", 8000, 1), ("pcma", 8000, 1)])
def test_codings_of_one_size_are_told_apart_by_what_they_decode_as(
    law: str, taken: tuple[str, int, int]
) -> None:
    playout = playout_of(*taken, payload_type=96)
    lines, rms = heard_of(playout, voiced_by(G711(law), 3.0, payload_type=96))
    if law == taken[0]:
        assert (lines, rms > 0.05) == ([], True)
        return
    (line,) = lines
    rate = " --sample-rate 8000" if taken[1] != 8000 else ""
    assert line.endswith(
        f"which is not {taken[0]}, {taken[1]} Hz, 1 channel: give --codec {law}{rate}"
    )
    assert rms < 0.01


def test_another_coding_of_the_same_payload_type_is_told() -> None:
    (line,) = lines_of(playout_of("l16", 8000, payload_type=0), sent_by(G711("pcmu")))
    assert "80 bytes for each 80 samples" in line
    assert line.endswith("see --codec and --channels")


@pytest.mark.parametrize("name", ["l16", "pcmu"])
def test_a_stream_as_configured_says_nothing(name: str) -> None:
    """Whatever is lost, doubled, overtaken or paused of it, and with events in it."""
    rng = random.Random(2)
    codec = open_codec(name, 8000, 1)
    packetizer = Packetizer(codec, ssrc=1)
    event = Packetizer(codec, ssrc=1, payload_type=101)
    sent: list[tuple[float, bytes]] = []
    now_s = 0.0
    block = np.zeros((80, 1), np.float32)
    for k in range(3000):
        now_s += PACKET_S
        datagram = packetizer.pack(block)
        if rng.random() < 0.2:
            continue
        sent += [(now_s + rng.uniform(0.0, 0.03), datagram)] * rng.choice([1, 1, 1, 2])
        if k % 100 == 99:
            pause = rng.randrange(100)
            packetizer._timestamp += 80 * pause
            for _ in range(pause):
                now_s += PACKET_S
                sent.append((now_s, event.pack(block)))
    sent.sort(key=lambda each: each[0])
    assert lines_of(playout_of(name, 8000), sent) == []


def test_whatever_comes_a_few_lines_are_said_at_most() -> None:
    rng = random.Random(3)
    sent = [
        (0.001 * k, build_rtp(RtpPacket(rng.randrange(64), k % 65536, rng.getrandbits(32),
                                        rng.getrandbits(32), rng.randbytes(rng.randrange(99)))))
        for k in range(20_000)
    ]  # fmt: skip
    assert len(lines_of(playout_of("l16", 48_000), sent)) == 4


def test_what_is_said_names_who_sent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(notice, "listener", said.append)
    here = Endpoint("127.0.0.1", 0)
    relay = StreamRelay(configs.changed(RelayConfig(listen=here, to=here, seed=1), model="ar"))
    for at_s, datagram in sent_by(L16(48_000, 1), payload_type=97):
        relay.receive(datagram, ("::1", 7), at_s)
    relay.told.tell("here", in_words)
    assert len(said) == 1
    assert " from [::1]:7, " in said[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fixed_delay_ms": 2000.0}, "--fixed-delay-ms is 2000; supported: 0 to --max-delay-ms"),
        ({"headroom_ms": 300.0}, "--headroom-ms is 300"),
        ({"max_delay_ms": 0.0}, "--max-delay-ms is 0"),
    ],
)
def test_a_delay_over_the_limit_is_told_by_its_option(options: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ReceiverOptions(**options).config()  # type: ignore[arg-type]  # one of several numbers


# ---- as programs --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.deep)])
def test_a_relay_says_at_once_what_comes_and_one_that_heard_nothing_fails(
    tmp_path: Path, workers: int
) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, tones(1, 44_100, 44_100)[:, None].repeat(2, axis=1), 44_100)
    ports = [free_port() for _ in range(workers)]
    relay = plc(
        *("relay", "--model", "ar", "--workers", workers),
        *(f"--listen=udp://127.0.0.1:{port}" for port in ports),
        *(f"--to=udp://127.0.0.1:{9 + k}" for k in range(workers)),
    )
    senders = [plc("send", source, "--to", f"udp://127.0.0.1:{port}", "--loop") for port in ports]
    said: list[str] = []
    try:
        while len(said) < workers:  # while the relay still runs
            line = line_of(relay.stderr)
            assert line, "the relay has ended"
            said += [line] if "receives" in line else []
    finally:
        relay.send_signal(signal.SIGTERM)
        for sender in senders:
            sender.kill()
            sender.communicate()
        out, errors = relay.communicate(timeout=120)
    for line, port in zip(sorted(said), sorted(ports, key=str), strict=True):
        assert line.startswith(f"plc: udp://127.0.0.1:{port} receives payload type 10 (l16, ")
        assert line.endswith(": give --sample-rate 44100 --channels 2\n")
    assert relay.returncode == 1, errors
    assert out.count("of another payload type") == workers
    assert errors.count("heard no stream: packets left out: ") == workers


def test_a_relay_that_nobody_sends_to_says_so_and_fails_unless_it_is_a_service(
    tmp_path: Path,
) -> None:
    relay = plc(
        *("relay", "--model", "ar", "--listen", "udp://127.0.0.1:0", "--seconds", 0),
        *("--to", tmp_path / "a.wav"),
    )
    file = tmp_path / "relay.toml"
    stream = f'name = "hall"\nmodel = "ar"\nlisten = "udp://127.0.0.1:0"\nto = "{tmp_path}/b.wav"'
    file.write_text(f"[[stream]]\n{stream}\n")
    service = plc("relay", "--config", file, "--seconds", 0)
    _, errors = relay.communicate(timeout=120)
    assert relay.returncode == 1
    assert errors.splitlines()[-1].endswith(" heard no stream: no datagram at all")
    said, errors = service.communicate(timeout=120)
    assert service.returncode == 0, errors
    assert errors.splitlines()[-1] == "plc: hall heard no stream: no datagram at all"
    assert said.startswith(f"hall -> {tmp_path}/b.wav: 0 packets in")
