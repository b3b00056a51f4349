"""The relay and its neighbours: streams over the loopback, by a clock of the test's own."""

import contextlib
import itertools
import math
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.errors import ConfigError, NetworkError
from plc.files.tags.carried import read_tags
from plc.transport.cli.options import heard_nothing
from plc.transport.relay.relay import Relay, run_relay
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import L16, L24, Codec
from plc.transport.rtp.latch import Latch, RateCap
from plc.transport.rtp.outcomes import Verdict
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import Malformed, RtpPacket, parse_rtp
from plc.transport.rtp.playout import Playout
from plc.transport.rtp.rtcp import ended_by
from plc.transport.rtp.send import RtpSender, blocks_of, open_sender
from plc.transport.rtp.udp import (
    Endpoint,
    UdpPort,
    is_in,
    parse_endpoint,
    parse_network,
    sending_port,
    serve,
    step,
)
from plc.transport.service.recorder import RecordingFile
from tests.examples import examples, is_deep
from tests.plc.configs import changed
from tests.plc.transport import streams
from tests.plc.transport.programs import listening, plc
from tests.plc.transport.relay.served_relay import comes_true, free_port
from tests.plc.transport.streams import (
    BLOCK,
    HERE,
    OTHER,
    RATE,
    SOURCE,
    TICK_S,
    Incoming,
    as_sent,
    find,
    packets_of,
)
from tests.signals import noise, tones

CONFIG = changed(streams.CONFIG, model="auto")


def run(
    relay: StreamRelay,
    datagrams: list[tuple[float, bytes, tuple[str, int]]],
    until_s: float,
) -> NDArray[np.float32]:
    """Feed datagrams at their times; return what is played, shape (n,)."""
    incoming, played = Incoming(datagrams), []
    for tick in range(round(until_s / TICK_S)):
        now_s = tick * TICK_S
        for at_s, datagram, source in incoming.until(now_s):
            relay.receive(datagram, source, at_s)
        while relay.next_s <= now_s:
            block = relay.play(now_s)
            if block is not None:
                played.append(block[:, 0].copy())
    return np.concatenate(played) if played else np.empty(0, np.float32)


def sent_at(
    packets: list[bytes], source: tuple[str, int] = SOURCE, begin_s: float = 0.0
) -> list[tuple[float, bytes, tuple[str, int]]]:
    return [(begin_s + k * TICK_S, packet, source) for k, packet in enumerate(packets)]


def test_a_block_is_late_by_when_it_left() -> None:
    """Also where the work on the streams before it held it up."""
    ports = [UdpPort(HERE) for _ in range(4)]
    configs = [changed(CONFIG, listen=port.endpoint) for port in ports]
    for port in ports:
        port.close()
    for step_s, late in ((0.0, [0, 0, 0, 0]), (0.3 * TICK_S, [0, 0, 1, 1])):
        received = [-0.1] * len(configs) * 9
        times = iter(received + [step_s * k for k in range(1000)])
        with closing(Relay(configs, lambda times=times: next(times))) as relay:  # type: ignore[misc]
            for number, stream in enumerate(relay.streams):
                for packet in packets_of(tones(number, RATE, 9 * BLOCK)):
                    relay.receive(number, packet, SOURCE, -0.1)
                while stream.next_s < -1e-9:
                    stream.play(stream.next_s)
            sent = [stream.stats.packets_sent for stream in relay.streams]
            relay.advance(0.0)
            for stream, before, is_late in zip(relay.streams, sent, late, strict=True):
                assert stream.stats.packets_sent == before + 1
                assert stream.stats.late_packets_sent == is_late


def test_who_is_behind_conceals_by_what_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    plain = Playout.tick

    def tick(self: Playout, now_s: float, limit_ms: float = math.inf) -> NDArray[np.float32]:
        limits.append(limit_ms)
        return plain(self, now_s, limit_ms)

    monkeypatch.setattr(Playout, "tick", tick)
    relay = StreamRelay(CONFIG)
    for packet in packets_of(np.zeros(3 * BLOCK, np.float32)):
        relay.receive(packet, SOURCE, 0.0)
    for behind in (0.0, 0.2, 0.6, 1.5):
        relay.play(relay.next_s + behind * TICK_S)
    assert limits == [math.inf, math.inf, pytest.approx(0.25 * 0.4 * 1000 * TICK_S), 0.0]
    assert relay.stats.hurried_packets == 2


def test_a_recording_waits_for_its_time() -> None:
    relay = StreamRelay(replace(CONFIG, to=RecordingFile(Path("never.wav"))))
    for packet in packets_of(np.zeros(3 * BLOCK, np.float32)):
        relay.receive(packet, SOURCE, 0.0)
    for behind_s in (0.0, 0.4, 0.6):
        relay.play(relay.next_s, relay.next_s + behind_s)
    assert relay.stats.hurried_packets == 1


# ---- latching -----------------------------------------------------------------------------------


def packet_of(ssrc: int, sequence: int = 0) -> bytes:
    return packets_of(np.zeros(BLOCK, np.float32), ssrc, sequence)[0]


def test_a_source_that_is_never_believed_keeps_nobody_out() -> None:
    latch = Latch()
    for tick in range(40):
        latch.heard(OTHER, packet_of(8), Verdict.PROBATION, tick * TICK_S)
    assert not latch.admits(SOURCE, packet_of(7), 0.2)
    assert latch.admits(SOURCE, packet_of(7), 0.4)


def test_what_is_no_audio_gets_nobody_a_place() -> None:
    latch = Latch()
    for verdict in (None, Verdict.EMPTY, Malformed.RTCP):
        assert not latch.heard(OTHER, packet_of(8), verdict, 0.0)
    assert latch.source is None


def test_only_those_allowed_are_admitted() -> None:
    latch = Latch([ip_network("192.0.2.0/31")])
    assert latch.admits(SOURCE, packet_of(7), 0.0)
    assert not latch.admits(OTHER, packet_of(8), 0.0)
    assert is_in("::ffff:192.0.2.1", [ip_network("192.0.2.0/31")])


def test_a_rate_cap_lets_a_seconds_worth_through_at_once_and_then_its_rate() -> None:
    cap = RateCap(100.0)
    assert sum(cap.take(0.0) for _ in range(500)) == 100
    assert sum(cap.take(0.5) for _ in range(500)) == 50
    assert sum(cap.take(100.0) for _ in range(500)) == 100
    assert not cap.take(99.0)  # a clock that goes back gains nothing


def test_another_source_does_not_disturb_the_stream() -> None:
    signal_, thief = as_sent(noise(1, 32_000)), as_sent(noise(2, 32_000))
    alone = run(StreamRelay(CONFIG), sent_at(packets_of(signal_)), 2.0)
    relay = StreamRelay(CONFIG)
    theft = sent_at(packets_of(thief, ssrc=8), OTHER, begin_s=0.05)
    np.testing.assert_array_equal(run(relay, sent_at(packets_of(signal_)) + theft, 2.0), alone)
    delay = relay.report()["relay"]["delay_ms"]
    assert 60 <= delay["p50"] <= delay["max"] <= 60 + 2 * 1000 * TICK_S + 8
    assert relay.stats.refused_datagrams == sum(at_s < 2.0 - TICK_S / 2 for at_s, _, _ in theft)


def test_a_flood_is_capped_and_the_stream_goes_on() -> None:
    signal_ = as_sent(noise(1, 32_000))
    relay = StreamRelay(changed(CONFIG, packets_per_s=400.0))
    rng = random.Random(1)
    flood = [(0.5 + k * 1e-5, rng.randbytes(rng.randrange(60)), SOURCE) for k in range(20_000)]
    played = run(relay, sent_at(packets_of(signal_)) + flood, 2.0)
    assert relay.stats.capped_datagrams > 15_000
    assert played.size == BLOCK * relay.stats.packets_sent
    begin = find(played, signal_)
    np.testing.assert_array_equal(played[begin : begin + 6000], signal_[:6000])
    np.testing.assert_array_equal(played[-1600:], signal_[played.size - begin - 1600 :][:1600])


# ---- the stream ---------------------------------------------------------------------------------


def test_the_output_never_pauses_however_long_nothing_comes() -> None:
    signal_ = as_sent(tones(4, RATE, 16_000))
    relay = StreamRelay(CONFIG)
    # Minutes of nothing, then a new sender on another port.
    again_s = 300 if is_deep() else 100
    after = sent_at(packets_of(signal_, ssrc=9, sequence=500), ("192.0.2.1", 4001), float(again_s))
    played = run(relay, sent_at(packets_of(signal_)) + after, again_s + 1.0)
    assert played.size == BLOCK * relay.stats.packets_sent
    assert relay.stats.packets_sent >= (again_s + 1.0) / TICK_S - 10
    assert np.abs(played[RATE * 2 * again_s // 3 : RATE * (again_s - 1)]).max() < 1e-3
    tail = played[RATE * (again_s - 1) :]
    begin = find(tail, signal_[800:])
    np.testing.assert_array_equal(tail[begin : begin + 2000], signal_[800:2800])
    assert relay.stats.source_changes == 1


def test_a_machine_that_slept_does_not_send_what_is_long_past() -> None:
    relay = StreamRelay(CONFIG)
    run(relay, sent_at(packets_of(as_sent(noise(1, 16_000)))), 1.0)
    sent = relay.stats.packets_sent
    while relay.next_s <= 3600.0:
        relay.play(3600.0)
    assert relay.stats.packets_sent - sent < 5
    assert relay.stats.skipped_packets > 300_000


def test_packets_for_which_there_is_no_time_are_left_out_and_the_rest_is_in_time() -> None:
    """Each block takes an eighth longer than it lasts; numbers and times tell what is missing."""
    signal_ = as_sent(noise(5, 6 * RATE))
    incoming = Incoming(sent_at(packets_of(signal_)))
    relay, now_s = StreamRelay(CONFIG), 0.0
    sent: list[RtpPacket] = []
    while now_s < 5.9:
        for at_s, datagram, source in incoming.until(now_s):
            relay.receive(datagram, source, at_s)
        played = relay.play(now_s)
        if played is None:
            now_s += 0.1 * TICK_S
            continue
        packet = parse_rtp(relay.packetizer.pack(played))
        assert isinstance(packet, RtpPacket)
        sent.append(packet)
        now_s += 1.125 * TICK_S
        relay.note_sent(now_s)
    stats = relay.report()["relay"]
    assert stats["lateness_ms"]["max"] < 100.0  # the half second, an eighth of it, and a packet
    made = stats["packets_sent"] + stats["skipped_packets"]
    assert 0.08 < stats["skipped_packets"] / made < 0.13
    numbers = [packet.sequence for packet in sent]
    assert numbers[-1] - numbers[0] + 1 == made
    assert all(a < b for a, b in itertools.pairwise(numbers))
    decoded = [L16(RATE, 1).decode(packet.payload) for packet in sent]
    heard = [block[:, 0] for block in decoded if block is not None]
    begin = find(signal_, heard[20]) - sent[20].timestamp
    as_timed = [
        np.array_equal(block, signal_[begin + packet.timestamp :][:BLOCK])
        for packet, block in zip(sent, heard, strict=True)
    ]
    assert np.mean(as_timed) > 0.9  # what is concealed, or faded into, is not


def test_a_pause_longer_than_receivers_conceal_has_times_and_no_numbers() -> None:
    packetizer = Packetizer(L16(RATE, 1), ssrc=1)
    block = np.zeros((BLOCK, 1), np.float32)
    packetizer.leave_out(2999, BLOCK)
    packetizer.leave_out(3000, BLOCK)
    packet = parse_rtp(packetizer.pack(block))
    assert isinstance(packet, RtpPacket)
    assert (packet.sequence, packet.timestamp) == (2999, 5999 * BLOCK)


def test_packets_that_are_left_out_are_told_and_not_every_second() -> None:
    with closing(Relay([CONFIG])) as relay:
        told: list[dict[str, Any]] = []
        for left_out in (0, 3, 4, 6, 7):
            relay.streams[0].stats.skipped_packets = left_out
            relay.tell(lambda event, **particulars: told.append({"event": event, **particulars}))
    assert [(each["event"], each["packets"]) for each in told] == [("left_out", 3), ("left_out", 7)]
    assert told[0]["says"].startswith("3 packets left out")


def test_streams_for_which_there_is_no_time_are_told_once() -> None:
    with closing(Relay([CONFIG])) as relay:
        told: list[str] = []
        for hurried, sent in ((0, 100), (40, 200), (95, 300), (200, 400)):
            stats = relay.streams[0].stats
            stats.hurried_packets, stats.packets_sent = hurried, sent
            relay.tell(lambda event, **particulars: told.append(f"{event} {particulars['says']}"))
    assert len(told) == 1
    assert told[0].startswith("hurried there is no time for so many streams")


@examples(30)
@given(
    st.lists(
        st.tuples(st.floats(0, 0.5), st.binary(max_size=40), st.sampled_from([SOURCE, OTHER])),
        max_size=40,
    )
)
def test_garbage_never_stops_the_relay(
    garbage: list[tuple[float, bytes, tuple[str, int]]],
) -> None:
    signal_ = as_sent(noise(1, 8000))
    relay = StreamRelay(CONFIG)
    played = run(relay, sent_at(packets_of(signal_)) + garbage, 0.5)
    begin = find(played, signal_)
    np.testing.assert_array_equal(played[begin:], signal_[: played.size - begin])


# ---- over the loopback --------------------------------------------------------------------------


class Receiver:
    """A socket that what the relay sends comes to."""

    def __init__(self) -> None:
        self.port = UdpPort(HERE)

    @property
    def endpoint(self) -> Endpoint:
        return self.port.endpoint

    def samples(self) -> NDArray[np.float32]:
        codec = L16(RATE, 1)
        pieces = []
        while arrived := list(self.port.arrived()):
            for datagram, _ in arrived:
                packet = parse_rtp(datagram)
                assert isinstance(packet, RtpPacket)
                decoded = codec.decode(packet.payload)
                assert decoded is not None
                pieces.append(decoded[:, 0])
        return np.concatenate(pieces) if pieces else np.empty(0, np.float32)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver_ = Receiver()
    yield receiver_
    receiver_.port.close()


def test_packets_of_any_length_arrive_whole() -> None:
    there = UdpPort(HERE)
    sent = [bytes(range(256)) * 8, bytes(7680), b"", b"ab"]
    with closing(there.socket):
        for datagram in sent:
            there.send(datagram, there.target(there.endpoint))
        assert [datagram for datagram, _ in there.arrived()] == sent


def test_where_nobody_can_listen_nothing_is_sent() -> None:
    with pytest.raises(ConfigError, match="port 0"):
        Relay([changed(CONFIG, to=Endpoint("127.0.0.1", 0))])
    with pytest.raises(NetworkError, match=r"IPv4, as udp://127\.0\.0\.1"):
        Relay([changed(CONFIG, to=Endpoint("::1", 9))])


@pytest.mark.realtime
def test_streams_do_not_mix(receiver: Receiver) -> None:
    second = Receiver()
    signals = [as_sent(noise(seed, 8000)) for seed in (1, 2)]
    relay = Relay(
        [changed(CONFIG, to=receiver.endpoint), changed(CONFIG, to=second.endpoint, seed=2)]
    )
    senders = [
        RtpSender(s.reshape(-1, BLOCK, 1), Packetizer(L16(RATE, 1), ssrc=1), port.endpoint)
        for s, port in zip(signals, relay.ports, strict=True)
    ]
    heard: list[list[NDArray[np.float32]]] = [[], []]
    for tick in range(50):
        for sender in senders:
            step(sender, tick * TICK_S)
        step(relay, tick * TICK_S)
        heard[0].append(receiver.samples())
        heard[1].append(second.samples())
    for pieces, signal_ in zip(heard, signals, strict=True):
        played = np.concatenate(pieces)
        begin = find(played, signal_)
        np.testing.assert_array_equal(played[begin:], signal_[: played.size - begin])
    for sender in senders:
        sender.close()
    relay.close()
    second.port.close()


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize(("codec", "bits"), [(L16, 16), (L24, 24)])
def test_a_relay_drains_before_it_ends_and_keeps_its_file(
    tmp_path: Path, codec: type[L16 | L24], bits: int, suffix: str
) -> None:
    signal_ = as_sent(noise(1, 8000), bits)
    target = tmp_path / f"whole{suffix}"
    relay = Relay([changed(CONFIG, to=RecordingFile(target), codec=codec.name)])
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for tick, packet in enumerate(packets_of(signal_, codec=codec(RATE, 1))):
            sender.sendto(packet, ("127.0.0.1", relay.ports[0].endpoint.port))
            step(relay, tick * TICK_S)
    assert not relay.done
    relay.stop(tick * TICK_S)
    while not relay.done:
        tick += 1
        step(relay, tick * TICK_S)
        assert tick < 200
    relay.close()
    assert soundfile.info(target).subtype == f"PCM_{bits}"
    written, rate = soundfile.read(target, dtype="float32")
    assert rate == RATE
    begin = find(written, signal_)
    np.testing.assert_array_equal(written[begin : begin + signal_.size], signal_)


def recorded(target: Path, codec: Codec, signal_: NDArray[np.float32], **settings: Any) -> Any:
    """Return the report of a relay to a file that was sent a signal, and what it said."""
    block, lines = codec.sample_rate // 100, []
    packetizer = Packetizer(codec, ssrc=7, payload_type=settings.pop("sent_as", None))
    config = RelayConfig(listen=HERE, to=RecordingFile(target))
    relay = Relay([changed(config, model="ar", budget_ms=math.inf, **settings)])
    for tick in range(len(signal_) // block + 100):
        piece = signal_[tick * block :][:block]
        if len(piece) == block:
            relay.receive(0, packetizer.pack(piece), SOURCE, tick * TICK_S)
        else:
            relay.stop(tick * TICK_S)
        relay.advance(tick * TICK_S)
    assert relay.done
    relay.tell(lambda event, says, **_: lines.append(says))
    relay.close()
    return relay.report(), lines


FORMS = [L16(48_000, 2), L16(44_100, 2), L16(44_100, 1), L24(48_000, 2), L16(96_000, 3)]


@pytest.mark.parametrize("lead_s", [0.0, 1.0])
@pytest.mark.parametrize("codec", FORMS, ids=lambda codec: f"{codec.name}-{codec.channels}")
def test_an_open_recording_is_whole_in_the_coding_that_its_packets_say(
    tmp_path: Path, codec: Codec, lead_s: float
) -> None:
    """Also where it begins with a silence, of which nobody can tell what it is."""
    target, rate = tmp_path / "heard it.wav", codec.sample_rate
    voices = [as_sent(tones(seed, rate, 2 * rate)) for seed in range(codec.channels)]
    signal_ = np.concatenate([np.zeros((round(lead_s * rate), codec.channels), np.float32),
                              np.stack(voices, axis=1)])  # fmt: skip
    number = None if codec.payload_type < 96 else 96
    [report], lines = recorded(target, codec, signal_, is_open=True, sent_as=number)
    written, written_rate = soundfile.read(target, dtype="float32", always_2d=True)
    assert (written_rate, written.shape[1]) == (rate, codec.channels)
    begin = find(written[:, 0].copy(), voices[0])
    np.testing.assert_array_equal(written[begin:][: 2 * rate], signal_[-2 * rate :])
    assert begin >= lead_s * rate
    (line,) = lines
    assert f": recorded as {codec.name}, {rate} Hz, {codec.channels} channel" in line
    assert not heard_nothing([report])


@pytest.mark.parametrize("sent", [1, 2])
def test_another_count_of_channels_than_the_settings_say_is_silence_and_no_success(
    tmp_path: Path, sent: int
) -> None:
    target = tmp_path / "a.wav"
    signal_ = np.stack([as_sent(tones(seed, 48_000, 96_000)) for seed in range(sent)], axis=1)
    [report], lines = recorded(target, L16(48_000, sent), signal_, channels=3 - sent)
    assert heard_nothing([report])
    assert [line.rpartition(": ")[2] for line in lines] == [f"give --channels {sent}"]
    assert np.abs(soundfile.read(target, dtype="float32")[0]).max() < 1e-3


def test_an_open_recording_as_configured_is_as_any_other(tmp_path: Path) -> None:
    signal_ = as_sent(tones(1, 48_000, 96_000))[:, None]
    for name, is_open in (("a.wav", True), ("b.wav", False)):
        _, lines = recorded(tmp_path / name, L16(48_000, 1), signal_, is_open=is_open)
        assert lines == []
    assert (tmp_path / "a.wav").stat().st_size == (tmp_path / "b.wav").stat().st_size


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("align", [False, True])
def test_recordings_of_a_run_can_be_laid_over_each_other(
    tmp_path: Path, align: bool, suffix: str
) -> None:
    """By the times in files and reports, or as they are, if they shall begin together."""
    late_ticks = 37
    signals = [as_sent(noise(seed, 50 * BLOCK)) for seed in (1, 2)]
    packets = [packets_of(each) for each in signals]
    targets = [tmp_path / f"{name}{suffix}" for name in "ab"]
    with closing(
        Relay([changed(CONFIG, to=RecordingFile(each), align=align) for each in targets])
    ) as relay:
        for tick in range(100):
            relay.advance(3.0 + tick * TICK_S)
            for number, begins in enumerate((0, late_ticks)):
                if 0 <= tick - begins < 50:
                    packet = packets[number][tick - begins]
                    relay.receive(number, packet, SOURCE, 3.0 + tick * TICK_S)
        began_s = time.time() - time.monotonic() + 3.0
    places, references = [], []
    for number, (target, report) in enumerate(zip(targets, relay.report(), strict=True)):
        comments = dict(read_tags(target).comments)
        start = datetime.fromisoformat(report["recording"]["start"])
        assert start.timestamp() == pytest.approx(began_s, abs=2.0)
        assert comments["ORIGINATION_DATE"] == f"{start:%Y-%m-%d}"
        assert comments["ORIGINATION_TIME"] == f"{start:%H:%M:%S}"
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        references.append(int(comments["TIME_REFERENCE"]))
        assert abs(references[-1] - (start - midnight).total_seconds() * RATE) < 1
        written = soundfile.read(target, dtype="float32")[0]
        places.append(find(written, signals[number]))
    apart = places[1] - places[0]
    assert abs(references[1] - references[0] + apart - late_ticks * BLOCK) <= 2
    if align:
        assert apart == late_ticks * BLOCK
        assert abs(references[1] - references[0]) <= 2


def test_recordings_of_several_processes_cannot_begin_together(tmp_path: Path) -> None:
    configs = [
        changed(CONFIG, to=RecordingFile(tmp_path / name), align=True)
        for name in ("a.wav", "b.wav")
    ]
    with pytest.raises(ConfigError, match="align goes with one worker"):
        run_relay(configs, workers=2)


BYE = bytes.fromhex("80c9000100000007") + bytes.fromhex("81cb000100000007")


@pytest.mark.parametrize(
    ("end", "pause_ticks"), [("bye", 0), ("bye", 20), ("silence", 0), ("silence", 60)]
)
def test_a_recording_ends_with_its_stream(tmp_path: Path, end: str, pause_ticks: int) -> None:
    """Also one that paused, and said its end in the pause and went on."""
    signal_ = as_sent(noise(1, 16_000))
    target = tmp_path / "whole.wav"
    silent_s = 1.0 if end == "silence" else math.inf
    relay = Relay([changed(CONFIG, to=RecordingFile(target), end_after_s=silent_s)])
    tick = 0
    with closing(relay), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.connect(("127.0.0.1", relay.ports[0].endpoint.port))
        packets = packets_of(signal_)
        for k, packet in enumerate(packets):
            if k == 20 and pause_ticks and end == "bye":
                sender.send(BYE)
            if not 20 <= k < 20 + pause_ticks:
                sender.send(packet)
            step(relay, tick * TICK_S)
            tick += 1
        assert not relay.done
        last = tick
        if end == "bye":
            sender.send(BYE)
        while not relay.done:
            step(relay, tick * TICK_S)
            tick += 1
            assert tick < last + 150
        assert tick - last < (60 if end == "bye" else 110)
        relay.lanes[0].finish()
        written, _ = soundfile.read(target, dtype="float32")
    tail = find(written, signal_[-2400:])
    np.testing.assert_array_equal(written[tail : tail + 2400], signal_[-2400:])
    head = find(written, signal_[:2400])
    assert head <= 7 * BLOCK
    assert tail - head == signal_.size - 2400
    # Of what was made after the last packet little is left.
    assert written.size - (tail + 2400) < 0.1 * RATE


@pytest.mark.parametrize("silent_ticks", [0, 5, 300])
def test_a_recording_that_the_relay_ends_stops_at_the_last_packet(
    tmp_path: Path, silent_ticks: int
) -> None:
    signal_ = as_sent(noise(1, 16_000))
    target = tmp_path / "whole.wav"
    relay = Relay([changed(CONFIG, to=RecordingFile(target))])
    with closing(relay):
        packets = packets_of(signal_)
        for tick in range(len(packets) + silent_ticks):
            if tick < len(packets):
                relay.receive(0, packets[tick], SOURCE, tick * TICK_S)
            relay.advance(tick * TICK_S)
        relay.stop(tick * TICK_S)
        while not relay.done:
            tick += 1
            relay.advance(tick * TICK_S)
            assert tick < len(packets) + silent_ticks + 100
    written, _ = soundfile.read(target, dtype="float32")
    tail = find(written, signal_[-2400:])
    assert written.size - (tail + 2400) < 0.03 * RATE


def test_only_the_streams_own_farewell_ends_its_recording(tmp_path: Path) -> None:
    relay = Relay([changed(CONFIG, to=RecordingFile(tmp_path / "whole.wav"))])
    signal_ = as_sent(noise(1, 16_000))
    other = BYE[:-1] + b"\x08"
    with closing(relay):
        for k, packet in enumerate(packets_of(signal_)):
            relay.receive(0, packet, SOURCE, k * TICK_S)
            relay.receive(0, other, SOURCE, k * TICK_S)
            relay.receive(0, BYE, OTHER, k * TICK_S)
            if k == 20:
                relay.receive(0, BYE, SOURCE, k * TICK_S)  # and sends on
            relay.advance(k * TICK_S)
        assert not relay.done
        assert relay.streams[0].playout.received.packets_received == 100


@examples(200)
@given(st.binary(max_size=64), st.sampled_from([b"", b"\x81\xcb", BYE[:8], b"\x9f\xcb\x00\x1f"]))
def test_no_datagram_of_rtcp_is_trouble_to_who_looks_for_an_end(rest: bytes, head: bytes) -> None:
    assert all(0 <= ssrc < 2**32 for ssrc in ended_by(head + rest))


def test_an_end_is_read_from_a_compound_of_rtcp() -> None:
    assert ended_by(BYE) == [7]
    assert ended_by(BYE[:-1]) == []
    assert ended_by(b"") == []


def test_neighbours_that_are_not_there_are_survived(receiver: Receiver) -> None:
    gone = receiver.endpoint
    receiver.port.close()
    relay = Relay([changed(CONFIG, to=gone)])
    with closing(relay), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for tick, packet in enumerate(packets_of(as_sent(noise(1, 16_000)))):
            sender.sendto(packet, ("127.0.0.1", relay.ports[0].endpoint.port))
            step(relay, tick * TICK_S)
    assert relay.report()[0]["relay"]["packets_sent"] > 80


def test_a_taken_port_is_refused_and_nothing_is_left_open(tmp_path: Path) -> None:
    with closing(UdpPort(HERE)) as taken:
        configs = [
            changed(CONFIG, to=RecordingFile(tmp_path / "a.wav")),
            changed(CONFIG, listen=taken.endpoint),
        ]
        with pytest.raises(NetworkError, match="cannot listen"):
            Relay(configs)
    assert list(tmp_path.iterdir()) == []


def test_serving_ends_when_the_service_is_done() -> None:
    clock = iter(k * 0.004 for k in range(10_000))
    with closing(UdpPort(HERE)) as to:
        blocks = np.zeros((20, BLOCK, 1), np.float32)
        sender = RtpSender(blocks, Packetizer(L16(RATE, 1), ssrc=1), to.endpoint)
        with closing(sender):
            serve(sender, clock=lambda: next(clock))
            assert sender.packets == 20
            assert len(list(to.arrived())) == 20


# ---- settings, files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "5004", "udp://", "udp://host", "tcp://a:1", "a:b", "a:70000", "udp://:5004"]
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_endpoint(text)


def test_endpoints_are_read_and_written() -> None:
    for text in ("udp://127.0.0.1:5004", "udp://[::1]:5004"):
        assert str(parse_endpoint(text)) == text
    assert parse_endpoint("localhost:7") == Endpoint("localhost", 7)
    assert parse_network("192.0.2.9/24") == ip_network("192.0.2.0/24")
    with pytest.raises(ConfigError, match="192"):
        parse_network("somewhere")


def test_impossible_streams_are_refused() -> None:
    changes: list[dict[str, float]] = [
        {"packet_samples": 8000},
        {"packets_per_s": 0.0},
        {"payload_type": 200},
    ]
    for codec in ("opus", "Opus"):
        with pytest.raises(ConfigError, match="Opus has frames"):
            changed(CONFIG, codec=codec, sample_rate=48_000, packet_samples=720)
    for change in changes:
        with pytest.raises(ConfigError):
            changed(CONFIG, **change)
    for number in (None, 96):  # 96 is L16's own
        with pytest.raises(ConfigError, match="both"):
            StreamRelay(changed(CONFIG, payload_type=number, red_payload_type=96))
    with pytest.raises(ConfigError, match="stream"):
        Relay([])


def test_a_recording_is_cut_into_packets_and_its_end_filled_up(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    signal_ = as_sent(noise(1, 1000))
    soundfile.write(path, signal_, RATE)
    blocks = list(blocks_of(path, 160))
    assert [len(block) for block in blocks] == [160] * 7
    np.testing.assert_array_equal(np.concatenate(blocks)[:1000, 0], signal_)
    endless = blocks_of(path, 160, loop=True)
    for _ in range(7):
        next(endless)
    np.testing.assert_array_equal(next(endless), blocks[0])


def test_a_codec_that_does_not_take_the_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, as_sent(noise(1, 1000)), RATE)
    for codec, wanted in (("pcmu", "8000"), ("opus", "48000"), ("mp3", "l16")):
        with pytest.raises(ConfigError, match=wanted):
            open_sender(path, Endpoint("127.0.0.1", 9), codec)


@pytest.mark.parametrize(
    ("packet_ms", "redundancy", "says"),
    [(40.0, 1, "1280 bytes"), (30.0, 8, None)],
)
def test_redundancy_that_packets_cannot_carry_is_refused(
    tmp_path: Path, packet_ms: float, redundancy: int, says: str | None
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, as_sent(noise(1, 1000)), RATE)
    to = Endpoint("127.0.0.1", 9)
    if says is None:
        open_sender(path, to, packet_ms=packet_ms, redundancy=redundancy).close()
        return
    with pytest.raises(ConfigError, match=says):
        open_sender(path, to, packet_ms=packet_ms, redundancy=redundancy)


# ---- as programs --------------------------------------------------------------------------------


@pytest.mark.realtime
def test_the_programs_relay_a_recording_and_end_on_a_signal(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    description = tmp_path / "a.sdp"
    signal_ = as_sent(tones(1, RATE, 2 * RATE))
    soundfile.write(source, signal_, RATE)
    options: tuple[object, ...] = ("--sample-rate", RATE, "--fixed-delay-ms", 60, "--json")
    relay = plc("relay", "--listen", "udp://127.0.0.1:0", "--to", target, *options)
    started = [relay]
    try:
        options = ("loss=10%", "--to", listening(relay), "--json")
        proxy = plc("impair", "--listen", "udp://127.0.0.1:0", *options)
        started.insert(0, proxy)
        options = ("--to", listening(proxy), "--sdp-out", description, "--seed", 1)
        sender = plc("send", source, *options)
        out, errors = sender.communicate(timeout=120)
        assert (sender.returncode, errors) == (0, "")
        assert "sent 200 packets" in out
        assert "a=rtpmap:96 L16/16000/1" in description.read_text()
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        answers = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], answers
    assert '"lost": ' in answers[0][0]
    assert '"packets_received": ' in answers[1][0]
    written, _ = soundfile.read(target, dtype="float32")
    assert written.size > RATE
    assert np.isfinite(written).all()


def test_a_relay_says_what_it_could_not_take_and_takes_telephony_at_its_rate(
    tmp_path: Path,
) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, as_sent(tones(1, 8000, 4000)), 8000)
    relay = plc("relay", "--listen", "udp://127.0.0.1:0", "--to", tmp_path / "b.wav",
                    "--codec", "PCMU", "--model", "ar")  # fmt: skip
    try:
        endpoint = listening(relay)
        for codec in ("l16", "pcmu"):
            sender = plc("send", source, "--to", endpoint, "--codec", codec)
            assert sender.communicate(timeout=120)[1] == ""
    finally:
        relay.send_signal(signal.SIGTERM)
        out, errors = relay.communicate(timeout=120)
    assert relay.returncode == 0, errors
    assert ": 50 packets in, 0 lost" in out
    assert "out (0.50 s received, 0.00 s concealed, " in out
    assert " 0 bursts concealed" in out
    assert "packets left out: 50 of another payload type" in out
    assert soundfile.info(tmp_path / "b.wav").samplerate == 8000


class Ending:
    """A service that ends some time after it is told to, and notes what is said to it."""

    next_s = math.inf

    def __init__(self, port: UdpPort, *, lasts_s: float) -> None:
        self.ports = (port,)
        self.done = False
        self.heard: list[bytes] = []
        self.lasts_s = lasts_s

    def receive(self, port: int, datagram: bytes, source: object, now_s: float) -> None:
        self.heard.append(datagram)

    def advance(self, now_s: float) -> None:
        self.done = True

    def stop(self, now_s: float) -> None:
        self.heard.append(b"the end")
        self.next_s = now_s + self.lasts_s


def test_what_had_arrived_when_the_end_came_is_received() -> None:
    with closing(UdpPort(HERE)) as port, socket.socket(type=socket.SOCK_DGRAM) as out:
        for datagram in (b"one", b"two"):
            out.sendto(datagram, (port.endpoint.host, port.endpoint.port))
        service = Ending(port, lasts_s=0.0)
        serve(service, duration_s=0.0)
    assert service.heard == [b"one", b"two", b"the end"]


def test_a_service_that_ends_after_its_time_waits_for_its_end() -> None:
    times: list[float] = []

    def clock() -> float:
        times.append(time.monotonic())
        return times[-1]

    with closing(UdpPort(HERE)) as port:
        serve(Ending(port, lasts_s=0.2), duration_s=0.0, clock=clock)
    assert times[-1] - times[0] >= 0.2
    assert len(times) < 20  # not one turn after the other until it ends


class Slow:
    """A service that takes long over what comes in, by a clock of its own."""

    def __init__(self, ports: list[UdpPort], datagrams: int, takes_s: float) -> None:
        self.ports = ports
        self.next_s = 0.01
        self.now_s = 0.0
        self.late_s: list[float] = []
        self._left = datagrams
        self._takes_s = takes_s

    @property
    def done(self) -> bool:
        return self._left == 0

    def clock(self) -> float:
        self.now_s += 1e-6
        return self.now_s

    def receive(self, port: int, datagram: bytes, source: tuple[str, int], now_s: float) -> None:
        self.now_s += self._takes_s
        self._left -= 1

    def advance(self, now_s: float) -> None:
        self.late_s.append(now_s - self.next_s)
        self.next_s += 0.01

    def stop(self, now_s: float) -> None:
        self._left = 0


@pytest.mark.parametrize("takes_s", [1e-4, 6e-4])
def test_what_is_due_waits_for_one_turn_of_one_port(takes_s: float) -> None:
    ports = [UdpPort(HERE) for _ in range(4)]
    with socket.socket(type=socket.SOCK_DGRAM) as out:
        for port in ports:
            for _ in range(60):
                out.sendto(b"x", (port.endpoint.host, port.endpoint.port))
    service = Slow(ports, 4 * 60, takes_s)
    serve(service, clock=service.clock)
    for port in ports:
        port.close()
    assert len(service.late_s) >= 2
    assert max(service.late_s) <= 0.0022


def test_streams_that_are_behind_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[StreamRelay] = []
    plain = StreamRelay.play

    def play(self: StreamRelay, now_s: float) -> NDArray[np.float32] | None:
        played.append(self)
        return plain(self, now_s)

    with closing(Relay([CONFIG, changed(CONFIG, seed=2)])) as relay:
        for number in range(2):
            for packet in packets_of(tones(number, RATE, 9 * BLOCK)):
                relay.receive(number, packet, SOURCE, 0.001 * number)
        monkeypatch.setattr(StreamRelay, "play", play)
        relay.advance(5 * TICK_S + 0.002)
        assert played == relay.streams * 6
        assert relay.next_s > 5 * TICK_S + 0.002


def test_a_worker_that_fails_ends_the_relay(tmp_path: Path) -> None:
    with closing(UdpPort(HERE).socket) as taken:
        port = taken.getsockname()[1]
        relay = plc(
            *("relay", "--workers", 2, "--model", "ar"),
            *("--listen", "udp://127.0.0.1:0", "--to", tmp_path / "a.wav"),
            *("--listen", f"udp://127.0.0.1:{port}", "--to", tmp_path / "b.wav"),
        )
        _, errors = relay.communicate(timeout=120)
    assert relay.returncode == 1
    assert "in use" in errors


def children_of(process: subprocess.Popen[str]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(child) for child in path.read_text().split()]


def is_taken(port: int) -> bool:
    try:
        UdpPort(Endpoint("127.0.0.1", port)).socket.close()
    except NetworkError:
        return True
    return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc")
@pytest.mark.parametrize("killed", ["worker", "parent"])
@pytest.mark.realtime
def test_a_killed_worker_is_started_anew_and_workers_end_with_their_parent(
    tmp_path: Path, killed: str
) -> None:
    ports = [free_port() for _ in range(2)]
    relay = plc(
        *("relay", "--workers", 2, "--model", "ar", "--sample-rate", RATE),
        *(f"--listen=udp://127.0.0.1:{port}" for port in ports),
        *("--to", tmp_path / "a.wav", "--to", tmp_path / "b.wav"),
    )
    try:
        assert comes_true(lambda: all(is_taken(port) for port in ports), 60.0)
        if killed == "worker":
            os.kill(children_of(relay)[-1], signal.SIGKILL)
            assert comes_true(lambda: not all(is_taken(port) for port in ports), 60.0)
            with closing(socket.socket(type=socket.SOCK_DGRAM)) as out:
                sent = iter(packets_of(tones(1, RATE, 60 * RATE)))

                def is_recorded() -> bool:
                    for packet in itertools.islice(sent, 5):  # in 50 ms
                        for port in ports:
                            out.sendto(packet, ("127.0.0.1", port))
                    with contextlib.suppress(FileNotFoundError):  # one that was only tried
                        sizes = [path.stat().st_size for path in tmp_path.glob(".*.part")]
                        return len(sizes) == 2 and min(sizes) > 2000
                    return False

                assert comes_true(is_recorded, 60.0)
            relay.send_signal(signal.SIGTERM)
            said, errors = relay.communicate(timeout=120)
            assert relay.returncode == 0, errors
            assert "its process died and was replaced" in said
            assert soundfile.info(tmp_path / "b.wav").frames > 0
        else:
            relay.kill()
        assert comes_true(lambda: not any(is_taken(port) for port in ports), 60.0)
    finally:
        relay.kill()
        relay.communicate()


def test_a_sender_that_finds_no_way_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[UdpPort] = []

    def open_port(to: Endpoint) -> UdpPort:
        opened.append(sending_port(to))
        return opened[-1]

    monkeypatch.setattr("plc.transport.rtp.send.sending_port", open_port)
    packetizer = Packetizer(L16(RATE, 1), ssrc=7, sequence=0, timestamp=0)
    with pytest.raises(ConfigError, match="port 0 is not a port"):
        RtpSender([], packetizer, Endpoint("127.0.0.1", 9), second=HERE)
    assert [port.socket.fileno() for port in opened] == [-1, -1]
