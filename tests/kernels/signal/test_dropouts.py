"""Runs of equal samples and copies, by their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_kernels.signal.dropouts import (
    COPY_DOUBT,
    DOUBT_MS,
    LAG_MS,
    LONGEST_MS,
    MORE_MS,
    STATE_WORDS,
    STILL_DOUBT,
    find_dropouts,
    skip_packet,
)
from plc_kernels.signal.packet import CHANNELS_AT
from tests.examples import examples, some
from tests.signals import glide, noise, sine, tones

RATE = 16_000
MS = RATE // 1000
PACKET = 10 * MS
SECOND = RATE


class Stream:
    """The kernel, packet by packet."""

    def __init__(self, channels: int = 1, packet: int = PACKET) -> None:
        self.packet = packet
        past = round((LAG_MS + MORE_MS) * MS)
        self.lines = np.zeros((channels, past + packet), np.float32)
        self.states = np.zeros((channels, STATE_WORDS), np.int64)
        self.marked = np.zeros((channels, packet), np.int8)
        self.parts = np.zeros(packet + 1, np.int64)

    @property
    def state(self) -> NDArray[np.int64]:
        first: NDArray[np.int64] = self.states[0]
        return first

    def look_at(self, packet: NDArray[np.float32]) -> list[tuple[int, int]]:
        return [(begin % 2**CHANNELS_AT, stop) for begin, stop in self.parts_of(packet)]

    def parts_of(self, packet: NDArray[np.float32]) -> list[tuple[int, int]]:
        self.lines[:, -self.packet :] = packet.T
        count = find_dropouts(RATE, self.packet, self.lines, self.states, self.marked, self.parts)
        return [(begin, stop) for begin, stop in self.parts[: 2 * count].reshape(-1, 2).tolist()]

    def skip(self) -> None:
        skip_packet(RATE, self.packet, self.states)


def marks_by_channel(signal: NDArray[np.float32], packet: int = PACKET) -> NDArray[np.bool_]:
    """Return which samples are found, shape (n, channels)."""
    stream = Stream(signal.shape[1], packet)
    everything = 2 ** signal.shape[1] - 1
    found = np.zeros(signal.shape, np.bool_)
    for at in range(0, len(signal) - packet + 1, packet):
        for begin, stop in stream.parts_of(signal[at : at + packet]):
            lost = begin >> CHANNELS_AT or everything
            for c in range(signal.shape[1]):
                found[at + begin % 2**CHANNELS_AT : at + stop, c] |= bool(lost >> c & 1)
    return found


def marks(signal: NDArray[np.float32], packet: int = PACKET) -> NDArray[np.bool_]:
    """Return which samples are found in any channel, shape (n,)."""
    by_channel = marks_by_channel(signal.reshape(len(signal), -1), packet)
    found: NDArray[np.bool_] = np.any(by_channel, axis=1)
    return found


def where(found: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], found.astype(np.int8), [0]])))
    return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def in_16_bits(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    steps: NDArray[np.float32] = (np.rint(signal * 32768.0) / 32768.0).astype(np.float32)
    return steps


@some("packet", [MS, 3 * MS + 5, PACKET, 20 * MS, 60 * MS], 2)
@some("length_ms", [5, 10, 33, 150], 4)
def test_silence_that_cuts_sound_off_is_found_to_the_sample(packet: int, length_ms: int) -> None:
    signal = noise(1, 2 * SECOND)
    start = SECOND + 77
    stop = start + length_ms * MS
    signal[start:stop] = 0.0
    (found,) = where(marks(signal, packet))
    # What a packet ends with is believed from half a millisecond on.
    assert start <= found[0] < start + MS // 2 + 1
    assert found[1] == stop


@some("packet", [PACKET, 20 * MS])
@pytest.mark.parametrize(("block_ms", "times"), [(5, 1), (10, 1), (20, 1), (10, 3), (37, 2)])
def test_a_block_that_is_said_again_is_found(packet: int, block_ms: int, times: int) -> None:
    signal = in_16_bits(glide(2, RATE, 2 * SECOND, 0.3))
    start, block = SECOND + 40, block_ms * MS
    stop = start + times * block
    signal[start:stop] = np.tile(signal[start - block : start], times)
    (found,) = where(marks(signal, packet))
    assert start - 2 <= found[0] <= start + 2 * MS
    assert stop <= found[1] <= stop + 2


def test_a_stuck_sample_is_found() -> None:
    signal = in_16_bits(glide(3, RATE, 2 * SECOND))
    signal[SECOND : SECOND + 10 * MS] = 0.2 * np.abs(signal).max()
    (found,) = where(marks(signal))
    assert SECOND - 1 <= found[0] <= SECOND + 2 * MS
    assert found[1] == SECOND + 10 * MS


def test_each_channel_is_looked_at_for_itself() -> None:
    signal = np.stack([noise(seed, 2 * SECOND) for seed in (4, 5, 6)], axis=1)
    hole = (SECOND, SECOND + 20 * MS)
    for lost in ([1], [0, 2], [0, 1, 2]):
        damaged = signal.copy()
        damaged[slice(*hole), lost] = 0.0
        found = marks_by_channel(damaged)
        assert [where(row) for row in found.T] == [[hole] if c in lost else [] for c in range(3)]


def test_a_silent_channel_hides_nothing_and_is_no_dropout() -> None:
    signal = np.stack([noise(4, 2 * SECOND), np.zeros(2 * SECOND, np.float32)], axis=1)
    signal[SECOND : SECOND + 20 * MS] = 0.0
    found = marks_by_channel(signal)
    assert where(found[:, 0]) == [(SECOND, SECOND + 20 * MS)]
    assert not found[:, 1].any()


@pytest.mark.parametrize("code", [-32124, -5504], ids=["mu-law", "A-law"])
@pytest.mark.parametrize("level", [0.003, 0.03, 0.3])
def test_a_constant_louder_than_the_sound_is_a_dropout(code: int, level: float) -> None:
    """Byte 0x00 of G.711, which recorders write for lost packets."""
    signal = in_16_bits(tones(21, RATE, 2 * SECOND, level))
    for packet in (10, 20, 30):
        damaged = signal.copy()
        hole = slice(SECOND, SECOND + packet * MS)
        damaged[hole] = code / 32768
        assert where(marks(damaged, packet * MS)) == [(hole.start, hole.stop)]


@pytest.mark.parametrize("seed", range(4))
def test_a_few_zeros_again_and_again_in_frames_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    signal = in_16_bits(glide(seed, RATE, 2 * SECOND, 0.3))
    damaged, holes = signal.copy(), []
    for frame in range(SECOND, 2 * SECOND - PACKET, 2 * PACKET):
        start = frame + int(rng.integers(40, PACKET - 40))
        holes.append((start, start + int(rng.integers(5, 16))))
        damaged[slice(*holes[-1])] = 0.0
    found = marks(damaged)
    hit = [found[start + 1 : stop - 1].all() for start, stop in holes]
    assert np.mean(hit) >= 0.8
    clear = np.ones(signal.size, np.bool_)
    for start, stop in holes:
        clear[start - 2 : stop + 2] = False
    assert not (found & clear).any()


def faded(length_ms: float) -> NDArray[np.float32]:
    """Return words that fade away into digital silence of 300 ms."""
    signal = in_16_bits(tones(6, RATE, 3 * SECOND, 0.3))
    samples = round(length_ms * MS)
    for at in range(SECOND // 2, 3 * SECOND, SECOND // 2):
        signal[at - samples : at] *= np.linspace(1.0, 0.0, samples, dtype=np.float32) ** 2
        signal[at : at + 300 * MS] = 0.0
    return in_16_bits(signal)


@pytest.mark.parametrize(
    ("kind", "signal"),
    [
        ("sound", in_16_bits(glide(7, RATE, 2 * SECOND))),
        ("silence", np.zeros(2 * SECOND, np.float32)),
        ("rests after a fade", faded(15.0)),
        ("quiet sound cut off", np.where(np.arange(SECOND) % 8000 < 4000, 0.002, 0.0)
         * noise(8, SECOND, 1.0)),
        ("a sine of whole samples", in_16_bits(sine(500.0, RATE, 2 * SECOND))),
        ("a square wave", np.sign(np.sin(np.arange(2 * SECOND) / 25.0 + 0.1)) * 0.5),
        ("a bass in 8 bits", np.rint(64 * np.sin(np.arange(2 * SECOND) / 80.0)) / 128),
        ("clipped sound", np.clip(3.0 * sine(60.0, RATE, 2 * SECOND, 0.5), -0.9, 0.9)),
        ("NaN", np.full(SECOND, np.nan)),
        ("NaN and sound", np.where(np.arange(SECOND) % 900 < 300, np.nan, noise(9, SECOND))),
    ],
)  # fmt: skip
def test_what_is_no_dropout_is_let_through(kind: str, signal: NDArray[np.float64]) -> None:
    assert not marks(signal.astype(np.float32)).any(), kind


def test_what_lasts_longer_is_a_pause_and_is_doubted_from_then_on() -> None:
    signal = noise(10, 14 * SECOND)
    pauses = (SECOND, 3 * SECOND, 13 * SECOND)
    for start in pauses:
        signal[start : start + SECOND // 2] = 0.0
    found = where(marks(signal))
    limit = round(LONGEST_MS) * MS
    assert [start for start, _ in found] == [pauses[0], pauses[2]]
    assert all(stop - start <= limit for start, stop in found)
    assert pauses[1] - pauses[0] < DOUBT_MS * MS


def test_a_tone_that_repeats_exactly_is_doubted() -> None:
    period = in_16_bits(noise(11, 8 * MS))
    signal = np.concatenate([noise(12, SECOND), np.tile(period, 250), noise(13, SECOND)])
    stream = Stream()
    found = 0
    for at in range(0, signal.size - PACKET + 1, PACKET):
        found += sum(b - a for a, b in stream.look_at(signal[at : at + PACKET, None]))
    assert found <= LONGEST_MS * MS
    assert stream.state[COPY_DOUBT] > 0
    assert stream.state[STILL_DOUBT] == 0


def test_pulses_are_a_pattern() -> None:
    signal = noise(14, 3 * SECOND)
    pulses = np.arange(3 * SECOND) % (20 * MS) < 10 * MS
    signal[pulses] = 0.0
    found = marks(signal)
    assert found[pulses].mean() < 0.25
    assert not found[~pulses].any()


def test_silence_goes_on_over_a_lost_packet() -> None:
    signal = noise(15, 2 * SECOND)
    signal[SECOND : SECOND + 4 * PACKET] = 0.0
    stream = Stream()
    found = []
    for k, at in enumerate(range(0, signal.size, PACKET)):
        if k == SECOND // PACKET + 1:
            stream.skip()
        elif stream.look_at(signal[at : at + PACKET, None]):
            found.append(k - SECOND // PACKET)
    assert found == [0, 2, 3]


def test_nothing_is_said_of_what_follows_a_lost_packet() -> None:
    signal = noise(16, SECOND)
    signal[SECOND // 2 + PACKET :] = 0.0
    stream = Stream()
    for k, at in enumerate(range(0, signal.size, PACKET)):
        if k == SECOND // 2 // PACKET:
            stream.skip()
        else:
            assert not stream.look_at(signal[at : at + PACKET, None])


@st.composite
def patchworks(draw: st.DrawFn) -> NDArray[np.float32]:
    """Draw sound with silences, stuck samples and copies anywhere."""
    signal = in_16_bits(noise(draw(st.integers(0, 99)), 12 * PACKET, 0.1))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(6 * PACKET, 11 * PACKET))
        length = draw(st.integers(1, 3 * PACKET))
        kind = draw(st.sampled_from(["silence", "stuck", "copy"]))
        stop = min(start + length, signal.size)
        lag = draw(st.integers(1, 5 * PACKET))
        source = signal[start - lag : start].copy()
        signal[start:stop] = {
            "silence": np.zeros(stop - start, np.float32),
            "stuck": np.full(stop - start, signal[start]),
            "copy": np.resize(source, stop - start),
        }[kind]
    return signal


@examples(60)
@given(patchworks(), st.sampled_from([MS, PACKET, 2 * PACKET]))
def test_only_equal_frames_are_found(signal: NDArray[np.float32], packet: int) -> None:
    """Or what lies between two such, for up to a millisecond."""
    found = marks(signal, packet)
    equal = np.zeros(signal.size, np.bool_)
    still = np.flatnonzero(np.diff(signal) == 0)
    equal[still] = equal[still + 1] = True
    for lag in range(4 * MS, round((LAG_MS + MORE_MS) * MS)):
        equal[lag:] |= signal[lag:] == signal[:-lag]
    for start, stop in where(found & ~equal):
        assert stop - start <= MS + 1
