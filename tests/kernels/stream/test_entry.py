"""Streams of callers without arrays: the same samples as the Concealer's."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import Concealer, ConfigError
from plc.engine.loss import GilbertElliott
from plc.engine.predict.ladder import STEADY, UNSTEADY, affordable
from plc.engine.stream.config import StreamConfig
from plc_kernels.stream import entry, layout
from plc_kernels.stream.step import WANTS_FILL
from tests.examples import examples, some
from tests.kernels.stream.blocks import Stream, settings_of
from tests.signals import glide, nmse_db, tones

TIMED = {"deadline_misses", "rung_changes"}


def size_of(settings: NDArray[np.int64]) -> int:
    return int(entry.prepare(settings, np.zeros(layout.HEADER, np.int64)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": -48_000},
        {"packet": -160},
        {"first": -1},
        {"first": len(STEADY)},
        {"seam": -1},
        {"seam": 2},
        {"rate": 2**62},
        {"channels": 2**62},
        {"packet": 2**62},
        {"lookahead": 2**62},
    ],
)
def test_a_setting_out_of_range_gives_no_size_and_no_header(wrong: dict[str, int]) -> None:
    header = np.full(layout.HEADER, 7, np.int64)
    assert entry.prepare(settings_of(**wrong), header) == 0
    assert (header == 7).all()


@examples(400, few=200)
@given(
    rate=st.one_of(st.integers(7990, 8010), st.integers(191_990, 192_010), st.integers(1, 200_000)),
    channels=st.integers(0, 10),
    packet=st.one_of(st.integers(1, 40), st.integers(1, 24_000)),
    lookahead=st.one_of(st.integers(-1, 4), st.integers(-1, 2000)),
)
def test_the_ranges_are_those_of_the_concealer(
    rate: int, channels: int, packet: int, lookahead: int
) -> None:
    try:
        StreamConfig(
            sample_rate=rate, channels=channels, packet_samples=packet, lookahead=lookahead
        )
        allowed = True
    except ConfigError:
        allowed = False
    # StreamConfig takes the lookahead's duration in floating point, which may lie below 2 s.
    assume(lookahead * packet != 2 * rate)
    assert (size_of(settings_of(rate, channels, packet, lookahead)) > 0) == allowed


@pytest.mark.parametrize("lookahead", [0, 1])
def test_a_limit_of_work_begins_both_ladders_lower(lookahead: int) -> None:
    begins = []
    for limit in (0, 2**62, 10**8, 10**7, 10**6, 1):
        settings, header = settings_of(48_000, 1, 480, lookahead), np.zeros(layout.HEADER, np.int64)
        settings[8] = limit
        assert entry.prepare(settings, header)
        begins.append([header[layout.LADDER + 3 * k : layout.LADDER + 3 * k + 2] for k in (0, 16)])
    orders = np.array(begins)[:, :, 0]
    assert (orders[0] == orders[1]).all()
    assert (np.diff(orders, axis=0) <= 0).all()
    assert (orders[2] < orders[1]).tolist() == [True, False]
    # Half a millisecond's order on 4 ms, where nothing is cheap enough.
    assert np.array(begins)[-1].tolist() == [[24, 192], [24, 192]]


def test_the_work_of_a_long_order_is_that_of_two_fits_and_of_their_rehearsals() -> None:
    fitted, predicted = 12_000 + 960 / 1920 * 4800, 480 + 480 / 2 + 1.5 * 480
    work = 1920 * (entry._FIT_WORK * fitted + entry._PREDICTION_WORK * predicted)
    for limit, begins in ((math.ceil(work), True), (math.floor(work) - 1, False)):
        settings, header = settings_of(48_000, 1, 480, 0), np.zeros(layout.HEADER, np.int64)
        settings[8] = limit
        assert entry.prepare(settings, header)
        assert (header[layout.LADDER] == 1920) == begins


@some("rate", [8000, 11_025, 48_000, 192_000], 2)
@some("first", [0, 3, len(UNSTEADY) - 1, len(STEADY) - 1], 2)
def test_the_ladders_are_those_of_the_engine_from_a_rung_on(rate: int, first: int) -> None:
    header = np.zeros(layout.HEADER, np.int64)
    assert entry.prepare(settings_of(rate, packet=rate // 100, first=first), header)
    dear = STEADY[first].order_ms * STEADY[first].past_ms
    costs = [rung.order_ms * rung.past_ms for rung in UNSTEADY]
    least = next((k for k, cost in enumerate(costs) if cost <= dear), len(UNSTEADY) - 1)
    ladders = (
        (layout.STEADY_STEPS, 0, STEADY[first:]),
        (layout.UNSTEADY_STEPS, layout.MAX_STEPS, UNSTEADY[least:]),
    )
    for count, at, rungs in ladders:
        steps = affordable(rungs, rate, 1, rate // 100, 0, math.inf)
        assert header[count] == len(steps)
        written = header[layout.LADDER + 3 * at :][: 3 * len(steps)].reshape(-1, 3)
        assert written[:, :2].tolist() == [[step.order, step.past] for step in steps]
        assert len(set(written[:, 2])) == len(steps)


@examples(60, few=8)
@given(
    rate=st.sampled_from([8000, 16_000, 24_000, 44_100, 48_000]),
    channels=st.integers(1, 2),
    packet_ms=st.sampled_from([4.0, 10.0, 20.0]),
    lookahead=st.integers(0, 2),
    seed=st.integers(-5, 2**40),
    integer=st.booleans(),
    voiced=st.booleans(),
)
def test_samples_and_counters_are_those_of_the_concealer(
    rate: int,
    channels: int,
    packet_ms: float,
    lookahead: int,
    seed: int,
    integer: bool,
    voiced: bool,
) -> None:
    n = round(rate * packet_ms / 1000)
    concealer = Concealer(rate, channels, n, lookahead, seed=seed, method="ar", budget_ms=math.inf)
    stream = Stream(settings_of(rate, channels, n, lookahead, seed))
    for k, (packet, missing) in enumerate(packets_of(rate, channels, n, integer, voiced)):
        expected = concealer.push(packet, missing=missing)
        played = stream.push(packet, missing)
        np.testing.assert_array_equal(played, expected, err_msg=f"packet {k}")
    tail = stream.flush(lookahead)
    np.testing.assert_array_equal(tail, concealer.flush())
    for name in set(layout.COUNTERS) - TIMED:
        assert stream.counter(name) == getattr(concealer.stats, name), name
    rungs = stream.block[layout.RUNG_SAMPLES :][: layout.MAX_RUNGS]
    assert sorted(rungs[rungs > 0]) == sorted(filter(None, concealer.stats.rung_samples.values()))
    assert rungs[stream.block[layout.NOISE_RUNG]] == stream.counter("silent_concealed_samples")


def packets_of(
    rate: int, channels: int, n: int, integer: bool, voiced: bool
) -> list[tuple[NDArray[Any] | None, list[tuple[int, int]]]]:
    """Return packets of a second, and what is missing of each."""
    count = rate // n
    make = glide if voiced else tones
    signal: NDArray[Any] = np.stack([make(c, rate, count * n) for c in range(channels)], 1)
    if integer:
        signal = (32767 * signal).astype(np.int16)
    lost = GilbertElliott(0.2, 2.0).trace(count, 5)
    lost[count // 2 : count // 2 + round(0.25 * count)] = True
    packets: list[tuple[NDArray[Any] | None, list[tuple[int, int]]]] = []
    for k, packet in enumerate(signal.reshape(count, n, channels)):
        if lost[k]:
            packets.append((None, []))
        else:
            packets.append((packet, [(k % n, n)] if k % 6 == 0 else []))
    return packets


def test_after_a_reset_a_stream_is_as_new() -> None:
    stream, new = (Stream(settings_of(lookahead=1)) for _ in range(2))
    first = [stream.push(*push) for push in packets_of(16_000, 1, 160, False, True)]
    entry.reset(stream.block)
    assert not any(stream.counter(name) for name in layout.COUNTERS)
    for k, push in enumerate(packets_of(16_000, 1, 160, False, True)):
        np.testing.assert_array_equal(stream.push(*push), first[k])
        new.push(*push)
    for name in layout.COUNTERS:
        assert stream.counter(name) == new.counter(name)


def test_opening_a_used_block_makes_it_new() -> None:
    settings = settings_of()
    stream, new = Stream(settings), Stream(settings)
    for push in packets_of(16_000, 1, 160, False, False):
        stream.push(*push)
    entry.open_block(settings, stream.block)
    for push in packets_of(16_000, 1, 160, False, True):
        np.testing.assert_array_equal(stream.push(*push), new.push(*push))


def test_a_later_first_rung_predicts_with_fewer_coefficients() -> None:
    signal = tones(2, 48_000, 48_000)
    played = {}
    for first in (0, len(STEADY) - 1):
        stream = Stream(settings_of(48_000, 1, 480, first=first))
        packets = signal.reshape(100, 480, 1)
        played[first] = np.concatenate(
            [stream.push(None if k % 10 == 9 else x) for k, x in enumerate(packets)]
        )
    where = np.repeat(np.arange(100) % 10 == 9, 480)
    best, least = (nmse_db(each[:, 0], signal, where) for each in played.values())
    assert best < least - 6.0


@pytest.mark.parametrize("lookahead", [0, 1])
def test_drafts_that_are_shown_and_left_alone_change_nothing(lookahead: int) -> None:
    plain = Stream(settings_of(lookahead=lookahead))
    shown = Stream(settings_of(lookahead=lookahead, seam=1))
    for push in packets_of(16_000, 1, 160, False, True):
        np.testing.assert_array_equal(shown.push(*push), plain.push(*push))
    assert not plain.flags & WANTS_FILL
    assert shown.drafts
    assert all(np.isfinite(draft).all() for draft in shown.drafts)
    assert any(draft.any() for draft in shown.drafts)


def test_what_is_written_over_a_draft_is_played() -> None:
    stream = Stream(settings_of(seam=1))
    packets = tones(1, 16_000, 3200).reshape(20, 160, 1)
    for packet in packets[:-1]:
        stream.push(packet)
    played = stream.push(None, gain=0.5)
    (draft,) = stream.drafts
    np.testing.assert_array_equal(played[:, 0], np.float32(0.5) * draft[0])
    assert draft.any()
