"""RTP in, samples out: bit for bit where nothing is wrong, as offline where packets are lost."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import plc.transport.rtp.playout
from plc import Concealer, conceal
from plc.engine.loss import GilbertElliott
from plc.transport.rtp.codecs import G711, L16, L24, Codec, open_codec
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.outcomes import Verdict
from plc.transport.rtp.packets import (
    Malformed,
    RedBlock,
    RtpPacket,
    build_red,
    build_rtp,
    parse_rtp,
)
from plc.transport.rtp.playout import Playout
from plc_kernels.stream.layout import KNOWN_MS
from tests.examples import examples
from tests.plc.configs import playout_of
from tests.plc.transport.streams import BLOCK, FIXED_60, RATE, Incoming, as_sent, find
from tests.signals import noise, sine, tones

Arrival = tuple[float, bytes]


def stream(
    signal: NDArray[np.float32], codec: Codec, lengths: Iterable[int], clock: float = 1.0
) -> list[Arrival]:
    """Return the signal as RTP, cut into packets of these lengths, each sent when it is complete.

    ``clock`` is how fast the sender's clock runs.
    """
    arrivals: list[Arrival] = []
    at = 0
    for sequence, n in enumerate(lengths):
        payload = codec.encode(signal[at : at + n])
        packet = RtpPacket(
            codec.payload_type, (65_500 + sequence) % 2**16, (2**32 - 5000 + at) % 2**32, 5, payload
        )
        arrivals.append(((at / codec.sample_rate) / clock, build_rtp(packet)))
        at += n
    return arrivals


def play(playout: Playout, arrivals: Iterable[Arrival], ticks: int) -> NDArray[np.float32]:
    """Return what is played, shape (ticks * block, channels)."""
    incoming, blocks = Incoming(arrivals), []
    for tick in range(ticks):
        now_s = tick * playout.block / playout.codec.sample_rate
        for at_s, datagram in incoming.until(now_s):
            playout.put(datagram, at_s)
        blocks.append(playout.tick(now_s).T.copy())
    return np.concatenate(blocks)


def make(
    codec: Codec | None = None,
    delay: DelayConfig = FIXED_60,
    block: int = BLOCK,
    model: str = "auto",
) -> Playout:
    return playout_of(codec or L16(RATE, 1), block, delay, model=model, budget_ms=math.inf)


@pytest.mark.parametrize("lengths", [[160] * 200, [320] * 100, [40] * 800, [116] * 275 + [100]])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stream_without_loss_comes_out_bit_for_bit(lengths: list[int], channels: int) -> None:
    codec = L16(RATE, channels)
    signal = as_sent(noise(1, 32_000 * channels).reshape(-1, channels))
    playout = make(codec)
    played = play(playout, stream(signal, codec, lengths), 200)
    begin = find(played, signal)
    np.testing.assert_array_equal(played[begin:], signal[: len(played) - begin])
    assert begin / RATE <= 0.06 + 0.03
    assert playout.concealment.concealed_samples == 0


def knowing(
    signal: NDArray[np.float32], trace: NDArray[np.bool_], waiting: int, **settings: Any
) -> NDArray[np.float32]:
    """Return a signal concealed by a stream that is told of so many samples behind each loss."""
    concealer = Concealer(**settings, budget_ms=math.inf)
    n = concealer.config.packet_samples
    packets = signal[: trace.size * n].reshape(trace.size, n, 1)
    whole = packets.reshape(-1, 1)
    played = []
    for k, packet in enumerate(packets):
        behind, row = [], 0
        for j in range(k + 1, min(k + 1 + -(-waiting // n), len(packets))):
            row = 0 if trace[j] else row + n
            if row:
                stop = min((j + 1) * n, (k + 1) * n + waiting)
                behind.append(((j - k - 1) * n, whole[j * n : stop]))
            if row >= KNOWN_MS * concealer.config.sample_rate / 1000:
                break
        played.append(
            concealer.push(None if trace[k] else packet, behind=behind if trace[k] else ())
        )
    return np.concatenate(played)


@pytest.mark.parametrize(("packet", "model", "waiting"), [(160, "auto", 1120), (320, "ar", 960)])
def test_what_is_lost_is_concealed_as_it_is_offline(packet: int, model: str, waiting: int) -> None:
    codec = L16(RATE, 1)
    count = 48_000 // packet
    signal = as_sent(tones(2, RATE, 48_000))[:, None]
    trace = GilbertElliott(0.1, 1.5).trace(count, 3)
    trace[:4] = trace[-20:] = False
    arrivals = [
        arrival
        for arrival, lost in zip(stream(signal, codec, [packet] * count), trace, strict=True)
        if not lost
    ]
    # When a network takes over depends on what a stream's blocks are.
    played = play(make(codec, model=model), arrivals, 290)
    offline = knowing(signal, trace, waiting, sample_rate=RATE, packet_samples=packet, model=model)
    begin = find(played, signal)
    np.testing.assert_array_equal(played[begin:], offline[: len(played) - begin])


@pytest.mark.parametrize("lookahead", [0, 1, 3])
@pytest.mark.parametrize("packet", [160, 116])
def test_what_is_made_behind_the_last_packet_is_no_burst_until_another_comes(
    lookahead: int, packet: int
) -> None:
    codec = L16(RATE, 1)
    sent = stream(noise(1, packet * 300).reshape(-1, 1), codec, [packet] * 300)
    came, rest = [*sent[:50], *sent[51:100]], sent[120:]
    ticks = round(sent[100][0] * RATE / BLOCK) + 40
    reports = []
    for each in (came, came + rest):
        playout = playout_of(codec, BLOCK, FIXED_60, lookahead=lookahead, budget_ms=math.inf)
        play(playout, each, ticks)
        reports.append(playout.report())
    ended, interrupted = (each["concealment"] for each in reports)
    assert (ended["concealment_events"], ended["concealed_samples"]) == (1, packet)
    assert reports[0]["played_s"]["after_end"] * RATE > 20 * BLOCK
    assert (interrupted["concealment_events"], interrupted["concealed_samples"]) == (2, 21 * packet)
    assert reports[1]["played_s"]["after_end"] == 0


@pytest.mark.parametrize("ppm", [-500, 500])
@pytest.mark.parametrize("mode", [DelayMode.ADAPTIVE, DelayMode.FIXED])
def test_clocks_that_differ_are_met_without_a_click_or_a_gap(ppm: float, mode: DelayMode) -> None:
    codec = L16(RATE, 1)
    seconds = 60
    signal = sine(1000, RATE, seconds * RATE)[:, None]
    arrivals = stream(signal, codec, [160] * (100 * seconds), clock=1 + ppm * 1e-6)
    playout = make(codec, DelayConfig(mode=mode, delay_ms=40))
    played = play(playout, arrivals, 100 * (seconds - 1))[RATE:, 0]
    # Without any jitter there are 3 ms to spare, of which learning the drift may take 5.
    assert playout.concealment.concealed_samples <= (320 if mode is DelayMode.ADAPTIVE else 0)
    assert playout.buffer.receiver.step - 1.0 == pytest.approx(ppm * 1e-6, abs=2e-4)
    # A sine of slowly moving pitch solves x[i-1] + x[i+1] = 2 cos(w) x[i]; a click of -60 dB
    # would stand out as a residual of that size.
    omega = 2 * np.pi * 1000 / RATE
    residual = played[2:] + played[:-2] - 2 * np.cos(omega) * played[1:-1]
    assert np.abs(residual).max() < 1e-3


@pytest.mark.parametrize("delay_ms", [60.0, 100.0, 190.0])
def test_one_source_fades_into_the_next_though_nothing_is_lost_between_them(
    delay_ms: float,
) -> None:
    codec = L16(RATE, 1)
    signal = sine(200, RATE, 3 * RATE)[:, None]
    arrivals = []
    for ssrc, begin in enumerate((0, RATE + 25)):  # the second is a third of a period ahead
        for at_s, datagram in stream(signal[begin:], codec, [160] * 100):
            packet = bytearray(datagram)
            packet[8:12] = ssrc.to_bytes(4, "big")
            arrivals.append((at_s + ssrc, bytes(packet)))
    playout = make(codec, DelayConfig(mode=DelayMode.FIXED, delay_ms=delay_ms), model="ar")
    played = play(playout, arrivals, 215 + int(delay_ms / 10))[:, 0]
    assert playout.received.played_samples == 2 * RATE
    # Two samples of the tone differ by 0.04 at most, of a crossfade by more, of the step by 0.5.
    assert np.abs(np.diff(played)).max() < 0.1


def test_redundancy_comes_before_concealment() -> None:
    codec = L16(RATE, 1)
    signal = as_sent(noise(3, 16_000))[:, None]
    payloads = [codec.encode(signal[at : at + 160]) for at in range(0, 16_000, 160)]
    arrivals = []
    for k, payload in enumerate(payloads):
        blocks = [RedBlock(96, 160 * back, payloads[k - back]) for back in (2, 1) if k >= back]
        packet = RtpPacket(99, k, 160 * k, 5, build_red([*blocks, RedBlock(96, 0, payload)]))
        if k % 7 not in (4, 5):
            arrivals.append((k * 0.01, build_rtp(packet)))
    playout = playout_of(codec, BLOCK, FIXED_60, red_payload_type=99)
    played = play(playout, arrivals, 100)
    begin = find(played, signal)
    np.testing.assert_array_equal(played[begin:-BLOCK], signal[: len(played) - begin - BLOCK])
    assert playout.received.redundant_packets > 20


@examples(25)
@given(order=st.permutations(range(20)), gone=st.sets(st.integers(0, 19), max_size=8))
def test_any_order_of_packets_gives_as_many_finite_samples(
    order: list[int], gone: set[int]
) -> None:
    codec = L16(RATE, 1)
    sent = stream(noise(4, 3200)[:, None], codec, [160] * 20)
    arrivals = [(0.01 * place, sent[k][1]) for place, k in enumerate(order) if k not in gone]
    played = play(make(codec, DelayConfig()), arrivals, 30)
    assert played.shape == (30 * BLOCK, 1)
    assert np.isfinite(played).all()


@examples(50)
@given(st.lists(st.binary(max_size=60), max_size=20))
def test_garbage_is_counted_and_changes_nothing(garbage: list[bytes]) -> None:
    codec = L16(RATE, 1)
    signal = as_sent(noise(5, 3200))[:, None]
    arrivals = stream(signal, codec, [160] * 20)
    clean = play(make(codec), arrivals, 20)
    playout = make(codec)
    playout.arrivals.red_payload_type = 99
    dirty = play(playout, arrivals + [(0.005 * k, each) for k, each in enumerate(garbage)], 20)
    np.testing.assert_array_equal(dirty, clean)


def test_what_is_wrong_with_a_packet_is_counted() -> None:
    playout = make()
    assert playout.put(b"short", 0.0) is Malformed.SHORT
    assert playout.put(build_rtp(RtpPacket(5, 0, 0, 1, b"xx")), 0.0) is None
    assert playout.put(build_rtp(RtpPacket(96, 0, 0, 1, b"")), 0.0) is Verdict.EMPTY
    assert playout.stats.malformed_packets == {Malformed.SHORT: 1}
    assert playout.stats.unknown_packets == 1
    assert playout.received.empty_packets == 1


def test_comfort_noise_between_packets_is_no_loss() -> None:
    codec = L16(RATE, 1)
    arrivals = stream(tones(4, RATE, 100 * BLOCK)[:, None], codec, [BLOCK] * 100)
    # Four packets are comfort noise (RFC 3389), one of them within redundancy.
    for k in range(50, 54):
        at_s, datagram = arrivals[k]
        packet = parse_rtp(datagram)
        assert isinstance(packet, RtpPacket)
        payload = build_red([RedBlock(13, 0, b"\x40")]) if k == 51 else b"\x40"
        noise_ = packet._replace(payload_type=100 if k == 51 else 13, payload=payload)
        arrivals[k] = (at_s, build_rtp(noise_))
    playout = playout_of(codec, BLOCK, FIXED_60, red_payload_type=100, budget_ms=math.inf)
    play(playout, arrivals, 95)
    assert playout.stats.unknown_packets == 4
    assert playout.received.lost_packets == playout.received.lost_samples == 0
    assert playout.received.silent_samples == 4 * BLOCK


@pytest.mark.parametrize("described", [(), ((99, "l16"),)])
def test_another_type_of_the_same_samples_is_played_as_it_comes(
    described: tuple[tuple[int, str], ...],
) -> None:
    codecs: list[Codec] = [G711("pcmu"), G711("pcma"), L16(8000, 1)]
    codecs[2].payload_type = 99
    signal = as_sent(tones(4, 8000, 90 * 80))[:, None]
    arrivals = []
    wanted = []
    for k in range(90):
        codec = codecs[k // 30]
        payload = codec.encode(signal[80 * k : 80 * k + 80])
        wanted.append(codec.decode(payload))
        arrivals.append((0.01 * k, build_rtp(RtpPacket(codec.payload_type, k, 80 * k, 5, payload))))
    playout = playout_of(
        codecs[0], 80, FIXED_60, model="ar", budget_ms=math.inf, more_payload_types=described
    )
    count = 90 if described else 60
    played = play(playout, arrivals[:count], count)
    expected = np.concatenate([part for part in wanted[:count] if part is not None])
    begin = find(played, expected)
    np.testing.assert_array_equal(played[begin:], expected[: len(played) - begin])
    assert playout.stats.unknown_packets == 0


@pytest.mark.parametrize("mode", [DelayMode.FIXED, DelayMode.ADAPTIVE])
@pytest.mark.parametrize("louder", [1.0, 4.0])
def test_what_refreshes_the_background_in_a_pause_makes_no_dip_and_louder_audio_is_played(
    mode: DelayMode, louder: float
) -> None:
    codec = L16(RATE, 1)
    signal = (0.01 * noise(3, 5 * RATE))[:, None]
    signal[: RATE // 2] += 0.2 * sine(200, RATE, RATE // 2)[:, None]
    signal[3 * RATE + RATE // 5 :] *= louder
    signal = as_sent(signal)
    # After 2 s a packet of 20 ms comes each 400 ms.
    sent = [k for k in range(250) if k < 100 or k % 20 == 0]
    arrivals = []
    for number, k in enumerate(sent):
        payload = codec.encode(signal[320 * k : 320 * (k + 1)])
        arrivals.append((0.02 * k, build_rtp(RtpPacket(96, number, 320 * k, 5, payload))))
    playout = make(codec, DelayConfig(mode=mode, delay_ms=60), model="ar")
    played = play(playout, arrivals, 480)[:, 0]
    if louder == 1.0:
        # From the first refresh on: what becomes of the last packet before is the concealer's.
        frames = played[RATE * 26 // 10 :][: RATE * 2].reshape(-1, 320)
        levels = 20 * np.log10(np.std(frames, axis=1) / np.std(signal[RATE : 2 * RATE]))
        assert np.max(np.abs(levels)) < 3.0
        assert playout.stats.refresh_packets >= 5
    else:
        assert playout.stats.refresh_packets <= 3
        frames = played[RATE * 3 :][: RATE // 2].reshape(-1, 160)
        loudest = 20 * np.log10(np.max(np.std(frames, axis=1)) / np.std(signal[4 * RATE :]))
        assert loudest > -1.0


def test_silence_is_played_before_anything_came() -> None:
    playout = make()
    assert not play(playout, [], 50).any()
    assert playout.concealment.concealed_samples == 0


@pytest.mark.parametrize("name", ["pcmu", "pcma", "opus"])
def test_every_codec_is_played(name: str) -> None:
    if name == "opus":
        pytest.importorskip("av", reason="PyAV is not installed")
    rate = 48_000 if name == "opus" else 8000
    codec, sender = open_codec(name, rate, 1), open_codec(name, rate, 1)
    packet = rate // 50
    signal = sine(440, rate, 2 * rate)[:, None]
    arrivals = stream(signal, sender, [packet] * 100)
    del arrivals[50]
    playout = make(codec, block=packet)
    played = play(playout, arrivals, 95)[rate // 2 :, 0]
    assert playout.concealment.concealed_samples == packet
    spectrum = np.abs(np.fft.rfft(played * np.hanning(played.size)))
    assert np.argmax(spectrum) * rate / played.size == pytest.approx(440, abs=2)
    assert np.std(played) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_a_payload_that_cannot_be_decoded_is_concealed() -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    sender, codec = open_codec("opus", 48_000, 1), open_codec("opus", 48_000, 1)
    signal = sine(440, 48_000, 48_000)[:, None]
    arrivals = stream(signal, sender, [960] * 50)
    broken = bytearray(arrivals[25][1])
    broken[12:] = b"\x7b\x02" + b"\xff" * 10  # says 40 ms in two frames, holds noise
    playout = make(codec, block=960)
    arrivals[25] = (arrivals[25][0], bytes(broken))
    assert np.isfinite(play(playout, arrivals, 50)).all()


@pytest.mark.parametrize("packet", [48, 64, 128, 347, 441, 594, 1024])
def test_packets_of_any_length_lose_what_was_lost_and_nothing_else(packet: int) -> None:
    codec = L16(48_000, 2)
    count = 96_000 // packet
    signal = as_sent(noise(6, 2 * 96_000).reshape(-1, 2))
    arrivals = stream(signal, codec, [packet] * count)
    lost = np.arange(count) % 10 == 5
    kept = [arrival for arrival, gone in zip(arrivals, lost, strict=True) if not gone]
    playout = make(codec, block=480, model="ar")
    played = play(playout, kept, 190)
    begin = find(played, signal)
    played = played[begin:]
    missing = np.repeat(lost, packet)[: len(played)]
    assert playout.concealment.concealed_samples == playout.received.lost_samples == missing.sum()
    # What was received is played; behind a hole it is blended with what concealed that, for 2.5 ms.
    settled = np.convolve(missing, np.ones(1 + 120))[: missing.size] == 0
    np.testing.assert_array_equal(played[settled], signal[: len(played)][settled])


@pytest.mark.parametrize("packet", [48, 128, 441, 594, 1024])
@pytest.mark.parametrize("lookahead", [0, 2])
def test_packets_of_any_length_are_concealed_as_they_are_offline(
    packet: int, lookahead: int
) -> None:
    """Where holes do not stand so close that they share the time of a block."""
    codec = L16(48_000, 1)
    count = 144_000 // packet
    signal = as_sent(tones(3, 48_000, 144_000))[:, None]
    trace = GilbertElliott(0.1, max(1.5, 960 / packet)).trace(count, 3)
    trace[: 9600 // packet] = trace[-9600 // packet :] = False
    arrivals = stream(signal, codec, [packet] * count)
    kept = [arrival for arrival, lost in zip(arrivals, trace, strict=True) if not lost]
    playout = playout_of(codec, 480, FIXED_60, model="ar", budget_ms=math.inf, lookahead=lookahead)
    played = play(playout, kept, 280)[:, 0]
    begin = find(played[:, None], signal)
    heard = played[begin:]
    whole = signal[: heard.size, 0]
    missing = np.repeat(trace, packet)[: heard.size]
    settings: dict[str, Any] = {"sample_rate": 48_000, "packet_samples": packet, "model": "ar"}
    if lookahead:
        ahead = lookahead * 480 // packet
        offline = conceal(signal[: count * packet], trace, lookahead=ahead, **settings)
    else:
        offline = knowing(signal, trace, 3360, **settings)
    offline = offline[: heard.size, 0]

    def error_db(made: NDArray[Any]) -> float:
        power = float(np.sum(whole[missing] ** 2))
        return 10.0 * math.log10(float(np.sum((made - whole)[missing] ** 2)) / power)

    if lookahead == 0:
        assert error_db(heard) == pytest.approx(error_db(offline), abs=0.5)
    else:
        assert error_db(heard) < error_db(offline) + 1.5


def test_no_concealer_is_built_once_packets_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes long, and whatever else the thread serves would wait."""
    built: list[Concealer] = []

    def build(**settings_: Any) -> Concealer:
        built.append(Concealer(**settings_))
        return built[-1]

    monkeypatch.setattr(plc.transport.rtp.playout, "Concealer", build)
    codec = L16(48_000, 1)
    playout = make(codec, block=480, model="ar")
    signal = noise(7, 24_000)[:, None]
    lengths = [594, 430, 48, 64, 128, 256, 441, 1024, 1, 119, 480]
    play(playout, stream(signal, codec, [n for n in lengths for _ in range(4)]), 30)
    assert playout.received.packets_received == 4 * len(lengths)
    assert len(built) == 1


def test_what_lies_between_two_near_holes_begins_no_burst_of_its_own() -> None:
    # Every other sample is lost: 240 bursts in each block would stop everything else.
    codec = L16(48_000, 1)
    arrivals = stream(noise(8, 4800)[:, None], codec, [480] * 4 + [1] * 2880)
    kept = arrivals[:4] + arrivals[4::2]
    playout = make(codec, block=480, model="ar")
    assert np.isfinite(play(playout, kept, 20)).all()
    assert 0 < playout.concealment.concealment_events <= 7  # one a block


@pytest.mark.parametrize("samples", [6, 12, 48])
def test_all_that_came_in_the_shortest_packets_is_played(samples: int) -> None:
    # Of packets of 125 us two lost ones often have one to seven between them.
    codec = L24(48_000, 1)
    arrivals = stream(noise(9, 48_000)[:, None], codec, [samples] * (48_000 // samples))
    lost = np.random.default_rng(4).random(len(arrivals)) < 0.05
    lost[: 9600 // samples] = lost[-9600 // samples :] = False
    kept = [packet for packet, gone in zip(arrivals, lost, strict=True) if not gone]
    playout = make(codec, block=480, model="ar")
    play(playout, kept, 98)
    assert playout.concealment.concealed_samples == samples * np.count_nonzero(lost)


def test_a_closed_playout_ends_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Concealer] = []
    monkeypatch.setattr(Concealer, "close", lambda self: closed.append(self))
    playout = make(model="ar")
    playout.close()
    assert closed == [playout._concealer]


@pytest.mark.parametrize("lookahead", [0, 2])
def test_concealment_can_be_switched_off_to_hear_what_is_lost(lookahead: int) -> None:
    """Then gaps are silent, the rest is as received; switched on again it goes on as ever."""
    signal_ = np.rint(0.3 * noise(3, 300 * BLOCK) * 32768).astype(np.float32) / 32768
    arrivals = stream(signal_[:, None], L16(RATE, 1), [BLOCK] * 300)
    lost = set(range(40, 300, 20))
    kept = [each for k, each in enumerate(arrivals) if k not in lost]
    settings = {"model": "ar", "budget_ms": math.inf, "lookahead": lookahead}
    as_ever = play(playout_of(L16(RATE, 1), BLOCK, FIXED_60, **settings), kept, 300)
    playout = playout_of(L16(RATE, 1), BLOCK, FIXED_60, **settings)
    parts, incoming = [], Incoming(kept)
    for conceals, ticks in ((True, range(100)), (False, range(100, 200)), (True, range(200, 300))):
        playout.conceals = conceals
        for tick in ticks:
            now_s = tick * BLOCK / RATE
            for at_s, datagram in incoming.until(now_s):
                playout.put(datagram, at_s)
            parts.append(playout.tick(now_s).T.copy())
    heard = np.concatenate(parts)
    # What was pulled before a switch is played after it: a block, and those waited for.
    begin, end = (101 + lookahead) * BLOCK, 200 * BLOCK
    np.testing.assert_array_equal(heard[: 100 * BLOCK], as_ever[: 100 * BLOCK])
    np.testing.assert_array_equal(heard[end + BLOCK :], as_ever[end + BLOCK :])
    silent = signal_.reshape(-1, BLOCK).copy()
    silent[sorted(lost)] = 0.0
    shift = int(np.argmax(as_ever[:, 0] != 0.0)) - int(np.argmax(signal_ != 0.0))
    np.testing.assert_array_equal(heard[begin:end, 0], silent.ravel()[begin - shift : end - shift])


@pytest.mark.parametrize("late_s", [None, 0.165], ids=["lost before", "late before"])
def test_a_packet_that_cannot_be_decoded_is_lost_and_counted_once(
    late_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is looked at behind a hole, before its turn, and has several blocks."""
    size, count = 2 * BLOCK, 30
    signal_ = as_sent(noise(4, count * size))[:, None]
    codec = L16(RATE, 1)
    arrivals = stream(signal_, codec, [size] * count)
    coded = parse_rtp(arrivals[6][1])
    assert isinstance(coded, RtpPacket)
    decode = codec.decode
    monkeypatch.setattr(codec, "decode", lambda it: None if it == coded.payload else decode(it))
    monkeypatch.setattr(codec, "memory", lambda: 0)  # so that it is decoded again
    before = arrivals.pop(5)[1]
    if late_s is not None:
        arrivals = sorted([*arrivals, (late_s, before)])
    playout = make(codec, model="ar")
    incoming, lost = Incoming(arrivals), 0
    for tick in range(2 * count):
        for at_s, datagram in incoming.until(tick * BLOCK / RATE):
            playout.put(datagram, at_s)
        playout.tick(tick * BLOCK / RATE)
        lost += int(np.count_nonzero(playout.lost))
    assert playout.stats.undecodable_packets == 1
    assert lost == (2 if late_s is None else 1) * size
    assert playout.concealment.concealed_samples >= lost
