import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.engine.predict.played_history import History
from plc_kernels.signal.history import TRUSTED
from tests.signals import noise

blocks = st.lists(st.integers(0, 25), min_size=1, max_size=12)


def newest(history: History, channel: int, samples: int) -> NDArray[np.float32]:
    out = np.empty(samples, np.float32)
    history.newest(channel, out)
    return out


def assert_holds(history: History, signal: NDArray[np.float32], trusted: int) -> None:
    """Compare a ring with everything written to it: silence before that."""
    capacity = history.ring.shape[1]
    silence = np.zeros(capacity, np.float32)
    assert history.filled == min(signal.shape[1], capacity)
    assert history.counts[TRUSTED] == min(trusted, capacity)
    for samples in {1, (capacity + 1) // 2, capacity}:
        for c, row in enumerate(signal):
            expected = np.concatenate([silence, row])[-samples:]
            np.testing.assert_array_equal(newest(history, c, samples), expected)


@given(
    capacity=st.integers(1, 20),
    channels=st.integers(1, 3),
    written=st.lists(st.tuples(st.integers(1, 25), st.booleans()), min_size=1, max_size=12),
)
def test_a_ring_holds_the_end_of_all_that_was_written(
    capacity: int, channels: int, written: list[tuple[int, bool]]
) -> None:
    history = History(channels, capacity)
    signal = np.zeros((channels, 0), np.float32)
    run = 0
    for k, (size, trusted) in enumerate(written):
        block = noise(k, channels * size).reshape(channels, size)
        history.append(block, trusted)
        signal = np.concatenate([signal, block], 1)
        run = run + size if trusted else 0
        assert_holds(history, signal, run)


@given(capacity=st.integers(1, 20), sizes=blocks)
def test_blocks_cut_differently_are_remembered_alike(capacity: int, sizes: list[int]) -> None:
    cut, whole = History(1, capacity), History(1, capacity)
    signal = noise(0, sum(sizes)).reshape(1, -1)
    for begin, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        cut.append(signal[:, begin : begin + size], True)
    whole.append(signal, True)
    np.testing.assert_array_equal(newest(cut, 0, capacity), newest(whole, 0, capacity))
    assert cut.counts[TRUSTED] == whole.counts[TRUSTED] == min(signal.size, capacity)


def test_reset_equals_new() -> None:
    history = History(2, 10)
    history.append(noise(0, 14).reshape(2, 7), True)
    history.reset()
    assert_holds(history, np.zeros((2, 0), np.float32), 0)
    block = noise(1, 8).reshape(2, 4)
    history.append(block, True)
    assert_holds(history, block, 4)


def test_the_ring_keeps_no_view_of_what_it_was_given() -> None:
    history = History(1, 8)
    block = noise(0, 8).reshape(1, 8)
    kept = block[0].copy()
    history.append(block, True)
    block.fill(7.0)
    np.testing.assert_array_equal(newest(history, 0, 8), kept)


@pytest.mark.parametrize("view", [lambda x: x[:, ::-1], lambda x: x[:, ::2]])
def test_any_layout_of_a_block_is_taken(view: object) -> None:
    assert callable(view)
    block = view(noise(0, 40).reshape(2, 20))
    history = History(2, 30)
    history.append(block, True)
    for c in range(2):
        np.testing.assert_array_equal(newest(history, c, block.shape[1]), block[c])
