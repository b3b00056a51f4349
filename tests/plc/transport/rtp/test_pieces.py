"""Pieces of sound with a time, as programs send them: stalls, holes, pauses, doubles, clocks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import PlayoutBuffer
from plc.errors import ConcurrentPushError, ConfigError, PacketError
from plc.transport.rtp.codecs import G711
from tests.examples import examples
from tests.plc.transport.streams import Incoming
from tests.signals import noise, tones

RATE, PIECE = 24_000, 480
FIRST = 7_000_123
"""Where the sender's positions begin."""


@dataclass
class Sent:
    """A piece: when it comes, and what is put."""

    at_s: float
    samples: NDArray[np.float32]
    place: dict[str, Any]


def opened(rate: int = RATE, channels: int = 1, **settings: Any) -> PlayoutBuffer:
    """Return a buffer that has the time it takes, and no network."""
    given_settings: dict[str, Any] = {"method": "ar", "budget_ms": math.inf} | settings
    return PlayoutBuffer(rate, channels, **given_settings)


def sound(seconds: float = 4.0) -> NDArray[np.float32]:
    return tones(3, RATE, round(seconds * RATE)).astype(np.float32)


def sent(signal: NDArray[np.float32], speed: float = 1.0) -> list[Sent]:
    """Return pieces of 20 ms as they come without a network."""
    return [
        Sent(at / RATE / speed, signal[at : at + PIECE], {"at": FIRST + at})
        for at in range(0, len(signal), PIECE)
    ]


def play(
    pieces: list[Sent], seconds: float, take: int = 240, **settings: Any
) -> tuple[PlayoutBuffer, NDArray[np.float32], NDArray[np.bool_]]:
    """Put pieces when they come; take what is played."""
    buffer = opened(**settings)
    incoming = Incoming((piece.at_s, k, piece) for k, piece in enumerate(pieces))
    heard, marks = [], []
    for number in range(round(seconds * RATE / take)):
        for _, _, piece in incoming.until(number * take / RATE + 1e-9):
            buffer.put(piece.samples, **piece.place)
        samples, made_up = buffer.take(take)
        heard.append(samples[:, 0])
        marks.append(made_up)
    return buffer, np.concatenate(heard), np.concatenate(marks)


@pytest.mark.parametrize("take", [1, 100, 480, 5000])
@pytest.mark.parametrize("place", ["samples", "seconds", "none"])
def test_what_comes_in_time_is_played_bit_for_bit(take: int, place: str) -> None:
    signal = sound(1.0)
    pieces = sent(signal)
    for each in pieces:
        at = each.place["at"]
        each.place = {"samples": {"at": at}, "seconds": {"at_s": at / RATE}, "none": {}}[place]
    if take > PIECE:  # they come as seldom as they are asked for
        for each in pieces:
            each.at_s = 0.0
    buffer, heard, made_up = play(pieces, 0.9, take)
    delay = round(0.04 * RATE)
    assert not heard[:delay].any()
    np.testing.assert_array_equal(heard[delay:], signal[: len(heard) - delay])
    assert not made_up.any()
    assert buffer.stats.received_samples > 0
    assert buffer.stats.lost_samples == buffer.stats.unsent_samples == 0


@pytest.mark.parametrize("stall_s", [0.1, 0.2, 0.35])
def test_a_stall_makes_the_stream_wait_and_no_word_is_cut(stall_s: float) -> None:
    signal = sound()
    pieces = sent(signal)
    for each in pieces:
        if each.at_s >= 2.0:
            each.at_s = max(each.at_s, 2.0 + stall_s)
    buffer, heard, made_up = play(pieces, 4.0)
    begin, stop = np.flatnonzero(made_up)[[0, -1]] + [0, 1]
    assert abs((stop - begin) / RATE - (stall_s - 0.04)) <= 0.02
    assert made_up[begin:stop].all()
    assert buffer.stats.late_samples == stop - begin
    delay = round(0.04 * RATE)
    np.testing.assert_array_equal(heard[delay:begin], signal[: begin - delay])
    behind = heard[stop + RATE // 50 :]  # behind the crossfade
    start = begin - delay + RATE // 50
    np.testing.assert_array_equal(behind, signal[start : start + len(behind)])


def test_without_waiting_a_stall_is_lost_and_the_delay_is_kept() -> None:
    signal = sound()
    pieces = sent(signal)
    for each in pieces:
        if each.at_s >= 2.0:
            each.at_s = max(each.at_s, 2.2)
    buffer, heard, made_up = play(pieces, 3.9, max_delay_ms=0.0)
    assert buffer.stats.late_samples == np.count_nonzero(made_up) == 0.16 * RATE
    np.testing.assert_array_equal(heard[-RATE:], signal[round(2.86 * RATE) : round(3.86 * RATE)])


def test_a_hole_with_something_behind_it_is_lost_at_its_time() -> None:
    signal = sound()
    pieces = [each for each in sent(signal) if not 2.0 <= each.at_s < 2.06]
    buffer, heard, made_up = play(pieces, 3.9, delay_ms=100.0)
    gap = np.flatnonzero(made_up)
    assert (gap[0], len(gap)) == (2.1 * RATE, 0.06 * RATE)
    assert buffer.stats.lost_samples == len(gap)
    assert np.abs(heard[gap]).max() > 0.1
    np.testing.assert_array_equal(heard[-RATE:], signal[round(2.8 * RATE) : round(3.8 * RATE)])


def test_a_pause_of_the_sender_takes_back_what_stalls_added() -> None:
    signal = sound(60.0)
    pieces = [each for each in sent(signal) if not 40.0 <= each.at_s < 40.5]
    for each in pieces:
        if 2.0 <= each.at_s < 3.0:
            each.at_s = max(each.at_s, 2.3)
    buffer, heard, _ = play(pieces, 45.0, most_ahead_s=1.0)
    last = round(44.0 * RATE)
    scores = [
        float(np.dot(heard[last:], signal[last - delay : len(heard) - delay]))
        for delay in range(round(0.4 * RATE))
    ]
    assert 0.03 <= int(np.argmax(scores)) / RATE <= 0.06
    assert buffer.stats.unsent_samples >= 0.2 * RATE


def test_doubles_overlaps_and_any_order_leave_nothing_but_the_sound() -> None:
    signal = sound()
    rng = np.random.default_rng(1)
    pieces = sent(signal)
    for each in pieces:
        each.at_s += rng.uniform(0.0, 0.05)
    again = [Sent(each.at_s + 0.01, each.samples, each.place) for each in pieces[::3]]
    wide = [
        Sent(at / RATE + 0.06, signal[at : at + 1000], {"at": FIRST + at})
        for at in range(0, len(signal), 5000)
    ]
    buffer, heard, made_up = play(pieces[1:] + pieces[:1] + again + wide, 3.9, delay_ms=120.0)
    first = np.flatnonzero(heard)[0]
    start = int(np.flatnonzero(signal == heard[first])[0])
    np.testing.assert_array_equal(heard[first:], signal[start : start + len(heard) - first])
    assert not made_up.any()
    assert buffer.stats.duplicate_samples > 10 * PIECE


def test_speech_that_comes_as_fast_as_it_can_waits_its_turn() -> None:
    signal = sound()
    pieces = [Sent(0.0, signal[at : at + 7777], {}) for at in range(0, len(signal), 7777)]
    buffer, heard, made_up = play(pieces, 3.9)
    np.testing.assert_array_equal(heard[960:], signal[: len(heard) - 960])
    assert not made_up.any()
    assert 100.0 < buffer.buffered_ms < 200.0


@pytest.mark.parametrize("speed", [0.9995, 1.0005])
def test_a_clock_that_is_off_is_followed(speed: float) -> None:
    signal = sound(60.0)
    buffer, heard, made_up = play(sent(signal, speed), 58.0, delay_ms=60.0)
    assert np.count_nonzero(made_up[RATE:]) <= 0.03 * RATE
    assert 5.0 < buffer.buffered_ms < 120.0
    assert np.isfinite(heard).all()


def test_positions_that_begin_anew_follow_what_was_there() -> None:
    signal = sound()
    pieces = sent(signal)
    for each in pieces:
        if each.at_s >= 2.0:
            each.place = {"at": each.place["at"] - 10**9}
    buffer, heard, made_up = play(pieces, 3.9)
    assert buffer.stats.jumps == 1
    np.testing.assert_array_equal(heard[960:], signal[: len(heard) - 960])
    assert not made_up.any()


def test_what_no_recorder_wrote_is_as_if_it_had_not_come() -> None:
    signal = sound()
    pieces = sent(signal)
    pieces[100].samples = pieces[100].samples.copy()
    pieces[100].samples[100:200] = np.nan
    pieces[120].samples = pieces[120].samples * np.float32(1e30)
    buffer, heard, made_up = play(pieces, 3.9)
    assert buffer.stats.refused_samples >= 100
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() < 2.0
    assert made_up[960 + 100 * PIECE + 100 : 960 + 100 * PIECE + 200].all()


def test_bytes_and_integers_are_taken_and_what_is_none_is_refused() -> None:
    huge: dict[str, Any] = {"sample_rate": 192_000, "channels": 8}
    buffer = PlayoutBuffer(16_000, 2, delay_ms=0.0, method="ar")
    words = np.arange(640, dtype=np.int16).reshape(320, 2)
    assert buffer.put(words.astype("<i2").tobytes(), at=5) == 320
    assert buffer.put(words, at=325) == 320
    assert buffer.put(b"", at=645) == 0
    samples, made_up = buffer.take(640)
    np.testing.assert_array_equal(samples, np.concatenate([words, words]) / 32768.0)
    assert not made_up.any()
    for wrong in (np.zeros((3, 4), np.float32), np.zeros((3, 2)), np.zeros(3, np.float32)):
        with pytest.raises(PacketError, match=r"piece|signal"):
            buffer.put(wrong)
    places: list[dict[str, Any]] = [{"at_s": math.nan}, {"at": 1.5}, {"at": 2**70}, {"at": "3"}]
    for place in [*places, {"at": 1, "at_s": 1.0}]:
        with pytest.raises(PacketError, match="PlayoutBuffer"):
            buffer.put(words, **place)
    with pytest.raises(ConfigError, match=r"samples of PlayoutBuffer\.take is -1"):
        buffer.take(-1)
    with pytest.raises(ConfigError, match=r"delay_ms of PlayoutBuffer is -1\.0; give 0 to"):
        PlayoutBuffer(delay_ms=-1.0)
    with pytest.raises(ConfigError, match="most_ahead_s of PlayoutBuffer is nan"):
        PlayoutBuffer(most_ahead_s=math.nan)
    refused: list[tuple[str, dict[str, Any]]] = [
        ("encoding of PlayoutBuffer is 'alaw'; give int16 or", {"encoding": "alaw"}),
        ("PlayoutBuffer: packet_samples is unknown; .*'packet_ms'", {"packet_samples": 5}),
        ("PlayoutBuffer: foo is unknown; known: sample_rate, .*, delay_ms, ", {"foo": 5}),
        ("of PlayoutBuffer is 600 s, .* give 0 to 81$", dict(**huge, most_ahead_s=600.0)),
    ]
    for said, settings in refused:
        with pytest.raises(ConfigError, match=said):
            PlayoutBuffer(**settings)
    assert PlayoutBuffer(**huge, method="ar")._line.nbytes <= 1e9


def test_what_is_too_far_ahead_is_left_out() -> None:
    buffer = PlayoutBuffer(RATE, most_ahead_s=1.0, method="ar")
    assert buffer.put(np.zeros(3 * RATE, np.int16)) == RATE
    assert buffer.stats.overflow_samples == 2 * RATE


def test_what_comes_for_a_pause_that_has_sound_behind_it_was_not_lost() -> None:
    buffer = PlayoutBuffer(8_000, method="ar", max_delay_ms=0.0)
    buffer.put(np.full(80, 0.1, np.float32), 0)
    buffer.take(320 + 240)  # the delay, the piece, and two blocks for which nothing was sent
    assert (buffer.stats.lost_samples, buffer.stats.unsent_samples) == (0, 160)
    buffer.put(np.full(80, 0.1, np.float32), 240)
    buffer.put(np.full(80, 0.1, np.float32), 80)  # the first of the two, too late
    assert buffer.stats.late_samples == 80
    assert (buffer.stats.lost_samples, buffer.stats.unsent_samples) == (0, 80)


# ---- laws ---------------------------------------------------------------------------------------


def made_up_ms(marks: NDArray[np.bool_]) -> float:
    return 1000.0 * float(np.count_nonzero(marks)) / RATE


@pytest.mark.parametrize("placed", [True, False])
def test_sound_is_heard_at_once_when_a_maker_that_stood_still_goes_on(placed: bool) -> None:
    pieces = sent(sound(8.0))
    for each in pieces:
        each.at_s += 1.5 * (each.at_s >= 2.0)
        each.place = each.place if placed else {}
    buffer, heard, made_up = play(pieces, 9.3)
    again = round(3.7 * RATE)
    assert not made_up[again:].any()
    assert np.abs(heard[again:]).max() > 0.1
    assert buffer.buffered_ms == pytest.approx(40.0, abs=20.0)
    stats = buffer.stats
    assert stats.late_samples + stats.unsent_samples == np.count_nonzero(made_up)
    assert stats.lost_samples == 0


@pytest.mark.parametrize("off_s", [-50.0, -2.1, -1.0, -0.5, 0.5, 1.0, 2.1, 50.0, 1000.0])
def test_one_wrong_position_moves_nothing_for_good(off_s: float) -> None:
    pieces = sent(sound(8.0))
    pieces[150].place = {"at": FIRST + 150 * PIECE + round(off_s * RATE)}
    buffer, _, made_up = play(pieces, 7.8)
    assert made_up_ms(made_up) <= 20.0
    assert buffer.buffered_ms == pytest.approx(40.0, abs=1.0)
    assert buffer.stats.jumps == 0


@pytest.mark.parametrize("off_s", [-50.0, -1.0, -0.5, 1.0, 50.0])
def test_positions_that_begin_anew_anywhere_are_followed(off_s: float) -> None:
    pieces = sent(sound(8.0))
    for k, each in enumerate(pieces):
        each.place = {"at": FIRST + k * PIECE + round(off_s * RATE) * (k >= 150)}
    buffer, heard, made_up = play(pieces, 7.8)
    assert made_up_ms(made_up) <= 220.0
    assert not made_up[round(3.3 * RATE) :].any()
    assert np.abs(heard[-RATE:]).max() > 0.03
    assert buffer.stats.jumps == 1


def test_what_waited_for_a_stall_is_played_in_any_order() -> None:
    signal = sound()
    pieces = sent(signal)
    stalled = [each for each in pieces if 2.0 <= each.at_s < 2.4]
    for each in stalled:
        each.at_s = 2.4
    pieces = pieces[:100] + stalled[::-1] + pieces[100 + len(stalled) :]
    buffer, heard, made_up = play(sorted(pieces, key=lambda each: each.at_s), 3.9)
    assert buffer.stats.late_samples == np.count_nonzero(made_up) <= 0.38 * RATE
    np.testing.assert_array_equal(heard[-RATE:], signal[round(2.5 * RATE) :][:RATE])


@pytest.mark.parametrize("order", [[0, 2, 1], [0, 1, 4, 3, 2], [0, 3, 1, 4, 2]])
def test_pieces_that_come_ahead_of_the_time_are_played_in_any_order(order: list[int]) -> None:
    signal, buffer = noise(1, 5 * RATE).astype(np.float32), opened()
    for k in order:
        assert buffer.put(signal[k * RATE : (k + 1) * RATE], at=k * RATE) == RATE
    heard, _ = buffer.take(len(order) * RATE + 960)
    np.testing.assert_array_equal(heard[960:, 0], signal[: len(order) * RATE])


def test_a_pause_ahead_of_the_time_is_as_long_as_it_was() -> None:
    signal, buffer = noise(1, RATE).astype(np.float32), opened()
    for k in range(2):
        assert buffer.put(signal, at=3 * k * RATE // 2) == RATE
    heard, _ = buffer.take(3 * RATE)
    np.testing.assert_array_equal(heard[960 : 960 + RATE, 0], signal)
    second = 960 + 3 * RATE // 2 + RATE // 50  # behind the crossfade
    np.testing.assert_array_equal(heard[second : second + RATE // 2, 0], signal[480:][: RATE // 2])


@pytest.mark.parametrize("off_s", [-3600.0, -50.0, 30.0, 3600.0])
@pytest.mark.parametrize("order", ["swapped", "reversed", "two links"])
def test_positions_that_begin_anew_are_followed_in_any_order(order: str, off_s: float) -> None:
    pieces = sent(sound(8.0))
    for k, each in enumerate(pieces):
        each.place = {"at": FIRST + k * PIECE + round(off_s * RATE) * (k >= 150)}
        if k >= 150:
            each.at_s += {"swapped": 0.03 * (k % 2 == 0), "two links": 0.05 * (k % 2)}.get(
                order, 0.0399 * (4 - k % 5)
            )
    buffer, _, made_up = play(pieces, 7.8)
    assert made_up_ms(made_up) <= 300.0
    assert made_up_ms(made_up[5 * RATE :]) <= 20.0
    assert buffer.stats.overflow_samples <= 5 * PIECE


@pytest.mark.parametrize(("stall_s", "ahead_s"), [(1.5, 60.0), (4.0, 60.0), (4.0, 1.0)])
def test_what_came_behind_a_long_stall_is_heard_once_and_caught_up(
    stall_s: float, ahead_s: float
) -> None:
    signal = (0.1 + np.arange(60 * RATE) / (128 * RATE)).astype(np.float32)
    pieces = sent(signal)
    for each in pieces:
        if each.at_s >= 5.0:
            each.at_s = max(each.at_s, 5.0 + stall_s)
    buffer, heard, made_up = play(pieces, 59.0, most_ahead_s=ahead_s)
    received = heard[~made_up & (heard != 0.0)]
    blocks = received[: len(received) // 240 * 240].reshape(-1, 240)
    assert np.diff(np.median(blocks, axis=1)).min() > 0.0  # never back
    again = round((5.2 + stall_s) * RATE)
    assert np.count_nonzero(made_up[again:]) <= 0.1 * RATE
    assert not (heard[again:] == 0.0).any()
    assert buffer.buffered_ms <= 1050.0  # what came late is the aim for a while
    if ahead_s > stall_s:
        assert buffer.stats.overflow_samples == 0


@pytest.mark.parametrize("order", [[1, 0], [2, 0, 1], [2, 1, 0]])
@pytest.mark.parametrize("stall_s", [3.5, 5.0])
def test_the_first_pieces_behind_a_long_stall_may_be_out_of_turn(
    stall_s: float, order: list[int]
) -> None:
    pieces, begin = sent(sound(25.0)), 250
    for each in pieces[begin:]:
        each.at_s = max(each.at_s, 5.0 + stall_s)
    in_order, _, _ = play(pieces, 24.0)
    pieces[begin : begin + len(order)] = [pieces[begin + k] for k in order]
    buffer, _, made_up = play(pieces, 24.0)
    assert buffer.stats.jumps == buffer.stats.overflow_samples == 0
    assert not made_up[round((5.2 + stall_s) * RATE) :].any()
    assert buffer.buffered_ms <= in_order.buffered_ms + 200.0 < 1000.0 * stall_s


@pytest.mark.parametrize(("piece_ms", "more_s"), [(100, 0.06), (100, 0.09), (200, 0.15)])
def test_with_a_fixed_delay_a_longer_way_costs_no_part_of_each_piece(
    piece_ms: int, more_s: float
) -> None:
    size, signal = RATE * piece_ms // 1000, sound(20.0)
    pieces = [
        Sent(at / RATE + more_s * (at >= 5 * RATE), signal[at : at + size], {"at": FIRST + at})
        for at in range(0, len(signal), size)
    ]
    _, _, made_up = play(pieces, 19.0, max_delay_ms=0.0)
    assert made_up_ms(made_up) <= 6 * 1000.0 * more_s
    assert not made_up[8 * RATE :].any()


@pytest.mark.parametrize("grain_s", [1e-6, 0.001, 0.005, 0.01, 0.025])
def test_positions_that_are_rounded_make_no_hole(grain_s: float) -> None:
    rate, piece = 44_100, 1102
    buffer = opened(rate)
    marks, k = [], 0
    for block in range(700):
        while k * piece / rate <= block * 0.01 + 1e-9:
            exact_s = k * (0.025 if grain_s == 0.025 else piece / rate)
            at_s = 5.0 + round(exact_s / grain_s) * grain_s
            buffer.put(np.full(piece, 0.1, np.float32), at_s=at_s)
            k += 1
        marks.append(buffer.take(441)[1])
    assert not np.concatenate(marks).any()
    assert buffer.stats.duplicate_samples <= 2 * grain_s * rate


@pytest.mark.parametrize("wrong", [0, 24_001])
@pytest.mark.parametrize(
    ("rate", "piece"),
    [(48_000, 64), (48_000, 128), (48_000, 256), (16_000, 128), (44_100, 128), (22_050, 128)],
)
def test_short_pieces_with_milliseconds_are_played_whole(rate: int, piece: int, wrong: int) -> None:
    """As an AudioWorklet's are, also behind one wrong position."""
    buffer = opened(rate)
    marks, k = [], 0
    for block in range(600):
        while k * piece / rate <= block * 0.01 + 1e-9:
            at = round(round(1000.0 * k * piece / rate) * rate / 1000.0) + wrong * (k == 500)
            buffer.put(np.full(piece, 0.1, np.float32), at=at)
            k += 1
        marks.append(buffer.take(rate // 100)[1])
    assert np.count_nonzero(np.concatenate(marks)) <= 2 * piece
    assert buffer.stats.duplicate_samples <= 4 * piece


@pytest.mark.parametrize(("rate", "piece"), [(48_000, 128), (44_100, 256), (44_100, 1024)])
@pytest.mark.parametrize("later_s", [0.0, 0.03])
def test_lost_and_reordered_pieces_with_milliseconds_lose_no_other(
    rate: int, piece: int, later_s: float
) -> None:
    rng = np.random.default_rng(1)
    count = 20 * rate // piece
    come = np.arange(count) * piece / rate + later_s * rng.random(count)
    order = [k for k in np.argsort(come, kind="stable") if rng.random() >= 0.05]
    buffer = PlayoutBuffer(rate, method="ar", delay_ms=60.0)
    taken = 0
    for block in range(2000):
        while order and come[order[0]] <= 0.01 * block:
            at_s = math.floor(1000.0 * order[0] * piece / rate) / 1000.0
            taken += buffer.put(np.full(piece, 0.1, np.float32), at_s=at_s)
            order.pop(0)
        buffer.take(rate // 100)
    stats = buffer.stats
    assert stats.duplicate_samples <= piece
    assert stats.late_samples <= 8 * piece
    assert taken == stats.received_samples


def test_exact_positions_of_pieces_of_two_lengths_say_where_they_stand() -> None:
    """As over two paths, one later: what all positions have in common is no rounding."""
    rate, rng = 48_000, np.random.default_rng(0)
    ends = np.cumsum(128 * rng.choice([1, 1, 1, 2], 4000))
    signal = (np.arange(ends[-1]) / ends[-1]).astype(np.float32)
    come = [
        (begin / rate + later_s, begin, end)
        for begin, end in zip([0, *ends[:-1]], ends, strict=True)
        for later_s in (0.0, 0.02)
        if rng.random() >= 0.2
    ]
    come.sort(reverse=True)
    buffer = PlayoutBuffer(rate, method="ar", delay_ms=60.0)
    played, made_up = [], []
    for block in range(ends[-1] // 480):
        while come and come[-1][0] <= 0.01 * block:
            _, begin, end = come.pop()
            buffer.put(signal[begin:end], at=int(begin))
        sound, made = buffer.take(480)
        played.append(sound[:, 0])
        made_up.append(made)
    # A burst's end is crossfaded.
    made = np.convolve(np.concatenate(made_up), np.ones(240))[:-239] > 0.5
    moved = np.concatenate(played) * ends[-1] - np.arange(made.size)
    assert np.ptp(moved[24_000:][~made[24_000:]]) < 1.0


@pytest.mark.parametrize("kind", [np.uint8, np.uint32, np.int64])
def test_positions_are_integers_of_any_type(kind: type) -> None:
    buffer = PlayoutBuffer(8_000, delay_ms=0.0, method="ar")
    assert buffer.put(np.full(80, 0.1, np.float32), at=kind(7)) == 80
    assert buffer.put(np.full(80, 0.1, np.float32), at=kind(87)) == 80
    assert not buffer.take(160)[1].any()


@pytest.mark.parametrize(
    "late_s",
    [lambda k: 0.07 * (k % 2), lambda k: 0.1 * (k % 10 == 3), lambda k: 0.2 - 0.02 * (k % 10)],
    ids=["two links", "one in ten", "bursts"],
)
def test_a_minority_is_waited_for_within_two_seconds(late_s: Any) -> None:
    pieces = sent(sound(20.0))
    for k, each in enumerate(pieces):
        each.at_s += late_s(k) * (each.at_s >= 5.0)
    _, _, made_up = play(pieces, 19.5)
    assert made_up_ms(made_up) <= 200.0
    assert not made_up[7 * RATE :].any()


def heard_after(
    buffer: PlayoutBuffer, piece: NDArray[np.float32], seconds: float, **at: int
) -> int:
    """Put a piece; return how many samples that came are heard then."""
    buffer.put(piece, **at)
    samples, made_up = buffer.take(round(seconds * RATE))
    return int(np.count_nonzero(~made_up & (samples[:, 0] != 0.0)))


@pytest.mark.parametrize("place", [{}, {"at": 0}])
def test_what_was_played_is_not_played_again_when_a_stream_stops(place: dict[str, int]) -> None:
    buffer = opened(max_delay_ms=0.0)
    piece = noise(1, round(1.003 * RATE)).astype(np.float32)
    assert heard_after(buffer, piece, 8.0, **place) == len(piece)


def test_a_block_of_which_every_second_sample_came_has_all_of_them() -> None:
    buffer = PlayoutBuffer(RATE, packet_ms=40.0, method="ar")  # 480 parts
    for at in range(0, 1920, 2):
        assert buffer.put(np.full(1, 0.25, np.float32), at=at) == 1
    made_up = buffer.take(960 + 1920)[1][960:]
    assert np.flatnonzero(~made_up).tolist() == list(range(0, 1920, 2))
    assert buffer.stats.lost_samples == 959  # the last may yet come


@pytest.mark.parametrize("seed", range(12))
def test_with_a_fixed_delay_received_is_what_is_heard(seed: int) -> None:
    rng = np.random.default_rng(seed)
    buffer = opened(delay_ms=20.0, max_delay_ms=0.0)
    come = Incoming(
        (k * 0.01 + rng.exponential(0.02), k) for k in range(400) if rng.random() > 0.05
    )
    heard, taken, piece = 0, 0, np.full(RATE // 100, 0.1, np.float32)
    while taken < 6 * RATE:
        for _, k in come.until(taken / RATE):
            buffer.put(piece, at=k * len(piece) if seed % 4 else None)
        samples, made_up = buffer.take(int(rng.integers(1, RATE // 50)))
        heard += int(np.count_nonzero(~made_up & (samples[:, 0] != 0.0)))
        taken += len(samples)
    assert heard == pytest.approx(buffer.stats.received_samples, abs=64)  # a clock was followed
    assert heard > RATE


def test_more_than_there_is_room_for_leaves_what_waits_as_it_is() -> None:
    buffer = opened(delay_ms=0.0, most_ahead_s=2.0)
    pieces = [np.full(RATE // 2, 0.01 * k, np.float32) for k in range(1, 13)]
    taken = sum(buffer.put(piece) for piece in pieces)
    assert taken == buffer.stats.received_samples < 4 * RATE
    assert buffer.stats.overflow_samples == 6 * RATE - taken
    samples, made_up = buffer.take(taken)
    assert not made_up[: taken - RATE // 100].any()
    assert samples[RATE // 100, 0] == np.float32(0.01)
    assert (np.diff(samples[:, 0]) >= 0).all()
    # The next piece follows what was kept: it is heard, as all that come at their pace then.
    heard = 0
    for _ in range(40):
        buffer.put(np.full(RATE // 10, 0.5, np.float32))
        samples, made_up = buffer.take(RATE // 10)
        heard += int(np.count_nonzero(~made_up & (samples[:, 0] == 0.5)))
    assert heard > 3 * RATE


@pytest.mark.parametrize("place", [True, False])
def test_a_piece_longer_than_the_room_is_no_end_of_all(place: bool) -> None:
    buffer = opened(most_ahead_s=1.0)
    buffer.put(np.full(6 * RATE, 0.1, np.float32), at=0 if place else None)
    heard = 0
    for k in range(100):
        at = 6 * RATE + k * (RATE // 10)
        buffer.put(np.full(RATE // 10, 0.5, np.float32), at=at if place else None)
        samples, made_up = buffer.take(RATE // 10)
        heard += int(np.count_nonzero(~made_up & (samples[:, 0] == 0.5)))
    assert heard > 7 * RATE


@pytest.mark.parametrize("lookahead", [1, 3])
def test_nothing_of_what_was_dropped_or_ended_is_left_in_the_lookahead(lookahead: int) -> None:
    buffer = opened(delay_ms=0.0, lookahead=lookahead)
    buffer.put(np.full(RATE, 0.1, np.float32))
    buffer.take(RATE // 2)
    buffer.clear()
    buffer.put(np.full(RATE // 4, 0.5, np.float32))
    samples, made_up = buffer.take(RATE)
    behind = samples[RATE // 100 :, 0]  # what had been played already fades within 5 ms
    assert not np.isin(behind, np.float32(0.1)).any()
    assert np.count_nonzero(~made_up & (samples[:, 0] == 0.5)) == RATE // 4
    whole = opened(delay_ms=0.0, lookahead=lookahead)
    whole.put(np.full(RATE // 4, 0.5, np.float32))
    whole.end()
    samples, made_up = whole.take(RATE)
    assert np.count_nonzero(samples[:, 0] == np.float32(0.5)) == RATE // 4
    assert not made_up.any()


@pytest.mark.parametrize(
    ("packet_ms", "delay_ms", "piece_ms"), [(120.0, 40.0, 20), (40.0, 20.0, 20), (10.0, 0.0, 5)]
)
def test_a_fixed_delay_is_enough_for_short_pieces(
    packet_ms: float, delay_ms: float, piece_ms: int
) -> None:
    buffer = opened(packet_ms=packet_ms, delay_ms=delay_ms, max_delay_ms=0.0)
    piece = RATE * piece_ms // 1000
    for k in range(2000 // piece_ms):
        buffer.put(np.full(piece, 0.1, np.float32), at=k * piece)
        buffer.take(piece)
    assert buffer.stats.late_samples == buffer.stats.lost_samples == 0


def test_a_delay_beyond_what_may_come_ahead_loses_nothing() -> None:
    buffer = opened(delay_ms=1000.0, most_ahead_s=0.5)
    for k in range(300):
        buffer.put(np.full(RATE // 100, 0.1, np.float32), at=k * RATE // 100)
        buffer.take(RATE // 100)
    assert buffer.stats.received_samples == 3 * RATE


def test_half_a_sample_is_not_of_a_piece_with_a_place() -> None:
    buffer = PlayoutBuffer(RATE, delay_ms=0.0, method="ar")
    piece = np.arange(480, dtype="<i2").tobytes()
    buffer.put(piece[:-1], at=0)
    buffer.put(piece, at=480)
    samples, _ = buffer.take(960)
    # It follows the 479 samples that were whole.
    assert np.array_equal(samples[479:959, 0] * 32768, np.arange(480))


@pytest.mark.parametrize("pause_s", [2.0, 3.0, 6.0])
def test_who_counts_what_was_sent_is_heard_behind_each_pause(pause_s: float) -> None:
    buffer = opened()
    piece = noise(1, RATE).astype(np.float32)
    for k in range(3):
        assert heard_after(buffer, piece, 1.0 + pause_s, at=k * RATE) == RATE


def test_speech_without_positions_begins_at_once_behind_each_pause() -> None:
    buffer = opened()
    for pause_s in (0.9, 0.9, 0.9, 3.0, 1.0):
        assert heard_after(buffer, noise(1, RATE).astype(np.float32), 0.5) >= 0.4 * RATE
        buffer.take(round((0.5 + pause_s) * RATE))


@pytest.mark.parametrize("step_s", [1, 30, 59])
def test_positions_that_step_ahead_at_the_beginning_are_followed(step_s: int) -> None:
    buffer = opened()
    piece = noise(1, PIECE).astype(np.float32)
    heard_after(buffer, piece, 0.02, at=0)
    for k in range(50):
        heard = heard_after(buffer, piece, 0.02, at=step_s * RATE + k * PIECE)
        assert heard == PIECE or k < 10


def test_far_positions_behind_more_than_there_is_room_for_are_taken() -> None:
    buffer = opened(most_ahead_s=1.0)
    buffer.put(np.full(RATE, 0.1, np.float32))
    for at in (None, 10**9, 10**9 + PIECE):
        buffer.put(np.full(PIECE, 0.1, np.float32), at=at)
    assert buffer.stats.jumps == 1


def test_a_pause_of_any_length_with_positions_is_counted_as_unsent() -> None:
    pieces = sent(sound(6.0))
    for k, each in enumerate(pieces):
        each.at_s += 4.0 * (k >= 150)
        each.place = {"at": k * PIECE + 4 * RATE * (k >= 150)}
    buffer, _, made_up = play(pieces, 9.5)
    assert buffer.stats.unsent_samples == np.count_nonzero(made_up) >= 3.9 * RATE


# ---- programs that speak -----------------------------------------------------------------------


def test_what_was_said_ends_without_a_tail_and_the_next_waits_its_delay() -> None:
    signal = sound(1.0)
    buffer = opened()
    buffer.put(signal)
    buffer.end()
    heard, made_up = buffer.take(2 * RATE)
    np.testing.assert_array_equal(heard[960 : 960 + RATE, 0], signal)
    assert not heard[960 + RATE :].any()
    assert not made_up.any()
    buffer.put(signal)
    heard, made_up = buffer.take(RATE)
    first = int(np.flatnonzero(heard)[0])
    assert abs(first - 960) <= 240
    assert not made_up.any()
    stats = buffer.stats
    assert stats.late_samples == stats.lost_samples == stats.unsent_samples == 0


def test_what_waits_is_dropped_and_the_next_is_heard_at_once() -> None:
    signal = sound(2.0)
    buffer = opened()
    buffer.put(signal, at=0)
    buffer.take(RATE // 2)
    buffer.clear()
    assert buffer.buffered_ms == 0.0
    faded, made_up = buffer.take(RATE)
    assert np.abs(faded[round(0.02 * RATE) :]).max() == 0.0
    assert not made_up.any()
    assert buffer.put(signal, at=123_456_789) == len(signal)
    heard, _ = buffer.take(RATE)
    assert int(np.flatnonzero(np.abs(heard) > 1e-3)[0]) <= 2 * 240


def test_a_call_in_the_midst_of_another_is_refused_and_changes_nothing() -> None:
    buffers, signal, heard = [opened(), opened()], sound(1.0), []
    disturbed = buffers[1]
    calls: list[Callable[[], object]] = [
        *(lambda: disturbed.put(signal), lambda: disturbed.put(b"x"), disturbed.end),
        *(disturbed.clear, lambda: disturbed.take(480), lambda: disturbed.take_bytes(480)),
    ]
    for buffer in buffers:
        buffer.put(signal)
        buffer.take(480)
    disturbed._inside.enter()
    for call in calls:
        with pytest.raises(ConcurrentPushError, match="this PlayoutBuffer, which serves one"):
            call()
    disturbed._inside.leave()
    for buffer in buffers:
        buffer.put(signal)
        heard.append(buffer.take(RATE)[0])
    np.testing.assert_array_equal(heard[0], heard[1])


@pytest.mark.parametrize(
    ("step", "take", "is_said"),
    [
        *((20, PIECE, True), (20_000, PIECE, True), (2 * PIECE, PIECE, True), (2 * PIECE, 0, True)),
        *((PIECE, PIECE, False), (PIECE // 2, PIECE, False), (-20, PIECE, False)),
        (8 * PIECE, 8 * PIECE, False),  # a sender that pauses
    ],
)
def test_positions_in_another_unit_are_told_once(
    step: int, take: int, is_said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    buffer, piece = opened(), sound(0.02)
    for k in range(100):
        buffer.put(piece, at=FIRST + step * k)
        buffer.take(take)
    said = f"positions advance by {step} for {PIECE} samples; give at= in samples of each channel"
    assert sum(said in each for each in caplog.messages) == is_said
    assert sum("positions advance" in each for each in caplog.messages) == is_said


@pytest.mark.parametrize(("jitter_s", "stall_s"), [(0.0, 0.0), (0.0, 0.3), (0.06, 0.0)])
def test_what_came_less_what_waits_was_heard(jitter_s: float, stall_s: float) -> None:
    signal = noise(3, 4 * RATE).astype(np.float32)  # of which each part is found
    pieces, rng, free_s = sent(signal), np.random.default_rng(7), 0.0
    for each in pieces:  # in order, as a socket gives them
        free_s = max(free_s, 1.0 + stall_s if each.at_s >= 1.0 else 0.0)
        each.at_s = free_s = max(free_s, each.at_s + rng.uniform(0.0, jitter_s))
    found = 0
    for seconds in np.arange(0.3, 3.5, 0.1):
        buffer, heard, made_up = play(pieces, seconds)
        if made_up[-RATE // 20 :].any():
            continue
        known = buffer.stats.received_samples - round(buffer.buffered_ms * RATE / 1000)
        score = np.correlate(signal, heard[-RATE // 50 :])
        assert abs(known - int(np.argmax(score)) - RATE // 50) <= 0.002 * RATE
        found += 1
    assert found >= 25


def test_bytes_may_be_cut_anywhere_and_be_of_mu_law() -> None:
    words = np.round(12_000 * sound(0.5)).astype("<i2")
    law = G711("pcmu", RATE, 1)
    for is_law in (False, True):
        encoding: Literal["int16", "mulaw"] = "mulaw" if is_law else "int16"
        buffer = PlayoutBuffer(RATE, delay_ms=0.0, method="ar", encoding=encoding)
        data = words.tobytes()
        if is_law:
            data = law.encode((words / 32768.0).astype(np.float32)[:, np.newaxis])
        for at in range(0, len(data), 333):
            buffer.put(data[at : at + 333])
        taken, made_up = buffer.take_bytes(len(words))
        assert not made_up.any()
        if is_law:  # it has two codes of 0
            np.testing.assert_array_equal(law.decode(taken), law.decode(data))
        else:
            assert taken == data


@examples(25)
@given(
    pieces=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**60), 2**60), st.integers(0, 20_000)),
            st.integers(0, 3000),
            st.integers(0, 2000),
        ),
        max_size=20,
    ),
    lookahead=st.integers(0, 2),
)
@example(pieces=[(None, 1, 881), (None, 1, 0), (0, 2, 0)], lookahead=0)
def test_any_pieces_play_something_finite(
    pieces: list[tuple[int | None, int, int]], lookahead: int
) -> None:
    buffer = PlayoutBuffer(
        8_000, lookahead=lookahead, method="ar", most_ahead_s=0.5, max_delay_ms=100.0
    )
    taken = before = 0
    for at, size, take in pieces:  # a piece that was set aside counts with the one behind it
        assert 0 <= buffer.put(np.full(size, 0.1, np.float32), at) <= before + size
        before = size
        samples, made_up = buffer.take(take)
        assert samples.shape == (take, 1)
        assert made_up.shape == (take,)
        assert np.isfinite(samples).all()
        taken += take
    stats = buffer.stats
    assert min(stats.late_samples, stats.lost_samples, stats.unsent_samples) >= 0
