import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_kernels.stream import layout
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.entry import prepare
from plc_kernels.stream.step import CONCEALED, CROSSFADED, REFUSED
from tests.examples import examples
from tests.kernels.stream.blocks import Stream, extents, settings_of
from tests.signals import noise, tones

settings = st.builds(
    settings_of,
    rate=st.integers(8000, 192_000),
    channels=st.integers(1, layout.MAX_CHANNELS),
    packet=st.one_of(st.integers(8, 200), st.integers(8, 23_040)),
    lookahead=st.integers(0, 40),
    first=st.integers(0, 11),
)


@examples(200)
@given(wanted=settings)
def test_arrays_lie_one_after_the_other_within_the_block(wanted: Block) -> None:
    header = np.zeros(layout.HEADER, np.int64)
    prepare(wanted, header)
    assume(header[layout.RATE])  # else the settings are out of range
    at = 8 * layout.HEADER
    for begin, stop in extents(header):
        assert begin % 64 == 0
        assert at <= begin < at + 64
        at = stop
    assert at <= header[layout.SIZE] < at + 64
    assert header[layout.REALS_AT] == 8 * layout.REALS


def spoil_gaps(stream: Stream) -> NDArray[np.bool_]:
    """Return the bytes of a block that no array has, all set to 0xA5."""
    memory = stream.block.view(np.uint8)
    free = np.ones(memory.size, bool)
    free[: 8 * layout.HEADER] = False
    for begin, stop in extents(stream.block):
        free[begin:stop] = False
    memory[free] = 0xA5
    return free


@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize(("rate", "packet", "channels"), [(8000, 83, 1), (44_100, 441, 3)])
def test_nothing_is_written_outside_the_arrays(
    rate: int, packet: int, channels: int, lookahead: int
) -> None:
    stream = Stream(settings_of(rate, channels, packet, lookahead))
    free = spoil_gaps(stream)
    play_everything(stream)
    assert stream.flags & CONCEALED
    assert stream.flags & CROSSFADED
    assert stream.flags & REFUSED
    assert (stream.block.view(np.uint8)[free] == 0xA5).all()
    assert stream.guarded


def play_everything(stream: Stream) -> None:
    """Push two seconds: lost, cut and unsound packets among them."""
    n, channels = stream.shape
    rate = int(stream.block[layout.RATE])
    second = math.ceil(rate / n)
    signal = tones(1, rate, 2 * second * n * channels) + noise(2, 2 * second * n * channels, 0.01)
    packets = signal.reshape(-1, n, channels)
    for k, packet in enumerate(packets):
        if k % 7 == 3 or second <= k < 1.3 * second:
            stream.push(None)
        elif k % 7 == 5:
            stream.push(packet, [(0, n // 4), (n // 2, n - 1)])
        elif k % 11 == 2:
            stream.push(np.full_like(packet, np.nan))
        else:
            stream.push(packet)


@pytest.mark.parametrize("lookahead", [0, 2])
def test_nothing_is_allocated_whatever_a_stream_plays(lookahead: int) -> None:
    rtsys = pytest.importorskip("numba.core.runtime.nrt").rtsys
    stream = Stream(settings_of(8000, 1, 83, lookahead))
    play_everything(stream)
    before = rtsys.get_allocation_stats().alloc
    play_everything(stream)
    assert rtsys.get_allocation_stats().alloc == before


@examples(20, few=6)
@given(
    rate=st.sampled_from([8000, 16_000, 44_100]),
    channels=st.integers(1, 3),
    lookahead=st.integers(0, 3),
    moves=st.sets(st.integers(0, 99), min_size=1, max_size=10),
)
def test_a_block_goes_on_wherever_it_is_copied_to(
    rate: int, channels: int, lookahead: int, moves: set[int]
) -> None:
    wanted = settings_of(rate, channels, rate // 100, lookahead)
    stays, moving = Stream(wanted), Stream(wanted)
    signal = tones(3, rate, channels * rate).reshape(100, rate // 100, channels)
    lost = np.random.default_rng(4).random(100) < 0.3
    lost[60:80] = True
    for k, packet in enumerate(signal):
        if k in moves:
            moving.move()
        missing = [(5, 20)] if k % 9 == 0 and not lost[k] else []
        expected = stays.push(None if lost[k] else packet, missing)
        np.testing.assert_array_equal(moving.push(None if lost[k] else packet, missing), expected)
    np.testing.assert_array_equal(moving.flush(lookahead), stays.flush(lookahead))
    assert moving.guarded
    np.testing.assert_array_equal(moving.block, stays.block)


def test_two_streams_share_nothing() -> None:
    wanted = settings_of()
    alone, beside, other = Stream(wanted), Stream(wanted), Stream(settings_of(seed=1))
    packets = tones(1, 16_000, 16_000).reshape(100, 160, 1)
    for k, packet in enumerate(packets):
        other.push(None if k % 3 else packet)
        lost = k % 5 == 0 or 50 < k < 80
        np.testing.assert_array_equal(
            beside.push(None if lost else packet), alone.push(None if lost else packet)
        )
