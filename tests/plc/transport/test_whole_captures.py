"""A stream of a capture is written whole, by the sender's clock alone, unless a delay is given."""

import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.transport.rtp.codecs import open_codec
from plc.transport.rtp.packets import RtpPacket, parse_rtp

pytest.importorskip("dpkt", reason="captures are read by dpkt (extra rtp)")
from plc.transport import captured
from plc.transport.captured import Sender
from tests.examples import examples
from tests.plc.transport.rtp.test_capture import Sent, pcap
from tests.plc.transport.streams import as_sent
from tests.plc.transport.test_captured import (
    BEGIN_S,
    FORMATS,
    KEY_TEXT,
    STEREO_44,
    Call,
    run,
    told,
    written,
)

MONO = ("l16", 48_000, 1, 480)
PHONE = ("pcmu", 8000, 1, 160)
# What is received behind a pause begins in a crossfade of 2.5 ms at most.
CROSSFADE = 120
Order = Callable[[list[Sent]], list[Sent]]


def decoded(call: Call) -> NDArray[np.float32]:
    """Return what the codec makes of a call's packets, in order, as a file of 16 bits has it."""
    codec = open_codec(*call.coding)
    parts = []
    for _, packet, _ in sorted(call.sent, key=lambda each: number_of(each, call)):
        parsed = parse_rtp(packet)
        assert isinstance(parsed, tuple)
        part = codec.decode(parsed.payload)
        assert part is not None
        parts.append(part)
    samples = np.concatenate(parts)
    return samples if call.coding[0] == "l24" else as_sent(samples)


def number_of(sent: Sent, call: Call) -> int:
    """Return a packet's place; a call begins at 65 530."""
    return (int.from_bytes(sent[1][2:4]) - 65_530) % 65_536


def restamped(sent: Sent, number: int, stamp: int, by_s: float = 0.0) -> Sent:
    """Return a packet with another number and another stamp, that much later."""
    at_s, packet, port = sent
    head = struct.pack("!HI", number % 65_536, stamp % 2**32)
    return at_s + by_s, packet[:2] + head + packet[8:], port


def later(sent: Sent, by_s: float) -> Sent:
    """Return a packet that comes so much later."""
    return sent[0] + by_s, *sent[1:]


def heard(
    tmp_path: Path, sent: list[Sent], *words: object
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Return the report of a capture's only stream, and its file."""
    path = written(tmp_path / "call.pcap", pcap(sorted(sent, key=lambda each: each[0])))
    [stream] = told("conceal", path, tmp_path / "heard.wav", "-y", "--model", "ar", *words)[
        "streams"
    ]
    return stream, soundfile.read(tmp_path / "heard.wav", dtype="float32", always_2d=True)[0]


def check_untouched(stream: dict[str, Any], lost: int = 0) -> None:
    """Check that nothing was cut, stretched or too late, and so many samples lost."""
    counts = stream["jitter_buffer"]
    names = ("late_samples", "skipped_samples", "inserted_samples", "removed_samples")
    assert [counts[name] for name in names] == [0, 0, 0, 0]
    assert counts["late_packets"] == counts["source_changes"] == counts["overflow_packets"] == 0
    assert counts["lost_samples"] == lost


def permuted(each: int) -> Order:
    """Return an order in which so many packets come reversed."""
    return lambda sent: (
        [
            (at_s, *sent[k // each * each + each - 1 - k % each][1:])
            for k, (at_s, *_) in enumerate(sent[: len(sent) // each * each])
        ]
        + sent[len(sent) // each * each :]
    )


def delayed(share: float, most_s: float, copies: float = 0.0) -> Order:
    """Return an order in which some packets come late, and of some a copy."""

    def order(sent: list[Sent]) -> list[Sent]:
        rng = random.Random(7)
        late = [later(each, rng.uniform(0.0, most_s) * (rng.random() < share)) for each in sent]
        again = [later(each, rng.uniform(0.0, most_s)) for each in sent if rng.random() < copies]
        return late + again

    return order


ORDERS: dict[str, Order] = {
    "jitter": delayed(1.0, 0.15),
    "pairs swapped": permuted(2),
    "threes reversed": permuted(3),
    "late by seconds": delayed(0.02, 5.0),
    "copies": delayed(0.3, 0.3, 0.8),
    "slow sender": lambda sent: [later(each, 0.06 * (each[0] - BEGIN_S)) for each in sent],
    "fast sender": lambda sent: [later(each, -0.01 * (each[0] - BEGIN_S)) for each in sent],
}


@pytest.mark.parametrize("coding", FORMATS)
def test_a_clean_stream_is_its_packets_bit_for_bit(
    tmp_path: Path, coding: tuple[str, int, int, int]
) -> None:
    call = Call(*coding, loss=0.0)
    stream, found = heard(tmp_path, call.sent)
    check_untouched(stream)
    np.testing.assert_array_equal(found, decoded(call))
    assert stream["concealment"]["concealed_samples"] == 0


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("coding", [MONO, STEREO_44, PHONE, ("l16", 48_000, 1, 594)])
def test_no_order_of_arrival_changes_a_sample(
    tmp_path: Path, coding: tuple[str, int, int, int], name: str
) -> None:
    call = Call(*coding, loss=0.0, jitter_s=0.0, seconds=9.0)
    call.sent = call.sent[: len(call.sent) // 6 * 6]
    codec, rate, channels, _ = coding
    coded = ("--codec", codec, "--sample-rate", rate, "--channels", channels)
    stream, found = heard(
        tmp_path, ORDERS[name](call.sent), *coded[: 0 if coding == PHONE else None]
    )
    check_untouched(stream)
    np.testing.assert_array_equal(found, decoded(call))


@pytest.mark.parametrize("coding", [MONO, PHONE])
def test_only_what_is_missing_is_made_up(tmp_path: Path, coding: tuple[str, int, int, int]) -> None:
    """Lost packets, also where late ones and copies come beside them, or one of two links."""
    whole = Call(*coding, loss=0.0, jitter_s=0.0, seconds=9.0)
    block = coding[3]
    every_second = [k for k in range(len(whole.sent)) if k % 2]
    some = np.flatnonzero(Call(*coding, loss=0.08, seconds=9.0).lost).tolist()
    for lost, order in ((every_second[:-1], "jitter"), (some, "copies"), (some, "pairs swapped")):
        sent = [each for k, each in enumerate(whole.sent) if k not in lost]
        stream, found = heard(tmp_path, ORDERS[order](sent))
        is_lost = np.zeros(len(whole.sent), np.bool_)
        is_lost[lost] = True
        received = np.repeat(~is_lost, block)
        check_untouched(stream, block * len(lost))
        assert stream["jitter_buffer"]["lost_packets"] == len(lost)
        expected = decoded(whole)
        assert len(found) == len(expected)
        np.testing.assert_array_equal(found[received], expected[received])


def test_lookahead_and_long_blocks_change_no_received_sample(tmp_path: Path) -> None:
    call = Call(loss=0.05, jitter_s=0.0, seconds=3.0)
    kept = ~np.repeat(call.lost, 480)
    for words in (("--lookahead", 2), ("--packet-ms", 120), ("--packet-ms", 2.5), ("--align",)):
        stream, found = heard(tmp_path, call.sent, *words)
        check_untouched(stream, 480 * int(call.lost.sum()))
        assert len(found) == len(call.signal)
        np.testing.assert_array_equal(found[kept], call.signal[kept])


def test_a_pause_is_as_long_as_the_sender_says(tmp_path: Path) -> None:
    """Whatever the jitter; one that the stamps do not count is none."""
    call = Call(*PHONE, loss=0.0, jitter_s=0.12, seconds=6.0)
    rows = [(0, 0), (100, 4321), (140, 4321 + 20_000), (230, 4321 + 20_000 + 161)]
    sent, place, samples = [], [], decoded(call)
    for k, each in enumerate(sorted(call.sent, key=lambda each: number_of(each, call))):
        away = [away for first, away in rows if k >= first][-1]
        place.append(160 * k + away)
        sent.append(restamped(each, k, 10**9 + 160 * k + away, away / 8000 + 3.0 * (k >= 270)))
    stream, found = heard(tmp_path, sent)
    check_untouched(stream)
    assert len(found) == place[-1] + 160
    for k, at in enumerate(place):
        begins = CROSSFADE if k in dict(rows[1:]) else 0
        part = samples[160 * k : 160 * k + 160]
        np.testing.assert_array_equal(found[at : at + 160][begins:], part[begins:])


def test_comfort_noise_that_comes_irregularly_takes_no_pause_away(tmp_path: Path) -> None:
    call = Call(*PHONE, loss=0.0, jitter_s=0.0, seconds=4.0)
    rng, sent, number = random.Random(4), [], 0
    for k, each in enumerate(call.sent):
        pauses = k // 50
        for step in range(9 if pauses and not k % 50 else 0):
            at = 160 * k + 8000 * (pauses - 1) + 800 * (step + 1)
            noise = restamped(each, number, at, at / 8000 - 0.02 * k + rng.uniform(0.0, 0.08))
            sent.append((noise[0], noise[1][:1] + bytes([13]) + noise[1][2:12] + b"\x40", noise[2]))
            number += 1
        away = rng.uniform(0.0, 0.08) + pauses
        sent.append(restamped(each, number, 160 * k + 8000 * pauses, away))
        number += 1
    _, found = heard(tmp_path, sent)
    assert len(found) == 7 * 8000


@pytest.mark.parametrize("late_s", [0.6, 1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("holds", [False, True], ids=["alone", "with those behind it"])
def test_a_first_packet_that_is_late_shortens_no_pause(
    tmp_path: Path, late_s: float, holds: bool
) -> None:
    call = Call(*PHONE, loss=0.0, jitter_s=0.0, seconds=6.0)
    begins = 9 + 50 * math.ceil(late_s)  # of a pause of 1 s
    sent = [
        restamped(each, k, 160 * k + 8000 * (k > begins), 1.0 * (k > begins))
        for k, each in enumerate(call.sent)
    ]
    until_s = sent[0][0] + late_s
    held = [
        later(each, max(0.0, until_s - each[0]) * (holds or k == 0)) for k, each in enumerate(sent)
    ]
    stream, found = heard(tmp_path, held)
    check_untouched(stream)
    assert len(found) == 7 * 8000


@pytest.mark.parametrize("number", [20_000, 60_000, 65_530])
def test_a_sender_that_begins_again_is_followed(tmp_path: Path, number: int) -> None:
    """At other numbers, or at its former ones with the same packets."""
    call = Call(loss=0.0, jitter_s=0.0, seconds=4.0)
    again = [later(each, 5.0) for each in call.sent]
    if number != 65_530:
        again = [restamped(each, number + k, 77 + 480 * k) for k, each in enumerate(again)]
    stream, found = heard(tmp_path, [*call.sent, *again])
    assert len(found) == 9 * 48_000
    samples = len(call.signal)
    np.testing.assert_array_equal(found[:samples], call.signal)
    np.testing.assert_array_equal(found[CROSSFADE - samples :], call.signal[CROSSFADE:])
    assert (
        stream["jitter_buffer"]["lost_samples"] == stream["jitter_buffer"]["skipped_samples"] == 0
    )


@pytest.mark.parametrize("late_s", [1.2, 2.0, 3.5])
def test_copies_that_come_seconds_later_are_copies(tmp_path: Path, late_s: float) -> None:
    call = Call(loss=0.0, jitter_s=0.0, seconds=8.0)
    copies = [later(each, late_s) for each in call.sent]
    stream, found = heard(tmp_path, [*call.sent, *copies])
    check_untouched(stream)
    np.testing.assert_array_equal(found, call.signal)
    # One of two links is out for 2 s: the later one has what it lacks.
    lacking = [*call.sent[:550], *call.sent[750:], *copies]
    stream, found = heard(tmp_path, lacking)
    check_untouched(stream)
    np.testing.assert_array_equal(found, call.signal)


def test_packets_from_elsewhere_are_left_out_and_counted(tmp_path: Path) -> None:
    call = Call(loss=0.0, jitter_s=0.0)
    lone = [restamped(call.sent[k], 20_000 + 5000 * k, 10**9 * k) for k in (1, 2, 3)]
    stream, found = heard(tmp_path, [*call.sent, *lone])
    np.testing.assert_array_equal(found, call.signal)
    assert stream["jitter_buffer"]["foreign_packets"] == 3


@pytest.mark.parametrize("factor", [0, 2, 6])
def test_stamps_that_no_clock_bears_out_do_not_count(tmp_path: Path, factor: int) -> None:
    call = Call(*STEREO_44, loss=0.0, seconds=4.0)
    sent = [restamped(each, k, 441 * k * factor) for k, each in
            enumerate(sorted(call.sent, key=lambda each: number_of(each, call)))]  # fmt: skip
    coded = ("--codec", "l16", "--channels", 2, "--sample-rate", 44_100, "--payload-type", 96)
    sent = [(at_s, packet[:1] + b"\x60" + packet[2:], port) for at_s, packet, port in sent]
    _, found = heard(tmp_path, sent, *coded)
    np.testing.assert_array_equal(found, call.signal)


@pytest.mark.parametrize("jump", [5 * 3600 * 8000, -(10**9), 8000])
def test_stamps_that_jump_make_no_pause(tmp_path: Path, jump: int) -> None:
    call = Call(*PHONE, loss=0.0, jitter_s=0.1, seconds=8.0)
    call.sent.sort(key=lambda each: number_of(each, call))
    sent = [restamped(each, k, 160 * k + jump * (k >= 200)) for k, each in enumerate(call.sent)]
    stream, found = heard(tmp_path, sent)
    check_untouched(stream)
    np.testing.assert_array_equal(found, decoded(call))


def test_a_packet_that_is_late_says_nothing_of_the_rate(tmp_path: Path) -> None:
    """No option says the coding of this stream."""
    call = Call(loss=0.0, jitter_s=0.0, seconds=6.0)
    stream, found = heard(tmp_path, [*call.sent[:-1], later(call.sent[-1], 0.6)])
    assert stream["sample_rate"] == 48_000
    np.testing.assert_array_equal(found, call.signal)


@pytest.mark.parametrize("what", ["stamps", "numbers", "both", "rows"])
def test_forged_stamps_and_numbers_write_no_hours(tmp_path: Path, what: str) -> None:
    call = Call(*PHONE, loss=0.0, seconds=4.0)
    rng, sent, number, stamp = random.Random(3), [], 0, 0
    for each in call.sent:
        number += rng.choice((1, 1, 2900)) if what in ("numbers", "both") else 1
        stamp += 160 + rng.choice((0, 0, 3900, 8000 * 3600, -8000)) * (what in ("stamps", "both"))
        stamp += 160 * 2900 * (what == "both")
        if what == "rows":
            number, stamp = rng.randrange(1 << 16), rng.randrange(1 << 32)
            sent.append(restamped(each, number, stamp))
            number += 1
        sent.append(restamped(each, number, stamp))
    _, found = heard(tmp_path, sent)
    assert 3.0 < len(found) / 8000 < 40.0


@pytest.mark.parametrize("copies", [0, 2])
def test_redundancy_over_a_static_type_is_played_with_the_advice(
    tmp_path: Path, copies: int
) -> None:
    """Its copies fill what was lost, bit for bit."""
    call = Call(*PHONE, loss=0.0, jitter_s=0.03, seconds=4.0)
    call.sent.sort(key=lambda each: number_of(each, call))
    payloads = [packet[12:] for _, packet, _ in call.sent]
    sent = []
    for k, (at_s, packet, port) in enumerate(call.sent):
        away = [n for n in range(copies, 0, -1) if k >= n]
        heads = [struct.pack("!I", 1 << 31 | 160 * n << 10 | 160) for n in away]
        body = b"".join([*heads, b"\0", *(payloads[k - n] for n in away), payloads[k]])
        sent.append((at_s, packet[:1] + bytes([packet[1] & 128 | 100]) + packet[2:12] + body, port))
    path = written(tmp_path / "red.pcap", pcap(sorted(sent)))
    refused = run("conceal", path, tmp_path / "no.wav")
    assert "give --red-payload-type 100" in " ".join(refused.output.split())
    kept = [each for k, each in enumerate(sent) if not copies or k % 3 != 1 or k in (0, 199)]
    for words in ((), ("--codec", "pcmu"), ("--payload-type", 0)):
        stream, found = heard(tmp_path, kept, "--red-payload-type", 100, *words)
        check_untouched(stream)
        np.testing.assert_array_equal(found, decoded(call))


def test_a_sealed_stream_is_sorted_before_it_is_opened(tmp_path: Path) -> None:
    call = Call(*PHONE, loss=0.0, jitter_s=0.0, seconds=3.0)
    key = written(tmp_path / "key", KEY_TEXT.encode())
    stream, found = heard(tmp_path, permuted(3)(call.sealed()), "--key-file", key)
    check_untouched(stream)
    np.testing.assert_array_equal(found, decoded(call))


@pytest.mark.parametrize(
    "words",
    [
        ("--safety", "normal"),
        ("--fixed-delay-ms", 60),
        ("--headroom-ms", 5),
        ("--max-delay-ms", 200),
    ],
)
def test_a_delay_that_is_given_plays_as_a_receiver(
    tmp_path: Path, words: tuple[object, ...]
) -> None:
    call = Call(loss=0.0, jitter_s=0.0)
    late = [later(each, 0.5 * (k == 100)) for k, each in enumerate(call.sent)]
    stream, found = heard(tmp_path, late, *words)
    assert stream["jitter_buffer"]["late_packets"] == 1
    assert not np.array_equal(found[: len(call.signal)], call.signal)


@examples(200)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-5, 40), st.integers(-3, 3)), min_size=8))
def test_packets_of_any_numbers_and_stamps_have_places_one_behind_the_other(
    sent: list[tuple[int, int, int]],
) -> None:
    """As far apart as the times of arrival allow, and each number that is near comes in order."""
    order, at_s, number, stamp = captured._InOrder(), 0.0, 0, 0
    clock = captured._SenderClock(Sender(("a", 1), ("b", 2), 7, first_s=0.0), "pcmu", 8000)
    packets: list[tuple[int, int, float, bytes]] = []
    for wait, steps, stamps in sent:
        at_s += wait / 100
        number += steps if steps < 38 else 9000
        stamp += 160 * steps + 3000 * stamps
        head = struct.pack("!BBHII", 0x80, 0, number % 65_536, stamp % 2**32, 7)
        packets += order.take(at_s, head + bytes(160))
    packets += order.sorted_until(math.inf)
    assert len(packets) + order.strays >= len(sent)
    assert [each[:2] for each in packets] == sorted(each[:2] for each in packets)
    for row, number, came_s, datagram in packets:
        packet = parse_rtp(datagram)
        assert isinstance(packet, RtpPacket)
        before = clock.stop
        clock.place(packet, 160, row, number, came_s)
        if clock.stop > before:
            assert clock.start >= before
    most_s = at_s + 0.5 + 0.03 * len(packets)
    assert clock.stop / 8000 <= most_s + captured._LOST_BELIEVED * 0.02 * len(packets)
