import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.history import History
from tests.signals import noise

blocks = st.lists(st.integers(0, 25), min_size=1, max_size=12)


def newest(history: History, channel: int, samples: int) -> NDArray[np.float32]:
    out = np.empty(samples, np.float32)
    history.newest(channel, out)
    return out


def newest_trust(history: History, samples: int) -> NDArray[np.float32]:
    out = np.empty(samples, np.float32)
    history.newest_trust(out)
    return out


def assert_holds(history: History, signal: NDArray[np.float32], trust: NDArray[np.float32]) -> None:
    """Compare a ring with everything written to it: silence without trust before that."""
    capacity = history.capacity
    silence = np.zeros(capacity, np.float32)
    assert history.filled == min(signal.shape[1], capacity)
    for samples in {1, (capacity + 1) // 2, capacity}:
        expected_trust = np.concatenate([silence, trust])[-samples:]
        np.testing.assert_array_equal(newest_trust(history, samples), expected_trust)
        for c, row in enumerate(signal):
            expected = np.concatenate([silence, row])[-samples:]
            np.testing.assert_array_equal(newest(history, c, samples), expected)


@given(
    capacity=st.integers(1, 20),
    channels=st.integers(1, 3),
    sizes=blocks,
    trust_by_sample=st.booleans(),
)
def test_a_ring_holds_the_end_of_all_that_was_written(
    capacity: int, channels: int, sizes: list[int], trust_by_sample: bool
) -> None:
    history = History(channels, capacity)
    signal = np.zeros((channels, 0), np.float32)
    trust = np.zeros(0, np.float32)
    for k, size in enumerate(sizes):
        block = noise(k, channels * size).reshape(channels, size)
        if trust_by_sample:
            given_trust = np.random.default_rng(k).random(size, np.float32)
            history.append(block, given_trust)
        else:
            given_trust = np.full(size, (k + 1) / 16, np.float32)
            history.append(block, (k + 1) / 16)
        signal = np.concatenate([signal, block], 1)
        trust = np.concatenate([trust, given_trust])
        assert_holds(history, signal, trust)


@given(capacity=st.integers(1, 20), sizes=blocks)
def test_blocks_cut_differently_are_remembered_alike(capacity: int, sizes: list[int]) -> None:
    cut, whole = History(1, capacity), History(1, capacity)
    signal = noise(0, sum(sizes)).reshape(1, -1)
    for begin, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        cut.append(signal[:, begin : begin + size], 0.5)
    whole.append(signal, 0.5)
    np.testing.assert_array_equal(newest(cut, 0, capacity), newest(whole, 0, capacity))
    np.testing.assert_array_equal(newest_trust(cut, capacity), newest_trust(whole, capacity))


def test_reset_equals_new() -> None:
    history = History(2, 10)
    history.append(noise(0, 14).reshape(2, 7), 1.0)
    history.reset()
    assert_holds(history, np.zeros((2, 0), np.float32), np.zeros(0, np.float32))
    block = noise(1, 8).reshape(2, 4)
    history.append(block, 0.25)
    assert_holds(history, block, np.full(4, 0.25, np.float32))


def test_the_ring_keeps_no_view_of_what_it_was_given() -> None:
    history = History(1, 8)
    block = noise(0, 8).reshape(1, 8)
    kept = block[0].copy()
    history.append(block, 1.0)
    block.fill(7.0)
    np.testing.assert_array_equal(newest(history, 0, 8), kept)


@pytest.mark.parametrize("view", [lambda x: x[:, ::-1], lambda x: x[:, ::2]])
def test_any_layout_of_a_block_is_taken(view: object) -> None:
    assert callable(view)
    block = view(noise(0, 40).reshape(2, 20))
    history = History(2, 30)
    history.append(block, 1.0)
    for c in range(2):
        np.testing.assert_array_equal(newest(history, c, block.shape[1]), block[c])


def test_samples_are_read_as_float64_too() -> None:
    history = History(1, 8)
    history.append(noise(0, 13).reshape(1, 13), 1.0)
    out = np.empty(5)
    history.newest(0, out)
    np.testing.assert_array_equal(out, noise(0, 13)[-5:].astype(np.float64))
